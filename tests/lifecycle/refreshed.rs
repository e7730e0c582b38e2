//! What a look finds to be gone, or cannot find out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use epid::observe::Depth;
use epid::plan::{Mode, Refresh, Selection};
use epid::state::Role;
use epid_fake::fault::Api;
use epid_fake::{Effect, Fault};

use crate::adoption::{ONE, read, unreadable};
use crate::crashes::until_dead;
use crate::replacement::{TAGGED, behind};
use crate::stack::{Stack, actions, on_clock, urn};

#[test]
fn a_refresh_records_nothing_that_needs_what_is_not_there_yet() {
    on_clock(async {
        let text = |name: &str, alias: &str, value: &str, rest: &str| {
            format!(
                r#"{{"{name}": {{"type": "Item", "properties": {{"name": "{value}"}}, "options": {{"aliases": [{alias}]}}}},
                     "user": {{"type": "Item", "properties": {{"uses": ["${{{name}.id}}"]}}}},
                     "apart": {{"type": "Item", "properties": {{"name": "apart"}}, "options": {{{rest}}}}}}}"#
            )
        };
        let mut stack = Stack::new();
        stack.up(&text("old", "", "a", "")).await;
        let id = stack.world.at("apart")[0].id.clone();
        stack.world.mark(&id, "");
        // `old` is renamed and changed, `apart` has an option and needs what is new.
        let new = text(
            "new",
            r#""old""#,
            "b",
            r#""protect": true, "dependsOn": ["more"]"#,
        );
        let new = format!(
            r#"{}, "more": {{"type": "Item", "properties": {{"name": "more"}}}}}}"#,
            &new[..new.len() - 1]
        );
        stack.refresh = Refresh::Record;
        let plan = read(&stack, &stack.graph(&new)).await.unwrap();
        let ran = stack.apply(plan.records_alone()).await;
        assert!(ran.outcome.is_success(), "{:?}", ran.outcome.failed);
        stack.refresh = Refresh::Undo;
        stack.up(&new).await;
    });
}

#[test]
fn what_is_gone_is_recorded_as_gone_and_made_again_by_a_run_that_does_not_look() {
    on_clock(async {
        let mut stack = Stack::new();
        let text = r#"{
            "box": {"type": "Box", "properties": {"name": "box"}},
            "in": {"type": "Child", "properties": {"name": "in", "box": "box"}},
            "user": {"type": "Item", "properties": {"uses": ["${box.id}"]}},
            "apart": {"type": "Item", "properties": {"value": "1"}}
        }"#;
        stack.up(text).await;
        let ids: Vec<_> = ["in", "box"]
            .iter()
            .map(|path| stack.world.at(path)[0].id.clone())
            .collect();
        ids.iter().for_each(|id| stack.world.vanish(id));
        let graph = stack.graph(text);
        stack.refresh = Refresh::Record;
        let plan = read(&stack, &graph).await.unwrap().records_alone();
        assert_eq!(actions(&plan), ["Record box", "Record in"]);
        assert_eq!(plan.drift.iter().filter(|drift| drift.gone).count(), 2);
        let calls = stack.world.calls().len();
        stack.apply(plan).await;
        assert_eq!(stack.world.calls().len(), calls, "nobody is called");
        let gone = |path: &str, kind: &str| {
            stack
                .snapshot()
                .of(&urn(kind, path))
                .all(|e| e.role == Role::Vacant)
        };
        assert!(gone("box", "Box") && gone("in", "Child"));
        stack.refresh = Refresh::Undo;
        let ran = stack.up(text).await;
        assert_eq!(ran.did(), ["Created box", "Created in", "Updated user"]);
        stack.destroy().await;
    });
}

#[test]
fn what_is_gone_and_not_declared_any_more_is_dropped_by_a_refresh() {
    on_clock(async {
        let mut stack = Stack::new();
        let rest = r#"{"rest": {"type": "Item", "properties": {"name": "rest"}}}"#;
        stack.up(ONE).await;
        stack
            .up(&format!("{}, {}", &ONE[..ONE.len() - 1], &rest[1..]))
            .await;
        stack.world.vanish("item-1");
        stack.refresh = Refresh::Record;
        let nothing = stack.graph(rest);
        let plan = read(&stack, &nothing).await.unwrap();
        assert!(plan.drift[0].gone, "it is told");
        assert_eq!(stack.apply(plan.records_alone()).await.did(), ["Dropped a"]);
        stack.refresh = Refresh::Undo;
        assert!(stack.plan(&nothing, Mode::Up).is_empty());
        assert!(stack.snapshot().live(&urn("Item", "a")).is_none());
    });
}

#[test]
fn a_read_that_fails_is_never_taken_for_gone() {
    on_clock(async {
        let mut stack = Stack::new();
        stack.up(ONE).await;
        stack.world.vanish("item-1");
        unreadable(&stack.world);
        let graph = stack.graph(ONE);
        for refresh in [Refresh::Record, Refresh::Undo, Refresh::Accept] {
            stack.refresh = refresh;
            let seen = stack.look(&graph, Depth::Refresh).await;
            assert_eq!((seen.found.len(), seen.failed.len()), (0, 1));
            let plan = stack
                .plan_with(&graph, Mode::Up, &seen.found, &Selection::default())
                .unwrap();
            assert!(plan.is_empty() && plan.drift.is_empty());
        }
    });
}

/// Runs that make `text` again, of which everything but `stays` is gone, and die at the `nth` call. The next run, looking or
/// not, has to make the rest. True where it came that far.
async fn dies_while_it_makes_what_is_gone(text: &str, stays: &[&str], nth: u32, looks: bool) -> bool {
    let mut stack = Stack::new();
    stack.world.set_fact("zone", "z");
    stack.up(text).await;
    for thing in stack.world.things() {
        if !stays.contains(&thing.urn.path()) {
            stack.world.vanish(&thing.id);
        }
    }
    let graph = stack.graph(text);
    let plan = read(&stack, &graph).await.unwrap();
    let dead = Arc::new(AtomicBool::new(false));
    let flag = dead.clone();
    stack.world.on_crash(move || flag.store(true, Ordering::Relaxed));
    stack.world.crash_at(nth);
    let is_dead = || dead.load(Ordering::Relaxed);
    until_dead(stack.apply(plan), is_dead).await;
    stack.restart();
    stack.recover().await;
    if looks {
        // What was made just now may not be seen yet.
        stack.sleep(60).await;
        let seen = stack.look(&graph, Depth::Refresh).await;
        assert!(seen.failed.is_empty(), "at call {nth}: {:?}", seen.failed);
        let plan = read(&stack, &graph).await.unwrap();
        let ran = stack.apply(plan).await;
        assert!(
            ran.outcome.is_success(),
            "at call {nth}: {:?}",
            ran.outcome.failed
        );
    }
    let ran = stack.run(text).await;
    assert!(
        ran.outcome.is_success(),
        "at call {nth}: {:?}",
        ran.outcome.failed
    );
    assert!(stack.plan(&graph, Mode::Up).is_empty());
    let wanted = graph
        .nodes()
        .filter(|node| node.kind.provider() == "fake" && !node.schema.lookup);
    assert_eq!(stack.world.things().len(), wanted.count(), "at call {nth}");
    let live = stack.snapshot();
    for thing in stack.world.things() {
        assert_eq!(
            live.live(&thing.urn).unwrap().record.id,
            thing.id,
            "at call {nth}"
        );
    }
    stack.destroy().await;
    is_dead()
}

#[test]
fn a_run_that_dies_while_it_makes_a_gone_cluster_again_is_gone_on_with_by_a_plain_one() {
    on_clock(async {
        let more = r#", "y": {"type": "Item", "properties": {"name": "y"}, "options": {"provider": "inner", "adopt": true}},
                        "l": {"type": "Lookup", "properties": {"fact": "zone"}, "options": {"provider": "inner"}}"#;
        let text = behind("c", &format!("{TAGGED}{more}"));
        for looks in [true, false] {
            let mut nth = 1;
            while dies_while_it_makes_what_is_gone(&text, &[], nth, looks).await {
                nth += 1;
            }
            assert!(nth > 4, "{nth}");
        }
    });
}

#[test]
fn a_run_that_dies_while_it_makes_a_gone_container_again_leaves_nothing_missing() {
    on_clock(async {
        let text = r#"{
            "box": {"type": "Box", "properties": {"name": "box"}},
            "in": {"type": "Child", "properties": {"name": "in", "box": "box"}},
            "user": {"type": "Item", "properties": {"name": "user", "uses": ["${box.id}"]}}}"#;
        let mut nth = 1;
        while dies_while_it_makes_what_is_gone(text, &["user"], nth, false).await {
            nth += 1;
        }
        assert!(nth > 4, "{nth}");
    });
}

#[test]
fn what_left_the_program_and_is_gone_is_known_to_be_gone_before_anything_is_sent() {
    on_clock(async {
        let mut stack = Stack::new();
        let two = r#"{"a": {"type": "Item", "properties": {"name": "a"}},
                      "b": {"type": "Item", "properties": {"name": "b"}}}"#;
        stack.up(two).await;
        for thing in stack.world.things() {
            stack.world.vanish(&thing.id);
        }
        let plan = read(&stack, &stack.graph(ONE)).await.unwrap();
        let dead = Arc::new(AtomicBool::new(false));
        let flag = dead.clone();
        stack.world.on_crash(move || flag.store(true, Ordering::Relaxed));
        stack.world.crash_at(1);
        until_dead(stack.apply(plan), || dead.load(Ordering::Relaxed)).await;
        stack.restart();
        let roles: Vec<Role> = stack.snapshot().of(&urn("Item", "a")).map(|e| e.role).collect();
        assert_eq!(roles, [Role::Vacant]);
    });
}

#[test]
fn what_was_replaced_in_a_cluster_that_is_gone_is_dropped() {
    on_clock(async {
        let mut stack = Stack::new();
        let shaped = |shape: &str| {
            behind(
                "c",
                &TAGGED.replace(r#""value": "1""#, &format!(r#""shape": "{shape}""#)),
            )
        };
        stack.up(&shaped("round")).await;
        stack
            .world
            .fault(Fault::new(Effect::Refuse).api(Api::Delete).kind("Tagged"));
        assert_eq!(stack.run(&shaped("square")).await.failed().len(), 1);
        stack.restart();
        for thing in stack.world.things() {
            stack.world.vanish(&thing.id);
        }
        let graph = stack.graph(&shaped("square"));
        let ran = stack.apply(read(&stack, &graph).await.unwrap()).await;
        assert!(ran.outcome.is_success(), "{:?}", ran.outcome.failed);
        assert!(stack.plan(&graph, Mode::Up).is_empty());
        stack.destroy().await;
    });
}
