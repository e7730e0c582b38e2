//! The provider against a real control plane.
//!
//! ```text
//! EPID_KUBECONFIG=$(tests/kube-lab/up.sh) cargo test -p epid-kubernetes --test control_plane -- --ignored
//! ```

#![expect(clippy::unwrap_used, reason = "what fails in a story fails the test")]

mod scenarios;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use epid_kubernetes::{BearerToken, Cluster, Kubernetes, Settings, TokenSource};
use epid_provider::{
    Call, CallRuntime, Connection, Failure, Kind, Partial, Provider, Resolved, Timestamp, Token, Urn,
};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use scenarios::{Lab, Stranger, value};
use serde_json::{Value as Json, json};

/// Time as it passes.
#[derive(Debug)]
struct Wall(tokio::time::Instant);

#[async_trait]
impl CallRuntime for Wall {
    fn now(&self) -> Timestamp {
        Timestamp::default().after(self.0.elapsed())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that calls sleep on")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    async fn cancelled(&self) {
        std::future::pending::<()>().await;
    }

    fn progress(&self, _urn: &Urn, _phrase: &str) {}

    async fn checkpoint(&self, _urn: &Urn, _partial: &Partial) -> Result<(), Failure> {
        Ok(())
    }
}

struct NoTokens;

#[async_trait]
impl TokenSource for NoTokens {
    async fn token(&self, _cx: &Call, cluster: &Cluster) -> Result<BearerToken, Failure> {
        Err(Failure::new(
            "NoCredentials",
            format_args!("no token for {}", cluster.name),
        ))
    }
}

struct Kubectl(kube::Client);

#[async_trait]
impl Stranger for Kubectl {
    async fn send(&self, method: &str, path: &str, content_type: &str, body: Json) -> (u16, Json) {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type);
        let answer = self
            .0
            .send(request.body(Body::from(body)).unwrap())
            .await
            .unwrap();
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the control plane is named by the environment"
)]
fn kubeconfig() -> String {
    std::env::var("EPID_KUBECONFIG").expect("EPID_KUBECONFIG names the kubeconfig of a control plane")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test reads the control plane's kubeconfig"
)]
fn settings() -> Settings {
    Settings::real(Arc::new(NoTokens), Arc::new(|path| std::fs::read_to_string(path)))
}

async fn connect(
    provider: &Kubernetes,
    runtime: &Arc<dyn CallRuntime>,
    config: Json,
) -> Result<Arc<dyn Connection>, Failure> {
    let urn = Urn::new(
        "scenarios",
        "lab",
        &Kind::parse("epid:provider:kubernetes").unwrap(),
        "lab",
    );
    let deadline = runtime.now().after(Duration::from_secs(60));
    let cx = Call::new(
        urn,
        Token::from_bytes([0; 16]),
        Arc::from("lineage"),
        deadline,
        runtime.clone(),
    );
    provider
        .connect(&cx, &Resolved::new(value(config)).unwrap())
        .await
}

async fn lab(lineage: &str) -> Lab {
    // Another test may have installed it.
    drop(rustls::crypto::ring::default_provider().install_default());
    let provider = Kubernetes::new(settings());
    let runtime: Arc<dyn CallRuntime> = Arc::new(Wall(tokio::time::Instant::now()));
    let connection = connect(
        &provider,
        &runtime,
        json!({"kubeconfig": kubeconfig(), "context": "lab"}),
    )
    .await
    .unwrap();
    let config = Kubeconfig::read_from(kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .unwrap();
    let stranger = Box::new(Kubectl(kube::Client::try_from(config).unwrap()));
    let tokens = Mutex::new(u128::from(std::process::id()) << 64);
    Lab {
        provider,
        connection,
        runtime,
        stranger,
        tokens,
        lineage: Arc::from(lineage),
    }
}

macro_rules! scenario {
    ($name:ident) => {
        #[tokio::test]
        #[ignore = "needs a control plane: EPID_KUBECONFIG"]
        async fn $name() {
            scenarios::$name(&lab("0123456789abcdef").await).await;
        }
    };
}

scenario!(every_kind_conforms);
scenario!(conflicts_are_told_and_settled_by_choice);
scenario!(immutable_fields_are_replaced);
scenario!(custom_resources_follow_their_definition);
scenario!(workloads_are_waited_for);
scenario!(failing_pods_are_explained);
scenario!(finalizers_hold_a_deletion);
scenario!(a_namespace_goes_with_all_that_is_in_it);
scenario!(autoscaled_replicas_are_left_alone);
scenario!(lost_answers_are_recovered);
scenario!(many_are_observed_at_once);

#[tokio::test]
#[ignore = "needs a control plane: EPID_KUBECONFIG"]
async fn what_exists_is_adopted_or_left_alone() {
    scenarios::what_exists_is_adopted_or_left_alone(
        &lab("0123456789abcdef").await,
        &lab("fedcba9876543210").await,
    )
    .await;
}

#[tokio::test]
#[ignore = "needs a control plane: EPID_KUBECONFIG"]
async fn a_connection_is_known_by_its_cluster_and_a_wrong_configuration_says_what_is_wrong() {
    let one = lab("a").await;
    let two = lab("b").await;
    assert_eq!(one.connection.identity(), two.connection.identity());
    assert_eq!(one.connection.identity().len(), 36, "the UID of kube-system");
    for (config, code) in [
        (json!({}), "NoCluster"),
        (json!({"kubeconfig": "/nowhere"}), "Kubeconfig"),
        (
            json!({"kubeconfig": kubeconfig(), "context": "absent"}),
            "Kubeconfig",
        ),
        (
            json!({"kubeconfig": kubeconfig(), "cluster": {"name": "a", "endpoint": "b"}}),
            "TwoClusters",
        ),
        (
            json!({"cluster": {"name": "a", "endpoint": "https://127.0.0.1:1"}}),
            "NoCredentials",
        ),
    ] {
        let failure = connect(&one.provider, &one.runtime, config).await.err().unwrap();
        assert_eq!(failure.code, code, "{}", failure.message);
    }
}
