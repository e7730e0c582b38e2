//! Requests that AWS refuses for a while: what was just made is not known everywhere yet, or something else is at work.

use std::time::Duration;

use epid_provider::{Call, Failure};

/// How long IAM may take to make a role, policy or trust known to other services.
pub(crate) const PROPAGATION: Duration = Duration::from_secs(120);
/// Between two tries while it does.
pub(crate) const PROPAGATION_PAUSE: Duration = Duration::from_secs(4);
/// Between two tries while a cluster is busy with something else.
pub(crate) const BUSY_PAUSE: Duration = Duration::from_secs(15);

/// For how long, and what is worth it.
pub(crate) struct Patience<'a> {
    /// No longer than this, nor past the call's deadline.
    pub(crate) budget: Duration,
    /// Between two tries.
    pub(crate) pause: Duration,
    /// What to show while it waits; `None` where waiting does not help.
    pub(crate) waits: &'a (dyn Fn(&Failure) -> Option<&'static str> + Send + Sync),
}

impl Patience<'_> {
    /// Sends until the answer is not one that waiting helps against, and gives that.
    ///
    /// # Errors
    /// The last refusal, also where the time is over; where the run is cancelled, that.
    pub(crate) async fn send<T, F>(
        &self,
        cx: &Call,
        mut request: impl FnMut() -> F + Send,
    ) -> Result<T, Failure>
    where
        T: Send,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let begun = cx.now();
        loop {
            let failure = match request().await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let Some(phrase) = (self.waits)(&failure) else {
                return Err(failure);
            };
            let waited = cx.now().since(begun);
            if waited >= self.budget || cx.remaining() <= self.pause {
                return Err(failure);
            }
            cx.progress(phrase);
            cx.sleep(self.pause).await?;
        }
    }
}
