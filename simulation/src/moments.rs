//! What a process would leave behind, at every moment at which it might die.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use epid::state::blobs::MemoryBlobs;
use epid_sandbox::store::Stored;
use epid_sandbox::{MemoryStore, WorldStore};

/// Blobs by name.
pub type Disk = BTreeMap<String, Vec<u8>>;

/// What is there when a process dies.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// Its disk.
    pub disk: Disk,
    /// The cloud.
    pub world: Stored,
    /// What happened last, for people.
    pub after: String,
}

impl Moment {
    /// A fresh disk on which this is, and a cloud. Neither changes this.
    #[must_use]
    pub fn restored(&self) -> (MemoryBlobs, MemoryStore) {
        (
            MemoryBlobs::of(self.disk.clone()),
            MemoryStore::of(self.world.clone()),
        )
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
            with("its length without its content", &|bytes| {
                bytes.truncate(old.midpoint(bytes.len()));
                bytes.resize(self.disk[name].len(), 0);
            }),
        ]
    }
}

#[derive(Default)]
struct Recorded {
    now: Moment,
    moments: Vec<Moment>,
}

/// Records a disk and a cloud that change. Clones share what they recorded.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Recorded>>);

impl Recorder {
    /// Begins to record on what is there; gives the disk and the cloud to run on.
    #[must_use]
    pub fn begin(at: &Moment) -> (Self, MemoryBlobs, Recording) {
        let recorder = Self::default();
        {
            let mut recorded = recorder.lock();
            recorded.now = at.clone();
            recorded.now.after = "nothing".to_owned();
            let now = recorded.now.clone();
            recorded.moments.push(now);
        }
        let (blobs, world) = at.restored();
        let disk = recorder.clone();
        blobs.watch(move |contents| disk.wrote(contents));
        let world = Recording {
            store: world,
            recorder: recorder.clone(),
        };
        (recorder, blobs, world)
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
    fn happened(&self, world: Stored, after: Option<String>) {
        let mut recorded = self.lock();
        recorded.now.world = world;
        if let Some(after) = after {
            recorded.now.after = after;
            let now = recorded.now.clone();
            recorded.moments.push(now);
        }
    }
}

/// The store of a sandbox that is recorded.
pub struct Recording {
    store: MemoryStore,
    recorder: Recorder,
}

impl WorldStore for Recording {
    fn load(&mut self) -> io::Result<Stored> {
        self.store.load()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.store.append(bytes)?;
        self.recorder.happened(self.store.load()?, request(bytes));
        Ok(())
    }

    fn replace(&mut self, snapshot: &[u8]) -> io::Result<()> {
        self.store.replace(snapshot)?;
        self.recorder.happened(self.store.load()?, None);
        Ok(())
    }
}

/// What a line of the world's log asked for, in a few words; `None` where only time passed.
fn request(line: &[u8]) -> Option<String> {
    let line: serde_json::Value = serde_json::from_slice(line).ok()?;
    let request = line.get("request")?;
    let text = |key: &str| {
        request
            .get(key)
            .and_then(|v| v.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let body = text("body");
    let action = body.split('&').find_map(|part| part.strip_prefix("Action="));
    Some(match action {
        Some(action) => action.to_owned(),
        None => format!("{} {}", text("method"), text("path")),
    })
}
