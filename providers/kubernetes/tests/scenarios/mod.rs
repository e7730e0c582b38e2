//! What the provider promises, as stories against a cluster: a real control plane or a simulated one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use epid_fake::conformance::{case, conformance};
use epid_kubernetes::Kubernetes;
use epid_provider::{
    Call, CallRuntime, Connection, Desired, Failure, Intent, Kind, Observed, Operation, Outcome, Path,
    Present, Provider, Query, Record, Recorded, Recovered, Replace, Resolved, Token, Urn, Value,
};
use serde_json::{Value as Json, json};

/// Somebody else at the same cluster: `kubectl`, a controller.
#[async_trait]
pub(crate) trait Stranger: Send + Sync {
    /// Sends a request; status code and body.
    async fn send(&self, method: &str, path: &str, content_type: &str, body: Json) -> (u16, Json);
}

/// A cluster to tell stories about.
pub(crate) struct Lab {
    pub(crate) provider: Kubernetes,
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) runtime: Arc<dyn CallRuntime>,
    pub(crate) stranger: Box<dyn Stranger>,
    pub(crate) tokens: Mutex<u128>,
    pub(crate) lineage: Arc<str>,
}

pub(crate) fn value(json: Json) -> Value {
    serde_json::from_value(json).unwrap()
}

fn kind(text: &str) -> Kind {
    Kind::parse(text).unwrap()
}

impl Lab {
    pub(crate) fn call(&self, urn: &Urn) -> Call {
        self.call_for(urn, Duration::from_secs(120))
    }

    fn call_for(&self, urn: &Urn, time: Duration) -> Call {
        let mut tokens = self.tokens.lock().unwrap();
        *tokens += 1;
        self.call_with(urn, &Token::from_bytes(tokens.to_be_bytes()), time)
    }

    fn call_with(&self, urn: &Urn, token: &Token, time: Duration) -> Call {
        let deadline = self.runtime.now().after(time);
        Call::new(
            urn.clone(),
            token.clone(),
            self.lineage.clone(),
            deadline,
            self.runtime.clone(),
        )
    }

    fn urn(&self, of: &Kind, name: &str) -> Urn {
        Urn::new("scenarios", "lab", of, name)
    }

    async fn create(&self, of: &str, properties: Json) -> Result<Record, Failure> {
        let of = kind(of);
        let urn = self.urn(&of, properties["metadata"]["name"].as_str().unwrap_or("x"));
        let applied = value(properties);
        let desired = Desired {
            urn: urn.clone(),
            kind: of.clone(),
            properties: applied.clone(),
        };
        assert_eq!(self.provider.check(&desired), []);
        let inputs = Resolved::new(applied.clone()).unwrap();
        let made = self.connection.create(&self.call(&urn), &of, &inputs).await?;
        Ok(record(&urn, &of, applied, made))
    }

    async fn update(&self, cx: &Call, before: &Record, properties: Json) -> Result<Record, Failure> {
        let applied = value(properties);
        let inputs = Resolved::new(applied.clone()).unwrap();
        let made = self.connection.update(cx, before, &inputs).await?;
        assert_eq!(made.id, before.id);
        Ok(record(&before.urn, &before.kind, applied, made))
    }

    async fn observe(&self, record: &Record) -> Observed {
        let query = Query::Record(Box::new(record.clone()));
        let mut seen = self.connection.observe(&self.call(&record.urn), &[query]).await;
        seen.remove(0).unwrap()
    }

    async fn present(&self, record: &Record) -> Present {
        match self.observe(record).await {
            Observed::Present(present) => *present,
            Observed::Absent => panic!("{} is absent", record.id),
        }
    }

    async fn drift(&self, record: &Record) -> Vec<String> {
        let drift = self.provider.drift(record, &self.present(record).await);
        drift
            .changes
            .iter()
            .map(|c| format!("{}: {} -> {}", c.path, c.before, c.after))
            .collect()
    }

    async fn delete(&self, record: &Record) -> Result<(), Failure> {
        self.connection.delete(&self.call(&record.urn), record).await
    }

    /// A namespace of its own for a story; one left over from an earlier run goes first.
    async fn namespace(&self, name: &str) -> Record {
        let path = format!("/api/v1/namespaces/{name}");
        let (code, left) = self
            .stranger
            .send("DELETE", &path, "application/json", json!({}))
            .await;
        if code == 200 {
            let of = kind("kubernetes:v1:Namespace");
            let urn = self.urn(&of, name);
            let outputs = value(json!({"metadata": {"uid": left["metadata"]["uid"]}}));
            let left = record(&urn, &of, Value::default(), Recorded::new(name, outputs));
            self.delete(&left).await.unwrap();
        }
        self.create("kubernetes:v1:Namespace", json!({"metadata": {"name": name}}))
            .await
            .unwrap()
    }

    /// Somebody else's server-side apply.
    async fn apply_as(&self, manager: &str, path: &str, body: Json) -> Json {
        let path = format!("{path}?fieldManager={manager}&force=true");
        let (code, answer) = self
            .stranger
            .send("PATCH", &path, "application/apply-patch+yaml", body)
            .await;
        assert!(code < 300, "{code}: {answer}");
        answer
    }

    async fn live(&self, path: &str) -> Json {
        self.stranger
            .send("GET", path, "application/json", Json::Null)
            .await
            .1
    }
}

fn record(urn: &Urn, of: &Kind, applied: Value, made: Recorded) -> Record {
    Record {
        urn: urn.clone(),
        kind: of.clone(),
        id: made.id,
        applied,
        resolved: made.resolved,
        outputs: made.outputs,
        incomplete: made.incomplete,
        attempted: Vec::new(),
    }
}

fn deployment(namespace: &str, name: &str, image: &str, replicas: u32) -> Json {
    json!({
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "web", "image": image,
                    "ports": [{"containerPort": 8080}],
                    "resources": {"requests": {"cpu": "0.1", "memory": "64Mi"}},
                }]},
            },
        },
    })
}

fn config_map(namespace: &str, name: &str, data: &Json) -> Json {
    json!({"metadata": {"name": name, "namespace": namespace}, "data": data})
}

const CONFIG_MAP: &str = "kubernetes:v1:ConfigMap";
const DEPLOYMENT: &str = "kubernetes:apps/v1:Deployment";
const CRD: &str = "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition";

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

/// What became of a lost call is told by the operation's token.
pub(crate) async fn lost_answers_are_recovered(lab: &Lab) {
    let space = lab.namespace("lost").await;
    let of = kind(CONFIG_MAP);
    let urn = lab.urn(&of, "c");
    let inputs = Resolved::new(value(config_map("lost", "c", &json!({"a": "1"})))).unwrap();
    let cx = lab.call(&urn);
    let intent = |cx: &Call, operation, record: Option<&Record>| Intent {
        token: cx.token.clone(),
        operation,
        urn: urn.clone(),
        kind: of.clone(),
        inputs: inputs.clone(),
        record: record.cloned(),
        partial: None,
    };
    let before = lab
        .connection
        .recover(&cx, &intent(&cx, Operation::Create, None))
        .await
        .unwrap();
    assert_eq!(before, Recovered::NotDone);
    let made = lab.connection.create(&cx, &of, &inputs).await.unwrap();
    let again = lab.connection.create(&cx, &of, &inputs).await.unwrap();
    assert_eq!(
        again.outputs.get("metadata"),
        made.outputs.get("metadata"),
        "the same operation is safe to repeat"
    );
    let after = lab
        .connection
        .recover(&cx, &intent(&cx, Operation::Create, None))
        .await
        .unwrap();
    assert!(matches!(after, Recovered::Done(found) if found.id == made.id));
    let made = record(&urn, &of, inputs.value().clone(), made);
    let cx = lab.call(&urn);
    let updated = lab
        .connection
        .recover(&cx, &intent(&cx, Operation::Update, Some(&made)))
        .await
        .unwrap();
    assert_eq!(updated, Recovered::NotDone, "another operation's token");
    let deleted = lab
        .connection
        .recover(&cx, &intent(&cx, Operation::Delete, Some(&made)))
        .await
        .unwrap();
    assert_eq!(deleted, Recovered::NotDone);
    lab.delete(&made).await.unwrap();
    let deleted = lab
        .connection
        .recover(&cx, &intent(&cx, Operation::Delete, Some(&made)))
        .await
        .unwrap();
    assert_eq!(deleted, Recovered::Deleted);
    lab.delete(&space).await.unwrap();
}

/// Many objects of a kind are read by one list; the answers come in order.
pub(crate) async fn many_are_observed_at_once(lab: &Lab) {
    let space = lab.namespace("many").await;
    let mut records = Vec::new();
    for n in 0..5 {
        let name = format!("c{n}");
        records.push(
            lab.create(CONFIG_MAP, config_map("many", &name, &json!({"n": name})))
                .await
                .unwrap(),
        );
    }
    lab.delete(&records[3]).await.unwrap();
    let mut queries: Vec<Query> = records
        .iter()
        .map(|r| Query::Record(Box::new(r.clone())))
        .collect();
    queries.insert(2, Query::Record(Box::new(space.clone())));
    let widget = kind("kubernetes:nowhere.example.com/v1:Nothing");
    queries.push(Query::Id {
        urn: lab.urn(&widget, "w"),
        kind: widget,
        id: Arc::from("many/w"),
    });
    let seen = lab.connection.observe(&lab.call(&space.urn), &queries).await;
    let told: Vec<String> = seen
        .into_iter()
        .map(|answer| match answer.unwrap() {
            Observed::Present(present) => present.id.to_string(),
            Observed::Absent => "absent".to_owned(),
        })
        .collect();
    assert_eq!(
        told,
        [
            "many/c0", "many/c1", "many", "many/c2", "absent", "many/c4", "absent"
        ]
    );
    lab.delete(&space).await.unwrap();
}
