//! A connection of the provider to the sandbox, or to an emulator over HTTP, on a clock of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use epid_aws::{Aws, Settings};
use epid_provider::{
    Call, CallRuntime, Connection, Desired, Failure, Intent, Kind, Observed, Operation, Present, Provider,
    Query, Record, Recorded, Resolved, Token, Urn, Value,
};
use epid_sandbox::{Clock, FaultScript, MemoryStore, Sandbox};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use crate::runtime::Runtime;

/// How much faster than the wall an emulator's time passes: it answers at once, and what it lacks is waited for in full.
const EMULATED: f64 = 100.0;

/// 22 November 2026, 10:00 UTC.
const START: u64 = 1_795_341_600_000;

/// What tests drive the provider with.
pub(crate) struct Rig {
    /// The provider.
    pub(crate) aws: Aws,
    /// Its connection.
    pub(crate) connection: Arc<dyn Connection>,
    /// What calls are told and tell.
    pub(crate) runtime: Arc<Runtime>,
    minted: Mutex<u128>,
}

/// An answer that the sandbox did not give.
fn whole(text: String) -> UnsyncBoxBody<bytes::Bytes, std::io::Error> {
    let body = http_body_util::Full::new(bytes::Bytes::from(text));
    body.map_err(|never| match never {}).boxed_unsync()
}

/// Reads that do not see yet what is there: of one `Describe…` call, as many as are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lag(Arc<Mutex<(String, u32)>>);

impl Lag {
    /// From now on, the next `reads` of `action` see nothing.
    pub(crate) fn hide(&self, action: &str, reads: u32) {
        *self.0.lock().unwrap() = (action.to_owned(), reads);
    }

    fn hides(&self, body: &[u8]) -> Option<String> {
        let mut lag = self.0.lock().unwrap();
        let (action, left) = &mut *lag;
        let asked = format!("Action={action}&");
        if *left == 0 || !body.starts_with(asked.as_bytes()) {
            return None;
        }
        *left -= 1;
        // Whatever is listed, the client takes any list's name.
        Some(format!("<{action}Response><vpcSet/></{action}Response>"))
    }
}

impl Rig {
    /// In a new sandbox without faults.
    pub(crate) async fn sandbox() -> Self {
        Self::faulty(FaultScript::default()).await
    }

    /// In a new sandbox with faults.
    pub(crate) async fn faulty(faults: FaultScript) -> Self {
        Self::lagging(faults, Lag::default()).await
    }

    /// In a new sandbox with faults, some of whose reads lag behind.
    pub(crate) async fn lagging(faults: FaultScript, lag: Lag) -> Self {
        let clock = Clock::starting_at(epid_sandbox::Timestamp::from_millis(START));
        let settings = epid_sandbox::Settings {
            faults,
            ..epid_sandbox::Settings::default()
        };
        let sandbox = Sandbox::open(Box::new(MemoryStore::default()), clock, settings).unwrap();
        let clock = sandbox.clock().clone();
        let now = clock.clone();
        let handler = move |request: http::Request<bytes::Bytes>| {
            let (sandbox, hidden) = (sandbox.clone(), lag.hides(request.body()));
            async move {
                if let Some(answer) = hidden {
                    return Ok(http::Response::new(whole(answer)));
                }
                let answer = sandbox.call(request).await;
                answer.map(|answer| answer.map(BodyExt::boxed_unsync))
            }
        };
        let now = move || SystemTime::UNIX_EPOCH + Duration::from_millis(now.now().as_millis());
        Self::connect(Settings::simulated(handler, now), clock).await
    }

    /// With an emulator of all services at `endpoint`.
    pub(crate) async fn emulator(endpoint: &str) -> Self {
        let clock = Clock::scaled(epid_sandbox::Timestamp::from_millis(START), EMULATED);
        let settings = Settings::ordinary()
            .with_endpoint(endpoint)
            .with_credentials("AKIAEMULATOR00000000", "emulator");
        Self::connect(settings, clock).await
    }

    async fn connect(settings: Settings, clock: Clock) -> Self {
        let runtime = Arc::new(Runtime::on(clock));
        let aws = Aws::new(settings);
        let urn = urn("epid:provider:aws", "aws");
        let config = value(r#"{"region":"us-east-1","defaultTags":{"team":"platform"}}"#);
        let cx = call(&runtime, &urn, &Token::from_bytes([0; 16]));
        let connection = aws.connect(&cx, &Resolved::new(config).unwrap()).await.unwrap();
        Self {
            aws,
            connection,
            runtime,
            minted: Mutex::new(1),
        }
    }

    /// A call of a resource with a new token.
    pub(crate) fn call(&self, urn: &Urn) -> Call {
        let mut minted = self.minted.lock().unwrap();
        *minted += 1;
        let token = Token::from_bytes(((*minted << 64) | u128::from(u64::MAX)).to_be_bytes());
        call(&self.runtime, urn, &token)
    }

    /// Makes a resource and its record.
    pub(crate) async fn create(&self, kind: &str, name: &str, inputs: Value) -> Result<Record, Failure> {
        let cx = self.call(&urn(kind, name));
        let made = self
            .connection
            .create(&cx, &cx_kind(kind), &resolved(&inputs))
            .await?;
        Ok(record(kind, name, inputs, made))
    }

    /// Makes a resource that a test needs.
    pub(crate) async fn made(&self, kind: &str, name: &str, inputs: Value) -> Record {
        self.create(kind, name, inputs).await.unwrap()
    }

    /// Changes a resource.
    pub(crate) async fn update(&self, record: &Record, inputs: Value) -> Result<Record, Failure> {
        let cx = self.call(&record.urn);
        let made = self.connection.update(&cx, record, &resolved(&inputs)).await?;
        Ok(self::record(
            record.kind.as_str(),
            record.urn.name(),
            inputs,
            made,
        ))
    }

    /// Removes a resource.
    pub(crate) async fn delete(&self, record: &Record) -> Result<(), Failure> {
        self.connection.delete(&self.call(&record.urn), record).await
    }

    /// Reads one.
    pub(crate) async fn observe(&self, query: Query) -> Result<Option<Present>, Failure> {
        let cx = self.call(query.urn());
        match self.connection.observe(&cx, &[query]).await.remove(0)? {
            Observed::Present(present) => Ok(Some(*present)),
            Observed::Absent => Ok(None),
        }
    }

    /// Reads that of a record.
    pub(crate) async fn look(&self, record: &Record) -> Option<Present> {
        self.observe(Query::Record(Box::new(record.clone())))
            .await
            .unwrap()
    }

    /// The changes from what was applied to what is there, for people.
    pub(crate) async fn drift(&self, record: &Record) -> Vec<String> {
        let present = self.look(record).await.expect("it is there");
        let drift = self.aws.drift(record, &present);
        drift
            .changes
            .iter()
            .map(|change| change.path.to_string())
            .collect()
    }

    /// The intent of a create.
    pub(crate) fn intent(&self, cx: &Call, kind: &str, inputs: &Value) -> Intent {
        Intent {
            token: cx.token.clone(),
            operation: Operation::Create,
            urn: cx.urn.clone(),
            kind: cx_kind(kind),
            inputs: resolved(inputs),
            record: None,
            partial: None,
        }
    }

    /// The messages of everything wrong with properties.
    pub(crate) fn problems(&self, kind: &str, properties: Value) -> Vec<String> {
        let desired = Desired {
            urn: urn(kind, "x"),
            kind: cx_kind(kind),
            properties,
        };
        self.aws
            .check(&desired)
            .into_iter()
            .map(|problem| problem.message)
            .collect()
    }

    /// The phrases shown so far.
    pub(crate) fn phrases(&self) -> Vec<String> {
        self.runtime.phrases.lock().unwrap().clone()
    }
}

/// A call of an hour.
pub(crate) fn call(runtime: &Arc<Runtime>, urn: &Urn, token: &Token) -> Call {
    call_for(runtime, urn, token, Duration::from_secs(3600))
}

/// A call that must have ended after `time`.
pub(crate) fn call_for(runtime: &Arc<Runtime>, urn: &Urn, token: &Token, time: Duration) -> Call {
    let deadline = runtime.now().after(time);
    Call::new(
        urn.clone(),
        token.clone(),
        "test-lineage".into(),
        deadline,
        runtime.clone(),
    )
}

fn cx_kind(kind: &str) -> Kind {
    Kind::parse(kind).unwrap()
}

fn record(kind: &str, name: &str, applied: Value, made: Recorded) -> Record {
    Record {
        urn: urn(kind, name),
        kind: cx_kind(kind),
        id: made.id,
        applied,
        resolved: made.resolved,
        outputs: made.outputs,
        incomplete: made.incomplete,
        attempted: Vec::new(),
    }
}

/// The URN of a resource of the test's stack.
pub(crate) fn urn(kind: &str, name: &str) -> Urn {
    Urn::new("conformance", "suite", &cx_kind(kind), name)
}

/// Values that are all known.
pub(crate) fn resolved(value: &Value) -> Resolved {
    Resolved::new(value.clone()).unwrap()
}

/// A value of JSON.
pub(crate) fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

/// A value of JSON in which `$name` stands for a text.
pub(crate) fn filled(json: &str, names: &[(&str, &str)]) -> Value {
    let names: BTreeMap<&str, &str> = names.iter().copied().collect();
    // The longest name first, so that `$subnet` does not cut `$subnetB`.
    let text = names.iter().rev().fold(json.to_owned(), |text, (name, id)| {
        text.replace(&format!("${name}"), id)
    });
    value(&text)
}
