//! Leases: the lock of a state in a bucket.

use std::time::Duration;

use epid::state::blobs::{BlobError, Blobs as _, Lock, ObjectStore as _};
use tokio::time::Instant;

use crate::objects::Bucket;
use crate::texts::damages;
use crate::world::holder;

const NAME: &str = "cloud/p/s/lock";
const KEY: &str = "team/cloud/p/s/lock";
/// When the lease was taken, by its holder's wall clock.
const TAKEN: u64 = 1_700_000_000_000;
const MINUTE: u64 = 60_000;

/// A bucket with that lease.
fn of(lease: &[u8]) -> Bucket {
    let bucket = Bucket::default();
    bucket.set(KEY, lease);
    bucket
}

async fn bytes(bucket: &Bucket) -> Vec<u8> {
    bucket.get(KEY).await.unwrap().unwrap().bytes
}

/// Takes the lock, by the wall clock `at` that goes with the runtime's.
async fn lock(bucket: &Bucket, at: u64) -> Result<Lock, BlobError> {
    bucket.blobs(at).lock(NAME, &holder()).await
}

/// A lease that somebody holds, as its object.
async fn lease() -> Vec<u8> {
    let bucket = Bucket::default();
    let taken = lock(&bucket, TAKEN).await.unwrap();
    let held = bytes(&bucket).await;
    drop(taken);
    held
}

/// Like [`lease`], with one field that says something else.
fn with(lease: &[u8], field: &str, value: serde_json::Value) -> Vec<u8> {
    let mut changed: serde_json::Value = serde_json::from_slice(lease).unwrap();
    changed[field] = value;
    changed.to_string().into_bytes()
}

/// Whose lease it is.
fn token(lease: &[u8]) -> Option<String> {
    let read = serde_json::from_slice::<serde_json::Value>(lease).ok()?;
    Some(read["token"].as_str()?.to_owned())
}

/// Every change that is tried, with its name.
fn changes(lease: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut changes = damages(lease);
    for field in ["format", "epoch", "beat", "until", "lasts"] {
        for number in [0, 1, u64::from(u32::MAX), i64::MAX.unsigned_abs(), u64::MAX] {
            changes.push((format!("{field} {number}"), with(lease, field, number.into())));
        }
        for value in [
            serde_json::json!(-1),
            serde_json::json!(1e300),
            serde_json::Value::Null,
        ] {
            changes.push((format!("{field} {value}"), with(lease, field, value)));
        }
    }
    for (field, value) in [
        ("epid", serde_json::json!("notice")),
        ("disputed", serde_json::json!(true)),
        ("holder", serde_json::Value::Null),
        ("token", serde_json::json!("x".repeat(1_000_000))),
        ("more", serde_json::json!({"of": "a later epid"})),
    ] {
        changes.push((format!("another {field}"), with(lease, field, value)));
    }
    changes
}

#[tokio::test(start_paused = true)]
async fn a_changed_lease_is_refused_or_waited_for() {
    let lease = lease().await;
    for (how, text) in changes(&lease) {
        for at in [TAKEN, TAKEN + MINUTE, TAKEN - MINUTE] {
            let (bucket, since) = (of(&text), Instant::now());
            let locked = tokio::time::timeout(Duration::from_secs(7_200), lock(&bucket, at)).await;
            match locked.unwrap_or_else(|_| panic!("{how}: hangs")) {
                Ok(Lock::Held(_)) => assert_eq!(bytes(&bucket).await, text, "{how}"),
                Ok(Lock::Taken(guard)) => {
                    let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
                    let lasts = Duration::from_millis(read["lasts"].as_u64().unwrap());
                    if read["holder"].is_object() {
                        // Whoever holds it renews it in less time, and what they can write is fenced.
                        assert!(since.elapsed() >= lasts && guard.is_disputed(), "{how}");
                    }
                    guard.release().await;
                }
                Err(error) => {
                    assert!(error.to_string().contains(KEY), "{how}: {error}");
                    assert!(error.to_string().contains("it is no lease"), "{how}: {error}");
                    assert_eq!(bytes(&bucket).await, text, "{how}: nothing is repaired");
                }
            }
        }
    }
    let later = lock(&of(&with(&lease, "format", 2.into())), TAKEN).await;
    let said = later.unwrap_err().to_string();
    assert!(
        said.contains("a later epid wrote it, in format 2: upgrade"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_changed_while_it_is_held_is_lost_or_renewed() {
    let first = lease().await;
    for (how, text) in changes(&first) {
        let bucket = Bucket::default();
        let Lock::Taken(guard) = lock(&bucket, TAKEN).await.unwrap() else {
            panic!("nobody holds it")
        };
        // The same change, of this holder's lease.
        let mine = bytes(&bucket).await;
        let text = String::from_utf8_lossy(&text).replace(&token(&first).unwrap(), &token(&mine).unwrap());
        let text = text.as_bytes();
        bucket.set(KEY, text);
        let held = guard.confirm().await;
        tokio::time::sleep(Duration::from_secs(17)).await;
        let still = guard.is_held().await;
        if token(text) != token(&mine) {
            assert!(!held && !still, "{how}");
        }
        guard.release().await;
        if !still {
            assert_eq!(bytes(&bucket).await, text, "{how}: nothing is repaired");
        }
    }
}
