//! Kubernetes YAML as people have it: each object is a resource of its own, after what it needs.

#![cfg(feature = "sandbox")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that lays a project out and runs the program; what fails fails it"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

const FILES: [(&str, &str); 6] = [
    ("Epid.toml", "name = \"p\"\n"),
    (
        "stacks/s.toml",
        r#"
[providers.k]
type = "kubernetes"
properties.kubeconfig = "x"
[resources.app]
type = "kubernetes:yaml:Manifests"
properties.files = ["k8s/*.yaml", "k8s/**/*.yml", "k8s/all.json", "k8s/a.yaml"]
[resources.after]
type = "epid:data:Value"
properties.value = "${app.objects['service-web'].metadata.name}"
"#,
    ),
    (
        "k8s/a.yaml",
        r"# The app, before the namespace that it is in.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
  labels: &labels {app: web}
spec:
  selector: {matchLabels: *labels}
  template:
    metadata: {labels: *labels}
    spec:
      serviceAccountName: web
      containers:
        - name: web
          image: nginx:1
          envFrom: [{configMapRef: {name: web}}]
---
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
",
    ),
    (
        "k8s/deep/er/b.yml",
        r#"apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Namespace
  metadata: {name: shop}
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: web, namespace: shop}
  data: {literal: "${not.an.expression}"}
- apiVersion: v1
  kind: ConfigMapList
  items:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: web, namespace: default}}
"#,
    ),
    (
        "k8s/all.json",
        r#"{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
 "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
  "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}
"#,
    ),
    (
        "k8s/c.yaml",
        "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: one, namespace: shop}\nspec: {size: 3}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: shop}\n",
    ),
];

fn epid(folder: &Path, arguments: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_epid"))
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .env_clear()
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_object_is_a_resource_after_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in FILES {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    insta::assert_snapshot!(epid(folder.path(), "preview --sandbox --offline"), @r#"
    p/s   sandbox:5692161d   nothing recorded yet

      + app                                   kubernetes:yaml:Manifests
        + namespace-shop                      kubernetes:v1:Namespace
            metadata.name   "shop"
        + service-web                         kubernetes:v1:Service           ~5 s
            metadata.name        "web"
            metadata.namespace   "shop"
            spec.ports[0].port   80
            spec.selector.app    "web"
        + serviceaccount-web                  kubernetes:v1:ServiceAccount
            metadata.name        "web"
            metadata.namespace   "shop"
        + configmap-shop-web                  kubernetes:v1:ConfigMap
            data.literal         "${not.an.expression}"
            metadata.name        "web"
            metadata.namespace   "shop"
        + deployment-web                      kubernetes:apps/v1:Deployment   ~30 s
            metadata.labels.app                        "web"
            metadata.name                              "web"
            metadata.namespace                         "shop"
            spec.selector.matchLabels.app              "web"
            spec.template.metadata.labels.app          "web"
            spec.template.spec.containers[web].envFrom[0].configMapRef.name   "web"
            spec.template.spec.containers[web].image   "nginx:1"
            spec.template.spec.containers[web].name    "web"
            spec.template.spec.serviceAccountName      "web"
        + configmap-default-web               kubernetes:v1:ConfigMap
            metadata.name        "web"
            metadata.namespace   "default"
        + customresourcedefinition-things.example.com  kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition
            metadata.name                                  "things.example.com"
            spec.group                                     "example.com"
            spec.names.kind                                "Thing"
            spec.names.plural                              "things"
            spec.scope                                     "Namespaced"
            spec.versions[0].name                          "v1"
            spec.versions[0].schema.openAPIV3Schema.type   "object"
            spec.versions[0].served                        true
            spec.versions[0].storage                       true
        + thing-one                           kubernetes:example.com/v1:Thing
            metadata.name        "one"
            metadata.namespace   "shop"
            spec.size            3
      + after                                 epid:data:Value
          value   "web"

      9 to create
      about 33 s
    "#);
    insta::assert_snapshot!(epid(folder.path(), "graph --sandbox --format mermaid"), @r#"
    flowchart LR
        n0["k<br/><small>epid:provider:kubernetes</small>"]
        n9["after<br/><small>epid:data:Value</small>"]
      subgraph g1["app"]
        n1["namespace-shop<br/><small>kubernetes:v1:Namespace</small>"]
        n2["service-web<br/><small>kubernetes:v1:Service</small>"]
        n3["serviceaccount-web<br/><small>kubernetes:v1:ServiceAccount</small>"]
        n4["configmap-shop-web<br/><small>kubernetes:v1:ConfigMap</small>"]
        n5["deployment-web<br/><small>kubernetes:apps/v1:Deployment</small>"]
        n6["configmap-default-web<br/><small>kubernetes:v1:ConfigMap</small>"]
        n7["customresourcedefinition-things.example.com<br/><small>kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition</small>"]
        n8["thing-one<br/><small>kubernetes:example.com/v1:Thing</small>"]
      end
      n1 --> n0
      n2 --> n0
      n2 --> n1
      n3 --> n0
      n3 --> n1
      n4 --> n0
      n4 --> n1
      n5 --> n0
      n5 --> n1
      n5 --> n3
      n5 --> n4
      n6 --> n0
      n7 --> n0
      n8 --> n0
      n8 --> n1
      n8 --> n7
      n9 --> n2
    "#);
}
