//! Marks: what a consumer leaves with its producer.

use std::fs;
use std::path::Path;

use epid::state::{Location, Opening, Session, StateError};

use crate::texts::{damages, later};
use crate::world::{holder, ran, runtime, writable};

const MARK: &str = "state/cloud/p/producer/consumers/p.consumer";

fn at(stack: &str) -> Location {
    Location::new("cloud", "p", stack)
}

/// Nobody destroys a stack while it cannot be told who uses it, and the attempt changes nothing.
async fn is_kept(folder: &Path, how: &str) {
    let session = Session::open(&writable(folder), &at("producer"), Opening::new(holder()))
        .await
        .unwrap();
    let error = session.start_closing().await.unwrap_err();
    let is_named = error.to_string().contains("consumer");
    assert!(is_named, "{how}: {error}");
    session.close().await.unwrap();
    assert!(
        !writable(folder).is_closing(&at("producer")).await.unwrap(),
        "{how}"
    );
}

#[test]
fn a_changed_mark_never_lets_go_of_its_producer() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let store = writable(folder.path());
        for stack in ["producer", "consumer", "another"] {
            ran(&store, &at(stack), 1).await;
        }
        store
            .add_consumer(&at("producer"), &at("consumer"))
            .await
            .unwrap();
        store.add_consumer(&at("another"), &at("producer")).await.unwrap();
        let mark = fs::read(folder.path().join(MARK)).unwrap();
        let others = folder.path().join("state/cloud/p/another/consumers/p.producer");
        let mut changed = damages(&mark);
        changed.push(("of another stack".to_owned(), fs::read(others).unwrap()));
        changed.push(("of a later version".to_owned(), later(&mark)));
        let outputs = store.outputs(&at("producer")).await.unwrap();
        for (how, text) in changed {
            fs::write(folder.path().join(MARK), &text).unwrap();
            match writable(folder.path()).consumers(&at("producer")).await {
                // Which key opens what is published is no part of who uses it.
                Ok(consumers) => assert_eq!(consumers, [at("consumer")], "{how}"),
                Err(error) => assert!(error.to_string().contains(MARK), "{how}: {error}"),
            }
            is_kept(folder.path(), &how).await;
            assert_eq!(
                fs::read(folder.path().join(MARK)).unwrap(),
                text,
                "{how}: nothing is repaired"
            );
            // Its own key opens what is published, whoever else's.
            assert_eq!(
                writable(folder.path()).outputs(&at("producer")).await.unwrap(),
                outputs,
                "{how}"
            );
        }
        let newer = store.consumers(&at("producer")).await;
        assert!(matches!(newer, Err(StateError::Newer { .. })), "{newer:?}");
        // The consumer writes it anew with its next run.
        store
            .add_consumer(&at("producer"), &at("consumer"))
            .await
            .unwrap();
        assert_eq!(fs::read(folder.path().join(MARK)).unwrap(), mark);
    });
}
