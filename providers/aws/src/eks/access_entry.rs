//! `aws:eks:AccessEntry`: lets an IAM user or role into a cluster.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_eks::types::{AccessEntry as Found, AccessScope, AccessScopeType, AssociatedAccessPolicy};
use epid_provider::{
    Failure, Field, KindSchema, Object, Output, Path, Present, Problem, Segment, Token, Type, Urn, Value,
    async_trait,
};

use super::{
    client_token, id_in_cluster, parts, read_tags, settle_tags, tags_of_create, taken, unless_absent,
};
use crate::clients::Clients;
use crate::given::{self, text, texts};
use crate::inputs::{list, map};
use crate::kind::named;
use crate::named::{Named, Seen, Work, gone, sdk, there, token_of};
use crate::patience::{BUSY_PAUSE, PROPAGATION, PROPAGATION_PAUSE, Patience};
use crate::tags;

/// For CreateAccessEntry: the principal may be new.
const PRINCIPAL: Patience<'static> = Patience {
    budget: PROPAGATION,
    pause: PROPAGATION_PAUSE,
    waits: &|failure: &Failure| {
        let new =
            failure.code == "InvalidParameterException" && failure.message.contains("invalid principal");
        new.then_some("waiting for EKS to know the principal")
    },
};

/// For requests about an entry that was made a moment ago, or of a cluster at work.
const FRESH: Patience<'static> = Patience {
    budget: Duration::from_secs(60),
    pause: Duration::from_secs(3),
    waits: &|failure: &Failure| {
        if super::absent(failure) {
            Some("waiting for EKS to know the new entry")
        } else {
            super::busy(failure)
        }
    },
};

/// For DeleteAccessEntry.
const DELETE: Patience<'static> = Patience {
    budget: Duration::from_secs(3600),
    pause: BUSY_PAUSE,
    waits: &super::busy,
};

/// The kind.
#[derive(Debug)]
pub(super) struct AccessEntry {
    schema: KindSchema,
}

impl AccessEntry {
    pub(super) fn new() -> Self {
        let scope = [
            Field::new("type", Type::one_of(&["cluster", "namespace"])).required(),
            Field::new("namespaces", Type::set(Type::String))
                .doc("The namespaces of a scope of type namespace; `*` stands for any characters."),
        ];
        let policy = [
            Field::new("policyArn", Type::String)
                .required()
                .doc("An access policy of EKS: arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy, …"),
            Field::new("accessScope", Type::object(scope)).required().doc("Where it holds."),
        ];
        let kinds = [
            "STANDARD",
            "EC2",
            "EC2_LINUX",
            "EC2_WINDOWS",
            "FARGATE_LINUX",
            "HYBRID_LINUX",
            "HYPERPOD_LINUX",
        ];
        let fields = [
            Field::new("clusterName", Type::String).required().immutable(),
            Field::new("principalArn", Type::String)
                .required()
                .immutable()
                .doc("The ARN of an IAM user or role; of a session, its role's."),
            Field::new("type", Type::one_of(&kinds)).immutable().default("STANDARD"),
            Field::new("username", Type::String)
                .doc("The name that Kubernetes knows; EKS makes it of the ARN where it is not given."),
            Field::new("kubernetesGroups", Type::set(Type::String))
                .doc("Groups for bindings of Kubernetes' own; none may begin with system:, eks:, aws:, amazon: or iam:."),
            Field::new("accessPolicies", Type::keyed(&["policyArn"], policy))
                .doc("What it may do by policies of EKS. Those that others associate stay."),
            Field::new("tags", Type::map(Type::String)),
        ];
        let mut schema = KindSchema::new(
            named("aws:eks:AccessEntry"),
            "Lets an IAM user or role into an EKS cluster.",
            Object::of(fields),
        );
        schema.outputs = vec![
            Output::new("arn", "The entry's ARN."),
            Output::new("username", "The name that Kubernetes knows.").changes_with(&["username"]),
        ];
        schema.expected = super::seconds(2, 2, 1);
        schema.timeouts = super::seconds(600, 600, 600);
        Self { schema }
    }
}

async fn describe(work: Work<'_>) -> Result<Option<Found>, Failure> {
    let (cluster, principal) = parts(work.id);
    let request = work
        .aws
        .eks
        .describe_access_entry()
        .cluster_name(cluster)
        .principal_arn(principal);
    let found = unless_absent(request.send().await.map_err(sdk("eks:DescribeAccessEntry")))?;
    found
        .map(|output| there("eks:DescribeAccessEntry", "accessEntry", output.access_entry))
        .transpose()
}

async fn associated(work: Work<'_>) -> Result<Vec<AssociatedAccessPolicy>, Failure> {
    let (cluster, principal) = parts(work.id);
    let mut found = Vec::new();
    let mut pages = work
        .aws
        .eks
        .list_associated_access_policies()
        .cluster_name(cluster)
        .principal_arn(principal)
        .into_paginator()
        .items()
        .send();
    while let Some(policy) = pages.next().await {
        found.push(policy.map_err(sdk("eks:ListAssociatedAccessPolicies"))?);
    }
    Ok(found)
}

/// Where a policy holds: `None` is the whole cluster.
type Scope = Option<Vec<String>>;

/// Policies that are declared, with their scopes.
fn declared(inputs: &Value) -> Vec<(String, Scope)> {
    let policies = given::at(inputs, "accessPolicies")
        .and_then(Value::as_list)
        .unwrap_or_default();
    let one = |policy: &Value| {
        let scope = given::at(policy, "accessScope").cloned().unwrap_or_default();
        let mut namespaces = texts(&scope, "namespaces").unwrap_or_default();
        namespaces.sort();
        let scope = (text(&scope, "type").as_deref() == Some("namespace")).then_some(namespaces);
        Some((text(policy, "policyArn")?, scope))
    };
    policies
        .iter()
        .filter_map(|policy| one(policy.expose()))
        .collect()
}

fn scope_of(policy: &AssociatedAccessPolicy) -> Scope {
    let scope = policy.access_scope.as_ref()?;
    let mut namespaces = scope.namespaces.clone().unwrap_or_default();
    namespaces.sort();
    (scope.r#type == Some(AccessScopeType::Namespace)).then_some(namespaces)
}

fn properties(entry: &Found, policies: &[AssociatedAccessPolicy]) -> Value {
    let string = |text: Option<&String>| text.map(|text| Value::str(text));
    let policy = |policy: &AssociatedAccessPolicy| {
        let scope = match scope_of(policy) {
            None => Value::map([("type", Value::str("cluster"))]),
            Some(namespaces) => Value::map([
                ("type", Value::str("namespace")),
                ("namespaces", list(namespaces)),
            ]),
        };
        map([
            ("policyArn", string(policy.policy_arn.as_ref())),
            ("accessScope", Some(scope)),
        ])
    };
    let groups = entry.kubernetes_groups.clone().unwrap_or_default();
    map([
        ("clusterName", string(entry.cluster_name.as_ref())),
        ("principalArn", string(entry.principal_arn.as_ref())),
        ("type", string(entry.r#type.as_ref())),
        ("username", string(entry.username.as_ref())),
        ("kubernetesGroups", Some(list(groups))),
        ("accessPolicies", Some(Value::list(policies.iter().map(policy)))),
        ("tags", Some(tags::observed(&read_tags(entry.tags.as_ref())))),
    ])
}

#[async_trait]
impl Named for AccessEntry {
    fn schema(&self) -> &KindSchema {
        &self.schema
    }

    fn check(&self, properties: &Value) -> Vec<Problem> {
        let root = Path::root();
        let mut found = Vec::new();
        if text(properties, "principalArn")
            .is_some_and(|arn| arn.contains(":assumed-role/") || arn.contains(":sts:"))
        {
            found.push(
                Problem::new(
                    root.key("principalArn"),
                    "a session cannot be let in, only its role",
                )
                .with_hint("give the role's ARN; `principalArn` of `aws:sts:CallerIdentity` is it"),
            );
        }
        let reserved = ["system:", "eks:", "aws:", "amazon:", "iam:"];
        for (index, group) in texts(properties, "kubernetesGroups")
            .unwrap_or_default()
            .iter()
            .enumerate()
        {
            if let Some(prefix) = reserved.iter().find(|prefix| group.starts_with(**prefix)) {
                let at = root.key("kubernetesGroups").join(Segment::Index(index));
                found.push(
                    Problem::new(at, format!("EKS takes no group that begins with `{prefix}`"))
                        .with_hint("for an administrator give the access policy AmazonEKSClusterAdminPolicy"),
                );
            }
        }
        let policies = given::at(properties, "accessPolicies")
            .and_then(Value::as_list)
            .unwrap_or_default();
        for (index, policy) in policies.iter().enumerate() {
            let scope = given::at(policy.expose(), "accessScope")
                .cloned()
                .unwrap_or_default();
            let count = given::at(&scope, "namespaces")
                .and_then(Value::as_list)
                .map_or(0, <[Value]>::len);
            let unknown = scope.has_unknown();
            let at = root
                .key("accessPolicies")
                .join(Segment::Index(index))
                .key("accessScope");
            match text(&scope, "type").as_deref() {
                Some("namespace") if count == 0 && !unknown => {
                    found.push(Problem::new(at, "a scope of type namespace names `namespaces`"));
                }
                Some("cluster") if count > 0 => {
                    found.push(Problem::new(at, "a scope of type cluster takes no `namespaces`"));
                }
                _ => {}
            }
        }
        found
    }

    fn id(&self, _aws: &Clients, inputs: &Value, _operation: Option<(&Urn, &Token)>) -> Option<String> {
        id_in_cluster(inputs, "principalArn")
    }

    fn key(&self, inputs: &Value) -> Option<String> {
        id_in_cluster(inputs, "principalArn")
    }

    fn chosen(&self) -> &'static [&'static str] {
        &["username"]
    }

    async fn find(&self, work: Work<'_>, _applied: Option<&Value>) -> Result<Option<Seen>, Failure> {
        let Some(entry) = describe(work).await? else {
            return Ok(None);
        };
        let Some(policies) = unless_absent(associated(work).await)? else {
            return Ok(None);
        };
        let there = read_tags(entry.tags.as_ref());
        let outputs = map([
            ("arn", entry.access_entry_arn.as_deref().map(Value::str)),
            ("username", entry.username.as_deref().map(Value::str)),
        ]);
        Ok(Some(Seen {
            present: Present {
                id: Arc::from(work.id),
                properties: properties(&entry, &policies),
                outputs,
                owner: tags::owner(&there),
            },
            token: token_of(&there),
            unfinished: Vec::new(),
            leaving: false,
        }))
    }

    async fn make(&self, work: Work<'_>, inputs: &Value) -> Result<(), Failure> {
        let (cluster, principal) = parts(work.id);
        let request = work
            .aws
            .eks
            .create_access_entry()
            .cluster_name(cluster)
            .principal_arn(principal)
            .client_request_token(client_token(work.cx, "create"))
            .set_type(text(inputs, "type"))
            .set_username(text(inputs, "username"))
            .set_kubernetes_groups(texts(inputs, "kubernetesGroups"))
            .set_tags(Some(tags_of_create(work, inputs)));
        let send = || async { request.clone().send().await.map_err(sdk("eks:CreateAccessEntry")) };
        PRINCIPAL
            .send(work.cx, send)
            .await
            .map(|_| ())
            .map_err(|failure| {
                if failure.message.contains("authentication mode must be set") {
                    failure.with_hint(
                        "set `accessConfig.authenticationMode` of the cluster to API or API_AND_CONFIG_MAP",
                    )
                } else {
                    taken(failure)
                }
            })
    }

    fn afterwards(&self, inputs: &Value) -> Vec<String> {
        if declared(inputs).is_empty() {
            Vec::new()
        } else {
            vec!["associate its policies".to_owned()]
        }
    }

    async fn settle(&self, work: Work<'_>, applied: &Value, inputs: &Value) -> Result<(), Failure> {
        let (cluster, principal) = parts(work.id);
        let eks = &work.aws.eks;
        let look = || async { describe(work).await?.ok_or_else(|| gone(work.id)) };
        let entry = if applied.is_null() {
            // An entry that was just made may not show at once.
            let begun = work.cx.now();
            super::wait(work.cx, "access entry", Duration::from_secs(3), || async {
                match describe(work).await? {
                    Some(entry) => Ok(super::Wait::Over(entry)),
                    None if work.cx.now().since(begun) < Duration::from_secs(30) => Ok(super::Wait::On(
                        "waiting for EKS to know the new entry".to_owned(),
                    )),
                    None => Err(gone(work.id)),
                }
            })
            .await?
        } else {
            look().await?
        };
        let groups = |of: &Value| {
            let mut groups = texts(of, "kubernetesGroups").unwrap_or_default();
            groups.sort();
            groups
        };
        let mut there = entry.kubernetes_groups.clone().unwrap_or_default();
        there.sort();
        let says = |field: &str| given::at(inputs, field).is_some() || given::at(applied, field).is_some();
        let new_groups = (says("kubernetesGroups") && groups(inputs) != there).then(|| groups(inputs));
        let new_name = text(inputs, "username").filter(|name| entry.username.as_ref() != Some(name));
        if new_groups.is_some() || new_name.is_some() {
            let request = eks
                .update_access_entry()
                .cluster_name(cluster)
                .principal_arn(principal)
                .client_request_token(client_token(work.cx, "update"))
                .set_kubernetes_groups(new_groups)
                .set_username(new_name);
            let send = || async { request.clone().send().await.map_err(sdk("eks:UpdateAccessEntry")) };
            FRESH.send(work.cx, send).await?;
            work.changed();
        }
        let (wanted, before) = (declared(inputs), declared(applied));
        if !wanted.is_empty() || !before.is_empty() {
            let there = associated(work).await?;
            let seen = |arn: &str| {
                there
                    .iter()
                    .find(|policy| policy.policy_arn.as_deref() == Some(arn))
            };
            for (arn, scope) in wanted
                .iter()
                .filter(|(arn, scope)| seen(arn).is_none_or(|p| scope_of(p) != *scope))
            {
                let kind = if scope.is_some() {
                    AccessScopeType::Namespace
                } else {
                    AccessScopeType::Cluster
                };
                let request = eks
                    .associate_access_policy()
                    .cluster_name(cluster)
                    .principal_arn(principal)
                    .policy_arn(arn)
                    .access_scope(
                        AccessScope::builder()
                            .r#type(kind)
                            .set_namespaces(scope.clone())
                            .build(),
                    );
                let send = || async {
                    request
                        .clone()
                        .send()
                        .await
                        .map_err(sdk("eks:AssociateAccessPolicy"))
                };
                FRESH.send(work.cx, send).await?;
                work.changed();
            }
            let kept = |arn: &str| wanted.iter().any(|(wanted, _)| wanted == arn);
            for (arn, _) in before.iter().filter(|(arn, _)| !kept(arn) && seen(arn).is_some()) {
                let request = eks
                    .disassociate_access_policy()
                    .cluster_name(cluster)
                    .principal_arn(principal)
                    .policy_arn(arn);
                unless_absent(request.send().await.map_err(sdk("eks:DisassociateAccessPolicy")))?;
                work.changed();
            }
        }
        match &entry.access_entry_arn {
            Some(arn) if !applied.is_null() => {
                settle_tags(work, arn, &read_tags(entry.tags.as_ref()), applied, inputs).await
            }
            _ => Ok(()),
        }
    }

    async fn remove(&self, work: Work<'_>) -> Result<(), Failure> {
        let (cluster, principal) = parts(work.id);
        let request = work
            .aws
            .eks
            .delete_access_entry()
            .cluster_name(cluster)
            .principal_arn(principal);
        let send = || async { request.clone().send().await.map_err(sdk("eks:DeleteAccessEntry")) };
        unless_absent(DELETE.send(work.cx, send).await).map(|_| ())
    }
}
