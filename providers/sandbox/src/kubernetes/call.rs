//! One request on one kind, and its answer before it is rendered.

use super::failure::{Refused, respond};
use super::json::{self, list, text};
use super::managed::Writer;
use super::request::{Place, Request};
use super::resource::Resource;
use super::typed::{self, Mistake, What};
use super::write::DeleteOptions;
use super::{Cluster, columns};
use crate::cloud::{Access, Principal};
use crate::{Answer, Timestamp};
use http::header::HeaderValue;
use serde_json::{Value, json};
use std::sync::Arc;

/// One request on one kind, with everything needed to answer it.
pub(crate) struct Call<'a> {
    pub now: Timestamp,
    pub who: &'a Principal,
    pub request: &'a Request,
    pub place: &'a Place,
    pub resource: Arc<Resource>,
    pub dry: bool,
}

/// An answer before it is rendered: status, body, warnings.
pub(crate) struct Reply {
    pub(super) code: u16,
    pub(super) body: Value,
    pub(super) warnings: Vec<String>,
}

impl Reply {
    pub(super) fn ok(body: Value) -> Self {
        Self {
            code: 200,
            body,
            warnings: Vec::new(),
        }
    }

    pub(crate) fn answer(self) -> Answer {
        let mut response = respond(self.code, &self.body);
        for warning in self.warnings {
            if let Ok(value) = HeaderValue::from_str(&format!("299 - {warning:?}")) {
                response.headers_mut().append("warning", value);
            }
        }
        Answer::Done(response)
    }
}

pub(super) fn resource_scope_mismatch(call: &Call<'_>) -> bool {
    let Place { namespace, name, .. } = call.place;
    if call.resource.namespaced {
        // All namespaces at once can only be listed.
        namespace.is_empty() && (!name.is_empty() || call.request.method == "POST")
    } else {
        !namespace.is_empty()
    }
}

/// The `Scale` of a workload.
pub(super) fn scale_of(object: &Value) -> Value {
    let labels = json::texts(object, "/spec/selector/matchLabels");
    let selector: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let metadata = &object["metadata"];
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {"replicas": json::int(object, "/spec/replicas").unwrap_or(0)},
        "status": {"replicas": json::int(object, "/status/replicas").unwrap_or(0), "selector": selector.join(",")},
    })
}

impl Call<'_> {
    pub(crate) fn writer(&self, applied: bool) -> Writer {
        Writer {
            name: self.request.manager(),
            subresource: self.place.subresource.clone(),
            now: self.now,
            applied,
            dry: self.dry,
        }
    }

    /// An object as this request wants to see it.
    pub(crate) fn show(&self, cluster: &Cluster, object: &Value) -> Value {
        if self.place.subresource == "scale" {
            return scale_of(object);
        }
        let accept = &self.request.accept;
        if accept.contains("as=Table") {
            let metadata = json!({"resourceVersion": cluster.store.revision.to_string()});
            let include = self.request.param("includeObject");
            return columns::table(
                &self.resource,
                &[&Arc::new(object.clone())],
                include,
                self.now,
                &metadata,
            );
        }
        if accept.contains("as=PartialObjectMetadata") {
            return columns::partial(object);
        }
        let mut object = object.clone();
        object["apiVersion"] = Value::from(self.resource.api_version());
        object
    }

    pub(super) fn authorize(&self, access: Access) -> Result<(), Refused> {
        let verb = match (self.request.method.as_str(), self.place.name.is_empty()) {
            ("GET", _) if self.request.flag("watch") => "watch",
            ("GET", true) => "list",
            ("GET", false) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "deletecollection",
            _ => "delete",
        };
        let reads = ["get", "list", "watch"].contains(&verb);
        let allowed = match access {
            Access::Admin => true,
            Access::Edit => self.resource.namespaced || (reads && self.resource.plural == "namespaces"),
            Access::View => reads && self.resource.plural != "secrets",
            Access::Forbidden | Access::Unauthenticated => false,
        };
        if allowed {
            return Ok(());
        }
        let scope = match self.place.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let resource = match self.place.subresource.as_str() {
            "" => self.resource.plural.clone(),
            subresource => format!("{}/{subresource}", self.resource.plural),
        };
        Err(Refused::forbidden(
            &self.resource.plural,
            &self.resource.group,
            &self.place.name,
            &format!(
                "User {:?} cannot {verb} resource {resource:?} in API group {:?} {scope}",
                self.who.arn, self.resource.group
            ),
        ))
    }

    /// Checks an object against its schema as decoding does; returns warnings.
    pub(super) fn decode(&self, object: &mut Value) -> Result<Vec<String>, Refused> {
        let (kind, version) = (text(object, "/kind"), text(object, "/apiVersion"));
        if !object.is_object() || kind.is_empty() {
            return Err(Refused::bad(format!(
                "Object 'Kind' is missing in '{}'",
                object.to_string().chars().take(200).collect::<String>()
            )));
        }
        if kind != self.resource.kind || version != self.resource.api_version() {
            return Err(Refused::bad(format!(
                "the API version in the data ({version}) does not match the expected API version ({})",
                self.resource.api_version()
            )));
        }
        let (kind, version) = (self.resource.kind.as_str(), self.resource.version.as_str());
        let mistakes = typed::check(&self.resource.ty, object);
        let unknown: Vec<String> = mistakes
            .iter()
            .filter(|mistake| mistake.what == What::Unknown)
            .map(|mistake| format!("unknown field {:?}", mistake.path))
            .collect();
        let wrong: Vec<&Mistake> = mistakes
            .iter()
            .filter(|mistake| matches!(mistake.what, What::Mistyped { .. }))
            .collect();
        let cannot = |why: String| {
            Refused::bad(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
            ))
        };
        if let Some(mistake) = wrong.first()
            && !self.resource.custom
            && let What::Mistyped { go, got, holder, .. } = &mistake.what
        {
            let plain: String = mistake
                .path
                .split('[')
                .map(|part| part.split_once(']').map_or(part, |(_, rest)| rest))
                .collect();
            return Err(cannot(format!(
                "json: cannot unmarshal {got} into Go struct field {holder}.{plain} of type {go}"
            )));
        }
        let validation = self.request.param("fieldValidation");
        if !unknown.is_empty() && validation == "Strict" {
            return Err(if self.resource.custom {
                Refused::bad(format!("strict decoding error: {}", unknown.join(", ")))
            } else {
                cannot(format!("strict decoding error: {}", unknown.join(", ")))
            });
        }
        typed::prune_unknown(&self.resource.ty, object);
        Ok(if validation == "Ignore" {
            Vec::new()
        } else {
            unknown
        })
    }

    pub(super) fn delete_options(&self) -> Result<DeleteOptions, Refused> {
        let body = if self.request.body.is_empty() {
            json!({})
        } else {
            self.request.json()?
        };
        let string = |path: &str| {
            let text = text(&body, path);
            (!text.is_empty()).then(|| text.to_owned())
        };
        let propagation = match string("/propagationPolicy") {
            Some(policy) => policy,
            None if body["orphanDependents"] == true => "Orphan".to_owned(),
            None if body["orphanDependents"] == false => "Background".to_owned(),
            None => self.request.param("propagationPolicy").to_owned(),
        };
        if !["", "Background", "Foreground", "Orphan"].contains(&propagation.as_str()) {
            return Err(Refused::invalid(
                "DeleteOptions",
                "meta.k8s.io",
                "",
                &[super::failure::Cause::unsupported(
                    "propagationPolicy",
                    &Value::from(propagation),
                    &["Foreground", "Background", "Orphan", "nil"],
                )],
            ));
        }
        let grace = json::int(&body, "/gracePeriodSeconds")
            .or_else(|| self.request.param("gracePeriodSeconds").parse().ok());
        Ok(DeleteOptions {
            uid: string("/preconditions/uid"),
            revision: string("/preconditions/resourceVersion"),
            propagation,
            grace,
            dry: self.dry || list(&body, "/dryRun").iter().any(|value| value == "All"),
        })
    }
}
