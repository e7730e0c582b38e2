//! IAM kinds where reads know only the past, and where a request does not know what another has just made.

use std::time::Duration;

use epid_provider::{Observed, Query, Record, Value};
use epid_sandbox::FaultScript;
use epid_sandbox::faults::{Fault, Rule, When};

use crate::lab::{Lab, json, trust};

/// A lab whose IAM answers these operations from so many milliseconds ago.
async fn lagging(rules: &[(&str, When, u64)]) -> Lab {
    let rule = |(operation, when, ago): &(&str, When, u64)| Rule {
        service: "iam".to_owned(),
        operation: (*operation).to_owned(),
        when: *when,
        fault: Fault::Stale(*ago),
    };
    let rules = rules.iter().map(rule).collect();
    Lab::with_faults(FaultScript { seed: 3, rules }).await
}

/// Reads that are all of the past, and some only.
const READS: [&[(&str, When, u64)]; 3] = [
    &[("Get*", When::From(1), 8_000), ("List*", When::From(1), 8_000)],
    &[("Get*", When::Every(2), 8_000), ("List*", When::Every(2), 8_000)],
    &[
        ("De*", When::Permille(600), 6_000),
        ("Remove*", When::Permille(600), 6_000),
    ],
];

/// Everything that is there in the end.
async fn there(lab: &Lab, record: &Record) -> Value {
    let cx = lab.call(&record.urn);
    cx.sleep(Duration::from_secs(60)).await.unwrap();
    let query = Query::Id {
        urn: record.urn.clone(),
        kind: record.kind.clone(),
        id: record.id.clone(),
    };
    match lab.observe(query).await.unwrap() {
        Observed::Present(present) => present.properties,
        Observed::Absent => panic!("{} is gone", record.id),
    }
}

/// Leads one resource through `states`, one right after the other.
async fn through(lab: &Lab, kind: &str, states: &[Value]) -> Record {
    let mut record = lab.make(kind, "past", states[0].clone()).await.unwrap();
    for state in states.iter().skip(1) {
        record = lab.change(&record, state.clone()).await.unwrap();
    }
    record
}

fn allow(action: &str) -> Value {
    json(&format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"*"}}]}}"#
    ))
}

#[tokio::test(start_paused = true)]
async fn a_role_becomes_what_is_wanted_whatever_reads_show() {
    let plain = Value::map([
        ("roleName", Value::str("past")),
        ("assumeRolePolicyDocument", trust("eks.amazonaws.com")),
        ("managedPolicyArns", json("[]")),
        ("inlinePolicies", json("{}")),
    ]);
    let admin = "arn:aws:iam::aws:policy/AdministratorAccess";
    let open = plain.merged(&Value::map([
        ("assumeRolePolicyDocument", trust("ec2.amazonaws.com")),
        ("managedPolicyArns", Value::list([Value::str(admin)])),
        ("inlinePolicies", Value::map([("all", allow("*"))])),
        ("description", Value::str("Open.")),
        ("maxSessionDuration", Value::Int(7200)),
        ("permissionsBoundary", Value::str(admin)),
        ("tags", json(r#"{"a":"b"}"#)),
    ]));
    let other = open.merged(&Value::map([
        ("inlinePolicies", Value::map([("all", allow("s3:*"))])),
        (
            "permissionsBoundary",
            Value::str("arn:aws:iam::aws:policy/ReadOnlyAccess"),
        ),
        ("tags", json(r#"{"a":"c"}"#)),
    ]));
    let fields = [
        "assumeRolePolicyDocument",
        "managedPolicyArns",
        "inlinePolicies",
        "description",
        "maxSessionDuration",
        "permissionsBoundary",
        "tags",
    ];
    let shown = |properties: &Value| {
        fields.map(|field| {
            let value = properties.get(field).cloned().unwrap_or_default();
            // What is not declared is as IAM has it.
            match &value {
                Value::Int(3600) => Value::Null,
                Value::Str(text) if text.is_empty() => Value::Null,
                Value::List(items) if items.is_empty() => Value::Null,
                Value::Map(map) if map.is_empty() => Value::Null,
                _ => value,
            }
        })
    };
    for reads in READS {
        for states in [
            vec![plain.clone(), open.clone(), plain.clone()],
            vec![open.clone(), plain.clone(), open.clone()],
            vec![open.clone(), other.clone(), open.clone()],
            vec![open.clone(), other.clone(), plain.clone()],
        ] {
            let lab = lagging(reads).await;
            let record = through(&lab, "aws:iam:Role", &states).await;
            let wanted = shown(states.last().unwrap());
            assert_eq!(shown(&there(&lab, &record).await), wanted, "{reads:?}");
            lab.remove(&record).await.unwrap();
        }
    }
}

/// An update that was tried and failed took effect; what was there before is put back.
#[tokio::test(start_paused = true)]
async fn what_was_only_tried_is_taken_back_whatever_reads_show() {
    let role = |document: Value| {
        Value::map([
            ("assumeRolePolicyDocument", document),
            ("inlinePolicies", json("{}")),
        ])
    };
    let policy = |document: Value| Value::map([("policyDocument", document)]);
    for (kind, before, after, field) in [
        (
            "aws:iam:Role",
            role(trust("eks.amazonaws.com")),
            role(trust("ec2.amazonaws.com")),
            "assumeRolePolicyDocument",
        ),
        (
            "aws:iam:Policy",
            policy(allow("s3:GetObject")),
            policy(allow("*")),
            "policyDocument",
        ),
    ] {
        let lab = lagging(READS[0]).await;
        let record = lab.make(kind, "tried", before.clone()).await.unwrap();
        let cx = lab.call(&record.urn);
        cx.sleep(Duration::from_secs(30)).await.unwrap();
        lab.change(&record, after.clone()).await.unwrap();
        let half = Record {
            incomplete: vec!["finish the update".to_owned()],
            attempted: vec![after],
            ..record
        };
        let record = lab.change(&half, before.clone()).await.unwrap();
        assert_eq!(there(&lab, &record).await.get(field), before.get(field), "{kind}");
    }
}

/// More changes than a policy may have versions, and one that comes back to what it was.
#[tokio::test(start_paused = true)]
async fn a_policy_becomes_what_is_wanted_whatever_reads_show() {
    for reads in READS {
        let lab = lagging(reads).await;
        let documents = ["a", "b", "a", "c", "d", "e", "f", "e", "a"]
            .map(|letter| Value::map([("policyDocument", allow(&format!("s3:Get{letter}")))]));
        let record = through(&lab, "aws:iam:Policy", &documents).await;
        let wanted = documents.last().unwrap().get("policyDocument");
        let properties = there(&lab, &record).await;
        assert_eq!(properties.get("policyDocument"), wanted, "{reads:?}");
        lab.remove(&record).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_trusts_whom_it_is_to_trust_whatever_reads_show() {
    let with = |ids: &str, prints: &str| {
        json(&format!(
            r#"{{"url":"https://issuer.example/past","clientIds":[{ids}],"thumbprints":["{prints}"]}}"#
        ))
    };
    let (a, b) = ("a".repeat(40), "b".repeat(40));
    let states = [
        with(r#""one""#, &a),
        with(r#""one","two""#, &b),
        with(r#""two""#, &a),
        with(r#""one""#, &b),
        with(r#""one""#, &a),
    ];
    for reads in READS {
        let lab = lagging(reads).await;
        let record = through(&lab, "aws:iam:OpenIdConnectProvider", &states).await;
        let properties = there(&lab, &record).await;
        for field in ["clientIds", "thumbprints"] {
            let wanted = states.last().unwrap().get(field);
            assert_eq!(properties.get(field), wanted, "{reads:?}");
        }
    }
}
