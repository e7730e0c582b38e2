//! Taking resources in, letting them go, and renaming them.

use epid::state::Generation;
use epid_fake::fault::Api;
use epid_fake::{Effect, Fault, World};

use crate::stack::{Stack, on_clock, urn};

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
