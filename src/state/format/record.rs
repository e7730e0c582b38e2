//! What a journal and a snapshot hold, as it is written: separate from the domain's types, so that those may change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use epid_provider::{Key, Kind, Operation, Path, Record, Segment, Timestamp, Token, Urn};
use serde::{Deserialize, Serialize};

use super::value::Stored;
use crate::state::entry::{self, Generation, RecordKey, Role};
use crate::state::error::StateError;
use crate::state::journal_entry::{self as domain, Ending, Run, RunRecord, RunResult};
use crate::state::keys::StackKeys;
use crate::state::snapshot::{Header, Snapshot, Timings};

/// One line of a journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::state) enum Line {
    Reach(u64),
    Run(Run),
    Begin(Box<Intent>),
    #[serde(rename_all = "camelCase")]
    Checkpoint {
        token: Token,
        partial: Partial,
    },
    #[serde(rename_all = "camelCase")]
    End {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Token>,
        ending: Ending,
        changes: Vec<Change>,
        at: Timestamp,
    },
    Outputs(Stored),
    Derived(BTreeMap<Arc<str>, Stored>),
    #[serde(rename_all = "camelCase")]
    Close {
        result: RunResult,
        at: Timestamp,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::state) enum Change {
    Put(Box<Entry>),
    Remove(RecordKey),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::state) struct Partial {
    id: Arc<str>,
    outputs: Stored,
    incomplete: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::state) struct Intent {
    token: Token,
    operation: Operation,
    entry: Box<Entry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Box<Entry>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partial: Option<Partial>,
    begun: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::state) struct Entry {
    urn: Urn,
    kind: Kind,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    id: Arc<str>,
    #[serde(default = "Stored::empty_map", skip_serializing_if = "Stored::is_empty_map")]
    applied: Stored,
    #[serde(default = "Stored::empty_map", skip_serializing_if = "Stored::is_empty_map")]
    resolved: Stored,
    #[serde(default = "Stored::empty_map", skip_serializing_if = "Stored::is_empty_map")]
    outputs: Stored,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attempted: Vec<Stored>,
    generation: Generation,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<RecordKey>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dependencies: Vec<Urn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deleted_with: Option<Urn>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    served_by: Vec<Urn>,
    #[serde(default, skip_serializing_if = "is_false")]
    outside: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    protect: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    retain_on_delete: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delete_before_replace: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ignore_changes: Vec<Vec<Step>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replace_on_changes: Vec<Vec<Step>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    overrides: Vec<(Vec<Step>, Stored)>,
    #[serde(default, skip_serializing_if = "is_false")]
    unmarked: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    observed: Option<(Stored, Timestamp)>,
    #[serde(default)]
    order: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Timeouts::is_default")]
    timeouts: Timeouts,
}

/// One step of a path. The text of a path is for people: an element named `7` would come back as a position.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::state) enum Step {
    Key(Arc<str>),
    Index(usize),
    Element(Arc<str>),
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::state) struct Timeouts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    create: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    update: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delete: Option<Duration>,
}

impl Timeouts {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(b: &bool) -> bool {
    !b
}

/// All of a state but its header.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::state) struct Body {
    entries: Vec<Entry>,
    outputs: Stored,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    derived: BTreeMap<Arc<str>, Stored>,
    intents: Vec<Intent>,
    external: Vec<Urn>,
    timings: BTreeMap<Kind, Timings>,
    run: Option<RunRecord>,
}

impl Line {
    pub(in crate::state) fn store(
        entry: &domain::JournalEntry,
        keys: &StackKeys,
    ) -> Result<Self, StateError> {
        Ok(match entry {
            domain::JournalEntry::Reach(serial) => Self::Reach(*serial),
            domain::JournalEntry::Run(run) => Self::Run(run.clone()),
            domain::JournalEntry::Begin(intent) => Self::Begin(Box::new(Intent::store(intent, keys)?)),
            domain::JournalEntry::Checkpoint { token, partial } => Self::Checkpoint {
                token: token.clone(),
                partial: Partial::store(partial, keys)?,
            },
            domain::JournalEntry::End {
                token,
                ending,
                changes,
                at,
            } => Self::End {
                token: token.clone(),
                ending: *ending,
                changes: changes
                    .iter()
                    .map(|c| Change::store(c, keys))
                    .collect::<Result<_, _>>()?,
                at: *at,
            },
            domain::JournalEntry::Outputs(outputs) => Self::Outputs(keys.store_map(outputs)?),
            domain::JournalEntry::Derived(derived) => Self::Derived(store_derived(derived, keys)?),
            domain::JournalEntry::Close { result, at } => Self::Close {
                result: *result,
                at: *at,
            },
        })
    }

    pub(in crate::state) fn restore(self, keys: &StackKeys) -> domain::JournalEntry {
        match self {
            Self::Reach(serial) => domain::JournalEntry::Reach(serial),
            Self::Run(run) => domain::JournalEntry::Run(run),
            Self::Begin(intent) => domain::JournalEntry::Begin(Box::new(intent.restore(keys))),
            Self::Checkpoint { token, partial } => domain::JournalEntry::Checkpoint {
                token,
                partial: partial.restore(keys),
            },
            Self::End {
                token,
                ending,
                changes,
                at,
            } => domain::JournalEntry::End {
                token,
                ending,
                changes: changes.into_iter().map(|change| change.restore(keys)).collect(),
                at,
            },
            Self::Outputs(outputs) => domain::JournalEntry::Outputs(map(outputs, keys)),
            Self::Derived(derived) => domain::JournalEntry::Derived(restore_derived(derived, keys)),
            Self::Close { result, at } => domain::JournalEntry::Close { result, at },
        }
    }
}

type Derived = BTreeMap<Arc<str>, epid_provider::Value>;

fn store_derived(derived: &Derived, keys: &StackKeys) -> Result<BTreeMap<Arc<str>, Stored>, StateError> {
    let stored = derived
        .iter()
        .map(|(name, value)| Ok((name.clone(), keys.store(value)?)));
    stored.collect()
}

fn restore_derived(stored: BTreeMap<Arc<str>, Stored>, keys: &StackKeys) -> Derived {
    let restored = stored
        .into_iter()
        .map(|(name, value)| (name, keys.restore(value)));
    restored.collect()
}

fn map(stored: Stored, keys: &StackKeys) -> epid_provider::Map {
    match keys.restore(stored) {
        epid_provider::Value::Map(map) => map,
        _ => epid_provider::Map::default(),
    }
}

impl Change {
    fn store(change: &domain::Change, keys: &StackKeys) -> Result<Self, StateError> {
        Ok(match change {
            domain::Change::Put(entry) => Self::Put(Box::new(Entry::store(entry, keys)?)),
            domain::Change::Remove(key) => Self::Remove(key.clone()),
        })
    }

    fn restore(self, keys: &StackKeys) -> domain::Change {
        match self {
            Self::Put(entry) => domain::Change::Put(Box::new(entry.restore(keys))),
            Self::Remove(key) => domain::Change::Remove(key),
        }
    }
}

impl Partial {
    fn store(partial: &epid_provider::Partial, keys: &StackKeys) -> Result<Self, StateError> {
        Ok(Self {
            id: partial.id.clone(),
            outputs: keys.store(&partial.outputs)?,
            incomplete: partial.incomplete.clone(),
        })
    }

    fn restore(self, keys: &StackKeys) -> epid_provider::Partial {
        epid_provider::Partial {
            id: self.id,
            outputs: keys.restore(self.outputs),
            incomplete: self.incomplete,
        }
    }
}

impl Intent {
    fn store(intent: &domain::Intent, keys: &StackKeys) -> Result<Self, StateError> {
        Ok(Self {
            token: intent.token.clone(),
            operation: intent.operation,
            entry: Box::new(Entry::store(&intent.entry, keys)?),
            before: match &intent.before {
                Some(before) => Some(Box::new(Entry::store(before, keys)?)),
                None => None,
            },
            partial: match &intent.partial {
                Some(partial) => Some(Partial::store(partial, keys)?),
                None => None,
            },
            begun: intent.begun,
        })
    }

    fn restore(self, keys: &StackKeys) -> domain::Intent {
        domain::Intent {
            token: self.token,
            operation: self.operation,
            entry: Box::new(self.entry.restore(keys)),
            before: self.before.map(|before| Box::new(before.restore(keys))),
            partial: self.partial.map(|partial| partial.restore(keys)),
            begun: self.begun,
        }
    }
}

fn store_path(path: &Path) -> Vec<Step> {
    let step = |segment: &Segment| match segment {
        Segment::Key(key) => Step::Key(key.clone()),
        Segment::Index(index) => Step::Index(*index),
        Segment::Element(name) => Step::Element(name.clone()),
    };
    path.segments().iter().map(step).collect()
}

fn restore_path(steps: Vec<Step>) -> Path {
    let segment = |step| match step {
        Step::Key(key) => Segment::Key(key),
        Step::Index(index) => Segment::Index(index),
        Step::Element(name) => Segment::Element(name),
    };
    steps.into_iter().map(segment).collect()
}

impl Entry {
    pub(in crate::state) fn store(entry: &entry::Entry, keys: &StackKeys) -> Result<Self, StateError> {
        let record = &entry.record;
        Ok(Self {
            urn: record.urn.clone(),
            kind: record.kind.clone(),
            id: record.id.clone(),
            applied: keys.store(&record.applied)?,
            resolved: keys.store(&record.resolved)?,
            outputs: keys.store(&record.outputs)?,
            incomplete: record.incomplete.clone(),
            attempted: record
                .attempted
                .iter()
                .map(|inputs| keys.store(inputs))
                .collect::<Result<_, _>>()?,
            generation: entry.generation,
            role: entry.role,
            provider: entry.provider.clone(),
            dependencies: entry.dependencies.clone(),
            deleted_with: entry.deleted_with.clone(),
            served_by: entry.served_by.clone(),
            outside: entry.outside,
            protect: entry.protect,
            retain_on_delete: entry.retain_on_delete,
            delete_before_replace: entry.delete_before_replace,
            ignore_changes: entry.ignore_changes.iter().map(store_path).collect(),
            replace_on_changes: entry.replace_on_changes.iter().map(store_path).collect(),
            key: entry.key.clone(),
            identity: entry.identity.clone(),
            overrides: entry
                .overrides
                .iter()
                .map(|(path, value)| Ok((store_path(path), keys.store(value)?)))
                .collect::<Result<_, StateError>>()?,
            unmarked: entry.unmarked,
            observed: match &entry.observed {
                Some((value, at)) => Some((keys.store(value)?, *at)),
                None => None,
            },
            order: entry.order,
            source: entry.source.clone(),
            timeouts: Timeouts {
                create: entry.timeouts.create,
                update: entry.timeouts.update,
                delete: entry.timeouts.delete,
            },
        })
    }

    pub(in crate::state) fn restore(self, keys: &StackKeys) -> entry::Entry {
        entry::Entry {
            record: Record {
                urn: self.urn,
                kind: self.kind,
                id: self.id,
                applied: keys.restore(self.applied),
                resolved: keys.restore(self.resolved),
                outputs: keys.restore(self.outputs),
                incomplete: self.incomplete,
                attempted: self
                    .attempted
                    .into_iter()
                    .map(|inputs| keys.restore(inputs))
                    .collect(),
            },
            generation: self.generation,
            role: self.role,
            provider: self.provider,
            dependencies: self.dependencies,
            deleted_with: self.deleted_with,
            served_by: self.served_by,
            outside: self.outside,
            protect: self.protect,
            retain_on_delete: self.retain_on_delete,
            delete_before_replace: self.delete_before_replace,
            ignore_changes: self.ignore_changes.into_iter().map(restore_path).collect(),
            replace_on_changes: self.replace_on_changes.into_iter().map(restore_path).collect(),
            key: self.key,
            identity: self.identity,
            overrides: self
                .overrides
                .into_iter()
                .map(|(path, value)| (restore_path(path), keys.restore(value)))
                .collect(),
            unmarked: self.unmarked,
            observed: self.observed.map(|(value, at)| (keys.restore(value), at)),
            order: self.order,
            source: self.source,
            timeouts: entry::Timeouts {
                create: self.timeouts.create,
                update: self.timeouts.update,
                delete: self.timeouts.delete,
            },
        }
    }
}

impl Body {
    pub(in crate::state) fn store(snapshot: &Snapshot, keys: &StackKeys) -> Result<Self, StateError> {
        Ok(Self {
            entries: snapshot
                .entries
                .values()
                .map(|entry| Entry::store(entry, keys))
                .collect::<Result<_, _>>()?,
            outputs: keys.store_map(&snapshot.outputs)?,
            derived: store_derived(&snapshot.derived, keys)?,
            intents: snapshot
                .intents
                .values()
                .map(|intent| Intent::store(intent, keys))
                .collect::<Result<_, _>>()?,
            external: snapshot.external.iter().cloned().collect(),
            timings: snapshot.timings.clone(),
            run: snapshot.run.as_deref().cloned(),
        })
    }

    /// The state, not yet verified.
    pub(in crate::state) fn restore(self, header: Header, keys: &StackKeys) -> Snapshot {
        let mut snapshot = Snapshot::new(header);
        for entry in self.entries {
            let entry = entry.restore(keys);
            snapshot.set(&entry.key_of(), Some(Arc::new(entry)));
        }
        for intent in self.intents {
            let intent = intent.restore(keys);
            snapshot.intents.insert(intent.token.clone(), Arc::new(intent));
        }
        snapshot.outputs = map(self.outputs, keys);
        snapshot.derived = Arc::new(restore_derived(self.derived, keys));
        snapshot.external = self.external.into_iter().collect();
        snapshot.timings = self.timings;
        snapshot.run = self.run.map(Arc::new);
        snapshot
    }
}
