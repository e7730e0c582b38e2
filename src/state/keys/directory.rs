//! Key files: one key each, named by its id, readable by their owner only.
#![expect(clippy::disallowed_methods, reason = "this room owns the key files")]

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::cipher::{Entropy, SecretKey, fingerprint, hex, random};
use super::key::Key;
use crate::state::error::StateError;
use crate::state::files::{Access, create, replace, sync_parent};

const FIRST_LINE: &str = "epid key 1";
const PART_LINE: &str = "epid key 1, state part";
/// Locked by whoever rotates the keys.
const LOCK: &str = "lock";
/// What a directory of key files has as `.gitignore`.
const IGNORED: &[u8] = b"*\n";
/// Names the key of a rotation that did not end.
pub(super) const ROTATING: &str = "rotating";
/// Names the key of the last rotation.
pub(super) const CURRENT: &str = "current";

/// A directory of key files. Nothing is read before it is asked for.
///
/// A key file is `ID.key`: the line `epid key 1`, then the key in base64. The id is a fingerprint of the key, so a
/// file that was mixed up is noticed. Whoever has the file can read the stacks it opens: it belongs into no repository,
/// and the directory says so to Git. A file that holds only the part of a key which opens states says so in its first line,
/// and has a fingerprint of id and part in a third.
#[derive(Debug, Clone)]
pub(super) struct KeyDirectory {
    directory: PathBuf,
}

impl KeyDirectory {
    /// The key files of a directory, which need not exist yet.
    pub(super) fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// Where the key of that id is, or would be.
    pub(super) fn file(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.key"))
    }

    /// The directory, which Git is told to leave alone.
    fn make(&self) -> Result<(), StateError> {
        fs::create_dir_all(&self.directory).map_err(|e| failed("create", &self.directory, e))?;
        hide(&self.directory)
    }

    /// The lock of whoever rotates the keys; it ends with the file.
    pub(super) fn lock(&self) -> Result<File, StateError> {
        self.make()?;
        let path = self.directory.join(LOCK);
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| failed("lock", &path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(self.rotating()),
            Err(TryLockError::Error(error)) => Err(failed("lock", &path, error)),
        }
    }

    /// Somebody else rotates the keys.
    pub(super) fn rotating(&self) -> StateError {
        StateError::Rotating {
            file: self.directory.join(LOCK).display().to_string(),
        }
    }

    /// Makes a key and its file, and tells the id.
    pub(super) fn mint(&self, entropy: &Entropy) -> Result<String, StateError> {
        let key = SecretKey::new(random(entropy)?);
        let id = id_of(&key);
        self.make()?;
        let path = self.file(&id);
        write_new(&path, &format!("{FIRST_LINE}\n{}\n", BASE64.encode(key.bytes())))
            .map_err(|e| failed("write", &path, e))?;
        Ok(id)
    }

    /// Writes down a key under a name, durably.
    pub(super) fn note(&self, name: &str, id: &str) -> Result<(), StateError> {
        self.make()?;
        let path = self.directory.join(name);
        replace(&path, format!("{id}\n").as_bytes(), Access::Owner).map_err(|e| failed("write", &path, e))
    }

    /// What is written down under one name is from now on under another.
    pub(super) fn promote(&self, from: &str, to: &str) -> Result<(), StateError> {
        let path = self.directory.join(to);
        fs::rename(self.directory.join(from), &path)
            .and_then(|()| sync_parent(&path))
            .map_err(|e| failed("write", &path, e))
    }

    /// The key that is written down under a name.
    pub(super) fn noted(&self, name: &str) -> Result<Option<String>, StateError> {
        let path = self.directory.join(name);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path, error)),
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|id| is_id(id))),
        }
    }

    /// The ids of the keys that are there, in order.
    pub(super) fn ids(&self) -> Result<Vec<String>, StateError> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|e| failed("read", &self.directory, e))?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| failed("read", &self.directory, e))?.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".key"))
                && is_id(id)
            {
                ids.push(id.to_owned());
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// The key of that id; `None` where its file is not here.
    pub(super) fn load(&self, id: &str) -> Result<Option<Key>, StateError> {
        if !is_id(id) {
            return Ok(None);
        }
        let path = self.file(id);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| failed("read", &path, e))?,
        };
        let bad = |what: &str| StateError::BadKey {
            file: path.display().to_string(),
            what: what.to_owned(),
        };
        let text = std::str::from_utf8(&text).map_err(|_| bad("it is not a text"))?;
        let mut lines = text.lines();
        let first = lines.next();
        match first {
            Some(FIRST_LINE | PART_LINE) => {}
            Some(line) if line.starts_with("epid key ") => {
                return Err(bad("it was written by a later version of epid"));
            }
            _ => return Err(bad("it does not begin with `epid key 1`")),
        }
        let key = lines
            .next()
            .and_then(|line| BASE64.decode(line.trim()).ok())
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .map(SecretKey::new)
            .ok_or_else(|| bad("its second line is not 32 bytes in base64"))?;
        let (is_part, same) = match first {
            Some(PART_LINE) => (true, lines.next() == Some(&*id_of_part(id, &key))),
            _ => (false, id_of(&key) == id),
        };
        match (same, is_part) {
            (false, _) => Err(bad("it holds another key than its name says")),
            (true, false) => Ok(Some(Key::Whole(key))),
            (true, true) => Ok(Some(Key::StatePart(key))),
        }
    }
}

pub(super) fn id_of(key: &SecretKey) -> String {
    hex(&fingerprint(&[b"epid key id\0", key.bytes()])[..8])
}

/// Writes the file of the part of a key that opens states.
pub(super) fn write_part(path: &Path, id: &str, part: &SecretKey) -> Result<(), StateError> {
    let bytes = BASE64.encode(part.bytes());
    write_new(path, &format!("{PART_LINE}\n{bytes}\n{}\n", id_of_part(id, part)))
        .map_err(|e| failed("write", path, e))
}

/// A folder for key files that go elsewhere, which Git is told to leave alone; one that holds other things stays as it is.
pub(super) fn prepare(folder: &Path) -> Result<(), StateError> {
    fs::create_dir_all(folder).map_err(|e| failed("create", folder, e))?;
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let entries = entries.map_err(|e| failed("read", folder, e))?;
    let is_key = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|end| end == "key");
    if entries.iter().all(is_key) {
        hide(folder)?;
    }
    Ok(())
}

/// Tells Git to leave a directory of key files alone.
fn hide(directory: &Path) -> Result<(), StateError> {
    let ignore = directory.join(".gitignore");
    if fs::read(&ignore).is_ok_and(|text| text == IGNORED) {
        return Ok(());
    }
    replace(&ignore, IGNORED, Access::Owner).map_err(|e| failed("write", &ignore, e))
}

/// Writes a file that is not there yet, for its owner alone. Cut anywhere, it is whole or not there.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if create(path, text.as_bytes())? {
        Ok(())
    } else {
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

fn id_of_part(id: &str, part: &SecretKey) -> String {
    hex(&fingerprint(&[b"epid state part id\0", id.as_bytes(), part.bytes()])[..8])
}

pub(super) fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) fn failed(action: &'static str, file: &Path, error: io::Error) -> StateError {
    StateError::Io {
        action,
        file: file.display().to_string(),
        source: Arc::new(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entropy() -> Entropy {
        Arc::new(|bytes| {
            bytes.iter_mut().for_each(|b| *b = fastrand::u8(..));
            Ok(())
        })
    }

    #[test]
    fn a_minted_key_is_private_and_found() {
        let directory = tempfile::tempdir().unwrap();
        let keys = KeyDirectory::new(directory.path().join("keys"));
        assert!(keys.ids().unwrap().is_empty());
        let id = keys.mint(&entropy()).unwrap();
        assert_eq!(keys.ids().unwrap(), std::slice::from_ref(&id));
        assert!(keys.load(&id).unwrap().is_some() && keys.load("0123456789abcdef").unwrap().is_none());
        assert_eq!(
            fs::read(directory.path().join("keys/.gitignore")).unwrap(),
            b"*\n"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(keys.file(&id)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_gitignore_that_was_cut_short_is_written_anew() {
        let directory = tempfile::tempdir().unwrap();
        let keys = KeyDirectory::new(directory.path());
        let ignore = directory.path().join(".gitignore");
        for text in ["", "*"] {
            fs::write(&ignore, text).unwrap();
            keys.mint(&entropy()).unwrap();
            assert_eq!(fs::read(&ignore).unwrap(), IGNORED);
        }
    }

    #[test]
    fn a_mixed_up_key_file_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let keys = KeyDirectory::new(directory.path());
        let (a, b) = (keys.mint(&entropy()).unwrap(), keys.mint(&entropy()).unwrap());
        fs::copy(keys.file(&a), keys.file(&b)).unwrap();
        let error = keys.load(&b).unwrap_err().to_string();
        assert!(
            error.contains("another key") && error.contains("restore"),
            "{error}"
        );
    }

    #[test]
    fn an_id_cannot_lead_out_of_the_directory() {
        let keys = KeyDirectory::new("/nowhere");
        for id in ["../../etc/passwd", "", "0123456789abcdeF", "0123456789abcde/"] {
            assert!(keys.load(id).unwrap().is_none(), "{id}");
        }
    }
}
