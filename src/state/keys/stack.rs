//! The data keys of a stack: for its state, for the secret values in it, for their digests and for the names of derivations.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use epid_provider::{Map, Value};

use super::cipher::{Entropy, NotAuthentic, SecretKey, hex, random};
use super::key::Key;
use crate::state::error::StateError;
use crate::state::format::value::{Stored, unmarked};

/// Of format 1: both data keys in one text, which the whole key opens.
const WRAP: &str = "epid data keys 1";
const WRAP_STATE: &str = "epid state data key 2";
const WRAP_SECRETS: &str = "epid secrets data key 2";
const SECRET: &str = "epid secret value 1";
const DIGEST: &str = "epid digest 1";
const DERIVED: &str = "epid derived value 1";

/// The keys of one stack, open. They never print.
///
/// Whoever has only the state part of a key has those of the state: secrets are their digests then, and no digest of a guess can
/// be computed.
#[derive(Clone)]
pub struct StackKeys {
    id: String,
    state: SecretKey,
    /// What derivations are named with.
    names: SecretKey,
    secrets: Option<Secrets>,
    /// Those before, while a rotation goes on: they open what it has not reached yet, and seal nothing.
    before: Option<SecretKey>,
    entropy: Entropy,
}

/// What seals secret values, and what their digests are computed with.
#[derive(Clone)]
struct Secrets {
    seal: SecretKey,
    digest: SecretKey,
}

impl std::fmt::Debug for StackKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StackKeys")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl StackKeys {
    fn of(id: &str, state: SecretKey, secrets: Option<Secrets>, entropy: Entropy) -> Self {
        Self {
            id: id.to_owned(),
            // As they were named before they had a key of their own.
            names: state.derive(DERIVED, &[]),
            state,
            secrets,
            before: None,
            entropy,
        }
    }

    /// Draws the data keys of a new stack that the key `id` opens.
    pub(in crate::state) fn draw(id: &str, entropy: &Entropy) -> Result<Self, StateError> {
        let (state, seal) = (SecretKey::new(random(entropy)?), SecretKey::new(random(entropy)?));
        let digest = seal.derive(DIGEST, &[]);
        Ok(Self::of(
            id,
            state,
            Some(Secrets { seal, digest }),
            entropy.clone(),
        ))
    }

    /// Keys that everybody can compute, of a state that is kept nowhere.
    pub(in crate::state) fn in_memory(lineage: &str) -> Self {
        let seed = SecretKey::new([0; 32]).derive("epid in memory", lineage.as_bytes());
        let (state, seal) = (seed.derive("state", &[]), seed.derive("secrets", &[]));
        let digest = seal.derive(DIGEST, &[]);
        let count = std::sync::atomic::AtomicU64::new(0);
        let entropy: Entropy = std::sync::Arc::new(move |bytes: &mut [u8]| {
            for chunk in bytes.chunks_mut(32) {
                let next = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                chunk.copy_from_slice(&seed.mac(&[&next.to_be_bytes()])[..chunk.len()]);
            }
            Ok(())
        });
        Self::of("", state, Some(Secrets { seal, digest }), entropy)
    }

    /// The keys of something that `self` publishes: drawn anew, but digests are those of `self`.
    pub(in crate::state) fn draw_for_sharing(&self) -> Result<Self, StateError> {
        let mut own = Self::draw(&self.id, &self.entropy)?;
        if let Some(secrets) = &mut own.secrets {
            secrets.digest = self.secrets("its outputs")?.digest.clone();
        }
        Ok(own)
    }

    /// Others, which the key `id` is to open: who has these opens nothing that is sealed with those. Digests and the names of
    /// derivations stay what they were. Until they are [`Self::settled`], what these have sealed is read too.
    pub(in crate::state) fn renewed(&self, id: &str) -> Result<Self, StateError> {
        let mut new = Self::draw(id, &self.entropy)?;
        new.names = self.names.clone();
        new.before = Some(self.state.clone());
        if let Some(secrets) = &mut new.secrets {
            secrets.digest = self.secrets("sealing the state")?.digest.clone();
        }
        Ok(new)
    }

    /// The same, once nothing is left that those before have sealed.
    pub(in crate::state) fn settled(mut self) -> Self {
        self.before = None;
        self
    }

    /// The data keys, encrypted: those of the state with the state part of a key, those of secrets with all of it.
    pub(in crate::state) fn wrap(&self, with: &SecretKey, lineage: &str) -> Result<String, StateError> {
        let Secrets { seal, digest } = self.secrets("sealing the state")?;
        let part = Key::Whole(with.clone()).state_part();
        let keys = [Some(&self.state), Some(&self.names), self.before.as_ref()];
        let clear: Vec<u8> = keys.into_iter().flatten().flat_map(|key| *key.bytes()).collect();
        let state = part.seal(&self.entropy, WRAP_STATE, lineage.as_bytes(), &clear)?;
        let clear = [&seal.bytes()[..], digest.bytes()].concat();
        let secrets = with.seal(&self.entropy, WRAP_SECRETS, lineage.as_bytes(), &clear)?;
        Ok(format!("{}.{}", BASE64.encode(state), BASE64.encode(secrets)))
    }

    /// True where the state part of a key is enough to open the state's data key; in format 1 it is not.
    pub(in crate::state) fn is_parted(wrapped: &str) -> bool {
        wrapped.contains('.')
    }

    /// What [`Self::wrap`] made, now or in an earlier format.
    pub(in crate::state) fn unwrap(
        id: &str,
        wrapped: &str,
        with: &Key,
        lineage: &str,
        entropy: &Entropy,
    ) -> Result<Self, NotAuthentic> {
        let open = |key: &SecretKey, purpose: &str, text: &str| {
            let sealed = BASE64.decode(text).map_err(|_| NotAuthentic)?;
            key.open(purpose, lineage.as_bytes(), &sealed)
        };
        let key = |bytes: &[u8]| bytes.try_into().map(SecretKey::new).map_err(|_| NotAuthentic);
        let two = |clear: &[u8]| -> Result<(SecretKey, SecretKey), NotAuthentic> {
            let (one, other) = clear.split_at_checked(32).ok_or(NotAuthentic)?;
            Ok((key(one)?, key(other)?))
        };
        let Some((state, secrets)) = wrapped.split_once('.') else {
            let (state, seal) = two(&open(with.whole().ok_or(NotAuthentic)?, WRAP, wrapped)?)?;
            // As they were computed then: names in the cloud may hold them.
            let digest = state.derive(DIGEST, &[]);
            return Ok(Self::of(
                id,
                state,
                Some(Secrets { seal, digest }),
                entropy.clone(),
            ));
        };
        let clear = open(&with.state_part(), WRAP_STATE, state)?;
        let state: Vec<SecretKey> = clear.chunks(32).map(key).collect::<Result<_, _>>()?;
        let secrets = match with.whole() {
            Some(whole) => {
                let (seal, digest) = two(&open(whole, WRAP_SECRETS, secrets)?)?;
                Some(Secrets { seal, digest })
            }
            None => None,
        };
        let mut state = state.into_iter();
        let mut keys = Self::of(id, state.next().ok_or(NotAuthentic)?, secrets, entropy.clone());
        // Format 2 had the first alone.
        if let Some(names) = state.next() {
            keys.names = names;
        }
        keys.before = state.next();
        match state.next() {
            None => Ok(keys),
            Some(_) => Err(NotAuthentic),
        }
    }

    fn secrets(&self, what: &str) -> Result<&Secrets, StateError> {
        self.secrets.as_ref().ok_or_else(|| StateError::NeedsWholeKey {
            what: what.to_owned(),
            id: self.id.clone(),
        })
    }

    /// Makes sure that secrets can be opened and sealed, which `what` needs.
    pub(in crate::state) fn require_secrets(&self, what: &str) -> Result<(), StateError> {
        self.secrets(what).map(|_| ())
    }

    /// True where secrets can be opened, and sealed.
    #[must_use]
    pub fn opens_secrets(&self) -> bool {
        self.secrets.is_some()
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

    /// The key of the state before, until these are [`Self::settled`].
    pub(in crate::state) fn before(&self) -> Option<&SecretKey> {
        self.before.as_ref()
    }

    pub(in crate::state) fn entropy(&self) -> &Entropy {
        &self.entropy
    }

    /// A digest of a value that only those can compute who can open secrets: 64 hexadecimal digits. It tells nothing of a
    /// secret but whether it is the same. `None` without the keys of secrets.
    #[must_use]
    pub fn digest(&self, value: &Value) -> Option<String> {
        let key = &self.secrets.as_ref()?.digest;
        let json = Stored::clear(unmarked(value)).to_json().ok()?;
        Some(hex(&key.mac(&[b"value\0", &json])))
    }

    /// A digest of bytes, as [`Self::digest`].
    #[must_use]
    pub fn digest_bytes(&self, bytes: &[u8]) -> Option<String> {
        let key = &self.secrets.as_ref()?.digest;
        Some(hex(&key.mac(&[b"bytes\0", bytes])))
    }

    /// The value with a digest in place of each secret; what is a digest stays. As [`Self::restore`] gives it to whoever cannot
    /// open secrets.
    #[must_use]
    pub fn with_digests(&self, value: &Value) -> Value {
        value.replaced(&mut |v| {
            let Value::Secret(inner) = v else { return None };
            Some(Value::Opaque(self.digest(inner).unwrap_or_default().into()))
        })
    }

    /// What a derivation is known by, to all who can read the state: 32 hexadecimal digits of a keyed digest of how it goes and
    /// of what it starts from. A secret and its digest are the same here.
    #[must_use]
    pub fn name_of_derivation(&self, how: &str, from: &[Value]) -> String {
        let from = Value::list(from.iter().map(|value| self.with_digests(value)));
        let json = Stored::clear(from).to_json().unwrap_or_default();
        hex(&self.names.mac(&[how.as_bytes(), &[0], &json])[..16])
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
        let Secrets { seal, .. } = self.secrets("a secret")?;
        let digest = self.digest(inner).unwrap_or_default();
        let clear = self
            .store(inner)?
            .to_json()
            .map_err(|error| StateError::Abandoned(error.to_string()))?;
        let sealed = seal.seal(&self.entropy, SECRET, digest.as_bytes(), &clear)?;
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
        let key = &self.secrets.as_ref()?.seal;
        let clear = key.open(SECRET, digest.as_bytes(), &sealed).ok()?;
        let stored = Stored::from_json(&clear).ok()?;
        Some(Value::Secret(self.restore(stored).into()))
    }

    /// [`Self::store`] of a map.
    pub(in crate::state) fn store_map(&self, map: &Map) -> Result<Stored, StateError> {
        self.store(&Value::Map(map.clone()))
    }
}
