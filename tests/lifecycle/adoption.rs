//! Taking resources in and letting them go, and what is recorded without a call.

use std::sync::Arc;

use epid::apply::Event;
use epid::graph::ResourceGraph;
use epid::observe::Depth;
use epid::plan::{Mode, Plan, PlanProblem, Selection};
use epid_fake::fault::Api;
use epid_fake::{Effect, Fault, World};

use crate::stack::{Ran, Stack, on_clock, urn};

pub(crate) const ONE: &str = r#"{"a": {"type": "Item", "properties": {"name": "a"}}}"#;
pub(crate) const ADOPTED: &str =
    r#"{"a": {"type": "Item", "properties": {"name": "a"}, "options": {"adopt": true}}}"#;

/// A cloud with a thing that is nobody's: `item-1`, of that program.
pub(crate) async fn nobodys(text: &str) -> World {
    let nobody = Stack::of(World::new(), "");
    nobody.up(text).await;
    nobody.world.clone()
}

/// What `epid import` does: `item-1` is recorded as `a`, and nothing is sent.
pub(crate) async fn imported(stack: &Stack, text: &str) -> Ran {
    let graph = stack
        .graph(text)
        .importing(&[(urn("Item", "a"), Arc::from("item-1"))].into());
    let ran = stack.apply(stack.plan(&graph, Mode::Up).recording_only()).await;
    assert_eq!(ran.did(), ["Imported a"]);
    ran
}

/// Every read fails, for a while.
pub(crate) fn unreadable(world: &World) {
    for nth in 1..=50 {
        world.fault(Fault::new(Effect::Refuse).api(Api::Observe).nth(nth));
    }
}

/// A plan after everything recorded was read.
pub(crate) async fn read(stack: &Stack, graph: &ResourceGraph) -> Result<Plan, Vec<PlanProblem>> {
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
        for (options, other, did) in [
            (r#""import": "item-1""#, r#""adopt": true"#, "Imported a"),
            (r#""adopt": true"#, r#""import": "item-1""#, "Adopted a"),
        ] {
            let nobody = Stack::of(World::new(), "");
            nobody.up(&text("")).await;
            let stack = Stack::of(nobody.world.clone(), "first");
            assert_eq!(stack.up(&text(options)).await.did(), [did]);
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
        assert_eq!(did, ["Adopted x", "Created y"]);
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
        assert_eq!(stack.up(ADOPTED).await.did(), ["Adopted a"]);
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
        assert_eq!(adopted.did(), ["Adopted a"]);
        assert_eq!(started(&adopted), 1);
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
