//! From stacks to plans: what is recorded, what other stacks offer, what exists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use epid_provider::{Failure, Map, Observed, Urn, Value};

use super::executing::digest_of;
use super::{Basis, Planned, Running};
use crate::cli::derivations::Derivations;
use crate::cli::error::Error;
use crate::cli::ui::{Reading, count, resources};
use crate::cli::workspace::{Pending, Recorded, Workspace};
use crate::graph::ResourceGraph;
use crate::observe::{Depth, Looking, Seen, observe};
use crate::plan::{Mode, Plan, Refresh, Request, Selection, plan};
use crate::program::StackFile;
use crate::state::{JournalEntry, Location, Session, Snapshot, StateError};

impl Running<'_> {
    pub(super) async fn plan_all<'a>(&self, stacks: &[&'a StackFile]) -> Result<Vec<Planned<'a>>, Error> {
        let mut pending = Pending::new();
        let mut planned = Vec::new();
        for (at, stack) in stacks.iter().enumerate() {
            let one = match self.plan(stack, &pending).await {
                Ok(one) => one,
                // What is wrong with the other stacks is said too.
                Err(Error::Input(mut problems, _)) if self.asked.mode == Mode::Up => {
                    for problem in stacks
                        .iter()
                        .skip(at + 1)
                        .flat_map(|stack| self.workspace.beyond(stack))
                    {
                        if !problems.contains(&problem) {
                            problems.push(problem);
                        }
                    }
                    return Err(self.workspace.input(problems));
                }
                Err(error) => return Err(error),
            };
            // Also where nothing is made: what was never published, or is another now, is published by this run.
            let outputs = one.plan.outputs.iter();
            let foreseen: Map = outputs
                .map(|output| (output.name.clone(), output.foreseen.clone()))
                .collect();
            if !one.plan.is_empty()
                || foreseen != one.basis.snapshot.outputs
                || self.published(&one.location).await?.is_none()
            {
                pending.insert(stack.name.clone(), foreseen);
            }
            planned.push(one);
        }
        Ok(planned)
    }

    /// Tells everything that is wrong with the programs before what earlier runs left is looked into, where they left
    /// something: that is the first thing that a run writes down.
    pub(super) async fn check_before_recovery(&self, stacks: &[&StackFile]) -> Result<(), Error> {
        if self.asked.mode == Mode::Destroy || !self.left_unclear(stacks).await? {
            return Ok(());
        }
        let mut pending = Pending::new();
        for stack in stacks {
            // What runs before says something else then, perhaps.
            pending.insert(stack.name.clone(), Workspace::unknown_outputs(stack));
        }
        let mut problems = Vec::new();
        for stack in stacks {
            match self.check(stack, &pending).await {
                Err(Error::Input(found, _)) => {
                    for problem in found {
                        if !problems.contains(&problem) {
                            problems.push(problem);
                        }
                    }
                }
                checked => checked?,
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(self.workspace.input(problems))
        }
    }

    async fn left_unclear(&self, stacks: &[&StackFile]) -> Result<bool, Error> {
        for stack in stacks {
            let location = self.workspace.location(self.world, &stack.name);
            if !self
                .workspace
                .recorded(&location)
                .await?
                .snapshot
                .intents
                .is_empty()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn check(&self, stack: &StackFile, pending: &Pending) -> Result<(), Error> {
        let location = self.workspace.location(self.world, &stack.name);
        let recorded = self.workspace.recorded(&location).await?;
        let derivations = Derivations::of(&recorded);
        let references = self.references(stack, pending, &derivations).await?;
        self.workspace
            .graph(stack, self.world, references, &derivations)?;
        Ok(())
    }

    pub(super) async fn plan<'a>(
        &self,
        stack: &'a StackFile,
        pending: &Pending,
    ) -> Result<Planned<'a>, Error> {
        let location = self.workspace.location(self.world, &stack.name);
        let recorded = self.workspace.recorded(&location).await?;
        self.plan_from(stack, location, &recorded, pending).await
    }

    /// The plan of a stack on what is recorded of it.
    pub(super) async fn plan_from<'a>(
        &self,
        stack: &'a StackFile,
        location: Location,
        recorded: &Recorded,
        pending: &Pending,
    ) -> Result<Planned<'a>, Error> {
        let derivations = Derivations::of(recorded);
        let references = self.references(stack, pending, &derivations).await?;
        let reading = Reading::begin(self.context.terminal, self.to_read(&recorded.snapshot));
        let graph = if self.asked.mode == Mode::Destroy {
            ResourceGraph::empty()
        } else {
            self.workspace
                .graph(stack, self.world, references.clone(), &derivations)?
        };
        let seen = self.observe(&graph, recorded).await?;
        let request = Request {
            graph: &graph,
            snapshot: &recorded.snapshot,
            observed: &seen.found,
            providers: &self.world.providers,
            mode: self.asked.mode,
            selection: &self.asked.selection,
            refresh: self.asked.refresh,
            digests: &derivations,
        };
        let plan = plan(&request).map_err(|problems| Error::plan(problems, &self.workspace.sources))?;
        drop(reading);
        self.refuse_loss(&location, &plan).await?;
        Ok(Planned {
            stack,
            location,
            plan,
            recorded: resources(&recorded.snapshot),
            basis: Basis {
                snapshot: recorded.snapshot.clone(),
                references,
                passing: derivations.lacked_key() || !seen.found.is_empty() || !seen.failed.is_empty(),
            },
        })
    }

    /// What is done before a plan is there, for who waits for that.
    fn to_read(&self, snapshot: &Snapshot) -> String {
        let stack = &snapshot.header.stack;
        if self.asked.look {
            let resources = count(resources(snapshot), "resource", "resources");
            format!("reading {resources} of {stack}")
        } else {
            format!("planning {stack}")
        }
    }

    /// What a stack may use of other stacks; nothing where it is destroyed.
    pub(super) async fn references(
        &self,
        stack: &StackFile,
        pending: &Pending,
        derivations: &Derivations,
    ) -> Result<Map, Error> {
        match self.asked.mode {
            Mode::Up => {
                let workspace = self.workspace;
                workspace
                    .references(stack, self.world, pending, derivations)
                    .await
            }
            Mode::Destroy => Ok(Map::default()),
        }
    }

    /// True where planning again would come to the same.
    pub(super) async fn holds(&self, session: &Session, shown: &Planned<'_>) -> Result<bool, Error> {
        let basis = &shown.basis;
        let same = session.with(|snapshot| {
            let header = &basis.snapshot.header;
            let first = header.lineage.is_empty() && snapshot.header.serial == 0;
            let begins = first && basis.snapshot.is_empty() && snapshot.is_empty();
            begins || snapshot.is_same(&basis.snapshot)
        });
        if basis.passing || !same {
            return Ok(false);
        }
        let (pending, derivations) = (Pending::new(), Derivations::default());
        let references = self.references(shown.stack, &pending, &derivations).await?;
        Ok(references == basis.references)
    }

    /// Plans again on what is recorded now.
    pub(super) async fn plan_again<'a>(
        &self,
        session: &Session,
        shown: &Planned<'a>,
    ) -> Result<Planned<'a>, Error> {
        let recorded = Recorded {
            snapshot: session.snapshot(),
            keys: Some(session.keys().clone()),
        };
        let nothing_pends = Pending::new();
        let fresh = self.plan_from(shown.stack, shown.location.clone(), &recorded, &nothing_pends);
        let mut fresh = self.unless_stopped(fresh).await?;
        if self.asked.refresh == Refresh::Record {
            fresh.plan = fresh.plan.records_alone();
        }
        Ok(fresh)
    }

    /// Refuses a saved plan that makes again what was gone, and is there by now.
    pub(super) async fn refuse_returned(&self, session: &Arc<Session>, plan: &Plan) -> Result<(), Error> {
        let gone: BTreeSet<&Urn> = plan.drift.iter().filter(|d| d.gone).map(|d| &d.urn).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let snapshot = session.snapshot();
        let reading = Reading::begin(
            self.context.terminal,
            format!("reading {}", snapshot.header.stack),
        );
        let digests = digest_of(session);
        let executor = self.executor(session, &digests);
        let looking = Looking {
            graph: &ResourceGraph::empty(),
            snapshot: &snapshot,
            providers: &self.world.providers,
            depth: Depth::Refresh,
            only: &|urn| gone.contains(urn),
            digests: &digests,
            call: &|urn| executor.look(urn),
        };
        let seen = self.unless_stopped(async { Ok(observe(&looking).await) }).await?;
        drop(reading);
        // That something cannot be read never means that it is gone.
        if let Some((urn, failure)) = unread(&seen, &snapshot) {
            let message = format!(
                "whether `{}` is still gone cannot be read: {}",
                urn.path(),
                failure.message
            );
            return Err(
                Error::failed(message).hint(failure.hint.as_deref().unwrap_or("run the command again"))
            );
        }
        let mut found = seen.found.iter();
        match found.find(|(_, observed)| matches!(observed, Observed::Present(_))) {
            Some((urn, _)) => Err(Error::invalid(format!(
                "`{}` is there again: the plan was made while it was gone",
                urn.path()
            ))
            .hint("`epid preview --refresh --save` makes a new one")),
            None => Ok(()),
        }
    }

    /// What the secrets of a stack come to, as things stand; only a run that opens them can tell.
    async fn derived(
        &self,
        stack: &StackFile,
        recorded: &Recorded,
    ) -> Result<BTreeMap<Arc<str>, Value>, Error> {
        let Some(keys) = &recorded.keys else {
            return Ok(BTreeMap::new());
        };
        let derivations = Derivations::noting(keys);
        let references = self.references(stack, &Pending::new(), &derivations).await?;
        let mut records = recorded.snapshot.entries.values().map(|entry| &entry.record);
        let any = !stack.secrets.is_empty()
            || stack.program.config.iter().any(|declared| declared.secret)
            || references.iter().any(|(_, value)| value.has_secret())
            || records.any(|record| record.applied.has_secret() || record.outputs.has_secret());
        if !any {
            return Ok(BTreeMap::new());
        }
        let graph = self
            .workspace
            .graph(stack, self.world, references, &derivations)?;
        let request = Request {
            graph: &graph,
            snapshot: &recorded.snapshot,
            observed: &BTreeMap::new(),
            providers: &self.world.providers,
            mode: Mode::Up,
            selection: &Selection::default(),
            refresh: Refresh::Undo,
            digests: &derivations,
        };
        // What stands in the way of a plan was told by the one before; what it evaluated is noted all the same.
        drop(plan(&request));
        Ok(derivations.noted())
    }

    /// Writes down what the secrets of a stack come to, where that has changed.
    pub(super) async fn note_derived(&self, session: &Session, stack: &StackFile) -> Result<(), Error> {
        let recorded = Recorded {
            snapshot: session.snapshot(),
            keys: Some(session.keys().clone()),
        };
        let derived = self.derived(stack, &recorded).await?;
        if derived != *recorded.snapshot.derived {
            let ticket = session.append(JournalEntry::Derived(derived))?;
            session.durable(ticket).await?;
        }
        Ok(())
    }

    /// Refuses to change a stack whose secrets cannot be opened, before anything is shown.
    pub(super) async fn require_secrets(&self, stacks: &[&StackFile]) -> Result<(), Error> {
        for stack in stacks {
            let location = self.workspace.location(self.world, &stack.name);
            self.workspace.writable(&location).await?;
        }
        Ok(())
    }

    /// What exists, as far as it was asked for. Without a connection a plan is less sharp, but there is one; only what was
    /// asked for by name has to be answered.
    pub(super) async fn observe(&self, graph: &ResourceGraph, recorded: &Recorded) -> Result<Seen, Error> {
        if self.asked.offline {
            return Ok(Seen::default());
        }
        if let Some(keys) = recorded.keys.as_ref().filter(|keys| !keys.opens_secrets())
            && self.asked.look
        {
            // What a service tells of a secret has no digest to compare it with.
            return Err(Error::from(StateError::NeedsWholeKey {
                what: "comparing with what exists".to_owned(),
                id: keys.id().to_owned(),
            }));
        }
        let snapshot = &recorded.snapshot;
        let derivations = Derivations::of(recorded);
        let session = Arc::new(Session::in_memory(snapshot.header.clone()));
        let executor = self.executor(&session, &derivations);
        let destroys = self.asked.mode == Mode::Destroy;
        // Nothing can be deleted one by one in a cluster that somebody deleted.
        let containers: BTreeSet<&Urn> = snapshot
            .entries
            .values()
            .filter(|_| destroys)
            .filter_map(|entry| entry.deleted_with.as_ref())
            .collect();
        let seen = observe(&Looking {
            graph,
            snapshot,
            providers: &self.world.providers,
            depth: if self.asked.look || destroys {
                Depth::Refresh
            } else {
                Depth::Needed
            },
            only: &|urn| !destroys || containers.contains(urn),
            digests: &derivations,
            call: &|urn| executor.look(urn),
        })
        .await;
        match unread(&seen, snapshot) {
            Some((urn, failure)) if self.asked.look => {
                let without = "leave --refresh out to plan without reading";
                let problem = Error::failed(format!("{} cannot be read: {}", urn.path(), failure.message));
                Err(match &failure.hint {
                    Some(hint) => problem.hint(&**hint),
                    None if self.asked.reads => problem,
                    None => problem.hint(without),
                })
            }
            _ => Ok(seen),
        }
    }
}

/// The first thing that could not be read, but for what went with a container that is seen to be gone.
fn unread<'s>(seen: &'s Seen, snapshot: &Snapshot) -> Option<(&'s Urn, &'s Failure)> {
    let gone = |urn: &Urn| {
        let container = snapshot.live(urn).and_then(|entry| entry.deleted_with.as_ref());
        container.is_some_and(|urn| matches!(seen.found.get(urn), Some(Observed::Absent)))
    };
    seen.failed
        .iter()
        .find(|(urn, _)| !gone(urn))
        .map(|(urn, failure)| (urn, failure))
}
