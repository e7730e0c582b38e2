//! Calls of an earlier run whose outcome was not written: each is looked into, and what is found is recorded.

use std::pin::pin;
use std::sync::Arc;

use epid_provider::{Failure, Observed, Operation, Query, Record, Recovered};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::call::{Means, SEARCH, search_for};
use super::changes;
use super::connections::{Connections, Source};
use super::control::Stop;
use super::dispatcher::PATIENCE;
use super::event::{Event, Fate, Trouble};
use super::executor::Executor;
use super::outcome::RecoveredIntent;
use crate::plan::StepId;
use crate::state::{Change, Ending, Intent, JournalEntry, RunResult, Snapshot, StateError, Ticket};

/// Looks into all of them at once; each is recorded as soon as it is known, and durable with the last. What is found is a run of its
/// own.
pub(super) async fn all(
    executor: &Executor<'_>,
    means: &Means,
    events: &mut dyn FnMut(Event),
) -> Result<Vec<RecoveredIntent>, StateError> {
    let mut intents: Vec<Arc<Intent>> = executor
        .session
        .with(|snapshot| snapshot.intents.values().cloned().collect());
    intents.sort_by(|a, b| (a.begun, &a.token).cmp(&(b.begun, &b.token)));
    let mut recorded = false;
    let mut result = RunResult::Done;
    let mut connections = Connections::default();
    let mut searches = FuturesUnordered::new();
    for intent in intents {
        let key = intent.before.as_deref().unwrap_or(&intent.entry).provider.clone();
        let kind = &intent.entry.record.kind;
        let source = executor
            .session
            .with(|snapshot| connections.source(snapshot, executor.providers, key.as_ref(), kind));
        let around = executor
            .session
            .with(|snapshot| containers(snapshot, executor, &mut connections, &intent));
        searches.push(async move {
            let found = match source {
                Ok(source) => search(&intent, &source, means)
                    .await
                    .map_err(|f| Trouble::from(&f)),
                Err(trouble) => Err(trouble),
            };
            let found = match found {
                Err(_) if !is_stopped(means) && is_gone(&intent, around, means).await => {
                    Ok(match intent.operation {
                        Operation::Create | Operation::Read => Recovered::NotDone,
                        Operation::Update | Operation::Delete => Recovered::Deleted,
                    })
                }
                found => found,
            };
            (intent, found)
        });
    }
    let mut found = Vec::new();
    // To find out, a provider may repeat an update: what is on its way is waited for.
    let mut given_up = pin!(async {
        means.control.reached(Stop::Cancel).await;
        means.clock.sleep(PATIENCE).await;
    });
    loop {
        let next = tokio::select! {
            biased;
            next = searches.next() => next,
            () = &mut given_up => {
                result = RunResult::Interrupted;
                break;
            }
        };
        let Some((intent, recovered)) = next else { break };
        let told = match recovered {
            Ok(recovered) => {
                let fate = fate(&intent, &recovered);
                if !std::mem::replace(&mut recorded, true) {
                    let run = JournalEntry::Run(executor.run.clone());
                    let _ticket = executor.session.append(run)?;
                }
                match record(executor, means, &intent, recovered) {
                    Ok(_ticket) => Ok(fate),
                    // It does not keep the others from being recorded.
                    Err(StateError::Invalid(invalid)) => Err(Trouble::new("Journal", invalid.to_string())),
                    Err(error) => return Err(error),
                }
            }
            Err(_) if is_stopped(means) => {
                result = RunResult::Interrupted;
                continue;
            }
            Err(problem) => Err(problem),
        };
        let fate = match told {
            Ok(fate) => fate,
            Err(problem) => {
                if result == RunResult::Done {
                    result = RunResult::Failed;
                }
                Fate::Unclear {
                    problem: Trouble {
                        unclear: true,
                        ..problem
                    },
                }
            }
        };
        let urn = intent.entry.urn().clone();
        events(Event::Recovered {
            urn: urn.clone(),
            operation: intent.operation,
            fate: fate.clone(),
            at: means.clock.now(),
        });
        found.push(RecoveredIntent { urn, fate });
    }
    if recorded {
        let at = means.clock.now();
        let ticket = executor.session.append(JournalEntry::Close { result, at })?;
        executor.session.durable(ticket).await?;
    }
    Ok(found)
}

fn is_stopped(means: &Means) -> bool {
    means.control.stop() > Stop::No
}

/// What an intent's resource is in, inside out, and how to ask for each.
fn containers(
    snapshot: &Snapshot,
    executor: &Executor<'_>,
    connections: &mut Connections,
    intent: &Intent,
) -> Vec<(Record, Source)> {
    let mut found = Vec::new();
    let mut within = intent.entry.deleted_with.as_ref();
    while let Some(entry) = within.and_then(|urn| snapshot.live(urn)) {
        let (key, kind) = (entry.provider.as_ref(), &entry.record.kind);
        if let Ok(source) = connections.source(snapshot, executor.providers, key, kind) {
            found.push((entry.record.clone(), source));
        }
        within = entry.deleted_with.as_ref();
    }
    found
}

/// True where something that an intent's resource is in provably exists no more: nobody could ever be asked about it.
async fn is_gone(intent: &Intent, around: Vec<(Record, Source)>, means: &Means) -> bool {
    let cx = means.call(StepId(0), intent.entry.urn(), &intent.token, SEARCH);
    for (record, source) in around {
        let Ok(connection) = source.get(&cx).await else {
            continue;
        };
        let seen = connection.observe(&cx, &[Query::Record(Box::new(record))]).await;
        if matches!(seen.as_slice(), [Ok(Observed::Absent)]) {
            return true;
        }
    }
    false
}

async fn search(intent: &Intent, source: &Source, means: &Means) -> Result<Recovered, Failure> {
    let asked = intent.to_provider().map_err(|error| {
        Failure::new("Unresolved", format_args!("the inputs of the call are {error}"))
            .with_hint("open the state with the key of its secrets")
    })?;
    let cx = means.call(StepId(0), intent.entry.urn(), &intent.token, SEARCH);
    let connection = source.get(&cx).await?;
    if is_stopped(means) {
        return Err(Failure::new("Stopped", "nobody was asked any more"));
    }
    search_for(&*connection, &cx, &asked, means, Stop::Drain).await
}

fn fate(intent: &Intent, recovered: &Recovered) -> Fate {
    match recovered {
        Recovered::NotDone => Fate::NotDone,
        Recovered::Done(made) if made.incomplete.is_empty() => Fate::Done,
        Recovered::Done(made) => Fate::Partial {
            incomplete: made.incomplete.clone(),
        },
        Recovered::Partial(partial) => Fate::Partial {
            incomplete: partial.incomplete.clone(),
        },
        Recovered::Deleted if intent.operation == Operation::Delete => Fate::Done,
        Recovered::Deleted => Fate::NotDone,
    }
}

fn record(
    executor: &Executor<'_>,
    means: &Means,
    intent: &Intent,
    recovered: Recovered,
) -> Result<Ticket, StateError> {
    let schema = executor.providers.schema(&intent.entry.record.kind);
    let schema = schema.as_deref();
    let (ending, changes) = executor.session.with(|snapshot| match recovered {
        Recovered::NotDone => (Ending::Failed, Vec::new()),
        Recovered::Deleted if intent.operation == Operation::Delete => {
            (Ending::Done, deleted(snapshot, intent))
        }
        Recovered::Deleted => (Ending::Failed, changes::vanished(intent)),
        Recovered::Done(made) => (
            Ending::Done,
            changes::done(snapshot, intent, Some(made), schema, &[]),
        ),
        Recovered::Partial(partial) => (
            Ending::Failed,
            changes::half_done(snapshot, intent, &partial, schema, &[]),
        ),
    });
    executor.session.append(JournalEntry::End {
        token: Some(intent.token.clone()),
        ending,
        changes,
        at: means.clock.now(),
    })
}

/// What a delete took with it is found by what was recorded, as there is no plan.
fn deleted(snapshot: &Snapshot, intent: &Intent) -> Vec<Change> {
    let container = intent.before.as_deref().unwrap_or(&intent.entry);
    let takes = changes::inside(snapshot, container);
    changes::done(snapshot, intent, None, None, &takes)
}
