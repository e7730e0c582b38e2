//! Add-ons. Those that run pods are DEGRADED until the pods run.

use super::cluster::{Cluster, same_request};
use super::page::page;
use super::update::Update;
use super::{Effect, duration, in_use, invalid_parameter, text, text_map, versions};
use crate::Timestamp;
use crate::aws::{ApiError, Aws, Call, Reply, Tags};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One add-on of one cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Addon {
    arn: String,
    created: Timestamp,
    modified: Timestamp,
    version: String,
    configuration: Option<String>,
    role_arn: Option<String>,
    pub(super) tags: Tags,
    phase: Phase,
    pub(super) due: Option<Timestamp>,
    /// Its workload runs; kept up to date by the world.
    pub(super) healthy: bool,
    token: Option<String>,
    request: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Creating,
    Settled,
    Updating,
    Deleting { preserve: bool },
}

/// Name, version per minor (the part before `-eksbuild`, with `{}` for the minor), build, whether it runs
/// pods, default namespace, type.
const CATALOGUE: &[(&str, &str, &str, bool, &str)] = &[
    ("coredns", "v1.12.4", "networking", true, "kube-system"),
    ("kube-proxy", "v1.{}.1", "networking", false, "kube-system"),
    ("metrics-server", "v0.8.0", "observability", true, "kube-system"),
    ("vpc-cni", "v1.20.4", "networking", false, "kube-system"),
];

/// The schema of configuration values, as far as this sandbox understands them.
const SCHEMA: &str = r#"{"$schema":"http://json-schema.org/draft-06/schema#","type":"object","additionalProperties":false,"properties":{"affinity":{"type":["object","null"]},"autoScaling":{"type":"object"},"computeType":{"type":"string"},"corefile":{"type":"string"},"env":{"type":"object"},"nodeSelector":{"type":"object"},"podAnnotations":{"type":"object"},"podLabels":{"type":"object"},"podDisruptionBudget":{"type":"object"},"replicaCount":{"type":"integer"},"replicas":{"type":"integer"},"resources":{"type":"object"},"tolerations":{"type":"array"},"topologySpreadConstraints":{"type":"array"}}}"#;

impl Addon {
    fn status(&self) -> &'static str {
        match self.phase {
            Phase::Creating => "CREATING",
            Phase::Updating => "UPDATING",
            Phase::Deleting { .. } => "DELETING",
            Phase::Settled if self.healthy => "ACTIVE",
            Phase::Settled => "DEGRADED",
        }
    }

    fn json(&self, cluster: &str, name: &str) -> Value {
        let issues = match self.status() {
            "DEGRADED" => json!([{
                "code": "InsufficientNumberOfReplicas",
                "message": "The add-on is unhealthy because it doesn't have the desired number of replicas.",
                "resourceIds": [],
            }]),
            _ => json!([]),
        };
        let mut addon = json!({
            "addonName": name,
            "clusterName": cluster,
            "status": self.status(),
            "addonVersion": self.version,
            "health": {"issues": issues},
            "addonArn": self.arn,
            "createdAt": self.created.epoch_seconds(),
            "modifiedAt": self.modified.epoch_seconds(),
            "tags": self.tags,
        });
        if let Some(role) = &self.role_arn {
            addon["serviceAccountRoleArn"] = json!(role);
        }
        if let Some(configuration) = &self.configuration {
            addon["configurationValues"] = json!(configuration);
        }
        addon
    }
}

/// Whether the add-on's health depends on pods.
fn runs_pods(name: &str) -> bool {
    CATALOGUE.iter().any(|entry| entry.0 == name && entry.3)
}

fn versions_of(base: &str, minor: &str) -> [String; 2] {
    let base = base.replace("{}", minor);
    [format!("{base}-eksbuild.2"), format!("{base}-eksbuild.1")]
}

fn minors(now: Timestamp) -> Vec<String> {
    (0..100)
        .rev()
        .map(|minor| format!("1.{minor}"))
        .filter(|version| versions::offered(now, version))
        .collect()
}

/// The version for a request: the newest unless one is named.
fn choose(cluster: &Cluster, name: &str, wanted: Option<&str>) -> Result<String, ApiError> {
    let wrong = |message: String| invalid_parameter(&cluster.name, message).with("addonName", name);
    let Some(entry) = CATALOGUE.iter().find(|entry| entry.0 == name) else {
        return Err(wrong(format!(
            "Addon {name} specified is not supported in {} kubernetes version",
            cluster.version
        )));
    };
    let [newest, older] = versions_of(entry.1, cluster.version.trim_start_matches("1."));
    match wanted {
        None => Ok(newest),
        Some(version) if version == newest || version == older => Ok(version.to_owned()),
        Some(version) => Err(wrong(format!(
            "Addon version specified is not supported: {version} for {name} on Kubernetes {}",
            cluster.version
        ))),
    }
}

fn configuration(cluster: &str, name: &str, json: &Value) -> Result<Option<String>, ApiError> {
    let Some(values) = text(json, "configurationValues").filter(|values| !values.is_empty()) else {
        return Ok(None);
    };
    let wrong = |why: String| {
        let message = format!("ConfigurationValue provided in request is not supported: {why}");
        invalid_parameter(cluster, message).with("addonName", name)
    };
    // YAML is accepted by AWS too; the sandbox reads JSON only and says so.
    let parsed: Value = serde_json::from_str(values)
        .map_err(|error| wrong(format!("the sandbox reads it as JSON: {error}")))?;
    let known: Value = serde_json::from_str(SCHEMA).unwrap_or_default();
    let members = parsed
        .as_object()
        .ok_or_else(|| wrong("not an object".to_owned()))?;
    match members
        .keys()
        .find(|key| known["properties"].get(key.as_str()).is_none())
    {
        Some(unknown) => Err(wrong(format!(
            "Json schema validation failed with error: [$.{unknown}: is not defined in the schema and the schema does not allow additional properties]"
        ))),
        None => Ok(Some(values.to_owned())),
    }
}

fn parsed(configuration: Option<&str>) -> Value {
    configuration
        .and_then(|values| serde_json::from_str(values).ok())
        .unwrap_or(Value::Null)
}

fn none(cluster: &str, name: &str) -> ApiError {
    ApiError::new(
        404,
        "ResourceNotFoundException",
        format!("No addon: {name} found in cluster: {cluster}"),
    )
    .with("clusterName", cluster)
    .with("addonName", name)
}

fn require<'a>(cluster: &'a mut Cluster, name: &str) -> Result<&'a mut Addon, ApiError> {
    let missing = none(&cluster.name, name);
    cluster.addons.get_mut(name).ok_or(missing)
}

/// CreateAddon.
pub(super) fn create(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (cluster_name, json) = (call.segment(1), &call.json);
    let name = text(json, "addonName").unwrap_or_default();
    let cluster = aws.eks.require(cluster_name)?;
    let token = text(json, "clientRequestToken").map(str::to_owned);
    if let Some(existing) = cluster.addons.get(name) {
        if token.is_some() && existing.token == token && same_request(&existing.request, json) {
            return Ok(Reply::Json(json!({"addon": existing.json(cluster_name, name)})));
        }
        return Err(in_use(cluster_name, "Addon already exists.").with("addonName", name));
    }
    cluster.require_running()?;
    let version = choose(cluster, name, text(json, "addonVersion"))?;
    let configuration = configuration(cluster_name, name, json)?;
    let cluster_id = cluster.id.clone();
    let arn_id = aws.ids.uuid();
    let addon = Addon {
        arn: aws.arn("eks", &format!("addon/{cluster_name}/{name}/{arn_id}")),
        created: now,
        modified: now,
        version,
        role_arn: text(json, "serviceAccountRoleArn").map(str::to_owned),
        tags: text_map(json, "tags"),
        phase: Phase::Creating,
        due: Some(now.after(duration::ADDON_CREATE)),
        healthy: !runs_pods(name),
        token,
        request: json.clone(),
        configuration,
    };
    let answer = json!({"addon": addon.json(cluster_name, name)});
    let install = Effect::Install {
        id: cluster_id,
        addon: name.to_owned(),
        configuration: parsed(addon.configuration.as_deref()),
    };
    aws.eks
        .require_mut(cluster_name)?
        .addons
        .insert(name.to_owned(), addon);
    aws.eks.effects.push(install);
    Ok(Reply::Json(answer))
}

/// DescribeAddon.
pub(super) fn describe(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (cluster, name) = (call.segment(1), call.segment(3));
    let addon = aws
        .eks
        .require(cluster)?
        .addons
        .get(name)
        .ok_or_else(|| none(cluster, name))?;
    Ok(Reply::Json(json!({"addon": addon.json(cluster, name)})))
}

/// ListAddons.
pub(super) fn list(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let names = aws
        .eks
        .require(call.segment(1))?
        .addons
        .keys()
        .map(|name| json!(name))
        .collect();
    page(call, "addons", names, 100).map(Reply::Json)
}

/// UpdateAddon.
pub(super) fn update(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (cluster_name, name, json) = (call.segment(1), call.segment(3), &call.json);
    let cluster = aws.eks.require(cluster_name)?;
    let current = cluster.addons.get(name).ok_or_else(|| none(cluster_name, name))?;
    let token = text(json, "clientRequestToken");
    if let Some(update) = cluster.update_by_token(token) {
        return Ok(Reply::Json(json!({"update": update.json()})));
    }
    cluster.require_running()?;
    if current.phase != Phase::Settled {
        let message = format!(
            "Addon {name} cannot be updated as it is currently in {} state",
            current.status()
        );
        return Err(in_use(cluster_name, message).with("addonName", name));
    }
    let version = match text(json, "addonVersion") {
        Some(version) if version == current.version => version.to_owned(),
        wanted @ Some(_) => choose(cluster, name, wanted)?,
        None => current.version.clone(),
    };
    let values = configuration(cluster_name, name, json)?;
    let mut params = vec![("AddonVersion".to_owned(), version.clone())];
    for (member, kind) in [
        ("serviceAccountRoleArn", "ServiceAccountRoleArn"),
        ("resolveConflicts", "ResolveConflicts"),
        ("configurationValues", "ConfigurationValues"),
    ] {
        params.extend(text(json, member).map(|value| (kind.to_owned(), value.to_owned())));
    }
    let id = aws.ids.uuid();
    let due = now.after(duration::ADDON_UPDATE);
    let update = Update::of_addon(id, params, now, due, token, name);
    let answer = json!({"update": update.json()});
    let cluster = aws.eks.require_mut(cluster_name)?;
    cluster.updates.push(update);
    let cluster_id = cluster.id.clone();
    let addon = require(cluster, name)?;
    addon.version = version;
    addon.modified = now;
    addon.phase = Phase::Updating;
    addon.due = Some(due);
    if let Some(role) = text(json, "serviceAccountRoleArn") {
        addon.role_arn = Some(role.to_owned()).filter(|role| !role.is_empty());
    }
    if json.get("configurationValues").is_some() {
        addon.configuration = values;
    }
    let configuration = parsed(addon.configuration.as_deref());
    aws.eks.effects.push(Effect::Install {
        id: cluster_id,
        addon: name.to_owned(),
        configuration,
    });
    Ok(Reply::Json(answer))
}

/// DeleteAddon; `preserve=true` leaves the workload.
pub(super) fn delete(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (cluster_name, name) = (call.segment(1), call.segment(3));
    let cluster = aws.eks.require_mut(cluster_name)?;
    cluster.require_running()?;
    let addon = require(cluster, name)?;
    if addon.due.is_some() {
        let message = format!(
            "Addon {name} cannot be deleted as it is currently in {} state",
            addon.status()
        );
        return Err(invalid_parameter(cluster_name, message).with("addonName", name));
    }
    addon.phase = Phase::Deleting {
        preserve: call.query_value("preserve") == Some("true"),
    };
    addon.due = Some(now.after(duration::ADDON_DELETE));
    Ok(Reply::Json(json!({"addon": addon.json(cluster_name, name)})))
}

/// DescribeAddonVersions.
pub(super) fn describe_versions(_aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let wanted = call.query_value("addonName");
    let minors: Vec<String> = match call.query_value("kubernetesVersion") {
        Some(version) => minors(now)
            .into_iter()
            .filter(|offered| offered == version)
            .collect(),
        None => minors(now),
    };
    if wanted.is_some_and(|name| !CATALOGUE.iter().any(|entry| entry.0 == name)) {
        let message = format!("Addon {} not found", wanted.unwrap_or_default());
        return Err(ApiError::new(404, "ResourceNotFoundException", message));
    }
    let addons = CATALOGUE.iter().filter(|entry| wanted.is_none_or(|name| name == entry.0)).map(|entry| {
        let mut listed: Vec<(String, Vec<Value>)> = Vec::new();
        for version in &minors {
            let numbers = versions_of(entry.1, version.trim_start_matches("1."));
            for (number, default) in numbers.into_iter().zip([true, false]) {
                let compatibility = json!({"clusterVersion": version, "platformVersions": ["*"], "defaultVersion": default});
                match listed.iter_mut().find(|(known, _)| *known == number) {
                    Some((_, compatibilities)) => compatibilities.push(compatibility),
                    None => listed.push((number, vec![compatibility])),
                }
            }
        }
        let versions: Vec<Value> = listed
            .into_iter()
            .map(|(number, compatibilities)| {
                json!({
                    "addonVersion": number,
                    "architecture": ["amd64", "arm64"],
                    "computeTypes": ["ec2", "fargate"],
                    "compatibilities": compatibilities,
                    "requiresConfiguration": false,
                    "requiresIamPermissions": entry.0 == "vpc-cni",
                })
            })
            .collect();
        json!({
            "addonName": entry.0, "type": entry.2, "addonVersions": versions,
            "publisher": "eks", "owner": "aws", "defaultNamespace": entry.4,
        })
    });
    page(call, "addons", addons.collect(), 100).map(Reply::Json)
}

/// DescribeAddonConfiguration.
pub(super) fn describe_configuration(
    _aws: &mut Aws,
    _now: Timestamp,
    call: &Call,
) -> Result<Reply, ApiError> {
    let (name, version) = (
        call.query_value("addonName").unwrap_or_default(),
        call.query_value("addonVersion").unwrap_or_default(),
    );
    if !CATALOGUE.iter().any(|entry| entry.0 == name) {
        return Err(ApiError::new(
            404,
            "ResourceNotFoundException",
            format!("Addon {name} not found"),
        ));
    }
    Ok(Reply::Json(
        json!({"addonName": name, "addonVersion": version, "configurationSchema": SCHEMA}),
    ))
}

/// Applies what is due.
pub(super) fn advance(effects: &mut Vec<Effect>, cluster: &mut Cluster, now: Timestamp) {
    let over = |addon: &Addon| addon.due.is_some_and(|due| due <= now);
    let id = &cluster.id;
    cluster.addons.retain(|name, addon| match addon.phase {
        Phase::Deleting { preserve } if over(addon) => {
            if !preserve {
                effects.push(Effect::Remove {
                    id: id.clone(),
                    addon: name.clone(),
                });
            }
            false
        }
        _ => true,
    });
    for addon in cluster.addons.values_mut().filter(|addon| over(addon)) {
        addon.phase = Phase::Settled;
        addon.due = None;
    }
}
