//! What a provider may ask of the engine during one operation: time, cancellation, progress and durable notes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::path::Path;
use crate::urn::Urn;
use crate::value::Value;

/// A moment: milliseconds since the Unix epoch, on the engine's clock (which the sandbox makes virtual).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time since `earlier`, zero where `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This moment and `duration` more.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// The token of one operation: 32 lower-case hexadecimal digits, minted with its intent and stored before the call.
///
/// It is the EKS `clientRequestToken`, the tag in a create without a client token, and the suffix of generated names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Token(Arc<str>);

impl Token {
    /// Makes the token of 16 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(
            bytes
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
                .into(),
        )
    }

    /// The 32 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first `digits` digits (at most 32), for the suffix of a generated name.
    #[must_use]
    pub fn short(&self, digits: usize) -> &str {
        self.0.get(..digits).unwrap_or(&self.0)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What exists of a resource whose operation is not finished: a durable note between the requests of one operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Partial {
    /// The physical id.
    pub id: Arc<str>,
    /// Outputs known so far.
    pub outputs: Value,
    /// What is still to be done, for people: `attach internet gateway`. Never empty.
    pub incomplete: Vec<String>,
}

/// What the engine does for a running call. Implemented by the apply room; tests bring their own.
#[async_trait]
pub trait CallRuntime: Send + Sync + fmt::Debug {
    /// The engine's clock.
    fn now(&self) -> Timestamp;
    /// Waits on the engine's clock.
    async fn sleep(&self, duration: Duration);
    /// Returns once the run was told to cancel running calls; otherwise never.
    async fn cancelled(&self);
    /// Shows what the operation is doing: a short phrase, such as `CREATING` or `waiting for IAM to propagate`.
    fn progress(&self, urn: &Urn, phrase: &str);
    /// Writes a durable note; returns once it is on disk.
    ///
    /// # Errors
    /// Where the journal cannot be written: the operation must stop starting requests.
    async fn checkpoint(&self, urn: &Urn, partial: &Partial) -> Result<(), Failure>;
}

/// One operation on one resource, as its provider sees it.
#[derive(Debug, Clone)]
pub struct Call {
    /// The resource.
    pub urn: Urn,
    /// The operation's token.
    pub token: Token,
    /// The lineage of the stack, for ownership tags and annotations.
    pub lineage: Arc<str>,
    /// When the operation must have ended.
    pub deadline: Timestamp,
    /// Paths that the program leaves to others: a provider that knows who owns a field does not claim them where
    /// somebody else does. Empty unless said.
    pub ignored: Arc<[Path]>,
    /// Paths that others changed and that the plan showed being put back: they may be taken from whoever owns them.
    /// Empty unless said.
    pub reclaimed: Arc<[Path]>,
    runtime: Arc<dyn CallRuntime>,
}

impl Call {
    /// A call of `urn` with `token`, ending by `deadline`, on `runtime`.
    #[must_use]
    pub fn new(
        urn: Urn,
        token: Token,
        lineage: Arc<str>,
        deadline: Timestamp,
        runtime: Arc<dyn CallRuntime>,
    ) -> Self {
        Self {
            urn,
            token,
            lineage,
            deadline,
            ignored: Arc::default(),
            reclaimed: Arc::default(),
            runtime,
        }
    }

    /// This call with the paths it leaves to others, and those it may take back.
    #[must_use]
    pub fn with_paths(mut self, ignored: Arc<[Path]>, reclaimed: Arc<[Path]>) -> Self {
        self.ignored = ignored;
        self.reclaimed = reclaimed;
        self
    }

    /// The engine's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.runtime.now()
    }

    /// The time left until the deadline.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.since(self.now())
    }

    /// Waits on the engine's clock. Returns early, with an error, where the run is cancelled or the deadline comes
    /// first. Only for waits between requests: a request that was sent is never dropped.
    ///
    /// # Errors
    /// A [`Failure`] with code `Cancelled` or `Deadline` and outcome `NotStarted`; the provider sets the outcome.
    pub async fn sleep(&self, duration: Duration) -> Result<(), Failure> {
        let remaining = self.remaining();
        if remaining.is_zero() {
            return Err(Failure::deadline("gave up waiting", Duration::ZERO));
        }
        let sleep = self.runtime.sleep(duration.min(remaining));
        let cancelled = self.runtime.cancelled();
        race(sleep, cancelled)
            .await
            .map_err(|()| Failure::cancelled(crate::Outcome::NotStarted))
    }

    /// Returns once the run was told to cancel running calls; otherwise never.
    pub async fn cancelled(&self) {
        self.runtime.cancelled().await;
    }

    /// Shows what the operation is doing.
    pub fn progress(&self, phrase: &str) {
        self.runtime.progress(&self.urn, phrase);
    }

    /// Writes a durable note of what exists so far; returns once it is on disk.
    ///
    /// # Errors
    /// Where the journal cannot be written: the operation must stop starting requests.
    pub async fn checkpoint(&self, partial: &Partial) -> Result<(), Failure> {
        self.runtime.checkpoint(&self.urn, partial).await
    }
}

/// `Ok` where `first` ends first (it is polled first), `Err` where `other` does.
async fn race(first: impl Future<Output = ()>, other: impl Future<Output = ()>) -> Result<(), ()> {
    let mut first = std::pin::pin!(first);
    let mut other = std::pin::pin!(other);
    std::future::poll_fn(|cx| {
        if first.as_mut().poll(cx).is_ready() {
            std::task::Poll::Ready(Ok(()))
        } else {
            other.as_mut().poll(cx).map(Err)
        }
    })
    .await
}
