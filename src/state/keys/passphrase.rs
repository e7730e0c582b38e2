//! Keys sealed with a passphrase, through Argon2id.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use super::cipher::{Entropy, SALT, SecretKey, random};
use super::provider::{KeyProvider, WrappedKey};
use crate::state::error::StateError;

const SEAL: &str = "epid passphrase key 1";
const CHECK: &str = "epid passphrase check 1";
/// Bytes of a sealed key that tell a wrong passphrase from a changed text.
const CHECKED: usize = 16;
/// 64 MiB, three passes, four lanes: what RFC 9106 recommends second, for where 2 GiB are too much. OWASP asks for less.
const COSTS: (u32, u32, u32) = (64 * 1024, 3, 4);
/// The greatest costs that are paid: 1 GiB, 16 passes, 64 lanes. A record that asks for more is not one of epid's.
const MOST: (u32, u32, u32) = (1024 * 1024, 16, 64);

/// Text that opens keys. It never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(String);

impl Passphrase {
    /// A text as it was typed, without the line break; `None` where it is empty.
    #[must_use]
    pub fn new(text: String) -> Option<Self> {
        (!text.is_empty()).then_some(Self(text))
    }

    /// How many characters it has.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.chars().count()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// Where passphrases come from: the environment, a file, a person.
pub trait PassphraseSource: Send + Sync {
    /// A passphrase that may open the key `id`, which `what` needs; `None` where there is none, or no other than the `refused`
    /// ones before.
    ///
    /// # Errors
    /// [`StateError::Io`] where it cannot be read.
    fn known(&self, id: &str, what: &str, refused: usize) -> Result<Option<Passphrase>, StateError>;

    /// The first passphrase of a project, or with `renewed` one that takes the place of another; `None` where there is none.
    ///
    /// # Errors
    /// As [`Self::known`].
    fn chosen(&self, renewed: bool) -> Result<Option<Passphrase>, StateError>;
}

/// Seals keys with a passphrase. It is asked for once.
pub struct PassphraseProvider {
    source: Arc<dyn PassphraseSource>,
    /// Those that opened or sealed something, the newest last.
    tried: Mutex<Vec<Passphrase>>,
}

impl fmt::Debug for PassphraseProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PassphraseProvider(..)")
    }
}

impl PassphraseProvider {
    /// What `--to` and records call it.
    pub const NAME: &'static str = "passphrase";

    /// A provider that asks `source`.
    #[must_use]
    pub fn new(source: Arc<dyn PassphraseSource>) -> Self {
        Self {
            source,
            tried: Mutex::default(),
        }
    }

    fn tried(&self) -> MutexGuard<'_, Vec<Passphrase>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, passphrase: Passphrase) {
        let mut tried = self.tried();
        if !tried.contains(&passphrase) {
            tried.push(passphrase);
        }
    }
}

impl KeyProvider for PassphraseProvider {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn wrap(&self, id: &str, key: &[u8; 32], entropy: &Entropy) -> Result<WrappedKey, StateError> {
        let newest = self.tried().last().cloned();
        let passphrase = match newest {
            Some(passphrase) => passphrase,
            None => self
                .source
                .chosen(false)?
                .ok_or_else(|| missing(id, "a new key", ""))?,
        };
        let salt: [u8; SALT] = random(entropy)?;
        let (memory, passes, lanes) = COSTS;
        let salt = BASE64.encode(salt);
        let parameters = format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}");
        let derived = derive(&passphrase, &parameters)?;
        let mut sealed = check(&derived).to_vec();
        sealed.extend(derived.seal(entropy, SEAL, id.as_bytes(), key)?);
        self.note(passphrase);
        Ok(WrappedKey { parameters, sealed })
    }

    fn unwrap(&self, id: &str, what: &str, wrapped: &WrappedKey) -> Result<[u8; 32], StateError> {
        let (expected, sealed) = wrapped
            .sealed
            .split_at_checked(CHECKED)
            .ok_or_else(|| bad("its sealed text is cut short"))?;
        let opens = |passphrase: &Passphrase| -> Result<Option<[u8; 32]>, StateError> {
            let derived = derive(passphrase, &wrapped.parameters)?;
            if check(&derived) != expected {
                return Ok(None);
            }
            let clear = derived.open(SEAL, id.as_bytes(), sealed).ok();
            let key = clear.and_then(|clear| clear.try_into().ok());
            key.map(Some)
                .ok_or_else(|| bad("its sealed text was changed, or belongs to another key"))
        };
        let tried = self.tried().clone();
        for passphrase in tried.iter().rev() {
            if let Some(key) = opens(passphrase)? {
                return Ok(key);
            }
        }
        let mut refused = 0;
        while let Some(passphrase) = self.source.known(id, what, refused)? {
            if let Some(key) = opens(&passphrase)? {
                self.note(passphrase);
                return Ok(key);
            }
            refused += 1;
        }
        Err(if refused == 0 {
            missing(id, what, "")
        } else {
            StateError::WrongPassphrase { id: id.to_owned() }
        })
    }

    fn renew(&self) -> Result<bool, StateError> {
        let chosen = self.source.chosen(true)?;
        let passphrase = chosen.ok_or_else(|| missing("", "the rotation", "new "))?;
        let mut tried = self.tried();
        tried.retain(|known| *known != passphrase);
        tried.push(passphrase);
        Ok(true)
    }
}

fn missing(id: &str, what: &str, which: &'static str) -> StateError {
    StateError::MissingPassphrase {
        what: what.to_owned(),
        id: id.to_owned(),
        which,
    }
}

fn bad(what: &str) -> StateError {
    StateError::BadKey {
        file: String::new(),
        what: what.to_owned(),
    }
}

fn check(derived: &SecretKey) -> [u8; CHECKED] {
    let mut short = [0; CHECKED];
    short.copy_from_slice(&derived.mac(&[CHECK.as_bytes()])[..CHECKED]);
    short
}

/// Parameters as the PHC string format writes them, without the hash: `$argon2id$v=19$m=65536,t=3,p=4$SALT`.
fn derive(passphrase: &Passphrase, parameters: &str) -> Result<SecretKey, StateError> {
    let (params, salt) = read(parameters).ok_or_else(|| bad("its parameters are none of epid's"))?;
    let mut derived = [0; 32];
    let mut blocks = Vec::new();
    // Asked for here, because where there is no memory the library would end the process.
    blocks
        .try_reserve_exact(params.block_count())
        .map_err(|_| bad("there is too little memory for its Argon2id parameters"))?;
    blocks.resize(params.block_count(), Block::default());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(passphrase.0.as_bytes(), &salt, &mut derived, &mut blocks)
        .map_err(|error| bad(&format!("Argon2id refuses its parameters: {error}")))?;
    Ok(SecretKey::new(derived))
}

fn read(parameters: &str) -> Option<(Params, Vec<u8>)> {
    let mut parts = parameters.strip_prefix("$argon2id$v=19$")?.split('$');
    let (costs, salt) = (parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let mut costs = costs.split(',');
    let mut cost = |name: &str, most: u32| -> Option<u32> {
        let value = costs.next()?.strip_prefix(name)?.parse().ok()?;
        (value <= most).then_some(value)
    };
    let (memory, passes, lanes) = (cost("m=", MOST.0)?, cost("t=", MOST.1)?, cost("p=", MOST.2)?);
    if costs.next().is_some() {
        return None;
    }
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    let salt = BASE64.decode(salt).ok().filter(|salt| salt.len() >= SALT)?;
    Some((params, salt))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passphrases one after the other.
    struct Typed(Vec<&'static str>);

    impl PassphraseSource for Typed {
        fn known(&self, _: &str, _: &str, refused: usize) -> Result<Option<Passphrase>, StateError> {
            Ok(self
                .0
                .get(refused)
                .and_then(|text| Passphrase::new((*text).to_owned())))
        }

        fn chosen(&self, renewed: bool) -> Result<Option<Passphrase>, StateError> {
            let text = if renewed { self.0.last() } else { self.0.first() };
            Ok(text.and_then(|text| Passphrase::new((*text).to_owned())))
        }
    }

    fn typed(texts: &[&'static str]) -> PassphraseProvider {
        PassphraseProvider::new(Arc::new(Typed(texts.to_vec())))
    }

    fn entropy() -> Entropy {
        Arc::new(|bytes| {
            bytes.iter_mut().for_each(|b| *b = fastrand::u8(..));
            Ok(())
        })
    }

    const ID: &str = "0123456789abcdef";

    #[test]
    fn a_key_opens_with_its_passphrase_and_says_what_else_is_wrong() {
        let wrapped = typed(&["hunter2"]).wrap(ID, &[7; 32], &entropy()).unwrap();
        assert!(wrapped.parameters.starts_with("$argon2id$v=19$m=65536,t=3,p=4$"));
        let open = |texts: &[&'static str], wrapped: &WrappedKey| typed(texts).unwrap(ID, "it", wrapped);
        assert_eq!(open(&["hunter2"], &wrapped).unwrap(), [7; 32]);
        assert_eq!(open(&["hunter3", "hunter2"], &wrapped).unwrap(), [7; 32]);
        assert!(matches!(
            open(&["hunter3"], &wrapped),
            Err(StateError::WrongPassphrase { .. })
        ));
        assert!(matches!(
            open(&[], &wrapped),
            Err(StateError::MissingPassphrase { .. })
        ));
        let moved = typed(&["hunter2"]).unwrap("fedcba9876543210", "it", &wrapped);
        assert!(matches!(moved, Err(StateError::BadKey { .. })));
        let mut changed = wrapped.clone();
        *changed.sealed.last_mut().unwrap() ^= 1;
        assert!(matches!(
            open(&["hunter2"], &changed),
            Err(StateError::BadKey { .. })
        ));
        changed.sealed.truncate(CHECKED - 1);
        assert!(matches!(
            open(&["hunter2"], &changed),
            Err(StateError::BadKey { .. })
        ));
    }

    #[test]
    fn a_salt_is_drawn_for_each_key() {
        let provider = typed(&["hunter2"]);
        let (a, b) = (
            provider.wrap(ID, &[7; 32], &entropy()),
            provider.wrap(ID, &[7; 32], &entropy()),
        );
        assert_ne!(a.unwrap().parameters, b.unwrap().parameters);
    }

    #[test]
    fn what_is_sealed_after_a_renewal_opens_with_the_new_passphrase_only() {
        let provider = typed(&["old", "new"]);
        let old = provider.wrap(ID, &[7; 32], &entropy()).unwrap();
        assert!(provider.renew().unwrap());
        let new = provider.wrap(ID, &[7; 32], &entropy()).unwrap();
        assert_eq!(provider.unwrap(ID, "it", &old).unwrap(), [7; 32]);
        assert_eq!(typed(&["new"]).unwrap(ID, "it", &new).unwrap(), [7; 32]);
        assert!(typed(&["old"]).unwrap(ID, "it", &new).is_err());
    }

    #[test]
    fn parameters_that_are_not_epids_are_refused_before_anything_is_paid_for() {
        for parameters in [
            "",
            "$argon2i$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=16$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=4294967295,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=65536,t=4294967295,p=4$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=1048577,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=65536,t=17,p=4$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=1,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=65536,t=3,p=4$AA",
            "$argon2id$v=19$m=65536,t=3,p=4,x=1$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AA",
        ] {
            assert!(read(parameters).is_none(), "{parameters}");
        }
    }

    #[test]
    fn a_passphrase_never_prints() {
        let passphrase = Passphrase::new("hunter2".to_owned()).unwrap();
        assert_eq!(
            format!("{passphrase:?} {:?}", typed(&["hunter2"])),
            "Passphrase(..) PassphraseProvider(..)"
        );
    }
}
