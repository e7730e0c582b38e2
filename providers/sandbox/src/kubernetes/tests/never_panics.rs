//! Properties: no request brings the server down, and applying twice changes nothing.

use super::{APPLY, Lab, WEB, deployment};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use serde_json::{Map, Value, json};

fn value() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("metadata".to_owned()),
        Just("spec".to_owned()),
        Just("template".to_owned()),
        Just("containers".to_owned()),
        Just("name".to_owned()),
        Just("labels".to_owned()),
        Just("managedFields".to_owned()),
        Just("finalizers".to_owned()),
        Just("ports".to_owned()),
        Just("$patch".to_owned()),
        "[a-z./~]{0,6}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((word.clone(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    #[test]
    fn any_body_is_answered(
        body in value(),
        kind in prop_oneof![
            Just("Deployment apps/v1 apis/apps/v1/namespaces/default/deployments"), Just("Service v1 api/v1/namespaces/default/services"),
            Just("Pod v1 api/v1/namespaces/default/pods"), Just("Ingress networking.k8s.io/v1 apis/networking.k8s.io/v1/namespaces/default/ingresses"),
            Just("CustomResourceDefinition apiextensions.k8s.io/v1 apis/apiextensions.k8s.io/v1/customresourcedefinitions"),
            Just("Namespace v1 api/v1/namespaces"), Just("Job batch/v1 apis/batch/v1/namespaces/default/jobs")],
        way in 0..6,
    ) {
        let mut lab = Lab::new();
        let mut words = kind.split(' ');
        let (kind, version, path) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let mut body = body;
        if let Some(map) = body.as_object_mut() {
            map.insert("kind".to_owned(), json!(kind));
            map.insert("apiVersion".to_owned(), json!(version));
            if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.insert("name".to_owned(), json!("x"));
            }
        }
        let (collection, one) = (format!("/{path}"), format!("/{path}/x?fieldManager=a"));
        match way {
            0 => { lab.ask("POST", &collection, "application/json", &body); }
            1 => { lab.ask("PUT", &one, "application/json", &body); }
            2 => { lab.ask("PATCH", &one, APPLY, &body); }
            3 => { lab.ask("DELETE", &one, "application/json", &body); }
            other => {
                lab.apply(WEB, "epid", &deployment("nginx", 1));
                let kind = ["application/strategic-merge-patch+json", "application/json-patch+json"][usize::from(other == 5)];
                lab.ask("PATCH", WEB, kind, &body);
            }
        }
        lab.pass(60);
    }

    #[test]
    fn any_path_is_answered(path in "/[a-z0-9/.%?=&:-]{0,60}", method in "GET|POST|PUT|PATCH|DELETE") {
        if path.parse::<http::Uri>().is_ok() {
            let mut lab = Lab::new();
            drop(lab.answer(&method, &path, &[], "{}"));
        }
    }

    #[test]
    fn applying_a_map_twice_changes_nothing(data in prop::collection::btree_map("[a-z]{1,5}", "[ -~]{0,8}", 0..6),
        other in prop::collection::btree_map("[a-z]{1,5}", "[ -~]{0,8}", 0..6)) {
        let mut lab = Lab::new();
        let path = "/api/v1/namespaces/default/configmaps/m";
        let map = |data: &std::collections::BTreeMap<String, String>| super::config_map("m", &json!(data));
        lab.ask("PATCH", &format!("{path}?fieldManager=two&force=true"), APPLY, &map(&other));
        let force = format!("{path}?fieldManager=one&force=true");
        let (_, first) = lab.ask("PATCH", &force, APPLY, &map(&data));
        let (_, second) = lab.ask("PATCH", &force, APPLY, &map(&data));
        assert_eq!(first, second);
        for (key, value) in &data {
            assert_eq!(second["data"][key], value.as_str());
        }
        // When the first owner lets everything go, only what the second wanted is left.
        let (_, after) = lab.ask("PATCH", &force, APPLY, &map(&std::collections::BTreeMap::new()));
        for key in data.keys().filter(|key| !other.contains_key(*key)) {
            assert!(after["data"][key].is_null());
        }
    }
}
