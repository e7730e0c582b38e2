//! The provider `epid`: kinds that live in the state alone and need no cloud. It is always there, and needs no provider node.
//!
//! | kind | what it is |
//! |---|---|
//! | `epid:data:Value` | a value with a name and a life of its own; a change of `triggers` replaces it |
//! | `epid:tls:SelfSignedCertificate` | a key and a certificate for it, made once and kept, as webhooks need them |
//!
//! Knows the provider contract only. A create is one call that touches nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use epid_provider::{
    Call, Connection, Desired, Durations, Failure, Field, Intent, Key, Kind, KindSchema, Map, Object,
    Observed, Operation, Output, Path, Present, Problem, Provider, Query, Record, Recorded, Recovered,
    Resolved, Type, Value, check,
};

/// Certificates last ten years where the program does not say: nobody renews them in between.
const VALIDITY_DAYS: i64 = 3650;
/// The longest a certificate may last.
const MOST_DAYS: i64 = 36_500;
const DAY: Duration = Duration::from_secs(86_400);

/// The provider `epid`.
#[derive(Debug, Clone)]
pub struct Builtin {
    value: Arc<KindSchema>,
    certificate: Arc<KindSchema>,
    config: Arc<KindSchema>,
}

impl Default for Builtin {
    fn default() -> Self {
        Self::new()
    }
}

fn kind(text: &str) -> Kind {
    Kind::parse(text).unwrap_or_else(|error| unreachable!("a constant: {error}"))
}

fn schema(name: &str, doc: &str, fields: impl IntoIterator<Item = Field>) -> KindSchema {
    let mut schema = KindSchema::new(kind(name), doc, Object::of(fields));
    schema.expected = Durations {
        create: Duration::ZERO,
        update: Duration::ZERO,
        delete: Duration::ZERO,
    };
    schema
}

impl Builtin {
    /// The provider.
    #[must_use]
    pub fn new() -> Self {
        let value = schema(
            "epid:data:Value",
            "A value with a name: what it holds is read as its property `value`.",
            [
                Field::new("value", Type::Any).doc("What it holds."),
                Field::new("triggers", Type::Any).immutable().doc(
                    "Anything; where it changes, the resource is replaced, and what refers to it follows.",
                ),
            ],
        );
        let mut certificate = schema(
            "epid:tls:SelfSignedCertificate",
            "A private key and a certificate that it signed itself, made once and kept until an input changes.",
            [
                Field::new("commonName", Type::String)
                    .required()
                    .immutable()
                    .doc("The common name of the subject."),
                Field::new("dnsNames", Type::list(Type::String))
                    .immutable()
                    .doc("Host names and IP addresses it is valid for."),
                Field::new("validityDays", Type::Int)
                    .immutable()
                    .default(VALIDITY_DAYS)
                    .doc("How many days it is valid, from the moment it is made; 1 to 36500."),
            ],
        );
        certificate.outputs = vec![
            Output::new("certificate", "The certificate, as PEM."),
            Output::new("privateKey", "The private key (ECDSA P-256, PKCS #8), as PEM.").secret(),
        ];
        Self {
            value: Arc::new(value),
            certificate: Arc::new(certificate),
            config: Arc::new(schema("epid:provider:epid", "Needs no configuration.", [])),
        }
    }
}

#[async_trait]
impl Provider for Builtin {
    fn name(&self) -> &str {
        "epid"
    }

    fn kinds(&self) -> Vec<Kind> {
        vec![self.value.kind.clone(), self.certificate.kind.clone()]
    }

    fn schema(&self, kind: &Kind) -> Option<Arc<KindSchema>> {
        [&self.value, &self.certificate]
            .into_iter()
            .find(|schema| schema.kind == *kind)
            .cloned()
    }

    fn config(&self) -> Arc<KindSchema> {
        self.config.clone()
    }

    fn check(&self, desired: &Desired) -> Vec<Problem> {
        let Some(schema) = self.schema(&desired.kind) else {
            return Vec::new();
        };
        let mut problems = check(&schema, &desired.properties);
        let days = desired
            .properties
            .get("validityDays")
            .map(Value::expose)
            .and_then(Value::as_int);
        if let Some(days) = days.filter(|days| !(1..=MOST_DAYS).contains(days)) {
            let path = Path::root().key("validityDays");
            problems.push(Problem::new(
                path,
                format!("{days} is not between 1 and {MOST_DAYS} days"),
            ));
        }
        problems
    }

    fn identity(&self, _kind: &Kind, _inputs: &Value) -> Option<Key> {
        None
    }

    async fn connect(&self, _cx: &Call, _config: &Resolved) -> Result<Arc<dyn Connection>, Failure> {
        Ok(Arc::new(Here {
            certificate: self.certificate.kind.clone(),
        }))
    }
}

/// The connection to nowhere.
struct Here {
    certificate: Kind,
}

#[async_trait]
impl Connection for Here {
    fn identity(&self) -> &str {
        "epid"
    }

    /// What is recorded is what there is.
    async fn observe(&self, _cx: &Call, queries: &[Query]) -> Vec<Result<Observed, Failure>> {
        let look = |query: &Query| match query {
            Query::Record(record) => Ok(Observed::Present(Box::new(Present {
                id: record.id.clone(),
                properties: record.applied.clone(),
                outputs: record.outputs.clone(),
                owner: None,
            }))),
            Query::Id { kind, .. } => Err(Failure::new(
                "NotImportable",
                format_args!("{kind} lives in the state alone and cannot be imported"),
            )),
            Query::Inputs { .. } => Ok(Observed::Absent),
        };
        queries.iter().map(look).collect()
    }

    async fn create(&self, cx: &Call, kind: &Kind, inputs: &Resolved) -> Result<Recorded, Failure> {
        let outputs = if *kind == self.certificate {
            certificate(cx, inputs.value())?
        } else {
            Value::Map(Map::default())
        };
        Ok(Recorded::new(cx.token.as_str(), outputs))
    }

    async fn update(&self, _cx: &Call, record: &Record, _inputs: &Resolved) -> Result<Recorded, Failure> {
        Ok(Recorded::new(record.id.clone(), record.outputs.clone()))
    }

    async fn delete(&self, _cx: &Call, _record: &Record) -> Result<(), Failure> {
        Ok(())
    }

    /// An answer that was not written was lost for good, and a delete leaves nothing.
    async fn recover(&self, _cx: &Call, intent: &Intent) -> Result<Recovered, Failure> {
        Ok(match intent.operation {
            Operation::Delete => Recovered::Deleted,
            Operation::Create | Operation::Update | Operation::Read => Recovered::NotDone,
        })
    }
}

fn certificate(cx: &Call, inputs: &Value) -> Result<Value, Failure> {
    let refused = |error: rcgen::Error| {
        Failure::new(
            "InvalidParameter",
            format_args!("no certificate can be made: {error}"),
        )
    };
    let text = |value: &Value| value.expose().as_str().map(str::to_owned);
    let names = inputs
        .get("dnsNames")
        .map(Value::expose)
        .and_then(Value::as_list)
        .unwrap_or_default();
    let names: Vec<String> = names.iter().filter_map(text).collect();
    let mut params = rcgen::CertificateParams::new(names).map_err(refused)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let common_name = inputs.get("commonName").and_then(text).unwrap_or_default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, common_name);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let days = inputs
        .get("validityDays")
        .map(Value::expose)
        .and_then(Value::as_int);
    let days = days.unwrap_or(VALIDITY_DAYS).clamp(1, MOST_DAYS);
    let now = Duration::from_secs(cx.now().0 / 1000);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now;
    params.not_after = epoch + now + DAY * u32::try_from(days).unwrap_or(u32::MAX);
    let key = rcgen::KeyPair::generate().map_err(refused)?;
    let certificate = params.self_signed(&key).map_err(refused)?;
    let pem = Value::from(certificate.pem());
    // It holds its inputs, in base64.
    let pem = if inputs.has_secret() {
        pem.into_secret()
    } else {
        pem
    };
    Ok(Value::map([
        ("certificate", pem),
        ("privateKey", Value::from(key.serialize_pem()).into_secret()),
    ]))
}
