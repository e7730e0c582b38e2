//! EKS, in the REST JSON protocol: clusters, Fargate profiles, add-ons and access entries, with the
//! lifecycles, the serialisation and the error texts of the service.
//!
//! What happens inside a cluster belongs to [`crate::kubernetes`]; EKS leaves [`Effect`]s for the world to
//! carry there.

mod access;
mod addon;
mod cluster;
mod fargate;
mod network;
mod page;
mod tags;
mod update;
mod versions;

pub(crate) use access::access;
pub(crate) use cluster::Cluster;

use super::{ApiError, Aws, Call, Reply};
use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// State of EKS in one region.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Eks {
    clusters: BTreeMap<String, Cluster>,
    effects: Vec<Effect>,
}

/// What EKS does to the inside of clusters, in order; drained by the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Effect {
    /// The control plane of the cluster with this id starts.
    Start { id: String, version: String },
    /// The cluster with this id is gone.
    Stop { id: String },
    /// The control plane has another version.
    Upgrade { id: String, version: String },
    /// An add-on's workload is installed or reconfigured.
    Install {
        id: String,
        addon: String,
        configuration: serde_json::Value,
    },
    /// An add-on's workload is removed.
    Remove { id: String, addon: String },
}

/// How long things take, in the middle of what `research` and users report for AWS.
mod duration {
    use super::Duration;
    pub(super) const CLUSTER_CREATE: Duration = Duration::from_secs(590);
    pub(super) const CLUSTER_DELETE: Duration = Duration::from_secs(180);
    pub(super) const CONFIG_UPDATE: Duration = Duration::from_secs(120);
    pub(super) const VERSION_UPDATE: Duration = Duration::from_secs(600);
    pub(super) const PROFILE_CREATE: Duration = Duration::from_secs(125);
    pub(super) const PROFILE_DELETE: Duration = Duration::from_secs(110);
    pub(super) const ADDON_CREATE: Duration = Duration::from_secs(45);
    pub(super) const ADDON_UPDATE: Duration = Duration::from_secs(40);
    pub(super) const ADDON_DELETE: Duration = Duration::from_secs(30);
    pub(super) const ACCESS_ENTRY: Duration = Duration::from_secs(10);
}

pub(super) type Handler = fn(&mut Aws, Timestamp, &Call) -> Result<Reply, ApiError>;

/// Method, path with `*` for a segment of the caller, operation, handler.
const OPERATIONS: &[(&str, &[&str], &str, Handler)] = &[
    ("POST", &["clusters"], "CreateCluster", cluster::create),
    ("GET", &["clusters"], "ListClusters", cluster::list),
    ("GET", &["clusters", "*"], "DescribeCluster", cluster::describe),
    ("DELETE", &["clusters", "*"], "DeleteCluster", cluster::delete),
    (
        "POST",
        &["clusters", "*", "update-config"],
        "UpdateClusterConfig",
        update::config,
    ),
    (
        "POST",
        &["clusters", "*", "updates"],
        "UpdateClusterVersion",
        update::version,
    ),
    ("GET", &["clusters", "*", "updates"], "ListUpdates", update::list),
    (
        "GET",
        &["clusters", "*", "updates", "*"],
        "DescribeUpdate",
        update::describe,
    ),
    (
        "POST",
        &["clusters", "*", "fargate-profiles"],
        "CreateFargateProfile",
        fargate::create,
    ),
    (
        "GET",
        &["clusters", "*", "fargate-profiles"],
        "ListFargateProfiles",
        fargate::list,
    ),
    (
        "GET",
        &["clusters", "*", "fargate-profiles", "*"],
        "DescribeFargateProfile",
        fargate::describe,
    ),
    (
        "DELETE",
        &["clusters", "*", "fargate-profiles", "*"],
        "DeleteFargateProfile",
        fargate::delete,
    ),
    ("POST", &["clusters", "*", "addons"], "CreateAddon", addon::create),
    ("GET", &["clusters", "*", "addons"], "ListAddons", addon::list),
    (
        "GET",
        &["clusters", "*", "addons", "*"],
        "DescribeAddon",
        addon::describe,
    ),
    (
        "POST",
        &["clusters", "*", "addons", "*", "update"],
        "UpdateAddon",
        addon::update,
    ),
    (
        "DELETE",
        &["clusters", "*", "addons", "*"],
        "DeleteAddon",
        addon::delete,
    ),
    (
        "GET",
        &["addons", "supported-versions"],
        "DescribeAddonVersions",
        addon::describe_versions,
    ),
    (
        "GET",
        &["addons", "configuration-schemas"],
        "DescribeAddonConfiguration",
        addon::describe_configuration,
    ),
    (
        "POST",
        &["clusters", "*", "access-entries"],
        "CreateAccessEntry",
        access::create,
    ),
    (
        "GET",
        &["clusters", "*", "access-entries"],
        "ListAccessEntries",
        access::list,
    ),
    (
        "GET",
        &["clusters", "*", "access-entries", "*"],
        "DescribeAccessEntry",
        access::describe,
    ),
    (
        "POST",
        &["clusters", "*", "access-entries", "*"],
        "UpdateAccessEntry",
        access::update,
    ),
    (
        "DELETE",
        &["clusters", "*", "access-entries", "*"],
        "DeleteAccessEntry",
        access::delete,
    ),
    (
        "POST",
        &["clusters", "*", "access-entries", "*", "access-policies"],
        "AssociateAccessPolicy",
        access::associate,
    ),
    (
        "DELETE",
        &["clusters", "*", "access-entries", "*", "access-policies", "*"],
        "DisassociateAccessPolicy",
        access::disassociate,
    ),
    (
        "GET",
        &["clusters", "*", "access-entries", "*", "access-policies"],
        "ListAssociatedAccessPolicies",
        access::list_associated,
    ),
    (
        "GET",
        &["access-policies"],
        "ListAccessPolicies",
        access::list_policies,
    ),
    (
        "GET",
        &["cluster-versions"],
        "DescribeClusterVersions",
        versions::describe,
    ),
    ("POST", &["tags", "*"], "TagResource", tags::tag),
    ("DELETE", &["tags", "*"], "UntagResource", tags::untag),
    ("GET", &["tags", "*"], "ListTagsForResource", tags::list),
];

fn all() -> impl Iterator<Item = &'static (&'static str, &'static [&'static str], &'static str, Handler)> {
    OPERATIONS.iter().chain(super::absent::OF_CLUSTERS)
}

/// The operation that a method and a path mean.
pub(crate) fn operation(method: &http::Method, path: &[String]) -> Option<&'static str> {
    let matches = |pattern: &[&str]| {
        pattern.len() == path.len()
            && pattern
                .iter()
                .zip(path)
                .all(|(want, have)| *want == "*" || want == have)
    };
    all()
        .find(|(verb, pattern, ..)| method == *verb && matches(pattern))
        .map(|(_, _, operation, _)| *operation)
}

/// Answers one call.
pub(crate) fn handle(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    match all().find(|(_, _, operation, _)| *operation == call.operation) {
        Some((_, _, _, handler)) => handler(aws, now, call),
        None => Err(ApiError::not_simulated("eks", &call.operation)),
    }
}

/// Applies what is due by `now` in the current region.
pub(crate) fn advance(aws: &mut Aws, now: Timestamp) {
    let names: Vec<String> = aws.eks.clusters.keys().cloned().collect();
    for name in names {
        cluster::advance(aws, now, &name);
    }
}

impl Eks {
    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.clusters.values().filter_map(Cluster::next_due).min()
    }

    /// A cluster by its name.
    pub(crate) fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.get(name)
    }

    /// All clusters by name.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.clusters.values()
    }

    /// Takes what is to be done inside the clusters.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Notes whether the workload of an add-on runs.
    pub(crate) fn note_addon_health(&mut self, cluster: &str, addon: &str, healthy: bool) {
        if let Some(addon) = self
            .clusters
            .get_mut(cluster)
            .and_then(|cluster| cluster.addons.get_mut(addon))
        {
            addon.healthy = healthy;
        }
    }

    pub(super) fn require(&self, name: &str) -> Result<&Cluster, ApiError> {
        self.clusters.get(name).ok_or_else(|| no_cluster(name))
    }

    fn require_mut(&mut self, name: &str) -> Result<&mut Cluster, ApiError> {
        self.clusters.get_mut(name).ok_or_else(|| no_cluster(name))
    }
}

fn no_cluster(name: &str) -> ApiError {
    ApiError::new(
        404,
        "ResourceNotFoundException",
        format!("No cluster found for name: {name}."),
    )
    .with("clusterName", name)
}

fn invalid_parameter(cluster: &str, message: impl Into<String>) -> ApiError {
    ApiError::bad("InvalidParameterException", message).with("clusterName", cluster)
}

fn invalid_request(cluster: &str, message: impl Into<String>) -> ApiError {
    ApiError::bad("InvalidRequestException", message).with("clusterName", cluster)
}

fn in_use(cluster: &str, message: impl Into<String>) -> ApiError {
    ApiError::new(409, "ResourceInUseException", message).with("clusterName", cluster)
}

impl Call {
    /// A path segment by its place; empty beyond the end.
    pub(super) fn segment(&self, place: usize) -> &str {
        self.path.get(place).map_or("", String::as_str)
    }

    /// A parameter of the query string.
    fn query_value(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }

    /// All values of a repeated parameter of the query string.
    fn query_values(&self, name: &str) -> Vec<&str> {
        self.query
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// The text of a member, if it is one.
fn text<'a>(json: &'a serde_json::Value, name: &str) -> Option<&'a str> {
    json.get(name).and_then(serde_json::Value::as_str)
}

/// The texts of a list member; `None` when it is absent.
fn texts(json: &serde_json::Value, name: &str) -> Option<Vec<String>> {
    let list = json.get(name)?.as_array()?;
    Some(
        list.iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect(),
    )
}

/// The text members of a map member.
fn text_map(json: &serde_json::Value, name: &str) -> BTreeMap<String, String> {
    let entries = json
        .get(name)
        .and_then(serde_json::Value::as_object)
        .into_iter()
        .flatten();
    entries
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}
