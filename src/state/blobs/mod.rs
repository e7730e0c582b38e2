//! Where bytes are kept: named blobs, logs that grow, and locks. A local folder and memory are here; of a bucket the protocol is
//! here, and the service is given from outside.
//!
//! # What a power cut may take
//!
//! A write returns once it is durable, and each blob takes its name only with all of its content, so of writes that follow one
//! another none is kept without those before it, whatever order a disk writes in. Of the one that was under way there is:
//!
//! - of a blob, all or nothing: [`FolderBlobs`] syncs the content, then renames, then syncs the folder;
//! - of a log, any sectors of what was being appended, one of which may be there before another. Its readers have to tell;
//! - what a process that *died* had appended and not yet synced: the next one reads it from memory, so it calls
//!   [`Blobs::settle`] before it relies on it.
//!
//! Names are relative paths of `[a-z0-9%._-]` segments joined by `/`; no segment is `.` or `..` or begins with a dot.

mod bucket;
mod folder;
mod lease;
mod memory;
mod objects;

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use epid_provider::Timestamp;

pub use bucket::{BucketBlobs, Wall};
pub use folder::{FolderBlobs, ignore};
pub use memory::{Fault, MemoryBlobs};
pub use objects::{Condition, Object, ObjectError, ObjectStore};

use super::error::StateError;
use super::location::Holder;

/// A blob could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {action} {file}: {source}")]
pub struct BlobError {
    /// What was tried: `read`, `write`.
    pub action: &'static str,
    /// Where the blob is, for people.
    pub file: String,
    /// Why it failed.
    #[source]
    pub source: Arc<io::Error>,
}

impl From<BlobError> for StateError {
    fn from(error: BlobError) -> Self {
        Self::Io {
            action: error.action,
            file: error.file,
            source: error.source,
        }
    }
}

/// Keeps blobs. What a write acknowledged survives a crash; a blob is never seen half written.
#[async_trait]
pub trait Blobs: Send + Sync + fmt::Debug {
    /// Where the blob is, for people: a path or a URL.
    fn describe(&self, name: &str) -> String;

    /// The bytes of a blob or log; `None` where there is none. Of a log that is being appended to, the end may be torn.
    ///
    /// # Errors
    /// Where it cannot be read.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BlobError>;

    /// Writes a blob, in place of the one there is.
    ///
    /// # Errors
    /// Where it cannot be written; the old one is still there then, or the new one already.
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), BlobError>;

    /// Writes a blob where there is none, and tells whether it did.
    ///
    /// # Errors
    /// Where it cannot be written.
    async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool, BlobError>;

    /// The names of all blobs below a folder, in order. The empty folder means all of them.
    ///
    /// # Errors
    /// Where the folder cannot be read; one that is not there has no blobs.
    async fn list(&self, folder: &str) -> Result<Vec<String>, BlobError>;

    /// Removes a blob. One that is not there is removed already.
    ///
    /// # Errors
    /// Where it cannot be removed.
    async fn delete(&self, name: &str) -> Result<(), BlobError>;

    /// Begins a log with its first bytes, which are durable once this returns; `None` where the name is taken.
    ///
    /// # Errors
    /// Where it cannot be written.
    async fn start_log(&self, name: &str, first: Vec<u8>) -> Result<Option<Box<dyn Log>>, BlobError>;

    /// Lets nobody append to a log any more who began it under a lock that was taken from them. Where locks cannot be taken
    /// there is nothing to do.
    ///
    /// # Errors
    /// Where that cannot be made sure.
    async fn fence(&self, name: &str) -> Result<(), BlobError>;

    /// Makes durable what is there of a log whose writer may have died before it was. Where all that can be read is durable there
    /// is nothing to do.
    ///
    /// # Errors
    /// Where that cannot be done.
    async fn settle(&self, name: &str) -> Result<(), BlobError>;

    /// Removes what writers of blobs left in a folder, and in none below it, that died amid a write. Only for who holds the lock
    /// under which those blobs are written. Where a write leaves nothing beside its blob there is nothing to do.
    ///
    /// # Errors
    /// Where the folder cannot be read, or something not be removed.
    async fn sweep(&self, folder: &str) -> Result<(), BlobError>;

    /// Takes a lock for `who`, unless somebody holds it. It ends with its guard, and with the process, at once or soon after.
    ///
    /// # Errors
    /// Where that cannot be told.
    async fn lock(&self, name: &str, who: &Holder) -> Result<Lock, BlobError>;

    /// Who holds a lock, where the lock itself says so, without taking it; also where that time is over.
    ///
    /// # Errors
    /// Where that cannot be read.
    async fn tenure(&self, _name: &str) -> Result<Option<Tenure>, BlobError> {
        Ok(None)
    }
}

/// What became of the wish for a lock.
#[derive(Debug)]
pub enum Lock {
    /// It is held until the guard goes.
    Taken(Arc<dyn Guard>),
    /// Somebody else holds it; where the lock itself says so, who.
    Held(Option<Tenure>),
}

impl Lock {
    /// The guard, where it was taken.
    #[must_use]
    pub fn taken(self) -> Option<Arc<dyn Guard>> {
        match self {
            Self::Taken(guard) => Some(guard),
            Self::Held(_) => None,
        }
    }
}

/// Who holds a lock, and until when unless they renew it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenure {
    /// Who.
    pub holder: Holder,
    /// Until when, by their clock.
    pub until: Timestamp,
}

/// The writing end of a log.
#[async_trait]
pub trait Log: Send + Sync + fmt::Debug {
    /// Appends bytes, which are durable once this returns.
    ///
    /// # Errors
    /// Where they cannot be written; some of them may be there then, and nothing may be appended any more.
    async fn append(&mut self, bytes: Vec<u8>) -> Result<(), BlobError>;
}

/// A lock that is held.
#[async_trait]
pub trait Guard: Send + Sync + fmt::Debug {
    /// False once the lock may be another's: a lease that was not renewed in time. A kernel lock is held until its guard goes.
    async fn is_held(&self) -> bool {
        true
    }

    /// The same, asked of where the lock is and not of a clock, which stands still with its machine: for what is done long after
    /// the last write, which would have failed.
    async fn confirm(&self) -> bool {
        self.is_held().await
    }

    /// True where the lock itself says who holds it.
    fn is_named(&self) -> bool {
        false
    }

    /// True where the lock was taken from somebody who may not know yet: what they can write is to be fenced first.
    fn is_disputed(&self) -> bool {
        false
    }

    /// Says that it was.
    fn settle(&self) {}

    /// Says that a write was given up which may still take effect: whoever has the lock next is to fence it.
    fn dispute(&self) {}

    /// Gives the lock back, and returns once others can take it, unless somebody else still has this guard.
    async fn release(self: Arc<Self>) {}
}
