//! What must come before what.

use std::collections::{BTreeMap, BTreeSet};

use epid::state::{Entry, RecordKey, Role};
use epid_provider::Urn;

use super::declared::{All, Declared, goes_first, recorded_edge, surely_first};
use super::recorded::{Looking, is_old, node_of, stands_on};
use super::{Case, Left, Made, Moment, needs, under};

type Before = BTreeSet<(Moment, Moment)>;

/// What comes before what, with all that follows, and the rules that said something.
pub(super) fn all(
    case: Case<'_>,
    declared: &All,
    left: &BTreeMap<RecordKey, Left>,
) -> (Before, BTreeSet<&'static str>) {
    let ordering = Ordering { case, declared, left };
    let firm: [(&str, Before); 4] = [
        ("what is needed comes before", ordering.forward()),
        ("both orders of replacement", ordering.replacements()),
        ("decided before the first delete", ordering.decisions()),
        ("a name is free before it is taken", ordering.names()),
    ];
    let waits: [(&str, Vec<Wait>); 3] = [
        ("what depends goes before", ordering.removals()),
        ("a connection stays while it is used", ordering.connections()),
        ("changed before it goes", ordering.changed_first()),
    ];
    let mut rules = BTreeSet::new();
    let mut before = Before::new();
    for (rule, part) in firm.into_iter().filter(|(_, part)| !part.is_empty()) {
        rules.insert(rule);
        before.extend(part);
    }
    let follows = [ordering.forward(), ordering.replacements(), ordering.decisions()];
    let follows = closed(&follows.into_iter().flatten().collect());
    for (rule, part) in waits {
        for wait in part {
            if ordering.is_too_late(&wait, &follows) {
                rules.insert("too late to be waited for");
            } else {
                rules.insert(rule);
                before.insert((wait.first, wait.gone));
            }
        }
    }
    (closed(&before), rules)
}

/// A record that does not go before something else has happened.
struct Wait {
    record: RecordKey,
    first: Moment,
    gone: Moment,
}

/// With everything that follows from it.
fn closed(before: &Before) -> Before {
    let moments: BTreeSet<&Moment> = before.iter().flat_map(|(one, other)| [one, other]).collect();
    let moments: Vec<&Moment> = moments.into_iter().collect();
    let place = |moment: &Moment| moments.binary_search(&moment).unwrap();
    let all = 0..moments.len();
    let mut leads = vec![vec![false; all.len()]; all.len()];
    for (one, other) in before {
        leads[place(one)][place(other)] = true;
    }
    for middle in all.clone() {
        for one in all.clone().filter(|one| *one != middle) {
            for other in all.clone() {
                leads[one][other] |= leads[one][middle] && leads[middle][other];
            }
        }
    }
    let pairs = all
        .clone()
        .flat_map(|one| all.clone().map(move |other| (one, other)));
    let pairs = pairs.filter(|(one, other)| leads[*one][*other]);
    pairs
        .map(|(one, other)| (moments[one].clone(), moments[other].clone()))
        .collect()
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
    /// What is deleted first, or goes before something that is, cannot wait for what follows from making that again.
    fn is_too_late(&self, wait: &Wait, follows: &Before) -> bool {
        // A delete that would be so late is waited for in vain: a circle.
        if let Moment::Gone(record) = &wait.first
            && self.left[record] == Left::Delete
        {
            return false;
        }
        let looking = Looking {
            case: self.case,
            declared: self.declared,
        };
        let entry = self.case.snapshot.get(&wait.record).unwrap();
        self.declared.iter().any(|(urn, declared)| {
            let (Made::DeleteFirst { .. }, Some(old)) = (declared.made, &declared.record) else {
                return false;
            };
            let again = Moment::Done(urn.clone());
            let is_late = wait.first == again || follows.contains(&(again, wait.first.clone()));
            is_late && (wait.record == *old || looking.reaches(entry, old, &mut Vec::new()))
        })
    }

    fn forward(&self) -> Before {
        let mut before = Before::new();
        for node in self.case.graph.nodes().filter(|n| self.is_inside(&n.urn)) {
            for needed in needs(node).into_iter().filter(|needed| self.is_inside(needed)) {
                before.insert((Moment::Done(needed.clone()), Moment::Done(node.urn.clone())));
            }
        }
        before
    }

    fn replacements(&self) -> Before {
        let mut before = Before::new();
        for node in self.case.graph.nodes() {
            let declared = &self.declared[&node.urn];
            let Some(gone) = declared.record.as_ref().and_then(|record| self.gone(record)) else {
                continue;
            };
            let done = Moment::Done(node.urn.clone());
            match declared.made {
                Made::DeleteFirst { .. } => drop(before.insert((gone, done))),
                Made::CreateFirst if !self.is_carried(declared) => drop(before.insert((done, gone))),
                Made::Reconnect if !goes_first(self.case, self.declared, &node.urn) => {
                    before.insert((done, gone));
                }
                _ => {}
            }
        }
        before
    }

    /// True where the old one goes with what it is in.
    fn is_carried(&self, declared: &Declared) -> bool {
        let left = declared.record.as_ref().and_then(|record| self.left.get(record));
        matches!(left, Some(Left::With(_)))
    }

    fn decisions(&self) -> Before {
        let mut before = Before::new();
        for node in self.case.graph.nodes() {
            let declared = &self.declared[&node.urn];
            let Some(gone) = declared.record.as_ref().and_then(|record| self.gone(record)) else {
                continue;
            };
            if declared.made == (Made::DeleteFirst { surely: false }) {
                self.decision(&node.urn, &gone, &mut before);
            }
            if declared.made == Made::Reconnect && goes_first(self.case, self.declared, &node.urn) {
                let cluster = node.deleted_with.clone().unwrap();
                before.insert((Moment::Decided(cluster), gone));
            }
        }
        before
    }

    /// What is under something that perhaps goes first is decided with it, all else by itself, when its values are known.
    fn decision(&self, urn: &Urn, gone: &Moment, before: &mut Before) {
        let node = self.case.graph.node(urn).unwrap();
        let needed: Vec<&Urn> = under(node)
            .into_iter()
            .filter(|needed| self.is_inside(needed))
            .collect();
        let (case, all) = (self.case, self.declared);
        let record = all[urn]
            .record
            .as_ref()
            .and_then(|record| case.snapshot.get(record))
            .unwrap();
        let perhaps = |under: &&&Urn| {
            recorded_edge(all, record, under)
                && goes_first(case, all, under)
                && !surely_first(case, all, under)
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
            let done = needed
                .iter()
                .map(|needed| (Moment::Done((*needed).clone()), own.clone()));
            before.extend(done);
        }
        before.insert((own, gone.clone()));
    }

    /// Whatever depends on something goes before it, or has been changed before.
    fn removals(&self) -> Vec<Wait> {
        let mut waits = Vec::new();
        for entry in self.case.entries() {
            let Some(gone) = self.gone(&entry.key_of()) else {
                continue;
            };
            for other in self.case.entries().filter(|other| stands_on(other, entry)) {
                let first = self.gone(&other.key_of()).filter(|first| *first != gone);
                if let Some(first) = first
                    && !self.carries_through(&gone, other)
                    && self.is_of_its_age(other, entry)
                {
                    waits.push(Wait {
                        record: entry.key_of(),
                        first,
                        gone: gone.clone(),
                    });
                }
            }
        }
        waits
    }

    /// What goes with its container needed what is of its own age: two generations of a container would wait for each other.
    fn is_of_its_age(&self, dependent: &Entry, entry: &Entry) -> bool {
        if !matches!(self.left[&dependent.key_of()], Left::With(_)) {
            return true;
        }
        let all = || {
            self.case
                .snapshot
                .of(entry.urn())
                .filter(|other| self.gone(&other.key_of()).is_some())
        };
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
    fn connections(&self) -> Vec<Wait> {
        let mut waits = Vec::new();
        for entry in self.case.entries() {
            if matches!(self.left[&entry.key_of()], Left::With(_)) {
                continue;
            }
            let Some(gone) = self.gone(&entry.key_of()) else {
                continue;
            };
            let provider = entry
                .provider
                .as_ref()
                .and_then(|key| self.case.snapshot.get(key));
            for needed in provider.into_iter().flat_map(Entry::edges) {
                for record in self.case.snapshot.of(needed) {
                    if let Some(later) = self.gone(&record.key_of()).filter(|later| *later != gone) {
                        waits.push(Wait {
                            record: record.key_of(),
                            first: gone.clone(),
                            gone: later,
                        });
                    }
                }
            }
        }
        waits
    }

    /// What needs something no more is changed before that goes.
    fn changed_first(&self) -> Vec<Wait> {
        let mut found = Vec::new();
        for (urn, declared) in self.declared.iter().filter(|(_, d)| d.made == Made::CreateFirst) {
            if self.is_carried(declared) {
                let gone = declared.record.as_ref().and_then(|record| self.gone(record));
                let record = declared.record.clone().unwrap();
                found.push(Wait {
                    record,
                    first: Moment::Done(urn.clone()),
                    gone: gone.unwrap(),
                });
            }
        }
        for entry in self.case.entries() {
            let Some(gone) = self.gone(&entry.key_of()) else {
                continue;
            };
            for other in self.case.entries().filter(|other| stands_on(other, entry)) {
                if let Some(node) = node_of(self.declared, other)
                    && self.is_inside(node)
                    && self.declared[node].made != (Made::DeleteFirst { surely: true })
                    && !(self.declared[node].made == Made::Reconnect
                        && goes_first(self.case, self.declared, node))
                {
                    found.push(Wait {
                        record: entry.key_of(),
                        first: Moment::Done(node.clone()),
                        gone: gone.clone(),
                    });
                }
            }
        }
        found
    }

    /// A name is free before it is taken.
    fn names(&self) -> Before {
        let mut before = Before::new();
        for node in self.case.graph.nodes() {
            let declared = &self.declared[&node.urn];
            let takes = matches!(
                declared.made,
                Made::Create | Made::Import | Made::Adopt | Made::CreateFirst | Made::DeleteFirst { .. }
            );
            let Some(key) = declared.key.as_ref().filter(|_| takes) else {
                continue;
            };
            let connection = node.provider.as_ref().map(|p| &self.declared[p]);
            if connection.is_some_and(|c| c.made == Made::Reconnect) {
                continue;
            }
            for entry in self.case.entries() {
                let realm = |provider: Option<&RecordKey>| self.case.realm(provider);
                let same =
                    realm(entry.provider.as_ref()) == realm(connection.and_then(|c| c.record.as_ref()));
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
        before
    }
}
