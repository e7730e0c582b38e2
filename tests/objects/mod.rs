//! A bucket in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use epid::state::blobs::{BucketBlobs, Condition, Object, ObjectError, ObjectStore};
use epid_provider::Timestamp;
use tokio::time::Instant;

/// What is under a key, and its tag.
type Contents = BTreeMap<String, (Vec<u8>, String)>;

/// A bucket. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bucket(Arc<Mutex<Contents>>);

impl Bucket {
    /// Its blobs below `team/` as a new process sees them, which begins `at` that millisecond by its wall clock.
    pub(crate) fn blobs(&self, at: u64) -> BucketBlobs {
        let start = Instant::now();
        let wall = move || Timestamp(at + u64::try_from(start.elapsed().as_millis()).unwrap());
        let entropy = |bytes: &mut [u8]| {
            bytes.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
            Ok(())
        };
        BucketBlobs::new(Arc::new(self.clone()), "team/", Arc::new(wall), Arc::new(entropy))
    }

    /// Puts bytes where they are, whatever was there.
    pub(crate) fn set(&self, key: &str, bytes: &[u8]) -> String {
        let tag = format!("{:x}", fastrand::u64(..));
        self.objects()
            .insert(key.to_owned(), (bytes.to_vec(), tag.clone()));
        tag
    }

    fn objects(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap()
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    fn describe(&self, key: &str) -> String {
        format!("memory://{key}")
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, ObjectError> {
        let objects = self.objects();
        let object = objects.get(key).cloned();
        Ok(object.map(|(bytes, tag)| Object { bytes, tag }))
    }

    async fn put(&self, key: &str, bytes: Vec<u8>, condition: &Condition) -> Result<String, ObjectError> {
        let fits = match condition {
            Condition::Always => true,
            Condition::Absent => !self.objects().contains_key(key),
            Condition::Tagged(tag) => self.objects().get(key).is_some_and(|(_, now)| now == tag),
        };
        if fits {
            Ok(self.set(key, &bytes))
        } else {
            Err(ObjectError::Conflict)
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        let objects = self.objects();
        Ok(objects
            .keys()
            .filter(|key| key.starts_with(prefix))
            .cloned()
            .collect())
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.objects().remove(key);
        Ok(())
    }
}
