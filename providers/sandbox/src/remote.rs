//! A sandbox that another process serves, spoken to over its loopback socket as if it were in this one.
//!
//! Requests keep the names that AWS gave the hosts, so clients here and clients of the serving process see one world: only
//! the way there differs.

use crate::serve::UNKNOWN_HOST;
use crate::service::{Sandbox, SandboxBody, SandboxError};
use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// The way to a sandbox, wherever it runs.
#[derive(Debug, Clone)]
pub enum Way {
    /// In this process.
    Here(Sandbox),
    /// In another one, which serves it.
    There(Remote),
}

impl Way {
    /// Sends one request and waits for its answer.
    ///
    /// # Errors
    /// See [`SandboxError`]; every HTTP response, errors included, is `Ok`.
    pub async fn call(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<SandboxBody>, SandboxError> {
        match self {
            Self::Here(sandbox) => sandbox.call(request).await,
            Self::There(remote) => Ok(remote.call(request).await?.map(SandboxBody::passed_on)),
        }
    }
}

/// A handle on a served sandbox. Needs a tokio runtime with IO and a clock that is not paused.
#[derive(Debug, Clone, Copy)]
pub struct Remote {
    aws: SocketAddr,
}

impl Remote {
    /// The sandbox whose AWS listener is at `aws`.
    pub fn at(aws: SocketAddr) -> Self {
        Self { aws }
    }

    async fn call(&self, request: http::Request<Bytes>) -> Result<http::Response<Incoming>, SandboxError> {
        let host = crate::aws::route::host(&request).unwrap_or_default();
        let response = self.send(request, &host).await.map_err(SandboxError::Gone)?;
        if response.headers().contains_key(UNKNOWN_HOST) {
            return Err(SandboxError::UnknownHost(host));
        }
        Ok(response)
    }

    /// A connection for each request: watches hold theirs for minutes, and loopback costs nothing.
    async fn send(&self, request: http::Request<Bytes>, host: &str) -> io::Result<http::Response<Incoming>> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = path.parse().map_err(io::Error::other)?;
        head.version = http::Version::HTTP_11;
        let host = HeaderValue::from_str(host).map_err(io::Error::other)?;
        head.headers.insert(HOST, host);
        let stream = TcpStream::connect(self.aws).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move { drop(connection.await) });
        let request = http::Request::from_parts(head, Full::new(body).boxed());
        sender.send_request(request).await.map_err(io::Error::other)
    }
}
