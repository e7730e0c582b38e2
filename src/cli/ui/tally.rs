//! What people count: the resources of a state, and what becomes of them in a plan.

use std::collections::HashSet;

use epid_provider::Urn;

use crate::graph::{PROVIDER_KIND, provider_type};
use crate::plan::{Action, Plan, Step};
use crate::state::{Role, Snapshot};

/// What a plan comes to, by what people count.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tally {
    pub(crate) create: usize,
    pub(crate) update: usize,
    pub(crate) replace: usize,
    pub(crate) delete: usize,
    pub(crate) import: usize,
    pub(crate) adopt: usize,
    pub(crate) read: usize,
    pub(crate) forget: usize,
    pub(crate) record: usize,
    /// Providers are no resources: people count them apart.
    pub(crate) record_providers: usize,
    pub(crate) unchanged: usize,
    pub(crate) drifted: usize,
}

/// How many resources a state holds, counted as those of a plan are: lookups too, and what was replaced and is to be deleted;
/// no provider, and nothing that is gone.
pub(crate) fn resources(snapshot: &Snapshot) -> usize {
    let exists = |role: Role| role != Role::Vacant;
    let entries = snapshot.entries.values();
    entries
        .filter(|entry| exists(entry.role) && provider_type(&entry.record.kind).is_none())
        .count()
}

/// What people count of what leaves with the resource of a step.
pub(super) fn dies_with(step: &Step) -> impl Iterator<Item = &Urn> {
    let urns = step.takes.iter().map(|key| &key.urn);
    urns.filter(|urn| **urn != step.target.urn && !urn.kind().starts_with(PROVIDER_KIND))
}

/// Counts what a plan does. A resource in the keeping of a deleted container counts as deleted too.
pub(crate) fn tally(plan: &Plan, steps: &[&Step]) -> Tally {
    let mut tally = Tally {
        unchanged: plan.unchanged,
        drifted: plan.drift.len(),
        ..Tally::default()
    };
    let mut taken = HashSet::new();
    for step in steps {
        match shown_action(step) {
            Action::Create => tally.create += 1,
            Action::Update => tally.update += 1,
            Action::Replace | Action::Refill | Action::Decide | Action::Vacate => tally.replace += 1,
            Action::Delete => tally.delete += 1,
            Action::Connect => tally.update += 1,
            Action::Drop if step.gone => tally.forget += 1,
            Action::Nothing | Action::Drop => {}
            Action::Read => tally.read += 1,
            Action::Import => tally.import += 1,
            Action::Adopt => tally.adopt += 1,
            Action::Forget => tally.forget += 1,
            Action::Record if provider_type(&step.kind).is_some() => tally.record_providers += 1,
            Action::Record => {
                tally.record += 1;
                // A plan counts it as unchanged, as nothing of it changes in a cloud.
                tally.unchanged = tally.unchanged.saturating_sub(usize::from(!step.gone));
            }
        }
        taken.extend(dies_with(step));
    }
    tally.delete += taken.len();
    // What is drifted and left as it is counts as that alone.
    let told: HashSet<_> = steps.iter().map(|step| &step.target.urn).collect();
    let left = plan
        .drift
        .iter()
        .filter(|drift| !drift.gone && !told.contains(&drift.urn));
    tally.unchanged = tally.unchanged.saturating_sub(left.count());
    tally
}

/// What a step does as far as that is known: to adopt what is not there is to make it.
pub(super) fn shown_action(step: &Step) -> Action {
    if step.makes() { Action::Create } else { step.action }
}
