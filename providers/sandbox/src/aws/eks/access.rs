//! Access entries: which IAM principals may do what in a cluster.

use super::cluster::Cluster;
use super::page::page;
use super::{duration, in_use, invalid_parameter, invalid_request, text, text_map, texts};
use crate::Timestamp;
use crate::aws::policy::like;
use crate::aws::{ApiError, Aws, Call, Reply, Tags};
use crate::cloud::{Access, Principal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Names of the access policies, and what they let in.
const POLICIES: &[(&str, Access)] = &[
    ("AmazonEKSAdminPolicy", Access::Edit),
    ("AmazonEKSAdminViewPolicy", Access::View),
    ("AmazonEKSClusterAdminPolicy", Access::Admin),
    ("AmazonEKSEditPolicy", Access::Edit),
    ("AmazonEKSViewPolicy", Access::View),
];
const PREFIX: &str = "arn:aws:eks::aws:cluster-access-policy/";
const TYPES: [&str; 7] = [
    "STANDARD",
    "FARGATE_LINUX",
    "EC2_LINUX",
    "EC2_WINDOWS",
    "EC2",
    "HYBRID_LINUX",
    "HYPERPOD_LINUX",
];

/// One entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    arn: String,
    created: Timestamp,
    modified: Timestamp,
    kind: String,
    username: String,
    groups: Vec<String>,
    pub(super) tags: Tags,
    policies: BTreeMap<String, Association>,
}

/// A policy of an entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Association {
    since: Timestamp,
    modified: Timestamp,
    /// `None` for the whole cluster.
    namespaces: Option<Vec<String>>,
}

impl Entry {
    /// The entry that a new cluster gives to who made it.
    pub(super) fn creator(aws: &mut Aws, now: Timestamp, cluster: &Cluster, principal: &str) -> Self {
        let mut entry = Self::new(aws, now, &cluster.name, principal, "STANDARD");
        let association = Association {
            since: now,
            modified: now,
            namespaces: None,
        };
        entry
            .policies
            .insert(format!("{PREFIX}AmazonEKSClusterAdminPolicy"), association);
        entry
    }

    /// The entry that EKS makes for a pod execution role.
    pub(super) fn fargate(aws: &Aws, now: Timestamp, cluster: &Cluster, role_arn: &str) -> Self {
        let mut entry = Self::plain(aws, now, &cluster.name, role_arn, "FARGATE_LINUX", &cluster.id);
        entry.username = "system:node:{{SessionName}}".to_owned();
        entry.groups = ["system:bootstrappers", "system:nodes", "system:node-proxier"]
            .map(str::to_owned)
            .into();
        entry
    }

    pub(super) fn arn(&self) -> &str {
        &self.arn
    }

    fn new(aws: &mut Aws, now: Timestamp, cluster: &str, principal: &str, kind: &str) -> Self {
        let id = aws.ids.uuid();
        Self::plain(aws, now, cluster, principal, kind, &id)
    }

    fn plain(aws: &Aws, now: Timestamp, cluster: &str, principal: &str, kind: &str, id: &str) -> Self {
        // arn:aws:iam::ACCOUNT:role/NAME gives access-entry/CLUSTER/role/ACCOUNT/NAME/ID.
        let (sort, name) = principal
            .rsplit(':')
            .next()
            .and_then(|last| last.split_once('/'))
            .unwrap_or(("role", principal));
        Self {
            arn: aws.arn(
                "eks",
                &format!("access-entry/{cluster}/{sort}/{}/{name}/{id}", aws.account),
            ),
            created: now,
            modified: now,
            kind: kind.to_owned(),
            username: principal.to_owned(),
            groups: Vec::new(),
            tags: Tags::new(),
            policies: BTreeMap::new(),
        }
    }

    fn json(&self, cluster: &str, principal: &str) -> Value {
        json!({
            "clusterName": cluster,
            "principalArn": principal,
            "kubernetesGroups": self.groups,
            "accessEntryArn": self.arn,
            "createdAt": self.created.epoch_seconds(),
            "modifiedAt": self.modified.epoch_seconds(),
            "tags": self.tags,
            "username": self.username,
            "type": self.kind,
        })
    }
}

impl Association {
    fn json(&self, policy: &str) -> Value {
        let scope = match &self.namespaces {
            None => json!({"type": "cluster", "namespaces": []}),
            Some(namespaces) => json!({"type": "namespace", "namespaces": namespaces}),
        };
        json!({
            "policyArn": policy,
            "accessScope": scope,
            "associatedAt": self.since.epoch_seconds(),
            "modifiedAt": self.modified.epoch_seconds(),
        })
    }
}

/// The IAM principal of a caller: `assumed-role/R/S` becomes `role/R`, with the role's path if it is known.
pub(super) fn role_or_user(aws: &Aws, arn: &str) -> String {
    match arn
        .split_once(":assumed-role/")
        .and_then(|(_, rest)| rest.split('/').next())
    {
        Some(role) => format!("arn:aws:iam::{}:role/{role}", aws.account),
        None => arn.to_owned(),
    }
}

/// What a principal may do in a cluster, on objects of `namespace` (`None`: cluster-wide).
pub(crate) fn access(
    aws: &Aws,
    now: Timestamp,
    cluster: &Cluster,
    principal: &Principal,
    namespace: Option<&str>,
) -> Access {
    let arn = role_or_user(aws, &principal.arn);
    if cluster.hidden_admin.as_ref() == Some(&arn) {
        return Access::Admin;
    }
    if cluster.authentication_mode == "CONFIG_MAP" {
        return Access::Unauthenticated;
    }
    // A session's ARN has lost the role's path, so roles are compared by their name.
    let name = |arn: &str| {
        arn.split_once(":role/")
            .map(|(_, path)| path.rsplit('/').next().unwrap_or(path).to_owned())
    };
    let found = cluster
        .entries
        .iter()
        .find(|(known, _)| **known == arn || name(known).is_some_and(|role| Some(role) == name(&arn)));
    let Some((_, entry)) = found.filter(|(_, entry)| now >= entry.created.after(duration::ACCESS_ENTRY))
    else {
        return Access::Unauthenticated;
    };
    let granted = entry.policies.iter().filter_map(|(policy, association)| {
        let in_scope = match (&association.namespaces, namespace) {
            (None, _) => true,
            (Some(patterns), Some(namespace)) => patterns.iter().any(|pattern| like(pattern, namespace)),
            (Some(_), None) => false,
        };
        let effective = in_scope && now >= association.since.after(duration::ACCESS_ENTRY);
        let name = policy.strip_prefix(PREFIX)?;
        POLICIES
            .iter()
            .find(|(known, _)| *known == name && effective)
            .map(|(_, access)| *access)
    });
    let masters = entry
        .groups
        .iter()
        .any(|group| group == "system:masters")
        .then_some(Access::Admin);
    granted.chain(masters).max().unwrap_or(Access::Forbidden)
}

fn open<'a>(aws: &'a mut Aws, name: &str) -> Result<&'a mut Cluster, ApiError> {
    let cluster = aws.eks.require_mut(name)?;
    if cluster.authentication_mode == "CONFIG_MAP" {
        let message = "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation.";
        return Err(invalid_request(name, message));
    }
    Ok(cluster)
}

fn none(cluster: &str) -> ApiError {
    let message = "The specified principalArn could not be found. You can view your available access entries with 'list-access-entries'.";
    ApiError::new(404, "ResourceNotFoundException", message).with("clusterName", cluster)
}

fn require<'a>(cluster: &'a mut Cluster, principal: &str) -> Result<&'a mut Entry, ApiError> {
    let missing = none(&cluster.name);
    cluster.entries.get_mut(principal).ok_or(missing)
}

/// CreateAccessEntry.
pub(super) fn create(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (name, json) = (call.segment(1), &call.json);
    let principal = text(json, "principalArn").unwrap_or_default();
    let cluster = open(aws, name)?;
    cluster.require_running()?;
    if cluster.entries.contains_key(principal) {
        return Err(in_use(
            name,
            "The specified access entry resource is already in use on this cluster.",
        ));
    }
    let of_iam = principal.starts_with("arn:aws:iam::")
        && (principal.contains(":role/") || principal.contains(":user/"));
    if !of_iam || principal.contains(":role/") && aws.iam.role(principal).is_none() {
        let message = format!("The specified principalArn is invalid: invalid principal. {principal}");
        return Err(invalid_parameter(name, message));
    }
    let kind = text(json, "type").unwrap_or("STANDARD");
    if !TYPES.contains(&kind) {
        return Err(invalid_parameter(
            name,
            format!("The specified type {kind} is invalid"),
        ));
    }
    let groups = texts(json, "kubernetesGroups").unwrap_or_default();
    if kind != "STANDARD" && (!groups.is_empty() || text(json, "username").is_some()) {
        return Err(invalid_parameter(
            name,
            format!("kubernetesGroups and username cannot be given for type {kind}"),
        ));
    }
    check_groups(name, &groups)?;
    let mut entry = Entry::new(aws, now, name, principal, kind);
    entry.groups = groups;
    entry.tags = text_map(json, "tags");
    if let Some(username) = text(json, "username") {
        username.clone_into(&mut entry.username);
    }
    let answer = json!({"accessEntry": entry.json(name, principal)});
    aws.eks
        .require_mut(name)?
        .entries
        .insert(principal.to_owned(), entry);
    Ok(Reply::Json(answer))
}

/// The service refuses groups of the system.
fn check_groups(cluster: &str, groups: &[String]) -> Result<(), ApiError> {
    match groups.iter().find(|group| {
        ["system:", "eks:", "aws:", "amazon:", "iam:"]
            .iter()
            .any(|prefix| group.starts_with(prefix))
    }) {
        Some(group) => Err(invalid_parameter(
            cluster,
            format!("The kubernetes group name {group} is invalid, it cannot start with system:"),
        )),
        None => Ok(()),
    }
}

/// DescribeAccessEntry.
pub(super) fn describe(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (name, principal) = (call.segment(1), call.segment(3));
    let entry = require(open(aws, name)?, principal)?;
    Ok(Reply::Json(json!({"accessEntry": entry.json(name, principal)})))
}

/// ListAccessEntries.
pub(super) fn list(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let policy = call.query_value("associatedPolicyArn");
    let cluster = open(aws, call.segment(1))?;
    let listed = cluster
        .entries
        .iter()
        .filter(|(_, entry)| policy.is_none_or(|arn| entry.policies.contains_key(arn)));
    page(
        call,
        "accessEntries",
        listed.map(|(principal, _)| json!(principal)).collect(),
        100,
    )
    .map(Reply::Json)
}

/// UpdateAccessEntry.
pub(super) fn update(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (name, principal, json) = (call.segment(1), call.segment(3), &call.json);
    let entry = require(open(aws, name)?, principal)?;
    if let Some(groups) = texts(json, "kubernetesGroups") {
        check_groups(name, &groups)?;
        entry.groups = groups;
    }
    if let Some(username) = text(json, "username") {
        username.clone_into(&mut entry.username);
    }
    entry.modified = now;
    Ok(Reply::Json(json!({"accessEntry": entry.json(name, principal)})))
}

/// DeleteAccessEntry.
pub(super) fn delete(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (name, principal) = (call.segment(1), call.segment(3));
    let cluster = open(aws, name)?;
    require(cluster, principal)?;
    cluster.entries.remove(principal);
    Ok(Reply::Json(json!({})))
}

/// AssociateAccessPolicy; a second time it changes the scope.
pub(super) fn associate(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (name, principal, json) = (call.segment(1), call.segment(3), &call.json);
    let policy = text(json, "policyArn").unwrap_or_default();
    let known = policy
        .strip_prefix(PREFIX)
        .is_some_and(|name| POLICIES.iter().any(|(known, _)| *known == name));
    let entry = require(open(aws, name)?, principal)?;
    if !known {
        let message =
            format!("The policyArn parameter format is not valid or the policy does not exist: {policy}");
        return Err(invalid_parameter(name, message));
    }
    if entry.kind != "STANDARD" {
        return Err(invalid_request(
            name,
            format!(
                "Access policies cannot be associated with an entry of type {}",
                entry.kind
            ),
        ));
    }
    let scope = &json["accessScope"];
    let namespaces = texts(scope, "namespaces").unwrap_or_default();
    let namespaces = match (text(scope, "type"), namespaces.is_empty()) {
        (Some("cluster"), true) => None,
        (Some("namespace"), false) => Some(namespaces),
        _ => {
            return Err(invalid_parameter(
                name,
                "The accessScope must be of type cluster without namespaces, or of type namespace with some",
            ));
        }
    };
    let association = entry.policies.entry(policy.to_owned()).or_insert(Association {
        since: now,
        modified: now,
        namespaces: None,
    });
    association.modified = now;
    association.namespaces = namespaces;
    Ok(Reply::Json(json!({
        "clusterName": name, "principalArn": principal, "associatedAccessPolicy": association.json(policy),
    })))
}

/// DisassociateAccessPolicy.
pub(super) fn disassociate(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (name, principal, policy) = (call.segment(1), call.segment(3), call.segment(5));
    let entry = require(open(aws, name)?, principal)?;
    match entry.policies.remove(policy) {
        Some(_) => Ok(Reply::Json(json!({}))),
        None => {
            let message = "The specified policyArn is not associated with the access entry.";
            Err(ApiError::new(404, "ResourceNotFoundException", message).with("clusterName", name))
        }
    }
}

/// ListAssociatedAccessPolicies.
pub(super) fn list_associated(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (name, principal) = (call.segment(1), call.segment(3));
    let entry = require(open(aws, name)?, principal)?;
    let listed = entry
        .policies
        .iter()
        .map(|(policy, association)| association.json(policy))
        .collect();
    let mut answer = page(call, "associatedAccessPolicies", listed, 100)?;
    answer["clusterName"] = json!(name);
    answer["principalArn"] = json!(principal);
    Ok(Reply::Json(answer))
}

/// ListAccessPolicies.
pub(super) fn list_policies(_aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let listed = POLICIES
        .iter()
        .map(|(name, _)| json!({"name": name, "arn": format!("{PREFIX}{name}")}))
        .collect();
    page(call, "accessPolicies", listed, 100).map(Reply::Json)
}
