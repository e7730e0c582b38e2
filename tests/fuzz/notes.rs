//! Notes of how far each state was: `.epid/seen`.

use std::fs;
use std::path::Path;

use epid::state::{Location, Opening, Session, Snapshot, StateError};

use crate::texts::damages;
use crate::world::{holder, ran, runtime, writable};

const NOTE: &str = "seen/cloud/p/s/serial";

/// Reads the state with the note as it is, by who has read nothing before.
async fn read(folder: &Path) -> Result<Option<Snapshot>, StateError> {
    let store = writable(folder);
    let read = store.read(&Location::new("cloud", "p", "s")).await?;
    Ok(read.map(|(state, _)| state))
}

#[test]
fn a_changed_note_refuses_or_is_as_none() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let (store, location) = (writable(folder.path()), Location::new("cloud", "p", "s"));
        ran(&store, &location, 2).await;
        let note = fs::read(folder.path().join(NOTE)).unwrap();
        let whole = read(folder.path()).await.unwrap();
        // Of another stack with more runs, and so of another lineage.
        let other = Location::new("cloud", "p", "other");
        ran(&store, &other, 5).await;
        let others = fs::read(folder.path().join("seen/cloud/p/other/serial")).unwrap();
        let mut changed = damages(&note);
        changed.push(("of another stack".to_owned(), others));
        for (how, text) in changed {
            fs::write(folder.path().join(NOTE), &text).unwrap();
            match read(folder.path()).await {
                Ok(found) => assert_eq!(found, whole, "{how}"),
                Err(StateError::Older { file, .. }) => assert!(file.ends_with(NOTE), "{how}: {file}"),
                Err(error) => panic!("{how}: {error}"),
            }
            assert_eq!(
                fs::read(folder.path().join(NOTE)).unwrap(),
                text,
                "{how}: reading writes nothing"
            );
        }
        // A run writes it anew, and from there on an old state is refused again.
        let old = fs::read(folder.path().join("state/cloud/p/s/state")).unwrap();
        ran(&writable(folder.path()), &location, 1).await;
        let new = fs::read(folder.path().join("state/cloud/p/s/state")).unwrap();
        fs::write(folder.path().join("state/cloud/p/s/state"), old).unwrap();
        fs::remove_dir_all(folder.path().join("state/cloud/p/s/journal")).unwrap();
        assert!(matches!(read(folder.path()).await, Err(StateError::Older { .. })));
        let opened = Session::open(
            &writable(folder.path()),
            &location,
            Opening::new(holder()).create(),
        )
        .await;
        assert!(matches!(opened, Err(StateError::Older { .. })), "{opened:?}");
        fs::write(folder.path().join("state/cloud/p/s/state"), new).unwrap();
        assert!(read(folder.path()).await.unwrap().is_some());
    });
}
