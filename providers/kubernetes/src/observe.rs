//! Observation: one list per kind and namespace where several objects are asked for, single reads otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;

use epid_provider::{Call, Failure, Observed, Present, Query};
use futures::{StreamExt, stream};
use serde_json::Value as Json;

use crate::apply::{is_another, without_autoscaling};
use crate::connection::{Cluster, Target};
use crate::refusal::{Doing, Said};
use crate::wire;

/// From this many objects of a kind in a namespace on, one list replaces the reads.
const LIST_FROM: usize = 3;
/// Reads at one time.
const AT_ONCE: usize = 8;

pub(crate) async fn observe(
    cluster: &Cluster,
    cx: &Call,
    queries: &[Query],
) -> Vec<Result<Observed, Failure>> {
    let mut answers: Vec<Option<Result<Observed, Failure>>> = queries.iter().map(|_| None).collect();
    let mut groups: BTreeMap<String, Vec<(usize, Target)>> = BTreeMap::new();
    for (at, query) in queries.iter().enumerate() {
        match locate(cluster, cx, query).await {
            Ok(Some(target)) => {
                let collection = target.route.collection(target.place.namespace.as_deref());
                groups.entry(collection).or_default().push((at, target));
            }
            Ok(None) => answers[at] = Some(Ok(Observed::Absent)),
            Err(failure) => answers[at] = Some(Err(failure)),
        }
    }
    let groups: Vec<(String, Vec<(usize, Target)>)> = groups.into_iter().collect();
    let found: Vec<Vec<(usize, Result<Observed, Failure>)>> = stream::iter(groups)
        .map(|(collection, group)| look(cluster, cx, queries, collection, group))
        .buffered(AT_ONCE)
        .collect()
        .await;
    for (at, answer) in found.into_iter().flatten() {
        answers[at] = Some(answer);
    }
    answers
        .into_iter()
        .map(|answer| {
            answer.unwrap_or_else(|| Err(Failure::new("NoAnswer", "the object was not looked for")))
        })
        .collect()
}

async fn locate(cluster: &Cluster, cx: &Call, query: &Query) -> Result<Option<Target>, Failure> {
    match query {
        Query::Record(record) => cluster.of_id(cx, &record.kind, &record.id).await,
        Query::Id { kind, id, .. } => cluster.of_id(cx, kind, id).await,
        Query::Inputs { kind, inputs, .. } => match cluster.of_inputs(cx, kind, inputs).await {
            Ok(target) => Ok(Some(target)),
            Err(failure) if failure.code == "NoSuchKind" => Ok(None),
            Err(failure) => Err(failure),
        },
    }
}

async fn look(
    cluster: &Cluster,
    cx: &Call,
    queries: &[Query],
    collection: String,
    group: Vec<(usize, Target)>,
) -> Vec<(usize, Result<Observed, Failure>)> {
    if group.len() < LIST_FROM {
        let mut answers = Vec::new();
        for (at, target) in group {
            let live = match cluster.api.get(cx, &target.path(), target.expected()).await {
                Ok(live) => Ok(Some(live)),
                Err(refusal)
                    if refusal
                        .said()
                        .is_some_and(|said| said.is_absent() || said.is_unserved()) =>
                {
                    Ok(None)
                }
                Err(refusal) => Err(refusal.failure(Doing::Read)),
            };
            answers.push((
                at,
                live.map(|live| observed(&queries[at], &target, live.as_ref())),
            ));
        }
        return answers;
    }
    match cluster.api.list(cx, &collection, "").await {
        Ok(items) => {
            let by_name: BTreeMap<Arc<str>, &Json> = items
                .iter()
                .map(|item| (Arc::from(wire::metadata(item, "name")), item))
                .collect();
            group
                .iter()
                .map(|(at, target)| {
                    (
                        *at,
                        Ok(observed(
                            &queries[*at],
                            target,
                            by_name.get(&target.place.name).copied(),
                        )),
                    )
                })
                .collect()
        }
        Err(refusal) if refusal.said().is_some_and(Said::is_unserved) => {
            group.iter().map(|(at, _)| (*at, Ok(Observed::Absent))).collect()
        }
        Err(refusal) => {
            let failure = refusal.failure(Doing::Read);
            group.iter().map(|(at, _)| (*at, Err(failure.clone()))).collect()
        }
    }
}

/// What is there, in the shape of declared properties. An object that is being deleted and one that took the recorded
/// one's name are not what was asked for; the former counts as long as it is there.
fn observed(query: &Query, target: &Target, live: Option<&Json>) -> Observed {
    let Some(live) = live else { return Observed::Absent };
    let record = match query {
        Query::Record(record) => Some(record),
        _ => None,
    };
    if record.is_some_and(|record| is_another(record, live)) {
        return Observed::Absent;
    }
    let applied = record.map(|record| &record.applied);
    let scaled = applied.and_then(|applied| without_autoscaling(live, applied));
    let properties = wire::properties(&target.kind, scaled.as_ref().unwrap_or(live));
    Observed::Present(Box::new(Present {
        id: target.place.id(),
        properties,
        outputs: wire::outputs(&target.kind, live),
        owner: wire::owner(live),
    }))
}
