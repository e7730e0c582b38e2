//! One session after another.

use super::sample::{Sample, close, dev, entry, holder, make, opening, run};
use crate::state::{Opening, Session, StateError};

#[tokio::test]
async fn what_was_appended_is_there_for_the_next_session() {
    let sample = Sample::new();
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let mut last = session.append(run(1)).unwrap();
    for name in ["a", "b", "c"] {
        for line in make(u64::from(name.as_bytes()[0]), &entry(name)) {
            last = session.append(line).unwrap();
        }
    }
    session.durable(last).await.unwrap();
    let (read, _) = sample.store.read(&dev()).await.unwrap().unwrap();
    assert_eq!(read, session.snapshot());
    drop(session);

    let session = Session::open(&sample.store, &dev(), Opening::new(holder()))
        .await
        .unwrap();
    assert_eq!(session.snapshot(), read);
    let last = session.append(close(9)).unwrap();
    session.durable(last).await.unwrap();
    session.close().await.unwrap();
    let (closed, _) = sample.store.read(&dev()).await.unwrap().unwrap();
    assert_eq!(closed, session.snapshot());
    assert_eq!((closed.header.serial, closed.entries.len()), (1, 3));
    assert!(matches!(session.append(run(2)), Err(StateError::Closed)));
}

#[tokio::test]
async fn a_second_session_is_told_who_has_the_first() {
    let sample = Sample::new();
    let first = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let error = Session::open(&sample.store, &dev(), opening()).await.unwrap_err();
    let told = error.to_string();
    assert!(
        told.starts_with(
            "p/dev in cloud is locked by `epid up --stack dev` of ann@laptop (process 7, since "
        ) && told.ends_with("Z)"),
        "{told}"
    );
    assert_eq!(error.hint(), Some("--wait waits until that run has ended"));
    first.close().await.unwrap();
    Session::open(&sample.store, &dev(), opening()).await.unwrap();
}
