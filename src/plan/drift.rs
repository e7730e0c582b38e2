//! What others changed, and what of it stays.

use std::collections::{HashMap, HashSet};

use epid_provider::{Change, Diff, Observed, Op, Path, Present, Replace, Urn, Value};

use super::desired::{covered, shown};
use super::planner::{Planner, Refresh, Request};
use super::step::Drift;
use crate::graph::{Node, at, overlay, provider_type};
use crate::state::{Entry, Role};

impl<'a> Planner<'a> {
    /// Adds drift to the plan. True where an update has to put something back that the program did not change; and what
    /// is accepted instead.
    pub(super) fn drifted(
        &mut self,
        node: &Node,
        entry: &Entry,
        present: &Present,
        desired: &Value,
        diff: &mut Diff,
    ) -> (bool, Vec<(Path, Value)>) {
        let Some(provider) = self.request.providers.of(&node.kind) else {
            return (false, Vec::new());
        };
        let mut drift = provider.drift(&entry.record, present);
        drift
            .changes
            .retain(|change| !covered(&node.options.ignore_changes, &change.path));
        if drift.is_empty() {
            return (false, Vec::new());
        }
        self.drift.push(Drift {
            urn: node.urn.clone(),
            gone: false,
            mark: None,
            changes: shown(&drift.changes),
        });
        if self.request.refresh != Refresh::Undo {
            let seen = drift
                .changes
                .into_iter()
                .map(|change| (change.path, change.after));
            let asked = |path: &Path| diff.changes.iter().any(|c| c.path == *path);
            return (false, seen.filter(|(path, _)| !asked(path)).collect());
        }
        for change in drift.changes {
            if diff.changes.iter().any(|c| c.path == change.path) {
                continue;
            }
            let after = at(desired, change.path.segments());
            let op = if after.is_null() { Op::Remove } else { Op::Change };
            diff.changes.push(Change {
                path: change.path,
                op,
                before: change.after,
                after,
                replace: Replace::No,
            });
        }
        (true, Vec::new())
    }
}

/// What was seen to be absent, and everything in it.
pub(super) fn gone(request: &Request<'_>) -> HashSet<Urn> {
    let absent = |(urn, seen): (&Urn, &Observed)| matches!(seen, Observed::Absent).then(|| urn.clone());
    let mut open: Vec<Urn> = request.observed.iter().filter_map(absent).collect();
    let mut inside: HashMap<&Urn, Vec<&Urn>> = HashMap::new();
    if !open.is_empty() {
        let entries = request.snapshot.entries.values();
        for entry in entries.filter(|e| e.role == Role::Live && provider_type(&e.record.kind).is_none()) {
            if let Some(container) = &entry.deleted_with {
                inside.entry(container).or_default().push(entry.urn());
            }
        }
    }
    let mut gone = HashSet::new();
    while let Some(urn) = open.pop() {
        open.extend(inside.remove(&urn).into_iter().flatten().cloned());
        gone.insert(urn);
    }
    gone
}

/// Ignored paths keep what was applied; so does accepted drift, until the program says something else than when it was
/// accepted.
pub(super) fn settle(node: &Node, entry: &Entry, desired: Value) -> (Value, Vec<(Path, Value)>) {
    let mut settled = desired;
    let mut overrides = Vec::new();
    let ignored = node
        .options
        .ignore_changes
        .iter()
        .map(|p| (p, at(&entry.record.applied, p.segments())));
    let accepted = entry.overrides.iter().filter_map(|(path, said)| {
        let unchanged = at(&settled, path.segments()) == *said;
        unchanged.then(|| (path, at(&entry.record.applied, path.segments())))
    });
    let all: Vec<(Path, Value)> = ignored.chain(accepted).map(|(p, v)| (p.clone(), v)).collect();
    for (path, value) in all {
        settled = overlay(&settled, path.segments(), &value);
        overrides.push((path, value));
    }
    (settled, overrides)
}
