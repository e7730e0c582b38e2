//! Bytes on disk: versioned, checked, sealed. `docs/design/0002-state-format.md` describes them.
//!
//! Nothing here opens a file. Whatever the bytes are, reading them ends in a value or a [`Damage`].

pub(in crate::state) mod document;
pub(in crate::state) mod journal;
pub(in crate::state) mod record;
pub(in crate::state) mod value;

use super::error::StateError;
use super::snapshot::FORMAT;

/// Bytes are not what epid wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::state) enum Damage {
    /// They are of a later format.
    Newer(u32),
    /// Something is wrong with them.
    At {
        /// Where, in bytes from the start.
        offset: u64,
        /// What.
        what: String,
    },
}

impl Damage {
    pub(in crate::state) fn at(offset: usize, what: impl Into<String>) -> Self {
        Self::At {
            offset: offset as u64,
            what: what.into(),
        }
    }

    /// The error for a person: which file it is, and what to do.
    pub(in crate::state) fn of(self, file: String, next: &str) -> StateError {
        match self {
            Self::Newer(found) => StateError::Newer {
                file,
                found,
                known: FORMAT,
            },
            Self::At { offset, what } => StateError::Corrupt {
                file,
                offset,
                what,
                next: next.to_owned(),
            },
        }
    }
}
