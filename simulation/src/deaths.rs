//! A run dies, and the next one has to make everything as if it had not.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use epid::state::blobs::Fault;

use crate::inventory::Inventory;
use crate::machine::{Failed, Machine, Process, STATES, Unfinished, tells_of_full_disk};
use crate::moments::{Moment, Recorder};
use crate::trouble::Trouble;

/// What a run is to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// The stack is what it declares.
    Up(String),
    /// The stack is no more.
    Destroyed(String),
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up(stack) => write!(f, "epid up --stack {stack}"),
            Self::Destroyed(stack) => write!(f, "epid destroy --stack {stack}"),
        }
    }
}

/// A run from beginning to end, and all moments at which it might have died.
#[derive(Debug)]
pub struct Recorded {
    /// What it was to reach.
    pub goal: Goal,
    /// The moments, from the first to the last.
    pub moments: Vec<Moment>,
    /// What exists at the end of it, and of every run that goes on from one of its moments.
    pub wanted: Inventory,
    /// The ids of what was there before and has to be there at the end.
    kept: BTreeSet<String>,
}

async fn run(process: &Process<'_>, goal: &Goal) -> Result<(), Failed> {
    match goal {
        Goal::Up(stack) => process.up(stack).await,
        Goal::Destroyed(stack) => process.destroy(stack).await,
    }
}

/// Runs to a goal and makes sure that it was reached. Gives what exists then. Nothing goes wrong, but services may lag behind.
fn reach(machine: &Machine, at: &Moment, goal: &Goal, lag: &Trouble) -> Result<Inventory, Failed> {
    let (disk, cloud) = at.restored();
    machine.process(&disk, cloud, lag, async |process| {
        run(process, goal).await?;
        if lag.is_some() || process.lags() {
            process.rest().await;
        }
        if let Goal::Up(stack) = goal {
            process.is_settled(stack).await?;
        }
        process.rest().await;
        process.inventory()
    })
}

/// What exists at a moment.
fn exists(machine: &Machine, at: &Moment) -> Result<Inventory, Failed> {
    let (disk, cloud) = at.restored();
    machine.process(&disk, cloud, &Trouble::default(), async |process| {
        process.inventory()
    })
}

impl Recorded {
    /// Runs from a moment to a goal, which has to be reached, and records it.
    ///
    /// # Errors
    /// Where it is not reached.
    pub fn of(machine: &Machine, from: &Moment, goal: Goal) -> Result<Self, Failed> {
        let moments = record(machine, from, &goal, &Trouble::default())?;
        let last = moments.last().ok_or("nothing was recorded")?;
        let wanted = reach(machine, last, &goal, &Trouble::default())?;
        Ok(Self {
            goal,
            kept: exists(machine, from)?.same(&wanted),
            moments,
            wanted,
        })
    }

    /// The same run from a moment, with trouble on the way: its goal need not be reached. A plain run has to leave the same
    /// afterwards.
    ///
    /// # Errors
    /// Where it ends otherwise than with steps that failed, or with a full disk that it tells of.
    pub fn again(&self, machine: &Machine, from: &Moment, trouble: &Trouble) -> Result<Self, Failed> {
        Ok(Self {
            moments: record(machine, from, &self.goal, trouble)?,
            goal: self.goal.clone(),
            wanted: self.wanted.clone(),
            kept: self.kept.clone(),
        })
    }

    /// What is there at the end.
    #[must_use]
    pub fn last(&self) -> &Moment {
        &self.moments[self.moments.len() - 1]
    }

    /// Lets a plain run go on from a moment, with services that may lag behind. It has to reach the goal, and to leave exactly
    /// what a run leaves that did not die.
    ///
    /// # Errors
    /// What is otherwise.
    pub fn go_on(&self, machine: &Machine, from: &Moment, lag: &Trouble) -> Result<(), Failed> {
        let found = reach(machine, from, &self.goal, lag)?;
        if let Some(lost) = found.missing(&self.kept).first() {
            return Err(format!("{lost} was to live").into());
        }
        match found.difference(&self.wanted) {
            different if different.is_empty() => Ok(()),
            different => Err(different.join(", ").into()),
        }
    }

    /// Dies before and after every call that changes the cloud, and at every `nth` of the other moments and of the power cuts
    /// in the middle of an append; goes on from each, on all processors. Gives how many deaths that were.
    ///
    /// # Errors
    /// The moments from which a plain run did not go on as it should, and why.
    pub fn die_everywhere(&self, machine: &Machine, nth: usize) -> Result<usize, Failed> {
        let mut others = 0;
        let mut sampled = || {
            others += 1;
            others % nth == 0
        };
        let mut deaths = Vec::new();
        for (at, moment) in self.moments.iter().enumerate() {
            let next = self.moments.get(at + 1);
            if moment.is_call || next.is_some_and(|next| next.is_call) || sampled() {
                deaths.push(moment.clone());
            }
            // The first of them is as the moment before.
            deaths.extend(moment.torn().into_iter().skip(1).filter(|_| sampled()));
        }
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    while let Some(moment) = deaths.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = self.go_on(machine, moment, &Trouble::default())
                            && let Ok(mut failed) = failed.lock()
                        {
                            failed.push(format!("after `{}`: {error}", moment.after));
                        }
                    }
                });
            }
        });
        match failed.into_inner().unwrap_or_default() {
            failed if failed.is_empty() => Ok(deaths.len()),
            failed => Err(format!("{}:\n{}", self.goal, failed.join("\n")).into()),
        }
    }
}

/// The moments of a run. With trouble it need not reach its goal, and has to say so.
fn record(machine: &Machine, from: &Moment, goal: &Goal, trouble: &Trouble) -> Result<Vec<Moment>, Failed> {
    let (recorder, disk, cloud) = Recorder::begin(from);
    if let Some((write, bytes)) = trouble.full {
        disk.fail_at(write, Fault::Full(bytes));
    }
    let ran = machine.process(&disk, cloud, trouble, async |process| run(process, goal).await);
    // That a note was not taken, nobody needs to say.
    let states = format!("{STATES}/");
    let full = disk.refused().iter().any(|name| name.starts_with(&states));
    match ran {
        Ok(()) if full => Err("the disk was full, and the run did not say so".into()),
        Err(error) if full && tells_of_full_disk(&error) => Ok(recorder.moments()),
        Err(error) if !(trouble.is_some() && error.is::<Unfinished>()) => Err(error),
        _ => Ok(recorder.moments()),
    }
}
