//! A sandbox, a connection to it, and calls on its clock.

#![expect(clippy::unwrap_used, reason = "a test that cannot ask has failed")]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use epid_aws::{Aws, Settings};
use epid_provider::{
    Call, CallRuntime, Connection, Failure, Kind, Observed, Provider, Query, Record, Recorded, Resolved,
    Token, Urn, Value,
};
use epid_sandbox::{Clock, FaultScript, MemoryStore, Sandbox, Settings as World};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use crate::runtime::Runtime;

pub(crate) const ACCOUNT: &str = "000000000000";

/// How much faster than the wall an emulator's time passes: it answers at once, and what it lacks is waited for in full.
const EMULATED: f64 = 100.0;

/// A world of its own, with the provider connected to it.
pub(crate) struct Lab {
    sandbox: Sandbox,
    pub(crate) provider: Aws,
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) runtime: Arc<Runtime>,
    /// How many of the next reads of a role see none.
    pub(crate) lagging: Arc<AtomicU64>,
    /// What is answered by something between here and AWS.
    pub(crate) alien: Arc<Mutex<Option<Alien>>>,
    minted: AtomicU64,
}

/// An answer that AWS does not give.
#[derive(Debug, Clone)]
pub(crate) struct Alien {
    /// A part of the requests that get it, of their method, path or form.
    pub(crate) to: &'static str,
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: &'static str,
    /// Whether it bears an id, as those of AWS do.
    pub(crate) has_id: bool,
}

impl Alien {
    fn answers(&self, request: &http::Request<Bytes>) -> bool {
        let form = String::from_utf8_lossy(request.body());
        format!("{} {} {form}&", request.method(), request.uri().path()).contains(self.to)
    }

    fn answer<E>(&self) -> http::Response<UnsyncBoxBody<Bytes, E>> {
        let mut answer = whole(self.body);
        *answer.status_mut() = http::StatusCode::from_u16(self.status).unwrap();
        let kind = http::HeaderValue::from_static(self.content_type);
        answer.headers_mut().insert("content-type", kind);
        if self.has_id {
            let id = http::HeaderValue::from_static("r-1");
            answer.headers_mut().insert("x-amzn-requestid", id);
        }
        answer
    }
}

/// An answer that is there as a whole.
fn whole<E>(body: &'static str) -> http::Response<UnsyncBoxBody<Bytes, E>> {
    let body = http_body_util::Full::new(Bytes::from(body));
    let body = body.map_err(|never: std::convert::Infallible| match never {});
    http::Response::new(body.boxed_unsync())
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
        let lagging = Arc::new(AtomicU64::new(0));
        let left = lagging.clone();
        let alien: Arc<Mutex<Option<Alien>>> = Arc::default();
        let between = alien.clone();
        let handler = move |request: http::Request<Bytes>| {
            let reads = request.body().starts_with(b"Action=GetRole&");
            let one_less = |left: u64| left.checked_sub(1).filter(|_| reads);
            let hidden = left.fetch_update(Relaxed, Relaxed, one_less).is_ok();
            let service = service.clone();
            let alien = between.lock().unwrap().clone();
            let alien = alien.filter(|alien| alien.answers(&request));
            async move {
                if let Some(alien) = alien {
                    return Ok(alien.answer());
                }
                if hidden {
                    let mut answer = whole(
                        "<ErrorResponse><Error><Type>Sender</Type><Code>NoSuchEntity</Code></Error></ErrorResponse>",
                    );
                    *answer.status_mut() = http::StatusCode::NOT_FOUND;
                    return Ok(answer);
                }
                let answer = service.call(request).await;
                answer.map(|answer| answer.map(BodyExt::boxed_unsync))
            }
        };
        let now = move || SystemTime::UNIX_EPOCH + Duration::from_millis(clock.wall().as_millis());
        let lab = Self::connected(Settings::simulated(handler, now), sandbox).await;
        Self {
            lagging,
            alien,
            ..lab
        }
    }

    /// The emulator at this address, in real time; the sandbox serves for its clock only.
    pub(crate) async fn emulator(endpoint: &str) -> Self {
        let clock = Clock::scaled(
            epid_sandbox::Timestamp::parse("2026-11-22T10:00:00Z").unwrap(),
            EMULATED,
        );
        let sandbox = Sandbox::open(Box::new(MemoryStore::default()), clock, World::default()).unwrap();
        let settings = Settings::ordinary()
            .with_endpoint(endpoint)
            .with_credentials("AKIATEST", "test");
        Self::connected(settings, sandbox).await
    }

    async fn connected(settings: Settings, sandbox: Sandbox) -> Self {
        let provider = Aws::new(settings);
        let runtime = Arc::new(Runtime::on(sandbox.clock().clone()));
        let urn = Urn::new("p", "s", &Kind::parse("epid:provider:aws").unwrap(), "aws");
        let call = call(&runtime, &urn, &Token::from_bytes([1; 16]));
        let region = Value::map([("region", Value::str("us-east-1"))]);
        let connection = provider
            .connect(&call, &Resolved::new(region).unwrap())
            .await
            .unwrap();
        Self {
            sandbox,
            provider,
            connection,
            runtime,
            lagging: Arc::default(),
            alien: Arc::default(),
            minted: AtomicU64::new(0),
        }
    }

    pub(crate) fn urn(kind: &str, name: &str) -> Urn {
        Urn::new("health", "dev", &Kind::parse(kind).unwrap(), name)
    }

    /// A call with a token of its own.
    pub(crate) fn call(&self, urn: &Urn) -> Call {
        let n = self.minted.fetch_add(1, Relaxed);
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

    /// Lets time pass.
    pub(crate) async fn runtime_sleep(&self, seconds: u64) {
        self.runtime.sleep(Duration::from_secs(seconds)).await;
    }

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
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let open = format!("<{element}>");
        let found = body.split(&open).nth(1).and_then(|rest| rest.split('<').next());
        found
            .unwrap_or_else(|| panic!("no {element} in {body}"))
            .to_owned()
    }

    /// A VPC with two public and two private subnets, in that order.
    pub(crate) async fn network(&self) -> Vec<String> {
        let vpc = self
            .ec2("CreateVpc", &[("CidrBlock", "192.168.0.0/16")], "vpcId")
            .await;
        for attribute in ["EnableDnsSupport.Value", "EnableDnsHostnames.Value"] {
            self.ec2(
                "ModifyVpcAttribute",
                &[("VpcId", &vpc), (attribute, "true")],
                "return",
            )
            .await;
        }
        let gateway = self.ec2("CreateInternetGateway", &[], "internetGatewayId").await;
        let pairs = [("VpcId", vpc.as_str()), ("InternetGatewayId", &gateway)];
        self.ec2("AttachInternetGateway", &pairs, "return").await;
        let table = self
            .ec2("CreateRouteTable", &[("VpcId", &vpc)], "routeTableId")
            .await;
        let route = [
            ("RouteTableId", table.as_str()),
            ("DestinationCidrBlock", "0.0.0.0/0"),
            ("GatewayId", &gateway),
        ];
        self.ec2("CreateRoute", &route, "return").await;
        let mut subnets = Vec::new();
        for place in 0..4 {
            let cidr = format!("192.168.{}.0/19", place * 32);
            let zone = ["us-east-1a", "us-east-1b"][place % 2];
            let pairs = [
                ("VpcId", vpc.as_str()),
                ("CidrBlock", &cidr),
                ("AvailabilityZone", zone),
            ];
            let subnet = self.ec2("CreateSubnet", &pairs, "subnetId").await;
            if place < 2 {
                let pairs = [("RouteTableId", table.as_str()), ("SubnetId", &subnet)];
                self.ec2("AssociateRouteTable", &pairs, "associationId").await;
            }
            subnets.push(subnet);
        }
        subnets
    }

    /// A role of a service with one AWS-managed policy; its ARN.
    pub(crate) async fn role(&self, name: &str, service: &str, policy: &str) -> String {
        let inputs = Value::map([
            ("roleName", Value::str(name)),
            ("assumeRolePolicyDocument", trust(service)),
            (
                "managedPolicyArns",
                Value::list([Value::from(format!("arn:aws:iam::aws:policy/{policy}"))]),
            ),
        ]);
        let record = self.make("aws:iam:Role", name, inputs).await.unwrap();
        record
            .outputs
            .get("arn")
            .and_then(Value::as_str)
            .unwrap()
            .to_owned()
    }

    /// What a cluster is made with: roles and network are there.
    pub(crate) async fn cluster_inputs(&self) -> (Value, Vec<String>) {
        let role = self
            .role("control-plane", "eks.amazonaws.com", "AmazonEKSClusterPolicy")
            .await;
        let subnets = self.network().await;
        let list = Value::list(subnets.iter().map(|id| Value::str(id)));
        let inputs = Value::map([
            ("name", Value::str("demo")),
            ("roleArn", Value::from(role)),
            ("resourcesVpcConfig", Value::map([("subnetIds", list)])),
            (
                "accessConfig",
                json(r#"{"authenticationMode":"API","bootstrapClusterCreatorAdminPermissions":false}"#),
            ),
            ("bootstrapSelfManagedAddons", Value::Bool(false)),
        ]);
        (inputs, subnets)
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
        attempted: Vec::new(),
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
