//! What was true: records and their edges, a journal, integrity, keys, and who may write.
//!
//! This room knows the provider contract and bytes; it knows no plan and no kind of resource.

mod entry;
mod error;
mod integrity;
mod journal_entry;
mod location;
mod session;
mod snapshot;

pub use entry::{Entry, Generation, RecordKey, Role, Timeouts};
pub use error::StateError;
pub use integrity::Invalid;
pub use journal_entry::{Change, Ending, Intent, JournalEntry, Run, RunRecord, RunResult, StepRecord};
pub use location::{Holder, Location};
pub use session::{Session, Ticket};
pub use snapshot::{FORMAT, Header, Snapshot, Timings};
