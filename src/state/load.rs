//! Reading a state: the snapshot, then the journal after it. Writes nothing and takes no lock.

use std::sync::{Arc, mpsc};

use serde::{Deserialize, Serialize};

use super::blobs::Blobs;
use super::error::StateError;
use super::format::journal::{self, Position};
use super::format::record::{Body, Line};
use super::format::{Damage, document};
use super::journal_entry::{JournalEntry, RunRecord};
use super::keys::cipher::NotAuthentic;
use super::keys::key::Key;
use super::keys::{Entropy, KeyRing, StackKeys};
use super::location::Location;
use super::names;
use super::seen::Seen;
use super::snapshot::{FORMAT, Header, Snapshot};
use super::store::{Store, off_thread};

pub(super) const STATE: &str = "state";
pub(super) const PREVIOUS: &str = "state.previous";
const PURPOSE: &str = "epid state 1";
/// How often a reader begins again because a writer has compacted the journal under it.
pub(super) const ATTEMPTS: usize = 16;

/// What the snapshot's file says in clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StateHead {
    epid: String,
    format: u32,
    project: Arc<str>,
    stack: Arc<str>,
    world: Arc<str>,
    pub(super) lineage: Arc<str>,
    pub(super) serial: u64,
    /// The id of the key that opens it.
    pub(super) key: Arc<str>,
    /// The stack's data keys, sealed with that key.
    pub(super) keys: String,
    /// What of the journal the snapshot holds.
    pub(super) journal: Position,
    /// The number of the session that wrote it.
    pub(super) epoch: u64,
}

impl StateHead {
    pub(super) fn new(header: &Header, keys: String, journal: Position, epoch: u64) -> Self {
        Self {
            epid: STATE.to_owned(),
            format: FORMAT,
            project: header.project.clone(),
            stack: header.stack.clone(),
            world: header.world.clone(),
            lineage: header.lineage.clone(),
            serial: header.serial,
            key: header.key.clone(),
            keys,
            journal,
            epoch,
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Damage> {
        document::head(bytes, STATE)
    }

    pub(super) fn header(&self) -> Header {
        Header {
            project: self.project.clone(),
            stack: self.stack.clone(),
            world: self.world.clone(),
            lineage: self.lineage.clone(),
            serial: self.serial,
            format: self.format,
            key: self.key.clone(),
        }
    }

    pub(super) fn location(&self) -> Location {
        Location::new(&self.world, &self.project, &self.stack)
    }
}

/// The file of a snapshot.
pub(super) fn write(head: &StateHead, snapshot: &Snapshot, keys: &StackKeys) -> Result<Vec<u8>, StateError> {
    // Of secrets that cannot be opened, only digests would be left.
    keys.require_secrets("writing the state")?;
    let body = serde_json::to_vec(&Body::store(snapshot, keys)?)
        .map_err(|error| StateError::Abandoned(error.to_string()))?;
    document::write(head, &body, keys.state(), PURPOSE, keys.entropy())
}

/// A state as its files tell it. Cloning shares the entries.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) snapshot: Snapshot,
    pub(super) keys: StackKeys,
    /// The head of the file that was read.
    pub(super) head: StateHead,
    /// The stack's data keys as that file has them; the head has them as the next snapshot will.
    pub(super) wrapped: String,
    /// That was `state.previous`, because there is no `state`.
    pub(super) from_previous: bool,
    /// Where the journal ends.
    pub(super) end: Position,
    /// The greatest number of a session that wrote.
    pub(super) epoch: u64,
    /// Every segment there is, in order.
    pub(super) segments: Vec<u64>,
    /// The journal holds entries that the snapshot does not.
    pub(super) pending: bool,
    /// Runs that another followed without the state being closed.
    pub(super) runs: Vec<RunRecord>,
}

/// The files of a state, as they were at about one moment.
#[derive(Debug)]
struct Files {
    location: Location,
    name: String,
    state: Vec<u8>,
    from_previous: bool,
    /// Name, number, and the bytes of those after the snapshot.
    segments: Vec<(String, u64, Option<Vec<u8>>)>,
}

/// Which version of its files a state was read from: the name, length and last bytes of each. A snapshot ends in its
/// checksum, and so does every frame of a journal.
pub(super) type Version = Vec<(String, usize, Vec<u8>)>;

impl Files {
    fn version(&self) -> Version {
        let end = |bytes: &[u8]| bytes[bytes.len().saturating_sub(64)..].to_vec();
        let state = (self.name.clone(), self.state.len(), end(&self.state));
        let segments = self.segments.iter().map(|(name, _, bytes)| {
            let bytes = bytes.as_deref().unwrap_or_default();
            (name.clone(), bytes.len(), end(bytes))
        });
        [state].into_iter().chain(segments).collect()
    }
}

/// Reads a state; `None` where there is none. A state that is being written is read as of some moment. What was read
/// before is not decoded again while its files are the same.
pub(super) async fn load(store: &Store, location: &Location) -> Result<Option<Loaded>, StateError> {
    let mut attempt = 0;
    let mut of_person: Option<Seen> = None;
    loop {
        attempt += 1;
        let noted = store.noted(location).await;
        let Some(files) = fetch(store, location).await? else {
            // Whoever removes a state removes its note first.
            store.check_gone(location).await?;
            return Ok(None);
        };
        let version = files.version();
        if let Some(loaded) = store.remembered(location, &version) {
            return Ok(Some(loaded));
        }
        let (name, from_previous) = (files.name.clone(), files.from_previous);
        let (keys, entropy) = (store.keys.clone(), store.entropy.clone());
        let error = match off_thread(move || decode(files, &keys, &entropy)).await {
            Ok(loaded) => {
                let header = &loaded.snapshot.header;
                let was_noted = of_person.is_some();
                if !was_noted {
                    of_person = store.noted_of(location, &header.lineage).await;
                }
                let notes = [noted.as_ref(), of_person.as_ref()];
                if let Err(older) = Store::check_seen(location, notes, &loaded.snapshot) {
                    // Somebody may have written both since: only what is read from now on tells.
                    if !was_noted && of_person.is_some() {
                        continue;
                    }
                    // States that have left, and whose files are not removed yet, are older than those in the new place.
                    store.stays(location).await?;
                    return Err(older);
                }
                store.remember(location, version, &loaded);
                return Ok(Some(loaded));
            }
            Err(error) => error,
        };
        let damaged = matches!(error, StateError::Corrupt { .. });
        if damaged && attempt < ATTEMPTS {
            let now = fetch(store, location).await?.map(|files| files.version());
            if now.as_ref() != Some(&version) {
                continue;
            }
        }
        return Err(if from_previous {
            error
        } else {
            way_back(store, location, &name, noted.as_ref(), error).await
        });
    }
}

/// Says of a damaged snapshot that the one before is as good, where it is.
pub(super) async fn way_back(
    store: &Store,
    location: &Location,
    name: &str,
    noted: Option<&Seen>,
    mut error: StateError,
) -> StateError {
    if let StateError::Corrupt { file, next, .. } = &mut error
        && *file == *name
        && let Ok(Some(previous)) = examine(store, location, PREVIOUS, true).await
        && Store::check_seen(location, [noted, None], &previous.snapshot).is_ok()
    {
        "move it away and try again: `state.previous` and the journal beside it hold the same"
            .clone_into(next);
    }
    error
}

/// The snapshot's file: `state`, or where that is missing `state.previous`, after which the journal holds the rest. Where there is
/// neither, the state may have moved.
pub(super) async fn fetch_state(
    store: &Store,
    location: &Location,
) -> Result<Option<(String, Vec<u8>, bool)>, StateError> {
    for (file, previous) in [(STATE, false), (PREVIOUS, true)] {
        let name = names::file(location, file);
        if let Some(bytes) = store.blobs.get(&name).await? {
            return Ok(Some((store.blobs.describe(&name), bytes, previous)));
        }
    }
    store.stays(location).await?;
    Ok(None)
}

/// One file of a snapshot as it is, read anew: with the journal after it, or as of when it was written. `None` where there is
/// no such file.
pub(super) async fn examine(
    store: &Store,
    location: &Location,
    file: &str,
    with_journal: bool,
) -> Result<Option<Loaded>, StateError> {
    let name = names::file(location, file);
    let Some(state) = store.blobs.get(&name).await? else {
        return Ok(None);
    };
    let found = (store.blobs.describe(&name), state, file == PREVIOUS);
    let mut files = with_segments(store, location, found).await?;
    if !with_journal {
        files.segments.clear();
    }
    let (keys, entropy) = (store.keys.clone(), store.entropy.clone());
    off_thread(move || decode(files, &keys, &entropy)).await.map(Some)
}

/// A snapshot's file that lies elsewhere, of whatever stack its head names.
pub(super) async fn examine_copy(store: &Store, name: String, bytes: Vec<u8>) -> Result<Loaded, StateError> {
    let head = StateHead::read(&bytes).map_err(|damage| damage.of(name.clone(), "export it anew"))?;
    let files = Files {
        location: head.location(),
        name,
        state: bytes,
        from_previous: false,
        segments: Vec::new(),
    };
    let (keys, entropy) = (store.keys.clone(), store.entropy.clone());
    off_thread(move || decode(files, &keys, &entropy)).await
}

/// The problem of a stack that has a journal, where it has no snapshot.
pub(super) async fn bereft(store: &Store, location: &Location) -> Result<Option<StateError>, StateError> {
    let left = store.blobs.list(&names::file(location, "journal")).await?;
    Ok(left.first().map(|segment| {
        Damage::at(0, "there is a journal, and no state that it belongs to").of(
            store.blobs.describe(segment),
            "restore the file `state` beside it from a backup",
        )
    }))
}

async fn fetch(store: &Store, location: &Location) -> Result<Option<Files>, StateError> {
    let found = match fetch_state(store, location).await? {
        Some(found) => found,
        None => match bereft(store, location).await? {
            None => return Ok(None),
            // Somebody may have begun it since it was looked for.
            Some(problem) => fetch_state(store, location).await?.ok_or(problem)?,
        },
    };
    with_segments(store, location, found).await.map(Some)
}

async fn with_segments(
    store: &Store,
    location: &Location,
    (name, state, from_previous): (String, Vec<u8>, bool),
) -> Result<Files, StateError> {
    let blobs: &dyn Blobs = &*store.blobs;
    let folder = names::file(location, "journal");
    let after = StateHead::read(&state).map_or(u64::MAX, |head| head.journal.segment);
    let mut segments = Vec::new();
    for name in blobs.list(&folder).await? {
        let Some(number) = names::number(&name) else {
            continue;
        };
        let bytes = if number > after {
            blobs.get(&name).await?
        } else {
            None
        };
        segments.push((blobs.describe(&name), number, bytes));
    }
    Ok(Files {
        location: location.clone(),
        name,
        state,
        from_previous,
        segments,
    })
}

fn decode(files: Files, directory: &KeyRing, entropy: &Entropy) -> Result<Loaded, StateError> {
    let damaged = |damage: Damage| damage.of(files.name.clone(), "restore it from a backup");
    let mut head = StateHead::read(&files.state).map_err(damaged)?;
    document::check(&files.state).map_err(damaged)?;
    if head.location() != files.location {
        return Err(StateError::Misplaced {
            file: files.name,
            location: files.location,
            found: head.location(),
        });
    }
    let what = format!("the state of {}", files.location);
    let wrapped = head.keys.clone();
    let key = if StackKeys::is_parted(&head.keys) {
        directory.open(&head.key, &what)?
    } else {
        let whole = directory.require(&head.key, &format!("{what}, which an earlier epid wrote,"))?;
        Key::Whole(whole)
    };
    let keys =
        StackKeys::unwrap(&head.key, &head.keys, &key, &head.lineage, entropy).map_err(|NotAuthentic| {
            damaged(Damage::at(
                0,
                "its data keys were not sealed with the key it names",
            ))
        })?;
    if let (false, Some(whole)) = (StackKeys::is_parted(&head.keys), key.whole()) {
        // The next snapshot is written with it.
        head.keys = keys.wrap(whole, &head.lineage)?;
    }
    let body = document::open(&files.state, keys.state(), PURPOSE).map_err(damaged)?;
    let body: Body = serde_json::from_slice(&body).map_err(|e| {
        damaged(Damage::at(
            0,
            format!("its content cannot be read: {e}; a later epid may have written it"),
        ))
    })?;
    let snapshot = body.restore(head.header(), &keys);
    snapshot
        .verify()
        .map_err(|invalid| damaged(Damage::at(0, format!("it contradicts itself: {invalid}"))))?;
    let mut loaded = Loaded {
        snapshot,
        keys,
        wrapped,
        from_previous: files.from_previous,
        end: head.journal.clone(),
        epoch: head.epoch,
        segments: files.segments.iter().map(|(_, number, _)| *number).collect(),
        pending: false,
        runs: Vec::new(),
        head,
    };
    let after: Vec<_> = files
        .segments
        .into_iter()
        .filter(|(_, number, _)| *number > loaded.head.journal.segment)
        .collect();
    replay(&mut loaded, &after)?;
    Ok(loaded)
}

/// Frames of a journal that are read ahead.
const AHEAD: usize = 16;

/// Applies the segments after the snapshot, each of which must follow the one before.
fn replay(loaded: &mut Loaded, segments: &[(String, u64, Option<Vec<u8>>)]) -> Result<(), StateError> {
    const NEXT: &str = "restore it from a backup; nothing was changed";
    let mut heads = Vec::with_capacity(segments.len());
    for (name, number, bytes) in segments {
        let damaged = |damage: Damage| damage.of(name.clone(), NEXT);
        let bytes = bytes
            .as_deref()
            .ok_or_else(|| damaged(Damage::at(0, "it is gone")))?;
        let (head, _) = journal::head(bytes).map_err(damaged)?;
        if head.segment != *number || head.lineage != loaded.head.lineage {
            return Err(damaged(Damage::at(0, "it is a segment of another journal")));
        }
        heads.push((name, head, bytes));
    }
    for (at, (name, head, bytes)) in heads.iter().enumerate() {
        let damaged = |damage: Damage| damage.of((*name).clone(), NEXT);
        if head.after != loaded.end {
            let what = format!(
                "it follows segment {}, byte {}; the state is at segment {}, byte {}",
                head.after.segment, head.after.length, loaded.end.segment, loaded.end.length
            );
            return Err(damaged(Damage::at(0, what)));
        }
        if head.epoch <= loaded.epoch {
            return Err(damaged(Damage::at(
                0,
                "an earlier session wrote it than the segment before",
            )));
        }
        let limit = heads.get(at + 1).map(|(_, next, _)| next.after.length);
        let Loaded {
            snapshot,
            keys,
            runs,
            pending,
            head: state,
            ..
        } = loaded;
        // Half of the time goes into opening and reading what is applied: a thread of its own is ahead with it.
        let (ahead, read) = mpsc::sync_channel(AHEAD);
        let (reading, applied) = std::thread::scope(|scope| {
            let open = keys.state();
            let reading = scope.spawn(move || {
                journal::read(bytes, open, limit, |offset, clear| {
                    let lines = serde_json::Deserializer::from_slice(clear).into_iter();
                    let lines = lines.collect::<Result<Vec<Line>, _>>().map_err(|e| {
                        Damage::at(
                            offset,
                            format!("an entry cannot be read: {e}; a later epid may have written it"),
                        )
                    });
                    // Nobody takes what follows an entry that could not be applied.
                    let taken = ahead.send((offset, lines?));
                    taken.map_err(|_| Damage::at(offset, "it follows an entry that contradicts the state"))
                })
            });
            let applied = read.into_iter().try_for_each(|(offset, lines)| {
                lines.into_iter().try_for_each(|line| {
                    let entry = line.restore(keys);
                    note_run(snapshot, &entry, state.serial, runs);
                    *pending = true;
                    snapshot.apply(&entry).map_err(|invalid| {
                        Damage::at(offset, format!("an entry contradicts the state: {invalid}"))
                    })
                })
            });
            (reading.join(), applied)
        });
        applied.map_err(damaged)?;
        let end = reading
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .map_err(damaged)?;
        loaded.end = end;
        loaded.epoch = head.epoch;
    }
    Ok(())
}

/// Keeps the run that `entry` is about to push out of the state, unless the history has it: runs up to `saved`.
pub(super) fn note_run(snapshot: &Snapshot, entry: &JournalEntry, saved: u64, runs: &mut Vec<RunRecord>) {
    if let (JournalEntry::Run(_), Some(run)) = (entry, &snapshot.run)
        && run.serial > saved
    {
        runs.push((**run).clone());
    }
}
