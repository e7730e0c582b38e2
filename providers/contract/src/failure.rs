//! What went wrong in a call, and what is known of its outcome.

use std::fmt;
use std::time::Duration;

use crate::call::Partial;

/// What is known of an operation that did not succeed.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Nothing happened: the service refused, or the request never left.
    NotStarted,
    /// It may or may not have happened: the answer was lost. `recover` decides.
    Unknown,
    /// Something was made and not finished; the record must be kept.
    Partial(Box<Partial>),
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call gives the same answer.
    No,
    /// Worth trying again, with back-off.
    Yes,
    /// The service asked for fewer calls: back off, and slow down the others too.
    Throttled,
}

/// A call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What is known of the outcome.
    pub outcome: Outcome,
    /// Whether trying again can help.
    pub retry: Retry,
    /// The service's error code, such as `DependencyViolation` or `NotFound`; empty where there is none.
    pub code: String,
    /// What the service or provider said, in one or two sentences, without secrets.
    pub message: String,
    /// The request id for the service's support, where there was an answer.
    pub request_id: Option<String>,
    /// What the person can do next: a full sentence or a command.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure of which nothing happened and which will not go away by itself.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            outcome: Outcome::NotStarted,
            retry: Retry::No,
            code: code.into(),
            message: message.to_string(),
            request_id: None,
            hint: None,
        }
    }

    /// The operation was given up because the run was cancelled.
    #[must_use]
    pub fn cancelled(outcome: Outcome) -> Self {
        Self {
            outcome,
            ..Self::new("Cancelled", "cancelled before it finished")
        }
    }

    /// The operation ran past its deadline after `waited`.
    #[must_use]
    pub fn deadline(what: impl fmt::Display, waited: Duration) -> Self {
        Self::new("Deadline", format_args!("{what} after {} s", waited.as_secs()))
    }

    /// This failure with another outcome.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// This failure with another answer to whether trying again helps.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// This failure with what the person can do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// This failure with the service's request id.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }
}
