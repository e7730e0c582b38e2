//! The whole simulated universe: pure and deterministic.
//!
//! Replaying the same requests at the same moments gives the same world. It knows no clock, does no I/O and
//! draws nothing at random: ids come from a seed and a counter.
//!
//! Time moves in steps: [`World::advance`] stops at every moment at which something is due, so the world is
//! the same however often anybody looks at it in between.

use crate::aws::controllers::ClusterCloud;
use crate::aws::eks::Effect;
use crate::aws::route::{self, Target};
use crate::aws::{ApiError, Aws, sts};
use crate::cloud::{Access, Cloud, Principal};
use crate::{Timestamp, kubernetes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// An answer: complete, or a stream of watch events.
#[derive(Debug)]
pub enum Answer<W = kubernetes::Watch> {
    /// A complete response.
    Done(http::Response<Bytes>),
    /// An open watch, whose lines are fetched with `poll_watch`.
    Watch(W),
}

/// The account of a new world.
pub const ACCOUNT: &str = "000000000000";
/// The region of requests that name none.
pub const REGION: &str = "us-east-1";
/// How long after ACTIVE a cluster's name is still unknown to the resolver.
const RESOLVABLE: Duration = Duration::from_secs(5);
/// More steps than this at one moment mean a lifecycle that never comes to rest.
const RESTLESS: u32 = 1000;

/// The simulated universe.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct World {
    seed: u64,
    now: Timestamp,
    aws: Aws,
    clusters: BTreeMap<String, Inside>,
    /// Requests answered by this process; only names request ids.
    #[serde(skip)]
    answered: u64,
}

/// The inside of a cluster, by the id that EKS gave it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Inside {
    region: String,
    since: Timestamp,
    cluster: kubernetes::Cluster,
}

/// An open watch on one cluster.
#[derive(Debug, Clone)]
pub struct ClusterWatch {
    id: String,
    watch: kubernetes::Watch,
}

impl ClusterWatch {
    /// When the watch ends by itself.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.watch.deadline()
    }
}

/// A request that was recognised and whose sender is known. What is recorded of it holds no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    who: Principal,
    to: Destination,
    method: String,
    path: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Body::is_empty")]
    body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Destination {
    Aws(Target),
    Cluster { id: String },
}

/// A request's body, readable in the log where it can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Body {
    Text(String),
    Base64(String),
}

impl Default for Body {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Body {
    fn new(bytes: &Bytes) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(STANDARD.encode(bytes)),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn bytes(&self) -> Bytes {
        match self {
            Self::Text(text) => Bytes::from(text.clone()),
            Self::Base64(text) => Bytes::from(STANDARD.decode(text).unwrap_or_default()),
        }
    }
}

/// Why a request got no further than the door.
#[derive(Debug)]
pub enum Refusal {
    /// The host does not exist (or not yet): a connection error, not a response.
    UnknownHost(String),
    /// Recognised and refused.
    Response(Box<http::Response<Bytes>>),
}

impl Admitted {
    /// Whether carrying it out may change the world.
    pub fn mutates(&self) -> bool {
        match &self.to {
            Destination::Aws(target) => target.mutates(),
            Destination::Cluster { .. } => !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS"),
        }
    }

    /// The service: `ec2`, `eks`, `elasticloadbalancing`, `iam`, `sts`, `kubernetes`.
    pub fn service(&self) -> &'static str {
        match &self.to {
            Destination::Aws(target) => target.service.name(),
            Destination::Cluster { .. } => "kubernetes",
        }
    }

    /// The operation, e.g. `CreateVpc`; for Kubernetes method and path.
    pub fn operation(&self) -> String {
        match &self.to {
            Destination::Aws(target) => target.operation.clone(),
            Destination::Cluster { .. } => {
                format!(
                    "{} {}",
                    self.method,
                    self.path.split('?').next().unwrap_or_default()
                )
            }
        }
    }

    /// The error that the service answers when it is asked too often.
    pub(crate) fn throttled(&self) -> http::Response<Bytes> {
        let Destination::Aws(target) = &self.to else {
            let mut response = status_response(
                429,
                "TooManyRequests",
                "too many requests, please try again later",
            );
            response
                .headers_mut()
                .insert("retry-after", HeaderValue::from_static("1"));
            return response;
        };
        let error = match target.service {
            route::Service::Ec2 => ApiError::new(503, "RequestLimitExceeded", "Request limit exceeded."),
            route::Service::Eks => ApiError::new(429, "ThrottlingException", "Rate exceeded"),
            _ => ApiError::bad("Throttling", "Rate exceeded"),
        };
        route::failure(Some(target.service), &error, "throttled")
    }

    /// The error that the service answers to credentials that were good once. EC2 has a code of its own for it.
    pub(crate) fn expired(&self) -> http::Response<Bytes> {
        let Destination::Aws(target) = &self.to else {
            return unauthorized();
        };
        let message = "The security token included in the request is expired";
        let error = match target.service {
            route::Service::Ec2 => ApiError::bad("RequestExpired", "Request has expired."),
            route::Service::Eks => ApiError::new(403, "ExpiredTokenException", message),
            _ => ApiError::new(403, "ExpiredToken", message),
        };
        route::failure(Some(target.service), &error, "expired")
    }

    /// A server error of the service.
    pub(crate) fn server_error(&self, status: u16) -> http::Response<Bytes> {
        let Destination::Aws(target) = &self.to else {
            return status_response(
                status,
                "InternalError",
                "an error on the server has prevented the request from succeeding",
            );
        };
        let code = match (target.service, status) {
            (route::Service::Eks, 503) => "ServiceUnavailableException",
            (route::Service::Eks, _) => "ServerException",
            (route::Service::Ec2, 503) => "Unavailable",
            (route::Service::Ec2, _) => "InternalError",
            (_, 503) => "ServiceUnavailable",
            _ => "ServiceFailure",
        };
        let message = "An internal error has occurred. Retry your query.";
        route::failure(
            Some(target.service),
            &ApiError::new(status, code, message),
            "fault",
        )
    }

    fn request(&self) -> http::Request<Bytes> {
        let mut request = http::Request::new(self.body.bytes());
        *request.method_mut() = self.method.parse().unwrap_or(http::Method::GET);
        *request.uri_mut() = self.path.parse().unwrap_or_default();
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) = (
                http::HeaderName::try_from(name.as_str()),
                HeaderValue::from_str(value),
            ) {
                request.headers_mut().insert(name, value);
            }
        }
        request
    }
}

impl World {
    /// An empty world. Worlds with equal seeds and requests are equal.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: Timestamp::default(),
            aws: Aws::new(seed, ACCOUNT, REGION),
            clusters: BTreeMap::new(),
            answered: 0,
        }
    }

    /// The world's name, `sandbox:` and eight hexadecimal digits: what states and plans are bound to.
    pub fn id(&self) -> String {
        format!("sandbox:{:08x}", crate::aws::splitmix(self.seed) >> 32)
    }

    /// The twelve digits of the account.
    pub fn account(&self) -> &str {
        &self.aws.account
    }

    /// The moment up to which everything has happened.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Sets the certificate (PEM) that DescribeCluster answers as `certificateAuthority`.
    pub fn set_authority(&mut self, pem: &str) {
        self.aws.authority = Some(pem.to_owned());
    }

    /// Makes clusters say that they are served under this URL, e.g. `https://127.0.0.1:6443`: a cluster's
    /// endpoint is then `<base>/clusters/<region>/<name>`. Not kept in snapshots.
    pub fn serve_clusters_at(&mut self, base: &str) {
        self.aws.endpoints = Some(base.to_owned());
    }

    /// Runs something while clusters go by their names on AWS, wherever they are served.
    pub(crate) fn by_own_names<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> T {
        let served = self.aws.endpoints.take();
        let done = run(self);
        self.aws.endpoints = served;
        done
    }

    /// Takes over from the world that this one replaces what is not part of a world: where it is served.
    pub(crate) fn pass_on(&mut self, former: &Self) {
        self.aws.endpoints.clone_from(&former.aws.endpoints);
        self.now = former.now;
    }

    /// A bearer token that stands for the account's user at every cluster, for clients that cannot sign.
    pub fn static_token(&self) -> String {
        let part = |salt: u64| crate::aws::splitmix(crate::aws::splitmix(self.seed ^ salt));
        format!("sandbox.{:016x}{:016x}", part(1), part(2))
    }

    /// The URL under which a cluster answers, once it does.
    pub fn cluster_endpoint(&mut self, region: &str, name: &str) -> Option<String> {
        self.aws.enter(region);
        let cluster = self.aws.eks.cluster(name).filter(|cluster| cluster.running())?;
        Some(self.aws.endpoint_of(cluster))
    }

    /// The clusters that answer, as region and name, sorted.
    pub fn running_clusters(&mut self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for region in self.aws.regions() {
            self.aws.enter(&region);
            let running = self.aws.eks.clusters().filter(|cluster| cluster.running());
            found.extend(running.map(|cluster| (region.clone(), cluster.name.clone())));
        }
        found
    }

    /// Admits and carries out one request: [`World::admit`], [`World::advance`], [`World::perform`].
    pub fn handle(
        &mut self,
        now: Timestamp,
        request: &http::Request<Bytes>,
    ) -> Result<Answer<ClusterWatch>, Refusal> {
        self.advance(now);
        let admitted = self.admit(now, now, request)?;
        Ok(self.perform(now, &admitted))
    }

    /// Recognises a request and its sender; changes nothing. `wall` is the time on the client's clock.
    pub fn admit(
        &self,
        now: Timestamp,
        wall: Timestamp,
        request: &http::Request<Bytes>,
    ) -> Result<Admitted, Refusal> {
        let refuse = |response: http::Response<Bytes>| Refusal::Response(Box::new(response));
        if let Some((id, path)) = self.cluster_of(now, request)? {
            let who = self
                .bearer(now, wall, request)
                .ok_or_else(|| refuse(unauthorized()))?;
            return Ok(admitted(who, Destination::Cluster { id }, path, request));
        }
        match route::recognise(request, REGION) {
            None => Err(Refusal::UnknownHost(route::host(request).unwrap_or_default())),
            Some(Err(error)) => Err(refuse(route::refusal(request, &error))),
            Some(Ok(target)) => {
                let fail = |error: &ApiError| refuse(route::failure(Some(target.service), error, "refused"));
                let who = match &target.access_key {
                    Some(key) => sts::principal(&self.aws, now, key).map_err(|error| fail(&error))?,
                    None if target.operation == "AssumeRoleWithWebIdentity" => self.aws.user(),
                    None => {
                        let message = "Request is missing Authentication Token";
                        return Err(fail(&ApiError::new(403, "MissingAuthenticationToken", message)));
                    }
                };
                let path = request
                    .uri()
                    .path_and_query()
                    .map_or("/", |path| path.as_str())
                    .to_owned();
                Ok(admitted(who, Destination::Aws(target), path, request))
            }
        }
    }

    /// Carries out an admitted request at `now`, up to which the world was advanced.
    pub fn perform(&mut self, now: Timestamp, admitted: &Admitted) -> Answer<ClusterWatch> {
        self.answered += 1;
        let request = admitted.request();
        let answer = match &admitted.to {
            Destination::Aws(target) => {
                self.aws.enter(&target.region);
                let who = admitted.who.clone();
                let id = self.request_id();
                Answer::Done(route::perform(&mut self.aws, now, target, who, &request, &id))
            }
            Destination::Cluster { id } => self.ask_cluster(now, id, &admitted.who, &request),
        };
        if admitted.mutates() {
            self.settle(now);
            self.advance(now);
        }
        answer
    }

    /// Lets everything happen that is due by `now`; true if anything was.
    pub fn advance(&mut self, now: Timestamp) -> bool {
        let mut steps = 0;
        let mut last = None;
        let mut stepped = false;
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            let at = due.max(self.now);
            steps = if last == Some(at) { steps + 1 } else { 0 };
            if steps > RESTLESS {
                break;
            }
            last = Some(at);
            self.now = at;
            self.step(at);
            stepped = true;
        }
        self.now = self.now.max(now);
        stepped
    }

    /// When something happens by itself next.
    pub fn next_due(&self) -> Option<Timestamp> {
        let inside = self
            .clusters
            .values()
            .filter_map(|inside| inside.cluster.next_due());
        inside.chain(self.aws.next_due()).min()
    }

    /// New lines of a watch; `None` once it is over or its cluster is gone.
    pub fn poll_watch(&self, watch: &mut ClusterWatch) -> Option<Vec<Bytes>> {
        let inside = self.clusters.get(&watch.id)?;
        inside.cluster.poll_watch(self.now, &mut watch.watch)
    }

    fn step(&mut self, now: Timestamp) {
        for region in self.aws.regions() {
            self.aws.enter(&region);
            self.aws.advance(now);
        }
        self.settle(now);
    }

    /// Carries effects into the clusters and lets every controller see what changed.
    fn settle(&mut self, now: Timestamp) {
        for region in self.aws.regions() {
            self.aws.enter(&region);
            for effect in self.aws.eks.take_effects() {
                self.carry(now, effect);
            }
            let running: Vec<(String, String, Vec<String>)> = self
                .aws
                .eks
                .clusters()
                .map(|cluster| (cluster.id.clone(), cluster.name.clone(), cluster.addon_names()))
                .collect();
            for (id, name, addons) in running {
                let Some(inside) = self.clusters.get_mut(&id) else {
                    continue;
                };
                let mut cloud = ClusterCloud {
                    aws: &mut self.aws,
                    now,
                    cluster: &name,
                    namespace: None,
                };
                inside.cluster.advance(now, &mut cloud);
                for addon in addons {
                    let healthy = inside.cluster.addon_healthy(&addon);
                    self.aws.eks.note_addon_health(&name, &addon, healthy);
                }
            }
        }
    }

    fn carry(&mut self, now: Timestamp, effect: Effect) {
        match effect {
            Effect::Start { id, version } => {
                let seed = self.aws.ids.next();
                let cluster = kubernetes::Cluster::new(seed, &version, now);
                self.clusters.insert(
                    id,
                    Inside {
                        region: self.aws.region.clone(),
                        since: now,
                        cluster,
                    },
                );
            }
            Effect::Stop { id } => {
                self.clusters.remove(&id);
            }
            Effect::Upgrade { id, version } => {
                if let Some(inside) = self.clusters.get_mut(&id) {
                    inside.cluster.set_version(&version);
                }
            }
            Effect::Install {
                id,
                addon,
                configuration,
            } => {
                if let Some(inside) = self.clusters.get_mut(&id) {
                    inside.cluster.install_addon(now, &addon, &configuration);
                }
            }
            Effect::Remove { id, addon } => {
                if let Some(inside) = self.clusters.get_mut(&id) {
                    inside.cluster.remove_addon(now, &addon);
                }
            }
        }
    }

    fn ask_cluster(
        &mut self,
        now: Timestamp,
        id: &str,
        who: &Principal,
        request: &http::Request<Bytes>,
    ) -> Answer<ClusterWatch> {
        let Some(inside) = self.clusters.get_mut(id) else {
            return Answer::Done(unauthorized());
        };
        self.aws.enter(&inside.region);
        let name = self
            .aws
            .eks
            .clusters()
            .find(|cluster| cluster.id == id)
            .map(|cluster| cluster.name.clone());
        let Some(name) = name else {
            return Answer::Done(unauthorized());
        };
        let namespace = namespace_of(request.uri().path());
        let mut cloud = ClusterCloud {
            aws: &mut self.aws,
            now,
            cluster: &name,
            namespace,
        };
        if cloud.access(who) == Access::Unauthenticated {
            return Answer::Done(unauthorized());
        }
        match inside.cluster.handle(now, who, request, &mut cloud) {
            Answer::Done(response) => Answer::Done(response),
            Answer::Watch(watch) => Answer::Watch(ClusterWatch {
                id: id.to_owned(),
                watch,
            }),
        }
    }

    /// The cluster that a request is addressed to, and the path inside it.
    fn cluster_of(
        &self,
        now: Timestamp,
        request: &http::Request<Bytes>,
    ) -> Result<Option<(String, String)>, Refusal> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let host = route::host(request).unwrap_or_default();
        let reachable = |id: &str, inside: &Inside| {
            let due = inside.since.after(RESOLVABLE);
            if now < due {
                Err(Refusal::UnknownHost(host.clone()))
            } else {
                Ok(id.to_owned())
            }
        };
        if host.ends_with(".eks.amazonaws.com") {
            let id = host.split('.').next().unwrap_or_default().to_ascii_uppercase();
            return match self.clusters.get(&id) {
                Some(inside) => Ok(Some((reachable(&id, inside)?, path.to_owned()))),
                None => Err(Refusal::UnknownHost(host)),
            };
        }
        // With a custom endpoint EKS shares the host and has paths of the same form, but signs its requests.
        let scheme = request
            .headers()
            .get(AUTHORIZATION)
            .map_or(&b""[..], HeaderValue::as_bytes);
        if self.aws.endpoints.is_none() || scheme.starts_with(b"AWS4-") {
            return Ok(None);
        }
        let (found, rest) = match (prefixed(path), self.clusters.first_key_value()) {
            (Some((region, name, rest)), _) => (self.aws.cluster_id(region, name).map(str::to_owned), rest),
            // `kubectl get --raw` drops the prefix: with one cluster it is clear which is meant.
            (None, Some((id, _))) if self.clusters.len() == 1 && scheme.starts_with(b"Bearer ") => {
                (Some(id.clone()), path.to_owned())
            }
            _ => return Ok(None),
        };
        match found.and_then(|id| Some((self.clusters.get(&id)?, id))) {
            Some((inside, id)) => Ok(Some((reachable(&id, inside)?, rest))),
            None => Err(Refusal::UnknownHost(format!("{host}{path}"))),
        }
    }

    fn bearer(&self, now: Timestamp, wall: Timestamp, request: &http::Request<Bytes>) -> Option<Principal> {
        let token = request
            .headers()
            .get(AUTHORIZATION)?
            .to_str()
            .ok()?
            .strip_prefix("Bearer ")?
            .trim();
        match token == self.static_token() {
            true => Some(self.aws.user()),
            false => sts::token_principal(&self.aws, now, wall, token),
        }
    }

    fn request_id(&self) -> String {
        let bits = crate::aws::splitmix(self.seed.wrapping_add(self.answered));
        let (high, low) = (bits >> 32, bits & 0xffff_ffff);
        format!(
            "{high:08x}-{:04x}-4{:03x}-a000-{:012x}",
            low >> 16,
            low & 0xfff,
            self.answered
        )
    }
}

/// Splits `/clusters/<region>/<name>/rest?query`.
fn prefixed(path: &str) -> Option<(&str, &str, String)> {
    let (path, query) = path
        .split_once('?')
        .map_or((path, None), |(path, query)| (path, Some(query)));
    let mut parts = path.strip_prefix("/clusters/")?.splitn(3, '/');
    let (region, name, rest) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Some((region, name, format!("/{rest}{query}")))
}

fn admitted(who: Principal, to: Destination, path: String, request: &http::Request<Bytes>) -> Admitted {
    let headers = [ACCEPT, CONTENT_TYPE, USER_AGENT]
        .into_iter()
        .filter_map(|name| {
            Some((
                name.to_string(),
                request.headers().get(&name)?.to_str().ok()?.to_owned(),
            ))
        })
        .collect();
    Admitted {
        who,
        to,
        method: request.method().to_string(),
        path,
        headers,
        body: Body::new(request.body()),
    }
}

/// The namespace in a Kubernetes path.
fn namespace_of(path: &str) -> Option<&str> {
    let mut segments = path.split('/');
    segments.find(|segment| *segment == "namespaces")?;
    segments.next().filter(|name| !name.is_empty())
}

fn unauthorized() -> http::Response<Bytes> {
    status_response(401, "Unauthorized", "Unauthorized")
}

/// A Kubernetes `Status` of kind failure.
fn status_response(code: u16, reason: &str, message: &str) -> http::Response<Bytes> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    let mut response = http::Response::new(Bytes::from(status.to_string()));
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
