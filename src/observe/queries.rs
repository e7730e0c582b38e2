//! What is asked of which connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use epid_provider::{Provider, Query, Replace, Resolved, Urn};

use super::{Depth, Looking};
use crate::graph::{Known, Node, View, provider_type};
use crate::state::{Entry, RecordKey, Role};

/// What connects: a recorded provider, one that is only declared, or a provider that needs no node, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Recorded(RecordKey),
    Declared(Urn),
    Free(Arc<str>),
}

/// A connection to make, and what to ask through it.
pub(super) struct Batch {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) config: Resolved,
    /// What it must be connected to, where that is recorded.
    pub(super) identity: Option<Arc<str>>,
    /// Whose call connects.
    pub(super) urn: Urn,
    pub(super) queries: Vec<Query>,
}

/// Every query, by the connection it goes through.
pub(super) fn batches(looking: &Looking<'_>) -> BTreeMap<Way, Batch> {
    let mut batches = BTreeMap::new();
    let known = |urn: &Urn| {
        let record = &looking.snapshot.live(urn)?.record;
        Some(Known::recorded(record, looking.providers.schema(&record.kind)))
    };
    let resolved = |node: &Node| -> Option<Resolved> {
        let view = View::new(looking.graph.names(), node.each.as_ref(), &known, looking.digests);
        let value = node.properties.template.evaluate(&view).ok()?;
        Resolved::new(node.schema.mark_inputs(&value)).ok()
    };
    for node in looking.graph.nodes() {
        let is_new = looking.snapshot.live(&node.urn).is_none();
        if !is_new || provider_type(&node.kind).is_some() || !(looking.only)(&node.urn) {
            continue;
        }
        if !node.schema.lookup && !node.options.adopt && node.options.import.is_none() {
            continue;
        }
        let (urn, kind) = (node.urn.clone(), node.kind.clone());
        let query = match &node.options.import {
            Some(id) => Some(Query::Id {
                urn,
                kind,
                id: id.clone(),
            }),
            None => resolved(node).map(|inputs| Query::Inputs { urn, kind, inputs }),
        };
        if let Some(query) = query {
            let provider = node.provider.as_ref();
            let recorded = provider.and_then(|urn| looking.snapshot.live(urn));
            if recorded.is_some_and(|entry| is_connected_anew(looking, entry, &resolved)) {
                continue;
            }
            let way = match (recorded.map(Entry::key_of), provider) {
                (Some(key), _) => Way::Recorded(key),
                (None, Some(urn)) => Way::Declared(urn.clone()),
                (None, None) => Way::Free(Arc::from(node.kind.provider())),
            };
            push(looking, &mut batches, way, query, &resolved);
        }
    }
    let all = looking.depth == Depth::Refresh;
    let entries = looking.snapshot.entries.values();
    for entry in entries.filter(|entry| all || entry.unmarked) {
        let is_lookup = looking
            .providers
            .schema(&entry.record.kind)
            .is_none_or(|schema| schema.lookup);
        let looked_at = entry.role == Role::Live && !is_lookup && (looking.only)(entry.urn());
        if looked_at && provider_type(&entry.record.kind).is_none() {
            let way = entry.provider.clone().map_or_else(
                || Way::Free(Arc::from(entry.record.kind.provider())),
                Way::Recorded,
            );
            push(
                looking,
                &mut batches,
                way,
                Query::Record(Box::new(entry.record.clone())),
                &resolved,
            );
        }
    }
    batches
}

/// True for a provider that the run connects to something else than it was: that is not there yet.
fn is_connected_anew(
    looking: &Looking<'_>,
    entry: &Entry,
    resolved: &dyn Fn(&Node) -> Option<Resolved>,
) -> bool {
    let Some(node) = looking.graph.node(entry.urn()) else {
        return false;
    };
    let is_made = |urn: &Urn| looking.snapshot.live(urn).is_none();
    let elsewhere = |config: Resolved| {
        let diff = epid_provider::diff(&node.schema, &entry.record.applied, config.value());
        diff.replace() != Replace::No
    };
    node.deleted_with.as_ref().is_some_and(is_made) || resolved(node).is_some_and(elsewhere)
}

/// Adds a query to its batch; a connection whose configuration is not known yet cannot be asked.
fn push(
    looking: &Looking<'_>,
    batches: &mut BTreeMap<Way, Batch>,
    way: Way,
    query: Query,
    resolved: &dyn Fn(&Node) -> Option<Resolved>,
) {
    if let Some(batch) = batches.get_mut(&way) {
        batch.queries.push(query);
        return;
    }
    let connection = match &way {
        Way::Recorded(key) => looking.snapshot.get(key).and_then(|entry| {
            let config = Resolved::new(entry.record.applied.clone()).ok()?;
            let provider = looking.providers.of(&entry.record.kind)?.clone();
            Some((provider, config, entry.identity.clone(), entry.urn().clone()))
        }),
        Way::Declared(urn) => looking.graph.node(urn).and_then(|node| {
            let provider = looking.providers.of(&node.kind)?.clone();
            Some((provider, resolved(node)?, None, urn.clone()))
        }),
        Way::Free(name) => looking
            .providers
            .get(name)
            .map(|provider| (provider.clone(), Resolved::default(), None, query.urn().clone())),
    };
    if let Some((provider, config, identity, urn)) = connection {
        let queries = vec![query];
        batches.insert(
            way,
            Batch {
                provider,
                config,
                identity,
                urn,
                queries,
            },
        );
    }
}
