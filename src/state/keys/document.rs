//! Documents that are kept outside of any state, such as saved plans: `epid:1:KEYID:BASE64`, as secrets in stack files.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use super::cipher::{Entropy, NotAuthentic, SecretKey};
use super::config::sealed_with;
use super::ring::KeyRing;
use crate::state::error::StateError;

const PURPOSE: &str = "epid document 1";

/// The key of one kind of document.
#[derive(Clone)]
pub struct DocumentKey {
    id: String,
    key: SecretKey,
    /// The kind, in a word or two: a document of another kind does not open.
    kind: &'static str,
    entropy: Entropy,
}

impl fmt::Debug for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentKey")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl KeyRing {
    /// The key for documents of a kind that are written now: the current one, or a new one where there is none.
    ///
    /// # Errors
    /// [`StateError::BadKey`], [`StateError::Io`] and [`StateError::Entropy`].
    pub fn document_key(&self, kind: &'static str, entropy: &Entropy) -> Result<DocumentKey, StateError> {
        self.document_key_of(self.current_or_mint(entropy)?, kind, entropy)
    }

    /// The key that a document names.
    ///
    /// # Errors
    /// [`StateError::BadDocument`] where it names none, [`StateError::MissingKey`] with the file to restore where that is not
    /// here, [`StateError::BadKey`] and [`StateError::Io`].
    pub fn key_of_document(
        &self,
        text: &str,
        kind: &'static str,
        entropy: &Entropy,
    ) -> Result<DocumentKey, StateError> {
        let id = sealed_with(text).ok_or_else(|| bad(kind, "it does not look like `epid:1:KEY:TEXT`"))?;
        self.document_key_of(id.to_owned(), kind, entropy)
    }

    /// The key `id` for documents of a kind that are written now.
    ///
    /// # Errors
    /// [`StateError::MissingKey`] and [`StateError::MissingPassphrase`], [`StateError::BadKey`], [`StateError::Io`].
    pub fn document_key_of(
        &self,
        id: String,
        kind: &'static str,
        entropy: &Entropy,
    ) -> Result<DocumentKey, StateError> {
        Ok(DocumentKey {
            key: self.require(&id, &format!("the {kind}"))?,
            id,
            kind,
            entropy: entropy.clone(),
        })
    }
}

impl DocumentKey {
    /// The id of the key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Encrypts a document: one line of text, without a line break.
    ///
    /// # Errors
    /// [`StateError::Entropy`].
    pub fn seal(&self, clear: &[u8]) -> Result<String, StateError> {
        let sealed = self
            .key
            .seal(&self.entropy, PURPOSE, self.kind.as_bytes(), clear)?;
        Ok(format!("epid:1:{}:{}", self.id, BASE64.encode(sealed)))
    }

    /// Decrypts what [`Self::seal`] made.
    ///
    /// # Errors
    /// [`StateError::BadDocument`] where it was changed, or is of another kind or key.
    pub fn open(&self, text: &str) -> Result<Vec<u8>, StateError> {
        let (_, sealed) = text.rsplit_once(':').unwrap_or_default();
        BASE64
            .decode(sealed)
            .map_err(|_| NotAuthentic)
            .and_then(|sealed| self.key.open(PURPOSE, self.kind.as_bytes(), &sealed))
            .map_err(|NotAuthentic| bad(self.kind, "it was cut short or changed"))
    }
}

fn bad(kind: &str, what: &str) -> StateError {
    StateError::BadDocument {
        purpose: kind.to_owned(),
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_document_opens_with_its_key_as_its_kind_and_unchanged() {
        let entropy: Entropy = Arc::new(|bytes| {
            bytes.iter_mut().for_each(|b| *b = fastrand::u8(..));
            Ok(())
        });
        let directory = tempfile::tempdir().unwrap();
        let keys = KeyRing::new(directory.path());
        let key = keys.document_key("saved plan", &entropy).unwrap();
        let text = key.seal(b"hunter2").unwrap();
        assert!(!text.contains("hunter2") && !text.contains('\n'));
        let found = keys.key_of_document(&text, "saved plan", &entropy).unwrap();
        assert_eq!(found.open(&text).unwrap(), b"hunter2");
        let other = keys.key_of_document(&text, "world", &entropy).unwrap();
        assert!(matches!(other.open(&text), Err(StateError::BadDocument { .. })));
        assert!(matches!(
            key.open(&text[..text.len() - 4]),
            Err(StateError::BadDocument { .. })
        ));
        std::fs::remove_file(keys.file(sealed_with(&text).unwrap())).unwrap();
        assert!(matches!(
            keys.key_of_document(&text, "saved plan", &entropy),
            Err(StateError::MissingKey { .. })
        ));
    }
}
