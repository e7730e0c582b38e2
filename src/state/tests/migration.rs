//! States on their way to another place: whole, cut short at every write, given up, and refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::objects::Process;
use super::sample::{append, close, dev, entry, holder, make, opening, run, store};
use crate::state::blobs::{Fault, MemoryBlobs};
use crate::state::seen::Notes;
use crate::state::{
    Ahead, Holder, JournalEntry, Location, Migration, Moving, Opening, Place, Run, Session, Snapshot,
    StateError, Store,
};

fn place(url: &str) -> Place {
    Place {
        url: url.to_owned(),
        endpoint: None,
    }
}

fn mover() -> (Holder, Run) {
    let JournalEntry::Run(mut run) = run(9) else {
        panic!("no run")
    };
    run.command = "epid state migrate".into();
    (holder(), run)
}

fn app() -> Location {
    Location::new("cloud", "p", "app")
}

/// Two stacks; one was killed in a run, with a call under way, and is used by the other.
async fn fill(store: &Store) {
    for round in 0..2 {
        let session = Session::open(store, &dev(), opening()).await.unwrap();
        append(&session, [run(round)]).unwrap();
        append(&session, make(round, &entry(&format!("v{round}")))).unwrap();
        append(&session, [close(round)]).unwrap();
        session.publish_outputs().await.unwrap();
        session.close().await.unwrap();
    }
    let session = Session::open(store, &app(), opening()).await.unwrap();
    store.add_consumer(&dev(), &app()).await.unwrap();
    append(&session, [run(1), close(1)]).unwrap();
    session.close().await.unwrap();
    let session = Session::open(store, &dev(), Opening::new(holder()))
        .await
        .unwrap();
    append(&session, [run(3)]).unwrap();
    let [begin, _] = make(7, &entry("lost"));
    let begun = session.append(begin).unwrap();
    session.durable(begun).await.unwrap();
}

/// Each state, how many runs it had, its consumers, and whether it has published outputs.
type Told = BTreeMap<Location, (Snapshot, usize, Vec<Location>, bool)>;

/// What there is to be kept: everything but the serial, which the migration's own run counts.
async fn told(store: &Store) -> Told {
    let mut told = BTreeMap::new();
    let all = store.list().await.unwrap().into_iter();
    for location in all.filter(|location| location.project == dev().project) {
        let verified = store.verify(&location).await.unwrap();
        assert!(verified.problems.is_empty(), "{:?}", verified.problems);
        let mut snapshot = verified.snapshot.unwrap();
        let runs = store.history(&location).await.unwrap();
        let runs = runs
            .iter()
            .filter(|run| &*run.run.command != "epid state migrate");
        (snapshot.header.serial, snapshot.run) = (0, None);
        let consumers = store.consumers(&location).await.unwrap();
        let published = store.outputs(&location).await.unwrap().is_some();
        told.insert(location, (snapshot, runs.count(), consumers, published));
    }
    told
}

struct Two {
    both: MemoryBlobs,
    old: Store,
    new: Store,
    keys: Arc<TempDir>,
    /// What is to be kept.
    before: Told,
}

impl Two {
    async fn filled() -> Self {
        let two = Self::with(
            BTreeMap::new(),
            Arc::new(tempfile::tempdir().unwrap()),
            Told::new(),
        );
        fill(&two.old).await;
        two.both.revive();
        let before = told(&two.old).await;
        Self { before, ..two }
    }

    /// The same before anything was done with it, on a disk of its own.
    fn another(&self, contents: &BTreeMap<String, Vec<u8>>) -> Self {
        Self::with(contents.clone(), self.keys.clone(), self.before.clone())
    }

    fn with(contents: BTreeMap<String, Vec<u8>>, keys: Arc<TempDir>, before: Told) -> Self {
        let both = MemoryBlobs::new();
        for (name, bytes) in contents {
            both.overwrite(&name, Some(bytes));
        }
        // The notes lie beside the project, and nobody's death keeps them from being written.
        let seen = Arc::new(MemoryBlobs::new());
        let of = |part| store(Arc::new(both.within(part)), &keys).noting(seen.clone(), None, |_| ());
        let (old, new) = (of("old"), of("new"));
        Self {
            both,
            old,
            new,
            keys,
            before,
        }
    }

    async fn migrate(&self) -> Result<usize, StateError> {
        let (who, run) = mover();
        migration(&self.old, &self.new).run(&who, &run).await
    }

    /// The new place for somebody who has noted nothing.
    fn theirs(&self) -> Store {
        let mut store = self.new.clone();
        store.notes = Notes::default();
        store
    }

    fn left(&self) -> Vec<String> {
        let all = self.both.contents().into_keys();
        all.filter(|name| name.starts_with("old/")).collect()
    }
}

fn migration(old: &Store, new: &Store) -> Migration {
    Migration::new((old, place("old")), (new, place("new")), "cloud", "p")
}

/// What opening a state for writing comes to; of one that moves, how far that is.
async fn opened(store: &Store) -> Result<(), Moving> {
    match Session::open(store, &dev(), opening()).await {
        Ok(session) => {
            session.close().await.unwrap();
            Ok(())
        }
        Err(StateError::Elsewhere { notice, .. }) => Err(notice.moving),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn states_move_with_everything_and_the_old_place_says_where_they_went() {
    let two = Two::filled().await;
    let before = two.before.clone();
    assert_eq!(before.len(), 2);
    assert_eq!(two.migrate().await.unwrap(), 2);
    assert_eq!(told(&two.new).await, before);
    let runs = two.new.history(&dev()).await.unwrap();
    assert_eq!((runs.len(), &*runs[3].run.command), (4, "epid state migrate"));
    assert!(runs[3].end.is_some());
    let left = two.left();
    let kept = ["/lock", "/notice.lock", "/notice.json"];
    assert!(
        left.iter().all(|name| kept.iter().any(|end| name.ends_with(end))),
        "{left:?}"
    );
    // Whoever comes with the old setting is told, whatever they want, also of a stack that never was.
    let none = Location::new("cloud", "p", "none");
    for location in [dev(), none] {
        let refused = [
            Session::open(&two.old, &location, opening()).await.map(drop),
            two.old.read(&location).await.map(drop),
            two.old.history(&location).await.map(drop),
            two.old.outputs(&location).await.map(drop),
            two.old.verify(&location).await.map(drop),
            two.old.export(&location).await.map(drop),
            two.old.add_consumer(&location, &app()).await,
            two.old.remove(&location, holder()).await,
        ];
        for refused in refused {
            let error = refused.unwrap_err().to_string();
            assert!(
                error.contains("moved to new by `epid up --stack dev` of ann@laptop"),
                "{error}"
            );
            assert!(error.contains("`epid state migrate --to new`"), "{error}");
        }
    }
    // Other projects there are not concerned.
    let other = Location::new("cloud", "q", "dev");
    Session::open(&two.old, &other, opening())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    // The same command again has nothing to do.
    assert_eq!(
        migration(&two.old, &two.new).ahead().await.unwrap(),
        Ahead::Finish
    );
    assert_eq!(two.migrate().await.unwrap(), 0);
    // And back.
    let (who, run) = mover();
    let back = Migration::new((&two.new, place("new")), (&two.old, place("old")), "cloud", "p");
    assert_eq!(back.run(&who, &run).await.unwrap(), 2);
    assert_eq!(told(&two.old).await, before);
    assert_eq!(opened(&two.new).await, Err(Moving::Left));
    assert_eq!(opened(&two.old).await, Ok(()));
}

#[tokio::test]
async fn cut_short_anywhere_nothing_is_lost_or_forked_and_the_same_again_completes_it() {
    let whole = Two::filled().await;
    let contents = whole.both.contents();
    let begun = whole.both.writes();
    whole.migrate().await.unwrap();
    let writes = whole.both.writes() - begun;
    assert!(writes > 30, "{writes}");
    let faults = [
        (Fault::Crash(0), false),
        (Fault::Crash(40), true),
        (Fault::CrashAfter, false),
        (Fault::CrashAfter, true),
        (Fault::Full(10), false),
    ];
    for write in 0..writes {
        for (fault, gives_up) in faults {
            let two = whole.another(&contents);
            two.both.fail_at(write, fault);
            drop(two.migrate().await);
            two.both.revive();
            let usable = (opened(&two.old).await, opened(&two.theirs()).await);
            let text = format!("{fault:?} at {write}: {usable:?}");
            match &usable {
                // Not begun, or told that they stay.
                (Ok(()), Err(Moving::Arriving)) => assert_eq!(told(&two.old).await, two.before, "{text}"),
                (Ok(()), Ok(())) => {
                    // Where there was nothing yet, the look has made a state.
                    assert_eq!(write, 0, "{text}");
                    continue;
                }
                (Err(Moving::Leaving), Err(Moving::Arriving)) if gives_up => {
                    assert!(two.old.stay("cloud", "p", &holder()).await.unwrap(), "{text}");
                    assert_eq!(opened(&two.old).await, Ok(()), "{text}");
                    assert_eq!(told(&two.old).await, two.before, "{text}");
                }
                (Err(Moving::Leaving), Err(Moving::Arriving)) => {}
                (Err(Moving::Left), Err(Moving::Arriving) | Ok(())) => {
                    let stay = two.old.stay("cloud", "p", &holder()).await;
                    assert!(matches!(stay, Err(StateError::Elsewhere { .. })), "{text}");
                }
                _ => panic!("{text}"),
            }
            two.migrate()
                .await
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(told(&two.new).await, two.before, "{text}");
            let runs = two.new.history(&dev()).await.unwrap();
            let moves = runs
                .iter()
                .filter(|run| &*run.run.command == "epid state migrate");
            assert_eq!(moves.count(), 1, "{text}");
            assert_eq!(opened(&two.old).await, Err(Moving::Left), "{text}");
            assert_eq!(opened(&two.new).await, Ok(()), "{text}");
            assert!(two.left().iter().all(|name| !name.ends_with("/state")), "{text}");
        }
    }
}

#[tokio::test]
async fn nothing_is_removed_that_the_new_place_does_not_hold() {
    let two = Two::filled().await;
    let before = two.both.contents();
    two.migrate().await.unwrap();
    // The old states were copied back over the place that says `left`, and the new place is gone.
    for (name, bytes) in &before {
        two.both.overwrite(name, Some(bytes.clone()));
    }
    let there = two.both.contents();
    for name in there.keys().filter(|name| name.starts_with("new/")) {
        two.both.overwrite(name, None);
    }
    let error = two.migrate().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StateError::NotThere { .. }), "{text}");
    assert!(
        ["old", "new", "app, dev"].iter().all(|word| text.contains(word)),
        "{text}"
    );
    let now = two.both.contents();
    assert!(before.keys().all(|name| now.contains_key(name)));
    // Where they are there, and have gone on, the rest goes.
    for (name, bytes) in there.iter().filter(|(name, _)| name.starts_with("new/")) {
        two.both.overwrite(name, Some(bytes.clone()));
    }
    assert_eq!(two.migrate().await.unwrap(), 0);
    assert!(two.left().iter().all(|name| !name.ends_with("/state")));
}

#[tokio::test]
async fn a_place_with_files_of_a_stack_that_lost_its_snapshots_is_refused() {
    let two = Two::filled().await;
    let session = Session::open(&two.theirs(), &dev(), opening()).await.unwrap();
    let ticket = session.append(run(1)).unwrap();
    session.durable(ticket).await.unwrap();
    drop(session);
    two.both.revive();
    for file in ["state", "state.previous"] {
        two.both.overwrite(&format!("new/cloud/p/dev/{file}"), None);
    }
    let verified = two.new.verify(&dev()).await.unwrap();
    assert_eq!(verified.problems.len(), 1, "{:?}", verified.problems);
    let text = verified.problems[0].to_string();
    assert!(text.contains("no state that it belongs to"), "{text}");
    let files = two.both.contents();
    let error = migration(&two.old, &two.new).ahead().await.unwrap_err();
    assert!(matches!(error, StateError::Occupied { .. }), "{error}");
    assert_eq!(two.both.contents(), files);
}

#[tokio::test]
async fn a_place_with_other_states_is_refused_and_nothing_is_written() {
    let two = Two::filled().await;
    opened(&two.theirs()).await.unwrap();
    let before = two.both.contents();
    let error = migration(&two.old, &two.new).ahead().await.unwrap_err();
    assert!(
        error.to_string().contains("holds states of `p` already"),
        "{error}"
    );
    assert!(matches!(two.migrate().await, Err(StateError::Occupied { .. })));
    let files = |all: &BTreeMap<String, Vec<u8>>| -> Vec<String> {
        all.keys()
            .filter(|name| !name.ends_with("notice.lock"))
            .cloned()
            .collect()
    };
    assert_eq!(files(&two.both.contents()), files(&before));
    assert_eq!(opened(&two.old).await, Ok(()));
}

#[tokio::test]
async fn a_state_that_somebody_works_on_or_that_is_damaged_keeps_all_where_they_are() {
    let two = Two::filled().await;
    let session = Session::open(&two.old, &app(), opening()).await.unwrap();
    let error = two.migrate().await.unwrap_err();
    assert!(matches!(error, StateError::SomeLocked(_)), "{error}");
    assert_eq!(opened(&two.old).await, Ok(()));
    // Who works there goes on as if nothing had been.
    append(&session, [run(5), close(5)]).unwrap();
    session.close().await.unwrap();
    // Somebody is about to begin a stack that has no state yet.
    let fresh = Location::new("cloud", "p", "fresh");
    let guard = two.old.lock(&fresh, &holder()).await.unwrap();
    let error = two.migrate().await.unwrap_err();
    assert!(matches!(error, StateError::SomeLocked(_)), "{error}");
    guard.release().await;
    let history = "old/cloud/p/app/history/0000000001";
    two.both.overwrite(history, Some(b"rubbish".to_vec()));
    let error = two.migrate().await.unwrap_err();
    assert!(error.to_string().contains(history), "{error}");
    assert_eq!(opened(&two.old).await, Ok(()));
    two.both.overwrite(history, None);
    two.migrate().await.unwrap();
}

#[tokio::test]
async fn a_second_migration_and_everybody_else_keep_out_of_one_that_goes_on() {
    let two = Two::filled().await;
    let (who, run) = mover();
    // It dies once everything is copied.
    two.both.fail_at(two.both.writes() + 20, Fault::CrashAfter);
    two.migrate().await.unwrap_err();
    two.both.revive();
    let third = store(Arc::new(two.both.within("third")), &two.keys);
    let elsewhere = Migration::new((&two.old, place("old")), (&third, place("third")), "cloud", "p");
    for refused in [
        elsewhere.ahead().await.map(drop),
        elsewhere.run(&who, &run).await.map(drop),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("being moved to new"), "{error}");
    }
    let into = Migration::new((&third, place("third")), (&two.new, place("new")), "cloud", "p");
    let error = into.ahead().await.unwrap_err().to_string();
    assert!(error.contains("being moved here from old"), "{error}");
}

async fn wink(milliseconds: u64) {
    #[expect(clippy::disallowed_methods, reason = "the tests let time pass")]
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

async fn pass(seconds: u64) {
    #[expect(clippy::disallowed_methods, reason = "the tests let time pass")]
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Runs a migration as somebody does who comes back as long as a killed one holds the locks.
async fn until_done(migration: &Migration) -> Result<usize, StateError> {
    let (who, run) = mover();
    for _ in 0..60 {
        match migration.run(&who, &run).await {
            Err(StateError::Locked { .. }) => pass(5).await,
            done => return done,
        }
    }
    panic!("it stays locked")
}

#[tokio::test(start_paused = true)]
async fn into_a_bucket_and_out_of_it_a_migration_that_dies_anywhere_is_completed() {
    let (folder, keys) = (MemoryBlobs::new(), tempfile::tempdir().unwrap());
    let local = store(Arc::new(folder.clone()), &keys);
    fill(&local).await;
    folder.revive();
    let before = told(&local).await;
    // Into an empty bucket and back, killed after each of its writes: of the first ways in, of the second ways out.
    for into in [true, false] {
        for write in 0.. {
            let process = Process::default();
            let bucket = |process: &Process| store(Arc::new(process.blobs()), &keys);
            let files = folder.contents();
            if !into {
                until_done(&migration(&local, &bucket(&process))).await.unwrap();
            }
            let doomed = process.another();
            doomed.fail_at(write, super::objects::Fault::CrashAfter);
            let way = |process: &Process| {
                let bucket = bucket(process);
                if into {
                    migration(&local, &bucket)
                } else {
                    Migration::new((&bucket, place("new")), (&local, place("old")), "cloud", "p")
                }
            };
            let died = until_done(&way(&doomed)).await.is_err();
            // Its own locks in the folder end with it; the leases after a while.
            folder.revive();
            let again = process.another();
            until_done(&way(&again))
                .await
                .unwrap_or_else(|error| panic!("{into} at {write}: {error}"));
            let now = if into { bucket(&again) } else { local.clone() };
            assert_eq!(told(&now).await, before, "{into} at {write}");
            opened(&now).await.unwrap();
            let then = if into { local.clone() } else { bucket(&again) };
            assert_eq!(opened(&then).await, Err(Moving::Left), "{into} at {write}");
            for name in folder.contents().into_keys() {
                folder.overwrite(&name, None);
            }
            for (name, bytes) in files {
                folder.overwrite(&name, Some(bytes));
            }
            if !died {
                assert!(write > 20, "{into}: {write}");
                break;
            }
        }
    }
}

/// It may go on after somebody gave it up and others went on in the old place: it must not say there that the states have left.
#[tokio::test(start_paused = true)]
async fn a_migration_that_stood_still_changes_nothing_once_it_was_given_up() {
    let keys = tempfile::tempdir().unwrap();
    let mut given_up = 0;
    for moment in 0.. {
        let first = Process::default();
        let bucket = |process: &Process| store(Arc::new(process.blobs()), &keys);
        fill(&bucket(&first)).await;
        pass(60).await;
        let mover_process = first.another();
        let target = store(Arc::new(MemoryBlobs::new()), &keys);
        let migration = Migration::new(
            (&bucket(&mover_process), place("old")),
            (&target, place("new")),
            "cloud",
            "p",
        );
        let moving = tokio::spawn(async move { until_done(&migration).await });
        while !first.keys().iter().any(|key| key.ends_with("notice.json")) {
            wink(1).await;
        }
        wink(moment * 100).await;
        let is_done = moving.is_finished();
        mover_process.stop();
        let second = bucket(&first.another());
        let stays = loop {
            match second.stay("cloud", "p", &holder()).await {
                Err(StateError::Locked { .. }) => pass(1).await,
                Err(StateError::Elsewhere { notice, .. }) if notice.moving == Moving::Left => break false,
                stays => break stays.unwrap(),
            }
        };
        if stays {
            given_up += 1;
            // Others go on, while it still sleeps.
            let session = loop {
                match Session::open(&second, &dev(), Opening::new(holder())).await {
                    Err(StateError::Locked { .. }) => pass(1).await,
                    session => break session.unwrap(),
                }
            };
            append(&session, make(50, &entry("later"))).unwrap();
            session.close().await.unwrap();
            mover_process.go_on();
            moving.await.unwrap().unwrap_err();
            let (state, _) = second.read(&dev()).await.unwrap().unwrap();
            assert!(state.live(entry("later").urn()).is_some(), "{moment}");
            assert_eq!(opened(&target).await, Err(Moving::Arriving), "{moment}");
            assert_eq!(opened(&second).await, Ok(()), "{moment}");
        } else {
            // They have left. It may have lost its locks since; whoever does the same completes it.
            mover_process.go_on();
            drop(moving.await.unwrap());
            let again = bucket(&first.another());
            let again = Migration::new((&again, place("old")), (&target, place("new")), "cloud", "p");
            until_done(&again).await.unwrap();
            assert_eq!(opened(&second).await, Err(Moving::Left), "{moment}");
            assert_eq!(opened(&target).await, Ok(()), "{moment}");
        }
        if is_done {
            break;
        }
    }
    assert!(given_up > 5, "{given_up}");
}
