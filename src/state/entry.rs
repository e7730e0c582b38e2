//! What the state knows of one resource.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use epid_provider::{Key, Path, Record, Timestamp, Urn, Value};
use serde::{Deserialize, Serialize};

/// Which physical resource of a URN: 1 for the first, one more with every replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The name of an entry: a URN may have several, of which one at most is live.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordKey {
    /// The resource's name in epid.
    pub urn: Urn,
    /// Which of its physical resources.
    pub generation: Generation,
}

impl RecordKey {
    /// The key of `generation` of `urn`.
    #[must_use]
    pub fn new(urn: Urn, generation: Generation) -> Self {
        Self { urn, generation }
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (generation {})", self.urn, self.generation)
    }
}

/// Within what a cloud gives a name once: an account and region, a cluster. Two providers may lead to one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Realm {
    /// That of kinds that need no connection.
    None,
    /// What a connection says it leads to.
    Of(Arc<str>),
    /// Whatever a provider leads to that was never connected.
    Unknown(Urn),
}

/// What an entry stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// The resource that the program's declaration means.
    Live,
    /// It was replaced and waits to be deleted.
    Condemned,
    /// It was deleted first and its replacement is not made yet. Its properties are the last known.
    Vacant,
}

/// How long the operations of a resource may take, where the program says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timeouts {
    /// Of a create.
    pub create: Option<Duration>,
    /// Of an update.
    pub update: Option<Duration>,
    /// Of a delete.
    pub delete: Option<Duration>,
}

/// One resource as the state knows it: what was done, what it hangs on, and the options it was declared with.
///
/// The options are those a later run needs without the program, to destroy it for one.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What epid last did to it.
    pub record: Record,
    /// Which physical resource of its URN.
    pub generation: Generation,
    /// What it stands for.
    pub role: Role,
    /// The provider entry that made it; `None` for provider entries and for kinds that need no connection.
    pub provider: Option<RecordKey>,
    /// The resources it depends on: by reference, `dependsOn` or link.
    pub dependencies: Vec<Urn>,
    /// The resource whose deletion deletes it too.
    pub deleted_with: Option<Urn>,
    /// The resources that must outlive it because they do its work: a controller, its role, its Fargate profile.
    pub served_by: Vec<Urn>,
    /// It has effects outside its container and is never left to die with it.
    pub outside: bool,
    /// It may not be deleted or replaced.
    pub protect: bool,
    /// It leaves the state without being deleted.
    pub retain_on_delete: bool,
    /// Whether its replacement deletes first; `None` leaves that to the planner.
    pub delete_before_replace: Option<bool>,
    /// Paths whose changes and drift are not looked at.
    pub ignore_changes: Vec<Path>,
    /// Paths whose change means replacement.
    pub replace_on_changes: Vec<Path>,
    /// What the cloud calls it, within one connection.
    pub key: Option<Key>,
    /// Of a provider entry: what it was connected to (`aws/000000000000/us-east-1`, a cluster's UID).
    pub identity: Option<Arc<str>>,
    /// Accepted drift by path: it holds until the program changes that path.
    pub overrides: BTreeMap<Path, Value>,
    /// It bears no mark of this stack, so another may have it: nothing is sent before that was looked at, and the next run
    /// marks what is nobody's.
    pub unmarked: bool,
    /// What was last observed (the properties as the service tells them), and when.
    pub observed: Option<(Value, Timestamp)>,
    /// Its place in the order of creation within the stack; equal for none.
    pub order: u64,
    /// Where it was declared: `stacks/dev.toml:12`.
    pub source: Option<Arc<str>>,
    /// How long its operations may take.
    pub timeouts: Timeouts,
}

impl Entry {
    /// The first generation of a live resource with the default options.
    #[must_use]
    pub fn new(record: Record) -> Self {
        Self {
            record,
            generation: Generation(1),
            role: Role::Live,
            provider: None,
            dependencies: Vec::new(),
            deleted_with: None,
            served_by: Vec::new(),
            outside: false,
            protect: false,
            retain_on_delete: false,
            delete_before_replace: None,
            ignore_changes: Vec::new(),
            replace_on_changes: Vec::new(),
            key: None,
            identity: None,
            overrides: BTreeMap::new(),
            unmarked: false,
            observed: None,
            order: 0,
            source: None,
            timeouts: Timeouts::default(),
        }
    }

    /// Its name in epid.
    #[must_use]
    pub fn urn(&self) -> &Urn {
        &self.record.urn
    }

    /// Its key in the state.
    #[must_use]
    pub fn key_of(&self) -> RecordKey {
        RecordKey::new(self.record.urn.clone(), self.generation)
    }

    /// Every resource it points to: dependencies, container, servers. A resource may come more than once.
    pub fn edges(&self) -> impl Iterator<Item = &Urn> {
        self.dependencies
            .iter()
            .chain(&self.deleted_with)
            .chain(&self.served_by)
    }
}
