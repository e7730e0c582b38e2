//! A cluster to tell stories about, and what is told in each.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use epid_kubernetes::Kubernetes;
use epid_provider::{
    Call, CallRuntime, Connection, Desired, Failure, Kind, Observed, Present, Provider, Query, Record,
    Recorded, Resolved, Token, Urn, Value,
};
use serde_json::{Value as Json, json};

pub(super) const CONFIG_MAP: &str = "kubernetes:v1:ConfigMap";
pub(super) const DEPLOYMENT: &str = "kubernetes:apps/v1:Deployment";
pub(super) const CRD: &str = "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition";

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

pub(super) fn kind(text: &str) -> Kind {
    Kind::parse(text).unwrap()
}

impl Lab {
    pub(crate) fn call(&self, urn: &Urn) -> Call {
        self.call_for(urn, Duration::from_secs(120))
    }

    pub(super) fn call_for(&self, urn: &Urn, time: Duration) -> Call {
        let mut tokens = self.tokens.lock().unwrap();
        *tokens += 1;
        self.call_with(urn, &Token::from_bytes(tokens.to_be_bytes()), time)
    }

    pub(super) fn call_with(&self, urn: &Urn, token: &Token, time: Duration) -> Call {
        let deadline = self.runtime.now().after(time);
        Call::new(
            urn.clone(),
            token.clone(),
            self.lineage.clone(),
            deadline,
            self.runtime.clone(),
        )
    }

    pub(super) fn urn(&self, of: &Kind, name: &str) -> Urn {
        Urn::new("scenarios", "lab", of, name)
    }

    pub(super) async fn create(&self, of: &str, properties: Json) -> Result<Record, Failure> {
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

    pub(super) async fn update(
        &self,
        cx: &Call,
        before: &Record,
        properties: Json,
    ) -> Result<Record, Failure> {
        let applied = value(properties);
        let inputs = Resolved::new(applied.clone()).unwrap();
        let made = self.connection.update(cx, before, &inputs).await?;
        assert_eq!(made.id, before.id);
        Ok(record(&before.urn, &before.kind, applied, made))
    }

    pub(super) async fn observe(&self, record: &Record) -> Observed {
        let query = Query::Record(Box::new(record.clone()));
        let mut seen = self.connection.observe(&self.call(&record.urn), &[query]).await;
        seen.remove(0).unwrap()
    }

    pub(super) async fn present(&self, record: &Record) -> Present {
        match self.observe(record).await {
            Observed::Present(present) => *present,
            Observed::Absent => panic!("{} is absent", record.id),
        }
    }

    pub(super) async fn drift(&self, record: &Record) -> Vec<String> {
        let drift = self.provider.drift(record, &self.present(record).await);
        drift
            .changes
            .iter()
            .map(|c| format!("{}: {} -> {}", c.path, c.before, c.after))
            .collect()
    }

    pub(super) async fn delete(&self, record: &Record) -> Result<(), Failure> {
        self.connection.delete(&self.call(&record.urn), record).await
    }

    /// A namespace of its own for a story; one left over from an earlier run goes first.
    pub(super) async fn namespace(&self, name: &str) -> Record {
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
    pub(super) async fn apply_as(&self, manager: &str, path: &str, body: Json) -> Json {
        let path = format!("{path}?fieldManager={manager}&force=true");
        let (code, answer) = self
            .stranger
            .send("PATCH", &path, "application/apply-patch+yaml", body)
            .await;
        assert!(code < 300, "{code}: {answer}");
        answer
    }

    pub(super) async fn live(&self, path: &str) -> Json {
        self.stranger
            .send("GET", path, "application/json", Json::Null)
            .await
            .1
    }
}

pub(super) fn record(urn: &Urn, of: &Kind, applied: Value, made: Recorded) -> Record {
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

pub(super) fn deployment(namespace: &str, name: &str, image: &str, replicas: u32) -> Json {
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

pub(super) fn config_map(namespace: &str, name: &str, data: &Json) -> Json {
    json!({"metadata": {"name": name, "namespace": namespace}, "data": data})
}
