//! The sandbox's world as it is kept: encrypted, as everything else that epid writes. It holds Secrets.

use std::io;
use std::path::Path;
use std::time::Duration;

use epid_sandbox::store::Stored;
use epid_sandbox::{FileStore, WorldStore};

use super::surroundings;
use crate::state::{DocumentKey, KeyDirectory, StateError, sealed_with};

const KIND: &str = "sandbox's world";

/// The two files of a world, each line of them encrypted.
pub(crate) struct SealedWorld {
    files: FileStore,
    keys: KeyDirectory,
    /// The key of the world there is; drawn with the first write where there is none.
    key: Option<DocumentKey>,
}

impl SealedWorld {
    /// The world in `folder`.
    pub(crate) fn new(folder: &Path, keys: &KeyDirectory) -> Self {
        Self {
            files: FileStore::new(folder),
            keys: keys.clone(),
            key: None,
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
        self.note_key(&snapshot)
    }

    fn key(&mut self) -> io::Result<&DocumentKey> {
        match &mut self.key {
            Some(key) => Ok(key),
            empty => {
                let key = self.keys.document_key(KIND, &surroundings::randomness());
                Ok(empty.insert(key.map_err(io::Error::other)?))
            }
        }
    }

    fn open(&self, text: &[u8]) -> io::Result<Vec<u8>> {
        let (Some(key), Ok(text)) = (&self.key, std::str::from_utf8(text)) else {
            return Err(io::Error::other("it is not what epid wrote"));
        };
        key.open(text).map_err(io::Error::other)
    }

    fn note_key(&mut self, snapshot: &[u8]) -> Result<(), StateError> {
        let text = String::from_utf8_lossy(snapshot);
        let key = self
            .keys
            .key_of_document(&text, KIND, &surroundings::randomness())?;
        self.key = Some(key);
        Ok(())
    }
}

impl WorldStore for SealedWorld {
    fn load(&mut self) -> io::Result<Stored> {
        let stored = self.files.load()?;
        let Some(snapshot) = stored.snapshot else {
            return Ok(Stored::default());
        };
        self.note_key(&snapshot).map_err(io::Error::other)?;
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
        let line = self.key()?.seal(bytes).map_err(io::Error::other)?;
        self.files.append((line + "\n").as_bytes())
    }

    fn replace(&mut self, snapshot: &[u8]) -> io::Result<()> {
        let text = self.key()?.seal(snapshot).map_err(io::Error::other)?;
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
        let keys = KeyDirectory::new(directory.path().join("keys"));
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
