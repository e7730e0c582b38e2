//! Requests to one API server: authenticated, addressed by discovery, answers told from refusals.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use epid_provider::{Call, Failure, Kind};
use http::{Method, Request, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value as Json;

use crate::name::{Place, api_version};
use crate::refusal::{Refusal, Said};
use crate::schema;
use crate::settings::{BearerToken, Cluster, TokenSource};

/// A token is renewed this long before it expires.
const RENEW: Duration = Duration::from_secs(60);
/// Objects per page of a list.
const PAGE: u32 = 500;

/// Where the `Authorization` header comes from.
pub(crate) enum Auth {
    /// The client brings its own: a kubeconfig.
    Client,
    /// A token source, and the last token.
    Source {
        tokens: Arc<dyn TokenSource>,
        cluster: Cluster,
        last: Mutex<Option<BearerToken>>,
    },
}

/// One API server.
pub(crate) struct Api {
    client: kube::Client,
    auth: Auth,
    discovered: Mutex<BTreeMap<String, Vec<Discovered>>>,
}

/// A kind of a group version, as the server lists it.
#[derive(Debug, Clone)]
struct Discovered {
    kind: String,
    plural: String,
    namespaced: bool,
}

/// Where the objects of a kind are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    /// `apps/v1`.
    pub(crate) api_version: String,
    /// `deployments`.
    pub(crate) plural: String,
    /// True where they live in namespaces.
    pub(crate) namespaced: bool,
}

/// A request's body.
pub(crate) enum Sent<'a> {
    /// None.
    Nothing,
    /// JSON.
    Json(&'a Json),
    /// JSON for a server-side apply.
    Apply(&'a Json),
}

/// What an answer must be: something else is not the API server's, and means neither that nothing is there nor that
/// something was done.
#[derive(Clone, Copy)]
pub(crate) enum Expected<'a> {
    /// An object of an API version and kind.
    Object(&'a str, &'a str),
    /// A list of objects.
    List,
    /// Of a kind that says enough.
    Kind(&'static str),
    /// Anything of the API.
    Any,
}

impl Expected<'_> {
    fn fits(self, json: &Json) -> bool {
        let (version, kind) = (json["apiVersion"].as_str(), json["kind"].as_str());
        match (self, version, kind) {
            (Self::Object(wanted, of_kind), Some(version), Some(kind)) => {
                version == wanted && kind == of_kind
            }
            (Self::List, Some(_), Some(kind)) => kind.ends_with("List") && json.get("items").is_some(),
            (Self::Kind(wanted), _, Some(kind)) => kind == wanted,
            (Self::Any, Some(_), Some(_)) => true,
            _ => false,
        }
    }

    fn told(self) -> String {
        match self {
            Self::Object(version, kind) => format!("{kind} of {version}"),
            Self::List => "list".to_owned(),
            Self::Kind(kind) => kind.to_owned(),
            Self::Any => "object of the Kubernetes API".to_owned(),
        }
    }
}

impl Route {
    /// The path of the collection in a namespace, or of all namespaces.
    pub(crate) fn collection(&self, namespace: Option<&str>) -> String {
        let prefix = if self.api_version.contains('/') {
            "apis"
        } else {
            "api"
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!(
                "/{prefix}/{}/namespaces/{namespace}/{}",
                self.api_version, self.plural
            ),
            None => format!("/{prefix}/{}/{}", self.api_version, self.plural),
        }
    }

    /// The path of an object.
    pub(crate) fn object(&self, place: &Place) -> String {
        format!("{}/{}", self.collection(place.namespace.as_deref()), place.name)
    }
}

impl Api {
    pub(crate) fn new(client: kube::Client, auth: Auth) -> Self {
        Self {
            client,
            auth,
            discovered: Mutex::default(),
        }
    }

    /// Reads a path.
    pub(crate) async fn get(&self, cx: &Call, path: &str, expected: Expected<'_>) -> Result<Json, Refusal> {
        self.send(cx, Method::GET, path, Sent::Nothing, expected)
            .await
            .map(|(_, json)| json)
    }

    /// Every object of a collection, page by page. `query` has no leading `?`.
    pub(crate) async fn list(&self, cx: &Call, collection: &str, query: &str) -> Result<Vec<Json>, Refusal> {
        let mut items = Vec::new();
        let mut more = String::new();
        loop {
            let path = format!(
                "{collection}?limit={PAGE}{more}{}{query}",
                if query.is_empty() { "" } else { "&" }
            );
            let mut page = self.get(cx, &path, Expected::List).await?;
            if let Json::Array(list) = page["items"].take() {
                items.extend(list);
            }
            match page["metadata"]["continue"].as_str() {
                Some(token) if !token.is_empty() => more = format!("&continue={}", encoded(token)),
                _ => return Ok(items),
            }
        }
    }

    /// Sends a request. The status code and the body, where the server did what was asked.
    pub(crate) async fn send(
        &self,
        cx: &Call,
        method: Method,
        path: &str,
        body: Sent<'_>,
        expected: Expected<'_>,
    ) -> Result<(u16, Json), Refusal> {
        let asked = format!("{method} {}", path.split('?').next().unwrap_or(path));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json");
        if let Some(token) = self.token(cx).await.map_err(Refusal::Unasked)? {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let (kind, body) = match body {
            Sent::Nothing => ("application/json", Vec::new()),
            Sent::Json(json) => ("application/json", json.to_string().into_bytes()),
            Sent::Apply(json) => ("application/apply-patch+yaml", json.to_string().into_bytes()),
        };
        let request = request
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body))
            .map_err(|error| {
                Refusal::Unasked(Failure::new(
                    "Request",
                    format_args!("`{path}` cannot be asked for: {error}"),
                ))
            })?;
        let silent = |error: &(dyn std::error::Error + 'static)| Refusal::Silent {
            message: chain(error),
            unsent: is_unsent(error),
        };
        let answer = self.client.send(request).await.map_err(|error| silent(&error))?;
        let (head, body) = answer.into_parts();
        let code = head.status.as_u16();
        let header = |name| head.headers.get(name)?.to_str().ok().map(str::to_owned);
        let request_id = header("audit-id");
        let content_type = header("content-type").unwrap_or_else(|| "without a content type".to_owned());
        let bytes = body.collect().await.map_err(|error| silent(&error))?.to_bytes();
        let json: Option<Json> = serde_json::from_slice(&bytes).ok();
        if code < 300 {
            let fitting = json.filter(|json| expected.fits(json));
            return fitting.map(|json| (code, json)).ok_or_else(|| Refusal::Alien {
                message: format!(
                    "the answer to `{asked}` cannot be read: it is no {} ({content_type})",
                    expected.told()
                ),
            });
        }
        if code == 401 {
            self.forget_token();
        }
        let status = json.filter(|json| json["kind"] == "Status").unwrap_or(Json::Null);
        let text = String::from_utf8_lossy(&bytes).chars().take(500).collect();
        Err(Refusal::Said(Box::new(Said {
            code,
            status,
            text,
            request_id,
        })))
    }

    async fn token(&self, cx: &Call) -> Result<Option<String>, Failure> {
        let Auth::Source {
            tokens,
            cluster,
            last,
        } = &self.auth
        else {
            return Ok(None);
        };
        let held = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(held) = held.filter(|held| cx.now().after(RENEW) < held.expires) {
            return Ok(Some(held.token));
        }
        let fresh = tokens.token(cx, cluster).await?;
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh.clone());
        Ok(Some(fresh.token))
    }

    fn forget_token(&self) {
        if let Auth::Source { last, .. } = &self.auth {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Where the objects of a kind are; `None` where the server reliably serves no such kind, in any version.
    pub(crate) async fn route(&self, cx: &Call, kind: &Kind) -> Result<Option<Route>, Refusal> {
        if let Some(served) = schema::served(kind) {
            return Ok(Some(Route {
                api_version: served.api_version.to_owned(),
                plural: served.plural.to_owned(),
                namespaced: served.namespaced,
            }));
        }
        if let Some(route) = self.route_in(cx, kind.module(), kind.name()).await? {
            return Ok(Some(route));
        }
        let group = api_version::group(kind.module());
        if group.is_empty() {
            return Ok(None);
        }
        let versions = match self
            .get(cx, &format!("/apis/{group}"), Expected::Kind("APIGroup"))
            .await
        {
            Ok(group) => group,
            Err(refusal) if refusal.said().is_some_and(Said::is_unserved) => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        for version in versions["versions"].as_array().into_iter().flatten() {
            let version = version["groupVersion"].as_str().unwrap_or_default();
            if version != kind.module()
                && let Some(route) = self.route_in(cx, version, kind.name()).await?
            {
                return Ok(Some(route));
            }
        }
        Ok(None)
    }

    async fn route_in(&self, cx: &Call, version: &str, kind: &str) -> Result<Option<Route>, Refusal> {
        let find = |kinds: &[Discovered]| {
            kinds.iter().find(|d| d.kind == kind).map(|d| Route {
                api_version: version.to_owned(),
                plural: d.plural.clone(),
                namespaced: d.namespaced,
            })
        };
        if let Some(kinds) = self.discovered().get(version)
            && let Some(route) = find(kinds)
        {
            return Ok(Some(route));
        }
        let prefix = if version.contains('/') { "apis" } else { "api" };
        let path = format!("/{prefix}/{version}");
        let list = match self.get(cx, &path, Expected::Kind("APIResourceList")).await {
            Ok(list) => list,
            Err(refusal) if refusal.said().is_some_and(Said::is_unserved) => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        let kinds: Vec<Discovered> = list["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|r| r["name"].as_str().is_some_and(|name| !name.contains('/')))
            .map(|r| Discovered {
                kind: r["kind"].as_str().unwrap_or_default().to_owned(),
                plural: r["name"].as_str().unwrap_or_default().to_owned(),
                namespaced: r["namespaced"].as_bool().unwrap_or(true),
            })
            .collect();
        let route = find(&kinds);
        self.discovered().insert(version.to_owned(), kinds);
        Ok(route)
    }

    /// Forgets what was discovered of a group: a CRD came or went.
    pub(crate) fn forget_group(&self, group: &str) {
        self.discovered()
            .retain(|version, _| api_version::group(version) != group);
    }

    fn discovered(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<Discovered>>> {
        self.discovered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with its causes, each told once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// True where nothing listened, or the name did not resolve: the request never left.
fn is_unsent(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        let text = error.to_string();
        if text.contains("dns error") || text.contains("cannot resolve host") {
            return true;
        }
        at = error.source();
    }
    false
}

/// Percent-encodes a query's value.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        let route = |api_version: &str, namespaced| Route {
            api_version: api_version.to_owned(),
            plural: "things".to_owned(),
            namespaced,
        };
        let place = |id, namespaced| Place::parse(id, namespaced, "default");
        assert_eq!(
            route("v1", true).object(&place("a/b", true)),
            "/api/v1/namespaces/a/things/b"
        );
        assert_eq!(
            route("x.io/v1", false).object(&place("b", false)),
            "/apis/x.io/v1/things/b"
        );
        assert_eq!(route("v1", true).collection(None), "/api/v1/things");
        assert_eq!(encoded("a=b,c/d"), "a%3Db%2Cc%2Fd");
    }
}
