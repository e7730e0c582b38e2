//! A state outside of its folder, the state before the last run, and whether every file of one is what it should be.

use super::amend::Refused;
use super::error::StateError;
use super::format::Damage;
use super::format::journal::Position;
use super::keys::StackKeys;
use super::load::{self, Loaded, PREVIOUS, STATE, StateHead};
use super::location::Location;
use super::names;
use super::snapshot::Snapshot;
use super::store::{HISTORY, Store, off_thread, read_run};

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
        loop {
            let before = self.mark(location).await?;
            let verified = self.verify_once(location).await?;
            // What a writer was about to finish is no damage.
            let settled = verified.problems.is_empty() || before == self.mark(location).await?;
            if settled || attempt == ATTEMPTS {
                return Ok(verified);
            }
            attempt += 1;
        }
    }

    /// What changes while somebody writes.
    async fn mark(&self, location: &Location) -> Result<(Vec<String>, Option<Vec<u8>>), StateError> {
        let files = self.blobs.list(&names::folder(location)).await?;
        // One that cannot be read is told by reading it for good.
        let state = self
            .blobs
            .get(&names::file(location, STATE))
            .await
            .unwrap_or_default();
        Ok((files, state))
    }

    async fn verify_once(&self, location: &Location) -> Result<Verified, StateError> {
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
        let mut read = Vec::new();
        for file in [STATE, PREVIOUS] {
            match load::examine(self, location, file, true).await {
                Ok(loaded) => read.push(loaded),
                Err(problem) => {
                    note(problem);
                    read.push(None);
                }
            }
        }
        let previous = read.pop().flatten();
        let latest = read.pop().flatten();
        if let (Some(latest), Some(previous)) = (&latest, &previous)
            && !is_same(&latest.snapshot, &previous.snapshot)
        {
            let name = self.blobs.describe(&names::file(location, PREVIOUS));
            let what = "with the journal after it, it tells another state than `state`";
            note(Damage::at(0, what).of(name, "`state` holds; the next run replaces this one"));
        }
        if latest.is_none()
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
            // Nothing else can be opened without; where nothing is wrong either, there is no state.
            let runs = 0;
            return Ok(Verified {
                snapshot: None,
                runs,
                problems,
            });
        };
        let (runs, wrong) = self.verify_history(location, &loaded).await?;
        wrong.into_iter().for_each(&mut note);
        if let Err(problem) = self.outputs(location).await {
            note(problem);
        }
        if let Err(problem) = self.consumers(location).await {
            note(problem);
        }
        Ok(Verified {
            snapshot: Some(loaded.snapshot),
            runs,
            problems,
        })
    }

    async fn verify_history(
        &self,
        location: &Location,
        loaded: &Loaded,
    ) -> Result<(usize, Vec<StateError>), StateError> {
        let (mut runs, mut problems) = (0, Vec::new());
        for name in self.blobs.list(&names::file(location, HISTORY)).await? {
            let damaged = |damage: Damage| {
                damage.of(
                    self.blobs.describe(&name),
                    "move it away; nothing but this run's history is lost",
                )
            };
            match self.blobs.get(&name).await {
                Ok(Some(bytes)) => match one_run(&bytes, &name, loaded, &loaded.keys) {
                    Ok(()) => runs += 1,
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
    pub async fn read_export(&self, name: String, bytes: Vec<u8>) -> Result<Snapshot, StateError> {
        Ok(load::examine_copy(self, name, bytes).await?.snapshot)
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

/// A change outside any run counts one serial when the state is closed, so the number is not compared.
fn is_same(a: &Snapshot, b: &Snapshot) -> bool {
    let mut a = a.clone();
    a.header = b.header.clone();
    a.is_same(b)
}

fn one_run(bytes: &[u8], name: &str, loaded: &Loaded, keys: &StackKeys) -> Result<(), Damage> {
    let run = read_run(bytes, keys)?;
    if names::number(name) != Some(run.serial) {
        return Err(Damage::at(0, format!("it is the history of run {}", run.serial)));
    }
    let at = loaded.snapshot.header.serial;
    if run.serial > at {
        let what = format!("it is of run {}, and the state is at run {at}", run.serial);
        return Err(Damage::at(0, what));
    }
    Ok(())
}
