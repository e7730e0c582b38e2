//! Calls that go wrong.

use std::time::Duration;

use epid::apply::{Event, Fate};
use epid::graph::ResourceGraph;
use epid::plan::Mode;
use epid_fake::fault::Api;
use epid_fake::{Effect, Fault};
use epid_provider::Value;

use crate::stack::{Stack, on_clock, urn};

const CHAIN: &str = r#"{
    "a": {"type": "Item", "properties": {"name": "a"}},
    "b": {"type": "Item", "properties": {"uses": ["${a.id}"]}},
    "c": {"type": "Item", "properties": {"uses": ["${b.id}"]}},
    "alone": {"type": "Item", "properties": {"name": "alone"}}}"#;

#[test]
fn what_needs_a_failed_step_is_left_out_and_the_rest_goes_on() {
    on_clock(async {
        let stack = Stack::new();
        stack.world.fault(Fault::new(Effect::Refuse).path("a"));
        let ran = stack.run(CHAIN).await;
        assert_eq!(ran.failed(), [("a", "AccessDenied")].into());
        assert_eq!(ran.skipped(), [("b", "a"), ("c", "a")].into());
        assert_eq!(ran.did(), ["Created alone"]);
        let ran = stack.up(CHAIN).await;
        assert_eq!(ran.did(), ["Created a", "Created b", "Created c"]);
    });
}

#[test]
fn a_service_that_is_unwell_is_tried_again_after_a_while() {
    on_clock(async {
        let stack = Stack::new();
        for nth in 1..=3 {
            stack
                .world
                .fault(Fault::new(Effect::Unwell).path("a").api(Api::Create).nth(nth));
        }
        let ran = stack.up(CHAIN).await;
        let retries = ran
            .events
            .iter()
            .filter(|e| matches!(e, Event::Retrying { .. }))
            .count();
        assert_eq!(retries, 3);
        assert_eq!(stack.world.made(&urn("Item", "a")), 1);
    });
}

#[test]
fn a_service_that_never_recovers_is_given_up_within_the_time_of_the_step() {
    on_clock(async {
        let stack = Stack::new();
        stack
            .world
            .fault(Fault::new(Effect::Unwell).path("a").api(Api::Create).nth(0));
        let ran = stack.run(CHAIN).await;
        assert_eq!(ran.failed(), [("a", "ServiceUnavailable")].into());
        assert!(
            stack.snapshot().intents.is_empty(),
            "nothing happened, and that is known"
        );
    });
}

#[test]
fn throttling_slows_down_and_everything_is_made() {
    on_clock(async {
        let stack = Stack::new();
        for nth in [1, 3, 5, 7, 40, 41] {
            stack
                .world
                .fault(Fault::new(Effect::Throttle).api(Api::Create).nth(nth));
        }
        let many: Vec<String> = (0..60)
            .map(|n| format!(r#""n{n}": {{"type": "Item"}}"#))
            .collect();
        stack.up(&format!("{{{}}}", many.join(","))).await;
        assert_eq!(stack.world.of("Item").len(), 60);
    });
}

#[test]
fn a_lost_answer_is_looked_into_and_nothing_is_made_twice() {
    on_clock(async {
        for effect in [Effect::LoseAnswer, Effect::LoseRequest] {
            for kind in ["Item", "Tagged", "Stepwise", "Defaulted"] {
                let stack = Stack::new();
                stack.world.fault(Fault::new(effect.clone()).api(Api::Create));
                let text = |value: &str| {
                    format!(r#"{{"a": {{"type": "{kind}", "properties": {{"value": "{value}"}}}}}}"#)
                };
                stack.up(&text("1")).await;
                assert_eq!(stack.world.made(&urn(kind, "a")), 1, "{effect:?} {kind}");
                stack.world.fault(Fault::new(effect.clone()).api(Api::Update));
                stack.up(&text("2")).await;
                assert_eq!(stack.world.at("a")[0].text("value"), "2");
                stack.world.fault(Fault::new(effect.clone()).api(Api::Delete));
                stack.destroy().await;
                assert!(stack.world.things().is_empty(), "{effect:?} {kind}");
            }
        }
    });
}

#[test]
fn a_request_that_is_sent_again_is_looked_for_as_long_as_the_first() {
    on_clock(async {
        let stack = Stack::new();
        for (nth, effect) in [(1, Effect::LoseRequest), (2, Effect::LoseAnswer)] {
            stack.world.fault(Fault::new(effect).api(Api::Create).nth(nth));
        }
        stack.up(r#"{"a": {"type": "Tagged"}}"#).await;
        assert_eq!(stack.world.of("Tagged").len(), 1);
    });
}

#[test]
fn what_a_service_did_late_is_seen_by_whoever_comes_after() {
    on_clock(async {
        let stack = Stack::new();
        let late = Fault::new(Effect::Delay(Duration::from_secs(30)));
        stack.world.fault(late.api(Api::Create));
        stack
            .run(r#"{"a": {"type": "Item", "properties": {"name": "a"}}}"#)
            .await;
        // A process that dies now is followed by one whose time begins there.
        assert!(stack.world.things()[0].visible <= stack.world.copy().now());
    });
}

#[test]
fn an_answer_that_cannot_be_found_leaves_the_intent_for_the_next_run() {
    on_clock(async {
        let stack = Stack::new();
        stack
            .world
            .fault(Fault::new(Effect::LoseAnswer).api(Api::Create).path("a"));
        stack
            .world
            .fault(Fault::new(Effect::Unwell).api(Api::Recover).nth(0));
        let ran = stack.run(CHAIN).await;
        assert_eq!(ran.failed(), [("a", "ConnectionReset")].into());
        assert!(ran.outcome.failed[0].trouble.unclear);
        assert_eq!(stack.snapshot().intents.len(), 1);
        let ran = stack.run(CHAIN).await;
        assert_eq!(
            ran.failed(),
            [("a", "Unclear")].into(),
            "nothing is made beside it"
        );
        let found = stack.recover().await;
        assert!(matches!(found[0].fate, Fate::Unclear { .. }));
        stack.world.heal();
        let found = stack.recover().await;
        assert_eq!(found[0].fate, Fate::Done);
        let ran = stack.up(CHAIN).await;
        assert_eq!(ran.did(), ["Created b", "Created c"]);
        assert_eq!(stack.world.made(&urn("Item", "a")), 1);
    });
}

#[test]
fn a_half_made_thing_is_recorded_blocks_its_dependents_and_is_finished_by_the_next_run() {
    on_clock(async {
        let stack = Stack::new();
        let text =
            r#"{"s": {"type": "Stepwise"}, "user": {"type": "Item", "properties": {"uses": ["${s.id}"]}}}"#;
        stack.world.fault(Fault::new(Effect::Half).api(Api::Create));
        let ran = stack.run(text).await;
        assert_eq!(ran.failed(), [("s", "InternalError")].into());
        assert_eq!(ran.skipped(), [("user", "s")].into());
        let snapshot = stack.snapshot();
        assert_eq!(
            snapshot.live(&urn("Stepwise", "s")).unwrap().record.incomplete,
            ["attach", "finish"]
        );
        let plan = stack.plan(&stack.graph(text), Mode::Up);
        let unfinished = plan.steps.iter().filter(|step| !step.unfinished.is_empty());
        let unfinished: Vec<_> = unfinished
            .map(|step| (&*step.address, step.unfinished.join(", ")))
            .collect();
        assert_eq!(unfinished, [("s", "attach, finish".to_owned())]);
        let ran = stack.up(text).await;
        assert_eq!(ran.did(), ["Updated s", "Created user"]);
        assert_eq!(stack.world.made(&urn("Stepwise", "s")), 1);
    });
}

/// The answer to the first of a create's requests is lost.
#[test]
fn what_a_lost_answer_left_half_made_is_finished_by_the_same_run() {
    on_clock(async {
        let text =
            r#"{"s": {"type": "Stepwise"}, "user": {"type": "Item", "properties": {"uses": ["${s.id}"]}}}"#;
        let record = |stack: &Stack| {
            stack
                .snapshot()
                .live(&urn("Stepwise", "s"))
                .unwrap()
                .record
                .clone()
        };
        let stack = Stack::new();
        stack
            .world
            .fault(Fault::new(Effect::LoseFirstAnswer).api(Api::Create));
        let ran = stack.run(text).await;
        assert_eq!(ran.failed(), [].into());
        assert_eq!(ran.did(), ["Created s", "Created user"]);
        assert_eq!(stack.world.made(&urn("Stepwise", "s")), 1);
        assert_eq!(record(&stack).incomplete, Vec::<String>::new());
        // Where it cannot be finished either, it is known to be there.
        let stack = Stack::new();
        stack
            .world
            .fault(Fault::new(Effect::LoseFirstAnswer).api(Api::Create));
        stack.world.fault(Fault::new(Effect::Refuse).api(Api::Update));
        let ran = stack.run(text).await;
        assert_eq!(ran.failed(), [("s", "AccessDenied")].into());
        assert_eq!(record(&stack).incomplete, ["attach", "finish"]);
        assert!(stack.snapshot().intents.is_empty());
        assert_eq!(stack.up(text).await.did(), ["Updated s", "Created user"]);
        assert_eq!(stack.world.made(&urn("Stepwise", "s")), 1);
    });
}

/// Only what is known to have been sent can be taken away again.
#[test]
fn what_a_half_made_successor_is_to_keep_stays_when_the_next_run_finishes_it() {
    on_clock(async {
        let stack = Stack::new();
        let text = |shape: &str| {
            format!(
                r#"{{"a": {{"type": "Stepwise", "properties": {{"shape": "{shape}"}}}},
                     "b": {{"type": "Item", "properties": {{"name": "b", "shape": "${{a.version}}", "uses": ["${{a.id}}"]}}}}}}"#
            )
        };
        stack.up(&text("round")).await;
        stack.world.fault(Fault::new(Effect::Half).api(Api::Create));
        let ran = stack.run(&text("square")).await;
        assert_eq!(ran.failed(), [("a", "InternalError")].into());
        // Its version is that of one made at once: the update that finishes it changes nothing.
        let ran = stack.up(&text("square")).await;
        assert_eq!(ran.did(), ["Updated a", "Updated b", "Deleted a"]);
    });
}

#[test]
fn what_a_half_done_update_was_to_set_is_remembered_until_one_finishes() {
    on_clock(async {
        let stack = Stack::new();
        let text =
            |value: &str| format!(r#"{{"s": {{"type": "Stepwise", "properties": {{"value": "{value}"}}}}}}"#);
        let record = || {
            stack
                .snapshot()
                .live(&urn("Stepwise", "s"))
                .unwrap()
                .record
                .clone()
        };
        let attempted = || {
            let all = record().attempted;
            let values = all.iter().map(|inputs| inputs.get("value").unwrap().to_string());
            values.collect::<Vec<_>>()
        };
        let runs = [
            ("1", Api::Create),
            ("2", Api::Update),
            ("3", Api::Update),
            ("2", Api::Update),
        ];
        for (value, api) in runs {
            stack.world.fault(Fault::new(Effect::Half).api(api));
            let ran = stack.run(&text(value)).await;
            assert_eq!(ran.failed(), [("s", "InternalError")].into());
        }
        assert_eq!(record().applied.get("value"), Some(&Value::str("1")));
        assert_eq!(attempted(), [r#""2""#, r#""3""#]);
        let ran = stack.up(&text("1")).await;
        assert_eq!(ran.did(), ["Updated s"]);
        assert_eq!(attempted(), Vec::<String>::new());
    });
}

#[test]
fn a_vacated_thing_whose_successor_fails_is_made_by_the_next_run() {
    on_clock(async {
        let stack = Stack::new();
        let text = |shape: &str| {
            format!(r#"{{"a": {{"type": "Item", "properties": {{"name": "a", "shape": "{shape}"}}}}}}"#)
        };
        stack.up(&text("round")).await;
        stack
            .world
            .fault(Fault::new(Effect::Refuse).api(Api::Create).nth(1));
        let ran = stack.run(&text("square")).await;
        assert_eq!(ran.failed(), [("a", "AccessDenied")].into());
        assert!(stack.world.things().is_empty());
        let ran = stack.up(&text("square")).await;
        assert_eq!(ran.did(), ["Created a"]);
        assert_eq!(stack.snapshot().entries.len(), 2, "the provider and the item");
    });
}

#[test]
fn credentials_that_are_not_accepted_stop_what_is_behind_them() {
    on_clock(async {
        let stack = Stack::new();
        stack.world.fault(Fault::new(Effect::Refuse).api(Api::Connect));
        let ran = stack.run(CHAIN).await;
        assert_eq!(ran.failed(), [("fake", "Unauthorized")].into());
        assert_eq!(ran.skipped().len(), 4);
        stack.up(CHAIN).await;
    });
}

#[test]
fn a_provider_stays_while_a_call_through_it_is_unclear() {
    on_clock(async {
        let stack = Stack::new();
        stack
            .world
            .fault(Fault::new(Effect::LoseAnswer).api(Api::Create).path("a"));
        stack
            .world
            .fault(Fault::new(Effect::Unwell).api(Api::Recover).nth(0));
        stack.run(CHAIN).await;
        let plan = stack.plan(&ResourceGraph::empty(), Mode::Destroy);
        let ran = stack.apply(plan).await;
        assert_eq!(ran.failed(), [("fake", "Unclear")].into());
        stack.world.heal();
        stack.recover().await;
        stack.destroy().await;
        assert!(stack.world.things().is_empty());
    });
}
