//! Asks providers what exists. Reads only, and gives data back.
//!
//! Knows the graph, the types of the state and the provider contract; no plan, and it writes nothing. Every connection is
//! made once and asked once, all its queries together, so that a provider can answer with list calls.

mod gather;
mod queries;

use std::collections::BTreeMap;

use epid_provider::{Call, Failure, Observed, Urn};

use crate::expression::Digests;
use crate::graph::{Providers, ResourceGraph};
use crate::state::Snapshot;

pub use gather::observe;

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    /// What planning needs to see: lookups, imports and adoptions whose inputs are known, and records of what bears no mark
    /// yet, which another stack may have taken.
    #[default]
    Needed,
    /// That, and every live record: drift.
    Refresh,
}

/// Whom to ask about what.
pub struct Looking<'a> {
    /// What the program wants.
    pub graph: &'a ResourceGraph,
    /// What is recorded.
    pub snapshot: &'a Snapshot,
    /// The providers.
    pub providers: &'a Providers,
    /// What to look at.
    pub depth: Depth,
    /// Only these are looked at.
    pub only: &'a dyn Fn(&Urn) -> bool,
    /// What is known of secrets by their digests.
    pub digests: &'a dyn Digests,
    /// Makes the call of a resource, or of a provider: deadline, clock and token come with it.
    pub call: &'a dyn Fn(&Urn) -> Call,
}

/// What was seen, and what could not be.
#[derive(Debug, Default)]
pub struct Seen {
    /// What was seen, by resource. What could not be looked at is not in it: a failed read is never an absence.
    pub found: BTreeMap<Urn, Observed>,
    /// What could not be looked at, and why; for a provider that cannot be reached, once.
    pub failed: Vec<(Urn, Failure)>,
}
