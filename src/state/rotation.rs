//! Sealing what is there with another key, and with data keys of its own.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::disk::Disk;
use super::error::StateError;
use super::journal_entry::Run;
use super::keys::StackKeys;
use super::load::{PREVIOUS, STATE, StateHead};
use super::location::{Holder, Location};
use super::names;
use super::session::Opening;
use super::store::{HISTORY, Store, read_run, sealed_run};

/// Runs of a history that are sealed at once.
const AT_ONCE: usize = 8;

impl Store {
    /// Seals a state anew: with other data keys, which the key `id` opens, so that those before open nothing of it any more. Its
    /// history tells it as `run`. False where the key `id` opens it already. Until this has returned, both keys are needed.
    ///
    /// # Errors
    /// [`StateError::Locked`] while somebody works on it, [`StateError::MissingKey`], [`StateError::Corrupt`],
    /// [`StateError::Io`].
    pub async fn rekey(
        &self,
        location: &Location,
        id: &str,
        holder: Holder,
        run: &Run,
    ) -> Result<bool, StateError> {
        // This also ends a rotation that was cut short.
        let (mut disk, loaded) = Disk::open(self, location, Opening::new(holder)).await?;
        let done = async {
            if self.sealers(location).await?.iter().all(|sealer| sealer == id) {
                return Ok(false);
            }
            disk.renew(loaded, id, run.clone()).await.map(|()| true)
        };
        let done = done.await;
        if let Some(guard) = disk.release().await {
            guard.release().await;
        }
        done
    }

    /// Seals with the newer data keys of a state what those before have sealed of its history.
    pub(super) async fn reseal_history(
        &self,
        location: &Location,
        keys: &StackKeys,
    ) -> Result<(), StateError> {
        let files = self.blobs.list(&names::file(location, HISTORY)).await?;
        let resealed = files.into_iter().map(|name| async move {
            let Some(bytes) = self.blobs.get(&name).await? else {
                return Ok(());
            };
            if read_run(&bytes, &keys.clone().settled()).is_ok() {
                return Ok(());
            }
            // What cannot be read is told by whoever reads it.
            match read_run(&bytes, keys) {
                Ok(run) => Ok::<(), StateError>(self.blobs.put(&name, sealed_run(&run, keys)?).await?),
                Err(_) => Ok(()),
            }
        });
        let mut resealed = stream::iter(resealed).buffer_unordered(AT_ONCE);
        while resealed.try_next().await?.is_some() {}
        Ok(())
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
        // Before the lock, which would leave files where there is nothing any more.
        if self.header(producer).await?.is_none() {
            return Ok(());
        }
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
