//! What a process would leave behind, at every moment at which it might die.
//!
//! A process that is killed leaves its disk as it last was. A power cut leaves less: but every write of a state returns only
//! once it is durable (`epid::state::blobs` says how), so the writes of a moment are there with all before them, whatever order
//! a disk writes in, and a blob is there as a whole or not at all. What may differ is the append to a log that was under way,
//! of which any sectors may be there, and the same of a process that was killed before, as long as nobody has made sure that it
//! is durable. [`Moment::torn`] has both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use epid::state::blobs::MemoryBlobs;

use crate::cloud::{Cloud, Left, On};

/// What a disk writes at once or not at all, in bytes.
const SECTOR: usize = 512;

/// Blobs by name.
pub type Disk = BTreeMap<String, Vec<u8>>;

/// What is there when a process dies.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Its disk.
    pub disk: Disk,
    /// The cloud.
    pub cloud: Left,
    /// What happened last, for people.
    pub after: String,
    /// True where that was in the cloud.
    pub is_call: bool,
    /// The logs whose end is not durable, and the length of what is: an append was under way, or a process died in one.
    loose: BTreeMap<String, usize>,
}

impl Moment {
    /// Before anything happened: an empty disk, and a cloud in which there is nothing.
    #[must_use]
    pub fn beginning(on: On) -> Self {
        Self {
            disk: Disk::new(),
            cloud: Left::nothing(on),
            after: "nothing".to_owned(),
            is_call: false,
            loose: BTreeMap::new(),
        }
    }

    /// A fresh disk on which this is, and a cloud. Neither changes this.
    #[must_use]
    pub fn restored(&self) -> (MemoryBlobs, Cloud) {
        (MemoryBlobs::of(self.disk.clone()), self.cloud.restored())
    }

    /// What a power cut may leave instead: of an append that was not durable yet nothing, its first half, its length and half of
    /// its content, or its end without its beginning.
    #[must_use]
    pub fn torn(&self) -> Vec<Self> {
        let with = |what: &str, change: &dyn Fn(&mut Vec<u8>, usize)| {
            let mut torn = self.clone();
            torn.after = format!("{} ({what})", self.after);
            for (name, durable) in std::mem::take(&mut torn.loose) {
                torn.disk
                    .entry(name)
                    .and_modify(|bytes| change(bytes, durable.min(bytes.len())));
            }
            torn
        };
        if self.loose.is_empty() {
            return Vec::new();
        }
        vec![
            with("what was not durable is lost", &|bytes, old| bytes.truncate(old)),
            with("torn in the middle", &|bytes, old| {
                bytes.truncate(old.midpoint(bytes.len()));
            }),
            with("its length without its content", &|bytes, old| {
                let middle = old.midpoint(bytes.len());
                bytes[middle..].fill(0);
            }),
            with("its end without its beginning", &|bytes, old| {
                let middle = next_sector(old, bytes.len());
                bytes[old..middle].fill(0);
            }),
        ]
    }
}

/// Where a disk may have written what follows and not what is before: the first sector that begins in an append, or its end.
fn next_sector(from: usize, end: usize) -> usize {
    (from + 1).next_multiple_of(SECTOR).min(end)
}

struct Recorded {
    now: Moment,
    moments: Vec<Moment>,
    /// The log that this process appended to last: it is durable before anything else happens.
    appended: Option<String>,
}

impl Recorded {
    /// Something else happens: what was under way is done.
    fn next(&mut self, after: String, is_call: bool) {
        self.now.after = after;
        self.now.is_call = is_call;
        self.moments.push(self.now.clone());
    }
}

/// Records a disk and a cloud that change. Clones share what they recorded.
#[derive(Clone)]
pub struct Recorder(Arc<Mutex<Recorded>>);

impl Recorder {
    /// Begins to record on what is there; gives the disk and the cloud to run on.
    #[must_use]
    pub fn begin(at: &Moment) -> (Self, MemoryBlobs, Cloud) {
        let mut now = at.clone();
        now.after = "nothing".to_owned();
        let moments = vec![now.clone()];
        let recorded = Recorded {
            now,
            moments,
            appended: None,
        };
        let recorder = Self(Arc::new(Mutex::new(recorded)));
        let (blobs, cloud) = at.restored();
        let disk = recorder.clone();
        blobs.watch(move |contents, settled| disk.wrote(contents, settled));
        let cloud = cloud.recorded(&recorder);
        (recorder, blobs, cloud)
    }

    /// Every moment so far: the first is that before anything happened.
    #[must_use]
    pub fn moments(&self) -> Vec<Moment> {
        self.lock().moments.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrote(&self, contents: &Disk, settled: &BTreeSet<String>) {
        let mut recorded = self.lock();
        recorded.now.loose.retain(|name, _| !settled.contains(name));
        let now = &recorded.now.disk;
        let written = contents
            .iter()
            .find(|(name, bytes)| now.get(*name) != Some(bytes));
        let gone = || now.keys().find(|name| !contents.contains_key(*name));
        let (after, grown) = match (written, gone()) {
            (Some((name, bytes)), _) => {
                let before = now.get(name).filter(|before| bytes.starts_with(before));
                let grown = before.map(|before| (name.clone(), before.len()));
                (format!("wrote {name}"), grown)
            }
            (None, Some(gone)) => (format!("removed {gone}"), None),
            (None, None) => return,
        };
        // A process writes one after the other: what it appended before is durable.
        if let Some(before) = recorded.appended.take() {
            recorded.now.loose.remove(&before);
        }
        if let Some((name, durable)) = grown {
            recorded.appended = Some(name.clone());
            recorded.now.loose.insert(name, durable);
        }
        recorded.now.disk.clone_from(contents);
        recorded.next(after, false);
    }

    /// The cloud did what a request asked for, and has not answered yet.
    pub(crate) fn happened(&self, cloud: Left, after: Option<String>) {
        let mut recorded = self.lock();
        recorded.now.cloud = cloud;
        if let Some(after) = after {
            // No call is sent before what was written for it is durable.
            if let Some(before) = recorded.appended.take() {
                recorded.now.loose.remove(&before);
            }
            recorded.next(after, true);
        }
    }
}
