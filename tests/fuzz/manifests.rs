//! Kubernetes manifests.

use proptest::prelude::*;

use crate::texts::{cases, change, changed};

pub(crate) const YAML: &str = r#"apiVersion: v1
kind: List
items:
- &cm
  apiVersion: v1
  kind: ConfigMap
  metadata: {name: a, labels: {app: "x"}}
  data: {a: |
    two
    lines
  , b: '1'}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: x:1
          ports: [{containerPort: 80}]
"#;

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(64), max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn changed_manifests_are_read_or_refused(changes in prop::collection::vec(change(), 1..8)) {
        let text = changed(YAML, &changes);
        match epid_kubernetes::manifest::parse(&text) {
            Ok(objects) => {
                for object in objects {
                    prop_assert!(text.get(object.kind_at.start as usize..object.kind_at.end as usize).is_some());
                }
            }
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    prop_assert!(text.get(error.at.start as usize..error.at.end as usize).is_some(), "{:?}", error);
                }
            }
        }
    }
}

#[test]
fn bombs_are_refused() {
    // Aliases that multiply, lists in lists, and a long line.
    let mut laughs = String::from("apiVersion: v1\nkind: X\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for n in 1..12 {
        laughs.push_str(&format!(
            "a{n}: &a{n} [{}]\n",
            vec![format!("*a{}", n - 1); 10].join(",")
        ));
    }
    for yaml in [
        laughs,
        format!("a: {}", "[".repeat(200_000)),
        "{".repeat(200_000),
        "- ".repeat(200_000),
        "a: ".repeat(50_000),
        "x".repeat(1_000_000),
    ] {
        assert!(epid_kubernetes::manifest::parse(&yaml).is_err());
    }
}
