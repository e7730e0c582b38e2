//! All keys of a project: those in key files, and those that a key provider has sealed.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cipher::{Entropy, SecretKey, random};
use super::directory::{CURRENT, KeyDirectory, ROTATING, id_of, prepare, write_part};
use super::key::Key;
use super::provider::{KeyProvider, WrappedKey};
use super::records::Records;
use crate::state::error::StateError;

/// The file of sealed keys, and who opens them.
#[derive(Debug)]
struct Sealed {
    file: PathBuf,
    providers: Vec<Arc<dyn KeyProvider>>,
}

/// The keys of a project, by their ids. Cheap to clone; nothing is read, and nobody asked, before a key is needed.
///
/// A key is 256 bits, and its id a fingerprint of them. It lies in a key file as it is, or sealed by a [`KeyProvider`] in a file
/// that is committed. Either way it is used the same.
#[derive(Debug, Clone)]
pub struct KeyRing {
    files: KeyDirectory,
    sealed: Option<Arc<Sealed>>,
    /// Sealed keys that were opened.
    opened: Arc<Mutex<BTreeMap<String, SecretKey>>>,
}

/// Nobody else rotates the keys of a project while it is held. The kernel's, so it ends with the process.
#[derive(Debug)]
pub struct RotationLock {
    _file: File,
}

impl KeyRing {
    /// What `--to` calls the key files.
    pub const FILE: &'static str = "file";

    /// The key files of a directory, which need not exist yet.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            files: KeyDirectory::new(directory),
            sealed: None,
            opened: Arc::default(),
        }
    }

    /// Also the keys that these providers have sealed in `file`, which need not exist yet.
    #[must_use]
    pub fn with_sealed(mut self, file: impl Into<PathBuf>, providers: Vec<Arc<dyn KeyProvider>>) -> Self {
        let file = file.into();
        self.sealed = Some(Arc::new(Sealed { file, providers }));
        self
    }

    /// Where the key file of that id is, or would be.
    #[must_use]
    pub fn file(&self, id: &str) -> PathBuf {
        self.files.file(id)
    }

    fn records(&self) -> Result<Option<Records>, StateError> {
        match &self.sealed {
            Some(sealed) => Records::read(&sealed.file),
            None => Ok(None),
        }
    }

    fn opened(&self) -> MutexGuard<'_, BTreeMap<String, SecretKey>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a key and its key file, and tells the id. Do so only where nothing names a key already.
    ///
    /// # Errors
    /// [`StateError::Io`] and [`StateError::Entropy`].
    pub fn mint(&self, entropy: &Entropy) -> Result<String, StateError> {
        self.files.mint(entropy)
    }

    /// The key of the last rotation, for what is made new and names none; `None` where there was none.
    ///
    /// # Errors
    /// As [`Self::current`].
    pub fn chosen(&self) -> Result<Option<String>, StateError> {
        // Where a team shares sealed keys, it shares which one is current, also where that is not here.
        if let Some(id) = self.records()?.and_then(|records| records.current) {
            return Ok(Some(id));
        }
        let files = self.files.ids()?;
        Ok(self.files.noted(CURRENT)?.filter(|id| files.contains(id)))
    }

    /// The key for what names none: that of the last rotation, or the first there is.
    ///
    /// # Errors
    /// [`StateError::Io`]; [`StateError::BadKey`] and [`StateError::Newer`] of the file of sealed keys.
    pub fn current(&self) -> Result<Option<String>, StateError> {
        match self.chosen()? {
            Some(id) => Ok(Some(id)),
            None => Ok(self.ids()?.into_iter().next()),
        }
    }

    /// [`Self::current`], or a new key file where there is no key.
    ///
    /// # Errors
    /// As [`Self::current`] and [`Self::mint`].
    pub fn current_or_mint(&self, entropy: &Entropy) -> Result<String, StateError> {
        match self.current()? {
            Some(id) => Ok(id),
            None => self.mint(entropy),
        }
    }

    /// The ids of the keys that are there, in order; a sealed one may need its provider still.
    ///
    /// # Errors
    /// As [`Self::current`]; a directory that does not exist has no keys.
    pub fn ids(&self) -> Result<Vec<String>, StateError> {
        let mut ids = self.files.ids()?;
        ids.extend(self.records()?.iter().flat_map(Records::ids).cloned());
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// The name of what keeps a key: [`Self::FILE`] or its provider; `None` where it is not there.
    ///
    /// # Errors
    /// As [`Self::current`].
    pub fn provider_of(&self, id: &str) -> Result<Option<String>, StateError> {
        if self.files.ids()?.iter().any(|known| known == id) {
            return Ok(Some(Self::FILE.to_owned()));
        }
        let records = self.records()?;
        Ok(records.and_then(|records| records.get(id).map(|(provider, _)| provider.to_owned())))
    }

    /// True where all of that key is there and opens. One that is there and whose passphrase is not does not.
    ///
    /// # Errors
    /// [`StateError::BadKey`] where it is something else, [`StateError::WrongPassphrase`], [`StateError::Io`].
    pub fn find(&self, id: &str) -> Result<bool, StateError> {
        match self.open(id, "this run") {
            Ok(key) => Ok(key.whole().is_some()),
            Err(error) if error.is_missing_key() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is here of a key that is one of several, where nothing is missing that opens it: another passphrase than its own
    /// is none.
    pub(in crate::state) fn at_hand(&self, id: &str) -> Result<Option<Key>, StateError> {
        match self.open(id, "this run") {
            Ok(key) => Ok(Some(key)),
            Err(StateError::WrongPassphrase { .. }) => Ok(None),
            Err(error) if error.is_missing_key() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// True where nobody has to be asked for that key: its file is here, or it was opened already.
    pub(in crate::state) fn asks_nobody(&self, id: &str) -> bool {
        self.opened().contains_key(id) || self.files.load(id).is_ok_and(|key| key.is_some())
    }

    /// True where only the part of that key is here that opens states.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn is_part(&self, id: &str) -> Result<bool, StateError> {
        Ok(matches!(self.files.load(id)?, Some(Key::StatePart(_))) && !self.opened().contains_key(id))
    }

    /// Writes the part of each of these keys that opens states, and no secret in them, to `ID.key` in a folder, which is made
    /// where there is none. No such file may be there yet. They are used as the key files of those ids; where nothing else is in
    /// the folder, Git is told to leave it alone.
    ///
    /// # Errors
    /// [`StateError::MissingKey`], [`StateError::NeedsWholeKey`], [`StateError::Io`].
    pub fn export_state_parts<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a str>,
        folder: &Path,
    ) -> Result<(), StateError> {
        let part = |id| Ok((id, Key::Whole(self.require(id, "its state part")?).state_part()));
        let parts = ids
            .into_iter()
            .map(part)
            .collect::<Result<Vec<_>, StateError>>()?;
        prepare(folder)?;
        for (id, part) in parts {
            write_part(&folder.join(format!("{id}.key")), id, &part)?;
        }
        Ok(())
    }

    /// The key of that id, all of it, which `what` needs.
    pub(in crate::state) fn require(&self, id: &str, what: &str) -> Result<SecretKey, StateError> {
        match self.open(id, what)? {
            Key::Whole(key) => Ok(key),
            Key::StatePart(_) => Err(StateError::NeedsWholeKey {
                what: what.to_owned(),
                id: id.to_owned(),
            }),
        }
    }

    /// What is here of the key of that id, which `what` needs.
    pub(in crate::state) fn open(&self, id: &str, what: &str) -> Result<Key, StateError> {
        let file = self.files.load(id)?;
        if let Some(key @ Key::Whole(_)) = file {
            return Ok(key);
        }
        if let Some(key) = self.opened().get(id) {
            return Ok(Key::Whole(key.clone()));
        }
        // Who was given a part does not have the passphrase.
        if let Some(part) = file {
            return Ok(part);
        }
        if let (Some(sealed), Some(records)) = (&self.sealed, self.records()?)
            && let Some((provider, wrapped)) = records.get(id)
        {
            let bad = |what: String| StateError::BadKey {
                file: sealed.file.display().to_string(),
                what: format!("of the key {id}, {what}"),
            };
            let wrapped = wrapped.ok_or_else(|| bad("the sealed text is no base64".to_owned()))?;
            let key = self.provider(provider)?.unwrap(id, what, &wrapped);
            let key = key.map(SecretKey::new).map_err(|error| match error {
                StateError::BadKey { file, what } if file.is_empty() => bad(what),
                error => error,
            })?;
            if id_of(&key) != id {
                return Err(bad("what is sealed is another key".to_owned()));
            }
            self.opened().insert(id.to_owned(), key.clone());
            return Ok(Key::Whole(key));
        }
        Err(self.missing(id, what))
    }

    fn missing(&self, id: &str, what: &str) -> StateError {
        StateError::MissingKey {
            what: what.to_owned(),
            id: id.to_owned(),
            file: self.file(id).display().to_string(),
        }
    }

    fn provider(&self, name: &str) -> Result<&dyn KeyProvider, StateError> {
        let providers = self.sealed.iter().flat_map(|sealed| sealed.providers.iter());
        let found = providers.map(|provider| &**provider).find(|p| p.name() == name);
        found.ok_or_else(|| StateError::NoProvider(name.to_owned()))
    }

    /// Lets nobody else rotate the keys of this project, until what this returns is dropped or the process ends.
    ///
    /// # Errors
    /// [`StateError::Rotating`] while somebody else does, [`StateError::Io`].
    pub fn lock_rotation(&self) -> Result<RotationLock, StateError> {
        self.files.lock().map(|file| RotationLock { _file: file })
    }

    /// The key that everything is about to be sealed with: the one of a rotation that did not end, or a new one. `to` names who
    /// keeps it; `None` is whoever keeps the current one. With `renew` its provider takes something new, such as another
    /// passphrase, which from here on opens all keys that it has sealed.
    ///
    /// # Errors
    /// As [`Self::mint`]; [`StateError::MissingKey`] where the key of the rotation that did not end is gone;
    /// [`StateError::NoProvider`]; whatever the provider meets.
    pub fn start_rotation(
        &self,
        _lock: &RotationLock,
        to: Option<&str>,
        renew: bool,
        entropy: &Entropy,
    ) -> Result<String, StateError> {
        let begun = self.files.noted(ROTATING)?;
        if let Some(id) = &begun {
            self.require(id, "the rotation that did not end")?;
        }
        let current = self.current()?;
        let keeper = |id: &Option<String>| id.as_ref().map_or(Ok(None), |id| self.provider_of(id));
        let to = match to {
            Some(to) => to.to_owned(),
            None => keeper(&begun)?
                .or(keeper(&current)?)
                .unwrap_or_else(|| Self::FILE.to_owned()),
        };
        if let Some(id) = begun
            && self.provider_of(&id)?.as_deref() == Some(&*to)
            && !renew
        {
            return Ok(id);
        }
        let id = if to == Self::FILE {
            self.mint(entropy)?
        } else {
            self.seal_new(&to, current.as_deref(), renew, entropy)?
        };
        self.files.note(ROTATING, &id)?;
        // What is sealed with a key that nobody keeps is lost.
        if self.provider_of(&id)?.as_deref() != Some(&*to) {
            return Err(self.missing(&id, "the rotation"));
        }
        Ok(id)
    }

    /// Makes a key that the provider `name` seals. Where that is renewed, all keys of its are sealed anew too,
    /// in one write: at no moment does one need the old passphrase and another one the new.
    fn seal_new(
        &self,
        name: &str,
        current: Option<&str>,
        renew: bool,
        entropy: &Entropy,
    ) -> Result<String, StateError> {
        let provider = self.provider(name)?;
        let mut records = self.records()?.unwrap_or_else(Records::new);
        let is_its = |id: &str| records.get(id).is_some_and(|(provider, _)| provider == name);
        if let Some(id) = current.filter(|id| is_its(id)) {
            // What opens it is what seals the new one.
            self.require(id, "the rotation")?;
        }
        let its: Vec<String> = records.ids().filter(|id| is_its(id)).cloned().collect();
        let open = |id: String| self.require(&id, "the rotation").map(|key| (id, key));
        // All of them, before another passphrase is chosen: what saved plans and backups need is opened by it too.
        let its: Vec<_> = if renew {
            its.into_iter().map(open).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        if renew && provider.renew()? {
            for (id, key) in its {
                let wrapped = provider.wrap(&id, key.bytes(), entropy)?;
                records.set(&id, name, wrapped);
            }
        }
        let key = SecretKey::new(random(entropy)?);
        let id = id_of(&key);
        let wrapped: WrappedKey = provider.wrap(&id, key.bytes(), entropy)?;
        records.set(&id, name, wrapped);
        if let Some(sealed) = &self.sealed {
            records.write(&sealed.file)?;
        }
        self.opened().insert(id.clone(), key);
        Ok(id)
    }

    /// The rotation to the key `id` has ended: what is sealed from now on is sealed with it.
    ///
    /// # Errors
    /// [`StateError::Rotating`] where another one has begun since, and nothing is written; [`StateError::Io`].
    pub fn end_rotation(&self, _lock: &RotationLock, id: &str) -> Result<(), StateError> {
        if self.files.noted(ROTATING)?.as_deref() != Some(id) {
            return Err(self.files.rotating());
        }
        if let (Some(sealed), Some(mut records)) = (&self.sealed, self.records()?) {
            records.current = Some(id.to_owned());
            records.write(&sealed.file)?;
        }
        self.files.promote(ROTATING, CURRENT)
    }
}

#[cfg(test)]
mod tests {
    use super::super::passphrase::{Passphrase, PassphraseProvider, PassphraseSource};
    use super::*;

    /// One passphrase, and the one that takes its place.
    struct Given(&'static str, &'static str);

    impl PassphraseSource for Given {
        fn known(&self, _: &str, _: &str, refused: usize) -> Result<Option<Passphrase>, StateError> {
            Ok(Passphrase::new(self.0.to_owned()).filter(|_| refused == 0))
        }

        fn chosen(&self, renewed: bool) -> Result<Option<Passphrase>, StateError> {
            Ok(Passphrase::new(if renewed { self.1 } else { self.0 }.to_owned()))
        }
    }

    fn ring(folder: &Path, first: &'static str, second: &'static str) -> KeyRing {
        let provider: Arc<dyn KeyProvider> =
            Arc::new(PassphraseProvider::new(Arc::new(Given(first, second))));
        KeyRing::new(folder.join("keys")).with_sealed(folder.join("sealed.toml"), vec![provider])
    }

    fn entropy() -> Entropy {
        Arc::new(|bytes| {
            bytes.iter_mut().for_each(|b| *b = fastrand::u8(..));
            Ok(())
        })
    }

    #[test]
    fn one_passphrase_opens_all_keys_at_every_moment_of_its_change() {
        let folder = tempfile::tempdir().unwrap();
        let to = Some(PassphraseProvider::NAME);
        let rotating = ring(folder.path(), "old", "new");
        let lock = rotating.lock_rotation().unwrap();
        let old = rotating.start_rotation(&lock, to, false, &entropy()).unwrap();
        rotating.end_rotation(&lock, &old).unwrap();
        assert!(ring(folder.path(), "old", "").find(&old).unwrap());
        let new = rotating.start_rotation(&lock, to, true, &entropy()).unwrap();
        // Nothing was sealed with the new key yet, and from here on a kill leaves this.
        let after = ring(folder.path(), "new", "");
        assert!(old != new && after.find(&old).unwrap() && after.find(&new).unwrap());
        assert!(ring(folder.path(), "old", "").find(&old).is_err());
        assert_eq!(after.current().unwrap(), Some(old.clone()));
        assert_eq!(after.start_rotation(&lock, to, false, &entropy()).unwrap(), new);
        after.end_rotation(&lock, &new).unwrap();
        assert_eq!(after.current().unwrap(), Some(new));
    }

    #[test]
    fn a_new_passphrase_opens_also_the_keys_that_nothing_needed_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let to = Some(PassphraseProvider::NAME);
        let mut ids = Vec::new();
        for renew in [false, false, true] {
            // A process each.
            let keys = ring(folder.path(), "old", "new");
            let lock = keys.lock_rotation().unwrap();
            let id = keys.start_rotation(&lock, to, renew, &entropy()).unwrap();
            keys.end_rotation(&lock, &id).unwrap();
            ids.push(id);
        }
        let after = ring(folder.path(), "new", "");
        for id in &ids {
            assert!(after.find(id).unwrap(), "{id} of {ids:?}");
        }
    }

    #[test]
    fn a_rotation_that_did_not_end_goes_on_with_its_key_unless_another_keeper_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let keys = ring(folder.path(), "phrase", "");
        let lock = keys.lock_rotation().unwrap();
        let begun = keys
            .start_rotation(&lock, Some(PassphraseProvider::NAME), false, &entropy())
            .unwrap();
        assert_eq!(
            keys.start_rotation(&lock, None, false, &entropy()).unwrap(),
            begun
        );
        let file = keys
            .start_rotation(&lock, Some(KeyRing::FILE), false, &entropy())
            .unwrap();
        assert_eq!(keys.provider_of(&file).unwrap().as_deref(), Some(KeyRing::FILE));
        assert_eq!(keys.start_rotation(&lock, None, false, &entropy()).unwrap(), file);
        assert!(
            keys.find(&begun).unwrap(),
            "a key that may have sealed something is gone"
        );
        assert!(
            keys.start_rotation(&lock, Some("kms"), false, &entropy())
                .is_err()
        );
    }

    #[test]
    fn keys_are_rotated_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (
            ring(folder.path(), "phrase", ""),
            ring(folder.path(), "phrase", ""),
        );
        let lock = one.lock_rotation().unwrap();
        assert!(matches!(other.lock_rotation(), Err(StateError::Rotating { .. })));
        drop(lock);
        other.lock_rotation().unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "what is in the file is what is tested")]
    #[test]
    fn a_rotation_ends_only_as_the_one_that_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let keys = ring(folder.path(), "phrase", "");
        let lock = keys.lock_rotation().unwrap();
        let to = Some(PassphraseProvider::NAME);
        let id = keys.start_rotation(&lock, to, false, &entropy()).unwrap();
        let sealed = std::fs::read(folder.path().join("sealed.toml")).unwrap();
        let ended = keys.end_rotation(&lock, "0123456789abcdef");
        assert!(matches!(ended, Err(StateError::Rotating { .. })), "{ended:?}");
        assert_eq!(std::fs::read(folder.path().join("sealed.toml")).unwrap(), sealed);
        keys.end_rotation(&lock, &id).unwrap();
        assert!(keys.end_rotation(&lock, &id).is_err());
        assert_eq!(keys.chosen().unwrap(), Some(id));
    }

    #[test]
    fn a_missing_key_says_which_file_to_restore() {
        let keys = KeyRing::new("/nowhere/keys");
        let error = keys
            .require("0123456789abcdef", "the state of p/dev")
            .unwrap_err();
        assert!(
            error.to_string().contains("/nowhere/keys/0123456789abcdef.key"),
            "{error}"
        );
    }
}
