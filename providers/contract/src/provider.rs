//! The [`Provider`] and [`Connection`] traits, and the data that crosses them.

use std::sync::Arc;

use async_trait::async_trait;

use crate::call::{Call, Partial, Token};
use crate::check::{Problem, check};
use crate::diff::{Diff, diff, drift};
use crate::failure::Failure;
use crate::schema::KindSchema;
use crate::urn::{Key, Kind, Urn};
use crate::value::{Resolved, Value};

/// What a program wants of a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// Its name in epid.
    pub urn: Urn,
    /// Its kind.
    pub kind: Kind,
    /// Its properties: a map, perhaps with unknown and secret values.
    pub properties: Value,
}

/// What epid last did to a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its name in epid.
    pub urn: Urn,
    /// Its kind, with the API version it was applied in.
    pub kind: Kind,
    /// Its physical id.
    pub id: Arc<str>,
    /// The properties that were last applied.
    pub applied: Value,
    /// Defaults the provider chose for what was not given; they stick.
    pub resolved: Value,
    /// What the provider said of it afterwards.
    pub outputs: Value,
    /// What is still to be done, where the last operation did not finish; empty otherwise.
    pub incomplete: Vec<String>,
    /// The inputs of updates that did not finish, the oldest first: what they set may stand though `applied` does not
    /// say so. Empty once an update has finished.
    pub attempted: Vec<Value>,
}

impl Record {
    /// Everything that was ever sent and may stand: `applied`, and over it what was attempted. Of a text or number the
    /// last counts; lists have the elements of all. Whoever takes away what is not desired any more asks this.
    #[must_use]
    pub fn sent(&self) -> Value {
        let all = self.attempted.iter();
        all.fold(self.applied.clone(), |sent, attempt| both(&sent, attempt))
    }
}

/// What stands in either; where they contradict, `newer`.
fn both(older: &Value, newer: &Value) -> Value {
    match (older, newer) {
        (Value::Secret(_), _) | (_, Value::Secret(_)) => both(older.expose(), newer.expose()).into_secret(),
        (Value::Map(a), Value::Map(b)) => {
            let one = |key: &Arc<str>| match (a.get(key), b.get(key)) {
                (Some(a), Some(b)) => both(a, b),
                (a, b) => a.or(b).cloned().unwrap_or_default(),
            };
            Value::map(a.keys().chain(b.keys()).map(|key| (key.clone(), one(key))))
        }
        (Value::List(a), Value::List(b)) => {
            let added = b.iter().filter(|item| !a.contains(item));
            Value::list(a.iter().chain(added).cloned())
        }
        (older, Value::Null) => older.clone(),
        _ => newer.clone(),
    }
}

/// What a create or an update made.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The physical id.
    pub id: Arc<str>,
    /// Outputs: a map.
    pub outputs: Value,
    /// Defaults the provider chose for what was not given: a map.
    pub resolved: Value,
    /// What is still to be done; empty where all is.
    pub incomplete: Vec<String>,
}

impl Recorded {
    /// A finished resource without provider-chosen defaults.
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>, outputs: Value) -> Self {
        Self {
            id: id.into(),
            outputs,
            resolved: Value::Map(crate::Map::default()),
            incomplete: Vec::new(),
        }
    }
}

/// True where what the cloud will call a resource ([`Provider::identity`], [`Field::in_name`](crate::Field::in_name)) is made of
/// something secret in its inputs: names are in lists, ids and messages of the cloud, and no secret there.
#[must_use]
pub fn is_named_by_secret(provider: &dyn Provider, kind: &Kind, inputs: &Value) -> bool {
    if !inputs.has_secret() {
        return false;
    }
    let schema = provider.schema(kind);
    let mut fields = schema.iter().flat_map(|schema| &schema.inputs.fields);
    if fields.any(|field| field.in_name && inputs.get(&field.name).is_some_and(Value::has_secret)) {
        return true;
    }
    let veiled = inputs.replaced(&mut |value| {
        matches!(value, Value::Secret(_)).then(|| Value::unknown("a secret").into_secret())
    });
    let named = provider.identity(kind, inputs);
    named.is_some() && named != provider.identity(kind, &veiled)
}

/// One resource to look for.
#[derive(Debug, Clone)]
pub enum Query {
    /// The resource of a record: is it still there, and how does it look?
    Record(Box<Record>),
    /// A resource by physical id, to import it.
    Id {
        /// The name it will have.
        urn: Urn,
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: Arc<str>,
    },
    /// The resource that a create with these inputs would collide with; or, for a lookup, what it finds.
    Inputs {
        /// The name it will have.
        urn: Urn,
        /// Its kind.
        kind: Kind,
        /// The inputs.
        inputs: Resolved,
    },
}

impl Query {
    /// The resource's name in epid.
    #[must_use]
    pub fn urn(&self) -> &Urn {
        match self {
            Self::Record(record) => &record.urn,
            Self::Id { urn, .. } | Self::Inputs { urn, .. } => urn,
        }
    }

    /// The resource's kind.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        match self {
            Self::Record(record) => &record.kind,
            Self::Id { kind, .. } | Self::Inputs { kind, .. } => kind,
        }
    }
}

/// What exists.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// Provably nothing. A read that failed is a [`Failure`], never this.
    Absent,
    /// Something.
    Present(Box<Present>),
}

/// A resource as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Present {
    /// Its physical id.
    pub id: Arc<str>,
    /// Its inputs as the service tells them, in the shape of declared properties.
    pub properties: Value,
    /// Its outputs.
    pub outputs: Value,
    /// The stack and resource that own it by tag or annotation, where it carries one.
    pub owner: Option<Owner>,
}

/// Who owns a cloud resource, as its tags (`epid:lineage`, `epid:urn`) or annotations say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The lineage of the owning stack.
    pub lineage: Arc<str>,
    /// The owning resource, where it is told.
    pub urn: Option<Urn>,
}

/// What a call was to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// Make it.
    Create,
    /// Change it in place.
    Update,
    /// Remove it.
    Delete,
    /// Read it: a lookup.
    Read,
}

/// A call that was begun and of whose outcome nothing was written.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The operation's token.
    pub token: Token,
    /// What it was to do.
    pub operation: Operation,
    /// The resource.
    pub urn: Urn,
    /// Its kind.
    pub kind: Kind,
    /// The exact inputs it was begun with; empty for a delete.
    pub inputs: Resolved,
    /// The record before, for an update or a delete.
    pub record: Option<Record>,
    /// The last durable note of the operation, where it wrote one.
    pub partial: Option<Partial>,
}

/// What became of an intent.
#[derive(Debug, Clone, PartialEq)]
pub enum Recovered {
    /// Nothing happened, provably: it can be begun anew.
    NotDone,
    /// It was done, and this is what exists now.
    Done(Recorded),
    /// Something exists that was not finished; an update finishes it.
    Partial(Partial),
    /// It is gone: a delete took effect.
    Deleted,
}

/// What links a resource to others without a reference between them. Matched within one connection.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Links {
    /// What it makes possible: `namespace/shop`, `kind/elbv2.k8s.aws/TargetGroupBinding`.
    pub provides: Vec<Arc<str>>,
    /// What it needs, in the same words; ignored where nothing in the program provides it.
    pub requires: Vec<Requirement>,
    /// It has effects outside its container (a load balancer, a volume) and is never left to die with it.
    pub outside: bool,
}

/// One thing a resource needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    /// What: `namespace/shop`.
    pub what: Arc<str>,
    /// How closely.
    pub bond: Bond,
}

/// How closely a resource is tied to what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// It comes after.
    Needs,
    /// It is replaced with it, and has to be deleted before it: a Fargate profile and its cluster.
    Upon,
    /// It is replaced and deleted with it: an object and its namespace.
    Inside,
}

/// A family of kinds, without credentials: everything here is pure and synchronous, so that planning does no I/O.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The first part of its kinds: `aws`.
    fn name(&self) -> &str;

    /// The kinds it can name, for suggestions and completion. Kinds beyond these may have a schema too.
    fn kinds(&self) -> Vec<Kind>;

    /// The schema of a kind; `None` where it has no such kind.
    fn schema(&self, kind: &Kind) -> Option<Arc<KindSchema>>;

    /// The schema of the provider's own configuration: the properties of `[providers.NAME]`.
    fn config(&self) -> Arc<KindSchema>;

    /// Everything wrong with desired properties. The default checks the schema.
    fn check(&self, desired: &Desired) -> Vec<Problem> {
        self.schema(&desired.kind)
            .map(|schema| check(&schema, &desired.properties))
            .unwrap_or_default()
    }

    /// The changes from what was applied to what is desired. The default compares by the schema.
    fn diff(&self, record: &Record, desired: &Desired) -> Diff {
        self.schema(&desired.kind)
            .map(|s| diff(&s, &record.applied, &desired.properties))
            .unwrap_or_default()
    }

    /// The changes from what was applied to what is there: drift. The default compares by the schema.
    fn drift(&self, record: &Record, present: &Present) -> Diff {
        self.schema(&record.kind)
            .map(|s| drift(&s, &record.applied, &present.properties))
            .unwrap_or_default()
    }

    /// What the cloud will call it, within one connection; `None` where only the create tells.
    fn identity(&self, kind: &Kind, inputs: &Value) -> Option<Key>;

    /// What links it to other resources without a reference. The default: nothing.
    fn links(&self, desired: &Desired) -> Links {
        let _ = desired;
        Links::default()
    }

    /// Opens a connection with a resolved configuration. No resource is touched.
    ///
    /// # Errors
    /// Where the configuration or the credentials cannot be used.
    async fn connect(&self, cx: &Call, config: &Resolved) -> Result<Arc<dyn Connection>, Failure>;
}

/// A configured provider: the only thing that talks to a cloud.
///
/// Every operation is safe to repeat with the same token; deleting what is gone succeeds.
#[async_trait]
pub trait Connection: Send + Sync {
    /// What it is connected to, such that another identity means other resources: `aws/000000000000/us-east-1`, a
    /// cluster's UID. Credentials and endpoints are not identity.
    fn identity(&self) -> &str;

    /// Reads, in as few requests as the service allows. One answer for each query, in order.
    async fn observe(&self, cx: &Call, queries: &[Query]) -> Vec<Result<Observed, Failure>>;

    /// Makes a resource.
    ///
    /// # Errors
    /// A [`Failure`] whose outcome says what is known. Code `AlreadyExists` where something has its name.
    async fn create(&self, cx: &Call, kind: &Kind, inputs: &Resolved) -> Result<Recorded, Failure>;

    /// Changes a resource in place, and finishes an incomplete one.
    ///
    /// # Errors
    /// A [`Failure`] whose outcome says what is known.
    async fn update(&self, cx: &Call, record: &Record, inputs: &Resolved) -> Result<Recorded, Failure>;

    /// Removes a resource and returns once it is gone.
    ///
    /// # Errors
    /// A [`Failure`] whose outcome says what is known.
    async fn delete(&self, cx: &Call, record: &Record) -> Result<(), Failure>;

    /// Finds out what became of a call whose answer was lost. The request may have been sent a moment ago, whenever the call
    /// was begun: where absence counts only after a while, that while begins with the first look here.
    ///
    /// # Errors
    /// Where that cannot be told yet; nothing is assumed then.
    async fn recover(&self, cx: &Call, intent: &Intent) -> Result<Recovered, Failure>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_was_attempted_counts_as_sent() {
        let kind = Kind::parse("a:b:C").unwrap();
        let record = Record {
            urn: Urn::new("p", "s", &kind, "x"),
            kind,
            id: "x".into(),
            applied: value(r#"{"name":"x","list":[1,2],"map":{"a":1},"gone":"g"}"#),
            resolved: Value::default(),
            outputs: Value::default(),
            incomplete: vec!["finish".to_owned()],
            attempted: vec![
                value(r#"{"name":"x","list":[2,3],"map":{"b":2}}"#),
                value(r#"{"name":"y","list":[],"map":{"a":3},"gone":null}"#),
            ],
        };
        assert_eq!(
            record.sent(),
            value(r#"{"name":"y","list":[1,2,3],"map":{"a":3,"b":2},"gone":"g"}"#)
        );
    }
}
