//! One call: begun durably, tried again where that is safe, and looked into where its answer is lost.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use epid_provider::{
    Call, CallRuntime, Connection, Failure, Kind, Observed, Operation, Outcome, Partial, Provider, Query,
    Record, Recorded, Recovered, Resolved, Retry, Timestamp, Token, Urn,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc::UnboundedSender;

use super::clock::Clock;
use super::connections::Source;
use super::control::{Control, Stop};
use crate::plan::StepId;
use crate::state::{JournalEntry, Session, StateError, Ticket};

/// For so long after an intent is written the lock counts as checked: a call is sent within that time, or it is checked again.
const SOON: Duration = Duration::from_secs(2);
/// The first wait before a call is tried again; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a lost answer is looked for, beyond the call's own time.
pub(super) const SEARCH: Duration = Duration::from_secs(300);
/// How often an operation that provably did nothing after a lost answer is sent again.
const RESENDS: u32 = 5;
/// How long past its deadline a call may go on before it is cancelled, and before it is given up: a service that does not
/// answer holds up nobody.
const GRACE: Duration = Duration::from_secs(10);
const GIVEN_UP: Duration = Duration::from_secs(12);
/// How long a connection is tried for, and how long one try may take: nothing has begun yet.
const CONNECTING: Duration = Duration::from_secs(8);
const ANSWERING: Duration = Duration::from_secs(60);

/// What running calls share.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) session: Arc<Session>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) control: Control,
    pub(super) notes: UnboundedSender<Note>,
    pub(super) lineage: Arc<str>,
}

/// What a running call tells the dispatcher.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) step: StepId,
    pub(super) what: Noted,
}

#[derive(Debug)]
pub(super) enum Noted {
    Progress(String),
    Retrying(Failure, Duration),
}

/// What to call.
pub(super) enum Job {
    /// Change something: begun with a ticket.
    Change {
        operation: Operation,
        kind: Kind,
        inputs: Resolved,
        record: Option<Box<Record>>,
        begin: Ticket,
    },
    /// Look for something.
    Look(Box<Query>),
}

/// What became of a call.
#[derive(Debug)]
pub(super) enum Report {
    /// Its intent could not be written, or the lock was lost since; nothing was sent, or nothing came of it.
    NotBegun(StateError),
    /// It did what it was to do; nothing is made by a delete.
    Done(Option<Recorded>),
    /// It left something half done.
    Half(Partial, Failure),
    /// What it was to update is gone.
    Gone(Failure),
    /// Nothing happened.
    Failed(Failure),
    /// Nobody can tell.
    Unclear(Failure),
    /// What was looked for.
    Seen(Observed),
    /// A provider's connection.
    Connected(Connected),
}

pub(super) struct Connected(pub(super) Arc<dyn Connection>);

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.identity())
    }
}

impl Means {
    /// The call of a step.
    pub(super) fn call(&self, step: StepId, urn: &Urn, token: &Token, timeout: Duration) -> Call {
        let deadline = self.clock.now().after(timeout);
        let runtime = Runtime {
            means: self.clone(),
            step,
            token: token.clone(),
            deadline,
        };
        Call::new(
            urn.clone(),
            token.clone(),
            self.lineage.clone(),
            deadline,
            Arc::new(runtime),
        )
    }

    /// Waits between two attempts. False where the run was told to stop meanwhile.
    async fn pause(&self, duration: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.control.reached(Stop::Drain) => false,
            () = self.clock.sleep(duration) => true,
        }
    }

    /// What comes of a call within a time; where it does not come back, nobody knows.
    async fn within<T>(
        &self,
        time: Duration,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            answer = call => answer,
            () = self.clock.sleep(time) => {
                let message = format!("there was no answer for {} s", time.as_secs());
                Err(Failure::new("NoAnswer", message)
                    .with_outcome(Outcome::Unknown)
                    .with_retry(Retry::Yes)
                    .with_hint("check the network and the endpoint"))
            }
        }
    }

    fn note(&self, step: StepId, what: Noted) {
        // The dispatcher may be gone after a second Ctrl-C; nobody listens then.
        drop(self.notes.send(Note { step, what }));
    }
}

struct Runtime {
    means: Means,
    step: StepId,
    token: Token,
    deadline: Timestamp,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("step", &self.step)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl CallRuntime for Runtime {
    fn now(&self) -> Timestamp {
        self.means.clock.now()
    }

    async fn sleep(&self, duration: Duration) {
        self.means.clock.sleep(duration).await;
    }

    async fn cancelled(&self) {
        let late = self.deadline.after(GRACE).since(self.now());
        tokio::select! {
            biased;
            () = self.means.control.reached(Stop::Cancel) => {}
            () = self.means.clock.sleep(late) => {}
        }
    }

    fn progress(&self, _urn: &Urn, phrase: &str) {
        self.means.note(self.step, Noted::Progress(phrase.to_owned()));
    }

    async fn checkpoint(&self, _urn: &Urn, partial: &Partial) -> Result<(), Failure> {
        let session = &self.means.session;
        let failed = |error: StateError| Failure::new("Journal", error);
        let entry = JournalEntry::Checkpoint {
            token: self.token.clone(),
            partial: partial.clone(),
        };
        let ticket = session.append(entry).map_err(failed)?;
        session.durable(ticket).await.map_err(failed)
    }
}

/// Doubling waits.
struct Waits(Duration);

impl Waits {
    fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (self.0 * 2).min(LONGEST_WAIT);
        wait
    }
}

/// Connects a provider.
pub(super) async fn connect(
    provider: Arc<dyn Provider>,
    config: Resolved,
    cx: Call,
    step: StepId,
    means: Means,
) -> Report {
    match connected(&means, step, &cx, || provider.connect(&cx, &config)).await {
        Ok(connection) => Report::Connected(Connected(connection)),
        Err(failure) => Report::Failed(failure),
    }
}

/// Connects, for a while.
async fn connected<F>(
    means: &Means,
    step: StepId,
    cx: &Call,
    connect: impl Fn() -> F + Send,
) -> Result<Arc<dyn Connection>, Failure>
where
    F: Future<Output = Result<Arc<dyn Connection>, Failure>> + Send,
{
    let mut waits = Waits(FIRST_WAIT);
    let begun = means.clock.now();
    loop {
        let failure = match means.within(ANSWERING, connect()).await {
            Ok(connection) => return Ok(connection),
            Err(failure) => failure.with_outcome(Outcome::NotStarted),
        };
        let late = means.clock.now().since(begun) >= CONNECTING;
        if late || !again(means, step, cx, &failure, &mut waits).await {
            return Err(failure);
        }
    }
}

/// Carries a job out.
pub(super) async fn execute(job: Job, source: Source, cx: Call, step: StepId, means: Means) -> Report {
    // Before it waits: the lock may be checked well before that is told here.
    let begun = means.clock.now();
    if let Job::Change { begin, .. } = &job
        && let Err(error) = means.session.durable(*begin).await
    {
        return Report::NotBegun(error);
    }
    let connection = match connected(&means, step, &cx, || source.get(&cx)).await {
        Ok(connection) => connection,
        Err(failure) => return Report::Failed(failure),
    };
    // Connecting may take longer than a lock lasts that was lost meanwhile.
    if matches!(job, Job::Change { .. })
        && means.clock.now().since(begun) > SOON
        && let Err(error) = means.session.check_lock().await
    {
        return Report::NotBegun(error);
    }
    match job {
        Job::Look(query) => look(&*connection, *query, &cx, step, &means).await,
        Job::Change {
            operation,
            kind,
            inputs,
            record,
            ..
        } => {
            let sending = Sending {
                connection: &*connection,
                operation,
                kind: &kind,
                inputs: &inputs,
                record: record.as_deref(),
            };
            sending.run(&cx, step, &means).await
        }
    }
}

async fn look(connection: &dyn Connection, query: Query, cx: &Call, step: StepId, means: &Means) -> Report {
    let mut waits = Waits(FIRST_WAIT);
    let queries = [query];
    loop {
        let seen = async { Ok(connection.observe(cx, &queries).await) };
        let seen = means.within(cx.remaining() + GIVEN_UP, seen).await;
        match seen.map_or_else(|late| Some(Err(late)), |seen| seen.into_iter().next()) {
            Some(Ok(observed)) => return Report::Seen(observed),
            Some(Err(failure)) => {
                if !again(means, step, cx, &failure, &mut waits).await {
                    return Report::Failed(failure.with_outcome(Outcome::NotStarted));
                }
            }
            None => return Report::Failed(Failure::new("NoAnswer", "the provider did not answer a query")),
        }
    }
}

/// True, after a wait, where a call of which nothing happened is to be tried again.
async fn again(means: &Means, step: StepId, cx: &Call, failure: &Failure, waits: &mut Waits) -> bool {
    let wait = waits.next();
    if failure.retry == Retry::No || cx.remaining() <= wait || means.control.stop() > Stop::No {
        return false;
    }
    means.note(step, Noted::Retrying(failure.clone(), wait));
    means.pause(wait).await
}

/// A mutating operation on its way.
pub(super) struct Sending<'a> {
    pub(super) connection: &'a dyn Connection,
    pub(super) operation: Operation,
    pub(super) kind: &'a Kind,
    pub(super) inputs: &'a Resolved,
    pub(super) record: Option<&'a Record>,
}

impl Sending<'_> {
    pub(super) async fn send(&self, cx: &Call) -> Result<Option<Recorded>, Failure> {
        match (self.operation, self.record) {
            (Operation::Create, _) => self.connection.create(cx, self.kind, self.inputs).await.map(Some),
            (Operation::Update, Some(record)) => {
                self.connection.update(cx, record, self.inputs).await.map(Some)
            }
            (Operation::Delete, Some(record)) => self.connection.delete(cx, record).await.map(|()| None),
            _ => Err(Failure::new("NoRecord", "there is no record of what to change")),
        }
    }

    async fn run(&self, cx: &Call, step: StepId, means: &Means) -> Report {
        let mut waits = Waits(FIRST_WAIT);
        let mut resends = 0;
        loop {
            let sent = means.within(cx.remaining() + GIVEN_UP, self.send(cx)).await;
            let failure = match sent {
                Ok(made) => return Report::Done(made),
                Err(failure) => failure,
            };
            match failure.outcome.clone() {
                Outcome::Partial(partial) => return Report::Half(*partial, failure),
                Outcome::NotStarted => {
                    if !again(means, step, cx, &failure, &mut waits).await {
                        return Report::Failed(failure);
                    }
                    if let Err(error) = means.session.check_lock().await {
                        return Report::NotBegun(error);
                    }
                }
                Outcome::Unknown => match self.look_into(cx, step, means, &failure).await {
                    Ok(Recovered::NotDone) => {
                        resends += 1;
                        let nothing = failure.with_outcome(Outcome::NotStarted).with_retry(Retry::Yes);
                        if resends > RESENDS || !again(means, step, cx, &nothing, &mut waits).await {
                            return Report::Failed(nothing);
                        }
                        if let Err(error) = means.session.check_lock().await {
                            return Report::NotBegun(error);
                        }
                    }
                    Ok(Recovered::Done(made)) => return Report::Done(Some(made)),
                    Ok(Recovered::Deleted) if self.operation == Operation::Delete => {
                        return Report::Done(None);
                    }
                    Ok(Recovered::Deleted) => return Report::Gone(failure),
                    Ok(Recovered::Partial(partial)) => {
                        return self.finish(partial, failure, cx, step, means).await;
                    }
                    Err(failure) => return Report::Unclear(failure),
                },
            }
        }
    }

    /// Finishes what a create made in part before its answer was lost, by the update that the next run would send. What an
    /// update left in part is for the next run: it was repeated to find out.
    fn finish<'a>(
        &'a self,
        partial: Partial,
        lost: Failure,
        cx: &'a Call,
        step: StepId,
        means: &'a Means,
    ) -> BoxFuture<'a, Report> {
        let finished = async move {
            let record = means.session.with(|snapshot| {
                let intent = snapshot.intents.get(&cx.token)?;
                Some(intent.entry.record.clone())
            });
            let creates = self.operation == Operation::Create && means.control.stop() < Stop::Cancel;
            let Some(record) = record.filter(|_| creates) else {
                let failure = Failure {
                    message: format!("{}; `{}` is there and not finished", lost.message, partial.id),
                    ..lost
                };
                return Report::Half(partial, failure.with_hint("the next `epid up` finishes it"));
            };
            if let Err(failure) = cx.checkpoint(&partial).await {
                return Report::Half(partial, failure);
            }
            if let Err(error) = means.session.check_lock().await {
                return Report::Unclear(Failure::new("Lock", error).with_outcome(Outcome::Unknown));
            }
            let record = Record {
                id: partial.id.clone(),
                outputs: partial.outputs.clone(),
                incomplete: partial.incomplete.clone(),
                ..record
            };
            let update = Sending {
                operation: Operation::Update,
                record: Some(&record),
                ..*self
            };
            match update.run(cx, step, means).await {
                Report::Failed(failure) => Report::Half(partial, failure),
                // An update need not say again what was told of it.
                Report::Half(later, failure) => {
                    let outputs = partial.outputs.merged(&later.outputs);
                    Report::Half(Partial { outputs, ..later }, failure)
                }
                report => report,
            }
        };
        finished.boxed()
    }

    /// Finds out what became of a call whose answer was lost; nothing is sent again before that.
    async fn look_into(
        &self,
        cx: &Call,
        step: StepId,
        means: &Means,
        lost: &Failure,
    ) -> Result<Recovered, Failure> {
        let intent = means
            .session
            .with(|snapshot| snapshot.intents.get(&cx.token).map(|i| i.to_provider()));
        let Some(Ok(intent)) = intent else {
            return Err(lost.clone());
        };
        let timeout = cx.remaining().max(SEARCH);
        let search = means.call(step, &cx.urn, &cx.token, timeout);
        means.note(
            step,
            Noted::Progress("the answer was lost: finding out what became of it".to_owned()),
        );
        search_for(self.connection, &search, &intent, means, Stop::Cancel)
            .await
            .map_err(|failure| Failure {
                message: format!(
                    "{}; what became of it cannot be told yet: {}",
                    lost.message, failure.message
                ),
                outcome: Outcome::Unknown,
                ..lost.clone()
            })
    }
}

/// Asks a provider what became of an intent until it can tell, the time is over, or the run is told to stop that far.
pub(super) async fn search_for(
    connection: &dyn Connection,
    cx: &Call,
    intent: &epid_provider::Intent,
    means: &Means,
    until: Stop,
) -> Result<Recovered, Failure> {
    let mut waits = Waits(FIRST_WAIT);
    loop {
        // It may repeat an update.
        if let Err(error) = means.session.check_lock().await {
            return Err(Failure::new("Lock", error).with_outcome(Outcome::Unknown));
        }
        let found = means.within(cx.remaining() + GIVEN_UP, connection.recover(cx, intent));
        let failure = match found.await {
            Ok(recovered) => return Ok(recovered),
            Err(failure) => failure,
        };
        let wait = waits.next();
        if means.control.stop() >= until || cx.remaining() <= wait {
            return Err(failure);
        }
        tokio::select! {
            biased;
            () = means.control.reached(until) => return Err(failure),
            () = means.clock.sleep(wait) => {}
        }
    }
}
