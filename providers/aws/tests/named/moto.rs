//! The same kinds against moto over HTTP: another reader of the same API reference.
//!
//! `EPID_MOTO_ENDPOINT=$(tests/moto/up.sh) cargo test -p epid-aws --test named -- --ignored`.
//!
//! What moto 5.2 cannot show, and the sandbox does: client ids of an OpenID Connect provider cannot be changed; EKS has no
//! add-ons, access entries, versions or updates; a cluster forgets access, upgrade policy and protection, is ACTIVE at
//! once, has no security group and the same issuer as every other; only clusters have tags that can be changed; nothing
//! is slow, busy or not known yet.

use epid_fake::conformance::{case, conformance};
use epid_provider::{Token, Urn, Value};

use crate::lab::{Lab, json, trust};

#[expect(
    clippy::disallowed_methods,
    reason = "the address of a server that only a test needs"
)]
fn endpoint() -> String {
    std::env::var("EPID_MOTO_ENDPOINT").expect("EPID_MOTO_ENDPOINT is the address of a fresh moto")
}

#[tokio::test]
#[ignore = "needs moto: see the module's comment"]
async fn iam_and_eks_conform_to_moto() {
    let lab = Lab::emulator(&endpoint()).await;
    let document = |action: &str| {
        json(&format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"*"}}]}}"#
        ))
    };
    let role = Value::map([("assumeRolePolicyDocument", trust("eks.amazonaws.com"))]);
    let full = role.merged(&json(
        r#"{"roleName":"worker","path":"/team/","description":"Works.","maxSessionDuration":7200,
            "permissionsBoundary":"arn:aws:iam::aws:policy/AdministratorAccess",
            "managedPolicyArns":["arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"],"tags":{"team":"data"}}"#,
    ));
    let full = full.merged(&Value::map([(
        "inlinePolicies",
        Value::map([("logs", document("logs:PutLogEvents"))]),
    )]));
    let less = role.merged(&json(r#"{"roleName":"worker","path":"/team/","tags":{"x":"y"}}"#));
    let policy = |action: &str| Value::map([("policyDocument", document(action))]);
    let control = lab
        .role("control-plane", "eks.amazonaws.com", "AmazonEKSClusterPolicy")
        .await;
    let pods = lab
        .role(
            "pods",
            "eks-fargate-pods.amazonaws.com",
            "AmazonEKSFargatePodExecutionRolePolicy",
        )
        .await;
    let subnets = json(r#"{"subnetIds":["subnet-0123456789abcdef0","subnet-0123456789abcdef1"]}"#);
    let cluster = |name: &str| {
        Value::map([
            ("name", Value::str(name)),
            ("roleArn", Value::str(&control)),
            ("resourcesVpcConfig", subnets.clone()),
        ])
    };
    lab.make("aws:eks:Cluster", "demo", cluster("demo"))
        .await
        .unwrap();
    let profile = Value::map([
        ("clusterName", Value::str("demo")),
        ("fargateProfileName", Value::str("fp-default")),
        ("podExecutionRoleArn", Value::str(&pods)),
        ("selectors", json(r#"[{"namespace":"default"}]"#)),
    ]);
    let issuer = r#"{"url":"https://oidc.eks.us-east-1.amazonaws.com/id/CONFORMANCE"}"#;
    let tagged = cluster("other").merged(&json(r#"{"tags":{"a":"b"}}"#));
    let cases = [
        case("aws:iam:Role", full, [less]),
        case(
            "aws:iam:Policy",
            policy("s3:GetObject"),
            "abcdefg".chars().map(|c| policy(&format!("s3:Get{c}"))),
        ),
        case("aws:iam:OpenIdConnectProvider", json(issuer), []),
        case("aws:eks:Cluster", cluster("other"), [tagged]),
        case("aws:eks:FargateProfile", profile, []),
    ]
    .map(Result::unwrap);
    let call = |urn: &Urn, token: &Token| lab.call_with(urn, token);
    assert_eq!(
        conformance(&lab.provider, &*lab.connection, &call, &cases).await,
        Vec::<String>::new()
    );
}
