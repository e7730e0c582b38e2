//! The cryptography: AES-256-GCM, HMAC-SHA256 and SHA-256, each in one place.

use std::fmt;
use std::io;
use std::sync::Arc;

use aes_gcm::aead::AeadInOut as _;
use aes_gcm::{Aes256Gcm, Nonce};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::state::error::StateError;

/// Fills bytes with random ones, fit for keys.
pub type Entropy = Arc<dyn Fn(&mut [u8]) -> io::Result<()> + Send + Sync>;

/// The bytes of a salt: every sealed text has its own, and so its own key.
pub(in crate::state) const SALT: usize = 16;
/// The bytes that authenticate a sealed text.
const TAG: usize = 16;
/// The bytes that a sealed text is longer than the clear one.
pub(in crate::state) const OVERHEAD: usize = SALT + TAG;

/// Draws random bytes.
pub(in crate::state) fn random<const N: usize>(entropy: &Entropy) -> Result<[u8; N], StateError> {
    let mut bytes = [0; N];
    entropy(&mut bytes).map_err(|error| StateError::Entropy(Arc::new(error)))?;
    Ok(bytes)
}

/// The first 16 bytes of the SHA-256 of the parts, one after the other.
pub(in crate::state) fn fingerprint(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let mut short = [0; 16];
    short
        .iter_mut()
        .zip(hash.finalize())
        .for_each(|(to, from)| *to = from);
    short
}

/// Lower-case hexadecimal digits.
pub(in crate::state) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [b >> 4, b & 15])
        .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
        .collect()
}

/// 256 secret bits. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::state) struct SecretKey([u8; 32]);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// A text was not sealed with this key for this purpose, or was changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::state) struct NotAuthentic;

impl SecretKey {
    pub(in crate::state) fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(in crate::state) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// HMAC-SHA256 over the parts, one after the other.
    pub(in crate::state) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        // HMAC fills a short key with zeros up to the hash's block.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// The key for one purpose and salt. Purposes hold no NUL, so no two pairs give one key.
    pub(in crate::state) fn derive(&self, purpose: &str, salt: &[u8]) -> Self {
        Self(self.mac(&[purpose.as_bytes(), &[0], salt]))
    }

    /// Encrypts with this very key: `number` must never come twice with one key.
    pub(in crate::state) fn seal_numbered(&self, number: u64, aad: &[u8], mut clear: Vec<u8>) -> Vec<u8> {
        let cipher = Aes256Gcm::new(&self.0.into());
        // It can fail for texts beyond 64 GiB only, which no frame reaches.
        if cipher.encrypt_in_place(&nonce(number), aad, &mut clear).is_err() {
            clear.clear();
        }
        clear
    }

    /// Decrypts what [`Self::seal_numbered`] made.
    pub(in crate::state) fn open_numbered(
        &self,
        number: u64,
        aad: &[u8],
        mut sealed: Vec<u8>,
    ) -> Result<Vec<u8>, NotAuthentic> {
        let cipher = Aes256Gcm::new(&self.0.into());
        cipher
            .decrypt_in_place(&nonce(number), aad, &mut sealed)
            .map_err(|_| NotAuthentic)?;
        Ok(sealed)
    }

    /// Encrypts under a key of its own, derived with a random salt that stands in front; so no nonce comes twice.
    pub(in crate::state) fn seal(
        &self,
        entropy: &Entropy,
        purpose: &str,
        aad: &[u8],
        clear: &[u8],
    ) -> Result<Vec<u8>, StateError> {
        let salt: [u8; SALT] = random(entropy)?;
        let mut text = Vec::with_capacity(clear.len() + TAG);
        text.extend_from_slice(clear);
        let text = self.derive(purpose, &salt).seal_numbered(0, aad, text);
        Ok([&salt[..], &text].concat())
    }

    /// Decrypts what [`Self::seal`] made.
    pub(in crate::state) fn open(
        &self,
        purpose: &str,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, NotAuthentic> {
        let (salt, text) = sealed.split_at_checked(SALT).ok_or(NotAuthentic)?;
        self.derive(purpose, salt).open_numbered(0, aad, text.to_vec())
    }
}

fn nonce(number: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes.into()
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
    fn mac_is_hmac_sha256() {
        // RFC 4231, test case 2, with the key padded by zeros to 32 bytes, which HMAC does anyway.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        assert_eq!(
            hex(&SecretKey::new(key).mac(&[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn what_was_sealed_opens_for_its_purpose_only() {
        let key = SecretKey::new([7; 32]);
        let sealed = key.seal(&entropy(), "a", b"x", b"hunter2").unwrap();
        assert_eq!(sealed.len(), 7 + OVERHEAD);
        assert_eq!(key.open("a", b"x", &sealed).unwrap(), b"hunter2");
        assert_eq!(key.open("b", b"x", &sealed), Err(NotAuthentic));
        assert_eq!(key.open("a", b"y", &sealed), Err(NotAuthentic));
        assert_eq!(
            SecretKey::new([8; 32]).open("a", b"x", &sealed),
            Err(NotAuthentic)
        );
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open("a", b"x", &changed), Err(NotAuthentic), "byte {at}");
            assert_eq!(
                key.open("a", b"x", &sealed[..at]),
                Err(NotAuthentic),
                "length {at}"
            );
        }
    }

    #[test]
    fn a_text_sealed_twice_looks_different() {
        let key = SecretKey::new([7; 32]);
        let seal = || key.seal(&entropy(), "a", b"", b"x").unwrap();
        assert_ne!(seal(), seal());
    }
}
