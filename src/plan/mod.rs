//! Decides what a run will do: `(graph, snapshot, observed) -> Plan`, and nothing else.
//!
//! Pure and synchronous: no clock, disk, network, environment or randomness, so the same input gives the same plan.
//! All ordering lives here: create-first and delete-first replacement, cascades, what dies with its container, destroy.
//! A picture of each case is in `docs/lifecycle.md`; destroy is the plan of the empty program.
//!
//! May use the graph, the types of the state, expressions and the provider contract.

mod assemble;
mod carry;
mod desired;
mod drift;
mod estimate;
mod facts;
mod held;
mod marks;
mod planner;
mod problem;
mod promises;
mod removal;
mod replacement;
mod selection;
mod step;
#[cfg(test)]
mod tests;

pub use estimate::{Estimate, estimate};
pub(crate) use marks::{ANOTHERS, quoted, told};
pub use planner::{Observations, Refresh, Request, plan};
pub use problem::PlanProblem;
pub(crate) use problem::SECRET_NAME;
pub use promises::Promises;
pub use step::{
    Action, Drift, Facts, Found, LostMark, Mode, Plan, PlanHeader, PlannedChange, PlannedInputs,
    PlannedOutput, Selection, Step, StepId,
};
