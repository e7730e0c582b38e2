//! What the embedding program gives the provider: credentials, files, and the way to a cluster.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use epid_provider::{Call, Failure, Timestamp};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tower::BoxError;

/// A cluster, as the provider's `cluster` property describes it: the outputs of `aws:eks:Cluster` fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    /// Its name, which the token is for.
    pub name: String,
    /// Its region; empty where it was not told and the ARN tells none.
    pub region: String,
    /// The address of the API server, such as `https://0123.gr7.us-east-1.eks.amazonaws.com`.
    pub endpoint: String,
    /// The certificate authority of the API server: PEM, or base64 of it as EKS gives it.
    pub certificate_authority: Option<String>,
    /// Its ARN.
    pub arn: Option<String>,
    /// The issuer of its service account tokens.
    pub oidc_issuer: Option<String>,
}

/// A bearer token for an API server.
#[derive(Clone)]
pub struct BearerToken {
    /// The token, without `Bearer `.
    pub token: String,
    /// When it must not be used any more, on the engine's clock.
    pub expires: Timestamp,
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerToken")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Where the tokens of `cluster` connections come from. For EKS: a presigned STS URL (`GetCallerIdentity` with header
/// `x-k8s-aws-id`), base64url without padding, after `k8s-aws-v1.`
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// A token for `cluster`. It is asked for again a minute before the last one expires.
    ///
    /// # Errors
    /// Where there are no credentials.
    async fn token(&self, cx: &Call, cluster: &Cluster) -> Result<BearerToken, Failure>;
}

/// Reads a kubeconfig by its path.
pub type ReadFile = Arc<dyn Fn(&str) -> Result<String, std::io::Error> + Send + Sync>;

/// The body of a simulated answer.
pub type SimulatedBody = UnsyncBoxBody<Bytes, BoxError>;
/// The answer of a simulated API server on its way.
pub type Answering = BoxFuture<'static, Result<http::Response<SimulatedBody>, BoxError>>;
/// An API server in the process: whole requests, with the cluster's endpoint as scheme and host, to answers.
pub type Handler = Arc<dyn Fn(http::Request<Bytes>) -> Answering + Send + Sync>;

/// The way to API servers.
#[derive(Clone)]
pub enum Transport {
    /// Over the network, with TLS.
    Real,
    /// To a handler in the process; nothing is dialled.
    Simulated(Handler),
}

/// What the provider is given.
#[derive(Clone)]
pub struct Settings {
    /// Tokens of `cluster` connections.
    pub tokens: Arc<dyn TokenSource>,
    /// The way to API servers.
    pub transport: Transport,
    /// Reads kubeconfig files.
    pub files: ReadFile,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("simulated", &matches!(self.transport, Transport::Simulated(_)))
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Real clusters over the network.
    #[must_use]
    pub fn real(tokens: Arc<dyn TokenSource>, files: ReadFile) -> Self {
        Self {
            tokens,
            transport: Transport::Real,
            files,
        }
    }

    /// Simulated clusters: every request goes to `handler`. Kubeconfig files are refused.
    #[must_use]
    pub fn simulated<F, Fut, B, E>(tokens: Arc<dyn TokenSource>, handler: F) -> Self
    where
        F: Fn(http::Request<Bytes>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<http::Response<B>, E>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        E: Into<BoxError>,
    {
        let handler: Handler = Arc::new(move |request| {
            let answer = handler(request);
            Box::pin(async move {
                let answer = answer.await.map_err(Into::into)?;
                Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
            })
        });
        let files: ReadFile = Arc::new(|_| {
            Err(std::io::Error::other(
                "a simulated cluster is named by `cluster`, not by a kubeconfig",
            ))
        });
        Self {
            tokens,
            transport: Transport::Simulated(handler),
            files,
        }
    }
}
