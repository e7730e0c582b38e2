//! Blobs in memory, which can be made to fail at any write: for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{BlobError, Blobs, Guard, Lock, Log};
use crate::state::Holder;

/// Blobs in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryBlobs {
    disk: Arc<Mutex<Disk>>,
    /// What the name of each begins with on the disk.
    folder: Arc<str>,
}

/// Looks at everything there is, and at the logs that were settled.
type Watcher = Box<dyn Fn(&BTreeMap<String, Vec<u8>>, &BTreeSet<String>) + Send>;

#[derive(Default)]
struct Disk {
    blobs: BTreeMap<String, Vec<u8>>,
    locks: BTreeSet<String>,
    /// Writes that were tried so far.
    writes: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
    /// Grows with every revival: what was held before is void.
    life: u64,
    written: Vec<Vec<u8>>,
    settled: BTreeSet<String>,
    refused: Vec<String>,
    watcher: Option<Watcher>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("blobs", &self.blobs.keys())
            .field("writes", &self.writes)
            .finish_non_exhaustive()
    }
}

/// What happens at a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies after it has written that many bytes of a log, or none of a blob.
    Crash(usize),
    /// The process dies after the whole write, before it learns that it was done.
    CrashAfter,
    /// The disk is full after that many bytes of a log, and stays so until there is room again; the process goes on, and may remove
    /// blobs.
    Full(usize),
}

impl MemoryBlobs {
    /// No blobs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Blobs that are there already, by name.
    #[must_use]
    pub fn of(blobs: BTreeMap<String, Vec<u8>>) -> Self {
        let new = Self::default();
        new.disk().blobs = blobs;
        new
    }

    /// The blobs in a folder of the same disk: another place that the same process writes to, which dies for both at once, and
    /// whose disk is full for both. Everything that is not of the trait goes by the names on the disk.
    #[must_use]
    pub fn within(&self, folder: &str) -> Self {
        Self {
            disk: self.disk.clone(),
            folder: format!("{}{folder}/", self.folder).into(),
        }
    }

    fn on_disk(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    /// Lets `look` see everything, and which logs were settled, after each write, before who wrote learns what became of it. It
    /// may not use the blobs.
    pub fn watch(&self, look: impl Fn(&BTreeMap<String, Vec<u8>>, &BTreeSet<String>) + Send + 'static) {
        self.disk().watcher = Some(Box::new(look));
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the write of that number fail, counted from 0 since the beginning.
    pub fn fail_at(&self, write: u64, fault: Fault) {
        self.disk().fault = Some((write, fault));
    }

    /// The disk has room again.
    pub fn make_room(&self) {
        let fault = &mut self.disk().fault;
        *fault = fault.filter(|(_, fault)| !matches!(fault, Fault::Full(_)));
    }

    /// How many writes were tried so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.disk().writes
    }

    /// The blobs that the full disk did not take, in the order in which they were tried.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        self.disk().refused.clone()
    }

    /// The machine starts again: what was durable is there, and nothing is locked.
    pub fn revive(&self) {
        let mut disk = self.disk();
        disk.dead = false;
        disk.fault = None;
        disk.life += 1;
        disk.locks.clear();
    }

    /// A copy of everything, by name.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.disk().blobs.clone()
    }

    /// Puts bytes where they are, whatever was there: for tests of damage.
    pub fn overwrite(&self, name: &str, bytes: Option<Vec<u8>>) {
        match bytes {
            Some(bytes) => drop(self.disk().blobs.insert(name.to_owned(), bytes)),
            None => drop(self.disk().blobs.remove(name)),
        }
    }

    /// Everything that was ever written, also what is gone since.
    #[must_use]
    pub fn written(&self) -> Vec<Vec<u8>> {
        self.disk().written.clone()
    }
}

impl Disk {
    fn alive(&self, action: &'static str, name: &str) -> Result<(), BlobError> {
        if self.dead {
            Err(failure(action, name, io::ErrorKind::NotConnected.into()))
        } else {
            Ok(())
        }
    }

    /// What happens at the write of that number.
    fn fault(&self, number: u64) -> Option<Fault> {
        match self.fault {
            Some((at, fault)) if at == number => Some(fault),
            Some((at, Fault::Full(_))) if at < number => Some(Fault::Full(0)),
            _ => None,
        }
    }

    /// Writes, where nothing is to fail. `torn` is what a fault leaves: it gets the bytes that were still written.
    fn write(
        &mut self,
        name: &str,
        length: usize,
        write: impl FnOnce(&mut Self),
        torn: impl FnOnce(&mut Self, usize),
    ) -> Result<(), BlobError> {
        self.alive("write", name)?;
        let number = self.writes;
        self.writes += 1;
        match self.fault(number) {
            None => {
                write(self);
                self.look();
                return Ok(());
            }
            Some(Fault::CrashAfter) => {
                write(self);
                self.dead = true;
            }
            Some(Fault::Crash(bytes)) => {
                torn(self, bytes.min(length));
                self.dead = true;
            }
            Some(Fault::Full(bytes)) => {
                torn(self, bytes.min(length));
                self.refused.push(name.to_owned());
                self.look();
                return Err(failure("write", name, io::ErrorKind::StorageFull.into()));
            }
        }
        self.alive("write", name)
    }

    fn look(&self) {
        if let Some(look) = &self.watcher {
            look(&self.blobs, &self.settled);
        }
    }

    fn put(&mut self, name: &str, bytes: Vec<u8>) {
        self.written.push(bytes.clone());
        self.blobs.insert(name.to_owned(), bytes);
    }
}

fn failure(action: &'static str, name: &str, error: io::Error) -> BlobError {
    BlobError {
        action,
        file: format!("memory:{name}"),
        source: Arc::new(error),
    }
}

#[async_trait]
impl Blobs for MemoryBlobs {
    fn describe(&self, name: &str) -> String {
        format!("memory:{}", self.on_disk(name))
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BlobError> {
        let (name, disk) = (self.on_disk(name), self.disk());
        disk.alive("read", &name)?;
        Ok(disk.blobs.get(&name).cloned())
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), BlobError> {
        let (name, length) = (self.on_disk(name), bytes.len());
        self.disk()
            .write(&name, length, |disk| disk.put(&name, bytes), |_, _| {})
    }

    async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool, BlobError> {
        let (name, mut disk) = (self.on_disk(name), self.disk());
        if disk.blobs.contains_key(&name) {
            return Ok(false);
        }
        let length = bytes.len();
        disk.write(&name, length, |disk| disk.put(&name, bytes), |_, _| {})
            .map(|()| true)
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, BlobError> {
        let disk = self.disk();
        disk.alive("list", folder)?;
        let folder = match folder.trim_end_matches('/') {
            "" => self.on_disk(""),
            folder => self.on_disk(&format!("{folder}/")),
        };
        let below = disk.blobs.keys().filter(|name| name.starts_with(&folder));
        let name = |name: &String| name.strip_prefix(&*self.folder).map(str::to_owned);
        Ok(below.filter_map(name).collect())
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        let name = self.on_disk(name);
        let remove = |disk: &mut Disk| drop(disk.blobs.remove(&name));
        let mut disk = self.disk();
        match disk.fault(disk.writes) {
            // It takes no room.
            Some(Fault::Full(_)) => {
                remove(&mut disk);
                disk.look();
                Ok(())
            }
            _ => disk.write(&name, 0, remove, |_, _| {}),
        }
    }

    async fn fence(&self, _: &str) -> Result<(), BlobError> {
        // Who held a lock before a revival cannot append.
        Ok(())
    }

    async fn settle(&self, name: &str) -> Result<(), BlobError> {
        let (name, mut disk) = (self.on_disk(name), self.disk());
        disk.alive("write", &name)?;
        disk.settled.insert(name);
        disk.look();
        Ok(())
    }

    async fn start_log(&self, name: &str, first: Vec<u8>) -> Result<Option<Box<dyn Log>>, BlobError> {
        let life = self.disk().life;
        let log = MemoryLog {
            blobs: self.clone(),
            name: self.on_disk(name),
            life,
        };
        Ok(self
            .put_new(name, first)
            .await?
            .then(|| Box::new(log) as Box<dyn Log>))
    }

    async fn sweep(&self, _: &str) -> Result<(), BlobError> {
        // A write leaves nothing beside its blob.
        Ok(())
    }

    async fn lock(&self, name: &str, _: &Holder) -> Result<Lock, BlobError> {
        let (name, mut disk) = (self.on_disk(name), self.disk());
        disk.alive("lock", &name)?;
        let free = disk.locks.insert(name.clone());
        let guard = || MemoryGuard {
            blobs: self.clone(),
            name,
            life: disk.life,
        };
        Ok(if free {
            Lock::Taken(Arc::new(guard()))
        } else {
            Lock::Held(None)
        })
    }
}

#[derive(Debug)]
struct MemoryLog {
    blobs: MemoryBlobs,
    name: String,
    life: u64,
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&mut self, bytes: Vec<u8>) -> Result<(), BlobError> {
        let mut disk = self.blobs.disk();
        if self.life != disk.life {
            return Err(failure("write", &self.name, io::ErrorKind::NotConnected.into()));
        }
        let grow = |disk: &mut Disk, bytes: &[u8]| {
            disk.written.push(bytes.to_vec());
            disk.blobs
                .entry(self.name.clone())
                .or_default()
                .extend_from_slice(bytes);
        };
        let length = bytes.len();
        disk.write(
            &self.name,
            length,
            |disk| grow(disk, &bytes),
            |disk, written| grow(disk, &bytes[..written]),
        )
    }
}

#[derive(Debug)]
struct MemoryGuard {
    blobs: MemoryBlobs,
    name: String,
    life: u64,
}

#[async_trait]
impl Guard for MemoryGuard {
    async fn is_held(&self) -> bool {
        self.blobs.disk().life == self.life
    }
}

impl Drop for MemoryGuard {
    fn drop(&mut self) {
        let mut disk = self.blobs.disk();
        if disk.life == self.life {
            disk.locks.remove(&self.name);
        }
    }
}
