//! Keys are rotated: who is shut out, and what a process that dies meanwhile leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use epid_provider::{Timestamp, Value};

use super::sample::{Sample, append, close, dev, entropy, entry, holder, make, opening, run, store};
use crate::state::blobs::{Fault, MemoryBlobs};
use crate::state::format::{document, journal};
use crate::state::keys::cipher::SecretKey;
use crate::state::keys::key::Key;
use crate::state::load::StateHead;
use crate::state::{JournalEntry, Run, RunResult, Session, StackKeys, StateError};

fn rotation() -> Run {
    match run(70) {
        JournalEntry::Run(run) => Run {
            command: "epid keys rotate".into(),
            ..run
        },
        other => panic!("{other:?}"),
    }
}

/// One more run that makes something and says it to others.
async fn up(sample: &Sample, number: u64) {
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    append(&session, [run(number)]).unwrap();
    append(&session, make(number, &entry(&format!("v{number}")))).unwrap();
    let outputs = [("token", Value::str("t").into_secret())].into_iter().collect();
    append(&session, [JournalEntry::Outputs(outputs), close(number)]).unwrap();
    session.publish_outputs().await.unwrap();
    session.close().await.unwrap();
}

/// A stack that was up twice, and the key that its keys are about to be rotated to.
async fn used() -> (Sample, String) {
    let sample = Sample::new();
    up(&sample, 1).await;
    up(&sample, 2).await;
    let id = sample.store.keys.mint(&entropy()).unwrap();
    (sample, id)
}

async fn rotate(sample: &Sample, id: &str) -> Result<bool, StateError> {
    let done = sample.store.rekey(&dev(), id, holder(), &rotation()).await?;
    sample.store.reshare(&dev(), &holder()).await?;
    Ok(done)
}

/// The commands of the history, and whether each has an end.
async fn told(sample: &Sample) -> Vec<(String, bool)> {
    let runs = sample.store.history(&dev()).await.unwrap();
    runs.iter()
        .map(|run| (run.run.command.to_string(), run.end.is_some()))
        .collect()
}

/// Every data key that a key opens in these files.
fn data_keys(sample: &Sample, id: &str, files: &BTreeMap<String, Vec<u8>>) -> Vec<SecretKey> {
    let key = Key::Whole(sample.store.keys.require(id, "the test").unwrap());
    let mut keys = Vec::new();
    let mut add = |lineage: &str, wrapped: &str| {
        if let Ok(opened) = StackKeys::unwrap(id, wrapped, &key, lineage, &entropy()) {
            keys.push(opened.state().clone());
            keys.extend(opened.before().cloned());
        }
    };
    for (name, bytes) in files {
        if let Ok(head) = StateHead::read(bytes) {
            add(&head.lineage, &head.keys);
        } else if name.ends_with("/outputs") {
            let line = bytes.split(|b| *b == b'\n').next().unwrap();
            let head: serde_json::Value = serde_json::from_slice(line).unwrap();
            for wrapped in head["keys"].as_object().unwrap().values() {
                add(head["lineage"].as_str().unwrap(), wrapped.as_str().unwrap());
            }
        }
    }
    keys
}

fn opens(name: &str, bytes: &[u8], key: &SecretKey) -> bool {
    let documents = ["epid state 1", "epid run 1", "epid outputs 1"];
    if name.contains("/journal/") {
        return journal::read(bytes, key, None, |_, _| Ok(())).is_ok();
    }
    documents
        .iter()
        .any(|purpose| document::open(bytes, key, purpose).is_ok())
}

#[tokio::test]
async fn whoever_kept_the_old_key_and_old_files_opens_nothing_that_is_written_later() {
    let (sample, id) = used().await;
    let before = sample.blobs.contents();
    let old = sample.store.header(&dev()).await.unwrap().unwrap().key;
    let known = data_keys(&sample, &old, &before);
    let sealed = |files: &BTreeMap<String, Vec<u8>>| {
        let names = ["/state", "/state.previous", "/outputs"];
        let mut sealed: Vec<_> = files.clone().into_iter().collect();
        sealed.retain(|(name, _)| {
            names.iter().any(|end| name.ends_with(end))
                || name.contains("/history/")
                || name.contains("/journal/")
        });
        sealed
    };
    for (name, bytes) in sealed(&before) {
        let opened = known.iter().any(|key| opens(&name, &bytes, key));
        assert!(opened, "{name} opens with nothing: this proves nothing");
    }

    assert!(rotate(&sample, &id).await.unwrap());
    let rotated = sample.blobs.contents();
    up(&sample, 3).await;
    // A run that is killed leaves a journal.
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    append(&session, [run(4)]).unwrap();
    let [begin, _] = make(4, &entry("v4"));
    let begun = session.append(begin).unwrap();
    session.durable(begun).await.unwrap();
    let after = sample.blobs.contents();
    let new: Vec<_> = sealed(&rotated).into_iter().chain(sealed(&after)).collect();
    for kind in ["/state", "/state.previous", "/outputs", "/history/", "/journal/"] {
        assert!(new.iter().any(|(name, _)| name.contains(kind)), "no {kind}");
    }
    // What the old key opens of the new files, too.
    let mut known = known;
    known.extend(data_keys(&sample, &old, &rotated));
    known.extend(data_keys(&sample, &old, &after));
    for (name, bytes) in new {
        let opened = known.iter().any(|key| opens(&name, &bytes, key));
        assert!(!opened, "{name} was opened");
    }
    // Nor does the old state read the new journal as its own.
    let mixed = MemoryBlobs::of(after.clone());
    mixed.overwrite("cloud/p/dev/state", before.get("cloud/p/dev/state").cloned());
    let read = store(Arc::new(mixed), &sample.keys).read(&dev()).await;
    assert!(matches!(read, Err(StateError::Corrupt { .. })), "{read:?}");

    // Nothing needs the old key any more, the runs before included.
    drop(session);
    std::fs::remove_file(sample.store.keys.file(&old)).unwrap();
    let up = |ended| ("epid up".to_owned(), ended);
    let runs = [
        up(true),
        up(true),
        ("epid keys rotate".to_owned(), true),
        up(true),
        up(false),
    ];
    assert_eq!(told(&sample).await, runs);
    let verified = sample.store.verify(&dev()).await.unwrap();
    assert!(verified.problems.is_empty(), "{:?}", verified.problems);
    sample.store.outputs(&dev()).await.unwrap().unwrap();
}

#[tokio::test]
async fn digests_and_names_of_derivations_outlive_a_rotation() {
    let (sample, id) = used().await;
    let (_, old) = sample.store.read(&dev()).await.unwrap().unwrap();
    let digest = sample.store.outputs(&dev()).await.unwrap().unwrap().digest;
    rotate(&sample, &id).await.unwrap();
    let other = sample.store.keys.mint(&entropy()).unwrap();
    rotate(&sample, &other).await.unwrap();
    let (state, new) = sample.store.read(&dev()).await.unwrap().unwrap();
    assert_eq!((new.id(), &*state.header.key), (&*other, &*other));
    let secret = Value::str("x").into_secret();
    assert_eq!(new.digest(&secret), old.digest(&secret));
    let named = |keys: &StackKeys| keys.name_of_derivation("how", std::slice::from_ref(&secret));
    assert_eq!(named(&new), named(&old));
    assert_ne!(new.state(), old.state());
    assert_eq!(
        sample.store.outputs(&dev()).await.unwrap().unwrap().digest,
        digest
    );
}

#[tokio::test]
async fn whenever_a_rotation_dies_everything_is_readable_and_the_next_ends_it() {
    let (whole, id) = used().await;
    let first = whole.blobs.writes();
    rotate(&whole, &id).await.unwrap();
    let writes = whole.blobs.writes() - first;
    assert!(writes > 10, "{writes}");
    let (mut between, mut again) = (0, 0);
    for write in 0..writes {
        for fault in [
            Fault::Crash(0),
            Fault::Crash(40),
            Fault::CrashAfter,
            Fault::Full(0),
        ] {
            let at = format!("{fault:?} at {write}");
            let (sample, id) = used().await;
            let (known, _) = sample.store.read(&dev()).await.unwrap().unwrap();
            sample.blobs.fail_at(sample.blobs.writes() + write, fault);
            drop(rotate(&sample, &id).await);
            sample.blobs.revive();
            // It is read as it is,
            let (state, keys) = sample.store.read(&dev()).await.unwrap().unwrap();
            assert_eq!(
                (&state.entries, &state.outputs),
                (&known.entries, &known.outputs),
                "{at}"
            );
            between += u32::from(keys.before().is_some());
            let verified = sample.store.verify(&dev()).await.unwrap();
            assert!(verified.problems.is_empty(), "{at}: {:?}", verified.problems);
            assert!(told(&sample).await.len() >= 2, "{at}");
            // also where `state` is lost,
            let lost = MemoryBlobs::of(sample.blobs.contents());
            lost.overwrite("cloud/p/dev/state", None);
            let (state, _) = store(Arc::new(lost), &sample.keys)
                .read(&dev())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(state.entries, known.entries, "{at}");
            // and gone on with by whoever comes next, a run or a rotation.
            let twin = MemoryBlobs::of(sample.blobs.contents());
            let other = Sample {
                store: store(Arc::new(twin.clone()), &sample.keys),
                blobs: twin,
                keys: tempfile::tempdir().unwrap(),
            };
            up(&other, 3).await;
            let lost = MemoryBlobs::of(other.blobs.contents());
            lost.overwrite("cloud/p/dev/state", None);
            let (state, keys) = store(Arc::new(lost), &sample.keys)
                .read(&dev())
                .await
                .unwrap()
                .unwrap();
            assert!(
                state.live(entry("v3").urn()).is_some() && keys.before().is_none(),
                "{at}"
            );
            let verified = other.store.verify(&dev()).await.unwrap();
            assert!(verified.problems.is_empty(), "{at}: {:?}", verified.problems);

            again += u32::from(rotate(&sample, &id).await.unwrap());
            for key in sample.store.keys.ids().unwrap() {
                if key != id {
                    std::fs::remove_file(sample.store.keys.file(&key)).unwrap();
                }
            }
            let verified = sample.store.verify(&dev()).await.unwrap();
            assert!(verified.problems.is_empty(), "{at}: {:?}", verified.problems);
            let runs = sample.store.history(&dev()).await.unwrap();
            assert!(
                runs[2..]
                    .iter()
                    .all(|run| &*run.run.command == "epid keys rotate"),
                "{at}"
            );
            let last = runs.last().unwrap();
            assert_eq!(last.end, Some((RunResult::Done, Timestamp(70))), "{at}");
            sample.store.outputs(&dev()).await.unwrap().unwrap();
        }
    }
    assert!(between > 0 && again > 0, "{between} {again}");
}
