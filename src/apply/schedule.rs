//! Which step is ready, and which of the ready ones first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::plan::{Plan, StepId};

/// A step by its urgency: the longest remaining path first, then the order of the plan.
pub(super) type Urgency = (Duration, Reverse<StepId>);

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    Done { replaced: bool },
    Failed,
    Skipped,
}

/// The steps of a plan by readiness. Built once in O(steps + edges); every event costs its own edges.
pub(super) struct Schedule {
    status: Vec<Status>,
    /// How many steps each still waits for.
    waiting: Vec<u32>,
    /// The step whose failure reaches it.
    blocked: Vec<Option<StepId>>,
    /// `dependents[starts[i]..starts[i + 1]]` wait for step `i`.
    starts: Vec<u32>,
    dependents: Vec<StepId>,
    remaining: Vec<Duration>,
    ready: BinaryHeap<Urgency>,
}

impl Schedule {
    pub(super) fn new(plan: &Plan) -> Self {
        let count = plan.steps.len();
        let mut starts = vec![0_u32; count + 1];
        for before in plan.steps.iter().flat_map(|s| &s.after) {
            if let Some(start) = starts.get_mut(before.0 as usize + 1) {
                *start += 1;
            }
        }
        for at in 1..=count {
            starts[at] += starts[at - 1];
        }
        let mut place = starts.clone();
        let mut dependents = vec![StepId(0); starts[count] as usize];
        let mut waiting = vec![0_u32; count];
        for (step, waits) in plan.steps.iter().zip(&mut waiting) {
            for before in &step.after {
                if let Some(at) = place.get_mut(before.0 as usize) {
                    dependents[*at as usize] = step.id;
                    *at += 1;
                    *waits += 1;
                }
            }
        }
        let mut remaining: Vec<Duration> = plan.steps.iter().map(|s| s.expected).collect();
        for at in (0..count).rev() {
            let later = dependents[starts[at] as usize..starts[at + 1] as usize].iter();
            let longest = later.map(|d| remaining[d.0 as usize]).max().unwrap_or_default();
            remaining[at] += longest;
        }
        let mut schedule = Self {
            status: vec![Status::Pending; count],
            blocked: vec![None; count],
            ready: BinaryHeap::with_capacity(count),
            waiting,
            starts,
            dependents,
            remaining,
        };
        for step in plan
            .steps
            .iter()
            .filter(|s| schedule.waiting[s.id.0 as usize] == 0)
        {
            schedule
                .ready
                .push((schedule.remaining[step.id.0 as usize], Reverse(step.id)));
        }
        schedule
    }

    pub(super) fn status(&self, step: StepId) -> Status {
        self.status
            .get(step.0 as usize)
            .copied()
            .unwrap_or(Status::Skipped)
    }

    pub(super) fn urgency(&self, step: StepId) -> Urgency {
        (
            self.remaining.get(step.0 as usize).copied().unwrap_or_default(),
            Reverse(step),
        )
    }

    /// The most urgent step that is ready.
    pub(super) fn pop(&mut self) -> Option<StepId> {
        self.ready.pop().map(|(_, Reverse(step))| step)
    }

    /// Notes how a step ended. Its dependents become ready, or are skipped with all that wait for them; those are
    /// returned with the step whose failure is the reason.
    pub(super) fn finish(&mut self, step: StepId, status: Status) -> Vec<(StepId, StepId)> {
        let mut skipped = Vec::new();
        let mut open = vec![(step, status, step)];
        while let Some((step, status, cause)) = open.pop() {
            let at = step.0 as usize;
            self.status[at] = status;
            for index in self.starts[at]..self.starts[at + 1] {
                let dependent = self.dependents[index as usize];
                let d = dependent.0 as usize;
                if !matches!(status, Status::Done { .. }) {
                    self.blocked[d].get_or_insert(cause);
                }
                self.waiting[d] -= 1;
                if self.waiting[d] > 0 {
                    continue;
                }
                match self.blocked[d] {
                    Some(cause) => {
                        skipped.push((dependent, cause));
                        open.push((dependent, Status::Skipped, cause));
                    }
                    None => self.ready.push(self.urgency(dependent)),
                }
            }
        }
        skipped
    }

    /// The steps that neither ended nor were skipped.
    pub(super) fn left(&self) -> Vec<StepId> {
        let pending = self
            .status
            .iter()
            .zip(0_u32..)
            .filter(|(s, _)| **s == Status::Pending);
        pending.map(|(_, at)| StepId(at)).collect()
    }
}
