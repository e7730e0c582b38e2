//! The clock of a run: the only place where the engine waits.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the clock that everything else is given; on tokio's time, so that the sandbox can pause it"
)]

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use epid_provider::Timestamp;
use tokio::time::Instant;

/// Tells the time of a run, and waits on it.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Waits.
    async fn sleep(&self, duration: Duration);
}

/// A clock that started at a given moment and goes as tokio's time does: with the wall, or virtually where that is
/// paused.
#[derive(Debug, Clone)]
pub struct TokioClock {
    base: Timestamp,
    start: Instant,
}

impl TokioClock {
    /// A clock on which it is `base` now. Call it within the runtime.
    #[must_use]
    pub fn starting_at(base: Timestamp) -> Self {
        Self {
            base,
            start: Instant::now(),
        }
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.base.after(self.start.elapsed())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
