//! What stands in the way of a pod: what Fargate does not do, images that are not there, references that lead nowhere.

use super::{Cluster, Id, Value, json, text};

/// What goes wrong with a container by its own fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Works,
    /// The image does not exist.
    Missing,
    Crashes,
    NeverReady,
}

/// Markers in image references: a tag beginning with `missing`, `crash` or `unready`, or a registry below `.invalid`.
pub(super) fn fate(container: &Value) -> Fate {
    let image = text(container, "/image");
    let (path, tag) = match image.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (image, "latest"),
    };
    let registry = path.split('/').next().unwrap_or_default();
    let exits = |words: &Value| {
        let words: Vec<&str> = words
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        words.last().is_some_and(|last| last.ends_with("exit 1"))
            || matches!(words[..], ["false" | "/bin/false"])
    };
    if tag.starts_with("missing")
        || registry
            .split(':')
            .next()
            .is_some_and(|host| host.ends_with(".invalid"))
    {
        Fate::Missing
    } else if tag.starts_with("crash") || exits(&container["command"]) || exits(&container["args"]) {
        Fate::Crashes
    } else if tag.starts_with("unready") {
        Fate::NeverReady
    } else {
        Fate::Works
    }
}

/// What Fargate does not do, in the words of its scheduler.
pub(super) fn unsupported(pod: &Value) -> Option<String> {
    let spec = &pod["spec"];
    let mut fields = Vec::new();
    for (field, name) in [
        ("hostNetwork", "HostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if spec[field] == true {
            fields.push(name);
        }
    }
    let containers = || json::list(pod, "/spec/containers").iter();
    if containers().any(|container| {
        json::list(container, "/ports")
            .iter()
            .any(|port| port["hostPort"].as_i64().is_some_and(|port| port > 0))
    }) {
        fields.push("port.HostPort");
    }
    let privileged = containers().any(|container| container["securityContext"]["privileged"] == true);
    let claims: Vec<&str> = json::list(pod, "/spec/volumes")
        .iter()
        .map(|volume| text(volume, "/persistentVolumeClaim/claimName"))
        .filter(|claim| !claim.is_empty())
        .collect();
    let hosts = json::list(pod, "/spec/volumes")
        .iter()
        .any(|volume| volume["hostPath"].is_object());
    let mut texts = Vec::new();
    if !fields.is_empty() {
        texts.push(format!("fields not supported: {}", fields.join(", ")));
    }
    if privileged {
        texts.push("invalid SecurityContext fields: Privileged".to_owned());
    }
    if hosts {
        texts.push("volumes not supported: hostPath is of an unsupported volume Type".to_owned());
    }
    if let Some(claim) = claims.first() {
        texts.push(format!(
            "volumes not supported: {claim} not supported because: PVC {claim} not bound"
        ));
    }
    (!texts.is_empty()).then(|| format!("Pod not supported on Fargate: {}", texts.join(", ")))
}

impl Cluster {
    /// A config map or secret in the environment that does not exist.
    pub(super) fn missing_reference(&self, id: &Id, pod: &Value) -> Option<String> {
        let look = |plural: &str, reference: &Value, key: Option<&str>| -> Option<String> {
            let name = text(reference, "/name");
            if reference["optional"] == true || name.is_empty() {
                return None;
            }
            let singular = plural.trim_end_matches('s');
            match self.store.get(&Id::new("", plural, &id.namespace, name)) {
                None => Some(format!("{singular} \"{name}\" not found")),
                Some(object) => key
                    .filter(|key| {
                        object["data"].get(*key).is_none() && object["binaryData"].get(*key).is_none()
                    })
                    .map(|key| {
                        let kind = if singular == "secret" {
                            "Secret"
                        } else {
                            "ConfigMap"
                        };
                        format!("couldn't find key {key} in {kind} {}/{name}", id.namespace)
                    }),
            }
        };
        let containers = ["/spec/initContainers", "/spec/containers"];
        for container in containers.iter().flat_map(|path| json::list(pod, path)) {
            for variable in json::list(container, "/env") {
                for (field, plural) in [("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps")] {
                    let reference = &variable["valueFrom"][field];
                    if let Some(what) = look(plural, reference, reference["key"].as_str()) {
                        return Some(what);
                    }
                }
            }
            for source in json::list(container, "/envFrom") {
                for (field, plural) in [("secretRef", "secrets"), ("configMapRef", "configmaps")] {
                    if let Some(what) = look(plural, &source[field], None) {
                        return Some(what);
                    }
                }
            }
        }
        None
    }

    pub(super) fn missing_volume(&self, id: &Id, pod: &Value) -> Option<(String, String)> {
        for volume in json::list(pod, "/spec/volumes") {
            for (field, name, plural) in [
                ("secret", "/secretName", "secrets"),
                ("configMap", "/name", "configmaps"),
            ] {
                let name = text(&volume[field], name);
                if !name.is_empty()
                    && volume[field]["optional"] != true
                    && self
                        .store
                        .get(&Id::new("", plural, &id.namespace, name))
                        .is_none()
                {
                    let what = format!("{} \"{name}\" not found", plural.trim_end_matches('s'));
                    return Some((text(volume, "/name").to_owned(), what));
                }
            }
        }
        None
    }
}

pub(super) fn bad_image(pod: &Value) -> &Value {
    let containers = json::list(pod, "/spec/containers");
    containers
        .iter()
        .find(|container| fate(container) == Fate::Missing)
        .or_else(|| containers.first())
        .unwrap_or(&Value::Null)
}
