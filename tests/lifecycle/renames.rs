//! Resources that are declared under another address.

use epid::state::Generation;
use epid_fake::fault::Api;
use epid_fake::{Effect, Fault, World};

use crate::stack::{Stack, on_clock, urn};

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
