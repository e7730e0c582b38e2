//! Up, preview, destroy and refresh: plan, show, ask, apply.
//!
//! | module | what it knows |
//! |---|---|
//! | `planning` | from stacks to plans: what is recorded, what other stacks offer, what exists |
//! | `executing` | from plans to runs: the lock, recovery, the calls, the words at the end |
//! | `refresh` | what was changed outside: told, or accepted |
//! | `import` | records of what exists, by its id |
//! | `wanted` | what is to be imported, and what is wrong with that |
//! | `sharing` | what stacks have to do with each other |

mod executing;
mod import;
mod planning;
mod refresh;
mod sharing;
mod wanted;

use std::sync::Arc;

use epid_provider::Map;

use crate::apply::{Control, Stop, Stopper};
use crate::cli::args::{Destroy, Drifted, Preview, SelectionArgs, StacksArgs, Up};
use crate::cli::error::Error;
use crate::cli::exit::Exit;
use crate::cli::saved_plan::SavedPlan;
use crate::cli::ui::{Shown, count, document, is_long, render_plan};
use crate::cli::unfinished::Unfinished;
use crate::cli::waiting::patiently;
use crate::cli::workspace::Workspace;
use crate::cli::world::World;
use crate::cli::{Context, saved_plan, surroundings};
use crate::graph::Selector;
use crate::plan::{Mode, Plan, Refresh, Selection};
use crate::program::StackFile;
use crate::state::{Intent, Location, Snapshot, is_sandbox};

pub(crate) use executing::started;
pub(crate) use import::import;
pub(crate) use refresh::refresh;

/// What a run is asked to do, whichever stack it is for.
pub(super) struct Asked {
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
    /// Nothing in a cloud is changed, whatever the program says: a refresh.
    reads: bool,
    /// Wait for a stack that another run holds.
    wait: bool,
    /// Show what is declared of every new resource.
    details: bool,
}

impl Asked {
    /// True where resources of the stack are left alone.
    fn is_limited(&self) -> bool {
        !self.selection.targets.is_empty() || !self.selection.excludes.is_empty()
    }

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
            reads: false,
            wait: false,
            details: false,
        })
    }

    fn reading(mut self, args: crate::cli::args::RefreshArgs) -> Self {
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
        return Ok(crate::cli::served::found(&workspace.project.root).is_none());
    }
    Ok(simulated)
}

/// The saved plan that `epid up` is to execute, where it is to execute one.
pub(crate) fn saved_plan(workspace: &Workspace, args: &Up) -> Result<Option<SavedPlan>, Error> {
    let open = |path| saved_plan::open(workspace, path);
    args.plan.as_deref().map(open).transpose()
}

pub(crate) fn is_simulated_plan(plan: &Plan) -> bool {
    is_sandbox(&plan.header.world)
}

/// True where time may jump while a saved plan is executed.
pub(crate) fn is_paused_for(workspace: &Workspace, plan: &Plan) -> bool {
    #[cfg(feature = "sandbox")]
    if is_simulated_plan(plan) {
        return crate::cli::served::found(&workspace.project.root).is_none();
    }
    #[cfg(not(feature = "sandbox"))]
    let _ = (workspace, plan);
    false
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
    let asked = args.one.sandbox;
    let simulated = |stack: &&StackFile| Workspace::simulated(stack, asked);
    if asked || (!stacks.is_empty() && stacks.iter().all(simulated)) {
        let holder = surroundings::holder(&context.command).to_string();
        World::sandbox(workspace, writes.then_some(&*holder))
    } else {
        Ok(World::cloud())
    }
}

/// The world for a run that writes there; with `wait` once no other process has the sandbox.
async fn taken_world(
    context: &Context,
    workspace: &Workspace,
    stacks: &[&StackFile],
    args: &StacksArgs,
    (wait, control): (bool, &Control),
) -> Result<World, Error> {
    let open = async || world(context, workspace, stacks, args, true);
    tokio::select! {
        biased;
        () = control.reached(Stop::Drain) => Err(Error::interrupted()),
        opened = patiently(context.terminal, wait, open) => opened,
    }
}

/// What stops a command that changes something, from here on.
fn heard() -> Control {
    let (stopper, control) = Stopper::new();
    surroundings::hear_signals(&stopper);
    control
}

/// `epid up`.
pub(crate) async fn up(
    context: &Context,
    workspace: &Workspace,
    args: &Up,
    saved: Option<SavedPlan>,
) -> Result<Exit, Error> {
    let control = heard();
    let mut asked = Asked::new(Mode::Up, &args.selection, &args.replace)?.reading(args.refresh);
    asked.parallel = args.parallel;
    asked.copy = args.copy;
    asked.details = args.details;
    asked.wait = args.wait;
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
    let mut stacks_args = args.stacks.clone();
    stacks_args.one.sandbox |= saved.as_ref().is_some_and(|saved| is_simulated_plan(&saved.plan));
    let world = taken_world(context, workspace, &stacks, &stacks_args, (args.wait, &control)).await?;
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
        _ => run.all(&args.stacks, &stacks).await,
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
    let workspace = leaving(workspace, &args.stacks).await?;
    let stacks = choose(&workspace, &args.stacks)?;
    let world = taken_world(context, &workspace, &stacks, &args.stacks, (args.wait, &control)).await?;
    let stacks = sharing::users_first(&workspace, &world, stacks).await?;
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
    let exit = run.all(&args.stacks, &stacks).await;
    world.close()?;
    exit
}

/// A project for removing stacks: one that is named counts, too, that has no file any more. `--all` leaves such alone: where
/// states are shared, its file may be in another branch.
async fn leaving(workspace: Workspace, args: &StacksArgs) -> Result<Workspace, Error> {
    if args.all {
        return Ok(workspace);
    }
    let asked = args.one.sandbox;
    let workspace = workspace.with_forgotten(args.one.stack.as_deref()).await?;
    let stack = match workspace.stack(args.one.stack.as_deref()) {
        Err(_) if workspace.is_without_stacks() && args.one.stack.is_none() => {
            return Err(workspace.without_stacks().await?);
        }
        stack => stack?,
    };
    if stack.sandbox && !asked && !workspace.has_file(&stack.name) {
        // Time passes as it does outside, until it is known that nothing else is meant.
        return Err(
            Error::invalid(format!("stack `{}` is recorded in the sandbox only", stack.name))
                .hint("add --sandbox; its file, which could say so, is gone"),
        );
    }
    Ok(workspace)
}

/// `epid preview`.
pub(crate) async fn preview(context: &Context, workspace: Workspace, args: &Preview) -> Result<Exit, Error> {
    let mode = if args.destroy { Mode::Destroy } else { Mode::Up };
    let workspace = if mode == Mode::Destroy {
        leaving(workspace, &args.stacks).await?
    } else {
        workspace
    };
    let workspace = &workspace;
    let mut stacks = choose(workspace, &args.stacks)?;
    surroundings::wipe_at_interrupt(context.terminal.live);
    let world = world(context, workspace, &stacks, &args.stacks, false)?;
    if mode == Mode::Destroy {
        stacks = sharing::users_first(workspace, &world, stacks).await?;
    }
    let mut asked = Asked::new(mode, &args.selection, &args.replace)?.reading(args.refresh);
    asked.details = args.details;
    let run = Running {
        context,
        workspace,
        world: &world,
        asked: &asked,
        // It writes nothing, so a signal may just end it.
        control: Control::unstoppable(),
        yes: true,
    };
    if args.save.is_some() {
        // A plan holds the values that it sends.
        run.require_secrets(&stacks).await?;
    }
    run.tell_forgotten(&args.stacks, &stacks).await?;
    let mut planned = run.plan_all(&stacks).await?;
    run.show(&planned);
    run.show_unclear(&planned).await?;
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
    async fn all(&self, args: &StacksArgs, stacks: &[&StackFile]) -> Result<Exit, Error> {
        self.tell_forgotten(args, stacks).await?;
        self.require_secrets(stacks).await?;
        self.check_before_recovery(stacks).await?;
        for stack in stacks {
            self.recover(stack).await?;
        }
        let planned = self.unless_stopped(self.plan_all(stacks)).await?;
        if self.asked.mode == Mode::Destroy {
            self.refuse_consumed(&planned, stacks, args.all).await?;
        }
        self.show(&planned);
        let changes = planned.iter().any(|p| !p.plan.is_empty());
        let question = if self.asked.mode == Mode::Destroy {
            "Delete all this?"
        } else {
            "Do this?"
        };
        if changes && !self.agreed(question).await? {
            return Ok(Exit::Done);
        }
        let several = planned.len() > 1 && !self.context.terminal.json;
        let mut planned = planned.into_iter();
        while let Some(next) = planned.next() {
            if several && self.control.stop() > Stop::No {
                self.tell_left(&[next].into_iter().chain(planned).collect::<Vec<_>>());
                return Err(Error::interrupted());
            }
            if several && !next.plan.is_empty() {
                let header = &next.plan.header;
                let title = format!("\n{}/{}", header.project, header.stack);
                let terminal = self.context.terminal;
                terminal.line(&terminal.paint.bold(&title));
            }
            let done = self.execute(next).await?;
            if done != Some(Exit::Done) {
                self.tell_left(planned.as_slice());
                return Ok(done.unwrap_or(Exit::Done));
            }
        }
        Ok(Exit::Done)
    }

    /// Whether somebody says yes, or has said so.
    async fn agreed(&self, question: &'static str) -> Result<bool, Error> {
        let terminal = self.context.terminal;
        if self.yes {
            return Ok(true);
        }
        // On a thread that may block: time stands still in the sandbox meanwhile, and Ctrl-C is heard.
        let answer = tokio::task::spawn_blocking(move || terminal.consents(false, question));
        let answer = async { answer.await.map_err(|died| Error::failed(died.to_string()))? };
        self.unless_stopped(answer).await
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

    /// A plan of a stack that holds so many records, as people see it.
    fn text(&self, stack: &StackFile, plan: &Plan, recorded: usize) -> String {
        let terminal = self.context.terminal;
        let component = |address: &str| {
            let name = address.split('[').next().unwrap_or(address);
            let mut declared = stack.program.resources.iter();
            declared.find(|d| *d.name == *name).map(|d| d.kind.clone())
        };
        let shown = Shown {
            paint: terminal.paint,
            width: terminal.width,
            cuts: terminal.cuts,
            details: self.asked.details,
            recorded,
            refreshes: self.asked.reads,
            component: &component,
        };
        render_plan(plan, shown)
    }

    /// Tells of calls of other runs that may have happened or not: a preview finds nothing out, as that is written down.
    async fn show_unclear(&self, planned: &[Planned<'_>]) -> Result<(), Error> {
        let terminal = self.context.terminal;
        for planned in planned {
            let intents = &planned.basis.snapshot.intents;
            if intents.is_empty() {
                continue;
            }
            let unfinished = Unfinished::of(self.workspace, &planned.location).await?;
            if terminal.json {
                let call = |intent: &Arc<Intent>| serde_json::json!({"urn": intent.entry.urn().as_str(), "operation": intent.operation});
                terminal.json(&serde_json::json!({
                    "event": "unclear",
                    "stack": planned.stack.name,
                    "calls": intents.values().map(call).collect::<Vec<_>>(),
                    "goesOn": unfinished.as_ref().map_or(Some(false), Unfinished::goes_on),
                }));
                continue;
            }
            let calls: Vec<String> = intents
                .values()
                .map(|intent| {
                    let operation = format!("{:?}", intent.operation).to_lowercase();
                    format!("{operation} of {}", intent.entry.urn().path())
                })
                .collect();
            let (who, next) = match &unfinished {
                None => (
                    "a run has ended since this was planned".to_owned(),
                    "; run it again",
                ),
                Some(run) => (
                    run.words(),
                    if run.goes_on() == Some(true) {
                        "; run it again once that has ended"
                    } else {
                        "; `epid up`, `refresh` or `destroy` first find out, keep what was done and do what was not"
                    },
                ),
            };
            terminal.note(&format!(
                "{who}, and {} may have happened or not: {}. The plan takes them for not done{next}",
                count(calls.len(), "call", "calls"),
                calls.join(", ")
            ));
        }
        Ok(())
    }

    fn show(&self, planned: &[Planned<'_>]) {
        let terminal = self.context.terminal;
        for (at, planned) in planned.iter().enumerate() {
            if terminal.json {
                terminal.json(&document(&planned.plan));
            } else {
                let gap = if at > 0 { "\n" } else { "" };
                let text = self.text(planned.stack, &planned.plan, planned.recorded);
                terminal.print(&format!("{gap}{text}"));
            }
        }
        if !terminal.json && !self.asked.details && planned.iter().any(|planned| is_long(&planned.plan)) {
            let line = "--details shows what is declared of new resources";
            terminal.line(&format!("  {}", terminal.paint.dim(line)));
        }
    }
}
