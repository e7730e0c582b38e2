//! The running sandbox: faults, memory beyond the process, repeatability.

mod support;

use epid_sandbox::faults::{Fault, FaultScript, When};
use epid_sandbox::{MemoryStore, SandboxError, Settings, WorldStore};
use serde_json::Value;
use support::{Lab, service_trust};

fn settings(faults: FaultScript) -> Settings {
    Settings {
        seed: 7,
        faults,
        ..Settings::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leaves_its_effect() {
    let faults = FaultScript::one("CreateVpc", When::Nth(1), Fault::LoseAnswer);
    let lab = Lab::with(MemoryStore::default(), settings(faults));
    let lost = lab
        .try_query("ec2", "CreateVpc", &[("CidrBlock", "10.0.0.0/16")])
        .await;
    assert!(matches!(lost, Err(SandboxError::Reset)));
    lab.pause(5).await;
    assert_eq!(lab.ec2("DescribeVpcs", &[]).await.ok().texts("vpcId").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn throttling_and_server_errors_have_no_effect() {
    let faults = FaultScript::one("CreateVpc", When::Nth(1), Fault::Throttle);
    let lab = Lab::with(MemoryStore::default(), settings(faults));
    let reply = lab.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "RequestLimitExceeded")
    );
    lab.pause(5).await;
    assert!(lab.ec2("DescribeVpcs", &[]).await.ok().texts("vpcId").is_empty());
    let faults = FaultScript::one("*", When::First(1), Fault::ServerError(500));
    let lab = Lab::with(MemoryStore::default(), settings(faults));
    assert_eq!(
        lab.eks("GET", "/clusters", Value::Null).await.code(),
        "ServerException"
    );
    lab.eks("GET", "/clusters", Value::Null).await.ok();
}

#[tokio::test(start_paused = true)]
async fn an_error_that_comes_after_the_effect_leaves_it() {
    let faults = FaultScript::one("CreateVpc", When::Nth(1), Fault::ServerErrorAfter(503));
    let lab = Lab::with(MemoryStore::default(), settings(faults));
    let reply = lab.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "Unavailable"));
    lab.pause(5).await;
    assert_eq!(lab.ec2("DescribeVpcs", &[]).await.ok().texts("vpcId").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_answered_outlasts_any_patience() {
    for (after, made) in [(false, 0), (true, 1)] {
        let faults = FaultScript::one("CreateVpc", When::Nth(1), Fault::Hang { after });
        let lab = Lab::with(MemoryStore::default(), settings(faults));
        let start = lab.sandbox.clock().now();
        let hung = lab
            .try_query("ec2", "CreateVpc", &[("CidrBlock", "10.0.0.0/16")])
            .await;
        assert!(matches!(hung, Err(SandboxError::Reset)));
        assert!(lab.sandbox.clock().now().since(start).as_secs() >= 3_600);
        let there = lab.ec2("DescribeVpcs", &[]).await.ok().texts("vpcId").len();
        assert_eq!(there, made);
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_expire_at_every_service_from_some_request_on() {
    let faults = FaultScript::one("*", When::From(2), Fault::Expire);
    let lab = Lab::with(MemoryStore::default(), settings(faults));
    lab.ec2("DescribeVpcs", &[]).await.ok();
    for _ in 0..2 {
        let reply = lab.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "RequestExpired"));
    }
    let reply = lab.eks("GET", "/clusters", Value::Null).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (403, "ExpiredTokenException")
    );
}

#[tokio::test(start_paused = true)]
async fn who_knows_the_past_only_sees_nothing_new_and_refuses_to_touch_it() {
    let stale = |operation: &str| {
        let faults = FaultScript::one(operation, When::From(1), Fault::Stale(5_000));
        settings(faults)
    };
    let store = MemoryStore::default();
    let lab = Lab::with(store.clone(), stale("DescribeVpcs"));
    let made = lab.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok();
    let vpc = made.text("vpcId");
    lab.pause(1).await;
    assert!(lab.ec2("DescribeVpcs", &[]).await.ok().texts("vpcId").is_empty());
    let looked = lab.sandbox.clock().now();
    // The process that made it is gone; it is as new as before, and no time comes twice.
    let lab = Lab::with(store, stale("*"));
    assert!(lab.sandbox.clock().now() >= looked);
    assert!(lab.ec2("DescribeVpcs", &[]).await.ok().texts("vpcId").is_empty());
    let subnet = [("VpcId", vpc.as_str()), ("CidrBlock", "10.0.0.0/24")];
    let refused = lab.ec2("CreateSubnet", &subnet).await;
    assert_eq!(refused.code(), "InvalidVpcID.NotFound");
    lab.pause(6).await;
    assert_eq!(lab.ec2("DescribeVpcs", &[]).await.ok().texts("vpcId").len(), 1);
    lab.ec2("CreateSubnet", &subnet).await.ok();
}

#[tokio::test(start_paused = true)]
async fn calls_take_time_and_the_same_time_again() {
    let elapsed = async || {
        let lab = Lab::new();
        let start = lab.sandbox.clock().now();
        for _ in 0..10 {
            lab.eks("GET", "/clusters", Value::Null).await.ok();
        }
        lab.sandbox.clock().now().since(start).as_millis()
    };
    let first = elapsed().await;
    assert!((400..=800).contains(&first), "{first} ms for ten calls");
    assert_eq!(first, elapsed().await);
}

#[tokio::test(start_paused = true)]
async fn a_killed_process_finds_its_world_as_it_last_saw_it() {
    let store = MemoryStore::default();
    let lab = Lab::with(store.clone(), settings(FaultScript::default()));
    let network = lab.network().await;
    let before = lab.cluster(&network).await;
    let id = lab.sandbox.id();
    // Opened again without `close`: from the snapshot of the beginning and the log.
    let again = Lab::with(
        store.clone(),
        Settings {
            seed: 99,
            ..Settings::default()
        },
    );
    assert_eq!(again.sandbox.id(), id);
    let after = again.eks("GET", "/clusters/demo", Value::Null).await.ok().json()["cluster"].clone();
    assert_eq!(before, after, "what was seen ACTIVE stays ACTIVE");
    again.sandbox.close().unwrap();
    assert!(store.clone().load().unwrap().log.is_empty());
    let third = Lab::with(store, Settings::default());
    assert_eq!(
        third.eks("GET", "/clusters/demo", Value::Null).await.ok().json()["cluster"],
        before
    );
    third.sandbox.reset(3).unwrap();
    assert_ne!(third.sandbox.id(), id);
    assert_eq!(third.eks("GET", "/clusters/demo", Value::Null).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_torn_record_is_forgotten_and_damage_is_not() {
    let mut store = MemoryStore::default();
    let lab = Lab::with(store.clone(), settings(FaultScript::default()));
    lab.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok();
    store.append(br#"{"n":1,"at":17"#).unwrap();
    let again = Lab::with(store.clone(), Settings::default());
    again.pause(5).await;
    assert_eq!(again.ec2("DescribeVpcs", &[]).await.ok().texts("vpcId").len(), 1);
    store.append(b"nonsense\n").unwrap();
    let clock = again.sandbox.clock().clone();
    let damaged = epid_sandbox::Sandbox::open(Box::new(store), clock, Settings::default());
    assert!(matches!(damaged, Err(SandboxError::Unreadable(_))));
}

#[tokio::test(start_paused = true)]
async fn the_log_holds_no_credentials() {
    let mut store = MemoryStore::default();
    let lab = Lab::with(store.clone(), settings(FaultScript::default()));
    lab.role("r", &service_trust("eks.amazonaws.com"), &[]).await;
    let log = String::from_utf8(store.load().unwrap().log).unwrap();
    assert!(log.contains("CreateRole"));
    assert!(
        !log.contains("Signature") && !log.contains("Credential="),
        "{log}"
    );
}

#[tokio::test(start_paused = true)]
async fn regions_are_apart_and_sessions_are_roles() {
    let lab = Lab::new();
    lab.network().await;
    lab.pause(5).await;
    let elsewhere = http::Request::post("https://ec2.eu-west-1.amazonaws.com/")
        .header("authorization", "AWS4-HMAC-SHA256 Credential=AKIATEST/20261122/eu-west-1/ec2/aws4_request, SignedHeaders=host, Signature=0")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(bytes::Bytes::from("Action=DescribeVpcs&Version=2016-11-15"))
        .unwrap();
    assert!(lab.send(elsewhere).await.unwrap().ok().texts("vpcId").is_empty());
    assert_eq!(lab.ec2("DescribeVpcs", &[]).await.ok().texts("vpcId").len(), 1);
    let trust = serde_json::json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "sts:AssumeRole"}]});
    let arn = lab.role("deploy", &trust, &[]).await;
    let pairs = [("RoleArn", arn.as_str()), ("RoleSessionName", "ci")];
    assert_eq!(
        lab.query("sts", "AssumeRole", &pairs).await.code(),
        "AccessDenied",
        "not propagated yet"
    );
    lab.pause(10).await;
    let session = lab.query("sts", "AssumeRole", &pairs).await.ok();
    assert_eq!(
        session.text("Arn"),
        "arn:aws:sts::000000000000:assumed-role/deploy/ci"
    );
    let key = session.text("AccessKeyId");
    let who = http::Request::post("https://sts.us-east-1.amazonaws.com/")
        .header("authorization", format!("AWS4-HMAC-SHA256 Credential={key}/20261122/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=0"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(bytes::Bytes::from("Action=GetCallerIdentity&Version=2011-06-15"))
        .unwrap();
    assert!(
        lab.send(who)
            .await
            .unwrap()
            .ok()
            .text("Arn")
            .ends_with(":assumed-role/deploy/ci")
    );
}
