//! What an ended call makes of the records: one list of changes, applied as one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use epid_provider::{KindSchema, Operation, Partial, Recorded, Urn, Value};

use crate::graph::provider_type;
use crate::state::{Change, Entry, Intent, RecordKey, Role, Snapshot};

/// A call did what it was to do. `takes` leave the state with it.
pub(super) fn done(
    snapshot: &Snapshot,
    intent: &Intent,
    made: Option<Recorded>,
    schema: Option<&KindSchema>,
    takes: &[RecordKey],
) -> Vec<Change> {
    match (intent.operation, made) {
        (Operation::Delete, _) => removed(snapshot, intent, takes),
        (_, Some(made)) => {
            let mut entry = intent.entry.clone();
            entry.record.id = made.id;
            let marked = schema.map(|s| s.mark_outputs(&made.outputs, &entry.record.applied));
            entry.record.outputs = marked.unwrap_or(made.outputs);
            entry.record.resolved = schema.map_or(made.resolved.clone(), |s| s.mark_inputs(&made.resolved));
            // One that is not finished may not have taken away yet what was there before.
            entry.record.attempted = match &intent.before {
                Some(before) if !made.incomplete.is_empty() => sent(before).cloned().collect(),
                _ => Vec::new(),
            };
            entry.record.incomplete = made.incomplete;
            settled(snapshot, entry, takes)
        }
        (_, None) => Vec::new(),
    }
}

/// A call left something half done.
pub(super) fn half_done(
    snapshot: &Snapshot,
    intent: &Intent,
    partial: &Partial,
    schema: Option<&KindSchema>,
    takes: &[RecordKey],
) -> Vec<Change> {
    let inputs = &intent.entry.record.applied;
    let outputs = schema.map_or(partial.outputs.clone(), |s| {
        s.mark_outputs(&partial.outputs, inputs)
    });
    let mut entry = match (&intent.before, intent.operation) {
        (Some(before), Operation::Update | Operation::Delete) => {
            let mut entry = before.clone();
            entry.record.outputs = before.record.outputs.merged(&outputs);
            // Part of it took effect: the next update has to know what to take away, whatever the program says by then.
            let tried = &intent.entry.record.applied;
            if intent.operation == Operation::Update && !sent(before).any(|inputs| inputs == tried) {
                entry.record.attempted.push(tried.clone());
            }
            entry
        }
        _ => {
            let mut entry = intent.entry.clone();
            entry.record.outputs = outputs;
            entry
        }
    };
    entry.record.id = partial.id.clone();
    entry.record.incomplete = partial.incomplete.clone();
    if entry.record.incomplete.is_empty() {
        entry.record.incomplete.push("finish".to_owned());
    }
    // What a delete takes along is there as long as what it is in.
    let takes = if intent.operation == Operation::Delete {
        &[]
    } else {
        takes
    };
    settled(snapshot, entry, takes)
}

/// All inputs that were sent since the last operation that finished, and those of that one.
fn sent(entry: &Entry) -> impl Iterator<Item = &Value> {
    std::iter::once(&entry.record.applied).chain(&entry.record.attempted)
}

/// An update found nothing to update.
pub(super) fn vanished(intent: &Intent) -> Vec<Change> {
    intent
        .before
        .iter()
        .map(|before| Change::Remove(before.key_of()))
        .collect()
}

/// A new entry in its place: the live one before it is condemned, a vacant one has done its duty.
pub(super) fn settled(snapshot: &Snapshot, entry: Box<Entry>, takes: &[RecordKey]) -> Vec<Change> {
    let key = entry.key_of();
    let mut changes = taken(snapshot, takes, &key);
    if entry.role == Role::Live {
        for other in snapshot.of(&key.urn).filter(|o| o.generation != key.generation) {
            let other_key = other.key_of();
            match other.role {
                _ if takes.contains(&other_key) => {}
                Role::Live => changes.push(Change::Put(Box::new(condemned(other)))),
                Role::Vacant => changes.push(Change::Remove(other_key)),
                Role::Condemned => {}
            }
        }
    }
    changes.push(Change::Put(entry));
    changes
}

pub(super) fn condemned(entry: &Arc<Entry>) -> Entry {
    Entry {
        role: Role::Condemned,
        ..(**entry).clone()
    }
}

fn taken(snapshot: &Snapshot, takes: &[RecordKey], but: &RecordKey) -> Vec<Change> {
    let there = takes
        .iter()
        .filter(|key| *key != but && snapshot.get(key).is_some());
    there.cloned().map(Change::Remove).collect()
}

fn removed(snapshot: &Snapshot, intent: &Intent, takes: &[RecordKey]) -> Vec<Change> {
    let key = intent.key();
    let mut changes = taken(snapshot, takes, &key);
    if intent.entry.role == Role::Vacant {
        changes.push(Change::Put(intent.entry.clone()));
    } else if snapshot.get(&key).is_some() {
        changes.push(Change::Remove(key));
    }
    changes
}

/// A record under another name. What a provider made follows it.
pub(super) fn renamed(snapshot: &Snapshot, before: &Entry, entry: Entry) -> Vec<Change> {
    let (old, new) = (before.key_of(), entry.key_of());
    let mut changes = vec![Change::Put(Box::new(entry))];
    if provider_type(&before.record.kind).is_some() {
        let made = snapshot
            .entries
            .values()
            .filter(|e| e.provider.as_ref() == Some(&old));
        changes.extend(made.map(|e| {
            let mut entry = (**e).clone();
            entry.provider = Some(new.clone());
            for urn in entry.dependencies.iter_mut().filter(|urn| **urn == old.urn) {
                urn.clone_from(&new.urn);
            }
            Change::Put(Box::new(entry))
        }));
    }
    changes.push(Change::Remove(old));
    changes
}

/// Everything that died with a container, found without a plan: what is deleted with it, and with that in turn.
///
/// What has effects outside its container had to go before it and is not among them; nor is what lives in another
/// generation of the container.
pub(super) fn inside(snapshot: &Snapshot, container: &Entry) -> Vec<RecordKey> {
    let others = snapshot
        .of(container.urn())
        .filter(|e| e.generation != container.generation);
    let other_condemned = others.filter(|e| e.role == Role::Condemned).count() > 0;
    let old = container.role == Role::Condemned;
    let belongs = |e: &Entry| match e.role {
        Role::Condemned => old || !other_condemned,
        Role::Live | Role::Vacant => !old,
    };
    let mut children: BTreeMap<&Urn, Vec<&Entry>> = BTreeMap::new();
    for entry in snapshot.entries.values().filter(|e| !e.outside && belongs(e)) {
        if let Some(within) = &entry.deleted_with {
            children.entry(within).or_default().push(entry);
        }
    }
    let mut found = BTreeSet::new();
    let mut open = vec![container.urn()];
    while let Some(urn) = open.pop() {
        for entry in children.remove(urn).into_iter().flatten() {
            open.push(entry.urn());
            found.insert(entry.key_of());
        }
    }
    // Whatever was made through a connection into it was in it, too, whichever generation it is taken for.
    let through = snapshot.entries.values().filter(|e| !e.outside);
    let through = through.filter(|e| e.provider.as_ref().is_some_and(|key| found.contains(key)));
    let through: Vec<RecordKey> = through.map(|e| e.key_of()).collect();
    found.extend(through);
    // What stays keeps its connection.
    let stays = snapshot.entries.iter().filter(|(key, _)| !found.contains(key));
    let pinned: BTreeSet<&RecordKey> = stays.filter_map(|(_, e)| e.provider.as_ref()).collect();
    found.into_iter().filter(|key| !pinned.contains(key)).collect()
}
