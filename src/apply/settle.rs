//! What an ended call means for its step.

use std::sync::Arc;

use epid_provider::{Observed, Operation, Present, Replace, Token};

use super::call::{Connected, Report};
use super::changes;
use super::dispatcher::Dispatcher;
use super::event::{Did, Trouble};
use super::prepare::Draft;
use super::resolve::{Resolver, Settled};
use crate::graph::{elsewhere, overlay};
use crate::plan::{ANOTHERS, Action, Step, StepId, quoted, told};
use crate::state::{Change, Ending, Entry, Role};

/// What is running for a step.
pub(super) enum Phase {
    /// Nothing yet.
    Starting,
    /// A provider is connected to.
    Connecting {
        entry: Box<Entry>,
        before: Option<Arc<Entry>>,
    },
    /// Something is looked for.
    Looking(Settled),
    /// Whose it is, before anything is sent.
    Whose,
    /// What has the name for which a create was refused.
    NameUsed(Trouble),
    /// A mutating call.
    Sent { token: Token, sent: Sent },
}

/// What a mutating call comes to where it succeeds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    did: Did,
    replaced: bool,
}

impl Sent {
    pub(super) fn new(did: Did, replaced: bool) -> Self {
        Self { did, replaced }
    }
}

pub(super) type Ended = Result<Option<(Did, bool)>, Trouble>;

impl Dispatcher<'_> {
    /// Takes the end of what a step was waiting for; it may need more.
    pub(super) fn ended(&mut self, id: StepId, report: Report) {
        let Some(step) = self.plan.step(id) else { return };
        let Some(active) = self.active.get_mut(&id) else {
            return;
        };
        let result = match (std::mem::replace(&mut active.phase, Phase::Starting), report) {
            (Phase::Connecting { entry, before }, Report::Connected(connection)) => self
                .connected(step, *entry, before.as_deref(), connection)
                .map(Some),
            (Phase::Looking(settled), Report::Seen(observed)) => self.seen(step, settled, observed),
            (Phase::Whose, Report::Seen(observed)) => self.whose(step, observed),
            (Phase::NameUsed(refused), report) => Err(self.name_used(step, refused, &report)),
            (Phase::Sent { token, .. }, Report::Failed(failure)) if self.is_name_used(&token, &failure) => {
                self.look_by_name(step, &token, &failure)
            }
            (Phase::Sent { token, sent }, report) => self.called(step, &token, sent, report).map(Some),
            (_, Report::Failed(failure) | Report::Unclear(failure)) => Err(Trouble::from(&failure)),
            _ => Err(defect(step, "an answer came that nothing waited for")),
        };
        match result {
            Ok(None) => {}
            Ok(Some(done)) => self.end(step, Ok(done)),
            Err(trouble) => self.end(step, Err(trouble)),
        }
    }

    fn connected(
        &mut self,
        step: &Step,
        mut entry: Entry,
        before: Option<&Entry>,
        Connected(connection): Connected,
    ) -> Result<(Did, bool), Trouble> {
        let identity: Arc<str> = Arc::from(connection.identity());
        let mut replaced = false;
        if let Some(before) = before {
            let recorded = before
                .identity
                .as_ref()
                .filter(|recorded| ***recorded != *identity);
            replaced = before.generation != entry.generation;
            match recorded {
                Some(recorded) if !replaced => {
                    return Err(Trouble::from(&elsewhere(recorded, &identity)));
                }
                Some(_) => entry.overrides.clear(),
                None if replaced => {
                    // It leads where it led before: what it made is still there.
                    replaced = false;
                    entry.generation = before.generation;
                }
                None => {}
            }
        }
        entry.identity = Some(identity.clone());
        entry.record.id = identity;
        entry.role = Role::Live;
        let key = entry.key_of();
        let unchanged = before == Some(&entry);
        let changes = self
            .executor
            .session
            .with(|snapshot| changes::settled(snapshot, Box::new(entry), &step.takes));
        self.record(None, Ending::Done, if unchanged { Vec::new() } else { changes })?;
        self.connections.put(key, connection);
        Ok((Did::Connected, replaced))
    }

    fn seen(&mut self, step: &Step, settled: Settled, observed: Observed) -> Ended {
        match (step.action, observed) {
            (Action::Read, Observed::Present(present)) => self.read(step, &settled, &present).map(Some),
            (Action::Read, Observed::Absent) => Err(Trouble::new(
                "NotFound",
                format!("{} finds nothing", step.address),
            )
            .hint("check what it looks for, and in which account and region")),
            (Action::Adopt, Observed::Absent) => self.make(step, settled, Did::Created, false),
            (_, Observed::Absent) => {
                let id = step
                    .desired
                    .as_ref()
                    .and_then(|d| d.import.clone())
                    .unwrap_or_default();
                let message = format!("there is no {} `{id}` to import", step.kind);
                Err(Trouble::new("NotFound", message).hint("check the id in the option `import`"))
            }
            (_, Observed::Present(present)) => self.take_over(step, settled, &present),
        }
    }

    /// Nothing is sent to what another stack has meanwhile.
    fn whose(&mut self, step: &Step, observed: Observed) -> Ended {
        if let Observed::Present(present) = observed {
            self.may_change(&present).map_err(|trouble| {
                let hint = format!("`epid state rm {}` lets go of it here", quoted(&step.address));
                trouble.hint(format!("{hint}; then {ANOTHERS}"))
            })?;
        }
        self.begin(step)
    }

    /// Pins what a lookup found.
    fn read(&mut self, step: &Step, settled: &Settled, present: &Present) -> Result<(Did, bool), Trouble> {
        let before = self.before(step);
        let mut entry = self.entry(step, settled, before.as_deref());
        entry.generation = step.target.generation;
        entry.record.id = present.id.clone();
        let schema = self.executor.providers.schema(&step.kind);
        entry.record.outputs = schema.map_or_else(
            || present.outputs.clone(),
            |s| s.mark_outputs(&present.outputs, &entry.record.applied),
        );
        let mut takes = step.takes.clone();
        takes.extend(step.from.clone().filter(|from| from.urn != step.target.urn));
        let changes = self
            .executor
            .session
            .with(|snapshot| changes::settled(snapshot, Box::new(entry), &takes));
        self.record(None, Ending::Done, changes)?;
        Ok((Did::Read, false))
    }

    /// Takes an existing resource into the state; updates it where it differs from what is desired, or is nobody's.
    fn take_over(&mut self, step: &Step, settled: Settled, present: &Present) -> Ended {
        self.may_take(step, present)?;
        let provider = self.executor.providers.of(&step.kind).cloned().ok_or_else(|| {
            Trouble::new(
                "UnknownProvider",
                format!("this epid has no provider `{}`", step.kind.provider()),
            )
        })?;
        let mut entry = self.entry(step, &settled, None);
        entry.generation = step.target.generation;
        entry.record.id = present.id.clone();
        let schema = self.executor.providers.schema(&step.kind);
        entry.record.outputs = schema.as_ref().map_or_else(
            || present.outputs.clone(),
            |s| s.mark_outputs(&present.outputs, &entry.record.applied),
        );
        let did = if step.action == Action::Adopt {
            Did::Adopted
        } else {
            Did::Imported
        };
        let drift = provider.drift(&entry.record, present);
        let fixed: Vec<String> = drift
            .changes
            .iter()
            .filter(|change| change.replace != Replace::No)
            .map(|change| {
                format!(
                    "{} is {} and would have to be {}",
                    change.path, change.after, change.before
                )
            })
            .collect();
        if !fixed.is_empty() {
            let message = format!(
                "{} cannot be {} as declared: {}",
                step.address,
                if did == Did::Adopted {
                    "adopted"
                } else {
                    "imported"
                },
                fixed.join("; ")
            );
            return Err(
                Trouble::new("Different", message).hint("declare it as it is, and change it afterwards")
            );
        }
        let only_recorded = step.desired.as_ref().is_some_and(|desired| desired.record_only);
        if !only_recorded {
            Resolver::takes_over(step, &present.id, &drift.changes)?;
        }
        entry.unmarked = present.owner.is_none() && entry.provider.is_some();
        let mut found = entry.clone();
        for change in &drift.changes {
            let applied = overlay(&found.record.applied, change.path.segments(), &change.after);
            found.record.applied = applied;
        }
        if only_recorded && provider.drift(&found.record, present).is_empty() {
            // As declared but for what differs: that, and nothing else, is left to change.
            entry = found;
        } else if !drift.is_empty() {
            entry.record.applied = schema.map_or_else(
                || present.properties.clone(),
                |s| s.mark_inputs(&present.properties),
            );
        }
        let changes = self
            .executor
            .session
            .with(|snapshot| changes::settled(snapshot, Box::new(entry.clone()), &step.takes));
        self.record(None, Ending::Done, changes)?;
        // Nobody's is marked as this stack's, by an update that changes nothing else: or another could take it too.
        if only_recorded || (drift.is_empty() && present.owner.is_some()) {
            return Ok(Some((did, false)));
        }
        let before = Some(Box::new(entry.clone()));
        entry.record.applied = settled.inputs.value().clone();
        entry.unmarked = false;
        let (operation, inputs) = (Operation::Update, settled.inputs);
        let sent = Sent::new(did, false);
        self.send(
            step,
            Draft {
                operation,
                entry: Box::new(entry),
                before,
                inputs,
                sent,
            },
        )
    }

    /// Nothing is taken from another stack, nor twice.
    fn may_take(&self, step: &Step, present: &Present) -> Result<(), Trouble> {
        let realm = self.realm(self.connection(step).as_ref());
        let same = |entry: &&Entry| {
            entry.role == Role::Live
                && entry.record.id == present.id
                && entry.record.kind.unversioned() == step.kind.unversioned()
                && *entry.urn() != step.target.urn
        };
        let recorded = self.identified.get(&(realm, present.id.clone()));
        let twice = self.executor.session.with(|snapshot| {
            let mut entries = recorded.into_iter().flatten().filter_map(|key| snapshot.get(key));
            Some(entries.find(same)?.urn().path().to_owned())
        });
        if let Some(path) = twice {
            let message = format!("{} is already recorded as `{path}`", present.id);
            return Err(Trouble::new("Owned", message).hint("name it in `aliases` to rename it"));
        }
        self.may_change(present).map_err(|trouble| trouble.hint(ANOTHERS))
    }

    /// What bears the mark of another stack is that one's.
    fn may_change(&self, present: &Present) -> Result<(), Trouble> {
        match &present.owner {
            Some(owner) if owner.lineage != self.means.lineage => {
                let message = format!("{} belongs to another stack ({})", present.id, told(owner));
                Err(Trouble::new("Owned", message))
            }
            _ => Ok(()),
        }
    }

    /// The end of a mutating call.
    fn called(
        &mut self,
        step: &Step,
        token: &Token,
        sent: Sent,
        report: Report,
    ) -> Result<(Did, bool), Trouble> {
        let intent = self
            .executor
            .session
            .with(|snapshot| snapshot.intents.get(token).cloned());
        let intent = intent.ok_or_else(|| defect(step, "a call ended that was not begun"))?;
        let schema = self.executor.providers.schema(&step.kind);
        let schema = schema.as_deref();
        match report {
            Report::Done(made) => {
                let undone = made.as_ref().map(|m| m.incomplete.clone()).unwrap_or_default();
                let mut changes = self
                    .executor
                    .session
                    .with(|snapshot| changes::done(snapshot, &intent, made, schema, &step.takes));
                changes.extend(self.left_behind(step, sent));
                self.record(Some(token.clone()), Ending::Done, changes)
                    .map_err(unrecorded)?;
                if undone.is_empty() {
                    Ok((sent.did, sent.replaced))
                } else {
                    let message = format!("{} is not finished: {}", step.address, undone.join(", "));
                    Err(Trouble::new("Incomplete", message).hint("epid up finishes it"))
                }
            }
            Report::Half(partial, failure) => {
                let mut changes = self
                    .executor
                    .session
                    .with(|snapshot| changes::half_done(snapshot, &intent, &partial, schema, &step.takes));
                changes.extend(self.left_behind(step, sent));
                self.fail(token, changes, Trouble::from(&failure))
            }
            Report::Gone(failure) => self.fail(token, changes::vanished(&intent), Trouble::from(&failure)),
            Report::Failed(failure) => self.fail(token, Vec::new(), Trouble::from(&failure)),
            Report::Unclear(failure) => Err(Trouble {
                unclear: true,
                hint: failure
                    .hint
                    .clone()
                    .or_else(|| Some("the next run finds out".to_owned())),
                ..Trouble::from(&failure)
            }),
            Report::NotBegun(error) => Err(self.refused(error)),
            Report::Seen(_) | Report::Connected(_) => Err(defect(step, "an answer came to another question")),
        }
    }

    fn fail(
        &mut self,
        token: &Token,
        changes: Vec<Change>,
        trouble: Trouble,
    ) -> Result<(Did, bool), Trouble> {
        self.record(Some(token.clone()), Ending::Failed, changes)
            .map_err(unrecorded)?;
        Err(trouble)
    }

    /// The old record of a renamed resource, once the new one is made: it waits to be deleted, or was vacant.
    fn left_behind(&self, step: &Step, sent: Sent) -> Option<Change> {
        let from = step.from.as_ref().filter(|from| from.urn != step.target.urn)?;
        let old = self
            .executor
            .session
            .with(|snapshot| snapshot.entries.get(from).cloned())?;
        match old.role {
            Role::Live if sent.replaced => Some(Change::Put(Box::new(changes::condemned(&old)))),
            Role::Vacant => Some(Change::Remove(from.clone())),
            Role::Live | Role::Condemned => None,
        }
    }
}

/// The call took effect, and that could not be written.
fn unrecorded(trouble: Trouble) -> Trouble {
    Trouble {
        unclear: true,
        ..trouble.hint("the next run finds out what became of the call")
    }
}

/// What cannot happen, and did.
fn defect(step: &Step, what: &str) -> Trouble {
    let message = format!(
        "{}: {what}; this is a defect of epid, please report it",
        step.address
    );
    Trouble::new("Defect", message).hint("the next run looks at what became of it first")
}
