//! ReplicaSets, and what controllers of pods have in common.

use super::event::Note;
use super::{Arc, Cloud, Cluster, Id, Timestamp, Value, json, text};
use crate::kubernetes::resource::condition;
use serde_json::json;

/// A reference to the controller of an object.
pub(super) fn owner(object: &Value) -> Value {
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    })
}

pub(super) fn owned_by(object: &Value, uid: &str) -> bool {
    json::list(object, "/metadata/ownerReferences")
        .iter()
        .any(|owner| owner["uid"] == uid && owner["controller"] == true)
}

pub(super) fn deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// A pod that counts as a replica.
pub(super) fn active(pod: &Value) -> bool {
    !deleting(pod) && !["Succeeded", "Failed"].contains(&text(pod, "/status/phase"))
}

pub(super) fn ready(pod: &Value) -> bool {
    active(pod) && condition(pod, "Ready")
}

impl Cluster {
    /// Objects of a kind in a namespace that an object controls.
    pub(super) fn dependents(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
        uid: &str,
    ) -> Vec<(Id, Arc<Value>)> {
        self.store
            .list(group, plural, Some(namespace))
            .filter(|(_, object)| owned_by(object, uid))
            .map(|(id, object)| (id.clone(), Arc::clone(object)))
            .collect()
    }

    /// Makes a pod of a template; false where the API refused it, which the owner's events tell.
    pub(super) fn make_pod(
        &mut self,
        now: Timestamp,
        cloud: &mut dyn Cloud,
        of: &Value,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> bool {
        let template = &of["spec"]["template"];
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": of["metadata"]["namespace"]},
            "spec": template["spec"]});
        for field in ["labels", "annotations", "finalizers"] {
            if !template["metadata"][field].is_null() {
                pod["metadata"][field] = template["metadata"][field].clone();
            }
        }
        if name.ends_with('-') {
            pod["metadata"]["generateName"] = json!(name);
        } else {
            pod["metadata"]["name"] = json!(name);
        }
        pod["metadata"]["ownerReferences"] = json!([owner(of)]);
        change(&mut pod);
        let from = match text(of, "/kind") {
            "ReplicaSet" => "replicaset-controller",
            "Job" => "job-controller",
            "StatefulSet" => "statefulset-controller",
            _ => super::CONTROLLER,
        };
        let made = self.try_make(now, cloud, super::CONTROLLER, pod);
        let (warning, reason, message) = match &made {
            Ok(pod) => (
                false,
                "SuccessfulCreate",
                format!("Created pod: {}", text(pod, "/metadata/name")),
            ),
            Err(refused) => (
                true,
                "FailedCreate",
                format!("Error creating: {}", refused.message),
            ),
        };
        self.note(
            now,
            cloud,
            of,
            &Note {
                from,
                warning,
                reason,
                message,
            },
        );
        made.is_ok()
    }

    pub(super) fn run_replica_sets(&mut self, now: Timestamp, cloud: &mut dyn Cloud) {
        for (id, set) in self.every("apps", "replicasets") {
            if deleting(&set) {
                continue;
            }
            let uid = text(&set, "/metadata/uid");
            let wanted = usize::try_from(json::int(&set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
            let mut pods = self.dependents("", "pods", &id.namespace, uid);
            pods.retain(|(_, pod)| active(pod));
            let mut failed = false;
            for _ in pods.len()..wanted {
                if !self.make_pod(now, cloud, &set, &format!("{}-", id.name), |_| {}) {
                    failed = true;
                    break;
                }
            }
            // Pods that are not ready go first, then the youngest.
            pods.sort_by_key(|(_, pod)| {
                (
                    ready(pod),
                    std::cmp::Reverse(text(pod, "/metadata/creationTimestamp").to_owned()),
                )
            });
            for (pod, _) in pods.iter().take(pods.len().saturating_sub(wanted)) {
                self.discard(now, pod, "Background");
            }
            let mut left = self.dependents("", "pods", &id.namespace, uid);
            left.retain(|(_, pod)| active(pod));
            let ready_now = left.iter().filter(|(_, pod)| ready(pod)).count();
            let mut status =
                json!({"replicas": left.len(), "observedGeneration": set["metadata"]["generation"]});
            for (field, count) in [
                ("fullyLabeledReplicas", left.len()),
                ("readyReplicas", ready_now),
                ("availableReplicas", ready_now),
            ] {
                if count > 0 {
                    status[field] = json!(count);
                }
            }
            if failed {
                let before = json::list(&set, "/status/conditions");
                status["conditions"] = match before {
                    [] => json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
                        "message": "pods cannot be created; see the events", "lastTransitionTime": now.rfc3339()}]),
                    before => json!(before),
                };
            }
            self.edit(now, cloud, &id, "status", |set| set["status"] = status);
        }
    }
}
