//! Where a stack's state is kept, and who is at it.

use std::fmt;
use std::sync::Arc;

use epid_provider::Timestamp;
use serde::{Deserialize, Serialize};

/// Which stack's state: the same project and stack in another world is another state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// Where its resources are: `sandbox:<id>` or `cloud`.
    pub world: Arc<str>,
    /// The project.
    pub project: Arc<str>,
    /// The stack.
    pub stack: Arc<str>,
}

/// True for a world of the sandbox, which is in the project's folder and counts for nothing once that is gone.
#[must_use]
pub fn is_sandbox(world: &str) -> bool {
    world.starts_with("sandbox:")
}

impl Location {
    /// The state of `stack` of `project` in `world`.
    #[must_use]
    pub fn new(world: &str, project: &str, stack: &str) -> Self {
        Self {
            world: Arc::from(world),
            project: Arc::from(project),
            stack: Arc::from(stack),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} in {}", self.project, self.stack, self.world)
    }
}

/// Who works on a stack, for the message to whoever wants to work on it too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process id.
    pub pid: u32,
    /// The user.
    pub user: String,
    /// The host.
    pub host: String,
    /// Since when.
    pub since: Timestamp,
    /// What runs: `epid up --stack prod`.
    pub command: String,
    /// The URL of the CI job that runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` of {}@{} (process {}, since {})",
            self.command,
            self.user,
            self.host,
            self.pid,
            said(self.since)
        )?;
        match &self.job {
            Some(job) => write!(f, ", job {job}"),
            None => Ok(()),
        }
    }
}

/// A moment as `2026-01-31T10:00:00Z`.
pub(super) fn said(at: Timestamp) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "?".to_owned(), |at| at.to_string())
}
