//! A person stops a run.

use std::time::Duration;

use epid::apply::{Clock as _, Event, Fate};
use epid::plan::Mode;
use epid::state::RunResult;
use epid_fake::fault::Api;
use epid_fake::{Effect, Fault};

use crate::adoption::{ADOPTED, ONE, imported, nobodys};
use crate::stack::{Stack, on_clock, urn};

const TWO: &str = r#"{
    "slow": {"type": "Cluster", "properties": {"name": "k"}},
    "after": {"type": "Profile", "properties": {"name": "p", "cluster": "${slow.name}"}}}"#;

#[test]
fn the_first_interrupt_finishes_what_runs_and_starts_nothing() {
    on_clock(async {
        let mut stack = Stack::new();
        let plan = stack.plan(&stack.graph(TWO), Mode::Up);
        let stopper = stack.stopper.clone();
        let (ran, ()) = tokio::join!(stack.apply(plan), async {
            stack.sleep(60).await;
            stopper.stop();
        });
        assert!(ran.outcome.interrupted && ran.outcome.failed.is_empty());
        assert_eq!(ran.did(), ["Created slow"]);
        assert_eq!(ran.outcome.left.len(), 1);
        let snapshot = stack.snapshot();
        assert!(snapshot.intents.is_empty());
        assert_eq!(snapshot.run.unwrap().end.unwrap().0, RunResult::Interrupted);
        stack.restart();
        assert_eq!(stack.up(TWO).await.did(), ["Created after"]);
    });
}

#[test]
fn an_interrupt_with_nothing_left_to_do_interrupts_nothing() {
    on_clock(async {
        let mut stack = Stack::new();
        let one = r#"{
            "slow": {"type": "Cluster", "properties": {"name": "k"}},
            "after": {"type": "Item", "properties": {"name": "a"}, "options": {"dependsOn": ["slow"]}}}"#;
        stack.up(one).await;
        // What depends on it has a step of its own, which calls nobody.
        let one = &one.replace("\"k\"", "\"k\", \"version\": \"2\"");
        let plan = stack.plan(&stack.graph(one), Mode::Up);
        assert_eq!(plan.steps.len(), 2, "{:?}", plan.steps);
        let slow = Effect::Delay(Duration::from_secs(60));
        stack.world.fault(Fault::new(slow).api(Api::Update));
        let stopper = stack.stopper.clone();
        let (ran, ()) = tokio::join!(stack.apply(plan), async {
            stack.sleep(30).await;
            stopper.stop();
        });
        let stopping = |event: &Event| matches!(event, Event::Stopping { running: 1, .. });
        assert!(ran.events.iter().any(stopping), "{:?}", ran.events);
        assert_eq!(ran.did(), ["Updated slow"]);
        assert!(ran.outcome.is_success() && !ran.outcome.interrupted);
        assert_eq!(stack.snapshot().run.unwrap().end.unwrap().0, RunResult::Done);
        stack.restart();
        assert!(stack.up(one).await.did().is_empty());
    });
}

#[test]
fn the_second_interrupt_cancels_and_what_exists_is_kept() {
    on_clock(async {
        let mut stack = Stack::new();
        let plan = stack.plan(&stack.graph(TWO), Mode::Up);
        let stopper = stack.stopper.clone();
        let (ran, ()) = tokio::join!(stack.apply(plan), async {
            stack.sleep(60).await;
            stopper.stop();
            stack.sleep(1).await;
            stopper.stop();
        });
        assert_eq!(ran.failed(), [("slow", "Cancelled")].into());
        let Some(Event::RunDone { at, .. }) = ran.events.last() else {
            panic!("no end")
        };
        assert!(at.since(stack.snapshot().run.unwrap().run.at) < Duration::from_secs(64));
        stack.restart();
        stack.recover().await;
        stack.up(TWO).await;
        assert_eq!(stack.world.made(&urn("Cluster", "slow")), 1);
    });
}

#[test]
fn a_call_that_does_not_come_back_is_left_to_the_next_run() {
    on_clock(async {
        for after in [false, true] {
            let mut stack = Stack::new();
            let text = r#"{"a": {"type": "Item", "properties": {"name": "a"}}}"#;
            stack
                .world
                .fault(Fault::new(Effect::Hang { after }).api(Api::Create));
            stack
                .world
                .fault(Fault::new(Effect::Delay(Duration::from_secs(3600))).api(Api::Recover));
            let plan = stack.plan(&stack.graph(text), Mode::Up);
            let stopper = stack.stopper.clone();
            let (ran, ()) = tokio::join!(stack.apply(plan), async {
                stack.sleep(10).await;
                stopper.stop();
                stopper.stop();
            });
            assert!(ran.outcome.failed[0].trouble.unclear, "{:?}", ran.outcome.failed);
            assert_eq!(stack.snapshot().intents.len(), 1);
            stack.restart();
            let found = stack.recover().await;
            assert_eq!(found[0].fate, if after { Fate::Done } else { Fate::NotDone });
            stack.up(text).await;
            assert_eq!(stack.world.made(&urn("Item", "a")), 1);
        }
    });
}

#[test]
fn a_recovery_that_is_stopped_leaves_what_it_does_not_know_to_the_next() {
    on_clock(async {
        let mut stack = Stack::new();
        let text = r#"{"a": {"type": "Item", "properties": {"name": "a"}}}"#;
        stack
            .world
            .fault(Fault::new(Effect::Hang { after: true }).api(Api::Create));
        let late = || Fault::new(Effect::Delay(Duration::from_secs(200))).api(Api::Recover);
        stack.world.fault(late());
        let plan = stack.plan(&stack.graph(text), Mode::Up);
        let stopper = stack.stopper.clone();
        tokio::join!(stack.apply(plan), async {
            stack.sleep(10).await;
            stopper.stop();
            stopper.stop();
        });
        stack.restart();
        stack.world.fault(late());
        let stopper = stack.stopper.clone();
        let (found, ()) = tokio::join!(stack.recover(), async {
            stack.sleep(10).await;
            stopper.stop();
            stopper.stop();
        });
        assert!(found.is_empty(), "{found:?}");
        let snapshot = stack.snapshot();
        // Nothing was found out, so no plan that was made before is stale.
        assert_eq!((snapshot.intents.len(), snapshot.header.serial), (1, 1));
        stack.restart();
        assert_eq!(stack.recover().await[0].fate, Fate::Done);
        let run = stack.snapshot().run.unwrap();
        assert_eq!((run.serial, run.end.unwrap().0), (2, RunResult::Done));
        assert!(run.is_recovery());
    });
}

/// A stack of which nobody knows whether `a` was updated.
async fn perhaps_updated() -> Stack {
    let text = |value: &str| {
        format!(r#"{{"a": {{"type": "Item", "properties": {{"name": "a", "value": "{value}"}}}}}}"#)
    };
    let mut stack = Stack::new();
    stack.up(&text("1")).await;
    stack
        .world
        .fault(Fault::new(Effect::Hang { after: true }).api(Api::Update));
    stack
        .world
        .fault(Fault::new(Effect::Delay(Duration::from_secs(200))).api(Api::Recover));
    let plan = stack.plan(&stack.graph(&text("2")), Mode::Up);
    let stopper = stack.stopper.clone();
    tokio::join!(stack.apply(plan), async {
        stack.sleep(10).await;
        stopper.stop();
        stopper.stop();
    });
    assert_eq!(stack.snapshot().intents.len(), 1);
    stack.restart();
    stack
}

#[test]
fn the_first_interrupt_of_a_recovery_waits_for_what_is_on_its_way() {
    on_clock(async {
        let stack = perhaps_updated().await;
        // A provider may repeat an update to find out.
        stack
            .world
            .fault(Fault::new(Effect::Delay(Duration::from_secs(200))).api(Api::Recover));
        let stopper = stack.stopper.clone();
        let (found, ()) = tokio::join!(stack.recover(), async {
            stack.sleep(10).await;
            stopper.stop();
        });
        assert_eq!(found[0].fate, Fate::Done);
        let run = stack.snapshot().run.unwrap();
        assert_eq!(run.end.unwrap().0, RunResult::Done);
    });
}

#[test]
fn the_first_interrupt_of_a_recovery_asks_nobody_again() {
    on_clock(async {
        let stack = perhaps_updated().await;
        stack
            .world
            .fault(Fault::new(Effect::Unwell).api(Api::Recover).nth(0));
        let before = stack.world.count(Api::Recover);
        let stopper = stack.stopper.clone();
        let begun = stack.clock.now();
        let (found, ()) = tokio::join!(stack.recover(), async {
            stack.sleep(10).await;
            stopper.stop();
        });
        assert!(found.is_empty(), "{found:?}");
        assert!(stack.clock.now().since(begun) < Duration::from_secs(12));
        assert!(stack.world.count(Api::Recover) - before < 8);
        assert_eq!(stack.snapshot().intents.len(), 1);
    });
}

#[test]
fn a_step_that_only_looks_sends_nothing_once_the_run_is_stopped() {
    on_clock(async {
        let unmarked = async || {
            let stack = Stack::of(nobodys(ONE).await, "lineage");
            imported(&stack, ONE).await;
            stack
        };
        let there = async || Stack::of(nobodys(ONE).await, "lineage");
        // What an earlier stack left without a mark; what is there to be adopted; what is not there.
        let cases = [
            (unmarked().await, ONE, 1),
            (there().await, ADOPTED, 1),
            (Stack::new(), ADOPTED, 0),
        ];
        for (mut stack, text, things) in cases {
            let sent = |stack: &Stack| stack.world.count(Api::Create) + stack.world.count(Api::Update);
            let before = sent(&stack);
            stack
                .world
                .fault(Fault::new(Effect::Delay(Duration::from_secs(60))).api(Api::Observe));
            let plan = stack.plan(&stack.graph(text), Mode::Up);
            let stopper = stack.stopper.clone();
            let (ran, ()) = tokio::join!(stack.apply(plan), async {
                stack.sleep(10).await;
                stopper.stop();
            });
            assert_eq!(sent(&stack), before, "{text}");
            assert!(ran.outcome.interrupted && ran.outcome.failed.is_empty());
            assert_eq!(ran.outcome.left.len(), 1);
            assert_eq!(stack.world.things().len(), things);
            stack.restart();
            stack.up(text).await;
            assert_eq!(&*stack.world.things()[0].lineage, "lineage");
            assert_eq!(sent(&stack), before + 1);
        }
    });
}
