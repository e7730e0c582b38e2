//! Create, update, delete, and nothing.

use epid::apply::{Did, Event, PlanRefused};
use epid::observe::Depth;
use epid::plan::{Mode, Refresh, Selection};
use epid_fake::Api;
use epid_provider::{Observed, Value};

use crate::stack::{Stack, actions, on_clock, urn};

const NETWORK: &str = r#"{
    "net": {"type": "Network", "properties": {"range": "10.0"}},
    "sub": {"type": "Subnet", "properties": {"network": "${net.id}", "range": "10.0.1"}},
    "web": {"type": "Item", "properties": {"name": "web", "value": "${sub.endpoint}", "uses": ["${sub.id}"]}},
    "$outputs": {"where": "${web.endpoint}"}
}"#;

#[test]
fn resources_are_made_in_order_and_removed_in_reverse() {
    on_clock(async {
        let stack = Stack::new();
        let ran = stack.up(NETWORK).await;
        assert_eq!(ran.did(), ["Created net", "Created sub", "Created web"]);
        assert_eq!(
            ran.outcome.outputs.get("where"),
            Some(&Value::str("https://item-3.fake"))
        );
        let again = stack.run(NETWORK).await;
        assert_eq!(again.did(), Vec::<String>::new());
        assert_eq!(
            stack.snapshot().header.serial,
            1,
            "a run that does nothing changes no state"
        );
        let gone = stack.destroy().await;
        assert_eq!(
            gone.did(),
            ["Deleted web", "Deleted sub", "Deleted net", "Dropped fake"]
        );
        assert!(stack.world.things().is_empty());
    });
}

#[test]
fn a_change_updates_in_place_and_what_depends_on_it_hears_of_it_only_where_it_must() {
    on_clock(async {
        let stack = Stack::new();
        let text = |value: &str| {
            format!(
                r#"{{"a": {{"type": "Item", "properties": {{"name": "a", "value": "{value}"}}}},
                     "stable": {{"type": "Item", "properties": {{"value": "${{a.endpoint}}"}}}},
                     "moving": {{"type": "Item", "properties": {{"value": "${{a.version}}"}}}}}}"#
            )
        };
        stack.up(&text("one")).await;
        let ran = stack.up(&text("two")).await;
        assert_eq!(ran.did(), ["Updated a", "Updated moving"]);
        assert_eq!(stack.world.at("a")[0].text("value"), "two");
        assert_eq!(stack.world.count(Api::Update), 2);
    });
}

#[test]
fn an_update_that_turns_out_to_change_nothing_is_not_sent() {
    on_clock(async {
        let stack = Stack::new();
        let text = |fact: &str| {
            format!(
                r#"{{"zone": {{"type": "Lookup", "properties": {{"fact": "{fact}"}}}},
                     "b": {{"type": "Item", "properties": {{"value": "${{zone.found}}"}}}}}}"#
            )
        };
        stack.world.set_fact("first", "a");
        stack.world.set_fact("same", "a");
        stack.up(&text("first")).await;
        let ran = stack.up(&text("same")).await;
        assert_eq!(actions(&ran.plan), ["Read zone", "Update b"], "promised");
        assert_eq!(ran.did(), ["Read zone"], "done");
    });
}

#[test]
fn independent_things_are_made_at_the_same_time() {
    on_clock(async {
        let stack = Stack::new();
        let text = r#"{"a": {"type": "Cluster", "properties": {"name": "a"}}, "b": {"type": "Cluster", "properties": {"name": "b"}},
                       "c": {"type": "Cluster", "properties": {"name": "c"}}}"#;
        let ran = stack.up(text).await;
        let ends: Vec<_> = ran
            .events
            .iter()
            .filter_map(|e| {
                if let Event::StepDone {
                    took,
                    did: Did::Created,
                    ..
                } = e
                {
                    Some(took.as_secs())
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(ends, [600, 600, 600]);
        let Some(Event::RunDone { at, .. }) = ran.events.last() else {
            panic!("no end")
        };
        let Some(Event::RunStarted { at: start, .. }) = ran.events.first() else {
            panic!("no start")
        };
        assert_eq!(at.since(*start).as_secs(), 600);
    });
}

#[test]
fn a_mutex_lets_one_at_a_time_through_and_says_who_waits() {
    on_clock(async {
        let stack = Stack::new();
        let text = r#"{"k": {"type": "Cluster", "properties": {"name": "k"}},
                       "a": {"type": "Profile", "properties": {"name": "a", "cluster": "${k.name}"}},
                       "b": {"type": "Profile", "properties": {"name": "b", "cluster": "${k.name}"}}}"#;
        let ran = stack.up(text).await;
        let waits: Vec<&str> = ran
            .events
            .iter()
            .filter_map(|e| {
                if let Event::StepWaiting { waits_for, .. } = e {
                    Some(&**waits_for)
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(waits, ["fake-cluster/k"]);
        stack.destroy().await;
    });
}

#[test]
fn a_lookup_is_read_once_and_pinned() {
    on_clock(async {
        let stack = Stack::new();
        stack.world.set_fact("zone", "a");
        let text = r#"{"zone": {"type": "Lookup", "properties": {"fact": "zone"}},
                       "web": {"type": "Item", "properties": {"value": "${zone.found}"}}}"#;
        let ran = stack.up(text).await;
        assert_eq!(ran.did(), ["Read zone", "Created web"]);
        assert_eq!(stack.world.at("web")[0].text("value"), "a");
        stack.world.set_fact("zone", "b");
        assert_eq!(stack.run(text).await.did(), Vec::<String>::new());
        stack.destroy().await;
    });
}

#[test]
fn a_lookup_that_finds_nothing_fails() {
    on_clock(async {
        let stack = Stack::new();
        let text = r#"{"zone": {"type": "Lookup", "properties": {"fact": "zone"}},
                       "web": {"type": "Item", "properties": {"value": "${zone.found}"}}}"#;
        let ran = stack.run(text).await;
        assert_eq!(ran.failed(), [("zone", "NotFound")].into());
        assert_eq!(ran.skipped(), [("web", "zone")].into());
    });
}

#[test]
fn a_run_over_part_of_a_stack_leaves_the_rest_as_it_is() {
    on_clock(async {
        let stack = Stack::new();
        let text = |v: &str| {
            format!(
                r#"{{"a": {{"type": "Item", "properties": {{"value": "{v}"}}}}, "b": {{"type": "Item", "properties": {{"value": "{v}"}}}}}}"#
            )
        };
        stack.up(&text("1")).await;
        let before = stack.snapshot();
        let selection = Selection {
            targets: vec!["a".parse().unwrap()],
            ..Selection::default()
        };
        let graph = stack.graph(&text("2"));
        let plan = stack
            .plan_with(&graph, Mode::Up, &Default::default(), &selection)
            .unwrap();
        let ran = stack.apply(plan).await;
        assert_eq!(ran.did(), ["Updated a"]);
        let b = urn("Item", "b");
        assert_eq!(stack.snapshot().live(&b), before.live(&b));
    });
}

#[test]
fn drift_is_put_back() {
    on_clock(async {
        let stack = Stack::new();
        let text = r#"{"a": {"type": "Item", "properties": {"value": "mine"}}, "b": {"type": "Item", "properties": {"value": "b"}}}"#;
        stack.up(text).await;
        stack.world.tamper("item-1", "value", "theirs");
        stack.world.vanish("item-2");
        let graph = stack.graph(text);
        let seen = stack.look(&graph, Depth::Refresh).await;
        assert!(seen.failed.is_empty() && seen.found.len() == 2, "{seen:?}");
        assert_eq!(seen.found[&urn("Item", "b")], Observed::Absent);
        let plan = stack
            .plan_with(&graph, Mode::Up, &seen.found, &Selection::default())
            .unwrap();
        let ran = stack.apply(plan).await;
        assert!(ran.outcome.is_success(), "{:?}", ran.outcome);
        assert_eq!(stack.world.at("a")[0].text("value"), "mine");
        assert_eq!(stack.world.at("b").len(), 1);
        assert_eq!(stack.snapshot().entries.len(), 3);
        assert!(stack.plan(&graph, Mode::Up).is_empty());
    });
}

#[test]
fn accepted_drift_holds_until_the_program_says_something_else() {
    on_clock(async {
        let mut stack = Stack::new();
        let text = |value: &str, tag: &str| {
            format!(
                r#"{{"a": {{"type": "Item", "properties": {{"name": "a", "value": "{value}", "tags": ["{tag}"]}}}}}}"#
            )
        };
        stack.up(&text("mine", "x")).await;
        stack.world.tamper("item-1", "value", "theirs");
        stack.refresh = Refresh::Accept;
        let graph = stack.graph(&text("mine", "x"));
        let seen = stack.look(&graph, Depth::Refresh).await;
        let plan = stack
            .plan_with(&graph, Mode::Up, &seen.found, &Selection::default())
            .unwrap();
        assert_eq!(stack.apply(plan).await.did(), ["Recorded a"]);
        stack.refresh = Refresh::Undo;
        let seen = stack.look(&graph, Depth::Refresh).await;
        let plan = stack
            .plan_with(&graph, Mode::Up, &seen.found, &Selection::default())
            .unwrap();
        assert!(plan.is_empty() && plan.drift.is_empty(), "accepted is accepted");
        stack.up(&text("mine", "y")).await;
        assert_eq!(
            stack.world.at("a")[0].text("value"),
            "theirs",
            "another change leaves it"
        );
        stack.up(&text("new", "y")).await;
        assert_eq!(stack.world.at("a")[0].text("value"), "new");
    });
}

#[test]
fn a_plan_for_another_state_is_refused() {
    on_clock(async {
        let stack = Stack::new();
        let old = stack.plan(&stack.graph(NETWORK), Mode::Up);
        stack.up(NETWORK).await;
        let refused = stack
            .with_executor(async |e| e.apply(&old, &mut |_| {}).await)
            .await;
        assert_eq!(
            refused.unwrap_err(),
            PlanRefused::Stale {
                planned: 0,
                actual: 1
            }
        );
        let mut other = stack.plan(&stack.graph(NETWORK), Mode::Up);
        other.header.stack = "prod".into();
        let refused = stack
            .with_executor(async |e| e.apply(&other, &mut |_| {}).await)
            .await;
        assert!(matches!(refused, Err(PlanRefused::OtherStack { .. })));
    });
}

#[test]
fn secrets_stay_secret_in_events_and_reach_the_cloud_in_clear() {
    on_clock(async {
        let stack = Stack::new();
        let ran = stack
            .up(r#"{"a": {"type": "Item", "properties": {"name": "a", "password": "hunter2"}}}"#)
            .await;
        let events = serde_json::to_string(&ran.events).unwrap();
        assert!(!events.contains("hunter2"));
        assert_eq!(stack.world.at("a")[0].text("password"), "hunter2");
        assert!(!format!("{:?}", stack.snapshot().entries).contains("hunter2"));
    });
}
