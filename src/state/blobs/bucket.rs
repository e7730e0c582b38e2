//! Blobs as objects of a bucket that knows conditional writes. `docs/design/0004-s3.md` is the protocol.
//!
//! A blob is the object of its name. A log is one object for each append, `NAME~SEQUENCE`, written only where there is none; an
//! object at the next number is a fence, past which its writer does not come. Fences stay when the log goes.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use epid_provider::Timestamp;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

use super::lease::{self, Lease};
use super::objects::{Condition, ObjectStore, Objects, Written};
use super::{BlobError, Blobs, Lock, Log, Tenure};
use crate::state::{Entropy, Holder};

/// Between the name of a log and the number of a part; in no name.
const PART: char = '~';
/// Parts that are read at once.
const AT_ONCE: usize = 16;
/// What a part begins with.
const DATA: u8 = b'+';
const FENCE: u8 = b'x';
/// How often a write that meets another version begins again.
const ROUNDS: usize = 8;

/// The wall clock: for what people read.
pub type Wall = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The blobs below a prefix of a bucket. Clones are one process.
#[derive(Debug, Clone)]
pub struct BucketBlobs(Bucket);

#[derive(Clone)]
pub(super) struct Bucket {
    pub(super) objects: Objects,
    prefix: Arc<str>,
    pub(super) wall: Wall,
    entropy: Entropy,
    memory: Arc<Mutex<Memory>>,
}

/// What this process knows of the bucket.
#[derive(Default)]
struct Memory {
    /// The tag of each blob when it was last read or written; `None` of one that was not there.
    tags: BTreeMap<String, Option<String>>,
    /// Which version of a lease that another holds was seen, and since when.
    watched: BTreeMap<String, (String, Instant)>,
    /// The leases of this process, by the folder they are for.
    held: BTreeMap<String, Arc<Lease>>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("objects", &self.objects)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl BucketBlobs {
    /// The blobs below `prefix`, which is empty or ends in a slash.
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>, prefix: &str, wall: Wall, entropy: Entropy) -> Self {
        Self(Bucket {
            objects: Objects(objects),
            prefix: Arc::from(prefix),
            wall,
            entropy,
            memory: Arc::default(),
        })
    }
}

impl Bucket {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn part(&self, name: &str, number: u64) -> String {
        format!("{}{name}{PART}{number:010}", self.prefix)
    }

    /// 128 random bits, as text.
    pub(super) fn token(&self, key: &str) -> Result<String, BlobError> {
        let mut bytes = [0; 16];
        (self.entropy)(&mut bytes).map_err(|error| self.objects.error("write", key, error))?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The moment in `lasts` from now.
    pub(super) fn until(&self, lasts: Duration) -> Timestamp {
        let lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        Timestamp((self.wall)().0.saturating_add(lasts))
    }

    /// For how long this process has seen this version of a lease.
    pub(super) fn unchanged_for(&self, name: &str, tag: &str) -> Duration {
        let mut memory = self.memory();
        let seen = memory.watched.entry(name.to_owned());
        let (seen, since) = seen.or_insert_with(|| (tag.to_owned(), Instant::now()));
        if seen != tag {
            (*seen, *since) = (tag.to_owned(), Instant::now());
        }
        since.elapsed()
    }

    pub(super) fn hold(&self, lease: &Arc<Lease>) {
        let folder = folder(lease.name()).to_owned();
        self.memory().held.insert(folder, lease.clone());
    }

    /// Forgets a lease, unless another has taken its place.
    pub(super) fn let_go(&self, lease: &Lease) {
        let mut memory = self.memory();
        let folder = folder(lease.name());
        if memory
            .held
            .get(folder)
            .is_some_and(|held| std::ptr::eq(&**held, lease))
        {
            memory.held.remove(folder);
        }
    }

    /// The leases of this process that a blob is written under, that of the outermost folder first: who moves the states of a
    /// project holds one for all of them and one for each.
    fn leases(&self, name: &str) -> Vec<Arc<Lease>> {
        let memory = self.memory();
        let above = |folder: &str| {
            name.strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        let held = memory.held.iter().filter(|(folder, _)| above(folder));
        held.map(|(_, lease)| lease.clone()).collect()
    }

    /// Looks whether this process still has every lease that a blob is written under.
    async fn confirm(&self, name: &str) -> Result<(), BlobError> {
        for lease in self.leases(name) {
            lease.confirm().await?;
        }
        Ok(())
    }

    fn remember(&self, name: &str, tag: Option<String>) {
        self.memory().tags.insert(name.to_owned(), tag);
    }

    /// The parts of a log: the number and key of each.
    async fn parts(&self, name: &str) -> Result<Vec<(u64, String)>, BlobError> {
        let keys = self.objects.list(&format!("{}{PART}", self.key(name))).await?;
        let number = |key: String| Some((key.rsplit(PART).next()?.parse().ok()?, key));
        Ok(keys.into_iter().filter_map(number).collect())
    }

    /// What a log holds; `None` where there is none, or where it is just being removed.
    async fn log(&self, name: &str) -> Result<Option<Vec<u8>>, BlobError> {
        let parts = self.parts(name).await?;
        let keys: Vec<String> = parts.iter().map(|(_, key)| key.clone()).collect();
        let reads = keys.into_iter().map(|key| {
            let objects = self.objects.clone();
            async move { objects.get(&key).await }
        });
        let read: Vec<_> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let mut bytes = Vec::new();
        if parts.first().is_none_or(|(number, _)| *number > 0) {
            // At most the fence of a log that was removed.
            return Ok(None);
        }
        for ((_, key), object) in parts.iter().zip(read) {
            // One that was listed and is gone: the log is just being removed.
            let Some(object) = object else { return Ok(None) };
            match object.bytes.split_first() {
                // A part that is missing between others is told by the checksums of what it held.
                Some((&DATA, data)) => bytes.extend_from_slice(data),
                Some((&FENCE, _)) => break,
                _ => {
                    let what = io::Error::new(io::ErrorKind::InvalidData, "it is no part of a log");
                    return Err(self.objects.error("read", key, what));
                }
            }
        }
        Ok(Some(bytes))
    }

    /// Writes a blob that only the holder of a lease writes, in place of the version this process knows. Where there is
    /// another, it is the late write of an earlier holder, or this process is the earlier one: the lease tells.
    async fn put_leased(&self, name: &str, bytes: &[u8]) -> Result<(), BlobError> {
        let key = self.key(name);
        let mut known = self.memory().tags.get(name).cloned();
        for _ in 0..ROUNDS {
            let tag = match known.take() {
                Some(tag) => tag,
                None => self.objects.get(&key).await?.map(|object| object.tag),
            };
            // After the tag was read: whoever takes over from here on writes another version, and this one is not written.
            self.confirm(name).await?;
            let condition = tag.map_or(Condition::Absent, Condition::Tagged);
            if let Some(tag) = self.objects.put(&key, bytes, &condition).await?.tag() {
                self.remember(name, Some(tag));
                return Ok(());
            }
        }
        Err(self
            .objects
            .error("write", &key, io::Error::other("others write it too")))
    }
}

/// The folder that a lock is for.
fn folder(lock: &str) -> &str {
    lock.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[async_trait]
impl Blobs for BucketBlobs {
    fn describe(&self, name: &str) -> String {
        self.0.objects.0.describe(&self.0.key(name))
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BlobError> {
        let found = self.0.objects.get(&self.0.key(name)).await?;
        let tag = found.as_ref().map(|object| object.tag.clone());
        self.0.remember(name, tag);
        match found {
            Some(object) => Ok(Some(object.bytes)),
            None => self.0.log(name).await,
        }
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), BlobError> {
        if !self.0.leases(name).is_empty() {
            return self.0.put_leased(name, &bytes).await;
        }
        // Marks of other stacks: whoever writes last is right.
        let key = self.0.key(name);
        if let Some(tag) = self.0.objects.put(&key, &bytes, &Condition::Always).await?.tag() {
            self.0.remember(name, Some(tag));
        }
        Ok(())
    }

    async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool, BlobError> {
        let key = self.0.key(name);
        let written = self.0.objects.put(&key, &bytes, &Condition::Absent).await?.tag();
        let done = written.is_some();
        if done {
            self.0.remember(name, written);
        }
        Ok(done)
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, BlobError> {
        let folder = match folder.trim_end_matches('/') {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        let keys = self.0.objects.list(&self.0.key(&folder)).await?;
        let name = |key: &String| {
            let name = key.strip_prefix(&*self.0.prefix)?;
            match name.split_once(PART) {
                None => Some(name.to_owned()),
                Some((log, number)) => (number.parse() == Ok(0_u64)).then(|| log.to_owned()),
            }
        };
        let mut names: Vec<String> = keys.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.0.confirm(name).await?;
        let mut parts = self.0.parts(name).await?;
        if parts.is_empty() {
            self.0.objects.delete(&self.0.key(name)).await?;
            self.0.remember(name, None);
            return Ok(());
        }
        // A fence stays: the writer it is for may still come.
        if let Some((_, last)) = parts.last()
            && let Some(object) = self.0.objects.get(last).await?
            && object.bytes.first() == Some(&FENCE)
        {
            parts.pop();
        }
        // The first part goes last, so that one that is cut short is found again.
        for (_, key) in parts.iter().rev() {
            self.0.objects.delete(key).await?;
        }
        Ok(())
    }

    async fn start_log(&self, name: &str, first: Vec<u8>) -> Result<Option<Box<dyn Log>>, BlobError> {
        let mut log = BucketLog {
            bucket: self.0.clone(),
            name: name.to_owned(),
            next: 0,
        };
        // After the logs before it were read: whoever takes over from here on wants the same name.
        self.0.confirm(name).await?;
        if !log.write(&first).await? {
            return Ok(None);
        }
        // Its name may have been used and given back since, so the object alone proves nothing.
        self.0.confirm(name).await?;
        Ok(Some(Box::new(log)))
    }

    async fn fence(&self, name: &str) -> Result<(), BlobError> {
        for _ in 0..ROUNDS {
            let parts = self.0.parts(name).await?;
            let Some((last, key)) = parts.last() else {
                return Ok(());
            };
            if let Some(object) = self.0.objects.get(key).await?
                && object.bytes.first() == Some(&FENCE)
            {
                return Ok(());
            }
            // After the log was found: it is none of somebody who has taken over since.
            self.0.confirm(name).await?;
            let key = self.0.part(name, last.saturating_add(1));
            let fence = format!("{} epid fence 1 {}\n", char::from(FENCE), self.0.token(&key)?);
            let put = self.0.objects.put(&key, fence.as_bytes(), &Condition::Absent);
            if put.await? != Written::Conflict {
                return Ok(());
            }
            // Its writer was faster; once more.
        }
        let error = io::Error::other("its writer goes on all the time");
        Err(self.0.objects.error("fence", &self.0.key(name), error))
    }

    async fn settle(&self, _: &str) -> Result<(), BlobError> {
        // What can be read was acknowledged.
        Ok(())
    }

    async fn sweep(&self, _: &str) -> Result<(), BlobError> {
        // A write leaves nothing beside its blob.
        Ok(())
    }

    async fn lock(&self, name: &str, who: &Holder) -> Result<Lock, BlobError> {
        lease::lock(&self.0, name, who).await
    }

    async fn tenure(&self, name: &str) -> Result<Option<Tenure>, BlobError> {
        lease::tenure(&self.0, name).await
    }
}

#[derive(Debug)]
struct BucketLog {
    bucket: Bucket,
    name: String,
    /// The number of the next part.
    next: u64,
}

impl BucketLog {
    /// Writes the next part; false where something has its place.
    async fn write(&mut self, bytes: &[u8]) -> Result<bool, BlobError> {
        let key = self.bucket.part(&self.name, self.next);
        let mut part = Vec::with_capacity(bytes.len() + 1);
        part.push(DATA);
        part.extend_from_slice(bytes);
        let written = self.bucket.objects.put(&key, &part, &Condition::Absent).await?;
        self.next += 1;
        if let Written::Repeated(_) = written {
            // The first one may have been read and removed by whoever took over.
            self.bucket.confirm(&self.name).await?;
        }
        Ok(written != Written::Conflict)
    }
}

#[async_trait]
impl Log for BucketLog {
    async fn append(&mut self, bytes: Vec<u8>) -> Result<(), BlobError> {
        if self.write(&bytes).await? {
            return Ok(());
        }
        // Says who has taken over.
        self.bucket.confirm(&self.name).await?;
        let what = "something else has its place; nothing more is started";
        let key = self.bucket.key(&self.name);
        Err(self.bucket.objects.error("write", &key, io::Error::other(what)))
    }
}
