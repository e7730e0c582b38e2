//! States in a bucket: two writers, one that stands still, one that dies, answers that are lost.

use std::sync::Arc;
use std::time::Duration;

use epid_provider::Timestamp;
use tempfile::TempDir;
use tokio::time::Instant;

use super::objects::{Fault, Process};
use super::sample::{append, close, dev, entry, holder, make, opening, run, store, ticket};
use crate::state::blobs::{Blobs, Lock};
use crate::state::{JournalEntry, RunResult, Session, StateError, Store};

pub(super) fn of(process: &Process, keys: &TempDir) -> Store {
    store(Arc::new(process.blobs()), keys)
}

pub(super) async fn pass(seconds: u64) {
    #[expect(clippy::disallowed_methods, reason = "the tests let time pass")]
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Opens the state as `--wait` does.
pub(super) async fn wait(store: &Store) -> Result<Session, StateError> {
    let begun = Instant::now();
    loop {
        match Session::open(store, &dev(), opening()).await {
            Err(StateError::Locked { .. }) if begun.elapsed() < Duration::from_secs(60) => pass(1).await,
            opened => return opened,
        }
    }
}

/// Three runs that each make two things. Answers how many entries are durable at least, as far as it comes.
async fn script(store: &Store, durable: &mut usize) -> Result<(), StateError> {
    for round in 0..3_u64 {
        let session = wait(store).await?;
        append(&session, [run(round)])?;
        for thing in 0..2 {
            let last = ticket(
                &session,
                make(round * 10 + thing, &entry(&format!("v{round}{thing}"))),
            )?;
            session.durable(last).await?;
            *durable += 1;
        }
        append(&session, [close(round)])?;
        session.publish_outputs().await?;
        session.close().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lease_tells_who_works_and_until_when_to_who_does_not_take_it() {
    let (process, keys) = (Process::default(), tempfile::tempdir().unwrap());
    let store = of(&process, &keys);
    assert_eq!(store.at_work(&dev()).await.unwrap(), None);
    let session = wait(&store).await.unwrap();
    let (who, first) = store.at_work(&dev()).await.unwrap().unwrap();
    assert_eq!(who, holder());
    pass(10).await;
    let (_, later) = store.at_work(&dev()).await.unwrap().unwrap();
    assert!(later > first, "it is renewed: {first:?}, {later:?}");
    session.close().await.unwrap();
    assert_eq!(store.at_work(&dev()).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_state_lives_in_a_bucket_and_costs_few_writes() {
    let (process, keys) = (Process::default(), tempfile::tempdir().unwrap());
    let store = of(&process, &keys);
    script(&store, &mut 0).await.unwrap();
    let (state, _) = store.read(&dev()).await.unwrap().unwrap();
    assert_eq!((state.header.serial, state.entries.len()), (3, 6));
    assert_eq!(store.list().await.unwrap(), [dev()]);
    assert_eq!(store.history(&dev()).await.unwrap().len(), 3);
    assert_eq!(store.outputs(&dev()).await.unwrap().unwrap().serial, 3);
    let before = process.writes();
    let session = wait(&of(&process, &keys)).await.unwrap();
    let JournalEntry::Run(idle) = run(7) else {
        unreachable!()
    };
    session.note_idle(idle, RunResult::Done, Timestamp(8));
    session.close().await.unwrap();
    // A run that changes nothing takes the lock, keeps its record, and gives the lock back.
    assert_eq!(process.writes() - before, 3);
    let keys: Vec<_> = process.keys();
    assert_eq!(
        keys,
        [
            "team/cloud/p/dev/history/0000000001",
            "team/cloud/p/dev/history/0000000002",
            "team/cloud/p/dev/history/0000000003",
            "team/cloud/p/dev/history/0000000003-0000000000007",
            "team/cloud/p/dev/journal/0000000003~0000000000",
            "team/cloud/p/dev/journal/0000000003~0000000001",
            "team/cloud/p/dev/journal/0000000003~0000000002",
            "team/cloud/p/dev/journal/0000000003~0000000003",
            "team/cloud/p/dev/lock",
            "team/cloud/p/dev/outputs",
            "team/cloud/p/dev/state",
            "team/cloud/p/dev/state.previous",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn lost_answers_change_nothing() {
    let (whole, keys) = (Process::default(), tempfile::tempdir().unwrap());
    script(&of(&whole, &keys), &mut 0).await.unwrap();
    for write in 0..whole.writes() {
        for fault in [Fault::Lost, Fault::AnswerLost, Fault::AnswersLost, Fault::Late] {
            let (process, keys) = (Process::default(), tempfile::tempdir().unwrap());
            process.fail_at(write, fault);
            let store = of(&process, &keys);
            let done = script(&store, &mut 0).await;
            assert!(done.is_ok(), "{fault:?} at {write}: {done:?}");
            let (state, _) = store.read(&dev()).await.unwrap().unwrap();
            assert_eq!(
                (state.header.serial, state.entries.len()),
                (3, 6),
                "{fault:?} at {write}"
            );
            assert_eq!(
                store.history(&dev()).await.unwrap().len(),
                3,
                "{fault:?} at {write}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whenever_the_process_dies_another_goes_on_with_everything_durable() {
    let (whole, keys) = (Process::default(), tempfile::tempdir().unwrap());
    script(&of(&whole, &keys), &mut 0).await.unwrap();
    for write in 0..whole.writes() {
        for fault in [Fault::Crash, Fault::CrashAfter] {
            let (process, keys, mut durable) = (Process::default(), tempfile::tempdir().unwrap(), 0);
            process.fail_at(write, fault);
            drop(script(&of(&process, &keys), &mut durable).await);
            let next = process.another();
            let store = of(&next, &keys);
            let session = wait(&store)
                .await
                .unwrap_or_else(|error| panic!("{fault:?} at {write}: {error}"));
            let there = session.with(|snapshot| snapshot.entries.len());
            assert!(there >= durable, "{fault:?} at {write}: {there} of {durable}");
            let last = ticket(&session, make(99, &entry("after"))).unwrap();
            session.durable(last).await.unwrap();
            session.close().await.unwrap();
            let (state, _) = store.read(&dev()).await.unwrap().unwrap();
            assert_eq!(state.entries.len(), there + 1, "{fault:?} at {write}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_writer_is_told_who_has_the_lock_until_when_for_as_long_as_it_lives() {
    let (first, keys) = (Process::default(), tempfile::tempdir().unwrap());
    let session = wait(&of(&first, &keys)).await.unwrap();
    let second = of(&first.another(), &keys);
    for _ in 0..300 {
        match Session::open(&second, &dev(), opening()).await {
            Err(error @ StateError::Locked { .. }) => {
                let text = error.to_string();
                assert!(text.contains("`epid up --stack dev` of ann@laptop"), "{text}");
                assert!(text.contains("until 20"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        pass(1).await;
    }
    session.close().await.unwrap();
    Session::open(&second, &dev(), opening()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_lock_of_a_killed_run_ends_by_itself_and_not_before_its_time() {
    let (first, keys) = (Process::default(), tempfile::tempdir().unwrap());
    let session = wait(&of(&first, &keys)).await.unwrap();
    let last = ticket(&session, make(1, &entry("v"))).unwrap();
    session.durable(last).await.unwrap();
    first.kill();
    let begun = Instant::now();
    let next = wait(&of(&first.another(), &keys)).await.unwrap();
    let waited = begun.elapsed();
    assert!(
        waited >= Duration::from_secs(20) && waited < Duration::from_secs(25),
        "{waited:?}"
    );
    assert_eq!(next.with(|snapshot| snapshot.entries.len()), 1);
    // One that took over and then had nothing to write leaves a state that can be read.
    next.close().await.unwrap();
    let after = wait(&of(&first.another(), &keys)).await.unwrap();
    assert_eq!(after.with(|snapshot| snapshot.entries.len()), 1);
    let last = ticket(&after, make(2, &entry("w"))).unwrap();
    after.durable(last).await.unwrap();
    after.close().await.unwrap();
    let (state, _) = of(&first.another(), &keys).read(&dev()).await.unwrap().unwrap();
    assert_eq!(state.entries.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn long_after_a_kill_one_look_is_enough() {
    let (first, keys) = (Process::default(), tempfile::tempdir().unwrap());
    let _killed = wait(&of(&first, &keys)).await.unwrap();
    first.kill();
    pass(3600).await;
    let begun = Instant::now();
    Session::open(&of(&first.another(), &keys), &dev(), opening())
        .await
        .unwrap();
    // Its clock may have been wrong, so it is watched nevertheless.
    assert!(begun.elapsed() >= Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_stood_still_writes_nothing_once_another_has_the_lock() {
    for sessions in 1..4 {
        for began in [false, true] {
            let (first, keys) = (Process::default(), tempfile::tempdir().unwrap());
            let stopped = wait(&of(&first, &keys)).await.unwrap();
            if began {
                let last = ticket(&stopped, make(1, &entry("before"))).unwrap();
                stopped.durable(last).await.unwrap();
            }
            first.stop();
            let second = of(&first.another(), &keys);
            for number in 0..sessions {
                let session = wait(&second).await.unwrap();
                let last = ticket(&session, make(10 + number, &entry(&format!("theirs{number}")))).unwrap();
                session.durable(last).await.unwrap();
                session.close().await.unwrap();
            }
            first.go_on();
            let last = ticket(&stopped, make(2, &entry("late"))).unwrap();
            assert!(stopped.durable(last).await.is_err(), "{sessions} {began}");
            assert!(stopped.close().await.is_err());
            let (state, _) = second.read(&dev()).await.unwrap().unwrap();
            let expected = usize::try_from(sessions).unwrap() + usize::from(began);
            assert_eq!(state.entries.len(), expected, "{sessions} {began}");
            let session = wait(&second).await.unwrap();
            let last = ticket(&session, make(50, &entry("more"))).unwrap();
            session.durable(last).await.unwrap();
            session.close().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_stood_still_goes_on_where_nobody_came() {
    let (first, keys) = (Process::default(), tempfile::tempdir().unwrap());
    let session = wait(&of(&first, &keys)).await.unwrap();
    first.stop();
    pass(600).await;
    first.go_on();
    let last = ticket(&session, make(2, &entry("late"))).unwrap();
    session.durable(last).await.unwrap();
    session.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_neither_loses_a_lock_nor_keeps_it() {
    for (holders, observers) in [(60, 0), (-60, 0), (0, 60), (0, -60), (60, -60)] {
        let text = format!("{holders} {observers}");
        let (first, keys) = (Process::default(), tempfile::tempdir().unwrap());
        let session = wait(&of(&first, &keys)).await.unwrap();
        let second = first.another();
        // While it is held, and once more while nobody looked for a while.
        for pause in [1, 7, 30] {
            pass(pause).await;
            first.set_clock(holders);
            second.set_clock(observers);
            let begun = Instant::now();
            let refused = Session::open(&of(&second, &keys), &dev(), opening()).await;
            assert!(matches!(refused, Err(StateError::Locked { .. })), "{text}");
            assert!(begun.elapsed() < Duration::from_secs(10), "{text}");
            let last = ticket(&session, make(pause, &entry(&format!("v{pause}")))).unwrap();
            session.durable(last).await.unwrap();
        }
        // Once its holder is gone, whoever just tries gets it, whatever the clocks say.
        first.kill();
        pass(20).await;
        let begun = Instant::now();
        let next = Session::open(&of(&second, &keys), &dev(), opening()).await;
        let next = next.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(begun.elapsed() < Duration::from_secs(25), "{text}");
        assert_eq!(next.with(|snapshot| snapshot.entries.len()), 3, "{text}");
    }
}

/// Whatever request it was about to send, of a run or of closing it: what came since stays, and it is told.
#[tokio::test(start_paused = true)]
async fn a_writer_that_stood_still_at_any_moment_undoes_nothing() {
    let mut lost = 0;
    for moment in 0..u64::MAX {
        let (first, keys) = (Process::default(), tempfile::tempdir().unwrap());
        script(&of(&first, &keys), &mut 0).await.unwrap();
        let stopped = first.another();
        let store = of(&stopped, &keys);
        let writing = tokio::spawn(async move { script(&store, &mut 0).await });
        #[expect(clippy::disallowed_methods, reason = "the tests let time pass")]
        tokio::time::sleep(Duration::from_millis(5 + moment * 20)).await;
        if writing.is_finished() {
            break;
        }
        stopped.stop();
        let second = of(&first.another(), &keys);
        for number in 0..2 {
            let session = wait(&second).await.unwrap();
            append(&session, [run(number)]).unwrap();
            let theirs = make(70 + number, &entry(&format!("theirs{number}")));
            session.durable(ticket(&session, theirs).unwrap()).await.unwrap();
            append(&session, [close(number)]).unwrap();
            session.publish_outputs().await.unwrap();
            session.close().await.unwrap();
        }
        let (before, _) = second.read(&dev()).await.unwrap().unwrap();
        stopped.go_on();
        // Between two of its runs it may begin the next one as anybody may.
        lost += u32::from(writing.await.unwrap().is_err());
        let verified = second.verify(&dev()).await.unwrap();
        assert!(verified.problems.is_empty(), "{moment}: {:?}", verified.problems);
        let state = verified.snapshot.unwrap();
        for (key, entry) in &before.entries {
            let now = state.entries.get(key);
            assert!(
                now.is_some_and(|now| now.urn() == entry.urn()),
                "{moment}: {key:?}"
            );
        }
        assert!(state.header.serial >= before.header.serial, "{moment}");
    }
    assert!(lost > 20, "{lost}");
}

/// A machine that was suspended: its clock says that it still has the lock. What it writes must fail by itself.
#[tokio::test(start_paused = true)]
async fn fences_keep_out_whose_clock_stood_still() {
    let first = Process::default();
    let (old, new) = (first.blobs(), first.another().blobs());
    let guard = old.lock("s/lock", &holder()).await.unwrap().taken().unwrap();
    let mut log = old
        .start_log("s/journal/1", b"a".to_vec())
        .await
        .unwrap()
        .unwrap();
    log.append(b"b".to_vec()).await.unwrap();
    old.put("s/state", b"one".to_vec()).await.unwrap();
    first.stop();
    let taken = loop {
        match new.lock("s/lock", &holder()).await.unwrap() {
            Lock::Taken(guard) => break guard,
            Lock::Held(_) => pass(1).await,
        }
    };
    assert!(taken.is_disputed());
    new.fence("s/journal/1").await.unwrap();
    assert_eq!(new.get("s/journal/1").await.unwrap(), Some(b"ab".to_vec()));
    new.put("s/state", b"two".to_vec()).await.unwrap();
    new.delete("s/journal/1").await.unwrap();
    assert_eq!(new.get("s/journal/1").await.unwrap(), None);
    assert_eq!(new.list("s/journal").await.unwrap(), Vec::<String>::new());
    first.go_on();
    assert!(log.append(b"c".to_vec()).await.is_err());
    assert!(old.start_log("s/journal/2", Vec::new()).await.is_err());
    assert!(old.put("s/state", b"three".to_vec()).await.is_err());
    assert!(old.delete("s/state").await.is_err());
    assert!(!guard.is_held().await);
    assert_eq!(new.get("s/state").await.unwrap(), Some(b"two".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn of_many_that_want_a_lock_one_gets_it() {
    let first = Process::default();
    let mut wishes = Vec::new();
    for _ in 0..20 {
        let blobs = first.another().blobs();
        wishes.push(tokio::spawn(async move {
            let lock = blobs.lock("s/lock", &holder()).await.unwrap();
            (blobs, lock)
        }));
    }
    let mut taken = Vec::new();
    for wish in wishes {
        taken.push(wish.await.unwrap());
    }
    let holders = taken.iter().filter(|(_, lock)| matches!(lock, Lock::Taken(_)));
    assert_eq!(holders.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_lease_is_nobodys_to_take() {
    let lease = |epid: &str, format: u32, lasts: u64| {
        format!(
            r#"{{"epid":"{epid}","format":{format},"epoch":1,"beat":1,"token":"t","until":0,"lasts":{lasts},
                "holder":{{"pid":1,"user":"u","host":"h","since":0,"command":"epid up"}}}}"#
        )
    };
    let texts = [
        ("{}".to_owned(), "missing field"),
        ("\u{0}".to_owned(), "expected value"),
        (lease("notice", 1, 20_000), "it is a notice"),
        (lease("lease", 2, 20_000), "upgrade"),
        (lease("lease", 1, u64::MAX), "it would last"),
    ];
    for (text, why) in texts {
        let (process, keys) = (Process::default(), tempfile::tempdir().unwrap());
        process.overwrite("team/cloud/p/dev/lock", text.as_bytes());
        let error = wait(&of(&process, &keys)).await.unwrap_err().to_string();
        assert!(error.contains("it is no lease") && error.contains(why), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_comes_back_does_not_disturb_the_one_that_took_over() {
    for began in [false, true] {
        let (first, keys) = (Process::default(), tempfile::tempdir().unwrap());
        let stopped = wait(&of(&first, &keys)).await.unwrap();
        if began {
            let last = ticket(&stopped, make(1, &entry("before"))).unwrap();
            stopped.durable(last).await.unwrap();
        }
        first.stop();
        let session = wait(&of(&first.another(), &keys)).await.unwrap();
        first.go_on();
        let last = ticket(&stopped, make(2, &entry("late"))).unwrap();
        assert!(stopped.durable(last).await.is_err());
        assert!(stopped.check_lock().await.is_err());
        let last = ticket(&session, make(3, &entry("theirs"))).unwrap();
        session.durable(last).await.unwrap();
        session.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_looks_at_the_lease_at_once_looks_together_and_is_in_no_writers_way() {
    let (process, keys) = (Process::default(), tempfile::tempdir().unwrap());
    let session = wait(&of(&process, &keys)).await.unwrap();
    let last = ticket(&session, make(1, &entry("begun"))).unwrap();
    session.durable(last).await.unwrap();
    let before = process.requests();
    let looks = futures::future::join_all((0..128).map(|_| session.check_lock()));
    for look in looks.await {
        look.unwrap();
    }
    // One for who came first, and one that began after all others had asked.
    assert_eq!(process.requests() - before, 2);
    // An append is one request, and so is a look: they take as long as one of them.
    let last = ticket(&session, make(2, &entry("meanwhile"))).unwrap();
    let begun = Instant::now();
    let (looked, written) = tokio::join!(session.check_lock(), session.durable(last));
    looked.and(written).unwrap();
    assert_eq!(begun.elapsed().as_millis(), 20);
}

#[tokio::test(start_paused = true)]
async fn who_holds_a_lease_of_the_project_and_one_of_the_stack_writes_under_both() {
    const LOCKS: [&str; 2] = ["cloud/p/notice.lock", "cloud/p/dev/lock"];
    for lost in LOCKS {
        let (process, other) = (Process::default(), Process::default());
        let (blobs, others) = (process.blobs(), other.blobs());
        let mut held = Vec::new();
        for lock in LOCKS {
            held.extend(blobs.lock(lock, &holder()).await.unwrap().taken());
        }
        assert_eq!(held.len(), 2);
        blobs.put("cloud/p/dev/state", b"1".to_vec()).await.unwrap();
        let log = blobs.start_log("cloud/p/dev/journal/1", b"1".to_vec()).await;
        assert!(log.unwrap().is_some());
        // As after a standstill: one of them is somebody else's now.
        let _theirs = others.lock(lost, &holder()).await.unwrap();
        let theirs = others.get(lost).await.unwrap().unwrap();
        process.overwrite(&format!("team/{lost}"), &theirs);
        let tried = [
            blobs.put("cloud/p/dev/state", b"2".to_vec()).await,
            blobs.delete("cloud/p/dev/outputs").await,
            blobs
                .start_log("cloud/p/dev/journal/2", b"2".to_vec())
                .await
                .map(drop),
        ];
        for tried in tried {
            let error = tried.unwrap_err().to_string();
            assert!(error.contains("another epid has taken over"), "{lost}: {error}");
        }
        assert_eq!(blobs.get("cloud/p/dev/state").await.unwrap(), Some(b"1".to_vec()));
        // What is beside the stack is written under the project's alone.
        let beside = blobs.put("cloud/p/notice.json", b"1".to_vec()).await;
        assert_eq!(beside.is_ok(), lost == LOCKS[1], "{beside:?}");
    }
}
