//! The plan that was shown is a bound: what is executed does the same or less.

use std::collections::BTreeMap;

use epid_provider::Urn;

use super::ui::principal;
use crate::plan::{Action, Plan};

/// How much an action changes.
fn strength(action: Action) -> u8 {
    match action {
        Action::Nothing | Action::Connect | Action::Read => 0,
        Action::Record | Action::Drop => 1,
        Action::Update => 2,
        Action::Create | Action::Import | Action::Adopt => 3,
        Action::Forget => 4,
        Action::Replace | Action::Refill | Action::Decide | Action::Vacate => 5,
        Action::Delete => 6,
    }
}

/// The resources for which `new` does more than `shown` promised.
pub(crate) fn beyond<'a>(shown: &Plan, new: &'a Plan) -> Vec<&'a Urn> {
    let promised: BTreeMap<&Urn, u8> = principal(shown)
        .into_iter()
        .map(|s| (&s.target.urn, strength(s.action)))
        .collect();
    principal(new)
        .into_iter()
        .filter(|step| {
            let promised = promised.get(&step.target.urn).copied().unwrap_or(0);
            // What only the record learns harms nobody.
            strength(step.action) > promised.max(1)
        })
        .map(|step| &step.target.urn)
        .collect()
}
