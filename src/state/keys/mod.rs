//! Keys: key files, the data keys of a stack that they open, and secrets in stack files.
//!
//! All cryptography of epid's own files is in here. Random bytes come from outside.

pub(in crate::state) mod cipher;
mod config;
mod directory;
mod document;
mod stack;

pub use cipher::Entropy;
pub use config::sealed_with;
pub use directory::KeyDirectory;
pub use document::DocumentKey;
pub use stack::StackKeys;
