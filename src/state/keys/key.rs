//! A key, whole or only the part of it that opens states.

use super::cipher::SecretKey;

const STATE_PART: &str = "epid state part of a key 1";

/// What is here of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::state) enum Key {
    /// All of it.
    Whole(SecretKey),
    /// What is derived from it to open states, and no secret in them.
    StatePart(SecretKey),
}

impl Key {
    /// The part that opens states.
    pub(in crate::state) fn state_part(&self) -> SecretKey {
        match self {
            Self::Whole(key) => key.derive(STATE_PART, &[]),
            Self::StatePart(part) => part.clone(),
        }
    }

    /// All of it, where that is here.
    pub(in crate::state) fn whole(&self) -> Option<&SecretKey> {
        match self {
            Self::Whole(key) => Some(key),
            Self::StatePart(_) => None,
        }
    }
}
