//! What leaves this room while it works: one enum, which the terminal, `--json` and tests listen to.

use std::sync::Arc;
use std::time::Duration;

use epid_provider::{Failure, Kind, Operation, Outcome, Timestamp, Urn};
use serde::{Deserialize, Serialize};

use crate::plan::{Action, StepId};

/// The version of the shape of [`Event`]: it grows where a listener of the old shape would misread the new one.
pub const EVENT_FORMAT: u32 = 1;

/// Something happened in a run. No event holds a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// A call of an earlier run, whose outcome was not written, was looked into.
    Recovered {
        /// The resource.
        urn: Urn,
        /// What the call was to do.
        operation: Operation,
        /// What became of it.
        fate: Fate,
        /// When this was found.
        at: Timestamp,
    },
    /// The run starts.
    RunStarted {
        /// [`EVENT_FORMAT`].
        format: u32,
        /// The project.
        project: Arc<str>,
        /// The stack.
        stack: Arc<str>,
        /// The world: `sandbox:<id>` or `cloud`.
        world: Arc<str>,
        /// How many steps there are.
        steps: usize,
        /// When.
        at: Timestamp,
    },
    /// A step that could start waits for its turn.
    StepWaiting {
        /// The step.
        step: StepId,
        /// The resource.
        urn: Urn,
        /// What it waits for: a mutex as `class/instance`.
        waits_for: String,
    },
    /// A step starts.
    StepStarted {
        /// The step.
        step: StepId,
        /// The resource.
        urn: Urn,
        /// Its kind.
        kind: Kind,
        /// What it does.
        action: Action,
        /// How long that usually takes.
        expected: Duration,
        /// When.
        at: Timestamp,
    },
    /// What a running step is doing.
    Progress {
        /// The step.
        step: StepId,
        /// The resource.
        urn: Urn,
        /// A short phrase: `CREATING`.
        phrase: String,
        /// When.
        at: Timestamp,
    },
    /// A call failed and is tried again.
    Retrying {
        /// The step.
        step: StepId,
        /// The resource.
        urn: Urn,
        /// Why.
        problem: Trouble,
        /// After how long.
        after: Duration,
        /// When.
        at: Timestamp,
    },
    /// A step is done.
    StepDone {
        /// The step.
        step: StepId,
        /// The resource.
        urn: Urn,
        /// What it came to.
        did: Did,
        /// How long it took.
        took: Duration,
        /// When.
        at: Timestamp,
    },
    /// A step failed.
    StepFailed {
        /// The step.
        step: StepId,
        /// The resource.
        urn: Urn,
        /// Why.
        problem: Trouble,
        /// How long it took.
        took: Duration,
        /// When.
        at: Timestamp,
    },
    /// A step is left out because one that it needs did not succeed.
    StepSkipped {
        /// The step.
        step: StepId,
        /// The resource.
        urn: Urn,
        /// The resource whose step failed first.
        because: Urn,
    },
    /// The run was told to stop.
    Stopping {
        /// True where running calls are cancelled, too.
        cancel: bool,
        /// How many calls are running.
        running: usize,
        /// When.
        at: Timestamp,
    },
    /// The run is over.
    RunDone {
        /// Steps that are done.
        done: usize,
        /// Steps that failed.
        failed: usize,
        /// Steps left out because of those.
        skipped: usize,
        /// Steps never started because the run was stopped.
        left: usize,
        /// When.
        at: Timestamp,
    },
}

/// What a step came to: it may be less than was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Did {
    /// Made.
    Created,
    /// Changed in place.
    Updated,
    /// Made anew; the old one is condemned.
    Replaced,
    /// Removed.
    Deleted,
    /// Removed to make room.
    Vacated,
    /// Looked up.
    Read,
    /// Taken into the state by its id.
    Imported,
    /// Taken into the state by its name.
    Adopted,
    /// Dropped from the state and left in the cloud.
    Forgotten,
    /// Dropped from the state: it was in no cloud, or is recorded elsewhere.
    Dropped,
    /// Only the record changed.
    Recorded,
    /// Connected.
    Connected,
    /// Nothing was needed.
    Nothing,
}

/// What became of a call whose outcome was not written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fate {
    /// It never took effect.
    NotDone,
    /// It did what it was to do.
    Done,
    /// It did a part.
    Partial {
        /// What is still to be done.
        incomplete: Vec<String>,
    },
    /// Nobody can tell yet; the resource is left alone until somebody can.
    Unclear {
        /// Why not.
        problem: Trouble,
    },
}

/// A failure, for people and machines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    /// What went wrong.
    pub message: String,
    /// The service's error code; empty where there is none.
    pub code: String,
    /// The service's request id.
    pub request_id: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// True where it is not known whether the call took effect: the next run finds out.
    pub unclear: bool,
}

impl Trouble {
    /// A problem that no service told.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: code.to_owned(),
            request_id: None,
            hint: None,
            unclear: false,
        }
    }

    /// True for a call that was given up because the run was told to stop: nothing is wrong with it.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        matches!(&*self.code, "Cancelled" | "Abandoned")
    }

    /// With what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<&Failure> for Trouble {
    fn from(failure: &Failure) -> Self {
        Self {
            message: failure.message.clone(),
            code: failure.code.clone(),
            request_id: failure.request_id.clone(),
            hint: failure.hint.clone(),
            unclear: failure.outcome == Outcome::Unknown,
        }
    }
}
