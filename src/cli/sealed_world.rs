//! The sandbox's world as it is kept: encrypted, as everything else that epid writes. It holds Secrets.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::Path;
use std::time::Duration;

use epid_sandbox::store::Stored;
use epid_sandbox::{FileStore, WorldStore};

use super::surroundings;
use crate::state::{DocumentKey, KeyRing, StateError, sealed_with};

const KIND: &str = "sandbox's world";

/// The two files of a world, each line of them encrypted.
pub(crate) struct SealedWorld {
    files: FileStore,
    keys: KeyRing,
    /// The id of the key for what is written: that of the world there is, or one that is chosen with the first write.
    key: Option<String>,
    /// The keys that were needed so far. Each line names its own: a rotation may have been cut short between snapshot and log.
    opened: BTreeMap<String, DocumentKey>,
}

impl SealedWorld {
    /// The world in `folder`.
    pub(crate) fn new(folder: &Path, keys: &KeyRing) -> Self {
        Self {
            files: FileStore::new(folder),
            keys: keys.clone(),
            key: None,
            opened: BTreeMap::new(),
        }
    }

    /// Takes the folder for this process, as [`FileStore::lock`].
    pub(crate) fn lock(&mut self, patience: Duration, who: &str) -> io::Result<()> {
        self.files.lock(patience, who)
    }

    /// The id of the key that the world there is was sealed with.
    pub(crate) fn sealer(&mut self) -> Option<String> {
        let snapshot = self.files.load().ok()?.snapshot?;
        sealed_with(&String::from_utf8_lossy(&snapshot)).map(str::to_owned)
    }

    /// Finds the key of the world there is.
    pub(crate) fn find_key(&mut self) -> Result<(), StateError> {
        let Ok(Stored {
            snapshot: Some(snapshot),
            ..
        }) = self.files.load()
        else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(&snapshot);
        self.key = Some(self.key_of(&text)?.id().to_owned());
        Ok(())
    }

    /// What is written from now on is sealed with the key `id`.
    pub(crate) fn seal_with(&mut self, id: &str) -> Result<(), StateError> {
        let key = self
            .keys
            .document_key_of(id.to_owned(), KIND, &surroundings::randomness())?;
        self.opened.insert(id.to_owned(), key);
        self.key = Some(id.to_owned());
        Ok(())
    }

    /// The key that a text names.
    fn key_of(&mut self, text: &str) -> Result<&DocumentKey, StateError> {
        match self
            .opened
            .entry(sealed_with(text).unwrap_or_default().to_owned())
        {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(empty) => {
                let key = self
                    .keys
                    .key_of_document(text, KIND, &surroundings::randomness())?;
                Ok(empty.insert(key))
            }
        }
    }

    fn seal(&mut self, clear: &[u8]) -> Result<String, StateError> {
        if self.key.is_none() {
            let randomness = surroundings::randomness();
            let key = self.keys.current_or_mint(&randomness)?;
            match self.seal_with(&key) {
                // A fresh clone has no passphrase, and its sandbox no use for one.
                Err(error) if error.is_missing_key() => self.seal_with(&self.keys.mint(&randomness)?)?,
                sealed => sealed?,
            }
        }
        match self.key.as_ref().and_then(|id| self.opened.get(id)) {
            Some(key) => key.seal(clear),
            None => Err(StateError::Closed),
        }
    }

    fn open(&mut self, text: &[u8]) -> io::Result<Vec<u8>> {
        let text = std::str::from_utf8(text).map_err(damaged)?;
        let key = self.key_of(text).map_err(io::Error::other)?;
        key.open(text).map_err(damaged)
    }
}

/// What is kept is not what was written.
fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl WorldStore for SealedWorld {
    fn load(&mut self) -> io::Result<Stored> {
        let stored = self.files.load()?;
        let Some(snapshot) = stored.snapshot else {
            return Ok(Stored::default());
        };
        if self.key.is_none() {
            self.find_key().map_err(io::Error::other)?;
        }
        let mut log = Vec::new();
        // A torn last line was never answered.
        for line in stored.log.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(whole) => log.extend(self.open(whole)?),
                None => log.extend_from_slice(b"torn"),
            }
        }
        Ok(Stored {
            snapshot: Some(self.open(&snapshot)?),
            log,
        })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let line = self.seal(bytes).map_err(io::Error::other)?;
        self.files.append((line + "\n").as_bytes())
    }

    fn replace(&mut self, snapshot: &[u8]) -> io::Result<()> {
        let text = self.seal(snapshot).map_err(io::Error::other)?;
        self.files.replace(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_comes_back_and_nothing_of_it_lies_in_clear() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("sandbox");
        let keys = KeyRing::new(directory.path().join("keys"));
        let mut world = SealedWorld::new(&folder, &keys);
        assert_eq!(world.load().unwrap(), Stored::default());
        world.replace(b"hunter2").unwrap();
        world.append(b"hunter3\n").unwrap();
        world.append(b"hunter4\n").unwrap();
        let mut files = FileStore::new(&folder);
        let stored = files.load().unwrap();
        let text = [stored.snapshot.unwrap(), stored.log].concat();
        assert!(!text.windows(6).any(|part| part == b"hunter"));
        files.append(b"epid:1:to").unwrap();
        let mut again = SealedWorld::new(&folder, &keys);
        again.find_key().unwrap();
        let stored = again.load().unwrap();
        assert_eq!(stored.snapshot.unwrap(), b"hunter2");
        assert_eq!(stored.log, b"hunter3\nhunter4\ntorn");
    }
}
