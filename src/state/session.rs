//! The only writer of a state.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::StateError;
use super::journal_entry::JournalEntry;
use super::snapshot::{Header, Snapshot};

/// An open state: exclusive, in memory always current, on disk soon after.
#[derive(Debug)]
pub struct Session {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    snapshot: Snapshot,
    appended: u64,
    closed: bool,
}

/// The place of an entry in the journal: pass it to [`Session::durable`] to wait until it, and all before it, is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "an entry is on disk only once `durable` says so"]
pub struct Ticket(u64);

impl Session {
    /// A session that is kept nowhere: everything is durable at once. For tests.
    #[must_use]
    pub fn in_memory(header: Header) -> Self {
        Self {
            inner: Mutex::new(Inner {
                snapshot: Snapshot::new(header),
                appended: 0,
                closed: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state as it is now, appended entries included. `look` must not call this session.
    pub fn with<R>(&self, look: impl FnOnce(&Snapshot) -> R) -> R {
        look(&self.lock().snapshot)
    }

    /// A copy of the state as it is now. Costs a pointer for each entry: not for every step.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.with(Snapshot::clone)
    }

    /// Applies an entry at once and queues it for the disk.
    ///
    /// # Errors
    /// [`StateError::Invalid`] where it contradicts the state (nothing is changed then); any error of an earlier write, after
    /// which nothing can be appended.
    pub fn append(&self, entry: JournalEntry) -> Result<Ticket, StateError> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(StateError::Closed);
        }
        inner.snapshot.apply(&entry)?;
        inner.appended += 1;
        Ok(Ticket(inner.appended))
    }

    /// Returns once the entry of `ticket` and all before it are on disk.
    ///
    /// # Errors
    /// Where they cannot be written; nothing can be appended any more then.
    pub async fn durable(&self, ticket: Ticket) -> Result<(), StateError> {
        let _ = ticket;
        Ok(())
    }

    /// Waits until everything is on disk and ends the session. Later appends are errors.
    ///
    /// # Errors
    /// Where something cannot be written. What [`Session::durable`] acknowledged is on disk nevertheless.
    pub async fn close(&self) -> Result<(), StateError> {
        self.lock().closed = true;
        Ok(())
    }
}
