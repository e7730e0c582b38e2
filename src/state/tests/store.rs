//! What a store tells of its states, and how they come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::sample::{Sample, append, close, dev, entropy, entry, holder, make, opening, run, ticket};
use crate::state::blobs::{BlobError, Blobs, Lock, Log, MemoryBlobs};
use crate::state::keys::StackKeys;
use crate::state::seen::Far;
use crate::state::{
    Exported, Header, Holder, JournalEntry, Location, Opening, Session, Snapshot, StateError, Store,
};

async fn once(sample: &Sample, location: &Location) {
    let session = Session::open(&sample.store, location, opening()).await.unwrap();
    append(&session, [run(1), close(2)]).unwrap();
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_state_is_made_only_where_that_is_asked_for() {
    let sample = Sample::new();
    let error = Session::open(&sample.store, &dev(), Opening::new(holder()))
        .await
        .unwrap_err();
    assert!(matches!(error, StateError::NotFound(_)), "{error}");
    assert!(sample.store.read(&dev()).await.unwrap().is_none());
    assert!(sample.store.header(&dev()).await.unwrap().is_none());
    assert!(sample.store.history(&dev()).await.unwrap().is_empty());
    assert!(sample.blobs.contents().is_empty(), "looking left files behind");
}

#[tokio::test]
async fn a_store_lists_its_states() {
    let sample = Sample::new();
    let hostile = Location::new("sandbox:..", "../../p", "Dev/../x");
    for location in [&hostile, &dev()] {
        once(&sample, location).await;
    }
    assert_eq!(sample.store.list().await.unwrap(), [dev(), hostile.clone()]);
    let header = sample.store.header(&hostile).await.unwrap().unwrap();
    assert_eq!(
        (&*header.stack, header.serial, header.lineage.len()),
        ("Dev/../x", 1, 32)
    );
}

#[tokio::test]
async fn looking_writes_nothing_and_needs_no_lock() {
    let sample = Sample::new();
    once(&sample, &dev()).await;
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let before = sample.blobs.writes();
    sample.store.read(&dev()).await.unwrap().unwrap();
    sample.store.header(&dev()).await.unwrap().unwrap();
    sample.store.history(&dev()).await.unwrap();
    sample.store.list().await.unwrap();
    assert_eq!(sample.blobs.writes(), before);
    assert_eq!(sample.store.holder(&dev()).await.unwrap(), Some(holder()));
    // A kernel lock says nothing of how long it is held.
    assert_eq!(
        sample.store.at_work(&dev()).await.unwrap(),
        Some((holder(), None))
    );
    session.close().await.unwrap();
    assert_eq!(sample.store.holder(&dev()).await.unwrap(), None);
    assert_eq!(sample.store.at_work(&dev()).await.unwrap(), None);
}

#[tokio::test]
async fn what_was_read_is_read_anew_where_somebody_wrote_since() {
    let sample = Sample::new();
    once(&sample, &dev()).await;
    let reader = super::sample::store(Arc::new(sample.blobs.clone()), &sample.keys);
    let read = async || reader.read(&dev()).await.unwrap().unwrap().0;
    let first = read().await;
    assert!(first.is_same(&read().await));
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let end = ticket(&session, [run(3)].into_iter().chain(make(4, &entry("a")))).unwrap();
    session.durable(end).await.unwrap();
    let journalled = read().await;
    assert!(journalled.entries.len() == 1 && !journalled.is_same(&first));
    append(&session, [close(9)]).unwrap();
    session.close().await.unwrap();
    assert!(read().await.is_same(&journalled));
    once(&sample, &dev()).await;
    assert_eq!(read().await.header.serial, 3);
}

#[tokio::test]
async fn history_keeps_every_run_the_dead_ones_too() {
    let sample = Sample::new();
    for round in 1..=5 {
        let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
        append(&session, [run(round)]).unwrap();
        append(&session, make(round, &entry(&format!("v{round}")))).unwrap();
        if round % 2 == 1 {
            append(&session, [close(round)]).unwrap();
            session.close().await.unwrap();
        } else {
            let last = ticket(&session, make(100 + round, &entry(&format!("w{round}")))).unwrap();
            session.durable(last).await.unwrap();
        }
    }
    let runs = sample.store.history(&dev()).await.unwrap();
    let told: Vec<_> = runs
        .iter()
        .map(|run| (run.serial, run.end.is_some(), run.steps.len()))
        .collect();
    assert_eq!(
        told,
        [
            (1, true, 1),
            (2, false, 2),
            (3, true, 1),
            (4, false, 2),
            (5, true, 1)
        ]
    );
}

#[tokio::test]
async fn changes_outside_a_run_raise_the_serial_too() {
    let sample = Sample::new();
    once(&sample, &dev()).await;
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    append(&session, make(1, &entry("a"))).unwrap();
    session.close().await.unwrap();
    assert_eq!(sample.store.header(&dev()).await.unwrap().unwrap().serial, 2);
    Session::open(&sample.store, &dev(), opening())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    assert_eq!(sample.store.header(&dev()).await.unwrap().unwrap().serial, 2);
}

#[tokio::test]
async fn a_stack_of_a_cloud_does_not_slip_into_another_world() {
    let sample = Sample::new();
    let [sandbox, cloud, other] =
        ["sandbox:a", "cloud", "aws/1"].map(|world| Location::new(world, "p", "dev"));
    // From a sandbox to a cloud is the ordinary way.
    once(&sample, &sandbox).await;
    once(&sample, &cloud).await;
    once(&sample, &sandbox).await;
    let error = Session::open(&sample.store, &other, opening()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "dev already has resources in cloud, and was about to start anew in aws/1; `epid up --copy` makes a copy there"
    );
    let second = Location::new("sandbox:b", "p", "dev");
    assert!(matches!(
        Session::open(&sample.store, &second, opening()).await,
        Err(StateError::OtherWorld { .. })
    ));
    let mut copy = opening();
    copy.another_world = true;
    Session::open(&sample.store, &second, copy).await.unwrap();
    assert_eq!(
        sample.store.worlds("p", "dev").await.unwrap(),
        ["cloud", "sandbox:a", "sandbox:b"]
    );
}

#[tokio::test]
async fn a_state_that_was_moved_is_not_taken_for_another() {
    let sample = Sample::new();
    once(&sample, &dev()).await;
    let bytes = sample.blobs.contents()["cloud/p/dev/state"].clone();
    sample.blobs.overwrite("cloud/p/prod/state", Some(bytes));
    let prod = Location::new("cloud", "p", "prod");
    let error = Session::open(&sample.store, &prod, opening()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "memory:cloud/p/prod/state is the state of p/dev in cloud, not of p/prod in cloud; move it back to where it was"
    );
}

#[tokio::test]
async fn only_an_empty_state_can_be_removed_and_then_all_of_it_is_gone() {
    let sample = Sample::new();
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let made = entry("a");
    append(&session, make(1, &made)).unwrap();
    let locked = sample.store.remove(&dev(), holder()).await.unwrap_err();
    assert!(matches!(locked, StateError::Locked { .. }), "{locked}");
    session.close().await.unwrap();
    let error = sample.store.remove(&dev(), holder()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "p/dev in cloud is in use: it has one resource; run `epid destroy` first"
    );
    assert!(!sample.store.is_closing(&dev()).await.unwrap());
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let gone = JournalEntry::End {
        token: None,
        ending: crate::state::Ending::Done,
        changes: vec![crate::state::Change::Remove(made.key_of())],
        at: epid_provider::Timestamp(9),
    };
    append(&session, [run(1), gone, close(2)]).unwrap();
    session.publish_outputs().await.unwrap();
    session.close().await.unwrap();
    sample.store.remove(&dev(), holder()).await.unwrap();
    sample.store.remove(&dev(), holder()).await.unwrap();
    assert!(
        sample.blobs.contents().is_empty(),
        "{:?}",
        sample.blobs.contents().keys()
    );
    assert!(sample.store.read(&dev()).await.unwrap().is_none());
    once(&sample, &dev()).await;
}

#[tokio::test]
async fn a_removal_cut_short_anywhere_leaves_the_state_or_nothing() {
    for write in 0.. {
        let sample = Sample::new();
        once(&sample, &dev()).await;
        once(&sample, &dev()).await;
        let before = sample.blobs.writes();
        sample
            .blobs
            .fail_at(before + write, crate::state::blobs::Fault::CrashAfter);
        if sample.store.remove(&dev(), holder()).await.is_ok() {
            assert!(write > 5, "{write}");
            break;
        }
        sample.blobs.revive();
        if let Some((state, _)) = sample.store.read(&dev()).await.unwrap() {
            assert_eq!(state.header.serial, 2);
        }
        sample.store.remove(&dev(), holder()).await.unwrap();
        assert!(sample.store.read(&dev()).await.unwrap().is_none());
    }
}

/// Makes the files those that were there before, and no others.
fn put_back(blobs: &MemoryBlobs, files: &BTreeMap<String, Vec<u8>>) {
    for name in blobs.contents().keys().chain(files.keys()) {
        blobs.overwrite(name, files.get(name).cloned());
    }
}

#[tokio::test]
async fn a_copy_from_amid_a_run_that_has_ended_is_an_older_one() {
    let sample = Sample::new();
    let notes = MemoryBlobs::new();
    let store = sample.store.clone().noting(Arc::new(notes.clone()), None, |_| ());
    let session = Session::open(&store, &dev(), opening()).await.unwrap();
    let begun = ticket(&session, [run(1)]).unwrap();
    session.durable(begun).await.unwrap();
    let old = sample.blobs.contents();
    append(&session, [close(1)]).unwrap();
    session.close().await.unwrap();
    put_back(&sample.blobs, &old);
    let error = store.read(&dev()).await.unwrap_err().to_string();
    assert!(
        error.contains("amid run 1, and more of that run was seen here"),
        "{error}"
    );
    // Put back while that run went on, it would be the state there is.
    let amid = sample.store.clone().read(&dev()).await.unwrap().unwrap();
    assert!(amid.0.run.unwrap().end.is_none());
}

#[tokio::test]
async fn a_state_older_than_what_was_written_from_here_is_told_even_after_a_kill() {
    let sample = Sample::new();
    let notes = MemoryBlobs::new();
    let store = sample.store.clone().noting(Arc::new(notes.clone()), None, |_| ());
    let run_once = async || {
        let session = Session::open(&store, &dev(), opening()).await.unwrap();
        let ticket = ticket(&session, [run(1)]).unwrap();
        session.durable(ticket).await.unwrap();
        session
    };
    run_once().await.close().await.unwrap();
    let old = sample.blobs.contents();
    // Killed in its run.
    drop(run_once().await);
    sample.blobs.revive();
    put_back(&sample.blobs, &old);
    let error = store.read(&dev()).await.unwrap_err();
    assert!(
        matches!(
            error,
            StateError::Older {
                serial: 1,
                seen: 2,
                ..
            }
        ),
        "{error}"
    );
    let opened = Session::open(&store, &dev(), opening()).await.map(drop);
    assert!(matches!(opened, Err(StateError::Older { .. })), "{opened:?}");
    // Nobody else has seen it.
    sample.store.read(&dev()).await.unwrap();
    // What is no note is none.
    notes.overwrite("cloud/p/dev/serial", Some(b"rubbish".to_vec()));
    run_once().await.close().await.unwrap();
}

#[tokio::test]
async fn a_state_that_is_gone_is_no_new_stack_unless_it_was_removed() {
    let sample = Sample::new();
    let notes = MemoryBlobs::new();
    let store = sample.store.clone().noting(Arc::new(notes.clone()), None, |_| ());
    let make_one = async || {
        let session = Session::open(&store, &dev(), opening()).await.unwrap();
        append(&session, [run(1), close(1)]).unwrap();
        session.close().await.unwrap();
    };
    make_one().await;
    for name in sample.blobs.contents().into_keys() {
        sample.blobs.overwrite(&name, None);
    }
    let opened = Session::open(&store, &dev(), opening()).await.map(drop);
    for refused in [store.read(&dev()).await.map(drop), opened] {
        let error = refused.unwrap_err();
        assert!(matches!(error, StateError::Gone { seen: 1, .. }), "{error}");
    }
    assert!(sample.blobs.contents().is_empty(), "it left files behind");
    // A copy of it may take its place.
    let lineage: serde_json::Value = serde_json::from_slice(&notes.contents()["cloud/p/dev/serial"]).unwrap();
    let mut copy = opening();
    let mut header = Header::new("p", "dev", "cloud", lineage["lineage"].as_str().unwrap());
    header.serial = 1;
    copy.restores = Some(Arc::new(Exported {
        snapshot: Snapshot::new(header),
        keys: StackKeys::draw("a", &entropy()).unwrap(),
    }));
    let restored = Session::open(&store, &dev(), copy).await.unwrap();
    restored.close().await.unwrap();
    // What epid itself removes may begin anew.
    store.remove(&dev(), holder()).await.unwrap();
    assert!(store.read(&dev()).await.unwrap().is_none());
    make_one().await;
    store.discard(&dev(), &holder()).await.unwrap();
    assert!(store.read(&dev()).await.unwrap().is_none());
    make_one().await;
}

/// What a reader is given of the file of a name, in place of what there is.
pub(super) type Given = Box<dyn Fn(&str, Option<Vec<u8>>) -> Option<Vec<u8>> + Send + Sync>;

/// Blobs that are read while somebody writes.
pub(super) struct Beside(pub(super) MemoryBlobs, pub(super) Given);

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Beside").field(&self.0).finish_non_exhaustive()
    }
}

#[async_trait]
impl Blobs for Beside {
    fn describe(&self, name: &str) -> String {
        self.0.describe(name)
    }
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BlobError> {
        Ok((self.1)(name, self.0.get(name).await?))
    }
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), BlobError> {
        self.0.put(name, bytes).await
    }
    async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool, BlobError> {
        self.0.put_new(name, bytes).await
    }
    async fn list(&self, folder: &str) -> Result<Vec<String>, BlobError> {
        self.0.list(folder).await
    }
    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.0.delete(name).await
    }
    async fn start_log(&self, name: &str, first: Vec<u8>) -> Result<Option<Box<dyn Log>>, BlobError> {
        self.0.start_log(name, first).await
    }
    async fn fence(&self, name: &str) -> Result<(), BlobError> {
        self.0.fence(name).await
    }
    async fn settle(&self, name: &str) -> Result<(), BlobError> {
        self.0.settle(name).await
    }
    async fn sweep(&self, folder: &str) -> Result<(), BlobError> {
        self.0.sweep(folder).await
    }
    async fn lock(&self, name: &str, who: &Holder) -> Result<Lock, BlobError> {
        self.0.lock(name, who).await
    }
}

/// A note that the state was at `serial`.
async fn note(sample: &Sample, serial: u64) -> Vec<u8> {
    let notes = MemoryBlobs::new();
    let header = sample.store.header(&dev()).await.unwrap().unwrap();
    let store = sample.store.clone().noting(Arc::new(notes.clone()), None, |_| ());
    store.note_seen(&dev(), &header.lineage, Far::at(serial)).await;
    notes.contents()["cloud/p/dev/serial"].clone()
}

#[tokio::test]
async fn a_reader_beside_a_writer_is_not_told_of_an_older_copy() {
    let sample = Sample::new();
    let notes = MemoryBlobs::new();
    let noting = |store: Store| store.noting(Arc::new(notes.clone()), None, |_| ());
    let session = Session::open(&noting(sample.store.clone()), &dev(), opening())
        .await
        .unwrap();
    append(&session, [run(1), close(1)]).unwrap();
    session.close().await.unwrap();
    // A writer notes another run as soon as the state was read.
    let later = note(&sample, 9).await;
    let noted = notes.clone();
    let mut beside = noting(sample.store.clone());
    beside.blobs = Arc::new(Beside(
        sample.blobs.clone(),
        Box::new(move |_, bytes| {
            noted.overwrite("cloud/p/dev/serial", Some(later.clone()));
            bytes
        }),
    ));
    // What was read is as late as what was noted before.
    let (state, _) = beside.read(&dev()).await.unwrap().unwrap();
    assert_eq!(state.header.serial, 1);
    beside.forget_read(&dev());
    assert!(beside.read(&dev()).await.is_err(), "nothing was noted");
}

#[tokio::test]
async fn a_state_that_somebody_begins_while_it_is_looked_for_is_found() {
    let sample = Sample::new();
    once(&sample, &dev()).await;
    let begun_late = || {
        let mut store = sample.store.clone();
        let missed = Mutex::new(BTreeSet::new());
        let given: Given = Box::new(move |name: &str, bytes| {
            let first = name.contains("/state") && missed.lock().unwrap().insert(name.to_owned());
            bytes.filter(|_| !first)
        });
        store.blobs = Arc::new(Beside(sample.blobs.clone(), given));
        store
    };
    let (state, _) = begun_late().read(&dev()).await.unwrap().unwrap();
    assert_eq!(state.header.serial, 1);
    let session = Session::open(&begun_late(), &dev(), opening()).await.unwrap();
    assert_eq!(session.snapshot().header.serial, 1);
}

#[tokio::test]
async fn a_run_that_begins_while_a_state_is_verified_makes_it_no_older_copy() {
    let sample = Sample::new();
    let person = MemoryBlobs::new();
    let noting = |store: Store| {
        let of_person: Arc<dyn Blobs> = Arc::new(person.clone());
        store.noting(Arc::new(MemoryBlobs::new()), Some(of_person), |_| ())
    };
    let session = Session::open(&noting(sample.store.clone()), &dev(), opening())
        .await
        .unwrap();
    let begin = async |number| {
        session
            .durable(ticket(&session, [run(number)]).unwrap())
            .await
            .unwrap();
    };
    begin(1).await;
    let (old, old_note) = (sample.blobs.contents(), person.contents());
    begin(2).await;
    let (new, new_note) = (sample.blobs.contents(), person.contents());
    assert!(old.keys().eq(new.keys()), "the files tell of it already");
    put_back(&sample.blobs, &old);
    put_back(&person, &old_note);
    // The second run begins when the journal has been read, from both snapshots.
    let reads = std::sync::atomic::AtomicUsize::new(0);
    let (blobs, noted) = (sample.blobs.clone(), person.clone());
    let mut beside = noting(sample.store.clone());
    beside.blobs = Arc::new(Beside(
        sample.blobs.clone(),
        Box::new(move |name, bytes| {
            if name.contains("/journal/") && reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 1 {
                put_back(&blobs, &new);
                put_back(&noted, &new_note);
            }
            bytes
        }),
    ));
    let verified = beside.verify(&dev()).await.unwrap();
    assert!(verified.problems.is_empty(), "{:?}", verified.problems);
    // What is older by then, is.
    put_back(&sample.blobs, &old);
    let problems = beside.verify(&dev()).await.unwrap().problems;
    assert!(
        matches!(
            &problems[..],
            [StateError::Older {
                serial: 1,
                seen: 2,
                ..
            }]
        ),
        "{problems:?}"
    );
}

#[tokio::test]
async fn the_note_of_a_person_tells_of_a_project_that_went_back_in_time_with_its_notes() {
    let sample = Sample::new();
    let (notes, person) = (MemoryBlobs::new(), MemoryBlobs::new());
    let noting = |store: Store, notes: &MemoryBlobs| {
        let person: Arc<dyn Blobs> = Arc::new(person.clone());
        store.noting(Arc::new(notes.clone()), Some(person), |_| ())
    };
    let store = noting(sample.store.clone(), &notes);
    let run_in = async |location: &Location, number| {
        let session = Session::open(&store, location, opening()).await.unwrap();
        append(&session, [run(number), close(number)]).unwrap();
        session.close().await.unwrap();
    };
    let simulated = Location::new("sandbox:1", "p", "try");
    for location in [&dev(), &simulated] {
        run_in(location, 1).await;
    }
    let (old, old_notes) = (sample.blobs.contents(), notes.contents());
    for location in [&dev(), &simulated] {
        run_in(location, 2).await;
    }
    let new = sample.blobs.contents();
    put_back(&sample.blobs, &old);
    let restored = noting(sample.store.clone(), &MemoryBlobs::of(old_notes));
    let error = restored.read(&dev()).await.unwrap_err();
    assert!(
        matches!(
            error,
            StateError::Older {
                serial: 1,
                seen: 2,
                ..
            }
        ),
        "{error}"
    );
    let verified = restored.verify(&dev()).await.unwrap();
    assert_eq!(verified.problems[0].to_string(), error.to_string());
    // A sandbox is in the project's folder, and went back with it.
    restored.read(&simulated).await.unwrap();

    // Who reads while somebody writes takes no new note for one of what they have read.
    put_back(&sample.blobs, &new);
    let first = std::sync::atomic::AtomicBool::new(true);
    let mut beside = noting(sample.store.clone(), &notes);
    notes.overwrite("cloud/p/dev/serial", None);
    beside.blobs = Arc::new(Beside(
        sample.blobs.clone(),
        Box::new(move |name, bytes| {
            let is_first =
                name == "cloud/p/dev/state" && first.swap(false, std::sync::atomic::Ordering::SeqCst);
            if is_first { old.get(name).cloned() } else { bytes }
        }),
    ));
    let (state, _) = beside.read(&dev()).await.unwrap().unwrap();
    assert_eq!(state.header.serial, 2);

    // What epid itself removes may come back from an export.
    run_in(&dev(), 3).await;
    store.remove(&dev(), holder()).await.unwrap();
    assert_eq!(person.contents().len(), 0, "{:?}", person.contents().keys());
}

#[tokio::test]
async fn a_damaged_note_is_told_once_and_written_anew() {
    let sample = Sample::new();
    let notes = MemoryBlobs::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noting = || {
        let heard = heard.clone();
        let listener = move |problem: &StateError| heard.lock().unwrap().push(problem.to_string());
        sample
            .store
            .clone()
            .noting(Arc::new(notes.clone()), None, listener)
    };
    let run_once = async |store: &Store| {
        let session = Session::open(store, &dev(), opening()).await.unwrap();
        append(&session, [run(1), close(1)]).unwrap();
        session.close().await.unwrap();
    };
    run_once(&noting()).await;
    let whole = notes.contents()["cloud/p/dev/serial"].clone();
    let flipped = (0..whole.len()).map(|at| {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        changed
    });
    let mut bare: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    bare.as_object_mut().unwrap().remove("checksum").unwrap();
    for (at, changed) in flipped.chain([bare.to_string().into_bytes()]).enumerate() {
        notes.overwrite("cloud/p/dev/serial", Some(changed));
        let store = noting();
        store.read(&dev()).await.unwrap();
        store.read(&dev()).await.unwrap();
        let told: Vec<String> = std::mem::take(&mut *heard.lock().unwrap());
        assert!(
            told.len() == 1 && told[0].contains("memory:cloud/p/dev/serial is damaged"),
            "damage {at}: {told:?}"
        );
    }
    run_once(&noting()).await;
    heard.lock().unwrap().clear();
    noting().read(&dev()).await.unwrap();
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_copy_from_amid_a_run_that_went_on_is_an_older_one() {
    let (sample, notes) = (Sample::new(), MemoryBlobs::new());
    let store = sample.store.clone().noting(Arc::new(notes), None, |_| ());
    let session = Session::open(&store, &dev(), opening()).await.unwrap();
    let write = async |lines: Vec<JournalEntry>| {
        let last = ticket(&session, lines).unwrap();
        session.durable(last).await.unwrap();
    };
    write([run(1)].into_iter().chain(make(10, &entry("a"))).collect()).await;
    let amid = sample.blobs.contents();
    super::bucket::pass(2).await;
    let [began, ended] = make(20, &entry("b"));
    write(vec![began]).await;
    let died = sample.blobs.contents();
    drop(session);
    let open = async || Session::open(&store, &dev(), opening()).await;
    put_back(&sample.blobs, &amid);
    assert!(matches!(open().await, Err(StateError::Older { .. })));
    put_back(&sample.blobs, &died);
    let session = open().await.unwrap();
    append(&session, [ended, close(30)]).unwrap();
    session.close().await.unwrap();
    assert_eq!(store.read(&dev()).await.unwrap().unwrap().0.entries.len(), 2);
}
