//! Jobs, StatefulSets and DaemonSets.

use super::replica::{active, deleting, ready};
use super::{Arc, Cloud, Cluster, Id, Timestamp, Value, json, text};
use crate::kubernetes::resource::condition;
use serde_json::json;
use std::time::Duration;

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Cluster {
    pub(super) fn run_jobs(&mut self, now: Timestamp, cloud: &mut dyn Cloud) {
        for (id, job) in self.every("batch", "jobs") {
            if !deleting(&job) {
                self.run_job(now, cloud, &id, &job);
            }
        }
    }

    fn run_job(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, job: &Arc<Value>) {
        if condition(job, "Complete") || condition(job, "Failed") {
            let end = Timestamp::parse(text(job, "/status/completionTime"));
            let kept = json::int(job, "/spec/ttlSecondsAfterFinished");
            if let (Some(end), Some(kept)) = (end.or(Some(now)), kept) {
                let due = end.after(Duration::from_secs(kept.unsigned_abs()));
                if now >= due {
                    self.discard(now, id, "Foreground");
                } else {
                    self.controllers.wake(due);
                }
            }
            return;
        }
        let pods = self.dependents("", "pods", &id.namespace, text(job, "/metadata/uid"));
        let phase = |phase: &str| {
            count(
                pods.iter()
                    .filter(|(_, pod)| text(pod, "/status/phase") == phase)
                    .count(),
            )
        };
        let (succeeded, failed) = (phase("Succeeded"), phase("Failed"));
        let running: Vec<&(Id, Arc<Value>)> = pods.iter().filter(|(_, pod)| active(pod)).collect();
        let completions = json::int(job, "/spec/completions").unwrap_or(1);
        let restarts: i64 = running
            .iter()
            .flat_map(|(_, pod)| json::list(pod, "/status/containerStatuses"))
            .filter_map(|status| json::int(status, "/restartCount"))
            .sum();
        let limit = json::int(job, "/spec/backoffLimit").unwrap_or(6);
        let suspended = job["spec"]["suspend"] == true;
        let mut status = job["status"].clone();
        if !suspended {
            json::default(&mut status, &["startTime"], now.rfc3339());
        }
        let end = if succeeded >= completions {
            Some((
                "Complete",
                "CompletionsReached",
                "Reached expected number of succeeded pods",
            ))
        } else if failed + restarts > limit {
            Some((
                "Failed",
                "BackoffLimitExceeded",
                "Job has reached the specified backoff limit",
            ))
        } else {
            None
        };
        let mut left = running.len();
        match end {
            Some((kind, reason, message)) => {
                status["conditions"] = json!([{"type": kind, "status": "True", "reason": reason, "message": message,
                    "lastProbeTime": now.rfc3339(), "lastTransitionTime": now.rfc3339()}]);
                if kind == "Complete" {
                    status["completionTime"] = json!(now.rfc3339());
                }
                for (pod, _) in &running {
                    self.discard(now, pod, "Background");
                }
                left = 0;
            }
            None => {
                let parallel = json::int(job, "/spec/parallelism").unwrap_or(1);
                let wanted = if suspended {
                    0
                } else {
                    parallel.min(completions - succeeded)
                };
                for _ in count(left)..wanted {
                    if !self.make_pod(now, cloud, job, &format!("{}-", id.name), |_| {}) {
                        break;
                    }
                    left += 1;
                }
                for (pod, _) in running
                    .iter()
                    .take(usize::try_from(count(running.len()) - wanted).unwrap_or(0))
                {
                    self.discard(now, pod, "Background");
                }
            }
        }
        let ready_now = running.iter().filter(|(_, pod)| ready(pod)).count();
        for (field, number) in [
            ("active", count(left)),
            ("succeeded", succeeded),
            ("failed", failed),
            ("ready", count(if left == 0 { 0 } else { ready_now })),
        ] {
            if number > 0 || field == "ready" {
                status[field] = json!(number);
            } else {
                json::remove(&mut status, &[field]);
            }
        }
        self.edit(now, cloud, id, "status", |job| job["status"] = status);
    }

    pub(super) fn run_stateful_sets(&mut self, now: Timestamp, cloud: &mut dyn Cloud) {
        for (id, set) in self.every("apps", "statefulsets") {
            if deleting(&set) {
                continue;
            }
            let uid = text(&set, "/metadata/uid");
            let wanted = usize::try_from(json::int(&set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
            let generation = json::int(&set, "/metadata/generation").unwrap_or(1);
            let template = set["spec"]["template"].to_string();
            let revision = format!(
                "{}-{}",
                id.name,
                crate::kubernetes::write::encode(fold(&template), 10)
            );
            let parallel = set["spec"]["podManagementPolicy"] == "Parallel";
            for place in 0..wanted {
                let name = format!("{}-{place}", id.name);
                let pod = self
                    .store
                    .get(&Id::new("", "pods", &id.namespace, &name))
                    .cloned();
                match pod {
                    None => {
                        self.make_claims(now, cloud, &set, &name);
                        let revision = revision.clone();
                        self.make_pod(now, cloud, &set, &name, |pod| {
                            let claims = json::list(&set, "/spec/volumeClaimTemplates").iter().map(|claim| {
                                let volume = text(claim, "/metadata/name");
                                json!({"name": volume, "persistentVolumeClaim": {"claimName": format!("{volume}-{name}")}})
                            });
                            let mut volumes = json::list(pod, "/spec/volumes").to_vec();
                            volumes.extend(claims);
                            pod["spec"]["volumes"] = Value::Array(volumes);
                            json::put(pod, &["metadata", "labels", "controller-revision-hash"], json!(revision));
                            json::put(pod, &["metadata", "labels", "statefulset.kubernetes.io/pod-name"], json!(name));
                            pod["spec"]["hostname"] = json!(name);
                        });
                        if !parallel {
                            break;
                        }
                    }
                    Some(pod) if !ready(&pod) && !parallel => break,
                    Some(_) => {}
                }
            }
            let pods = self.dependents("", "pods", &id.namespace, uid);
            let place = |id: &Id| {
                id.name
                    .rsplit('-')
                    .next()
                    .and_then(|place| place.parse::<usize>().ok())
            };
            for (pod, _) in pods
                .iter()
                .filter(|(pod, state)| place(pod).is_none_or(|place| place >= wanted) && !deleting(state))
            {
                self.discard(now, pod, "Background");
            }
            let current = |pod: &Value| text(pod, "/metadata/labels/controller-revision-hash") == revision;
            // One at a time, from the last.
            let settled = pods.iter().all(|(_, pod)| ready(pod));
            let stale = pods
                .iter()
                .filter(|(_, pod)| !current(pod))
                .max_by_key(|(pod, _)| place(pod));
            if let Some((pod, _)) =
                stale.filter(|_| settled && set["spec"]["updateStrategy"]["type"] != "OnDelete")
            {
                self.discard(now, pod, "Background");
            }
            let (all, ready_now) = (pods.len(), pods.iter().filter(|(_, pod)| ready(pod)).count());
            let updated = pods.iter().filter(|(_, pod)| current(pod)).count();
            let before = text(&set, "/status/currentRevision");
            let settled_on = if updated == all || before.is_empty() {
                revision.as_str()
            } else {
                before
            };
            let status = json!({
                "observedGeneration": generation, "replicas": all, "readyReplicas": ready_now, "availableReplicas": ready_now,
                "currentReplicas": updated, "updatedReplicas": updated, "currentRevision": settled_on,
                "updateRevision": revision, "collisionCount": 0,
            });
            self.edit(now, cloud, &id, "status", |set| set["status"] = status);
        }
    }

    fn make_claims(&mut self, now: Timestamp, cloud: &mut dyn Cloud, set: &Value, pod: &str) {
        for template in json::list(set, "/spec/volumeClaimTemplates") {
            let name = format!("{}-{pod}", text(template, "/metadata/name"));
            let namespace = text(set, "/metadata/namespace");
            if self
                .store
                .get(&Id::new("", "persistentvolumeclaims", namespace, &name))
                .is_none()
            {
                let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "metadata": {"name": name, "namespace": namespace, "labels": set["spec"]["selector"]["matchLabels"]},
                    "spec": template["spec"]});
                self.make(now, cloud, super::CONTROLLER, claim);
            }
        }
    }

    /// Fargate runs no DaemonSets: none of their pods is wanted anywhere.
    pub(super) fn run_daemon_sets(&mut self, now: Timestamp, cloud: &mut dyn Cloud) {
        for (id, set) in self.every("apps", "daemonsets") {
            let generation = set["metadata"]["generation"].clone();
            self.edit(now, cloud, &id, "status", |set| {
                set["status"] = json!({"observedGeneration": generation, "desiredNumberScheduled": 0, "currentNumberScheduled": 0,
                    "numberMisscheduled": 0, "numberReady": 0});
            });
        }
    }
}

fn fold(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
