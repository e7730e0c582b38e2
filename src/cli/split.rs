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

    async fn settle(&self, name: &str) -> Result<(), BlobError> {
        self.of(name).settle(name).await
    }

    async fn sweep(&self, folder: &str) -> Result<(), BlobError> {
        self.of(folder).sweep(folder).await
    }

    async fn lock(&self, name: &str, who: &Holder) -> Result<Lock, BlobError> {
        self.of(name).lock(name, who).await
    }

    async fn tenure(&self, name: &str) -> Result<Option<Tenure>, BlobError> {
        self.of(name).tenure(name).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::state::blobs::MemoryBlobs;

    #[tokio::test]
    async fn what_a_dead_writer_left_is_made_durable_where_it_is() {
        let (here, there) = (MemoryBlobs::new(), MemoryBlobs::new());
        let (sender, seen) = mpsc::channel();
        for (place, blobs) in [("here", &here), ("there", &there)] {
            let sender = sender.clone();
            blobs.watch(move |_, settled| sender.send((place, settled.clone())).unwrap());
        }
        let split = Split {
            here: Arc::new(here),
            there: Arc::new(there),
        };
        let names = [
            ("here", "sandbox%3adev/shop/dev/journal/0000000001"),
            ("there", "cloud/shop/dev/journal/0000000001"),
        ];
        for (place, name) in names {
            split.settle(name).await.unwrap();
            let seen: Vec<_> = seen.try_iter().collect();
            assert_eq!(seen, [(place, [name.to_owned()].into())]);
        }
    }
}
