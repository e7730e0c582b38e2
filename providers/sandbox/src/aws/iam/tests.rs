//! IAM as a client meets it: through decoded calls at chosen moments.

use super::super::trial::{Trial, texts};
use serde_json::json;

const EKS_TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}"#;
const READ: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}}"#;
const CLUSTER_POLICY: &str = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy";

fn trial() -> Trial {
    Trial::new(super::handle)
}

impl Trial {
    fn role(&mut self, name: &str) -> String {
        self.get("CreateRole", &role_form(name, EKS_TRUST), "Arn")
    }

    fn policy(&mut self, name: &str) -> String {
        self.get(
            "CreatePolicy",
            &format!("PolicyName={name}&PolicyDocument={}", quoted(READ)),
            "Arn",
        )
    }
}

fn quoted(text: &str) -> String {
    super::document::encoded(text)
}

fn role_form(name: &str, trust: &str) -> String {
    format!("RoleName={name}&AssumeRolePolicyDocument={}", quoted(trust))
}

#[test]
fn a_role_is_kept_until_nothing_hangs_on_it() {
    let mut trial = trial();
    let arn = trial.role("cluster");
    assert_eq!(arn, "arn:aws:iam::000000000000:role/cluster");
    assert_eq!(
        trial.code("CreateRole", &role_form("Cluster", EKS_TRUST)),
        "EntityAlreadyExists"
    );
    let document = trial.get("GetRole", "RoleName=cluster", "AssumeRolePolicyDocument");
    assert!(document.starts_with("%7B%22Version%22%3A"), "{document}");

    let attachment = format!("RoleName=cluster&PolicyArn={CLUSTER_POLICY}");
    trial.ok("AttachRolePolicy", &attachment);
    trial.ok("AttachRolePolicy", &attachment);
    trial.ok(
        "PutRolePolicy",
        &format!("RoleName=cluster&PolicyName=logs&PolicyDocument={}", quoted(READ)),
    );
    assert_eq!(
        texts(
            &trial.ok("ListAttachedRolePolicies", "RoleName=cluster"),
            "PolicyArn"
        ),
        [CLUSTER_POLICY]
    );
    assert!(
        trial
            .ok("ListRolePolicies", "RoleName=cluster")
            .contains("<member>logs</member>")
    );
    assert_eq!(trial.code("DeleteRole", "RoleName=cluster"), "DeleteConflict");
    trial.ok("DetachRolePolicy", &attachment);
    assert_eq!(trial.code("DetachRolePolicy", &attachment), "NoSuchEntity");
    assert_eq!(trial.code("DeleteRole", "RoleName=cluster"), "DeleteConflict");
    trial.ok("DeleteRolePolicy", "RoleName=cluster&PolicyName=logs");
    assert_eq!(
        trial.code("GetRolePolicy", "RoleName=cluster&PolicyName=logs"),
        "NoSuchEntity"
    );
    trial.ok("DeleteRole", "RoleName=cluster");
    assert_eq!(trial.code("GetRole", "RoleName=cluster"), "NoSuchEntity");
}

#[test]
fn names_paths_durations_and_descriptions_are_checked() {
    let mut trial = trial();
    for extra in ["&Path=nope", "&MaxSessionDuration=10", "&RoleName=a/b"] {
        let form = role_form("ok", EKS_TRUST) + extra;
        assert_eq!(trial.code("CreateRole", &form), "ValidationError", "{extra}");
    }
    let long = "r".repeat(65);
    assert_eq!(
        trial.code("GetRole", &format!("RoleName={long}")),
        "ValidationError"
    );
    let form = role_form("deep", EKS_TRUST) + "&Path=/team/&MaxSessionDuration=7200&Description=d";
    assert_eq!(
        trial.get("CreateRole", &form, "Arn"),
        "arn:aws:iam::000000000000:role/team/deep"
    );
    trial.ok("UpdateRole", "RoleName=deep&Description=e");
    let shown = trial.ok("GetRole", "RoleName=deep");
    assert!(shown.contains("<Description>e</Description>") && shown.contains("<MaxSessionDuration>3600<"));
    assert_eq!(
        texts(&trial.ok("ListRoles", "PathPrefix=/team/"), "RoleName"),
        ["deep"]
    );
    assert!(
        trial
            .aws
            .iam
            .role("arn:aws:iam::000000000000:role/team/deep")
            .is_some()
    );
    assert!(
        trial
            .aws
            .iam
            .role("arn:aws:iam::000000000000:role/deep")
            .is_none(),
        "the path is part of the ARN"
    );
}

#[test]
fn documents_that_iam_refuses() {
    let mut trial = trial();
    let statement = |change: fn(&mut serde_json::Value)| {
        let mut document: serde_json::Value = serde_json::from_str(READ).unwrap();
        change(&mut document);
        document.to_string()
    };
    let cases = [
        ("{".to_owned(), "invalid Json"),
        ("[]".to_owned(), "Syntax errors"),
        (
            statement(|d| d["Version"] = json!("2008-10-17")),
            "must be version 2012-10-17",
        ),
        (
            statement(|d| d["Version"] = json!("2020-01-01")),
            "valid version string",
        ),
        (statement(|d| d["Colour"] = json!("red")), "Syntax errors"),
        (
            statement(|d| d["Statement"]["Effect"] = json!("Maybe")),
            "Invalid effect",
        ),
        (
            statement(|d| d["Statement"]["Action"] = json!([])),
            "must contain actions",
        ),
        (
            statement(|d| d["Statement"]["Action"] = json!("Describe")),
            "prefaced by a vendor",
        ),
        (
            statement(|d| d["Statement"]["Resource"] = json!("bucket")),
            "ARN format",
        ),
        (
            statement(|d| d["Statement"]["Principal"] = json!("*")),
            "should not specify a principal",
        ),
        (
            statement(|d| d["Statement"]["Condition"] = json!("x")),
            "Syntax errors",
        ),
    ];
    for (document, message) in cases {
        let form = format!("PolicyName=p&PolicyDocument={}", quoted(&document));
        let error = trial.call("CreatePolicy", &form).unwrap_err();
        assert_eq!(error.code, "MalformedPolicyDocument", "{document}");
        assert!(error.message.contains(message), "{document}: {}", error.message);
    }
    let long =
        statement(|d| d["Statement"]["Resource"] = json!(format!("arn:aws:s3:::{}", "x".repeat(6_144))));
    assert_eq!(
        trial.code(
            "CreatePolicy",
            &format!("PolicyName=p&PolicyDocument={}", quoted(&long))
        ),
        "LimitExceeded"
    );
    assert_eq!(
        trial.code("CreateRole", &role_form("r", READ)),
        "MalformedPolicyDocument"
    );
}

#[test]
fn principals_must_exist_for_a_while() {
    let mut trial = trial();
    let trust = |kind: &str, name: &str, action: &str| {
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {kind: name}, "Action": action}]})
            .to_string()
    };
    let of_role = trust("AWS", "arn:aws:iam::000000000000:role/first", "sts:AssumeRole");
    assert_eq!(
        trial.code("CreateRole", &role_form("second", &of_role)),
        "MalformedPolicyDocument"
    );
    trial.role("first");
    let error = trial
        .call("CreateRole", &role_form("second", &of_role))
        .unwrap_err();
    assert!(
        error.message.starts_with("Invalid principal in policy: \"AWS\":"),
        "{}",
        error.message
    );
    trial.wait(10);
    trial.ok("CreateRole", &role_form("second", &of_role));

    let issuer = "oidc.eks.us-east-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF";
    let provider = format!("arn:aws:iam::000000000000:oidc-provider/{issuer}");
    let federated = role_form(
        "pods",
        &trust("Federated", &provider, "sts:AssumeRoleWithWebIdentity"),
    );
    assert_eq!(trial.code("CreateRole", &federated), "MalformedPolicyDocument");
    let create = format!("Url=https://{issuer}&ClientIDList.member.1=sts.amazonaws.com");
    assert_eq!(
        trial.get("CreateOpenIDConnectProvider", &create, "OpenIDConnectProviderArn"),
        provider
    );
    trial.ok("CreateRole", &federated);
    let not_sts = role_form("bad", &trust("Service", "eks.amazonaws.com", "ec2:RunInstances"));
    assert_eq!(trial.code("CreateRole", &not_sts), "MalformedPolicyDocument");
}

#[test]
fn a_policy_has_five_versions_and_keeps_its_default() {
    let mut trial = trial();
    let arn = trial.policy("lbc");
    assert_eq!(
        trial.code(
            "CreatePolicy",
            &format!("PolicyName=lbc&PolicyDocument={}", quoted(READ))
        ),
        "EntityAlreadyExists"
    );
    let version = format!("PolicyArn={arn}&PolicyDocument={}", quoted(READ));
    for _ in 0..4 {
        trial.ok("CreatePolicyVersion", &format!("{version}&SetAsDefault=true"));
    }
    assert_eq!(trial.code("CreatePolicyVersion", &version), "LimitExceeded");
    assert_eq!(
        texts(
            &trial.ok("ListPolicyVersions", &format!("PolicyArn={arn}")),
            "VersionId"
        ),
        ["v5", "v4", "v3", "v2", "v1"]
    );
    assert_eq!(
        trial.code("DeletePolicyVersion", &format!("PolicyArn={arn}&VersionId=v5")),
        "DeleteConflict"
    );
    assert_eq!(
        trial.code("DeletePolicy", &format!("PolicyArn={arn}")),
        "DeleteConflict"
    );
    trial.ok(
        "SetDefaultPolicyVersion",
        &format!("PolicyArn={arn}&VersionId=v1"),
    );
    for number in 2..=5 {
        trial.ok(
            "DeletePolicyVersion",
            &format!("PolicyArn={arn}&VersionId=v{number}"),
        );
    }
    assert_eq!(
        trial.get("CreatePolicyVersion", &version, "VersionId"),
        "v6",
        "numbers are not used again"
    );
    trial.ok("DeletePolicyVersion", &format!("PolicyArn={arn}&VersionId=v6"));
    trial.role("r");
    trial.ok("AttachRolePolicy", &format!("RoleName=r&PolicyArn={arn}"));
    assert_eq!(
        trial.get("GetPolicy", &format!("PolicyArn={arn}"), "AttachmentCount"),
        "1"
    );
    assert_eq!(
        texts(
            &trial.ok("ListEntitiesForPolicy", &format!("PolicyArn={arn}")),
            "RoleName"
        ),
        ["r"]
    );
    assert_eq!(
        trial.code("DeletePolicy", &format!("PolicyArn={arn}")),
        "DeleteConflict"
    );
    trial.ok("DetachRolePolicy", &format!("RoleName=r&PolicyArn={arn}"));
    trial.ok("DeletePolicy", &format!("PolicyArn={arn}"));
    assert_eq!(
        trial.code("DeletePolicy", &format!("PolicyArn={arn}")),
        "NoSuchEntity"
    );
}

#[test]
fn policies_of_aws_exist_and_stay_as_they_are() {
    let mut trial = trial();
    for name in [
        "AmazonEKSClusterPolicy",
        "AmazonEKSVPCResourceController",
        "AmazonEKSFargatePodExecutionRolePolicy",
    ] {
        let arn = format!("arn:aws:iam::aws:policy/{name}");
        assert_eq!(
            trial.get("GetPolicy", &format!("PolicyArn={arn}"), "PolicyName"),
            name
        );
        assert!(trial.aws.iam.policy_exists(&arn));
        assert_eq!(
            trial.code("DeletePolicy", &format!("PolicyArn={arn}")),
            "AccessDenied"
        );
    }
    trial.role("r");
    let unknown = "RoleName=r&PolicyArn=arn:aws:iam::aws:policy/Nothing";
    assert_eq!(trial.code("AttachRolePolicy", unknown), "NoSuchEntity");
    trial.policy("own");
    assert_eq!(
        texts(&trial.ok("ListPolicies", "Scope=Local"), "PolicyName"),
        ["own"]
    );
    assert!(
        trial
            .ok("ListPolicies", "Scope=AWS&PathPrefix=/service-role/")
            .contains("AmazonEBSCSIDriverPolicy")
    );
}

#[test]
fn facts_carry_the_moments_of_change() {
    let mut trial = trial();
    let arn = trial.role("r");
    let policy = trial.policy("p");
    let made = trial.now;
    trial.wait(60);
    trial.ok("AttachRolePolicy", &format!("RoleName=r&PolicyArn={policy}"));
    let facts = trial.aws.iam.role(&arn).unwrap();
    assert_eq!(facts.trust_since, made);
    assert_eq!(facts.attached, [(policy.clone(), trial.now)]);
    assert_eq!(
        facts.permissions,
        [(serde_json::from_str(READ).unwrap(), trial.now)]
    );
    let attached = trial.now;
    trial.wait(60);
    trial.ok(
        "UpdateAssumeRolePolicy",
        &format!("RoleName=r&PolicyDocument={}", quoted(EKS_TRUST)),
    );
    let facts = trial.aws.iam.role(&arn).unwrap();
    assert_eq!(
        (
            facts.trust_since,
            facts.permissions.first().map(|(_, since)| *since)
        ),
        (trial.now, Some(attached))
    );
    assert_eq!(
        facts.trust["Statement"][0]["Principal"]["Service"],
        "eks.amazonaws.com"
    );
}

#[test]
fn providers_are_unique_by_url_and_deleted_without_complaint() {
    let mut trial = trial();
    let create = "Url=https://oidc.example.org/id/A&ClientIDList.member.1=sts.amazonaws.com";
    let arn = trial.get("CreateOpenIDConnectProvider", create, "OpenIDConnectProviderArn");
    let by_arn = format!("OpenIDConnectProviderArn={arn}");
    assert_eq!(
        trial.code("CreateOpenIDConnectProvider", create),
        "EntityAlreadyExists"
    );
    assert_eq!(
        trial.code("CreateOpenIDConnectProvider", "Url=http://a.example.org"),
        "ValidationError"
    );
    let shown = trial.ok("GetOpenIDConnectProvider", &by_arn);
    assert_eq!(texts(&shown, "Url"), ["oidc.example.org/id/A"]);
    trial.ok(
        "AddClientIDToOpenIDConnectProvider",
        &format!("{by_arn}&ClientID=other"),
    );
    trial.ok(
        "RemoveClientIDFromOpenIDConnectProvider",
        &format!("{by_arn}&ClientID=sts.amazonaws.com"),
    );
    assert_eq!(
        trial
            .aws
            .iam
            .oidc_provider("oidc.example.org/id/A")
            .map(|facts| facts.client_ids),
        Some(vec!["other".to_owned()])
    );
    let thumbprint = "a".repeat(40);
    trial.ok(
        "UpdateOpenIDConnectProviderThumbprint",
        &format!("{by_arn}&ThumbprintList.member.1={thumbprint}"),
    );
    assert!(
        trial
            .ok("GetOpenIDConnectProvider", &by_arn)
            .contains(&thumbprint)
    );
    assert_eq!(texts(&trial.ok("ListOpenIDConnectProviders", ""), "Arn"), [arn]);
    trial.ok("DeleteOpenIDConnectProvider", &by_arn);
    trial.ok("DeleteOpenIDConnectProvider", &by_arn);
    assert_eq!(trial.code("GetOpenIDConnectProvider", &by_arn), "NoSuchEntity");
}

#[test]
fn pages_and_tags() {
    let mut trial = trial();
    for n in 0..7 {
        trial.role(&format!("role-{n}"));
    }
    let (mut seen, mut marker) = (Vec::new(), String::new());
    loop {
        let answer = trial.ok("ListRoles", &format!("MaxItems=3{marker}"));
        seen.extend(texts(&answer, "RoleName"));
        match texts(&answer, "Marker").first() {
            Some(next) => marker = format!("&Marker={next}"),
            None => break assert!(answer.contains("<IsTruncated>false<")),
        }
    }
    assert_eq!(seen, (0..7).map(|n| format!("role-{n}")).collect::<Vec<_>>());
    assert_eq!(trial.code("ListRoles", "MaxItems=0"), "ValidationError");
    assert_eq!(trial.code("ListRoles", "Marker=zz"), "ValidationError");

    let tag = |key: &str, value: &str| {
        format!("RoleName=role-1&Tags.member.1.Key={key}&Tags.member.1.Value={value}")
    };
    trial.ok("TagRole", &tag("Team", "a"));
    trial.ok("TagRole", &tag("team", "b"));
    assert_eq!(
        texts(&trial.ok("ListRoleTags", "RoleName=role-1"), "Value"),
        ["b"],
        "keys ignore case"
    );
    assert_eq!(trial.code("TagRole", &tag("aws:x", "y")), "InvalidInput");
    assert!(
        !trial.ok("ListRoles", "").contains("<Tags>"),
        "lists leave tags out"
    );
    trial.ok("UntagRole", "RoleName=role-1&TagKeys.member.1=team");
    assert!(!trial.ok("GetRole", "RoleName=role-1").contains("<Tags>"));
    assert_eq!(trial.get("GetUser", "", "UserName"), "sandbox");
    assert_eq!(trial.code("GetUser", "UserName=nobody"), "NoSuchEntity");
}
