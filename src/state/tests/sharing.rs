//! Stacks that use one another's outputs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use epid_provider::Value;

use super::sample::{Sample, append, dev, entropy, holder, opening, run, store};
use crate::state::blobs::Fault;
use crate::state::{
    Entropy, JournalEntry, KeyProvider, KeyRing, Location, Opening, Session, StateError, Store, WrappedKey,
};

fn platform() -> Location {
    Location::new("cloud", "p", "platform")
}

async fn publish(sample: &Sample, url: &str) {
    let session = Session::open(&sample.store, &platform(), opening())
        .await
        .unwrap();
    let map = [("url", Value::str(url)), ("token", Value::str("t").into_secret())]
        .into_iter()
        .collect();
    append(&session, [run(1), JournalEntry::Outputs(map)]).unwrap();
    session.close().await.unwrap();
    session.publish_outputs().await.unwrap();
}

#[tokio::test]
async fn published_outputs_are_typed_and_keep_their_secrets() {
    let sample = Sample::new();
    assert_eq!(sample.store.outputs(&platform()).await.unwrap(), None);
    publish(&sample, "a").await;
    let first = sample.store.outputs(&platform()).await.unwrap().unwrap();
    assert_eq!(first.values.get("url"), Some(&Value::str("a")));
    assert_eq!(first.values.get("token"), Some(&Value::str("t").into_secret()));
    assert_eq!(first.serial, 1);
    publish(&sample, "a").await;
    let second = sample.store.outputs(&platform()).await.unwrap().unwrap();
    assert_eq!(
        (&first.digest, &first.lineage, 2),
        (&second.digest, &second.lineage, second.serial)
    );
    publish(&sample, "b").await;
    assert_ne!(
        sample.store.outputs(&platform()).await.unwrap().unwrap().digest,
        first.digest
    );
}

#[tokio::test]
async fn a_consumer_reads_outputs_with_its_own_key() {
    let sample = Sample::new();
    publish(&sample, "a").await;
    Session::open(&sample.store, &dev(), opening())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    sample.store.add_consumer(&platform(), &dev()).await.unwrap();
    publish(&sample, "a").await;
    // A machine that has the consumer's key only.
    let keys = tempfile::tempdir().unwrap();
    let own = format!("{}.key", sample.store.header(&dev()).await.unwrap().unwrap().key);
    std::fs::copy(sample.keys.path().join(&own), keys.path().join(&own)).unwrap();
    let consumer = store(Arc::new(sample.blobs.clone()), &keys);
    assert!(consumer.outputs(&platform()).await.unwrap().is_some());
    assert!(matches!(
        consumer.read(&platform()).await,
        Err(StateError::MissingKey { .. })
    ));
    std::fs::remove_file(keys.path().join(&own)).unwrap();
    let missing = consumer.outputs(&platform()).await.unwrap_err().to_string();
    assert!(
        missing.starts_with("the outputs of p/platform in cloud needs the key "),
        "{missing}"
    );
}

/// Opens what it sealed, or takes every passphrase for a wrong one and counts how often it was asked.
#[derive(Debug)]
struct Asked(bool, AtomicUsize);

impl KeyProvider for Asked {
    fn name(&self) -> &'static str {
        "asked"
    }

    fn wrap(&self, _: &str, key: &[u8; 32], _: &Entropy) -> Result<WrappedKey, StateError> {
        Ok(WrappedKey {
            parameters: String::new(),
            sealed: key.to_vec(),
        })
    }

    fn unwrap(&self, id: &str, _: &str, wrapped: &WrappedKey) -> Result<[u8; 32], StateError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let key = wrapped.sealed.clone().try_into().ok().filter(|_| self.0);
        key.ok_or_else(|| StateError::WrongPassphrase { id: id.to_owned() })
    }
}

#[tokio::test]
async fn nobody_is_asked_for_a_key_where_a_key_file_opens_the_outputs() {
    // Which of the two keys comes first is chance.
    for _ in 0..6 {
        let (sample, folder) = (Sample::new(), tempfile::tempdir().unwrap());
        let store = |opens: bool| {
            let provider = Arc::new(Asked(opens, AtomicUsize::new(0)));
            let keys = KeyRing::new(sample.keys.path())
                .with_sealed(folder.path().join("sealed.toml"), vec![provider.clone()]);
            (
                Store::new(Arc::new(sample.blobs.clone()), keys, entropy()),
                provider,
            )
        };
        let (whole, _) = store(true);
        let lock = whole.keys.lock_rotation().unwrap();
        let sealed = whole.keys.start_rotation(&lock, Some("asked"), false, &entropy());
        let sealed = sealed.unwrap();
        for (location, key) in [(platform(), Some(sealed)), (dev(), None)] {
            let opening = Opening { key, ..opening() };
            let session = Session::open(&whole, &location, opening).await.unwrap();
            session.close().await.unwrap();
        }
        whole.add_consumer(&platform(), &dev()).await.unwrap();
        whole.add_consumer(&dev(), &platform()).await.unwrap();
        let session = Session::open(&whole, &platform(), opening()).await.unwrap();
        session.publish_outputs().await.unwrap();
        session.close().await.unwrap();

        let (file_only, provider) = store(false);
        assert!(file_only.outputs(&platform()).await.unwrap().is_some());
        assert_eq!(provider.1.load(Ordering::Relaxed), 0);
        // For a consumer whose passphrase is another one, nothing can be sealed; that is no failure of this stack.
        let session = Session::open(&file_only, &dev(), opening()).await.unwrap();
        session.publish_outputs().await.unwrap();
        session.close().await.unwrap();
        assert!(file_only.outputs(&dev()).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_stack_that_is_used_cannot_begin_to_close() {
    let sample = Sample::new();
    publish(&sample, "a").await;
    sample.store.add_consumer(&platform(), &dev()).await.unwrap();
    sample.store.add_consumer(&platform(), &dev()).await.unwrap();
    assert_eq!(sample.store.consumers(&platform()).await.unwrap(), [dev()]);
    let session = Session::open(&sample.store, &platform(), opening())
        .await
        .unwrap();
    let error = session.start_closing().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "p/platform in cloud is in use: its outputs are used by p/dev; change or destroy it first"
    );
    assert!(!sample.store.is_closing(&platform()).await.unwrap());
    sample.store.remove_consumer(&platform(), &dev()).await.unwrap();
    session.start_closing().await.unwrap();
    assert!(sample.store.is_closing(&platform()).await.unwrap());
    let error = sample.store.add_consumer(&platform(), &dev()).await.unwrap_err();
    assert!(matches!(error, StateError::Closing(_)), "{error}");
    assert!(sample.store.consumers(&platform()).await.unwrap().is_empty());
    session.stop_closing().await.unwrap();
    sample.store.add_consumer(&platform(), &dev()).await.unwrap();
}

#[tokio::test]
async fn a_stack_that_dies_anywhere_knows_with_whom_it_has_left_marks() {
    let script = async |store: &Store| {
        store.add_consumer(&platform(), &dev()).await?;
        store.remove_consumer(&platform(), &dev()).await
    };
    let whole = Sample::new();
    script(&whole.store).await.unwrap();
    assert!(whole.store.producers(&dev()).await.unwrap().is_empty());
    assert!(whole.blobs.contents().is_empty(), "{:?}", whole.blobs.contents());
    let mut marked = 0;
    for write in 0..whole.blobs.writes() {
        let sample = Sample::new();
        sample.blobs.fail_at(write, Fault::CrashAfter);
        drop(script(&sample.store).await);
        sample.blobs.revive();
        let marks = sample.store.consumers(&platform()).await.unwrap();
        if !marks.is_empty() {
            marked += 1;
            assert_eq!(sample.store.producers(&dev()).await.unwrap(), [platform()]);
        }
        for producer in sample.store.producers(&dev()).await.unwrap() {
            sample.store.remove_consumer(&producer, &dev()).await.unwrap();
        }
        assert!(sample.blobs.contents().is_empty(), "{write}");
    }
    assert_eq!(marked, 1);
}

#[tokio::test]
async fn references_never_cross_worlds() {
    let sample = Sample::new();
    let consumer = Location::new("sandbox:x", "p", "dev");
    let error = sample
        .store
        .add_consumer(&platform(), &consumer)
        .await
        .unwrap_err();
    assert!(matches!(error, StateError::AcrossWorlds { .. }), "{error}");
}

#[tokio::test]
async fn outputs_of_another_stack_in_that_place_are_noticed() {
    let sample = Sample::new();
    publish(&sample, "a").await;
    let bytes = sample.blobs.contents()["cloud/p/platform/outputs"].clone();
    sample
        .blobs
        .overwrite("cloud/p/other/outputs", Some(bytes.clone()));
    let other = Location::new("cloud", "p", "other");
    assert!(matches!(
        sample.store.outputs(&other).await,
        Err(StateError::Misplaced { .. })
    ));
    for at in (0..bytes.len()).step_by(3) {
        let mut changed = bytes.clone();
        changed[at] ^= 4;
        sample.blobs.overwrite("cloud/p/platform/outputs", Some(changed));
        assert!(sample.store.outputs(&platform()).await.is_err(), "byte {at}");
    }
}

#[tokio::test]
async fn a_stack_with_consumers_cannot_be_removed() {
    let sample = Sample::new();
    publish(&sample, "a").await;
    sample.store.add_consumer(&platform(), &dev()).await.unwrap();
    let error = sample.store.remove(&platform(), holder()).await.unwrap_err();
    assert!(matches!(error, StateError::InUse { resources: 0, .. }), "{error}");
    Session::open(&sample.store, &platform(), Opening::new(holder()))
        .await
        .unwrap();
}
