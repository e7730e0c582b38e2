//! Server-side apply.

use super::{APPLY, Lab, MERGE, WEB, config_map, deployment};
use serde_json::{Value, json};

const MAP: &str = "/api/v1/namespaces/default/configmaps/m";

#[test]
fn applying_twice_changes_nothing() {
    let mut lab = Lab::new();
    let first = lab.apply(WEB, "epid", &deployment("nginx:1", 1));
    lab.pass(120);
    let settled = lab.get(WEB);
    let second = lab.apply(WEB, "epid", &deployment("nginx:1", 1));
    assert_eq!(
        settled["metadata"]["resourceVersion"],
        second["metadata"]["resourceVersion"]
    );
    assert_eq!(first["metadata"]["generation"], 1);
    assert_eq!(second["metadata"]["generation"], 1);
    assert_eq!(second["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    assert_eq!(
        second["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"],
        "IfNotPresent"
    );
}

#[test]
fn owners_are_those_who_wrote() {
    let mut lab = Lab::new();
    let made = lab.apply(WEB, "epid", &deployment("nginx:1", 1));
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!(
        (&entry["manager"], &entry["operation"], &entry["apiVersion"]),
        (&json!("epid"), &json!("Apply"), &json!("apps/v1"))
    );
    let fields = &entry["fieldsV1"];
    let container = "k:{\"name\":\"web\"}";
    let containers = &fields["f:spec"]["f:template"]["f:spec"]["f:containers"];
    assert_eq!(containers[container]["f:image"], json!({}));
    assert_eq!(containers[container]["."], json!({}));
    let port = "k:{\"containerPort\":80,\"protocol\":\"TCP\"}";
    assert_eq!(
        containers[container]["f:ports"][port],
        json!({".": {}, "f:containerPort": {}})
    );
    assert_eq!(fields["f:spec"]["f:selector"], json!({}), "atomic");
    assert_eq!(fields["f:metadata"]["f:labels"], json!({"f:app": {}}));
    assert!(fields["f:metadata"]["f:name"].is_null() && fields["f:spec"]["f:strategy"].is_null());
}

#[test]
fn what_others_own_is_a_conflict() {
    let mut lab = Lab::new();
    lab.apply(MAP, "one", &config_map("m", &json!({"a": "1", "b": "1"})));
    let (code, status) = lab.try_apply(MAP, "two", &config_map("m", &json!({"a": "2"})));
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
    assert_eq!(
        status["message"],
        "Apply failed with 1 conflict: conflict with \"one\": .data.a"
    );
    assert_eq!(
        status["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.a"}])
    );
    let (_, status) = lab.try_apply(MAP, "two", &config_map("m", &json!({"a": "2", "b": "2"})));
    assert_eq!(
        status["message"],
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.a\n- .data.b"
    );
    let (code, forced) = lab.ask(
        "PATCH",
        &format!("{MAP}?fieldManager=two&force=true"),
        APPLY,
        &config_map("m", &json!({"a": "2"})),
    );
    assert_eq!((code, &forced["data"]), (200, &json!({"a": "2", "b": "1"})));
    let one = forced["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["manager"] == "one")
        .unwrap();
    assert_eq!(one["fieldsV1"], json!({"f:data": {"f:b": {}}}));
}

#[test]
fn a_field_goes_with_its_last_owner() {
    let mut lab = Lab::new();
    lab.apply(MAP, "one", &config_map("m", &json!({"a": "1", "b": "1"})));
    lab.apply(MAP, "two", &config_map("m", &json!({"a": "1"})));
    let kept = lab.apply(MAP, "one", &config_map("m", &json!({"b": "1"})));
    assert_eq!(kept["data"], json!({"a": "1", "b": "1"}), "two still owns a");
    let gone = lab.apply(MAP, "two", &config_map("m", &json!({})));
    assert_eq!(gone["data"], json!({"b": "1"}));
}

#[test]
fn an_update_takes_ownership_without_conflict() {
    let mut lab = Lab::new();
    lab.apply(WEB, "epid", &deployment("nginx:1", 2));
    let (code, changed) = lab.ask("PATCH", WEB, MERGE, &json!({"spec": {"replicas": 5}}));
    assert_eq!((code, &changed["metadata"]["generation"]), (200, &json!(2)));
    let (code, status) = lab.try_apply(WEB, "epid", &deployment("nginx:1", 2));
    assert_eq!(code, 409);
    assert_eq!(
        status["message"],
        "Apply failed with 1 conflict: conflict with \"test\" using apps/v1: .spec.replicas"
    );
    // Who leaves the field out leaves it to the other.
    let mut without = deployment("nginx:1", 2);
    without["spec"].as_object_mut().unwrap().remove("replicas");
    assert_eq!(lab.apply(WEB, "epid", &without)["spec"]["replicas"], 5);
}

#[test]
fn a_dropped_field_returns_to_its_default() {
    let mut lab = Lab::new();
    let mut more = deployment("nginx:1", 3);
    more["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    lab.apply(WEB, "epid", &more);
    let mut less = deployment("nginx:1", 3);
    less["spec"].as_object_mut().unwrap().remove("replicas");
    less["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "B", "value": "2"}]);
    let after = lab.apply(WEB, "epid", &less);
    assert_eq!(after["spec"]["replicas"], 1);
    let container = &after["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["env"], json!([{"name": "B", "value": "2"}]));
}

#[test]
fn list_items_of_others_stay_in_place() {
    let mut lab = Lab::new();
    let mut first = deployment("nginx:1", 1);
    first["spec"]["template"]["spec"]["containers"] = json!([{"name": "web", "image": "nginx:1"}]);
    lab.apply(WEB, "epid", &first);
    let sidecar = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [{"name": "mesh", "image": "mesh:1"}]}}}});
    lab.apply(WEB, "mesh", &sidecar);
    first["spec"]["template"]["spec"]["containers"][0]["image"] = json!("nginx:2");
    let after = lab.apply(WEB, "epid", &first);
    let images: Vec<&Value> = after["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|container| &container["image"])
        .collect();
    assert_eq!(images, ["nginx:2", "mesh:1"]);
}

#[test]
fn a_dry_run_answers_and_changes_nothing() {
    let mut lab = Lab::new();
    let path = format!("{WEB}?fieldManager=epid&dryRun=All");
    let (code, made) = lab.ask("PATCH", &path, APPLY, &deployment("nginx:1", 1));
    assert_eq!((code, &made["spec"]["revisionHistoryLimit"]), (201, &json!(10)));
    assert!(lab.gone(WEB));
    let before = lab.apply(WEB, "epid", &deployment("nginx:1", 1));
    let (_, changed) = lab.ask("PATCH", &path, APPLY, &deployment("nginx:2", 1));
    assert_eq!(changed["metadata"]["generation"], 2);
    assert_eq!(lab.get(WEB)["spec"], before["spec"]);
}

#[test]
fn an_apply_says_what_it_does_not_know() {
    let mut lab = Lab::new();
    let mut wrong = deployment("nginx:1", 1);
    wrong["spec"]["template"]["spec"]["containers"][0]["imagee"] = json!("x");
    let (code, status) = lab.try_apply(WEB, "epid", &wrong);
    assert_eq!(code, 500);
    assert_eq!(
        status["message"],
        "failed to create typed patch object (/web; apps/v1, Kind=Deployment): \
         .spec.template.spec.containers[name=\"web\"].imagee: field not declared in schema"
    );
    let (code, _) = lab.ask("PATCH", WEB, APPLY, &deployment("nginx:1", 1));
    assert_eq!(code, 422, "a field manager is required");
}
