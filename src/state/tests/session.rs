//! One session after another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use epid_provider::Timestamp;

use super::sample::{Sample, append, close, dev, entry, holder, make, opening, run};
use crate::state::blobs::Blobs;
use crate::state::{JournalEntry, Opening, Refused, RunResult, Session, StateError};

#[tokio::test]
async fn what_was_appended_is_there_for_the_next_session() {
    let sample = Sample::new();
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let mut last = session.append(run(1)).unwrap();
    for name in ["a", "b", "c"] {
        for line in make(u64::from(name.as_bytes()[0]), &entry(name)) {
            last = session.append(line).unwrap();
        }
    }
    session.durable(last).await.unwrap();
    let (read, _) = sample.store.read(&dev()).await.unwrap().unwrap();
    assert_eq!(read, session.snapshot());
    drop(session);

    let session = Session::open(&sample.store, &dev(), Opening::new(holder()))
        .await
        .unwrap();
    assert_eq!(session.snapshot(), read);
    let last = session.append(close(9)).unwrap();
    session.durable(last).await.unwrap();
    session.close().await.unwrap();
    let (closed, _) = sample.store.read(&dev()).await.unwrap().unwrap();
    assert_eq!(closed, session.snapshot());
    assert_eq!((closed.header.serial, closed.entries.len()), (1, 3));
    assert!(matches!(session.append(run(2)), Err(StateError::Closed)));
}

#[tokio::test]
async fn a_second_session_is_told_who_has_the_first() {
    let sample = Sample::new();
    let first = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let error = Session::open(&sample.store, &dev(), opening()).await.unwrap_err();
    let told = error.to_string();
    assert!(
        told.starts_with(
            "p/dev in cloud is locked by `epid up --stack dev` of ann@laptop (process 7, since "
        ) && told.ends_with("Z)"),
        "{told}"
    );
    assert_eq!(error.hint(), Some("--wait waits until that run has ended"));
    first.close().await.unwrap();
    Session::open(&sample.store, &dev(), opening()).await.unwrap();
}

#[tokio::test]
async fn a_call_that_another_run_began_teaches_no_time() {
    let sample = Sample::new();
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let [began, ended] = make(10, &entry("a"));
    append(&session, [run(1), began, run(3_600_000), ended]).unwrap();
    let run_of = session.snapshot().run.unwrap();
    assert_eq!(run_of.steps[0].took, Duration::ZERO);
    assert!(session.snapshot().timings.is_empty());
    append(&session, make(3_600_001, &entry("b"))).unwrap();
    let timings = session.snapshot().timings;
    let learned = timings.values().next().unwrap().create;
    assert_eq!(learned, Some(Duration::from_millis(5)));
}

#[tokio::test]
async fn a_run_that_changed_nothing_is_kept_beside_the_state() {
    let sample = Sample::new();
    let JournalEntry::Run(idle) = run(20) else {
        unreachable!()
    };
    let first = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    append(
        &first,
        [run(1)]
            .into_iter()
            .chain(make(10, &entry("a")))
            .chain([close(9)]),
    )
    .unwrap();
    first.close().await.unwrap();
    let state = async || sample.blobs.get("cloud/p/dev/state").await.unwrap();
    let before = state().await;
    // The clock stands still: both are of the same time.
    for _ in 0..2 {
        let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
        session.note_idle(idle.clone(), RunResult::Done, Timestamp(21));
        session.close().await.unwrap();
    }
    assert_eq!(state().await, before);
    let numbers = async || {
        let runs = sample.store.history(&dev()).await.unwrap();
        runs.iter().map(|run| run.serial).collect::<Vec<_>>()
    };
    assert_eq!(numbers().await, [1, 1, 1]);
    let verified = sample.store.verify(&dev()).await.unwrap();
    assert_eq!((verified.runs, verified.problems.len()), (3, 0));
    // What follows in the same session makes it a run like any other.
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    session.note_idle(idle, RunResult::Done, Timestamp(21));
    append(&session, [JournalEntry::Derived(BTreeMap::new())]).unwrap();
    session.close().await.unwrap();
    assert_eq!(numbers().await, [1, 1, 1, 2]);
}

#[tokio::test]
async fn a_call_of_something_protected_can_be_let_go_and_the_record_stays() {
    let sample = Sample::new();
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let mut protected = entry("a");
    protected.protect = true;
    let [began, _] = make(20, &protected);
    append(
        &session,
        [run(1)].into_iter().chain(make(10, &protected)).chain([began]),
    )
    .unwrap();
    let (snapshot, urns) = (session.snapshot(), [protected.urn().clone()].into());
    let (changes, ended) = snapshot.forgetting(&urns, &urns).unwrap();
    assert_eq!((changes.len(), ended.len()), (0, 1));
    let refused = snapshot.forgetting(&urns, &BTreeSet::new()).unwrap_err();
    assert!(matches!(refused, Refused::Unfinished(_)), "{refused}");
}
