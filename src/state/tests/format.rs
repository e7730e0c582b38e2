//! Files that each format wrote once, kept: every later epid reads them, or says that it does not.
#![expect(clippy::disallowed_methods, reason = "the tests look at the files")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use epid_provider::{Map, Partial, Path, Segment, Timestamp, Value};

use super::sample::{append, close, dev, entry, make, opening, run, store, token};
use super::store::Beside;
use crate::state::blobs::MemoryBlobs;
use crate::state::{Entry, FORMAT, Header, JournalEntry, Role, Session, Snapshot, StateError};

/// Every file there is in a stack, and the key.
struct Kept {
    files: [(&'static str, &'static [u8]); 4],
    key_id: &'static str,
    key: &'static [u8],
}

macro_rules! kept {
    ($folder:literal) => {
        Kept {
            files: [
                ("state", include_bytes!(concat!($folder, "/state"))),
                (
                    "journal/0000000002",
                    include_bytes!(concat!($folder, "/journal_2")),
                ),
                ("outputs", include_bytes!(concat!($folder, "/outputs"))),
                (
                    "history/0000000001",
                    include_bytes!(concat!($folder, "/history_1")),
                ),
            ],
            key_id: include_str!(concat!($folder, "/key_id")),
            key: include_bytes!(concat!($folder, "/key")),
        }
    };
}

const FORMATS: [(u32, Kept); 3] = [
    (1, kept!("format_1")),
    (2, kept!("format_2")),
    (3, kept!("format_3")),
];

/// An entry with every field at work.
fn full() -> Entry {
    let mut full = entry("full");
    let path: Path = [
        Segment::Key("a.b".into()),
        Segment::Element("7".into()),
        Segment::Index(7),
    ]
    .into_iter()
    .collect();
    full.record.resolved = Value::map([
        ("$odd", Value::Float(0.1)),
        ("null", Value::Null),
        ("unknown", Value::unknown("x.id")),
        ("opaque", Value::Opaque("abcd".into())),
        ("deep", (0..100).fold(Value::Bool(true), |v, _| Value::list([v]))),
    ]);
    full.record.incomplete = vec!["attach".into()];
    full.provider = Some(entry("provider").key_of());
    full.dependencies = vec![entry("plain").urn().clone()];
    full.deleted_with = Some(entry("plain").urn().clone());
    full.served_by = vec![entry("plain").urn().clone()];
    (full.outside, full.protect, full.retain_on_delete) = (true, true, true);
    full.delete_before_replace = Some(false);
    full.ignore_changes = vec![path.clone()];
    full.replace_on_changes = vec![path.clone()];
    full.key = Some(epid_provider::Key::new("aws/vpc"));
    full.identity = Some("aws/000000000000/us-east-1".into());
    full.overrides = [(path, Value::Int(-1))].into();
    full.observed = Some((Value::str("seen"), Timestamp(5)));
    full.order = 3;
    full.timeouts.create = Some(Duration::from_millis(1_500));
    full.timeouts.delete = Some(Duration::from_secs(60));
    full
}

/// What was derived from secrets; format 1 had none of it.
fn derived() -> JournalEntry {
    let derived = [("0a", Value::Opaque("abcd".into())), ("0b", Value::str("plain"))];
    JournalEntry::Derived(derived.map(|(name, value)| (name.into(), value)).into())
}

/// What the first session did, which was closed.
fn first(format: u32) -> Vec<JournalEntry> {
    let map: Map = [
        ("url", Value::str("https://x")),
        ("token", Value::str("t").into_secret()),
    ]
    .into_iter()
    .collect();
    let mut lines = vec![run(1)];
    for (number, made) in [entry("provider"), entry("plain"), full()].iter().enumerate() {
        lines.extend(make(number as u64, made));
    }
    lines.extend([JournalEntry::Outputs(map), close(9)]);
    lines.extend((format > 1).then(derived));
    lines
}

/// What the second session did, which was not.
fn second() -> Vec<JournalEntry> {
    let [begin, _] = make(8, &entry("begun"));
    let partial = Partial {
        id: "x".into(),
        outputs: Value::str("half").into_secret(),
        incomplete: vec!["tag".into()],
    };
    let mut condemned = entry("plain");
    condemned.role = Role::Condemned;
    let [again, done] = make(7, &condemned);
    vec![
        run(10),
        again,
        done,
        begin,
        JournalEntry::Checkpoint {
            token: token(8),
            partial,
        },
    ]
}

fn expected(header: Header) -> Snapshot {
    let lines = first(header.format).into_iter().chain(second());
    let session = Session::in_memory(Header { serial: 0, ..header });
    append(&session, lines).unwrap();
    session.snapshot()
}

#[tokio::test]
async fn files_of_every_format_stay_readable_and_become_those_of_the_newest() {
    for (format, kept) in FORMATS {
        let (blobs, keys) = (MemoryBlobs::new(), tempfile::tempdir().unwrap());
        std::fs::write(keys.path().join(format!("{}.key", kept.key_id.trim())), kept.key).unwrap();
        for (name, bytes) in kept.files {
            blobs.overwrite(&format!("cloud/p/dev/{name}"), Some(bytes.to_vec()));
        }
        let store = store(Arc::new(blobs), &keys);
        let (state, old) = store.read(&dev()).await.unwrap().unwrap();
        assert_eq!(state.header.format, format);
        assert_eq!(state, expected(state.header.clone()));
        let outputs = store.outputs(&dev()).await.unwrap().unwrap();
        assert_eq!(outputs.values, state.outputs);
        let runs = store.history(&dev()).await.unwrap();
        let told: Vec<_> = runs
            .iter()
            .map(|run| (run.serial, run.end.is_some(), run.steps.len()))
            .collect();
        assert_eq!(told, [(1, true, 3), (2, false, 1)]);
        let session = Session::open(&store, &dev(), opening()).await.unwrap();
        session.close().await.unwrap();
        let (upgraded, keys) = store.read(&dev()).await.unwrap().unwrap();
        assert_eq!(
            (upgraded.header.format, &upgraded.entries),
            (FORMAT, &state.entries)
        );
        // Names in the cloud were made of them.
        assert_eq!(keys.digest_bytes(b"x"), old.digest_bytes(b"x"));
    }
}

#[tokio::test]
async fn a_damaged_history_of_every_format_is_told() {
    for (format, kept) in FORMATS {
        let (blobs, keys) = (MemoryBlobs::new(), tempfile::tempdir().unwrap());
        std::fs::write(keys.path().join(format!("{}.key", kept.key_id.trim())), kept.key).unwrap();
        for (name, bytes) in kept.files {
            let mut bytes = bytes.to_vec();
            if name.starts_with("history/") {
                *bytes.last_mut().unwrap() ^= 1;
            }
            blobs.overwrite(&format!("cloud/p/dev/{name}"), Some(bytes));
        }
        let reads = AtomicUsize::new(0);
        let counted = Beside(
            blobs,
            Box::new(move |_, bytes| {
                let reads = reads.fetch_add(1, Ordering::Relaxed);
                assert!(reads < 1_000, "format {format}: it reads for ever");
                bytes
            }),
        );
        let told = store(Arc::new(counted), &keys).history(&dev()).await;
        assert!(
            matches!(&told, Err(StateError::Corrupt { file, .. }) if file.contains("history/")),
            "format {format}: {told:?}"
        );
    }
}

#[tokio::test]
async fn the_state_part_of_a_key_opens_states_and_no_secret_in_them() {
    let (blobs, keys) = (MemoryBlobs::new(), tempfile::tempdir().unwrap());
    let whole = store(Arc::new(blobs.clone()), &keys);
    let session = Session::open(&whole, &dev(), opening()).await.unwrap();
    append(&session, first(FORMAT)).unwrap();
    session.publish_outputs().await.unwrap();
    session.close().await.unwrap();
    let (id, parts) = (session.keys().id().to_owned(), tempfile::tempdir().unwrap());
    let file = parts.path().join(format!("{id}.key"));
    let export = |store: &crate::state::Store, folder: &str| {
        let folder = parts.path().join(folder);
        store.keys.export_state_parts([&*id], &folder)
    };
    export(&whole, "").unwrap();
    assert!(export(&whole, "").is_err(), "a file was written over");
    let ignore = parts.path().join(".gitignore");
    assert_eq!(std::fs::read(&ignore).unwrap(), b"*\n");
    // In a folder of something else, Git is left alone.
    std::fs::create_dir(parts.path().join("project")).unwrap();
    std::fs::write(parts.path().join("project/Epid.toml"), "").unwrap();
    export(&whole, "project").unwrap();
    assert!(!parts.path().join("project/.gitignore").exists());

    let part = store(Arc::new(blobs.clone()), &parts);
    let (state, opened) = part.read(&dev()).await.unwrap().unwrap();
    let (full, whole_keys) = whole.read(&dev()).await.unwrap().unwrap();
    assert_eq!(state.outputs.get("url"), full.outputs.get("url"));
    let digest = whole_keys.digest(&Value::str("t")).unwrap();
    let token = Value::Opaque(digest.as_str().into());
    assert_eq!(state.outputs.get("token"), Some(&token));
    assert_eq!(
        part.outputs(&dev()).await.unwrap().unwrap().values.get("token"),
        Some(&token)
    );
    assert!(
        !format!("{state:?}").contains("hunter"),
        "a secret of a record was opened"
    );
    // Not even a guess can be tried.
    assert_eq!(
        (opened.digest(&Value::str("t")), opened.digest_bytes(b"t")),
        (None, None)
    );
    let written = blobs.contents();
    let refused = Session::open(&part, &dev(), opening()).await.unwrap_err();
    assert!(matches!(refused, StateError::NeedsWholeKey { .. }), "{refused}");
    assert_eq!(blobs.contents(), written);
    assert!(
        part.keys
            .unseal_config("x", &format!("epid:1:{id}:AAAA"))
            .is_err()
    );
    assert!(export(&part, "again").is_err() && !parts.path().join("again").exists());
    assert_eq!(
        opened.name_of_derivation("x", &[token]),
        whole_keys.name_of_derivation("x", &[Value::str("t").into_secret()])
    );

    // A file of another key is noticed.
    let text = std::fs::read_to_string(&file).unwrap();
    let other = parts.path().join("0123456789abcdef.key");
    std::fs::write(other, text).unwrap();
    assert!(matches!(
        part.keys.find("0123456789abcdef"),
        Err(StateError::BadKey { .. })
    ));
}

/// Only where the format gets a new number: then into a folder of that number, and the old files stay.
#[tokio::test]
#[ignore = "writes the files that the test beside it reads"]
async fn write_files() {
    let (blobs, keys) = (MemoryBlobs::new(), tempfile::tempdir().unwrap());
    let store = store(Arc::new(blobs.clone()), &keys);
    let session = Session::open(&store, &dev(), opening()).await.unwrap();
    append(&session, first(FORMAT)).unwrap();
    session.publish_outputs().await.unwrap();
    session.close().await.unwrap();
    let session = Session::open(&store, &dev(), opening()).await.unwrap();
    for line in second() {
        let ticket = session.append(line).unwrap();
        session.durable(ticket).await.unwrap();
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("src/state/tests/format_{FORMAT}"));
    std::fs::create_dir_all(&folder).unwrap();
    let contents = blobs.contents();
    for (name, file) in [
        ("state", "state"),
        ("journal/0000000002", "journal_2"),
        ("outputs", "outputs"),
        ("history/0000000001", "history_1"),
    ] {
        std::fs::write(folder.join(file), &contents[&format!("cloud/p/dev/{name}")]).unwrap();
    }
    let id = session.keys().id();
    std::fs::copy(store.keys.file(id), folder.join("key")).unwrap();
    std::fs::write(folder.join("key_id"), id).unwrap();
}
