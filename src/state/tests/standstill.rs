//! Writers in a bucket that stand still before any of their requests while others come and go.

use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;

use super::bucket::{of, pass, wait};
use super::objects::{Fault, Process};
use super::sample::{append, close, dev, entry, holder, make, run, ticket};
use crate::state::blobs::{Blobs, Lock};
use crate::state::{Session, StateError, Store};

const STATE: &str = "team/cloud/p/dev/state";

/// What is durable, by number.
type Durable = watch::Sender<Vec<u64>>;

async fn make_one(session: &Session, number: u64, durable: &Durable) -> Result<(), StateError> {
    let last = ticket(session, make(number, &entry(&format!("v{number}"))))?;
    session.durable(last).await?;
    durable.send_modify(|durable| durable.push(number));
    Ok(())
}

/// A whole run that makes two things.
async fn whole_run(store: Store, first: u64, durable: Durable) -> Result<(), StateError> {
    let session = wait(&store).await?;
    append(&session, [run(first)])?;
    for number in first..first + 2 {
        make_one(&session, number, &durable).await?;
    }
    append(&session, [close(first)])?;
    session.publish_outputs().await?;
    session.close().await
}

/// Others come and go, and one is at work when the one that stood still goes on.
async fn others(first: &Process, keys: &TempDir, gone: u64, durable: &Durable) -> Result<(), StateError> {
    let store = of(&first.another(), keys);
    for other in 0..gone {
        whole_run(store.clone(), 30 + 10 * other, durable.clone()).await?;
    }
    let session = wait(&store).await?;
    append(&session, [run(90)])?;
    make_one(&session, 90, durable).await?;
    first.go_on();
    // Long enough for whatever it does next.
    pass(4).await;
    make_one(&session, 91, durable).await?;
    session.close().await
}

/// Stops a run before its request of that number; `None` where it has not so many.
async fn story(request: u64, gone: u64, takes_over: bool) -> Option<Result<(), String>> {
    let (first, keys) = (Process::default(), tempfile::tempdir().unwrap());
    let durable = Durable::default();
    let before = first.another();
    whole_run(of(&before, &keys), 10, durable.clone()).await.unwrap();
    if takes_over {
        let session = wait(&of(&before, &keys)).await.unwrap();
        make_one(&session, 15, &durable).await.unwrap();
        before.kill();
    }
    first.stop_before(request);
    let stopped = tokio::spawn(whole_run(of(&first, &keys), 20, durable.clone()));
    while !first.is_stopped() && !stopped.is_finished() {
        pass(1).await;
    }
    if stopped.is_finished() {
        return None;
    }
    if let Err(error) = others(&first, &keys, gone, &durable).await {
        return Some(Err(format!("the others were disturbed: {error}")));
    }
    // Whether it could end well depends on where it stood.
    drop(stopped.await.unwrap());
    for (file, process) in [
        ("state", first.another()),
        ("state.previous", first.without(STATE)),
    ] {
        let state = match of(&process, &keys).read(&dev()).await {
            Ok(state) => state.unwrap().0,
            Err(error) => return Some(Err(format!("{file}: {error}"))),
        };
        let there = |number: &u64| state.live(entry(&format!("v{number}")).urn()).is_some();
        let missing: Vec<u64> = durable
            .borrow()
            .iter()
            .copied()
            .filter(|number| !there(number))
            .collect();
        if !missing.is_empty() {
            return Some(Err(format!("{file} lacks {missing:?}, which was durable")));
        }
    }
    Some(Ok(()))
}

#[tokio::test(start_paused = true)]
async fn wherever_a_writer_stands_still_the_others_lose_nothing() {
    let mut broken = Vec::new();
    for (takes_over, gone) in [(false, 0), (false, 2), (true, 0)] {
        let mut request = 0;
        while let Some(told) = story(request, gone, takes_over).await {
            let at = format!("before request {request}, takes over {takes_over}, {gone} came and went");
            broken.extend(told.err().map(|told| format!("{at}: {told}")));
            request += 1;
        }
        assert!(request > 20, "{request}");
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// An append that took effect and was removed again by others meanwhile: writing it anew succeeds, and proves nothing.
#[tokio::test(start_paused = true)]
async fn an_append_whose_answer_was_lost_counts_only_under_the_lease() {
    let first = Process::default();
    let (old, new) = (first.blobs(), first.another().blobs());
    let _guard = old.lock("s/lock", &holder()).await.unwrap().taken().unwrap();
    let log = old.start_log("s/journal/1", b"a".to_vec()).await.unwrap();
    let mut log = log.unwrap();
    first.fail_at(first.writes(), Fault::AnswerLost);
    first.stop_before(first.requests() + 1);
    let appended = tokio::spawn(async move { log.append(b"b".to_vec()).await });
    while !first.is_stopped() {
        pass(1).await;
    }
    let _taken = loop {
        match new.lock("s/lock", &holder()).await.unwrap() {
            Lock::Taken(guard) => break guard,
            Lock::Held(_) => pass(1).await,
        }
    };
    new.fence("s/journal/1").await.unwrap();
    assert_eq!(new.get("s/journal/1").await.unwrap(), Some(b"ab".to_vec()));
    new.delete("s/journal/1").await.unwrap();
    first.go_on();
    assert!(appended.await.unwrap().is_err());
}

/// What was given up may still arrive, so whoever is next fences it although the lock was given back.
#[tokio::test(start_paused = true)]
async fn a_writer_that_gives_up_says_so_to_the_next() {
    let (first, keys) = (Process::default(), tempfile::tempdir().unwrap());
    let session = wait(&of(&first, &keys)).await.unwrap();
    make_one(&session, 1, &Durable::default()).await.unwrap();
    let next = first.writes();
    first.fail_between(next..u64::MAX, Fault::Lost);
    assert!(make_one(&session, 2, &Durable::default()).await.is_err());
    first.fail_between(0..0, Fault::Lost);
    assert!(session.close().await.is_err());
    let second = first.another();
    let next = wait(&of(&second, &keys)).await.unwrap();
    let fence = "team/cloud/p/dev/journal/0000000001~0000000002".to_owned();
    assert!(second.keys().contains(&fence), "{:?}", second.keys());
    make_one(&next, 3, &Durable::default()).await.unwrap();
    next.close().await.unwrap();
}

/// The release of a guard that was dropped may end after the same process has taken the lock anew.
#[tokio::test(start_paused = true)]
async fn a_late_release_does_not_end_the_next_lease() {
    let process = Process::default();
    let blobs = process.blobs();
    let guard = blobs.lock("s/lock", &holder()).await.unwrap();
    // The first takes effect half a second after it was sent, and when the third meets it the lock is taken again.
    let release = process.writes();
    process.fail_between(release..release + 2, Fault::Late);
    drop(guard);
    let _again = loop {
        match blobs.lock("s/lock", &holder()).await.unwrap() {
            Lock::Taken(guard) => break guard,
            #[expect(clippy::disallowed_methods, reason = "the tests let time pass")]
            Lock::Held(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    pass(2).await;
    blobs.put("s/state", b"one".to_vec()).await.unwrap();
    process.overwrite("team/s/lock", b"{}");
    assert!(blobs.put("s/state", b"two".to_vec()).await.is_err());
}
