//! What the server fills in.

use super::json::{self, default, text};
use super::quantity;
use super::resource::Resource;
use super::schema::Type;
use super::typed;
use crate::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Fills in defaults of a new object, or of an update of `old`.
pub(crate) fn apply(resource: &Resource, object: &mut Value, old: Option<&Value>) {
    json::drop_nulls(object);
    canonical(&resource.ty, object);
    if resource.custom {
        typed::fill_defaults(&resource.ty, object);
        return;
    }
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => {
            pod(object);
            each(object, "/spec/containers", requests);
            each(object, "/spec/initContainers", requests);
            default(object, &["spec", "enableServiceLinks"], true);
            default(object, &["spec", "preemptionPolicy"], "PreemptLowerPriority");
            default(object, &["spec", "priority"], 0);
            default(object, &["spec", "serviceAccountName"], "default");
            default(
                object,
                &["spec", "serviceAccount"],
                object["spec"]["serviceAccountName"].clone(),
            );
            let patience = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
            let tolerations = json!([
                patience("node.kubernetes.io/not-ready"),
                patience("node.kubernetes.io/unreachable")
            ]);
            default(object, &["spec", "tolerations"], tolerations);
        }
        ("apps", plural) => workload(plural, object),
        ("batch", "jobs") => job(object, old),
        ("batch", "cronjobs") => {
            for (field, value) in [
                ("concurrencyPolicy", json!("Allow")),
                ("suspend", json!(false)),
                ("successfulJobsHistoryLimit", json!(3)),
                ("failedJobsHistoryLimit", json!(1)),
            ] {
                default(object, &["spec", field], value);
            }
            if let Some(template) = object.pointer_mut("/spec/jobTemplate/spec/template") {
                pod(template);
            }
        }
        ("", "replicationcontrollers") => {
            default(object, &["spec", "replicas"], 1);
            if let Some(template) = object.pointer_mut("/spec/template") {
                pod(template);
            }
        }
        ("", "services") => service(object, old),
        ("", "secrets") => secret(object),
        ("", "namespaces") => {
            let name = object["metadata"]["name"].clone();
            json::put(
                object,
                &["metadata", "labels", "kubernetes.io/metadata.name"],
                name,
            );
            match old.map(|old| old["spec"].clone()) {
                Some(spec) if spec.is_object() => object["spec"] = spec,
                _ => default(object, &["spec", "finalizers"], json!(["kubernetes"])),
            }
        }
        ("", "persistentvolumeclaims") => default(object, &["spec", "volumeMode"], "Filesystem"),
        ("autoscaling", _) => default(object, &["spec", "minReplicas"], 1),
        ("rbac.authorization.k8s.io", _) => {
            if object["roleRef"].is_object() {
                default(object, &["roleRef", "apiGroup"], "rbac.authorization.k8s.io");
            }
            each(object, "/subjects", |subject| {
                if text(subject, "/kind") != "ServiceAccount" {
                    default(subject, &["apiGroup"], "rbac.authorization.k8s.io");
                }
            });
        }
        ("admissionregistration.k8s.io", plural) => webhooks(plural, object),
        ("networking.k8s.io", "ingressclasses") if object["spec"]["parameters"].is_object() => {
            default(object, &["spec", "parameters", "scope"], "Cluster");
        }
        ("networking.k8s.io", "networkpolicies") => {
            let mut types = vec!["Ingress"];
            if object["spec"]["egress"].is_array() {
                types.push("Egress");
            }
            default(object, &["spec", "policyTypes"], json!(types));
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            let kind = text(object, "/spec/names/kind").to_owned();
            default(object, &["spec", "names", "singular"], kind.to_lowercase());
            default(object, &["spec", "names", "listKind"], format!("{kind}List"));
            default(object, &["spec", "conversion"], json!({"strategy": "None"}));
        }
        ("scheduling.k8s.io", "priorityclasses") => {
            default(object, &["preemptionPolicy"], "PreemptLowerPriority");
        }
        ("storage.k8s.io", "storageclasses") => {
            default(object, &["reclaimPolicy"], "Delete");
            default(object, &["volumeBindingMode"], "Immediate");
        }
        _ => {}
    }
}

/// The status that a new object starts with.
pub(crate) fn first_status(resource: &Resource, object: &mut Value, now: Timestamp) {
    let status = match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => json!({"phase": "Active"}),
        ("", "pods") => json!({"phase": "Pending", "qosClass": qos(object)}),
        ("", "persistentvolumeclaims") => json!({"phase": "Pending"}),
        ("", "services") | ("networking.k8s.io", "ingresses") => json!({"loadBalancer": {}}),
        ("apps", "deployments" | "daemonsets") | ("batch", "jobs" | "cronjobs") => json!({}),
        ("apps", _) => json!({"replicas": 0}),
        ("apiextensions.k8s.io", _) => {
            json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": [], "storedVersions": stored(object)})
        }
        ("apiregistration.k8s.io", _) => {
            json!({"conditions": [{"type": "Available", "status": "True", "reason": "Local",
            "message": "Local APIServices are always available", "lastTransitionTime": now.rfc3339()}]})
        }
        _ => return,
    };
    object["status"] = status;
}

fn stored(definition: &Value) -> Value {
    json::list(definition, "/spec/versions")
        .iter()
        .filter(|version| version["storage"] == true)
        .map(|version| version["name"].clone())
        .collect()
}

fn qos(pod: &Value) -> &'static str {
    let containers = json::list(pod, "/spec/containers");
    let any = containers.iter().any(|container| {
        !container["resources"]["requests"].is_null() || !container["resources"]["limits"].is_null()
    });
    let guaranteed = containers.iter().all(|container| {
        let limits = &container["resources"]["limits"];
        ["cpu", "memory"].iter().all(|name| !limits[*name].is_null())
            && container["resources"]["requests"] == *limits
    });
    match (any, guaranteed) {
        (_, true) => "Guaranteed",
        (true, false) => "Burstable",
        (false, false) => "BestEffort",
    }
}

/// Quantities in their canonical form.
fn canonical(ty: &Type, value: &mut Value) {
    match (ty, value) {
        (Type::Quantity, value) => {
            let written = match &*value {
                Value::String(written) => written.clone(),
                Value::Number(number) => number.to_string(),
                _ => return,
            };
            if let Some(canonical) = quantity::canonical(&written) {
                *value = Value::from(canonical);
            }
        }
        (Type::List(item, _), Value::Array(items)) => {
            items.iter_mut().for_each(|value| canonical(item, value));
        }
        (Type::Map(item, _), Value::Object(map)) => map.values_mut().for_each(|value| canonical(item, value)),
        (Type::Named(_) | Type::Object(_), Value::Object(map)) => {
            for (key, value) in map {
                canonical(ty.at(key), value);
            }
        }
        _ => {}
    }
}

fn each(object: &mut Value, path: &str, mut change: impl FnMut(&mut Value)) {
    if let Some(items) = object.pointer_mut(path).and_then(Value::as_array_mut) {
        items.iter_mut().for_each(&mut change);
    }
}

/// Defaults of a pod or pod template.
fn pod(object: &mut Value) {
    if json::map_at(object, "spec").is_none() {
        return;
    }
    for (field, value) in [
        ("dnsPolicy", json!("ClusterFirst")),
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("securityContext", json!({})),
        ("schedulerName", json!("default-scheduler")),
    ] {
        default(object, &["spec", field], value);
    }
    let account = object["spec"]["serviceAccountName"].clone();
    if account.is_string() {
        object["spec"]["serviceAccount"] = account;
    } else if object["spec"]["serviceAccount"].is_string() {
        object["spec"]["serviceAccountName"] = object["spec"]["serviceAccount"].clone();
    }
    each(object, "/spec/containers", container);
    each(object, "/spec/initContainers", container);
    each(object, "/spec/volumes", |volume| {
        if volume.as_object().is_some_and(|volume| volume.len() == 1) {
            default(volume, &["emptyDir"], json!({}));
        }
        for source in ["secret", "configMap", "projected", "downwardAPI"] {
            if volume[source].is_object() {
                default(volume, &[source, "defaultMode"], 420);
            }
        }
        if volume["hostPath"].is_object() {
            default(volume, &["hostPath", "type"], "");
        }
        each(volume, "/projected/sources", |source| {
            if source["serviceAccountToken"].is_object() {
                default(source, &["serviceAccountToken", "expirationSeconds"], 3600);
            }
        });
    });
}

fn container(container: &mut Value) {
    if !container.is_object() {
        return;
    }
    let image = text(container, "/image");
    let last = image.rsplit('/').next().unwrap_or_default();
    let latest = !last.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    default(
        container,
        &["imagePullPolicy"],
        if latest { "Always" } else { "IfNotPresent" },
    );
    default(container, &["resources"], json!({}));
    default(container, &["terminationMessagePath"], "/dev/termination-log");
    default(container, &["terminationMessagePolicy"], "File");
    each(container, "/ports", |port| default(port, &["protocol"], "TCP"));
    each(container, "/env", |variable| {
        if variable["valueFrom"]["fieldRef"].is_object() {
            default(variable, &["valueFrom", "fieldRef", "apiVersion"], "v1");
        }
    });
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[probe].is_object() {
            for (field, value) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                default(container, &[probe, field], value);
            }
            if container[probe]["httpGet"].is_object() {
                default(container, &[probe, "httpGet", "scheme"], "HTTP");
                default(container, &[probe, "httpGet", "path"], "/");
            }
        }
    }
    for hook in ["postStart", "preStop"] {
        if container["lifecycle"][hook]["httpGet"].is_object() {
            default(container, &["lifecycle", hook, "httpGet", "scheme"], "HTTP");
            default(container, &["lifecycle", hook, "httpGet", "path"], "/");
        }
    }
}

/// In a pod, a limit without a request is the request.
fn requests(container: &mut Value) {
    let limits = container["resources"]["limits"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    for (name, value) in limits {
        default(container, &["resources", "requests", &name], value);
    }
}

fn workload(plural: &str, object: &mut Value) {
    if json::map_at(object, "spec").is_none() {
        return;
    }
    match plural {
        "deployments" => {
            default(object, &["spec", "replicas"], 1);
            default(object, &["spec", "strategy", "type"], "RollingUpdate");
            if object["spec"]["strategy"]["type"] == "RollingUpdate" {
                default(object, &["spec", "strategy", "rollingUpdate", "maxSurge"], "25%");
                default(
                    object,
                    &["spec", "strategy", "rollingUpdate", "maxUnavailable"],
                    "25%",
                );
            }
            default(object, &["spec", "revisionHistoryLimit"], 10);
            default(object, &["spec", "progressDeadlineSeconds"], 600);
        }
        "replicasets" => default(object, &["spec", "replicas"], 1),
        "statefulsets" => {
            default(object, &["spec", "replicas"], 1);
            default(object, &["spec", "podManagementPolicy"], "OrderedReady");
            default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
            if object["spec"]["updateStrategy"]["type"] == "RollingUpdate" {
                default(
                    object,
                    &["spec", "updateStrategy", "rollingUpdate", "partition"],
                    0,
                );
            }
            default(object, &["spec", "revisionHistoryLimit"], 10);
            default(
                object,
                &["spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted"],
                "Retain",
            );
            default(
                object,
                &["spec", "persistentVolumeClaimRetentionPolicy", "whenScaled"],
                "Retain",
            );
        }
        "daemonsets" => {
            default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
            if object["spec"]["updateStrategy"]["type"] == "RollingUpdate" {
                default(
                    object,
                    &["spec", "updateStrategy", "rollingUpdate", "maxSurge"],
                    0,
                );
                default(
                    object,
                    &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"],
                    1,
                );
            }
            default(object, &["spec", "revisionHistoryLimit"], 10);
        }
        _ => {}
    }
    if let Some(template) = object.pointer_mut("/spec/template") {
        pod(template);
    }
}

fn job(object: &mut Value, old: Option<&Value>) {
    if json::map_at(object, "spec").is_none() {
        return;
    }
    if object["spec"]["completions"].is_null() && object["spec"]["parallelism"].is_null() {
        default(object, &["spec", "completions"], 1);
    }
    for (field, value) in [
        ("parallelism", json!(1)),
        ("backoffLimit", json!(6)),
        ("completionMode", json!("NonIndexed")),
        ("suspend", json!(false)),
        ("podReplacementPolicy", json!("TerminatingOrFailed")),
    ] {
        default(object, &["spec", field], value);
    }
    let manual = object["spec"]["manualSelector"] == true;
    let uid = old.unwrap_or(object)["metadata"]["uid"].clone();
    if !manual && uid.is_string() {
        let name = object["metadata"]["name"].clone();
        for (label, value) in [
            ("batch.kubernetes.io/controller-uid", &uid),
            ("batch.kubernetes.io/job-name", &name),
            ("controller-uid", &uid),
            ("job-name", &name),
        ] {
            json::put(
                object,
                &["spec", "template", "metadata", "labels", label],
                value.clone(),
            );
        }
        default(
            object,
            &["spec", "selector"],
            json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}),
        );
    }
    if let Some(template) = object.pointer_mut("/spec/template") {
        pod(template);
    }
}

fn service(object: &mut Value, old: Option<&Value>) {
    if json::map_at(object, "spec").is_none() {
        return;
    }
    default(object, &["spec", "sessionAffinity"], "None");
    default(object, &["spec", "type"], "ClusterIP");
    let kind = text(object, "/spec/type").to_owned();
    if kind != "ExternalName" {
        default(object, &["spec", "internalTrafficPolicy"], "Cluster");
        default(object, &["spec", "ipFamilies"], json!(["IPv4"]));
        default(object, &["spec", "ipFamilyPolicy"], "SingleStack");
    }
    if kind == "NodePort" || kind == "LoadBalancer" {
        default(object, &["spec", "externalTrafficPolicy"], "Cluster");
    } else {
        json::remove(object, &["spec", "externalTrafficPolicy"]);
        json::remove(object, &["spec", "allocateLoadBalancerNodePorts"]);
    }
    if kind == "LoadBalancer" {
        default(object, &["spec", "allocateLoadBalancerNodePorts"], true);
    }
    each(object, "/spec/ports", |port| {
        default(port, &["protocol"], "TCP");
        let own = port["port"].clone();
        default(port, &["targetPort"], own);
    });
    // What was allocated stays when an update does not mention it.
    if let Some(old) = old.filter(|_| kind != "ExternalName") {
        for field in ["clusterIP", "clusterIPs"] {
            let before = old["spec"][field].clone();
            if !before.is_null() {
                default(object, &["spec", field], before);
            }
        }
        if kind != "ClusterIP" {
            let before = json::list(old, "/spec/ports").to_vec();
            each(object, "/spec/ports", |port| {
                let same = before
                    .iter()
                    .find(|old| old["port"] == port["port"] && old["protocol"] == port["protocol"]);
                if let Some(node) = same
                    .map(|old| old["nodePort"].clone())
                    .filter(|node| !node.is_null())
                {
                    default(port, &["nodePort"], node);
                }
            });
        }
    }
    if kind == "ClusterIP" {
        let before = old.map(|old| text(old, "/spec/type"));
        if before.is_some_and(|before| before != "ClusterIP") {
            each(object, "/spec/ports", |port| {
                json::remove(port, &["nodePort"]);
            });
        }
    }
}

fn secret(object: &mut Value) {
    default(object, &["type"], "Opaque");
    let plain: Map<String, Value> = match json::remove(object, &["stringData"]) {
        Some(Value::Object(plain)) => plain,
        _ => return,
    };
    for (key, value) in plain {
        if let Value::String(value) = value {
            json::put(object, &["data", &key], Value::from(STANDARD.encode(value)));
        }
    }
}

fn webhooks(plural: &str, object: &mut Value) {
    each(object, "/webhooks", |webhook| {
        for (field, value) in [
            ("failurePolicy", json!("Fail")),
            ("matchPolicy", json!("Equivalent")),
            ("namespaceSelector", json!({})),
            ("objectSelector", json!({})),
            ("timeoutSeconds", json!(10)),
        ] {
            default(webhook, &[field], value);
        }
        if plural == "mutatingwebhookconfigurations" {
            default(webhook, &["reinvocationPolicy"], "Never");
        }
        if webhook["clientConfig"]["service"].is_object() {
            default(webhook, &["clientConfig", "service", "port"], 443);
        }
        each(webhook, "/rules", |rule| default(rule, &["scope"], "*"));
    });
}
