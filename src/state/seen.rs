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
pub(super) struct Seen {
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

    /// What is noted of a state. To be read before the state is: a writer notes what they have written.
    pub(super) async fn noted(&self, location: &Location) -> Option<Seen> {
        let notes = self.seen.as_ref()?;
        let noted = notes.get(&names::file(location, SERIAL)).await.ok().flatten();
        serde_json::from_slice(&noted?).ok()
    }

    fn describe_note(&self, location: &Location) -> String {
        let name = names::file(location, SERIAL);
        self.seen
            .as_ref()
            .map_or_else(String::new, |notes| notes.describe(&name))
    }

    /// Makes sure that a state is not older than it was.
    pub(super) fn check_seen(
        &self,
        location: &Location,
        noted: Option<&Seen>,
        header: &Header,
    ) -> Result<(), StateError> {
        match noted {
            Some(seen) if seen.lineage == header.lineage && seen.serial > header.serial => {
                Err(StateError::Older {
                    location: location.clone(),
                    serial: header.serial,
                    seen: seen.serial,
                    file: self.describe_note(location),
                })
            }
            _ => Ok(()),
        }
    }

    /// Makes sure that a state which is not there never was, or never had a run.
    pub(super) async fn check_gone(&self, location: &Location) -> Result<(), StateError> {
        match self.noted(location).await {
            Some(seen) if seen.serial > 0 => Err(StateError::Gone {
                location: location.clone(),
                seen: seen.serial,
                place: self.blobs.describe(&names::folder(location)),
                file: self.describe_note(location),
            }),
            _ => Ok(()),
        }
    }

    /// Removes the note of a state that is about to be removed.
    pub(super) async fn forget_seen(&self, location: &Location) {
        if let Some(notes) = &self.seen {
            drop(notes.delete(&names::file(location, SERIAL)).await);
        }
    }

    /// Removes the notes of all states of a project in worlds that are gone, whoever removed those states. What cannot be
    /// removed refuses the next run of its stack, and says so then.
    pub async fn forget_worlds(&self, project: &str, is_gone: impl Fn(&str) -> bool) {
        let Some(notes) = &self.seen else { return };
        for name in notes.list("").await.unwrap_or_default() {
            if names::stack_of(&name).is_some_and(|of| *of.project == *project && is_gone(&of.world)) {
                drop(notes.delete(&name).await);
            }
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
