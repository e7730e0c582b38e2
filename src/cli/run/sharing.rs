//! What stacks have to do with each other: outputs, marks, and refusing to take away what is used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use epid_provider::Urn;

use super::{Planned, Running};
use crate::cli::args::StacksArgs;
use crate::cli::error::Error;
use crate::cli::ui::{count, principal, resources};
use crate::cli::workspace::Workspace;
use crate::cli::world::{World, flag};
use crate::plan::{Action, Mode, Plan, PlannedChange, PlannedOutput};
use crate::program::StackFile;
use crate::state::{Location, Outputs, Session, Snapshot, StateError};

/// The stacks, each after those that use its outputs: by their files, and by the marks of those whose files say nothing.
pub(super) async fn users_first<'a>(
    workspace: &Workspace,
    world: &World,
    stacks: Vec<&'a StackFile>,
) -> Result<Vec<&'a StackFile>, Error> {
    let mut users: BTreeMap<&str, BTreeSet<Arc<str>>> = BTreeMap::new();
    for stack in &stacks {
        for (producer, _) in stack.references.values() {
            users.entry(producer).or_default().insert(stack.name.clone());
        }
        let marked = workspace
            .store
            .consumers(&workspace.location(world, &stack.name))
            .await?;
        let marked = marked.into_iter().map(|consumer| consumer.stack);
        users.entry(&stack.name).or_default().extend(marked);
    }
    // Those of a round of broken files come as they are.
    let mut order: Vec<&StackFile> = Vec::new();
    let mut waiting: Vec<&StackFile> = stacks.into_iter().rev().collect();
    while !waiting.is_empty() {
        let is_used = |stack: &&StackFile| {
            let users = users.get(&*stack.name);
            let waits = |other: &&StackFile| {
                other.name != stack.name && users.is_some_and(|u| u.contains(&other.name))
            };
            waiting.iter().any(waits)
        };
        let next = waiting.iter().position(|stack| !is_used(stack)).unwrap_or(0);
        order.push(waiting.remove(next));
    }
    Ok(order)
}

impl Running<'_> {
    /// Names the stacks that have resources here and no file any more, where all stacks were asked for.
    pub(super) async fn tell_forgotten(&self, args: &StacksArgs, stacks: &[&StackFile]) -> Result<(), Error> {
        if args.all {
            self.tell_all_forgotten().await?;
            if stacks.is_empty() && self.asked.mode == Mode::Destroy {
                return Err(self.workspace.without_stacks().await?);
            }
            if stacks.is_empty() {
                return Err(Error::invalid("the project has no stacks").hint("write one: stacks/dev.toml"));
            }
        }
        Ok(())
    }

    async fn tell_all_forgotten(&self) -> Result<(), Error> {
        let mut found = self.workspace.forgotten().await?;
        found.retain(|(location, recorded)| {
            *location.world == *self.world.id && recorded.as_ref().is_none_or(|snapshot| !snapshot.is_empty())
        });
        if found.is_empty() {
            return Ok(());
        }
        let terminal = self.context.terminal;
        if terminal.json {
            let names: Vec<&str> = found.iter().map(|(location, _)| &*location.stack).collect();
            terminal.json(&serde_json::json!({
                "event": "stacksWithoutFile", "stacks": names,
            }));
            return Ok(());
        }
        for (location, recorded) in found {
            let holds = recorded.map_or_else(
                || "what it holds cannot be read".to_owned(),
                |snapshot| {
                    count(
                        resources(&snapshot),
                        "resource is recorded",
                        "resources are recorded",
                    )
                },
            );
            let stack = &location.stack;
            let sandbox = flag(&self.world.id);
            let next = format!("it is left as it is; `epid destroy --stack {stack}{sandbox}` removes it");
            terminal.warn(&format!("stack `{stack}` has no file any more ({holds}): {next}"));
        }
        Ok(())
    }

    /// Refuses a plan that was made with other outputs of other stacks.
    pub(super) async fn refuse_stale(
        &self,
        stack: &StackFile,
        plan: &Plan,
        used: &BTreeMap<String, Option<String>>,
    ) -> Result<(), Error> {
        for (producer, digest) in self.digests(stack, plan.header.mode).await? {
            if used.get(&producer) != Some(&digest) {
                return Err(Error::invalid(format!(
                    "the outputs of stack `{producer}` have changed since the plan was made"
                ))
                .hint("`epid preview --save` makes a new one"));
            }
        }
        Ok(())
    }

    /// The digests of the outputs that a stack uses, by the stack that offers them.
    pub(super) async fn digests(
        &self,
        stack: &StackFile,
        mode: Mode,
    ) -> Result<BTreeMap<String, Option<String>>, Error> {
        let mut digests = BTreeMap::new();
        if mode == Mode::Destroy {
            return Ok(digests);
        }
        for (producer, _) in stack.references.values() {
            let location = self.workspace.location(self.world, producer);
            let outputs = self.workspace.store.outputs(&location).await?;
            digests.insert(producer.to_string(), outputs.map(|outputs| outputs.digest));
        }
        Ok(digests)
    }

    /// What a stack has told others; nothing where that is damaged, as it is told anew.
    pub(super) async fn published(&self, location: &Location) -> Result<Option<Outputs>, Error> {
        match self.workspace.store.outputs(location).await {
            Err(StateError::Corrupt { .. }) => Ok(None),
            published => Ok(published?),
        }
    }

    /// Refuses a plan that takes away what other stacks use.
    pub(super) async fn refuse_loss(&self, location: &Location, plan: &Plan) -> Result<(), Error> {
        if self.asked.mode == Mode::Destroy || self.asked.reads {
            return Ok(());
        }
        let consumers = self.consumers(location).await?;
        if consumers.is_empty() {
            return Ok(());
        }
        let lost: BTreeSet<&Urn> = principal(plan)
            .into_iter()
            .filter(|s| matches!(s.action, Action::Replace | Action::Refill | Action::Delete))
            .filter(|s| {
                let may = |c: &PlannedChange| c.replace != epid_provider::Replace::No;
                s.changes.is_empty() || s.changes.iter().any(may)
            })
            .map(|s| &s.target.urn)
            .collect();
        let published = self.published(location).await?;
        let published = published.map(|outputs| outputs.values).unwrap_or_default();
        // What is told as before is not lost, whatever is done behind it.
        let changes = |output: &&PlannedOutput| published.get(&output.name) != Some(&output.foreseen);
        for PlannedOutput { name, value, .. } in plan.outputs.iter().filter(changes) {
            let behind = value
                .template
                .references()
                .into_iter()
                .flat_map(|m| plan.names.resources(&m.reference));
            if let Some(urn) = behind.into_iter().find(|urn| lost.contains(urn)) {
                return Err(Error::failed(format!(
                    "`{}` would be replaced or deleted, or may be, but output `{name}` of it is used by {}",
                    urn.path(),
                    names(&consumers)
                ))
                .hint("destroy those stacks first, or keep the resource"));
            }
        }
        let offered: BTreeSet<&str> = plan.outputs.iter().map(|output| &*output.name).collect();
        match published.keys().find(|name| !offered.contains(&***name)) {
            Some(name) => Err(Error::failed(format!(
                "output `{name}` would be removed, but {} may use it",
                names(&consumers)
            ))
            .hint("keep the output, or destroy those stacks first")),
            None => Ok(()),
        }
    }

    /// The stacks that use the outputs of a stack and have resources.
    pub(super) async fn consumers(&self, location: &Location) -> Result<Vec<Location>, Error> {
        let mut living = Vec::new();
        for consumer in self.workspace.store.consumers(location).await? {
            // One whose key is elsewhere counts: nobody here can say that it is empty.
            match self.workspace.recorded(&consumer).await {
                Ok(recorded) if recorded.snapshot.is_empty() => {}
                Ok(_) => living.push(consumer),
                Err(Error::State(error)) if error.is_missing_key() => {
                    living.push(consumer);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(living)
    }

    /// Refuses to destroy what stacks use that are not destroyed before it, also where `all` were asked for.
    pub(super) async fn refuse_consumed(
        &self,
        planned: &[Planned<'_>],
        stacks: &[&StackFile],
        all: bool,
    ) -> Result<(), Error> {
        for (at, planned) in planned.iter().enumerate() {
            let before: BTreeSet<&str> = stacks.iter().take(at).map(|s| &*s.name).collect();
            let mut consumers = self.consumers(&planned.location).await?;
            consumers.retain(|c| !before.contains(&*c.stack));
            if !consumers.is_empty() {
                return Err(in_use(&planned.location, &consumers, all));
            }
        }
        Ok(())
    }

    /// Tells the stacks around this one what is about to happen to it.
    pub(super) async fn begin(
        &self,
        session: &Arc<Session>,
        stack: &StackFile,
        location: &Location,
    ) -> Result<(), Error> {
        if self.asked.mode == Mode::Up {
            // A destroy that did not end is over: whoever uses this stack may go on.
            session.stop_closing().await?;
            self.announce(stack, location).await
        } else {
            Ok(session.start_closing().await?)
        }
    }

    /// Tells the stacks around this one what became of that, and whether all of it was done.
    pub(super) async fn end(
        &self,
        session: &Arc<Session>,
        stack: &StackFile,
        location: &Location,
        through: bool,
    ) -> Result<(), Error> {
        match self.asked.mode {
            Mode::Destroy => {
                if session.with(Snapshot::is_empty) {
                    self.workspace.withdraw(stack, location, false).await?;
                    self.workspace.store.unpublish(location).await?;
                }
                session.stop_closing().await?;
            }
            // What was made of another stack's outputs may be there until a run went through without them.
            Mode::Up if through && !self.asked.is_limited() => {
                self.workspace.withdraw(stack, location, true).await?;
            }
            Mode::Up => {}
        }
        Ok(())
    }

    /// Leaves a marker with every stack that this one refers to, then makes sure that none is being destroyed.
    pub(super) async fn announce(&self, stack: &StackFile, location: &Location) -> Result<(), Error> {
        for (producer, _) in stack.references.values() {
            let producer = self.workspace.location(self.world, producer);
            self.workspace.store.add_consumer(&producer, location).await?;
        }
        Ok(())
    }
}

pub(super) fn names(consumers: &[Location]) -> String {
    let names: Vec<String> = consumers.iter().map(|c| format!("`{}`", c.stack)).collect();
    names.join(" and ")
}

fn in_use(location: &Location, consumers: &[Location], all: bool) -> Error {
    let first = consumers.first().map_or("", |c| &*c.stack);
    let sandbox = flag(&location.world);
    let first = format!("`epid destroy --stack {first}{sandbox}` first");
    Error::failed(format!(
        "stack `{}` is used by {}",
        location.stack,
        names(consumers)
    ))
    .hint(if all {
        first
    } else {
        format!("{first}, or destroy all in order with --all")
    })
}
