//! Up, preview, destroy and refresh: plan, show, ask, apply.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use epid_provider::{Map, Observed, Urn};

use super::args::{Destroy, Drifted, Preview, Refresh as RefreshCommand, SelectionArgs, StacksArgs, Up};
use super::bound::beyond;
use super::error::Error;
use super::exit::Exit;
use super::saved_plan::{self, SavedPlan};
use super::ui::{Listener, Shown, document, principal, render_plan, summary};
use super::workspace::{Recorded, Workspace};
use super::world::World;
use super::{Context, surroundings};
use crate::apply::{Control, Event, Executor, Outcome, PlanRefused, Stop, Stopper};
use crate::graph::{ResourceGraph, Selector};
use crate::observe::{Depth, Looking, Seen, observe};
use crate::plan::{Action, Mode, Plan, PlannedOutput, Refresh, Request, Selection, plan};
use crate::program::StackFile;
use crate::state::{Location, Opening, Run, Session, Snapshot, StateError};

/// What a run is asked to do, whichever stack it is for.
struct Asked {
    mode: Mode,
    selection: Selection,
    /// Read everything that is recorded first.
    look: bool,
    refresh: Refresh,
    offline: bool,
    /// At most so many calls at once.
    parallel: Option<u16>,
    /// The stack may exist in another world already.
    copy: bool,
    /// Wait for a stack that another run holds.
    wait: bool,
}

impl Asked {
    fn new(mode: Mode, selection: &SelectionArgs, replace: &[String]) -> Result<Self, Error> {
        let selectors = |texts: &[String]| -> Result<Vec<Selector>, Error> {
            texts
                .iter()
                .map(|text| text.parse().map_err(Error::invalid))
                .collect()
        };
        Ok(Self {
            mode,
            selection: Selection {
                targets: selectors(&selection.target)?,
                excludes: selectors(&selection.exclude)?,
                replace: selectors(replace)?,
            },
            look: false,
            refresh: Refresh::Undo,
            offline: false,
            parallel: None,
            copy: false,
            wait: false,
        })
    }

    fn reading(mut self, args: super::args::RefreshArgs) -> Self {
        self.look = args.refresh.is_some();
        self.offline = args.offline;
        if args.refresh == Some(Drifted::Accept) {
            self.refresh = Refresh::Accept;
        }
        self
    }
}

/// A stack's plan and what it was made from.
struct Planned<'a> {
    stack: &'a StackFile,
    location: Location,
    plan: Plan,
    recorded: usize,
    basis: Basis,
}

/// What a plan follows from, as far as that may change until it is executed.
struct Basis {
    snapshot: Snapshot,
    references: Map,
    /// Something was asked of a cloud, or could not be told without keys: to be asked again.
    passing: bool,
}

/// True where time may jump: every stack that is meant runs in the sandbox, in this process.
pub(crate) fn is_paused(workspace: &Workspace, stacks: &StacksArgs) -> Result<bool, Error> {
    let simulated = is_simulated(workspace, stacks)?;
    #[cfg(feature = "sandbox")]
    if simulated {
        return Ok(super::served::found(&workspace.project.root).is_none());
    }
    Ok(simulated)
}

/// True where every stack that is meant runs in the sandbox.
pub(crate) fn is_simulated(workspace: &Workspace, stacks: &StacksArgs) -> Result<bool, Error> {
    if stacks.one.sandbox {
        return Ok(true);
    }
    let chosen = choose(workspace, stacks)?;
    let simulated = chosen.iter().filter(|s| s.sandbox).count();
    if simulated == 0 {
        Ok(false)
    } else if simulated == chosen.len() {
        Ok(true)
    } else {
        Err(
            Error::invalid("some of these stacks always run in the sandbox, and some do not")
                .hint("take them one by one, or all in the sandbox with --sandbox"),
        )
    }
}

fn choose<'a>(workspace: &'a Workspace, stacks: &StacksArgs) -> Result<Vec<&'a StackFile>, Error> {
    if stacks.all {
        workspace.in_order()
    } else {
        Ok(vec![workspace.stack(stacks.one.stack.as_deref())?])
    }
}

fn world(
    context: &Context,
    workspace: &Workspace,
    stacks: &[&StackFile],
    args: &StacksArgs,
    writes: bool,
) -> Result<World, Error> {
    if stacks
        .iter()
        .all(|stack| Workspace::simulated(stack, args.one.sandbox))
    {
        let holder = surroundings::holder(&context.command).to_string();
        World::sandbox(workspace, writes.then_some(&*holder))
    } else {
        Ok(World::cloud())
    }
}

/// How often whoever waits for a stack looks.
const LOOK: Duration = Duration::from_secs(1);

/// What stops a command that changes something, from here on.
fn heard() -> Control {
    let (stopper, control) = Stopper::new();
    surroundings::hear_signals(&stopper);
    control
}

/// `epid up`.
pub(crate) async fn up(context: &Context, workspace: &Workspace, args: &Up) -> Result<Exit, Error> {
    let control = heard();
    let mut asked = Asked::new(Mode::Up, &args.selection, &args.replace)?.reading(args.refresh);
    asked.parallel = args.parallel;
    asked.copy = args.copy;
    asked.wait = args.wait;
    let saved = match &args.plan {
        Some(path) => Some(saved_plan::open(workspace, path)?),
        None => None,
    };
    let stacks = match &saved {
        Some(saved) => {
            asked.mode = saved.plan.header.mode;
            vec![planned_stack(
                workspace,
                &saved.plan,
                args.stacks.one.stack.as_deref(),
            )?]
        }
        None => choose(workspace, &args.stacks)?,
    };
    let world = world(context, workspace, &stacks, &args.stacks, true)?;
    let run = Running {
        context,
        workspace,
        world: &world,
        asked: &asked,
        control,
        yes: args.yes,
    };
    let exit = match (saved, stacks.as_slice()) {
        (Some(saved), [stack]) => run.saved(stack, saved).await,
        _ => run.all(&stacks).await,
    };
    world.close()?;
    exit
}

/// The stack that a saved plan is of: the one that was named, where one was.
fn planned_stack<'a>(
    workspace: &'a Workspace,
    plan: &Plan,
    named: Option<&str>,
) -> Result<&'a StackFile, Error> {
    let of = &plan.header.stack;
    match named {
        Some(named) if *named != **of => Err(Error::invalid(format!(
            "the plan is of stack `{of}`, not of `{named}`"
        ))
        .hint(format!(
            "`epid preview --stack {named} --save FILE` makes one of it"
        ))),
        _ => workspace.stack(Some(of)),
    }
}

/// `epid destroy`.
pub(crate) async fn destroy(context: &Context, workspace: Workspace, args: &Destroy) -> Result<Exit, Error> {
    let control = heard();
    let workspace = workspace.with_forgotten(args.stacks.one.stack.as_deref()).await?;
    let mut stacks = choose(&workspace, &args.stacks)?;
    stacks.reverse();
    let world = world(context, &workspace, &stacks, &args.stacks, true)?;
    let mut asked = Asked::new(Mode::Destroy, &args.selection, &[])?;
    asked.parallel = args.parallel;
    asked.wait = args.wait;
    let run = Running {
        context,
        workspace: &workspace,
        world: &world,
        asked: &asked,
        control,
        yes: args.yes,
    };
    let exit = run.all(&stacks).await;
    world.close()?;
    exit
}

/// `epid preview`.
pub(crate) async fn preview(context: &Context, workspace: &Workspace, args: &Preview) -> Result<Exit, Error> {
    let mut stacks = choose(workspace, &args.stacks)?;
    let mode = if args.destroy { Mode::Destroy } else { Mode::Up };
    if mode == Mode::Destroy {
        stacks.reverse();
    }
    let world = world(context, workspace, &stacks, &args.stacks, false)?;
    let asked = Asked::new(mode, &args.selection, &args.replace)?.reading(args.refresh);
    let run = Running {
        context,
        workspace,
        world: &world,
        asked: &asked,
        // It writes nothing, so a signal may just end it.
        control: Control::unstoppable(),
        yes: true,
    };
    let mut planned = run.plan_all(&stacks).await?;
    run.show(&planned);
    let changes = planned
        .iter()
        .any(|p| !p.plan.is_empty() || !p.plan.drift.is_empty());
    let one = if planned.len() == 1 { planned.pop() } else { None };
    if let (Some(path), Some(one)) = (&args.save, one) {
        let references = run.digests(one.stack, one.plan.header.mode).await?;
        let saved = SavedPlan {
            plan: one.plan,
            references,
        };
        saved_plan::save(workspace, &saved, &context.folder.join(path))?;
        if context.terminal.json {
            context
                .terminal
                .json(&serde_json::json!({"event": "saved", "file": path}));
        } else {
            context.terminal.line(&format!(
                "\n  saved to {}: `epid up --plan` executes it",
                path.display()
            ));
        }
    }
    Ok(if args.expect_no_changes && changes {
        Exit::Changes
    } else {
        Exit::Done
    })
}

/// `epid refresh`.
pub(crate) async fn refresh(
    context: &Context,
    workspace: &Workspace,
    args: &RefreshCommand,
) -> Result<Exit, Error> {
    let control = heard();
    let stacks = choose(workspace, &args.stacks)?;
    let world = world(context, workspace, &stacks, &args.stacks, args.accept)?;
    let mut asked = Asked::new(Mode::Up, &SelectionArgs::default(), &[])?;
    asked.look = true;
    asked.refresh = Refresh::Accept;
    asked.wait = args.wait;
    let run = Running {
        context,
        workspace,
        world: &world,
        asked: &asked,
        control,
        yes: args.yes,
    };
    let mut exit = Exit::Done;
    for stack in stacks {
        let none = BTreeSet::new();
        let planned = run.plan(stack, &none);
        let mut planned = run.unless_stopped(planned).await?;
        planned.plan = planned.plan.only(|step| step.action == Action::Record);
        if context.terminal.json {
            context.terminal.json(&document(&planned.plan));
        } else {
            context.terminal.print(&run.text(&planned));
        }
        let drifted = !planned.plan.drift.is_empty();
        if args.accept && drifted {
            exit = exit.or(run.execute(planned).await?);
        } else if args.expect_no_changes && drifted {
            exit = exit.or(Exit::Changes);
        }
    }
    world.close()?;
    Ok(exit)
}

struct Running<'a> {
    context: &'a Context,
    workspace: &'a Workspace,
    world: &'a World,
    asked: &'a Asked,
    control: Control,
    yes: bool,
}

impl Running<'_> {
    /// Does what changes nothing, and gives it up where the run is told to stop.
    async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.control.reached(Stop::Drain) => Err(Error::interrupted()),
            done = work => done,
        }
    }

    /// Plans every stack, shows the plans, asks, and executes them one after the other.
    async fn all(&self, stacks: &[&StackFile]) -> Result<Exit, Error> {
        for stack in stacks {
            self.recover(stack).await?;
        }
        let planned = self.unless_stopped(self.plan_all(stacks)).await?;
        if self.asked.mode == Mode::Destroy {
            self.refuse_consumed(&planned, stacks).await?;
        }
        self.show(&planned);
        let changes = planned.iter().any(|p| !p.plan.is_empty());
        if changes && !self.yes {
            if !self.context.terminal.asks {
                return Err(Error::invalid("there is nobody to ask whether to do this")
                    .hint("add --yes, or run it in a terminal"));
            }
            let question = if self.asked.mode == Mode::Destroy {
                "Delete all this?"
            } else {
                "Do this?"
            };
            let terminal = self.context.terminal;
            // On a thread that may block: time stands still in the sandbox meanwhile, and Ctrl-C is heard.
            let answer = tokio::task::spawn_blocking(move || terminal.confirm(question));
            let answer = async { answer.await.map_err(|died| Error::failed(died.to_string())) };
            if !self.unless_stopped(answer).await? {
                self.context.terminal.note("nothing was done");
                return Ok(Exit::Done);
            }
        }
        let several = planned.len() > 1 && !self.context.terminal.json;
        let mut planned = planned.into_iter();
        while let Some(next) = planned.next() {
            if several && !next.plan.is_empty() {
                let header = &next.plan.header;
                let title = format!("\n{}/{}", header.project, header.stack);
                let terminal = self.context.terminal;
                terminal.line(&terminal.paint.bold(&title));
            }
            let done = self.execute(next).await?;
            if done != Exit::Done {
                self.tell_left(planned.as_slice());
                return Ok(done);
            }
        }
        Ok(Exit::Done)
    }

    /// Names the stacks that were not begun because one before them did not come to its end.
    fn tell_left(&self, planned: &[Planned<'_>]) {
        let left = planned.iter().filter(|p| !p.plan.is_empty());
        let left: Vec<&str> = left.map(|p| &*p.stack.name).collect();
        if left.is_empty() {
            return;
        }
        if self.context.terminal.json {
            let document = serde_json::json!({"event": "stacksLeft", "stacks": left});
            self.context.terminal.json(&document);
        } else {
            let text = format!("\n  stacks not begun: {}", left.join(", "));
            self.context.terminal.line(&text);
        }
    }

    /// Executes a saved plan.
    async fn saved(&self, stack: &StackFile, saved: SavedPlan) -> Result<Exit, Error> {
        let plan = saved.plan;
        let location = self.workspace.location(self.world, &stack.name);
        if *plan.header.world != *self.world.id {
            return Err(Error::invalid(format!(
                "the plan was made for {}, this run is in {}",
                plan.header.world, self.world.id
            ))
            .hint("--sandbox belongs to both `epid preview --save` and `epid up --plan`, or to neither"));
        }
        self.recover(stack).await?;
        for (producer, digest) in self.digests(stack, plan.header.mode).await? {
            if saved.references.get(&producer) != Some(&digest) {
                return Err(Error::invalid(format!(
                    "the outputs of stack `{producer}` have changed since the plan was made"
                ))
                .hint("`epid preview --save` makes a new one"));
            }
        }
        let session = self.open(&location).await?;
        let done = async {
            self.begin(&session, stack, &location).await?;
            let done = self.apply(&session, stack, plan).await;
            self.end(&session, &location, done).await
        };
        let done = done.await;
        let closed = session.close().await;
        let exit = done?;
        closed?;
        Ok(exit)
    }

    /// The digests of the outputs that a stack uses, by the stack that offers them.
    async fn digests(
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

    /// Looks into calls of an earlier run whose outcome was not written, where there are any.
    async fn recover(&self, stack: &StackFile) -> Result<(), Error> {
        let location = self.workspace.location(self.world, &stack.name);
        let recorded = self.workspace.recorded(&location).await?;
        if recorded.snapshot.intents.is_empty() {
            return Ok(());
        }
        let session = self.open(&location).await?;
        // What was found is kept also where the rest is given up.
        let done = self.unless_stopped(self.recover_in(&session)).await;
        session.close().await?;
        done
    }

    async fn recover_in(&self, session: &Arc<Session>) -> Result<(), Error> {
        let digest = digest_of(session);
        let executor = self.executor(session, &digest);
        let mut listener = Listener::new(self.context.terminal, None);
        executor
            .recover(&mut |event: Event| listener.hear(&event))
            .await?;
        Ok(())
    }

    fn executor<'e>(
        &'e self,
        session: &Arc<Session>,
        digest: &'e dyn Fn(&[u8]) -> Option<String>,
    ) -> Executor<'e> {
        let holder = surroundings::holder(&self.context.command);
        Executor {
            session: session.clone(),
            providers: &self.world.providers,
            clock: self.world.clock.clone(),
            control: self.control.clone(),
            mint: &surroundings::token,
            digest,
            run: Run {
                who: format!("{}@{}", holder.user, holder.host).into(),
                command: holder.command.into(),
                at: self.world.clock.now(),
                version: env!("CARGO_PKG_VERSION").into(),
                plan: None,
                commit: None,
            },
        }
    }

    async fn open(&self, location: &Location) -> Result<Arc<Session>, Error> {
        let mut opening = Opening::new(surroundings::holder(&self.context.command)).create();
        opening.another_world = self.asked.copy;
        let named = self
            .workspace
            .project
            .stack(&location.stack)
            .and_then(|stack| stack.key.clone());
        if let Some(id) = named {
            // The sandbox does without a key that a fresh clone does not have.
            let needed = !self.world.simulated || self.workspace.keys.find(&id)?;
            opening.key = needed.then(|| id.to_string());
        }
        let mut told = false;
        loop {
            let open = async { Ok(Session::open(&self.workspace.store, location, opening.clone()).await) };
            match self.unless_stopped(open).await? {
                Err(error @ StateError::Locked { .. }) if self.asked.wait => {
                    if !told {
                        self.context.terminal.note(&format!("waiting: {error}"));
                        told = true;
                    }
                    let pause = async {
                        surroundings::pause(LOOK).await;
                        Ok(())
                    };
                    self.unless_stopped(pause).await?;
                }
                opened => return Ok(Arc::new(opened?)),
            }
        }
    }

    async fn plan_all<'a>(&self, stacks: &[&'a StackFile]) -> Result<Vec<Planned<'a>>, Error> {
        let mut pending = BTreeSet::new();
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
            // Also where nothing is made: outputs that were never published are published by this run.
            if !one.plan.is_empty() || self.workspace.store.outputs(&one.location).await?.is_none() {
                pending.insert(stack.name.clone());
            }
            planned.push(one);
        }
        Ok(planned)
    }

    async fn plan<'a>(
        &self,
        stack: &'a StackFile,
        pending: &BTreeSet<Arc<str>>,
    ) -> Result<Planned<'a>, Error> {
        let location = self.workspace.location(self.world, &stack.name);
        let recorded = self.workspace.recorded(&location).await?;
        self.plan_from(stack, location, &recorded, pending).await
    }

    /// The plan of a stack on what is recorded of it.
    async fn plan_from<'a>(
        &self,
        stack: &'a StackFile,
        location: Location,
        recorded: &Recorded,
        pending: &BTreeSet<Arc<str>>,
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
    async fn references(&self, stack: &StackFile, pending: &BTreeSet<Arc<str>>) -> Result<Map, Error> {
        match self.asked.mode {
            Mode::Up => self.workspace.references(stack, self.world, pending).await,
            Mode::Destroy => Ok(Map::default()),
        }
    }

    /// True where planning again would come to the same.
    async fn holds(&self, session: &Session, shown: &Planned<'_>) -> Result<bool, Error> {
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
        Ok(self.references(shown.stack, &BTreeSet::new()).await? == basis.references)
    }

    /// What exists, as far as it was asked for. Without a connection a plan is less sharp, but there is one; only what was
    /// asked for by name has to be answered.
    async fn observe(&self, graph: &ResourceGraph, recorded: &Recorded) -> Result<Seen, Error> {
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

    /// Refuses a plan that takes away what other stacks use.
    async fn refuse_loss(&self, location: &Location, plan: &Plan) -> Result<(), Error> {
        if self.asked.mode == Mode::Destroy {
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
                s.changes.is_empty() || s.changes.iter().any(|c| c.replace == epid_provider::Replace::Yes)
            })
            .map(|s| &s.target.urn)
            .collect();
        for PlannedOutput { name, value, .. } in &plan.outputs {
            let behind = value
                .template
                .references()
                .into_iter()
                .flat_map(|m| plan.names.resources(&m.reference));
            if let Some(urn) = behind.into_iter().find(|urn| lost.contains(urn)) {
                return Err(Error::failed(format!(
                    "`{}` would be replaced or deleted, but output `{name}` of it is used by {}",
                    urn.path(),
                    names(&consumers)
                ))
                .hint("destroy those stacks first, or keep the resource"));
            }
        }
        let offered: BTreeSet<&str> = plan.outputs.iter().map(|output| &*output.name).collect();
        let published = self
            .workspace
            .store
            .outputs(location)
            .await?
            .map(|o| o.values)
            .unwrap_or_default();
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
    async fn consumers(&self, location: &Location) -> Result<Vec<Location>, Error> {
        let mut living = Vec::new();
        for consumer in self.workspace.store.consumers(location).await? {
            if !self.workspace.recorded(&consumer).await?.snapshot.is_empty() {
                living.push(consumer);
            }
        }
        Ok(living)
    }

    /// Refuses to destroy what stacks use that are not destroyed before it.
    async fn refuse_consumed(&self, planned: &[Planned<'_>], stacks: &[&StackFile]) -> Result<(), Error> {
        for (at, planned) in planned.iter().enumerate() {
            let before: BTreeSet<&str> = stacks.iter().take(at).map(|s| &*s.name).collect();
            let mut consumers = self.consumers(&planned.location).await?;
            consumers.retain(|c| !before.contains(&*c.stack));
            if !consumers.is_empty() {
                return Err(in_use(&planned.location, &consumers));
            }
        }
        Ok(())
    }

    fn text(&self, planned: &Planned<'_>) -> String {
        let terminal = self.context.terminal;
        let component = |address: &str| {
            let name = address.split('[').next().unwrap_or(address);
            let mut declared = planned.stack.program.resources.iter();
            declared.find(|d| *d.name == *name).map(|d| d.kind.clone())
        };
        let shown = Shown {
            paint: terminal.paint,
            width: terminal.width,
            recorded: planned.recorded,
            component: &component,
        };
        render_plan(&planned.plan, shown)
    }

    fn show(&self, planned: &[Planned<'_>]) {
        let terminal = self.context.terminal;
        for (at, planned) in planned.iter().enumerate() {
            if terminal.json {
                terminal.json(&document(&planned.plan));
            } else {
                let gap = if at > 0 { "\n" } else { "" };
                terminal.print(&format!("{gap}{}", self.text(planned)));
            }
        }
    }

    /// Opens the stack and executes what was shown; where something has changed since, what a new plan says, if it stays
    /// within that.
    async fn execute(&self, shown: Planned<'_>) -> Result<Exit, Error> {
        if shown.plan.header.lineage.is_empty() && shown.plan.is_empty() && shown.plan.outputs.is_empty() {
            return Ok(Exit::Done);
        }
        if self.control.stop() > Stop::No {
            return Err(Error::interrupted());
        }
        let session = self.open(&shown.location).await?;
        let done = self.execute_in(&session, shown).await;
        let closed = session.close().await;
        let exit = done?;
        closed?;
        Ok(exit)
    }

    async fn execute_in(&self, session: &Arc<Session>, shown: Planned<'_>) -> Result<Exit, Error> {
        let location = shown.location.clone();
        self.begin(session, shown.stack, &location).await?;
        let done = self.execute_shown(session, shown).await;
        self.end(session, &location, done).await
    }

    /// Tells the stacks around this one what is about to happen to it.
    async fn begin(
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

    /// Tells the stacks around this one what became of that.
    async fn end(
        &self,
        session: &Arc<Session>,
        location: &Location,
        done: Result<Exit, Error>,
    ) -> Result<Exit, Error> {
        if self.asked.mode == Mode::Destroy {
            if session.with(Snapshot::is_empty) {
                self.workspace.withdraw(location).await?;
            }
            session.stop_closing().await?;
        }
        done
    }

    async fn execute_shown(&self, session: &Arc<Session>, shown: Planned<'_>) -> Result<Exit, Error> {
        let stack = shown.stack;
        let plan = if self.holds(session, &shown).await? {
            self.refuse_loss(&shown.location, &shown.plan).await?;
            shown.plan
        } else {
            self.plan_again(session, shown).await?
        };
        self.apply(session, stack, plan).await
    }

    /// Plans again on what is recorded now, within what was shown.
    async fn plan_again(&self, session: &Session, shown: Planned<'_>) -> Result<Plan, Error> {
        let recorded = Recorded {
            snapshot: session.snapshot(),
            keys: Some(session.keys().clone()),
        };
        let nothing_pends = BTreeSet::new();
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

    /// Executes a plan in an open session and shows what happens.
    async fn apply(&self, session: &Arc<Session>, stack: &StackFile, mut plan: Plan) -> Result<Exit, Error> {
        let terminal = self.context.terminal;
        let header = session.with(|snapshot| snapshot.header.clone());
        if plan.header.lineage.is_empty() && header.serial == 0 {
            plan.header.lineage = header.lineage;
        }
        let digest = digest_of(session);
        let executor = self.executor(session, &digest);
        let mut listener = Listener::new(terminal, Some(&plan));
        if !terminal.json && plan.steps.iter().any(|s| s.action.touches_cloud()) {
            terminal.line("");
        }
        let begun = self.world.clock.now();
        let most = self.asked.parallel.map_or(usize::MAX, usize::from);
        let outcome = executor
            .apply_at_most(most, &plan, &mut |event| listener.hear(&event))
            .await;
        listener.end();
        let outcome = outcome.map_err(|refusal| refused(&refusal))?;
        let took = self.world.clock.now().since(begun);
        if self.asked.mode == Mode::Up && outcome.journal.is_none() {
            session.publish_outputs().await?;
        }
        self.report(stack, &plan, &outcome, took);
        Ok(exit(&outcome))
    }

    fn report(&self, stack: &StackFile, plan: &Plan, outcome: &Outcome, took: Duration) {
        let terminal = self.context.terminal;
        if terminal.json {
            let left = outcome.left.iter().filter_map(|id| plan.step(*id));
            let left: Vec<&str> = left.map(|step| step.target.urn.as_str()).collect();
            let failed: Vec<&str> = outcome.failed.iter().map(|f| f.urn.as_str()).collect();
            terminal.json(&serde_json::json!({
                "event": "result",
                "stack": stack.name,
                "exit": exit(outcome).code(),
                "failed": failed,
                "left": left,
                "outputs": super::ui::shown_json(&epid_provider::Value::Map(outcome.outputs.clone()), false),
            }));
            return;
        }
        if !(plan.is_empty() && outcome.is_success()) {
            terminal.print(&summary(outcome, plan, took, terminal));
        }
        if self.asked.mode == Mode::Up && !outcome.outputs.is_empty() {
            terminal.print(&super::ui::outputs(
                &outcome.outputs,
                terminal.paint,
                terminal.width,
            ));
        }
    }

    /// Leaves a marker with every stack that this one refers to, then makes sure that none is being destroyed.
    async fn announce(&self, stack: &StackFile, location: &Location) -> Result<(), Error> {
        let used: BTreeSet<&str> = stack
            .references
            .values()
            .map(|(producer, _)| &**producer)
            .collect();
        for other in &self.workspace.project.stacks {
            let producer = self.workspace.location(self.world, &other.name);
            if used.contains(&*other.name) {
                self.workspace.store.add_consumer(&producer, location).await?;
            } else {
                self.workspace.store.remove_consumer(&producer, location).await?;
            }
        }
        Ok(())
    }
}

fn names(consumers: &[Location]) -> String {
    let names: Vec<String> = consumers.iter().map(|c| format!("`{}`", c.stack)).collect();
    names.join(" and ")
}

fn in_use(location: &Location, consumers: &[Location]) -> Error {
    let first = consumers.first().map_or("", |c| &*c.stack);
    Error::failed(format!(
        "stack `{}` is used by {}",
        location.stack,
        names(consumers)
    ))
    .hint(format!(
        "`epid destroy --stack {first}` first, or destroy all in order with --all"
    ))
}

fn digest_of(session: &Arc<Session>) -> impl Fn(&[u8]) -> Option<String> + use<> {
    let keys = session.keys().clone();
    move |bytes| Some(keys.digest_bytes(bytes))
}

fn refused(refused: &PlanRefused) -> Error {
    Error::invalid(refused.to_string()).hint("`epid preview` shows what would change now")
}

fn exit(outcome: &Outcome) -> Exit {
    if outcome.interrupted {
        Exit::Interrupted
    } else if outcome.is_success() {
        Exit::Done
    } else {
        Exit::Failed
    }
}
