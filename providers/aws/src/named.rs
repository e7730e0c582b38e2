//! Kinds whose physical id follows from their inputs: IAM and EKS name everything, so a lost create is found by its name
//! and told from somebody else's by the tags it was made with.
//!
//! [`Named`] is what such a kind has to say; reading, repeating, finishing and recovering are the same for all of them
//! and live here.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use epid_provider::diff::{diff, drift};
use epid_provider::{
    Call, Desired, Diff, Failure, Intent, KindSchema, Map, Observed, Op, Operation, Outcome, Partial, Path,
    Present, Problem, Query, Record, Recorded, Recovered, Segment, Token, Urn, Value, async_trait,
};
use futures::{FutureExt, StreamExt};

use crate::clients::Clients;
use crate::failure::{of_sdk, without};
use crate::kind::{Cx, ResourceKind};
use crate::patience::Patience;
use crate::tags::{TOKEN, Tags};
use crate::wait::UNSEEN;

/// How long a name that a create was to take may stay invisible before its absence counts.
const QUIET: Duration = Duration::from_secs(15);
/// Between two looks.
pub(crate) const LOOK: Duration = Duration::from_secs(3);

/// Reads under way at once.
const READS: usize = 6;

/// What a read found.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The resource as it is.
    pub(crate) present: Present,
    /// The operation that made it, by its tag.
    pub(crate) token: Option<Arc<str>>,
    /// What keeps it from being finished, such as `become ACTIVE`; empty where nothing does.
    pub(crate) unfinished: Vec<String>,
    /// It is on its way out.
    pub(crate) leaving: bool,
}

/// One operation on one resource.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    /// Clients, account and region.
    pub(crate) aws: &'a Clients,
    /// The call.
    pub(crate) cx: &'a Call,
    /// The physical id.
    pub(crate) id: &'a str,
    /// Its record, where it is to be changed.
    pub(crate) record: Option<&'a Record>,
    changed: &'a AtomicBool,
}

impl Work<'_> {
    /// A request that changes something was answered: a failure from now on is not one of which nothing happened.
    pub(crate) fn changed(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    /// Whether an earlier request may have done something that is not recorded as done.
    pub(crate) fn is_unsure(&self) -> bool {
        self.record
            .is_some_and(|record| !record.incomplete.is_empty() || !record.attempted.is_empty())
    }

    /// Whether a property is not recorded for sure as `inputs` have it. It is sent then whatever a read says: that may be
    /// of before the last change.
    pub(crate) fn is_new(&self, applied: &Value, inputs: &Value, name: &str) -> bool {
        self.is_unsure() || applied.get(name) != inputs.get(name)
    }
}

/// A kind with names of its own.
#[async_trait]
pub(crate) trait Named: Send + Sync {
    /// Its schema.
    fn schema(&self) -> &KindSchema;

    /// Problems beyond the schema's.
    fn check(&self, properties: &Value) -> Vec<Problem> {
        let _ = properties;
        Vec::new()
    }

    /// The id that a create with these inputs takes; where a name is made up, only the operation tells it.
    fn id(&self, aws: &Clients, inputs: &Value, operation: Option<(&Urn, &Token)>) -> Option<String>;

    /// What two live resources cannot share, from the inputs alone.
    fn key(&self, inputs: &Value) -> Option<String>;

    /// The changes from what was applied to what is desired; the schema decides unless a kind knows better.
    fn diff(&self, record: &Record, desired: &Value) -> Diff
    where
        Self: Sized,
    {
        diff_of(self, record, desired)
    }

    /// Inputs that the service or epid chooses where they are not given, and that stick.
    fn chosen(&self) -> &'static [&'static str] {
        &[]
    }

    /// Reads it; `None` where it provably does not exist. `applied`: what epid last sent, where it did.
    async fn find(&self, work: Work<'_>, applied: Option<&Value>) -> Result<Option<Seen>, Failure>;

    /// The request that makes it, with the operation's token and the owner's tags. Code `AlreadyExists` where the name
    /// is taken.
    async fn make(&self, work: Work<'_>, inputs: &Value) -> Result<(), Failure>;

    /// What is left to do after `make`, for the durable note; empty where nothing is.
    fn afterwards(&self, inputs: &Value) -> Vec<String>;

    /// Waits until it is ready and changes whatever differs from `inputs`; safe to repeat. `applied`: all that was sent
    /// before, also by updates that did not finish; empty after a create. Only what stands there is ever taken away.
    async fn settle(&self, work: Work<'_>, applied: &Value, inputs: &Value) -> Result<(), Failure>;

    /// Removes it and returns once it is gone; nothing to do where it is.
    async fn remove(&self, work: Work<'_>) -> Result<(), Failure>;
}

/// The changes by the schema. What is declared for the first time and is as the service chose it is no change.
pub(crate) fn diff_of(kind: &dyn Named, record: &Record, desired: &Value) -> Diff {
    let mut before = record.applied.as_map().cloned().unwrap_or_default();
    for name in kind.chosen() {
        let wanted = desired.get(name).filter(|value| !value.is_null());
        if let (None, Some(chosen), Some(wanted)) = (before.get(name), record.resolved.get(name), wanted) {
            before = before.with(name, cut(chosen, wanted));
        }
    }
    diff(kind.schema(), &Value::Map(before), desired)
}

/// `chosen` with those entries only that `wanted` has too.
fn cut(chosen: &Value, wanted: &Value) -> Value {
    match (chosen, wanted) {
        (Value::Map(chosen), Value::Map(wanted)) => Value::map(chosen.iter().filter_map(|(key, value)| {
            let wanted = wanted.get(key)?;
            Some((key.clone(), cut(value, wanted)))
        })),
        _ => chosen.clone(),
    }
}

/// Reads one resource.
pub(crate) async fn observe(
    kind: &dyn Named,
    aws: &Clients,
    cx: &Call,
    query: &Query,
) -> Result<Observed, Failure> {
    let (id, applied) = match query {
        Query::Record(record) => (Some(record.id.to_string()), Some(&record.applied)),
        Query::Id { id, .. } => (Some(id.to_string()), None),
        Query::Inputs { inputs, .. } => (kind.id(aws, &inputs.reveal(), None), None),
    };
    let Some(id) = id else {
        // A name that is made up collides with nothing.
        return Ok(Observed::Absent);
    };
    match look(kind, aws, cx, &id, applied).await? {
        None => Ok(Observed::Absent),
        Some(seen) if seen.leaving => Err(Failure::new(
            "Deleting",
            format_args!("{id} is being deleted by somebody"),
        )
        .with_hint("wait until it is gone, then run the command again")),
        Some(seen) => Ok(Observed::Present(Box::new(seen.present))),
    }
}

async fn look(
    kind: &dyn Named,
    aws: &Clients,
    cx: &Call,
    id: &str,
    applied: Option<&Value>,
) -> Result<Option<Seen>, Failure> {
    let changed = AtomicBool::new(false);
    let work = Work {
        aws,
        cx,
        id,
        record: None,
        changed: &changed,
    };
    kind.find(work, applied).await
}

/// Makes a resource and returns once it is ready.
pub(crate) async fn create(
    kind: &dyn Named,
    aws: &Clients,
    cx: &Call,
    inputs: &Value,
) -> Result<Recorded, Failure> {
    let id = kind
        .id(aws, inputs, Some((&cx.urn, &cx.token)))
        .ok_or_else(|| Failure::new("NoName", "the inputs do not say what it is called"))?;
    let changed = AtomicBool::new(false);
    let work = Work {
        aws,
        cx,
        id: &id,
        record: None,
        changed: &changed,
    };
    if let Err(failure) = kind.make(work, inputs).await {
        if failure.code != "AlreadyExists" {
            return Err(failure);
        }
        if !is_mine(kind, work).await? {
            return Err(failure.with_hint(
                "give it another name, or take the existing one over with the option `import` or `adopt`",
            ));
        }
    }
    let left = kind.afterwards(inputs);
    let partial = |incomplete: Vec<String>| Partial {
        id: Arc::from(id.as_str()),
        outputs: Value::Map(Map::default()),
        incomplete,
    };
    if !left.is_empty() {
        cx.checkpoint(&partial(left.clone())).await?;
    }
    let finished = async {
        settled(kind, work, &Value::Null, inputs).await?;
        visible(kind, work, inputs).await
    };
    match finished.await {
        Ok(seen) => Ok(recorded(kind, inputs, &seen)),
        Err(failure) => {
            let left = if left.is_empty() {
                vec!["finish".to_owned()]
            } else {
                left
            };
            Err(failure.with_outcome(Outcome::Partial(Box::new(partial(left)))))
        }
    }
}

/// Whether what has the name was made by an earlier try of this very operation, whose answer was lost. A read may lag
/// behind that try, and show nothing or what had the name before.
async fn is_mine(kind: &dyn Named, work: Work<'_>) -> Result<bool, Failure> {
    let first = work.cx.now();
    loop {
        let token = match kind.find(work, None).await? {
            Some(Seen { token: None, .. }) => return Ok(false),
            seen => seen.and_then(|seen| seen.token),
        };
        if token.as_deref() == Some(work.cx.token.as_str()) {
            return Ok(true);
        }
        if work.cx.now().since(first) >= QUIET {
            return Ok(false);
        }
        work.cx.progress("looking whose the name is");
        work.cx.sleep(LOOK).await?;
    }
}

/// Changes a resource, or finishes it.
pub(crate) async fn update(
    kind: &dyn Named,
    aws: &Clients,
    cx: &Call,
    record: &Record,
    inputs: &Value,
) -> Result<Recorded, Failure> {
    let changed = AtomicBool::new(false);
    let work = Work {
        aws,
        cx,
        id: &record.id,
        record: Some(record),
        changed: &changed,
    };
    let finished = async {
        settled(kind, work, &record.sent(), inputs).await?;
        visible(kind, work, inputs).await
    };
    match finished.await {
        Ok(seen) => Ok(recorded(kind, inputs, &seen)),
        Err(failure) if changed.load(Ordering::Relaxed) || !record.incomplete.is_empty() => {
            let partial = Partial {
                id: record.id.clone(),
                outputs: Value::Map(Map::default()),
                incomplete: vec!["finish the update".to_owned()],
            };
            Err(failure.with_outcome(Outcome::Partial(Box::new(partial))))
        }
        Err(failure) => Err(failure),
    }
}

/// Settles, and again where a request does not know what another has seen: one may lag behind the other.
async fn settled(kind: &dyn Named, work: Work<'_>, applied: &Value, inputs: &Value) -> Result<(), Failure> {
    let lagging = |failure: &Failure| {
        let unknown = matches!(failure.code.as_str(), "NoSuchEntity" | "NotFound");
        unknown.then_some("waiting until it is known everywhere")
    };
    let patience = Patience {
        budget: UNSEEN,
        pause: LOOK,
        waits: &lagging,
    };
    let settle = || kind.settle(work, applied, inputs);
    patience.send(work.cx, settle).await
}

/// What was just made or changed, read back; it may take a moment to show.
async fn visible(kind: &dyn Named, work: Work<'_>, inputs: &Value) -> Result<Seen, Failure> {
    let begun = work.cx.now();
    loop {
        match kind.find(work, Some(inputs)).await? {
            Some(seen) => return Ok(seen),
            None if work.cx.now().since(begun) >= QUIET => return Err(gone(work.id)),
            None => work.cx.sleep(LOOK).await?,
        }
    }
}

/// The failure of changing what is not there; `recover` finds that out again and says so.
pub(crate) fn gone(id: &str) -> Failure {
    Failure::new("NotFound", format_args!("{id} does not exist any more")).with_outcome(Outcome::Unknown)
}

/// Removes a resource.
pub(crate) async fn delete(kind: &dyn Named, aws: &Clients, cx: &Call, id: &str) -> Result<(), Failure> {
    let changed = AtomicBool::new(false);
    let work = Work {
        aws,
        cx,
        id,
        record: None,
        changed: &changed,
    };
    kind.remove(work).await.map_err(|failure| {
        if changed.load(Ordering::Relaxed) {
            failure.with_outcome(Outcome::Unknown)
        } else {
            failure
        }
    })
}

/// Finds out what became of an operation whose answer was lost.
pub(crate) async fn recover(
    kind: &dyn Named,
    aws: &Clients,
    cx: &Call,
    intent: &Intent,
) -> Result<Recovered, Failure> {
    let inputs = intent.inputs.reveal();
    match (intent.operation, &intent.record) {
        (Operation::Create, _) => {
            let known = intent.partial.as_ref().map(|partial| partial.id.to_string());
            let Some(id) = known.or_else(|| kind.id(aws, &inputs, Some((&intent.urn, &intent.token)))) else {
                return Ok(Recovered::NotDone);
            };
            // Not since it was begun: a request that was throttled may have been sent a moment ago.
            let first = cx.now();
            loop {
                match look(kind, aws, cx, &id, Some(&inputs)).await? {
                    Some(seen) if seen.token.as_deref() != Some(intent.token.as_str()) => {
                        return Ok(Recovered::NotDone);
                    }
                    Some(seen) if seen.leaving => cx.sleep(LOOK).await?,
                    Some(seen) => return Ok(made(kind, &inputs, &seen)),
                    None if cx.now().since(first) >= QUIET => return Ok(Recovered::NotDone),
                    None => cx.sleep(LOOK).await?,
                }
            }
        }
        (Operation::Update, Some(record)) => {
            let mut record = record.clone();
            record.attempted.push(inputs.clone());
            match look_again(kind, aws, cx, &record.id, Some(&record.sent())).await? {
                None => Ok(Recovered::Deleted),
                Some(seen) => Ok(updated(kind, &record, &inputs, &seen)),
            }
        }
        (Operation::Delete, Some(record)) => loop {
            match look_again(kind, aws, cx, &record.id, None).await? {
                None => return Ok(Recovered::Deleted),
                Some(seen) if seen.leaving => {
                    cx.progress("DELETING");
                    cx.sleep(LOOK).await?;
                }
                Some(_) => return Ok(Recovered::NotDone),
            }
        },
        _ => Ok(Recovered::NotDone),
    }
}

/// Reads what is recorded: it is gone only where that is said for a while.
async fn look_again(
    kind: &dyn Named,
    aws: &Clients,
    cx: &Call,
    id: &str,
    applied: Option<&Value>,
) -> Result<Option<Seen>, Failure> {
    let first = cx.now();
    loop {
        let seen = look(kind, aws, cx, id, applied).await?;
        if seen.is_some() || cx.now().since(first) >= UNSEEN {
            return Ok(seen);
        }
        cx.sleep(LOOK).await?;
    }
}

/// What became of an update to `inputs`, from what is seen of everything that was ever sent.
fn updated(kind: &dyn Named, record: &Record, inputs: &Value, seen: &Seen) -> Recovered {
    let wanted = diff(kind.schema(), &record.applied, inputs).changes;
    let done = made(kind, inputs, seen);
    // Whether what was to go has gone is not always seen in what was to stay.
    if matches!(done, Recovered::Done(_)) && !wanted.iter().any(|change| change.op == Op::Remove) {
        return done;
    }
    let there = &seen.present.properties;
    let missing = drift(kind.schema(), inputs, there).changes;
    let mut brought = wanted.iter().filter(|change| change.op != Op::Remove);
    let untouched = record.incomplete.is_empty()
        && seen.unfinished.is_empty()
        && drift(kind.schema(), &record.applied, there).is_empty()
        && brought.all(|change| {
            missing.iter().any(|missing| missing.path == change.path) || is_unset(there, &change.path)
        });
    if untouched {
        return Recovered::NotDone;
    }
    Recovered::Partial(Partial {
        id: seen.present.id.clone(),
        outputs: seen.present.outputs.clone(),
        incomplete: vec!["finish the update".to_owned()],
    })
}

/// Whether a property as a whole is not there, or is empty, which services do not tell apart.
fn is_unset(there: &Value, path: &Path) -> bool {
    let [Segment::Key(name)] = path.segments() else {
        return false;
    };
    match there.get(name).map(Value::expose) {
        None | Some(Value::Null) => true,
        Some(Value::List(items)) => items.is_empty(),
        Some(Value::Map(map)) => map.is_empty(),
        Some(_) => false,
    }
}

fn made(kind: &dyn Named, inputs: &Value, seen: &Seen) -> Recovered {
    let mut incomplete = seen.unfinished.clone();
    if incomplete.is_empty() && !drift(kind.schema(), inputs, &seen.present.properties).is_empty() {
        incomplete.push("finish".to_owned());
    }
    if incomplete.is_empty() {
        Recovered::Done(recorded(kind, inputs, seen))
    } else {
        Recovered::Partial(Partial {
            id: seen.present.id.clone(),
            outputs: seen.present.outputs.clone(),
            incomplete,
        })
    }
}

fn recorded(kind: &dyn Named, inputs: &Value, seen: &Seen) -> Recorded {
    let chosen = kind.chosen().iter().filter_map(|name| {
        let given = inputs.get(name).is_some_and(|value| !value.is_null());
        let value = seen.present.properties.get(name).filter(|_| !given)?;
        Some((*name, value.clone()))
    });
    Recorded {
        resolved: Value::map(chosen),
        ..Recorded::new(seen.present.id.clone(), seen.present.outputs.clone())
    }
}

/// A kind with names of its own, as the provider's table holds it.
pub(crate) struct OfName<K>(pub(crate) K);

#[async_trait]
impl<K: Named> ResourceKind for OfName<K> {
    fn schema(&self) -> KindSchema {
        self.0.schema().clone()
    }

    fn identity(&self, inputs: &Value) -> Option<String> {
        self.0.key(inputs)
    }

    fn check(&self, properties: &Value) -> Vec<Problem> {
        self.0.check(properties)
    }

    fn diff(&self, _schema: &KindSchema, record: &Record, desired: &Desired) -> Diff {
        self.0.diff(record, &desired.properties)
    }

    async fn observe(&self, cx: Cx<'_>, queries: &[&Query]) -> Vec<Result<Observed, Failure>> {
        // Neither IAM nor EKS lists what is asked here; many single reads at once would only be throttled.
        let mut reads = Vec::with_capacity(queries.len());
        for query in queries {
            reads.push(observe(&self.0, cx.clients, cx.call, query).boxed());
        }
        futures::stream::iter(reads).buffered(READS).collect().await
    }

    async fn create(&self, cx: Cx<'_>, inputs: &Value) -> Result<Recorded, Failure> {
        create(&self.0, cx.clients, cx.call, inputs).await
    }

    async fn update(&self, cx: Cx<'_>, record: &Record, inputs: &Value) -> Result<Recorded, Failure> {
        update(&self.0, cx.clients, cx.call, record, inputs).await
    }

    async fn delete(&self, cx: Cx<'_>, record: &Record) -> Result<(), Failure> {
        delete(&self.0, cx.clients, cx.call, &record.id).await
    }

    async fn find_created(&self, cx: Cx<'_>, intent: &Intent) -> Result<Option<Present>, Failure> {
        let inputs = intent.inputs.reveal();
        let Some(id) = self.0.id(cx.clients, &inputs, Some((&intent.urn, &intent.token))) else {
            return Ok(None);
        };
        let seen = look(&self.0, cx.clients, cx.call, &id, Some(&inputs)).await?;
        let mine = seen.filter(|seen| seen.token.as_deref() == Some(intent.token.as_str()));
        Ok(mine.map(|seen| seen.present))
    }

    fn quiet(&self) -> Duration {
        QUIET
    }

    async fn recover(&self, cx: Cx<'_>, intent: &Intent) -> Result<Recovered, Failure> {
        recover(&self.0, cx.clients, cx.call, intent).await
    }
}

/// The failure of an SDK call. `action` as IAM policies spell it: `iam:CreateRole`.
pub(crate) fn sdk<E>(action: &'static str) -> impl Fn(SdkError<E, HttpResponse>) -> Failure + Send
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    move |error| of_sdk(error, action)
}

/// The very thing that was asked for: an answer without it does not say that there is none.
pub(crate) fn there<T>(action: &str, member: &str, thing: Option<T>) -> Result<T, Failure> {
    thing.ok_or_else(|| without(action, member))
}

/// The operation that made what carries these tags.
pub(crate) fn token_of(tags: &Tags) -> Option<Arc<str>> {
    tags.get(TOKEN).map(|token| Arc::from(token.as_str()))
}
