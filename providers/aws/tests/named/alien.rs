//! Answers that are not the service's: a captive portal's, a proxy's. None of them means that something is gone, or done.

use epid_aws::{Aws, Settings};
use epid_provider::{Kind, Observed, Outcome, Provider, Query, Record, Resolved, Token, Value};

use crate::lab::{Alien, Lab, call, json, trust};

const PAGE: &str =
    "<!DOCTYPE html><html><head><title>Log in</title></head><body><p>Welcome<br></body></html>";

/// What may stand between, by what it says.
const ALIENS: [(u16, &str, &str); 5] = [
    (200, "text/html; charset=utf-8", PAGE),
    (200, "text/html", "<html/>"),
    (200, "application/json", "{}"),
    (200, "text/plain", ""),
    (404, "text/html", PAGE),
];

fn alien(to: &'static str, (status, content_type, body): (u16, &'static str, &'static str)) -> Alien {
    Alien {
        to,
        status,
        content_type,
        body,
        has_id: false,
    }
}

fn recorded(kind: &Kind) -> Record {
    let id = match kind.name() {
        "Addon" | "FargateProfile" | "AccessEntry" => "demo/x",
        _ => "x-1",
    };
    Record {
        urn: Lab::urn(kind.as_str(), "x"),
        kind: kind.clone(),
        id: id.into(),
        applied: Value::default(),
        resolved: Value::default(),
        outputs: Value::default(),
        incomplete: Vec::new(),
        attempted: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn no_kind_takes_an_answer_that_is_not_the_services_for_absence() {
    let lab = Lab::new().await;
    for what in ALIENS {
        *lab.alien.lock().unwrap() = Some(alien("", what));
        for kind in lab.provider.kinds() {
            let seen = lab.observe(Query::Record(Box::new(recorded(&kind)))).await;
            let failure = seen.expect_err(&format!("{kind}: {what:?}"));
            assert!(failure.message.contains(what.1), "{kind}: {what:?}: {failure:?}");
            assert!(
                failure.hint.as_ref().is_some_and(|hint| hint.contains("proxy")),
                "{failure:?}"
            );
        }
    }
}

/// A service, or what imitates one, that leaves out the very thing that it was asked for.
#[tokio::test(start_paused = true)]
async fn an_answer_without_what_was_asked_for_is_not_absence() {
    let lab = Lab::new().await;
    for (kind, body) in [
        ("aws:eks:Cluster", "{}"),
        ("aws:eks:Addon", "{}"),
        ("aws:eks:FargateProfile", "{}"),
        ("aws:eks:AccessEntry", "{}"),
        (
            "aws:iam:Role",
            "<GetRoleResponse><GetRoleResult/></GetRoleResponse>",
        ),
        (
            "aws:iam:Policy",
            "<GetPolicyResponse><GetPolicyResult/></GetPolicyResponse>",
        ),
        ("aws:ec2:Vpc", "<DescribeVpcsResponse/>"),
    ] {
        *lab.alien.lock().unwrap() = Some(Alien {
            has_id: true,
            ..alien("", (200, "text/plain", body))
        });
        let record = recorded(&Kind::parse(kind).unwrap());
        let seen = lab.observe(Query::Record(Box::new(record))).await;
        assert_eq!(seen.expect_err(kind).code, "BadAnswer", "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_one_is_is_not_read_from_a_page() {
    for (status, kind, body) in ALIENS {
        let handler = move |_request| {
            let answer = http::Response::builder()
                .status(status)
                .header("content-type", kind);
            let body = http_body_util::Full::new(bytes::Bytes::from(body));
            std::future::ready(answer.body(body))
        };
        let lab = Lab::new().await;
        let aws = Aws::new(Settings::simulated(handler, || std::time::SystemTime::UNIX_EPOCH));
        let cx = call(
            &lab.runtime,
            &Lab::urn("epid:provider:aws", "aws"),
            &Token::from_bytes([2; 16]),
        );
        let config = Resolved::new(json(r#"{"region":"us-east-1"}"#)).unwrap();
        let refused = aws.connect(&cx, &config).await;
        let failure = refused.err().unwrap_or_else(|| panic!("{status} {kind}"));
        assert!(failure.message.contains(kind), "{failure:?}");
    }
}

/// What is attached to a role, and what else is read after the thing itself.
#[tokio::test(start_paused = true)]
async fn a_part_that_cannot_be_read_is_not_missing() {
    let lab = Lab::new().await;
    let role = Value::map([
        ("assumeRolePolicyDocument", trust("eks.amazonaws.com")),
        (
            "managedPolicyArns",
            json(r#"["arn:aws:iam::aws:policy/AdministratorAccess"]"#),
        ),
        (
            "inlinePolicies",
            json(
                r#"{"logs":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}}"#,
            ),
        ),
    ]);
    let role = lab.make("aws:iam:Role", "role", role).await.unwrap();
    let document = json(
        r#"{"policyDocument":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}}"#,
    );
    let policy = lab.make("aws:iam:Policy", "policy", document).await.unwrap();
    let (inputs, _) = lab.cluster_inputs().await;
    lab.make("aws:eks:Cluster", "demo", inputs).await.unwrap();
    let entry = json(
        r#"{"clusterName":"demo","principalArn":"arn:aws:iam::000000000000:role/control-plane","accessPolicies":
            [{"policyArn":"arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy","accessScope":{"type":"cluster"}}]}"#,
    );
    let entry = lab.make("aws:eks:AccessEntry", "entry", entry).await.unwrap();
    for (to, record) in [
        ("Action=GetRole&", &role),
        ("Action=ListAttachedRolePolicies&", &role),
        ("Action=ListRolePolicies&", &role),
        ("Action=GetRolePolicy&", &role),
        ("Action=GetPolicyVersion&", &policy),
        ("/access-policies", &entry),
    ] {
        for what in ALIENS {
            *lab.alien.lock().unwrap() = Some(alien(to, what));
            let seen = lab.observe(Query::Record(Box::new(record.clone()))).await;
            seen.expect_err(&format!("{to}: {what:?}"));
        }
        *lab.alien.lock().unwrap() = None;
        let seen = lab.observe(Query::Record(Box::new(record.clone()))).await;
        assert!(matches!(seen, Ok(Observed::Present(_))), "{to}: {seen:?}");
    }
}

/// IAM's changes say nothing that the SDK would read.
#[tokio::test(start_paused = true)]
async fn a_change_is_not_done_because_something_answered() {
    let lab = Lab::new().await;
    let inputs = |more: &str| {
        let base = Value::map([("assumeRolePolicyDocument", trust("eks.amazonaws.com"))]);
        base.merged(&json(more))
    };
    let role = lab.make("aws:iam:Role", "role", inputs("{}")).await.unwrap();
    let with = inputs(r#"{"managedPolicyArns":["arn:aws:iam::aws:policy/AdministratorAccess"]}"#);
    for (status, kind, body) in ALIENS.into_iter().filter(|(status, ..)| *status == 200) {
        *lab.alien.lock().unwrap() = Some(alien("Action=AttachRolePolicy&", (status, kind, body)));
        let failure = lab.change(&role, with.clone()).await.unwrap_err();
        assert_eq!(failure.outcome, Outcome::Unknown, "{kind}: {failure:?}");
    }
}
