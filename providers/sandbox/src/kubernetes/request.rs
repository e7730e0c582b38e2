//! Reading requests: path, query, headers.

use super::failure::Refused;
use bytes::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a path under `/api` or `/apis` names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub plural: String,
    pub name: String,
    pub subresource: String,
    /// The obsolete `/api/v1/watch/...`.
    pub watch: bool,
}

/// A request, read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub method: String,
    pub path: Vec<String>,
    pub query: BTreeMap<String, String>,
    pub accept: String,
    pub content_type: String,
    pub agent: String,
    pub body: Bytes,
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(&text.replace('+', " "))
        .decode_utf8_lossy()
        .into_owned()
}

impl Request {
    pub(crate) fn read(request: &http::Request<Bytes>) -> Self {
        let header = |name: &str| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let query = request.uri().query().unwrap_or_default();
        Self {
            method: request.method().to_string(),
            path: request
                .uri()
                .path()
                .split('/')
                .filter(|segment| !segment.is_empty())
                .map(|segment| {
                    percent_encoding::percent_decode_str(segment)
                        .decode_utf8_lossy()
                        .into_owned()
                })
                .collect(),
            query: query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key), decode(value))
                })
                .collect(),
            accept: header("accept"),
            content_type: header("content-type"),
            agent: header("user-agent"),
            body: request.body().clone(),
        }
    }

    pub(crate) fn param(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.param(name), "true" | "1")
    }

    /// What the path names, where it is one of objects.
    pub(crate) fn place(&self) -> Option<Place> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let (group, version, rest) = match path[..] {
            ["api", version, ref rest @ ..] => ("", version, rest),
            ["apis", group, version, ref rest @ ..] => (group, version, rest),
            _ => return None,
        };
        let (watch, rest) = match rest {
            ["watch", rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (namespace, rest) = match rest {
            // `/api/v1/namespaces/NAME/status` is about the namespace itself.
            ["namespaces", _, "status" | "finalize"] => ("", rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return None,
        };
        Some(Place {
            group: group.to_owned(),
            version: version.to_owned(),
            namespace: namespace.to_owned(),
            plural: plural.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
            watch,
        })
    }

    /// The body as JSON; YAML where the content type says so.
    pub(crate) fn json(&self) -> Result<Value, Refused> {
        if self.content_type.contains("protobuf")
            && let Some(object) = super::protobuf::decode(&self.body)
        {
            return Ok(object);
        }
        if self.content_type.contains("protobuf") || self.content_type.contains("cbor") {
            return Err(Refused::new(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: application/json, \
                 application/yaml; of protobuf the sandbox reads the stable kinds",
            ));
        }
        match serde_json::from_slice(&self.body) {
            Ok(value) => Ok(value),
            Err(_) if self.content_type.contains("yaml") => std::str::from_utf8(&self.body)
                .ok()
                .and_then(|text| serde_saphyr::from_str(text).ok())
                .ok_or_else(|| Refused::bad("error decoding YAML: the body is not valid YAML")),
            Err(error) => Err(Refused::bad(format!(
                "couldn't get version/kind; json parse error: {error}"
            ))),
        }
    }

    /// The field manager: asked for, or the first word of the user agent.
    pub(crate) fn manager(&self) -> String {
        match self.param("fieldManager") {
            "" => match self.agent.split('/').next().unwrap_or_default() {
                "" => "unknown".to_owned(),
                name => name.to_owned(),
            },
            name => name.to_owned(),
        }
    }
}
