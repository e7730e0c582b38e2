//! Whose a resource is: what bears no mark, and what another stack has.

use epid::graph::ResourceGraph;
use epid::observe::Depth;
use epid::plan::{LostMark, Mode, Observations, Refresh, Selection};
use epid_fake::fault::Api;
use epid_fake::{Effect, Fault};

use crate::adoption::{ADOPTED, ONE, imported, nobodys, read};
use crate::stack::{Stack, actions, on_clock, urn};

#[test]
fn what_is_imported_without_a_mark_is_marked_by_the_next_run_which_then_keeps_others_out() {
    on_clock(async {
        let world = nobodys(ONE).await;
        let first = Stack::of(world.clone(), "first");
        imported(&first, ONE).await;
        assert_eq!(
            (&*world.things()[0].lineage, world.things()[0].version),
            ("", 0),
            "nothing is sent"
        );
        let plan = first.plan(&first.graph(ONE), Mode::Up);
        assert_eq!(actions(&plan), ["Update a"]);
        assert!(
            plan.steps
                .iter()
                .any(|step| step.unmarked && step.changes.is_empty())
        );
        assert_eq!(first.up(ONE).await.did(), ["Updated a"]);
        assert_eq!(&*world.things()[0].lineage, "first");
        let second = Stack::of(world, "second");
        assert_eq!(second.run(ADOPTED).await.failed(), [("a", "Owned")].into());
    });
}

#[test]
fn what_another_stack_took_before_it_was_marked_is_neither_changed_nor_deleted() {
    on_clock(async {
        let world = nobodys(ONE).await;
        let first = Stack::of(world.clone(), "first");
        imported(&first, ONE).await;
        Stack::of(world.clone(), "second").up(ADOPTED).await;
        let theirs = world.things();
        // Seen while planning, where one can look: also without a refresh.
        let changed = ONE.replace(r#""name": "a""#, r#""name": "a", "value": "1""#);
        for text in [ONE, &changed] {
            let graph = first.graph(text);
            let seen = first.look(&graph, Depth::Needed).await;
            let problems = first
                .plan_with(&graph, Mode::Up, &seen.found, &Selection::default())
                .unwrap_err();
            assert!(
                problems[0]
                    .message
                    .contains("belongs to another stack now (urn:epid:p:s:fake:thing:Item:a)"),
                "{problems:?}"
            );
            assert!(problems[0].hint.as_deref().unwrap().contains("epid state rm"));
            // Where nobody could look, before anything is sent.
            assert_eq!(first.run(text).await.failed(), [("a", "Owned")].into());
        }
        let destroyed = first
            .apply(first.plan(&ResourceGraph::empty(), Mode::Destroy))
            .await;
        assert_eq!(destroyed.failed(), [("a", "Owned")].into());
        let replaced =
            first.graph(r#"{"a": {"type": "Item", "properties": {"name": "a", "shape": "square"}}}"#);
        let ran = first.apply(first.plan(&replaced, Mode::Up)).await;
        assert_eq!(ran.failed(), [("a", "Owned")].into());
        assert_eq!(world.things(), theirs);
    });
}

#[test]
fn a_run_that_dies_before_it_marks_what_it_imports_leaves_that_to_the_next() {
    on_clock(async {
        let world = nobodys(ONE).await;
        let stack = Stack::of(world.clone(), "first");
        world.fault(Fault::new(Effect::Refuse).api(Api::Update));
        assert_eq!(stack.run(ADOPTED).await.failed(), [("a", "AccessDenied")].into());
        assert_eq!(&*world.things()[0].lineage, "");
        assert_eq!(stack.up(ADOPTED).await.did(), ["Updated a"]);
        assert_eq!(&*world.things()[0].lineage, "first");
    });
}

#[test]
fn a_mark_that_is_gone_is_drift_and_is_set_again() {
    on_clock(async {
        let mut stack = Stack::new();
        stack.up(ONE).await;
        stack.world.mark("item-1", "");
        let graph = stack.graph(ONE);
        let plan = read(&stack, &graph).await.unwrap();
        assert_eq!(plan.drift[0].mark, Some(LostMark::Removed));
        assert_eq!(actions(&plan), ["Update a"]);
        stack.apply(plan).await;
        assert_eq!(&*stack.world.things()[0].lineage, "lineage");
        assert!(read(&stack, &graph).await.unwrap().drift.is_empty());
        // Accepted by a refresh, it is known to the next run, which need not look.
        stack.world.mark("item-1", "");
        stack.refresh = Refresh::Record;
        let plan = read(&stack, &graph).await.unwrap();
        assert_eq!(actions(&plan), ["Record a"]);
        stack.apply(plan.records_alone()).await;
        assert_eq!(&*stack.world.things()[0].lineage, "", "a refresh sends nothing");
        stack.refresh = Refresh::Undo;
        assert_eq!(stack.up(ONE).await.did(), ["Updated a"]);
        assert_eq!(&*stack.world.things()[0].lineage, "lineage");
    });
}

#[test]
fn what_another_stack_has_is_told_and_left_alone_and_stays_when_it_leaves_the_program() {
    on_clock(async {
        let mut stack = Stack::new();
        stack.up(ONE).await;
        stack.world.mark("item-1", "other");
        stack.world.tamper("item-1", "value", "theirs");
        let theirs = stack.world.things();
        let graph = stack.graph(ONE);
        let plan = read(&stack, &graph).await.unwrap();
        assert_eq!(actions(&plan), [""; 0], "what they changed is theirs");
        assert!(
            matches!(plan.drift[0].mark, Some(LostMark::Another(_))),
            "{:?}",
            plan.drift
        );
        let changed = stack.graph(&ONE.replace(r#""name": "a""#, r#""name": "a", "value": "1""#));
        assert!(
            read(&stack, &changed).await.unwrap_err()[0]
                .message
                .contains("belongs to another stack now")
        );
        stack.refresh = Refresh::Record;
        let plan = read(&stack, &changed).await.unwrap();
        assert_eq!(
            (actions(&plan), plan.drift.len()),
            (vec!["Record a".to_owned()], 1),
            "a refresh tells and is not in the way"
        );
        stack.refresh = Refresh::Undo;
        let plan = read(&stack, &stack.graph("{}")).await.unwrap();
        assert_eq!(actions(&plan), ["Forget a", "Drop fake"]);
        stack.apply(plan).await;
        assert_eq!(stack.world.things(), theirs);
    });
}

#[test]
fn what_a_refresh_found_to_be_anothers_is_looked_at_before_anything_is_sent() {
    on_clock(async {
        let mut stack = Stack::new();
        stack.up(ONE).await;
        stack.world.mark("item-1", "other");
        let theirs = stack.world.things();
        stack.refresh = Refresh::Record;
        let plan = read(&stack, &stack.graph(ONE)).await.unwrap();
        assert_eq!(
            stack.apply(plan.records_alone()).await.did(),
            ["Recorded a"],
            "{:?}",
            stack.snapshot().entries
        );
        assert!(
            read(&stack, &stack.graph(ONE)).await.unwrap().is_empty(),
            "it is known"
        );
        stack.refresh = Refresh::Undo;
        let changed = ONE.replace(r#""name": "a""#, r#""name": "a", "value": "1""#);
        let shape = ONE.replace(r#""name": "a""#, r#""name": "a", "shape": "square""#);
        for text in [&*changed, &*shape, "{}"] {
            // None of these runs looked while planning.
            assert_eq!(stack.run(text).await.failed(), [("a", "Owned")].into(), "{text}");
        }
        let destroys = stack.plan(&ResourceGraph::empty(), Mode::Destroy);
        assert_eq!(stack.apply(destroys).await.failed(), [("a", "Owned")].into());
        assert_eq!(stack.world.things(), theirs);
        // Let go of by the other, it is this stack's again.
        stack.world.mark("item-1", "");
        assert_eq!(stack.up(ONE).await.did(), ["Updated a"]);
        assert_eq!(&*stack.world.things()[0].lineage, "lineage");
    });
}

#[test]
fn what_another_stack_has_gets_no_new_name_here() {
    on_clock(async {
        let stack = Stack::new();
        let text = |name: &str, alias: &str| {
            format!(
                r#"{{"{name}": {{"type": "Item", "properties": {{"name": "a"}}, "options": {{"aliases": [{alias}]}}}},
                     "user": {{"type": "Item", "properties": {{"uses": ["${{{name}.id}}"]}}}}}}"#
            )
        };
        stack.up(&text("old", "")).await;
        let id = stack.world.at("old")[0].id.clone();
        stack.world.mark(&id, "other");
        let problems = read(&stack, &stack.graph(&text("new", r#""old""#)))
            .await
            .unwrap_err();
        assert!(
            problems[0].message.contains("belongs to another stack now"),
            "{problems:?}"
        );
        let hint = problems[0].hint.as_deref().unwrap();
        assert!(
            hint.contains("`epid state rm old`"),
            "it is recorded by that name: {hint}"
        );
    });
}

#[test]
fn what_holds_something_of_another_stack_is_not_deleted() {
    on_clock(async {
        let stack = Stack::new();
        stack
            .up(r#"{"box": {"type": "Box", "properties": {"name": "box"}},
                    "in": {"type": "Child", "properties": {"name": "in", "box": "box"}}}"#)
            .await;
        let id = stack.world.at("in")[0].id.clone();
        stack.world.mark(&id, "other");
        let problems = read(&stack, &stack.graph("{}")).await.unwrap_err();
        assert_eq!(
            problems[0].message,
            "`in` belongs to another stack, but `box`, which it is in, would be deleted"
        );
    });
}

/// Two providers of one account, configured differently, with what is called through them.
fn two_ways(more: &str) -> String {
    format!(
        r#"{{"$providers": {{"one": {{"properties": {{"account": "main"}}}},
                            "two": {{"properties": {{"account": "main", "endpoint": "e"}}}}}},
             "z": {{"type": "Item", "properties": {{"name": "z"}}, "options": {{"provider": "two"}}}}{more}}}"#
    )
}

fn named_n(resource: &str, options: &str) -> String {
    format!(r#", "{resource}": {{"type": "Item", "properties": {{"name": "n"}}, "options": {{{options}}}}}"#)
}

#[test]
fn what_another_provider_of_the_account_takes_over_is_not_deleted() {
    on_clock(async {
        for adopt in ["", r#", "adopt": true"#] {
            let stack = Stack::new();
            stack.up(&two_ways(&named_n("a", r#""provider": "one""#))).await;
            let id = stack.world.at("a")[0].id.clone();
            let ran = stack
                .up(&two_ways(&named_n("b", &format!(r#""provider": "two"{adopt}"#))))
                .await;
            assert_eq!(ran.did(), ["Recorded b"]);
            let snapshot = stack.snapshot();
            assert_eq!(snapshot.live(&urn("Item", "b")).unwrap().record.id, id);
            assert_eq!(stack.world.things().len(), 2);
            stack.destroy().await;
        }
    });
}

#[test]
fn another_provider_of_the_account_makes_nothing_anew() {
    on_clock(async {
        let stack = Stack::new();
        stack.up(&two_ways(&named_n("a", r#""provider": "one""#))).await;
        let ran = stack.up(&two_ways(&named_n("a", r#""provider": "two""#))).await;
        assert_eq!(ran.did(), ["Recorded a"]);
        stack.destroy().await;
    });
}

#[test]
fn two_providers_of_one_account_have_one_name_once() {
    on_clock(async {
        let stack = Stack::new();
        let a = named_n("a", r#""provider": "one""#);
        stack.up(&two_ways(&a)).await;
        let both = stack.graph(&two_ways(&format!("{a}{}", named_n("b", r#""provider": "two""#))));
        let problems = stack
            .plan_with(&both, Mode::Up, &Observations::new(), &Selection::default())
            .unwrap_err();
        assert_eq!(problems[0].message, "`a` and `b` are the same resource: Item/n");
    });
}

#[test]
fn what_a_provider_that_is_new_finds_recorded_is_not_taken_and_then_deleted() {
    on_clock(async {
        let mut stack = Stack::new();
        let one = r#"{"$providers": {"one": {"properties": {"account": "main"}}},
                      "a": {"type": "Item", "properties": {"name": "n"}, "options": {"provider": "one"}}}"#;
        stack.up(one).await;
        // The delete of `a` comes late.
        let late = Effect::Delay(std::time::Duration::from_secs(60));
        stack.world.fault(Fault::new(late).api(Api::Delete));
        let text = two_ways(&named_n("b", r#""provider": "two", "adopt": true"#));
        assert_eq!(stack.run(&text).await.failed(), [("b", "Owned")].into());
        assert!(stack.snapshot().live(&urn("Item", "b")).is_none());
        stack.restart();
        assert_eq!(stack.up(&text).await.did(), ["Created b"]);
    });
}
