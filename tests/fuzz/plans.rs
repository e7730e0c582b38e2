//! Saved plans.

use epid::plan::Plan;
use epid_provider::Value;
use proptest::prelude::*;

use crate::texts::{cases, change, changed};
use crate::world::{WORLD, unsealed};

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(64), max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_plan_is_read_or_refused(changes in prop::collection::vec(change(), 1..4)) {
        drop(serde_json::from_str::<Plan>(&changed(&WORLD.plan, &changes)));
    }


    #[test]
    fn a_changed_sealed_plan_is_refused(changes in prop::collection::vec(change(), 1..4)) {
        let text = changed(&WORLD.sealed, &changes);
        let found = unsealed(&WORLD.keys(), text.trim());
        prop_assert!(found.is_err() || text.trim() == WORLD.sealed.trim());
    }
}

#[test]
fn bombs_are_refused() {
    let json = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(serde_json::from_str::<Value>(&json).is_err());
    assert!(serde_json::from_str::<Plan>(&json).is_err());
}
