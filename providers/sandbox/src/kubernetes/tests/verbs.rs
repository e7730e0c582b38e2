//! Create, read, update, patch, delete, watch, and what is refused.

use super::{Lab, MERGE, WEB, config_map, deployment};
use crate::Answer;
use crate::cloud::Access;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

#[test]
fn refusals_are_worded_as_on_the_real_server() {
    let mut lab = Lab::new();
    let (code, status) = lab.ask("GET", WEB, "", &Value::Null);
    assert_eq!(code, 404);
    assert_eq!(status["message"], "deployments.apps \"web\" not found");
    assert_eq!(
        status["details"],
        json!({"name": "web", "group": "apps", "kind": "deployments"})
    );
    lab.post(MAPS, &config_map("m", &json!({"a": "1"})));
    let (code, status) = lab.ask("POST", MAPS, "application/json", &config_map("m", &json!({})));
    assert_eq!(
        (code, &status["message"]),
        (409, &json!("configmaps \"m\" already exists"))
    );
    let (code, status) = lab.ask(
        "POST",
        "/api/v1/namespaces/none/configmaps",
        "application/json",
        &config_map("m", &json!({})),
    );
    assert_eq!(
        (code, &status["message"]),
        (404, &json!("namespaces \"none\" not found"))
    );
    let mut wrong = deployment("", 1);
    wrong["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let (code, status) = lab.ask("POST", DEPLOYMENTS, "application/json", &wrong);
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "Deployment.apps \"web\" is invalid: [spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` \
         does not match template `labels`, spec.template.spec.containers[0].image: Required value]"
    );
    assert_eq!(status["details"]["causes"][1]["reason"], "FieldValueRequired");
}

#[test]
fn unknown_fields_are_refused_warned_about_or_dropped() {
    let mut lab = Lab::new();
    let mut wrong = deployment("nginx", 1);
    wrong["spec"]["replicaz"] = json!(1);
    let (code, status) = lab.ask(
        "POST",
        &format!("{DEPLOYMENTS}?fieldValidation=Strict"),
        "application/json",
        &wrong,
    );
    assert_eq!(code, 400);
    assert_eq!(
        status["message"],
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.replicaz\""
    );
    let Answer::Done(response) = lab.answer("POST", DEPLOYMENTS, &[], &wrong.to_string()) else {
        panic!("no watch was asked for")
    };
    assert_eq!(response.status(), 201);
    assert_eq!(
        response.headers()["warning"],
        "299 - \"unknown field \\\"spec.replicaz\\\"\""
    );
    assert!(lab.get(WEB)["spec"]["replicaz"].is_null());
    let mut wrong = deployment("nginx", 1);
    wrong["spec"]["replicas"] = json!("three");
    let (code, status) = lab.ask("POST", DEPLOYMENTS, "application/json", &wrong);
    assert_eq!(code, 400);
    assert_eq!(
        status["message"],
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field \
         DeploymentSpec.spec.replicas of type int32"
    );
}

#[test]
fn concurrent_updates_are_a_conflict() {
    let mut lab = Lab::new();
    let mut mine = lab.post(MAPS, &config_map("m", &json!({"a": "1"})));
    let path = format!("{MAPS}/m");
    lab.ask("PATCH", &path, MERGE, &json!({"data": {"a": "2"}}));
    mine["data"]["a"] = json!("3");
    let (code, status) = lab.ask("PUT", &path, "application/json", &mine);
    assert_eq!(code, 409);
    assert_eq!(
        status["message"],
        "Operation cannot be fulfilled on configmaps \"m\": the object has been modified; please apply your changes to the \
         latest version and try again"
    );
    mine["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    assert_eq!(lab.ask("PUT", &path, "application/json", &mine).0, 200);
}

#[test]
fn immutable_fields_stay() {
    let mut lab = Lab::new();
    lab.apply(WEB, "epid", &deployment("nginx:1", 1));
    let change = json!({"spec": {"selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}}}});
    let (code, status) = lab.ask("PATCH", WEB, MERGE, &change);
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "Deployment.apps \"web\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"x\"}}: field is immutable"
    );
}

#[test]
fn services_get_addresses_and_ports_of_their_own() {
    let mut lab = Lab::new();
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, port: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "nodePort": port}]}})
    };
    let one = lab.post(services, &service("one", Value::Null));
    let port = one["spec"]["ports"][0]["nodePort"].as_i64().unwrap();
    assert!((30_000..=32_767).contains(&port));
    assert_eq!(one["spec"]["ports"][0]["targetPort"], 80);
    assert!(one["spec"]["clusterIP"].as_str().unwrap().starts_with("10.100."));
    let (code, status) = lab.ask("POST", services, "application/json", &service("two", json!(port)));
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        format!(
            "Service \"two\" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated"
        )
    );
    let (_, status) = lab.ask("POST", services, "application/json", &service("two", json!(80)));
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("The range of valid ports is 30000-32767")
    );
    // An apply that does not mention the address keeps it.
    let path = format!("{services}/one");
    let again = lab.apply(&path, "epid", &service("one", json!(port)));
    assert_eq!(again["spec"]["clusterIP"], one["spec"]["clusterIP"]);
}

#[test]
fn secrets_take_text_and_answer_base64() {
    let mut lab = Lab::new();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "s-"}, "stringData": {"k": "v"}, "immutable": true});
    let made = lab.post("/api/v1/namespaces/default/secrets", &secret);
    assert_eq!(
        (&made["data"], &made["type"]),
        (&json!({"k": "dg=="}), &json!("Opaque"))
    );
    assert!(made["stringData"].is_null());
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("s-") && name.len() == 7);
    let path = format!("/api/v1/namespaces/default/secrets/{name}");
    let (code, status) = lab.ask("PATCH", &path, MERGE, &json!({"data": {"k": "eA=="}}));
    assert_eq!(code, 422);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .ends_with("data: Forbidden: field is immutable when `immutable` is set")
    );
}

#[test]
fn deletion_respects_preconditions_and_finalizers() {
    let mut lab = Lab::new();
    let mut map = config_map("m", &json!({}));
    map["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let made = lab.post(MAPS, &map);
    let path = format!("{MAPS}/m");
    let (code, status) = lab.ask(
        "DELETE",
        &path,
        "application/json",
        &json!({"preconditions": {"uid": "other"}}),
    );
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
    let uid = made["metadata"]["uid"].clone();
    let (code, marked) = lab.ask(
        "DELETE",
        &path,
        "application/json",
        &json!({"preconditions": {"uid": uid}}),
    );
    assert_eq!(code, 200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(lab.get(&path)["metadata"]["uid"], uid);
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    assert_eq!(lab.ask("PATCH", &path, MERGE, &more).0, 422);
    lab.ask("PATCH", &path, MERGE, &json!({"metadata": {"finalizers": null}}));
    assert!(lab.gone(&path));
}

#[test]
fn watches_tell_what_their_selector_sees() {
    let mut lab = Lab::new();
    let mut watch = lab.watch(&format!(
        "{MAPS}?watch=true&labelSelector=on%3Dyes&resourceVersion=0"
    ));
    assert!(lab.events(&mut watch).is_empty());
    let mut map = config_map("m", &json!({}));
    lab.post(MAPS, &map);
    assert!(lab.events(&mut watch).is_empty());
    map["metadata"]["labels"] = json!({"on": "yes"});
    let path = format!("{MAPS}/m");
    for (change, event) in [
        (json!({"metadata": {"labels": {"on": "yes"}}}), "ADDED"),
        (json!({"data": {"k": "v"}}), "MODIFIED"),
        (json!({"metadata": {"labels": null}}), "DELETED"),
    ] {
        lab.ask("PATCH", &path, MERGE, &change);
        assert_eq!(lab.events(&mut watch), [(event.to_owned(), "m".to_owned())]);
    }
    let revision = lab.get(MAPS)["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    lab.delete(&path);
    let mut resumed = lab.watch(&format!("{MAPS}?watch=1&resourceVersion={revision}"));
    assert_eq!(lab.events(&mut resumed), [("DELETED".to_owned(), "m".to_owned())]);
    let mut short = lab.watch(&format!("{MAPS}?watch=1&timeoutSeconds=5"));
    assert!(!lab.events(&mut short).is_empty());
    lab.pass(6);
    assert!(lab.cluster.poll_watch(lab.now, &mut short).is_none(), "over");
}

#[test]
fn old_watches_are_told_to_list_again() {
    let mut lab = Lab::new();
    lab.post(MAPS, &config_map("m", &json!({})));
    // A snapshot keeps no history.
    lab.cluster = serde_json::from_str(&serde_json::to_string(&lab.cluster).unwrap()).unwrap();
    let mut old = lab.watch(&format!("{MAPS}?watch=1&resourceVersion=1"));
    let lines = lab.cluster.poll_watch(lab.now, &mut old).unwrap();
    let event: Value = serde_json::from_slice(&lines[0]).unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
}

#[test]
fn lists_come_in_pages() {
    let mut lab = Lab::new();
    for name in ["a", "b", "c"] {
        lab.post(MAPS, &config_map(name, &json!({})));
    }
    let first = lab.get(&format!("{MAPS}?limit=2"));
    let next = first["metadata"]["continue"].as_str().unwrap().to_owned();
    let second = lab.get(&format!("{MAPS}?limit=5&continue={}", next.replace('|', "%7C")));
    let names: Vec<&Value> = [&first, &second]
        .into_iter()
        .flat_map(|page| page["items"].as_array().unwrap())
        .map(|item| &item["metadata"]["name"])
        .collect();
    assert_eq!(names, ["a", "b", "c", "kube-root-ca.crt"]);
}

#[test]
fn access_decides_what_is_seen() {
    let mut lab = Lab::new();
    lab.cloud.access = Access::View;
    assert_eq!(lab.ask("GET", MAPS, "", &Value::Null).0, 200);
    let (code, status) = lab.ask("GET", "/api/v1/namespaces/default/secrets", "", &Value::Null);
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        "secrets is forbidden: User \"arn:aws:iam::000000000000:user/sandbox\" cannot list resource \"secrets\" in API group \"\" \
         in the namespace \"default\""
    );
    assert_eq!(
        lab.ask("POST", MAPS, "application/json", &config_map("m", &json!({})))
            .0,
        403
    );
    lab.cloud.access = Access::Edit;
    assert_eq!(
        lab.ask("POST", MAPS, "application/json", &config_map("m", &json!({})))
            .0,
        201
    );
    assert_eq!(
        lab.ask("DELETE", "/api/v1/namespaces/default", "", &Value::Null)
            .0,
        403
    );
}

#[test]
fn custom_kinds_are_served_a_moment_after_their_definition() {
    let mut lab = Lab::new();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"spec": {"type": "object", "required": ["size"], "properties": {"size": {"type": "integer"},
                    "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer", "default": 1}}}}}}}}}}]},
    });
    lab.post(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        &definition,
    );
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3, "parts": [{"name": "a"}]}});
    assert_eq!(lab.ask("POST", widgets, "application/json", &widget).0, 404);
    lab.pass(1);
    let made = lab.apply(&format!("{widgets}/w"), "epid", &widget);
    assert_eq!(made["spec"]["parts"][0]["n"], 1, "defaults of the schema");
    let owned = &made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:parts"];
    assert!(owned["k:{\"name\":\"a\"}"].is_object(), "{owned}");
    let bad =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "x"}, "spec": {}});
    let (code, status) = lab.ask("POST", widgets, "application/json", &bad);
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "Widget.example.com \"x\" is invalid: spec.size: Required value"
    );
    lab.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com");
    lab.pass(1);
    assert_eq!(lab.ask("GET", widgets, "", &Value::Null).0, 404);
}

#[test]
fn discovery_names_every_kind_in_both_forms() {
    let mut lab = Lab::new();
    let apps = lab.get("/apis/apps/v1");
    let names: Vec<&str> = apps["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"deployments") && names.contains(&"deployments/scale"));
    let accept = [(
        "accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    )];
    let Answer::Done(response) = lab.answer("GET", "/apis", &accept, "") else {
        panic!("no watch was asked for")
    };
    let groups: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(groups["kind"], "APIGroupDiscoveryList");
    assert!(
        response.headers()["content-type"]
            .to_str()
            .unwrap()
            .contains("g=apidiscovery.k8s.io")
    );
}
