//! Workloads by their own status: as `kubectl rollout status` sees it.

use serde_json::Value as Json;

use super::{Cause, State};

/// The state of a Deployment, StatefulSet, DaemonSet, ReplicaSet or Job, as far as its own status tells.
pub(crate) fn state(kind: &str, live: &Json) -> State {
    if kind == "Job" {
        return job(live);
    }
    let generation = live["metadata"]["generation"].as_i64().unwrap_or_default();
    if live["status"]["observedGeneration"].as_i64().unwrap_or_default() < generation {
        return State::waiting("waiting for its controller");
    }
    match kind {
        "Deployment" => deployment(live),
        "StatefulSet" => stateful_set(live),
        "DaemonSet" => daemon_set(live),
        _ => {
            let (wanted, available) = (wanted(live), count(live, "availableReplicas"));
            if available >= wanted {
                State::Ready
            } else {
                pods_ready(available, wanted)
            }
        }
    }
}

fn wanted(live: &Json) -> i64 {
    live["spec"]["replicas"].as_i64().unwrap_or(1)
}

fn count(live: &Json, key: &str) -> i64 {
    live["status"][key].as_i64().unwrap_or_default()
}

fn pods_ready(ready: i64, wanted: i64) -> State {
    State::waiting(format!("{ready} of {wanted} pods ready"))
}

/// The condition of that type: its status, reason and message.
pub(crate) fn condition<'a>(live: &'a Json, ty: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let condition = live["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|c| c["type"] == ty)?;
    let text = |key: &str| condition[key].as_str().unwrap_or_default();
    Some((text("status"), text("reason"), text("message")))
}

fn deployment(live: &Json) -> State {
    if live["spec"]["paused"] == true {
        return State::Ready;
    }
    let wanted = wanted(live);
    let (all, updated, available) = (
        count(live, "replicas"),
        count(live, "updatedReplicas"),
        count(live, "availableReplicas"),
    );
    if updated >= wanted && all <= updated && available >= updated {
        return State::Ready;
    }
    if let Some(("True", reason, message)) = condition(live, "ReplicaFailure") {
        let cause = Cause::lasting(format!("{reason}: {message}"), 10).hint(creation_hint(message));
        return State::Waiting {
            progress: format!("{available} of {wanted} pods ready"),
            cause: Some(cause),
        };
    }
    if let Some(("False", "ProgressDeadlineExceeded", message)) = condition(live, "Progressing") {
        let cause = Cause::lasting(message, 5)
            .hint("`kubectl describe` the pods, or raise `spec.progressDeadlineSeconds`");
        return State::Waiting {
            progress: format!("{available} of {wanted} pods ready"),
            cause: Some(cause),
        };
    }
    if updated >= wanted && all > updated {
        return State::waiting(match all - updated {
            1 => "1 old pod to go".to_owned(),
            n => format!("{n} old pods to go"),
        });
    }
    pods_ready(available.min(updated), wanted)
}

fn creation_hint(message: &str) -> &'static str {
    if message.contains("exceeded quota") {
        "raise the ResourceQuota of the namespace, or ask for less in `resources`"
    } else if message.contains("serviceaccount") {
        "declare the ServiceAccount in the same namespace"
    } else if message.contains("PodSecurity") {
        "meet the Pod Security level of the namespace, or change its labels"
    } else {
        "the API server refuses its pods: change the template or what refuses them"
    }
}

fn stateful_set(live: &Json) -> State {
    let wanted = wanted(live);
    let (ready, updated) = (count(live, "readyReplicas"), count(live, "updatedReplicas"));
    if ready < wanted {
        return pods_ready(ready, wanted);
    }
    let strategy = &live["spec"]["updateStrategy"];
    if strategy["type"] == "OnDelete" {
        return State::Ready;
    }
    let partition = strategy["rollingUpdate"]["partition"]
        .as_i64()
        .unwrap_or_default();
    let status = &live["status"];
    if updated >= wanted - partition
        && (partition > 0 || status["currentRevision"] == status["updateRevision"])
    {
        State::Ready
    } else {
        State::waiting(format!("{updated} of {} pods updated", wanted - partition))
    }
}

fn daemon_set(live: &Json) -> State {
    let wanted = count(live, "desiredNumberScheduled");
    let (updated, available) = (
        count(live, "updatedNumberScheduled"),
        count(live, "numberAvailable"),
    );
    let rolling = live["spec"]["updateStrategy"]["type"] != "OnDelete";
    if available >= wanted && (!rolling || updated >= wanted) {
        State::Ready
    } else {
        pods_ready(available.min(if rolling { updated } else { available }), wanted)
    }
}

fn job(live: &Json) -> State {
    if live["spec"]["suspend"] == true {
        return State::Ready;
    }
    if let Some(("True", ..)) = condition(live, "Complete") {
        return State::Ready;
    }
    if let Some(("True", reason, message)) = condition(live, "Failed") {
        let hint = "read the log of its pods; a changed template makes a new Job";
        return State::Failed(Cause::passing(format!("{reason}: {message}")).hint(hint));
    }
    let (done, failed) = (count(live, "succeeded"), count(live, "failed"));
    let wanted = live["spec"]["completions"].as_i64().unwrap_or(1);
    let failures = if failed > 0 {
        format!(", {failed} failed")
    } else {
        String::new()
    };
    State::waiting(format!("{done} of {wanted} done{failures}"))
}

/// A workload's selector as a query takes it.
pub(crate) fn selector(live: &Json) -> String {
    let selector = &live["spec"]["selector"];
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let labels = labels.filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    let expressions = selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|e| {
            let key = e["key"].as_str()?;
            let values: Vec<&str> = e["values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Json::as_str)
                .collect();
            match e["operator"].as_str()? {
                "In" => Some(format!("{key} in ({})", values.join(","))),
                "NotIn" => Some(format!("{key} notin ({})", values.join(","))),
                "Exists" => Some(key.to_owned()),
                "DoesNotExist" => Some(format!("!{key}")),
                _ => None,
            }
        });
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rollout_is_done_when_only_new_pods_run() {
        let of = |observed: i64, all: i64, updated: i64, available: i64| {
            state(
                "Deployment",
                &json!({"metadata": {"generation": 2}, "spec": {"replicas": 2},
                        "status": {"observedGeneration": observed, "replicas": all, "updatedReplicas": updated, "availableReplicas": available}}),
            )
        };
        assert_eq!(of(2, 2, 2, 2), State::Ready);
        assert_eq!(of(1, 2, 2, 2), State::waiting("waiting for its controller"));
        assert_eq!(of(2, 3, 2, 3), State::waiting("1 old pod to go"));
        assert_eq!(of(2, 2, 2, 1), State::waiting("1 of 2 pods ready"));
    }

    #[test]
    fn a_quota_is_the_cause() {
        let live = json!({"metadata": {"generation": 1}, "spec": {"replicas": 1}, "status": {"observedGeneration": 1,
            "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: q"}]}});
        let State::Waiting {
            cause: Some(cause), ..
        } = state("Deployment", &live)
        else {
            panic!("no cause")
        };
        assert!(cause.message.contains("exceeded quota") && cause.hint.unwrap().contains("ResourceQuota"));
    }

    #[test]
    fn a_job_completes_or_fails() {
        let of = |ty: &str| {
            let condition =
                json!({"type": ty, "status": "True", "reason": "BackoffLimitExceeded", "message": "m"});
            state(
                "Job",
                &json!({"status": {"conditions": [condition], "failed": 1}}),
            )
        };
        assert_eq!(of("Complete"), State::Ready);
        assert!(matches!(of("Failed"), State::Failed(_)));
        assert_eq!(of("Suspended"), State::waiting("0 of 1 done, 1 failed"));
    }

    #[test]
    fn stateful_and_daemon_sets_wait_for_their_update() {
        let set = |updated: i64, current: &str| {
            json!({"metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": {"observedGeneration": 1,
                "readyReplicas": 2, "updatedReplicas": updated, "currentRevision": current, "updateRevision": "b"}})
        };
        assert_eq!(state("StatefulSet", &set(2, "b")), State::Ready);
        assert_eq!(
            state("StatefulSet", &set(1, "a")),
            State::waiting("1 of 2 pods updated")
        );
        let daemon = json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1,
            "desiredNumberScheduled": 3, "updatedNumberScheduled": 1, "numberAvailable": 3}});
        assert_eq!(state("DaemonSet", &daemon), State::waiting("1 of 3 pods ready"));
    }

    #[test]
    fn selectors_become_queries() {
        let live = json!({"spec": {"selector": {"matchLabels": {"app": "a"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["x", "y"]}, {"key": "old", "operator": "DoesNotExist"}]}}});
        assert_eq!(selector(&live), "app=a,tier in (x,y),!old");
    }
}
