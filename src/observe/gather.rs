//! Asks all connections at once, each for all of its queries.

use std::time::Duration;

use epid_provider::{Call, Connection, Failure, Observed, Query, Retry};
use futures::future::join_all;

use super::queries::{Batch, batches};
use super::{Looking, Seen};
use crate::graph::elsewhere;

/// The first wait before a failed read is tried again; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// How often a read is tried.
const ATTEMPTS: u32 = 5;

/// Looks. A resource whose connection or inputs are not known yet is left out.
pub async fn observe(looking: &Looking<'_>) -> Seen {
    let answers = batches(looking).into_values().map(|batch| ask(looking, batch));
    let mut seen = Seen::default();
    for answer in join_all(answers).await {
        seen.found.extend(answer.found);
        seen.failed.extend(answer.failed);
    }
    seen
}

async fn ask(looking: &Looking<'_>, batch: Batch) -> Seen {
    let cx = (looking.call)(&batch.urn);
    let mut seen = Seen::default();
    let connection = match batch.provider.connect(&cx, &batch.config).await {
        Ok(connection) => connection,
        Err(failure) => {
            seen.failed.push((batch.urn, failure));
            return seen;
        }
    };
    if let Some(recorded) = batch
        .identity
        .filter(|recorded| **recorded != *connection.identity())
    {
        let failure = elsewhere(&recorded, connection.identity());
        seen.failed.push((batch.urn, failure));
        return seen;
    }
    let mut open = batch.queries;
    let mut wait = FIRST_WAIT;
    for attempt in 1..=ATTEMPTS {
        let answers = answers(&*connection, &cx, &open).await;
        let mut again = Vec::new();
        for (query, answer) in open.into_iter().zip(answers) {
            let urn = query.urn().clone();
            match answer {
                Ok(observed) => drop(seen.found.insert(urn, observed)),
                Err(failure) if failure.retry != Retry::No && attempt < ATTEMPTS => again.push(query),
                Err(failure) => seen.failed.push((urn, failure)),
            }
        }
        open = again;
        if open.is_empty() {
            break;
        }
        if let Err(failure) = cx.sleep(wait).await {
            seen.failed
                .extend(open.iter().map(|query| (query.urn().clone(), failure.clone())));
            break;
        }
        wait *= 2;
    }
    seen
}

/// One answer for each query, whatever the provider gave.
async fn answers(
    connection: &dyn Connection,
    cx: &Call,
    queries: &[Query],
) -> Vec<Result<Observed, Failure>> {
    let mut answers = connection.observe(cx, queries).await;
    answers.resize_with(queries.len(), || {
        Err(Failure::new("NoAnswer", "the provider did not answer a query"))
    });
    answers
}
