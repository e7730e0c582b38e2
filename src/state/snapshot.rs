//! What is true of a stack, in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use epid_provider::{Kind, Map, Operation, Token, Urn, Value};
use serde::{Deserialize, Serialize};

use super::entry::{Entry, Generation, Realm, RecordKey, Role};
use super::journal_entry::{Intent, RunRecord};

/// The format this epid writes.
pub const FORMAT: u32 = 3;

/// Which stack a state is of, and how far it has come. Readable without any key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The project.
    pub project: Arc<str>,
    /// The stack.
    pub stack: Arc<str>,
    /// Where its resources are: `sandbox:<id>` or `cloud`.
    pub world: Arc<str>,
    /// 32 hexadecimal digits, random at the stack's birth: states of equal lineage are versions of one another.
    pub lineage: Arc<str>,
    /// The number of runs so far.
    pub serial: u64,
    /// The version of the format it was written in.
    pub format: u32,
    /// The id of the key that opens it; empty in memory only.
    pub key: Arc<str>,
}

impl Header {
    /// The header of a stack that has never run.
    #[must_use]
    pub fn new(project: &str, stack: &str, world: &str, lineage: &str) -> Self {
        Self {
            project: Arc::from(project),
            stack: Arc::from(stack),
            world: Arc::from(world),
            lineage: Arc::from(lineage),
            serial: 0,
            format: FORMAT,
            key: Arc::from(""),
        }
    }
}

/// How long operations of a kind have taken in this stack, each a moving average.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// Of creates.
    pub create: Option<Duration>,
    /// Of updates.
    pub update: Option<Duration>,
    /// Of deletes.
    pub delete: Option<Duration>,
}

impl Timings {
    pub(super) fn learn(&mut self, operation: Operation, took: Duration) {
        let slot = match operation {
            Operation::Create => &mut self.create,
            Operation::Update => &mut self.update,
            Operation::Delete => &mut self.delete,
            Operation::Read => return,
        };
        *slot = Some(slot.map_or(took, |mean| (mean * 3 + took) / 4));
    }
}

/// The state of a stack. Cloning shares the entries.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Which stack, and how far.
    pub header: Header,
    /// Every record with its edges.
    pub entries: BTreeMap<RecordKey, Arc<Entry>>,
    /// The stack's outputs.
    pub outputs: Map,
    /// What was derived from secrets, with digests in their place, by the name of its derivation: which expression, from which
    /// secrets. Who cannot open secrets compares with it.
    pub derived: Arc<BTreeMap<Arc<str>, Value>>,
    /// Calls that were begun and of whose outcome nothing was written.
    pub intents: BTreeMap<Token, Arc<Intent>>,
    /// Resources that entries point to and that have left the state.
    pub external: BTreeSet<Urn>,
    /// How long operations have taken.
    pub timings: BTreeMap<Kind, Timings>,
    /// The run that goes on, or the last one.
    pub run: Option<Arc<RunRecord>>,
    /// How many edges point to each URN; never iterated.
    pub(super) dependents: HashMap<Urn, u32>,
    /// How many entries each provider entry made; never iterated.
    pub(super) pins: HashMap<RecordKey, u32>,
}

impl Snapshot {
    /// A state without resources.
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self {
            header,
            entries: BTreeMap::new(),
            outputs: Map::default(),
            derived: Arc::default(),
            intents: BTreeMap::new(),
            external: BTreeSet::new(),
            timings: BTreeMap::new(),
            run: None,
            dependents: HashMap::new(),
            pins: HashMap::new(),
        }
    }

    /// The entry of that key.
    #[must_use]
    pub fn get(&self, key: &RecordKey) -> Option<&Entry> {
        self.entries.get(key).map(|entry| &**entry)
    }

    /// All entries of a URN, oldest generation first.
    pub fn of(&self, urn: &Urn) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        let key = |generation| RecordKey::new(urn.clone(), Generation(generation));
        self.entries.range(key(0)..=key(u64::MAX)).map(|(_, entry)| entry)
    }

    /// The live entry of a URN.
    #[must_use]
    pub fn live(&self, urn: &Urn) -> Option<&Entry> {
        self.of(urn)
            .map(|entry| &**entry)
            .find(|entry| entry.role == Role::Live)
    }

    /// Where a provider's record leads.
    #[must_use]
    pub fn realm(&self, provider: Option<&RecordKey>) -> Realm {
        let Some(key) = provider else {
            return Realm::None;
        };
        let identity = self.get(key).and_then(|entry| entry.identity.clone());
        identity.map_or_else(|| Realm::Unknown(key.urn.clone()), Realm::Of)
    }

    /// The generation that the next resource of a URN has: entries and intents count.
    #[must_use]
    pub fn next_generation(&self, urn: &Urn) -> Generation {
        let recorded = self.of(urn).next_back().map(|entry| entry.generation);
        let begun = self
            .intents
            .values()
            .filter(|intent| intent.entry.urn() == urn)
            .map(|intent| intent.entry.generation)
            .max();
        recorded.max(begun).unwrap_or_default().next()
    }

    /// One more than the greatest creation order.
    #[must_use]
    pub fn next_order(&self) -> u64 {
        self.entries
            .values()
            .map(|entry| entry.order.saturating_add(1))
            .max()
            .unwrap_or_default()
    }

    /// True where `other` tells the same. Costs a comparison of pointers for each entry where the two were read as one.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<Entry>, &Arc<Entry>)| Arc::ptr_eq(a, b) || a == b;
        self.header == other.header
            && self.entries.len() == other.entries.len()
            && self.entries.values().zip(other.entries.values()).all(same)
            && self.outputs == other.outputs
            && self.derived == other.derived
            && self.intents == other.intents
            && self.external == other.external
    }

    /// True where nothing is recorded and nothing begun.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.intents.is_empty()
    }
}
