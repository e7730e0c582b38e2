//! The two data keys of a stack: one for its state and digests, one for the secret values in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use epid_provider::{Map, Value};

use super::cipher::{Entropy, NotAuthentic, SecretKey, hex, random};
use crate::state::error::StateError;
use crate::state::format::value::{Stored, unmarked};

const WRAP: &str = "epid data keys 1";
const SECRET: &str = "epid secret value 1";
const DIGEST: &str = "epid digest 1";

/// The keys of one stack, open. They never print.
#[derive(Clone)]
pub struct StackKeys {
    id: String,
    state: SecretKey,
    secrets: SecretKey,
    digest: SecretKey,
    entropy: Entropy,
}

impl std::fmt::Debug for StackKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StackKeys")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl StackKeys {
    fn of(id: &str, state: SecretKey, secrets: SecretKey, entropy: Entropy) -> Self {
        Self {
            id: id.to_owned(),
            digest: state.derive(DIGEST, &[]),
            state,
            secrets,
            entropy,
        }
    }

    /// Draws the data keys of a new stack that the key `id` opens.
    pub(in crate::state) fn draw(id: &str, entropy: &Entropy) -> Result<Self, StateError> {
        let (state, secrets) = (random(entropy)?, random(entropy)?);
        Ok(Self::of(
            id,
            SecretKey::new(state),
            SecretKey::new(secrets),
            entropy.clone(),
        ))
    }

    /// Keys that everybody can compute, of a state that is kept nowhere.
    pub(in crate::state) fn in_memory(lineage: &str) -> Self {
        let seed = SecretKey::new([0; 32]).derive("epid in memory", lineage.as_bytes());
        let (state, secrets) = (seed.derive("state", &[]), seed.derive("secrets", &[]));
        let count = std::sync::atomic::AtomicU64::new(0);
        let entropy: Entropy = std::sync::Arc::new(move |bytes: &mut [u8]| {
            for chunk in bytes.chunks_mut(32) {
                let next = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                chunk.copy_from_slice(&seed.mac(&[&next.to_be_bytes()])[..chunk.len()]);
            }
            Ok(())
        });
        Self::of("", state, secrets, entropy)
    }

    /// Both data keys, encrypted with the key of a key file.
    pub(in crate::state) fn wrap(&self, with: &SecretKey, lineage: &str) -> Result<String, StateError> {
        let clear = [&self.state.bytes()[..], self.secrets.bytes()].concat();
        let sealed = with.seal(&self.entropy, WRAP, lineage.as_bytes(), &clear)?;
        Ok(BASE64.encode(sealed))
    }

    /// What [`Self::wrap`] made.
    pub(in crate::state) fn unwrap(
        id: &str,
        wrapped: &str,
        with: &SecretKey,
        lineage: &str,
        entropy: &Entropy,
    ) -> Result<Self, NotAuthentic> {
        let sealed = BASE64.decode(wrapped).map_err(|_| NotAuthentic)?;
        let clear = with.open(WRAP, lineage.as_bytes(), &sealed)?;
        let (state, secrets) = clear.split_at_checked(32).ok_or(NotAuthentic)?;
        let key = |bytes: &[u8]| bytes.try_into().map(SecretKey::new).map_err(|_| NotAuthentic);
        Ok(Self::of(id, key(state)?, key(secrets)?, entropy.clone()))
    }

    /// The same keys, opened by another key file.
    pub(in crate::state) fn opened_by(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// The id of the key that opens them; empty for a state that is kept nowhere.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key of the state itself.
    pub(in crate::state) fn state(&self) -> &SecretKey {
        &self.state
    }

    pub(in crate::state) fn entropy(&self) -> &Entropy {
        &self.entropy
    }

    /// A digest of a value that only holders of the key can compute: 64 hexadecimal digits. It tells nothing of a secret
    /// but whether it is the same.
    #[must_use]
    pub fn digest(&self, value: &Value) -> String {
        match Stored::clear(unmarked(value)).to_json() {
            Ok(json) => hex(&self.digest.mac(&[b"value\0", &json])),
            Err(_) => String::new(),
        }
    }

    /// A digest of bytes that only holders of the key can compute: 64 hexadecimal digits.
    #[must_use]
    pub fn digest_bytes(&self, bytes: &[u8]) -> String {
        hex(&self.digest.mac(&[b"bytes\0", bytes]))
    }

    /// Encrypts a document that is kept outside the state, such as a saved plan. `purpose` is its kind in a word or two,
    /// without NUL; [`Self::open_document`] takes the same.
    ///
    /// # Errors
    /// [`StateError::Entropy`].
    pub fn seal_document(&self, clear: &[u8], purpose: &str) -> Result<Vec<u8>, StateError> {
        self.secrets
            .seal(&self.entropy, "epid document 1", purpose.as_bytes(), clear)
    }

    /// Decrypts what [`Self::seal_document`] made.
    ///
    /// # Errors
    /// [`StateError::BadDocument`] where it was changed, or sealed with other keys or for another purpose.
    pub fn open_document(&self, sealed: &[u8], purpose: &str) -> Result<Vec<u8>, StateError> {
        self.secrets
            .open("epid document 1", purpose.as_bytes(), sealed)
            .map_err(|NotAuthentic| StateError::BadDocument {
                purpose: purpose.to_owned(),
                what: "it was changed, or belongs to another stack".to_owned(),
            })
    }

    /// The value with every secret in it encrypted: fit for the disk.
    pub(in crate::state) fn store(&self, value: &Value) -> Result<Stored, StateError> {
        if !value.has_secret() {
            return Ok(Stored::clear(value.clone()));
        }
        let mut failed = None;
        let sealed = value.replaced(&mut |v| {
            let Value::Secret(inner) = v else { return None };
            match self.seal_secret(inner) {
                Ok(text) => Some(Value::Secret(Value::from(text).into())),
                Err(error) => {
                    failed.get_or_insert(error);
                    Some(Value::Null)
                }
            }
        });
        failed.map_or(Ok(Stored::clear(sealed)), Err)
    }

    fn seal_secret(&self, inner: &Value) -> Result<String, StateError> {
        let digest = self.digest(inner);
        let clear = self
            .store(inner)?
            .to_json()
            .map_err(|error| StateError::Abandoned(error.to_string()))?;
        let sealed = self
            .secrets
            .seal(&self.entropy, SECRET, digest.as_bytes(), &clear)?;
        Ok(format!("{digest}.{}", BASE64.encode(sealed)))
    }

    /// The value that was stored. A secret that another data key sealed is only its digest.
    pub(in crate::state) fn restore(&self, stored: Stored) -> Value {
        let value = stored.into_inner();
        if !value.has_secret() {
            return value;
        }
        value.replaced(&mut |v| {
            let Value::Secret(inner) = v else { return None };
            let text = inner.as_str().unwrap_or_default();
            let (digest, _) = text.split_once('.').unwrap_or((text, ""));
            Some(
                self.open_secret(text)
                    .unwrap_or_else(|| Value::Opaque(digest.into())),
            )
        })
    }

    fn open_secret(&self, text: &str) -> Option<Value> {
        let (digest, sealed) = text.split_once('.')?;
        let sealed = BASE64.decode(sealed).ok()?;
        let clear = self.secrets.open(SECRET, digest.as_bytes(), &sealed).ok()?;
        let stored = Stored::from_json(&clear).ok()?;
        Some(Value::Secret(self.restore(stored).into()))
    }

    /// [`Self::store`] of a map.
    pub(in crate::state) fn store_map(&self, map: &Map) -> Result<Stored, StateError> {
        self.store(&Value::Map(map.clone()))
    }
}
