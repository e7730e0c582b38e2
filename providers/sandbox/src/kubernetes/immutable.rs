//! What an update may not change.

use super::failure::Cause;
use super::json::{self, list};
use super::resource::Resource;
use serde_json::Value;

const IMMUTABLE: &str = "field is immutable";

/// What is wrong with changing `old` to `new`.
pub(crate) fn changes(resource: &Resource, old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let at = |object: &Value, path: &str| object.pointer(path).cloned().unwrap_or_default();
    let mut fixed = |field: &str, why: &str| {
        let path = format!("/{}", field.replace('.', "/"));
        if at(old, &path) != at(new, &path) {
            causes.push(Cause::invalid(field, &at(new, &path), why));
        }
    };
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("apps", "deployments" | "replicasets" | "daemonsets") => fixed("spec.selector", IMMUTABLE),
        ("batch", "jobs") => {
            for field in ["spec.completions", "spec.selector", "spec.completionMode"] {
                fixed(field, IMMUTABLE);
            }
            let suspended = old["spec"]["suspend"] == true && list(old, "/status/conditions").is_empty();
            if !suspended {
                fixed("spec.template", IMMUTABLE);
            }
        }
        ("", "services") => {
            let external = |object: &Value| object["spec"]["type"] == "ExternalName";
            if !external(old)
                && !external(new)
                && !at(old, "/spec/clusterIP").is_null()
                && old["spec"]["clusterIP"] != new["spec"]["clusterIP"]
            {
                causes.push(Cause::invalid(
                    "spec.clusterIPs[0]",
                    &new["spec"]["clusterIPs"],
                    "may not change once set",
                ));
            }
            if old["spec"]["type"] == "LoadBalancer" && new["spec"]["type"] == "LoadBalancer" {
                let (before, after) = (
                    &old["spec"]["loadBalancerClass"],
                    &new["spec"]["loadBalancerClass"],
                );
                if before != after {
                    causes.push(Cause::invalid(
                        "spec.loadBalancerClass",
                        after,
                        "may not change once set",
                    ));
                }
            }
        }
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
            fixed("roleRef", "cannot change roleRef");
        }
        ("networking.k8s.io", "ingressclasses") => fixed("spec.controller", IMMUTABLE),
        ("apiextensions.k8s.io", _) => {
            for field in ["spec.group", "spec.names.plural", "spec.names.kind", "spec.scope"] {
                fixed(field, IMMUTABLE);
            }
        }
        ("", "secrets") => {
            fixed("type", IMMUTABLE);
            causes.extend(sealed(old, new, &["data"]));
        }
        ("", "configmaps") => causes.extend(sealed(old, new, &["data", "binaryData"])),
        ("scheduling.k8s.io", "priorityclasses") => {
            for field in ["value", "preemptionPolicy"] {
                if old[field] != new[field] {
                    causes.push(Cause::forbidden(field, "may not be changed in an update."));
                }
            }
        }
        ("storage.k8s.io", "storageclasses") => {
            for field in ["parameters", "provisioner"] {
                if old[field] != new[field] {
                    causes.push(Cause::forbidden(
                        field,
                        &format!("updates to {field} are forbidden."),
                    ));
                }
            }
        }
        ("apps", "statefulsets") => {
            let open = [
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ];
            if without(&old["spec"], &open) != without(&new["spec"], &open) {
                causes.push(Cause::forbidden(
                    "spec",
                    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                     'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
                ));
            }
        }
        ("", "persistentvolumeclaims") => {
            let open = ["resources", "volumeAttributesClassName", "volumeName"];
            if without(&old["spec"], &open) != without(&new["spec"], &open) {
                causes.push(Cause::forbidden(
                    "spec",
                    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
                ));
            }
        }
        ("", "pods") if pod_wish(old) != pod_wish(new) => {
            causes.push(Cause::forbidden(
                    "spec",
                    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
                     `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
                     `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
                ));
        }
        _ => {}
    }
    causes
}

fn without(value: &Value, fields: &[&str]) -> Value {
    let mut value = value.clone();
    for field in fields {
        json::remove(&mut value, &[field]);
    }
    value
}

/// What of a pod may not change.
fn pod_wish(pod: &Value) -> Value {
    let mut spec = without(
        &pod["spec"],
        &[
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
            "nodeName",
        ],
    );
    for field in ["containers", "initContainers"] {
        for container in spec[field].as_array_mut().into_iter().flatten() {
            json::remove(container, &["image"]);
        }
    }
    spec
}

fn sealed(old: &Value, new: &Value, fields: &[&str]) -> Vec<Cause> {
    const WHY: &str = "field is immutable when `immutable` is set";
    if old["immutable"] != true {
        return Vec::new();
    }
    std::iter::once("immutable")
        .filter(|_| new["immutable"] != true)
        .chain(fields.iter().copied().filter(|field| old[*field] != new[*field]))
        .map(|field| Cause::forbidden(field, WHY))
        .collect()
}
