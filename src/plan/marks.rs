//! Whose things are, by the marks they bear in the cloud.

use std::time::Duration;

use epid_provider::{Change, Observed, Owner, Present, Replace};

use super::planner::{Decided, Planner, Refresh};
use super::problem::PlanProblem;
use super::step::{Action, Drift, Found, LostMark, StepId};
use crate::graph::{Known, Node};
use crate::state::Entry;

/// What to do about a resource that another stack has.
pub(crate) const ANOTHERS: &str = "refer to that stack's outputs, or let go of it there: `epid state rm`, out of its program, and its \
                        mark (`epid:lineage`, `epid.dev/lineage`) removed in the cloud";

impl Planner<'_> {
    /// The owner, where that is another stack: told as its resource or its lineage.
    fn stranger<'p>(&self, present: &'p Present) -> Option<&'p str> {
        let owner = present.owner.as_ref()?;
        (owner.lineage != self.request.snapshot.header.lineage).then(|| told(owner))
    }

    /// What became of the mark of a recorded resource. What no connection made bears none.
    fn lost_mark(&self, entry: &Entry, present: &Present) -> Option<LostMark> {
        entry.provider.as_ref()?;
        match (&present.owner, self.stranger(present)) {
            (None, _) => Some(LostMark::Removed),
            (_, Some(whose)) => Some(LostMark::Another(whose.into())),
            _ => None,
        }
    }

    /// [`Planner::lost_mark`] of what was seen, which is drift unless it is known already that there is none.
    pub(super) fn mark_drift(&mut self, node: &Node, entry: &Entry, present: &Present) -> Option<LostMark> {
        let mark = self.lost_mark(entry, present)?;
        if !(entry.unmarked && mark == LostMark::Removed) {
            self.drift.push(Drift {
                urn: node.urn.clone(),
                gone: false,
                mark: Some(mark.clone()),
                changes: Vec::new(),
            });
        }
        Some(mark)
    }

    /// True where a record that is to leave is of something that another stack has: that stays.
    pub(super) fn is_anothers(&mut self, entry: &Entry) -> bool {
        let Some(Observed::Present(present)) = self.request.observed.get(entry.urn()) else {
            return false;
        };
        let Some(mark @ LostMark::Another(_)) = self.lost_mark(entry, present) else {
            return false;
        };
        self.drift.push(Drift {
            urn: entry.urn().clone(),
            gone: false,
            mark: Some(mark),
            changes: Vec::new(),
        });
        true
    }

    /// A resource that another stack has is left alone; that a run would change it is a problem. A refresh records that it
    /// bears no mark of this stack, so that no later run sends anything before it looked again.
    pub(super) fn leave_alone(
        &mut self,
        node: &Node,
        entry: &Entry,
        whose: &str,
        changes: bool,
        after: Vec<StepId>,
    ) -> Decided {
        if changes {
            let (address, id) = (&node.address, &entry.record.id);
            let message = format!(
                "`{address}` ({id}) belongs to another stack now ({whose}), so this run may not change it"
            );
            let name = quoted(entry.urn().path());
            let hint = format!("`epid state rm {name}` lets go of it here; then {ANOTHERS}");
            self.problems
                .push(PlanProblem::new(Some(&node.urn), node.span, message).hint(hint));
        }
        self.unchanged += 1;
        let mut kept = Decided::plain(Known::recorded(&entry.record, Some(node.schema.clone())), None);
        if self.request.refresh == Refresh::Record && !entry.unmarked {
            self.record_unmarked(node, entry, &mut kept, after);
        } else if !after.is_empty() {
            let target = self.same(node, entry);
            let mut step = self.step(node, Action::Nothing, target, after);
            step.expected = Duration::ZERO;
            kept.step = Some(self.push(step));
        }
        kept
    }

    /// The record of what has lost its mark says so: the next run marks it, unless another stack has it.
    pub(super) fn record_unmarked(
        &mut self,
        node: &Node,
        entry: &Entry,
        kept: &mut Decided,
        after: Vec<StepId>,
    ) {
        let id = *kept.step.get_or_insert_with(|| {
            let step = self.step(node, Action::Record, self.same(node, entry), after);
            self.push(step)
        });
        if let Some(step) = self.steps.get_mut(id as usize) {
            (step.action, step.unmarked) = (Action::Record, true);
            step.expected = Duration::ZERO;
        }
    }

    /// What a look found where a resource is to be imported or adopted; problems where it cannot be.
    pub(super) fn found(&mut self, node: &Node, present: &Present, changes: &[Change]) -> Found {
        let (address, id) = (&node.address, &present.id);
        let verb = if node.options.import.is_some() {
            "import"
        } else {
            "adopt"
        };
        let mut problem = |message: String, hint: &str| {
            self.problems
                .push(PlanProblem::new(Some(&node.urn), node.span, message).hint(hint));
        };
        let lineage = &self.request.snapshot.header.lineage;
        let owner = present.owner.as_ref();
        if let Some(owner) = owner.filter(|owner| owner.lineage != *lineage) {
            let whose = told(owner);
            problem(
                format!("`{address}` cannot {verb} {id}, which belongs to another stack ({whose})"),
                ANOTHERS,
            );
        }
        // What is not known yet may come to what is there.
        let certain = |change: &&Change| change.replace != Replace::No && !change.after.has_unknown();
        let fixed = changes.iter().filter(certain);
        let fixed: Vec<String> = fixed
            .map(|c| format!("{} is {} and would have to be {}", c.path, c.before, c.after))
            .collect();
        if !fixed.is_empty() {
            let all = fixed.join("; ");
            problem(
                format!("`{address}` cannot {verb} {id} as declared: {all}"),
                "declare it as it is, and change it afterwards",
            );
        }
        Found {
            id: Some(id.clone()),
            marked: owner.is_some(),
        }
    }
}

/// An owner in the words of people.
pub(crate) fn told(owner: &Owner) -> &str {
    owner.urn.as_ref().map_or(&owner.lineage, |urn| urn.as_str())
}

/// An address or id as a word for a shell.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
