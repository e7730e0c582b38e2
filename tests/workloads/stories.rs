//! What people do with workloads, one story each.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::lab::Lab;

fn web_service(image: &str, tier: &str, more: &str) -> String {
    format!(
        r#"
[resources.space]
type = "kubernetes:v1:Namespace"
properties.metadata.name = "SPACE"
options.provider = "lab"

[resources.web]
type = "epid:kubernetes:WebService"
[resources.web.properties]
name = "web"
namespace = "${{space.metadata.name}}"
image = "{image}"
replicas = 2
labels = {{ app = "web", tier = "{tier}" }}
serviceType = "NodePort"
env = {{ LEVEL = "info", PORT = 8080 }}
secrets = {{ PASSWORD = "hunter2-{tier}" }}
{more}
[resources.web.options]
provider = "lab"

[outputs]
url = "${{web.url}}"
"#
    )
}

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/SPACE/deployments/web";
const SERVICE: &str = "/api/v1/namespaces/SPACE/services/web";
const INGRESS: &str = "/apis/networking.k8s.io/v1/namespaces/SPACE/ingresses/web";
const NAMESPACE: &str = "/api/v1/namespaces/SPACE";

/// Made, changed, replaced, changed by others and put back, destroyed; and nothing to do after every step.
pub(crate) fn a_web_service_from_first_to_last_run(lab: &Lab) {
    // No controller gives this Ingress an address, and the program says that it is not waited for.
    let ingress = r#"ingress = { class = "nobody", annotations = { "epid.dev/skipAwait" = "true" }, host = "web.example.com" }"#;
    lab.declare(&web_service("web:1", "a", ingress));
    lab.up();
    let made = lab.live(DEPLOYMENT);
    assert_eq!(made["status"]["availableReplicas"], 2, "{made}");
    assert_eq!(lab.live(INGRESS)["spec"]["ingressClassName"], "nobody");
    lab.epid("stack output url")
        .ends(0)
        .says("http://web.example.com/");

    lab.declare(&web_service("web:2", "a", ingress));
    assert_eq!(lab.plan(), ["update web/deployment"]);
    lab.up();
    let updated = lab.live(DEPLOYMENT);
    assert_eq!(
        updated["spec"]["template"]["spec"]["containers"][0]["image"],
        "web:2"
    );
    assert_eq!(updated["metadata"]["uid"], made["metadata"]["uid"]);

    // The selector of a Deployment cannot be changed.
    lab.declare(&web_service("web:2", "b", ingress));
    let plan = lab.plan();
    assert!(plan.contains(&"replace web/deployment".to_owned()), "{plan:?}");
    lab.up();
    let replaced = lab.live(DEPLOYMENT);
    assert_ne!(replaced["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(replaced["spec"]["selector"]["matchLabels"]["tier"], "b");

    lab.patch(DEPLOYMENT, &json!({"spec": {"replicas": 3}}));
    lab.patch(SERVICE, &json!({"spec": {"selector": {"app": "other"}}}));
    lab.epid("refresh --expect-no-changes")
        .ends(3)
        .says("spec.replicas")
        .says("spec.selector.app");
    lab.epid("up --refresh --yes").ends(0);
    lab.settled();
    assert_eq!(lab.live(DEPLOYMENT)["spec"]["replicas"], 2);
    assert_eq!(lab.live(SERVICE)["spec"]["selector"]["app"], "web");

    // Deleted by others: it comes back.
    let (code, answer) = lab.send("DELETE", SERVICE, "application/json", &json!({}));
    assert_eq!(code, 200, "{answer}");
    lab.epid("up --refresh --yes").ends(0);
    lab.settled();
    assert_eq!(lab.live(SERVICE)["spec"]["selector"]["app"], "web");

    lab.epid("destroy --yes").ends(0);
    for path in [DEPLOYMENT, SERVICE, INGRESS, NAMESPACE] {
        assert_eq!(lab.live(path), Json::Null, "{path}");
    }
    lab.epid("destroy --yes").ends(0).says("nothing to delete");
}

/// Where a class has no controller, the run says so, and does not wait for ever.
pub(crate) fn an_ingress_that_nobody_serves_is_explained(lab: &Lab) {
    let ingress = r#"ingress = { class = "nobody" }"#;
    lab.declare(&web_service("web:1", "a", ingress));
    lab.epid("up --yes")
        .ends(1)
        .says("there is no IngressClass `nobody`");
    let skipped = r#"ingress = { class = "nobody", annotations = { "epid.dev/skipAwait" = "true" } , host = "a.example.com" }"#;
    lab.declare(&web_service("web:1", "a", skipped));
    lab.up();
    lab.epid("destroy --yes").ends(0);
    assert_eq!(lab.live(NAMESPACE), Json::Null);
}

fn manifests(color: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Namespace
metadata: {{name: SPACE}}
---
apiVersion: SPACE.example.com/v1
kind: Widget
metadata: {{name: w, namespace: SPACE}}
spec: {{size: 3, color: {color}}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: widgets.SPACE.example.com}}
spec:
  group: SPACE.example.com
  scope: Namespaced
  names: {{plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {{type: integer}}
              color: {{type: string}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings, namespace: SPACE}}
data: {{color: {color}, text: "$${{HOME}} and ${{not.epid}}"}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: once, namespace: SPACE}}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{{name: once, image: "busybox:1", command: ["true"]}}]
"#
    )
}

/// Objects of a YAML file in any order: each waits for what it needs.
pub(crate) fn namespace_definition_object_and_job_in_one_run(lab: &Lab) {
    lab.declare(
        r#"
[resources.app]
type = "kubernetes:yaml:Manifests"
properties.files = ["app.yaml"]
options.provider = "lab"
"#,
    );
    lab.file("app.yaml", &manifests("red"));
    lab.up();
    let widget = "/apis/SPACE.example.com/v1/namespaces/SPACE/widgets/w";
    assert_eq!(lab.live(widget)["spec"], json!({"size": 3, "color": "red"}));
    let job = lab.live("/apis/batch/v1/namespaces/SPACE/jobs/once");
    assert_eq!(job["status"]["succeeded"], 1, "{job}");
    let settings = lab.live("/api/v1/namespaces/SPACE/configmaps/settings");
    assert_eq!(settings["data"]["text"], "$${HOME} and ${not.epid}");

    lab.file("app.yaml", &manifests("blue"));
    let mut plan = lab.plan();
    plan.sort();
    assert_eq!(plan, ["update app/configmap-settings", "update app/widget-w"]);
    lab.up();
    assert_eq!(lab.live(widget)["spec"]["color"], "blue");

    lab.epid("destroy --yes").ends(0);
    assert_eq!(lab.live(NAMESPACE), Json::Null);
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.SPACE.example.com";
    assert_eq!(lab.live(definition), Json::Null);
}

const SETTINGS: &str = "/api/v1/namespaces/SPACE/configmaps/settings";

fn settings(color: &str, options: &str) -> String {
    format!(
        r#"
[resources.settings]
type = "kubernetes:v1:ConfigMap"
properties.metadata = {{ name = "settings", namespace = "SPACE" }}
properties.data = {{ color = "{color}", mine = "x" }}
[resources.settings.options]
provider = "lab"
{options}
"#
    )
}

/// A field that another manager took is shown with its holder, and settled as the person says.
pub(crate) fn what_others_hold_is_a_conflict(lab: &Lab) {
    lab.others_namespace();
    lab.declare(&settings("red", ""));
    lab.up();
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
        "data": {"color": "green", "theirs": "y"}});
    lab.apply_as("kubectl", SETTINGS, &theirs);

    lab.declare(&settings("blue", ""));
    lab.epid("up --yes")
        .ends(1)
        .says("`data.color` is held by `kubectl`");
    assert_eq!(lab.live(SETTINGS)["data"]["color"], "green");

    // Theirs stays.
    lab.declare(&settings("blue", "ignoreChanges = [\"data.color\"]"));
    lab.up();
    assert_eq!(
        lab.live(SETTINGS)["data"],
        json!({"color": "green", "mine": "x", "theirs": "y"})
    );

    // Ours comes back.
    lab.declare(&settings("blue", ""));
    lab.epid("up --refresh --yes").ends(0);
    lab.settled();
    assert_eq!(
        lab.live(SETTINGS)["data"],
        json!({"color": "blue", "mine": "x", "theirs": "y"})
    );
    lab.epid("destroy --yes").ends(0);
    assert_eq!(lab.live(SETTINGS), Json::Null);
}

/// What is there already is never merged into; `adopt` takes it over.
pub(crate) fn what_exists_is_adopted_only_where_asked(lab: &Lab) {
    lab.others_namespace();
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"color": "green"}});
    lab.make("/api/v1/namespaces/SPACE/configmaps", &theirs);
    lab.declare(&settings("red", ""));
    lab.epid("up --yes").ends(1).says("adopt");
    assert_eq!(lab.live(SETTINGS)["data"], json!({"color": "green"}));

    lab.declare(&settings("red", "adopt = true"));
    lab.up();
    assert_eq!(lab.live(SETTINGS)["data"], json!({"color": "red", "mine": "x"}));
    lab.epid("destroy --yes").ends(0);
    assert_eq!(lab.live(SETTINGS), Json::Null);
}

/// The cause is told long before the time is over, and the next run goes on from there.
pub(crate) fn an_image_that_does_not_exist_is_explained(lab: &Lab) {
    lab.declare(&web_service("web:missing-1", "a", ""));
    let begun = Instant::now();
    lab.epid("up --yes").ends(1).says("ImagePullBackOff");
    assert!(
        begun.elapsed() < Duration::from_secs(180),
        "{:?}",
        begun.elapsed()
    );
    lab.declare(&web_service("web:1", "a", ""));
    lab.up();
    assert_eq!(lab.live(DEPLOYMENT)["status"]["availableReplicas"], 2);
    lab.epid("destroy --yes").ends(0);
    assert_eq!(lab.live(NAMESPACE), Json::Null);
}
