//! What the process is given: environment, time, randomness, signals. Read here and nowhere else.
#![expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment, the wall clock and randomness; everything else is handed them"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use epid_provider::{Timestamp, Token};

use super::exit::Exit;
use crate::apply::Stopper;
use crate::state::Holder;

/// A variable of the environment.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The words of the command line after the program's name. What is no text has its strange bytes replaced.
pub(crate) fn words() -> impl Iterator<Item = String> {
    let words = std::env::args_os().skip(1);
    words.map(|word| word.to_string_lossy().into_owned())
}

/// The folder the process was started in.
pub(crate) fn folder() -> std::io::Result<PathBuf> {
    std::env::current_dir()
}

/// The wall clock.
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Waits, by the wall: also where time jumps.
pub(crate) async fn pause(time: std::time::Duration) {
    drop(tokio::task::spawn_blocking(move || std::thread::sleep(time)).await);
}

/// Where programs keep what a person would not miss much, as the XDG Base Directory Specification has it: `$XDG_STATE_HOME`, or
/// `~/.local/state`.
pub(crate) fn person() -> Option<PathBuf> {
    let absolute = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let home = || absolute("HOME").map(|home| home.join(".local").join("state"));
    let folder = absolute("XDG_STATE_HOME").or_else(home);
    folder.or_else(|| absolute("LOCALAPPDATA"))
}

/// A fresh operation token.
///
/// # Panics
/// Where the operating system gives no randomness: no call could be told from another then.
#[expect(clippy::expect_used, reason = "without randomness there is no run")]
pub(crate) fn token() -> Token {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    Token::from_bytes(bytes)
}

/// Who runs `command` here and now.
pub(crate) fn holder(command: &str) -> Holder {
    let user = variable("USER")
        .or_else(|| variable("USERNAME"))
        .unwrap_or_else(|| "unknown".to_owned());
    let host = std::fs::read_to_string("/etc/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .or_else(|| variable("HOSTNAME"))
        .or_else(|| variable("COMPUTERNAME"))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned());
    Holder {
        pid: std::process::id(),
        user,
        host,
        since: wall(),
        command: command.to_owned(),
        job: job(),
    }
}

/// The commit that is checked out in the repository around `folder`, as Git's own files tell it.
pub(crate) fn commit(folder: &Path) -> Option<String> {
    let read = |path: PathBuf| std::fs::read_to_string(path).ok();
    let root = folder.ancestors().find(|folder| folder.join(".git").exists())?;
    let git = match read(root.join(".git")) {
        // A worktree has its own HEAD elsewhere.
        Some(link) => root.join(link.strip_prefix("gitdir:")?.trim()),
        None => root.join(".git"),
    };
    let shared = read(git.join("commondir")).map_or_else(|| git.clone(), |path| git.join(path.trim()));
    let head = read(git.join("HEAD"))?;
    let commit = match head.trim().strip_prefix("ref: ") {
        None => head.trim().to_owned(),
        Some(name) => match read(git.join(name)).or_else(|| read(shared.join(name))) {
            Some(commit) => commit.trim().to_owned(),
            None => {
                let packed = read(shared.join("packed-refs"))?;
                let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
                lines.find(|(_, of)| *of == name)?.0.to_owned()
            }
        },
    };
    let is_id = commit.len() >= 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then_some(commit)
}

/// The URL of the CI job that this runs in.
fn job() -> Option<String> {
    if let Some(url) = variable("CI_JOB_URL").or_else(|| variable("BUILD_URL")) {
        return Some(url);
    }
    let (server, repository, run) = (
        variable("GITHUB_SERVER_URL")?,
        variable("GITHUB_REPOSITORY")?,
        variable("GITHUB_RUN_ID")?,
    );
    Some(format!("{server}/{repository}/actions/runs/{run}"))
}

/// Hands every Ctrl-C and SIGTERM to `stopper` from now on, for as long as the runtime lives. A terminal that goes away
/// (SIGHUP) stops gently, however often that is told.
#[cfg(unix)]
pub(crate) fn hear_signals(stopper: &Stopper) {
    use tokio::signal::unix::{SignalKind, signal};

    let kinds = [
        (SignalKind::interrupt(), true),
        (SignalKind::terminate(), true),
        (SignalKind::hangup(), false),
    ];
    for (kind, counts) in kinds {
        // Listened to before this returns: nothing that comes later kills the process.
        let Ok(mut signals) = signal(kind) else { continue };
        let stopper = stopper.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if counts {
                    stopper.stop();
                } else {
                    stopper.drain();
                }
            }
        });
    }
}

/// Hands every Ctrl-C to `stopper`, for as long as the runtime lives.
#[cfg(not(unix))]
pub(crate) fn hear_signals(stopper: &Stopper) {
    let stopper = stopper.clone();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            stopper.stop();
        }
    });
}

/// Where something is drawn, lets the first Ctrl-C wipe the line it is drawn on before it ends the process: for what a signal may
/// just end.
#[expect(
    clippy::exit,
    reason = "as the signal would have: nothing is written that must be ended"
)]
pub(crate) fn wipe_at_interrupt(live: bool) {
    if !live {
        return;
    }
    #[cfg(unix)]
    let before = rustix::termios::tcgetattr(std::io::stdin()).ok();
    // A thread of its own: somebody may be asked meanwhile, on the one that works.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let heard = runtime.is_ok_and(|runtime| runtime.block_on(tokio::signal::ctrl_c()).is_ok());
        if heard {
            let mut out = std::io::stdout();
            drop(out.write_all(b"\r\x1b[2K").and_then(|()| out.flush()));
            // A passphrase that is being typed is not shown; what is typed next is.
            #[cfg(unix)]
            if let Some(before) = before {
                use rustix::termios::{OptionalActions, tcsetattr};
                tcsetattr(std::io::stdin(), OptionalActions::Now, &before).unwrap_or_default();
            }
            std::process::exit(Exit::Interrupted.code().into());
        }
    });
}

/// Where rooms that make keys get their randomness from.
pub(crate) fn randomness() -> crate::state::Entropy {
    std::sync::Arc::new(|bytes| getrandom::fill(bytes).map_err(|e| std::io::Error::other(e.to_string())))
}

/// A random number: the seed of a new sandbox.
///
/// # Panics
/// Where the operating system gives no randomness.
#[cfg(feature = "sandbox")]
#[expect(clippy::expect_used, reason = "without randomness there is no run")]
pub(crate) fn random() -> u32 {
    getrandom::u32().expect("the operating system gives randomness")
}
