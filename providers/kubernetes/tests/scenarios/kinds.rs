//! What each kind is made, changed and replaced like.

use std::time::Duration;

use epid_fake::conformance::{case, conformance};
use epid_provider::{Desired, Observed, Outcome, Provider, Replace, Token, Urn};
use serde_json::{Value as Json, json};

use super::lab::{CONFIG_MAP, CRD, DEPLOYMENT, Lab, config_map, deployment, value};

/// Every kind a WebService is made of keeps the contract.
pub(crate) async fn every_kind_conforms(lab: &Lab) {
    let space = lab.namespace("conformance").await;
    let named = |name: &str| json!({"name": name, "namespace": "conformance"});
    let map = |a: &str| value(config_map("conformance", "settings", &json!({"a": a, "b": ""})));
    let secret = |password: &str| {
        value(
            json!({"metadata": named("login"), "stringData": {"password": password}, "data": {"user": "YWRtaW4="}}),
        )
    };
    let service = |port: u16| {
        value(
            json!({"metadata": named("web"), "spec": {"selector": {"app": "web"}, "ports": [{"port": port, "targetPort": "http"}]}}),
        )
    };
    let role = |verb: &str| {
        value(
            json!({"metadata": named("reader"), "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]}),
        )
    };
    let cases = [
        case(
            CONFIG_MAP,
            map("1"),
            [map("2"), value(config_map("conformance", "settings", &json!({})))],
        ),
        case("kubernetes:v1:Secret", secret("one"), [secret("two")]),
        case("kubernetes:v1:Service", service(80), [service(81)]),
        case(
            "kubernetes:v1:ServiceAccount",
            value(json!({"metadata": named("runner")})),
            [],
        ),
        case(
            "kubernetes:rbac.authorization.k8s.io/v1:Role",
            role("get"),
            [role("list")],
        ),
        case(
            "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding",
            value(json!({"metadata": named("reads"),
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
                "subjects": [{"kind": "ServiceAccount", "name": "runner"}]})),
            [],
        ),
        case(
            DEPLOYMENT,
            value(deployment("conformance", "web", "web:1", 1)),
            [value(deployment("conformance", "web", "web:2", 2))],
        ),
        case(
            "kubernetes:v1:Namespace",
            value(json!({"metadata": {"name": "conformance-inner"}})),
            [],
        ),
    ]
    .map(Result::unwrap);
    let call = |urn: &Urn, token: &Token| lab.call_with(urn, token, Duration::from_secs(120));
    let found = conformance(&lab.provider, &*lab.connection, &call, &cases).await;
    assert_eq!(found, Vec::<String>::new());
    lab.delete(&space).await.unwrap();
}

/// An immutable field is planned as a replacement; a server that refuses one says what to do.
pub(crate) async fn immutable_fields_are_replaced(lab: &Lab) {
    let space = lab.namespace("immutable").await;
    let made = lab
        .create(DEPLOYMENT, deployment("immutable", "web", "web:1", 1))
        .await
        .unwrap();
    let mut other = deployment("immutable", "web", "web:1", 1);
    other["spec"]["selector"]["matchLabels"] = json!({"app": "web", "tier": "1"});
    other["spec"]["template"]["metadata"]["labels"] = json!({"app": "web", "tier": "1"});
    let desired = Desired {
        urn: made.urn.clone(),
        kind: made.kind.clone(),
        properties: value(other.clone()),
    };
    assert_eq!(lab.provider.diff(&made, &desired).replace(), Replace::Yes);
    let refused = lab
        .update(&lab.call(&made.urn), &made, other.clone())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code.as_str(), &refused.outcome),
        ("Immutable", &Outcome::NotStarted)
    );
    assert!(refused.hint.unwrap().contains("replaceOnChanges"));
    lab.delete(&made).await.unwrap();
    let next = lab.create(DEPLOYMENT, other).await.unwrap();
    assert_ne!(next.outputs.get("metadata"), made.outputs.get("metadata"));
    assert_eq!(
        lab.observe(&made).await,
        Observed::Absent,
        "another object has its name"
    );
    lab.delete(&made).await.unwrap();
    assert!(
        matches!(lab.observe(&next).await, Observed::Present(_)),
        "a delete of the old one spares the new one"
    );
    lab.delete(&space).await.unwrap();
}

fn widgets() -> Json {
    json!({
        "metadata": {"name": "widgets.epid.example.com"},
        "spec": {
            "group": "epid.example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object",
                "properties": {"spec": {"type": "object", "properties": {
                    "size": {"type": "integer"}, "color": {"type": "string", "default": "red"},
                }}},
            }}}],
        },
    })
}

/// A definition is done when objects of it can be made; when it is gone, so are they.
pub(crate) async fn custom_resources_follow_their_definition(lab: &Lab) {
    let space = lab.namespace("custom").await;
    let widget =
        |size: u32| json!({"metadata": {"name": "w", "namespace": "custom"}, "spec": {"size": size}});
    let of = "kubernetes:epid.example.com/v1:Widget";
    let early = lab.create(of, widget(1)).await.unwrap_err();
    assert_eq!(
        (early.code.as_str(), &early.outcome),
        ("NoSuchKind", &Outcome::NotStarted)
    );
    let crd = lab.create(CRD, widgets()).await.unwrap();
    let made = lab.create(of, widget(1)).await.unwrap();
    assert_eq!(lab.drift(&made).await, [""; 0], "defaults are no drift");
    let made = lab.update(&lab.call(&made.urn), &made, widget(2)).await.unwrap();
    assert_eq!(lab.drift(&made).await, [""; 0]);
    let wrong = json!({"metadata": {"name": "w", "namespace": "custom"}, "spec": {"sise": 1}});
    let refused = lab.update(&lab.call(&made.urn), &made, wrong).await.unwrap_err();
    assert!(refused.message.contains("sise"), "{}", refused.message);
    lab.delete(&crd).await.unwrap();
    assert_eq!(lab.observe(&made).await, Observed::Absent);
    lab.delete(&made).await.unwrap();
    lab.delete(&space).await.unwrap();
}
