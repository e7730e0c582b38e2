//! A sandbox, a connection to it, and calls on its clock.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use epid_aws::{Aws, Settings};
use epid_provider::{
    Call, CallRuntime, Connection, Failure, Kind, Observed, Partial, Provider, Query, Record, Recorded,
    Resolved, Timestamp, Token, Urn, Value, async_trait,
};
use epid_sandbox::{Clock, FaultScript, MemoryStore, Sandbox, Settings as World};

pub(crate) const ACCOUNT: &str = "000000000000";

/// The engine's side of a call: the sandbox's clock, notes and phrases kept.
#[derive(Debug)]
pub(crate) struct Runtime {
    clock: Clock,
    pub(crate) notes: Mutex<Vec<Partial>>,
    pub(crate) phrases: Mutex<Vec<String>>,
}

#[async_trait]
impl CallRuntime for Runtime {
    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now().as_millis())
    }

    async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    async fn cancelled(&self) {
        std::future::pending::<()>().await;
    }

    fn progress(&self, _urn: &Urn, phrase: &str) {
        self.phrases.lock().unwrap().push(phrase.to_owned());
    }

    async fn checkpoint(&self, _urn: &Urn, partial: &Partial) -> Result<(), Failure> {
        self.notes.lock().unwrap().push(partial.clone());
        Ok(())
    }
}

/// A world of its own, with the provider connected to it.
pub(crate) struct Lab {
    sandbox: Sandbox,
    pub(crate) provider: Aws,
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) runtime: Arc<Runtime>,
    minted: std::sync::atomic::AtomicU64,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with_faults(FaultScript::default()).await
    }

    pub(crate) async fn with_faults(faults: FaultScript) -> Self {
        let base = epid_sandbox::Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
        let world = World {
            seed: 7,
            faults,
            ..World::default()
        };
        let sandbox =
            Sandbox::open(Box::new(MemoryStore::default()), Clock::starting_at(base), world).unwrap();
        let (service, clock) = (sandbox.clone(), sandbox.clock().clone());
        let handler = move |request: http::Request<Bytes>| {
            let service = service.clone();
            async move { service.call(request).await }
        };
        let now = move || SystemTime::UNIX_EPOCH + Duration::from_millis(clock.wall().as_millis());
        let provider = Aws::new(Settings::simulated(handler, now));
        let runtime = Arc::new(Runtime {
            clock: sandbox.clock().clone(),
            notes: Mutex::default(),
            phrases: Mutex::default(),
        });
        let urn = Urn::new("p", "s", &Kind::parse("epid:provider:aws").unwrap(), "aws");
        let call = call(&runtime, &urn, &Token::from_bytes([1; 16]));
        let connection = provider.connect(&call, &Resolved::default()).await.unwrap();
        Self {
            sandbox,
            provider,
            connection,
            runtime,
            minted: std::sync::atomic::AtomicU64::new(0),
        }
    }

    pub(crate) fn urn(kind: &str, name: &str) -> Urn {
        Urn::new("health", "dev", &Kind::parse(kind).unwrap(), name)
    }

    /// A call with a token of its own.
    pub(crate) fn call(&self, urn: &Urn) -> Call {
        let n = self.minted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.call_with(
            urn,
            &Token::from_bytes((u128::from(n) << 64 | 0xabcd).to_be_bytes()),
        )
    }

    pub(crate) fn call_with(&self, urn: &Urn, token: &Token) -> Call {
        call(&self.runtime, urn, token)
    }

    /// Makes a resource and gives its record.
    pub(crate) async fn make(&self, kind: &str, name: &str, inputs: Value) -> Result<Record, Failure> {
        let urn = Self::urn(kind, name);
        let call = self.call(&urn);
        let kind = Kind::parse(kind).unwrap();
        let made = self
            .connection
            .create(&call, &kind, &Resolved::new(inputs.clone()).unwrap())
            .await?;
        Ok(record(&urn, &kind, inputs, made))
    }

    /// Changes a resource and gives its new record.
    pub(crate) async fn change(&self, record: &Record, inputs: Value) -> Result<Record, Failure> {
        let call = self.call(&record.urn);
        let made = self
            .connection
            .update(&call, record, &Resolved::new(inputs.clone()).unwrap())
            .await?;
        Ok(self::record(&record.urn, &record.kind, inputs, made))
    }

    pub(crate) async fn remove(&self, record: &Record) -> Result<(), Failure> {
        self.connection.delete(&self.call(&record.urn), record).await
    }

    pub(crate) async fn observe(&self, query: Query) -> Result<Observed, Failure> {
        let call = self.call(query.urn());
        self.connection.observe(&call, &[query]).await.remove(0)
    }

    #[expect(dead_code, reason = "clusters, which need a network, land next")]
    /// A request in EC2's protocol without any client; the text of the first element of that name.
    pub(crate) async fn ec2(&self, action: &str, pairs: &[(&str, &str)], element: &str) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action)
            .append_pair("Version", "2016-11-15");
        for (key, value) in pairs {
            form.append_pair(key, value);
        }
        let scope = "AKIATEST/20261122/us-east-1/ec2/aws4_request";
        let request = http::Request::post("https://ec2.us-east-1.amazonaws.com/")
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
            )
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(form.finish()))
            .unwrap();
        let answer = self.sandbox.call(request).await.unwrap();
        let body = http_body_util::BodyExt::collect(answer.into_body())
            .await
            .unwrap()
            .to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let open = format!("<{element}>");
        let found = body.split(&open).nth(1).and_then(|rest| rest.split('<').next());
        found
            .unwrap_or_else(|| panic!("no {element} in {body}"))
            .to_owned()
    }
}

pub(crate) fn call(runtime: &Arc<Runtime>, urn: &Urn, token: &Token) -> Call {
    let deadline = runtime.now().after(Duration::from_secs(3 * 3600));
    Call::new(
        urn.clone(),
        token.clone(),
        Arc::from("lineage-1"),
        deadline,
        runtime.clone(),
    )
}

pub(crate) fn record(urn: &Urn, kind: &Kind, inputs: Value, made: Recorded) -> Record {
    Record {
        urn: urn.clone(),
        kind: kind.clone(),
        id: made.id,
        applied: inputs,
        resolved: made.resolved,
        outputs: made.outputs,
        incomplete: made.incomplete,
    }
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A trust policy for one service.
pub(crate) fn trust(service: &str) -> Value {
    json(&format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"Service":"{service}"}},"Action":"sts:AssumeRole"}}]}}"#
    ))
}
