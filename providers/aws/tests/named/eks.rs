//! Clusters, Fargate profiles, add-ons, access entries.

use epid_fake::conformance::{case, conformance};
use epid_provider::{
    Desired, Intent, Kind, Observed, Operation, Outcome, Provider, Query, Record, Recovered, Replace,
    Resolved, Token, Urn, Value,
};
use epid_sandbox::FaultScript;
use epid_sandbox::faults::{Fault, When};

use crate::lab::{Lab, json};

const FARGATE: &str = "AmazonEKSFargatePodExecutionRolePolicy";

fn with(base: &Value, more: &str) -> Value {
    base.merged(&json(more))
}

async fn cluster(lab: &Lab) -> (Record, Vec<String>) {
    let (inputs, subnets) = lab.cluster_inputs().await;
    (
        lab.make("aws:eks:Cluster", "cluster", inputs).await.unwrap(),
        subnets,
    )
}

fn profile(name: &str, role: &str, subnets: &[String]) -> Value {
    Value::map([
        ("clusterName", Value::str("demo")),
        ("fargateProfileName", Value::str(name)),
        ("podExecutionRoleArn", Value::str(role)),
        (
            "selectors",
            json(r#"[{"namespace":"kube-system","labels":{"a":"b"}},{"namespace":"default"}]"#),
        ),
        ("subnets", Value::list(subnets.iter().map(|id| Value::str(id)))),
    ])
}

#[tokio::test(start_paused = true)]
async fn a_cluster_conforms() {
    let lab = Lab::new().await;
    let (inputs, subnets) = lab.cluster_inputs().await;
    let first = with(
        &inputs,
        r#"{"version":"1.33","tags":{"team":"data"},"deletionProtection":true,
            "logging":{"clusterLogging":[{"types":["audit"],"enabled":true}]},"upgradePolicy":{"supportType":"STANDARD"}}"#,
    );
    let second = with(
        &inputs,
        r#"{"version":"1.35","tags":{"team":"web"},"resourcesVpcConfig":{"endpointPrivateAccess":true,"publicAccessCidrs":["198.51.100.0/24"]},
            "logging":{"clusterLogging":[{"types":["api","audit"],"enabled":true}]},"zonalShiftConfig":{"enabled":true}}"#,
    );
    let some = Value::list(subnets.iter().skip(2).map(|id| Value::str(id)));
    let third = inputs.merged(&Value::map([(
        "resourcesVpcConfig",
        Value::map([("subnetIds", some)]),
    )]));
    let cases = [
        case("aws:eks:Cluster", first, [second, third]).unwrap(),
        case("aws:eks:Cluster", inputs, []).unwrap(),
    ];
    let call = |urn: &Urn, token: &Token| lab.call_with(urn, token);
    assert_eq!(
        conformance(&lab.provider, &*lab.connection, &call, &cases).await,
        Vec::<String>::new()
    );
    let phrases = lab.runtime.phrases.lock().unwrap();
    for phrase in [
        "CREATING",
        "updating to Kubernetes 1.34",
        "updating to Kubernetes 1.35",
        "DELETING",
    ] {
        assert!(phrases.iter().any(|seen| seen == phrase), "{phrase}");
    }
    let notes = lab.runtime.notes.lock().unwrap();
    assert!(
        notes
            .iter()
            .any(|note| &*note.id == "demo" && note.incomplete == ["become ACTIVE"])
    );
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_a_cluster_conforms() {
    let lab = Lab::new().await;
    let (_, subnets) = cluster(&lab).await;
    let role = lab.role("pods", "eks-fargate-pods.amazonaws.com", FARGATE).await;
    let person = lab
        .role("person", "ec2.amazonaws.com", "AdministratorAccess")
        .await;
    let fargate = profile("fp-default", &role, &subnets[2..]);
    let addon = json(r#"{"clusterName":"demo","addonName":"vpc-cni","resolveConflicts":"OVERWRITE"}"#);
    let entry = Value::map([
        ("clusterName", Value::str("demo")),
        ("principalArn", Value::from(person)),
    ]);
    let admin = r#"{"policyArn":"arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy","accessScope":{"type":"cluster"}}"#;
    let view = |namespaces: &str| {
        format!(
            r#"{{"policyArn":"arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy","accessScope":{{"type":"namespace","namespaces":{namespaces}}}}}"#
        )
    };
    let (here, there) = (view(r#"["default"]"#), view(r#"["shop","default"]"#));
    let cases = [
        case(
            "aws:eks:FargateProfile",
            fargate.clone(),
            [with(&fargate, r#"{"tags":{"a":"b"}}"#), fargate],
        ),
        case(
            "aws:eks:Addon",
            addon.clone(),
            [
                with(
                    &addon,
                    r#"{"configurationValues":{"env":{"A":"1"}},"tags":{"a":"b"}}"#,
                ),
                with(&addon, r#"{"configurationValues":"{\"env\": {\"A\": \"2\"}}"}"#),
                addon,
            ],
        ),
        case(
            "aws:eks:AccessEntry",
            with(
                &entry,
                &format!(r#"{{"accessPolicies":[{admin},{here}],"kubernetesGroups":["ops"]}}"#),
            ),
            [
                with(
                    &entry,
                    &format!(r#"{{"accessPolicies":[{there}],"username":"jo","tags":{{"a":"b"}}}}"#),
                ),
                with(&entry, r#"{"username":"jo"}"#),
            ],
        ),
    ]
    .map(Result::unwrap);
    let call = |urn: &Urn, token: &Token| lab.call_with(urn, token);
    assert_eq!(
        conformance(&lab.provider, &*lab.connection, &call, &cases).await,
        Vec::<String>::new()
    );
}

#[tokio::test(start_paused = true)]
async fn a_cluster_says_what_others_need() {
    let lab = Lab::new().await;
    let (made, _) = cluster(&lab).await;
    let output = |name: &str| made.outputs.get(name).and_then(Value::as_str).unwrap_or_default();
    assert!(output("endpoint").starts_with("https://"), "{}", made.outputs);
    assert_eq!(
        output("oidcIssuer"),
        format!("https://{}", output("oidcIssuerHost"))
    );
    assert!(output("clusterSecurityGroupId").starts_with("sg-"));
    assert!(!output("certificateAuthority").is_empty() && output("status") == "ACTIVE");
    assert_eq!(
        made.resolved.get("version").and_then(Value::as_str),
        Some(output("version"))
    );
}

#[tokio::test(start_paused = true)]
async fn declaring_what_eks_chose_is_no_change() {
    let lab = Lab::new().await;
    let (made, _) = cluster(&lab).await;
    let diff = |more: &str| {
        let properties = with(&made.applied, more);
        let desired = Desired {
            urn: made.urn.clone(),
            kind: made.kind.clone(),
            properties,
        };
        lab.provider.diff(&made, &desired)
    };
    assert!(diff(r#"{"version":"1.34"}"#).is_empty());
    assert!(diff(r#"{"kubernetesNetworkConfig":{"ipFamily":"ipv4"}}"#).is_empty());
    assert_eq!(
        diff(r#"{"kubernetesNetworkConfig":{"serviceIpv4Cidr":"10.9.0.0/16"}}"#).replace(),
        Replace::Yes
    );
    let key = r#"{"encryptionConfig":[{"resources":["secrets"],"provider":{"keyArn":"arn:aws:kms:us-east-1:000000000000:key/k"}}]}"#;
    assert_eq!(diff(key).replace(), Replace::No, "a key can be added");
    let with_key = Record {
        applied: with(&made.applied, key),
        ..made.clone()
    };
    let desired = Desired {
        urn: made.urn.clone(),
        kind: made.kind.clone(),
        properties: made.applied.clone(),
    };
    assert_eq!(
        lab.provider.diff(&with_key, &desired).replace(),
        Replace::Yes,
        "and not taken away"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_makes_no_second_cluster() {
    let lab = Lab::with_faults(FaultScript::one(
        "CreateCluster",
        When::First(3),
        Fault::LoseAnswer,
    ))
    .await;
    let (made, _) = cluster(&lab).await;
    assert_eq!(&*made.id, "demo");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_on_its_way_is_recovered_as_half_made_and_finished_by_an_update() {
    let lab = Lab::with_faults(FaultScript::one(
        "CreateCluster",
        When::First(20),
        Fault::LoseAnswer,
    ))
    .await;
    let (inputs, _) = lab.cluster_inputs().await;
    let urn = Lab::urn("aws:eks:Cluster", "cluster");
    let kind = Kind::parse("aws:eks:Cluster").unwrap();
    let (call, resolved) = (lab.call(&urn), Resolved::new(inputs.clone()).unwrap());
    lab.runtime_sleep(30).await;
    let failure = lab.connection.create(&call, &kind, &resolved).await.unwrap_err();
    assert_eq!(failure.outcome, Outcome::Unknown);
    let intent = Intent {
        token: call.token.clone(),
        operation: Operation::Create,
        urn: urn.clone(),
        kind: kind.clone(),
        inputs: resolved.clone(),
        record: None,
        partial: None,
    };
    let Recovered::Partial(partial) = lab.connection.recover(&lab.call(&urn), &intent).await.unwrap() else {
        panic!("not half made")
    };
    assert_eq!(partial.incomplete, ["become ACTIVE"]);
    let record = Record {
        urn,
        kind,
        id: partial.id,
        applied: inputs.clone(),
        resolved: Value::map::<&str>([]),
        outputs: partial.outputs,
        incomplete: partial.incomplete,
        attempted: Vec::new(),
    };
    let finished = lab.change(&record, inputs).await.unwrap();
    assert_eq!(finished.outputs.get("status"), Some(&Value::str("ACTIVE")));
}

#[tokio::test(start_paused = true)]
async fn profiles_wait_for_each_other() {
    let lab = Lab::new().await;
    let (_, subnets) = cluster(&lab).await;
    let role = lab.role("pods", "eks-fargate-pods.amazonaws.com", FARGATE).await;
    let kind = "aws:eks:FargateProfile";
    let made = |name: &'static str| lab.make(kind, name, profile(name, &role, &subnets[2..]));
    let (one, two) = futures::future::join(made("one"), made("two")).await;
    let (one, two) = (one.unwrap(), two.unwrap());
    let gone = futures::future::join(lab.remove(&one), lab.remove(&two)).await;
    assert!(gone.0.is_ok() && gone.1.is_ok(), "{gone:?}");
    let phrases = lab.runtime.phrases.lock().unwrap();
    assert!(
        phrases
            .iter()
            .any(|phrase| phrase.contains("another operation of the cluster"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_add_on_that_is_not_well_says_why() {
    let lab = Lab::new().await;
    cluster(&lab).await;
    let inputs = json(
        r#"{"clusterName":"demo","addonName":"coredns","configurationValues":{"computeType":"Fargate"}}"#,
    );
    let failure = lab.make("aws:eks:Addon", "coredns", inputs).await.unwrap_err();
    assert_eq!(failure.code, "Deadline");
    assert!(
        failure.message.contains("InsufficientNumberOfReplicas"),
        "{}",
        failure.message
    );
    assert!(matches!(failure.outcome, Outcome::Partial(partial) if partial.incomplete == ["become ACTIVE"]));
}

#[tokio::test(start_paused = true)]
async fn a_protected_cluster_stays_and_says_what_to_do() {
    let lab = Lab::new().await;
    let (inputs, _) = lab.cluster_inputs().await;
    let inputs = with(&inputs, r#"{"deletionProtection":true}"#);
    let made = lab.make("aws:eks:Cluster", "cluster", inputs).await.unwrap();
    let failure = lab.remove(&made).await.unwrap_err();
    assert!(
        failure
            .hint
            .is_some_and(|hint| hint.contains("deletionProtection = false")),
        "{}",
        failure.message
    );
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_wrong_is_told_in_the_end() {
    let lab = Lab::new().await;
    let (inputs, _) = lab.cluster_inputs().await;
    let other = lab
        .role("other", "ec2.amazonaws.com", "AmazonEKSClusterPolicy")
        .await;
    let inputs = inputs.merged(&Value::map([("roleArn", Value::from(other))]));
    let failure = lab.make("aws:eks:Cluster", "cluster", inputs).await.unwrap_err();
    assert_eq!(failure.outcome, Outcome::NotStarted);
    assert!(
        failure.hint.is_some_and(|hint| hint.contains("trust policy")),
        "{}",
        failure.message
    );
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_somebody_else_is_told_apart_and_reads_that_fail_are_no_absence() {
    let lab = Lab::with_faults(FaultScript::one(
        "DescribeFargateProfile",
        When::Every(1),
        Fault::ServerError(500),
    ))
    .await;
    let (made, _) = cluster(&lab).await;
    let failure = lab
        .make("aws:eks:Cluster", "twin", made.applied.clone())
        .await
        .unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.outcome),
        ("AlreadyExists", Outcome::NotStarted)
    );
    let query = Query::Id {
        urn: Lab::urn("aws:eks:FargateProfile", "p"),
        kind: Kind::parse("aws:eks:FargateProfile").unwrap(),
        id: "demo/none".into(),
    };
    assert!(lab.observe(query).await.is_err());
    let query = Query::Id {
        urn: Lab::urn("aws:eks:Addon", "a"),
        kind: Kind::parse("aws:eks:Addon").unwrap(),
        id: "elsewhere/coredns".into(),
    };
    assert_eq!(
        lab.observe(query).await.unwrap(),
        Observed::Absent,
        "a cluster that is gone took it along"
    );
}
