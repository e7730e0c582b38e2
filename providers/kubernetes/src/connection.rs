//! A connected cluster: where things are, and who asks what.

use std::sync::Arc;

use epid_provider::{
    Call, Connection, Failure, Intent, Kind, Observed, Operation, Query, Record, Recorded, Recovered,
    Resolved, Retry, async_trait,
};
use serde_json::Value as Json;

use crate::api::{Api, Expected, Route};
use crate::name::{Place, TOKEN, metadata, short};
use crate::refusal::Doing;
use crate::{apply, observe, remove, wire};

/// A connected cluster.
pub(crate) struct Cluster {
    pub(crate) api: Arc<Api>,
    identity: String,
    /// The namespace of objects that name none.
    pub(crate) namespace: String,
}

/// An object's route and place.
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) route: Route,
    pub(crate) place: Place,
}

impl Target {
    /// The path of the object.
    pub(crate) fn path(&self) -> String {
        self.route.object(&self.place)
    }

    /// What a read or a write of it answers.
    pub(crate) fn expected(&self) -> Expected<'_> {
        Expected::Object(&self.route.api_version, self.kind.name())
    }

    /// As people call it: `Deployment shop/web`.
    pub(crate) fn told(&self) -> String {
        format!("{} {}", short(&self.kind), self.place)
    }
}

impl Cluster {
    pub(crate) fn new(api: Arc<Api>, identity: String, namespace: String) -> Self {
        Self {
            api,
            identity,
            namespace,
        }
    }

    /// Where an object with these inputs is, or would be.
    pub(crate) async fn of_inputs(
        &self,
        cx: &Call,
        kind: &Kind,
        inputs: &Resolved,
    ) -> Result<Target, Failure> {
        let route = self.served(cx, kind).await?;
        let Some(name) = metadata(inputs.value(), "name") else {
            return Err(Failure::new(
                "NoName",
                format_args!("the {} has no `metadata.name`", kind.name()),
            ));
        };
        let namespace = metadata(inputs.value(), "namespace").unwrap_or(&self.namespace);
        let place = Place {
            namespace: route.namespaced.then(|| Arc::from(namespace)),
            name: Arc::from(name),
        };
        Ok(Target {
            kind: kind.clone(),
            route,
            place,
        })
    }

    /// Where a recorded object is; `None` where the cluster serves its kind no more.
    pub(crate) async fn of_id(&self, cx: &Call, kind: &Kind, id: &str) -> Result<Option<Target>, Failure> {
        let route = self
            .api
            .route(cx, kind)
            .await
            .map_err(|refusal| refusal.failure(Doing::Read))?;
        Ok(route.map(|route| {
            let place = Place::parse(id, route.namespaced, &self.namespace);
            Target {
                kind: kind.clone(),
                route,
                place,
            }
        }))
    }

    async fn served(&self, cx: &Call, kind: &Kind) -> Result<Route, Failure> {
        let route = self
            .api
            .route(cx, kind)
            .await
            .map_err(|refusal| refusal.failure(Doing::Read))?;
        route.ok_or_else(|| {
            Failure::new(
                "NoSuchKind",
                format_args!("the cluster serves no kind {} in {}", kind.name(), kind.module()),
            )
            .with_retry(Retry::Yes)
            .with_hint(
                "declare its CustomResourceDefinition, or let this resource depend on what installs it",
            )
        })
    }

    /// The live object; `None` where there is provably none.
    pub(crate) async fn live(&self, cx: &Call, target: &Target) -> Result<Option<Json>, Failure> {
        match self.api.get(cx, &target.path(), target.expected()).await {
            Ok(live) => Ok(Some(live)),
            Err(refusal) if refusal.is_absent() => Ok(None),
            Err(refusal) => Err(refusal.failure(Doing::Read)),
        }
    }
}

#[async_trait]
impl Connection for Cluster {
    fn identity(&self) -> &str {
        &self.identity
    }

    async fn observe(&self, cx: &Call, queries: &[Query]) -> Vec<Result<Observed, Failure>> {
        observe::observe(self, cx, queries).await
    }

    async fn create(&self, cx: &Call, kind: &Kind, inputs: &Resolved) -> Result<Recorded, Failure> {
        apply::create(self, cx, kind, inputs).await
    }

    async fn update(&self, cx: &Call, record: &Record, inputs: &Resolved) -> Result<Recorded, Failure> {
        apply::update(self, cx, record, inputs).await
    }

    async fn delete(&self, cx: &Call, record: &Record) -> Result<(), Failure> {
        remove::remove(self, cx, record).await
    }

    /// An apply that carried the operation's token through took effect; one that is not there did not. An object that is
    /// there but does not work yet is partial: an update waits for it. A delete that is under way is waited for.
    async fn recover(&self, cx: &Call, intent: &Intent) -> Result<Recovered, Failure> {
        if intent.operation == Operation::Delete {
            let Some(record) = &intent.record else {
                return Ok(Recovered::NotDone);
            };
            let Some(target) = self.of_id(cx, &record.kind, &record.id).await? else {
                return Ok(Recovered::Deleted);
            };
            return match self.live(cx, &target).await? {
                Some(live) if apply::is_another(record, &live) => Ok(Recovered::Deleted),
                // What was asked to go cannot be called back: it is not there to be kept.
                Some(live) if apply::is_leaving(&live) => {
                    remove::until_gone(self, cx, &target, wire::metadata(&live, "uid")).await?;
                    Ok(Recovered::Deleted)
                }
                Some(_) => Ok(Recovered::NotDone),
                None => Ok(Recovered::Deleted),
            };
        }
        let target = match &intent.record {
            Some(record) => self.of_id(cx, &record.kind, &record.id).await?,
            None => match self.of_inputs(cx, &intent.kind, &intent.inputs).await {
                Ok(target) => Some(target),
                Err(failure) if failure.code == "NoSuchKind" => None,
                Err(failure) => return Err(failure),
            },
        };
        let Some(target) = target else {
            return Ok(Recovered::NotDone);
        };
        let live = self.live(cx, &target).await?;
        let applied = live
            .filter(|live| live["metadata"]["annotations"][TOKEN].as_str() == Some(intent.token.as_str()));
        match applied {
            None => Ok(Recovered::NotDone),
            Some(live) => apply::recovered(self, cx, &target, live).await,
        }
    }
}

/// The record of a live object.
pub(crate) fn recorded(target: &Target, live: &Json) -> Recorded {
    Recorded::new(target.place.id(), wire::outputs(&target.kind, live))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use bytes::Bytes;
    use epid_fake::JumpingRuntime;
    use epid_provider::{Provider, Timestamp, Token, Urn, Value};
    use http_body_util::Full;
    use serde_json::json;

    use super::*;
    use crate::{BearerToken, Kubernetes, Settings, TokenSource};

    struct Tokens;

    #[async_trait]
    impl TokenSource for Tokens {
        async fn token(&self, _cx: &Call, _cluster: &crate::Cluster) -> Result<BearerToken, Failure> {
            Ok(BearerToken {
                token: "t".to_owned(),
                expires: Timestamp(u64::MAX),
            })
        }
    }

    /// A cluster in which a ConfigMap on its way out is seen `looks` times.
    fn simulated(looks: u64) -> Kubernetes {
        let left = Arc::new(AtomicU64::new(looks));
        let handler = move |request: http::Request<Bytes>| {
            let leaving = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            let (code, body) = match request.uri().path() {
                "/api/v1/namespaces/kube-system" => (
                    200,
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"uid": "cluster"}}),
                ),
                "/api/v1/namespaces/a/configmaps/b" if leaving().is_ok() => {
                    let metadata = json!({"name": "b", "namespace": "a", "uid": "u",
                        "deletionTimestamp": "2026-11-22T10:00:00Z", "finalizers": ["x.example/hold"]});
                    (
                        200,
                        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}),
                    )
                }
                _ => {
                    let status = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404,
                        "details": {"name": "b", "kind": "configmaps"}});
                    (404, status)
                }
            };
            let answer = http::Response::builder()
                .status(code)
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(body.to_string())));
            async move { answer }
        };
        Kubernetes::new(Settings::simulated(Arc::new(Tokens), handler))
    }

    fn value(json: Json) -> Value {
        serde_json::from_value(json).unwrap()
    }

    async fn connected(looks: u64, namespace: Option<&str>, cx: &Call) -> Arc<dyn Connection> {
        let cluster = json!({"name": "c", "endpoint": "https://c.example", "region": "r"});
        let config = value(json!({"cluster": cluster, "namespace": namespace}));
        let config = Resolved::new(config).unwrap();
        simulated(looks).connect(cx, &config).await.unwrap()
    }

    /// A captive portal's page, or JSON of something else: nothing is gone, nothing was done.
    #[tokio::test]
    async fn what_is_not_the_api_servers_says_nothing_of_objects() {
        const PAGE: &str = "<html><head><title>Log in</title></head><body/></html>";
        let another = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"b","uid":"u"}}"#;
        let kind = Kind::parse("kubernetes:v1:ConfigMap").unwrap();
        let urn = Urn::new("p", "s", &kind, "b");
        let record = |id: &str| Record {
            urn: urn.clone(),
            kind: kind.clone(),
            id: id.into(),
            applied: Value::default(),
            resolved: Value::default(),
            outputs: value(json!({"metadata": {"uid": "u"}})),
            incomplete: Vec::new(),
            attempted: Vec::new(),
        };
        for (status, content_type, body) in [
            (200, "text/html", PAGE),
            (404, "text/html", PAGE),
            (200, "application/json", "{}"),
            (200, "application/json", r#"{"items":[]}"#),
            (200, "application/json", another),
        ] {
            let handler = move |request: http::Request<Bytes>| {
                let is_first = request.uri().path() == "/api/v1/namespaces/kube-system";
                let (status, body) = match is_first {
                    true => {
                        let namespace = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"uid":"c"}}"#;
                        (200, namespace)
                    }
                    false => (status, body),
                };
                let answer = http::Response::builder()
                    .status(status)
                    .header("content-type", content_type)
                    .body(Full::new(Bytes::from(body)));
                async move { answer }
            };
            let told = format!("{status} {content_type} {body}");
            let provider = Kubernetes::new(Settings::simulated(Arc::new(Tokens), handler));
            let cx = JumpingRuntime::new().call(&urn);
            let cluster = json!({"name": "c", "endpoint": "https://c.example", "region": "r"});
            let config = Resolved::new(value(json!({ "cluster": cluster }))).unwrap();
            let cluster = provider.connect(&cx, &config).await.unwrap();
            // A read of one, and a list for several.
            for ids in [vec!["a/b"], vec!["a/b", "a/c", "a/d"]] {
                let queries: Vec<Query> = ids.iter().map(|id| Query::Record(Box::new(record(id)))).collect();
                for seen in cluster.observe(&cx, &queries).await {
                    let failure = seen.expect_err(&told);
                    assert!(
                        failure.hint.is_some_and(|hint| hint.contains("proxy")),
                        "{told}: {}",
                        failure.message
                    );
                }
            }
            assert!(cluster.delete(&cx, &record("a/b")).await.is_err(), "{told}");
            let inputs = Resolved::new(value(json!({"metadata": {"name": "b"}}))).unwrap();
            assert!(cluster.create(&cx, &kind, &inputs).await.is_err(), "{told}");
        }
    }

    /// The run that asked for the deletion died; the object is still on its way out.
    #[tokio::test]
    async fn a_delete_under_way_is_waited_for() {
        let kind = Kind::parse("kubernetes:v1:ConfigMap").unwrap();
        let urn = Urn::new("p", "s", &kind, "b");
        let token = Token::from_bytes([1; 16]);
        let cx = JumpingRuntime::new().call_with(&urn, &token);
        let record = Record {
            urn: urn.clone(),
            kind: kind.clone(),
            id: "a/b".into(),
            applied: Value::default(),
            resolved: Value::default(),
            outputs: value(json!({"metadata": {"uid": "u"}})),
            incomplete: Vec::new(),
            attempted: Vec::new(),
        };
        let intent = Intent {
            token,
            operation: Operation::Delete,
            urn,
            kind,
            inputs: Resolved::default(),
            record: Some(record),
            partial: None,
        };
        let cluster = connected(3, None, &cx).await;
        assert_eq!(cluster.recover(&cx, &intent).await.unwrap(), Recovered::Deleted);
    }

    /// Else a provider whose namespace changes would leave what it made where it is, and not say so.
    #[tokio::test]
    async fn the_namespace_of_objects_that_name_none_is_a_part_of_where_a_connection_leads() {
        let kind = Kind::parse("epid:provider:kubernetes").unwrap();
        let cx = JumpingRuntime::new().call(&Urn::new("p", "s", &kind, "c"));
        let mut found = Vec::new();
        for namespace in [None, Some("default"), Some("shop")] {
            found.push(connected(0, namespace, &cx).await.identity().to_owned());
        }
        assert_eq!(found, ["cluster", "cluster", "cluster/shop"]);
    }
}
