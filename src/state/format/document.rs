//! A file of one sealed document: a line of JSON in clear, the length of what follows, the ciphertext, a checksum.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Damage;
use crate::state::error::StateError;
use crate::state::keys::cipher::{Entropy, SecretKey, fingerprint};
use crate::state::snapshot::FORMAT;

/// The longest line in clear.
const LONGEST_HEAD: usize = 64 * 1024;
const LENGTH: usize = 8;
const CHECKSUM: usize = 16;

/// What every head says, whatever its format.
#[derive(Deserialize)]
struct Version {
    epid: String,
    format: u32,
}

/// Seals `clear` with `key` under `head`, which becomes part of what is authenticated.
pub(in crate::state) fn write(
    head: &impl Serialize,
    clear: &[u8],
    key: &SecretKey,
    purpose: &str,
    entropy: &Entropy,
) -> Result<Vec<u8>, StateError> {
    let mut file = serde_json::to_vec(head).map_err(|error| StateError::Abandoned(error.to_string()))?;
    file.push(b'\n');
    let sealed = key.seal(entropy, purpose, &file, clear)?;
    file.extend_from_slice(&(sealed.len() as u64).to_le_bytes());
    file.extend_from_slice(&sealed);
    let checksum = fingerprint(&[&file]);
    file.extend_from_slice(&checksum);
    Ok(file)
}

/// The first line of a file whose kind is `kind`. Needs no key, and proves nothing.
pub(in crate::state) fn head<H: DeserializeOwned>(bytes: &[u8], kind: &str) -> Result<H, Damage> {
    let line = line(bytes)?;
    let version: Version = serde_json::from_slice(line)
        .map_err(|e| Damage::at(e.column(), format!("its first line is none of epid's: {e}")))?;
    if version.epid != kind {
        return Err(Damage::at(
            0,
            format!("it is a file of kind `{}`, not `{kind}`", version.epid),
        ));
    }
    if version.format > FORMAT {
        return Err(Damage::Newer(version.format));
    }
    serde_json::from_slice(line)
        .map_err(|e| Damage::at(e.column(), format!("its first line cannot be read: {e}")))
}

fn line(bytes: &[u8]) -> Result<&[u8], Damage> {
    if bytes.is_empty() {
        return Err(Damage::at(0, "it is empty"));
    }
    let end = bytes.iter().take(LONGEST_HEAD).position(|b| *b == b'\n');
    end.map(|end| &bytes[..end])
        .ok_or_else(|| Damage::at(0, "its first line has no end"))
}

/// Checks the file without any key: the first line, the sealed bytes.
fn parts(bytes: &[u8]) -> Result<(&[u8], &[u8]), Damage> {
    let start = line(bytes)?.len() + 1;
    let cut = || Damage::at(bytes.len(), "it ends too soon");
    let (head, rest) = bytes.split_at_checked(start).ok_or_else(cut)?;
    let (length, rest) = rest.split_first_chunk::<LENGTH>().ok_or_else(cut)?;
    let length = u64::from_le_bytes(*length);
    let there = rest.len().saturating_sub(CHECKSUM);
    match usize::try_from(length) {
        Ok(length) if length == there => {}
        Ok(length) if length < there => {
            return Err(Damage::at(
                start + LENGTH + length + CHECKSUM,
                "more follows than belongs to it",
            ));
        }
        _ => return Err(cut()),
    }
    let (sealed, checksum) = rest.split_at_checked(there).ok_or_else(cut)?;
    if fingerprint(&[&bytes[..bytes.len() - CHECKSUM]]) == checksum {
        Ok((head, sealed))
    } else {
        Err(Damage::at(
            0,
            "its checksum is wrong: some byte of it was changed",
        ))
    }
}

/// Checks and opens a file that [`write()`] made.
pub(in crate::state) fn open(bytes: &[u8], key: &SecretKey, purpose: &str) -> Result<Vec<u8>, Damage> {
    let (head, sealed) = parts(bytes)?;
    key.open(purpose, head, sealed)
        .map_err(|_| Damage::at(head.len(), "it was not sealed with the key it names"))
}

/// Checks a file as far as that goes without its key.
pub(in crate::state) fn check(bytes: &[u8]) -> Result<(), Damage> {
    parts(bytes).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Head {
        epid: String,
        format: u32,
        name: String,
    }

    fn head_of(format: u32) -> Head {
        Head {
            epid: "test".into(),
            format,
            name: "x".into(),
        }
    }

    fn file(format: u32) -> (Vec<u8>, SecretKey) {
        let entropy: Entropy = Arc::new(|bytes| {
            bytes.fill(3);
            Ok(())
        });
        let key = SecretKey::new([1; 32]);
        (
            write(&head_of(format), b"body", &key, "p", &entropy).unwrap(),
            key,
        )
    }

    #[test]
    fn a_document_comes_back() {
        let (bytes, key) = file(1);
        assert_eq!(head::<Head>(&bytes, "test").unwrap(), head_of(1));
        assert_eq!(open(&bytes, &key, "p").unwrap(), b"body");
        assert_eq!(check(&bytes), Ok(()));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let (bytes, key) = file(1);
        for at in 0..bytes.len() {
            assert!(
                open(&bytes[..at], &key, "p").is_err() && check(&bytes[..at]).is_err(),
                "cut at {at}"
            );
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(
                    open(&changed, &key, "p").is_err() && check(&changed).is_err(),
                    "bit {bit} of {at}"
                );
            }
        }
        assert!(open(&[&bytes[..], b"x"].concat(), &key, "p").is_err());
        assert!(open(&bytes, &SecretKey::new([2; 32]), "p").is_err());
    }

    #[test]
    fn a_later_format_and_another_kind_are_told_apart_from_damage() {
        let (bytes, _) = file(99);
        assert_eq!(head::<Head>(&bytes, "test"), Err(Damage::Newer(99)));
        let Err(Damage::At { what, .. }) = head::<Head>(&bytes, "state") else {
            panic!("read")
        };
        assert!(what.contains("`test`"), "{what}");
    }
}
