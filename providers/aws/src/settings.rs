//! Where a connection gets its credentials, endpoints, time and transport from.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::{SharedTimeSource, SystemTimeSource, TimeSource};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::service_config::ServiceConfigKey;
use bytes::Bytes;
use http_body_util::BodyExt;

use epid_provider::Failure;

/// The region of a simulation whose configuration names none.
const SIMULATED_REGION: &str = "us-east-1";
/// How often a call that may be repeated is tried in all.
const ATTEMPTS: u32 = 8;

/// The surroundings of the AWS provider: transport, time, and where credentials and endpoints come from.
///
/// Cheap to clone; clones share the connection pool.
#[derive(Clone)]
pub struct Settings {
    http: SharedHttpClient,
    time: SharedTimeSource,
    sleep: SharedAsyncSleep,
    credentials: Option<SharedCredentialsProvider>,
    endpoint: Option<String>,
    /// Whether the environment and the profile files are asked.
    ambient: bool,
}

/// What one connection asks of its surroundings; every field may be left to the ordinary AWS ways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// The region; else `AWS_REGION`, else the profile's.
    pub region: Option<String>,
    /// The profile of the AWS configuration files; else `AWS_PROFILE`.
    pub profile: Option<String>,
    /// A role to act as.
    pub role: Option<Role>,
}

/// A role to act as, with the credentials found as the ones that may assume it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// The session's name in CloudTrail; default `epid`.
    pub session_name: Option<String>,
    /// The external id that the role's trust policy asks for.
    pub external_id: Option<String>,
}

impl Settings {
    /// The ordinary AWS ways: environment variables (`AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL`, …), profiles,
    /// SSO, web identity, containers and instances; HTTPS by rustls with ring; the system clock.
    #[must_use]
    pub fn ordinary() -> Self {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
            .build_https();
        Self {
            http,
            time: SharedTimeSource::new(SystemTimeSource::new()),
            sleep: SharedAsyncSleep::new(TokioSleep::new()),
            credentials: None,
            endpoint: None,
            ambient: true,
        }
    }

    /// A simulation in the process: every request goes to `handler` and none to a socket, credentials are made up,
    /// neither the environment nor files are read. `now` is the simulation's clock; waits are tokio's, which a
    /// simulation pauses.
    ///
    /// An error of `handler` stands for a broken connection: whether the request took effect is then unknown.
    pub fn simulated<H, F, B, E>(handler: H, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self
    where
        H: Fn(http::Request<Bytes>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<http::Response<B>, E>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let connector = SharedHttpConnector::new(InProcess(Arc::new(handler)));
        Self {
            http: http_client_fn(move |_, _| connector.clone()),
            time: SharedTimeSource::new(Clock(now)),
            sleep: SharedAsyncSleep::new(TokioSleep::new()),
            credentials: None,
            endpoint: None,
            ambient: false,
        }
        .with_credentials("AKIASIMULATED0000000", "simulated")
    }

    /// With these long-lived credentials, whatever the surroundings offer.
    #[must_use]
    pub fn with_credentials(mut self, access_key_id: &str, secret_access_key: &str) -> Self {
        let credentials = Credentials::new(access_key_id, secret_access_key, None, None, "given");
        self.credentials = Some(SharedCredentialsProvider::new(credentials));
        self
    }

    /// With one endpoint for all services, such as an emulator's `http://127.0.0.1:5000`.
    #[must_use]
    pub fn with_endpoint(mut self, url: &str) -> Self {
        self.endpoint = Some(url.to_owned());
        self
    }

    /// The SDK's configuration for `account`.
    pub(crate) async fn load(&self, account: &Account) -> Result<SdkConfig, Failure> {
        let config = if self.ambient {
            self.ambient(account).await
        } else {
            self.closed(account)
        };
        if config.region().is_none() {
            let hint = "set `region` in the provider's properties, AWS_REGION, or a region in the profile";
            return Err(Failure::new("NoRegion", "no AWS region is configured").with_hint(hint));
        }
        let Some(role) = &account.role else {
            return Ok(config);
        };
        let mut assumed = aws_config::sts::AssumeRoleProvider::builder(&role.arn)
            .session_name(role.session_name.as_deref().unwrap_or("epid"))
            .configure(&config);
        if let Some(id) = &role.external_id {
            assumed = assumed.external_id(id);
        }
        let assumed = SharedCredentialsProvider::new(assumed.build().await);
        Ok(config.into_builder().credentials_provider(assumed).build())
    }

    async fn ambient(&self, account: &Account) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .time_source(self.time.clone())
            .sleep_impl(self.sleep.clone())
            .retry_config(repeated())
            .timeout_config(timeouts());
        if let Some(region) = &account.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &account.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(credentials) = &self.credentials {
            loader = loader.credentials_provider(credentials.clone());
        }
        loader.load().await
    }

    fn closed(&self, account: &Account) -> SdkConfig {
        let region = account.region.clone();
        let region = region.unwrap_or_else(|| SIMULATED_REGION.to_owned());
        let mut builder = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .http_client(self.http.clone())
            .time_source(self.time.clone())
            .sleep_impl(self.sleep.clone())
            .identity_cache(IdentityCache::lazy().build())
            .retry_config(repeated())
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        if let Some(credentials) = &self.credentials {
            builder = builder.credentials_provider(credentials.clone());
        }
        builder.build()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("ambient", &self.ambient)
            .finish_non_exhaustive()
    }
}

/// Retries of calls that may be repeated: reads, and changes with a client token or the same effect twice.
fn repeated() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(500))
        .with_max_backoff(Duration::from_secs(20))
}

/// Retries of the question who one is, which comes before everything else.
pub(crate) fn asked_first() -> RetryConfig {
    repeated().with_max_attempts(3)
}

pub(crate) fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(Duration::from_secs(60))
        .build()
}

/// Reads and writes of single objects: short, so that a lost one is noticed while its lock is still held.
pub(crate) fn object_timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(10))
        .build()
}

/// `AWS_ENDPOINT_URL_<SERVICE>` or the profile's for that service, else the endpoint of all services.
pub(crate) fn configured_endpoint(config: &SdkConfig, service: &'static str) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    config
        .service_config()
        .and_then(|service| service.load_config(key))
        .or_else(|| config.endpoint_url().map(str::to_owned))
}

struct Clock<N>(N);

impl<N> fmt::Debug for Clock<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl<N: Fn() -> SystemTime + Send + Sync> TimeSource for Clock<N> {
    fn now(&self) -> SystemTime {
        (self.0)()
    }
}

struct InProcess<H>(Arc<H>);

impl<H> fmt::Debug for InProcess<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl<H, F, B, E> HttpConnector for InProcess<H>
where
    H: Fn(http::Request<Bytes>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<http::Response<B>, E>> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let handler = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(error.into()))?;
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
            let response = handler(http::Request::from_parts(head, body))
                .await
                .map_err(|error| ConnectorError::io(error.into()))?;
            let (head, body) = response.into_parts();
            let body = body
                .collect()
                .await
                .map_err(|error| ConnectorError::io(error.into()))?
                .to_bytes();
            HttpResponse::try_from(http::Response::from_parts(head, SdkBody::from(body)))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::{ProvideCredentials, future};
    use epid_provider::{Outcome, Retry};
    use http_body_util::Full;

    use super::*;
    use crate::clients::Clients;

    #[derive(Debug)]
    struct Nobody(fn() -> CredentialsError);

    impl ProvideCredentials for Nobody {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err((self.0)()))
        }
    }

    type Answer = Result<http::Response<Full<Bytes>>, std::io::Error>;

    fn answering(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Settings {
        let handler = move |_request| std::future::ready(answer());
        Settings::simulated(handler, || SystemTime::UNIX_EPOCH)
    }

    async fn failure(settings: &Settings) -> Failure {
        let config = settings.load(&Account::default()).await.unwrap();
        Clients::connect(&config, crate::tags::Tags::new())
            .await
            .unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn without_credentials_the_person_is_told_how_to_log_in() {
        for (error, code, said) in [
            (
                (|| CredentialsError::not_loaded("none")) as fn() -> CredentialsError,
                "NoCredentials",
                "aws sso login",
            ),
            (
                || CredentialsError::provider_error("the SSO session is over"),
                "NoCredentials",
                "log in again",
            ),
            (
                || CredentialsError::invalid_configuration("profile loops"),
                "NoCredentials",
                "~/.aws/config",
            ),
        ] {
            let mut settings = answering(|| Err(std::io::Error::other("nothing may be sent")));
            settings.credentials = Some(SharedCredentialsProvider::new(Nobody(error)));
            let failure = failure(&settings).await;
            assert_eq!(
                (failure.code.as_str(), failure.retry),
                (code, Retry::No),
                "{failure}"
            );
            assert!(
                failure.hint.as_ref().is_some_and(|hint| hint.contains(said)),
                "{failure:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreachable_service_is_told_from_a_lost_answer() {
        let refused = answering(|| Err(std::io::ErrorKind::ConnectionRefused.into()));
        let unreachable = failure(&refused).await;
        assert_eq!(
            (unreachable.code.as_str(), unreachable.outcome),
            ("Unreachable", Outcome::NotStarted)
        );
        let reset = answering(|| Err(std::io::ErrorKind::ConnectionReset.into()));
        let lost = failure(&reset).await;
        assert_eq!(
            (lost.code.as_str(), lost.outcome),
            ("ConnectionLost", Outcome::Unknown)
        );
    }

    /// An answer of STS that says no.
    fn refusing(
        status: u16,
        headers: &'static [(&'static str, &'static str)],
        body: &'static str,
    ) -> Settings {
        answering(move || {
            let start = http::Response::builder().status(status);
            let start = headers
                .iter()
                .fold(start, |start, (key, value)| start.header(*key, *value));
            start.body(Full::from(body)).map_err(std::io::Error::other)
        })
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_is_not_worded_as_aws_does_says_what_came() {
        for body in ["<html><body><p>Forbidden<br></body></html>", "Forbidden", ""] {
            let failure = failure(&refusing(403, &[("content-type", "text/html")], body)).await;
            let (code, retry, outcome) = (failure.code.as_str(), failure.retry, &failure.outcome);
            assert_eq!(
                (code, retry, outcome),
                ("Http403", Retry::No, &Outcome::NotStarted),
                "{body}"
            );
            for told in ["sts:GetCallerIdentity", "403", "text/html"] {
                assert!(failure.message.contains(told), "{}", failure.message);
            }
            assert!(failure.hint.is_some_and(|hint| hint.contains("proxy")));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_off_is_told() {
        let code = |code: &str, message: &str| -> &'static str {
            let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
            Box::leak(format!("<ErrorResponse>{error}</ErrorResponse>").into_boxed_str())
        };
        let expired = "Signature expired: 20261128T133000Z is now earlier than 20261128T141500Z (20261128T143000Z - 15 min.)";
        let early = "Signature not yet current: 20261128T150000Z is still later than 20261128T144500Z \
                     (20261128T143000Z + 15 min.)";
        let date: &[_] = &[("date", "Sat, 28 Nov 2026 14:30:00 GMT")];
        for (body, headers, told) in [
            (
                code("SignatureDoesNotMatch", expired),
                &[][..],
                "clock is off by 60 minutes (behind)",
            ),
            (
                code("InvalidSignatureException", early),
                &[],
                "clock is off by 30 minutes (ahead)",
            ),
            (
                code("RequestExpired", ""),
                date,
                "says that it is Sat, 28 Nov 2026",
            ),
            (
                code("RequestTimeTooSkewed", "too large"),
                &[],
                "clock is off: set it",
            ),
        ] {
            let hint = failure(&refusing(403, headers, body))
                .await
                .hint
                .unwrap_or_default();
            assert!(hint.contains(told), "{body}: {hint}");
        }
        // A wrong key is something else.
        let body = code("SignatureDoesNotMatch", "The request signature does not match.");
        let hint = failure(&refusing(403, &[], body)).await.hint.unwrap_or_default();
        assert!(hint.contains("access key"), "{hint}");
    }

    #[tokio::test(start_paused = true)]
    async fn expired_credentials_are_not_tried_again() {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        let settings = answering(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let body = "<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>expired</Message>\
                        </Error></ErrorResponse>";
            let mut response = http::Response::new(Full::from(body));
            *response.status_mut() = http::StatusCode::FORBIDDEN;
            let id = http::HeaderValue::from_static("r-7");
            response.headers_mut().insert("x-amzn-requestid", id);
            Ok(response)
        });
        let failure = failure(&settings).await;
        assert_eq!(
            (failure.code.as_str(), failure.request_id.as_deref()),
            ("ExpiredToken", Some("r-7"))
        );
        assert!(failure.hint.is_some_and(|hint| hint.contains("log in again")));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
