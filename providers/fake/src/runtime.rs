//! A call runtime whose clock jumps: every wait ends at once, and time has passed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use epid_provider::{Call, CallRuntime, Failure, Partial, Timestamp, Token, Urn};

/// A call runtime for tests without an engine: waits jump, notes are kept, nothing is ever cancelled.
#[derive(Debug, Default)]
pub struct JumpingRuntime {
    now: AtomicU64,
    minted: AtomicU64,
    notes: Mutex<Vec<Partial>>,
}

impl JumpingRuntime {
    /// A new runtime at the epoch.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A call of `urn` with a fresh token and an hour of time.
    #[must_use]
    pub fn call(self: &Arc<Self>, urn: &Urn) -> Call {
        let n = (1 << 127) | u128::from(self.minted.fetch_add(1, Ordering::Relaxed));
        self.call_with(urn, &Token::from_bytes(n.to_be_bytes()))
    }

    /// A call of `urn` with this token and an hour of time.
    #[must_use]
    pub fn call_with(self: &Arc<Self>, urn: &Urn, token: &Token) -> Call {
        let deadline = self.now().after(Duration::from_secs(3600));
        Call::new(
            urn.clone(),
            token.clone(),
            Arc::from("test-lineage"),
            deadline,
            self.clone(),
        )
    }

    /// The durable notes so far.
    #[must_use]
    pub fn notes(&self) -> Vec<Partial> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl CallRuntime for JumpingRuntime {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed))
    }

    async fn sleep(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.now.fetch_add(millis, Ordering::Relaxed);
    }

    async fn cancelled(&self) {
        std::future::pending::<()>().await;
    }

    fn progress(&self, _urn: &Urn, _phrase: &str) {}

    async fn checkpoint(&self, _urn: &Urn, partial: &Partial) -> Result<(), Failure> {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(partial.clone());
        Ok(())
    }
}
