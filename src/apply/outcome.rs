//! How a run ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use epid_provider::{Map, Urn};

use super::event::{Did, Fate, Trouble};
use crate::plan::{Action, StepId};
use crate::state::StateError;

/// How a run ended: what was done, what was not, and why.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// How many steps came to what; those that came to nothing count too.
    pub done: BTreeMap<Did, usize>,
    /// The steps that failed, in the order they did.
    pub failed: Vec<StepFailure>,
    /// The steps that were left out, and the resource whose failure is the reason.
    pub skipped: Vec<(StepId, Urn)>,
    /// The steps that never started because the run was stopped.
    pub left: Vec<StepId>,
    /// The run was told to stop before all was done.
    pub interrupted: bool,
    /// The journal could not be written: nothing was started any more.
    pub journal: Option<StateError>,
    /// The outputs of the stack as far as they are known, and those that are not: name and reason.
    pub outputs: Map,
    /// Outputs that could not be evaluated.
    pub unknown_outputs: Vec<(Arc<str>, String)>,
}

impl Outcome {
    /// True where everything was done.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failed.is_empty()
            && self.skipped.is_empty()
            && self.left.is_empty()
            && self.journal.is_none()
            && self.unknown_outputs.is_empty()
    }

    /// How many steps changed something in a cloud.
    #[must_use]
    pub fn changed(&self) -> usize {
        let quiet = [Did::Nothing, Did::Recorded, Did::Connected, Did::Read];
        self.done
            .iter()
            .filter(|(did, _)| !quiet.contains(did))
            .map(|(_, n)| n)
            .sum()
    }
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFailure {
    /// The step.
    pub step: StepId,
    /// The resource.
    pub urn: Urn,
    /// What it was to do.
    pub action: Action,
    /// Where the program declares it, as `file:line`.
    pub source: Option<Arc<str>>,
    /// Why.
    pub trouble: Trouble,
}

/// A call of an earlier run that was looked into.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveredIntent {
    /// The resource.
    pub urn: Urn,
    /// What became of the call. Where it is [`Fate::Unclear`] the intent stays in the state.
    pub fate: Fate,
}
