//! People: arguments, words, colour, exit codes, the environment, signals; and which providers exist.
//!
//! | module | what it knows |
//! |---|---|
//! | `args`, `exit`, `error` | what is asked, how it ends, what went wrong |
//! | `surroundings` | environment, wall clock, randomness, signals: read here and nowhere else |
//! | `workspace` | a project with its states and keys |
//! | `backend`, `split` | where the states are: a folder, a bucket, some here and some there |
//! | `passphrase` | where the passphrase of a key comes from |
//! | `world` | the real clouds or the sandbox, and their providers |
//! | `sandbox`, `served` | the simulated world: serving it, beginning anew; and its use while it is served |
//! | `run` | up, preview, destroy, refresh, import: plan, show, ask, apply |
//! | `bound` | whether a plan stays within the one that was shown |
//! | `waiting`, `unfinished` | others at work: waited for, or told of where only something is read |
//! | `derivations` | what secrets come to, for whoever may not see them |
//! | `saved_plan`, `sealed_world` | plans in files and the sandbox's world, encrypted |
//! | `commands` | everything else |
//! | `ui` | what people see |
//!
//! May use every room; no room may use it.

mod args;
mod backend;
mod bound;
mod commands;
mod derivations;
mod drawing;
mod error;
mod exit;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod passphrase;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;
mod saved_plan;
#[cfg(feature = "sandbox")]
mod sealed_world;
#[cfg(feature = "sandbox")]
mod served;
#[cfg(feature = "aws")]
mod split;
mod surroundings;
mod ui;
mod unfinished;
mod waiting;
mod workspace;
mod world;

use std::future::Future;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

pub use derivations::Derivations;
pub use exit::Exit;
#[cfg(feature = "sandbox")]
pub use world::providers_of;

use args::{Cli, Color, Command, SandboxCommand, StateCommand};
use error::Error;
use ui::Terminal;
use workspace::Workspace;

use crate::program::builder::ProgramBuilder;
use crate::program::{Diagnostic, Loaded, Program, Sources};

/// A program that was built in Rust, and the file that did.
type Built = (&'static str, (Program, Sources, Vec<Diagnostic>));

/// What every command is given.
pub(crate) struct Context {
    terminal: Terminal,
    folder: PathBuf,
    /// The command line, without values that may be secret.
    command: String,
    /// The program, where it was built in Rust.
    built: Option<Built>,
}

impl Context {
    /// The project as its files are now.
    fn workspace(&self) -> Result<Workspace, Error> {
        let built = self.built.clone();
        let built = built.map(|built| around(built, &self.folder)).transpose()?;
        Workspace::find(&self.folder, built, self.terminal)
    }

    /// The project for a run of these stacks, and whether time may jump.
    fn meant(&self, stacks: &args::StacksArgs) -> Result<(Workspace, bool), Error> {
        let workspace = self.workspace()?;
        let paused = run::is_paused(&workspace, stacks)?;
        Ok(if run::is_simulated(&workspace, stacks)? {
            (workspace.in_sandbox(), paused)
        } else {
            (workspace, paused)
        })
    }

    /// The project for removing these stacks, whatever is wrong with their programs, and whether time may jump.
    fn removed(&self, stacks: &args::StacksArgs) -> Result<(Workspace, bool), Error> {
        let workspace = self.workspace()?.with_broken();
        // What cannot be chosen here is looked for among the states.
        let asked = stacks.one.sandbox;
        let paused = match run::is_paused(&workspace, stacks) {
            Err(error) if stacks.all => return Err(error),
            paused => paused.unwrap_or(asked && !workspace.is_remote()),
        };
        let simulated = run::is_simulated(&workspace, stacks).unwrap_or(asked);
        Ok(if simulated {
            (workspace.in_sandbox(), paused)
        } else {
            (workspace, paused)
        })
    }

    /// True where no state is reached over a network. Where there is no project, the command says so.
    fn is_near(&self) -> bool {
        self.workspace().map_or(true, |workspace| !workspace.is_remote())
    }
}

/// The `epid` program: reads the arguments of the process, does what they say, and answers how it ended.
#[must_use]
pub fn main() -> Exit {
    start(None)
}

/// The command line around a program written in Rust: the binary has every command of `epid`, and runs in the project of the
/// current folder (or `--cwd`).
///
/// The project is as ever: an `Epid.toml` and stack files with configuration, secrets and references. A stack says that it
/// runs this program by naming the file that calls `run`, relative to the stack file:
///
/// ```toml
/// # stacks/dev.toml
/// program = "../src/main.rs"
///
/// [config]
/// environment = "dev"
/// ```
///
/// Stacks that name a `.toml` program run that one, here too, so `--all` takes a whole project of both. A stack that names
/// no program and declares no resources runs this one. The plain `epid` refuses stacks of a program in Rust, except to
/// destroy them. Where no stack at all runs the program, that is an error.
///
/// What `define` declares is data, not what happens: it runs once, before anything is asked of a cloud, and passes
/// references from one resource to the next. Rust's own loops, functions and types make as many resources as they like.
/// Mistakes are told with the file, line and column of the call.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use epid::program::builder::{Expr, ProgramBuilder, Resource};
/// use epid::{fields, text};
///
/// fn main() -> ExitCode {
///     epid::run(|program| {
///         let environment = program.config("environment").string();
///         let cluster = program
///             .provider("cluster", "kubernetes")
///             .set("cluster", program.stack("platform").get("cluster"));
///         let services = ["data", "curator"].map(|name| {
///             service(program, name, &environment).provider(&cluster)
///         });
///         for service in &services {
///             program.output(&format!("{}Url", service.name()), service.get("url"));
///         }
///     })
/// }
///
/// /// What all services have in common is a function.
/// fn service(program: &ProgramBuilder, name: &str, environment: &Expr) -> Resource {
///     program
///         .resource(name, "epid:kubernetes:WebService")
///         .set("name", text!("{}-{}", name, environment))
///         .set("image", text!("example/{}:1.0", name))
///         .set("labels", fields! { "app" => name, "environment" => environment })
/// }
/// ```
#[must_use]
#[track_caller]
pub fn run(define: impl FnOnce(&ProgramBuilder)) -> std::process::ExitCode {
    let file = std::panic::Location::caller().file();
    start(Some((file, ProgramBuilder::build(define)))).into()
}

fn start(built: Option<Built>) -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(mut error) => {
            suggest(&mut error);
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
                drop(error.print());
                return Exit::Done;
            }
            if surroundings::words().any(|word| word == "--json") {
                let text = error.render().to_string();
                let text = text.trim_start_matches("error: ").trim_end();
                Error::invalid(text).show(Terminal::new(Color::Never, true, &surroundings::variable));
            } else {
                drop(error.print());
            }
            return Exit::Invalid;
        }
    };
    let terminal = Terminal::new(cli.color, cli.json, &surroundings::variable);
    let done = folder(cli.cwd.as_deref()).and_then(|folder| {
        let context = Context {
            terminal,
            folder,
            command: command_line(),
            built,
        };
        dispatch(&context, cli.command)
    });
    done.unwrap_or_else(|error| {
        error.show(terminal);
        error.exit()
    })
}

/// Tells whoever comes from another tool what a command is called here.
fn suggest(error: &mut clap::Error) {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return;
    };
    let here = match &**word {
        "plan" | "diff" => "preview",
        "apply" | "deploy" | "update" => "up",
        "delete" | "down" => "destroy",
        "output" | "outputs" => "stack output",
        "show" => "state show",
        _ => return,
    };
    error.insert(
        ContextKind::SuggestedSubcommand,
        ContextValue::Strings(vec![here.to_owned()]),
    );
}

/// The project around a program that was built in Rust.
fn around(built: Built, folder: &Path) -> Result<Loaded, Error> {
    let root = workspace::root(folder)?;
    let (file, built) = built;
    Ok(crate::program::load_with(&root, Path::new(file), built))
}

fn folder(asked: Option<&Path>) -> Result<PathBuf, Error> {
    let here = surroundings::folder()
        .map_err(|error| Error::failed(format!("the current folder cannot be told: {error}")))?;
    let folder = asked.map_or_else(|| here.clone(), |asked| here.join(asked));
    if folder.is_dir() {
        Ok(folder)
    } else {
        Err(Error::invalid(format!("{} is no folder", folder.display())))
    }
}

/// The command line as history and lock messages show it: a value that is set may be a secret, wherever it stands behind
/// `set`, and is left out.
fn command_line() -> String {
    let mut words: Vec<String> = vec!["epid".to_owned()];
    words.extend(surroundings::words());
    if words.iter().any(|word| word == "config")
        && let Some(set) = words.iter().position(|word| word == "set")
    {
        words.truncate(set + 1);
        words.push("…".to_owned());
    }
    words.join(" ")
}

fn dispatch(context: &Context, command: Command) -> Result<Exit, Error> {
    match command {
        Command::Completions { shell } => Ok(commands::completions(context, shell)),
        Command::Config(command) => block_on(false, commands::config(context, command)),
        Command::Up(up) => {
            let workspace = context.workspace()?;
            let saved = run::saved_plan(&workspace, &up)?;
            let (workspace, paused) = match &saved {
                Some(saved) if run::is_simulated_plan(&saved.plan) => {
                    let paused = run::is_paused_for(&workspace, &saved.plan);
                    (workspace.in_sandbox(), paused)
                }
                Some(_) => (workspace, false),
                None => context.meant(&up.stacks)?,
            };
            block_on(paused, run::up(context, &workspace, &up, saved))
        }
        Command::Preview(preview) => {
            let (workspace, paused) = if preview.destroy {
                context.removed(&preview.stacks)?
            } else {
                context.meant(&preview.stacks)?
            };
            block_on(paused, run::preview(context, workspace, &preview))
        }
        Command::Destroy(destroy) => {
            let (workspace, paused) = context.removed(&destroy.stacks)?;
            block_on(paused, run::destroy(context, workspace, &destroy))
        }
        Command::Refresh(refresh) => {
            let (workspace, paused) = context.meant(&refresh.stacks)?;
            block_on(paused, run::refresh(context, &workspace, &refresh))
        }
        Command::Import(import) => {
            let stacks = import.stacks();
            let (workspace, paused) = context.meant(&stacks)?;
            block_on(paused, run::import(context, &workspace, &import))
        }
        Command::Stack(command) => block_on(context.is_near(), commands::stack(context, command)),
        Command::State(command @ StateCommand::Migrate { .. }) => {
            block_on(false, commands::state(context, command))
        }
        Command::State(command) => block_on(context.is_near(), commands::state(context, command)),
        Command::Keys(command) => block_on(context.is_near(), commands::keys(context, command)),
        Command::History(history) => block_on(context.is_near(), commands::history(context, &history)),
        Command::Graph(graph) => block_on(context.is_near(), commands::graph(context, &graph)),
        Command::Sandbox(SandboxCommand::Serve { port, speed, wait }) => {
            block_on(false, commands::serve(context, port, speed, wait))
        }
        Command::Sandbox(SandboxCommand::Reset { consent }) => {
            block_on(true, commands::reset(context, consent))
        }
    }
}

/// Runs a command to its end on this thread. Time is virtual where the command only ever meets the sandbox: it jumps to the
/// next thing that is due, so that ten minutes of waiting take none.
fn block_on(virtual_time: bool, command: impl Future<Output = Result<Exit, Error>>) -> Result<Exit, Error> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all();
    #[cfg(feature = "sandbox")]
    if virtual_time {
        runtime.start_paused(true);
    }
    #[cfg(not(feature = "sandbox"))]
    let _ = virtual_time;
    let runtime = runtime
        .build()
        .map_err(|error| Error::failed(format!("the runtime cannot start: {error}")))?;
    let done = runtime.block_on(command);
    // Somebody who was asked a question and pressed Ctrl-C is still being waited for, on a thread of its own.
    runtime.shutdown_background();
    done
}
