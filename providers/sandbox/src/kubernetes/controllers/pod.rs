//! Scheduler and kubelets: the life of a pod on Fargate.

use super::event::Note;
use super::{Arc, Cloud, Cluster, Id, Timestamp, Value, json, text};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// A Fargate node is made for every pod.
const PROVISIONING: Duration = seconds(32);
const PULL: Duration = seconds(8);
/// From a container's start to its readiness, without a probe's delay.
const READY: Duration = seconds(5);
const CRASH: Duration = seconds(2);
/// How long a container of a job runs.
const WORK: Duration = seconds(10);
/// From the signal to the end of a container.
const ENDING: Duration = seconds(2);

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    Unschedulable,
    Provisioning,
    /// On its node, waiting for a secret or config map.
    Configuring,
    Pulling,
    PullFailed,
    PullBackOff,
    Running,
    Crashed,
    Ended,
    Ending,
}

/// What the kubelet remembers of a pod.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Life {
    stage: Stage,
    due: Option<Timestamp>,
    started: Option<Timestamp>,
    ready: bool,
    restarts: u32,
    attempts: u32,
    node: u32,
}

/// What goes wrong with a container by its own fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    /// The image does not exist.
    Missing,
    Crashes,
    NeverReady,
}

/// Markers in image references: a tag beginning with `missing`, `crash` or `unready`, or a registry below `.invalid`.
fn fate(container: &Value) -> Fate {
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
fn unsupported(pod: &Value) -> Option<String> {
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
    /// Moves every pod on.
    pub(super) fn run_pods(&mut self, now: Timestamp, cloud: &mut dyn Cloud) {
        let pods = self.every("", "pods");
        let uids: BTreeSet<String> = pods
            .iter()
            .map(|(_, pod)| text(pod, "/metadata/uid").to_owned())
            .collect();
        let gone: Vec<Life> = {
            let lives = &mut self.controllers.pods;
            let gone: Vec<String> = lives.keys().filter(|uid| !uids.contains(*uid)).cloned().collect();
            gone.iter().filter_map(|uid| lives.remove(uid)).collect()
        };
        for life in gone {
            if life.node > 0 {
                let node = self.node_name(life.node, cloud);
                self.remove(&Id::new("", "nodes", "", &node));
            }
        }
        for (id, pod) in pods {
            self.run_pod(now, cloud, &id, &pod);
        }
        let dues: Vec<Timestamp> = self
            .controllers
            .pods
            .values()
            .filter_map(|life| life.due)
            .collect();
        for due in dues {
            self.controllers.wake(due);
        }
    }

    fn run_pod(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, pod: &Arc<Value>) {
        let uid = text(pod, "/metadata/uid").to_owned();
        let Some(mut life) = self.controllers.pods.get(&uid).cloned() else {
            let life = self.schedule(now, cloud, id, pod);
            self.controllers.pods.insert(uid, life);
            return;
        };
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            self.end_pod(now, cloud, id, pod, &mut life);
        } else if life.due.is_some_and(|due| due <= now) {
            life.due = None;
            self.next_stage(now, cloud, id, pod, &mut life);
        }
        if let Some(kept) = self.controllers.pods.get_mut(&uid) {
            *kept = life;
        }
    }

    /// The scheduler's decision, taken once, as the pod's scheduler was chosen when it was made.
    fn schedule(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, pod: &Value) -> Life {
        let mut life = Life {
            stage: Stage::Unschedulable,
            due: None,
            started: None,
            ready: false,
            restarts: 0,
            attempts: 0,
            node: 0,
        };
        let scheduler = text(pod, "/spec/schedulerName").to_owned();
        let why = if scheduler == "fargate-scheduler" {
            unsupported(pod)
        } else {
            let nodes = self.store.list("", "nodes", None).count();
            Some(match nodes {
                0 => "no nodes available to schedule pods".to_owned(),
                _ => format!(
                    "0/{nodes} nodes are available: {nodes} node(s) had untolerated taint {{eks.amazonaws.com/compute-type: \
                     fargate}}. preemption: 0/{nodes} nodes are available: {nodes} Preemption is not helpful for scheduling."
                ),
            })
        };
        let Some(why) = why else {
            life.stage = Stage::Provisioning;
            life.due = Some(now.after(PROVISIONING));
            return life;
        };
        let note = Note {
            from: &scheduler,
            warning: true,
            reason: "FailedScheduling",
            message: why.clone(),
        };
        self.note(now, cloud, pod, &note);
        self.edit_as(now, cloud, "kube-scheduler", id, "status", |pod| {
            pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": why, "lastProbeTime": null, "lastTransitionTime": now.rfc3339()}]);
        });
        life
    }

    fn end_pod(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, pod: &Value, life: &mut Life) {
        if life.stage != Stage::Ending {
            let grace = json::int(pod, "/metadata/deletionGracePeriodSeconds")
                .unwrap_or(0)
                .unsigned_abs();
            let running = matches!(life.stage, Stage::Running);
            let span = if running {
                ENDING.min(seconds(grace))
            } else {
                Duration::ZERO
            };
            life.stage = Stage::Ending;
            life.ready = false;
            life.due = Some(now.after(span));
            if running {
                let note = Note {
                    from: "kubelet",
                    warning: false,
                    reason: "Killing",
                    message: format!("Stopping container {}", text(pod, "/spec/containers/0/name")),
                };
                self.note(now, cloud, pod, &note);
            }
        }
        if life.due.is_some_and(|due| due <= now) {
            life.due = None;
            // What remains is up to the pod's finalizers.
            if json::list(pod, "/metadata/finalizers").is_empty() {
                self.remove(id);
            } else {
                self.edit_as(now, cloud, "kubelet", id, "status", |pod| {
                    pod["status"]["phase"] = json!("Failed");
                });
            }
        }
    }

    fn next_stage(
        &mut self,
        now: Timestamp,
        cloud: &mut dyn Cloud,
        id: &Id,
        pod: &Arc<Value>,
        life: &mut Life,
    ) {
        match life.stage {
            Stage::Provisioning => {
                self.controllers.nodes += 1;
                life.node = self.controllers.nodes;
                self.bind(now, cloud, id, pod, life.node);
                self.configure(now, cloud, id, pod, life);
            }
            Stage::Configuring => self.configure(now, cloud, id, pod, life),
            Stage::Pulling => self.pulled(now, cloud, id, pod, life),
            Stage::PullFailed => {
                life.attempts += 1;
                life.stage = Stage::PullBackOff;
                life.due = Some(now.after(back_off(10, life.attempts)));
                let message = format!("Back-off pulling image \"{}\"", text(bad_image(pod), "/image"));
                self.tell(now, cloud, pod, ("BackOff", true), message);
            }
            Stage::PullBackOff => {
                life.stage = Stage::Pulling;
                life.due = Some(now.after(PULL));
                let image = text(bad_image(pod), "/image").to_owned();
                self.tell(
                    now,
                    cloud,
                    pod,
                    ("Pulling", false),
                    format!("Pulling image \"{image}\""),
                );
                return;
            }
            Stage::Running => self.running(now, cloud, id, pod, life),
            Stage::Crashed => {
                life.restarts += 1;
                life.stage = Stage::Running;
                life.started = Some(now);
                life.due = Some(now.after(CRASH));
            }
            Stage::Unschedulable | Stage::Ended | Stage::Ending => {}
        }
        self.report(now, cloud, id, life);
    }

    /// Checks what the containers refer to, then starts pulling.
    fn configure(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, pod: &Value, life: &mut Life) {
        life.stage = Stage::Configuring;
        life.due = Some(now.after(seconds(10)));
        if let Some((volume, what)) = self.missing_volume(id, pod) {
            let message = format!("MountVolume.SetUp failed for volume \"{volume}\" : {what}");
            self.tell(now, cloud, pod, ("FailedMount", true), message);
        } else if let Some(what) = self.missing_reference(id, pod) {
            self.tell(now, cloud, pod, ("Failed", true), format!("Error: {what}"));
        } else {
            life.stage = Stage::Pulling;
            life.due = Some(now.after(PULL));
            for container in json::list(pod, "/spec/containers") {
                let message = format!("Pulling image \"{}\"", text(container, "/image"));
                self.tell(now, cloud, pod, ("Pulling", false), message);
            }
        }
    }

    fn pulled(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, pod: &Value, life: &mut Life) {
        let profile = text(pod, "/metadata/labels/eks.amazonaws.com~1fargate-profile");
        let outside = cloud.fargate_subnets_reach_internet(profile);
        let bad = json::list(pod, "/spec/containers")
            .iter()
            .find(|container| fate(container) == Fate::Missing);
        if let Some(container) = bad.or_else(|| pod["spec"]["containers"].get(0).filter(|_| !outside)) {
            let image = text(container, "/image");
            let why = if outside {
                format!(
                    "rpc error: code = NotFound desc = failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {image}: not found"
                )
            } else {
                format!(
                    "rpc error: code = DeadlineExceeded desc = failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": failed to do request: dial tcp: i/o timeout"
                )
            };
            self.tell(
                now,
                cloud,
                pod,
                ("Failed", true),
                format!("Failed to pull image \"{image}\": {why}"),
            );
            self.tell(
                now,
                cloud,
                pod,
                ("Failed", true),
                "Error: ErrImagePull".to_owned(),
            );
            life.stage = Stage::PullFailed;
            life.due = Some(now.after(seconds(12)));
            return;
        }
        // What a pod refers to may have gone while its image was pulled.
        if let Some(what) = self.missing_reference(id, pod) {
            self.tell(now, cloud, pod, ("Failed", true), format!("Error: {what}"));
            life.stage = Stage::Configuring;
            life.due = Some(now.after(seconds(10)));
            return;
        }
        for container in json::list(pod, "/spec/containers") {
            let (name, image) = (text(container, "/name"), text(container, "/image"));
            self.tell(
                now,
                cloud,
                pod,
                ("Pulled", false),
                format!("Successfully pulled image \"{image}\""),
            );
            self.tell(
                now,
                cloud,
                pod,
                ("Created", false),
                format!("Created container: {name}"),
            );
            self.tell(
                now,
                cloud,
                pod,
                ("Started", false),
                format!("Started container {name}"),
            );
        }
        life.stage = Stage::Running;
        life.started = Some(now);
        life.ready = false;
        life.due = Some(now.after(self.first_change(pod)));
    }

    /// When something happens to a container that has just started.
    fn first_change(&self, pod: &Value) -> Duration {
        let once = text(pod, "/spec/restartPolicy") != "Always";
        if self.crashing(pod).is_some() {
            CRASH
        } else if once {
            WORK
        } else {
            let delay = json::list(pod, "/spec/containers")
                .iter()
                .filter_map(|container| json::int(container, "/readinessProbe/initialDelaySeconds"))
                .max()
                .unwrap_or(0);
            READY + seconds(delay.unsigned_abs())
        }
    }

    /// The container that ends with an error, and what it says.
    fn crashing(&self, pod: &Value) -> Option<String> {
        let marked = json::list(pod, "/spec/containers")
            .iter()
            .find(|container| fate(container) == Fate::Crashes);
        marked
            .map(|container| format!("container {} exited with code 1", text(container, "/name")))
            .or_else(|| self.controller_crash(pod))
    }

    fn running(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, pod: &Arc<Value>, life: &mut Life) {
        let policy = text(pod, "/spec/restartPolicy");
        if self.crashing(pod).is_some() {
            if policy == "Never" {
                life.stage = Stage::Ended;
                self.finish(now, cloud, id, "Failed");
                return;
            }
            life.stage = Stage::Crashed;
            life.ready = false;
            life.due = Some(now.after(back_off(10, life.restarts + 1)));
            let name = text(pod, "/spec/containers/0/name");
            let message = format!("Back-off restarting failed container {name} in pod {}", id.name);
            self.tell(now, cloud, pod, ("BackOff", true), message);
        } else if policy != "Always" {
            life.stage = Stage::Ended;
            self.finish(now, cloud, id, "Succeeded");
        } else if json::list(pod, "/spec/containers")
            .iter()
            .any(|container| fate(container) == Fate::NeverReady)
        {
            let message = "Readiness probe failed: HTTP probe failed with statuscode: 503".to_owned();
            self.tell(now, cloud, pod, ("Unhealthy", true), message);
        } else if life.restarts > 0
            && !life.ready
            && life.started.is_some_and(|start| now < start.after(READY))
        {
            life.due = Some(now.after(READY));
        } else {
            life.ready = true;
        }
    }

    fn finish(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, phase: &str) {
        self.edit_as(now, cloud, "kubelet", id, "status", |pod| {
            pod["status"]["phase"] = json!(phase);
        });
    }

    fn tell(
        &mut self,
        now: Timestamp,
        cloud: &mut dyn Cloud,
        pod: &Value,
        what: (&str, bool),
        message: String,
    ) {
        let note = Note {
            from: "kubelet",
            warning: what.1,
            reason: what.0,
            message,
        };
        self.note(now, cloud, pod, &note);
    }

    /// A config map or secret in the environment that does not exist.
    fn missing_reference(&self, id: &Id, pod: &Value) -> Option<String> {
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

    fn missing_volume(&self, id: &Id, pod: &Value) -> Option<(String, String)> {
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

    fn node_name(&self, number: u32, cloud: &dyn Cloud) -> String {
        let suffix = match cloud.region() {
            "us-east-1" => "ec2.internal".to_owned(),
            region => format!("{region}.compute.internal"),
        };
        format!("fargate-ip-{}.{suffix}", address(number).replace('.', "-"))
    }

    fn bind(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, pod: &Value, number: u32) {
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
    fn report(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, life: &Life) {
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

fn bad_image(pod: &Value) -> &Value {
    let containers = json::list(pod, "/spec/containers");
    containers
        .iter()
        .find(|container| fate(container) == Fate::Missing)
        .or_else(|| containers.first())
        .unwrap_or(&Value::Null)
}

/// Doubling spans, at most five minutes.
fn back_off(first: u64, attempt: u32) -> Duration {
    seconds((first << attempt.saturating_sub(1).min(8)).min(300))
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
