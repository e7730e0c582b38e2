//! What a plan has to be, told a second time: naively, by walking everything again and again, and by nobody who had looked at
//! `src/plan`. `docs/lifecycle.md` is what it follows.
//!
//! | module | what it tells |
//! |---|---|
//! | `declared` | what becomes of each resource of the program |
//! | `recorded` | what becomes of each record, and what is refused |
//! | `order` | what must come before what |

mod declared;
mod order;
mod recorded;

use std::collections::{BTreeMap, BTreeSet};

use epid::graph::{Node, Providers, ResourceGraph, provider_type};
use epid::plan::{Observations, Selection};
use epid::state::{Entry, RecordKey, Role, Snapshot};
use epid_provider::{Kind, Observed, Urn};

/// What a plan is made from.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) graph: &'a ResourceGraph,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) observed: &'a Observations,
    pub(crate) providers: &'a Providers,
    pub(crate) selection: &'a Selection,
}

/// What becomes of a declared resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Made {
    Outside,
    Nothing,
    Record,
    Read,
    Create,
    Import,
    Adopt,
    Update,
    CreateFirst,
    DeleteFirst {
        surely: bool,
    },
    Connect,
    /// Connected with another configuration.
    Reconfigure,
    /// Connected as its next generation.
    Reconnect,
}

/// What becomes of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    Stays,
    Delete,
    Vacate,
    Forget,
    Drop,
    /// It dies with that one.
    With(RecordKey),
    /// Nothing is left of it but its record, which goes when the next generation is made.
    Followed,
}

/// Why there must not be a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refused {
    /// Nothing is called as the selection says.
    NoSuchName,
    /// Two resources have one name in the cloud.
    SameName,
    Protected,
    /// It would be retained in what is deleted.
    RetainedInDeleted,
    /// What is outside of the selection is needed, and not there.
    NeedsOutside,
    /// Something outside of the selection stands on what would be removed.
    UnderOutside,
    /// It would have to go first, and its options say otherwise.
    MayNotGoFirst,
    /// It would have to go first, while something names it that is changed only afterwards.
    Held,
    Circle,
}

/// A moment of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// The resource is as the program says.
    Done(Urn),
    /// It is known whether it goes first.
    Decided(Urn),
    /// The record is gone.
    Gone(RecordKey),
}

/// What has to be.
pub(crate) struct Ruling {
    pub(crate) made: BTreeMap<Urn, Made>,
    pub(crate) left: BTreeMap<RecordKey, Left>,
    /// Which moment comes before which.
    pub(crate) before: BTreeSet<(Moment, Moment)>,
    /// The rules by which something comes before something here.
    pub(crate) rules: BTreeSet<&'static str>,
    /// Why there must not be a plan, and because of whom; empty where there must be one.
    pub(crate) refused: Refusals,
}

type Refusals = BTreeSet<(Refused, String)>;

/// The ruling on a case.
pub(crate) fn rule(case: Case<'_>) -> Ruling {
    let mut refused = BTreeSet::new();
    let names = case.selection;
    for selector in names.targets.iter().chain(&names.excludes).chain(&names.replace) {
        let mut all = case
            .graph
            .nodes()
            .map(|node| &node.urn)
            .chain(case.snapshot.entries.keys().map(|key| &key.urn));
        if !all.any(|urn| selector.matches(urn)) {
            refused.insert((Refused::NoSuchName, selector.to_string()));
        }
    }
    let declared = declared::all(case, &mut refused);
    let left = recorded::all(case, &declared, &mut refused);
    let (before, rules) = order::all(case, &declared, &left);
    if refused.is_empty() && before.iter().any(|(one, other)| one == other) {
        refused.insert((Refused::Circle, String::new()));
    }
    Ruling {
        made: declared.iter().map(|(urn, d)| (urn.clone(), d.made)).collect(),
        left,
        before,
        rules,
        refused,
    }
}

impl<'a> Case<'a> {
    fn entries(self) -> impl Iterator<Item = &'a Entry> {
        self.snapshot.entries.values().map(|entry| &**entry)
    }

    /// What a provider's record was connected to; a provider that never was is a world of its own.
    fn realm(self, provider: Option<&RecordKey>) -> Option<String> {
        let entry = self.snapshot.get(provider?)?;
        let identity = entry.identity.as_deref();
        Some(identity.unwrap_or(entry.urn().as_str()).to_owned())
    }

    fn is_lookup(self, kind: &Kind) -> bool {
        self.providers.schema(kind).is_some_and(|schema| schema.lookup)
    }

    /// True for what the run may touch.
    fn inside(self, urn: &Urn) -> bool {
        self.targeted(urn) && !self.excluded(urn)
    }

    /// True where it is targeted, or the provider of what is.
    fn targeted(self, urn: &Urn) -> bool {
        let targets = &self.selection.targets;
        let named = |urn: &Urn| targets.is_empty() || targets.iter().any(|selector| selector.matches(urn));
        named(urn)
            || self
                .graph
                .nodes()
                .any(|user| user.provider.as_ref() == Some(urn) && named(&user.urn))
    }

    /// True where `--exclude` names it, or something it depends on in the program.
    fn excluded(self, urn: &Urn) -> bool {
        let named = self
            .selection
            .excludes
            .iter()
            .any(|selector| selector.matches(urn));
        named
            || self
                .graph
                .node(urn)
                .is_some_and(|node| node.edges.iter().any(|edge| self.excluded(&edge.to)))
    }

    fn gone(self, entry: &Entry) -> bool {
        entry.role == Role::Live && self.observed.get(entry.urn()) == Some(&Observed::Absent)
    }
}

fn is_provider(kind: &Kind) -> bool {
    provider_type(kind).is_some()
}

/// What a node depends on, and what it is in.
fn under(node: &Node) -> BTreeSet<&Urn> {
    needs(node).into_iter().chain(&node.deleted_with).collect()
}

/// What a node depends on, each once.
fn needs(node: &Node) -> BTreeSet<&Urn> {
    node.edges.iter().map(|edge| &edge.to).collect()
}
