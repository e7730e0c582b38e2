//! The only writer of a state.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use epid_provider::Timestamp;
use tokio::sync::OwnedMutexGuard;

use super::blobs::Guard;
use super::disk::Disk;
use super::error::StateError;
use super::journal_entry::{JournalEntry, Run, RunRecord, RunResult};
use super::keys::StackKeys;
use super::load::note_run;
use super::location::{Holder, Location};
use super::seen::Far;
use super::snapshot::{Header, Snapshot};
use super::store::Store;

/// How a state is opened.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Who opens it, for whoever finds it locked.
    pub holder: Holder,
    /// Make the state where there is none.
    pub create: bool,
    /// Make it also where the stack has resources in another world already: a copy is meant.
    pub another_world: bool,
    /// The id of the key for a state that is made: the one the stack file names. Where it names none, a key is minted.
    pub key: Option<String>,
    /// Where that key is not here, a state that is made takes another one.
    pub spares_key: bool,
    /// The copy that is about to be restored. A state that is made is this copy from the start, under its lineage and serial.
    pub restores: Option<Arc<Exported>>,
}

/// What [`Store::export`] wrote.
#[derive(Debug, Clone)]
pub struct Exported {
    /// The state.
    pub snapshot: Snapshot,
    /// Its keys. A state that is made of it has others, but digests go on: names in the cloud hold them.
    pub(super) keys: StackKeys,
}

impl Opening {
    /// Opens a state that exists.
    #[must_use]
    pub fn new(holder: Holder) -> Self {
        Self {
            holder,
            create: false,
            another_world: false,
            key: None,
            spares_key: false,
            restores: None,
        }
    }

    /// Makes the state where there is none.
    #[must_use]
    pub fn create(mut self) -> Self {
        self.create = true;
        self
    }
}

/// An open state: exclusive, in memory always current, on disk soon after.
///
/// A session that is dropped without [`Session::close`] gives up its lock; what was durable is there for the next one.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    keys: StackKeys,
    /// `None` in memory. Whoever holds it writes everything that is queued.
    disk: Option<Arc<tokio::sync::Mutex<Disk>>>,
    /// Apart from the disk: entries are written while somebody looks whether the lock is held.
    guard: Option<Weak<dyn Guard>>,
    /// Held while somebody looks: the number of the last look that found it held.
    look: tokio::sync::Mutex<u64>,
    place: Option<(Store, Location)>,
}

#[derive(Debug)]
struct Inner {
    snapshot: Snapshot,
    /// Applied and not yet given to the disk.
    queue: Vec<JournalEntry>,
    appended: u64,
    durable: u64,
    /// The first failed write: nothing is appended after it.
    poison: Option<StateError>,
    closed: bool,
    /// How often somebody began to look whether the lock is held.
    looks: u64,
    /// Runs that the history lacks, without the last.
    runs: Vec<RunRecord>,
    /// The serial up to which the history has all runs.
    saved: u64,
    /// A run that changed nothing, with how it ended.
    idle: Option<(Run, RunResult, Timestamp)>,
}

/// The place of an entry in the journal: pass it to [`Session::durable`] to wait until it, and all before it, is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "an entry is on disk only once `durable` says so"]
pub struct Ticket(u64);

impl Session {
    /// A session that is kept nowhere: everything is durable at once. For tests.
    #[must_use]
    pub fn in_memory(header: Header) -> Self {
        let keys = StackKeys::in_memory(&header.lineage);
        Self::of(Snapshot::new(header), keys, Vec::new(), None, None)
    }

    /// A session on a copy of a state, kept nowhere: what a run would make of it.
    #[must_use]
    pub fn trial(snapshot: Snapshot, keys: Option<StackKeys>) -> Self {
        let keys = keys.unwrap_or_else(|| StackKeys::in_memory(&snapshot.header.lineage));
        Self::of(snapshot, keys, Vec::new(), None, None)
    }

    fn of(
        snapshot: Snapshot,
        keys: StackKeys,
        runs: Vec<RunRecord>,
        disk: Option<(Disk, u64)>,
        place: Option<(Store, Location)>,
    ) -> Self {
        let saved = disk.as_ref().map_or(0, |(_, saved)| *saved);
        let inner = Inner {
            snapshot,
            queue: Vec::new(),
            appended: 0,
            durable: 0,
            poison: None,
            closed: false,
            looks: 0,
            runs,
            saved,
            idle: None,
        };
        let guard = disk.as_ref().and_then(|(disk, _)| disk.guard());
        let disk = disk.map(|(disk, _)| Arc::new(tokio::sync::Mutex::new(disk)));
        Self {
            shared: Arc::new(Shared {
                inner: Mutex::new(inner),
                keys,
                disk,
                guard,
                look: tokio::sync::Mutex::new(0),
                place,
            }),
        }
    }

    /// Opens a state for writing: takes its lock, reads it, and applies what the last session left in the journal.
    ///
    /// # Errors
    /// [`StateError::Locked`] while somebody else has it open; [`StateError::NotFound`] where there is none and none is to be
    /// made; [`StateError::OtherWorld`] where one would be made although the stack has resources elsewhere;
    /// [`StateError::MissingKey`], [`StateError::Corrupt`], [`StateError::Newer`], [`StateError::Misplaced`],
    /// [`StateError::Io`].
    pub async fn open(store: &Store, location: &Location, opening: Opening) -> Result<Self, StateError> {
        let (mut disk, loaded) = Disk::open(store, location, opening).await?;
        disk.note_seen(Far::of(&loaded.snapshot)).await;
        let place = Some((store.clone(), location.clone()));
        let saved = loaded.head.serial;
        Ok(Self::of(
            loaded.snapshot,
            loaded.keys,
            loaded.runs,
            Some((disk, saved)),
            place,
        ))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.lock()
    }

    /// The keys of the state. Those of a state in memory are known to everybody.
    #[must_use]
    pub fn keys(&self) -> &StackKeys {
        &self.shared.keys
    }

    /// Looks at the state as it is now, appended entries included. `look` must not call this session.
    pub fn with<R>(&self, look: impl FnOnce(&Snapshot) -> R) -> R {
        look(&self.lock().snapshot)
    }

    /// A copy of the state as it is now. Costs a pointer for each entry: not for every step.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.with(Snapshot::clone)
    }

    /// Applies an entry at once and queues it for the disk.
    ///
    /// # Errors
    /// [`StateError::Invalid`] where it contradicts the state (nothing is changed then); any error of an earlier write, after
    /// which nothing can be appended.
    pub fn append(&self, entry: JournalEntry) -> Result<Ticket, StateError> {
        let mut inner = self.lock();
        if let Some(error) = &inner.poison {
            return Err(error.clone());
        }
        if inner.closed {
            return Err(StateError::Closed);
        }
        let kept = self.shared.disk.is_some();
        // What is appended after a run that changed nothing is of that run: now it has.
        if let Some((run, result, at)) = inner.idle.take() {
            inner.push(JournalEntry::Run(run), kept)?;
            inner.push(JournalEntry::Close { result, at }, kept)?;
        }
        inner.push(entry, kept)?;
        Ok(Ticket(inner.appended))
    }

    /// Keeps a run that changed nothing for the history. The state stays as it is, and so does its serial: what was planned
    /// with it is not stale. It is written when the session closes.
    pub fn note_idle(&self, run: Run, result: RunResult, at: Timestamp) {
        self.lock().idle = Some((run, result, at));
    }

    /// Returns once the entry of `ticket` and all before it are on disk. What is queued meanwhile is written as one.
    ///
    /// # Errors
    /// Where they cannot be written; nothing can be appended any more then. [`StateError::LockLost`] where they are on disk and
    /// somebody else may write too.
    pub async fn durable(&self, ticket: Ticket) -> Result<(), StateError> {
        if self.shared.is_durable(ticket)? {
            return Ok(());
        }
        let Some(disk) = &self.shared.disk else {
            return Ok(());
        };
        let disk = disk.clone().lock_owned().await;
        if self.shared.is_durable(ticket)? {
            return Ok(());
        }
        let shared = self.shared.clone();
        // A task of its own: whoever waits may give up in the middle of a write, and the write may not.
        let written = tokio::spawn(async move { shared.flush(disk).await });
        if let Err(died) = written.await {
            self.shared.fail(StateError::Abandoned(died.to_string()));
        }
        self.shared.is_durable(ticket).map(drop)
    }

    /// Makes sure that nobody else may write: for calls that are made a while after their entry became durable. One look serves
    /// all who asked before it began.
    ///
    /// # Errors
    /// [`StateError::LockLost`], after which nothing can be appended; the error of an earlier write.
    pub async fn check_lock(&self) -> Result<(), StateError> {
        let Some((_, location)) = &self.shared.place else {
            return Ok(());
        };
        let asked = self.lock().looks;
        let mut held = self.shared.look.lock().await;
        if *held > asked {
            return Ok(());
        }
        let look = {
            let mut inner = self.lock();
            if let Some(error) = &inner.poison {
                return Err(error.clone());
            }
            inner.looks += 1;
            inner.looks
        };
        match self.shared.guard.as_ref().and_then(Weak::upgrade) {
            Some(guard) if guard.confirm().await => {
                *held = look;
                Ok(())
            }
            _ => {
                let error = StateError::LockLost(location.clone());
                self.shared.fail(error.clone());
                Err(error)
            }
        }
    }

    /// Publishes the stack's outputs as they are now, for the stacks that use them. Once the outputs are durable.
    ///
    /// # Errors
    /// [`StateError::Io`], [`StateError::Entropy`], and [`StateError::BadKey`] where the key of a consumer cannot be read.
    pub async fn publish_outputs(&self) -> Result<(), StateError> {
        match &self.shared.place {
            Some((store, location)) => {
                let mut outputs = Snapshot::new(self.with(|snapshot| snapshot.header.clone()));
                outputs.outputs = self.with(|snapshot| snapshot.outputs.clone());
                store.publish(location, outputs, &self.shared.keys).await
            }
            None => Ok(()),
        }
    }

    /// Says that the stack is being destroyed, so that nobody begins to use its outputs. It stays so until
    /// [`Self::stop_closing`] or the removal of the state.
    ///
    /// # Errors
    /// [`StateError::InUse`] with the stacks that use its outputs; nothing is said then.
    pub async fn start_closing(&self) -> Result<(), StateError> {
        match &self.shared.place {
            Some((store, location)) => store.start_closing(location).await,
            None => Ok(()),
        }
    }

    /// Says that the stack is not being destroyed after all, or that the destroy is over and it may be used again.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub async fn stop_closing(&self) -> Result<(), StateError> {
        match &self.shared.place {
            Some((store, location)) => store.stop_closing(location).await,
            None => Ok(()),
        }
    }

    /// Waits until everything is on disk, writes a new snapshot and ends the session. Later appends are errors; closing again
    /// does nothing.
    ///
    /// # Errors
    /// Where something cannot be written. What [`Session::durable`] acknowledged is on disk nevertheless.
    pub async fn close(&self) -> Result<(), StateError> {
        if let Some(guard) = self.close_and_keep_lock().await? {
            guard.release().await;
        }
        Ok(())
    }

    /// Closes, and leaves the lock to the caller. `None` where it was closed before, or is kept nowhere.
    pub(super) async fn close_and_keep_lock(&self) -> Result<Option<Arc<dyn Guard>>, StateError> {
        let last = {
            let mut inner = self.lock();
            if std::mem::replace(&mut inner.closed, true) {
                return Ok(None);
            }
            Ticket(inner.appended)
        };
        let Some(disk) = &self.shared.disk else {
            return Ok(None);
        };
        let written = self.durable(last).await;
        let (mut disk, shared) = (disk.clone().lock_owned().await, self.shared.clone());
        let closing = tokio::spawn(async move {
            let done = match written {
                Ok(()) => shared.compact(&mut disk).await,
                Err(error) => Err(error),
            };
            let done = match done {
                Ok(()) => shared.keep_idle().await,
                Err(error) => Err(error),
            };
            // However it ends, the session is over and the lock goes.
            let guard = disk.release().await;
            match (done, guard) {
                (Ok(()), guard) => Ok(guard),
                (Err(error), Some(guard)) => {
                    guard.release().await;
                    Err(error)
                }
                (Err(error), None) => Err(error),
            }
        });
        let closed = closing.await;
        closed.unwrap_or_else(|died| Err(StateError::Abandoned(died.to_string())))
    }
}

impl Inner {
    /// Applies an entry, and queues it where it is `kept` anywhere.
    fn push(&mut self, entry: JournalEntry, kept: bool) -> Result<(), StateError> {
        note_run(&self.snapshot, &entry, self.saved, &mut self.runs);
        self.snapshot.apply(&entry)?;
        self.appended += 1;
        if kept {
            self.queue.push(entry);
        } else {
            self.durable = self.appended;
        }
        Ok(())
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.as_ref().map(|(_, location)| location);
        f.debug_struct("Session")
            .field("location", &place)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_durable(&self, ticket: Ticket) -> Result<bool, StateError> {
        let inner = self.lock();
        match &inner.poison {
            _ if inner.durable >= ticket.0 => Ok(true),
            Some(error) => Err(error.clone()),
            None => Ok(false),
        }
    }

    fn fail(&self, error: StateError) {
        self.lock().poison.get_or_insert(error);
    }

    /// Writes everything that is queued as one.
    async fn flush(&self, mut disk: OwnedMutexGuard<Disk>) {
        let (batch, last, far) = {
            let mut inner = self.lock();
            if inner.poison.is_some() {
                return;
            }
            let far = Far::of(&inner.snapshot);
            (std::mem::take(&mut inner.queue), inner.appended, far)
        };
        match disk.append(batch, &self.keys).await {
            Ok(()) => {
                self.lock().durable = last;
                disk.note_seen(far).await;
            }
            Err(error) => self.fail(error),
        }
    }

    /// Writes a run that changed nothing into the history.
    async fn keep_idle(&self) -> Result<(), StateError> {
        let (idle, serial) = {
            let mut inner = self.lock();
            (inner.idle.take(), inner.snapshot.header.serial)
        };
        if let (Some((run, result, at)), Some((store, location))) = (idle, &self.place) {
            let (end, steps) = (Some((result, at)), Vec::new());
            let run = RunRecord {
                serial,
                run,
                end,
                steps,
            };
            store.keep_idle_run(location, &run, &self.keys).await?;
        }
        Ok(())
    }

    /// Writes a new snapshot where the journal holds more than the old one.
    async fn compact(&self, disk: &mut Disk) -> Result<(), StateError> {
        let (mut snapshot, mut runs, saved) = {
            let mut inner = self.lock();
            (
                inner.snapshot.clone(),
                std::mem::take(&mut inner.runs),
                inner.saved,
            )
        };
        if !disk.is_behind() {
            return Ok(());
        }
        // Changes outside any run: whoever pinned the serial must notice.
        if snapshot.header.serial == saved {
            snapshot.header.serial = saved.saturating_add(1);
        }
        runs.extend(snapshot.run.as_deref().filter(|run| run.serial > saved).cloned());
        let far = Far::of(&snapshot);
        disk.compact(snapshot, &runs, &self.keys).await?;
        disk.note_seen(far).await;
        Ok(())
    }
}
