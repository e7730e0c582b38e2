//! A bucket in memory, and the processes that use it: each can die, stand still, or lose answers.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use epid_provider::Timestamp;
use tokio::time::Instant;

use super::sample::entropy;
use crate::state::blobs::{BucketBlobs, Condition, Object, ObjectError, ObjectStore, Wall};

type Contents = Arc<Mutex<BTreeMap<String, (Vec<u8>, u64)>>>;

/// What happens at a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The process dies before it.
    Crash,
    /// The process dies after it took effect.
    CrashAfter,
    /// It does not arrive, and the process is told nothing.
    Lost,
    /// It takes effect, and the process is told nothing.
    AnswerLost,
    /// So it is, and the answers to the next two reads are lost too.
    AnswersLost,
    /// It takes effect a second after the process was told nothing.
    Late,
}

/// The bucket as one process sees it.
#[derive(Debug, Clone, Default)]
pub(super) struct Process {
    contents: Contents,
    /// When its clock began.
    start: Arc<OnceLock<Instant>>,
    own: Arc<Mutex<Own>>,
}

#[derive(Debug, Default)]
struct Own {
    requests: u64,
    /// By how many milliseconds its wall clock is wrong.
    skew: i64,
    writes: u64,
    faults: Option<(Range<u64>, Fault)>,
    /// So many answers to reads are lost from now on.
    deaf: u32,
    stop_before: Option<u64>,
    dead: bool,
    stopped: bool,
}

impl Process {
    /// Another process on the same bucket.
    pub(super) fn another(&self) -> Self {
        Self {
            contents: self.contents.clone(),
            start: self.start.clone(),
            own: Arc::default(),
        }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contents(&self) -> MutexGuard<'_, BTreeMap<String, (Vec<u8>, u64)>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn blobs(&self) -> BucketBlobs {
        BucketBlobs::new(Arc::new(self.clone()), "team/", self.wall(), entropy())
    }

    /// A wall clock that goes with the runtime's.
    fn wall(&self) -> Wall {
        let start = *self.start.get_or_init(Instant::now);
        let process = self.clone();
        Arc::new(move || {
            let passed = u64::try_from(start.elapsed().as_millis()).unwrap();
            Timestamp((1_700_000_000_000 + passed).saturating_add_signed(process.own().skew))
        })
    }

    /// Sets its wall clock: so many minutes ahead, or behind.
    pub(super) fn set_clock(&self, minutes: i64) {
        self.own().skew = minutes * 60_000;
    }

    pub(super) fn fail_at(&self, write: u64, fault: Fault) {
        self.fail_between(write..write + 1, fault);
    }

    pub(super) fn fail_between(&self, writes: Range<u64>, fault: Fault) {
        self.own().faults = Some((writes, fault));
    }

    pub(super) fn writes(&self) -> u64 {
        self.own().writes
    }

    pub(super) fn kill(&self) {
        self.own().dead = true;
    }

    /// Nothing it sends arrives until it goes on; its clock runs.
    pub(super) fn stop(&self) {
        self.own().stopped = true;
    }

    /// Stops it before its request of that number, counted from 0.
    pub(super) fn stop_before(&self, request: u64) {
        self.own().stop_before = Some(request);
    }

    pub(super) fn requests(&self) -> u64 {
        self.own().requests
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.own().stopped
    }

    pub(super) fn go_on(&self) {
        self.own().stopped = false;
    }

    /// Another bucket with the same objects, but for one.
    pub(super) fn without(&self, key: &str) -> Self {
        let mut contents = self.contents().clone();
        contents.remove(key);
        Self {
            contents: Arc::new(Mutex::new(contents)),
            start: self.start.clone(),
            own: Arc::default(),
        }
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.contents().keys().cloned().collect()
    }

    pub(super) fn overwrite(&self, key: &str, bytes: &[u8]) {
        self.contents()
            .insert(key.to_owned(), (bytes.to_vec(), fastrand::u64(..)));
    }

    #[expect(clippy::disallowed_methods, reason = "a network takes time")]
    async fn arrive(&self) -> Result<(), ObjectError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        {
            let mut own = self.own();
            own.stopped |= own.stop_before == Some(own.requests);
            own.requests += 1;
        }
        while self.own().stopped {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if self.own().dead {
            return Err(ObjectError::Refused(io::ErrorKind::NotConnected.into()));
        }
        Ok(())
    }

    /// Lets a write take effect, or not.
    async fn write<T>(&self, write: impl Fn(&Self) -> T + Send + 'static) -> Result<T, ObjectError>
    where
        T: Send,
    {
        self.arrive().await?;
        let fault = {
            let mut own = self.own();
            let number = own.writes;
            own.writes += 1;
            own.faults
                .as_ref()
                .filter(|(at, _)| at.contains(&number))
                .map(|(_, fault)| *fault)
        };
        let lost = || Err(ObjectError::Unsettled(io::ErrorKind::ConnectionReset.into()));
        match fault {
            None => Ok(write(self)),
            Some(Fault::Lost) => lost(),
            Some(Fault::AnswerLost) => {
                write(self);
                lost()
            }
            Some(Fault::AnswersLost) => {
                write(self);
                self.own().deaf = 2;
                lost()
            }
            Some(Fault::Late) => {
                let process = self.clone();
                #[expect(clippy::disallowed_methods, reason = "a network takes time")]
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    write(&process);
                });
                lost()
            }
            Some(Fault::Crash) => {
                self.kill();
                lost()
            }
            Some(Fault::CrashAfter) => {
                write(self);
                self.kill();
                lost()
            }
        }
    }
}

#[async_trait]
impl ObjectStore for Process {
    fn describe(&self, key: &str) -> String {
        format!("memory://{key}")
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, ObjectError> {
        self.arrive().await?;
        {
            let mut own = self.own();
            if own.deaf > 0 {
                own.deaf -= 1;
                return Err(ObjectError::Unsettled(io::ErrorKind::ConnectionReset.into()));
            }
        }
        Ok(self.contents().get(key).map(|(bytes, tag)| Object {
            bytes: bytes.clone(),
            tag: tag.to_string(),
        }))
    }

    async fn put(&self, key: &str, bytes: Vec<u8>, condition: &Condition) -> Result<String, ObjectError> {
        let (key, condition) = (key.to_owned(), condition.clone());
        let put = move |process: &Self| {
            let mut contents = process.contents();
            let there = contents.get(&key).map(|(_, tag)| tag.to_string());
            let fits = match &condition {
                Condition::Always => true,
                Condition::Absent => there.is_none(),
                Condition::Tagged(tag) => there.as_ref() == Some(tag),
            };
            let tag = fastrand::u64(..);
            if fits {
                contents.insert(key.clone(), (bytes.clone(), tag));
            }
            fits.then(|| tag.to_string())
        };
        self.write(put).await?.ok_or(ObjectError::Conflict)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        self.arrive().await?;
        let contents = self.contents();
        Ok(contents
            .keys()
            .filter(|key| key.starts_with(prefix))
            .cloned()
            .collect())
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let key = key.to_owned();
        self.write(move |process| drop(process.contents().remove(&key)))
            .await
    }
}
