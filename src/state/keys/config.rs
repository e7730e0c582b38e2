//! Secrets in stack files: `epid:1:KEYID:BASE64`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use epid_provider::Value;

use super::cipher::{Entropy, NotAuthentic};
use super::ring::KeyRing;
use crate::state::error::StateError;
use crate::state::format::value::{Stored, unmarked};

const PURPOSE: &str = "epid stack file 1";
const PREFIX: &str = "epid:";

impl KeyRing {
    /// Encrypts the secret `name` of a stack file under the key `id`.
    ///
    /// The text is bound to the name, so that one secret cannot be pasted over another; it is not bound to the stack,
    /// which may be renamed. The same value gives another text each time: keep the text of an unchanged one.
    ///
    /// # Errors
    /// [`StateError::MissingKey`], [`StateError::BadKey`] and [`StateError::Io`] where there is no such key,
    /// [`StateError::BadSecret`] where the value is unknown or a mere digest.
    pub fn seal_config(
        &self,
        id: &str,
        name: &str,
        value: &Value,
        entropy: &Entropy,
    ) -> Result<String, StateError> {
        let clear = unmarked(value);
        if clear.has_secret() || clear.has_unknown() {
            return Err(bad(name, "its value is not known"));
        }
        let json = Stored::clear(clear)
            .to_json()
            .map_err(|error| bad(name, &error.to_string()))?;
        let key = self.require(id, &format!("the secret `{name}`"))?;
        let sealed = key.seal(entropy, PURPOSE, name.as_bytes(), &json)?;
        Ok(format!("{PREFIX}1:{id}:{}", BASE64.encode(sealed)))
    }

    /// Decrypts what [`Self::seal_config`] made: a secret value.
    ///
    /// # Errors
    /// [`StateError::MissingKey`] with the file to restore where its key is not here, [`StateError::BadSecret`] where
    /// the text was changed or belongs to another name.
    pub fn unseal_config(&self, name: &str, text: &str) -> Result<Value, StateError> {
        let id = sealed_with(text).ok_or_else(|| {
            if text.starts_with(PREFIX) && !text.starts_with("epid:1:") {
                bad(name, "it was written by a later version of epid")
            } else {
                bad(name, "it does not look like `epid:1:KEY:TEXT`")
            }
        })?;
        let key = self.require(id, &format!("the secret `{name}`"))?;
        let (_, sealed) = text.rsplit_once(':').unwrap_or_default();
        let clear = BASE64
            .decode(sealed)
            .map_err(|_| NotAuthentic)
            .and_then(|sealed| key.open(PURPOSE, name.as_bytes(), &sealed))
            .map_err(|NotAuthentic| bad(name, "it was changed, or belongs to a secret of another name"))?;
        let value = Stored::from_json(&clear).map_err(|error| bad(name, &error.to_string()))?;
        Ok(value.into_inner().into_secret())
    }
}

/// The id of the key that opens an encrypted text of a stack file; `None` where it is no such text.
#[must_use]
pub fn sealed_with(text: &str) -> Option<&str> {
    let (id, sealed) = text.strip_prefix("epid:1:")?.split_once(':')?;
    (!id.is_empty() && !sealed.is_empty()).then_some(id)
}

fn bad(name: &str, what: &str) -> StateError {
    StateError::BadSecret {
        name: name.to_owned(),
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn entropy() -> Entropy {
        Arc::new(|bytes| {
            bytes.iter_mut().for_each(|b| *b = fastrand::u8(..));
            Ok(())
        })
    }

    #[test]
    fn a_secret_of_a_stack_file_comes_back_under_its_name_only() {
        let directory = tempfile::tempdir().unwrap();
        let keys = KeyRing::new(directory.path());
        let id = keys.mint(&entropy()).unwrap();
        for value in [
            Value::str("hunter2"),
            Value::Int(7),
            Value::map([("a", Value::str("hunter2"))]),
        ] {
            let text = keys.seal_config(&id, "password", &value, &entropy()).unwrap();
            assert_eq!(sealed_with(&text), Some(&*id));
            assert!(!text.contains("hunter2"));
            assert_eq!(
                keys.unseal_config("password", &text).unwrap(),
                value.clone().into_secret()
            );
            assert!(matches!(
                keys.unseal_config("token", &text),
                Err(StateError::BadSecret { .. })
            ));
            let again = keys
                .seal_config(&id, "password", &value.into_secret(), &entropy())
                .unwrap();
            assert_ne!(again, text);
        }
    }

    #[test]
    fn a_text_that_cannot_be_read_says_why() {
        let keys = KeyRing::new("/nowhere");
        let why = |text| keys.unseal_config("password", text).unwrap_err().to_string();
        assert!(why("hunter2").contains("does not look like"));
        assert!(why("epid:2:x:y").contains("later version"));
        let missing = why("epid:1:0123456789abcdef:AAAA");
        assert!(missing.contains("/nowhere/0123456789abcdef.key"), "{missing}");
    }
}
