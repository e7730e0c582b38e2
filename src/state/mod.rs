//! What was true: records and their edges, a journal, integrity, keys, and who may write.
//!
//! This room knows the provider contract and bytes; it knows no plan and no kind of resource. `docs/design/0002-state-format.md`
//! says what its files look like.
//!
//! | module | what it knows |
//! |---|---|
//! | [`blobs`] | where bytes are kept: a folder, memory, a bucket |
//! | `format` | what the bytes mean: versioned structs, checksums, frames |
//! | `keys` | key files, key providers, data keys, secrets of stack files; all cryptography |
//! | `load` | reading a state; `disk` writing one |
//! | `store`, `sharing` | all states of a backend, and what they have of one another |
//! | `session` | the one writer of a state |
//! | `seen` | how far each state was when it was last written from here |
//! | `files` | writing a file as one |
//! | `copies` | a state in one file outside; the state before the last run; reading every file there is |
//! | `rotation` | sealing states and outputs with another key |
//! | `migration`, `notice` | moving states to another place, and what the old one says afterwards |
//! | `amend` | what a person changes by hand: names, protection, records that are forgotten |

mod amend;
pub mod blobs;
mod copies;
mod disk;
mod entry;
mod error;
pub(crate) mod files;
mod format;
mod integrity;
mod journal_entry;
mod keys;
mod load;
mod location;
mod migration;
mod names;
mod notice;
mod rotation;
mod seen;
mod session;
mod sharing;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;

pub use amend::Refused;
pub use copies::Verified;
pub use entry::{Entry, Generation, Realm, RecordKey, Role, Timeouts};
pub use error::StateError;
pub use integrity::Invalid;
pub use journal_entry::{Change, Ending, Intent, JournalEntry, Run, RunRecord, RunResult, StepRecord};
pub use keys::{
    DocumentKey, Entropy, KeyProvider, KeyRing, Passphrase, PassphraseProvider, PassphraseSource,
    RotationLock, StackKeys, WrappedKey, sealed_with,
};
pub use location::{Holder, Location, is_sandbox};
pub use migration::{Ahead, Migration};
pub use notice::{Moving, Notice, Place};
pub use session::{Exported, Opening, Session, Ticket};
pub use sharing::Outputs;
pub use snapshot::{FORMAT, Header, Snapshot, Timings};
pub use store::Store;
