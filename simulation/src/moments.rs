//! What a process would leave behind, at every moment at which it might die.

use std::collections::BTreeMap;
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
}

impl Moment {
    /// Before anything happened: an empty disk, and a cloud in which there is nothing.
    #[must_use]
    pub fn beginning(on: On) -> Self {
        Self {
            disk: Disk::new(),
            cloud: Left::nothing(on),
            after: "nothing".to_owned(),
        }
    }

    /// A fresh disk on which this is, and a cloud. Neither changes this.
    #[must_use]
    pub fn restored(&self) -> (MemoryBlobs, Cloud) {
        (MemoryBlobs::of(self.disk.clone()), self.cloud.restored())
    }

    /// What a power cut may leave instead where the last thing that happened is that a log grew by an append that was not
    /// durable yet: its first half, or its length and no content.
    #[must_use]
    pub fn torn(&self, before: &Self) -> Vec<Self> {
        let grown = self.disk.iter().find_map(|(name, bytes)| {
            let old = before.disk.get(name).map_or(0, Vec::len);
            let grows = old > 0 && bytes.len() > old && bytes.starts_with(&before.disk[name]);
            grows.then_some((name, old))
        });
        let Some((name, old)) = grown else {
            return Vec::new();
        };
        let with = |what: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut torn = self.clone();
            torn.after = format!("{} ({what})", self.after);
            torn.disk.entry(name.clone()).and_modify(change);
            torn
        };
        vec![
            with("torn in the middle", &|bytes| {
                bytes.truncate(old.midpoint(bytes.len()));
            }),
            with("its end without its beginning", &|bytes| {
                let middle = next_sector(old, bytes.len());
                bytes[old..middle].fill(0);
            }),
            with("its length without its content", &|bytes| {
                bytes.truncate(old.midpoint(bytes.len()));
                bytes.resize(self.disk[name].len(), 0);
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
        let recorder = Self(Arc::new(Mutex::new(Recorded { now, moments })));
        let (blobs, cloud) = at.restored();
        let disk = recorder.clone();
        blobs.watch(move |contents| disk.wrote(contents));
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

    fn wrote(&self, contents: &Disk) {
        let mut recorded = self.lock();
        let changed = contents
            .iter()
            .find(|(name, bytes)| recorded.now.disk.get(*name) != Some(bytes))
            .map(|(name, _)| format!("wrote {name}"))
            .or_else(|| {
                let gone = recorded
                    .now
                    .disk
                    .keys()
                    .find(|name| !contents.contains_key(*name))?;
                Some(format!("removed {gone}"))
            });
        let Some(after) = changed else { return };
        recorded.now.disk.clone_from(contents);
        recorded.now.after = after;
        let now = recorded.now.clone();
        recorded.moments.push(now);
    }

    /// The cloud did what a request asked for, and has not answered yet.
    pub(crate) fn happened(&self, cloud: Left, after: Option<String>) {
        let mut recorded = self.lock();
        recorded.now.cloud = cloud;
        if let Some(after) = after {
            recorded.now.after = after;
            let now = recorded.now.clone();
            recorded.moments.push(now);
        }
    }
}
