//! The provider: schemas, checks, diffs and links, all pure, and the connection that is not.

use std::sync::Arc;

use epid_provider::{
    Call, Connection, Desired, Diff, Failure, Key, Kind, KindSchema, Links, Op, Path, Present, Problem,
    Provider, Record, Replace, Resolved, Value, async_trait, diff,
};

use crate::name::{api_version, metadata};
use crate::settings::Settings;
use crate::{check, connect, drift, links, schema};

/// The provider `kubernetes`. Its kinds are `kubernetes:APIVERSION:KIND`: `kubernetes:apps/v1:Deployment`,
/// `kubernetes:v1:Secret`, and whatever else the cluster serves. Properties are those of the manifest without
/// `apiVersion` and `kind`; the physical id is `NAMESPACE/NAME`, or `NAME` for objects of the cluster.
#[derive(Debug)]
pub struct Kubernetes {
    settings: Settings,
    config: Arc<KindSchema>,
}

impl Kubernetes {
    /// The provider, with what the embedding program gives it.
    ///
    /// # Panics
    /// Never: the name of the configuration's kind is a constant.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "the name of the configuration's kind is a constant"
    )]
    pub fn new(settings: Settings) -> Self {
        let config = Arc::new(connect::config().expect("a constant kind"));
        Self { settings, config }
    }
}

#[async_trait]
impl Provider for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn kinds(&self) -> Vec<Kind> {
        schema::kinds()
    }

    fn schema(&self, kind: &Kind) -> Option<Arc<KindSchema>> {
        schema::schema(kind)
    }

    fn config(&self) -> Arc<KindSchema> {
        self.config.clone()
    }

    fn check(&self, desired: &Desired) -> Vec<Problem> {
        if desired.kind == self.config.kind {
            let mut problems = epid_provider::check(&self.config, &desired.properties);
            let given = |key: &str| desired.properties.get(key).is_some_and(|v| !v.is_null());
            let named = given("cluster") || given("kubeconfig");
            // Which cluster is meant is never taken from the surroundings: it would be another one some day.
            if problems.is_empty() && !named && desired.properties.as_map().is_some() {
                problems.push(
                    Problem::new(Path::root(), "a `kubernetes` provider names no cluster").with_hint(
                        "set properties.cluster = \"${cluster}\", or properties.kubeconfig to the path of a file",
                    ),
                );
            }
            return problems;
        }
        self.schema(&desired.kind)
            .map(|schema| check::check(&schema, desired))
            .unwrap_or_default()
    }

    fn diff(&self, record: &Record, desired: &Desired) -> Diff {
        let Some(schema) = self.schema(&desired.kind) else {
            return Diff::default();
        };
        let (mut before, mut after) = (record.applied.clone(), desired.properties.clone());
        if (before.get("stringData").is_some() != after.get("stringData").is_some())
            && (desired.kind.module(), desired.kind.name()) == ("v1", "Secret")
        {
            // The same text, given the other way.
            (before, after) = (drift::folded(&before), drift::folded(&after));
        }
        let mut diff = diff(&schema, &schema.mark_inputs(&before), &schema.mark_inputs(&after));
        let frozen = matches!(desired.kind.name(), "Secret" | "ConfigMap")
            && desired.kind.module() == "v1"
            && record.applied.get("immutable").map(Value::expose) == Some(&Value::Bool(true));
        let namespace = metadata(&record.outputs, "namespace").map(Value::str);
        diff.changes.retain(|change| {
            // A namespace spelled out that it was in by default is the same namespace.
            !(change.op == Op::Add
                && change.path.to_string() == "metadata.namespace"
                && Some(&change.after) == namespace.as_ref())
        });
        for change in &mut diff.changes {
            let first = change.path.to_string();
            if frozen
                && ["data", "stringData", "binaryData", "immutable"]
                    .iter()
                    .any(|key| first.starts_with(key))
            {
                change.replace = Replace::Yes;
            }
        }
        diff
    }

    fn drift(&self, record: &Record, present: &Present) -> Diff {
        self.schema(&record.kind)
            .map(|schema| drift::drift(&schema, &record.applied, &present.properties))
            .unwrap_or_default()
    }

    /// Group, kind, namespace and name. An object that leaves its namespace to the provider has none here.
    fn identity(&self, kind: &Kind, inputs: &Value) -> Option<Key> {
        let name = metadata(inputs, "name")?;
        let named = inputs.get("metadata").and_then(|m| m.expose().get("namespace"));
        if named.is_some_and(Value::has_unknown) {
            return None;
        }
        let namespace = match schema::served(kind) {
            Some(served) if !served.namespaced => "",
            _ => metadata(inputs, "namespace").unwrap_or_default(),
        };
        Some(Key::new(&format!(
            "{}/{}/{namespace}/{name}",
            api_version::group(kind.module()),
            kind.name()
        )))
    }

    fn links(&self, desired: &Desired) -> Links {
        if desired.kind == self.config.kind {
            Links::default()
        } else {
            links::links(desired)
        }
    }

    async fn connect(&self, cx: &Call, config: &Resolved) -> Result<Arc<dyn Connection>, Failure> {
        connect::connect(&self.settings, cx, config).await
    }
}
