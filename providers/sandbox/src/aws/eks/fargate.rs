//! Fargate profiles: one at a time per cluster, immutable, private subnets only.

use super::access::Entry;
use super::cluster::{Cluster, same_request};
use super::page::page;
use super::{duration, in_use, invalid_parameter, text, text_map, texts};
use crate::Timestamp;
use crate::aws::policy::{Conditions, like, trusts};
use crate::aws::sts::usable_role;
use crate::aws::{ApiError, Aws, Call, IAM_PROPAGATION, Reply, Tags};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Profiles per cluster, selectors per profile, label pairs per selector (service quotas).
const PROFILES: usize = 10;
const SELECTORS: usize = 5;
const LABELS: usize = 5;
const EXECUTION_POLICY: &str = "arn:aws:iam::aws:policy/AmazonEKSFargatePodExecutionRolePolicy";

/// One profile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Profile {
    arn: String,
    created: Timestamp,
    role_arn: String,
    pub(super) subnets: Vec<String>,
    selectors: Vec<Selector>,
    pub(super) tags: Tags,
    deleting: bool,
    /// When it becomes active or is gone; `None` while active.
    pub(super) due: Option<Timestamp>,
    token: Option<String>,
    request: Value,
}

/// Which pods a profile takes; `*` and `?` are wildcards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Selector {
    namespace: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

impl Profile {
    /// `CREATING` or `DELETING`, if it is in such a status.
    pub(super) fn transition(&self) -> Option<&'static str> {
        self.due.map(|_| self.status())
    }

    pub(super) fn status(&self) -> &'static str {
        match (self.due, self.deleting) {
            (None, _) => "ACTIVE",
            (Some(_), false) => "CREATING",
            (Some(_), true) => "DELETING",
        }
    }

    /// Whether it is ACTIVE and a selector matches.
    pub(super) fn takes(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        let matches = |selector: &Selector| {
            like(&selector.namespace, namespace)
                && selector
                    .labels
                    .iter()
                    .all(|(key, pattern)| labels.get(key).is_some_and(|value| like(pattern, value)))
        };
        self.due.is_none() && self.selectors.iter().any(matches)
    }

    fn json(&self, cluster: &str, name: &str) -> Value {
        json!({
            "fargateProfileName": name,
            "fargateProfileArn": self.arn,
            "clusterName": cluster,
            "createdAt": self.created.epoch_seconds(),
            "podExecutionRoleArn": self.role_arn,
            "subnets": self.subnets,
            "selectors": self.selectors,
            "status": self.status(),
            "tags": self.tags,
            "health": {"issues": []},
        })
    }
}

/// CreateFargateProfile.
pub(super) fn create(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (cluster_name, json) = (call.segment(1), &call.json);
    let name = text(json, "fargateProfileName").unwrap_or_default();
    let wrong = |message: String| invalid_parameter(cluster_name, message).with("fargateProfileName", name);
    let cluster = aws.eks.require(cluster_name)?;
    let token = text(json, "clientRequestToken").map(str::to_owned);
    if let Some(existing) = cluster.profiles.get(name) {
        if token.is_some() && existing.token == token && same_request(&existing.request, json) {
            return Ok(Reply::Json(
                json!({"fargateProfile": existing.json(cluster_name, name)}),
            ));
        }
        return Err(in_use(
            cluster_name,
            "A Fargate Profile already exists with this name in this cluster.",
        ));
    }
    cluster.require_running()?;
    cluster.require_idle(&format!("Cannot create Fargate Profile {name}"))?;
    if name.starts_with("eks-") {
        return Err(wrong(
            "Fargate Profile names cannot start with the reserved prefix eks-".to_owned(),
        ));
    }
    let sound = !name.is_empty()
        && name.len() <= 100
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_'));
    if !sound {
        return Err(wrong(format!(
            "Fargate Profile name {name:?} must be 1 to 100 letters, digits, hyphens and underscores"
        )));
    }
    if cluster.profiles.len() >= PROFILES {
        let message = format!("The Fargate profile limit of {PROFILES} per cluster is reached");
        return Err(
            ApiError::bad("ResourceLimitExceededException", message).with("clusterName", cluster_name)
        );
    }
    let selectors = selectors(json).map_err(&wrong)?;
    let subnets = subnets(aws, cluster, texts(json, "subnets").unwrap_or_default()).map_err(&wrong)?;
    let vpc = aws.ec2.vpc(&cluster.network().vpc_id);
    if !vpc.is_some_and(|vpc| vpc.dns_support && vpc.dns_hostnames) {
        return Err(wrong(
            "The VPC must have DNS resolution and DNS hostnames enabled for Fargate".to_owned(),
        ));
    }
    let role_arn = text(json, "podExecutionRoleArn").unwrap_or_default();
    check_role(aws, now, cluster_name, role_arn).map_err(&wrong)?;
    let arn_id = format!("{name}/{}", aws.ids.uuid());
    let profile = Profile {
        arn: aws.arn("eks", &format!("fargateprofile/{cluster_name}/{arn_id}")),
        created: now,
        role_arn: role_arn.to_owned(),
        subnets,
        selectors,
        tags: text_map(json, "tags"),
        deleting: false,
        due: Some(now.after(duration::PROFILE_CREATE)),
        token,
        request: json.clone(),
    };
    let answer = json!({"fargateProfile": profile.json(cluster_name, name)});
    let entry = Entry::fargate(aws, now, aws.eks.require(cluster_name)?, role_arn);
    let cluster = aws.eks.require_mut(cluster_name)?;
    if cluster.authentication_mode != "CONFIG_MAP" {
        // EKS lets the role's nodes in by itself.
        cluster.entries.entry(role_arn.to_owned()).or_insert(entry);
    }
    cluster.profiles.insert(name.to_owned(), profile);
    Ok(Reply::Json(answer))
}

/// DescribeFargateProfile.
pub(super) fn describe(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (cluster, name) = (call.segment(1), call.segment(3));
    let profile = require(aws.eks.require(cluster)?, name)?;
    Ok(Reply::Json(
        json!({"fargateProfile": profile.json(cluster, name)}),
    ))
}

/// ListFargateProfiles.
pub(super) fn list(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let names = aws
        .eks
        .require(call.segment(1))?
        .profiles
        .keys()
        .map(|name| json!(name))
        .collect();
    page(call, "fargateProfileNames", names, 100).map(Reply::Json)
}

/// DeleteFargateProfile.
pub(super) fn delete(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (cluster_name, name) = (call.segment(1), call.segment(3));
    let cluster = aws.eks.require_mut(cluster_name)?;
    require(cluster, name)?;
    cluster.require_idle(&format!("Cannot delete Fargate Profile {name}"))?;
    let Some(profile) = cluster.profiles.get_mut(name) else {
        return Err(none(cluster_name, name));
    };
    profile.deleting = true;
    profile.due = Some(now.after(duration::PROFILE_DELETE));
    Ok(Reply::Json(
        json!({"fargateProfile": profile.json(cluster_name, name)}),
    ))
}

/// Applies what is due.
pub(super) fn advance(cluster: &mut Cluster, now: Timestamp) {
    cluster
        .profiles
        .retain(|_, profile| !(profile.deleting && profile.due.is_some_and(|due| due <= now)));
    for profile in cluster.profiles.values_mut() {
        profile.due = profile.due.filter(|due| *due > now);
    }
}

fn require<'a>(cluster: &'a Cluster, name: &str) -> Result<&'a Profile, ApiError> {
    cluster
        .profiles
        .get(name)
        .ok_or_else(|| none(&cluster.name, name))
}

fn none(cluster: &str, name: &str) -> ApiError {
    let message = format!("No Fargate Profile found with name: {name}.");
    ApiError::new(404, "ResourceNotFoundException", message)
        .with("clusterName", cluster)
        .with("fargateProfileName", name)
}

fn selectors(json: &Value) -> Result<Vec<Selector>, String> {
    let empty = Vec::new();
    let given = json.get("selectors").and_then(Value::as_array).unwrap_or(&empty);
    if given.is_empty() {
        return Err("The Fargate profile must have at least one selector".to_owned());
    }
    if given.len() > SELECTORS {
        return Err(format!(
            "A Fargate profile can have at most {SELECTORS} selectors"
        ));
    }
    given
        .iter()
        .map(|selector| {
            let namespace = text(selector, "namespace").unwrap_or_default().to_owned();
            let labels = text_map(selector, "labels");
            if namespace.is_empty() {
                return Err("Fargate profile selectors must have a namespace".to_owned());
            }
            if labels.len() > LABELS {
                return Err(format!(
                    "A Fargate profile selector can have at most {LABELS} labels"
                ));
            }
            Ok(Selector { namespace, labels })
        })
        .collect()
}

fn subnets(aws: &Aws, cluster: &Cluster, given: Vec<String>) -> Result<Vec<String>, String> {
    let chosen = if given.is_empty() {
        let all = cluster.network().subnets.iter();
        all.filter(|id| aws.ec2.subnet(id).is_some_and(|subnet| !subnet.public))
            .cloned()
            .collect()
    } else {
        given
    };
    if chosen.is_empty() {
        return Err("No private subnets found for the Fargate profile".to_owned());
    }
    let mut seen = BTreeSet::new();
    for id in &chosen {
        let Some(subnet) = aws.ec2.subnet(id) else {
            return Err(format!("The subnet ID '{id}' does not exist"));
        };
        if subnet.vpc_id != cluster.network().vpc_id {
            return Err(format!(
                "Subnet {id} does not belong to the VPC of cluster {}",
                cluster.name
            ));
        }
        if subnet.public {
            return Err(format!(
                "Subnet {id} provided in Fargate Profile is not a private subnet"
            ));
        }
        if !seen.insert(id) {
            return Err(format!("Subnet {id} is given twice"));
        }
    }
    Ok(chosen)
}

fn check_role(aws: &Aws, now: Timestamp, cluster: &str, arn: &str) -> Result<(), String> {
    let misconfigured = "Misconfigured PodExecutionRole Trust Policy; Please add the eks-fargate-pods.amazonaws.com Service Principal";
    let role = usable_role(aws, now, arn).ok_or(misconfigured)?;
    if role.path != "/" {
        return Err(format!(
            "The pod execution role {arn} must not have a path other than /"
        ));
    }
    let source = aws.arn("eks", &format!("fargateprofile/{cluster}/any"));
    let context = Conditions::from([
        ("aws:SourceArn".to_owned(), source),
        ("aws:SourceAccount".to_owned(), aws.account.clone()),
    ]);
    let principal = ("Service", "eks-fargate-pods.amazonaws.com");
    if !trusts(&role.trust, principal, "sts:AssumeRole", &context) {
        return Err(misconfigured.to_owned());
    }
    // Without it AWS makes the profile and its pods fail to pull; the sandbox says so at once.
    let attached = |(policy, since): &(String, Timestamp)| {
        policy == EXECUTION_POLICY && now >= since.after(IAM_PROPAGATION)
    };
    match role.attached.iter().any(attached) {
        true => Ok(()),
        false => Err(format!(
            "{misconfigured} and attach the policy {EXECUTION_POLICY}"
        )),
    }
}
