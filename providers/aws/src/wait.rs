//! Waits within one operation.

use std::time::Duration;

use epid_provider::{Call, Failure, Retry, Timestamp};

/// How long a service may not know what another request has just made (EC2 and IAM are eventually consistent).
pub(crate) const PROPAGATION: Duration = Duration::from_secs(120);
/// How long reads must say that something is not there which epid has seen: one read may not know what another did. What
/// somebody took away by hand costs this time too: a record does not tell when it was written, perhaps a moment ago by a run
/// that died, and no request of EC2 or IAM reads what is true now.
pub(crate) const UNSEEN: Duration = Duration::from_secs(10);
/// Sends of one request in all, where it is tried again.
const SENDS: u32 = 8;

/// Growing pauses.
#[derive(Debug)]
pub(crate) struct Pace {
    next: Duration,
    longest: Duration,
    taken: u32,
    since: Option<Timestamp>,
}

impl Pace {
    /// Pauses that begin with `first` and grow by half up to `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            next: first,
            longest,
            taken: 0,
            since: None,
        }
    }

    /// Pauses in seconds.
    pub(crate) fn seconds(first: u64, longest: u64) -> Self {
        Self::new(Duration::from_secs(first), Duration::from_secs(longest))
    }

    /// Pauses between the sends of one request.
    pub(crate) fn of_retries() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(20))
    }

    /// Shows `phrase` and waits.
    ///
    /// # Errors
    /// Where the run is cancelled or the deadline has come.
    pub(crate) async fn rest(&mut self, cx: &Call, phrase: &str) -> Result<(), Failure> {
        cx.progress(phrase);
        self.pause(cx).await
    }

    /// Waits before `failure`'s request is sent again; false where it was sent often enough or no time is left.
    pub(crate) async fn retry(&mut self, cx: &Call, failure: &Failure) -> Result<bool, Failure> {
        if self.taken + 1 >= SENDS || cx.remaining() <= self.next {
            return Ok(false);
        }
        if failure.retry == Retry::Throttled {
            cx.progress("throttled by AWS, slowing down");
        }
        self.pause(cx).await.map(|()| true)
    }

    /// How long since the first pause.
    pub(crate) fn waited(&self, cx: &Call) -> Duration {
        self.since.map_or(Duration::ZERO, |since| cx.now().since(since))
    }

    async fn pause(&mut self, cx: &Call) -> Result<(), Failure> {
        self.since.get_or_insert_with(|| cx.now());
        self.taken += 1;
        let pause = self.next;
        self.next = (self.next * 3 / 2).min(self.longest);
        cx.sleep(pause).await
    }
}
