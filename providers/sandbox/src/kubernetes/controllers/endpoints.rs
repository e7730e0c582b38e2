//! Which ready pods stand behind a service.

use super::replica::{active, owner, ready};
use super::{Arc, Cloud, Cluster, Id, Timestamp, Value, json, text};
use serde_json::json;

/// The number of a target port in a pod.
pub(super) fn target(port: &Value, pod: &Value) -> Option<i64> {
    match &port["targetPort"] {
        Value::String(name) => json::list(pod, "/spec/containers")
            .iter()
            .flat_map(|container| json::list(container, "/ports"))
            .find(|port| port["name"] == name.as_str())
            .and_then(|port| json::int(port, "/containerPort")),
        other => other.as_i64(),
    }
}

impl Cluster {
    /// The pods that a service selects, by readiness.
    pub(super) fn selected_pods(&self, service: &Value) -> (Vec<Arc<Value>>, Vec<Arc<Value>>) {
        let selector = json::texts(service, "/spec/selector");
        let namespace = text(service, "/metadata/namespace");
        if selector.is_empty() {
            return (Vec::new(), Vec::new());
        }
        self.store
            .list("", "pods", Some(namespace))
            .map(|(_, pod)| Arc::clone(pod))
            .filter(|pod| {
                let labels = json::texts(pod, "/metadata/labels");
                active(pod)
                    && !text(pod, "/status/podIP").is_empty()
                    && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            })
            .partition(|pod| ready(pod))
    }

    pub(super) fn run_endpoints(&mut self, now: Timestamp, cloud: &mut dyn Cloud) {
        for (id, service) in self.every("", "services") {
            if json::texts(&service, "/spec/selector").is_empty()
                || !service["metadata"]["deletionTimestamp"].is_null()
            {
                continue;
            }
            let (good, bad) = self.selected_pods(&service);
            let all = || good.iter().chain(&bad);
            let ports: Vec<Value> = json::list(&service, "/spec/ports")
                .iter()
                .filter_map(|port| {
                    let number = all().find_map(|pod| target(port, pod))?;
                    let mut entry = json!({"port": number, "protocol": port["protocol"]});
                    if port["name"].is_string() {
                        entry["name"] = port["name"].clone();
                    }
                    Some(entry)
                })
                .collect();
            let reference = |pod: &Value| {
                json!({"kind": "Pod", "name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"],
                    "uid": pod["metadata"]["uid"]})
            };
            let addresses = |pods: &[Arc<Value>]| -> Vec<Value> {
                pods.iter()
                    .map(|pod| json!({"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"], "targetRef": reference(pod)}))
                    .collect()
            };
            let mut subset = json!({"ports": ports});
            for (field, pods) in [("addresses", &good), ("notReadyAddresses", &bad)] {
                if !pods.is_empty() {
                    subset[field] = Value::Array(addresses(pods));
                }
            }
            let subsets = if good.is_empty() && bad.is_empty() {
                json!([])
            } else {
                json!([subset])
            };
            let labels = service["metadata"]["labels"].clone();
            let endpoints = Id::new("", "endpoints", &id.namespace, &id.name);
            if self.store.get(&endpoints).is_none() {
                let made = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": id.name, "namespace": id.namespace,
                    "labels": labels}, "subsets": subsets});
                self.make(now, cloud, super::CONTROLLER, made);
            } else {
                self.edit(now, cloud, &endpoints, "", |object| object["subsets"] = subsets);
            }
            let listed: Vec<Value> = all()
                .map(|pod| {
                    let ok = ready(pod);
                    json!({"addresses": [pod["status"]["podIP"]], "nodeName": pod["spec"]["nodeName"], "targetRef": reference(pod),
                        "conditions": {"ready": ok, "serving": ok, "terminating": false}})
                })
                .collect();
            let slice = self
                .dependents(
                    "discovery.k8s.io",
                    "endpointslices",
                    &id.namespace,
                    text(&service, "/metadata/uid"),
                )
                .into_iter()
                .next();
            match slice {
                Some((slice, _)) => {
                    self.edit(now, cloud, &slice, "", |object| {
                        object["endpoints"] = json!(listed);
                        object["ports"] = json!(ports);
                    });
                }
                None => {
                    let made = json!({
                        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                        "metadata": {"generateName": format!("{}-", id.name), "namespace": id.namespace,
                            "labels": {"kubernetes.io/service-name": id.name}, "ownerReferences": [owner(&service)]},
                        "endpoints": listed, "ports": ports,
                    });
                    self.make(now, cloud, super::CONTROLLER, made);
                }
            }
        }
        // Endpoints have no owner: they go with the service of their name.
        for (id, _) in self.every("", "endpoints") {
            if self
                .store
                .get(&Id::new("", "services", &id.namespace, &id.name))
                .is_none()
            {
                self.discard(now, &id, "Background");
            }
        }
    }
}
