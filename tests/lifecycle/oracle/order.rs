//! What must come before what.

use std::collections::{BTreeMap, BTreeSet};

use epid::state::{Entry, RecordKey, Role};
use epid_provider::Urn;

use super::declared::{All, Declared, goes_first, recorded_edge, surely_first};
use super::recorded::{is_old, node_of, stands_on};
use super::{Case, Left, Made, Moment, needs};

type Before = BTreeSet<(Moment, Moment)>;

pub(super) fn all(case: Case<'_>, declared: &All, left: &BTreeMap<RecordKey, Left>) -> Before {
    let ordering = Ordering { case, declared, left };
    let mut before = Before::new();
    ordering.forward(&mut before);
    ordering.replacements(&mut before);
    ordering.removals(&mut before);
    ordering.names(&mut before);
    let mut before = closed(before);
    // What is not needed any more stays until what needed it is changed in place; unless that change follows from something
    // that is made again, and what is to stay has to go before something is made again.
    let again = |declared: &&Declared| matches!(declared.made, Made::DeleteFirst { .. });
    let early = |gone: &Moment| {
        declared.values().filter(again).filter_map(|d| ordering.gone(d.record.as_ref()?)).any(|vacated| {
            vacated == *gone || before.contains(&(gone.clone(), vacated))
        })
    };
    let late = |done: &Moment| {
        declared.iter().filter(|(_, d)| again(d)).map(|(urn, _)| Moment::Done(urn.clone())).any(|refilled| {
            refilled == *done || before.contains(&(refilled, done.clone()))
        })
    };
    let changed = ordering.changed_first();
    let more: Before = changed.into_iter().filter(|(done, gone)| !(early(gone) && late(done))).collect();
    before.extend(more);
    closed(before)
}

/// With everything that follows from it.
fn closed(mut before: Before) -> Before {
    loop {
        let more: Before = before
            .iter()
            .flat_map(|(one, middle)| {
                let further = before.iter().filter(move |(from, _)| from == middle);
                further.map(move |(_, other)| (one.clone(), other.clone()))
            })
            .filter(|pair| !before.contains(pair))
            .collect();
        if more.is_empty() {
            return before;
        }
        before.extend(more);
    }
}

struct Ordering<'a> {
    case: Case<'a>,
    declared: &'a All,
    left: &'a BTreeMap<RecordKey, Left>,
}

impl Ordering<'_> {
    /// The moment at which a record is gone; `None` where it stays.
    fn gone(&self, key: &RecordKey) -> Option<Moment> {
        match self.left.get(key)? {
            Left::Stays | Left::Followed => None,
            Left::With(with) => Some(Moment::Gone(with.clone())),
            _ => Some(Moment::Gone(key.clone())),
        }
    }

    fn is_inside(&self, urn: &Urn) -> bool {
        self.declared.get(urn).is_some_and(|d| d.made != Made::Outside)
    }

    /// What a resource needs is there before it.
    fn forward(&self, before: &mut Before) {
        for node in self.case.graph.nodes().filter(|n| self.is_inside(&n.urn)) {
            for needed in needs(node).into_iter().filter(|needed| self.is_inside(needed)) {
                before.insert((Moment::Done(needed.clone()), Moment::Done(node.urn.clone())));
            }
        }
    }

    fn replacements(&self, before: &mut Before) {
        for node in self.case.graph.nodes() {
            let declared = &self.declared[&node.urn];
            let Some(gone) = declared.record.as_ref().and_then(|record| self.gone(record)) else {
                continue;
            };
            let done = Moment::Done(node.urn.clone());
            match declared.made {
                Made::DeleteFirst { surely } => {
                    before.insert((gone.clone(), done));
                    if !surely {
                        self.decision(&node.urn, &gone, before);
                    }
                }
                Made::CreateFirst => drop(before.insert((done, gone))),
                Made::Reconnect if !goes_first(self.case, self.declared, &node.urn) => {
                    before.insert((done, gone));
                }
                Made::Reconnect => {
                    let cluster = node.deleted_with.clone().unwrap();
                    before.insert((Moment::Decided(cluster), gone));
                }
                _ => {}
            }
        }
    }

    /// What is under something that perhaps goes first is decided with it, all else by itself, when its values are known.
    fn decision(&self, urn: &Urn, gone: &Moment, before: &mut Before) {
        let node = self.case.graph.node(urn).unwrap();
        let needed: Vec<&Urn> = needs(node).into_iter().filter(|needed| self.is_inside(needed)).collect();
        let (case, all) = (self.case, self.declared);
        let record = all[urn].record.as_ref().and_then(|record| case.snapshot.get(record)).unwrap();
        let perhaps = |under: &&&Urn| {
            recorded_edge(all, record, under) && goes_first(case, all, under) && !surely_first(case, all, under)
        };
        let own = Moment::Decided(urn.clone());
        if needed.iter().any(|needed| perhaps(&needed)) {
            for under in needed.iter().filter(perhaps) {
                let root = match all[*under].made {
                    Made::Reconnect => case.graph.node(under).unwrap().deleted_with.clone().unwrap(),
                    _ => (*under).clone(),
                };
                before.insert((Moment::Decided(root), own.clone()));
            }
        } else {
            let done = needed.iter().map(|needed| (Moment::Done((*needed).clone()), own.clone()));
            before.extend(done);
        }
        before.insert((own, gone.clone()));
    }

    /// Whatever depends on something goes before it, or has been changed before.
    fn removals(&self, before: &mut Before) {
        for entry in self.case.entries() {
            let Some(gone) = self.gone(&entry.key_of()) else { continue };
            for other in self.case.entries().filter(|other| stands_on(other, entry)) {
                let first = self.gone(&other.key_of()).filter(|first| *first != gone);
                if let Some(first) = first
                    && !self.carries_through(&gone, other)
                    && self.is_of_its_age(other, entry)
                {
                    before.insert((first, gone.clone()));
                }
            }
            if !matches!(self.left[&entry.key_of()], Left::With(_)) {
                self.through(entry, &gone, before);
            }
        }
    }

    /// What goes with its container needed what is of its own age: two generations of a container would wait for each other.
    fn is_of_its_age(&self, dependent: &Entry, entry: &Entry) -> bool {
        if !matches!(self.left[&dependent.key_of()], Left::With(_)) {
            return true;
        }
        let all = || self.case.snapshot.of(entry.urn()).filter(|other| self.gone(&other.key_of()).is_some());
        let condemned = all().rfind(|other| other.role == Role::Condemned);
        let live = || all().find(|other| other.role != Role::Condemned);
        let own = if is_old(self.case, dependent) {
            condemned.or_else(live)
        } else {
            live()
        };
        own.is_some_and(|own| own.key_of() == entry.key_of())
    }

    /// True where something that was made through that provider goes at that moment, with what it is in: its record stays
    /// as long.
    fn carries_through(&self, gone: &Moment, provider: &Entry) -> bool {
        self.case.entries().any(|entry| {
            let carried = matches!(self.left.get(&entry.key_of()), Some(Left::With(_)));
            carried
                && entry.provider == Some(provider.key_of())
                && self.gone(&entry.key_of()).as_ref() == Some(gone)
        })
    }

    /// What is removed through a connection goes before whatever that needs.
    fn through(&self, entry: &Entry, gone: &Moment, before: &mut Before) {
        let provider = entry.provider.as_ref().and_then(|key| self.case.snapshot.get(key));
        for needed in provider.into_iter().flat_map(Entry::edges) {
            for record in self.case.snapshot.of(needed) {
                if let Some(later) = self.gone(&record.key_of()).filter(|later| later != gone) {
                    before.insert((gone.clone(), later));
                }
            }
        }
    }

    /// What needs something no more is changed before that goes.
    fn changed_first(&self) -> Before {
        let mut found = Before::new();
        for entry in self.case.entries() {
            let Some(gone) = self.gone(&entry.key_of()) else { continue };
            for other in self.case.entries().filter(|other| stands_on(other, entry)) {
                if let Some(node) = node_of(self.declared, other)
                    && self.is_inside(node)
                    && self.declared[node].made != (Made::DeleteFirst { surely: true })
                {
                    found.insert((Moment::Done(node.clone()), gone.clone()));
                }
            }
        }
        found
    }

    /// A name is free before it is taken.
    fn names(&self, before: &mut Before) {
        for node in self.case.graph.nodes() {
            let declared = &self.declared[&node.urn];
            let takes = matches!(
                declared.made,
                Made::Create | Made::CreateFirst | Made::DeleteFirst { .. }
            );
            let Some(key) = declared.key.as_ref().filter(|_| takes) else { continue };
            let connection = node.provider.as_ref().map(|p| &self.declared[p]);
            if connection.is_some_and(|c| c.made == Made::Reconnect) {
                continue;
            }
            for entry in self.case.entries() {
                let same = entry.provider.as_ref() == connection.and_then(|c| c.record.as_ref());
                let own = declared.record.as_ref() == Some(&entry.key_of());
                if !own
                    && entry.role != Role::Vacant
                    && same
                    && entry.key.as_ref() == Some(key)
                    && let Some(gone) = self.gone(&entry.key_of())
                {
                    before.insert((gone, Moment::Done(node.urn.clone())));
                }
            }
        }
    }
}
