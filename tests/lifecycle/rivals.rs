//! What bit other engines, where no other test is about it.

use epid::graph::ResourceGraph;
use epid::observe::Depth;
use epid::plan::{Mode, Selection};
use epid_fake::fault::Api;
use epid_fake::{Effect, Fault};

use crate::stack::{Stack, actions, on_clock, urn};

#[test]
fn a_read_that_fails_is_never_taken_for_gone() {
    on_clock(async {
        let mut stack = Stack::new();
        let text = r#"{"a": {"type": "Item", "properties": {"value": "1"}}, "b": {"type": "Item", "properties": {"value": "${a.id}"}}}"#;
        stack.up(text).await;
        stack
            .world
            .fault(Fault::new(Effect::Refuse).api(Api::Observe).path("a").nth(0));
        let graph = stack.graph(text);
        let seen = stack.look(&graph, Depth::Refresh).await;
        let failed: Vec<&str> = seen.failed.iter().map(|(urn, _)| urn.path()).collect();
        assert_eq!(failed, ["a"]);
        assert!(!seen.found.contains_key(&urn("Item", "a")), "{seen:?}");
        let plan = stack
            .plan_with(&graph, Mode::Up, &seen.found, &Selection::default())
            .unwrap();
        assert!(plan.is_empty() && plan.drift.is_empty(), "{:?}", actions(&plan));
        // Nor is it left behind by a destroy that could not look.
        let plan = stack.plan_destroy(&seen.found, &Selection::default());
        assert_eq!(actions(&plan), ["Delete b", "Delete a", "Drop fake"]);
        stack.restart();
        assert!(stack.apply(plan).await.outcome.is_success());
        assert!(stack.world.things().is_empty());
    });
}

#[test]
fn a_run_without_changes_records_what_is_retained_and_new_edges() {
    on_clock(async {
        let stack = Stack::new();
        let text = |retained: bool, edge: &str| {
            format!(
                r#"{{"a": {{"type": "Item"}}, "b": {{"type": "Item", "options": {{"dependsOn": [{edge}]}}}},
                     "kept": {{"type": "Item", "options": {{"retainOnDelete": {retained}}}}}}}"#
            )
        };
        stack.up(&text(false, "")).await;
        let calls = stack.world.calls().len();
        let ran = stack.up(&text(true, "\"a\"")).await;
        assert_eq!(ran.did(), ["Recorded b", "Recorded kept"]);
        let sent = stack.world.calls().split_off(calls);
        assert!(sent.iter().all(|(api, _)| *api == Api::Connect), "{sent:?}");
        // The program is gone, and what was recorded holds.
        let plan = stack.plan(&ResourceGraph::empty(), Mode::Destroy);
        let ran = stack.apply(plan).await;
        assert!(ran.outcome.is_success());
        let did = ran.did();
        let at = |what: &str| did.iter().position(|did| did == what);
        assert!(at("Deleted b").unwrap() < at("Deleted a").unwrap(), "{did:?}");
        assert_eq!(at("Deleted kept"), None, "{did:?}");
        assert_eq!(stack.world.things().len(), 1);
    });
}
