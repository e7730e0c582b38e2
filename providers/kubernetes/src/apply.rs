//! Create and update: one server-side apply with the stack's field manager, then waiting until the object works.

use epid_provider::{
    Call, Failure, Kind, Outcome, Partial, Path, Record, Recorded, Recovered, Resolved, Retry, Value,
};
use http::Method;
use serde_json::{Value as Json, json};

use crate::api::{Sent, encoded};
use crate::connection::{Cluster, Target, recorded};
use crate::name::{LINEAGE, TOKEN, URN, field_manager, metadata};
use crate::ready;
use crate::refusal::{Conflict, Doing, Refusal, Said};
use crate::wire;

/// What is still to be done of an object that was applied and does not work yet.
pub(crate) const WAITING: &str = "wait until it is ready";
/// The controller that writes the replicas a HorizontalPodAutoscaler asks for, through this subresource.
const AUTOSCALER: (&str, &str) = ("kube-controller-manager", "scale");

pub(crate) async fn create(
    cluster: &Cluster,
    cx: &Call,
    kind: &Kind,
    inputs: &Resolved,
) -> Result<Recorded, Failure> {
    let target = cluster.of_inputs(cx, kind, inputs).await?;
    let mut again = false;
    match cluster.live(cx, &target).await? {
        Some(live) if is_leaving(&live) => {
            cx.progress("waiting for the former one to be gone");
            crate::remove::until_gone(cluster, cx, &target, wire::metadata(&live, "uid")).await?;
        }
        // The same operation, sent once more.
        Some(live) if has_token(&live, cx) => again = true,
        Some(live) => return Err(exists(&target, &live)),
        None => {}
    }
    let body = wire::manifest(kind, &target.route.api_version, &target.place, inputs, cx);
    let (code, live) = match send(cluster, cx, &target, &body, false).await {
        Ok(done) => done,
        Err(refusal) => return Err(refused_create(cx, cluster, &target, inputs, &body, refusal)),
    };
    // 201 says that it was made; 200 that somebody else made one since it was looked for.
    if code != 201 && !again {
        release(cluster, cx, &target).await;
        return Err(exists(&target, &live));
    }
    settle(cluster, cx, &target, live).await
}

pub(crate) async fn update(
    cluster: &Cluster,
    cx: &Call,
    record: &Record,
    inputs: &Resolved,
) -> Result<Recorded, Failure> {
    let Some(target) = cluster.of_id(cx, &record.kind, &record.id).await? else {
        return Err(gone(&record.id));
    };
    let mut body = wire::manifest(&record.kind, &target.route.api_version, &target.place, inputs, cx);
    if let Some(uid) = metadata(&record.outputs, "uid") {
        // A precondition: the very object that is recorded, or none.
        body["metadata"]["uid"] = json!(uid);
    }
    let refusal = match send(cluster, cx, &target, &body, false).await {
        Ok((_, live)) => return settle(cluster, cx, &target, live).await,
        Err(refusal) => refusal,
    };
    let conflicts = refusal.said().map(Said::conflicts).unwrap_or_default();
    if conflicts.is_empty() {
        return Err(refused_update(cluster, cx, &target, record, refusal).await);
    }
    let Some(live) = cluster.live(cx, &target).await? else {
        return Err(gone(&record.id));
    };
    owned_elsewhere(cx, &target, &live)?;
    // Whoever imports or adopts an object asked for taking it over.
    let taking_over = wire::owner(&live).is_none() && !manages(&live, &field_manager(&cx.lineage));
    let mut open = Vec::new();
    for conflict in conflicts {
        let path = wire::field_path(&body, &conflict.field);
        let any = |paths: &[Path], fits: &dyn Fn(&Path, &Path) -> bool| {
            path.as_ref()
                .is_some_and(|path| paths.iter().any(|p| fits(p, path)))
        };
        // A field that is held as a whole, such as a Service's selector, is in conflict as a whole; what was changed is a
        // part of it.
        let reclaimed = any(&cx.reclaimed, &|p, path| p.covers(path) || path.covers(p));
        if any(&cx.ignored, &Path::covers) || is_autoscaled(&conflict) {
            wire::remove_field(&mut body, &conflict.field);
        } else if !taking_over && !reclaimed {
            open.push(conflict);
        }
    }
    if !open.is_empty() {
        return Err(conflicting(&target, &body, &open));
    }
    match send(cluster, cx, &target, &body, true).await {
        Ok((_, live)) => settle(cluster, cx, &target, live).await,
        Err(refusal) => Err(refused_update(cluster, cx, &target, record, refusal).await),
    }
}

async fn send(
    cluster: &Cluster,
    cx: &Call,
    target: &Target,
    body: &Json,
    force: bool,
) -> Result<(u16, Json), Refusal> {
    let manager = encoded(&field_manager(&cx.lineage));
    let path = format!(
        "{}?fieldManager={manager}&fieldValidation=Strict&force={force}",
        target.path()
    );
    cluster
        .api
        .send(cx, Method::PATCH, &path, Sent::Apply(body), target.expected())
        .await
}

/// Lets go of every field that an apply took of somebody else's object.
async fn release(cluster: &Cluster, cx: &Call, target: &Target) {
    let mut nothing = json!({
        "apiVersion": target.route.api_version,
        "kind": target.kind.name(),
        "metadata": {"name": target.place.name},
    });
    if let Some(namespace) = &target.place.namespace {
        nothing["metadata"]["namespace"] = json!(namespace);
    }
    if let Err(refusal) = send(cluster, cx, target, &nothing, false).await {
        let failure = refusal.failure(Doing::Change);
        cx.progress(&format!("could not let go of {}: {failure}", target.told()));
    }
}

/// Waits until an applied object works.
async fn settle(cluster: &Cluster, cx: &Call, target: &Target, live: Json) -> Result<Recorded, Failure> {
    if target.kind.name() == "CustomResourceDefinition" {
        cluster
            .api
            .forget_group(live["spec"]["group"].as_str().unwrap_or_default());
    }
    let partial = Partial {
        id: target.place.id(),
        outputs: wire::outputs(&target.kind, &live),
        incomplete: vec![WAITING.to_owned()],
    };
    let half = |failure: Failure| failure.with_outcome(Outcome::Partial(Box::new(partial.clone())));
    if !ready::is_ready(cluster, cx, target, &live).await.map_err(half)? {
        cx.checkpoint(&partial).await.map_err(half)?;
        let live = ready::wait(cluster, cx, target, live).await.map_err(half)?;
        return Ok(recorded(target, &live));
    }
    Ok(recorded(target, &live))
}

/// What became of an apply that took effect: done where the object works already.
pub(crate) async fn recovered(
    cluster: &Cluster,
    cx: &Call,
    target: &Target,
    live: Json,
) -> Result<Recovered, Failure> {
    if ready::is_ready(cluster, cx, target, &live).await? {
        return Ok(Recovered::Done(recorded(target, &live)));
    }
    Ok(Recovered::Partial(Partial {
        id: target.place.id(),
        outputs: wire::outputs(&target.kind, &live),
        incomplete: vec![WAITING.to_owned()],
    }))
}

/// True where its deletion was asked for.
pub(crate) fn is_leaving(live: &Json) -> bool {
    live["metadata"]["deletionTimestamp"].is_string()
}

fn has_token(live: &Json, cx: &Call) -> bool {
    live["metadata"]["annotations"][TOKEN].as_str() == Some(cx.token.as_str())
}

fn manages(live: &Json, manager: &str) -> bool {
    let mut entries = live["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries.any(|entry| entry["manager"] == manager && entry["operation"] == "Apply")
}

/// True where another object has taken the recorded one's name.
pub(crate) fn is_another(record: &Record, live: &Json) -> bool {
    metadata(&record.outputs, "uid").is_some_and(|uid| uid != wire::metadata(live, "uid"))
}

fn is_autoscaled(conflict: &Conflict) -> bool {
    conflict.field == ".spec.replicas"
        && (conflict.manager.as_str(), conflict.subresource.as_deref()) == (AUTOSCALER.0, Some(AUTOSCALER.1))
}

/// True where an autoscaler holds the replicas of a live object.
pub(crate) fn autoscaled(live: &Json) -> bool {
    live["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|entry| {
            entry["manager"] == AUTOSCALER.0
                && entry["subresource"] == AUTOSCALER.1
                && entry["fieldsV1"]["f:spec"]["f:replicas"].is_object()
        })
}

fn owned_elsewhere(cx: &Call, target: &Target, live: &Json) -> Result<(), Failure> {
    match wire::owner(live) {
        Some(owner) if owner.lineage != cx.lineage => Err(Failure::new(
            "OwnedByAnotherStack",
            format_args!(
                "{} belongs to another stack ({})",
                target.told(),
                owner_told(&owner)
            ),
        )
        .with_hint(
            "let one stack own it: remove it there with `retainOnDelete`, or take it out of this program",
        )),
        _ => Ok(()),
    }
}

fn owner_told(owner: &epid_provider::Owner) -> String {
    match &owner.urn {
        Some(urn) => format!("{urn} of lineage {}", owner.lineage),
        None => format!("lineage {}", owner.lineage),
    }
}

/// The name is taken. Whose the object is, the engine tells.
fn exists(target: &Target, live: &Json) -> Failure {
    let managers: std::collections::BTreeSet<&str> = live["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["manager"].as_str())
        .collect();
    let by: Vec<&str> = managers.into_iter().collect();
    let by = if by.is_empty() {
        String::new()
    } else {
        format!(", written by {}", by.join(", "))
    };
    Failure::new(
        "AlreadyExists",
        format_args!("{} exists already{by}", target.told()),
    )
    .with_hint("set `adopt = true` in its options to take it over, or give this one another name")
}

fn gone(id: &str) -> Failure {
    Failure::new("NotFound", format_args!("{id} is gone: somebody deleted it"))
        .with_hint("run with `--refresh` to see it, and epid makes it again")
}

fn refused_create(
    cx: &Call,
    cluster: &Cluster,
    target: &Target,
    inputs: &Resolved,
    body: &Json,
    refusal: Refusal,
) -> Failure {
    let conflicts = refusal.said().map(Said::conflicts).unwrap_or_default();
    if !conflicts.is_empty() {
        return conflicting(target, body, &conflicts);
    }
    let no_namespace = refusal
        .said()
        .is_some_and(|said| said.code == 404 && said.status["details"]["kind"] == "namespaces");
    let failure = refusal.failure(Doing::Change);
    if !no_namespace {
        return failure;
    }
    let namespace = target.place.namespace.as_deref().unwrap_or(&cluster.namespace);
    let by_default = metadata(inputs.value(), "namespace").is_none();
    let failure = Failure {
        code: "NoNamespace".to_owned(),
        ..failure
    };
    // Without a namespace of its own it has no edge to the one that may be made in this very run.
    let retry = if by_default && cx.remaining().as_secs() > 0 {
        Retry::Yes
    } else {
        Retry::No
    };
    failure.with_retry(retry).with_hint(format!(
        "declare the Namespace `{namespace}`, and name it in `metadata.namespace` so that epid makes it first"
    ))
}

async fn refused_update(
    cluster: &Cluster,
    cx: &Call,
    target: &Target,
    record: &Record,
    refusal: Refusal,
) -> Failure {
    if refusal.is_absent() {
        return gone(&record.id);
    }
    if refusal.said().is_some_and(|said| said.code == 409) {
        // The precondition failed, or two writers met.
        match cluster.live(cx, target).await {
            Ok(None) => return gone(&record.id),
            Ok(Some(live)) if is_another(record, &live) => {
                return Failure::new(
                    "Replaced",
                    format_args!("{} was deleted and made anew by somebody else", target.told()),
                )
                .with_hint(
                    "run with `--refresh`; set `adopt = true` in its options to take the new one over",
                );
            }
            Ok(Some(_)) | Err(_) => {}
        }
    }
    refusal.failure(Doing::Change)
}

fn conflicting(target: &Target, body: &Json, conflicts: &[Conflict]) -> Failure {
    let lines: Vec<String> = conflicts
        .iter()
        .map(|conflict| {
            let path = wire::field_path(body, &conflict.field).map_or_else(
                || conflict.field.trim_start_matches('.').to_owned(),
                |path| path.to_string(),
            );
            let through = conflict
                .subresource
                .as_ref()
                .map(|s| format!(" (through `{s}`)"))
                .unwrap_or_default();
            format!("`{path}` is held by `{}`{through}", conflict.manager)
        })
        .collect();
    let owner_field = conflicts
        .iter()
        .any(|c| c.field.ends_with(LINEAGE) || c.field.ends_with(URN));
    let hint = if owner_field {
        "another epid stack owns this object: let one of them own it"
    } else {
        "name the path in `ignoreChanges` to leave it to them, or run with `--refresh` to see what they changed and take it back"
    };
    Failure::new(
        "Conflict",
        format_args!("{}: {}", target.told(), lines.join("; ")),
    )
    .with_hint(hint)
}

/// The replicas an autoscaler set stand for those that were applied.
pub(crate) fn without_autoscaling(live: &Json, applied: &Value) -> Option<Json> {
    let replicas = applied.get("spec").and_then(|s| s.expose().get("replicas"))?;
    if !autoscaled(live) {
        return None;
    }
    let mut live = live.clone();
    live["spec"]["replicas"] = wire::to_json(replicas.expose());
    Some(live)
}
