//! Taking resources in, letting them go, and renaming them.

use std::sync::Arc;

use epid::apply::Event;
use epid::graph::ResourceGraph;
use epid::observe::Depth;
use epid::plan::{LostMark, Mode, Plan, PlanProblem, Refresh, Selection};
use epid::state::{Generation, Role};
use epid_fake::fault::Api;
use epid_fake::{Effect, Fault, World};

use crate::stack::{Ran, Stack, actions, on_clock, urn};

const ONE: &str = r#"{"a": {"type": "Item", "properties": {"name": "a"}}}"#;
const ADOPTED: &str = r#"{"a": {"type": "Item", "properties": {"name": "a"}, "options": {"adopt": true}}}"#;

/// A cloud with a thing that is nobody's: `item-1`, of that program.
async fn nobodys(text: &str) -> World {
    let nobody = Stack::of(World::new(), "");
    nobody.up(text).await;
    nobody.world.clone()
}

/// What `epid import` does: `item-1` is recorded as `a`, and nothing is sent.
async fn imported(stack: &Stack, text: &str) -> Ran {
    let graph = stack
        .graph(text)
        .importing(&[(urn("Item", "a"), Arc::from("item-1"))].into());
    let ran = stack.apply(stack.plan(&graph, Mode::Up).recording_only()).await;
    assert_eq!(ran.did(), ["Imported a"]);
    ran
}

/// Every read fails, for a while.
fn unreadable(world: &World) {
    for nth in 1..=50 {
        world.fault(Fault::new(Effect::Refuse).api(Api::Observe).nth(nth));
    }
}

/// A plan after everything recorded was read.
async fn read(stack: &Stack, graph: &ResourceGraph) -> Result<Plan, Vec<PlanProblem>> {
    let seen = stack.look(graph, Depth::Refresh).await;
    stack.plan_with(graph, Mode::Up, &seen.found, &Selection::default())
}

#[test]
fn an_existing_thing_is_imported_by_id_and_updated_where_it_differs() {
    on_clock(async {
        let other = Stack::new();
        other
            .up(r#"{"a": {"type": "Item", "properties": {"name": "a", "value": "1"}}}"#)
            .await;
        let stack = Stack::of(other.world.clone(), "lineage");
        let text = |value: &str| {
            format!(
                r#"{{"b": {{"type": "Item", "properties": {{"name": "a", "value": "{value}"}}, "options": {{"import": "item-1"}}}}}}"#
            )
        };
        let ran = stack.up(&text("1")).await;
        assert_eq!(ran.did(), ["Imported b"]);
        assert_eq!(stack.world.things()[0].version, 0, "nothing was sent");
        stack.up(&text("2")).await;
        let third = Stack::of(other.world.clone(), "lineage");
        let ran = third.up(&text("3")).await;
        assert_eq!(ran.did(), ["Imported b"]);
        assert_eq!(stack.world.things()[0].text("value"), "3");
        assert_eq!(stack.world.things().len(), 1);
    });
}

#[test]
fn what_belongs_to_another_stack_or_cannot_become_what_is_declared_is_not_imported() {
    on_clock(async {
        let other = Stack::new();
        other
            .up(r#"{"a": {"type": "Item", "properties": {"name": "a", "shape": "round"}}}"#)
            .await;
        let text = r#"{"b": {"type": "Item", "properties": {"name": "a", "shape": "square"}, "options": {"import": "item-1"}},
                       "c": {"type": "Item", "properties": {"name": "c"}, "options": {"import": "item-9"}}}"#;
        let stack = Stack::of(other.world.clone(), "stranger");
        assert_eq!(
            stack.run(text).await.failed(),
            [("b", "Owned"), ("c", "NotFound")].into()
        );
        let stack = Stack::of(other.world.clone(), "lineage");
        assert_eq!(
            stack.run(text).await.failed(),
            [("b", "Different"), ("c", "NotFound")].into()
        );
        assert_eq!(stack.world.things()[0].text("shape"), "round");
    });
}

#[test]
fn what_is_nobodys_is_marked_when_it_is_imported_and_no_other_stack_takes_it() {
    on_clock(async {
        let text = |options: &str| {
            format!(r#"{{"a": {{"type": "Item", "properties": {{"name": "a"}}, "options": {{{options}}}}}}}"#)
        };
        for (options, other) in [
            (r#""import": "item-1""#, r#""adopt": true"#),
            (r#""adopt": true"#, r#""import": "item-1""#),
        ] {
            let nobody = Stack::of(World::new(), "");
            nobody.up(&text("")).await;
            let stack = Stack::of(nobody.world.clone(), "first");
            assert_eq!(stack.up(&text(options)).await.did(), ["Imported a"]);
            assert_eq!(&*stack.world.things()[0].lineage, "first");
            let second = Stack::of(nobody.world.clone(), "second");
            assert_eq!(second.run(&text(other)).await.failed(), [("a", "Owned")].into());
        }
    });
}

#[test]
fn adoption_takes_what_is_there_and_makes_what_is_not() {
    on_clock(async {
        let other = Stack::new();
        other
            .up(r#"{"a": {"type": "Item", "properties": {"name": "a"}}}"#)
            .await;
        let stack = Stack::of(other.world.clone(), "lineage");
        let text = r#"{"x": {"type": "Item", "properties": {"name": "a"}, "options": {"adopt": true}},
                       "y": {"type": "Item", "properties": {"name": "b"}, "options": {"adopt": true}}}"#;
        let ran = stack.up(text).await;
        let mut did = ran.did();
        did.sort();
        assert_eq!(did, ["Created y", "Imported x"]);
        assert_eq!(stack.world.things().len(), 2);
    });
}

#[test]
fn a_retained_thing_is_forgotten_and_stays() {
    on_clock(async {
        let stack = Stack::new();
        stack
            .up(r#"{"a": {"type": "Item", "properties": {"name": "a"}, "options": {"retainOnDelete": true}}, "b": {"type": "Item"}}"#)
            .await;
        let ran = stack.up(r#"{"b": {"type": "Item"}}"#).await;
        assert_eq!(ran.did(), ["Forgotten a"]);
        assert_eq!(stack.world.at("a").len(), 1);
    });
}

#[test]
fn a_rename_moves_the_record_and_sends_nothing() {
    on_clock(async {
        let stack = Stack::new();
        let text = |name: &str, alias: &str, value: &str| {
            format!(
                r#"{{"{name}": {{"type": "Item", "properties": {{"value": "{value}"}}, "options": {{"aliases": [{alias}]}}}},
                     "user": {{"type": "Item", "properties": {{"uses": ["${{{name}.id}}"]}}}}}}"#
            )
        };
        stack.up(&text("old", "", "1")).await;
        let ran = stack.up(&text("new", r#""old""#, "1")).await;
        assert_eq!(ran.did(), ["Recorded new", "Recorded user"]);
        assert!(stack.snapshot().live(&urn("Item", "old")).is_none());
        let ran = stack.up(&text("newer", r#""new""#, "2")).await;
        assert_eq!(ran.did(), ["Updated newer", "Recorded user"]);
        assert_eq!(
            stack.snapshot().live(&urn("Item", "newer")).unwrap().generation,
            Generation(1)
        );
        assert_eq!(stack.world.things().len(), 2);
        stack.destroy().await;
    });
}

#[test]
fn a_renamed_thing_that_has_to_be_replaced_leaves_nothing_behind() {
    on_clock(async {
        for (kind, name) in [("Tagged", ""), ("Item", r#""name": "n","#)] {
            let stack = Stack::new();
            let text = |resource: &str, shape: &str| {
                format!(
                    r#"{{"{resource}": {{"type": "{kind}", "properties": {{{name} "shape": "{shape}"}}, "options": {{"aliases": ["old"]}}}}}}"#
                )
            };
            stack.up(&text("old", "round")).await;
            stack.up(&text("new", "square")).await;
            assert_eq!(stack.world.things().len(), 1, "{kind}");
            assert!(stack.snapshot().of(&urn(kind, "old")).next().is_none());
        }
    });
}

#[test]
fn a_renamed_provider_keeps_what_it_made() {
    on_clock(async {
        let stack = Stack::of(World::new(), "lineage");
        let text = |name: &str| {
            format!(
                r#"{{"$providers": {{"{name}": {{"options": {{"aliases": ["one"]}}}}}}, "a": {{"type": "Item", "properties": {{"name": "a"}}}}}}"#
            )
        };
        stack.up(&text("one")).await;
        stack.up(&text("two")).await;
        assert_eq!(stack.world.things().len(), 1);
        stack.destroy().await;
    });
}

#[test]
fn changed_options_are_recorded_though_nothing_is_sent() {
    on_clock(async {
        let stack = Stack::new();
        stack.up(r#"{"a": {"type": "Item"}}"#).await;
        let ran = stack
            .up(r#"{"a": {"type": "Item", "options": {"protect": true}}}"#)
            .await;
        assert_eq!(ran.did(), ["Recorded a"]);
        assert!(stack.snapshot().live(&urn("Item", "a")).unwrap().protect);
    });
}

#[test]
fn ignored_changes_are_neither_sent_nor_recorded() {
    on_clock(async {
        let stack = Stack::new();
        let text = |value: &str, size: u8| {
            format!(
                r#"{{"a": {{"type": "Item", "properties": {{"value": "{value}", "size": {size}}}, "options": {{"ignoreChanges": ["value"]}}}}}}"#
            )
        };
        stack.up(&text("1", 1)).await;
        assert_eq!(stack.up(&text("2", 1)).await.did(), Vec::<String>::new());
        stack.up(&text("3", 2)).await;
        assert_eq!(stack.world.at("a")[0].text("value"), "1");
    });
}

#[test]
fn recording_new_options_keeps_what_is_ignored() {
    on_clock(async {
        let stack = Stack::new();
        let text = |value: &str, protect: bool, ignore: &str| {
            format!(
                r#"{{"a": {{"type": "Item", "properties": {{"value": "{value}"}}, "options": {{"ignoreChanges": [{ignore}], "protect": {protect}}}}}}}"#
            )
        };
        stack.up(&text("1", false, r#""value""#)).await;
        assert_eq!(
            stack.up(&text("2", true, r#""value""#)).await.did(),
            ["Recorded a"]
        );
        stack.up(&text("2", true, "")).await;
        assert_eq!(
            stack.world.at("a")[0].text("value"),
            "2",
            "what was never sent is not taken for sent"
        );
    });
}

#[test]
fn a_rename_onto_a_name_with_a_leftover_keeps_both_apart() {
    on_clock(async {
        let mut stack = Stack::new();
        let one = |name: &str, value: &str| {
            format!(
                r#"{{"{name}": {{"type": "Tagged", "properties": {{"value": "{value}"}}, "options": {{"aliases": ["a", "b"], "replaceOnChanges": ["value"]}}}}}}"#
            )
        };
        stack.up(&one("b", "1")).await;
        stack.world.fault(Fault::new(Effect::Refuse).api(Api::Delete));
        stack.run(&one("b", "2")).await;
        stack.world.fault(Fault::new(Effect::Refuse).api(Api::Delete));
        stack.run(&one("a", "2")).await;
        stack.restart();
        stack.up(&one("b", "2")).await;
        assert_eq!(stack.world.of("Tagged").len(), 1);
        stack.destroy().await;
    });
}

#[test]
fn two_resources_cannot_both_be_what_one_was() {
    on_clock(async {
        let stack = Stack::new();
        stack
            .up(r#"{"old": {"type": "Tagged", "properties": {"value": "1"}}}"#)
            .await;
        let heir = r#"{"type": "Tagged", "properties": {"value": "1"}, "options": {"aliases": ["old"]}}"#;
        let ran = stack.up(&format!(r#"{{"x": {heir}, "y": {heir}}}"#)).await;
        assert_eq!(ran.did(), ["Recorded x", "Created y"]);
    });
}

#[test]
fn what_is_deleted_with_something_is_made_after_it() {
    on_clock(async {
        let stack = Stack::new();
        let text = r#"{
            "first": {"type": "Item", "properties": {"value": "1"}, "options": {"deletedWith": "second"}},
            "second": {"type": "Item", "properties": {"value": "2"}}
        }"#;
        let ran = stack.up(text).await;
        assert_eq!(ran.did(), ["Created second", "Created first"]);
    });
}

#[test]
fn one_thing_is_not_imported_twice() {
    on_clock(async {
        let stack = Stack::new();
        let a = r#""a": {"type": "Item", "properties": {"value": "1"}}"#;
        stack.up(&format!("{{{a}}}")).await;
        let id = stack.world.of("Item")[0].id.clone();
        let b = format!(
            r#""b": {{"type": "Item", "properties": {{"value": "1"}}, "options": {{"import": "{id}"}}}}"#
        );
        let ran = stack.run(&format!("{{{a}, {b}}}")).await;
        assert_eq!(ran.failed(), [("b", "Owned")].into());
    });
}

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

#[test]
fn what_was_shown_to_be_made_takes_over_nothing_that_came_since() {
    on_clock(async {
        let stack = Stack::of(World::new(), "first");
        let graph = stack.graph(ADOPTED);
        let seen = stack.look(&graph, Depth::Needed).await;
        let plan = stack
            .plan_with(&graph, Mode::Up, &seen.found, &Selection::default())
            .unwrap();
        Stack::of(stack.world.clone(), "").up(ONE).await;
        let there = stack.world.things();
        let ran = stack.apply(plan).await;
        assert_eq!(ran.failed(), [("a", "AlreadyExists")].into());
        let trouble = &ran.outcome.failed[0].trouble;
        assert!(trouble.message.contains("is nobody's"), "{trouble:?}");
        assert!(
            trouble.hint.as_deref().unwrap().contains("run epid up again"),
            "{trouble:?}"
        );
        assert_eq!(stack.world.things(), there);
        // The next one shows it.
        assert_eq!(stack.up(ADOPTED).await.did(), ["Imported a"]);
    });
}

#[test]
fn what_is_taken_over_is_changed_where_the_plan_said_so_and_nowhere_else() {
    on_clock(async {
        let valued = |text: &str| text.replace(r#""name": "a""#, r#""name": "a", "value": "1""#);
        let (declared, adopted) = (valued(ONE), valued(ADOPTED));
        let imported = adopted.replace(r#""adopt": true"#, r#""import": "item-1""#);
        for text in [adopted, imported] {
            let world = nobodys(&declared).await;
            let stack = Stack::of(world.clone(), "first");
            let graph = stack.graph(&text);
            let seen = stack.look(&graph, Depth::Needed).await;
            let plan = stack
                .plan_with(&graph, Mode::Up, &seen.found, &Selection::default())
                .unwrap();
            world.tamper("item-1", "value", "2");
            let there = world.things();
            assert_eq!(
                stack.apply(plan).await.failed(),
                [("a", "StrongerThanPlanned")].into()
            );
            assert_eq!(world.things(), there);
        }
    });
}

#[test]
fn a_step_that_makes_several_calls_starts_once() {
    on_clock(async {
        let started = |ran: &Ran| {
            let events = ran.events.iter();
            let of_a = |event: &&Event| matches!(event, Event::StepStarted { urn, .. } if urn.path() == "a");
            events.filter(of_a).count()
        };
        let world = nobodys(ONE).await;
        // A create, and a look at what has its name.
        let stack = Stack::of(world.clone(), "first");
        let refused = stack.run(ONE).await;
        assert_eq!(refused.failed(), [("a", "AlreadyExists")].into());
        assert_eq!(started(&refused), 1);
        // A look whose it is, and an update.
        imported(&stack, ONE).await;
        let marked = stack.up(ONE).await;
        assert_eq!(marked.did(), ["Updated a"]);
        assert_eq!(started(&marked), 1);
        // A look by its name, and an update.
        world.mark("item-1", "");
        let adopted = Stack::of(world, "second").up(ADOPTED).await;
        assert_eq!(adopted.did(), ["Imported a"]);
        assert_eq!(started(&adopted), 1);
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

#[test]
fn a_create_that_meets_something_says_what_it_is_whose_and_how_to_go_on() {
    on_clock(async {
        let world = nobodys(ONE).await;
        let stack = Stack::of(world.clone(), "first");
        let said = |ran: &Ran| {
            let trouble = ran.outcome.failed[0].trouble.clone();
            assert_eq!(trouble.code, "AlreadyExists");
            (trouble.message, trouble.hint.unwrap_or_default())
        };
        let (message, hint) = said(&stack.run(ONE).await);
        assert!(
            message.contains("item-1 exists already and is nobody's"),
            "{message}"
        );
        assert!(
            hint.contains("`adopt = true`") && hint.contains("`epid import a item-1 --stack s`"),
            "{hint}"
        );
        let each = r#"{"a": {"type": "Item", "forEach": ["x"], "properties": {"name": "a"}}}"#;
        let (_, hint) = said(&stack.run(each).await);
        assert!(hint.contains(r#"epid import 'a["x"]' item-1"#), "{hint}");
        world.mark("item-1", "other");
        let (message, hint) = said(&stack.run(ONE).await);
        assert!(
            message.contains(
                "item-1 exists already and belongs to another stack (urn:epid:p:s:fake:thing:Item:a)"
            ),
            "{message}"
        );
        assert!(!hint.contains("adopt"), "{hint}");
        world.mark("item-1", "first");
        assert!(said(&stack.run(ONE).await).0.contains("is this stack's"));
        // What cannot be looked at is told in the service's words.
        unreadable(&world);
        assert_eq!(said(&stack.run(ONE).await).0, "Item a exists");
        assert!(stack.snapshot().intents.is_empty(), "the outcome is known");
    });
}

#[test]
fn what_a_preview_would_adopt_is_told_and_refused_where_it_is_anothers_or_cannot_be() {
    on_clock(async {
        let world = nobodys(
            r#"{"a": {"type": "Item", "properties": {"name": "a", "value": "old", "shape": "round"}}}"#,
        )
        .await;
        let stack = Stack::of(world.clone(), "first");
        let text = r#"{"a": {"type": "Item", "properties": {"name": "a", "value": "new"}, "options": {"adopt": true}},
                       "b": {"type": "Item", "properties": {"name": "b"}, "options": {"adopt": true}}}"#;
        let look = async |text: &str| {
            let graph = stack.graph(text);
            let seen = stack.look(&graph, Depth::Needed).await;
            stack.plan_with(&graph, Mode::Up, &seen.found, &Selection::default())
        };
        let plan = look(text).await.unwrap();
        let found = |path: &str| {
            plan.steps
                .iter()
                .find(|s| &*s.address == path)
                .unwrap()
                .found
                .clone()
                .unwrap()
        };
        assert_eq!(
            (found("a").id.as_deref(), found("a").marked),
            (Some("item-1"), false)
        );
        assert_eq!(found("b").id, None);
        let square = text.replace(r#""value": "new""#, r#""shape": "square""#);
        assert!(look(&square).await.unwrap_err()[0].message.contains("shape is"));
        world.mark("item-1", "other");
        assert!(
            look(text).await.unwrap_err()[0]
                .message
                .contains("belongs to another stack")
        );
        assert_eq!(
            world.count(Api::Update) + world.count(Api::Create),
            1,
            "nothing was sent but what made it"
        );
        assert!(stack.snapshot().is_empty());
    });
}

#[test]
fn one_instance_is_what_another_address_was() {
    on_clock(async {
        let each = |keys: &str, aliases: &str| {
            format!(
                r#"{{"web": {{"type": "Item", "forEach": [{keys}], "properties": {{"value": "${{each.key}}", "tags": ["t"]}},
                     "options": {{"ignoreChanges": ["value"], {aliases}}}}}}}"#
            )
        };
        let plain = |aliases: &str| {
            format!(
                r#"{{"web": {{"type": "Item", "properties": {{"value": "1", "tags": ["t"]}},
                     "options": {{"ignoreChanges": ["value"], "aliases": [{aliases}]}}}}}}"#
            )
        };
        let stack = Stack::new();
        stack.up(&plain("")).await;
        let id = stack.world.things()[0].id.clone();
        // Into a forEach: the only instance has the name itself, one of several has to be said.
        assert_eq!(
            stack.up(&each(r#""a""#, r#""aliases": ["web"]"#)).await.did(),
            [r#"Recorded web["a"]"#]
        );
        // From one key to another.
        let ran = stack.up(&each(r#""b""#, r#""aliases": ["web[\"a\"]"]"#)).await;
        assert_eq!(ran.did(), [r#"Recorded web["b"]"#]);
        let one = r#""partAliases": {"c": "web[\"b\"]"}"#;
        let mut did = stack.up(&each(r#""c", "d""#, one)).await.did();
        did.sort();
        assert_eq!(did, [r#"Created web["d"]"#, r#"Recorded web["c"]"#]);
        assert_eq!(stack.world.at("web").len() + stack.world.things().len(), 3);
        // Out of it again.
        let mut did = stack.up(&plain(r#""web[\"c\"]""#)).await.did();
        did.sort();
        assert_eq!(did, [r#"Deleted web["d"]"#, "Recorded web"]);
        assert_eq!(stack.world.things()[0].id, id, "it was the same thing all along");
    });
}
