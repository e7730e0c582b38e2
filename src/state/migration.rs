//! Moving the states of a project to another place. `docs/design/0006-migration.md` says why in this order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::blobs::Guard;
use super::error::StateError;
use super::journal_entry::{JournalEntry, Run, RunResult};
use super::location::{Holder, Location};
use super::names;
use super::notice::{Moving, Notice, Place};
use super::seen::Far;
use super::session::{Opening, Session};
use super::snapshot::Header;
use super::store::{HOLDER, LOCK, Store};

/// Blobs that are copied at once.
const AT_ONCE: usize = 8;

/// The states of one project in one world, and the two places between which they move.
#[derive(Debug, Clone)]
pub struct Migration {
    from: Store,
    source: Place,
    to: Store,
    target: Place,
    /// The new place for everybody else: it notes how far states are.
    noting: Store,
    /// Stands for the whole project; its stack is `*`.
    of: Location,
}

/// What a migration has before it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Ahead {
    /// These states are to be moved.
    Move(Vec<Header>),
    /// They are in the new place already; what is left in the old one goes.
    Finish,
}

impl Migration {
    /// Of the states of `project` in `world`, from one place to another.
    #[must_use]
    pub fn new(from: (&Store, Place), to: (&Store, Place), world: &str, project: &str) -> Self {
        Self {
            from: from.0.while_moving(),
            source: from.1,
            to: to.0.while_moving(),
            target: to.1,
            noting: to.0.clone(),
            of: Location::new(world, project, "*"),
        }
    }

    /// What is to be done. Writes nothing and takes no lock.
    ///
    /// # Errors
    /// [`StateError::Elsewhere`] where another migration was begun or done at one of the places, [`StateError::Occupied`] where
    /// the new place holds other states, [`StateError::NotThere`] where it lacks those that were moved; [`StateError::Corrupt`], [`StateError::Newer`], [`StateError::Io`].
    pub async fn ahead(&self) -> Result<Ahead, StateError> {
        match self.from.notice(&self.of).await? {
            Some(notice) if notice.place == self.target && notice.moving == Moving::Left => {
                self.check_arrived().await?;
                return Ok(Ahead::Finish);
            }
            Some(notice) if notice.place != self.target || notice.moving != Moving::Leaving => {
                return Err(self.from.elsewhere(&self.of, notice));
            }
            _ => {}
        }
        let (begun, were) = match self.to.notice(&self.of).await? {
            Some(notice) if notice.moving == Moving::Arriving && notice.place == self.source => (true, false),
            // They were there once.
            Some(notice) if notice.moving == Moving::Left => (false, true),
            Some(notice) => return Err(self.to.elsewhere(&self.of, notice)),
            None => (false, false),
        };
        let ours = headers(&self.from, &self.of).await?;
        let mut states = Vec::new();
        // Also a stack that has lost its snapshots is somebody's.
        for stack in kept(&self.to, &self.of).await? {
            let our = ours.iter().find(|our| our.stack == stack.stack);
            let is_ours = match self.to.header(&stack).await? {
                Some(their) => begun && our.is_some_and(|our| our.lineage == their.lineage),
                None => were || (begun && our.is_some()),
            };
            if !is_ours {
                states.push(stack.stack.to_string());
            }
        }
        if !states.is_empty() {
            return Err(StateError::Occupied {
                place: self.target.to_string(),
                project: self.of.project.clone(),
                states,
            });
        }
        Ok(Ahead::Move(ours))
    }

    /// Makes sure that the new place holds what is left in the old one, or a later version of it.
    async fn check_arrived(&self) -> Result<(), StateError> {
        let there = headers(&self.to, &self.of).await?;
        let arrived = |our: &Header| {
            let same = |their: &&Header| their.stack == our.stack && their.lineage == our.lineage;
            there
                .iter()
                .find(same)
                .is_some_and(|their| their.serial >= our.serial)
        };
        let left = headers(&self.from, &self.of).await?.into_iter();
        let lacking = left.filter(|our| !arrived(our));
        let states: Vec<String> = lacking.map(|our| our.stack.to_string()).collect();
        if states.is_empty() {
            return Ok(());
        }
        Err(StateError::NotThere {
            from: self.source.to_string(),
            to: self.target.to_string(),
            project: self.of.project.clone(),
            states,
            file: self.from.describe_notice(&self.of),
        })
    }

    /// Moves them, and goes on with what was cut short. `run` is how their histories tell it. Answers how many states were moved
    /// now.
    ///
    /// # Errors
    /// [`StateError::SomeLocked`] while somebody works on any of them, [`StateError::Locked`] while somebody moves them; the first problem of a state that is not whole; as
    /// [`Self::ahead`]. The states are where they were then, unless the old place says that they have left.
    pub async fn run(&self, who: &Holder, run: &Run) -> Result<usize, StateError> {
        let mut held = Vec::new();
        let done = self.locked(&mut held, who, run).await;
        for guard in held.into_iter().rev() {
            guard.release().await;
        }
        done
    }

    async fn locked(
        &self,
        held: &mut Vec<Arc<dyn Guard>>,
        who: &Holder,
        run: &Run,
    ) -> Result<usize, StateError> {
        held.push(self.to.lock_notice(&self.of, who).await?);
        held.push(self.from.lock_notice(&self.of, who).await?);
        let mut moved = 0;
        if let Ahead::Move(states) = self.ahead().await? {
            let arriving = Notice::new(Moving::Arriving, &self.source, who);
            self.to.put_notice(&self.of, &arriving).await?;
            let leaving = Notice::new(Moving::Leaving, &self.target, who);
            self.from.put_notice(&self.of, &leaving).await?;
            if let Err(error) = self.copy(held, who, run).await {
                // They stay. Where even that cannot be said, the next migration goes on.
                drop(self.from.remove_notice(&self.of).await);
                return Err(error);
            }
            let left = Notice::new(Moving::Left, &self.target, who);
            self.from.put_notice(&self.of, &left).await?;
            // Only now: a note of what was given up would make the old place look older than it was.
            for state in headers(&self.to, &self.of).await? {
                let location = Location::new(&state.world, &state.project, &state.stack);
                self.noting
                    .note_seen(&location, &state.lineage, Far::at(state.serial))
                    .await;
            }
            moved = states.len();
        }
        // From here on they are there.
        if let Some(notice) = self.to.notice(&self.of).await?
            && notice.moving == Moving::Arriving
            && notice.place == self.source
        {
            self.to.remove_notice(&self.of).await?;
        }
        self.clear(&self.from).await?;
        Ok(moved)
    }

    /// Makes the new place hold what the old one does, with every lock of both.
    async fn copy(&self, held: &mut Vec<Arc<dyn Guard>>, who: &Holder, run: &Run) -> Result<(), StateError> {
        let mut states = BTreeMap::new();
        let mut locked = Vec::new();
        for location in stacks(&self.from, &self.of).await? {
            match settle(&self.from, &location, who).await {
                Ok(guard) => held.push(guard),
                Err(error) if error.is_locked() => {
                    locked.push(error);
                    continue;
                }
                Err(error) => return Err(error),
            }
            let whole = self.from.verify(&location).await?;
            if let Some(problem) = whole.problems.into_iter().next() {
                return Err(problem);
            }
            if let Some(snapshot) = whole.snapshot {
                states.insert(location, (snapshot, whole.runs));
            }
        }
        if !locked.is_empty() {
            return Err(StateError::SomeLocked(locked));
        }
        self.clear(&self.to).await?;
        let files = files(&self.from, &self.of).await?;
        let copies = files.iter().cloned().map(|name| {
            let migration = self.clone();
            async move { migration.copy_one(&name).await }
        });
        let mut copies = stream::iter(copies).buffer_unordered(AT_ONCE);
        while copies.try_next().await?.is_some() {
            // One that stood still must not write over what came since.
            self.check(held).await?;
        }
        let there: BTreeSet<String> = self::files(&self.to, &self.of).await?;
        if there != files {
            let odd = there.symmetric_difference(&files).next();
            return Err(self.differs(odd.map_or("", String::as_str)));
        }
        for (location, (snapshot, runs)) in &states {
            let copied = self.to.verify(location).await?;
            if let Some(problem) = copied.problems.into_iter().next() {
                return Err(problem);
            }
            if copied.snapshot.as_ref() != Some(snapshot) || copied.runs != *runs {
                return Err(self.differs(&names::folder(location)));
            }
            let session = Session::open(&self.to, location, Opening::new(who.clone())).await?;
            let (result, at) = (RunResult::Done, run.at);
            session.append(JournalEntry::Run(run.clone())).map(drop)?;
            let told = session.append(JournalEntry::Close { result, at })?;
            session.durable(told).await?;
            held.extend(session.close_and_keep_lock().await?);
        }
        self.check(held).await
    }

    /// Copies one file and reads it back.
    async fn copy_one(&self, name: &str) -> Result<(), StateError> {
        let blobs = &self.to.blobs;
        let Some(bytes) = self.from.blobs.get(name).await? else {
            return Err(self.differs(name));
        };
        if names::is_segment(name) {
            // Nobody goes on with it: the next session begins one of its own.
            drop(blobs.start_log(name, bytes.clone()).await?);
        } else {
            blobs.put(name, bytes.clone()).await?;
        }
        if blobs.get(name).await?.as_ref() == Some(&bytes) {
            Ok(())
        } else {
            Err(self.differs(name))
        }
    }

    fn differs(&self, name: &str) -> StateError {
        StateError::Uncopied {
            file: self.to.blobs.describe(name),
        }
    }

    async fn check(&self, held: &[Arc<dyn Guard>]) -> Result<(), StateError> {
        for guard in held {
            if !guard.is_held().await {
                return Err(StateError::LockLost(self.of.clone()));
            }
        }
        Ok(())
    }

    /// Removes all files of the states from a place; what locks and fences need stays.
    async fn clear(&self, store: &Store) -> Result<(), StateError> {
        // The last first: `state.previous` goes before the journal that it needs, and `state` before anything it is told by.
        for name in files(store, &self.of).await?.iter().rev() {
            store.blobs.delete(name).await?;
        }
        Ok(())
    }
}

impl Store {
    /// Gives up a migration of the states of a project that was cut short: they stay here. False where none was begun.
    ///
    /// # Errors
    /// [`StateError::Locked`] while it goes on, [`StateError::Elsewhere`] where they have left or are only about to come,
    /// [`StateError::Io`].
    pub async fn stay(&self, world: &str, project: &str, who: &Holder) -> Result<bool, StateError> {
        let of = Location::new(world, project, "*");
        if self.notice(&of).await?.is_none() {
            return Ok(false);
        }
        let guard = self.lock_notice(&of, who).await?;
        let done = match self.notice(&of).await {
            Ok(Some(notice)) if notice.moving == Moving::Leaving => {
                self.remove_notice(&of).await.map(|()| true)
            }
            Ok(Some(notice)) => Err(self.elsewhere(&of, notice)),
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        guard.release().await;
        done
    }
}

/// Takes the lock of a stack, with its state closed where it has one.
async fn settle(store: &Store, location: &Location, who: &Holder) -> Result<Arc<dyn Guard>, StateError> {
    loop {
        match Session::open(store, location, Opening::new(who.clone())).await {
            Ok(session) => {
                if let Some(guard) = session.close_and_keep_lock().await? {
                    return Ok(guard);
                }
            }
            Err(StateError::NotFound(_)) => {
                let guard = store.lock(location, who).await?;
                store.forget_holder(location, &*guard).await;
                if store.header(location).await?.is_none() {
                    return Ok(guard);
                }
                // Somebody has just made it.
                guard.release().await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The files of the states of a project, without what belongs to locks.
async fn files(store: &Store, of: &Location) -> Result<BTreeSet<String>, StateError> {
    let names = store.blobs.list(&names::project(of)).await?.into_iter();
    let kept = names.filter(|name| {
        names::stack_of(name).is_some_and(|stack| {
            ![LOCK, HOLDER]
                .iter()
                .any(|file| *name == names::file(&stack, file))
        })
    });
    Ok(kept.collect())
}

/// The stacks of a project that have more than a lock.
async fn kept(store: &Store, of: &Location) -> Result<BTreeSet<Location>, StateError> {
    let files = files(store, of).await?;
    Ok(files.iter().filter_map(|name| names::stack_of(name)).collect())
}

/// The stacks of a project that have a file.
async fn stacks(store: &Store, of: &Location) -> Result<BTreeSet<Location>, StateError> {
    let names = store.blobs.list(&names::project(of)).await?;
    Ok(names.iter().filter_map(|name| names::stack_of(name)).collect())
}

async fn headers(store: &Store, of: &Location) -> Result<Vec<Header>, StateError> {
    let mut headers = Vec::new();
    for stack in stacks(store, of).await? {
        headers.extend(store.header(&stack).await?);
    }
    Ok(headers)
}
