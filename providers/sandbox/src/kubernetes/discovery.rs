//! Which kinds exist: discovery, its aggregated form, and as much OpenAPI as clients look for.

use super::failure::{Refused, plain, respond};
use super::request::{Place, Request};
use super::resource::{self, Resource};
use super::{Cluster, openapi};
use crate::Answer;
use crate::cloud::{Access, Cloud, Principal};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// Groups in the order of the real server, with their versions, newest first.
fn groups(kinds: &[Arc<Resource>]) -> Vec<(String, Vec<String>)> {
    let mut groups: BTreeMap<(usize, String), Vec<String>> = BTreeMap::new();
    let order = [
        "",
        "apiregistration.k8s.io",
        "apps",
        "events.k8s.io",
        "autoscaling",
        "batch",
    ];
    for kind in kinds {
        let place = order
            .iter()
            .position(|group| *group == kind.group)
            .unwrap_or(order.len() + usize::from(kind.custom));
        let versions = groups.entry((place, kind.group.clone())).or_default();
        if !versions.contains(&kind.version) {
            versions.push(kind.version.clone());
        }
    }
    groups
        .into_iter()
        .map(|((_, group), mut versions)| {
            versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
            (group, versions)
        })
        .collect()
}

/// Stable versions before betas before alphas, higher numbers first.
fn priority(version: &str) -> (u8, u64, u64) {
    let number = |text: &str| text.parse().unwrap_or(0);
    let rest = version.strip_prefix('v').unwrap_or_default();
    if let Some((major, minor)) = rest.split_once("beta") {
        (1, number(major), number(minor))
    } else if let Some((major, minor)) = rest.split_once("alpha") {
        (0, number(major), number(minor))
    } else {
        (2, number(rest), 0)
    }
}

fn join(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

impl Cluster {
    /// Answers paths that name no objects; `None` for all others.
    pub(crate) fn directory(&self, request: &Request) -> Option<Answer> {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        let kinds = resource::served(&self.store);
        let done = |body: &Value| Some(Answer::Done(respond(200, body)));
        match path[..] {
            ["version"] => done(&self.version_info()),
            ["healthz" | "readyz" | "livez", ..] => Some(Answer::Done(plain(200, "ok"))),
            [] => {
                let paths: Vec<String> = ["/api", "/api/v1", "/apis"]
                    .into_iter()
                    .map(str::to_owned)
                    .chain(
                        groups(&kinds)
                            .iter()
                            .filter(|(group, _)| !group.is_empty())
                            .flat_map(|(group, versions)| {
                                std::iter::once(format!("/apis/{group}")).chain(
                                    versions
                                        .iter()
                                        .map(move |version| format!("/apis/{group}/{version}")),
                                )
                            }),
                    )
                    .chain(["/healthz", "/livez", "/openapi/v3", "/readyz", "/version"].map(str::to_owned))
                    .collect();
                done(&json!({"paths": paths}))
            }
            ["api"] if aggregated(request) => Some(aggregate(&kinds, true)),
            ["apis"] if aggregated(request) => Some(aggregate(&kinds, false)),
            ["api"] => done(&json!({"kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]})),
            ["apis"] => {
                let all: Vec<Value> = groups(&kinds)
                    .iter()
                    .filter(|(group, _)| !group.is_empty())
                    .map(|(group, versions)| group_object(group, versions))
                    .collect();
                done(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all}))
            }
            ["apis", group] => {
                let found = groups(&kinds).into_iter().find(|(name, _)| name == group);
                match found {
                    Some((group, versions)) => {
                        let mut object = group_object(&group, &versions);
                        object["kind"] = Value::from("APIGroup");
                        object["apiVersion"] = Value::from("v1");
                        done(&object)
                    }
                    None => Some(Answer::Done(plain(404, "404 page not found\n"))),
                }
            }
            ["api", version] => Some(resource_list(&kinds, "", version)),
            ["apis", group, version] => Some(resource_list(&kinds, group, version)),
            ["openapi", "v2"] => Some(Answer::Done(openapi::v2())),
            ["openapi", "v3"] => {
                let mut paths = serde_json::Map::new();
                for (group, versions) in groups(&kinds) {
                    for version in versions {
                        let path = if group.is_empty() {
                            format!("api/{version}")
                        } else {
                            format!("apis/{group}/{version}")
                        };
                        let url = format!("/openapi/v3/{path}?hash={}", self.store.revision);
                        paths.insert(path, json!({"serverRelativeURL": url}));
                    }
                }
                done(&json!({"paths": paths}))
            }
            ["openapi", "v3", "api", version] => done(&openapi::v3(&kinds, "", version)),
            ["openapi", "v3", "apis", group, version] => done(&openapi::v3(&kinds, group, version)),
            _ => None,
        }
    }

    fn version_info(&self) -> Value {
        let (major, minor) = self.version.split_once('.').unwrap_or(("1", "0"));
        json!({
            "major": major, "minor": minor, "gitVersion": format!("v{}.0-eks-sandbox", self.version),
            "gitCommit": "0000000000000000000000000000000000000000", "gitTreeState": "clean",
            "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none", "compiler": "none", "platform": "linux/amd64",
        })
    }
}

fn aggregated(request: &Request) -> bool {
    request.accept.contains("g=apidiscovery.k8s.io") && request.accept.contains("as=APIGroupDiscoveryList")
}

fn group_object(group: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": join(group, version), "version": version}))
        .collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

fn resource_list(kinds: &[Arc<Resource>], group: &str, version: &str) -> Answer {
    let mut resources = Vec::new();
    for kind in kinds
        .iter()
        .filter(|kind| kind.group == group && kind.version == version)
    {
        let mut entry = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
            "verbs": VERBS,
        });
        if !kind.short.is_empty() {
            entry["shortNames"] = json!(kind.short);
        }
        if !kind.categories.is_empty() {
            entry["categories"] = json!(kind.categories);
        }
        resources.push(entry);
        if kind.scale {
            resources.push(json!({"name": format!("{}/scale", kind.plural), "singularName": "", "namespaced": kind.namespaced,
                "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["get", "patch", "update"]}));
        }
        if kind.status {
            resources.push(json!({"name": format!("{}/status", kind.plural), "singularName": "", "namespaced": kind.namespaced,
                "kind": kind.kind, "verbs": ["get", "patch", "update"]}));
        }
    }
    if resources.is_empty() {
        return Answer::Done(plain(404, "404 page not found\n"));
    }
    Answer::Done(respond(
        200,
        &json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": join(group, version), "resources": resources}),
    ))
}

/// `APIGroupDiscoveryList` of the legacy group, or of all others.
fn aggregate(kinds: &[Arc<Resource>], legacy: bool) -> Answer {
    let items: Vec<Value> = groups(kinds)
        .iter()
        .filter(|(group, _)| group.is_empty() == legacy)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = kinds
                        .iter()
                        .filter(|kind| kind.group == *group && kind.version == *version)
                        .map(|kind| discovered(kind))
                        .collect();
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            let mut metadata = json!({"creationTimestamp": null});
            if !group.is_empty() {
                metadata["name"] = Value::from(group.as_str());
            }
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let body = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
    let mut response = http::Response::new(Bytes::from(body.to_string()));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
    );
    Answer::Done(response)
}

fn discovered(kind: &Resource) -> Value {
    let scope = if kind.namespaced { "Namespaced" } else { "Cluster" };
    let response =
        |group: &str, version: &str, name: &str| json!({"group": group, "version": version, "kind": name});
    let mut subresources = Vec::new();
    if kind.scale {
        subresources.push(
            json!({"subresource": "scale", "responseKind": response("autoscaling", "v1", "Scale"),
            "verbs": ["get", "patch", "update"]}),
        );
    }
    if kind.status {
        subresources.push(
            json!({"subresource": "status", "responseKind": response(&kind.group, &kind.version, &kind.kind),
            "verbs": ["get", "patch", "update"]}),
        );
    }
    let mut entry = json!({
        "resource": kind.plural, "responseKind": response(&kind.group, &kind.version, &kind.kind), "scope": scope,
        "singularResource": kind.singular, "verbs": VERBS,
    });
    for (key, values) in [("shortNames", &kind.short), ("categories", &kind.categories)] {
        if !values.is_empty() {
            entry[key] = json!(values);
        }
    }
    if !subresources.is_empty() {
        entry["subresources"] = Value::Array(subresources);
    }
    entry
}

/// The answer to a path that means nothing.
pub(crate) fn nothing_here(request: &Request) -> Answer {
    if request.method == "GET" {
        Answer::Done(plain(404, "404 page not found\n"))
    } else {
        Answer::Done(
            Refused::new(
                404,
                "NotFound",
                "the server could not find the requested resource",
            )
            .response(),
        )
    }
}

impl Cluster {
    /// Answers reviews of one's own identity and permissions, which are not kept.
    pub(crate) fn review(
        &self,
        who: &Principal,
        request: &Request,
        place: &Place,
        cloud: &dyn Cloud,
    ) -> Option<Answer> {
        let status = match (place.group.as_str(), place.plural.as_str()) {
            ("authentication.k8s.io", "selfsubjectreviews") => {
                json!({"userInfo": {"username": who.arn, "uid": who.user_id, "groups": ["system:authenticated"]}})
            }
            ("authorization.k8s.io", "selfsubjectaccessreviews") => {
                json!({"allowed": cloud.access(who) == Access::Admin})
            }
            _ => return None,
        };
        if request.method != "POST" {
            return Some(Answer::Done(Refused::method().response()));
        }
        let (kind, version) = match place.plural.as_str() {
            "selfsubjectreviews" => ("SelfSubjectReview", "authentication.k8s.io"),
            _ => ("SelfSubjectAccessReview", "authorization.k8s.io"),
        };
        let mut body = request.json().unwrap_or(Value::Null);
        // What is asked in protobuf is answered all the same: the answer does not depend on it.
        if !body.is_object() {
            body = json!({"kind": kind, "apiVersion": format!("{version}/{}", place.version), "metadata": {}, "spec": {}});
        }
        body["status"] = status;
        Some(Answer::Done(respond(201, &body)))
    }
}
