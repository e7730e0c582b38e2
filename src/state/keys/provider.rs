//! Key providers: what seals a key that is kept where a team shares it.

use std::fmt;

use super::cipher::Entropy;
use crate::state::error::StateError;

/// A key as a provider has sealed it. It is useless without the provider, so it is kept in the project's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// What the provider has to know to open it, in a form of its own: costs and salt, or the name of a key elsewhere.
    pub parameters: String,
    /// The sealed key.
    pub sealed: Vec<u8>,
}

/// Seals keys and opens them again: with a passphrase, later with a key management service.
///
/// It is asked once per key and run, on a thread that may block: a person types, Argon2id takes its time, and a service over a
/// network is waited for. So the trait is synchronous, and whoever reads a state or a stack file needs no runtime.
pub trait KeyProvider: fmt::Debug + Send + Sync {
    /// What records and `--to` call it, such as `passphrase`.
    fn name(&self) -> &'static str;

    /// Seals the key `id`. The sealed text is bound to the id.
    ///
    /// # Errors
    /// [`StateError::MissingPassphrase`] and the like where the provider cannot be used here and now.
    fn wrap(&self, id: &str, key: &[u8; 32], entropy: &Entropy) -> Result<WrappedKey, StateError>;

    /// Opens what [`Self::wrap`] made of the key `id`, which `what` needs.
    ///
    /// # Errors
    /// [`StateError::MissingPassphrase`], [`StateError::WrongPassphrase`] and the like; [`StateError::BadKey`] without a file
    /// where the text was changed.
    fn unwrap(&self, id: &str, what: &str, wrapped: &WrappedKey) -> Result<[u8; 32], StateError>;

    /// From now on seals with something new, such as another passphrase, and still opens what was sealed before. False where
    /// the provider has nothing that could change.
    ///
    /// # Errors
    /// As [`Self::wrap`].
    fn renew(&self) -> Result<bool, StateError> {
        Ok(false)
    }
}
