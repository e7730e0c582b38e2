//! A state outside of its folder, the state before the last run, and whether every file of one is what it should be.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::amend::Refused;
use super::error::StateError;
use super::format::Damage;
use super::format::journal::Position;
use super::load::{self, Loaded, PREVIOUS, STATE, StateHead};
use super::location::Location;
use super::names::{self, RunName};
use super::seen::Seen;
use super::session::Exported;
use super::snapshot::Snapshot;
use super::store::{HISTORY, Store, off_thread, read_named_run};

/// How often a state that is written meanwhile is looked at again.
const ATTEMPTS: usize = 8;

/// What the files of a state came to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verified {
    /// The state, where it can be read.
    pub snapshot: Option<Snapshot>,
    /// How many runs the history has.
    pub runs: usize,
    /// The serials up to that of the state of which the history has no run. Most were passed over: by an import, or by a change
    /// outside of runs. Nothing tells those from a file of the history that somebody removed.
    pub gaps: Vec<RangeInclusive<u64>>,
    /// What is wrong, the state first.
    pub problems: Vec<StateError>,
}

impl Store {
    /// Reads every file of a state: both snapshots, each with the journal after it, the history, the outputs, the marks of
    /// consumers. Takes no lock and writes nothing.
    ///
    /// # Errors
    /// [`StateError::Io`] where not even the names of its files can be read, [`StateError::Elsewhere`] where it has moved.
    /// Everything else is in the answer.
    pub async fn verify(&self, location: &Location) -> Result<Verified, StateError> {
        let mut attempt = 1;
        let mut of_person = None;
        loop {
            let before = self.version_of_files(location).await?;
            let was_noted = of_person.is_some();
            let verified = self.verify_once(location, &mut of_person).await?;
            // What a writer was about to finish is no damage, and what was noted after the state was read makes it no older.
            let settled = verified.problems.is_empty()
                || was_noted == of_person.is_some() && before == self.version_of_files(location).await?;
            if settled || attempt == ATTEMPTS {
                return Ok(verified);
            }
            attempt += 1;
        }
    }

    /// What changes while somebody writes.
    async fn version_of_files(
        &self,
        location: &Location,
    ) -> Result<(Vec<String>, Option<Vec<u8>>), StateError> {
        let files = self.blobs.list(&names::folder(location)).await?;
        // One that cannot be read is told by reading it for good.
        let state = self
            .blobs
            .get(&names::file(location, STATE))
            .await
            .unwrap_or_default();
        Ok((files, state))
    }

    /// With the note of the person, which is read once the lineage is known.
    async fn verify_once(
        &self,
        location: &Location,
        of_person: &mut Option<Seen>,
    ) -> Result<Verified, StateError> {
        let noted = self.noted(location).await;
        let mut problems: Vec<StateError> = Vec::new();
        let mut note = |problem: StateError| {
            // A damaged segment is found from both snapshots.
            if !problems
                .iter()
                .any(|known| known.to_string() == problem.to_string())
            {
                problems.push(problem);
            }
        };
        let latest = match load::examine(self, location, STATE, true).await {
            Ok(loaded) => loaded,
            Err(problem) => {
                let name = self.blobs.describe(&names::file(location, STATE));
                note(load::way_back(self, location, &name, noted.as_ref(), problem).await);
                None
            }
        };
        let previous = match load::examine(self, location, PREVIOUS, true).await {
            Ok(loaded) => loaded,
            Err(mut problem) => {
                if let (Some(_), StateError::Corrupt { next, .. }) = (&latest, &mut problem) {
                    "nothing is lost: `state` holds without it, and the next run that changes anything replaces it"
                        .clone_into(next);
                }
                note(problem);
                None
            }
        };
        let told = latest.as_ref().or(previous.as_ref());
        let mut older = None;
        if let Some(snapshot) = told.map(|loaded| &loaded.snapshot) {
            if of_person.is_none() {
                *of_person = self.noted_of(location, &snapshot.header.lineage).await;
            }
            older = Self::check_seen(location, [noted.as_ref(), of_person.as_ref()], snapshot).err();
        }
        if let (Some(latest), Some(previous)) = (&latest, &previous)
            && !is_same(&latest.snapshot, &previous.snapshot)
        {
            let name = self.blobs.describe(&names::file(location, PREVIOUS));
            let what = "with the journal after it, it tells another state than `state`";
            let next = "`state` holds, and the next run that changes anything replaces this one";
            note(Damage::at(0, what).of(name, next));
        }
        let is_older = older.is_some();
        if let Some(older) = older {
            note(older);
        } else if latest.is_none()
            && previous.is_some()
            && matches!(self.blobs.get(&names::file(location, STATE)).await, Ok(None))
        {
            let name = self.blobs.describe(&names::file(location, STATE));
            note(Damage::at(0, "it is missing").of(name, "the next run makes it anew from `state.previous`"));
        }
        let Some(loaded) = latest.or(previous) else {
            self.stays(location).await?;
            if problems.is_empty() {
                problems.extend(load::bereft(self, location).await?);
            }
            if problems.is_empty() {
                problems.extend(self.check_gone(location).await.err());
            }
            // Nothing else can be opened without; where nothing is wrong either, there is no state.
            let runs = 0;
            return Ok(Verified {
                snapshot: None,
                runs,
                gaps: Vec::new(),
                problems,
            });
        };
        let (runs, wrong) = self.verify_history(location, &loaded, is_older).await?;
        wrong.into_iter().for_each(&mut note);
        if let Err(problem) = self.outputs(location).await {
            note(problem);
        }
        if let Err(problem) = self.consumers(location).await {
            note(problem);
        }
        Ok(Verified {
            gaps: gaps(&runs, loaded.snapshot.header.serial),
            snapshot: Some(loaded.snapshot),
            runs: runs.len(),
            problems,
        })
    }

    async fn verify_history(
        &self,
        location: &Location,
        loaded: &Loaded,
        is_older: bool,
    ) -> Result<(BTreeSet<RunName>, Vec<StateError>), StateError> {
        let at = loaded.snapshot.header.serial;
        // Those that the history still lacks count too, as `epid history` has them.
        let last = loaded.snapshot.run.as_deref();
        let lacking = loaded.runs.iter().chain(last);
        let mut runs: BTreeSet<RunName> = lacking.map(|run| (run.serial, None)).collect();
        let mut problems = Vec::new();
        for name in self.blobs.list(&names::file(location, HISTORY)).await? {
            let damaged = |damage: Damage| {
                damage.of(
                    self.blobs.describe(&name),
                    "move it away; nothing but this run's history is lost",
                )
            };
            match self.blobs.get(&name).await {
                Ok(Some(bytes)) => match read_named_run(&bytes, &name, &loaded.keys) {
                    // That the state is older is told once.
                    Ok(((run, _), _)) if run > at && is_older => {}
                    Ok(((run, _), _)) if run > at => {
                        let what = format!("it is of run {run}, and the state is at run {at}");
                        problems.push(Damage::at(0, what).of(
                            self.blobs.describe(&name),
                            "the state seems to be an older copy: put the newer one back; where that is lost, move this away",
                        ));
                    }
                    Ok((run, _)) => drop(runs.insert(run)),
                    Err(damage) => problems.push(damaged(damage)),
                },
                Ok(None) => {}
                Err(error) => problems.push(error.into()),
            }
        }
        Ok((runs, problems))
    }

    /// A state as one file, encrypted with its key as all of its files are; `None` where there is none.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn export(&self, location: &Location) -> Result<Option<Vec<u8>>, StateError> {
        let Some(loaded) = load::load(self, location).await? else {
            return Ok(None);
        };
        let write = move || {
            let (snapshot, keys) = (loaded.snapshot, loaded.head.keys);
            let head = StateHead::new(&snapshot.header, keys, Position::default(), 0);
            load::write(&head, &snapshot, &loaded.keys)
        };
        off_thread(write).await.map(Some)
    }

    /// The state that [`Self::export`] wrote, of whichever stack. `name` is what its file is called.
    ///
    /// # Errors
    /// [`StateError::MissingKey`], [`StateError::Corrupt`], [`StateError::Newer`].
    pub async fn read_export(&self, name: String, bytes: Vec<u8>) -> Result<Exported, StateError> {
        let copy = load::examine_copy(self, name, bytes).await?;
        Ok(Exported {
            snapshot: copy.snapshot,
            keys: copy.keys,
        })
    }

    /// The state as it was before what was last recorded, where that changed nothing but records; `None` where there is
    /// nothing before.
    ///
    /// # Errors
    /// As [`Self::read`]; the refusal where something was sent to a cloud since, or may have been.
    pub async fn before(&self, location: &Location) -> Result<Result<Option<Snapshot>, Refused>, StateError> {
        let Some(loaded) = load::load(self, location).await? else {
            return Ok(Ok(None));
        };
        let file = match (loaded.pending, loaded.from_previous) {
            (true, false) => STATE,
            (false, true) => return Ok(Ok(None)),
            _ => PREVIOUS,
        };
        let Some(before) = load::examine(self, location, file, false).await? else {
            return Ok(Ok(None));
        };
        let before = before.snapshot;
        // After a rotation both tell the same: what was before it is not kept under the new key.
        if before.is_same(&loaded.snapshot) {
            return Ok(Ok(None));
        }
        let dangling = loaded.snapshot.intents.len() + before.intents.len();
        if dangling > 0 {
            return Ok(Err(Refused::Dangling(dangling)));
        }
        let runs = self.history(location).await?;
        let since = runs.into_iter().filter(|run| run.serial > before.header.serial);
        for run in since {
            if !run.steps.is_empty() {
                return Ok(Err(Refused::Called {
                    run: run.serial,
                    calls: run.steps.len(),
                }));
            }
        }
        Ok(Ok(Some(before)))
    }
}

/// The serials up to `at` that no run has.
fn gaps(runs: &BTreeSet<RunName>, at: u64) -> Vec<RangeInclusive<u64>> {
    // A run that changed nothing bears the serial of another.
    let told = runs.iter().filter(|(_, idle)| idle.is_none());
    let mut gaps = Vec::new();
    let mut next: u64 = 1;
    for serial in told.map(|(serial, _)| *serial).chain([at.saturating_add(1)]) {
        if next < serial {
            gaps.push(next..=serial - 1);
        }
        next = next.max(serial.saturating_add(1));
    }
    gaps
}

/// A change outside any run counts one serial when the state is closed, so the number is not compared.
fn is_same(a: &Snapshot, b: &Snapshot) -> bool {
    let mut a = a.clone();
    a.header = b.header.clone();
    a.is_same(b)
}
