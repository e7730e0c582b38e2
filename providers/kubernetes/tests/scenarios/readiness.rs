//! When something is done, and when it is gone.

use std::time::Duration;

use epid_provider::{Intent, Observed, Operation, Outcome, Record, Recorded, Recovered, Resolved, Value};
use serde_json::json;

use super::lab::{CONFIG_MAP, DEPLOYMENT, Lab, config_map, deployment, kind, record};

/// A Deployment is done when its pods run, and its Service has an address.
pub(crate) async fn workloads_are_waited_for(lab: &Lab) {
    let space = lab.namespace("ready").await;
    let made = lab
        .create(DEPLOYMENT, deployment("ready", "web", "web:1", 2))
        .await
        .unwrap();
    let status = made.outputs.get("status").unwrap();
    assert_eq!(status.get("availableReplicas"), Some(&Value::Int(2)));
    let service = json!({"metadata": {"name": "web", "namespace": "ready"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let service = lab.create("kubernetes:v1:Service", service).await.unwrap();
    let address = service
        .outputs
        .get("spec")
        .and_then(|s| s.get("clusterIP"))
        .and_then(Value::as_str);
    assert!(address.is_some_and(|a| !a.is_empty()));
    let made = lab
        .update(
            &lab.call(&made.urn),
            &made,
            deployment("ready", "web", "web:2", 1),
        )
        .await
        .unwrap();
    assert_eq!(
        made.outputs.get("status").unwrap().get("updatedReplicas"),
        Some(&Value::Int(1))
    );
    lab.delete(&made).await.unwrap();
    let pods = lab
        .live("/api/v1/namespaces/ready/pods?labelSelector=app%3Dweb")
        .await;
    assert_eq!(pods["items"], json!([]), "a workload goes after its pods");
    lab.delete(&space).await.unwrap();
}

/// A pod that cannot start is told in seconds, and what was made is kept as partial.
pub(crate) async fn failing_pods_are_explained(lab: &Lab) {
    let space = lab.namespace("failing").await;
    let begun = lab.runtime.now();
    let failed = lab
        .create(
            DEPLOYMENT,
            deployment("failing", "web", "registry.example.com/missing:1", 1),
        )
        .await
        .unwrap_err();
    assert_eq!(failed.code, "NotReady");
    assert!(
        failed.message.contains("container web: ImagePullBackOff"),
        "{}",
        failed.message
    );
    assert!(
        lab.runtime.now().since(begun) < Duration::from_secs(60),
        "told early"
    );
    let Outcome::Partial(partial) = failed.outcome else {
        panic!("{:?}", failed.outcome)
    };
    assert_eq!(&*partial.id, "failing/web");
    let of = kind(DEPLOYMENT);
    let half = Record {
        incomplete: partial.incomplete,
        ..record(
            &lab.urn(&of, "web"),
            &of,
            Value::default(),
            Recorded::new(partial.id, partial.outputs),
        )
    };
    lab.update(
        &lab.call(&half.urn),
        &half,
        deployment("failing", "web", "web:1", 1),
    )
    .await
    .unwrap();

    let quota =
        json!({"metadata": {"name": "none", "namespace": "failing"}, "spec": {"hard": {"pods": "1"}}});
    lab.create("kubernetes:v1:ResourceQuota", quota).await.unwrap();
    let failed = lab
        .create(DEPLOYMENT, deployment("failing", "more", "web:1", 1))
        .await
        .unwrap_err();
    assert!(failed.message.contains("exceeded quota"), "{}", failed.message);
    lab.delete(&space).await.unwrap();
}

/// Deleted means gone; what holds a deletion is named.
pub(crate) async fn finalizers_hold_a_deletion(lab: &Lab) {
    let space = lab.namespace("held").await;
    let held =
        json!({"metadata": {"name": "held", "namespace": "held", "finalizers": ["epid.example.com/hold"]}});
    let made = lab.create(CONFIG_MAP, held).await.unwrap();
    let short = lab.call_for(&made.urn, Duration::from_secs(2));
    let failed = lab.connection.delete(&short, &made).await.unwrap_err();
    assert_eq!(failed.code, "Deadline");
    assert!(
        failed.message.contains("epid.example.com/hold"),
        "{}",
        failed.message
    );
    assert!(matches!(lab.observe(&made).await, Observed::Present(_)));
    // A run that died here: the deletion cannot be called back, so it did not fail either.
    let intent = Intent {
        token: short.token.clone(),
        operation: Operation::Delete,
        urn: made.urn.clone(),
        kind: made.kind.clone(),
        inputs: Resolved::default(),
        record: Some(made.clone()),
        partial: None,
    };
    let short = lab.call_for(&made.urn, Duration::from_secs(2));
    let unclear = lab.connection.recover(&short, &intent).await.unwrap_err();
    assert_eq!(unclear.code, "Deadline");
    let path = "/api/v1/namespaces/held/configmaps/held";
    let loose = json!({"metadata": {"finalizers": null}});
    lab.stranger
        .send("PATCH", path, "application/merge-patch+json", loose)
        .await;
    let recovered = lab
        .connection
        .recover(&lab.call(&made.urn), &intent)
        .await
        .unwrap();
    assert_eq!(recovered, Recovered::Deleted);
    lab.delete(&made).await.unwrap();
    assert_eq!(lab.observe(&made).await, Observed::Absent);
    lab.delete(&space).await.unwrap();
}

/// A namespace is gone when everything in it is.
pub(crate) async fn a_namespace_goes_with_all_that_is_in_it(lab: &Lab) {
    let space = lab.namespace("going").await;
    let inner = lab
        .create(CONFIG_MAP, config_map("going", "inner", &json!({"a": "1"})))
        .await
        .unwrap();
    let workload = lab
        .create(DEPLOYMENT, deployment("going", "web", "web:1", 1))
        .await
        .unwrap();
    lab.delete(&space).await.unwrap();
    for record in [&space, &inner, &workload] {
        assert_eq!(lab.observe(record).await, Observed::Absent, "{}", record.id);
        lab.delete(record).await.unwrap();
    }
    let missing = lab
        .create(CONFIG_MAP, config_map("going", "inner", &json!({})))
        .await
        .unwrap_err();
    assert_eq!(missing.code, "NoNamespace");
}
