//! The last run of each state that was seen from here. It is no part of the state: where that is older, somebody has put an old
//! copy back. A net, not a promise: what cannot be noted is as if it had not been seen, and what cannot be read is told.
//!
//! Two places have such notes: the project's folder, for each state by where it is, and a folder of the person, by lineage. The
//! second does not go back in time with the first.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::blobs::Blobs;
use super::error::StateError;
use super::keys::cipher::{fingerprint, hex};
use super::location::{Location, is_sandbox};
use super::names;
use super::snapshot::Snapshot;
use super::store::Store;

const SERIAL: &str = "serial";

/// Who is told of a note that cannot be read.
type Listener = Arc<dyn Fn(&StateError) + Send + Sync>;

/// Where it is noted how far states were.
#[derive(Clone, Default)]
pub(super) struct Notes {
    project: Option<Arc<dyn Blobs>>,
    person: Option<Arc<dyn Blobs>>,
    listener: Option<Listener>,
    /// The notes that were told of.
    told: Arc<Mutex<BTreeSet<String>>>,
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notes").finish_non_exhaustive()
    }
}

/// How far a state is: at which run, whether that has ended, and how far it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Far {
    serial: u64,
    #[serde(default)]
    ended: bool,
    /// Grows by one with each call that the run begins, and again when that has ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    calls: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Far {
    /// How far `snapshot` is.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let run = snapshot.run.as_deref();
        Self {
            serial: snapshot.header.serial,
            ended: run.is_none_or(|run| run.end.is_some()),
            calls: 2 * run.map_or(0, |run| run.steps.len() as u64) + snapshot.intents.len() as u64,
        }
    }

    /// At a run of which nothing more is known.
    pub(super) fn at(serial: u64) -> Self {
        Self {
            serial,
            ended: false,
            calls: 0,
        }
    }

    /// True where only calls lie between this and `before`.
    pub(super) fn is_little_more_than(self, before: Self) -> bool {
        (self.serial, self.ended) == (before.serial, before.ended)
    }
}

/// How far a state was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Seen {
    lineage: Arc<str>,
    #[serde(flatten)]
    far: Far,
    /// Of all that, so that a changed digit is no later run.
    checksum: String,
    /// The file that says so.
    #[serde(skip)]
    file: String,
}

impl Seen {
    fn checksum(lineage: &str, far: Far) -> String {
        let (serial, ended, calls) = (
            far.serial.to_be_bytes(),
            [u8::from(far.ended)],
            far.calls.to_be_bytes(),
        );
        let parts: [&[u8]; 4] = [lineage.as_bytes(), &serial, &ended, &calls];
        // Notes did not tell of calls once.
        let parts = if far.calls == 0 { &parts[..3] } else { &parts[..] };
        hex(&fingerprint(parts)[..4])
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let seen: Self = serde_json::from_slice(bytes).ok()?;
        (seen.checksum == Self::checksum(&seen.lineage, seen.far)).then_some(seen)
    }
}

impl Notes {
    async fn read(&self, notes: Option<&Arc<dyn Blobs>>, name: &str) -> Option<Seen> {
        let notes = notes?;
        let file = notes.describe(name);
        let problem = match notes.get(name).await {
            Ok(None) => return None,
            Ok(Some(bytes)) => match Seen::read(&bytes) {
                Some(seen) => return Some(Seen { file, ..seen }),
                None => StateError::BadNote { file: file.clone() },
            },
            Err(error) => error.into(),
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let (true, Some(listener)) = (told.insert(file), &self.listener) {
            listener(&problem);
        }
        None
    }

    /// The notes of the person, unless the state goes back in time with its world.
    fn of_person(&self, location: &Location) -> Option<&Arc<dyn Blobs>> {
        self.person.as_ref().filter(|_| !is_sandbox(&location.world))
    }
}

impl Store {
    /// The same, with notes of how far each state was when it was last written from here: in `project`, and in `person`, which
    /// stays when the project's folder is put back as it was. `listener` hears of notes that are damaged; nothing waits for them.
    #[must_use]
    pub fn noting(
        mut self,
        project: Arc<dyn Blobs>,
        person: Option<Arc<dyn Blobs>>,
        listener: impl Fn(&StateError) + Send + Sync + 'static,
    ) -> Self {
        self.notes = Notes {
            project: Some(project),
            person,
            listener: Some(Arc::new(listener)),
            told: Arc::default(),
        };
        self
    }

    /// What the project has noted of a state. To be read before the state is: a writer notes what they have written.
    pub(super) async fn noted(&self, location: &Location) -> Option<Seen> {
        let name = names::file(location, SERIAL);
        self.notes.read(self.notes.project.as_ref(), &name).await
    }

    /// What the person has noted of a state of that lineage. To be read before the state is, too.
    pub(super) async fn noted_of(&self, location: &Location, lineage: &str) -> Option<Seen> {
        self.notes.read(self.notes.of_person(location), lineage).await
    }

    /// Makes sure that a state is not older than notes say.
    pub(super) fn check_seen(
        location: &Location,
        noted: [Option<&Seen>; 2],
        snapshot: &Snapshot,
    ) -> Result<(), StateError> {
        let (header, far) = (&snapshot.header, Far::of(snapshot));
        let noted = noted.into_iter().flatten();
        let later = noted.filter(|seen| seen.lineage == header.lineage && seen.far > far);
        let later: Vec<&Seen> = later.collect();
        let Some(seen) = later.iter().map(|seen| seen.far.serial).max() else {
            return Ok(());
        };
        let files: Vec<&str> = later.iter().map(|seen| &*seen.file).collect();
        Err(StateError::Older {
            location: location.clone(),
            serial: header.serial,
            seen,
            file: files.join(" and "),
        })
    }

    /// Makes sure that a state which is not there never was, or never had a run.
    pub(super) async fn check_gone(&self, location: &Location) -> Result<(), StateError> {
        match self.noted(location).await {
            Some(seen) if seen.far.serial > 0 => Err(StateError::Gone {
                location: location.clone(),
                seen: seen.far.serial,
                place: self.blobs.describe(&names::folder(location)),
                file: seen.file,
            }),
            _ => Ok(()),
        }
    }

    /// Removes the notes of a state that is about to be removed.
    pub(super) async fn forget_seen(&self, location: &Location) {
        let noted = self.noted(location).await;
        if let (Some(notes), Some(seen)) = (self.notes.of_person(location), noted) {
            drop(notes.delete(&seen.lineage).await);
        }
        if let Some(notes) = &self.notes.project {
            drop(notes.delete(&names::file(location, SERIAL)).await);
        }
    }

    /// Removes the notes of all states of a project in worlds that are gone, whoever removed those states. What cannot be
    /// removed refuses the next run of its stack, and says so then.
    pub async fn forget_worlds(&self, project: &str, is_gone: impl Fn(&str) -> bool) {
        let Some(notes) = &self.notes.project else { return };
        for name in notes.list("").await.unwrap_or_default() {
            if names::stack_of(&name).is_some_and(|of| *of.project == *project && is_gone(&of.world)) {
                drop(notes.delete(&name).await);
            }
        }
    }

    /// Notes how far a state is.
    pub(super) async fn note_seen(&self, location: &Location, lineage: &Arc<str>, far: Far) {
        let seen = Seen {
            lineage: lineage.clone(),
            far,
            checksum: Seen::checksum(lineage, far),
            file: String::new(),
        };
        let Ok(text) = serde_json::to_vec(&seen) else {
            return;
        };
        if let Some(notes) = self.notes.of_person(location) {
            drop(notes.put(lineage, text.clone()).await);
        }
        if let Some(notes) = &self.notes.project {
            drop(notes.put(&names::file(location, SERIAL), text).await);
        }
    }
}
