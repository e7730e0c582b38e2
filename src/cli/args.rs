//! The command line as clap reads it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What the exit codes mean, for `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    something failed: the summary says what, and the next `epid up` goes on
  2    the input is invalid, nothing was done
  3    there are changes where none were expected (--expect-no-changes)
  4    another run holds the stack
  130  interrupted before all was done: what was done is saved";

/// Infrastructure as code for AWS and Kubernetes: one graph, one plan, one binary.
#[derive(Debug, Parser)]
#[command(name = "epid", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Run as if started in this folder
    #[arg(long, short = 'C', global = true, help_heading = "Global options", value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) cwd: Option<PathBuf>,
    /// One JSON object a line instead of text
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// When to use colour
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_enum,
        default_value_t,
        value_name = "WHEN"
    )]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When to use colour. `NO_COLOR` counts as never where this says auto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what would change, then change it
    Up(Up),
    /// Show what would change; nothing is written
    Preview(Preview),
    /// Delete everything in a stack
    Destroy(Destroy),
    /// Read what exists and show what was changed outside epid
    Refresh(Refresh),
    /// Record what exists as a declared resource; nothing is sent to change it
    Import(Import),
    /// Stacks: list them, show outputs, remove
    #[command(subcommand)]
    Stack(StackCommand),
    /// Configuration and secrets of a stack
    #[command(subcommand)]
    Config(ConfigCommand),
    /// What epid has recorded of a stack
    #[command(subcommand)]
    State(StateCommand),
    /// The keys that states and secrets are sealed with
    #[command(subcommand)]
    Keys(KeysCommand),
    /// The runs of a stack: who, when, what, and how it ended
    History(History),
    /// Draw the resources of a stack
    Graph(Graph),
    /// The simulated cloud: serve it to other tools, or begin anew
    #[command(subcommand)]
    Sandbox(SandboxCommand),
    /// Print completions for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Which stack, in which world.
#[derive(Debug, Clone, Args)]
pub(crate) struct StackArgs {
    /// The stack; without one, `defaultStack` of Epid.toml, or the only one there is
    #[arg(long, short, env = "EPID_STACK", value_name = "NAME")]
    pub(crate) stack: Option<String>,
    /// Use the simulated cloud in .epid/sandbox instead of AWS
    #[arg(long, env = "EPID_SANDBOX", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub(crate) sandbox: bool,
}

/// Whether to ask first, and to wait.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Consent {
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Where another run holds the stack, wait until it has ended
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Which stacks, in which world.
#[derive(Debug, Clone, Args)]
pub(crate) struct StacksArgs {
    #[command(flatten)]
    pub(crate) one: StackArgs,
    /// Every stack of the project, in the order of their references
    #[arg(long, conflicts_with = "stack")]
    pub(crate) all: bool,
}

/// Which resources.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SelectionArgs {
    /// Only this resource: what it needs must exist, or be named too; may be given often
    #[arg(long, value_name = "RESOURCE")]
    pub(crate) target: Vec<String>,
    /// Not this resource, nor what depends on it; may be given often
    #[arg(long, value_name = "RESOURCE")]
    pub(crate) exclude: Vec<String>,
}

/// Reading what exists before planning.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct RefreshArgs {
    /// Read what exists first: undo what was changed outside epid, or accept it
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, default_missing_value = "undo", require_equals = true)]
    pub(crate) refresh: Option<Drifted>,
    /// Send nothing to the cloud while planning
    #[arg(long, conflicts_with = "refresh")]
    pub(crate) offline: bool,
}

/// What to do about drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Drifted {
    /// Put it back as declared
    Undo,
    /// Keep it until the program changes that property
    Accept,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) stacks: StacksArgs,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) refresh: RefreshArgs,
    /// Replace this resource even if nothing asks for it; may be given often
    #[arg(long, value_name = "RESOURCE")]
    pub(crate) replace: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Where another run holds the stack, wait until it has ended
    #[arg(long)]
    pub(crate) wait: bool,
    /// Try a stack in the sandbox that exists for real: it is made there anew
    #[arg(long, requires = "sandbox")]
    pub(crate) copy: bool,
    /// Show what is declared of every new resource, also where there are many
    #[arg(long)]
    pub(crate) details: bool,
    /// Execute exactly this saved plan
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all", "target", "exclude", "replace", "refresh"], value_hint = clap::ValueHint::FilePath)]
    pub(crate) plan: Option<PathBuf>,
    /// At most so many calls at once; without it, as many as the services take
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) parallel: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct Preview {
    #[command(flatten)]
    pub(crate) stacks: StacksArgs,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) refresh: RefreshArgs,
    /// Replace this resource even if nothing asks for it; may be given often
    #[arg(long, value_name = "RESOURCE")]
    pub(crate) replace: Vec<String>,
    /// Show what is declared of every new resource, also where there are many
    #[arg(long)]
    pub(crate) details: bool,
    /// Write the plan to a file that `up --plan` executes; it is encrypted
    #[arg(long, value_name = "FILE", conflicts_with = "all", value_hint = clap::ValueHint::FilePath)]
    pub(crate) save: Option<PathBuf>,
    /// Exit with 3 where anything would change
    #[arg(long)]
    pub(crate) expect_no_changes: bool,
    /// Preview the removal of everything
    #[arg(long)]
    pub(crate) destroy: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Destroy {
    #[command(flatten)]
    pub(crate) stacks: StacksArgs,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Where another run holds the stack, wait until it has ended
    #[arg(long)]
    pub(crate) wait: bool,
    /// At most so many calls at once; without it, as many as the services take
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) parallel: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct Refresh {
    #[command(flatten)]
    pub(crate) stacks: StacksArgs,
    /// Record what exists as accepted: it stays until the program changes that property
    #[arg(long)]
    pub(crate) accept: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Where another run holds the stack, wait until it has ended
    #[arg(long)]
    pub(crate) wait: bool,
    /// Exit with 3 where anything was changed outside epid
    #[arg(long)]
    pub(crate) expect_no_changes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) stack: StackArgs,
    /// The address or URN of a resource that the program declares
    #[arg(conflicts_with = "from")]
    pub(crate) resource: Option<String>,
    /// What the cloud calls it
    pub(crate) id: Option<String>,
    /// Many at once: a file of lines `RESOURCE = ID`; `#` begins a comment
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) from: Option<PathBuf>,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Where another run holds the stack, wait until it has ended
    #[arg(long)]
    pub(crate) wait: bool,
}

impl Import {
    /// Its one stack, as runs take them.
    pub(crate) fn stacks(&self) -> StacksArgs {
        let one = self.stack.clone();
        StacksArgs { one, all: false }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum StackCommand {
    /// The stacks of the project
    Ls {
        /// Of the simulated cloud
        #[arg(long, env = "EPID_SANDBOX", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
        sandbox: bool,
    },
    /// The outputs of a stack
    Output {
        #[command(flatten)]
        stack: StackArgs,
        /// Only this one, as it is: for scripts
        name: Option<String>,
        /// Print secrets too
        #[arg(long)]
        show_secrets: bool,
    },
    /// Remove the state of a stack that has no resources
    Rm {
        #[command(flatten)]
        stack: StackArgs,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// The value of one setting
    Get {
        #[command(flatten)]
        stack: StackArgs,
        /// Its name
        name: String,
        /// Print it even if it is a secret
        #[arg(long)]
        show_secret: bool,
    },
    /// Write one setting into the stack file
    Set {
        #[command(flatten)]
        stack: StackArgs,
        /// Its name
        name: String,
        /// Its value; without one, it is read from the terminal or from standard input
        value: Option<String>,
        /// Encrypt it
        #[arg(long)]
        secret: bool,
        /// Encrypt it with a key that is here, where the one that the stack names is not: every other secret of the stack has
        /// to be set anew too
        #[arg(long, requires = "secret")]
        new_key: bool,
        /// Where a rotation of the keys goes on, wait until it has ended
        #[arg(long)]
        wait: bool,
    },
    /// Take one setting out of the stack file
    Rm {
        #[command(flatten)]
        stack: StackArgs,
        /// Its name
        name: String,
        /// Where a rotation of the keys goes on, wait until it has ended
        #[arg(long)]
        wait: bool,
    },
    /// All settings of a stack
    Ls {
        #[command(flatten)]
        stack: StackArgs,
        /// Print secrets too
        #[arg(long)]
        show_secrets: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// The resources that are recorded
    Ls {
        #[command(flatten)]
        stack: StackArgs,
    },
    /// Everything recorded of one resource
    Show {
        #[command(flatten)]
        stack: StackArgs,
        /// Its address or URN
        resource: String,
    },
    /// Refuse to delete or replace a resource until it is unprotected, or its program says otherwise
    Protect {
        #[command(flatten)]
        stack: StackArgs,
        /// Its address or URN
        resource: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Let a protected resource be deleted or replaced in the next run
    Unprotect {
        #[command(flatten)]
        stack: StackArgs,
        /// Its address or URN
        resource: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Give a record another name; nothing is sent to a cloud
    Mv {
        #[command(flatten)]
        stack: StackArgs,
        /// Its address or URN; of a component, for all that is in it
        old: String,
        /// The address or URN it gets, which nothing has yet
        new: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Undo the last run, where it changed nothing but records
    Rollback {
        #[command(flatten)]
        stack: StackArgs,
        #[command(flatten)]
        consent: Consent,
    },
    /// Read every file of a state, and tell what is wrong with any
    Verify {
        #[command(flatten)]
        stack: StackArgs,
        /// Every state of the project, in every world
        #[arg(long, conflicts_with = "stack")]
        all: bool,
    },
    /// Write a state into one file, encrypted with its key
    Export {
        #[command(flatten)]
        stack: StackArgs,
        /// The file; with --plain, `-` is standard output
        #[arg(value_hint = clap::ValueHint::FilePath)]
        file: PathBuf,
        /// Write JSON for people, without secrets; it cannot be imported
        #[arg(long)]
        plain: bool,
        /// With the secrets in clear
        #[arg(long, requires = "plain")]
        show_secrets: bool,
    },
    /// Make a state what it was when it was exported; nothing is sent to a cloud
    Import {
        #[command(flatten)]
        stack: StackArgs,
        /// What `state export` wrote
        #[arg(value_hint = clap::ValueHint::FilePath)]
        file: PathBuf,
        /// Even if the state is newer
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        consent: Consent,
    },
    /// Move all states of the project, with their history, to another place, and let Epid.toml say so
    Migrate {
        /// s3://BUCKET/PREFIX, a folder, or `local` for .epid/state
        #[arg(long, value_name = "PLACE")]
        to: String,
        /// The region of the bucket; without it, what Epid.toml says now, or the environment
        #[arg(long)]
        region: Option<String>,
        /// Another service than AWS that speaks S3; without it, what Epid.toml says now; an empty one is AWS
        #[arg(long, value_name = "URL")]
        endpoint: Option<String>,
        #[command(flatten)]
        consent: Consent,
    },
    /// Forget resources, which stay in the cloud
    Rm {
        #[command(flatten)]
        stack: StackArgs,
        /// Their addresses or URNs
        #[arg(required = true, value_name = "RESOURCE")]
        resources: Vec<String>,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// The keys that are here or needed, and what is sealed with each
    Ls,
    /// Write key files for whoever may read states and preview, such as a CI job, and see no secret
    Export {
        /// Only the part of each key that opens states: secrets are compared by their digests, and nothing can be changed
        #[arg(long, required = true)]
        state_only: bool,
        /// The folder for the files, which take the place of those in .epid/keys
        #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Seal all states and secrets of the project with a new key; the old ones stay, and open nothing that is written later
    Rotate {
        /// What keeps the new key: a key file, or a passphrase [default: what keeps the current one]
        #[arg(long, value_enum, value_name = "PROVIDER")]
        to: Option<Keeper>,
        /// Take a new passphrase too: asked for, or from EPID_NEW_PASSPHRASE or EPID_NEW_PASSPHRASE_FILE
        #[arg(long, conflicts_with = "to")]
        new_passphrase: bool,
        #[command(flatten)]
        consent: Consent,
    },
}

/// What keeps a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keeper {
    /// A file in .epid/keys, which Git ignores
    File,
    /// Epid.keys.toml, which is committed; a passphrase opens it: EPID_PASSPHRASE, EPID_PASSPHRASE_FILE, or asked for
    Passphrase,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    pub(crate) stack: StackArgs,
    /// Only this run, with what it did to each resource and how long that took
    pub(crate) run: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Graph {
    #[command(flatten)]
    pub(crate) stack: StackArgs,
    /// What to draw it as
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: GraphFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum GraphFormat {
    /// Graphviz
    #[default]
    Dot,
    /// A Mermaid flowchart
    Mermaid,
    /// A picture
    Svg,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SandboxCommand {
    /// Serve the simulated cloud on loopback to aws, kubectl and other clients, until interrupted
    Serve {
        /// The port of the AWS endpoint; 0 takes a free one
        #[arg(long, default_value_t = 4566)]
        port: u16,
        /// How many times faster than the wall its time passes
        #[arg(long, default_value_t = 60.0, value_name = "FACTOR")]
        speed: f64,
        /// Where another process has the simulated cloud, wait until it has ended
        #[arg(long)]
        wait: bool,
    },
    /// Forget the simulated cloud and the states of stacks in it
    Reset {
        #[command(flatten)]
        consent: Consent,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn refresh_takes_an_answer_only_with_an_equals_sign() {
        let up = |args: &[&str]| match Cli::try_parse_from(args).unwrap().command {
            Command::Up(up) => up.refresh.refresh,
            other => panic!("{other:?}"),
        };
        assert_eq!(up(&["epid", "up"]), None);
        assert_eq!(up(&["epid", "up", "--refresh"]), Some(Drifted::Undo));
        assert_eq!(up(&["epid", "up", "--refresh=accept"]), Some(Drifted::Accept));
    }
}
