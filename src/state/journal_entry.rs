//! What a run writes down as it goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use epid_provider::{Kind, Map, Operation, Partial, Timestamp, Token, Unresolved, Urn, Value};
use serde::{Deserialize, Serialize};

use super::entry::{Entry, RecordKey};

/// One record of the journal. Applying them in order to a snapshot gives the state.
#[derive(Debug, Clone, PartialEq)]
pub enum JournalEntry {
    /// A copy of that serial is about to be restored: the serial is at least that, so that none of a later copy comes twice.
    Reach(u64),
    /// A run starts: the serial grows by one.
    Run(Run),
    /// A call is about to be sent. Durable before it is.
    Begin(Box<Intent>),
    /// What exists so far of an operation that is not finished.
    Checkpoint {
        /// The operation.
        token: Token,
        /// What exists.
        partial: Partial,
    },
    /// An operation ended, or records changed without one.
    End {
        /// The operation, which this retires; `None` for changes of records alone (move, forget, condemn, accepted drift).
        token: Option<Token>,
        /// How it ended.
        ending: Ending,
        /// What this makes of the records, applied in order and as one.
        changes: Vec<Change>,
        /// When.
        at: Timestamp,
    },
    /// The stack's outputs are now these.
    Outputs(Map),
    /// What secrets come to is now known to be this; see [`super::Snapshot::derived`].
    Derived(BTreeMap<Arc<str>, Value>),
    /// The run is over.
    Close {
        /// How it ended.
        result: RunResult,
        /// When.
        at: Timestamp,
    },
}

/// A change of one entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The entry is new, or replaces the one of its key.
    Put(Box<Entry>),
    /// The entry of that key leaves the state.
    Remove(RecordKey),
}

/// How an operation ended. Where that is not known, nothing is written and the intent stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// It did what it was to do.
    Done,
    /// It did not; what it left behind is in the changes.
    Failed,
}

/// A call that was begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    /// The operation's token.
    pub token: Token,
    /// What it was to do.
    pub operation: Operation,
    /// What is to be recorded where it succeeds: `record.applied` are the exact inputs of a create, update or read, and `id` and
    /// `outputs` are those of the record before, or empty. For a delete: the entry it deletes.
    pub entry: Box<Entry>,
    /// The entry before: for an update or a delete.
    pub before: Option<Box<Entry>>,
    /// The last durable note of the operation, where it wrote one.
    pub partial: Option<Partial>,
    /// When it was begun.
    pub begun: Timestamp,
}

impl Intent {
    /// The key of the entry it makes or touches.
    #[must_use]
    pub fn key(&self) -> RecordKey {
        self.entry.key_of()
    }

    /// The intent as its provider takes it.
    ///
    /// # Errors
    /// [`Unresolved`] where an input is only a digest: the state was read without the key of its secrets.
    pub fn to_provider(&self) -> Result<epid_provider::Intent, Unresolved> {
        let inputs = match self.operation {
            Operation::Delete => Value::Map(Map::default()),
            Operation::Create | Operation::Update | Operation::Read => self.entry.record.applied.clone(),
        };
        Ok(epid_provider::Intent {
            token: self.token.clone(),
            operation: self.operation,
            urn: self.entry.record.urn.clone(),
            kind: self.entry.record.kind.clone(),
            inputs: epid_provider::Resolved::new(inputs)?,
            record: self.before.as_ref().map(|before| before.record.clone()),
            partial: self.partial.clone(),
        })
    }
}

/// Who started a run, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// `user@host`.
    pub who: Arc<str>,
    /// The command line, without secrets.
    pub command: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// The version of epid.
    pub version: Arc<str>,
    /// The digest of the plan it executes, where it executes one.
    pub plan: Option<Arc<str>>,
    /// The commit of the program, where it is known.
    pub commit: Option<Arc<str>>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunResult {
    /// Everything was done.
    Done,
    /// Some steps failed or were skipped.
    Failed,
    /// It was told to stop.
    Interrupted,
}

/// A run as history keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The state's serial since this run.
    pub serial: u64,
    /// Who started it, and how.
    pub run: Run,
    /// How it ended and when; `None` while it runs, and for ever where it died.
    pub end: Option<(RunResult, Timestamp)>,
    /// Its operations, in the order they ended.
    pub steps: Vec<StepRecord>,
}

impl RunRecord {
    /// True for a run that found out what became of the calls of an earlier one.
    #[must_use]
    pub fn is_recovery(&self) -> bool {
        self.run.plan.is_none() && !self.steps.is_empty()
    }
}

/// One operation of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The resource.
    pub urn: Urn,
    /// Its kind.
    pub kind: Kind,
    /// What was done.
    pub operation: Operation,
    /// How it ended.
    pub ending: Ending,
    /// How long it took; for a call of an earlier run how long it took to find out.
    pub took: Duration,
}
