//! Roles, policies, OpenID Connect providers, caller identity.

use epid_fake::conformance::{case, conformance};
use epid_provider::{
    Intent, Kind, Observed, Operation, Outcome, Provider, Query, Record, Recovered, Resolved, Token, Urn,
    Value,
};
use epid_sandbox::FaultScript;
use epid_sandbox::faults::{Fault, When};

use crate::lab::{ACCOUNT, Lab, json, trust};

fn with(base: &Value, more: &str) -> Value {
    base.merged(&json(more))
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_iam_conforms() {
    let lab = Lab::new().await;
    let allow = |action: &str| {
        json(&format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"*"}}]}}"#
        ))
    };
    let role = Value::map([("assumeRolePolicyDocument", trust("eks.amazonaws.com"))]);
    let policy = |action: &str| Value::map([("policyDocument", allow(action))]);
    let named = with(
        &role,
        r#"{"roleName":"worker","path":"/team/","description":"Works.","maxSessionDuration":7200,
            "permissionsBoundary":"arn:aws:iam::aws:policy/AdministratorAccess",
            "managedPolicyArns":["arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"],
            "inlinePolicies":{"logs":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"logs:PutLogEvents","Resource":"*"}]}},
            "tags":{"team":"data","Name":"worker"}}"#,
    );
    let cases = [
        case("aws:iam:Role", role.clone(), [with(&role, r#"{"description":"Now it has one."}"#), role.clone()]),
        case(
            "aws:iam:Role",
            named.clone(),
            [
                named.merged(&Value::map([
                    ("assumeRolePolicyDocument", trust("ec2.amazonaws.com")),
                    ("managedPolicyArns", json(r#"["arn:aws:iam::aws:policy/AdministratorAccess"]"#)),
                    ("tags", json(r#"{"team":"web"}"#)),
                    ("maxSessionDuration", Value::Int(3600)),
                ])),
                with(
                    &role,
                    r#"{"roleName":"worker","path":"/team/"}"#,
                ),
            ],
        ),
        case("aws:iam:Policy", policy("s3:GetObject"), "abcdefg".chars().map(|c| policy(&format!("s3:Get{c}")))),
        case(
            "aws:iam:Policy",
            with(&policy("s3:GetObject"), r#"{"policyName":"reader","path":"/x/","description":"Reads.","tags":{"a":"b"}}"#),
            [with(&policy("s3:ListBucket"), r#"{"policyName":"reader","path":"/x/","description":"Reads."}"#)],
        ),
        case(
            "aws:iam:OpenIdConnectProvider",
            json(r#"{"url":"https://oidc.eks.us-east-1.amazonaws.com/id/A","tags":{"a":"b"}}"#),
            [
                json(r#"{"url":"https://oidc.eks.us-east-1.amazonaws.com/id/A","clientIds":["sts.amazonaws.com","other"]}"#),
                json(
                    r#"{"url":"https://oidc.eks.us-east-1.amazonaws.com/id/A","clientIds":["other"],
                        "thumbprints":["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],"tags":{"c":"d"}}"#,
                ),
            ],
        ),
    ]
    .map(Result::unwrap);
    let call = |urn: &Urn, token: &Token| lab.call_with(urn, token);
    assert_eq!(
        conformance(&lab.provider, &*lab.connection, &call, &cases).await,
        Vec::<String>::new()
    );
    let notes = lab.runtime.notes.lock().unwrap();
    assert!(
        notes
            .iter()
            .all(|note| note.incomplete == ["attach its policies"])
            && notes.len() == 1,
        "a note stands where something is left to do: {notes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_others_attach_to_a_role_stays_and_goes_with_it() {
    let lab = Lab::new().await;
    let cluster = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy";
    let admin = "arn:aws:iam::aws:policy/AdministratorAccess";
    let inputs = |arns: &[&str]| {
        Value::map([
            ("roleName", Value::str("shared")),
            ("assumeRolePolicyDocument", trust("eks.amazonaws.com")),
            (
                "managedPolicyArns",
                Value::list(arns.iter().map(|arn| Value::str(arn))),
            ),
        ])
    };
    let mine = lab
        .make("aws:iam:Role", "mine", inputs(&[cluster]))
        .await
        .unwrap();
    // Another record of the same role stands for the console.
    lab.change(&mine, inputs(&[cluster, admin])).await.unwrap();
    let Observed::Present(seen) = lab.observe(Query::Record(Box::new(mine.clone()))).await.unwrap() else {
        panic!("absent")
    };
    assert!(lab.provider.drift(&mine, &seen).is_empty());
    lab.change(&mine, inputs(&[])).await.unwrap();
    let id = Query::Id {
        urn: mine.urn.clone(),
        kind: mine.kind.clone(),
        id: mine.id.clone(),
    };
    let Observed::Present(seen) = lab.observe(id.clone()).await.unwrap() else {
        panic!("absent")
    };
    assert_eq!(
        seen.properties.get("managedPolicyArns"),
        Some(&Value::list([Value::str(admin)]))
    );
    lab.remove(&mine).await.unwrap();
    assert_eq!(lab.observe(id).await.unwrap(), Observed::Absent);
}

#[tokio::test(start_paused = true)]
async fn the_name_of_another_is_not_taken() {
    let lab = Lab::new().await;
    let inputs = Value::map([
        ("roleName", Value::str("taken")),
        ("assumeRolePolicyDocument", trust("eks.amazonaws.com")),
    ]);
    lab.make("aws:iam:Role", "first", inputs.clone()).await.unwrap();
    let failure = lab.make("aws:iam:Role", "second", inputs).await.unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.outcome),
        ("AlreadyExists", Outcome::NotStarted)
    );
    assert!(failure.hint.unwrap().contains("adopt"));
}

/// A create whose first request took effect and whose answers were all lost.
#[tokio::test(start_paused = true)]
async fn a_lost_create_is_recovered_once() {
    for (kind, operation, inputs) in [
        (
            "aws:iam:Role",
            "CreateRole",
            Value::map([("assumeRolePolicyDocument", trust("eks.amazonaws.com"))]),
        ),
        (
            "aws:iam:Policy",
            "CreatePolicy",
            json(
                r#"{"policyDocument":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"a:b","Resource":"*"}]}}"#,
            ),
        ),
        (
            "aws:iam:OpenIdConnectProvider",
            "CreateOpenIDConnectProvider",
            json(r#"{"url":"https://issuer.example/a"}"#),
        ),
    ] {
        let lab = Lab::with_faults(FaultScript::one(operation, When::Nth(1), Fault::LoseAnswer)).await;
        let made = lab.make(kind, "x", inputs.clone()).await.unwrap();
        let urn = Lab::urn(kind, "x");
        let intent = |token| Intent {
            token,
            operation: Operation::Create,
            urn: urn.clone(),
            kind: Kind::parse(kind).unwrap(),
            inputs: Resolved::new(inputs.clone()).unwrap(),
            record: None,
            partial: None,
        };
        let token = Token::from_bytes(0xabcd_u128.to_be_bytes());
        let found = lab
            .connection
            .recover(&lab.call(&urn), &intent(token))
            .await
            .unwrap();
        assert!(
            matches!(found, Recovered::Done(found) if found.id == made.id),
            "{kind}"
        );
        let other = lab
            .connection
            .recover(&lab.call(&urn), &intent(Token::from_bytes([9; 16])))
            .await
            .unwrap();
        assert_eq!(other, Recovered::NotDone, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_principal_is_waited_for() {
    let lab = Lab::new().await;
    let base = Value::map([
        ("roleName", Value::str("base")),
        ("assumeRolePolicyDocument", trust("eks.amazonaws.com")),
    ]);
    let base = lab.make("aws:iam:Role", "base", base).await.unwrap();
    let arn = base.outputs.get("arn").and_then(Value::as_str).unwrap();
    let document = json(&format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"{arn}"}},"Action":"sts:AssumeRole"}}]}}"#
    ));
    lab.make(
        "aws:iam:Role",
        "user",
        Value::map([("assumeRolePolicyDocument", document)]),
    )
    .await
    .unwrap();
    assert!(
        lab.runtime
            .phrases
            .lock()
            .unwrap()
            .iter()
            .any(|p| p.contains("waiting for IAM"))
    );
}

#[tokio::test(start_paused = true)]
async fn the_caller_is_looked_up() {
    let lab = Lab::new().await;
    let kind = "aws:sts:CallerIdentity";
    let query = Query::Inputs {
        urn: Lab::urn(kind, "caller"),
        kind: Kind::parse(kind).unwrap(),
        inputs: Resolved::default(),
    };
    let Observed::Present(seen) = lab.observe(query).await.unwrap() else {
        panic!("absent")
    };
    let user = format!("arn:aws:iam::{ACCOUNT}:user/sandbox");
    for (output, value) in [
        ("accountId", ACCOUNT),
        ("partition", "aws"),
        ("region", "us-east-1"),
        ("principalArn", user.as_str()),
    ] {
        assert_eq!(seen.outputs.get(output), Some(&Value::str(value)), "{output}");
    }
}

/// The update attached a policy and failed afterwards; the program was put back as it was.
#[tokio::test(start_paused = true)]
async fn what_a_half_done_update_granted_is_taken_away_by_the_next() {
    let lab = Lab::with_faults(FaultScript::one(
        "TagRole",
        When::First(20),
        Fault::ServerError(500),
    ))
    .await;
    let cluster = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy";
    let admin = "arn:aws:iam::aws:policy/AdministratorAccess";
    let (boundary, other) = (admin, "arn:aws:iam::aws:policy/ReadOnlyAccess");
    let before = Value::map([
        ("assumeRolePolicyDocument", trust("eks.amazonaws.com")),
        ("managedPolicyArns", Value::list([Value::str(cluster)])),
    ]);
    let tried = before.merged(&json(&format!(
        r#"{{"managedPolicyArns":["{admin}"],"tags":{{"a":"b"}},"permissionsBoundary":"{boundary}",
            "inlinePolicies":{{"all":{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"*","Resource":"*"}}]}}}}}}"#
    )));
    let record = lab.make("aws:iam:Role", "half", before.clone()).await.unwrap();
    let failure = lab.change(&record, tried.clone()).await.unwrap_err();
    assert!(matches!(failure.outcome, Outcome::Partial(_)), "{failure:?}");
    // What the engine keeps of it; a later attempt failed before it could do anything.
    let untouched = before.merged(&json(&format!(r#"{{"permissionsBoundary":"{other}"}}"#)));
    let record = Record {
        incomplete: vec!["finish the update".to_owned()],
        attempted: vec![tried, untouched],
        ..record
    };
    let record = lab.change(&record, before).await.unwrap();
    let id = Query::Id {
        urn: record.urn.clone(),
        kind: record.kind.clone(),
        id: record.id.clone(),
    };
    let Observed::Present(seen) = lab.observe(id).await.unwrap() else {
        panic!("absent")
    };
    let seen = |field: &str| seen.properties.get(field).cloned();
    assert_eq!(
        seen("managedPolicyArns"),
        Some(Value::list([Value::str(cluster)]))
    );
    assert_eq!(
        (seen("inlinePolicies"), seen("permissionsBoundary")),
        (None, None)
    );
}

/// The answer of the create was lost, and reads do not see the role yet when the name turns out to be taken.
#[tokio::test(start_paused = true)]
async fn a_role_that_reads_do_not_see_yet_is_still_ones_own() {
    let lab = Lab::new().await;
    let (urn, kind) = (
        Lab::urn("aws:iam:Role", "own"),
        Kind::parse("aws:iam:Role").unwrap(),
    );
    let inputs = Value::map([
        ("roleName", Value::str("own")),
        ("assumeRolePolicyDocument", trust("eks.amazonaws.com")),
    ]);
    let inputs = Resolved::new(inputs).unwrap();
    let call = lab.call(&urn);
    let first = lab.connection.create(&call, &kind, &inputs).await.unwrap();
    lab.lagging.store(3, std::sync::atomic::Ordering::Relaxed);
    let again = lab.connection.create(&call, &kind, &inputs).await.unwrap();
    assert_eq!(first.id, again.id);
    // Nor is one gone that a read does not see, nor was it never made.
    let record = crate::lab::record(&urn, &kind, inputs.value().clone(), again);
    for operation in [Operation::Create, Operation::Update, Operation::Delete] {
        lab.lagging.store(2, std::sync::atomic::Ordering::Relaxed);
        let intent = Intent {
            token: call.token.clone(),
            operation,
            urn: urn.clone(),
            kind: kind.clone(),
            inputs: inputs.clone(),
            record: (operation != Operation::Create).then(|| record.clone()),
            partial: None,
        };
        let recovered = lab.connection.recover(&call, &intent).await.unwrap();
        let expected = matches!(
            (operation, &recovered),
            (Operation::Delete, Recovered::NotDone)
                | (Operation::Create | Operation::Update, Recovered::Done(_))
        );
        assert!(expected, "{operation:?}: {recovered:?}");
    }
}

/// A crash after none, one or both of the changes of an update.
#[tokio::test(start_paused = true)]
async fn an_update_that_took_half_is_half_done() {
    let lab = Lab::new().await;
    let policy = |name: &str| format!("arn:aws:iam::aws:policy/{name}");
    let inputs = |description: &str, arns: &[&str]| {
        let arns = arns.iter().map(|name| Value::from(policy(name)));
        let base = [
            ("assumeRolePolicyDocument", trust("eks.amazonaws.com")),
            ("description", Value::str(description)),
        ];
        let arns = (arns.len() > 0).then(|| ("managedPolicyArns", Value::list(arns)));
        Value::map(base.into_iter().chain(arns))
    };
    let admin = "AdministratorAccess";
    let record = lab
        .make("aws:iam:Role", "half", inputs("old", &[]))
        .await
        .unwrap();
    let intent = Intent {
        token: Token::from_bytes([3; 16]),
        operation: Operation::Update,
        urn: record.urn.clone(),
        kind: record.kind.clone(),
        inputs: Resolved::new(inputs("new", &[admin, "ReadOnlyAccess"])).unwrap(),
        record: Some(record.clone()),
        partial: None,
    };
    let recover = async || {
        lab.connection
            .recover(&lab.call(&record.urn), &intent)
            .await
            .unwrap()
    };
    assert_eq!(recover().await, Recovered::NotDone);
    for (half, arns) in [("old", &[admin][..]), ("new", &[admin]), ("new", &[])] {
        lab.change(&record, inputs(half, arns)).await.unwrap();
        let recovered = recover().await;
        assert!(
            matches!(recovered, Recovered::Partial(_)),
            "{half}: {recovered:?}"
        );
        let all = Record {
            attempted: vec![inputs("new", &[admin])],
            ..record.clone()
        };
        lab.change(&all, inputs("old", &[])).await.unwrap();
    }
    lab.change(&record, intent.inputs.value().clone()).await.unwrap();
    assert!(matches!(recover().await, Recovered::Done(_)));
}

/// A service that does not know yet what was made a moment ago says that there is no such thing to delete.
#[tokio::test(start_paused = true)]
async fn what_a_delete_does_not_know_yet_is_deleted_all_the_same() {
    let role = Value::map([("assumeRolePolicyDocument", trust("eks.amazonaws.com"))]);
    let policy = json(
        r#"{"policyDocument":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}}"#,
    );
    let issuer = json(r#"{"url":"https://issuer.example/id/1","clientIds":["sts.amazonaws.com"]}"#);
    for (operation, kind, inputs) in [
        ("DeleteRole", "aws:iam:Role", role),
        ("DeletePolicy", "aws:iam:Policy", policy),
        (
            "DeleteOpenIDConnectProvider",
            "aws:iam:OpenIdConnectProvider",
            issuer,
        ),
    ] {
        let lab = Lab::with_faults(FaultScript::one(operation, When::First(2), Fault::Stale(8_000))).await;
        let record = lab.make(kind, "short", inputs).await.unwrap();
        lab.remove(&record).await.unwrap();
        lab.runtime_sleep(30).await;
        let seen = lab.observe(Query::Record(Box::new(record))).await.unwrap();
        assert_eq!(seen, Observed::Absent, "{kind}");
    }
}
