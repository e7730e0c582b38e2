//! What a bucket can do, and how a write whose answer was lost is settled.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::BlobError;

/// How often a request is sent whose answer is lost.
const ATTEMPTS: u32 = 6;
/// Before the second try; doubled for each later one.
const PAUSE: Duration = Duration::from_millis(200);

/// An object, and the tag of this version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Differs from that of every other content the key had.
    pub tag: String,
}

/// Under which condition an object is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// Where there is none.
    Absent,
    /// Where the one there is has this tag.
    Tagged(String),
}

/// Why a request to a bucket did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The condition does not hold, and nothing was written.
    #[error("somebody else wrote it")]
    Conflict,
    /// It may have taken effect or not; trying again may help.
    #[error("{0}")]
    Unsettled(#[source] io::Error),
    /// It was refused, and will be again.
    #[error("{0}")]
    Refused(#[source] io::Error),
}

/// Objects below one prefix of a bucket. Reads and lists see every write that was acknowledged before they began, and of several
/// writes under a condition that only one can meet, one succeeds.
#[async_trait]
pub trait ObjectStore: Send + Sync + fmt::Debug {
    /// Where an object is, for people.
    fn describe(&self, key: &str) -> String;

    /// An object; `None` where there is none.
    ///
    /// # Errors
    /// Never a [`ObjectError::Conflict`].
    async fn get(&self, key: &str) -> Result<Option<Object>, ObjectError>;

    /// Writes an object under a condition, and answers its tag.
    ///
    /// # Errors
    /// [`ObjectError::Conflict`] where the condition does not hold.
    async fn put(&self, key: &str, bytes: Vec<u8>, condition: &Condition) -> Result<String, ObjectError>;

    /// The keys that begin with `prefix`, in order.
    ///
    /// # Errors
    /// Never a [`ObjectError::Conflict`].
    async fn list(&self, prefix: &str) -> Result<Vec<String>, ObjectError>;

    /// Removes an object. One that is not there is removed already.
    ///
    /// # Errors
    /// Never a [`ObjectError::Conflict`].
    async fn delete(&self, key: &str) -> Result<(), ObjectError>;
}

/// How a write ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is there, with that tag.
    Done(String),
    /// So it is, but it took more than one request to know: others may have seen it long ago, and removed it since.
    Repeated(String),
    /// The condition does not hold: the write of somebody else came first.
    Conflict,
}

impl Written {
    /// The tag of what is there now; `None` where it is somebody else's.
    pub(super) fn tag(self) -> Option<String> {
        match self {
            Self::Done(tag) | Self::Repeated(tag) => Some(tag),
            Self::Conflict => None,
        }
    }
}

/// A bucket whose requests are repeated until they are settled.
#[derive(Debug, Clone)]
pub(super) struct Objects(pub(super) Arc<dyn ObjectStore>);

impl Objects {
    pub(super) fn error(&self, action: &'static str, key: &str, source: io::Error) -> BlobError {
        BlobError {
            action,
            file: self.0.describe(key),
            source: Arc::new(source),
        }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Object>, BlobError> {
        self.repeat("read", key, || self.0.get(key)).await
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<String>, BlobError> {
        self.repeat("list", prefix, || self.0.list(prefix)).await
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), BlobError> {
        self.repeat("delete", key, || self.0.delete(key)).await
    }

    /// Writes an object. Where an answer is lost the object is read back: `bytes` are nobody else's, so finding them means that
    /// the write took effect, however late.
    pub(super) async fn put(
        &self,
        key: &str,
        bytes: &[u8],
        condition: &Condition,
    ) -> Result<Written, BlobError> {
        let mut tried = 0;
        loop {
            tried += 1;
            let error = match self.0.put(key, bytes.to_vec(), condition).await {
                Ok(tag) if tried == 1 => return Ok(Written::Done(tag)),
                Ok(tag) => return Ok(Written::Repeated(tag)),
                Err(error) => error,
            };
            let last = match error {
                // The write before may have met the condition, and this one met its object.
                ObjectError::Conflict if tried > 1 => None,
                ObjectError::Conflict => return Ok(Written::Conflict),
                ObjectError::Refused(source) => return Err(self.error("write", key, source)),
                ObjectError::Unsettled(source) => Some(source),
            };
            // Whose object a condition met is known only once it is read.
            let found = match last {
                None => self.get(key).await?,
                Some(_) => self.0.get(key).await.ok().flatten(),
            };
            if let Some(found) = found
                && found.bytes == bytes
            {
                return Ok(Written::Repeated(found.tag));
            }
            match last {
                None => return Ok(Written::Conflict),
                Some(source) if tried >= ATTEMPTS => return Err(self.error("write", key, source)),
                Some(_) => pause(tried).await,
            }
        }
    }

    async fn repeat<T, F>(
        &self,
        action: &'static str,
        key: &str,
        request: impl Fn() -> F + Send,
    ) -> Result<T, BlobError>
    where
        F: Future<Output = Result<T, ObjectError>> + Send,
    {
        let mut tried = 0;
        loop {
            tried += 1;
            match request().await {
                Ok(answer) => return Ok(answer),
                Err(ObjectError::Unsettled(_)) if tried < ATTEMPTS => pause(tried).await,
                Err(ObjectError::Unsettled(source) | ObjectError::Refused(source)) => {
                    return Err(self.error(action, key, source));
                }
                Err(conflict @ ObjectError::Conflict) => {
                    return Err(self.error(action, key, io::Error::other(conflict)));
                }
            }
        }
    }
}

async fn pause(tried: u32) {
    rest(PAUSE * 2_u32.saturating_pow(tried.saturating_sub(1))).await;
}

/// Lets time pass on the clock by which leases are judged.
#[expect(
    clippy::disallowed_methods,
    reason = "the waits of this room are between runs, not within a provider's call"
)]
pub(super) async fn rest(time: Duration) {
    tokio::time::sleep(time).await;
}
