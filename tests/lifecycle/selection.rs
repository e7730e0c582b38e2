//! Runs that are limited to some resources: the rest stays as it is, and nothing is pulled from under it.

use epid::graph::ResourceGraph;
use epid::plan::{Mode, Observations, Selection};

use crate::stack::{Stack, actions, on_clock};

const CHAIN: &str = r#"{
    "net": {"type": "Network", "properties": {"range": "1"}},
    "sub": {"type": "Subnet", "properties": {"network": "${net.id}", "range": "1"}},
    "alone": {"type": "Item", "properties": {"value": "1"}},
    "$outputs": {"alone": "${alone.id}", "sub": "${sub.id}"}
}"#;

fn select(targets: &[&str], excludes: &[&str]) -> Selection {
    let all = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
    Selection {
        targets: all(targets),
        excludes: all(excludes),
        replace: Vec::new(),
    }
}

fn problems(stack: &Stack, graph: &ResourceGraph, mode: Mode, selection: &Selection) -> Vec<String> {
    let problems = stack
        .plan_with(graph, mode, &Observations::new(), selection)
        .unwrap_err();
    problems.into_iter().map(|problem| problem.message).collect()
}

#[test]
fn a_first_run_of_one_resource_succeeds_without_the_outputs_of_the_others() {
    on_clock(async {
        let stack = Stack::new();
        let graph = stack.graph(CHAIN);
        let plan = stack
            .plan_with(&graph, Mode::Up, &Observations::new(), &select(&["alone"], &[]))
            .unwrap();
        let ran = stack.apply(plan).await;
        assert!(ran.outcome.is_success(), "{:?}", ran.outcome);
        assert_eq!(ran.did(), ["Created alone"]);
        let outputs: Vec<String> = ran.outcome.outputs.keys().map(|name| name.to_string()).collect();
        assert_eq!(outputs, ["alone"]);
    });
}

#[test]
fn nothing_is_removed_under_what_a_run_leaves_alone() {
    on_clock(async {
        let stack = Stack::new();
        stack.up(CHAIN).await;
        let empty = ResourceGraph::empty();
        assert_eq!(
            problems(&stack, &empty, Mode::Destroy, &select(&["net"], &[])),
            ["`net` would be removed, but `sub`, which this run leaves alone, needs it"]
        );
        let changed = stack.graph(&CHAIN.replace(r#"{"range": "1"}"#, r#"{"range": "2"}"#));
        assert_eq!(
            problems(&stack, &changed, Mode::Up, &select(&["net"], &[])),
            ["`net` would be removed, but `sub`, which this run leaves alone, needs it"]
        );
    });
}

#[test]
fn what_an_excluded_resource_stands_on_stays() {
    on_clock(async {
        let stack = Stack::new();
        stack.up(CHAIN).await;
        let plan = stack.plan_destroy(&Observations::new(), &select(&[], &["sub"]));
        assert_eq!(actions(&plan), ["Delete alone"]);
        stack.apply(plan).await;
        assert_eq!(
            stack.world.of("Subnet").len() + stack.world.of("Network").len(),
            2
        );
        stack.destroy().await;
    });
}

#[test]
fn what_is_retained_cannot_be_in_what_is_deleted() {
    on_clock(async {
        let stack = Stack::new();
        let text = r#"{
            "box": {"type": "Box", "properties": {"name": "box"}},
            "kept": {"type": "Child", "properties": {"box": "${box.name}", "name": "kept"}, "options": {"retainOnDelete": true}}
        }"#;
        stack.up(text).await;
        assert_eq!(
            problems(&stack, &ResourceGraph::empty(), Mode::Destroy, &select(&[], &[])),
            ["`kept` is retained, but `box`, which it is in, would be deleted"]
        );
    });
}

#[test]
fn a_part_that_is_removed_leaves_the_outputs() {
    on_clock(async {
        let stack = Stack::new();
        stack.up(CHAIN).await;
        let plan = stack.plan_destroy(&Observations::new(), &select(&["alone"], &[]));
        let ran = stack.apply(plan).await;
        assert_eq!(ran.did(), ["Deleted alone"]);
        assert_eq!(ran.outcome.outputs.len(), 2);
    });
}

#[test]
fn a_resource_may_be_named_twice() {
    on_clock(async {
        let stack = Stack::new();
        let graph = stack.graph(CHAIN);
        let twice = select(&["alone", "al*"], &["sub", "sub"]);
        let plan = stack
            .plan_with(&graph, Mode::Up, &Observations::new(), &twice)
            .unwrap();
        assert_eq!(actions(&plan), ["Create alone"]);
        let unknown = select(&["alone", "alne"], &[]);
        assert_eq!(
            problems(&stack, &graph, Mode::Up, &unknown),
            ["no resource is called `alne`"]
        );
    });
}
