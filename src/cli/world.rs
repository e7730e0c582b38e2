//! The worlds a run can be in, and the providers there: the real clouds, or the sandbox.

use std::fmt;
#[cfg(feature = "sandbox")]
use std::path::Path;
use std::sync::Arc;
#[cfg(feature = "sandbox")]
use std::sync::atomic::{AtomicBool, Ordering};

use epid_provider::Timestamp;

use super::error::Error;
use super::surroundings;
use super::workspace::Workspace;
use crate::apply::{Clock, TokioClock};
use crate::builtin::Builtin;
use crate::graph::Providers;

/// Where resources are, and how they are reached.
pub(crate) struct World {
    /// Its name in the paths of states: `cloud`, or `sandbox:` and the id of the simulated world.
    pub(crate) id: String,
    /// The providers.
    pub(crate) providers: Providers,
    /// Its clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// It is the simulated one.
    pub(crate) simulated: bool,
    #[cfg(feature = "sandbox")]
    sandbox: Option<epid_sandbox::Sandbox>,
    /// People were told that it cannot be kept.
    #[cfg(feature = "sandbox")]
    told: AtomicBool,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// How long to wait for another process to leave the sandbox: as long as a script may take from one command to the next.
#[cfg(feature = "sandbox")]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

fn clock(now: Timestamp) -> Arc<dyn Clock> {
    Arc::new(TokioClock::starting_at(now))
}

/// The providers that need no settings.
fn builtin() -> Providers {
    let mut providers = Providers::default();
    providers.add(Arc::new(Builtin::default()));
    providers
}

impl World {
    /// The real clouds, reached as their own tools would reach them.
    pub(crate) fn cloud() -> Self {
        #[cfg_attr(
            not(feature = "aws"),
            expect(unused_mut, reason = "there is no provider to add")
        )]
        let mut providers = builtin();
        #[cfg(feature = "aws")]
        providers.add(Arc::new(epid_aws::Aws::new(epid_aws::Settings::ordinary())));
        #[cfg(feature = "kubernetes")]
        providers.add(Arc::new(super::kubernetes::real()));
        Self {
            id: "cloud".to_owned(),
            providers,
            clock: clock(surroundings::wall()),
            simulated: false,
            #[cfg(feature = "sandbox")]
            sandbox: None,
            #[cfg(feature = "sandbox")]
            told: AtomicBool::new(false),
        }
    }

    /// The sandbox of a project, for `writer`. Where there is none nothing is written, and a world that does not exist yet
    /// is made in memory only, with the id it will have.
    #[cfg(feature = "sandbox")]
    pub(crate) fn sandbox(workspace: &Workspace, writer: Option<&str>) -> Result<Self, Error> {
        use epid_sandbox::{MemoryStore, Sandbox, WorldStore};

        let root = &workspace.project.root;
        if let Some(served) = super::served::found(root) {
            return Ok(Self::served(&served));
        }
        let folder = folder(root);
        let mut files = super::sealed_world::SealedWorld::new(&folder, &workspace.keys);
        if let Some(who) = writer {
            take(&mut files, &folder, who)?;
        }
        files.find_key().map_err(keyless)?;
        let store: Box<dyn WorldStore> = if writer.is_some() {
            Box::new(files)
        } else {
            Box::new(MemoryStore::of(
                files.load().map_err(|error| unusable(&folder, &error))?,
            ))
        };
        let clock = epid_sandbox::Clock::starting_at(super::sandbox::BEGINNING);
        let sandbox = Sandbox::open(store, clock, epid_sandbox::Settings::default())
            .map_err(|error| unusable(&folder, &error))?;
        Ok(Self::within(sandbox))
    }

    #[cfg(feature = "sandbox")]
    fn within(sandbox: epid_sandbox::Sandbox) -> Self {
        Self {
            clock: clock(Timestamp(sandbox.clock().now().as_millis())),
            providers: providers_of(&sandbox),
            id: sandbox.id(),
            simulated: true,
            sandbox: Some(sandbox),
            told: AtomicBool::new(false),
        }
    }

    /// The sandbox that another process serves: one world for this run, and for `aws` and `kubectl` beside it.
    #[cfg(feature = "sandbox")]
    fn served(served: &super::served::Served) -> Self {
        let remote = epid_sandbox::Remote::at(served.aws);
        Self {
            clock: clock(surroundings::wall()),
            providers: simulated(epid_sandbox::Way::There(remote), surroundings::wall),
            id: served.world.clone(),
            simulated: true,
            sandbox: None,
            told: AtomicBool::new(false),
        }
    }

    /// Without the feature there is no sandbox.
    #[cfg(not(feature = "sandbox"))]
    pub(crate) fn sandbox(_: &Workspace, _: Option<&str>) -> Result<Self, Error> {
        Err(Error::invalid("this epid was built without the sandbox")
            .hint("build it with `--features sandbox`"))
    }

    /// That the simulated world cannot be kept, where some of these messages say so; it is not said again when it is closed.
    #[cfg_attr(
        not(feature = "sandbox"),
        expect(clippy::unused_self, reason = "there is no sandbox")
    )]
    pub(crate) fn told(&self, messages: &[&str]) -> Option<String> {
        #[cfg(feature = "sandbox")]
        if let Some(sandbox) = self.sandbox.as_ref().filter(|_| !messages.is_empty())
            && let Err(error) = sandbox.close()
        {
            let text = error.to_string();
            if messages.iter().any(|message| message.contains(&text)) {
                self.told.store(true, Ordering::Relaxed);
                return Some(text);
            }
        }
        #[cfg(not(feature = "sandbox"))]
        let _ = messages;
        None
    }

    /// Ends the world in peace.
    pub(crate) fn close(&self) -> Result<(), Error> {
        #[cfg(feature = "sandbox")]
        if let Some(sandbox) = &self.sandbox
            && let Err(error) = sandbox.close()
            && !self.told.load(Ordering::Relaxed)
        {
            return Err(Error::failed(error.to_string()));
        }
        Ok(())
    }
}

/// The providers of a sandbox in this process, as `epid --sandbox` has them: for programs that run the engine on one.
#[cfg(feature = "sandbox")]
#[must_use]
pub fn providers_of(sandbox: &epid_sandbox::Sandbox) -> Providers {
    let time = sandbox.clock().clone();
    let now = move || Timestamp(time.now().as_millis());
    simulated(epid_sandbox::Way::Here(sandbox.clone()), now)
}

/// The providers of a simulated world whose clock is `now`.
#[cfg(feature = "sandbox")]
fn simulated(way: epid_sandbox::Way, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Providers {
    use std::time::{Duration, SystemTime};

    let services = way.clone();
    let handler = move |request| {
        let way = services.clone();
        async move { way.call(request).await }
    };
    let now = move || SystemTime::UNIX_EPOCH + Duration::from_millis(now().0);
    let aws = epid_aws::Settings::simulated(handler, now);
    let mut providers = builtin();
    providers.add(Arc::new(super::kubernetes::simulated(way, aws.clone())));
    providers.add(Arc::new(epid_aws::Aws::new(aws)));
    providers
}

/// What a command that is suggested needs for a world: ` --sandbox`, or nothing.
pub(crate) fn flag(world: &str) -> &'static str {
    if crate::state::is_sandbox(world) {
        " --sandbox"
    } else {
        ""
    }
}

/// Where the sandbox of a project is kept.
#[cfg(feature = "sandbox")]
pub(crate) fn folder(root: &Path) -> std::path::PathBuf {
    root.join(".epid").join("sandbox")
}

/// Takes the sandbox for this process.
#[cfg(feature = "sandbox")]
pub(crate) fn take(
    files: &mut super::sealed_world::SealedWorld,
    folder: &Path,
    who: &str,
) -> Result<(), Error> {
    match files.lock(PATIENCE, who) {
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Err(Error::Other {
            exit: super::exit::Exit::Locked,
            message: format!("the sandbox in {} is taken: {error}", folder.display()),
            hint: Some("--wait waits until that has ended; `epid preview` does not need to".to_owned()),
        }),
        taken => {
            taken.map_err(|error| unusable(folder, &error))?;
            // Also where no state is written.
            let ignored = folder.parent().map_or(Ok(()), crate::state::blobs::ignore);
            ignored.map_err(|error| unusable(folder, &error))?;
            // Who left a note there has ended without a word.
            super::served::forget(folder);
            Ok(())
        }
    }
}

/// What is sealed with a key that somebody lost is gone.
#[cfg(feature = "sandbox")]
const LOST: &str = "with that key everything is there as it was. Where it is lost for good, `epid sandbox reset` deletes the \
                    sandbox, with the states in it, and begins anew";
/// What is kept is not what was written.
#[cfg(feature = "sandbox")]
const BEGIN_ANEW: &str = "`epid sandbox reset` deletes it, with the states in it, and begins anew";

/// The key of the sandbox's world is not here, or its world is not what was sealed with it.
#[cfg(feature = "sandbox")]
pub(crate) fn keyless(error: crate::state::StateError) -> Error {
    let is_damaged = matches!(error, crate::state::StateError::BadDocument { .. });
    let text = error.to_string();
    match Error::from(error) {
        error if error.exit() == super::exit::Exit::Invalid => {
            Error::invalid(text).hint(if is_damaged { BEGIN_ANEW } else { LOST })
        }
        error => error,
    }
}

/// The sandbox's world cannot be opened. Only where what is kept is unreadable does beginning anew help.
#[cfg(feature = "sandbox")]
pub(crate) fn unusable(folder: &Path, error: &(dyn std::error::Error + 'static)) -> Error {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};

    use epid_sandbox::SandboxError;

    let io = error.downcast_ref::<std::io::Error>();
    let sealed = io
        .and_then(std::io::Error::get_ref)
        .and_then(|e| e.downcast_ref());
    if let Some(error) = sealed {
        return keyless(crate::state::StateError::clone(error));
    }
    let kind = io.map(std::io::Error::kind);
    let kept = matches!(
        kind,
        Some(StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied)
    ) || matches!(error.downcast_ref(), Some(SandboxError::Store(_)));
    let hint = if kept {
        "what is there stays as it is: let epid write to that folder, and run the same command again"
    } else {
        BEGIN_ANEW
    };
    let told = format!("the sandbox in {} cannot be opened: {error}", folder.display());
    Error::failed(told).hint(hint)
}
