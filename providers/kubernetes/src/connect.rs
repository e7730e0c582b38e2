//! A provider's configuration to a client of its cluster.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use epid_provider::{
    Call, Connection, Failure, Field, Kind, KindSchema, Object, Resolved, Retry, Type, Value,
};
use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tower::BoxError;

use crate::api::{Api, Auth, Expected, chain};
use crate::connection::Cluster as Connected;
use crate::name::text;
use crate::refusal::{Doing, Refusal};
use crate::settings::{Cluster, Handler, Settings, Transport};

/// How long an answer may take before the connection is given up.
const ANSWER: Duration = Duration::from_secs(90);
/// How long a new access entry may take until the cluster knows it.
const PROPAGATION: Duration = Duration::from_secs(30);

/// The namespace of objects that name none, where the provider does not say another.
const DEFAULT_NAMESPACE: &str = "default";

/// The schema of `[providers.NAME]`.
pub(crate) fn config() -> Option<KindSchema> {
    let cluster = Object {
        fields: vec![
            Field::new("name", Type::String)
                .required()
                .doc("the cluster's name, which its token is for"),
            Field::new("endpoint", Type::String)
                .required()
                .doc("the address of its API server"),
            Field::new("certificateAuthority", Type::Any)
                .doc("the certificate authority: PEM, or base64 of it"),
            Field::new("region", Type::String).doc("its region; by default that of the ARN"),
            Field::new("arn", Type::String).doc("its ARN"),
            Field::new("oidcIssuer", Type::String)
                .immutable()
                .doc("the issuer of its service account tokens; another one is another cluster"),
        ],
        open: true,
    };
    let inputs = Object::of([
        Field::new("cluster", Type::Object(Arc::new(cluster)))
            .doc("the cluster: an `aws:eks:Cluster`, or an output of another stack that is one"),
        Field::new("kubeconfig", Type::String).doc("the path of a kubeconfig file, in place of `cluster`"),
        Field::new("context", Type::String).doc("the context of the kubeconfig; by default its current one"),
        Field::new("namespace", Type::String)
            .default(DEFAULT_NAMESPACE)
            .doc("the namespace of objects that name none; it stays what it was when they were made"),
    ]);
    let kind = Kind::parse("epid:provider:kubernetes").ok()?;
    Some(KindSchema::new(kind, "A Kubernetes cluster.", inputs))
}

/// Opens a connection and asks the cluster who it is.
pub(crate) async fn connect(
    settings: &Settings,
    cx: &Call,
    config: &Resolved,
) -> Result<Arc<dyn Connection>, Failure> {
    let namespace = config
        .get("namespace")
        .and_then(|v| v.expose().as_str())
        .unwrap_or(DEFAULT_NAMESPACE)
        .to_owned();
    let api = match (
        config.get("cluster"),
        config.get("kubeconfig").and_then(|v| v.expose().as_str()),
    ) {
        (Some(cluster), None) if !cluster.is_null() => of_cluster(settings, cluster)?,
        (None | Some(Value::Null), Some(path)) => {
            let context = config.get("context").and_then(|v| v.expose().as_str());
            of_kubeconfig(settings, path, context).await?
        }
        (None | Some(Value::Null), None) => {
            return Err(Failure::new("NoCluster", "the provider names no cluster")
                .with_hint("set `properties.cluster` to an `aws:eks:Cluster` (or a reference to one), or `properties.kubeconfig` and `context`"));
        }
        _ => {
            return Err(Failure::new(
                "TwoClusters",
                "the provider names both `cluster` and `kubeconfig`",
            )
            .with_hint("keep one of them"));
        }
    };
    let mut identity = identity(&api, cx).await?;
    // Objects that name no namespace are other objects in another one, and nothing else says so: a provider whose
    // namespace changes is refused as one that leads to another cluster is.
    if namespace != DEFAULT_NAMESPACE {
        identity = format!("{identity}/{namespace}");
    }
    Ok(Arc::new(Connected::new(Arc::new(api), identity, namespace)))
}

/// The UID of the kube-system namespace: another one is another cluster, whatever its name and address.
async fn identity(api: &Api, cx: &Call) -> Result<String, Failure> {
    let begun = cx.now();
    loop {
        let path = "/api/v1/namespaces/kube-system";
        match api.get(cx, path, Expected::Object("v1", "Namespace")).await {
            Ok(namespace) => {
                let uid = namespace["metadata"]["uid"].as_str().unwrap_or_default();
                if uid.is_empty() {
                    return Err(Failure::new(
                        "NoIdentity",
                        "the namespace kube-system has no UID: is this a Kubernetes API server?",
                    ));
                }
                return Ok(uid.to_owned());
            }
            Err(refusal) => {
                let young = cx.now().since(begun) < PROPAGATION;
                let unknown = matches!(&refusal, Refusal::Said(said) if matches!(said.code, 401 | 403));
                let failure = refusal.failure(Doing::Read);
                if !(unknown && young) {
                    return Err(failure);
                }
                cx.progress("waiting for the cluster to know the credentials");
                cx.sleep(Duration::from_secs(3)).await?;
            }
        }
    }
}

fn of_cluster(settings: &Settings, value: &Value) -> Result<Api, Failure> {
    let cluster = read_cluster(value)?;
    let client = match &settings.transport {
        Transport::Simulated(handler) => simulated(handler, &cluster.endpoint),
        Transport::Real => {
            let uri: http::Uri = cluster.endpoint.parse().map_err(|error| {
                Failure::new(
                    "Endpoint",
                    format_args!("`{}` is no address of an API server: {error}", cluster.endpoint),
                )
            })?;
            let mut config = kube::Config::new(uri);
            config.read_timeout = Some(ANSWER);
            config.reset_reader_on_write = true;
            config.default_retry = false;
            config.root_cert = cluster
                .certificate_authority
                .as_deref()
                .map(certificates)
                .transpose()?;
            kube::Client::try_from(config)
                .map_err(|error| unusable("the cluster's connection data", &error))?
        }
    };
    let tokens = settings.tokens.clone();
    Ok(Api::new(
        client,
        Auth::Source {
            tokens,
            cluster,
            last: std::sync::Mutex::default(),
        },
    ))
}

async fn of_kubeconfig(settings: &Settings, path: &str, context: Option<&str>) -> Result<Api, Failure> {
    let content = (settings.files)(path).map_err(|error| {
        Failure::new(
            "Kubeconfig",
            format_args!("cannot read the kubeconfig `{path}`: {error}"),
        )
    })?;
    let content = Kubeconfig::from_yaml(&content)
        .map_err(|error| unusable(&format!("the kubeconfig `{path}`"), &error))?;
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let mut config = kube::Config::from_custom_kubeconfig(content, &options)
        .await
        .map_err(|error| unusable(&format!("the kubeconfig `{path}`"), &error))?;
    config.read_timeout = Some(ANSWER);
    config.reset_reader_on_write = true;
    config.default_retry = false;
    let client = kube::Client::try_from(config)
        .map_err(|error| unusable(&format!("the kubeconfig `{path}`"), &error))?;
    Ok(Api::new(client, Auth::Client))
}

fn unusable(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(
        "Kubeconfig",
        format_args!("{what} cannot be used: {}", chain(error)),
    )
    .with_retry(Retry::No)
}

fn read_cluster(value: &Value) -> Result<Cluster, Failure> {
    let value = value.expose();
    let part = |key: &str| text(value, key).map(str::to_owned);
    let missing = |key: &str| {
        Failure::new("Cluster", format_args!("`cluster` has no `{key}`"))
            .with_hint("`cluster` takes the outputs of an `aws:eks:Cluster`: name, endpoint, certificateAuthority, region or arn")
    };
    let arn = part("arn");
    let region = part("region").or_else(|| {
        arn.as_deref()
            .and_then(|a| a.split(':').nth(3))
            .map(str::to_owned)
    });
    let authority = match value.get("certificateAuthority").map(Value::expose) {
        Some(Value::Str(text)) => Some(text.to_string()),
        Some(map) => text(map, "data").map(str::to_owned),
        None => None,
    };
    Ok(Cluster {
        name: part("name").ok_or_else(|| missing("name"))?,
        endpoint: part("endpoint").ok_or_else(|| missing("endpoint"))?,
        region: region.unwrap_or_default(),
        certificate_authority: authority,
        arn,
        oidc_issuer: part("oidcIssuer"),
    })
}

/// The certificates of PEM, or of base64 of PEM, in DER.
fn certificates(text: &str) -> Result<Vec<Vec<u8>>, Failure> {
    let bad = |why: String| {
        Failure::new(
            "CertificateAuthority",
            format_args!("`cluster.certificateAuthority` is no certificate: {why}"),
        )
    };
    let pem = if text.trim_start().starts_with("-----BEGIN") {
        text.as_bytes().to_vec()
    } else {
        let packed: String = text.split_whitespace().collect();
        base64::engine::general_purpose::STANDARD
            .decode(packed)
            .map_err(|error| bad(error.to_string()))?
    };
    let found: Result<Vec<Vec<u8>>, _> = CertificateDer::pem_slice_iter(&pem)
        .map(|c| c.map(|c| c.to_vec()))
        .collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(bad("it holds no PEM block".to_owned())),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// A client whose requests go to a handler in the process.
fn simulated(handler: &Handler, endpoint: &str) -> kube::Client {
    let (handler, endpoint) = (handler.clone(), endpoint.trim_end_matches('/').to_owned());
    let service = tower::service_fn(move |request: Request<Body>| {
        let (handler, endpoint) = (handler.clone(), endpoint.clone());
        async move {
            let (mut parts, body) = request.into_parts();
            parts.uri = format!("{endpoint}{}", parts.uri).parse()?;
            if let Some(host) = parts.uri.host() {
                parts.headers.insert(http::header::HOST, host.parse()?);
            }
            let body = body.collect().await.map_err(BoxError::from)?.to_bytes();
            handler(Request::from_parts(parts, body)).await
        }
    });
    kube::Client::new(service, "default")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_outputs_of_an_eks_cluster_are_a_cluster() {
        let cluster = read_cluster(&json(
            r#"{"name":"c","endpoint":"https://x","arn":"arn:aws:eks:eu-west-1:123456789012:cluster/c","certificateAuthority":{"data":"QQ=="}}"#,
        ))
        .unwrap();
        assert_eq!(
            (cluster.region.as_str(), cluster.certificate_authority.as_deref()),
            ("eu-west-1", Some("QQ=="))
        );
        let failure = read_cluster(&json(r#"{"name":"c"}"#)).unwrap_err();
        assert_eq!(failure.message, "`cluster` has no `endpoint`");
    }

    #[test]
    fn a_certificate_authority_that_is_none_is_refused() {
        for text in ["", "QQ==", "not base64!", "-----BEGIN CERTIFICATE-----\nx"] {
            assert_eq!(
                certificates(text).unwrap_err().code,
                "CertificateAuthority",
                "{text}"
            );
        }
    }
}
