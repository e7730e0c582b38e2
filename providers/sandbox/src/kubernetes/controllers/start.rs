//! What a new cluster contains, when custom kinds are served, and what EKS add-ons install.

use super::{Arc, Cloud, Cluster, Id, Timestamp, Value, json, text};
use crate::cloud::{Access, LoadBalancerRequest, LoadBalancerState, Principal};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long after its creation a custom kind is served.
const ESTABLISHING: Duration = Duration::from_millis(500);

/// A cloud that has nothing: for objects that no controller of the cloud looks at.
struct Nowhere;

impl Cloud for Nowhere {
    fn fargate_profile(&self, _: &str, _: &BTreeMap<String, String>) -> Option<String> {
        None
    }
    fn fargate_subnets_reach_internet(&self, _: &str) -> bool {
        false
    }
    fn role_usable(&self, _: Timestamp, _: &str, _: &str, _: &str) -> Result<(), String> {
        Err("no cloud".to_owned())
    }
    fn ensure_load_balancer(
        &mut self,
        _: Timestamp,
        _: &LoadBalancerRequest,
    ) -> Result<LoadBalancerState, String> {
        Err("no cloud".to_owned())
    }
    fn delete_load_balancer(&mut self, _: Timestamp, _: &str) -> bool {
        true
    }
    fn access(&self, _: &Principal) -> Access {
        Access::Admin
    }
    fn vpc_id(&self) -> &str {
        ""
    }
    fn cluster_name(&self) -> &str {
        ""
    }
    fn region(&self) -> &str {
        ""
    }
}

impl Cluster {
    /// Fills a new cluster.
    pub(crate) fn begin(&mut self, now: Timestamp) {
        let named = |version: &str, kind: &str, name: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
        let mut objects = Vec::new();
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            objects.push(named("v1", "Namespace", name));
        }
        for (name, value) in [
            ("system-cluster-critical", 2_000_000_000),
            ("system-node-critical", 2_000_001_000),
        ] {
            let mut class = named("scheduling.k8s.io/v1", "PriorityClass", name);
            class["value"] = json!(value);
            objects.push(class);
        }
        for name in ["admin", "cluster-admin", "edit", "view"] {
            let mut role = named("rbac.authorization.k8s.io/v1", "ClusterRole", name);
            let verbs: &[&str] = if name == "view" {
                &["get", "list", "watch"]
            } else {
                &["*"]
            };
            role["rules"] = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": verbs}]);
            objects.push(role);
        }
        let mut class = named("storage.k8s.io/v1", "StorageClass", "gp2");
        class["provisioner"] = json!("kubernetes.io/aws-ebs");
        class["parameters"] = json!({"type": "gp2", "fsType": "ext4"});
        class["volumeBindingMode"] = json!("WaitForFirstConsumer");
        objects.push(class);
        objects.push(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {"clusterIP": "10.100.0.1", "ports": [{"name": "https", "port": 443, "targetPort": 443}]}}));
        for object in objects {
            self.make(now, &mut Nowhere, "kube-apiserver", object);
        }
        self.furnish(now, &mut Nowhere);
    }

    /// What every namespace gets.
    pub(super) fn furnish(&mut self, now: Timestamp, cloud: &mut dyn Cloud) {
        for (_, namespace) in self.every("", "namespaces") {
            if !namespace["metadata"]["deletionTimestamp"].is_null() {
                continue;
            }
            let name = text(&namespace, "/metadata/name");
            if self
                .store
                .get(&Id::new("", "serviceaccounts", name, "default"))
                .is_none()
            {
                let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}});
                self.make(now, cloud, super::CONTROLLER, account);
            }
            if self
                .store
                .get(&Id::new("", "configmaps", name, "kube-root-ca.crt"))
                .is_none()
            {
                let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": name},
                    "data": {"ca.crt": "sandbox"}});
                self.make(now, cloud, super::CONTROLLER, map);
            }
        }
    }

    /// Custom kinds are served a moment after their definition was made, and end with it.
    pub(super) fn establish(&mut self, now: Timestamp, cloud: &mut dyn Cloud) {
        for (id, definition) in self.every("apiextensions.k8s.io", "customresourcedefinitions") {
            if !definition["metadata"]["deletionTimestamp"].is_null() {
                self.end_kind(now, cloud, &id, &definition);
                continue;
            }
            let accepted = definition["spec"]["names"].clone();
            if super::super::resource::condition(&definition, "Established") {
                self.edit(now, cloud, &id, "status", |definition| {
                    definition["status"]["acceptedNames"] = accepted;
                });
                continue;
            }
            let uid = text(&definition, "/metadata/uid");
            let due = *self
                .controllers
                .established
                .entry(uid.to_owned())
                .or_insert_with(|| now.after(ESTABLISHING));
            if now < due {
                self.controllers.wake(due);
                continue;
            }
            self.controllers.established.remove(uid);
            let finalizer = json!(["customresourcecleanup.apiextensions.k8s.io"]);
            self.edit(now, cloud, &id, "", |definition| {
                json::default(definition, &["metadata", "finalizers"], finalizer);
            });
            self.edit(now, cloud, &id, "status", |definition| {
                let condition = |kind: &str, reason: &str, message: &str| {
                    json!({"type": kind, "status": "True", "reason": reason, "message": message,
                        "lastTransitionTime": now.rfc3339()})
                };
                definition["status"]["acceptedNames"] = accepted;
                definition["status"]["conditions"] = json!([
                    condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                    condition(
                        "Established",
                        "InitialNamesAccepted",
                        "the initial names have been accepted"
                    ),
                ]);
            });
        }
    }

    fn end_kind(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, definition: &Arc<Value>) {
        let (group, plural) = (
            text(definition, "/spec/group"),
            text(definition, "/spec/names/plural"),
        );
        let left = self.every(group, plural);
        for (object, state) in &left {
            if state["metadata"]["deletionTimestamp"].is_null() {
                self.discard(now, object, "Background");
            }
        }
        if self.store.list(group, plural, None).next().is_none() {
            self.edit(now, cloud, id, "", |definition| {
                json::remove(definition, &["metadata", "finalizers"]);
            });
        }
    }

    /// Installs the workload of an EKS add-on, e.g. the Deployment `coredns`. Unknown names install nothing.
    /// `config` are the add-on's configuration values: `computeType: Fargate` lets Fargate run it.
    pub fn install_addon(&mut self, now: Timestamp, name: &str, config: &Value) {
        if name != "coredns" {
            return;
        }
        let fargate = text(config, "/computeType").eq_ignore_ascii_case("fargate");
        let compute = if fargate { "fargate" } else { "ec2" };
        let replicas = config["replicaCount"].as_i64().unwrap_or(2);
        let labels = json!({"k8s-app": "kube-dns", "eks.amazonaws.com/component": "coredns"});
        let meta = |kind: &str, version: &str, name: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "kube-system", "labels": labels}});
        let mut deployment = meta("Deployment", "apps/v1", "coredns");
        deployment["spec"] = json!({
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": {"eks.amazonaws.com/compute-type": compute}},
                "spec": {
                    "serviceAccountName": "coredns", "priorityClassName": "system-cluster-critical",
                    "containers": [{
                        "name": "coredns", "image": "602401143452.dkr.ecr.us-east-1.amazonaws.com/eks/coredns:v1.12.4-eksbuild.1",
                        "ports": [{"containerPort": 53, "name": "dns", "protocol": "UDP"}, {"containerPort": 53, "name": "dns-tcp"}],
                    }],
                },
            },
        });
        let mut service = meta("Service", "v1", "kube-dns");
        service["spec"] = json!({"clusterIP": "10.100.0.10", "selector": {"k8s-app": "kube-dns"},
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]});
        let mut corefile = meta("ConfigMap", "v1", "coredns");
        corefile["data"] = json!({"Corefile": ".:53 {\n    kubernetes cluster.local\n}\n"});
        let id = Id::new("apps", "deployments", "kube-system", "coredns");
        for object in [meta("ServiceAccount", "v1", "coredns"), corefile, service] {
            self.make(now, &mut Nowhere, "eks", object);
        }
        if self.store.get(&id).is_some() {
            self.edit_as(now, &mut Nowhere, "eks", &id, "", |old| {
                old["spec"] = deployment["spec"].clone();
            });
        } else {
            self.make(now, &mut Nowhere, "eks", deployment);
        }
    }

    /// Removes the workload of an EKS add-on.
    pub fn remove_addon(&mut self, now: Timestamp, name: &str) {
        if name == "coredns" {
            for (group, plural, name) in [
                ("apps", "deployments", "coredns"),
                ("", "services", "kube-dns"),
                ("", "configmaps", "coredns"),
                ("", "serviceaccounts", "coredns"),
            ] {
                self.discard(now, &Id::new(group, plural, "kube-system", name), "Background");
            }
        }
    }

    /// Whether the workload of an add-on is available; true for add-ons that run nothing here.
    pub fn addon_healthy(&self, name: &str) -> bool {
        let id = Id::new("apps", "deployments", "kube-system", name);
        name != "coredns"
            || self
                .store
                .get(&id)
                .is_some_and(|deployment| super::super::resource::condition(deployment, "Available"))
    }
}
