//! From a step to what is to be sent: inputs with actual values, and the record they will make.

use std::sync::Arc;

use epid_provider::{Map, Operation, Path, Query, Record, Resolved, Value};
use futures::FutureExt;

use super::call::{Job, connect, execute};
use super::changes::renamed;
use super::connections::Source;
use super::control::Stop;
use super::dispatcher::Dispatcher;
use super::event::{Did, Trouble};
use super::inline::missing;
use super::limits::MutexKey;
use super::resolve::{Settled, Verdict};
use super::schedule::Status;
use super::settle::{Phase, Sent};
use crate::graph::provider_type;
use crate::plan::{Action, PlannedInputs, Step, StepId};
use crate::state::{Change, Ending, Entry, Generation, Intent, JournalEntry, Realm, RecordKey, Role};

/// A mutating call that is about to be begun.
pub(super) struct Draft {
    pub(super) operation: Operation,
    /// What is to be recorded.
    pub(super) entry: Box<Entry>,
    pub(super) before: Option<Box<Entry>>,
    pub(super) inputs: Resolved,
    pub(super) sent: Sent,
}

impl Dispatcher<'_> {
    pub(super) fn desired<'s>(&self, step: &'s Step) -> Result<&'s PlannedInputs, Trouble> {
        step.desired.as_ref().ok_or_else(|| {
            Trouble::new(
                "Plan",
                format!("the plan does not say what {} is to be", step.address),
            )
        })
    }

    /// The provider's record that a step is called through.
    pub(super) fn connection(&self, step: &Step) -> Option<RecordKey> {
        self.executor.session.with(|snapshot| {
            if step.action.removes() {
                snapshot.get(&step.target)?.provider.clone()
            } else {
                snapshot.live(step.provider.as_ref()?).map(Entry::key_of)
            }
        })
    }

    /// Where a provider's record leads.
    pub(super) fn realm(&self, provider: Option<&RecordKey>) -> Realm {
        self.executor.session.with(|snapshot| snapshot.realm(provider))
    }

    /// The mutex a step has to hold, where its kind has one.
    pub(super) fn mutex_of(&self, step: &Step) -> Result<Option<MutexKey>, Trouble> {
        let Some((class, property)) = &step.mutex else {
            return Ok(None);
        };
        let instance = |value: &Value| {
            value
                .get(property)
                .map(Value::expose)
                .and_then(Value::as_str)
                .map(Arc::from)
        };
        let name: Option<Arc<str>> = if let Some(planned) = &step.desired {
            instance(self.resolver.inputs(step, planned)?.inputs.value())
        } else {
            self.executor.session.with(|snapshot| {
                let record = &snapshot.get(&step.target)?.record;
                instance(&record.applied).or_else(|| instance(&record.resolved))
            })
        };
        // Two providers may lead to one account.
        let connection = self.connection(step);
        let identity = self.executor.session.with(|snapshot| {
            let provider = snapshot.get(connection.as_ref()?)?;
            provider.identity.clone()
        });
        Ok(Some((
            identity.unwrap_or_default(),
            class.clone(),
            name.unwrap_or_default(),
        )))
    }

    /// Starts what a step needs; it has its place and its mutex.
    pub(super) fn start(&mut self, step: &Step) {
        let result = match self.unmarked(step) {
            Some(entry) => self.look_whose(step, &entry),
            None => self.begin(step),
        };
        match result {
            Ok(None) => {}
            Ok(Some(done)) => self.end(step, Ok(done)),
            Err(trouble) => self.end(step, Err(trouble)),
        }
    }

    /// What a step would change or remove, where it bears no mark of this stack: another may have it.
    fn unmarked(&self, step: &Step) -> Option<Arc<Entry>> {
        let key = match step.action {
            Action::Update | Action::Replace | Action::Refill => step.from.as_ref()?,
            Action::Vacate | Action::Delete => &step.target,
            _ => return None,
        };
        let entry = self
            .executor
            .session
            .with(|snapshot| snapshot.entries.get(key).cloned())?;
        (entry.role != Role::Vacant && (entry.unmarked || step.unmarked)).then_some(entry)
    }

    fn look_whose(&mut self, step: &Step, entry: &Entry) -> Result<Option<(Did, bool)>, Trouble> {
        let source = self.source(step, entry.provider.as_ref())?;
        let cx = self
            .means
            .call(step.id, &step.target.urn, &(self.executor.mint)(), step.timeout);
        self.running(step, Phase::Whose);
        let query = Query::Record(Box::new(entry.record.clone()));
        let (id, means) = (step.id, self.means.clone());
        let call = execute(Job::Look(Box::new(query)), source, cx, id, means);
        self.started.push(call.map(move |report| (id, report)).boxed());
        Ok(None)
    }

    /// Begins what a step does.
    pub(super) fn begin(&mut self, step: &Step) -> Result<Option<(Did, bool)>, Trouble> {
        match step.action {
            Action::Connect => self.connect(step),
            Action::Adopt if step.makes() => self.create(step),
            Action::Read | Action::Import | Action::Adopt => self.look(step),
            Action::Create => self.create(step),
            Action::Update | Action::Replace | Action::Refill => self.change(step),
            Action::Vacate | Action::Delete => self.remove(step),
            Action::Nothing | Action::Decide | Action::Record | Action::Forget | Action::Drop => {
                Ok(Some((Did::Nothing, false)))
            }
        }
    }

    pub(super) fn source(&mut self, step: &Step, key: Option<&RecordKey>) -> Result<Source, Trouble> {
        if key.is_none()
            && let Some(provider) = &step.provider
        {
            let message = format!("provider `{}` is not in the state", provider.path());
            return Err(Trouble::new("ProviderMissing", message).hint("run epid up again"));
        }
        let (providers, connections) = (self.executor.providers, &mut self.connections);
        self.executor
            .session
            .with(|snapshot| connections.source(snapshot, providers, key, &step.kind))
    }

    fn connect(&mut self, step: &Step) -> Result<Option<(Did, bool)>, Trouble> {
        let settled = self.resolver.inputs(step, self.desired(step)?)?;
        let provider = self.executor.providers.of(&step.kind).cloned().ok_or_else(|| {
            let name = provider_type(&step.kind).unwrap_or_default();
            Trouble::new("UnknownProvider", format!("this epid has no provider `{name}`"))
        })?;
        let before = match self.before(step) {
            Some(before) if before.generation == step.target.generation => Some(self.moved(step, before)?),
            before => before,
        };
        let mut entry = self.entry(step, &settled, before.as_deref());
        entry.generation = step.target.generation;
        let phase = Phase::Connecting {
            entry: Box::new(entry),
            before,
        };
        self.running(step, phase);
        let cx = self
            .means
            .call(step.id, &step.target.urn, &(self.executor.mint)(), step.timeout);
        let id = step.id;
        let call = connect(provider, settled.inputs, cx, id, self.means.clone());
        self.started.push(call.map(move |report| (id, report)).boxed());
        Ok(None)
    }

    fn look(&mut self, step: &Step) -> Result<Option<(Did, bool)>, Trouble> {
        let planned = self.desired(step)?;
        let settled = self.resolver.inputs(step, planned)?;
        let (urn, kind) = (step.target.urn.clone(), step.kind.clone());
        let query = match (&planned.import, step.action) {
            (Some(id), Action::Import) => Query::Id {
                urn,
                kind,
                id: id.clone(),
            },
            _ => Query::Inputs {
                urn,
                kind,
                inputs: settled.inputs.clone(),
            },
        };
        let key = self.connection(step);
        let source = self.source(step, key.as_ref())?;
        let cx = self
            .means
            .call(step.id, &step.target.urn, &(self.executor.mint)(), step.timeout);
        self.running(step, Phase::Looking(settled));
        let (id, means) = (step.id, self.means.clone());
        let call = execute(Job::Look(Box::new(query)), source, cx, id, means);
        self.started.push(call.map(move |report| (id, report)).boxed());
        Ok(None)
    }

    fn create(&mut self, step: &Step) -> Result<Option<(Did, bool)>, Trouble> {
        let settled = self.resolver.inputs(step, self.desired(step)?)?;
        let again = step.takes.iter().any(|taken| taken.urn == step.target.urn);
        self.make(step, settled, Did::Created, again)
    }

    /// Begins the create of a step's resource.
    pub(super) fn make(
        &mut self,
        step: &Step,
        settled: Settled,
        did: Did,
        replaced: bool,
    ) -> Result<Option<(Did, bool)>, Trouble> {
        let mut entry = Box::new(self.entry(step, &settled, None));
        entry.generation = step.target.generation;
        let sent = Sent::new(did, replaced);
        let (operation, inputs) = (Operation::Create, settled.inputs);
        self.send(
            step,
            Draft {
                operation,
                entry,
                before: None,
                inputs,
                sent,
            },
        )
    }

    fn change(&mut self, step: &Step) -> Result<Option<(Did, bool)>, Trouble> {
        let settled = self.resolver.inputs(step, self.desired(step)?)?;
        let Some(before) = self.before(step) else {
            // Vacated, or gone with what it was in.
            return if matches!(step.action, Action::Refill | Action::Replace) {
                self.make(step, settled, Did::Replaced, true)
            } else {
                Err(missing(step))
            };
        };
        let forced = self.forced(step, &before);
        match self
            .resolver
            .verdict(step, &before.record, &settled.inputs, forced)?
        {
            Verdict::Replace(why) if step.action == Action::Refill => {
                let why: Vec<String> = why.iter().map(ToString::to_string).collect();
                let message = format!(
                    "{} must be replaced for {}, which was not decided in time",
                    step.address,
                    why.join(", ")
                );
                Err(Trouble::new("StrongerThanPlanned", message)
                    .hint("run epid up again: the new plan shows it"))
            }
            Verdict::Replace(_) => self.replace(step, settled, &before),
            Verdict::Update => self.update(step, settled, before),
            Verdict::Same if step.undo_drift || step.unmarked || !before.record.incomplete.is_empty() => {
                self.update(step, settled, before)
            }
            Verdict::Same => {
                let entry = Entry {
                    generation: kept_generation(step, &before),
                    ..self.entry(step, &settled, Some(&before))
                };
                let changes = self.changes_of_record(&before, entry);
                self.quietly(changes).map(Some)
            }
        }
    }

    /// True where a promised replacement is due whatever the values are.
    pub(super) fn forced(&self, step: &Step, before: &Entry) -> bool {
        let Some(with) = &step.replaced_with else {
            return false;
        };
        let replaced = |id: &StepId| self.schedule.status(*id) == Status::Done { replaced: true };
        *with == step.target.urn
            || before.provider != self.connection(step)
            || self.replacing.get(with).is_some_and(replaced)
    }

    fn update(
        &mut self,
        step: &Step,
        settled: Settled,
        before: Arc<Entry>,
    ) -> Result<Option<(Did, bool)>, Trouble> {
        let before = self.moved(step, before)?;
        let mut entry = Box::new(self.entry(step, &settled, Some(&before)));
        entry.generation = before.generation;
        entry.unmarked = false;
        let (operation, inputs) = (Operation::Update, settled.inputs);
        let (before, sent) = (Some(Box::new((*before).clone())), Sent::new(Did::Updated, false));
        self.send(
            step,
            Draft {
                operation,
                entry,
                before,
                inputs,
                sent,
            },
        )
    }

    fn replace(
        &mut self,
        step: &Step,
        settled: Settled,
        before: &Arc<Entry>,
    ) -> Result<Option<(Did, bool)>, Trouble> {
        let provider = self.executor.providers.of(&step.kind);
        let key = provider.and_then(|p| p.identity(&step.kind, settled.inputs.value()));
        let realms = [before.provider.as_ref(), self.connection(step).as_ref()].map(|p| self.realm(p));
        if key.is_some() && key == before.key && realms[0] == realms[1] {
            let name = key.map(|k| k.to_string()).unwrap_or_default();
            let message = format!(
                "the new {} would be called {name} as the old one is",
                step.address
            );
            return Err(Trouble::new("SameName", message)
                .hint("run epid up again: the new plan deletes the old one first"));
        }
        self.make(step, settled, Did::Replaced, true)
    }

    fn remove(&mut self, step: &Step) -> Result<Option<(Did, bool)>, Trouble> {
        let found = self
            .executor
            .session
            .with(|snapshot| snapshot.entries.get(&step.target).cloned());
        let Some(before) = found else {
            return Ok(Some((Did::Nothing, step.action == Action::Vacate)));
        };
        let vacate = step.action == Action::Vacate;
        let realm = self.realm(before.provider.as_ref());
        let name = before.key.clone().map(|key| (realm, key));
        let kept = name
            .and_then(|name| self.held.get(&name))
            .is_some_and(|holder| *holder != step.target);
        if before.role == Role::Vacant || kept || (vacate && before.retain_on_delete) {
            let change = if vacate {
                Change::Put(Box::new(vacant(&before)))
            } else {
                Change::Remove(step.target.clone())
            };
            self.record(None, Ending::Done, vec![change])?;
            return Ok(Some((Did::Forgotten, vacate)));
        }
        let entry = Box::new(if vacate {
            vacant(&before)
        } else {
            (*before).clone()
        });
        let did = if vacate { Did::Vacated } else { Did::Deleted };
        let draft = Draft {
            operation: Operation::Delete,
            entry,
            before: Some(Box::new((*before).clone())),
            inputs: Resolved::default(),
            sent: Sent::new(did, vacate),
        };
        self.send(step, draft)
    }

    /// Begins a call and sends it off. A run that was told to stop while the step was looking sends nothing: the step is left.
    pub(super) fn send(&mut self, step: &Step, draft: Draft) -> Result<Option<(Did, bool)>, Trouble> {
        if self.means.control.stop() > Stop::No {
            self.leave_undone(step);
            return Ok(None);
        }
        let holder = draft.before.as_deref().unwrap_or(&draft.entry);
        let key = holder.provider.clone();
        let source = self.source(step, key.as_ref())?;
        let token = (self.executor.mint)();
        let before = draft.before.as_deref();
        let record = before.map(|before| Box::new(before.record.clone()));
        let reclaimed = self.reclaimed(step, before);
        let begun = self.now();
        let intent = Intent {
            token: token.clone(),
            operation: draft.operation,
            entry: draft.entry,
            before: draft.before,
            partial: None,
            begun,
        };
        let begin = self.append(JournalEntry::Begin(Box::new(intent)))?;
        self.running(
            step,
            Phase::Sent {
                token: token.clone(),
                sent: draft.sent,
            },
        );
        let cx = self
            .means
            .call(step.id, &step.target.urn, &token, step.timeout)
            .with_paths(step.facts.ignore_changes.as_slice().into(), reclaimed);
        let (id, means, kind) = (step.id, self.means.clone(), step.kind.clone());
        let (operation, inputs) = (draft.operation, draft.inputs);
        let job = Job::Change {
            operation,
            kind,
            inputs,
            record,
            begin,
        };
        let call = execute(job, source, cx, id, means);
        self.started.push(call.map(move |report| (id, report)).boxed());
        Ok(None)
    }

    /// What the plan showed being taken back from those who changed it: drift that is undone, and drift that was accepted
    /// until the program says something else, which it does now.
    fn reclaimed(&self, step: &Step, before: Option<&Entry>) -> Arc<[Path]> {
        let undone = self.drifted.get(&step.target.urn).filter(|_| step.undo_drift);
        let undone = undone
            .into_iter()
            .flat_map(|drift| &drift.changes)
            .map(|c| c.path.clone());
        let planned = step.desired.iter().flat_map(|planned| &planned.overrides);
        let kept: Vec<&Path> = planned.map(|(path, _)| path).collect();
        let accepted = before.into_iter().flat_map(|entry| entry.overrides.keys());
        let ended = accepted.filter(|path| !kept.contains(path)).cloned();
        undone.chain(ended).collect()
    }

    pub(super) fn running(&mut self, step: &Step, phase: Phase) {
        let Some(active) = self.active.get_mut(&step.id) else {
            return;
        };
        active.phase = phase;
        // A step may need several calls, and starts once.
        if !std::mem::replace(&mut active.told, true) {
            self.started(step);
        }
    }

    /// A record under the name its step has, journalled before anything is sent under it.
    fn moved(&mut self, step: &Step, before: Arc<Entry>) -> Result<Arc<Entry>, Trouble> {
        if *before.urn() == step.target.urn {
            return Ok(before);
        }
        let mut entry = (*before).clone();
        entry.record.urn = step.target.urn.clone();
        entry.generation = step.target.generation;
        let key = entry.key_of();
        let changes = self
            .executor
            .session
            .with(|snapshot| renamed(snapshot, &before, entry));
        self.record(None, Ending::Done, changes)?;
        self.executor
            .session
            .with(|snapshot| snapshot.entries.get(&key).cloned())
            .ok_or_else(|| missing(step))
    }

    /// The record a step will make: with the inputs, facts and provider of the step, all else from before.
    pub(super) fn entry(&mut self, step: &Step, settled: &Settled, before: Option<&Entry>) -> Entry {
        let mut entry = before.cloned().unwrap_or_else(|| {
            let record = Record {
                urn: step.target.urn.clone(),
                kind: step.kind.clone(),
                id: Arc::from(""),
                applied: Value::Null,
                resolved: Value::Map(Map::default()),
                outputs: Value::Map(Map::default()),
                incomplete: Vec::new(),
                attempted: Vec::new(),
            };
            let order = self.next_order;
            self.next_order += 1;
            Entry {
                order,
                ..Entry::new(record)
            }
        });
        entry.record.urn = step.target.urn.clone();
        entry.record.kind = step.kind.clone();
        entry.record.applied = settled.inputs.value().clone();
        entry.overrides.clone_from(&settled.overrides);
        entry.source.clone_from(&step.source);
        entry.provider = self.connection(step);
        if provider_type(&step.kind).is_none() {
            let provider = self.executor.providers.of(&step.kind);
            entry.key = provider.and_then(|p| p.identity(&step.kind, settled.inputs.value()));
        }
        let facts = &step.facts;
        entry.dependencies.clone_from(&facts.dependencies);
        entry.deleted_with.clone_from(&facts.deleted_with);
        entry.served_by.clone_from(&facts.served_by);
        entry.outside = facts.outside;
        entry.protect = facts.protect;
        entry.retain_on_delete = facts.retain_on_delete;
        entry.ignore_changes.clone_from(&facts.ignore_changes);
        entry.delete_before_replace = facts.delete_before_replace;
        entry.replace_on_changes.clone_from(&facts.replace_on_changes);
        entry.timeouts = facts.timeouts;
        entry
    }
}

/// A record of which nothing is left in a cloud: it holds no connection any more.
pub(super) fn vacant(before: &Entry) -> Entry {
    Entry {
        role: Role::Vacant,
        provider: None,
        ..before.clone()
    }
}

/// The generation of a record that is not replaced: under another name, one that nothing there has had.
pub(super) fn kept_generation(step: &Step, before: &Entry) -> Generation {
    if *before.urn() == step.target.urn {
        before.generation
    } else {
        step.target.generation
    }
}
