//! What is told of a pod: its node, and the status that its kubelet reports.

use super::event::Note;
use super::obstacle::{Fate, fate};
use super::pod::{Life, Stage};
use super::{Cloud, Cluster, Id, Timestamp, Value, json, text};
use serde_json::json;
use std::collections::BTreeMap;

impl Cluster {
    pub(super) fn node_name(&self, number: u32, cloud: &dyn Cloud) -> String {
        let suffix = match cloud.region() {
            "us-east-1" => "ec2.internal".to_owned(),
            region => format!("{region}.compute.internal"),
        };
        format!("fargate-ip-{}.{suffix}", address(number).replace('.', "-"))
    }

    pub(super) fn bind(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, pod: &Value, number: u32) {
        let name = self.node_name(number, cloud);
        let ip = address(number);
        let labels = json!({
            "eks.amazonaws.com/compute-type": "fargate", "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
            "kubernetes.io/hostname": name, "topology.kubernetes.io/region": cloud.region(),
        });
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
            "spec": {"taints": [{"key": "eks.amazonaws.com/compute-type", "value": "fargate", "effect": "NoSchedule"}]}});
        self.make(now, cloud, "eks", node);
        let version = format!("v{}.0-eks-sandbox", self.version);
        self.edit_as(now, cloud, "kubelet", &Id::new("", "nodes", "", &name), "status", |node| {
            let room = json!({"cpu": "2", "memory": "4Gi", "pods": "1"});
            node["status"] = json!({
                "addresses": [{"type": "InternalIP", "address": ip}, {"type": "InternalDNS", "address": name}],
                "capacity": room, "allocatable": room,
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": now.rfc3339()}],
                "nodeInfo": {"kubeletVersion": version, "osImage": "Amazon Linux 2", "architecture": "amd64", "operatingSystem": "linux"},
            });
        });
        self.edit_as(now, cloud, "kube-scheduler", id, "", |pod| {
            pod["spec"]["nodeName"] = json!(name);
        });
        let note = Note {
            from: "fargate-scheduler",
            warning: false,
            reason: "Scheduled",
            message: format!("Successfully assigned {}/{} to {name}", id.namespace, id.name),
        };
        self.note(now, cloud, pod, &note);
    }

    /// Writes the pod's status.
    pub(super) fn report(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, life: &Life) {
        let Some(pod) = self.store.get(id).cloned() else {
            return;
        };
        let phase = match (text(&pod, "/status/phase"), life.stage) {
            (phase @ ("Succeeded" | "Failed"), _) => phase,
            (_, Stage::Running | Stage::Crashed) => "Running",
            (phase, _) if life.started.is_some() => phase,
            _ => "Pending",
        };
        let missing = self.missing_reference(id, &pod);
        let reach = cloud.fargate_subnets_reach_internet(text(
            &pod,
            "/metadata/labels/eks.amazonaws.com~1fargate-profile",
        ));
        let statuses: Vec<Value> = json::list(&pod, "/spec/containers")
            .iter()
            .map(|container| container_status(container, life, phase, missing.as_deref(), reach))
            .collect();
        let mut status = pod["status"].clone();
        let was: BTreeMap<String, Value> = json::list(&pod, "/status/conditions")
            .iter()
            .map(|condition| (text(condition, "/type").to_owned(), condition.clone()))
            .collect();
        let condition = |kind: &str, on: bool, reason: &str, message: &str| {
            let value = if on { "True" } else { "False" };
            let since = was
                .get(kind)
                .filter(|old| old["status"] == value)
                .map_or_else(|| json!(now.rfc3339()), |old| old["lastTransitionTime"].clone());
            let mut condition = json!({"type": kind, "status": value, "lastTransitionTime": since});
            if !on && !reason.is_empty() {
                condition["reason"] = json!(reason);
                condition["message"] = json!(message);
            }
            condition
        };
        let (reason, message) = match phase {
            "Succeeded" => ("PodCompleted", String::new()),
            _ => {
                let names: Vec<&str> = json::list(&pod, "/spec/containers")
                    .iter()
                    .map(|container| text(container, "/name"))
                    .collect();
                (
                    "ContainersNotReady",
                    format!("containers with unready status: [{}]", names.join(" ")),
                )
            }
        };
        status["phase"] = json!(phase);
        status["conditions"] = json!([
            condition("PodReadyToStartContainers", true, "", ""),
            condition("Initialized", true, "", ""),
            condition("Ready", life.ready, reason, &message),
            condition("ContainersReady", life.ready, reason, &message),
            condition("PodScheduled", true, "", ""),
        ]);
        let ip = address(life.node);
        status["hostIP"] = json!(ip);
        status["podIP"] = json!(ip);
        status["podIPs"] = json!([{"ip": ip}]);
        json::default(&mut status, &["startTime"], now.rfc3339());
        status["containerStatuses"] = Value::Array(statuses);
        self.edit_as(now, cloud, "kubelet", id, "status", |pod| pod["status"] = status);
    }
}

fn address(number: u32) -> String {
    format!("192.168.{}.{}", 64 + (number / 250) % 64, 4 + number % 250)
}

fn container_status(
    container: &Value,
    life: &Life,
    phase: &str,
    missing: Option<&str>,
    reach: bool,
) -> Value {
    let (name, image) = (text(container, "/name"), text(container, "/image"));
    let fate = fate(container);
    let started = life.started.map(Timestamp::rfc3339).unwrap_or_default();
    let waiting = |reason: &str, message: String| json!({"waiting": {"reason": reason, "message": message}});
    let failed = |code: i32, reason: &str| json!({"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": started});
    let pulls = fate != Fate::Missing && reach;
    let state = match (life.stage, phase) {
        (_, "Succeeded") => json!({"terminated": failed(0, "Completed")}),
        (_, "Failed") => json!({"terminated": failed(1, "Error")}),
        (Stage::Configuring, _) if missing.is_some() => waiting(
            "CreateContainerConfigError",
            missing.unwrap_or_default().to_owned(),
        ),
        (Stage::PullFailed, _) if !pulls => {
            let message = format!(
                "failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\""
            );
            waiting("ErrImagePull", message)
        }
        (Stage::PullBackOff, _) if !pulls => {
            waiting("ImagePullBackOff", format!("Back-off pulling image \"{image}\""))
        }
        (Stage::Crashed, _) => {
            let message = format!("back-off restarting failed container={name}");
            waiting("CrashLoopBackOff", message)
        }
        (Stage::Running, _) => json!({"running": {"startedAt": started}}),
        _ => json!({"waiting": {"reason": "ContainerCreating"}}),
    };
    let running = state["running"].is_object();
    let mut status = json!({
        "name": name, "image": image, "imageID": if running { image } else { "" }, "ready": life.ready && running,
        "restartCount": life.restarts, "started": running, "state": state, "lastState": {},
    });
    if life.restarts > 0 || life.stage == Stage::Crashed {
        status["lastState"] = json!({"terminated": failed(1, "Error")});
    }
    status
}
