//! What a run needs, and what it can do.

use std::sync::Arc;

use epid_provider::{Call, Token, Urn};
use tokio::sync::mpsc::unbounded_channel;

use super::call::{Means, SEARCH};
use super::clock::Clock;
use super::control::Control;
use super::dispatcher::Dispatcher;
use super::event::Event;
use super::outcome::{Outcome, RecoveredIntent};
use super::recover;
use crate::expression::Digests;
use crate::graph::Providers;
use crate::plan::{Plan, StepId};
use crate::state::{Run, Session, StateError};

/// What a run works with.
pub struct Executor<'a> {
    /// The open state. It is not closed here.
    pub session: Arc<Session>,
    /// The providers.
    pub providers: &'a Providers,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What may stop the run.
    pub control: Control,
    /// Makes a fresh random token.
    pub mint: &'a dyn Fn() -> Token,
    /// What is known of secrets by their digests.
    pub digests: &'a dyn Digests,
    /// Who runs what; written with the first thing the run records, and into the history where it records nothing.
    pub run: Run,
}

/// A plan is not for the state it would be applied to. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanRefused {
    /// It was written by another version of epid.
    #[error("the plan has format {found}, this epid reads {}; plan again", Plan::FORMAT)]
    Format {
        /// The plan's.
        found: u32,
    },
    /// It was made for another stack.
    #[error("the plan is of {planned}, this is {actual}")]
    OtherStack {
        /// What it was made for.
        planned: String,
        /// What is open.
        actual: String,
    },
    /// It was made for a state that this one has taken the place of: before there was any, or for one that was removed.
    #[error("the state has changed since the plan was made: {} then; plan again", if *.first {
        "there was none"
    } else {
        "it was another one"
    })]
    OtherLineage {
        /// It was made for a stack without a state.
        first: bool,
    },
    /// The state has changed since.
    #[error(
        "the state has changed since the plan was made (it was at {planned}, it is at {actual}); plan again"
    )]
    Stale {
        /// The serial it was made at.
        planned: u64,
        /// The serial now.
        actual: u64,
    },
}

impl Executor<'_> {
    /// Does what a plan says. Dropping the future stops the run as a crash would: what was begun stays in the state as
    /// intents, which the next run recovers.
    ///
    /// # Errors
    /// [`PlanRefused`] where the plan is not for this state. Everything else is in the [`Outcome`].
    pub async fn apply(&self, plan: &Plan, events: &mut dyn FnMut(Event)) -> Result<Outcome, PlanRefused> {
        self.apply_at_most(usize::MAX, plan, events).await
    }

    /// [`Self::apply`] with at most `most` calls at once, whatever the services would take.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub async fn apply_at_most(
        &self,
        most: usize,
        plan: &Plan,
        events: &mut dyn FnMut(Event),
    ) -> Result<Outcome, PlanRefused> {
        self.accept(plan)?;
        let (notes, noted) = unbounded_channel();
        let means = self.means(notes);
        let most = most.max(1);
        Ok(Dispatcher::new(self, most, plan, means, events).run(noted).await)
    }

    /// Finds out what became of the calls of earlier runs whose outcome was not written, and records it. To be called
    /// before planning. What nobody can tell yet stays in the state; steps that touch it, or would take away what it needs, fail
    /// until somebody can. Told to stop, it waits for what is on its way, and gives up what it does not know then.
    ///
    /// # Errors
    /// Where the state cannot be written.
    pub async fn recover(&self, events: &mut dyn FnMut(Event)) -> Result<Vec<RecoveredIntent>, StateError> {
        let (notes, _noted) = unbounded_channel();
        recover::all(self, &self.means(notes), events).await
    }

    /// A call for looking at `urn` outside of any step: it has a token of its own and five minutes.
    #[must_use]
    pub fn look(&self, urn: &Urn) -> Call {
        let (notes, _noted) = unbounded_channel();
        self.means(notes).call(StepId(0), urn, &(self.mint)(), SEARCH)
    }

    fn means(&self, notes: tokio::sync::mpsc::UnboundedSender<super::call::Note>) -> Means {
        Means {
            session: self.session.clone(),
            clock: self.clock.clone(),
            control: self.control.clone(),
            notes,
            lineage: self.session.with(|snapshot| snapshot.header.lineage.clone()),
        }
    }

    fn accept(&self, plan: &Plan) -> Result<(), PlanRefused> {
        if plan.format != Plan::FORMAT {
            return Err(PlanRefused::Format { found: plan.format });
        }
        let planned = &plan.header;
        self.session.with(|snapshot| {
            let actual = &snapshot.header;
            let same = planned.project == actual.project
                && planned.stack == actual.stack
                && planned.world == actual.world;
            if !same {
                return Err(PlanRefused::OtherStack {
                    planned: format!("{}/{} in {}", planned.project, planned.stack, planned.world),
                    actual: format!("{}/{} in {}", actual.project, actual.stack, actual.world),
                });
            }
            if planned.lineage != actual.lineage {
                let first = planned.lineage.is_empty();
                return Err(PlanRefused::OtherLineage { first });
            }
            if planned.serial != actual.serial {
                return Err(PlanRefused::Stale {
                    planned: planned.serial,
                    actual: actual.serial,
                });
            }
            Ok(())
        })
    }
}
