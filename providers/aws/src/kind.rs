//! What a kind of resource is to this provider, and the table of all kinds.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use epid_provider::{
    Call, Desired, Diff, Failure, Intent, Kind, KindSchema, Map, Observed, Operation, Outcome, Partial,
    Present, Problem, Query, Record, Recorded, Recovered, Retry, Value, diff, diff::drift,
};

use crate::clients::Clients;
use crate::wait::Pace;
use crate::{ec2, eks, iam, sts};

/// What an operation of a kind works with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cx<'a> {
    /// Time, progress, notes, token.
    pub(crate) call: &'a Call,
    /// The clients of the connection.
    pub(crate) clients: &'a Clients,
}

/// One kind of resource. The contract's promises hold for each method: see [`epid_provider::Connection`].
#[async_trait]
pub(crate) trait ResourceKind: Send + Sync {
    /// What it looks like.
    fn schema(&self) -> KindSchema;

    /// What AWS will call it, within the account and region; `None` where only the create tells.
    fn identity(&self, inputs: &Value) -> Option<String> {
        let _ = inputs;
        None
    }

    /// What is wrong with properties beyond the schema; values may be unknown.
    fn check(&self, properties: &Value) -> Vec<Problem> {
        let _ = properties;
        Vec::new()
    }

    /// The changes from what was applied to what is desired; the schema decides unless a kind knows better.
    fn diff(&self, schema: &KindSchema, record: &Record, desired: &Desired) -> Diff {
        diff(schema, &record.applied, &desired.properties)
    }

    /// The changes from what was applied to what is there.
    fn drift(&self, schema: &KindSchema, record: &Record, present: &Present) -> Diff {
        drift(schema, &record.applied, &present.properties)
    }

    /// Reads all of `queries`, all of this kind, in as few requests as the service allows. One answer each, in order.
    /// What is recorded is absent only where that is certain: not by one read that may lag.
    async fn observe(&self, cx: Cx<'_>, queries: &[&Query]) -> Vec<Result<Observed, Failure>>;

    /// Makes one and returns when it can be used.
    async fn create(&self, cx: Cx<'_>, inputs: &Value) -> Result<Recorded, Failure>;

    /// Makes it what `inputs` say, whatever it is now, and finishes an incomplete one. Safe to repeat.
    async fn update(&self, cx: Cx<'_>, record: &Record, inputs: &Value) -> Result<Recorded, Failure>;

    /// Removes it and returns when it is gone; fine where it is gone already.
    async fn delete(&self, cx: Cx<'_>, record: &Record) -> Result<(), Failure>;

    /// What the create of `intent` made, by client token, name or the tag `epid:token`; `None` where nothing is seen.
    async fn find_created(&self, cx: Cx<'_>, intent: &Intent) -> Result<Option<Present>, Failure>;

    /// What the service chose where `inputs` leave the choice; it sticks.
    fn resolved(&self, inputs: &Value, present: &Present) -> Value {
        let _ = (inputs, present);
        Value::Map(Map::default())
    }

    /// How long a lost create must be looked for before its absence counts; zero where a read sees it at once.
    fn quiet(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// What became of an intent. The default looks for what a create made, through the quiet period; repeats an
    /// update, which has the same effect twice; and looks whether a delete took effect.
    async fn recover(&self, cx: Cx<'_>, intent: &Intent) -> Result<Recovered, Failure> {
        match intent.operation {
            Operation::Create => recover_create(self, cx, intent).await,
            Operation::Update => recover_update(self, cx, intent).await,
            Operation::Delete | Operation::Read => recover_delete(self, cx, intent).await,
        }
    }
}

async fn recover_create<K: ResourceKind + ?Sized>(
    kind: &K,
    cx: Cx<'_>,
    intent: &Intent,
) -> Result<Recovered, Failure> {
    let mut pace = Pace::seconds(2, 10);
    // Not since it was begun: a request that was throttled may have been sent a moment ago.
    let first = cx.call.now();
    loop {
        let noted = intent.partial.as_ref().map(|partial| Query::Id {
            urn: intent.urn.clone(),
            kind: intent.kind.clone(),
            id: partial.id.clone(),
        });
        let found = match noted {
            Some(query) => one(kind, cx, &query).await?,
            None => kind.find_created(cx, intent).await?,
        };
        if let Some(present) = found {
            return Ok(finished(kind, intent, present));
        }
        if cx.call.now().since(first) >= kind.quiet() {
            return Ok(Recovered::NotDone);
        }
        pace.rest(cx.call, "looking for what the lost call made").await?;
    }
}

/// Whether what a create made is all that it was to be.
fn finished<K: ResourceKind + ?Sized>(kind: &K, intent: &Intent, present: Present) -> Recovered {
    let record = Record {
        urn: intent.urn.clone(),
        kind: intent.kind.clone(),
        id: present.id.clone(),
        applied: intent.inputs.reveal(),
        resolved: Value::Map(Map::default()),
        outputs: present.outputs.clone(),
        incomplete: Vec::new(),
        attempted: Vec::new(),
    };
    let missing = kind.drift(&kind.schema(), &record, &present);
    if missing.is_empty() {
        return Recovered::Done(Recorded {
            resolved: kind.resolved(&record.applied, &present),
            ..Recorded::new(present.id, present.outputs)
        });
    }
    Recovered::Partial(Partial {
        id: present.id,
        outputs: present.outputs,
        incomplete: missing
            .changes
            .iter()
            .map(|change| format!("set {}", change.path))
            .collect(),
    })
}

async fn recover_update<K: ResourceKind + ?Sized>(
    kind: &K,
    cx: Cx<'_>,
    intent: &Intent,
) -> Result<Recovered, Failure> {
    let Some(record) = &intent.record else {
        return Ok(Recovered::NotDone);
    };
    let recorded = Query::Record(Box::new(record.clone()));
    if one(kind, cx, &recorded).await?.is_none() {
        return Ok(Recovered::Deleted);
    }
    match update(kind, cx, record, &intent.inputs.reveal()).await {
        Ok(recorded) => Ok(Recovered::Done(recorded)),
        // The lost one may have done a part before it, so this is not one of which nothing happened.
        Err(refused) if refused.outcome == Outcome::NotStarted && refused.retry == Retry::No => {
            Ok(Recovered::Partial(half_updated(record)))
        }
        Err(failure) => match failure.outcome {
            Outcome::Partial(partial) => Ok(Recovered::Partial(*partial)),
            _ => Err(failure),
        },
    }
}

async fn recover_delete<K: ResourceKind + ?Sized>(
    kind: &K,
    cx: Cx<'_>,
    intent: &Intent,
) -> Result<Recovered, Failure> {
    let Some(record) = &intent.record else {
        return Ok(Recovered::NotDone);
    };
    let found = one(kind, cx, &Query::Record(Box::new(record.clone()))).await?;
    Ok(if found.is_some() {
        Recovered::NotDone
    } else {
        Recovered::Deleted
    })
}

/// Changes a resource. A failure after the first change is never one of which nothing happened: what was opened or
/// granted until then has to be known to whoever comes next.
pub(crate) async fn update<K: ResourceKind + ?Sized>(
    kind: &K,
    cx: Cx<'_>,
    record: &Record,
    inputs: &Value,
) -> Result<Recorded, Failure> {
    let clients = Clients {
        ec2: cx.clients.ec2.watched(),
        ..cx.clients.clone()
    };
    let watched = Cx {
        clients: &clients,
        ..cx
    };
    kind.update(watched, record, inputs).await.map_err(|failure| {
        let begun = clients.ec2.has_changed() || !record.incomplete.is_empty();
        if failure.outcome == Outcome::NotStarted && begun {
            failure.with_outcome(Outcome::Partial(Box::new(half_updated(record))))
        } else {
            failure
        }
    })
}

/// A resource of which an update changed a part, or may have.
fn half_updated(record: &Record) -> Partial {
    Partial {
        id: record.id.clone(),
        outputs: Value::Map(Map::default()),
        incomplete: vec!["finish the update".to_owned()],
    }
}

/// Reads one resource.
pub(crate) async fn one<K: ResourceKind + ?Sized>(
    kind: &K,
    cx: Cx<'_>,
    query: &Query,
) -> Result<Option<Present>, Failure> {
    match kind.observe(cx, &[query]).await.into_iter().next() {
        Some(Ok(Observed::Present(present))) => Ok(Some(*present)),
        Some(Ok(Observed::Absent)) => Ok(None),
        Some(Err(failure)) => Err(failure),
        None => Err(Failure::new("NoAnswer", "a query was not answered")),
    }
}

/// The kind of a literal name.
pub(crate) fn named(name: &'static str) -> Kind {
    Kind::parse(name).expect("a kind is `provider:module:Name`")
}

/// A kind with its schema.
pub(crate) struct Entry {
    pub(crate) schema: Arc<KindSchema>,
    pub(crate) kind: Box<dyn ResourceKind>,
}

/// Every kind of this provider, by name.
pub(crate) fn table() -> Vec<Entry> {
    let kinds = ec2::kinds()
        .into_iter()
        .chain(iam::kinds())
        .chain(sts::kinds())
        .chain(eks::kinds());
    let mut entries: Vec<Entry> = kinds
        .map(|kind| Entry {
            schema: Arc::new(kind.schema()),
            kind,
        })
        .collect();
    entries.sort_by(|a, b| a.schema.kind.as_str().cmp(b.schema.kind.as_str()));
    entries
}
