//! The sandbox over loopback sockets: HTTP for AWS, HTTPS for the clusters, under certificates of the world's
//! own authority. For clients outside the process: the aws CLI, boto3, kubectl.

use crate::service::{Authority, Sandbox, SandboxBody, SandboxError};
use crate::world::{REGION, World};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The header of an answer that says: no such host. Between processes of epid, which turn it back into the error.
pub(crate) const UNKNOWN_HOST: &str = "x-epid-unknown-host";

/// The largest request that is read; EKS and the API server allow less.
const LARGEST: usize = 8 << 20;

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener failed.
    #[error("the sandbox cannot listen: {0}")]
    Listen(#[from] io::Error),
    /// The certificate of the clusters could not be made.
    #[error("the sandbox cannot make its certificate: {0}")]
    Certificate(String),
}

/// Serves the AWS APIs on one listener and the clusters on another until the future is dropped.
///
/// Both listeners should be bound to loopback: nobody is asked for a password. A cluster answers under
/// `https://<address>/clusters/<region>/<name>`, which DescribeCluster tells.
///
/// # Errors
/// A listener that fails, or a certificate that cannot be made.
pub async fn serve(
    sandbox: &Sandbox,
    aws: TcpListener,
    clusters: TcpListener,
) -> Result<Infallible, ServeError> {
    let acceptor =
        acceptor(&sandbox.authority()).map_err(|error| ServeError::Certificate(error.to_string()))?;
    let base = format!("https://{}", clusters.local_addr()?);
    sandbox.inner_world(|world| world.serve_clusters_at(&base));
    loop {
        tokio::select! {
            biased;
            accepted = aws.accept() => {
                let (stream, _) = accepted?;
                tokio::spawn(connection(sandbox.clone(), stream));
            }
            accepted = clusters.accept() => {
                let (stream, _) = accepted?;
                let (sandbox, acceptor) = (sandbox.clone(), acceptor.clone());
                tokio::spawn(async move {
                    // A client that does not trust the authority hangs up; that is its business.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        connection(sandbox, stream).await;
                    }
                });
            }
        }
    }
}

impl Sandbox {
    /// The clusters that answer, as region and name, sorted.
    pub fn clusters(&self) -> Vec<(String, String)> {
        self.inner_world(World::running_clusters)
    }

    /// A kubeconfig (YAML) for kubectl with a token that needs no AWS client; `None` unless the cluster runs.
    /// Everyone who can read it administers the simulated cluster.
    pub fn kubeconfig(&self, region: Option<&str>, cluster: &str) -> Option<String> {
        let (endpoint, token) = self.inner_world(|world| {
            Some((
                world.cluster_endpoint(region.unwrap_or(REGION), cluster)?,
                world.static_token(),
            ))
        })?;
        let authority = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            self.authority().certificate,
        );
        Some(format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: sandbox\nclusters:\n- name: {cluster}\n  cluster:\n    \
             server: {endpoint}\n    certificate-authority-data: {authority}\ncontexts:\n- name: sandbox\n  context:\n    \
             cluster: {cluster}\n    user: sandbox\nusers:\n- name: sandbox\n  user:\n    token: {token}\n"
        ))
    }
}

async fn connection(sandbox: Sandbox, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = hyper::service::service_fn(move |request| {
        let sandbox = sandbox.clone();
        async move { answer(&sandbox, request).await }
    });
    // Errors of one connection concern its client only.
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    drop(served);
}

async fn answer(
    sandbox: &Sandbox,
    request: http::Request<Incoming>,
) -> io::Result<http::Response<SandboxBody>> {
    let (head, body) = request.into_parts();
    let body: Bytes = Limited::new(body, LARGEST)
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    match sandbox.call(http::Request::from_parts(head, body)).await {
        Ok(response) => Ok(response),
        Err(SandboxError::UnknownHost(host)) => {
            let mut response = SandboxBody::text(format!("nothing in the sandbox answers for {host}\n"));
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            let mark = http::HeaderValue::from_static("true");
            response.headers_mut().insert(UNKNOWN_HOST, mark);
            Ok(response)
        }
        // hyper closes the connection without an answer, which is what the fault is about.
        Err(error) => Err(io::Error::other(error)),
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "epid sandbox");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

/// Makes the authority of a new world.
pub(crate) fn make_authority() -> Result<Authority, String> {
    let make = || {
        let key = KeyPair::generate()?;
        let certificate = authority_params().self_signed(&key)?;
        Ok(Authority {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    };
    make().map_err(|error: rcgen::Error| error.to_string())
}

fn acceptor(authority: &Authority) -> Result<TlsAcceptor, Box<dyn std::error::Error>> {
    let issuer = Issuer::new(authority_params(), KeyPair::from_pem(&authority.key)?);
    let key = KeyPair::generate()?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let leaf = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    let chain = vec![
        leaf.der().clone(),
        CertificateDer::from_pem_slice(authority.certificate.as_bytes())?,
    ];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
