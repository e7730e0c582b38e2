//! Exports: a state in one file.

use std::sync::Arc;

use epid::state::blobs::FolderBlobs;
use epid::state::{Location, Snapshot, StateError, Store};
use proptest::prelude::*;

use crate::texts::{cases, damages, later, replaced};
use crate::world::{WORLD, entropy, laid, ran, runtime, writable};

/// Reads a file as an export of the project that has run.
fn read(bytes: Vec<u8>) -> Result<Snapshot, StateError> {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(Arc::new(FolderBlobs::new(folder.path())), WORLD.keys(), entropy());
    let read = store.read_export("file".to_owned(), bytes);
    runtime().block_on(read).map(|read| read.snapshot)
}

fn export() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    laid(folder.path(), &WORLD.state);
    let store = Store::new(Arc::new(FolderBlobs::new(folder.path())), WORLD.keys(), entropy());
    runtime()
        .block_on(store.export(&WORLD.location))
        .unwrap()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(64), max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_export_is_refused(
        place in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        insert in any::<bool>(),
    ) {
        if let Ok(read) = read(replaced(&export(), place, &bytes, insert)) {
            prop_assert!(read.is_same(&WORLD.whole(false)[0]));
        }
    }
}

#[test]
fn every_damage_of_an_export_is_refused_with_its_name() {
    let export = export();
    assert!(read(export.clone()).unwrap().is_same(&WORLD.whole(false)[0]));
    for (how, bytes) in damages(&export) {
        let error = read(bytes).unwrap_err();
        // A key that is named by a changed byte is not here, and the message names the key.
        let is_told = error.to_string().contains("file") || matches!(error, StateError::MissingKey { .. });
        assert!(is_told, "{how}: {error}");
    }
    let error = read(later(&export)).unwrap_err();
    assert!(matches!(error, StateError::Newer { .. }), "{error}");
}

#[test]
fn the_body_of_another_export_under_the_same_head_is_refused() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let store = writable(folder.path());
        let parts = |bytes: &[u8]| {
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            (bytes[..end].to_vec(), bytes[end..].to_vec())
        };
        let mut exports = Vec::new();
        for (stack, runs) in [("a", 1), ("a", 1), ("b", 1)] {
            let location = Location::new("cloud", "p", stack);
            ran(&store, &location, runs).await;
            exports.push(parts(&store.export(&location).await.unwrap().unwrap()));
        }
        // Two runs of one stack, and another stack: another lineage with other data keys.
        for (head, body) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
            let mixed = [&exports[head].0[..], &exports[body].1].concat();
            let error = store.read_export("file".to_owned(), mixed).await.unwrap_err();
            assert!(
                matches!(error, StateError::Corrupt { .. }),
                "{head} with {body}: {error}"
            );
        }
    });
}
