//! Notices: what a place says of states that leave it, arrive or have left.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use epid::state::blobs::MemoryBlobs;
use epid::state::{KeyRing, Location, Migration, Opening, Place, Session, Snapshot, StateError, Store};

use crate::texts::{damages, later};
use crate::world::{holder, kept, ran, random, runtime, started};

fn stack() -> Location {
    Location::new("cloud", "p", "s")
}

fn place(name: &str) -> Place {
    Place {
        url: format!("/places/{name}"),
        endpoint: None,
    }
}

fn migration(folder: &Path) -> Migration {
    let (from, to) = (kept(folder, "from"), kept(folder, "to"));
    Migration::new((&from, place("from")), (&to, place("to")), "cloud", "p")
}

const NOTICE: &str = "cloud/p/notice.json";

/// What the old place says at each step of a migration.
fn said(moving: &str, place: &str) -> Vec<u8> {
    let by = serde_json::json!({"pid": 1, "user": "u", "host": "h", "since": 1_000, "command": "epid state migrate"});
    let place = serde_json::json!({"url": format!("/places/{place}")});
    let notice = serde_json::json!({"epid": "notice", "format": epid::state::FORMAT, "moving": moving, "place": place, "by": by});
    notice.to_string().into_bytes()
}

/// What a place holds, whatever its notice says.
async fn held(keys: &Path, blobs: &MemoryBlobs) -> Option<Snapshot> {
    blobs.overwrite(NOTICE, None);
    let read = memory(keys, blobs).read(&stack()).await.unwrap();
    read.map(|(state, _)| state)
}

fn memory(keys: &Path, blobs: &MemoryBlobs) -> Store {
    Store::new(Arc::new(blobs.clone()), KeyRing::new(keys), random())
}

#[test]
fn a_changed_notice_never_opens_the_place_it_stands_in() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        ran(&kept(folder, "from"), &stack(), 2).await;
        assert_eq!(migration(folder).run(&holder(), &started()).await.unwrap(), 1);
        let path = folder.join("from").join(NOTICE);
        let left = fs::read(&path).unwrap();
        // The migration writes what this test takes for it.
        let same = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap()["moving"].clone();
        assert_eq!(same(&left), same(&said("left", "to")));
        for (how, text) in damages(&left) {
            fs::write(&path, &text).unwrap();
            let old = kept(folder, "from");
            for error in [
                old.stays(&stack()).await.unwrap_err(),
                old.read(&stack()).await.map(drop).unwrap_err(),
                old.outputs(&stack()).await.map(drop).unwrap_err(),
                Session::open(&old, &stack(), Opening::new(holder()).create())
                    .await
                    .map(drop)
                    .unwrap_err(),
            ] {
                let told = matches!(
                    error,
                    StateError::Corrupt { .. } | StateError::Newer { .. } | StateError::Elsewhere { .. }
                );
                assert!(told || matches!(error, StateError::Gone { .. }), "{how}: {error}");
            }
            drop(migration(folder).run(&holder(), &started()).await);
            let now = fs::read(&path).unwrap();
            assert!(
                now == text || now == left,
                "{how}: {}",
                String::from_utf8_lossy(&now)
            );
        }
        fs::write(&path, later(&left)).unwrap();
        let error = kept(folder, "from").stays(&stack()).await.unwrap_err();
        assert!(matches!(error, StateError::Newer { .. }), "{error}");
        let arrived = kept(folder, "to").read(&stack()).await.unwrap().unwrap().0;
        assert_eq!(arrived.header.serial, 3);
    });
}

#[test]
fn notices_that_are_not_true_lose_no_state() {
    const WORDS: [&str; 4] = ["", "leaving", "arriving", "left"];
    const PLACES: [&str; 3] = ["from", "to", "elsewhere"];
    runtime().block_on(async {
        let keys = tempfile::tempdir().unwrap();
        let keys = keys.path();
        let said = |blobs: &MemoryBlobs, word: &str, place: &str| {
            let notice = Some(said(word, place)).filter(|_| !word.is_empty());
            blobs.overwrite(NOTICE, notice);
        };
        let (one, other) = (MemoryBlobs::new(), MemoryBlobs::new());
        ran(&memory(keys, &one), &stack(), 1).await;
        ran(&memory(keys, &other), &stack(), 1).await;
        let mut earlier = one.contents();
        earlier.retain(|name, _| name.starts_with("cloud/p/s"));
        ran(&memory(keys, &one), &stack(), 1).await;
        let (later, other) = (one.contents(), other.contents());
        let none = std::collections::BTreeMap::new();
        // The same state in both places, one of them earlier; another one; only one.
        for (from, to) in [
            (&later, &none),
            (&none, &later),
            (&later, &earlier),
            (&earlier, &later),
            (&later, &other),
        ] {
            for (old, new) in WORDS.iter().flat_map(|old| WORDS.map(|new| (*old, new))) {
                for (old_place, new_place) in PLACES.iter().flat_map(|a| PLACES.map(|b| (*a, b))) {
                    let (from, to) = (MemoryBlobs::of(from.clone()), MemoryBlobs::of(to.clone()));
                    let whole = [held(keys, &from).await, held(keys, &to).await];
                    said(&from, old, old_place);
                    said(&to, new, new_place);
                    let (source, target) = (memory(keys, &from), memory(keys, &to));
                    let migration =
                        Migration::new((&source, place("from")), (&target, place("to")), "cloud", "p");
                    let done = migration.run(&holder(), &started()).await;
                    drop(source.stay("cloud", "p", &holder()).await);
                    let now = [held(keys, &from).await, held(keys, &to).await];
                    // Of every state that there was, a version as late is there.
                    for state in whole.iter().flatten() {
                        let is_there = now.iter().flatten().any(|now| {
                            now.header.lineage == state.header.lineage
                                && now.header.serial >= state.header.serial
                        });
                        let how = format!("`{old}` {old_place}, `{new}` {new_place}: {done:?}");
                        assert!(is_there, "{how}: {whole:?} became {now:?}");
                    }
                }
            }
        }
    });
}
