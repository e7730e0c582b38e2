//! Whatever the program, the edits and the faults: plain runs afterwards make the cloud as the program says.

use std::time::Duration;

use epid::graph::ResourceGraph;
use epid::plan::Mode;
use epid_fake::fault::Api;
use epid_fake::programs::{Specs, edit, edited, render, specs, wanted};
use epid_fake::{Effect, Fault};
use proptest::prelude::*;

use crate::stack::{Stack, actions, on_clock};

fn effect() -> impl Strategy<Value = Effect> {
    prop_oneof![
        Just(Effect::Refuse),
        Just(Effect::Unwell),
        Just(Effect::Throttle),
        Just(Effect::LoseAnswer),
        Just(Effect::LoseFirstAnswer),
        Just(Effect::LoseRequest),
        Just(Effect::Half),
        Just(Effect::Delay(Duration::from_secs(30))),
        any::<bool>().prop_map(|after| Effect::Hang { after }),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    let api = prop_oneof![
        4 => Just(Api::Create),
        3 => Just(Api::Update),
        3 => Just(Api::Delete),
        1 => Just(Api::Recover),
        1 => Just(Api::Observe),
        1 => Just(Api::Connect),
    ];
    (effect(), api, 1u32..6).prop_map(|(effect, api, nth)| Fault::new(effect).api(api).nth(nth))
}

/// As many cases as `PROPTEST_CASES` asks for, or so many.
#[expect(clippy::disallowed_methods, reason = "as proptest itself reads it")]
pub(crate) fn cases(usual: u32) -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(usual)
}

pub(crate) fn with_facts() -> Stack {
    let stack = Stack::new();
    for (fact, found) in [("f0", "x"), ("f1", "x"), ("f2", "y"), ("f3", "z")] {
        stack.world.set_fact(fact, found);
    }
    stack
}

/// The state and the cloud are as the program says, and nothing is left to do.
pub(crate) fn settled(stack: &Stack, specs: &Specs) -> Result<(), TestCaseError> {
    let snapshot = stack.snapshot();
    prop_assert_eq!(snapshot.verify(), Ok(()));
    prop_assert!(snapshot.intents.is_empty());
    prop_assert_eq!(stack.world.violations(), Vec::<String>::new());
    let plan = stack.plan(&stack.graph(&render(specs)), Mode::Up);
    prop_assert!(plan.is_empty(), "left to do: {:?}", actions(&plan));
    let mut there: Vec<(String, String)> = stack
        .world
        .things()
        .iter()
        .map(|t| (t.urn.path().to_owned(), t.kind.to_string()))
        .collect();
    there.sort();
    let mut wanted: Vec<(String, String)> = wanted(specs)
        .into_iter()
        .map(|(path, kind)| (path, kind.to_owned()))
        .collect();
    wanted.sort();
    prop_assert_eq!(there, wanted);
    for thing in stack.world.things() {
        let entry = snapshot
            .live(&thing.urn)
            .map(|e| (e.record.id.clone(), e.record.applied.clone()));
        let Some((id, applied)) = entry else {
            return Err(TestCaseError::fail(format!("{} is not recorded", thing.urn)));
        };
        prop_assert_eq!(&id, &thing.id);
        for (key, value) in applied.as_map().unwrap().iter() {
            prop_assert_eq!(Some(value), thing.properties.get(key), "{} {}", thing.urn, key);
        }
    }
    Ok(())
}

/// Recovers and runs as the next `epid up` would.
pub(crate) async fn again(stack: &Stack, graph: &ResourceGraph, mode: Mode) -> crate::stack::Ran {
    stack.recover().await;
    let plan = stack.plan(graph, mode);
    stack.apply(plan).await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(256), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plain_runs_do_what_edits_ask_for(
        first in specs(9),
        edits in prop::collection::vec(prop::collection::vec(edit(), 1..4), 0..4),
    ) {
        on_clock(async {
            let stack = with_facts();
            let mut specs = first;
            for edits in [Vec::new()].into_iter().chain(edits) {
                specs = edited(&specs, &edits);
                let ran = stack.run(&render(&specs)).await;
                prop_assert!(ran.outcome.is_success(), "{:#?} of {}", ran.outcome.failed, render(&specs));
                settled(&stack, &specs)?;
            }
            stack.destroy().await;
            prop_assert_eq!(stack.world.things(), Vec::new());
            Ok(())
        })?;
    }

    #[test]
    fn after_faulty_runs_a_plain_one_settles_everything(
        first in specs(8),
        edits in prop::collection::vec(edit(), 1..5),
        faults in prop::collection::vec(prop::collection::vec(fault(), 1..4), 1..4),
        destroy in any::<bool>(),
    ) {
        on_clock(async {
            let mut stack = with_facts();
            let before = stack.graph(&render(&first));
            let specs = edited(&first, &edits);
            let graph = stack.graph(&render(&specs));
            for (at, faults) in faults.into_iter().enumerate() {
                for fault in faults {
                    stack.world.fault(fault);
                }
                again(&stack, if at == 0 { &before } else { &graph }, Mode::Up).await;
                stack.world.heal();
            }
            stack.restart();
            if destroy {
                stack.recover().await;
                stack.destroy().await;
                prop_assert_eq!(stack.world.things(), Vec::new());
                return Ok(());
            }
            let ran = again(&stack, &graph, Mode::Up).await;
            prop_assert!(ran.outcome.is_success(), "{:#?}", ran.outcome.failed);
            settled(&stack, &specs)
        })?;
    }
}
