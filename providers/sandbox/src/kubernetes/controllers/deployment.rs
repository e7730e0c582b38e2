//! Deployments: from template to ReplicaSets, a few at a time.

use super::replica::{active, deleting, owner, ready};
use super::{Arc, Cloud, Cluster, Id, Timestamp, Value, json, text};
use crate::kubernetes::write;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";

/// How far a rollout was when it last moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    mark: String,
    since: Timestamp,
}

/// A share of replicas, `25%` or a number.
fn share(value: &Value, of: i64, up: bool) -> i64 {
    match value {
        Value::Number(number) => number.as_i64().unwrap_or(0),
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent * of;
            if up { (product + 99) / 100 } else { product / 100 }
        }
        _ => 0,
    }
}

/// The letters that tell one template from another: FNV-1a of its text.
fn hash(template: &Value) -> String {
    let bits = template
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    write::encode(bits, 10)
}

fn template_of(set: &Value) -> Value {
    let mut template = set["spec"]["template"].clone();
    json::remove(&mut template, &["metadata", "labels", HASH]);
    template
}

fn replicas(set: &Value) -> i64 {
    json::int(set, "/spec/replicas").unwrap_or(1)
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["annotations"][REVISION]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

impl Cluster {
    pub(super) fn run_deployments(&mut self, now: Timestamp, cloud: &mut dyn Cloud) {
        for (id, deployment) in self.every("apps", "deployments") {
            if !deleting(&deployment) {
                self.run_deployment(now, cloud, &id, &deployment);
            }
        }
    }

    fn run_deployment(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, deployment: &Arc<Value>) {
        let uid = text(deployment, "/metadata/uid").to_owned();
        let wanted = replicas(deployment);
        let sets = |cluster: &Self| cluster.dependents("apps", "replicasets", &id.namespace, &uid);
        let template = &deployment["spec"]["template"];
        let current = |cluster: &Self| {
            sets(cluster)
                .into_iter()
                .find(|(_, set)| template_of(set) == *template && !deleting(set))
        };
        let paused = deployment["spec"]["paused"] == true;
        if current(self).is_none() && !paused {
            let latest = sets(self).iter().map(|(_, set)| revision(set)).max().unwrap_or(0) + 1;
            self.make_set(now, cloud, deployment, latest);
        }
        let Some((new_id, new)) = current(self) else {
            self.report_deployment(now, cloud, id, deployment, None);
            return;
        };
        let latest = sets(self).iter().map(|(_, set)| revision(set)).max().unwrap_or(1);
        let number = if revision(&new) < latest {
            latest + 1
        } else {
            latest
        };
        self.edit(now, cloud, &new_id, "", |set| {
            json::put(
                set,
                &["metadata", "annotations", REVISION],
                json!(number.to_string()),
            );
        });
        self.edit(now, cloud, id, "", |deployment| {
            json::put(
                deployment,
                &["metadata", "annotations", REVISION],
                json!(number.to_string()),
            );
        });
        let old: Vec<(Id, Arc<Value>)> = sets(self).into_iter().filter(|(set, _)| *set != new_id).collect();
        let old_total: i64 = old.iter().map(|(_, set)| replicas(set)).sum();
        let available = |set: &Value| {
            json::int(set, "/status/availableReplicas")
                .unwrap_or(0)
                .min(replicas(set))
        };
        let mut scale = |cluster: &mut Self, set: &Id, count: i64| {
            cluster.edit(now, cloud, set, "", |set| set["spec"]["replicas"] = json!(count));
        };
        if paused {
            if old_total == 0 {
                scale(self, &new_id, wanted);
            }
        } else if deployment["spec"]["strategy"]["type"] == "Recreate" {
            for (set, state) in &old {
                if replicas(state) > 0 {
                    scale(self, set, 0);
                }
            }
            let running = old.iter().any(|(_, set)| {
                let uid = text(set, "/metadata/uid");
                !self.dependents("", "pods", &id.namespace, uid).is_empty()
            });
            if !running {
                scale(self, &new_id, wanted);
            }
        } else {
            let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
            let surge = share(&rolling["maxSurge"], wanted, true);
            let mut lost = share(&rolling["maxUnavailable"], wanted, false);
            if surge == 0 && lost == 0 {
                lost = 1;
            }
            let room = (wanted + surge - replicas(&new) - old_total).max(0);
            let target = if replicas(&new) > wanted {
                wanted
            } else {
                (replicas(&new) + room).min(wanted)
            };
            scale(self, &new_id, target);
            let least = wanted - lost;
            let missing = (replicas(&new) - available(&new)).max(0);
            let mut spare = (old_total + replicas(&new) - least - missing).max(0);
            // Replicas that never came up go first: they serve nobody.
            for (set, state) in &old {
                let broken = (replicas(state) - available(state)).min(spare).max(0);
                if broken > 0 {
                    spare -= broken;
                    scale(self, set, replicas(state) - broken);
                }
            }
            let serving: i64 = old.iter().map(|(_, set)| available(set)).sum::<i64>() + available(&new);
            let mut surplus = (serving - least).max(0).min(spare);
            for (set, _) in &old {
                let Some(state) = self.store.get(set).cloned() else {
                    continue;
                };
                let less = replicas(&state).min(surplus);
                if less > 0 {
                    surplus -= less;
                    scale(self, set, replicas(&state) - less);
                }
            }
        }
        self.forget_sets(now, deployment, &new_id, &old);
        self.report_deployment(now, cloud, id, deployment, Some(&new_id));
    }

    fn make_set(&mut self, now: Timestamp, cloud: &mut dyn Cloud, deployment: &Value, number: u64) {
        let hash = hash(&deployment["spec"]["template"]);
        let mut spec = deployment["spec"].clone();
        if let Some(spec) = spec.as_object_mut() {
            spec.retain(|field, _| ["selector", "template", "minReadySeconds"].contains(&field.as_str()));
        }
        spec["replicas"] = json!(0);
        json::put(&mut spec, &["selector", "matchLabels", HASH], json!(hash));
        json::put(&mut spec, &["template", "metadata", "labels", HASH], json!(hash));
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{hash}", text(deployment, "/metadata/name")),
                "namespace": deployment["metadata"]["namespace"], "labels": spec["template"]["metadata"]["labels"],
                "annotations": {REVISION: number.to_string(), "deployment.kubernetes.io/desired-replicas": replicas(deployment).to_string()},
                "ownerReferences": [owner(deployment)],
            },
            "spec": spec,
        });
        self.make(now, cloud, super::CONTROLLER, set);
    }

    fn forget_sets(&mut self, now: Timestamp, deployment: &Value, new: &Id, old: &[(Id, Arc<Value>)]) {
        let limit =
            usize::try_from(json::int(deployment, "/spec/revisionHistoryLimit").unwrap_or(10)).unwrap_or(10);
        let mut empty: Vec<&(Id, Arc<Value>)> = old
            .iter()
            .filter(|(id, set)| {
                id != new && replicas(set) == 0 && json::int(set, "/status/replicas").unwrap_or(0) == 0
            })
            .collect();
        empty.sort_by_key(|(_, set)| revision(set));
        let surplus = empty.len().saturating_sub(limit);
        let gone: Vec<Id> = empty.iter().take(surplus).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.discard(now, &id, "Background");
        }
    }

    fn report_deployment(
        &mut self,
        now: Timestamp,
        cloud: &mut dyn Cloud,
        id: &Id,
        deployment: &Arc<Value>,
        new: Option<&Id>,
    ) {
        let uid = text(deployment, "/metadata/uid").to_owned();
        let wanted = replicas(deployment);
        let (mut total, mut available, mut updated, mut name) = (0, 0, 0, String::new());
        for (set, state) in self.dependents("apps", "replicasets", &id.namespace, &uid) {
            let pods = self.dependents("", "pods", &id.namespace, text(&state, "/metadata/uid"));
            let count = i64::try_from(pods.iter().filter(|(_, pod)| active(pod)).count()).unwrap_or(0);
            total += count;
            available += i64::try_from(pods.iter().filter(|(_, pod)| ready(pod)).count()).unwrap_or(0);
            if Some(&set) == new {
                updated = count;
                name.clone_from(&set.name);
            }
        }
        let complete = new.is_some() && updated == wanted && total == wanted && available >= wanted;
        let mark = format!("{name} {updated} {total} {available} {complete}");
        let progress = self.controllers.rollouts.entry(uid).or_insert_with(|| Progress {
            mark: mark.clone(),
            since: now,
        });
        if progress.mark != mark {
            *progress = Progress { mark, since: now };
        }
        let deadline = json::int(deployment, "/spec/progressDeadlineSeconds")
            .unwrap_or(600)
            .unsigned_abs();
        let due = progress.since.after(Duration::from_secs(deadline));
        let since = progress.since.rfc3339();
        let late = !complete && now >= due && deployment["spec"]["paused"] != true;
        if !complete && !late {
            self.controllers.wake(due);
        }
        let (on, reason, message) = match (complete, late) {
            (true, _) => (
                "True",
                "NewReplicaSetAvailable",
                format!("ReplicaSet \"{name}\" has successfully progressed."),
            ),
            (_, true) => (
                "False",
                "ProgressDeadlineExceeded",
                format!("ReplicaSet \"{name}\" has timed out progressing."),
            ),
            _ => (
                "True",
                "ReplicaSetUpdated",
                format!("ReplicaSet \"{name}\" is progressing."),
            ),
        };
        let lost = share(
            &deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"],
            wanted,
            false,
        );
        let (has, has_reason, has_message) = if available >= wanted - lost {
            (
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            )
        } else {
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        let transition = |kind: &str, status: &str| {
            json::list(deployment, "/status/conditions")
                .iter()
                .find(|old| old["type"] == kind && old["status"] == status)
                .map_or_else(|| json!(now.rfc3339()), |old| old["lastTransitionTime"].clone())
        };
        let mut status = json!({"observedGeneration": deployment["metadata"]["generation"]});
        for (field, count) in [
            ("replicas", total),
            ("updatedReplicas", updated),
            ("readyReplicas", available),
            ("availableReplicas", available),
            ("unavailableReplicas", (total.max(wanted) - available).max(0)),
        ] {
            if count > 0 {
                status[field] = json!(count);
            }
        }
        let available_since = transition("Available", has);
        status["conditions"] = json!([
            {"type": "Available", "status": has, "reason": has_reason, "message": has_message,
                "lastTransitionTime": available_since, "lastUpdateTime": available_since},
            {"type": "Progressing", "status": on, "reason": reason, "message": message,
                "lastTransitionTime": transition("Progressing", on), "lastUpdateTime": since},
        ]);
        self.edit(now, cloud, id, "status", |deployment| {
            deployment["status"] = status;
        });
    }
}
