//! States in two places.

use std::sync::Arc;

use async_trait::async_trait;

use crate::state::Holder;
use crate::state::blobs::{BlobError, Blobs, Lock, Log, Tenure};

/// What the names of states in the sandbox begin with.
const SANDBOX: &str = "sandbox%3a";

/// States of the sandbox are kept beside the sandbox, all others there.
#[derive(Debug)]
pub(crate) struct Split {
    /// In the project's folder.
    pub(crate) here: Arc<dyn Blobs>,
    /// In the bucket.
    pub(crate) there: Arc<dyn Blobs>,
}

impl Split {
    fn of(&self, name: &str) -> &dyn Blobs {
        if name.starts_with(SANDBOX) {
            &*self.here
        } else {
            &*self.there
        }
    }
}

#[async_trait]
impl Blobs for Split {
    fn describe(&self, name: &str) -> String {
        self.of(name).describe(name)
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BlobError> {
        self.of(name).get(name).await
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), BlobError> {
        self.of(name).put(name, bytes).await
    }

    async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool, BlobError> {
        self.of(name).put_new(name, bytes).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, BlobError> {
        if !folder.is_empty() {
            return self.of(folder).list(folder).await;
        }
        let mut names = self.there.list(folder).await?;
        let here = self.here.list(folder).await?.into_iter();
        names.extend(here.filter(|name| name.starts_with(SANDBOX)));
        names.sort();
        Ok(names)
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.of(name).delete(name).await
    }

    async fn start_log(&self, name: &str, first: Vec<u8>) -> Result<Option<Box<dyn Log>>, BlobError> {
        self.of(name).start_log(name, first).await
    }

    async fn fence(&self, name: &str) -> Result<(), BlobError> {
        self.of(name).fence(name).await
    }

    async fn lock(&self, name: &str, who: &Holder) -> Result<Lock, BlobError> {
        self.of(name).lock(name, who).await
    }

    async fn tenure(&self, name: &str) -> Result<Option<Tenure>, BlobError> {
        self.of(name).tenure(name).await
    }
}
