//! Where bytes are kept: named blobs, logs that grow, and locks. A local folder and memory are here; a bucket can be given from
//! outside.
//!
//! Names are relative paths of `[a-z0-9%._-]` segments joined by `/`; no segment is `.` or `..` or begins with a dot.

mod folder;
mod memory;

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;

pub use folder::FolderBlobs;
pub use memory::{Fault, MemoryBlobs};

use super::error::StateError;

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

    /// Takes a lock that ends with its guard, and with the process; `None` where somebody holds it.
    ///
    /// # Errors
    /// Where that cannot be told.
    async fn lock(&self, name: &str) -> Result<Option<Box<dyn Guard>>, BlobError>;
}

/// The writing end of a log.
#[async_trait]
pub trait Log: Send + fmt::Debug {
    /// Appends bytes, which are durable once this returns.
    ///
    /// # Errors
    /// Where they cannot be written; some of them may be there then, and nothing may be appended any more.
    async fn append(&mut self, bytes: Vec<u8>) -> Result<(), BlobError>;
}

/// A lock that is held.
pub trait Guard: Send + Sync + fmt::Debug {
    /// False once the lock may be another's: a lease that was not renewed in time. A kernel lock is held until its guard goes.
    fn is_held(&self) -> bool {
        true
    }
}
