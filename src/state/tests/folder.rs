//! Real files, and a second process.
#![expect(clippy::disallowed_methods, reason = "the tests look at the files")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::sample::{append, close, dev, entry, make, opening, run, store, ticket};
use crate::state::blobs::FolderBlobs;
use crate::state::{Session, StateError, Store};

/// Set for the process that [`another_process_is_told_who_has_the_lock`] starts.
const PLACE: &str = "EPID_TEST_LOCK_PLACE";

fn open_store(root: &Path, keys: &tempfile::TempDir) -> Store {
    store(Arc::new(FolderBlobs::new(root)), keys)
}

#[tokio::test]
async fn a_state_lives_in_a_folder() {
    let (root, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open_store(root.path(), &keys);
    for round in 0..3 {
        let session = Session::open(&store, &dev(), opening()).await.unwrap();
        append(&session, [run(round)]).unwrap();
        let last = ticket(&session, make(round, &entry(&format!("v{round}")))).unwrap();
        session.durable(last).await.unwrap();
        let (read, _) = store.read(&dev()).await.unwrap().unwrap();
        assert_eq!(read, session.snapshot());
        append(&session, [close(round)]).unwrap();
        session.publish_outputs().await.unwrap();
        session.close().await.unwrap();
    }
    let (read, _) = store.read(&dev()).await.unwrap().unwrap();
    assert_eq!((read.header.serial, read.entries.len()), (3, 3));
    let mut files: Vec<String> = walk(root.path());
    files.sort();
    assert_eq!(
        files,
        [
            "cloud/p/dev/history/0000000001",
            "cloud/p/dev/history/0000000002",
            "cloud/p/dev/history/0000000003",
            "cloud/p/dev/journal/0000000003",
            "cloud/p/dev/lock",
            "cloud/p/dev/outputs",
            "cloud/p/dev/state",
            "cloud/p/dev/state.previous",
        ]
    );
}

fn walk(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(
                    path.strip_prefix(root)
                        .unwrap()
                        .to_string_lossy()
                        .replace('\\', "/"),
                );
            }
        }
    }
    found
}

#[tokio::test]
async fn another_process_is_told_who_has_the_lock() {
    let (root, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open_store(root.path(), &keys);
    let session = Session::open(&store, &dev(), opening()).await.unwrap();
    let place = format!("{}\n{}", root.path().display(), keys.path().display());
    let child = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "state::tests::folder::in_another_process",
                "--ignored",
                "--nocapture",
            ])
            .env(PLACE, &place)
            .stderr(Stdio::null());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let told = child();
    assert!(
        told.contains("is locked by `epid up --stack dev` of ann@laptop (process 7, since "),
        "{told}"
    );
    session.close().await.unwrap();
    // That process ends without closing: the kernel frees its lock.
    let told = child();
    assert!(told.contains("opened it"), "{told}");
    Session::open(&store, &dev(), opening()).await.unwrap();
}

#[tokio::test]
#[ignore = "the other process of another_process_is_told_who_has_the_lock"]
async fn in_another_process() {
    let place = std::env::var(PLACE).unwrap();
    let (root, keys) = place.split_once('\n').unwrap();
    let keys = crate::state::KeyRing::new(keys);
    let store = Store::new(Arc::new(FolderBlobs::new(root)), keys, super::sample::entropy());
    match Session::open(&store, &dev(), opening()).await {
        Ok(session) => {
            println!("opened it");
            std::mem::forget(session);
        }
        Err(error @ StateError::Locked { .. }) => println!("{error}"),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_reader_is_never_disturbed_by_a_writer() {
    let (root, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open_store(root.path(), &keys);
    Session::open(&store, &dev(), opening())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let reading = store.clone();
    let reader = tokio::spawn(async move {
        let (mut reads, mut seen) = (0, 0);
        while seen < 12 {
            let (state, _) = reading.read(&dev()).await.unwrap().unwrap();
            assert!(state.entries.len() >= seen, "a reader went back in time");
            seen = state.entries.len();
            reads += 1;
        }
        reads
    });
    for round in 0..12 {
        let session = Session::open(&store, &dev(), opening()).await.unwrap();
        append(&session, [run(round)]).unwrap();
        let last = ticket(&session, make(round, &entry(&format!("v{round}")))).unwrap();
        session.durable(last).await.unwrap();
        session.close().await.unwrap();
    }
    assert!(reader.await.unwrap() > 0);
}

#[tokio::test]
async fn what_a_writer_left_that_was_killed_goes_with_the_next_lock() {
    let (root, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open_store(root.path(), &keys);
    let session = Session::open(&store, &dev(), opening()).await.unwrap();
    append(&session, [run(1), close(1)]).unwrap();
    session.close().await.unwrap();
    let left = |name: &str| root.path().join("cloud/p/dev").join(name);
    let ours = [
        ".state.epid-7-0",
        "journal/.0000000002.epid-7-1",
        "history/.0000000001.epid-7-2",
    ];
    // Who uses the outputs writes that without the lock, and may be at it.
    let other = "consumers/.p.web.epid-7-3";
    for name in ours.into_iter().chain([other]) {
        std::fs::create_dir_all(left(name).parent().unwrap()).unwrap();
        std::fs::write(left(name), "").unwrap();
    }
    // Not by who only reads.
    store.read(&dev()).await.unwrap().unwrap();
    assert!(ours.iter().all(|name| left(name).exists()));
    let session = Session::open(&store, &dev(), opening()).await.unwrap();
    session.close().await.unwrap();
    assert!(!ours.iter().any(|name| left(name).exists()));
    assert!(left(other).exists());
}
