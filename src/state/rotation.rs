//! Sealing what is there with another key. The data keys stay, so nothing under them is written anew.

use std::sync::Arc;

use super::disk::Disk;
use super::error::StateError;
use super::load::{PREVIOUS, STATE, StateHead};
use super::location::{Holder, Location};
use super::names;
use super::session::Opening;
use super::store::Store;

impl Store {
    /// Seals the data keys of a state with the key `id`, in both of its snapshots. False where they are already. Until this
    /// has returned, both keys are needed.
    ///
    /// # Errors
    /// [`StateError::Locked`] while somebody works on it, [`StateError::MissingKey`], [`StateError::Corrupt`],
    /// [`StateError::Io`].
    pub async fn rekey(&self, location: &Location, id: &str, holder: Holder) -> Result<bool, StateError> {
        if self.sealers(location).await?.iter().all(|sealer| sealer == id) {
            return Ok(false);
        }
        let (mut disk, loaded) = Disk::open(self, location, Opening::new(holder)).await?;
        let done = async {
            let key = self.keys.require(id, &format!("the state of {location}"))?;
            let wrapped = loaded.keys.wrap(&key, &loaded.head.lineage)?;
            let saved = loaded.head.serial;
            let (mut snapshot, mut runs) = (loaded.snapshot, loaded.runs);
            snapshot.header.key = Arc::from(id);
            // What the journal held besides is closed as a session would close it.
            if loaded.pending && snapshot.header.serial == saved {
                snapshot.header.serial = saved.saturating_add(1);
            }
            runs.extend(snapshot.run.as_deref().filter(|run| run.serial > saved).cloned());
            let keys = loaded.keys.opened_by(id);
            disk.rekey(snapshot, &runs, &keys, wrapped).await
        };
        let done = done.await;
        drop(disk.release().await);
        done.map(|()| true)
    }

    /// The keys that the snapshots of a state are sealed with, the newest first; needs none of them.
    ///
    /// # Errors
    /// [`StateError::Corrupt`], [`StateError::Newer`], [`StateError::Io`].
    pub async fn sealers(&self, location: &Location) -> Result<Vec<String>, StateError> {
        let mut ids = Vec::new();
        for file in [STATE, PREVIOUS] {
            let name = names::file(location, file);
            if let Some(bytes) = self.blobs.get(&name).await? {
                let head = StateHead::read(&bytes);
                let head = head.map_err(|d| d.of(self.blobs.describe(&name), "restore it from a backup"))?;
                ids.push(head.key.to_string());
            }
        }
        Ok(ids)
    }

    /// Seals the published outputs of a stack for the keys that it and its consumers have now. Once all of them have theirs.
    ///
    /// # Errors
    /// As [`Self::rekey`].
    pub async fn reshare(&self, producer: &Location, holder: &Holder) -> Result<(), StateError> {
        let guard = self.lock(producer, holder).await?;
        let done = async {
            for consumer in self.consumers(producer).await? {
                // Its mark names its key. A producer that is being destroyed takes no marks, and nobody reads it any more.
                match self.add_consumer(producer, &consumer).await {
                    Ok(()) | Err(StateError::Closing(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            let Some(header) = self.header(producer).await? else {
                return Ok(());
            };
            self.reseal_outputs(producer, &header.key).await
        };
        let done = done.await;
        self.forget_holder(producer, &*guard).await;
        guard.release().await;
        done
    }
}
