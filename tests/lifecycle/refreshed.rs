//! What a look finds to be gone, or cannot find out.

use epid::observe::Depth;
use epid::plan::{Mode, Refresh, Selection};
use epid::state::Role;

use crate::adoption::{ONE, read, unreadable};
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
