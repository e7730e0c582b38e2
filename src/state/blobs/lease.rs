//! A lock as an object: a lease that says who holds it and is renewed for as long as they do.
//!
//! Nobody's wall clock decides anything: whoever wants a lease that is held must have seen it unchanged for as long as it lasts,
//! by their own monotonic clock; whoever holds it counts from before they sent its last renewal. A holder that was stopped, or
//! whose clock was, is kept out by what it writes: conditions fail, and logs have fences.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use epid_provider::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::bucket::Bucket;
use super::objects::{Condition, rest};
use super::{BlobError, Guard, Lock, Tenure};
use crate::state::Holder;

/// How long a lease lasts after its last renewal.
const LASTS: Duration = Duration::from_secs(20);
/// How often it is renewed.
const BEAT: Duration = Duration::from_secs(5);
/// A lease counts as held only while this much of it is left: a request that is sent then arrives in time.
const MARGIN: Duration = Duration::from_secs(4);
/// How often whoever waits looks.
const LOOK: Duration = Duration::from_secs(1);
/// No lease lasts longer, whichever epid wrote it.
const LONGEST: Duration = Duration::from_secs(3_600);
/// How often in a row a write may meet another version. Somebody else's write is in the way once; after that it is seen.
const ROUNDS: usize = 32;

/// The object of a lease. It stays when the lease ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    epid: String,
    format: u32,
    /// Grows with every holder.
    epoch: u64,
    /// Grows with every renewal, so that no two versions are equal.
    beat: u64,
    /// Random: tells this holder from every other.
    token: String,
    /// Who has it; nobody, once it is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<Holder>,
    /// Until when, by the holder's wall clock: for people.
    until: Timestamp,
    /// How many milliseconds it lasts after a renewal.
    lasts: u64,
    /// It was taken from somebody who may not know that, and their logs are not fenced yet.
    #[serde(default)]
    disputed: bool,
}

impl Document {
    const FORMAT: u32 = 1;

    fn read(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Kind {
            epid: String,
            format: u32,
        }
        let kind: Kind = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if kind.epid == "lease" && kind.format > Self::FORMAT {
            return Err(format!(
                "a later epid wrote it, in format {}: upgrade",
                kind.format
            ));
        }
        let document: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if document.epid != "lease" {
            return Err(format!("it is a {}", document.epid));
        }
        if Duration::from_millis(document.lasts) > LONGEST {
            return Err(format!("it would last {} ms", document.lasts));
        }
        Ok(document)
    }
}

/// A lease that is, or was, this process's.
#[derive(Debug)]
pub(super) struct Lease {
    bucket: Bucket,
    /// The name of the lock.
    name: String,
    /// Held while a renewal is under way.
    current: tokio::sync::Mutex<(Document, String)>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// When the last renewal that was acknowledged was sent.
    renewed: Instant,
    /// Somebody else has it.
    lost: bool,
    /// Who, where they still do.
    successor: Option<Holder>,
    /// It was given back.
    released: bool,
    disputed: bool,
}

fn read(bucket: &Bucket, key: &str, bytes: &[u8]) -> Result<Document, BlobError> {
    Document::read(bytes).map_err(|error| {
        let what = format!("it is no lease: {error}; nobody may write until it is removed by hand");
        bucket
            .objects
            .error("read", key, io::Error::new(io::ErrorKind::InvalidData, what))
    })
}

/// Who has the lease as it says, also where its time is over.
pub(super) async fn tenure(bucket: &Bucket, name: &str) -> Result<Option<Tenure>, BlobError> {
    let key = bucket.key(name);
    let Some(object) = bucket.objects.get(&key).await? else {
        return Ok(None);
    };
    let Document { holder, until, .. } = read(bucket, &key, &object.bytes)?;
    Ok(holder.map(|holder| Tenure { holder, until }))
}

/// Takes the lease, unless somebody holds it.
pub(super) async fn lock(bucket: &Bucket, name: &str, who: &Holder) -> Result<Lock, BlobError> {
    let key = bucket.key(name);
    let mut first_seen = None;
    let mut conflicts = 0;
    loop {
        let found = bucket.objects.get(&key).await?;
        let (before, condition) = match found {
            None => (None, Condition::Absent),
            Some(object) => {
                let document = read(bucket, &key, &object.bytes)?;
                (Some(document), Condition::Tagged(object.tag))
            }
        };
        let mut disputed = before.as_ref().is_some_and(|before| before.disputed);
        if let (
            Some(Document {
                holder: Some(holder),
                until,
                lasts,
                ..
            }),
            Condition::Tagged(tag),
        ) = (&before, &condition)
        {
            let unchanged = bucket.unchanged_for(name, tag);
            if unchanged < Duration::from_millis(*lasts) {
                let changed = first_seen.get_or_insert_with(|| tag.clone()) != tag;
                // One whose time is over is probably nobody's any more, and of one whose time is longer than a lease lasts the
                // clocks tell nothing: both are worth watching.
                let now = (bucket.wall)();
                let lives = now < *until && until.0 - now.0 <= *lasts;
                if changed || lives {
                    return Ok(Lock::Held(Some(Tenure {
                        holder: holder.clone(),
                        until: *until,
                    })));
                }
                rest(LOOK).await;
                continue;
            }
            disputed = true;
        }
        let sent = Instant::now();
        let document = Document {
            epid: "lease".to_owned(),
            format: 1,
            epoch: before.as_ref().map_or(0, |before| before.epoch).saturating_add(1),
            beat: 0,
            token: bucket.token(&key)?,
            holder: Some(who.clone()),
            until: bucket.until(LASTS),
            lasts: u64::try_from(LASTS.as_millis()).unwrap_or(u64::MAX),
            disputed,
        };
        let written = bucket.objects.put(&key, &encode(&document), &condition).await?;
        if let Some(tag) = written.tag() {
            let lease = Arc::new(Lease {
                bucket: bucket.clone(),
                name: name.to_owned(),
                current: tokio::sync::Mutex::new((document, tag)),
                seen: Mutex::new(Seen {
                    renewed: sent,
                    lost: false,
                    successor: None,
                    released: false,
                    disputed,
                }),
            });
            bucket.hold(&lease);
            let beating = tokio::spawn(beat(Arc::downgrade(&lease)));
            return Ok(Lock::Taken(Arc::new(BucketGuard { lease, beating })));
        }
        conflicts += 1;
        if conflicts == ROUNDS {
            return Err(unconditional(bucket, &key));
        }
    }
}

/// What nobody else has changed cannot always be another version.
fn unconditional(bucket: &Bucket, key: &str) -> BlobError {
    let what = format!(
        "every write met another version, {ROUNDS} times in a row: the service does not seem to honour If-Match and If-None-Match"
    );
    bucket.objects.error("lock", key, io::Error::other(what))
}

/// Renews a lease until it ends.
async fn beat(lease: std::sync::Weak<Lease>) {
    loop {
        rest(BEAT).await;
        let Some(lease) = lease.upgrade() else { return };
        if lease.is_over() {
            return;
        }
        // A renewal that fails is tried again with the next beat, and by whoever asks whether the lease is held.
        drop(lease.renew().await);
    }
}

fn encode(document: &Document) -> Vec<u8> {
    // A struct of texts and numbers always is JSON.
    serde_json::to_vec(document).unwrap_or_default()
}

impl Lease {
    /// The name of the lock.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        let seen = self.seen();
        seen.lost || seen.released
    }

    fn taken_over(&self) -> BlobError {
        let by = self.seen().successor.as_ref().map(|by| format!(": {by}"));
        let what = format!(
            "another epid has taken over this stack{}; nothing more is done here. Run the same command again once it has ended",
            by.unwrap_or_default()
        );
        let key = self.bucket.key(&self.name);
        self.bucket.objects.error("keep", &key, io::Error::other(what))
    }

    /// True while nobody else can have it, as far as this process's clock tells.
    fn is_fresh(&self) -> bool {
        let seen = self.seen();
        !seen.lost && !seen.released && seen.renewed.elapsed() < LASTS.saturating_sub(MARGIN)
    }

    /// Renews it.
    async fn renew(&self) -> Result<(), BlobError> {
        self.write(|document| document.until = self.bucket.until(LASTS))
            .await
    }

    async fn write(&self, change: impl Fn(&mut Document) + Send) -> Result<(), BlobError> {
        let key = self.bucket.key(&self.name);
        let mut current = self.current.lock().await;
        for _ in 0..ROUNDS {
            if self.is_over() {
                return Err(self.taken_over());
            }
            let mut next = current.0.clone();
            // The object may say anything; another one than the last is all it takes.
            next.beat = next.beat.wrapping_add(1);
            next.disputed = self.seen().disputed;
            change(&mut next);
            let sent = Instant::now();
            let condition = Condition::Tagged(current.1.clone());
            let written = self.bucket.objects.put(&key, &encode(&next), &condition).await?;
            if let Some(tag) = written.tag() {
                *current = (next, tag);
                self.seen().renewed = sent;
                return Ok(());
            }
            // A renewal that was given up may have taken effect since.
            match self.found(&current.0).await? {
                Ok(ours) => *current = ours,
                Err(successor) => self.lose(successor),
            }
        }
        Err(unconditional(&self.bucket, &key))
    }

    /// Looks whether it is still this process's, whatever the clocks say: what was written before this is seen by whoever takes
    /// it over afterwards.
    pub(super) async fn confirm(&self) -> Result<(), BlobError> {
        if self.is_over() {
            return Err(self.taken_over());
        }
        // Nobody waits for this look who only wants to renew.
        let current = self.current.lock().await.0.clone();
        match self.found(&current).await? {
            Ok((found, _)) if found.holder.is_some() => return Ok(()),
            Ok(_) => self.lose(None),
            Err(successor) => self.lose(successor),
        }
        Err(self.taken_over())
    }

    /// The lease as it is, where it is still this one; else who has it now.
    async fn found(&self, ours: &Document) -> Result<Result<(Document, String), Option<Holder>>, BlobError> {
        let found = self.bucket.objects.get(&self.bucket.key(&self.name)).await?;
        let read = |bytes: &[u8]| serde_json::from_slice::<Document>(bytes).ok();
        let found = found.and_then(|object| Some((read(&object.bytes)?, object.tag)));
        Ok(match found {
            Some((document, tag)) if document.token == ours.token => Ok((document, tag)),
            other => Err(other.and_then(|(document, _)| document.holder)),
        })
    }

    fn lose(&self, successor: Option<Holder>) {
        let mut seen = self.seen();
        (seen.lost, seen.successor) = (true, successor);
    }

    async fn release(&self) {
        // Where this fails the lease runs out.
        drop(self.write(|document| document.holder = None).await);
        self.seen().released = true;
        self.bucket.let_go(self);
    }
}

#[derive(Debug)]
struct BucketGuard {
    lease: Arc<Lease>,
    beating: tokio::task::JoinHandle<()>,
}

#[async_trait]
impl Guard for BucketGuard {
    async fn is_held(&self) -> bool {
        // One that was not renewed in time is still held where nobody took it meanwhile.
        self.lease.is_fresh() || self.lease.renew().await.is_ok()
    }

    async fn confirm(&self) -> bool {
        self.lease.confirm().await.is_ok() && self.is_held().await
    }

    fn is_named(&self) -> bool {
        true
    }

    fn is_disputed(&self) -> bool {
        self.lease.seen().disputed
    }

    fn settle(&self) {
        self.lease.seen().disputed = false;
    }

    fn dispute(&self) {
        self.lease.seen().disputed = true;
    }

    async fn release(self: Arc<Self>) {
        self.lease.release().await;
    }
}

impl Drop for BucketGuard {
    fn drop(&mut self) {
        self.beating.abort();
        self.lease.bucket.let_go(&self.lease);
        if self.lease.is_over() {
            return;
        }
        // Whoever gave up without releasing it; where there is no time for that, it runs out.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let lease = self.lease.clone();
            drop(runtime.spawn(async move { lease.release().await }));
        }
    }
}
