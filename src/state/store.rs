//! All states of a backend.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use epid_provider::Timestamp;
use serde::{Deserialize, Serialize};

use super::blobs::{Blobs, Guard, Lock};
use super::error::StateError;
use super::format::{Damage, document};
use super::journal_entry::RunRecord;
use super::keys::{Entropy, KeyRing, StackKeys};
use super::load::{self, Loaded, PREVIOUS, STATE, StateHead, Version};
use super::location::{Holder, Location};
use super::names::{self, RunName};
use super::seen::Notes;
use super::session::{Opening, Session};
use super::sharing;
use super::snapshot::{FORMAT, Header, Snapshot};

pub(super) const LOCK: &str = "lock";
pub(super) const HOLDER: &str = "holder";
pub(super) const HISTORY: &str = "history";

/// The states of a backend, and the keys that open them. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(super) blobs: Arc<dyn Blobs>,
    pub(super) keys: KeyRing,
    pub(super) entropy: Entropy,
    /// It is used by the migration that notices tell of.
    pub(super) is_moving: bool,
    /// How far states were.
    pub(super) notes: Notes,
    /// What was read, until it is opened for writing.
    read: Arc<Mutex<BTreeMap<Location, (Version, Loaded)>>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("blobs", &self.blobs)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RunHead {
    epid: String,
    format: u32,
    serial: u64,
}

const RUN: &str = "run";
const RUN_PURPOSE: &str = "epid run 1";

impl Store {
    /// The states in `blobs`, with the key files of `keys`.
    #[must_use]
    pub fn new(blobs: Arc<dyn Blobs>, keys: KeyRing, entropy: Entropy) -> Self {
        Self {
            blobs,
            keys,
            entropy,
            is_moving: false,
            notes: Notes::default(),
            read: Arc::default(),
        }
    }

    /// The same for a migration: what its notices keep everybody else from is open to it.
    pub(super) fn while_moving(&self) -> Self {
        Self {
            is_moving: true,
            // A migration may be given up, and what it wrote with it.
            notes: Notes::default(),
            ..self.clone()
        }
    }

    fn read_before(&self) -> MutexGuard<'_, BTreeMap<Location, (Version, Loaded)>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remember(&self, location: &Location, version: Version, loaded: &Loaded) {
        self.read_before()
            .insert(location.clone(), (version, loaded.clone()));
    }

    /// What was read from this version of the files of a state.
    pub(super) fn remembered(&self, location: &Location, version: &Version) -> Option<Loaded> {
        let read = self.read_before();
        let (of, loaded) = read.get(location)?;
        (of == version).then(|| loaded.clone())
    }

    pub(super) fn forget_read(&self, location: &Location) {
        self.read_before().remove(location);
    }

    /// The state of a stack, with its keys; `None` where it has none. Takes no lock and writes nothing; while somebody else
    /// works on the stack, it is the state of some moment.
    ///
    /// # Errors
    /// [`StateError::MissingKey`], [`StateError::Corrupt`], [`StateError::Newer`], [`StateError::Misplaced`],
    /// [`StateError::Io`].
    pub async fn read(&self, location: &Location) -> Result<Option<(Snapshot, StackKeys)>, StateError> {
        let loaded = load::load(self, location).await?;
        Ok(loaded.map(|loaded| (loaded.snapshot, loaded.keys)))
    }

    /// The header of a state as it was last closed; `None` where there is none. Needs no key.
    ///
    /// # Errors
    /// [`StateError::Corrupt`], [`StateError::Newer`], [`StateError::Io`].
    pub async fn header(&self, location: &Location) -> Result<Option<Header>, StateError> {
        Ok(self.head(location).await?.map(|head| head.header()))
    }

    async fn head(&self, location: &Location) -> Result<Option<StateHead>, StateError> {
        let Some((file, bytes, _)) = load::fetch_state(self, location).await? else {
            return Ok(None);
        };
        let head = StateHead::read(&bytes).map_err(|damage| damage.of(file, "restore it from a backup"))?;
        Ok(Some(head))
    }

    /// Every stack that has a state, in order.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub async fn list(&self) -> Result<Vec<Location>, StateError> {
        let names = self.blobs.list("").await?;
        let mut locations: Vec<Location> = names.iter().filter_map(|name| names::location(name)).collect();
        locations.sort();
        locations.dedup();
        Ok(locations)
    }

    /// The worlds in which a stack has a state, in order.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub async fn worlds(&self, project: &str, stack: &str) -> Result<Vec<String>, StateError> {
        let all = self.list().await?.into_iter();
        let same = all.filter(|location| *location.project == *project && *location.stack == *stack);
        Ok(same.map(|location| location.world.to_string()).collect())
    }

    /// The runs of a stack, oldest first; one that goes on or died comes last, without an end.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn history(&self, location: &Location) -> Result<Vec<RunRecord>, StateError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let Some(loaded) = load::load(self, location).await? else {
                return Ok(Vec::new());
            };
            let keys = loaded.wrapped.clone();
            match self.history_beside(location, loaded).await {
                // A rotation goes on, and has sealed it with other keys since.
                Err(StateError::Corrupt { .. })
                    if attempt < load::ATTEMPTS
                        && self.head(location).await?.is_none_or(|h| h.keys != keys) => {}
                told => return told,
            }
        }
    }

    /// The runs that the history of a state has, and those that it still lacks.
    pub(super) async fn history_beside(
        &self,
        location: &Location,
        loaded: Loaded,
    ) -> Result<Vec<RunRecord>, StateError> {
        let mut runs = BTreeMap::new();
        for name in self.blobs.list(&names::file(location, HISTORY)).await? {
            let Some(bytes) = self.blobs.get(&name).await? else {
                continue;
            };
            let read = read_named_run(&bytes, &name, &loaded.keys);
            let (name, run) = read.map_err(|damage| {
                damage.of(
                    self.blobs.describe(&name),
                    "move it away; nothing but this run's history is lost",
                )
            })?;
            runs.insert(name, run);
        }
        for run in loaded
            .runs
            .into_iter()
            .chain(loaded.snapshot.run.as_deref().cloned())
        {
            runs.insert((run.serial, None), run);
        }
        Ok(runs.into_values().collect())
    }

    pub(super) async fn keep_run(
        &self,
        location: &Location,
        run: &RunRecord,
        keys: &StackKeys,
    ) -> Result<(), StateError> {
        let name = names::run(location, (run.serial, None));
        Ok(self.blobs.put(&name, sealed_run(run, keys)?).await?)
    }

    /// Keeps a run that changed nothing, beside those of that state which came before it.
    pub(super) async fn keep_idle_run(
        &self,
        location: &Location,
        run: &RunRecord,
        keys: &StackKeys,
    ) -> Result<(), StateError> {
        let bytes = sealed_run(run, keys)?;
        // Simulated clocks stand still between runs.
        let mut at = run.run.at.0;
        while !self
            .blobs
            .put_new(&names::run(location, (run.serial, Some(at))), bytes.clone())
            .await?
        {
            at = at.saturating_add(1);
        }
        Ok(())
    }

    /// Removes the state of a stack that has nothing any more, and everything beside it. One that does not exist is removed
    /// already.
    ///
    /// # Errors
    /// [`StateError::InUse`] while it has resources, unfinished operations or consumers; [`StateError::Locked`] while somebody
    /// works on it; as [`Self::read`] otherwise.
    pub async fn remove(&self, location: &Location, holder: Holder) -> Result<(), StateError> {
        let session = match Session::open(self, location, Opening::new(holder)).await {
            Err(StateError::NotFound(_)) => return Ok(()),
            session => session?,
        };
        let left = session.with(|snapshot| snapshot.entries.len() + snapshot.intents.len());
        if left > 0 {
            return Err(StateError::InUse {
                location: location.clone(),
                resources: left,
                consumers: Vec::new(),
            });
        }
        session.start_closing().await?;
        // The newest snapshot must not need the journal, whose files go one by one.
        let guard = session.close_and_keep_lock().await?;
        self.forget_seen(location).await;
        let folder = names::folder(location);
        let names = self.blobs.list(&folder).await?;
        let keep = [LOCK, sharing::CLOSING, STATE].map(|name| format!("{folder}/{name}"));
        let previous = names::file(location, PREVIOUS);
        let others = names
            .iter()
            .filter(|name| !keep.contains(name) && **name != previous);
        for name in std::iter::once(&previous)
            .chain(others)
            .chain([&keep[2], &keep[1]])
        {
            self.blobs.delete(name).await?;
        }
        if let Some(guard) = guard {
            guard.release().await;
        }
        Ok(())
    }

    /// Drops the state of a stack whose world is gone, whatever it holds.
    ///
    /// # Errors
    /// [`StateError::Locked`] while somebody works on it, [`StateError::Io`].
    pub async fn discard(&self, location: &Location, holder: &Holder) -> Result<(), StateError> {
        let guard = self.lock(location, holder).await?;
        self.forget_seen(location).await;
        let folder = names::folder(location);
        let lock = names::file(location, LOCK);
        for name in self.blobs.list(&folder).await? {
            if name != lock {
                self.blobs.delete(&name).await?;
            }
        }
        guard.release().await;
        Ok(())
    }

    /// Takes the lock of a stack and says who holds it.
    pub(super) async fn lock(
        &self,
        location: &Location,
        holder: &Holder,
    ) -> Result<Arc<dyn Guard>, StateError> {
        let name = names::file(location, HOLDER);
        let lock = self.blobs.lock(&names::file(location, LOCK), holder).await?;
        // Only now: who moves the states says so before taking the locks.
        if let Err(error) = self.stays(location).await {
            if let Some(guard) = lock.taken() {
                guard.release().await;
            }
            return Err(error);
        }
        match lock {
            Lock::Taken(guard) if guard.is_named() => Ok(guard),
            Lock::Taken(guard) => {
                let text =
                    serde_json::to_vec(holder).map_err(|error| StateError::Abandoned(error.to_string()))?;
                self.blobs.put(&name, text).await?;
                // Consumers write into a folder of their own, and without this lock.
                for folder in ["", "/journal", &format!("/{HISTORY}")] {
                    let folder = names::folder(location) + folder;
                    // What stays is in nobody's way.
                    drop(self.blobs.sweep(&folder).await);
                }
                Ok(guard)
            }
            Lock::Held(Some(tenure)) => Err(StateError::Locked {
                location: location.clone(),
                holder: Some(Box::new(tenure.holder)),
                until: Some(tenure.until),
            }),
            Lock::Held(None) => Err(StateError::Locked {
                location: location.clone(),
                holder: self.holder(location).await?.map(Box::new),
                until: None,
            }),
        }
    }

    /// Says that nobody holds the lock any more. Not saying so does no harm.
    pub(super) async fn forget_holder(&self, location: &Location, guard: &dyn Guard) {
        if guard.is_named() {
            return;
        }
        drop(self.blobs.delete(&names::file(location, HOLDER)).await);
    }

    /// Who works on a stack, or did when the machine stopped; `None` where nobody said so.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub async fn holder(&self, location: &Location) -> Result<Option<Holder>, StateError> {
        let bytes = self.blobs.get(&names::file(location, HOLDER)).await?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Who works on a stack as it is written down, and until when unless they go on, where locks end by themselves. Without such
    /// a time they may have died: only who takes the lock can tell. Takes no lock and writes nothing.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub async fn at_work(
        &self,
        location: &Location,
    ) -> Result<Option<(Holder, Option<Timestamp>)>, StateError> {
        Ok(match self.blobs.tenure(&names::file(location, LOCK)).await? {
            Some(tenure) => Some((tenure.holder, Some(tenure.until))),
            None => self.holder(location).await?.map(|holder| (holder, None)),
        })
    }
}

pub(super) fn sealed_run(run: &RunRecord, keys: &StackKeys) -> Result<Vec<u8>, StateError> {
    let head = RunHead {
        epid: RUN.to_owned(),
        format: FORMAT,
        serial: run.serial,
    };
    let clear = serde_json::to_vec(run).map_err(|error| StateError::Abandoned(error.to_string()))?;
    document::write(&head, &clear, keys.state(), RUN_PURPOSE, keys.entropy())
}

pub(super) fn read_run(bytes: &[u8], keys: &StackKeys) -> Result<RunRecord, Damage> {
    let _: RunHead = document::head(bytes, RUN)?;
    let mut clear = document::open(bytes, keys.state(), RUN_PURPOSE);
    if let (Err(_), Some(before)) = (&clear, keys.before()) {
        clear = document::open(bytes, before, RUN_PURPOSE);
    }
    serde_json::from_slice(&clear?).map_err(|e| Damage::at(0, format!("its content cannot be read: {e}")))
}

/// The run of a file of the history, which is called after it.
pub(super) fn read_named_run(
    bytes: &[u8],
    name: &str,
    keys: &StackKeys,
) -> Result<(RunName, RunRecord), Damage> {
    let run = read_run(bytes, keys)?;
    match names::run_name(name) {
        Some(name @ (serial, _)) if serial == run.serial => Ok((name, run)),
        _ => Err(Damage::at(0, format!("it is the history of run {}", run.serial))),
    }
}

/// Does work that blocks, or takes long, beside the runtime.
pub(super) async fn off_thread<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, StateError> + Send + 'static,
) -> Result<R, StateError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|died| Err(StateError::Abandoned(died.to_string())))
}
