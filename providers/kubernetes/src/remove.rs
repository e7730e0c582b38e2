//! Delete: asked for with the object's UID, and done when it is gone.

use std::time::Duration;

use epid_provider::{Call, Failure, Record};
use http::Method;
use serde_json::{Value as Json, json};

use crate::api::{Expected, Sent};
use crate::apply::is_another;
use crate::connection::{Cluster, Target};
use crate::name::api_version;
use crate::refusal::Doing;
use crate::wire;

/// The first and the longest wait between two looks.
const LOOK: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(3));

pub(crate) async fn remove(cluster: &Cluster, cx: &Call, record: &Record) -> Result<(), Failure> {
    let Some(target) = cluster.of_id(cx, &record.kind, &record.id).await? else {
        return Ok(());
    };
    let Some(live) = cluster.live(cx, &target).await? else {
        return Ok(());
    };
    if is_another(record, &live) {
        return Ok(());
    }
    if let Some(owner) = wire::owner(&live).filter(|owner| owner.lineage != cx.lineage) {
        return Err(Failure::new(
            "OwnedByAnotherStack",
            format_args!(
                "{} was taken over by another stack (lineage {})",
                target.told(),
                owner.lineage
            ),
        )
        .with_hint("it is theirs now: set `retainOnDelete` to drop it from this state only"));
    }
    let uid = wire::metadata(&live, "uid");
    if live["metadata"]["deletionTimestamp"].is_null() {
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": propagation(target.kind.name()),
        });
        match cluster
            .api
            .send(
                cx,
                Method::DELETE,
                &target.path(),
                Sent::Json(&options),
                Expected::Any,
            )
            .await
        {
            Ok(_) => {}
            Err(refusal) if refusal.is_absent() => return Ok(()),
            Err(refusal) if refusal.said().is_some_and(|said| said.code == 409) => {
                // The precondition failed: another object has the name, so this one is gone. Else two writers met.
                match cluster.live(cx, &target).await? {
                    Some(live) if !is_another(record, &live) => return Err(refusal.failure(Doing::Change)),
                    _ => return Ok(()),
                }
            }
            Err(refusal) => return Err(refusal.failure(Doing::Change)),
        }
    }
    until_gone(cluster, cx, &target, uid).await?;
    if target.kind.name() == "CustomResourceDefinition" {
        cluster
            .api
            .forget_group(live["spec"]["group"].as_str().unwrap_or_default());
    }
    Ok(())
}

/// Workloads go after their pods, so that what the pods need (accounts, profiles) may go next.
fn propagation(kind: &str) -> &'static str {
    match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" | "CronJob" => "Foreground",
        _ => "Background",
    }
}

/// Waits until the object of that UID is gone.
pub(crate) async fn until_gone(
    cluster: &Cluster,
    cx: &Call,
    target: &Target,
    uid: &str,
) -> Result<(), Failure> {
    let begun = cx.now();
    let mut wait = LOOK.0;
    loop {
        let live = match cluster.live(cx, target).await? {
            Some(live) if wire::metadata(&live, "uid") == uid => live,
            _ => return Ok(()),
        };
        let held = held_by(target, &live);
        if let Some((why, _)) = &held {
            cx.progress(why);
        }
        if let Err(stopped) = cx.sleep(wait).await {
            if stopped.code != "Deadline" {
                return Err(stopped);
            }
            let (why, hint) = held.unwrap_or_else(|| ("its deletion was asked for".to_owned(), None));
            let failure = Failure::deadline(
                format_args!("{} is not gone: {why};", target.told()),
                cx.now().since(begun),
            );
            return Err(match hint {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            });
        }
        wait = (wait * 2).min(LOOK.1);
    }
}

/// What holds a deletion, and what to do about it.
fn held_by(target: &Target, live: &Json) -> Option<(String, Option<String>)> {
    if target.kind.name() == "Namespace" && api_version::group(target.kind.module()).is_empty() {
        let remaining: Vec<&str> = live["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|c| c["status"] == "True")
            .filter(|c| {
                c["type"]
                    .as_str()
                    .is_some_and(|ty| ty != "NamespaceDeletionDiscoveryFailure" || c["message"].is_string())
            })
            .filter_map(|c| c["message"].as_str())
            .collect();
        if remaining.is_empty() {
            return Some(("waiting for what is in it to be gone".to_owned(), None));
        }
        let hint = "delete what remains in it, or start the controller that looks after it; epid strips no finalizers";
        return Some((remaining.join("; "), Some(hint.to_owned())));
    }
    let finalizers: Vec<&str> = live["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    match finalizers[..] {
        [] => None,
        ["foregroundDeletion"] => Some(("waiting for its pods to be gone".to_owned(), None)),
        _ => {
            let why = format!("held by finalizer {}", finalizers.join(", "));
            let hint = "the controller behind the finalizer has to run and finish its work; epid strips no finalizers";
            Some((why, Some(hint.to_owned())))
        }
    }
}

#[cfg(test)]
mod tests {
    use epid_provider::Kind;

    use super::*;
    use crate::api::Route;
    use crate::name::Place;

    fn target(kind: &str) -> Target {
        Target {
            kind: Kind::parse(kind).unwrap(),
            route: Route {
                api_version: "v1".to_owned(),
                plural: "x".to_owned(),
                namespaced: false,
            },
            place: Place::parse("x", false, ""),
        }
    }

    #[test]
    fn what_holds_a_deletion_is_named() {
        let finalized = json!({"metadata": {"finalizers": ["elbv2.k8s.aws/resources"]}});
        let (why, hint) = held_by(&target("kubernetes:v1:Service"), &finalized).unwrap();
        assert!(why.contains("elbv2.k8s.aws/resources") && hint.is_some());
        let namespace = json!({"status": {"conditions": [
            {"type": "NamespaceContentRemaining", "status": "True", "message": "Some resources are remaining: widgets.x.io has 1"},
            {"type": "NamespaceDeletionContentFailure", "status": "False", "message": "fine"}
        ]}});
        let (why, _) = held_by(&target("kubernetes:v1:Namespace"), &namespace).unwrap();
        assert_eq!(why, "Some resources are remaining: widgets.x.io has 1");
    }
}
