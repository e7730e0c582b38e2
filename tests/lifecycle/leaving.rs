//! What leaves when, beside what changes: each of these was found by the oracle of plans.

use epid::graph::ResourceGraph;
use epid::plan::{Mode, Observations, Selection};
use epid::state::Role;
use epid_fake::fault::Api;
use epid_fake::{Effect, Fault};

use crate::stack::{Ran, Stack, actions, on_clock, urn};

/// What two programs do one after the other.
async fn changed(before: &str, after: &str) -> (Stack, Ran) {
    let stack = Stack::new();
    stack.up(before).await;
    let ran = stack.up(after).await;
    (stack, ran)
}

#[test]
fn what_needs_something_no_more_is_changed_before_that_goes_first() {
    on_clock(async {
        let text = |shape: &str, uses: &str| {
            format!(
                r#"{{"a": {{"type": "Item", "properties": {{"name": "a", "shape": "{shape}"}}}},
                     "b": {{"type": "Item", "properties": {{"uses": [{uses}]}}}}}}"#
            )
        };
        let (_, ran) = changed(&text("round", r#""${a.id}""#), &text("square", "")).await;
        assert_eq!(ran.did(), ["Updated b", "Vacated a", "Replaced a"]);
    });
}

#[test]
fn a_name_is_free_before_another_takes_it() {
    on_clock(async {
        let text = |one: &str, two: &str| {
            format!(
                r#"{{"one": {{"type": "Item", "properties": {{"name": "{one}"}}}},
                     "two": {{"type": "Item", "properties": {{"name": "{two}"}}}}}}"#
            )
        };
        let (stack, ran) = changed(&text("a", "b"), &text("b", "c")).await;
        assert_eq!(
            ran.did(),
            ["Replaced two", "Deleted two", "Replaced one", "Deleted one"]
        );
        let swapped = stack.graph(&text("c", "b"));
        let problems = stack
            .plan_with(&swapped, Mode::Up, &Observations::new(), &Selection::default())
            .unwrap_err();
        assert!(
            problems[0].message.contains("wait for each other"),
            "{problems:?}"
        );
    });
}

#[test]
fn what_goes_first_together_with_something_uncertain_stays_where_that_stays() {
    on_clock(async {
        let text = |fact: &str| {
            format!(
                r#"{{"zone": {{"type": "Lookup", "properties": {{"fact": "{fact}"}}}},
                     "base": {{"type": "Tagged", "properties": {{"shape": "${{zone.found}}"}}}},
                     "on": {{"type": "Item", "properties": {{"name": "on"}}, "options": {{"deletedWith": "base"}}}}}}"#
            )
        };
        let stack = Stack::new();
        for (fact, found) in [("first", "round"), ("same", "round"), ("other", "square")] {
            stack.world.set_fact(fact, found);
        }
        stack.up(&text("first")).await;
        assert_eq!(stack.up(&text("same")).await.did(), ["Read zone"]);
        assert_eq!(
            stack.up(&text("other")).await.did(),
            [
                "Read zone",
                "Replaced base",
                "Vacated on",
                "Replaced on",
                "Deleted base"
            ]
        );
    });
}

#[test]
fn what_perhaps_goes_first_is_not_given_up_with_what_it_was_in() {
    on_clock(async {
        let stack = Stack::new();
        for (fact, found) in [("first", "round"), ("same", "round")] {
            stack.world.set_fact(fact, found);
        }
        let text = |fact: &str, base: &str, with: &str| {
            format!(
                r#"{{"zone": {{"type": "Lookup", "properties": {{"fact": "{fact}"}}}}{base},
                     "on": {{"type": "Item", "properties": {{"name": "on", "shape": "${{zone.found}}"}}, "options": {{{with}}}}}}}"#
            )
        };
        let base = r#", "base": {"type": "Tagged"}"#;
        stack.up(&text("first", base, r#""deletedWith": "base""#)).await;
        let ran = stack.up(&text("same", "", "")).await;
        assert_eq!(ran.did(), ["Read zone", "Recorded on", "Deleted base"]);
    });
}

#[test]
fn what_is_retained_does_not_stay_in_what_is_deleted_first() {
    on_clock(async {
        let text = |value: &str| {
            format!(
                r#"{{"box": {{"type": "Box", "properties": {{"name": "box", "value": "{value}"}}, "options": {{"replaceOnChanges": ["value"]}}}},
                     "kept": {{"type": "Child", "properties": {{"box": "${{box.name}}", "name": "kept"}}, "options": {{"retainOnDelete": true}}}}}}"#
            )
        };
        let stack = Stack::new();
        stack.up(&text("1")).await;
        let graph = stack.graph(&text("2"));
        let problems = stack
            .plan_with(&graph, Mode::Up, &Observations::new(), &Selection::default())
            .unwrap_err();
        assert_eq!(
            problems[0].message,
            "`kept` is retained, but `box`, which it is in, would be deleted"
        );
    });
}

#[test]
fn what_was_replaced_stays_while_something_outside_of_the_run_may_need_it() {
    on_clock(async {
        let mut stack = Stack::new();
        let text = |shape: &str| {
            format!(
                r#"{{"a": {{"type": "Tagged", "properties": {{"shape": "{shape}"}}}},
                     "b": {{"type": "Item", "properties": {{"uses": ["${{a.id}}"]}}}}}}"#
            )
        };
        stack.up(&text("round")).await;
        stack.world.fault(Fault::new(Effect::Refuse).api(Api::Update));
        assert_eq!(stack.run(&text("square")).await.failed().len(), 1);
        stack.restart();
        let graph = stack.graph(&text("square"));
        let only = |name: &str| Selection {
            targets: vec![name.parse().unwrap()],
            ..Selection::default()
        };
        let plan = |selection: Selection| {
            stack
                .plan_with(&graph, Mode::Up, &Observations::new(), &selection)
                .unwrap()
        };
        assert_eq!(actions(&plan(only("a"))), Vec::<String>::new());
        assert_eq!(actions(&plan(Selection::default())), ["Update b", "Delete a"]);
        let old = |entry: &&std::sync::Arc<epid::state::Entry>| entry.role == Role::Condemned;
        assert_eq!(stack.snapshot().of(&urn("Tagged", "a")).filter(old).count(), 1);
    });
}

/// A cluster for each name, and a provider that connects to the first of them.
fn clusters(names: &[&str], more: &str) -> String {
    let cluster = |name: &&str| {
        format!(
            r#", "{name}": {{"type": "Cluster", "properties": {{"name": "{name}"}}, "options": {{"provider": "outer"}}}}"#
        )
    };
    let first = names[0];
    format!(
        r#"{{"$providers": {{"outer": {{}}, "inner": {{"properties": {{"cluster": "${{{first}.id}}"}}}}}}{}{more}}}"#,
        names.iter().map(cluster).collect::<String>()
    )
}

#[test]
fn a_connection_moves_off_a_cluster_that_leaves_with_what_was_in_it() {
    on_clock(async {
        let x = |provider: &str| {
            format!(
                r#", "x": {{"type": "Item", "properties": {{"name": "x"}}, "options": {{"provider": "{provider}"}}}}"#
            )
        };
        let (stack, ran) = changed(&clusters(&["old"], &x("inner")), &clusters(&["new"], &x("outer"))).await;
        assert_eq!(
            ran.did(),
            ["Replaced x", "Created new", "Deleted old", "Dropped inner"]
        );
        stack.destroy().await;
    });
}

#[test]
fn two_clusters_leave_though_something_in_the_first_could_not_be_deleted() {
    on_clock(async {
        let mut stack = Stack::new();
        let x = r#", "x": {"type": "Tagged", "options": {"provider": "inner"}}"#;
        stack.up(&clusters(&["old", "new"], x)).await;
        stack.world.fault(Fault::new(Effect::Refuse).api(Api::Delete));
        assert_eq!(stack.run(&clusters(&["new", "old"], x)).await.failed().len(), 1);
        stack.restart();
        stack.destroy().await;
        assert_eq!(stack.world.things(), Vec::new());
    });
}

#[test]
fn what_refers_to_something_deeper_in_the_same_cluster_dies_with_it_all_the_same() {
    on_clock(async {
        let stack = Stack::new();
        let inside = r#", "box": {"type": "Box", "properties": {"name": "box"}, "options": {"provider": "inner"}},
            "child": {"type": "Child", "properties": {"box": "${box.name}", "name": "child"}, "options": {"provider": "inner"}},
            "beside": {"type": "Item", "properties": {"value": "${child.id}"}, "options": {"provider": "inner"}}"#;
        stack.up(&clusters(&["c"], inside)).await;
        let plan = stack.plan(&ResourceGraph::empty(), Mode::Destroy);
        assert_eq!(actions(&plan), ["Delete c", "Drop outer"]);
        stack.destroy().await;
    });
}

#[test]
fn what_moves_into_a_cluster_that_goes_first_goes_before_it_where_it_died_with_it() {
    on_clock(async {
        let text = |version: &str, inner: &str, options: &str| {
            format!(
                r#"{{"$providers": {{"outer": {{}}{inner}}},
                     "c": {{"type": "Cluster", "properties": {{"name": "c", "version": "{version}"}},
                           "options": {{"provider": "outer", "replaceOnChanges": ["version"]}}}},
                     "x": {{"type": "Tagged", "options": {{{options}}}}}}}"#
            )
        };
        let inner = r#", "inner": {"properties": {"cluster": "${c.id}"}}"#;
        let stack = Stack::new();
        stack
            .up(&text("1", "", r#""provider": "outer", "deletedWith": "c""#))
            .await;
        let ran = stack.run(&text("2", inner, r#""provider": "inner""#)).await;
        assert!(ran.outcome.is_success(), "{:#?}", ran.outcome);
        assert_eq!(ran.did(), ["Vacated c", "Replaced c", "Replaced x"]);
    });
}

#[test]
fn what_its_container_took_is_made_in_the_next_one() {
    on_clock(async {
        let text = |value: &str, name: &str| {
            format!(
                r#"{{"base": {{"type": "Box", "properties": {{"name": "base", "value": "{value}"}}, "options": {{"replaceOnChanges": ["value"]}}}},
                     "{name}": {{"type": "Box", "properties": {{"name": "{name}", "value": "${{base.id}}"}}}},
                     "t": {{"type": "Child", "properties": {{"box": "${{{name}.name}}", "name": "t"}}}}}}"#
            )
        };
        let (stack, ran) = changed(&text("1", "one"), &text("2", "two")).await;
        assert_eq!(
            ran.did(),
            [
                "Deleted one",
                "Vacated base",
                "Replaced base",
                "Created two",
                "Replaced t"
            ]
        );
        assert_eq!(stack.world.of("Child").len(), 1);
    });
}

#[test]
fn a_chain_of_deletes_keeps_its_order_after_another_one() {
    on_clock(async {
        let text = |shape: &str| {
            format!(
                r#"{{"src": {{"type": "Item", "properties": {{"name": "src", "shape": "{shape}"}}}},
                     "mid": {{"type": "epid:data:Value", "properties": {{"value": "${{src.id}}"}}}},
                     "low": {{"type": "Item", "properties": {{"name": "low", "shape": "${{mid.value}}"}}}},
                     "high": {{"type": "Item", "properties": {{"name": "high", "shape": "${{low.id}}", "uses": ["${{low.id}}"]}}}}}}"#
            )
        };
        let (_, ran) = changed(&text("round"), &text("square")).await;
        assert_eq!(
            ran.did(),
            [
                "Vacated src",
                "Replaced src",
                "Updated mid",
                "Vacated high",
                "Vacated low",
                "Replaced low",
                "Replaced high"
            ]
        );
    });
}
