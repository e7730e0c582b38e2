//! One process on a disk and a cloud: what `epid up` and `epid destroy` do there, without a terminal.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use epid::apply::{Clock, Control, Executor, Outcome, Stopper, TokioClock};
use epid::builtin::Builtin;
use epid::cli::providers_of;
use epid::expression::Digests;
use epid::graph::{Inputs, Providers, ResourceGraph, build};
use epid::observe::{Depth, Looking, observe};
use epid::plan::{Action, Mode, Plan, Refresh, Request, Selection, plan};
use epid::program::{Components, Project, Severity, StackFile, draft_values};
use epid::state::blobs::MemoryBlobs;
use epid::state::{
    Entropy, Header, Holder, KeyRing, Location, Opening, Run, Session, Snapshot, StateError, Store,
};
use epid_fake::Fake;
use epid_provider::{Map, Timestamp, Token, Value};
use epid_sandbox::{MemoryStore, Sandbox, Settings, WorldStore};

use crate::cloud::{Cloud, Recording};
use crate::inventory::Inventory;
use crate::trouble::Trouble;

/// When every world begins: 2026-01-01T00:00:00Z.
const BEGINNING: u64 = 1_767_225_600_000;

/// Why something did not go as it should, for people.
pub type Failed = Box<dyn Error + Send + Sync>;

/// Steps of a run failed, as they may where the cloud does.
#[derive(Debug)]
pub struct Unfinished(String);

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Unfinished {}

/// True where the reason is that the disk is full, and the person is told so.
#[must_use]
pub fn tells_of_full_disk(error: &Failed) -> bool {
    match error.downcast_ref::<StateError>() {
        Some(StateError::Io { source, .. }) => source.kind() == std::io::ErrorKind::StorageFull,
        _ => false,
    }
}

/// A project whose stacks are run, with the keys of its states. Secrets of its stacks take placeholders.
pub struct Machine {
    project: Project,
    components: Components,
    keys: KeyRing,
    /// Held so that the key files live.
    folder: Arc<tempfile::TempDir>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("project", &self.project.name)
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// For the project in `root`.
    ///
    /// # Errors
    /// What is wrong with its files, or with the temporary folder that the keys are in.
    pub fn of(root: &Path) -> Result<Self, Failed> {
        let folder = Arc::new(tempfile::tempdir()?);
        Ok(Self {
            project: project(root)?,
            components: epid::components::all(),
            keys: KeyRing::new(folder.path()),
            folder,
        })
    }

    /// With the same keys, and the project as it is now in `root`.
    ///
    /// # Errors
    /// What is wrong with its files.
    pub fn with(&self, root: &Path) -> Result<Self, Failed> {
        Ok(Self {
            project: project(root)?,
            components: epid::components::all(),
            keys: self.keys.clone(),
            folder: self.folder.clone(),
        })
    }

    /// Lets `act` happen in a process of its own, whose clock jumps from wait to wait.
    ///
    /// # Errors
    /// Where the sandbox cannot be opened, and what `act` fails with.
    pub fn process<R>(
        &self,
        disk: MemoryBlobs,
        cloud: Cloud,
        trouble: &Trouble,
        act: impl AsyncFnOnce(&Process<'_>) -> Result<R, Failed>,
    ) -> Result<R, Failed> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        runtime.block_on(async {
            let (services, now) = Services::open(cloud, trouble)?;
            let (stopper, control) = Stopper::new();
            let process = Process {
                machine: self,
                store: Store::new(Arc::new(disk), self.keys.clone(), entropy()),
                providers: services.providers(),
                clock: Arc::new(TokioClock::starting_at(now)),
                control,
                _stopper: stopper,
                services,
            };
            act(&process).await
        })
    }
}

/// What a process asks.
enum Services {
    Sandbox { sandbox: Sandbox, store: MemoryStore },
    Fake(epid_fake::World),
}

impl Services {
    /// The services of a cloud, and what time it is there.
    fn open(cloud: Cloud, trouble: &Trouble) -> Result<(Self, Timestamp), Failed> {
        match cloud {
            Cloud::Sandbox { store, recorder } => {
                let beginning = epid_sandbox::Timestamp::from_millis(BEGINNING);
                let settings = Settings {
                    faults: trouble.script.clone(),
                    ..Settings::default()
                };
                let recording = Recording {
                    store: store.clone(),
                    recorder,
                };
                let clock = epid_sandbox::Clock::starting_at(beginning);
                let sandbox = Sandbox::open(Box::new(recording), clock, settings)?;
                let now = Timestamp(sandbox.clock().now().as_millis());
                Ok((Self::Sandbox { sandbox, store }, now))
            }
            Cloud::Fake(world) => {
                for fault in &trouble.faults {
                    world.fault(fault.clone());
                }
                let now = world.now().max(Timestamp(BEGINNING));
                Ok((Self::Fake(world), now))
            }
        }
    }

    fn providers(&self) -> Providers {
        match self {
            Self::Sandbox { sandbox, .. } => providers_of(sandbox),
            Self::Fake(world) => {
                let mut providers = Providers::default();
                providers.add(Arc::new(Fake::new(world.clone())));
                providers.add(Arc::new(Builtin::new()));
                providers
            }
        }
    }

    /// What states are bound to.
    fn id(&self) -> String {
        match self {
            Self::Sandbox { sandbox, .. } => sandbox.id(),
            Self::Fake(_) => "fake".to_owned(),
        }
    }
}

fn project(root: &Path) -> Result<Project, Failed> {
    let loaded = epid::program::load(root);
    if let Some(wrong) = loaded.diagnostics.iter().find(|d| d.severity == Severity::Error) {
        return Err(wrong.message.clone().into());
    }
    Ok(loaded.project.ok_or("there is no project")?)
}

/// Bytes that are random enough for keys that seal nothing of value.
fn entropy() -> Entropy {
    Arc::new(|bytes| {
        bytes.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
        Ok(())
    })
}

/// A process that runs stacks.
pub struct Process<'m> {
    machine: &'m Machine,
    store: Store,
    providers: Providers,
    clock: Arc<TokioClock>,
    control: Control,
    _stopper: Stopper,
    services: Services,
}

impl fmt::Debug for Process<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").finish_non_exhaustive()
    }
}

impl Process<'_> {
    /// Makes a stack what it declares: recovery, plan and execution, as `epid up --stack NAME`. Everything has to succeed.
    ///
    /// # Errors
    /// Whatever does not.
    pub async fn up(&self, stack: &str) -> Result<(), Failed> {
        self.run(stack, Mode::Up).await
    }

    /// Removes everything of a stack, as `epid destroy --stack NAME`.
    ///
    /// # Errors
    /// Whatever does not succeed.
    pub async fn destroy(&self, stack: &str) -> Result<(), Failed> {
        self.run(stack, Mode::Destroy).await
    }

    async fn run(&self, stack: &str, mode: Mode) -> Result<(), Failed> {
        let file = self.file(stack)?;
        let session = self.open(stack).await?;
        let done = self.run_in(&session, file, mode).await;
        let closed = session.close().await;
        done?;
        Ok(closed?)
    }

    async fn run_in(&self, session: &Arc<Session>, file: &StackFile, mode: Mode) -> Result<(), Failed> {
        if mode == Mode::Up {
            session.stop_closing().await?;
            for (producer, _) in file.references.values() {
                self.store
                    .add_consumer(&self.location(producer), &self.location(&file.name))
                    .await?;
            }
        } else {
            session.start_closing().await?;
        }
        let keys = session.keys().clone();
        let digests = move |bytes: &[u8]| keys.digest_bytes(bytes);
        self.executor(session, &digests).recover(&mut |_| {}).await?;
        let snapshot = session.snapshot();
        let (plan, _) = self.plan(file, &snapshot, mode, Depth::Needed, &digests).await?;
        let outcome = self.executor(session, &digests).apply(&plan, &mut |_| {}).await?;
        succeeded(&outcome)?;
        match mode {
            Mode::Up => session.publish_outputs().await?,
            Mode::Destroy => {
                for (producer, _) in file.references.values() {
                    let (producer, consumer) = (self.location(producer), self.location(&file.name));
                    self.store.remove_consumer(&producer, &consumer).await?;
                }
                self.store.unpublish(&self.location(&file.name)).await?;
                session.stop_closing().await?;
            }
        }
        Ok(())
    }

    /// Makes sure that a stack is what it declares: nothing is left to do or to recover, the cloud is as recorded, and the
    /// state holds together.
    ///
    /// # Errors
    /// What is not so.
    pub async fn is_settled(&self, stack: &str) -> Result<(), Failed> {
        let file = self.file(stack)?;
        let recorded = self.store.read(&self.location(stack)).await?;
        let (snapshot, keys) = recorded.ok_or("nothing is recorded")?;
        let verified = self.store.verify(&self.location(stack)).await?;
        if let Some(problem) = verified.problems.first() {
            return Err(problem.to_string().into());
        }
        if let Some(intent) = snapshot.intents.values().next() {
            return Err(format!("{} is begun and not ended", intent.entry.urn()).into());
        }
        let digests = move |bytes: &[u8]| keys.digest_bytes(bytes);
        let (plan, unread) = self
            .plan(file, &snapshot, Mode::Up, Depth::Refresh, &digests)
            .await?;
        if let Some(unread) = unread {
            return Err(unread.into());
        }
        let left: Vec<String> = plan
            .steps
            .iter()
            .filter(|step| !matches!(step.action, Action::Nothing | Action::Connect))
            .map(|step| format!("{:?} {}", step.action, step.address))
            .collect();
        let drifted = plan
            .drift
            .iter()
            .map(|drift| format!("{} drifted", drift.urn.path()));
        match left.into_iter().chain(drifted).next() {
            Some(left) => Err(format!("left to do: {left}").into()),
            None => Ok(()),
        }
    }

    /// What exists.
    ///
    /// # Errors
    /// Where the sandbox cannot tell, and what was done in the fake cloud that must never be.
    pub fn inventory(&self) -> Result<Inventory, Failed> {
        match &self.services {
            Services::Sandbox { sandbox, store } => {
                sandbox.close()?;
                let snapshot = store.clone().load()?.snapshot;
                let snapshot = snapshot.ok_or("the sandbox has no snapshot")?;
                Ok(Inventory::of(&serde_json::from_slice(&snapshot)?))
            }
            Services::Fake(world) => match world.violations().as_slice() {
                [] => Ok(Inventory::of_things(&world.things())),
                violations => Err(violations.join("; ").into()),
            },
        }
    }

    /// True where what was just made is not seen by readers for a while, whatever the script says.
    pub(crate) fn lags(&self) -> bool {
        matches!(self.services, Services::Fake(_))
    }

    /// Lets time pass: what is being deleted goes.
    pub async fn rest(&self) {
        self.clock.sleep(std::time::Duration::from_secs(3_600)).await;
    }

    fn file(&self, stack: &str) -> Result<&StackFile, Failed> {
        let found = self.machine.project.stack(stack);
        Ok(found.ok_or_else(|| format!("there is no stack {stack}"))?)
    }

    fn location(&self, stack: &str) -> Location {
        Location::new(&self.services.id(), &self.machine.project.name, stack)
    }

    async fn open(&self, stack: &str) -> Result<Arc<Session>, Failed> {
        let holder = Holder {
            pid: 1,
            user: "simulation".into(),
            host: "simulation".into(),
            since: self.clock.now(),
            command: "epid up".into(),
            job: None,
        };
        let opening = Opening::new(holder).create();
        Ok(Arc::new(
            Session::open(&self.store, &self.location(stack), opening).await?,
        ))
    }

    fn executor<'e>(&'e self, session: &Arc<Session>, digests: &'e dyn Digests) -> Executor<'e> {
        Executor {
            session: session.clone(),
            providers: &self.providers,
            clock: self.clock.clone(),
            control: self.control.clone(),
            mint: &|| Token::from_bytes(fastrand::u128(..).to_be_bytes()),
            digests,
            run: Run {
                who: Arc::from("simulation@simulation"),
                command: Arc::from("epid up"),
                at: self.clock.now(),
                version: Arc::from("0"),
                plan: None,
                commit: None,
            },
        }
    }

    /// The plan of a stack on what is recorded, and the first thing that could not be looked at.
    async fn plan(
        &self,
        file: &StackFile,
        snapshot: &Snapshot,
        mode: Mode,
        depth: Depth,
        digests: &dyn Digests,
    ) -> Result<(Plan, Option<String>), Failed> {
        let graph = match mode {
            Mode::Up => self.graph(file, digests).await?,
            Mode::Destroy => ResourceGraph::empty(),
        };
        let trial = Arc::new(Session::in_memory(Header::clone(&snapshot.header)));
        let executor = self.executor(&trial, digests);
        let seen = observe(&Looking {
            graph: &graph,
            snapshot,
            providers: &self.providers,
            depth,
            only: &|_| true,
            digests,
            call: &|urn| executor.look(urn),
        })
        .await;
        let unread = seen
            .failed
            .first()
            .map(|(urn, failure)| format!("{} cannot be read: {}", urn.path(), failure.message));
        let plan = plan(&Request {
            graph: &graph,
            snapshot,
            observed: &seen.found,
            providers: &self.providers,
            mode,
            selection: &Selection::default(),
            refresh: Refresh::Undo,
            digests,
        })
        .map_err(|problems| listed(problems.iter().map(|problem| problem.message.clone())))?;
        Ok((plan, unread))
    }

    async fn graph(&self, file: &StackFile, digests: &dyn Digests) -> Result<ResourceGraph, Failed> {
        let mut stacks = Vec::new();
        for (name, (producer, _)) in &file.references {
            let outputs = self.store.outputs(&self.location(producer)).await?;
            let outputs = outputs.ok_or_else(|| format!("stack {producer} has no outputs"))?;
            stacks.push((name.clone(), Value::Map(outputs.values)));
        }
        let placeholder = |name: &Arc<str>| (name.clone(), Value::from(format!("placeholder-of-{name}")));
        let secrets: BTreeMap<Arc<str>, Value> = file.secrets.keys().map(placeholder).collect();
        let (config, wrong) = draft_values(file, &secrets);
        if !wrong.is_empty() {
            return Err(listed(wrong.iter().map(|d| d.message.clone())));
        }
        let inputs = Inputs {
            project: &self.machine.project.name,
            stack: &file.name,
            config,
            stacks: stacks.into_iter().collect::<Map>(),
            components: &self.machine.components,
            providers: &self.providers,
            digests,
            place: &|_| None,
        };
        build(&file.program, &inputs).map_err(|wrong| listed(wrong.iter().map(|d| d.message.clone())))
    }
}

fn listed(problems: impl Iterator<Item = String>) -> Failed {
    problems.collect::<Vec<_>>().join("; ").into()
}

fn succeeded(outcome: &Outcome) -> Result<(), Failed> {
    if outcome.is_success() {
        return Ok(());
    }
    if let Some(error) = &outcome.journal {
        return Err(error.clone().into());
    }
    let failed = outcome.failed.iter();
    let mut told: Vec<String> = failed
        .map(|f| format!("{}: {}: {}", f.urn.path(), f.trouble.code, f.trouble.message))
        .collect();
    told.extend(
        outcome
            .unknown_outputs
            .iter()
            .map(|(name, why)| format!("output {name}: {why}")),
    );
    Err(Unfinished(told.join("; ")).into())
}
