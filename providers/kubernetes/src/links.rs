//! What links objects without a reference: namespaces, definitions, accounts, configuration, roles, backends.
//!
//! An object whose namespace is left to the provider's default gets no edge to it: name it, where the program makes it.

use std::sync::Arc;

use epid_provider::{Bond, Desired, Links, Requirement, Value};

use crate::name::{api_version, metadata, text};
use crate::schema;

struct Found<'a> {
    links: Links,
    namespace: Option<&'a str>,
}

/// The links of an object.
pub(crate) fn links(desired: &Desired) -> Links {
    let (kind, properties) = (&desired.kind, &desired.properties);
    let served = schema::served(kind);
    let namespace = metadata(properties, "namespace").filter(|_| served.is_none_or(|s| s.namespaced));
    let mut found = Found {
        links: Links::default(),
        namespace,
    };
    if let Some(namespace) = namespace {
        found.contained(format!("namespace/{namespace}"));
    }
    let group = api_version::group(kind.module());
    if served.is_none() {
        found.contained(format!("kind/{group}/{}", kind.name()));
    }
    if let Some(name) = metadata(properties, "name") {
        found.provides(group, kind.name(), name);
    }
    let spec = properties.get("spec").map(Value::expose);
    match kind.name() {
        "CustomResourceDefinition" => {
            if let (Some(group), Some(name)) = (
                spec.and_then(|s| text(s, "group")),
                spec.and_then(|s| s.get("names")).and_then(|n| text(n, "kind")),
            ) {
                found
                    .links
                    .provides
                    .push(Arc::from(format!("kind/{group}/{name}")));
            }
        }
        "RoleBinding" | "ClusterRoleBinding" => found.binding(properties),
        "Ingress" => found.ingress(spec),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            for webhook in list(properties.get("webhooks")) {
                found.service(
                    webhook
                        .get("clientConfig")
                        .and_then(|c| c.expose().get("service")),
                );
            }
        }
        "APIService" => found.service(spec.and_then(|s| s.get("service"))),
        "PersistentVolumeClaim" => {
            found.named("storageclass", spec.and_then(|s| text(s, "storageClassName")));
        }
        _ => {}
    }
    if let Some(pod) = pod_spec(kind.name(), spec) {
        found.pod(pod);
    }
    found.links.outside = has_effects_outside(desired, spec);
    found.links
}

/// Load balancers and volumes outlive their namespace's end; so may whatever a controller or a finalizer looks after.
fn has_effects_outside(desired: &Desired, spec: Option<&Value>) -> bool {
    let finalizers = desired
        .properties
        .get("metadata")
        .and_then(|m| m.expose().get("finalizers"));
    let finalized = finalizers.is_some_and(|f| f.expose().as_list().is_none_or(|f| !f.is_empty()));
    let kind_has = match desired.kind.name() {
        "Ingress" | "PersistentVolumeClaim" => true,
        "Service" => spec
            .and_then(|s| s.get("type"))
            .is_some_and(|ty| ty.has_unknown() || ty.expose().as_str() == Some("LoadBalancer")),
        "StatefulSet" => !list(spec.and_then(|s| s.get("volumeClaimTemplates"))).is_empty(),
        _ => schema::served(&desired.kind).is_none(),
    };
    finalized || kind_has
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(|v| v.expose().as_list()).unwrap_or_default()
}

/// The pod that a workload makes, or is.
fn pod_spec<'a>(kind: &str, spec: Option<&'a Value>) -> Option<&'a Value> {
    let below = |value: &'a Value, key: &str| value.get(key).map(Value::expose);
    let template = |spec: &'a Value| below(below(spec, "template")?, "spec");
    match kind {
        "Pod" => spec,
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => template(spec?),
        "CronJob" => template(below(below(spec?, "jobTemplate")?, "spec")?),
        _ => None,
    }
}

impl Found<'_> {
    fn contained(&mut self, what: String) {
        self.links.requires.push(Requirement {
            what: Arc::from(what),
            bond: Bond::Inside,
        });
    }

    fn requires(&mut self, what: String) {
        let what: Arc<str> = Arc::from(what);
        if !self.links.requires.iter().any(|r| r.what == what) {
            self.links.requires.push(Requirement {
                what,
                bond: Bond::Needs,
            });
        }
    }

    fn provides(&mut self, group: &str, kind: &str, name: &str) {
        let word = match (group, kind) {
            ("", "Namespace") => format!("namespace/{name}"),
            ("", "ServiceAccount" | "ConfigMap" | "Secret" | "PersistentVolumeClaim" | "Service")
            | ("rbac.authorization.k8s.io", "Role") => match self.namespace {
                Some(namespace) => format!("{}/{namespace}/{name}", kind.to_lowercase()),
                None => return,
            },
            ("rbac.authorization.k8s.io", "ClusterRole")
            | ("networking.k8s.io", "IngressClass")
            | ("storage.k8s.io", "StorageClass")
            | ("scheduling.k8s.io", "PriorityClass")
            | ("node.k8s.io", "RuntimeClass") => format!("{}/{name}", kind.to_lowercase()),
            _ => return,
        };
        self.links.provides.push(Arc::from(word));
    }

    /// Something of the cluster.
    fn named(&mut self, what: &str, name: Option<&str>) {
        if let Some(name) = name {
            self.requires(format!("{what}/{name}"));
        }
    }

    /// Something in the object's own namespace.
    fn local(&mut self, what: &str, name: Option<&str>) {
        if let (Some(name), Some(namespace)) = (name, self.namespace) {
            self.requires(format!("{what}/{namespace}/{name}"));
        }
    }

    fn service(&mut self, service: Option<&Value>) {
        let part = |key| service.and_then(|s| text(s, key));
        if let (Some(name), Some(namespace)) = (part("name"), part("namespace")) {
            self.requires(format!("service/{namespace}/{name}"));
        }
    }

    fn binding(&mut self, properties: &Value) {
        if let Some(role) = properties.get("roleRef") {
            match text(role, "kind") {
                Some("Role") => self.local("role", text(role, "name")),
                _ => self.named("clusterrole", text(role, "name")),
            }
        }
        for subject in list(properties.get("subjects")) {
            if let (Some("ServiceAccount"), Some(name), Some(namespace)) = (
                text(subject, "kind"),
                text(subject, "name"),
                text(subject, "namespace").or(self.namespace),
            ) {
                self.requires(format!("serviceaccount/{namespace}/{name}"));
            }
        }
    }

    fn ingress(&mut self, spec: Option<&Value>) {
        let Some(spec) = spec else { return };
        self.named("ingressclass", text(spec, "ingressClassName"));
        let mut backends: Vec<&Value> = spec.get("defaultBackend").into_iter().collect();
        for rule in list(spec.get("rules")) {
            let paths = rule.expose().get("http").and_then(|h| h.expose().get("paths"));
            backends.extend(list(paths).iter().filter_map(|path| path.expose().get("backend")));
        }
        for backend in backends {
            self.local(
                "service",
                backend.expose().get("service").and_then(|s| text(s, "name")),
            );
        }
        for tls in list(spec.get("tls")) {
            self.local("secret", text(tls, "secretName"));
        }
    }

    fn pod(&mut self, pod: &Value) {
        self.local("serviceaccount", text(pod, "serviceAccountName"));
        self.named("priorityclass", text(pod, "priorityClassName"));
        self.named("runtimeclass", text(pod, "runtimeClassName"));
        for secret in list(pod.get("imagePullSecrets")) {
            self.local("secret", text(secret, "name"));
        }
        for key in ["containers", "initContainers"] {
            for container in list(pod.get(key)) {
                self.environment(container.expose());
            }
        }
        for volume in list(pod.get("volumes")) {
            self.volume(volume.expose());
        }
    }

    fn environment(&mut self, container: &Value) {
        for from in list(container.get("envFrom")) {
            let name = |key| from.expose().get(key).and_then(|s| text(s, "name"));
            self.local("configmap", name("configMapRef"));
            self.local("secret", name("secretRef"));
        }
        for variable in list(container.get("env")) {
            let Some(from) = variable.expose().get("valueFrom").map(Value::expose) else {
                continue;
            };
            let name = |key| from.get(key).and_then(|s| text(s, "name"));
            self.local("configmap", name("configMapKeyRef"));
            self.local("secret", name("secretKeyRef"));
        }
    }

    fn volume(&mut self, volume: &Value) {
        let name = |of: &str, key| volume.get(of).and_then(|v| text(v, key)).map(str::to_owned);
        self.local("configmap", name("configMap", "name").as_deref());
        self.local("secret", name("secret", "secretName").as_deref());
        self.local(
            "persistentvolumeclaim",
            name("persistentVolumeClaim", "claimName").as_deref(),
        );
        for source in list(volume.get("projected").and_then(|p| p.expose().get("sources"))) {
            let name = |key| source.expose().get(key).and_then(|s| text(s, "name"));
            self.local("configmap", name("configMap"));
            self.local("secret", name("secret"));
        }
    }
}

#[cfg(test)]
mod tests {
    use epid_provider::{Kind, Urn};

    use super::*;

    fn of(kind: &str, properties: &str) -> Links {
        let kind = Kind::parse(kind).unwrap();
        let urn = Urn::new("p", "s", &kind, "x");
        links(&Desired {
            urn,
            kind,
            properties: serde_json::from_str(properties).unwrap(),
        })
    }

    fn requires(links: &Links) -> Vec<String> {
        links
            .requires
            .iter()
            .map(|r| format!("{}{}", r.what, if r.bond == Bond::Inside { "!" } else { "" }))
            .collect()
    }

    #[test]
    fn an_object_needs_its_namespace_and_dies_with_it() {
        let found = of(
            "kubernetes:v1:ConfigMap",
            r#"{"metadata":{"name":"a","namespace":"shop"}}"#,
        );
        assert_eq!(requires(&found), ["namespace/shop!"]);
        assert_eq!(found.provides, [Arc::from("configmap/shop/a")]);
        assert!(!found.outside);
        let namespace = of("kubernetes:v1:Namespace", r#"{"metadata":{"name":"shop"}}"#);
        assert_eq!(namespace.provides, [Arc::from("namespace/shop")]);
    }

    #[test]
    fn a_custom_resource_needs_its_definition() {
        let crd = of(
            "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition",
            r#"{"metadata":{"name":"widgets.x.io"},"spec":{"group":"x.io","names":{"kind":"Widget"}}}"#,
        );
        assert_eq!(crd.provides, [Arc::from("kind/x.io/Widget")]);
        let widget = of("kubernetes:x.io/v1:Widget", r#"{"metadata":{"name":"w"}}"#);
        assert_eq!(requires(&widget), ["kind/x.io/Widget!"]);
        assert!(widget.outside, "its controller may have made anything");
    }

    #[test]
    fn pods_need_what_they_mount_and_whom_they_run_as() {
        let found = of(
            "kubernetes:apps/v1:Deployment",
            r#"{"metadata":{"name":"a","namespace":"s"},"spec":{"template":{"spec":{"serviceAccountName":"me",
               "containers":[{"envFrom":[{"secretRef":{"name":"env"}}],"env":[{"valueFrom":{"configMapKeyRef":{"name":"cm"}}}]}],
               "volumes":[{"secret":{"secretName":"tls"}},{"persistentVolumeClaim":{"claimName":"disk"}}]}}}}"#,
        );
        assert_eq!(
            requires(&found),
            [
                "namespace/s!",
                "serviceaccount/s/me",
                "secret/s/env",
                "configmap/s/cm",
                "secret/s/tls",
                "persistentvolumeclaim/s/disk"
            ]
        );
    }

    #[test]
    fn bindings_and_ingresses_come_after_what_they_name() {
        let binding = of(
            "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding",
            r#"{"metadata":{"name":"b","namespace":"s"},"roleRef":{"kind":"Role","name":"r"},"subjects":[{"kind":"ServiceAccount","name":"me"}]}"#,
        );
        assert_eq!(
            requires(&binding),
            ["namespace/s!", "role/s/r", "serviceaccount/s/me"]
        );
        let ingress = of(
            "kubernetes:networking.k8s.io/v1:Ingress",
            r#"{"metadata":{"name":"i","namespace":"s"},"spec":{"ingressClassName":"alb","rules":[{"http":{"paths":[{"backend":{"service":{"name":"web"}}}]}}]}}"#,
        );
        assert_eq!(
            requires(&ingress),
            ["namespace/s!", "ingressclass/alb", "service/s/web"]
        );
        assert!(ingress.outside);
    }

    #[test]
    fn load_balancers_claims_and_finalized_objects_reach_outside() {
        let service =
            |ty: &str| of("kubernetes:v1:Service", &format!(r#"{{"spec":{{"type":{ty}}}}}"#)).outside;
        assert!(service(r#""LoadBalancer""#) && service(r#"{"$unknown":"x"}"#) && !service(r#""ClusterIP""#));
        assert!(of("kubernetes:v1:ConfigMap", r#"{"metadata":{"finalizers":["x"]}}"#).outside);
    }
}
