//! Kinds that need no cloud.

use epid_provider::{Kind, Urn, Value};

use crate::stack::{Stack, on_clock};

#[test]
fn a_value_is_changed_in_place_and_replaced_by_its_triggers() {
    on_clock(async {
        let stack = Stack::new();
        let text = |value: &str, trigger: &str| {
            format!(
                r#"{{"v": {{"type": "epid:data:Value", "properties": {{"value": "{value}", "triggers": ["{trigger}"]}}}},
                     "user": {{"type": "Item", "properties": {{"value": "${{v.value}}", "tags": ["${{v.id}}"]}}}}}}"#
            )
        };
        stack.up(&text("1", "a")).await;
        assert_eq!(stack.world.at("user")[0].text("value"), "1");
        let first = stack.world.at("user")[0].properties.get("tags").cloned();
        assert_eq!(
            stack.up(&text("2", "a")).await.did(),
            ["Updated v", "Updated user"]
        );
        assert_eq!(stack.world.at("user")[0].properties.get("tags").cloned(), first);
        assert_eq!(
            stack.up(&text("2", "b")).await.did(),
            ["Replaced v", "Updated user", "Deleted v"]
        );
        assert_ne!(stack.world.at("user")[0].properties.get("tags").cloned(), first);
        stack.destroy().await;
    });
}

#[test]
fn a_certificate_is_kept_until_an_input_changes_and_its_key_is_secret() {
    on_clock(async {
        let stack = Stack::new();
        let text = |name: &str| {
            format!(
                r#"{{"c": {{"type": "epid:tls:SelfSignedCertificate", "properties": {{"commonName": "{name}", "dnsNames": ["{name}.svc", "10.0.0.1"]}}}},
                     "$outputs": {{"key": "${{c.privateKey}}", "certificate": "${{c.certificate}}"}}}}"#
            )
        };
        let kind = Kind::parse("epid:tls:SelfSignedCertificate").unwrap();
        let urn = Urn::new("p", "s", &kind, "c");
        let output = |name: &str| {
            stack
                .snapshot()
                .live(&urn)
                .unwrap()
                .record
                .outputs
                .get(name)
                .cloned()
                .unwrap()
        };
        let ran = stack.up(&text("web")).await;
        let certificate = output("certificate");
        assert!(
            certificate
                .as_str()
                .unwrap()
                .starts_with("-----BEGIN CERTIFICATE-----")
        );
        assert!(matches!(output("privateKey"), Value::Secret(_)));
        assert!(matches!(ran.outcome.outputs.get("key"), Some(Value::Secret(_))));
        stack.up(&text("web")).await;
        assert_eq!(output("certificate"), certificate, "made once");
        assert_eq!(stack.up(&text("other")).await.did(), ["Replaced c", "Deleted c"]);
        assert_ne!(output("certificate"), certificate);
    });
}
