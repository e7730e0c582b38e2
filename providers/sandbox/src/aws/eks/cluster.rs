//! Clusters: what they are made of, how they come and go.

use super::access::Entry;
use super::addon::Addon;
use super::fargate::Profile;
use super::network::{self, Network};
use super::page::page;
use super::update::Update;
use super::{Effect, duration, in_use, invalid_parameter, invalid_request, text, text_map, texts, versions};
use crate::Timestamp;
use crate::aws::policy::{Conditions, trusts};
use crate::aws::sts::usable_role;
use crate::aws::{ApiError, Aws, Call, IAM_PROPAGATION, Reply, Tags};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const CLUSTER_POLICY: &str = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy";
const LOG_TYPES: [&str; 5] = ["api", "audit", "authenticator", "controllerManager", "scheduler"];
const AUTHENTICATION_MODES: [&str; 3] = ["CONFIG_MAP", "API_AND_CONFIG_MAP", "API"];
/// Members of CreateCluster that would make a cluster that is not simulated.
const NOT_SIMULATED: [&str; 5] = [
    "outpostConfig",
    "remoteNetworkConfig",
    "computeConfig",
    "storageConfig",
    "controlPlaneScalingConfig",
];

/// Where a cluster is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Status {
    Creating,
    Active,
    Updating,
    Deleting,
}

/// One cluster with everything that EKS keeps under it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cluster {
    pub name: String,
    /// 32 upper-case hexadecimal digits, in the issuer and the endpoint. A new cluster of an old name has a new one.
    pub id: String,
    pub arn: String,
    pub status: Status,
    pub(super) due: Option<Timestamp>,
    pub(super) created: Timestamp,
    pub(super) version: String,
    pub(super) platform: u32,
    pub(super) role_arn: String,
    pub(super) network: Network,
    pub(super) service_cidr: String,
    /// Enabled types of control plane logs.
    pub(super) logging: BTreeSet<String>,
    pub(super) encryption: Value,
    pub(super) authentication_mode: String,
    /// The principal that is administrator without an access entry (only in mode CONFIG_MAP).
    pub(super) hidden_admin: Option<String>,
    pub(super) support_type: String,
    pub(super) zonal_shift: bool,
    pub(super) deletion_protection: bool,
    token: Option<String>,
    request: Value,
    pub(super) tags: Tags,
    pub(super) interfaces: Vec<String>,
    pub(super) updates: Vec<Update>,
    pub(super) profiles: BTreeMap<String, Profile>,
    pub(super) addons: BTreeMap<String, Addon>,
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Cluster {
    /// The issuer's URL without scheme.
    pub(crate) fn issuer(&self, region: &str) -> String {
        format!("oidc.eks.{region}.amazonaws.com/id/{}", self.id)
    }

    /// The host name of the API server, lower-case.
    pub(crate) fn host(&self, region: &str) -> String {
        format!("{}.gr7.{region}.eks.amazonaws.com", self.id.to_ascii_lowercase())
    }

    /// Whether the control plane answers.
    pub(crate) fn running(&self) -> bool {
        matches!(self.status, Status::Active | Status::Updating)
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// The ACTIVE profile that takes a pod: of several matching the alphanumerically first.
    pub(crate) fn profile_for(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Option<&str> {
        self.profiles
            .iter()
            .find(|(_, profile)| profile.takes(namespace, labels))
            .map(|(name, _)| name.as_str())
    }

    /// The subnets of a profile.
    pub(crate) fn profile_subnets(&self, profile: &str) -> &[String] {
        self.profiles
            .get(profile)
            .map_or(&[], |profile| profile.subnets.as_slice())
    }

    /// Names of the add-ons.
    pub(crate) fn addon_names(&self) -> Vec<String> {
        self.addons.keys().cloned().collect()
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let profiles = self.profiles.values().filter_map(|profile| profile.due);
        let addons = self.addons.values().filter_map(|addon| addon.due);
        let updates = self.updates.iter().filter_map(|update| update.due);
        self.due
            .into_iter()
            .chain(profiles)
            .chain(addons)
            .chain(updates)
            .min()
    }

    /// Refuses what EKS does one at a time per cluster.
    ///
    /// # Errors
    /// `ResourceInUseException` while a profile comes or goes or an update runs.
    pub(super) fn require_idle(&self, intention: &str) -> Result<(), ApiError> {
        let busy = self.profiles.iter().find_map(|(name, profile)| {
            let status = profile.transition()?;
            Some(format!("Fargate profile {name} in status {status}"))
        });
        let busy = busy.or_else(|| {
            let update = self
                .updates
                .iter()
                .find(|update| update.due.is_some() && update.addon.is_none())?;
            Some(format!("update {} in progress", update.id))
        });
        match busy {
            None => Ok(()),
            Some(busy) => {
                let message = format!("{intention} because cluster {} currently has {busy}", self.name);
                Err(in_use(&self.name, message))
            }
        }
    }

    /// # Errors
    /// `InvalidRequestException` unless the control plane answers.
    pub(super) fn require_running(&self) -> Result<(), ApiError> {
        match self.running() {
            true => Ok(()),
            false => Err(invalid_request(
                &self.name,
                format!("Cluster '{}' is not in ACTIVE status", self.name),
            )),
        }
    }

    fn json(&self, aws: &Aws) -> Value {
        let ready = self.status != Status::Creating;
        let network = &self.network;
        let mut vpc = json!({
            "subnetIds": network.subnets,
            "securityGroupIds": network.groups,
            "vpcId": network.vpc_id,
            "endpointPublicAccess": network.public,
            "endpointPrivateAccess": network.private,
            "publicAccessCidrs": network.public_cidrs,
        });
        let logs = |enabled: bool| -> Vec<&str> {
            LOG_TYPES
                .into_iter()
                .filter(|kind| self.logging.contains(*kind) == enabled)
                .collect()
        };
        let logging: Vec<Value> = [true, false]
            .into_iter()
            .filter(|enabled| !logs(*enabled).is_empty())
            .map(|enabled| json!({"types": logs(enabled), "enabled": enabled}))
            .collect();
        let mut cluster = json!({
            "name": self.name,
            "arn": self.arn,
            "createdAt": self.created.epoch_seconds(),
            "version": self.version,
            "roleArn": self.role_arn,
            "kubernetesNetworkConfig": {
                "serviceIpv4Cidr": self.service_cidr,
                "ipFamily": "ipv4",
                "elasticLoadBalancing": {"enabled": false},
            },
            "logging": {"clusterLogging": logging},
            "status": match self.status {
                Status::Creating => "CREATING",
                Status::Active => "ACTIVE",
                Status::Updating => "UPDATING",
                Status::Deleting => "DELETING",
            },
            "certificateAuthority": {},
            "platformVersion": format!("eks.{}", self.platform),
            "tags": self.tags,
            "health": {"issues": []},
            "accessConfig": {"authenticationMode": self.authentication_mode},
            "upgradePolicy": {"supportType": self.support_type},
            "zonalShiftConfig": {"enabled": self.zonal_shift},
            "deletionProtection": self.deletion_protection,
        });
        if ready {
            vpc["clusterSecurityGroupId"] = json!(network.cluster_group);
            cluster["endpoint"] = json!(aws.endpoint_of(self));
            cluster["identity"] =
                json!({"oidc": {"issuer": format!("https://{}", self.issuer(&aws.region))}});
            if let Some(pem) = &aws.authority {
                cluster["certificateAuthority"] = json!({"data": STANDARD.encode(pem)});
            }
        }
        if self.encryption.is_array() {
            cluster["encryptionConfig"] = self.encryption.clone();
        }
        cluster["resourcesVpcConfig"] = vpc;
        cluster
    }
}

/// CreateCluster.
pub(super) fn create(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let json = &call.json;
    let name = text(json, "name").unwrap_or_default();
    check_name(name)?;
    let token = text(json, "clientRequestToken").map(str::to_owned);
    if let Some(existing) = aws.eks.cluster(name) {
        if token.is_some() && existing.token == token {
            if same_request(&existing.request, json) {
                return Ok(Reply::Json(json!({"cluster": existing.json(aws)})));
            }
            let message = "The provided clientRequestToken was used before with other parameters";
            return Err(invalid_parameter(name, message));
        }
        return Err(in_use(name, format!("Cluster already exists with name: {name}")));
    }
    for member in NOT_SIMULATED {
        let asked = json
            .get(member)
            .is_some_and(|value| !value.is_null() && value["enabled"] != false);
        if asked {
            return Err(ApiError::not_simulated(
                "eks",
                &format!("CreateCluster with {member}"),
            ));
        }
    }
    let version = text(json, "version").unwrap_or(versions::DEFAULT);
    if !versions::offered(now, version) {
        return Err(invalid_parameter(
            name,
            format!("unsupported Kubernetes version {version}"),
        ));
    }
    let role_arn = text(json, "roleArn").unwrap_or_default();
    check_role(aws, now, name, role_arn)?;
    let network = network::read(aws, name, json.get("resourcesVpcConfig").unwrap_or(&Value::Null))?;
    let kubernetes = json.get("kubernetesNetworkConfig").unwrap_or(&Value::Null);
    if text(kubernetes, "ipFamily").is_some_and(|family| family != "ipv4") {
        return Err(ApiError::not_simulated("eks", "CreateCluster with ipFamily ipv6"));
    }
    let access = json.get("accessConfig").unwrap_or(&Value::Null);
    let mode = text(access, "authenticationMode").unwrap_or("CONFIG_MAP");
    if !AUTHENTICATION_MODES.contains(&mode) {
        return Err(invalid_parameter(
            name,
            format!("Unsupported authentication mode {mode}"),
        ));
    }
    let creator_admin = access.get("bootstrapClusterCreatorAdminPermissions") != Some(&json!(false));
    let creator = super::access::role_or_user(aws, &call.caller.arn);
    let id = aws.ids.hex("", 32).to_ascii_uppercase();
    let service_cidr = match text(kubernetes, "serviceIpv4Cidr") {
        Some(cidr) => cidr.to_owned(),
        None if network::overlaps_ten(aws, &network.vpc_id) => "172.20.0.0/16".to_owned(),
        None => "10.100.0.0/16".to_owned(),
    };
    let mut cluster = Cluster {
        name: name.to_owned(),
        arn: aws.arn("eks", &format!("cluster/{name}")),
        status: Status::Creating,
        due: Some(now.after(duration::CLUSTER_CREATE)),
        created: now,
        version: version.to_owned(),
        platform: 1,
        role_arn: role_arn.to_owned(),
        network,
        service_cidr,
        logging: enabled_logs(name, BTreeSet::new(), json.get("logging"))?,
        encryption: json.get("encryptionConfig").cloned().unwrap_or(Value::Null),
        authentication_mode: mode.to_owned(),
        hidden_admin: (creator_admin && mode == "CONFIG_MAP").then(|| creator.clone()),
        support_type: support_type(name, json)?.unwrap_or_else(|| "EXTENDED".to_owned()),
        zonal_shift: json["zonalShiftConfig"]["enabled"] == true,
        deletion_protection: json["deletionProtection"] == true,
        token,
        request: json.clone(),
        tags: text_map(json, "tags"),
        interfaces: Vec::new(),
        updates: Vec::new(),
        profiles: BTreeMap::new(),
        addons: BTreeMap::new(),
        entries: BTreeMap::new(),
        id,
    };
    if creator_admin && mode != "CONFIG_MAP" {
        let entry = Entry::creator(aws, now, &cluster, &creator);
        cluster.entries.insert(creator, entry);
    }
    network::build(aws, now, &mut cluster);
    if json.get("bootstrapSelfManagedAddons") != Some(&json!(false)) {
        // The self-managed set: vpc-cni and kube-proxy run nothing without nodes, coredns stays pending.
        cluster.request["selfManaged"] = json!(true);
    }
    let answer = json!({"cluster": cluster.json(aws)});
    aws.eks.clusters.insert(name.to_owned(), cluster);
    Ok(Reply::Json(answer))
}

/// DescribeCluster.
pub(super) fn describe(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let cluster = aws.eks.require(call.segment(1))?;
    Ok(Reply::Json(json!({"cluster": cluster.json(aws)})))
}

/// ListClusters.
pub(super) fn list(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let names = aws.eks.clusters.keys().map(|name| json!(name)).collect();
    page(call, "clusters", names, 100).map(Reply::Json)
}

/// DeleteCluster.
pub(super) fn delete(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let name = call.segment(1);
    let cluster = aws.eks.require_mut(name)?;
    if cluster.status == Status::Deleting {
        return Err(in_use(
            name,
            format!("Cannot delete because cluster {name} is already in status DELETING"),
        ));
    }
    if cluster.status == Status::Creating {
        return Err(in_use(
            name,
            format!("Cluster '{name}' is in CREATING status; it cannot be deleted now"),
        ));
    }
    if cluster.deletion_protection {
        let message = "Cannot delete cluster because deletionProtection is enabled. Disable it first with update-cluster-config.";
        return Err(invalid_request(name, message));
    }
    if let Some(update) = cluster.updates.iter().find(|update| update.due.is_some()) {
        let message = format!(
            "Cannot delete because cluster {name} currently has an update in progress with Update ID: {}",
            update.id
        );
        return Err(in_use(name, message));
    }
    if let Some((profile, state)) = cluster.profiles.iter().next() {
        let message = format!(
            "Cannot delete because cluster {name} currently has Fargate profile {profile} in status {}",
            state.status()
        );
        return Err(in_use(name, message));
    }
    cluster.status = Status::Deleting;
    cluster.due = Some(now.after(duration::CLUSTER_DELETE));
    let id = cluster.id.clone();
    aws.eks.effects.push(Effect::Stop { id });
    let cluster = aws.eks.require(name)?;
    Ok(Reply::Json(json!({"cluster": cluster.json(aws)})))
}

/// Applies what is due in one cluster and everything under it.
pub(super) fn advance(aws: &mut Aws, now: Timestamp, name: &str) {
    let Some(mut cluster) = aws.eks.clusters.remove(name) else {
        return;
    };
    if cluster.due.is_some_and(|due| due <= now) {
        cluster.due = None;
        match cluster.status {
            Status::Creating => {
                cluster.status = Status::Active;
                let (id, version) = (cluster.id.clone(), cluster.version.clone());
                aws.eks.effects.push(Effect::Start {
                    id: id.clone(),
                    version,
                });
                if cluster.request["selfManaged"] == true {
                    let configuration = Value::Null;
                    aws.eks.effects.push(Effect::Install {
                        id,
                        addon: "coredns".to_owned(),
                        configuration,
                    });
                }
            }
            Status::Deleting => {
                network::dismantle(aws, now, &cluster);
                return;
            }
            Status::Active | Status::Updating => {}
        }
    }
    super::fargate::advance(&mut cluster, now);
    super::addon::advance(&mut aws.eks.effects, &mut cluster, now);
    super::update::advance(aws, &mut cluster, now);
    aws.eks.clusters.insert(name.to_owned(), cluster);
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let sound = name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_'));
    if !sound || name.len() > 100 {
        let message = "The cluster name must satisfy regular expression pattern: ^[0-9A-Za-z][A-Za-z0-9\\-_]* and have 1 to 100 characters";
        return Err(invalid_parameter(name, message));
    }
    Ok(())
}

/// Tokens are compared with the request they came with, apart from the token itself.
pub(super) fn same_request(first: &Value, second: &Value) -> bool {
    let bare = |request: &Value| {
        let mut request = request.clone();
        if let Some(members) = request.as_object_mut() {
            members.remove("clientRequestToken");
            members.remove("selfManaged");
        }
        request
    };
    bare(first) == bare(second)
}

pub(super) fn check_role(aws: &Aws, now: Timestamp, cluster: &str, arn: &str) -> Result<(), ApiError> {
    let trusted = usable_role(aws, now, arn).filter(|role| {
        trusts(
            &role.trust,
            ("Service", "eks.amazonaws.com"),
            "sts:AssumeRole",
            &Conditions::new(),
        )
    });
    let Some(role) = trusted else {
        let message = format!(
            "Role with arn: {arn}, could not be assumed because it does not exist or the trusted entity is not correct"
        );
        return Err(invalid_parameter(cluster, message));
    };
    let attached = role
        .attached
        .iter()
        .any(|(policy, since)| policy == CLUSTER_POLICY && now >= since.after(IAM_PROPAGATION));
    if !attached {
        let message = format!(
            "The provided role doesn't have the Amazon EKS Managed Policies associated with it. \
             Please ensure the following policy is attached: {CLUSTER_POLICY}"
        );
        return Err(invalid_parameter(cluster, message));
    }
    Ok(())
}

/// Applies a `logging` member to a set of enabled types.
pub(super) fn enabled_logs(
    cluster: &str,
    mut enabled: BTreeSet<String>,
    logging: Option<&Value>,
) -> Result<BTreeSet<String>, ApiError> {
    let setups = logging
        .and_then(|logging| logging["clusterLogging"].as_array())
        .into_iter()
        .flatten();
    for setup in setups {
        for kind in texts(setup, "types").unwrap_or_default() {
            if !LOG_TYPES.contains(&kind.as_str()) {
                return Err(invalid_parameter(
                    cluster,
                    format!("Invalid cluster logging type {kind}"),
                ));
            }
            match setup["enabled"] == true {
                true => enabled.insert(kind),
                false => enabled.remove(&kind),
            };
        }
    }
    Ok(enabled)
}

/// The `upgradePolicy` of a request.
pub(super) fn support_type(cluster: &str, json: &Value) -> Result<Option<String>, ApiError> {
    match text(&json["upgradePolicy"], "supportType") {
        None => Ok(None),
        Some(kind @ ("STANDARD" | "EXTENDED")) => Ok(Some(kind.to_owned())),
        Some(other) => Err(invalid_parameter(cluster, format!("Invalid supportType {other}"))),
    }
}
