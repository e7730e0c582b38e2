//! A secret reaches no file in clear, and a key is never made where one is named.
#![expect(
    clippy::disallowed_methods,
    reason = "a test takes a key file away and brings it back"
)]

use epid_provider::Value;

use super::sample::{SECRET, Sample, append, close, dev, entry, make, opening, run, store};
use crate::state::{JournalEntry, Session, StateError};

/// Every way a planted secret could be written: as it is, in base64 at any offset, in hexadecimal digits.
fn shows(bytes: &[u8]) -> bool {
    use base64::Engine as _;
    let standard = base64::engine::general_purpose::STANDARD_NO_PAD;
    let hex: String = SECRET.bytes().map(|b| format!("{b:02x}")).collect();
    let mut forms = vec![SECRET.as_bytes().to_vec(), hex.into_bytes()];
    for before in 0..3 {
        let text = standard.encode([&vec![b'x'; before], SECRET.as_bytes()].concat());
        forms.push(text.as_bytes()[4..text.len() - 4].to_vec());
    }
    forms
        .iter()
        .any(|form| bytes.windows(form.len()).any(|window| window == form))
}

#[tokio::test]
async fn no_file_ever_holds_a_secret_in_clear() {
    let sample = Sample::new();
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    append(&session, [run(1)]).unwrap();
    append(&session, make(1, &entry("a"))).unwrap();
    let map = [
        ("url", Value::str(SECRET)),
        ("token", Value::str(SECRET).into_secret()),
    ]
    .into_iter()
    .collect();
    append(&session, [JournalEntry::Outputs(map), close(2)]).unwrap();
    session.publish_outputs().await.unwrap();
    session.close().await.unwrap();
    let written = sample.blobs.written();
    assert!(written.len() > 5);
    for bytes in &written {
        assert!(!shows(bytes), "{}", String::from_utf8_lossy(bytes));
    }
    assert!(shows(format!("x{SECRET}").as_bytes()));
    assert!(!format!("{session:?}").contains(SECRET));
    // Nor does what is sealed once show what is sealed twice: inside, secrets have a key of their own.
    let outputs = sample.store.outputs(&dev()).await.unwrap().unwrap();
    assert_eq!(
        outputs.values.get("token"),
        Some(&Value::str(SECRET).into_secret())
    );
}

#[tokio::test]
async fn digests_tell_equal_secrets_and_nothing_else() {
    let (a, b) = (Sample::new(), Sample::new());
    let (a, b) = (
        Session::open(&a.store, &dev(), opening()).await.unwrap(),
        Session::open(&b.store, &dev(), opening()).await.unwrap(),
    );
    let value = Value::str(SECRET);
    assert_eq!(
        a.keys().digest(&value),
        a.keys().digest(&value.clone().into_secret())
    );
    assert_ne!(a.keys().digest(&value), b.keys().digest(&value));
    assert_ne!(a.keys().digest_bytes(b"x"), a.keys().digest_bytes(b"y"));
    assert_eq!(a.keys().digest_bytes(b"x").unwrap().len(), 64);
    assert_eq!(a.keys().digest(&value), a.keys().clone().digest(&value));
}

#[tokio::test]
async fn a_missing_key_is_told_and_never_replaced() {
    let sample = Sample::new();
    Session::open(&sample.store, &dev(), opening())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let id = sample.store.header(&dev()).await.unwrap().unwrap().key;
    let file = sample.keys.path().join(format!("{id}.key"));
    let kept = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    for error in [
        Session::open(&sample.store, &dev(), opening())
            .await
            .map(drop)
            .unwrap_err(),
        sample.store.read(&dev()).await.map(drop).unwrap_err(),
    ] {
        let message = error.to_string();
        assert!(matches!(error, StateError::MissingKey { .. }));
        assert!(
            message.contains(&*id) && message.contains(&file.display().to_string()),
            "{message}"
        );
    }
    assert_eq!(
        std::fs::read_dir(sample.keys.path()).unwrap().count(),
        1,
        "only .gitignore"
    );
    std::fs::write(&file, kept).unwrap();
    Session::open(&sample.store, &dev(), opening()).await.unwrap();
}

#[tokio::test]
async fn a_new_state_uses_the_key_that_the_stack_file_names() {
    let sample = Sample::new();
    let mut named = opening();
    named.key = Some("0123456789abcdef".to_owned());
    let missing = Session::open(&sample.store, &dev(), named.clone())
        .await
        .unwrap_err();
    assert!(matches!(missing, StateError::MissingKey { .. }), "{missing}");
    assert!(sample.store.read(&dev()).await.unwrap().is_none());
    let id = sample.store.keys.mint(&super::sample::entropy()).unwrap();
    named.key = Some(id.clone());
    let session = Session::open(&sample.store, &dev(), named).await.unwrap();
    assert_eq!(
        (session.keys().id(), &*session.snapshot().header.key),
        (&*id, &*id)
    );
    assert_eq!(sample.store.keys.ids().unwrap(), [id]);
}

#[tokio::test]
async fn a_key_of_another_project_opens_nothing() {
    let (sample, other) = (Sample::new(), Sample::new());
    Session::open(&sample.store, &dev(), opening())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let foreign = store(std::sync::Arc::new(sample.blobs.clone()), &other.keys);
    assert!(matches!(
        foreign.read(&dev()).await,
        Err(StateError::MissingKey { .. })
    ));
    assert!(foreign.header(&dev()).await.unwrap().is_some());
}
