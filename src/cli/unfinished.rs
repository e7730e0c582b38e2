//! Runs without an end: whether whoever began one still runs. What only reads takes no lock, so it goes by what is written down.

use super::error::Error;
use super::surroundings;
use super::workspace::Workspace;
use crate::state::{Holder, Location};

/// What is known of who began a run that has no end in the state.
pub(crate) enum Unfinished {
    /// They hold a lease that has not run out.
    GoesOn(Box<Holder>),
    /// They hold the stack, unless they died: a kernel lock does not say so to whoever does not take it.
    Perhaps(Box<Holder>),
    /// Nobody holds the stack.
    CutShort,
}

impl Unfinished {
    /// Of a state in which a run or a call without an end was read; `None` where that has ended since.
    pub(crate) async fn of(workspace: &Workspace, location: &Location) -> Result<Option<Self>, Error> {
        let at_work = workspace.store.at_work(location).await?;
        if let Some((holder, until)) = at_work {
            let holder = Box::new(holder);
            match until {
                None => return Ok(Some(Self::Perhaps(holder))),
                Some(until) if until > surroundings::wall() => return Ok(Some(Self::GoesOn(holder))),
                Some(_) => {}
            }
        }
        let now = workspace.recorded(location).await?.snapshot;
        let goes = now.run.as_ref().is_some_and(|run| run.end.is_none());
        Ok((goes || !now.intents.is_empty()).then_some(Self::CutShort))
    }

    /// Whether it goes on, as far as that is known.
    pub(crate) fn goes_on(&self) -> Option<bool> {
        match self {
            Self::GoesOn(_) => Some(true),
            Self::Perhaps(_) => None,
            Self::CutShort => Some(false),
        }
    }

    /// In words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::GoesOn(holder) => format!("{holder} goes on"),
            Self::Perhaps(holder) => format!("{holder} goes on, or was cut short"),
            Self::CutShort => "an earlier run was cut short".to_owned(),
        }
    }

    /// In words, with what helps where it was cut short.
    pub(crate) fn then(&self, helps: &str) -> String {
        match self {
            Self::GoesOn(_) => self.words(),
            Self::Perhaps(holder) => format!("{holder} goes on; where it was cut short, {helps}"),
            Self::CutShort => helps.to_owned(),
        }
    }
}
