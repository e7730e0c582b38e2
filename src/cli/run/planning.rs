//! From stacks to plans: what is recorded, what other stacks offer, what exists.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use epid_provider::{Map, Observed, Urn};

use super::{Basis, Planned, Running};
use crate::cli::bound::beyond;
use crate::cli::error::Error;
use crate::cli::workspace::{Pending, Recorded};
use crate::graph::ResourceGraph;
use crate::observe::{Depth, Looking, Seen, observe};
use crate::plan::{Action, Mode, Plan, Refresh, Request, plan};
use crate::program::StackFile;
use crate::state::{Location, Session};

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
                || self.workspace.store.outputs(&one.location).await?.is_none()
            {
                pending.insert(stack.name.clone(), foreseen);
            }
            planned.push(one);
        }
        Ok(planned)
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
        let keys = recorded.keys.as_ref();
        let keyless = Cell::new(false);
        let digest = |bytes: &[u8]| {
            keyless.set(keyless.get() || keys.is_none());
            keys.map(|keys| keys.digest_bytes(bytes))
        };
        let references = self.references(stack, pending).await?;
        let graph = if self.asked.mode == Mode::Destroy {
            ResourceGraph::empty()
        } else {
            self.workspace
                .graph(stack, self.world, references.clone(), &digest)?
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
            digest: &digest,
        };
        let plan = plan(&request).map_err(|problems| Error::plan(problems, &self.workspace.sources))?;
        self.refuse_loss(&location, &plan).await?;
        Ok(Planned {
            stack,
            location,
            plan,
            recorded: recorded.snapshot.entries.len(),
            basis: Basis {
                snapshot: recorded.snapshot.clone(),
                references,
                passing: keyless.get() || !seen.found.is_empty() || !seen.failed.is_empty(),
            },
        })
    }

    /// What a stack may use of other stacks; nothing where it is destroyed.
    pub(super) async fn references(&self, stack: &StackFile, pending: &Pending) -> Result<Map, Error> {
        match self.asked.mode {
            Mode::Up => self.workspace.references(stack, self.world, pending).await,
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
        Ok(self.references(shown.stack, &Pending::new()).await? == basis.references)
    }

    /// Plans again on what is recorded now, within what was shown.
    pub(super) async fn plan_again(&self, session: &Session, shown: Planned<'_>) -> Result<Plan, Error> {
        let recorded = Recorded {
            snapshot: session.snapshot(),
            keys: Some(session.keys().clone()),
        };
        let nothing_pends = Pending::new();
        let fresh = self.plan_from(shown.stack, shown.location, &recorded, &nothing_pends);
        let mut plan = self.unless_stopped(fresh).await?.plan;
        let only_records = shown.plan.steps.iter().all(|s| s.action == Action::Record);
        if self.asked.refresh == Refresh::Accept && only_records {
            plan = plan.only(|step| step.action == Action::Record);
        }
        let beyond = beyond(&shown.plan, &plan);
        if beyond.is_empty() {
            return Ok(plan);
        }
        let names: Vec<&str> = beyond.iter().map(|urn| urn.path()).take(5).collect();
        let message = format!(
            "{}: more would change than was shown: {}",
            shown.stack.name,
            names.join(", ")
        );
        Err(Error::failed(message).hint("nothing of this stack was done; run it again to see what changes"))
    }

    /// What exists, as far as it was asked for. Without a connection a plan is less sharp, but there is one; only what was
    /// asked for by name has to be answered.
    pub(super) async fn observe(&self, graph: &ResourceGraph, recorded: &Recorded) -> Result<Seen, Error> {
        if self.asked.offline {
            return Ok(Seen::default());
        }
        let snapshot = &recorded.snapshot;
        let keys = recorded.keys.as_ref();
        let digest = |bytes: &[u8]| keys.map(|keys| keys.digest_bytes(bytes));
        let session = Arc::new(Session::in_memory(snapshot.header.clone()));
        let executor = self.executor(&session, &digest);
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
            digest: &digest,
            call: &|urn| executor.look(urn),
        })
        .await;
        let gone = |urn: &Urn| {
            let container = snapshot.live(urn).and_then(|entry| entry.deleted_with.as_ref());
            container.is_some_and(|urn| matches!(seen.found.get(urn), Some(Observed::Absent)))
        };
        match seen.failed.iter().find(|(urn, _)| !gone(urn)) {
            Some((urn, failure)) if self.asked.look => {
                let hint = "leave --refresh out to plan without reading";
                let message = format!("{} cannot be read: {}", urn.path(), failure.message);
                Err(Error::failed(message).hint(failure.hint.as_deref().unwrap_or(hint)))
            }
            _ => Ok(seen),
        }
    }
}
