//! The last run of each state that was seen from this folder. It is no part of the state: where that is older, somebody has put
//! an old copy back. A net, not a promise: what cannot be noted or read here is as if it had not been seen.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::blobs::Blobs;
use super::error::StateError;
use super::location::Location;
use super::names;
use super::snapshot::Header;
use super::store::Store;

const SERIAL: &str = "serial";

#[derive(Serialize, Deserialize)]
struct Seen {
    lineage: Arc<str>,
    serial: u64,
}

impl Store {
    /// The same, with notes in `seen` of how far each state was when it was last written from here.
    #[must_use]
    pub fn noting(mut self, seen: Arc<dyn Blobs>) -> Self {
        self.seen = Some(seen);
        self
    }

    /// Makes sure that a state is not older than it was.
    pub(super) async fn check_seen(&self, location: &Location, header: &Header) -> Result<(), StateError> {
        let Some(notes) = &self.seen else { return Ok(()) };
        let name = names::file(location, SERIAL);
        let noted = notes.get(&name).await.ok().flatten();
        match noted.and_then(|bytes| serde_json::from_slice::<Seen>(&bytes).ok()) {
            Some(seen) if seen.lineage == header.lineage && seen.serial > header.serial => {
                Err(StateError::Older {
                    location: location.clone(),
                    serial: header.serial,
                    seen: seen.serial,
                    file: notes.describe(&name),
                })
            }
            _ => Ok(()),
        }
    }

    /// Notes how far a state is.
    pub(super) async fn note_seen(&self, location: &Location, lineage: &Arc<str>, serial: u64) {
        let Some(notes) = &self.seen else { return };
        let lineage = lineage.clone();
        if let Ok(text) = serde_json::to_vec(&Seen { lineage, serial }) {
            drop(notes.put(&names::file(location, SERIAL), text).await);
        }
    }
}
