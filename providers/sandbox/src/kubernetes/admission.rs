//! What happens to an object on its way in, beyond defaults: admission and allocation.

use super::call::Call;
use super::failure::{Cause, Refused};
use super::json::{self, int, list, text, texts};
use super::resource::Resource;
use super::store::Id;
use super::write::{DeleteOptions, Deletion};
use super::{Cluster, failure};
use crate::Answer;
use crate::cloud::Cloud;
use serde_json::{Value, json};

/// First address of the service network `10.100.0.0/16`; the first two are the API server's and none's.
const NETWORK: &str = "10.100";
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

impl Cluster {
    /// Admission: changes the object or refuses it.
    pub(crate) fn admit(
        &mut self,
        resource: &Resource,
        namespace: &str,
        old: Option<&Value>,
        object: &mut Value,
        cloud: &mut dyn Cloud,
    ) -> Result<(), Refused> {
        let name = text(object, "/metadata/name").to_owned();
        self.ask_webhooks(resource, old, object)?;
        match (resource.group.as_str(), resource.plural.as_str()) {
            ("", "pods") if old.is_none() => {
                let account = text(object, "/spec/serviceAccountName");
                if self
                    .store
                    .get(&Id::new("", "serviceaccounts", namespace, account))
                    .is_none()
                {
                    let why = format!(
                        "error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found"
                    );
                    return Err(Refused::forbidden("pods", "", &name, &why));
                }
                self.prioritize(object, &name)?;
                self.lend_role(object, namespace, cloud.region());
                take_to_fargate(object, namespace, cloud);
                Ok(())
            }
            ("", "persistentvolumeclaims") if old.is_none() => {
                let mut finalizers = list(object, "/metadata/finalizers").to_vec();
                finalizers.push(json!("kubernetes.io/pvc-protection"));
                json::put(object, &["metadata", "finalizers"], Value::Array(finalizers));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What EKS's webhook gives to a pod whose service account names a role.
    fn lend_role(&self, pod: &mut Value, namespace: &str, region: &str) {
        let account = text(pod, "/spec/serviceAccountName");
        let role = self
            .store
            .get(&Id::new("", "serviceaccounts", namespace, account))
            .map(|account| account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].clone());
        let Some(Value::String(role)) = role else { return };
        const FOLDER: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount";
        let token = format!("{FOLDER}/token");
        for container in pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
            let mut variables = list(container, "/env").to_vec();
            for (name, value) in [
                ("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
                ("AWS_DEFAULT_REGION", region),
                ("AWS_REGION", region),
                ("AWS_ROLE_ARN", &role),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
            ] {
                if !variables.iter().any(|variable| variable["name"] == name) {
                    variables.push(json!({"name": name, "value": value}));
                }
            }
            container["env"] = Value::Array(variables);
            let mut mounts = list(container, "/volumeMounts").to_vec();
            mounts.push(json!({"name": "aws-iam-token", "mountPath": FOLDER, "readOnly": true}));
            container["volumeMounts"] = Value::Array(mounts);
        }
        let mut volumes = list(pod, "/spec/volumes").to_vec();
        volumes.push(json!({"name": "aws-iam-token", "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"audience": "sts.amazonaws.com", "expirationSeconds": 86400, "path": "token"}}]}}));
        pod["spec"]["volumes"] = Value::Array(volumes);
    }

    fn prioritize(&self, pod: &mut Value, name: &str) -> Result<(), Refused> {
        let class = text(pod, "/spec/priorityClassName").to_owned();
        if class.is_empty() {
            return Ok(());
        }
        match self
            .store
            .get(&Id::new("scheduling.k8s.io", "priorityclasses", "", &class))
        {
            Some(found) => {
                pod["spec"]["priority"] = found["value"].clone();
                Ok(())
            }
            None => {
                let why = format!("no PriorityClass with name {class} was found");
                Err(Refused::forbidden("pods", "", name, &why))
            }
        }
    }

    /// Webhooks whose service has no ready pod refuse what they are asked about.
    fn ask_webhooks(&self, resource: &Resource, old: Option<&Value>, object: &Value) -> Result<(), Refused> {
        if resource.group == "admissionregistration.k8s.io" {
            return Ok(());
        }
        let operation = if old.is_some() { "UPDATE" } else { "CREATE" };
        let group = "admissionregistration.k8s.io";
        let configurations = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
            .into_iter()
            .flat_map(|plural| self.store.list(group, plural, None));
        for (_, configuration) in configurations {
            for webhook in list(configuration, "/webhooks") {
                let service = &webhook["clientConfig"]["service"];
                let asked = webhook["failurePolicy"] != "Ignore"
                    && list(webhook, "/rules")
                        .iter()
                        .any(|rule| concerns(rule, resource, operation))
                    && self.selected(webhook, object)
                    && service.is_object();
                if !asked {
                    continue;
                }
                let (namespace, name) = (text(service, "/namespace"), text(service, "/name"));
                let why = if self
                    .store
                    .get(&Id::new("", "services", namespace, name))
                    .is_none()
                {
                    format!("service {name:?} not found")
                } else if self.ready_addresses(namespace, name) == 0 {
                    format!("no endpoints available for service {name:?}")
                } else {
                    continue;
                };
                let path = text(service, "/path");
                let port = int(service, "/port").unwrap_or(443);
                let timeout = int(webhook, "/timeoutSeconds").unwrap_or(10);
                return Err(Refused::new(
                    500,
                    "InternalError",
                    format!(
                        "Internal error occurred: failed calling webhook {:?}: failed to call webhook: Post \
                         \"https://{name}.{namespace}.svc:{port}{path}?timeout={timeout}s\": {why}",
                        text(webhook, "/name")
                    ),
                ));
            }
        }
        Ok(())
    }

    fn selected(&self, webhook: &Value, object: &Value) -> bool {
        let labels = texts(object, "/metadata/labels");
        let namespace = text(object, "/metadata/namespace");
        let home = self
            .store
            .get(&Id::new("", "namespaces", "", namespace))
            .map(|home| texts(home, "/metadata/labels"))
            .unwrap_or_default();
        super::selector::matches_labels(&webhook["objectSelector"], &labels)
            && (namespace.is_empty() || super::selector::matches_labels(&webhook["namespaceSelector"], &home))
    }

    /// Gives a service its addresses and node ports, or says why it cannot have them.
    pub(crate) fn allocate(
        &mut self,
        resource: &Resource,
        old: Option<&Value>,
        object: &mut Value,
    ) -> Vec<Cause> {
        if !(resource.group.is_empty() && resource.plural == "services") {
            return Vec::new();
        }
        let mut causes = Vec::new();
        let kind = text(object, "/spec/type").to_owned();
        let own = text(object, "/metadata/uid").to_owned();
        let others: Vec<Value> = self
            .store
            .list("", "services", None)
            .filter(|(_, service)| text(service, "/metadata/uid") != own)
            .map(|(_, service)| Value::clone(service))
            .collect();
        if kind == "ExternalName" {
            json::remove(object, &["spec", "clusterIP"]);
            json::remove(object, &["spec", "clusterIPs"]);
        } else {
            let wanted = text(object, "/spec/clusterIP").to_owned();
            let taken = |ip: &str| {
                others
                    .iter()
                    .any(|service| text(service, "/spec/clusterIP") == ip)
            };
            let same = old.is_some_and(|old| text(old, "/spec/clusterIP") == wanted);
            if wanted.is_empty() {
                let ip = (0..60_000_u32)
                    .map(|_| {
                        let bits = self.draw();
                        format!("{NETWORK}.{}.{}", (bits >> 8) & 0xff, 10 + bits % 240)
                    })
                    .find(|ip| !taken(ip));
                match ip {
                    Some(ip) => object["spec"]["clusterIP"] = Value::from(ip),
                    None => causes.push(Cause::invalid("spec.clusterIPs", &Value::Null, "range is full")),
                }
            } else if wanted != "None" && !same {
                let at = "spec.clusterIPs";
                let shown = json!([wanted]);
                if !wanted.starts_with(&format!("{NETWORK}."))
                    || wanted.parse::<std::net::Ipv4Addr>().is_err()
                {
                    let why = format!(
                        "failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. The range of \
                         valid IPs is 10.100.0.0/16"
                    );
                    causes.push(Cause::invalid(at, &shown, &why));
                } else if taken(&wanted) {
                    let why = format!("failed to allocate IP {wanted}: provided IP is already allocated");
                    causes.push(Cause::invalid(at, &shown, &why));
                }
            }
            let ip = object["spec"]["clusterIP"].clone();
            object["spec"]["clusterIPs"] = json!([ip]);
        }
        let wants_ports = kind == "NodePort"
            || (kind == "LoadBalancer" && object["spec"]["allocateLoadBalancerNodePorts"] != false);
        let mut used: Vec<i64> = others
            .iter()
            .flat_map(|service| list(service, "/spec/ports"))
            .filter_map(|port| int(port, "/nodePort"))
            .collect();
        let count = list(object, "/spec/ports").len();
        for place in 0..count {
            let at = format!("spec.ports[{place}].nodePort");
            let given = int(object, &format!("/spec/ports/{place}/nodePort")).filter(|port| *port != 0);
            let port = match given {
                Some(port) if kind == "ClusterIP" || kind == "ExternalName" => Some(port),
                Some(port) if !NODE_PORTS.contains(&port) => {
                    let why =
                        "provided port is not in the valid range. The range of valid ports is 30000-32767";
                    causes.push(Cause::invalid(at, &json!(port), why));
                    None
                }
                Some(port) if used.contains(&port) => {
                    causes.push(Cause::invalid(
                        at,
                        &json!(port),
                        "provided port is already allocated",
                    ));
                    None
                }
                Some(port) => Some(port),
                None if wants_ports => (0..20_000_u32)
                    .map(|_| i64::try_from(self.draw() % 2768).unwrap_or(0) + NODE_PORTS.start())
                    .find(|port| !used.contains(port)),
                None => None,
            };
            if let (Some(port), Some(entry)) = (port, object.pointer_mut(&format!("/spec/ports/{place}"))) {
                used.push(port);
                entry["nodePort"] = Value::from(port);
            }
        }
        causes
    }

    /// Subresources other than `status` and `scale`.
    pub(crate) fn other_subresource(
        &mut self,
        call: &Call<'_>,
        cloud: &mut dyn Cloud,
    ) -> Result<Answer, Refused> {
        let (plural, subresource) = (call.resource.plural.as_str(), call.place.subresource.as_str());
        let id = call.resource.id(&call.place.namespace, &call.place.name);
        let Some(object) = self.store.get(&id).cloned() else {
            return Err(Refused::not_found(plural, &call.resource.group, &id.name));
        };
        match (plural, subresource, call.request.method.as_str()) {
            ("pods", "log", "GET") => Err(Refused::bad(format!(
                "container {:?} in pod {:?} has no logs: the sandbox runs no containers",
                text(&object, "/spec/containers/0/name"),
                id.name
            ))),
            ("pods", "exec" | "attach" | "portforward", _) => Err(Refused::bad(format!(
                "pod {:?} cannot be entered: the sandbox runs no containers",
                id.name
            ))),
            ("pods", "eviction", "POST") => {
                let options = DeleteOptions {
                    dry: call.dry,
                    ..DeleteOptions::default()
                };
                let (Deletion::Gone(_) | Deletion::Waiting(_)) =
                    self.delete(call.now, &call.resource, &id, &options)?;
                let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
                Ok(Answer::Done(failure::respond(201, &done)))
            }
            ("namespaces", "finalize", "PUT") => {
                let wanted = call.request.json()?;
                let mut new = Value::clone(&object);
                new["spec"] = wanted["spec"].clone();
                let writer = call.writer(false);
                let old = object;
                let deleting = !old["metadata"]["deletionTimestamp"].is_null();
                if deleting
                    && list(&new, "/spec/finalizers").is_empty()
                    && list(&new, "/metadata/finalizers").is_empty()
                {
                    self.remove(&id);
                    return Ok(Answer::Done(failure::respond(200, &new)));
                }
                let updated = self.update(&call.resource, &id, &old, new, &writer, cloud)?;
                Ok(Answer::Done(failure::respond(200, &updated)))
            }
            ("serviceaccounts", "token", "POST") => {
                let token = format!("sandbox.{}.{}", id.namespace, id.name);
                let expires = call.now.after(std::time::Duration::from_secs(3600)).rfc3339();
                let body = json!({
                    "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {"name": id.name},
                    "spec": {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 3600},
                    "status": {"token": token, "expirationTimestamp": expires},
                });
                Ok(Answer::Done(failure::respond(201, &body)))
            }
            _ => Err(Refused::new(
                404,
                "NotFound",
                "the server could not find the requested resource",
            )),
        }
    }
}

/// Whether a webhook's rule is about this kind and operation.
fn concerns(rule: &Value, resource: &Resource, operation: &str) -> bool {
    let has = |field: &str, wanted: &str| {
        list(rule, field)
            .iter()
            .filter_map(Value::as_str)
            .any(|found| found == "*" || found == wanted)
    };
    has("/apiGroups", &resource.group)
        && has("/apiVersions", &resource.version)
        && has("/resources", &resource.plural)
        && has("/operations", operation)
}

/// What EKS's own webhook does to a pod that a Fargate profile selects.
fn take_to_fargate(pod: &mut Value, namespace: &str, cloud: &mut dyn Cloud) {
    let ec2 = text(pod, "/metadata/annotations/eks.amazonaws.com~1compute-type") == "ec2";
    if ec2
        || text(pod, "/spec/schedulerName") != "default-scheduler"
        || !text(pod, "/spec/nodeName").is_empty()
    {
        return;
    }
    if let Some(profile) = cloud.fargate_profile(namespace, &texts(pod, "/metadata/labels")) {
        json::put(
            pod,
            &["metadata", "labels", "eks.amazonaws.com/fargate-profile"],
            Value::from(profile),
        );
        json::put(
            pod,
            &["metadata", "annotations", "CapacityProvisioned"],
            Value::from("0.25vCPU 0.5GB"),
        );
        json::put(pod, &["spec", "schedulerName"], Value::from("fargate-scheduler"));
        json::put(pod, &["spec", "priority"], Value::from(2_000_001_000));
        json::put(
            pod,
            &["spec", "priorityClassName"],
            Value::from("system-node-critical"),
        );
    }
}
