//! Calls of which nobody can tell what became: what may not happen meanwhile, and how a person gets out of it.

use std::collections::BTreeSet;

use epid::apply::Fate;
use epid::graph::ResourceGraph;
use epid::observe::Depth;
use epid::plan::{Mode, Selection};
use epid::state::{Ending, Entry, Intent, JournalEntry, Refused, RunResult};
use epid_fake::fault::Api;
use epid_fake::{Effect, Fault};
use epid_provider::{Operation, Timestamp, Token};

use crate::replacement::{TAGGED, behind};
use crate::stack::{Ran, Stack, on_clock, urn};

/// A stack in which `path` of `text` was perhaps created: its answer was lost, and nobody can tell for now.
async fn unclear(before: &str, text: &str, path: &str) -> Stack {
    let mut stack = Stack::new();
    stack.up(before).await;
    stack
        .world
        .fault(Fault::new(Effect::LoseAnswer).api(Api::Create).path(path));
    silent(&stack);
    stack.run(text).await;
    assert_eq!(stack.snapshot().intents.len(), 1);
    stack.restart();
    silent(&stack);
    stack.recover().await;
    assert_eq!(stack.snapshot().intents.len(), 1);
    stack
}

/// Nobody can tell what became of any call.
fn silent(stack: &Stack) {
    stack
        .world
        .fault(Fault::new(Effect::Unwell).api(Api::Recover).nth(0));
}

async fn destroyed(stack: &Stack) -> Ran {
    stack
        .apply(stack.plan(&ResourceGraph::empty(), Mode::Destroy))
        .await
}

#[test]
fn nothing_leaves_that_an_unclear_call_needs() {
    let item = |name: &str| format!(r#""{name}": {{"type": "Item", "properties": {{"name": "{name}"}}}}"#);
    let served = r#""y": {"type": "Item", "properties": {"name": "y"}, "options": {"servedBy": ["need"]}}"#;
    let on = r#""y": {"type": "Item", "properties": {"name": "y"}, "options": {"dependsOn": ["need"]}}"#;
    let need = item("need");
    let boxed = r#""need": {"type": "Box", "properties": {"name": "need"}}"#;
    let child = r#""y": {"type": "Child", "properties": {"name": "y", "box": "${need.name}"}}"#;
    let cases = [(&*need, served), (&*need, on), (boxed, child)];
    for (before, unclear_one) in cases {
        on_clock(async {
            let both = format!("{{{before}, {unclear_one}}}");
            let mut stack = unclear(&format!("{{{before}}}"), &both, "y").await;
            let ran = destroyed(&stack).await;
            assert_eq!(ran.failed(), [("need", "Unclear")].into(), "{unclear_one}");
            let trouble = &ran.outcome.failed[0].trouble;
            assert!(trouble.message.contains("`y`"), "{}", trouble.message);
            assert_eq!(stack.world.at("need").len(), 1);
            stack.restart();
            assert_eq!(stack.recover().await[0].fate, Fate::Done);
            stack.destroy().await;
            assert!(stack.world.things().is_empty());
        });
    }
}

#[test]
fn a_cluster_stays_while_a_call_in_it_is_unclear() {
    on_clock(async {
        let z = r#", "z": {"type": "Tagged", "options": {"provider": "inner"}}"#;
        let both = format!("{TAGGED}{z}");
        let mut stack = unclear(&behind("c", z), &behind("c", &both), "x").await;
        let ran = destroyed(&stack).await;
        // The provider and `z` would go with it.
        assert_eq!(ran.failed(), [("cluster", "Unclear")].into());
        assert_eq!(stack.world.of("Cluster").len(), 1);
        let other = behind("other", &both);
        let ran = stack.run(&other).await;
        assert!(!ran.outcome.is_success());
        assert_eq!(
            stack
                .world
                .at("cluster")
                .iter()
                .filter(|c| c.text("name") == "c")
                .count(),
            1
        );
        stack.restart();
        stack.recover().await;
        stack.up(&other).await;
        stack.destroy().await;
        assert!(stack.world.things().is_empty());
    });
}

#[test]
fn a_container_that_somebody_removed_takes_the_unclear_call_along() {
    on_clock(async {
        let mut stack = unclear(&behind("c", ""), &behind("c", TAGGED), "x").await;
        for thing in stack.world.things() {
            stack.world.vanish(&thing.id);
        }
        stack.restart();
        silent(&stack);
        assert_eq!(stack.recover().await[0].fate, Fate::NotDone);
        stack.restart();
        // It is gone with all that was in it, as a look tells.
        let seen = stack
            .look(&stack.graph(&behind("c", TAGGED)), Depth::Refresh)
            .await;
        let graph = stack.graph(&behind("c", TAGGED));
        let plan = stack
            .plan_with(&graph, Mode::Up, &seen.found, &Selection::default())
            .unwrap();
        assert!(stack.apply(plan).await.outcome.is_success());
        stack.destroy().await;
    });
}

#[test]
fn a_provider_with_an_unclear_call_keeps_its_name() {
    on_clock(async {
        let text = |provider: &str, more: &str| {
            format!(
                r#"{{"$providers": {{"{provider}": {{"properties": {{"account": "one"}}, "options": {{"aliases": ["one"]}}}}}},
                     "b": {{"type": "Item", "properties": {{"name": "b"}}, "options": {{"provider": "{provider}"}}}}{more}}}"#
            )
        };
        let a = |provider: &str| {
            format!(
                r#", "a": {{"type": "Item", "properties": {{"name": "a"}}, "options": {{"provider": "{provider}"}}}}"#
            )
        };
        let mut stack = unclear(&text("one", ""), &text("one", &a("one")), "a").await;
        let ran = stack.run(&text("two", &a("two"))).await;
        assert_eq!(ran.failed(), [("two", "Unclear")].into());
        stack.restart();
        assert_eq!(stack.recover().await[0].fate, Fate::Done);
        stack.up(&text("two", &a("two"))).await;
        assert_eq!(stack.world.made(&urn("Item", "a")), 1);
        stack.destroy().await;
    });
}

#[test]
fn a_person_lets_go_of_a_call_that_nobody_can_tell_of() {
    on_clock(async {
        let mut stack = unclear(&behind("c", ""), &behind("c", TAGGED), "x").await;
        let (x, none) = ([urn("Tagged", "x")].into(), BTreeSet::new());
        for urns in [&[urn("Cluster", "cluster")].into(), &x] {
            let refused = stack.snapshot().forgetting(urns, &none);
            assert_eq!(refused.unwrap_err(), Refused::Unfinished(urn("Tagged", "x")));
        }
        let (changes, ended) = stack.snapshot().forgetting(&x, &x).unwrap();
        assert!(changes.is_empty());
        let at = Timestamp(0);
        for intent in ended {
            let end = JournalEntry::End {
                token: Some(intent.token.clone()),
                ending: Ending::Failed,
                changes: Vec::new(),
                at,
            };
            let _ticket = stack.session.append(end).unwrap();
        }
        stack.restart();
        stack.destroy().await;
    });
}

/// Writes down an update of `entry` that nobody knows the end of.
fn begun(stack: &Stack, token: u8, operation: Operation, entry: &Entry, before: Option<&Entry>) {
    let intent = Intent {
        token: Token::from_bytes([token; 16]),
        operation,
        entry: Box::new(entry.clone()),
        before: before.map(|before| Box::new(before.clone())),
        partial: None,
        begun: Timestamp(u64::from(token)),
    };
    let _ticket = stack
        .session
        .append(JournalEntry::Begin(Box::new(intent)))
        .unwrap();
}

#[test]
fn an_outcome_that_contradicts_the_state_is_unclear_and_the_others_are_recorded() {
    on_clock(async {
        let stack = Stack::new();
        let items = r#""a": {"type": "Item", "properties": {"name": "a"}, "options": {"provider": "one"}},
                       "b": {"type": "Item", "properties": {"name": "b"}, "options": {"provider": "one"}}"#;
        stack
            .up(&format!(
                r#"{{"$providers": {{"one": {{}}, "two": {{}}}}, {items}}}"#
            ))
            .await;
        let snapshot = stack.snapshot();
        let live = |path: &str| snapshot.live(&urn("Item", path)).unwrap();
        let two = snapshot
            .entries
            .keys()
            .find(|key| key.urn.path() == "two")
            .unwrap();
        let moved = Entry {
            provider: Some(two.clone()),
            ..live("a").clone()
        };
        begun(&stack, 1, Operation::Update, &moved, Some(live("a")));
        begun(&stack, 2, Operation::Update, live("b"), Some(live("b")));
        // As older versions did: the provider goes that the call would be recorded with.
        let gone = JournalEntry::End {
            token: None,
            ending: Ending::Done,
            changes: vec![epid::state::Change::Remove(two.clone())],
            at: Timestamp(0),
        };
        let _ticket = stack.session.append(gone).unwrap();
        let mut found = stack.recover().await;
        found.sort_by(|a, b| a.urn.cmp(&b.urn));
        assert!(matches!(found[0].fate, Fate::Unclear { .. }), "{found:?}");
        assert_eq!(found[1].fate, Fate::Done);
        let snapshot = stack.snapshot();
        assert_eq!(snapshot.intents.len(), 1);
        assert_eq!(snapshot.run.unwrap().end.unwrap().0, RunResult::Failed);
    });
}

#[test]
fn a_delete_of_a_cluster_that_is_found_done_takes_what_was_replaced_in_it() {
    on_clock(async {
        let mut stack = Stack::new();
        let shaped = |shape: &str| TAGGED.replace(r#""value": "1""#, &format!(r#""shape": "{shape}""#));
        let refuse = |stack: &Stack, kind| {
            stack
                .world
                .fault(Fault::new(Effect::Refuse).api(Api::Delete).kind(kind).nth(0));
        };
        stack.up(&behind("one", &shaped("round"))).await;
        refuse(&stack, "Cluster");
        stack.run(&behind("two", &shaped("round"))).await;
        refuse(&stack, "Tagged");
        stack.run(&behind("two", &shaped("square"))).await;
        stack.restart();
        let snapshot = stack.snapshot();
        assert_eq!(snapshot.of(&urn("Cluster", "cluster")).count(), 2);
        assert_eq!(snapshot.of(&urn("Tagged", "x")).count(), 2);
        // The cluster in use is deleted, and nobody hears of it.
        let cluster = snapshot.live(&urn("Cluster", "cluster")).unwrap();
        begun(&stack, 1, Operation::Delete, cluster, Some(cluster));
        for thing in stack.world.things() {
            if thing.id == cluster.record.id || thing.account == cluster.record.id {
                stack.world.vanish(&thing.id);
            }
        }
        assert_eq!(stack.recover().await[0].fate, Fate::Done);
        assert_eq!(stack.snapshot().of(&urn("Tagged", "x")).count(), 0);
        stack.destroy().await;
        assert!(stack.world.things().is_empty());
    });
}
