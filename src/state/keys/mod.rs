//! Keys: key files and sealed keys, the data keys of a stack that they open, and secrets in stack files.
//!
//! All cryptography of epid's own files is in here. Random bytes come from outside.

pub(in crate::state) mod cipher;
mod config;
mod directory;
mod document;
pub(in crate::state) mod key;
mod passphrase;
mod provider;
mod records;
mod ring;
mod stack;

pub use cipher::Entropy;
pub use config::sealed_with;
pub use document::DocumentKey;
pub use passphrase::{Passphrase, PassphraseProvider, PassphraseSource};
pub use provider::{KeyProvider, WrappedKey};
pub use ring::{KeyRing, RotationLock};
pub use stack::StackKeys;
