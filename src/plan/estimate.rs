//! How long a plan will take, and along which steps.

use std::time::Duration;

use super::step::{Plan, StepId};

/// The longest path of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Estimate {
    /// The time along it.
    pub total: Duration,
    /// Its steps, first to last; those that take no time are left out.
    pub path: Vec<StepId>,
}

/// The longest path by the expected time of each step; as if nothing else had to wait for its turn.
#[must_use]
pub fn estimate(plan: &Plan) -> Estimate {
    let mut ends: Vec<(Duration, Option<StepId>)> = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        let before = step
            .after
            .iter()
            .filter_map(|id| ends.get(id.0 as usize).map(|(end, _)| (*end, Some(*id))))
            .max_by_key(|(end, id)| (*end, std::cmp::Reverse(*id)))
            .unwrap_or_default();
        ends.push((before.0 + step.expected, before.1));
    }
    let Some((last, (total, _))) = ends.iter().enumerate().rev().max_by_key(|(_, (end, _))| *end) else {
        return Estimate::default();
    };
    let mut path = Vec::new();
    let mut at = plan.steps.get(last).map(|s| s.id);
    while let Some(id) = at {
        if plan.step(id).is_some_and(|s| !s.expected.is_zero()) {
            path.push(id);
        }
        at = ends.get(id.0 as usize).and_then(|(_, before)| *before);
    }
    path.reverse();
    Estimate { total: *total, path }
}
