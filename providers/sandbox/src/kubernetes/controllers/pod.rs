//! Scheduler and kubelets: the life of a pod on Fargate.

use super::event::Note;
use super::obstacle::{Fate, bad_image, fate, unsupported};
use super::{Arc, Cloud, Cluster, Id, Timestamp, Value, json, text};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
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
    pub(super) stage: Stage,
    pub(super) due: Option<Timestamp>,
    pub(super) started: Option<Timestamp>,
    pub(super) ready: bool,
    pub(super) restarts: u32,
    pub(super) attempts: u32,
    pub(super) node: u32,
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
}

/// Doubling spans, at most five minutes.
fn back_off(first: u64, attempt: u32) -> Duration {
    seconds((first << attempt.saturating_sub(1).min(8)).min(300))
}
