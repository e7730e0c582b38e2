//! The process dies: at every call of the cloud, and at every write of the state. The next runs settle everything, and
//! nothing is made twice.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use epid::plan::Mode;
use epid::state::blobs::{Fault, MemoryBlobs};
use epid::state::{Holder, KeyRing, Location, Opening, Session, Store};
use epid_fake::Effect;
use epid_fake::fault::Api;
use epid_fake::programs::{Specs, edit, edited, large_specs, render, specs, wanted};
use epid_provider::Timestamp;
use proptest::prelude::*;

use crate::properties::{again, settled, with_facts};
use crate::stack::{Stack, on_clock, urn};

/// Runs `run` until it ends, or until `dead` says that the process is no more.
pub(crate) async fn until_dead<R>(run: impl Future<Output = R>, dead: impl Fn() -> bool) -> Option<R> {
    let mut run = pin!(run);
    std::future::poll_fn(|cx| {
        let polled = run.as_mut().poll(cx);
        if dead() {
            Poll::Ready(None)
        } else {
            polled.map(Some)
        }
    })
    .await
}

/// How many things were made for each resource of a program, at most.
fn made_once(stack: &Stack, specs: &Specs) -> Result<(), TestCaseError> {
    for (path, kind) in wanted(specs) {
        prop_assert_eq!(stack.world.made(&urn(kind, &path)), 1, "{} {}", kind, path);
    }
    Ok(())
}

/// Applies `first`, then `second` with a crash at the `nth` call. True where it came that far.
async fn crash_at_call(first: &Specs, second: &Specs, nth: u32) -> Result<bool, TestCaseError> {
    let mut stack = with_facts();
    again(&stack, &stack.graph(&render(first)), Mode::Up).await;
    let dead = Arc::new(AtomicBool::new(false));
    let flag = dead.clone();
    stack.world.on_crash(move || flag.store(true, Ordering::Relaxed));
    stack.world.crash_at(nth);
    let graph = stack.graph(&render(second));
    let is_dead = || dead.load(Ordering::Relaxed);
    until_dead(again(&stack, &graph, Mode::Up), is_dead).await;
    stack.restart();
    let ran = again(&stack, &graph, Mode::Up).await;
    prop_assert!(
        ran.outcome.is_success(),
        "crash at call {}: {:#?}",
        nth,
        ran.outcome.failed
    );
    settled(&stack, second)?;
    if first.is_empty() {
        made_once(&stack, second)?;
    }
    Ok(is_dead())
}

/// The blobs of a stack whose state is kept, and its keys.
struct Disk {
    blobs: MemoryBlobs,
    store: Store,
    /// Held so that the key files live.
    _keys: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let blobs = MemoryBlobs::new();
        let seed = Mutex::new(42_u64);
        let entropy = move |bytes: &mut [u8]| {
            let mut state = seed.lock().unwrap();
            for byte in bytes {
                *state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                *byte = state.to_be_bytes()[0];
            }
            Ok(())
        };
        let store = Store::new(
            Arc::new(blobs.clone()),
            KeyRing::new(keys.path()),
            Arc::new(entropy),
        );
        Self {
            blobs,
            store,
            _keys: keys,
        }
    }

    async fn open(&self) -> Arc<Session> {
        let holder = Holder {
            pid: 1,
            user: "test".into(),
            host: "host".into(),
            since: Timestamp(0),
            command: "epid up".into(),
            job: None,
        };
        let location = Location::new("local", "p", "s");
        Arc::new(
            Session::open(&self.store, &location, Opening::new(holder).create())
                .await
                .unwrap(),
        )
    }
}

/// Applies `first`, then `second` with a fault at the `nth` write of that run. True where it came that far.
async fn crash_at_write(
    first: &Specs,
    second: &Specs,
    nth: u64,
    fault: Fault,
) -> Result<bool, TestCaseError> {
    let disk = Disk::new();
    let mut stack = with_facts();
    stack.session = disk.open().await;
    again(&stack, &stack.graph(&render(first)), Mode::Up).await;
    let at = disk.blobs.writes() + nth;
    disk.blobs.fail_at(at, fault);
    let graph = stack.graph(&render(second));
    let hit = || disk.blobs.writes() > at;
    let dies = !matches!(fault, Fault::Full(_));
    let ran = until_dead(again(&stack, &graph, Mode::Up), || dies && hit()).await;
    let came = hit();
    if let Some(ran) = ran
        && came
    {
        prop_assert!(
            ran.outcome.journal.is_some(),
            "a run that could not write says so"
        );
    }
    let nowhere = Session::in_memory(stack.snapshot().header);
    stack.session = Arc::new(nowhere);
    disk.blobs.revive();
    stack.restart();
    stack.session = disk.open().await;
    let ran = again(&stack, &graph, Mode::Up).await;
    prop_assert!(
        ran.outcome.is_success(),
        "{:?} at write {}: {:#?}",
        fault,
        nth,
        ran.outcome.failed
    );
    settled(&stack, second)?;
    if first.is_empty() {
        made_once(&stack, second)?;
    }
    Ok(came)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::properties::cases(2), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_large_program_that_dies_now_and_then_is_recovered_from(
        first in large_specs(150),
        edits in prop::collection::vec(edit(), 5..40),
        moments in prop::collection::vec(1u32..300, 3),
    ) {
        on_clock(async {
            let second = edited(&first, &edits);
            for nth in moments {
                crash_at_call(&first, &second, nth).await?;
                crash_at_write(&first, &second, u64::from(nth) / 4, Fault::Crash(17)).await?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::properties::cases(24), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_at_any_call_of_the_cloud_is_recovered_from(
        first in prop_oneof![Just(Specs::new()), specs(6)],
        edits in prop::collection::vec(edit(), 1..5),
        second in specs(6),
    ) {
        on_clock(async {
            let second = if first.is_empty() { second } else { edited(&first, &edits) };
            let mut nth = 1;
            while crash_at_call(&first, &second, nth).await? {
                nth += 1;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }

    #[test]
    fn a_crash_at_any_write_of_the_state_is_recovered_from(
        first in prop_oneof![Just(Specs::new()), specs(6)],
        edits in prop::collection::vec(edit(), 1..5),
        second in specs(6),
        fault in prop_oneof![
            Just(Fault::Crash(0)),
            Just(Fault::Crash(17)),
            Just(Fault::CrashAfter),
            Just(Fault::Full(0)),
            Just(Fault::Full(40)),
        ],
    ) {
        on_clock(async {
            let second = if first.is_empty() { second } else { edited(&first, &edits) };
            let mut nth = 0;
            while crash_at_write(&first, &second, nth, fault).await? {
                nth += 1;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}

#[test]
fn a_call_is_not_sent_again_once_the_lock_is_lost() {
    on_clock(async {
        for effect in [Effect::Throttle, Effect::Unwell, Effect::LoseRequest] {
            let (disk, mut stack) = (Disk::new(), Stack::new());
            stack.session = disk.open().await;
            let fault = epid_fake::Fault::new(effect.clone()).api(Api::Create);
            stack.world.fault(fault);
            let graph = stack.graph(r#"{"a": {"type": "Item"}}"#);
            let plan = stack.plan(&graph, Mode::Up);
            let lose = async {
                while stack.world.count(Api::Create) == 0 {
                    tokio::task::yield_now().await;
                }
                disk.blobs.revive();
            };
            let (ran, ()) = futures::join!(stack.apply(plan), lose);
            assert!(ran.outcome.journal.is_some(), "{effect:?}: {:?}", ran.outcome);
            assert_eq!(stack.world.made(&urn("Item", "a")), 0, "{effect:?}");
        }
    });
}
