//! Updates of clusters: one at a time, one kind per call, applied when they are done.

use super::cluster::{self, Cluster, Status};
use super::network;
use super::page::page;
use super::{Effect, duration, invalid_parameter, invalid_request, text, texts, versions};
use crate::Timestamp;
use crate::aws::{ApiError, Aws, Call, Reply};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One update, running or done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Update {
    pub(super) id: String,
    kind: String,
    params: Vec<(String, String)>,
    created: Timestamp,
    /// When it is done; `None` once it is.
    pub(super) due: Option<Timestamp>,
    token: Option<String>,
    /// Set for an update of an add-on.
    pub(super) addon: Option<String>,
    change: Change,
}

/// What an update changes in the cluster when it is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Change {
    Nothing,
    Version(String),
    Logging(BTreeSet<String>),
    Endpoints {
        public: bool,
        private: bool,
        cidrs: Vec<String>,
    },
    Subnets {
        subnets: Vec<String>,
        groups: Vec<String>,
    },
    Authentication(String),
    Support(String),
    ZonalShift(bool),
    DeletionProtection(bool),
}

impl Update {
    pub(super) fn of_addon(
        id: String,
        params: Vec<(String, String)>,
        now: Timestamp,
        due: Timestamp,
        token: Option<&str>,
        addon: &str,
    ) -> Self {
        Self {
            id,
            kind: "AddonUpdate".to_owned(),
            params,
            created: now,
            due: Some(due),
            token: token.map(str::to_owned),
            addon: Some(addon.to_owned()),
            change: Change::Nothing,
        }
    }

    pub(super) fn json(&self) -> Value {
        let params: Vec<Value> = self
            .params
            .iter()
            .map(|(kind, value)| json!({"type": kind, "value": value}))
            .collect();
        json!({
            "id": self.id,
            "status": if self.due.is_some() { "InProgress" } else { "Successful" },
            "type": self.kind,
            "params": params,
            "createdAt": self.created.epoch_seconds(),
            "errors": [],
        })
    }
}

impl Cluster {
    /// The update that an earlier call with this token started.
    pub(super) fn update_by_token(&self, token: Option<&str>) -> Option<&Update> {
        self.updates
            .iter()
            .find(|update| token.is_some() && update.token.as_deref() == token)
    }
}

/// UpdateClusterVersion: exactly one minor version up.
pub(super) fn version(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (name, json) = (call.segment(1), &call.json);
    let cluster = aws.eks.require(name)?;
    if let Some(update) = cluster.update_by_token(text(json, "clientRequestToken")) {
        return Ok(Reply::Json(json!({"update": update.json()})));
    }
    let wanted = text(json, "version").unwrap_or_default();
    let current = cluster.version.clone();
    cluster.require_running()?;
    cluster.require_idle("Cannot VersionUpdate")?;
    if wanted == current {
        return Err(invalid_parameter(
            name,
            format!("Cluster is already at the desired configuration with version: {wanted}"),
        ));
    }
    if !versions::offered(now, wanted) {
        return Err(invalid_parameter(
            name,
            format!("unsupported Kubernetes version {wanted}"),
        ));
    }
    let next = versions::minor(&current).map(|minor| minor + 1);
    if versions::minor(wanted) != next {
        let message = format!("Unsupported Kubernetes minor version update from {current} to {wanted}");
        return Err(invalid_parameter(name, message));
    }
    network::check_subnets(
        aws,
        name,
        &cluster.network().subnets,
        network::ADDRESSES_TO_UPGRADE,
    )?;
    let params = vec![
        ("Version".to_owned(), wanted.to_owned()),
        ("PlatformVersion".to_owned(), "eks.1".to_owned()),
    ];
    start(
        aws,
        now,
        call,
        "VersionUpdate",
        params,
        Change::Version(wanted.to_owned()),
    )
}

/// UpdateClusterConfig: one kind of change per call.
pub(super) fn config(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (name, json) = (call.segment(1), &call.json);
    let cluster = aws.eks.require(name)?;
    if let Some(update) = cluster.update_by_token(text(json, "clientRequestToken")) {
        return Ok(Reply::Json(json!({"update": update.json()})));
    }
    let planned = plan(aws, cluster, json)?;
    let [(kind, params, change)] = <[Planned; 1]>::try_from(planned).map_err(|planned| {
        let message = match planned.is_empty() {
            true => "No changes needed for the cluster config provided",
            false => "Only one type of update can be allowed.",
        };
        invalid_parameter(name, message)
    })?;
    cluster.require_running()?;
    cluster.require_idle(&format!("Cannot {kind}"))?;
    check_change(cluster, &change)?;
    start(aws, now, call, kind, params, change)
}

type Planned = (&'static str, Vec<(String, String)>, Change);

/// Every kind of change that the request asks for.
fn plan(aws: &Aws, cluster: &Cluster, json: &Value) -> Result<Vec<Planned>, ApiError> {
    let name = &cluster.name;
    let mut planned: Vec<Planned> = Vec::new();
    let param = |kind: &str, value: String| (kind.to_owned(), value);
    let flag = |value: &Value| value.as_bool();
    if let Some(logging) = json.get("logging") {
        let enabled = cluster::enabled_logs(name, cluster.logging.clone(), Some(logging))?;
        let params = vec![param("ClusterLogging", logging.to_string())];
        planned.push(("LoggingUpdate", params, Change::Logging(enabled)));
    }
    let vpc = json.get("resourcesVpcConfig").unwrap_or(&Value::Null);
    let network = cluster.network();
    let (public, private) = (
        flag(&vpc["endpointPublicAccess"]),
        flag(&vpc["endpointPrivateAccess"]),
    );
    let cidrs = texts(vpc, "publicAccessCidrs");
    if public.is_some() || private.is_some() || cidrs.is_some() {
        let (public, private) = (
            public.unwrap_or(network.public),
            private.unwrap_or(network.private),
        );
        let cidrs = cidrs.unwrap_or_else(|| network.public_cidrs.clone());
        network::check_endpoints(name, public, private, &cidrs)?;
        let params = vec![
            param("EndpointPublicAccess", public.to_string()),
            param("EndpointPrivateAccess", private.to_string()),
            param("PublicAccessCidrs", json!(cidrs).to_string()),
        ];
        planned.push((
            "EndpointAccessUpdate",
            params,
            Change::Endpoints {
                public,
                private,
                cidrs,
            },
        ));
    }
    let (subnets, groups) = (texts(vpc, "subnetIds"), texts(vpc, "securityGroupIds"));
    if subnets.is_some() || groups.is_some() {
        let subnets = subnets.unwrap_or_else(|| network.subnets.clone());
        let groups = groups.unwrap_or_else(|| network.groups.clone());
        check_placement(aws, cluster, &subnets, &groups)?;
        let params = vec![
            param("Subnets", json!(subnets).to_string()),
            param("SecurityGroups", json!(groups).to_string()),
        ];
        planned.push(("VpcConfigUpdate", params, Change::Subnets { subnets, groups }));
    }
    if let Some(mode) = text(&json["accessConfig"], "authenticationMode") {
        let params = vec![param("AuthenticationMode", mode.to_owned())];
        planned.push((
            "AccessConfigUpdate",
            params,
            Change::Authentication(mode.to_owned()),
        ));
    }
    if let Some(support) = cluster::support_type(name, json)? {
        let params = vec![param("UpgradePolicy", json["upgradePolicy"].to_string())];
        planned.push(("UpgradePolicyUpdate", params, Change::Support(support)));
    }
    if let Some(enabled) = flag(&json["zonalShiftConfig"]["enabled"]) {
        let params = vec![param("ZonalShiftConfig", json["zonalShiftConfig"].to_string())];
        planned.push(("ZonalShiftConfigUpdate", params, Change::ZonalShift(enabled)));
    }
    if let Some(protected) = flag(&json["deletionProtection"]) {
        let params = vec![param("DeletionProtection", protected.to_string())];
        planned.push((
            "DeletionProtectionUpdate",
            params,
            Change::DeletionProtection(protected),
        ));
    }
    let known = [
        "name",
        "clientRequestToken",
        "logging",
        "resourcesVpcConfig",
        "accessConfig",
        "upgradePolicy",
        "zonalShiftConfig",
        "deletionProtection",
    ];
    let unknown = json
        .as_object()
        .into_iter()
        .flatten()
        .find(|(key, value)| !value.is_null() && !known.contains(&key.as_str()));
    match unknown {
        Some((member, _)) => Err(ApiError::not_simulated(
            "eks",
            &format!("UpdateClusterConfig with {member}"),
        )),
        None => Ok(planned),
    }
}

/// New subnets stay in the VPC and keep covering the original zones.
fn check_placement(
    aws: &Aws,
    cluster: &Cluster,
    subnets: &[String],
    groups: &[String],
) -> Result<(), ApiError> {
    let name = &cluster.name;
    let facts = network::check_subnets(aws, name, subnets, 0)?;
    if facts
        .iter()
        .any(|subnet| subnet.vpc_id != cluster.network().vpc_id)
    {
        return Err(invalid_parameter(
            name,
            "Provided subnets belong to another VPC than the existing ones",
        ));
    }
    let zones: BTreeSet<&str> = facts.iter().map(|subnet| subnet.zone.as_str()).collect();
    let original: BTreeSet<String> = cluster
        .network()
        .subnets
        .iter()
        .filter_map(|id| Some(aws.ec2.subnet(id)?.zone))
        .collect();
    if !original.iter().all(|zone| zones.contains(zone.as_str())) {
        return Err(invalid_parameter(
            name,
            "Provided subnets must belong to the set of AZs that were provided during cluster creation",
        ));
    }
    network::check_groups(aws, name, &cluster.network().vpc_id, groups)
}

/// Refuses what changes nothing, and steps back of the authentication mode.
fn check_change(cluster: &Cluster, change: &Change) -> Result<(), ApiError> {
    let network = cluster.network();
    let same = match change {
        Change::Nothing => true,
        Change::Version(version) => *version == cluster.version,
        Change::Logging(enabled) => *enabled == cluster.logging,
        Change::Endpoints {
            public,
            private,
            cidrs,
        } => (*public, *private, cidrs) == (network.public, network.private, &network.public_cidrs),
        Change::Subnets { subnets, groups } => {
            let set = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
            set(subnets) == set(&network.subnets) && set(groups) == set(&network.groups)
        }
        Change::Authentication(mode) => {
            let rank = |mode: &str| {
                ["CONFIG_MAP", "API_AND_CONFIG_MAP", "API"]
                    .iter()
                    .position(|known| *known == mode)
            };
            if rank(mode) < rank(&cluster.authentication_mode) {
                let message = format!(
                    "Unsupported authentication mode update from {} to {mode}",
                    cluster.authentication_mode
                );
                return Err(invalid_parameter(&cluster.name, message));
            }
            *mode == cluster.authentication_mode
        }
        Change::Support(support) => *support == cluster.support_type,
        Change::ZonalShift(enabled) => *enabled == cluster.zonal_shift,
        Change::DeletionProtection(protected) => *protected == cluster.deletion_protection,
    };
    match same {
        true => Err(invalid_parameter(
            &cluster.name,
            "No changes needed: Cluster is already at the desired configuration",
        )),
        false => Ok(()),
    }
}

fn start(
    aws: &mut Aws,
    now: Timestamp,
    call: &Call,
    kind: &str,
    params: Vec<(String, String)>,
    change: Change,
) -> Result<Reply, ApiError> {
    let time = match change {
        Change::Version(_) => duration::VERSION_UPDATE,
        _ => duration::CONFIG_UPDATE,
    };
    let update = Update {
        id: aws.ids.uuid(),
        kind: kind.to_owned(),
        params,
        created: now,
        due: Some(now.after(time)),
        token: text(&call.json, "clientRequestToken").map(str::to_owned),
        addon: None,
        change,
    };
    let answer = json!({"update": update.json()});
    let cluster = aws.eks.require_mut(call.segment(1))?;
    cluster.status = Status::Updating;
    cluster.updates.push(update);
    Ok(Reply::Json(answer))
}

/// DescribeUpdate; `addonName` narrows to an add-on's.
pub(super) fn describe(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (name, id) = (call.segment(1), call.segment(3));
    let cluster = aws.eks.require(name)?;
    let addon = call.query_value("addonName");
    let update = cluster
        .updates
        .iter()
        .find(|update| update.id == id && update.addon.as_deref() == addon);
    match update {
        Some(update) => Ok(Reply::Json(json!({"update": update.json()}))),
        None => Err(ApiError::new(
            404,
            "ResourceNotFoundException",
            format!("No update found for ID: {id}"),
        )
        .with("clusterName", name)),
    }
}

/// ListUpdates.
pub(super) fn list(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let cluster = aws.eks.require(call.segment(1))?;
    let addon = call.query_value("addonName");
    if call.query_value("nodegroupName").is_some() {
        return Err(invalid_request(&cluster.name, "The sandbox has no node groups"));
    }
    let ids = cluster
        .updates
        .iter()
        .filter(|update| update.addon.as_deref() == addon);
    page(
        call,
        "updateIds",
        ids.map(|update| json!(update.id)).collect(),
        100,
    )
    .map(Reply::Json)
}

/// Applies what is due.
pub(super) fn advance(aws: &mut Aws, cluster: &mut Cluster, now: Timestamp) {
    let mut done = Vec::new();
    for update in cluster
        .updates
        .iter_mut()
        .filter(|update| update.due.is_some_and(|due| due <= now))
    {
        update.due = None;
        if update.addon.is_none() {
            done.push(std::mem::replace(&mut update.change, Change::Nothing));
        }
    }
    for change in done {
        cluster.status = Status::Active;
        match change {
            Change::Nothing => {}
            Change::Version(version) => {
                aws.eks.effects.push(Effect::Upgrade {
                    id: cluster.id.clone(),
                    version: version.clone(),
                });
                cluster.version = version;
                cluster.platform = 1;
            }
            Change::Logging(enabled) => cluster.logging = enabled,
            Change::Endpoints {
                public,
                private,
                cidrs,
            } => {
                cluster.network.public = public;
                cluster.network.private = private;
                cluster.network.public_cidrs = cidrs;
            }
            Change::Subnets { subnets, groups } => {
                cluster.network.subnets = subnets;
                cluster.network.groups = groups;
                network::place_interfaces(aws, now, cluster);
            }
            Change::Authentication(mode) => cluster.authentication_mode = mode,
            Change::Support(support) => cluster.support_type = support,
            Change::ZonalShift(enabled) => cluster.zonal_shift = enabled,
            Change::DeletionProtection(protected) => cluster.deletion_protection = protected,
        }
    }
}
