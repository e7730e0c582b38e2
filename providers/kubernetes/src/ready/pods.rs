//! Why pods do not run.
//!
//! Reasons are those of the kubelet and the schedulers: Kubernetes docs, "Debug Pods" and "Images"; for Fargate the EKS
//! user guide, "Fargate Pod configuration" and "Define which Pods use Fargate".

use serde_json::Value as Json;

use super::workloads::condition;
use super::{Cause, State};
use crate::wire::metadata;

/// The gravest cause among pods.
pub(crate) fn cause(pods: &[Json]) -> Option<Cause> {
    let causes = pods.iter().filter_map(of_pod);
    causes.min_by_key(|cause| cause.patience.map_or(u64::MAX, |p| p.as_secs()))
}

/// True where a pod was not scheduled or its containers do not run.
pub(crate) fn is_pending(pod: &Json) -> bool {
    pod["status"]["phase"].as_str().unwrap_or("Pending") == "Pending"
}

/// A pod that is a resource of its own.
pub(crate) fn of_one(pod: &Json) -> State {
    match pod["status"]["phase"].as_str() {
        Some("Succeeded") => State::Ready,
        Some("Failed") => State::Failed(of_pod(pod).unwrap_or_else(|| Cause::passing("it failed"))),
        Some("Running") if matches!(condition(pod, "Ready"), Some(("True", ..))) => State::Ready,
        phase => State::Waiting {
            progress: phase.unwrap_or("Pending").to_owned(),
            cause: of_pod(pod),
        },
    }
}

fn of_pod(pod: &Json) -> Option<Cause> {
    let name = metadata(pod, "name");
    let told = |cause: Cause| Cause {
        message: format!("pod {name}: {}", cause.message),
        ..cause
    };
    if pod["status"]["phase"] == "Failed" {
        let text = |key: &str| pod["status"][key].as_str().unwrap_or_default();
        return Some(told(Cause::lasting(
            format!("failed: {} {}", text("reason"), text("message"))
                .trim()
                .to_owned(),
            30,
        )));
    }
    if let Some(("False", reason, message)) = condition(pod, "PodScheduled") {
        return Some(told(unscheduled(pod, reason, message)));
    }
    let statuses = ["initContainerStatuses", "containerStatuses"];
    let containers = statuses
        .iter()
        .filter_map(|key| pod["status"][*key].as_array())
        .flatten();
    containers.filter_map(of_container).map(told).next()
}

fn unscheduled(pod: &Json, reason: &str, message: &str) -> Cause {
    let text = format!("{reason}: {message}");
    if message.contains("not supported on Fargate") || message.contains("Misconfigured Fargate Profile") {
        return Cause::lasting(text, 0).hint("change the pod to what Fargate supports, or run it on nodes");
    }
    let by_default = pod["spec"]["schedulerName"]
        .as_str()
        .is_none_or(|s| s == "default-scheduler");
    if by_default && (message.contains("no nodes available") || message.contains("no Fargate profile")) {
        let namespace = metadata(pod, "namespace");
        let labels: Vec<String> = pod["metadata"]["labels"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| !key.ends_with("-hash"))
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        return Cause::lasting(text, 30).hint(format!(
            "no Fargate profile matches namespace `{namespace}` with labels {}, and the cluster has no nodes: add a selector to a profile",
            if labels.is_empty() { "(none)".to_owned() } else { labels.join(", ") }
        ));
    }
    if message.contains("persistentvolumeclaim") {
        return Cause::lasting(text, 60)
            .hint("declare the PersistentVolumeClaim, and see why it is not bound");
    }
    Cause::passing(text)
        .hint("make room: more nodes, smaller `resources.requests`, or other tolerations and selectors")
}

fn of_container(status: &Json) -> Option<Cause> {
    let name = status["name"].as_str().unwrap_or_default();
    let image = status["image"].as_str().unwrap_or_default();
    let waiting = &status["state"]["waiting"];
    let reason = waiting["reason"].as_str()?;
    let message = waiting["message"].as_str().unwrap_or_default();
    let text = format!(
        "container {name}: {reason}{}{message}",
        if message.is_empty() { "" } else { ": " }
    );
    match reason {
        "InvalidImageName" | "ErrImageNeverPull" => {
            Some(Cause::lasting(text, 0).hint(format!("`{image}` is no image that can be pulled: correct `image`")))
        }
        "ImagePullBackOff" => Some(Cause::lasting(text, 3).hint(format!(
            "see that `{image}` exists in its registry, and that `imagePullSecrets` or the node's role may pull it"
        ))),
        "ErrImagePull" => Some(Cause::lasting(text, 20)),
        "CreateContainerConfigError" => {
            Some(Cause::lasting(text, 15).hint("declare the Secret or ConfigMap (and its key) that the container refers to"))
        }
        "CrashLoopBackOff" => {
            let ended = &status["lastState"]["terminated"];
            let exit = ended["exitCode"].as_i64().map(|code| format!(" (last exit code {code}{})", told_end(ended)));
            let text = format!("{text}{}", exit.unwrap_or_default());
            Some(Cause::lasting(text, 3).hint("it starts and ends: read its log with `kubectl logs --previous`"))
        }
        "CreateContainerError" | "RunContainerError" => Some(Cause::lasting(text, 15)),
        _ => None,
    }
}

fn told_end(ended: &Json) -> String {
    let text = |key: &str| ended[key].as_str().unwrap_or_default().trim().to_owned();
    let (reason, message) = (text("reason"), text("message"));
    let message: String = message.chars().take(200).collect();
    match (reason.is_empty() || reason == "Error", message.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!(": {message}"),
        (false, true) => format!(", {reason}"),
        (false, false) => format!(", {reason}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn waiting(reason: &str, message: &str) -> Json {
        json!({"metadata": {"name": "web-1"}, "status": {"phase": "Pending", "containerStatuses": [
            {"name": "web", "image": "reg/none:1", "state": {"waiting": {"reason": reason, "message": message}},
             "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}})
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_told_within_seconds() {
        let cause = cause(&[
            waiting("ContainerCreating", ""),
            waiting("ImagePullBackOff", "not found"),
        ])
        .unwrap();
        assert_eq!(
            cause.message,
            "pod web-1: container web: ImagePullBackOff: not found"
        );
        assert!(
            cause.patience.unwrap() <= Duration::from_secs(5) && cause.hint.unwrap().contains("reg/none:1")
        );
    }

    #[test]
    fn a_crash_loop_tells_how_it_ended() {
        let cause = cause(&[waiting("CrashLoopBackOff", "back-off 10s")]).unwrap();
        assert!(
            cause.message.ends_with("(last exit code 137, OOMKilled)"),
            "{}",
            cause.message
        );
    }

    #[test]
    fn a_pod_that_no_fargate_profile_matches_is_explained() {
        let pod = |message: &str| {
            json!({"metadata": {"name": "p", "namespace": "shop", "labels": {"app": "web", "pod-template-hash": "x"}},
                   "spec": {"schedulerName": "default-scheduler"},
                   "status": {"phase": "Pending", "conditions": [
                       {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}})
        };
        let none = cause(&[pod("no nodes available to schedule pods")]).unwrap();
        assert!(
            none.hint
                .unwrap()
                .contains("namespace `shop` with labels app=web,")
        );
        let unsupported = cause(&[pod(
            "Pod not supported on Fargate: fields not supported: HostNetwork",
        )])
        .unwrap();
        assert_eq!(unsupported.patience, Some(Duration::ZERO));
        assert_eq!(
            cause(&[pod("0/3 nodes are available: 3 Insufficient cpu.")])
                .unwrap()
                .patience,
            None
        );
    }

    #[test]
    fn a_pod_of_its_own_is_ready_when_it_runs_or_has_run() {
        let pod = |phase: &str, ready: &str| json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
        assert_eq!(of_one(&pod("Running", "True")), State::Ready);
        assert_eq!(of_one(&pod("Succeeded", "False")), State::Ready);
        assert!(matches!(of_one(&pod("Failed", "False")), State::Failed(_)));
        assert!(matches!(of_one(&pod("Running", "False")), State::Waiting { .. }));
    }
}
