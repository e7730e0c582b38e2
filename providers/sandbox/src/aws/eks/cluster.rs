//! Clusters: what they are made of, how they come and go.

use super::access::Entry;
use super::addon::Addon;
use super::fargate::Profile;
use super::page::page;
use super::update::Update;
use super::{Effect, duration, in_use, invalid_parameter, invalid_request, text, text_map, texts, versions};
use crate::Timestamp;
use crate::aws::facts::{InterfaceRequest, SubnetFacts};
use crate::aws::policy::{Conditions, trusts};
use crate::aws::sts::usable_role;
use crate::aws::{ApiError, Aws, Call, IAM_PROPAGATION, Reply, Tags};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Zones in which EKS places no control plane (user guide, "VPC and subnet requirements").
const FORBIDDEN_ZONES: [&str; 3] = ["use1-az3", "usw1-az2", "cac1-az3"];
/// Free addresses that every subnet must have when a cluster is made, and when it is upgraded.
const ADDRESSES_TO_CREATE: u32 = 6;
pub(super) const ADDRESSES_TO_UPGRADE: u32 = 5;
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
    interfaces: Vec<String>,
    pub(super) updates: Vec<Update>,
    pub(super) profiles: BTreeMap<String, Profile>,
    pub(super) addons: BTreeMap<String, Addon>,
    pub(super) entries: BTreeMap<String, Entry>,
}

/// The network side of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub vpc_id: String,
    pub subnets: Vec<String>,
    pub groups: Vec<String>,
    /// The security group that EKS made.
    pub cluster_group: String,
    pub public: bool,
    pub private: bool,
    pub public_cidrs: Vec<String>,
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
    let network = network(aws, name, json.get("resourcesVpcConfig").unwrap_or(&Value::Null))?;
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
        None if network_overlaps_ten(aws, &network.vpc_id) => "172.20.0.0/16".to_owned(),
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
    build_network(aws, now, &mut cluster);
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
                dismantle_network(aws, now, &cluster);
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

fn check_role(aws: &Aws, now: Timestamp, cluster: &str, arn: &str) -> Result<(), ApiError> {
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

/// Looks subnets up and checks what CreateCluster and subnet updates demand of them.
pub(super) fn check_subnets(
    aws: &Aws,
    cluster: &str,
    ids: &[String],
    free: u32,
) -> Result<Vec<SubnetFacts>, ApiError> {
    let mut subnets = Vec::new();
    for id in ids {
        let Some(subnet) = aws.ec2.subnet(id) else {
            let message = format!(
                "The subnet ID '{id}' does not exist (Service: AmazonEC2; Status Code: 400; Error Code: InvalidSubnetID.NotFound)"
            );
            return Err(invalid_parameter(cluster, message));
        };
        subnets.push(subnet);
    }
    if let Some(bad) = subnets
        .iter()
        .find(|subnet| FORBIDDEN_ZONES.contains(&subnet.zone_id.as_str()))
    {
        let vpc = aws.ec2.subnets_of(&bad.vpc_id);
        let zones: BTreeSet<&str> = vpc
            .iter()
            .filter(|subnet| !FORBIDDEN_ZONES.contains(&subnet.zone_id.as_str()))
            .map(|subnet| subnet.zone.as_str())
            .collect();
        let zones: Vec<&str> = zones.into_iter().collect();
        let message = format!(
            "Cannot create cluster '{cluster}' because {}, the targeted availability zone, does not currently have \
             sufficient capacity to support the cluster. Retry and choose from these availability zones: {}",
            bad.zone,
            zones.join(", ")
        );
        return Err(ApiError::bad("UnsupportedAvailabilityZoneException", message)
            .with("clusterName", cluster)
            .with("validZones", json!(zones)));
    }
    if let [first, rest @ ..] = subnets.as_slice()
        && rest.iter().any(|subnet| subnet.vpc_id != first.vpc_id)
    {
        return Err(invalid_parameter(cluster, "Subnets are not in the same VPC"));
    }
    let zones: BTreeSet<&str> = subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
    if zones.len() < 2 {
        return Err(invalid_parameter(
            cluster,
            "Subnets specified must be in at least two different AZs",
        ));
    }
    if let Some(full) = subnets.iter().find(|subnet| subnet.available_addresses < free) {
        let message = format!(
            "Provided subnets {} Free IPs: {} , need at least {free} IPs in each subnet to be free for this operation",
            full.id, full.available_addresses
        );
        return Err(invalid_parameter(cluster, message));
    }
    Ok(subnets)
}

/// # Errors
/// More than four groups, or one that is not in the VPC.
pub(super) fn check_groups(
    aws: &Aws,
    cluster: &str,
    vpc_id: &str,
    groups: &[String],
) -> Result<(), ApiError> {
    if groups.len() > 4 {
        return Err(invalid_parameter(
            cluster,
            "A maximum of 4 security groups can be specified",
        ));
    }
    match groups
        .iter()
        .find(|id| aws.ec2.security_group_vpc(id).as_deref() != Some(vpc_id))
    {
        Some(bad) => {
            let message =
                format!("Security group(s) {bad} are not in the same VPC as the subnets, or do not exist");
            Err(invalid_parameter(cluster, message))
        }
        None => Ok(()),
    }
}

/// # Errors
/// Neither endpoint, or CIDR blocks for a public endpoint that does not exist.
pub(super) fn check_endpoints(
    cluster: &str,
    public: bool,
    private: bool,
    cidrs: &[String],
) -> Result<(), ApiError> {
    if !public && !private {
        return Err(invalid_parameter(
            cluster,
            "Private and public endpoint access cannot be false",
        ));
    }
    if cidrs.len() > 40 {
        return Err(invalid_parameter(
            cluster,
            "A maximum of 40 publicAccessCidrs can be specified",
        ));
    }
    Ok(())
}

fn network(aws: &Aws, name: &str, config: &Value) -> Result<Network, ApiError> {
    let subnets = texts(config, "subnetIds").unwrap_or_default();
    if subnets.is_empty() {
        return Err(invalid_parameter(name, "subnets should not be empty"));
    }
    let facts = check_subnets(aws, name, &subnets, ADDRESSES_TO_CREATE)?;
    let vpc_id = facts
        .first()
        .map(|subnet| subnet.vpc_id.clone())
        .unwrap_or_default();
    let groups = texts(config, "securityGroupIds").unwrap_or_default();
    check_groups(aws, name, &vpc_id, &groups)?;
    let public = config.get("endpointPublicAccess") != Some(&json!(false));
    let private = config.get("endpointPrivateAccess") == Some(&json!(true));
    let cidrs = texts(config, "publicAccessCidrs").filter(|cidrs| !cidrs.is_empty());
    let public_cidrs = cidrs.unwrap_or_else(|| vec!["0.0.0.0/0".to_owned()]);
    check_endpoints(name, public, private, &public_cidrs)?;
    Ok(Network {
        vpc_id,
        subnets,
        groups,
        cluster_group: String::new(),
        public,
        private,
        public_cidrs,
    })
}

fn network_overlaps_ten(aws: &Aws, vpc_id: &str) -> bool {
    aws.ec2.vpc(vpc_id).is_some_and(|vpc| vpc.cidr.starts_with("10."))
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

/// Puts what EKS makes into the VPC: the cluster security group and an interface in the first subnet of each zone.
fn build_network(aws: &mut Aws, now: Timestamp, cluster: &mut Cluster) {
    let name = cluster.name.clone();
    let suffix = aws.ids.next() % 1_000_000_000;
    let group_name = format!("eks-cluster-sg-{name}-{suffix}");
    let tags = Tags::from([
        ("Name".to_owned(), group_name.clone()),
        ("aws:eks:cluster-name".to_owned(), name.clone()),
        (format!("kubernetes.io/cluster/{name}"), "owned".to_owned()),
    ]);
    let description = "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, as well as any managed workloads.";
    let Aws { ec2, ids, .. } = aws;
    let group = ec2.service_security_group(
        ids,
        &cluster.network.vpc_id,
        &group_name,
        description,
        tags,
        true,
        &[],
    );
    cluster.network.cluster_group.clone_from(&group);
    place_interfaces(aws, now, cluster);
}

/// Places the control plane's interfaces anew, as creation and subnet or group updates do.
pub(super) fn place_interfaces(aws: &mut Aws, now: Timestamp, cluster: &mut Cluster) {
    for interface in std::mem::take(&mut cluster.interfaces) {
        aws.ec2.delete_interface(&interface);
    }
    let mut groups = cluster.network.groups.clone();
    groups.push(cluster.network.cluster_group.clone());
    for subnet in &cluster.network.subnets {
        let request = InterfaceRequest {
            subnet_id: subnet.clone(),
            groups: groups.clone(),
            description: format!("Amazon EKS {}", cluster.name),
            requester: "eks".to_owned(),
            public: false,
            tags: Tags::from([("cluster.k8s.amazonaws.com/name".to_owned(), cluster.name.clone())]),
        };
        let Aws { ec2, ids, .. } = aws;
        cluster.interfaces.push(ec2.create_interface(ids, now, request).0);
    }
}

/// Removes what EKS made; without its role EKS cannot, and leaves interfaces and group behind.
fn dismantle_network(aws: &mut Aws, now: Timestamp, cluster: &Cluster) {
    if check_role(aws, now, &cluster.name, &cluster.role_arn).is_err() {
        return;
    }
    for interface in &cluster.interfaces {
        aws.ec2.delete_interface(interface);
    }
    // A group that other groups' rules refer to stays behind, as on AWS.
    aws.ec2
        .delete_service_security_group(&cluster.network.cluster_group);
}
