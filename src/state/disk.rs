//! The files of an open state, as its session writes them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::blobs::{Guard, Log};
use super::error::StateError;
use super::format::journal::{self, FULL, Position, Writer};
use super::format::record::Line;
use super::journal_entry::{JournalEntry, Run, RunRecord, RunResult};
use super::keys::StackKeys;
use super::keys::cipher::{hex, random};
use super::load::{self, Loaded, PREVIOUS, STATE, StateHead, note_run};
use super::location::{Location, is_sandbox};
use super::names;
use super::seen::Far;
use super::session::Opening;
use super::snapshot::{Header, Snapshot};
use super::store::{Store, off_thread};

/// How often a stack is taken over from a writer who goes on writing.
const ROUNDS: usize = 8;
/// How often it is noted how far a run is: a copy of the state from amid it is known for what it is, up to that.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// The files of an open state.
#[derive(Debug)]
pub(super) struct Disk {
    store: Store,
    location: Location,
    /// The head of the snapshot's file.
    head: StateHead,
    /// The snapshot was read from `state.previous`.
    from_previous: bool,
    /// The number of this session.
    epoch: u64,
    segments: Vec<u64>,
    end: Position,
    /// The journal holds what the snapshot's file does not.
    pending: bool,
    log: Option<Box<dyn Log>>,
    writer: Option<Writer>,
    guard: Option<Arc<dyn Guard>>,
    /// What was noted last, and when.
    noted: Option<(Far, Instant)>,
}

impl Disk {
    /// Locks and reads a state, or makes it.
    pub(super) async fn open(
        store: &Store,
        location: &Location,
        opening: Opening,
    ) -> Result<(Self, Loaded), StateError> {
        // Before the lock, which would leave files where nothing is to be made.
        if store.header(location).await?.is_none() {
            if opening.restores.is_none() {
                store.check_gone(location).await?;
            }
            may_begin(store, location, &opening).await?;
        }
        let guard = store.lock(location, &opening.holder).await?;
        let taken = if guard.is_disputed() {
            Self::take_over(store, location, &opening).await
        } else {
            Self::read(store, location, &opening).await
        };
        let taken = match taken {
            Ok((disk, loaded)) => disk.settled(loaded).await,
            error => error,
        };
        match taken {
            Ok((mut disk, loaded)) => {
                guard.settle();
                disk.guard = Some(guard);
                Ok((disk, loaded))
            }
            Err(error) => {
                store.forget_holder(location, &*guard).await;
                guard.release().await;
                Err(error)
            }
        }
    }

    /// Reads a state whose lock was taken from a writer who may not know: first nothing more of theirs can come behind what is
    /// read here, then the number of the segment that they might begin is taken.
    async fn take_over(
        store: &Store,
        location: &Location,
        opening: &Opening,
    ) -> Result<(Self, Loaded), StateError> {
        let mut rounds = 0;
        loop {
            rounds += 1;
            let segments = store.blobs.list(&names::file(location, "journal")).await?;
            if let Some(last) = segments.last() {
                store.blobs.fence(last).await?;
            }
            let (mut disk, loaded) = Self::read(store, location, opening).await?;
            match disk.begin_segment(&loaded.keys).await {
                Ok(writer) => {
                    // Also where no entry follows, what comes later follows this segment.
                    disk.end = writer.position();
                    disk.writer = Some(writer);
                    return Ok((disk, loaded));
                }
                // The other one has just begun it. Once they have written an entry they learn that they lost the lock.
                Err(StateError::Fenced { .. }) if rounds < ROUNDS => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn read(
        store: &Store,
        location: &Location,
        opening: &Opening,
    ) -> Result<(Self, Loaded), StateError> {
        let found = load::load(store, location).await;
        // From here on it changes.
        store.forget_read(location);
        let found = match found {
            // A copy of it is about to take its place.
            Err(StateError::Gone { .. }) if opening.restores.is_some() => None,
            found => found?,
        };
        let loaded = match found {
            Some(loaded) if !loaded.keys.opens_secrets() => {
                return Err(StateError::NeedsWholeKey {
                    what: format!("changing {location}"),
                    id: loaded.keys.id().to_owned(),
                });
            }
            Some(loaded) => loaded,
            None => create(store, location, opening.clone()).await?,
        };
        if let Some(last) = loaded.segments.last() {
            // Who wrote it may have died before it was durable, and what comes from here on says that it is there.
            store.blobs.settle(&names::segment(location, *last)).await?;
        }
        let disk = Self {
            store: store.clone(),
            location: location.clone(),
            head: loaded.head.clone(),
            from_previous: loaded.from_previous,
            epoch: loaded.epoch.saturating_add(1),
            segments: loaded.segments.clone(),
            end: loaded.end.clone(),
            pending: loaded.pending || loaded.from_previous,
            log: None,
            writer: None,
            guard: None,
            noted: None,
        };
        Ok((disk, loaded))
    }

    /// Ends a rotation that was cut short, before anything is written after it.
    async fn settled(mut self, mut loaded: Loaded) -> Result<(Self, Loaded), StateError> {
        if loaded.keys.before().is_some() {
            loaded.keys = self.settle(loaded.snapshot.clone(), loaded.keys).await?;
            loaded.head = self.head.clone();
        }
        Ok((self, loaded))
    }

    fn blob(&self, name: &str) -> String {
        names::file(&self.location, name)
    }

    /// Appends entries to the journal; they are durable once this returns.
    pub(super) async fn append(
        &mut self,
        batch: Vec<JournalEntry>,
        keys: &StackKeys,
    ) -> Result<(), StateError> {
        if batch.is_empty() {
            return Ok(());
        }
        let written = self.write(batch, keys).await;
        if let (Err(_), Some(guard)) = (&written, &self.guard) {
            // What was sent may still arrive.
            guard.dispute();
        }
        written?;
        // Whoever lost the lock must not go on, even though this was written.
        match &self.guard {
            Some(guard) if guard.is_held().await => Ok(()),
            _ => Err(StateError::LockLost(self.location.clone())),
        }
    }

    async fn write(&mut self, batch: Vec<JournalEntry>, keys: &StackKeys) -> Result<(), StateError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.begin_segment(keys).await?,
        };
        self.pending = true;
        let keys = keys.clone();
        let encode = move || Ok((encode(&batch, &keys, &mut writer)?, writer));
        let (frames, writer) = off_thread(encode).await?;
        for frame in frames {
            let log = self.log.as_mut().ok_or(StateError::Closed)?;
            log.append(frame).await?;
        }
        self.end = writer.position();
        self.writer = Some(writer);
        Ok(())
    }

    /// What tells whether anybody else may write, for as long as the session lasts.
    pub(super) fn guard(&self) -> Option<Weak<dyn Guard>> {
        self.guard.as_ref().map(Arc::downgrade)
    }

    async fn begin_segment(&mut self, keys: &StackKeys) -> Result<Writer, StateError> {
        let segment = self.end.segment.saturating_add(1);
        let salt = random(keys.entropy())?;
        let (first, writer) = journal::begin(
            &self.head.lineage,
            segment,
            self.epoch,
            &self.end,
            keys.state(),
            salt,
        );
        let name = names::segment(&self.location, segment);
        let log = self.store.blobs.start_log(&name, first).await?;
        self.log = Some(log.ok_or_else(|| StateError::Fenced {
            file: self.store.blobs.describe(&name),
        })?);
        self.segments.push(segment);
        Ok(writer)
    }

    /// Notes how far the state is, where that is news. How far a run is, is noted now and then.
    pub(super) async fn note_seen(&mut self, far: Far) {
        let is_old = match self.noted {
            Some((noted, _)) if noted == far => false,
            Some((noted, at)) if far.is_little_more_than(noted) => at.elapsed() >= NOTE_EVERY,
            _ => true,
        };
        if is_old {
            self.noted = Some((far, Instant::now()));
            let Self {
                store,
                location,
                head,
                ..
            } = &*self;
            store.note_seen(location, &head.lineage, far).await;
        }
    }

    /// True where the journal holds what the snapshot's file does not.
    pub(super) fn is_behind(&self) -> bool {
        self.pending
    }

    /// Writes a new snapshot. Whenever this is cut short, the files tell the same state: the old snapshot stays as
    /// `state.previous`, and so does the journal since it.
    pub(super) async fn compact(
        &mut self,
        snapshot: Snapshot,
        runs: &[RunRecord],
        keys: &StackKeys,
    ) -> Result<(), StateError> {
        for run in runs {
            self.store.keep_run(&self.location, run, keys).await?;
        }
        let blobs = self.store.blobs.clone();
        if !self.from_previous
            && let Some(old) = blobs.get(&self.blob(STATE)).await?
        {
            blobs.put(&self.blob(PREVIOUS), old).await?;
        }
        let head = StateHead::new(
            &snapshot.header,
            self.head.keys.clone(),
            self.end.clone(),
            self.epoch,
        );
        let (keys, written) = (keys.clone(), head.clone());
        let bytes = off_thread(move || load::write(&written, &snapshot, &keys)).await?;
        blobs.put(&self.blob(STATE), bytes).await?;
        self.from_previous = false;
        let old = std::mem::replace(&mut self.head, head).journal.segment;
        self.pending = false;
        self.drop_segments(old).await;
        Ok(())
    }

    /// Records `run` and seals the state with other data keys, which the key `id` opens. Cut anywhere, everything is readable, and
    /// whoever opens the state next ends it.
    pub(super) async fn renew(&mut self, loaded: Loaded, id: &str, run: Run) -> Result<(), StateError> {
        let (keys, at, lineage) = (loaded.keys, run.at, self.head.lineage.clone());
        let key = self
            .store
            .keys
            .require(id, &format!("the state of {}", self.location))?;
        let (mut snapshot, mut runs) = (loaded.snapshot, loaded.runs);
        let begun = JournalEntry::Run(run);
        note_run(&snapshot, &begun, loaded.head.serial, &mut runs);
        snapshot.apply(&begun)?;
        self.append(vec![begun], &keys).await?;
        self.note_seen(Far::of(&snapshot)).await;
        let result = RunResult::Done;
        snapshot.apply(&JournalEntry::Close { result, at })?;
        runs.extend(snapshot.run.as_deref().cloned());
        // Before the state is, nobody could read them under the new keys.
        for run in &runs {
            self.store.keep_run(&self.location, run, &keys).await?;
        }
        snapshot.header.key = Arc::from(id);
        let keys = keys.renewed(id)?;
        self.head.keys = keys.wrap(&key, &lineage)?;
        self.compact(snapshot.clone(), &[], &keys).await?;
        self.settle(snapshot, keys).await.map(drop)
    }

    /// Takes the data keys before a rotation away, and with them all that they open. The snapshot is the one of the head: nobody
    /// writes an entry before this is done. Its place in the journal stays too, because a session goes on from there.
    async fn settle(&mut self, snapshot: Snapshot, keys: StackKeys) -> Result<StackKeys, StateError> {
        self.store.reseal_history(&self.location, &keys).await?;
        let what = format!("the state of {}", self.location);
        let key = self.store.keys.require(keys.id(), &what)?;
        let keys = keys.settled();
        self.head.keys = keys.wrap(&key, &self.head.lineage)?;
        let (head, with) = (self.head.clone(), keys.clone());
        let bytes = off_thread(move || load::write(&head, &snapshot, &with)).await?;
        // `state` last: until then it says that this is not done.
        for file in [PREVIOUS, STATE] {
            self.store.blobs.put(&self.blob(file), bytes.clone()).await?;
        }
        self.drop_segments(self.head.journal.segment).await;
        Ok(keys)
    }

    /// Removes segments that no snapshot needs any more; what stays now goes the next time.
    async fn drop_segments(&self, last: u64) {
        for segment in self.segments.iter().filter(|segment| **segment <= last) {
            let name = names::segment(&self.location, *segment);
            drop(self.store.blobs.delete(&name).await);
        }
    }

    /// Ends the session. The lock ends with what this returns.
    pub(super) async fn release(&mut self) -> Option<Arc<dyn Guard>> {
        (self.log, self.writer) = (None, None);
        if let Some(guard) = &self.guard {
            self.store.forget_holder(&self.location, &**guard).await;
        }
        self.guard.take()
    }
}

fn encode(batch: &[JournalEntry], keys: &StackKeys, writer: &mut Writer) -> Result<Vec<Vec<u8>>, StateError> {
    let (mut frames, mut clear) = (Vec::new(), Vec::new());
    for (at, entry) in batch.iter().enumerate() {
        let line = Line::store(entry, keys)?;
        serde_json::to_writer(&mut clear, &line).map_err(|error| StateError::Abandoned(error.to_string()))?;
        clear.push(b'\n');
        if clear.len() >= FULL || at + 1 == batch.len() {
            let frame = writer.frame(std::mem::take(&mut clear));
            frames.push(frame.map_err(|length| {
                StateError::Abandoned(format!(
                    "one entry has {length} bytes, which is more than a journal takes"
                ))
            })?);
        }
    }
    Ok(frames)
}

/// Whether a state may be made where there is none.
async fn may_begin(store: &Store, location: &Location, opening: &Opening) -> Result<(), StateError> {
    if !opening.create {
        return Err(StateError::NotFound(location.clone()));
    }
    if opening.another_world {
        return Ok(());
    }
    // Going from a sandbox to a cloud is the ordinary way; the way back is a slip.
    let others = store.worlds(&location.project, &location.stack).await?;
    let mut others: Vec<String> = others.into_iter().filter(|world| !is_sandbox(world)).collect();
    // Somebody has begun it here since it was looked for.
    others.retain(|world| *world != *location.world);
    if others.is_empty() {
        Ok(())
    } else {
        Err(StateError::OtherWorld {
            location: location.clone(),
            others,
        })
    }
}

/// Makes a state under the key that the stack file names, or under a new one: an empty one, or the copy that is to be restored.
async fn create(store: &Store, location: &Location, opening: Opening) -> Result<Loaded, StateError> {
    let (directory, entropy, what) = (store.keys.clone(), store.entropy.clone(), location.clone());
    let continued = opening.restores.clone();
    let (keys, lineage, wrapped) = off_thread(move || {
        let id = match opening.key {
            Some(id) if !opening.spares_key || directory.find(&id)? => id,
            _ => directory.mint(&entropy)?,
        };
        let key = directory.require(&id, &format!("the new state of {what}"))?;
        let (keys, lineage) = match continued {
            Some(copy) => {
                let lineage = copy.snapshot.header.lineage.to_string();
                (copy.keys.renewed(&id)?.settled(), lineage)
            }
            None => (StackKeys::draw(&id, &entropy)?, hex(&random::<16>(&entropy)?)),
        };
        let wrapped = keys.wrap(&key, &lineage)?;
        Ok((keys, lineage, wrapped))
    })
    .await?;
    let mut header = Header::new(&location.project, &location.stack, &location.world, &lineage);
    header.key = Arc::from(keys.id());
    let snapshot = match &opening.restores {
        Some(copy) => {
            header.serial = copy.snapshot.header.serial;
            Snapshot {
                header,
                // It is not of this state: who began it may still be at it.
                run: None,
                ..copy.snapshot.clone()
            }
        }
        None => Snapshot::new(header),
    };
    let head = StateHead::new(&snapshot.header, wrapped.clone(), Position::default(), 0);
    let bytes = load::write(&head, &snapshot, &keys)?;
    if opening.restores.is_some() {
        // A later state may have been seen that is gone: what is made now would be older than that.
        let far = Far::at(snapshot.header.serial);
        store.note_seen(location, &snapshot.header.lineage, far).await;
    }
    // Twice, so that there is one to fall back on from the start.
    store
        .blobs
        .put(&names::file(location, PREVIOUS), bytes.clone())
        .await?;
    store.blobs.put(&names::file(location, STATE), bytes).await?;
    Ok(Loaded {
        snapshot,
        keys,
        wrapped,
        from_previous: false,
        end: Position::default(),
        epoch: 0,
        segments: Vec::new(),
        pending: false,
        runs: Vec::new(),
        head,
    })
}
