//! What becomes of each record, and what is refused because of it.

use std::collections::BTreeMap;

use epid::graph::{self, Edge};
use epid::state::{Entry, RecordKey, Role};
use epid_provider::Urn;

use super::declared::{All, goes_first, surely_first};
use super::{Case, Left, Made, Refusals, Refused, is_provider};

/// Why a record leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is not in the program, or was replaced by an earlier run.
    Unwanted,
    /// The next generation is made first: it leaves if that really happens.
    Replaced,
    /// It makes room for the next generation.
    Vacated { surely: bool },
    /// Nothing is left of it in the cloud.
    Gone,
}

pub(super) struct Looking<'a> {
    pub(super) case: Case<'a>,
    pub(super) declared: &'a All,
}

pub(super) fn all(case: Case<'_>, declared: &All, refused: &mut Refusals) -> BTreeMap<RecordKey, Left> {
    let looking = Looking { case, declared };
    let left: BTreeMap<RecordKey, Left> = case
        .entries()
        .map(|entry| (entry.key_of(), looking.left(entry, &mut Vec::new())))
        .collect();
    for entry in case.entries() {
        looking.refuse(entry, &left, refused);
    }
    left
}

/// The resource of the program that a live record is of.
pub(super) fn node_of<'a>(declared: &'a All, entry: &Entry) -> Option<&'a Urn> {
    let key = entry.key_of();
    let live = entry.role == Role::Live;
    declared
        .iter()
        .find(|(_, d)| live && d.record.as_ref() == Some(&key))
        .map(|(urn, _)| urn)
}

/// True where a record has an edge to another's resource, or was made through it; of what is vacant there is nothing that
/// could.
pub(super) fn stands_on(entry: &Entry, other: &Entry) -> bool {
    entry.role != Role::Vacant && leads_to(entry, other)
}

/// True for what was replaced, and for what was made through a connection that was.
pub(super) fn is_old(case: Case<'_>, entry: &Entry) -> bool {
    let provider = entry
        .provider
        .as_ref()
        .and_then(|provider| case.snapshot.get(provider));
    entry.role == Role::Condemned || provider.is_some_and(|provider| provider.role == Role::Condemned)
}

fn leads_to(entry: &Entry, other: &Entry) -> bool {
    match &entry.provider {
        Some(provider) if provider.urn == *other.urn() => *provider == other.key_of(),
        _ => entry.urn() != other.urn() && entry.edges().any(|edge| edge == other.urn()),
    }
}

impl Looking<'_> {
    fn why(&self, entry: &Entry) -> Option<Why> {
        let node = node_of(self.declared, entry);
        let inside = self.case.inside(entry.urn());
        match (entry.role, node) {
            (_, Some(urn)) => match self.declared[urn].made {
                Made::Reconnect if goes_first(self.case, self.declared, urn) => Some(Why::Vacated {
                    surely: surely_first(self.case, self.declared, urn),
                }),
                Made::CreateFirst | Made::Reconnect => Some(Why::Replaced),
                Made::DeleteFirst { surely } => Some(Why::Vacated { surely }),
                Made::Create => Some(Why::Gone),
                _ => None,
            },
            (Role::Vacant, None) if inside && self.case.graph.node(entry.urn()).is_some() => Some(Why::Gone),
            (_, None) if !inside || self.is_kept(entry, &mut Vec::new()) => None,
            (Role::Vacant, None) => Some(Why::Gone),
            // What this run leaves alone may need it still.
            (Role::Condemned, None) if self.is_under_outside(entry) => None,
            (Role::Live, None) if self.case.gone(entry) => Some(Why::Gone),
            _ => Some(Why::Unwanted),
        }
    }

    /// True where something that is excluded stands on it, or on what does.
    fn is_kept(&self, entry: &Entry, seen: &mut Vec<RecordKey>) -> bool {
        if self.case.selection.excludes.is_empty() || seen.contains(&entry.key_of()) {
            return false;
        }
        seen.push(entry.key_of());
        self.case.entries().any(|other| {
            // Whichever generation of a provider it was made through.
            let through = other
                .provider
                .as_ref()
                .is_some_and(|provider| provider.urn == *entry.urn());
            (through || leads_to(other, entry))
                && (self.case.excluded(other.urn()) || self.is_kept(other, seen))
        })
    }

    fn is_under_outside(&self, entry: &Entry) -> bool {
        // A connection is only a way to what is behind it, and that counts by itself.
        let counts = |other: &&Entry| other.role == Role::Live && !is_provider(&other.record.kind);
        let mut others = self.case.entries().filter(counts);
        others.any(|other| {
            let now = node_of(self.declared, other).unwrap_or(other.urn());
            stands_on(other, entry) && !self.case.inside(now)
        })
    }

    fn left(&self, entry: &Entry, seen: &mut Vec<RecordKey>) -> Left {
        let Some(why) = self.why(entry) else {
            return Left::Stays;
        };
        let followed = self.declared.get(entry.urn()).is_some_and(|d| {
            matches!(
                d.made,
                Made::Create | Made::Import | Made::Adopt | Made::Connect | Made::Read
            )
        }) || node_of(self.declared, entry).is_some();
        match why {
            Why::Gone if followed => return Left::Followed,
            Why::Gone => return Left::Drop,
            _ => {}
        }
        if self.case.is_lookup(&entry.record.kind) || self.is_held_by_another(entry) {
            return Left::Drop;
        }
        if let Some(with) = self.carried_with(entry, why, seen) {
            return Left::With(with);
        }
        if is_provider(&entry.record.kind) {
            return Left::Drop;
        }
        match why {
            Why::Vacated { .. } => Left::Vacate,
            _ if entry.retain_on_delete => Left::Forget,
            _ => Left::Delete,
        }
    }

    /// True where what the cloud calls so is recorded as another, live one that stays.
    fn is_held_by_another(&self, entry: &Entry) -> bool {
        entry.key.is_some()
            && self.case.entries().any(|other| {
                other.role == Role::Live
                    && other.key_of() != entry.key_of()
                    && other.key == entry.key
                    && self.case.realm(other.provider.as_ref()) == self.case.realm(entry.provider.as_ref())
                    && self.why(other).is_none()
            })
    }

    /// What it is in: what was replaced is taken to be in what was replaced, where that leaves too.
    fn container(&self, entry: &Entry) -> Option<&Entry> {
        let urn = entry.deleted_with.as_ref()?;
        let all = || self.case.snapshot.of(urn).map(|e| &**e);
        let condemned = |e: &&Entry| e.role == Role::Condemned && self.why(e).is_some();
        let old = all().rfind(|e| is_old(self.case, entry) && condemned(e));
        old.or_else(|| all().find(|e| e.role == Role::Live))
    }

    /// The record with whose deletion it goes, without a step of its own.
    fn carried_with(&self, entry: &Entry, why: Why, seen: &mut Vec<RecordKey>) -> Option<RecordKey> {
        if seen.contains(&entry.key_of()) {
            return None;
        }
        seen.push(entry.key_of());
        let found = self.carrier(entry, why, seen);
        seen.pop();
        found
    }

    fn carrier(&self, entry: &Entry, why: Why, seen: &mut Vec<RecordKey>) -> Option<RecordKey> {
        let container = self.container(entry)?;
        if entry.outside || !entry.served_by.is_empty() || entry.retain_on_delete || entry.protect {
            return None;
        }
        if why == (Why::Vacated { surely: false }) {
            return None;
        }
        let surely = match self.why(container)? {
            Why::Unwanted => true,
            Why::Vacated { surely } => surely,
            Why::Replaced | Why::Gone => false,
        };
        if !surely {
            return None;
        }
        let with = match self.left(container, seen) {
            Left::Delete | Left::Vacate => container.key_of(),
            Left::With(with) => with,
            _ => return None,
        };
        // The record of a connection goes with what is called through it.
        if is_provider(&entry.record.kind) {
            if why == Why::Replaced {
                return None;
            }
            let carries = self.case.entries().any(|behind| {
                behind.provider == Some(entry.key_of()) && self.left(behind, seen) == Left::With(with.clone())
            });
            return carries.then_some(with);
        }
        let goes_before_it = self.case.entries().any(|other| {
            stands_on(entry, other)
                && other.urn() != container.urn()
                && !is_provider(&other.record.kind)
                && match self.left(other, seen) {
                    Left::Stays | Left::Followed => false,
                    Left::With(other_with) => other_with != with,
                    _ => true,
                }
                && self.reaches(other, &container.key_of(), &mut Vec::new())
        });
        (!goes_before_it).then_some(with)
    }

    /// True where one edge after another leads from a record to another: to its own container and provider, else to any
    /// generation.
    pub(super) fn reaches(&self, entry: &Entry, to: &RecordKey, seen: &mut Vec<RecordKey>) -> bool {
        if seen.contains(&entry.key_of()) {
            return false;
        }
        seen.push(entry.key_of());
        entry.edges().any(|edge| {
            let next: Vec<&Entry> = if entry.deleted_with.as_ref() == Some(edge) {
                self.container(entry).into_iter().collect()
            } else {
                self.case
                    .snapshot
                    .of(edge)
                    .map(|e| &**e)
                    .filter(|other| leads_to(entry, other))
                    .collect()
            };
            let mut leaving = next.into_iter().filter(|next| self.why(next).is_some());
            leaving.any(|next| next.key_of() == *to || self.reaches(next, to, seen))
        })
    }

    /// True where the cloud would surely be asked to delete what something names that stays as it is until then.
    fn is_held(&self, entry: &Entry) -> bool {
        let named = node_of(self.declared, entry).and_then(|urn| self.case.graph.node(urn));
        let Some(named) = named.filter(|node| node.schema.held && !entry.retain_on_delete) else {
            return false;
        };
        let surely = self.why(entry) == Some(Why::Vacated { surely: true });
        surely
            && self.case.entries().any(|other| {
                let now = node_of(self.declared, other).and_then(|urn| self.case.graph.node(urn));
                let names = now.is_some_and(|now| {
                    let to_it = |edge: &Edge| edge.to == named.urn && edge.why == graph::Why::Reference;
                    self.case.inside(&now.urn) && now.edges.iter().any(to_it)
                });
                names
                    && other.provider == entry.provider
                    && self.why(other).is_none()
                    && leads_to(other, entry)
            })
    }

    fn refuse(&self, entry: &Entry, left: &BTreeMap<RecordKey, Left>, refused: &mut Refusals) {
        let path = entry.urn().path();
        let key = entry.key_of();
        let removed = matches!(left[&key], Left::Delete | Left::Vacate | Left::With(_));
        let node = node_of(self.declared, entry);
        let declared = node.map(|urn| &self.declared[urn]);
        let replaced =
            declared.is_some_and(|d| matches!(d.made, Made::CreateFirst | Made::DeleteFirst { .. }));
        let protects = node
            .and_then(|urn| self.case.graph.node(urn))
            .is_some_and(|n| n.options.protect);
        if (entry.protect && (removed || replaced)) || (protects && replaced) {
            refused.insert((Refused::Protected, path.to_owned()));
        }
        if entry.retain_on_delete
            && self.why(entry).is_some()
            && !matches!(left[&key], Left::Drop | Left::Followed)
            && let Some(container) = self.container(entry)
            && matches!(
                left[&container.key_of()],
                Left::Delete | Left::Vacate | Left::With(_)
            )
        {
            refused.insert((Refused::RetainedInDeleted, path.to_owned()));
        }
        if left[&key] == Left::Vacate && self.is_held(entry) {
            refused.insert((Refused::Held, path.to_owned()));
        }
        if removed && entry.role == Role::Live && self.is_under_outside(entry) {
            refused.insert((Refused::UnderOutside, path.to_owned()));
        }
    }
}
