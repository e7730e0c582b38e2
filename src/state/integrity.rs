//! What a state must satisfy: in full where it is read, incrementally with every entry of the journal.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use epid_provider::{Timestamp, Token, Urn};

use super::entry::{Entry, RecordKey, Role};
use super::journal_entry::{Change, Ending, JournalEntry, RunRecord, StepRecord};
use super::snapshot::Snapshot;

/// A state that contradicts itself, or a journal entry that would make it so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Two live entries of one URN.
    #[error("{0} would have two live records")]
    TwoLive(Urn),
    /// An edge leads nowhere.
    #[error("{urn} depends on {to}, which is not in the state")]
    MissingEdge {
        /// Whose edge.
        urn: Urn,
        /// Where it leads.
        to: Urn,
    },
    /// A record pins a provider that is not recorded.
    #[error("{urn} was made by {provider}, which is not in the state")]
    MissingProvider {
        /// Whose provider.
        urn: Urn,
        /// The provider.
        provider: RecordKey,
    },
    /// A provider would leave before what it made.
    #[error("provider {0} still has records and cannot leave the state")]
    ProviderInUse(RecordKey),
    /// Live entries depend on one another in a circle.
    #[error("{0} depends on itself")]
    Cycle(Urn),
    /// An operation ended that was not begun.
    #[error("operation {0} was not begun")]
    UnknownToken(Token),
    /// An operation was begun twice.
    #[error("operation {0} was begun twice")]
    KnownToken(Token),
    /// An entry that is not there was to be removed.
    #[error("{0} is not in the state")]
    MissingEntry(RecordKey),
    /// An entry is filed under a name that is not its own, or is listed as external though it is recorded.
    #[error("{0} is filed wrongly")]
    Misfiled(Urn),
    /// A run ended that was not started.
    #[error("no run is open")]
    NoRun,
}

impl Snapshot {
    /// Applies one entry of the journal: all of it, or nothing where it is refused. Costs what the entry changes; where it gives
    /// new edges to what others depend on, also what is below those, once for the entry.
    ///
    /// # Errors
    /// [`Invalid`] where the state would contradict itself.
    pub fn apply(&mut self, entry: &JournalEntry) -> Result<(), Invalid> {
        match entry {
            JournalEntry::Reach(serial) => self.header.serial = self.header.serial.max(*serial),
            JournalEntry::Run(run) => {
                self.header.serial = self.header.serial.saturating_add(1);
                self.run = Some(Arc::new(RunRecord {
                    serial: self.header.serial,
                    run: run.clone(),
                    end: None,
                    steps: Vec::new(),
                }));
            }
            JournalEntry::Begin(intent) => {
                if self.intents.contains_key(&intent.token) {
                    return Err(Invalid::KnownToken(intent.token.clone()));
                }
                if intent.operation != epid_provider::Operation::Delete {
                    self.check(&intent.entry)?;
                    let was = self.live(intent.entry.urn());
                    self.check_circles(&[(&intent.entry, was)])?;
                }
                self.intents
                    .insert(intent.token.clone(), Arc::new((**intent).clone()));
            }
            JournalEntry::Checkpoint { token, partial } => {
                let intent = self
                    .intents
                    .get_mut(token)
                    .ok_or_else(|| Invalid::UnknownToken(token.clone()))?;
                Arc::make_mut(intent).partial = Some(partial.clone());
            }
            JournalEntry::End {
                token,
                ending,
                changes,
                at,
            } => {
                if let Some(token) = token
                    && !self.intents.contains_key(token)
                {
                    return Err(Invalid::UnknownToken(token.clone()));
                }
                self.change(changes, token.is_some())?;
                if let Some(intent) = token.as_ref().and_then(|token| self.intents.remove(token)) {
                    self.note(&intent, *ending, *at);
                }
            }
            JournalEntry::Outputs(outputs) => self.outputs = outputs.clone(),
            JournalEntry::Derived(derived) => self.derived = Arc::new(derived.clone()),
            JournalEntry::Close { result, at } => {
                let run = self
                    .run
                    .as_mut()
                    .filter(|run| run.end.is_none())
                    .ok_or(Invalid::NoRun)?;
                Arc::make_mut(run).end = Some((*result, *at));
            }
        }
        Ok(())
    }

    /// Keeps how a call ended. One of an earlier run took a time that nobody knows: it counts from when this run began.
    fn note(&mut self, intent: &super::Intent, ending: Ending, at: Timestamp) {
        let record = &intent.entry.record;
        let begun = self
            .run
            .as_ref()
            .map_or(intent.begun, |run| run.run.at.max(intent.begun));
        let took = at.since(begun);
        if ending == Ending::Done && begun == intent.begun {
            self.timings
                .entry(record.kind.clone())
                .or_default()
                .learn(intent.operation, took);
        }
        if let Some(run) = &mut self.run
            && run.end.is_none()
        {
            Arc::make_mut(run).steps.push(StepRecord {
                urn: record.urn.clone(),
                kind: record.kind.clone(),
                operation: intent.operation,
                ending,
                took,
            });
        }
    }

    /// Applies changes as one. What an operation did is never refused for an edge that has lost its end meanwhile
    /// (`happened`): such an end is listed as external.
    fn change(&mut self, changes: &[Change], happened: bool) -> Result<(), Invalid> {
        let mut undo = Vec::with_capacity(changes.len());
        let checked = changes
            .iter()
            .try_for_each(|change| {
                let (key, new) = match change {
                    Change::Put(entry) => (entry.key_of(), Some(Arc::new((**entry).clone()))),
                    Change::Remove(key) if !self.entries.contains_key(key) => {
                        return Err(Invalid::MissingEntry(key.clone()));
                    }
                    Change::Remove(key) => (key.clone(), None),
                };
                let old = self.set(&key, new);
                undo.push((key, old));
                Ok(())
            })
            .and_then(|()| self.check_changed(&undo, happened));
        if checked.is_err() {
            for (key, old) in undo.into_iter().rev() {
                self.set(&key, old);
            }
            return checked;
        }
        for (key, old) in &undo {
            self.list_external(&key.urn);
            let new = self.entries.get(key).cloned();
            let ends = old.iter().chain(&new).flat_map(|entry| entry.edges());
            for to in ends.cloned().collect::<BTreeSet<_>>() {
                self.list_external(&to);
            }
        }
        Ok(())
    }

    fn check_changed(&self, undo: &[(RecordKey, Option<Arc<Entry>>)], happened: bool) -> Result<(), Invalid> {
        // The first of a key says what was there before.
        let were = undo
            .iter()
            .rev()
            .filter_map(|(key, old)| Some((&key.urn, old.as_deref()?)));
        let were: HashMap<&Urn, &Entry> = were.filter(|(_, old)| old.role == Role::Live).collect();
        let mut put = Vec::with_capacity(undo.len());
        for (key, _) in undo {
            match self.entries.get(key) {
                Some(entry) => match self.check(entry) {
                    Err(Invalid::MissingEdge { .. }) if happened => {}
                    checked => checked?,
                },
                None if self.pins.contains_key(key) => return Err(Invalid::ProviderInUse(key.clone())),
                None => {}
            }
            put.extend(self.get(key).map(|entry| (entry, were.get(&key.urn).copied())));
        }
        self.check_circles(&put)
    }

    /// Checks an entry that is about to be, or has just been, put, but for circles.
    fn check(&self, entry: &Entry) -> Result<(), Invalid> {
        let urn = entry.urn();
        if self.of(urn).filter(|other| other.role == Role::Live).count() > 1 {
            return Err(Invalid::TwoLive(urn.clone()));
        }
        if let Some(provider) = &entry.provider
            && !self.entries.contains_key(provider)
        {
            return Err(Invalid::MissingProvider {
                urn: urn.clone(),
                provider: provider.clone(),
            });
        }
        match entry
            .edges()
            .find(|to| !self.has(to) && !self.external.contains(*to))
        {
            Some(to) => Err(Invalid::MissingEdge {
                urn: urn.clone(),
                to: to.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Looks for circles that entries close which are about to be, or have just been, put, each with the live one of its URN
    /// before: only edges that this one did not have can close any.
    fn check_circles(&self, put: &[(&Entry, Option<&Entry>)]) -> Result<(), Invalid> {
        let mut done: HashSet<&Urn> = HashSet::new();
        for (entry, was) in put {
            // Where nothing leads to it, there is no way around.
            if entry.role != Role::Live || !self.dependents.contains_key(entry.urn()) {
                continue;
            }
            let had: HashSet<&Urn> = was.iter().flat_map(|was| was.edges()).collect();
            let new = entry.edges().filter(|to| !had.contains(to)).collect();
            walk(entry, new, |urn| self.live(urn), &mut done)?;
        }
        Ok(())
    }

    fn has(&self, urn: &Urn) -> bool {
        self.of(urn).next().is_some()
    }

    fn list_external(&mut self, urn: &Urn) {
        if self.dependents.contains_key(urn) && !self.has(urn) {
            self.external.insert(urn.clone());
        } else {
            self.external.remove(urn);
        }
    }

    /// Files or removes one entry and keeps the counts; checks nothing.
    pub(super) fn set(&mut self, key: &RecordKey, new: Option<Arc<Entry>>) -> Option<Arc<Entry>> {
        if let Some(entry) = &new {
            entry.edges().for_each(|to| increase(&mut self.dependents, to));
            entry
                .provider
                .iter()
                .for_each(|key| increase(&mut self.pins, key));
        }
        let old = match new {
            Some(entry) => self.entries.insert(key.clone(), entry),
            None => self.entries.remove(key),
        };
        if let Some(entry) = &old {
            entry.edges().for_each(|to| decrease(&mut self.dependents, to));
            entry
                .provider
                .iter()
                .for_each(|key| decrease(&mut self.pins, key));
        }
        old
    }

    /// Checks all of the state.
    ///
    /// # Errors
    /// The first contradiction, in key order.
    pub fn verify(&self) -> Result<(), Invalid> {
        let mut live: HashMap<&Urn, &Entry> = HashMap::with_capacity(self.entries.len());
        let mut known: HashSet<&Urn> = HashSet::with_capacity(self.entries.len());
        for (key, entry) in &self.entries {
            if *entry.urn() != key.urn || entry.generation != key.generation {
                return Err(Invalid::Misfiled(key.urn.clone()));
            }
            known.insert(entry.urn());
            if entry.role == Role::Live && live.insert(entry.urn(), entry).is_some() {
                return Err(Invalid::TwoLive(key.urn.clone()));
            }
        }
        for entry in self.entries.values() {
            if let Some(to) = entry
                .edges()
                .find(|to| !known.contains(to) && !self.external.contains(*to))
            {
                return Err(Invalid::MissingEdge {
                    urn: entry.urn().clone(),
                    to: to.clone(),
                });
            }
            if let Some(provider) = &entry.provider
                && !self.entries.contains_key(provider)
            {
                return Err(Invalid::MissingProvider {
                    urn: entry.urn().clone(),
                    provider: provider.clone(),
                });
            }
        }
        if let Some(urn) = self.external.iter().find(|urn| known.contains(urn)) {
            return Err(Invalid::Misfiled(urn.clone()));
        }
        if let Some((token, _)) = self
            .intents
            .iter()
            .find(|(token, intent)| **token != intent.token)
        {
            return Err(Invalid::UnknownToken(token.clone()));
        }
        let mut done: HashSet<&Urn> = HashSet::with_capacity(live.len());
        self.entries
            .values()
            .filter(|entry| entry.role == Role::Live)
            .try_for_each(|entry| {
                if done.contains(entry.urn()) {
                    return Ok(());
                }
                walk(
                    entry,
                    entry.edges().collect(),
                    |urn| live.get(urn).copied(),
                    &mut done,
                )?;
                done.insert(entry.urn());
                Ok(())
            })
    }
}

/// Depth-first from `from` along those of its edges, on the heap: a chain of 100,000 is no deeper than a chain of ten. What is
/// done already leads to no circle.
fn walk<'a>(
    from: &'a Entry,
    edges: Vec<&'a Urn>,
    live: impl Fn(&Urn) -> Option<&'a Entry>,
    done: &mut HashSet<&'a Urn>,
) -> Result<(), Invalid> {
    let mut on_path: HashSet<&Urn> = HashSet::from([from.urn()]);
    let mut path: Vec<(&Entry, Vec<&Urn>)> = vec![(from, edges)];
    while let Some((entry, left)) = path.last_mut() {
        let Some(to) = left.pop() else {
            on_path.remove(entry.urn());
            let ended = entry.urn();
            path.pop();
            // Of the first one perhaps not all edges were followed.
            if !path.is_empty() {
                done.insert(ended);
            }
            continue;
        };
        if on_path.contains(to) {
            return Err(Invalid::Cycle(to.clone()));
        }
        if let Some(next) = live(to)
            && !done.contains(to)
        {
            on_path.insert(next.urn());
            path.push((next, next.edges().collect()));
        }
    }
    Ok(())
}

fn increase<K: Clone + Eq + std::hash::Hash>(counts: &mut HashMap<K, u32>, key: &K) {
    match counts.get_mut(key) {
        Some(count) => *count = count.saturating_add(1),
        None => drop(counts.insert(key.clone(), 1)),
    }
}

fn decrease<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
