//! Whose an object is, and who changed it.

use std::sync::Arc;

use epid_provider::{Observed, Outcome, Path, Query, Recorded, Resolved};
use serde_json::json;

use super::lab::{CONFIG_MAP, DEPLOYMENT, Lab, config_map, deployment, kind, record, value};

/// A field that somebody else took is a conflict that names path, manager and choices.
pub(crate) async fn conflicts_are_told_and_settled_by_choice(lab: &Lab) {
    let space = lab.namespace("conflicts").await;
    let of = |a: &str| config_map("conflicts", "shared", &json!({"a": a, "mine": "x"}));
    let made = lab.create(CONFIG_MAP, of("1")).await.unwrap();
    let path = "/api/v1/namespaces/conflicts/configmaps/shared";
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": {"a": "2", "theirs": "y"}});
    lab.apply_as("kubectl", path, theirs).await;
    assert_eq!(lab.drift(&made).await, [r#"data.a: "1" -> "2""#]);

    let refused = lab
        .update(&lab.call(&made.urn), &made, of("3"))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code.as_str(), &refused.outcome),
        ("Conflict", &Outcome::NotStarted)
    );
    assert!(
        refused.message.contains("`data.a` is held by `kubectl`"),
        "{}",
        refused.message
    );
    assert!(refused.hint.unwrap().contains("ignoreChanges"));

    let a: Arc<[Path]> = Arc::from(["data.a".parse().unwrap()]);
    let left = lab.call(&made.urn).with_paths(a.clone(), Arc::default());
    lab.update(&left, &made, of("3")).await.unwrap();
    assert_eq!(
        lab.live(path).await["data"],
        json!({"a": "2", "mine": "x", "theirs": "y"})
    );

    let reclaimed = lab.call(&made.urn).with_paths(Arc::default(), a);
    let made = lab.update(&reclaimed, &made, of("3")).await.unwrap();
    assert_eq!(
        lab.live(path).await["data"],
        json!({"a": "3", "mine": "x", "theirs": "y"})
    );

    let fewer = config_map("conflicts", "shared", &json!({"mine": "x"}));
    lab.update(&lab.call(&made.urn), &made, fewer).await.unwrap();
    let left = lab.live(path).await["data"].clone();
    assert_eq!(
        left,
        json!({"mine": "x", "theirs": "y"}),
        "what the program drops goes, what others own stays"
    );
    lab.delete(&space).await.unwrap();
}

/// What exists is never merged into; `adopt` takes it over, and another stack cannot.
pub(crate) async fn what_exists_is_adopted_or_left_alone(lab: &Lab, other: &Lab) {
    let space = lab.namespace("adoption").await;
    let collection = "/api/v1/namespaces/adoption/configmaps";
    let theirs =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "found"}, "data": {"a": "1"}});
    lab.stranger
        .send(
            "POST",
            &format!("{collection}?fieldManager=kubectl-create"),
            "application/json",
            theirs,
        )
        .await;
    let wanted = config_map("adoption", "found", &json!({"a": "2"}));
    let refused = lab.create(CONFIG_MAP, wanted.clone()).await.unwrap_err();
    assert_eq!(refused.code, "AlreadyExists");
    assert!(refused.message.contains("kubectl-create") && refused.hint.unwrap().contains("adopt"));
    assert_eq!(
        lab.live(&format!("{collection}/found")).await["data"]["a"],
        "1",
        "nothing was merged"
    );

    let of = kind(CONFIG_MAP);
    let urn = lab.urn(&of, "found");
    let query = Query::Inputs {
        urn: urn.clone(),
        kind: of.clone(),
        inputs: Resolved::new(value(wanted.clone())).unwrap(),
    };
    let seen = lab
        .connection
        .observe(&lab.call(&urn), &[query])
        .await
        .remove(0)
        .unwrap();
    let Observed::Present(present) = seen else {
        panic!("nothing found")
    };
    assert_eq!(present.owner, None);
    let found = record(
        &urn,
        &of,
        present.properties,
        Recorded::new(present.id, present.outputs),
    );
    let adopted = lab.update(&lab.call(&urn), &found, wanted.clone()).await.unwrap();
    assert_eq!(lab.drift(&adopted).await, [""; 0]);
    let owner = lab.present(&adopted).await.owner.unwrap();
    assert_eq!(
        (owner.lineage, owner.urn),
        (lab.lineage.clone(), Some(urn.clone()))
    );

    let refused = other.create(CONFIG_MAP, wanted.clone()).await.unwrap_err();
    assert_eq!(refused.code, "AlreadyExists");
    let refused = other
        .update(&other.call(&urn), &adopted, wanted)
        .await
        .unwrap_err();
    assert_eq!(refused.code, "OwnedByAnotherStack");
    assert_eq!(
        other.delete(&adopted).await.unwrap_err().code,
        "OwnedByAnotherStack"
    );
    lab.delete(&space).await.unwrap();
}

/// Replicas that an autoscaler holds are no drift and are left alone; those that a person changed are drift.
pub(crate) async fn autoscaled_replicas_are_left_alone(lab: &Lab) {
    let space = lab.namespace("scaled").await;
    let made = lab
        .create(DEPLOYMENT, deployment("scaled", "web", "web:1", 1))
        .await
        .unwrap();
    let scale = async |manager: &str, replicas: u32| {
        let path = format!("/apis/apps/v1/namespaces/scaled/deployments/web/scale?fieldManager={manager}");
        let (code, answer) = lab
            .stranger
            .send(
                "PATCH",
                &path,
                "application/merge-patch+json",
                json!({"spec": {"replicas": replicas}}),
            )
            .await;
        assert_eq!(code, 200, "{answer}");
    };
    scale("kubectl", 2).await;
    assert_eq!(lab.drift(&made).await, ["spec.replicas: 1 -> 2"]);
    let refused = lab
        .update(
            &lab.call(&made.urn),
            &made,
            deployment("scaled", "web", "web:2", 1),
        )
        .await
        .unwrap_err();
    assert!(
        refused
            .message
            .contains("`spec.replicas` is held by `kubectl` (through `scale`)"),
        "{}",
        refused.message
    );
    scale("kube-controller-manager", 3).await;
    assert_eq!(lab.drift(&made).await, [""; 0]);
    let made = lab
        .update(
            &lab.call(&made.urn),
            &made,
            deployment("scaled", "web", "web:2", 1),
        )
        .await
        .unwrap();
    let live = lab.live("/apis/apps/v1/namespaces/scaled/deployments/web").await;
    assert_eq!(live["spec"]["replicas"], 3);
    assert_eq!(
        live["spec"]["template"]["spec"]["containers"][0]["image"],
        "web:2"
    );
    assert_eq!(lab.drift(&made).await, [""; 0]);
    lab.delete(&space).await.unwrap();
}
