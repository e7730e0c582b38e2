//! Where a world is kept: a snapshot and a log of what happened after it. This room knows bytes only.

#![expect(
    clippy::disallowed_methods,
    reason = "the plain-file store opens its own two files"
)]

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// The last snapshot; `None` before the first.
    pub snapshot: Option<Vec<u8>>,
    /// Everything appended since, and possibly, after a crash, before it.
    pub log: Vec<u8>,
}

/// Keeps a world. Calls are synchronous and happen in order.
///
/// The log holds the bodies of requests, Kubernetes Secrets included: a store that outlives tests should
/// encrypt.
pub trait WorldStore: Send {
    /// Everything kept.
    ///
    /// # Errors
    /// Whatever reading meets; [`io::ErrorKind::InvalidData`] where it is not what was written.
    fn load(&mut self) -> io::Result<Stored>;

    /// Adds to the log; must have reached the operating system when it returns.
    ///
    /// # Errors
    /// Whatever writing meets; the sandbox then stops answering.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Replaces the snapshot atomically, then empties the log. A crash in between leaves the old log: its
    /// records are numbered, so they are recognised as already contained.
    ///
    /// # Errors
    /// Whatever writing meets.
    fn replace(&mut self, snapshot: &[u8]) -> io::Result<()>;
}

/// Two plain files in a folder, `world.json` and `world.log`. Not encrypted. Survives the process, not
/// necessarily the power.
#[derive(Debug)]
pub struct FileStore {
    folder: PathBuf,
    log: Option<fs::File>,
    /// Held open for its kernel lock, which ends with the process.
    held: Option<fs::File>,
}

impl FileStore {
    /// A store in `folder`, which is made when needed.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            log: None,
            held: None,
        }
    }

    /// Takes the folder for this process, waiting up to `patience` for another to leave it. `who` is told to
    /// whoever wants it meanwhile.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] where another process keeps it, with what that one said it is; whatever opening
    /// the lock file meets.
    pub fn lock(&mut self, patience: Duration, who: &str) -> io::Result<()> {
        const PAUSE: Duration = Duration::from_millis(50);
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join("lock");
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        let mut left = patience;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(fs::TryLockError::WouldBlock) if left.is_zero() => {
                    let mut who = String::new();
                    // Where that cannot be read, or was not written yet, nobody is named.
                    drop((&file).read_to_string(&mut who));
                    let who = match who.trim() {
                        "" => "another epid",
                        who => who,
                    };
                    return Err(io::Error::new(
                        io::ErrorKind::ResourceBusy,
                        format!("it is used by {who}"),
                    ));
                }
                Err(fs::TryLockError::WouldBlock) => {
                    std::thread::sleep(PAUSE.min(left));
                    left = left.saturating_sub(PAUSE);
                }
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
        }
        // The name is for messages only: a full disk is no reason to do without the lock.
        drop(file.set_len(0).and_then(|()| (&file).write_all(who.as_bytes())));
        self.held = Some(file);
        Ok(())
    }
}

/// True while some process holds the world in `folder`: see [`FileStore::lock`].
pub fn is_held(folder: &Path) -> bool {
    fs::File::open(folder.join("lock"))
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

fn or_empty(result: io::Result<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl WorldStore for FileStore {
    fn load(&mut self) -> io::Result<Stored> {
        // Whoever reads without the lock may meet a fold between the two files: then it reads again.
        let mut snapshot = or_empty(fs::read(self.folder.join("world.json")))?;
        loop {
            let log = or_empty(fs::read(self.folder.join("world.log")))?.unwrap_or_default();
            let again = or_empty(fs::read(self.folder.join("world.json")))?;
            if again == snapshot {
                return Ok(Stored { snapshot, log });
            }
            snapshot = again;
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.log {
            Some(file) => file,
            empty => {
                fs::create_dir_all(&self.folder)?;
                let path = self.folder.join("world.log");
                empty.insert(fs::OpenOptions::new().create(true).append(true).open(path)?)
            }
        };
        file.write_all(bytes)
    }

    fn replace(&mut self, snapshot: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let fresh = self.folder.join("world.json.new");
        fs::write(&fresh, snapshot)?;
        fs::rename(fresh, self.folder.join("world.json"))?;
        self.log = None;
        fs::write(self.folder.join("world.log"), b"")
    }
}

/// A store in memory; clones share it, so that a test can open the same world twice.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Stored>>);

impl MemoryStore {
    /// A store that holds this already.
    pub fn of(stored: Stored) -> Self {
        Self(Arc::new(Mutex::new(stored)))
    }
}

impl WorldStore for MemoryStore {
    fn load(&mut self) -> io::Result<Stored> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .log
            .extend_from_slice(bytes);
        Ok(())
    }

    fn replace(&mut self, snapshot: &[u8]) -> io::Result<()> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Stored {
            snapshot: Some(snapshot.to_vec()),
            log: Vec::new(),
        };
        Ok(())
    }
}
