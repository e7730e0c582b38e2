//! One process on a disk and a cloud: what `epid up` and `epid destroy` do there, without a terminal.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use epid::apply::{Clock, Control, Executor, Outcome, Stopper, TokioClock};
use epid::builtin::Builtin;
use epid::cli::{Derivations, providers_of};
use epid::expression::Digests;
use epid::graph::{Inputs, Providers, ResourceGraph, build};
use epid::observe::{Depth, Looking, Seen, observe};
use epid::plan::{Action, Mode, Plan, Refresh, Request, Selection, plan};
use epid::program::{Components, Project, Severity, StackFile, draft_values};
use epid::state::blobs::MemoryBlobs;
use epid::state::{
    Entropy, Header, Holder, JournalEntry, KeyRing, Location, Opening, Run, Session, Snapshot, StackKeys,
    StateError, Store,
};
use epid_fake::Fake;
use epid_provider::{Map, Timestamp, Token, Urn, Value};
use epid_sandbox::{MemoryStore, Sandbox, Settings, WorldStore};

use crate::cloud::{Cloud, Recording};
use crate::inventory::Inventory;
use crate::trouble::Trouble;

/// When every world begins: 2026-01-01T00:00:00Z.
const BEGINNING: u64 = 1_767_225_600_000;

/// Where on a disk the states are. What is noted of them lies beside that, for the project and for the person.
pub(crate) const STATES: &str = "states";

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
        disk: &MemoryBlobs,
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
            let warned = Arc::new(Mutex::new(None));
            let warning = warned.clone();
            let [states, project, person] =
                [STATES, "project", "person"].map(|folder| Arc::new(disk.within(folder)));
            let process = Process {
                machine: self,
                store: Store::new(states, self.keys.clone(), entropy()).noting(
                    project,
                    Some(person),
                    move |problem| {
                        if let Ok(mut warning) = warning.lock() {
                            warning.get_or_insert(problem.to_string());
                        }
                    },
                ),
                providers: services.providers(),
                clock: Arc::new(TokioClock::starting_at(now)),
                control,
                _stopper: stopper,
                services,
            };
            let done = act(&process).await?;
            match warned.lock().ok().and_then(|mut warned| warned.take()) {
                Some(warning) => Err(warning.into()),
                None => Ok(done),
            }
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

/// Digests under the keys of a state, where there is one.
struct Keyed {
    keys: Option<StackKeys>,
    /// Something could not be told because there is none yet.
    lacked_key: Cell<bool>,
}

impl Keyed {
    fn new(keys: Option<&StackKeys>) -> Self {
        Self {
            keys: keys.cloned(),
            lacked_key: Cell::new(false),
        }
    }
}

impl Digests for Keyed {
    fn digest(&self, bytes: &[u8]) -> Option<String> {
        self.lacked_key.set(self.lacked_key.get() || self.keys.is_none());
        self.keys.as_ref()?.digest_bytes(bytes)
    }
}

/// A plan as somebody was shown it.
struct Shown {
    plan: Plan,
    /// What it was made from.
    basis: Snapshot,
    /// It may be another the next time although nothing was recorded in between.
    passing: bool,
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

    /// In the order of the command line, `src/cli/run/executing.rs`: what an earlier run left is looked into in a session of its
    /// own, the plan is made without the lock and again where it does not hold any more under it, and others are told before and
    /// after.
    async fn run(&self, stack: &str, mode: Mode) -> Result<(), Failed> {
        let file = self.file(stack)?;
        self.recover(stack).await?;
        let shown = self.shown(file, mode).await?;
        let is_first = shown.plan.header.lineage.is_empty();
        if is_first && shown.plan.is_empty() && shown.plan.outputs.is_empty() {
            return Ok(());
        }
        let session = self.open(stack).await?;
        let done = self.execute(&session, file, mode, shown).await;
        let closed = session.close().await;
        done?;
        Ok(closed?)
    }

    async fn recover(&self, stack: &str) -> Result<(), Failed> {
        if self.recorded(stack).await?.0.intents.is_empty() {
            return Ok(());
        }
        let session = self.open(stack).await?;
        let digests = Keyed::new(Some(session.keys()));
        let recovered = self.executor(&session, &digests).recover(&mut |_| {}).await;
        session.close().await?;
        recovered?;
        Ok(())
    }

    /// What is recorded of a stack, and its keys where it has a state.
    async fn recorded(&self, stack: &str) -> Result<(Snapshot, Option<StackKeys>), Failed> {
        let location = self.location(stack);
        Ok(match self.store.read(&location).await? {
            Some((snapshot, keys)) => (snapshot, Some(keys)),
            None => {
                let header = Header::new(&location.project, &location.stack, &location.world, "");
                (Snapshot::new(header), None)
            }
        })
    }

    /// The plan of a stack on what is recorded, as somebody is shown it.
    async fn shown(&self, file: &StackFile, mode: Mode) -> Result<Shown, Failed> {
        let (snapshot, keys) = self.recorded(&file.name).await?;
        let digests = Keyed::new(keys.as_ref());
        let (plan, seen) = self.plan(file, &snapshot, mode, Depth::Needed, &digests).await?;
        Ok(Shown {
            plan,
            passing: digests.lacked_key.get() || !seen.found.is_empty() || !seen.failed.is_empty(),
            basis: snapshot,
        })
    }

    async fn execute(
        &self,
        session: &Arc<Session>,
        file: &StackFile,
        mode: Mode,
        shown: Shown,
    ) -> Result<(), Failed> {
        let location = self.location(&file.name);
        if mode == Mode::Up {
            session.stop_closing().await?;
            for (producer, _) in file.references.values() {
                self.store
                    .add_consumer(&self.location(producer), &location)
                    .await?;
            }
        } else {
            session.start_closing().await?;
        }
        let done = self.apply(session, file, mode, shown).await;
        match mode {
            Mode::Destroy => {
                if session.with(Snapshot::is_empty) {
                    self.withdraw(&location, &[]).await?;
                    self.store.unpublish(&location).await?;
                }
                session.stop_closing().await?;
            }
            Mode::Up if done.is_ok() => {
                let used: Vec<Location> = file.references.values().map(|(p, _)| self.location(p)).collect();
                self.withdraw(&location, &used).await?;
            }
            Mode::Up => {}
        }
        done
    }

    /// Takes the marks away that a stack has left, but for those with stacks that it uses.
    async fn withdraw(&self, location: &Location, used: &[Location]) -> Result<(), Failed> {
        for producer in self.store.producers(location).await? {
            if !used.contains(&producer) {
                self.store.remove_consumer(&producer, location).await?;
            }
        }
        Ok(())
    }

    async fn apply(
        &self,
        session: &Arc<Session>,
        file: &StackFile,
        mode: Mode,
        shown: Shown,
    ) -> Result<(), Failed> {
        let digests = Keyed::new(Some(session.keys()));
        let same = session.with(|now| {
            let header = &shown.basis.header;
            let first = header.lineage.is_empty() && now.header.serial == 0;
            (first && shown.basis.is_empty() && now.is_empty()) || now.is_same(&shown.basis)
        });
        let mut plan = if shown.passing || !same {
            // Nobody else is there: a plan that says more than the one before speaks of the same cloud.
            let depth = Depth::Needed;
            self.plan(file, &session.snapshot(), mode, depth, &digests)
                .await?
                .0
        } else {
            shown.plan
        };
        let header = session.with(|snapshot| snapshot.header.clone());
        if plan.header.lineage.is_empty() && header.serial == 0 {
            plan.header.lineage = header.lineage;
        }
        let mut executor = self.executor(session, &digests);
        let text = epid_provider::with_secrets(|| serde_json::to_vec(&plan))?;
        executor.run.plan = digests.digest(&text).map(Into::into);
        let outcome = executor.apply(&plan, &mut |_| {}).await?;
        if mode == Mode::Up && outcome.journal.is_none() {
            session.publish_outputs().await?;
            self.note_derived(session, file).await?;
        }
        succeeded(&outcome)
    }

    /// Writes down what the secrets of a stack come to, where that has changed.
    async fn note_derived(&self, session: &Arc<Session>, file: &StackFile) -> Result<(), Failed> {
        let snapshot = session.snapshot();
        let derivations = Derivations::noting(session.keys());
        let graph = self.graph(file, &derivations).await?;
        // What it evaluates is noted, whatever it comes to.
        drop(plan(&Request {
            graph: &graph,
            snapshot: &snapshot,
            observed: &BTreeMap::new(),
            providers: &self.providers,
            mode: Mode::Up,
            selection: &Selection::default(),
            refresh: Refresh::Undo,
            digests: &derivations,
        }));
        let derived = derivations.noted();
        if derived != *snapshot.derived {
            let ticket = session.append(JournalEntry::Derived(derived))?;
            session.durable(ticket).await?;
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
        let (snapshot, keys) = self.recorded(stack).await?;
        let verified = self.store.verify(&self.location(stack)).await?;
        if let Some(problem) = verified.problems.first() {
            return Err(problem.to_string().into());
        }
        if let Some(intent) = snapshot.intents.values().next() {
            return Err(format!("{} is begun and not ended", intent.entry.urn()).into());
        }
        let digests = Keyed::new(keys.as_ref());
        let (plan, seen) = self
            .plan(file, &snapshot, Mode::Up, Depth::Refresh, &digests)
            .await?;
        if let Some((urn, failure)) = seen.failed.first() {
            return Err(format!("{} cannot be read: {}", urn.path(), failure.message).into());
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

    /// The plan of a stack on what is recorded, and what was looked at for it.
    async fn plan(
        &self,
        file: &StackFile,
        snapshot: &Snapshot,
        mode: Mode,
        depth: Depth,
        digests: &dyn Digests,
    ) -> Result<(Plan, Seen), Failed> {
        let graph = match mode {
            Mode::Up => self.graph(file, digests).await?,
            Mode::Destroy => ResourceGraph::empty(),
        };
        let trial = Arc::new(Session::in_memory(Header::clone(&snapshot.header)));
        let executor = self.executor(&trial, digests);
        let destroys = mode == Mode::Destroy;
        // Nothing can be deleted one by one in a cluster that somebody deleted.
        let containers = snapshot.entries.values().filter(|_| destroys);
        let containers: BTreeSet<&Urn> = containers
            .filter_map(|entry| entry.deleted_with.as_ref())
            .collect();
        let seen = observe(&Looking {
            graph: &graph,
            snapshot,
            providers: &self.providers,
            depth: if destroys { Depth::Refresh } else { depth },
            only: &|urn| !destroys || containers.contains(urn),
            digests,
            call: &|urn| executor.look(urn),
        })
        .await;
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
        Ok((plan, seen))
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
