//! What can go wrong with a state.

use super::integrity::Invalid;

/// The state cannot be read or written. Messages name the file, the cause and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// An entry contradicts the state it would change; nothing was changed.
    #[error("refused to record a contradiction: {0}; this is a defect of epid, please report it")]
    Invalid(#[from] Invalid),
    /// The session was closed.
    #[error("the state is closed")]
    Closed,
}
