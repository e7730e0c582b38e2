//! Executes a plan: decides in which order, never what. The only caller of create, update and delete.
//!
//! | module | what it knows |
//! |---|---|
//! | `executor` | [`Executor`]: what a run needs, and its two acts, apply and recover |
//! | `dispatcher` | the loop: starts what is ready, takes what has ended |
//! | `prepare` | from a step to what is to be sent, with actual values |
//! | `inline` | steps that change records only |
//! | `settle` | what an ended call means for its step |
//! | `name_used` | a create that met something of its name: what to say of it |
//! | `unclear` | calls that nobody can tell the outcome of, and which steps wait for that |
//! | `resolve` | expressions with values, compared with what was promised |
//! | `changes` | what an ended call makes of the records |
//! | `call` | one call: begun durably, tried again where that is safe, looked into where its answer is lost |
//! | `recover` | calls of an earlier run whose outcome was not written |
//! | `schedule` | which step is ready, and which first |
//! | `limits` | how many calls at once: lanes and mutexes |
//! | `connections` | one connection for each recorded provider |
//! | `clock`, `control` | time, and the hand that stops a run |
//! | `event`, `outcome` | what leaves this room |
//!
//! Everything runs in the task that awaits it: no threads, no tasks of its own. May use plan, state, graph, expressions
//! and the provider contract.

mod call;
mod changes;
mod clock;
mod connections;
mod control;
mod dispatcher;
mod event;
mod executor;
mod inline;
mod limits;
mod name_used;
mod outcome;
mod prepare;
mod recover;
mod resolve;
mod schedule;
mod settle;
mod unclear;

pub use clock::{Clock, TokioClock};
pub use control::{Control, Stop, Stopper};
pub use event::{Did, EVENT_FORMAT, Event, Fate, Trouble};
pub use executor::{Executor, PlanRefused};
pub use outcome::{Outcome, RecoveredIntent, StepFailure};
