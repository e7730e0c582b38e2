//! The plan that was shown is a bound: what is executed does the same or less.

use std::collections::{BTreeMap, BTreeSet};

use epid_provider::Urn;

use super::ui::principal;
use crate::plan::{Action, Drift, Plan, Promises, Step};

/// How much an action changes.
fn strength(action: Action) -> u8 {
    match action {
        Action::Nothing | Action::Connect | Action::Read => 0,
        Action::Record | Action::Drop => 1,
        Action::Update => 2,
        Action::Create | Action::Import | Action::Adopt => 3,
        Action::Forget => 4,
        Action::Replace => 5,
        Action::Refill | Action::Decide | Action::Vacate => 6,
        Action::Delete => 7,
    }
}

/// The resources for which `new` does more than `shown` promised: something stronger, or a change at another path.
pub(crate) fn beyond<'a>(shown: &Plan, new: &'a Plan) -> Vec<&'a Urn> {
    let promised: BTreeMap<(&Urn, bool), &Step> = principal(shown)
        .into_iter()
        .map(|step| ((&step.target.urn, step.leftover), step))
        .collect();
    let within = |step: &Step| {
        // What only the record learns harms nobody.
        if strength(step.action) <= 1 {
            return true;
        }
        let Some(promise) = promised.get(&(&step.target.urn, step.leftover)) else {
            return false;
        };
        // What is there is what was shown, where it was seen.
        let takes_over = matches!(step.action, Action::Import | Action::Adopt);
        if takes_over && promise.found.is_some() && step.found != promise.found {
            return false;
        }
        let promises = Promises::new(&promise.changes);
        // Whoever makes something promises all of it.
        let whole = promise.action == Action::Create
            || promise.makes()
            || !(takes_over || matches!(step.action, Action::Update | Action::Replace | Action::Refill));
        strength(step.action) <= strength(promise.action)
            && (whole
                || step
                    .changes
                    .iter()
                    .all(|change| promises.of(&change.path).is_some()))
    };
    let leave = |plan: &Plan| -> BTreeSet<Urn> {
        let steps = plan.steps.iter().filter(|step| step.action.removes());
        let taken = steps.flat_map(|step| step.takes.iter().chain([&step.target]));
        taken.map(|key| key.urn.clone()).collect()
    };
    let shown_to_leave = leave(shown);
    let takes_more = |step: &Step| {
        let mut taken = step.takes.iter().filter(|_| step.action.removes());
        taken.any(|key| !shown_to_leave.contains(&key.urn))
    };
    let within = |step: &Step| within(step) && !takes_more(step);
    let steps = principal(new).into_iter();
    steps
        .filter(|step| !within(step))
        .map(|step| &step.target.urn)
        .collect()
}

/// The resources of which `new` tells drift that was not shown: who accepts drift accepts what they saw.
pub(crate) fn unseen<'a>(shown: &Plan, new: &'a Plan) -> Vec<&'a Urn> {
    let was_shown = |drift: &Drift| {
        let mut same = shown
            .drift
            .iter()
            .filter(|seen| (&seen.urn, seen.gone, &seen.mark) == (&drift.urn, drift.gone, &drift.mark));
        let covers = |seen: &Drift| drift.changes.iter().all(|change| seen.changes.contains(change));
        same.any(covers)
    };
    let unseen = new.drift.iter().filter(|drift| !was_shown(drift));
    unseen.map(|drift| &drift.urn).collect()
}
