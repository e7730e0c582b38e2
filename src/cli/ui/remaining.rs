//! How long a run will still take, by what each step usually takes.

use std::collections::HashMap;
use std::time::Duration;

use epid_provider::Timestamp;

use crate::plan::{Step, StepId};

/// In a larger run a guess would cost more than it tells.
const MOST: usize = 2_000;
/// A step that takes longer than usual is taken to need this share of its time again.
const LATE: u32 = 10;

/// The steps of a run that are not over, and when those that run began.
pub(crate) struct Remaining {
    /// What each step waits for, and how long it takes; empty for a run that is too large.
    steps: Vec<(Vec<StepId>, Duration)>,
    running: HashMap<StepId, Timestamp>,
    over: Vec<bool>,
    now: Timestamp,
}

impl Remaining {
    pub(crate) fn of(steps: &[Step]) -> Self {
        let steps = if steps.len() > MOST { &[] } else { steps };
        Self {
            steps: steps.iter().map(|s| (s.after.clone(), s.expected)).collect(),
            running: HashMap::new(),
            over: vec![false; steps.len()],
            now: Timestamp::default(),
        }
    }

    pub(crate) fn at(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    pub(crate) fn started(&mut self, step: StepId, now: Timestamp) {
        self.at(now);
        self.running.insert(step, now);
    }

    pub(crate) fn over(&mut self, step: StepId, now: Timestamp) {
        self.at(now);
        self.running.remove(&step);
        if let Some(over) = self.over.get_mut(step.0 as usize) {
            *over = true;
        }
    }

    /// Along the longest path of what is not over.
    pub(crate) fn time(&self) -> Duration {
        let mut ends: Vec<Duration> = Vec::with_capacity(self.steps.len());
        for (id, (after, expected)) in (0..).map(StepId).zip(&self.steps) {
            let before = after.iter().filter_map(|id| ends.get(id.0 as usize));
            let before = before.max().copied().unwrap_or_default();
            let own = match self.running.get(&id) {
                _ if self.over.get(id.0 as usize) == Some(&true) => Duration::ZERO,
                Some(begun) => expected
                    .saturating_sub(self.now.since(*begun))
                    .max(*expected / LATE),
                None => *expected,
            };
            ends.push(before + own);
        }
        ends.into_iter().max().unwrap_or_default()
    }
}
