//! Steps that call nobody: they decide, or change records only.

use std::sync::Arc;
use std::time::Duration;

use super::changes::renamed;
use super::dispatcher::Dispatcher;
use super::event::{Did, Trouble};
use super::prepare::{kept_generation, vacant};
use super::resolve::Verdict;
use crate::plan::{Action, Step};
use crate::state::{Change, Ending, Entry, RecordKey, Role};

/// True for what needs no call.
pub(super) fn is_inline(action: Action) -> bool {
    matches!(
        action,
        Action::Nothing | Action::Decide | Action::Record | Action::Forget | Action::Drop
    )
}

impl Dispatcher<'_> {
    /// Does a step that needs no call. False where it needs one.
    pub(super) fn inline(&mut self, step: &Step) -> bool {
        let result = match step.action {
            Action::Nothing => Ok((Did::Nothing, false)),
            Action::Decide => self.decide(step),
            Action::Record => self.record_anew(step),
            Action::Forget | Action::Drop => self.forget(step),
            _ => {
                debug_assert!(!is_inline(step.action), "a step that calls nobody is done here");
                return false;
            }
        };
        self.finish(step, result, Duration::ZERO);
        true
    }

    /// Records what the plan knows to be gone as vacant, before anything is sent: a run that dies while it makes that again
    /// leaves nothing that the next one would ask about.
    pub(super) fn record_gone(&mut self) {
        let gone = |step: &&Step| {
            let again = matches!(step.action, Action::Create | Action::Read);
            (again || (step.action == Action::Drop && step.gone)) && self.unclear.allows(step).is_ok()
        };
        let steps = self.plan.steps.iter().filter(gone);
        let keys = steps.flat_map(|step| {
            let dropped = (step.action == Action::Drop).then_some(&step.target);
            step.takes.iter().chain(dropped)
        });
        let changes: Vec<Change> = self.executor.session.with(|snapshot| {
            let entries = keys.filter_map(|key| snapshot.get(key));
            let entries = entries.filter(|entry| entry.role != Role::Vacant);
            entries
                .map(|entry| Change::Put(Box::new(vacant(entry))))
                .collect()
        });
        // A refusal is noted in the outcome, and the steps meet it.
        drop(self.record(None, Ending::Done, changes));
    }

    /// Whether a delete-first replacement is needed, now that every value is known.
    fn decide(&self, step: &Step) -> Result<(Did, bool), Trouble> {
        let settled = self.resolver.inputs(step, self.desired(step)?)?;
        let before = self.before(step).ok_or_else(|| missing(step))?;
        // The promise is with the step that makes it again; a decision has none of its own.
        let refill = self.replacing.get(&step.target.urn);
        let promise = refill.and_then(|id| self.plan.step(*id));
        let promise = promise.filter(|s| s.action == Action::Refill && s.target == step.target);
        let promise = promise.unwrap_or(step);
        let forced = self.forced(promise, &before);
        let verdict = self
            .resolver
            .verdict(promise, &before.record, &settled.inputs, forced)?;
        Ok((Did::Nothing, matches!(verdict, Verdict::Replace(_))))
    }

    fn record_anew(&mut self, step: &Step) -> Result<(Did, bool), Trouble> {
        let before = self.before(step).ok_or_else(|| missing(step))?;
        if step.gone {
            return self.quietly(vec![Change::Put(Box::new(vacant(&before)))]);
        }
        let mut entry = (*before).clone();
        if let Some(planned) = &step.desired {
            let settled = self.resolver.inputs(step, planned)?;
            entry = self.entry(step, &settled, Some(&before));
        }
        entry.generation = kept_generation(step, &before);
        entry.unmarked |= step.unmarked;
        let changes = self.changes_of_record(&before, entry);
        self.quietly(changes)
    }

    /// The changes that make one record of another; none where they are equal.
    pub(super) fn changes_of_record(&self, before: &Arc<Entry>, entry: Entry) -> Vec<Change> {
        if entry == **before {
            return Vec::new();
        }
        if entry.key_of() == before.key_of() {
            return vec![Change::Put(Box::new(entry))];
        }
        self.executor
            .session
            .with(|snapshot| renamed(snapshot, before, entry))
    }

    /// Records changes that no call made.
    pub(super) fn quietly(&mut self, changes: Vec<Change>) -> Result<(Did, bool), Trouble> {
        let did = if changes.is_empty() {
            Did::Nothing
        } else {
            Did::Recorded
        };
        self.record(None, Ending::Done, changes)?;
        Ok((did, false))
    }

    fn forget(&mut self, step: &Step) -> Result<(Did, bool), Trouble> {
        let keys = step.takes.iter().chain([&step.target]);
        let there = |key: &&RecordKey| self.executor.session.with(|snapshot| snapshot.get(key).is_some());
        let changes: Vec<Change> = keys.filter(there).cloned().map(Change::Remove).collect();
        let did = match step.action {
            _ if changes.is_empty() => Did::Nothing,
            Action::Forget => Did::Forgotten,
            _ => Did::Dropped,
        };
        self.record(None, Ending::Done, changes)?;
        Ok((did, false))
    }

    /// The live record that a step starts from.
    pub(super) fn before(&self, step: &Step) -> Option<Arc<Entry>> {
        let key = step.from.as_ref().unwrap_or(&step.target);
        let entry = self
            .executor
            .session
            .with(|snapshot| snapshot.entries.get(key).cloned());
        entry.filter(|entry| entry.role == Role::Live)
    }
}

pub(super) fn missing(step: &Step) -> Trouble {
    let message = format!("the record that {} starts from is not in the state", step.address);
    Trouble::new("RecordMissing", message).hint("run epid up again")
}
