//! The engine's side of a call.

use std::sync::Mutex;
use std::time::Duration;

use epid_provider::{CallRuntime, Failure, Partial, Timestamp, Urn, async_trait};
use epid_sandbox::Clock;

/// On a clock of the sandbox, virtual where tokio's is paused.
#[derive(Debug)]
pub(crate) struct Runtime {
    clock: Clock,
    /// The durable notes so far.
    pub(crate) notes: Mutex<Vec<Partial>>,
    /// The phrases shown so far.
    pub(crate) phrases: Mutex<Vec<String>>,
}

impl Runtime {
    pub(crate) fn on(clock: Clock) -> Self {
        Self {
            clock,
            notes: Mutex::default(),
            phrases: Mutex::default(),
        }
    }
}

#[async_trait]
impl CallRuntime for Runtime {
    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now().as_millis())
    }

    async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    async fn cancelled(&self) {
        std::future::pending::<()>().await;
    }

    fn progress(&self, _urn: &Urn, phrase: &str) {
        self.phrases.lock().unwrap().push(phrase.to_owned());
    }

    async fn checkpoint(&self, _urn: &Urn, partial: &Partial) -> Result<(), Failure> {
        self.notes.lock().unwrap().push(partial.clone());
        Ok(())
    }
}
