//! The verbs: from a request to an answer.

use super::call::{Call, Reply, resource_scope_mismatch, scale_of};
use super::failure::Refused;
use super::json::{self, text};
use super::managed::{self};
use super::request::{Place, Request};
use super::resource::{self};
use super::selector::Selector;
use super::watch::Watch;
use super::write::{Deletion, success};
use super::{Cluster, columns, patch};
use crate::cloud::{Cloud, Principal};
use crate::{Answer, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

impl Cluster {
    /// Answers a request on objects.
    pub(crate) fn objects(
        &mut self,
        now: Timestamp,
        who: &Principal,
        request: &Request,
        place: &Place,
        cloud: &mut dyn Cloud,
    ) -> Result<Answer, Refused> {
        let Some(resource) = resource::find(&self.store, &place.group, &place.version, &place.plural) else {
            return Err(Refused::new(
                404,
                "NotFound",
                "the server could not find the requested resource",
            ));
        };
        let dry = match request.param("dryRun") {
            "" => false,
            "All" => true,
            other => {
                return Err(Refused::bad(format!(
                    "Invalid value: [\"{other}\"]: dryRun: supported values: \"All\""
                )));
            }
        };
        let call = Call {
            now,
            who,
            request,
            place,
            resource,
            dry,
        };
        call.authorize(cloud.access(who))?;
        if resource_scope_mismatch(&call) {
            return Err(Refused::new(
                404,
                "NotFound",
                "the server could not find the requested resource",
            ));
        }
        let collection = place.name.is_empty();
        let subresource = match place.subresource.as_str() {
            "" => true,
            "status" => call.resource.status,
            "scale" => call.resource.scale,
            _ => false,
        };
        if !subresource {
            return self.other_subresource(&call, cloud);
        }
        match (request.method.as_str(), collection) {
            ("GET", true) => self.list(&call),
            ("GET", false) if request.flag("watch") || place.watch => self.list(&call),
            ("GET", false) => self.get(&call).map(Reply::answer),
            ("POST", true) => self.post(&call, cloud).map(Reply::answer),
            ("PUT", false) => self.put(&call, cloud).map(Reply::answer),
            ("PATCH", false) => self.patch(&call, cloud).map(Reply::answer),
            ("DELETE", false) if place.subresource.is_empty() => self.delete_one(&call).map(Reply::answer),
            ("DELETE", true) => self.delete_all(&call).map(Reply::answer),
            _ => Err(Refused::method()),
        }
    }

    fn missing(call: &Call<'_>) -> Refused {
        Refused::not_found(&call.resource.plural, &call.resource.group, &call.place.name)
    }

    fn found(&self, call: &Call<'_>) -> Result<Arc<Value>, Refused> {
        let id = call.resource.id(&call.place.namespace, &call.place.name);
        self.store.get(&id).cloned().ok_or_else(|| Self::missing(call))
    }

    fn get(&self, call: &Call<'_>) -> Result<Reply, Refused> {
        let object = self.found(call)?;
        Ok(Reply::ok(call.show(self, &object)))
    }

    fn list(&mut self, call: &Call<'_>) -> Result<Answer, Refused> {
        let request = call.request;
        let mut fields = request.param("fieldSelector").to_owned();
        if !call.place.name.is_empty() {
            fields = format!("metadata.name={}", call.place.name);
        }
        let selector = Selector::parse(request.param("labelSelector"), &fields)?;
        let namespace = (!call.place.namespace.is_empty()).then_some(call.place.namespace.as_str());
        if request.flag("watch") || call.place.watch {
            let watch = Watch::open(self, call.now, &call.resource, namespace, selector, request)?;
            return Ok(Answer::Watch(watch));
        }
        let (start, revision) = match request.param("continue").split_once('|') {
            Some((revision, key)) => (
                Some(key.to_owned()),
                revision.parse().unwrap_or(self.store.revision),
            ),
            None if request.param("continue").is_empty() => (None, self.store.revision),
            None => return Err(Refused::bad("continue key is not valid: unrecognized encoding")),
        };
        if revision < self.store.floor() && start.is_some() {
            return Err(Refused::expired(revision, self.store.floor()));
        }
        let asked: u64 = request.param("resourceVersion").parse().unwrap_or(0);
        if request.param("resourceVersionMatch") == "Exact" && asked != 0 && asked != self.store.revision {
            return Err(Refused::expired(asked, self.store.revision));
        }
        let limit: usize = request
            .param("limit")
            .parse()
            .ok()
            .filter(|limit| *limit > 0)
            .unwrap_or(usize::MAX);
        let key = |object: &Value| {
            format!(
                "{}/{}",
                text(object, "/metadata/namespace"),
                text(object, "/metadata/name")
            )
        };
        let objects: Vec<&Arc<Value>> = self
            .store
            .list(&call.resource.group, &call.resource.plural, namespace)
            .map(|(_, object)| object)
            .filter(|object| selector.matches(object))
            .collect();
        let skip = start.map_or(0, |start| {
            objects.iter().take_while(|object| key(object) <= start).count()
        });
        let page: Vec<&Arc<Value>> = objects.iter().skip(skip).take(limit).copied().collect();
        let left = objects.len() - skip - page.len();
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if left > 0
            && let Some(last) = page.last()
        {
            metadata["continue"] = Value::from(format!("{revision}|{}", key(last)));
            metadata["remainingItemCount"] = Value::from(left);
        }
        let body = if request.accept.contains("as=Table") {
            columns::table(
                &call.resource,
                &page,
                request.param("includeObject"),
                call.now,
                &metadata,
            )
        } else {
            let partial = request.accept.contains("as=PartialObjectMetadataList");
            let items: Vec<Value> = page
                .iter()
                .map(|object| {
                    let mut item = if partial {
                        columns::partial(object)
                    } else {
                        Value::clone(object)
                    };
                    if call.resource.custom || partial {
                        item["apiVersion"] = Value::from(call.resource.api_version());
                    } else if let Some(map) = item.as_object_mut() {
                        map.remove("apiVersion");
                        map.remove("kind");
                    }
                    if partial {
                        item["apiVersion"] = Value::from("meta.k8s.io/v1");
                    }
                    item
                })
                .collect();
            let (version, kind) = if partial {
                (
                    "meta.k8s.io/v1".to_owned(),
                    "PartialObjectMetadataList".to_owned(),
                )
            } else {
                (call.resource.api_version(), format!("{}List", call.resource.kind))
            };
            json!({"kind": kind, "apiVersion": version, "metadata": metadata, "items": items})
        };
        Ok(Reply::ok(body).answer())
    }

    fn post(&mut self, call: &Call<'_>, cloud: &mut dyn Cloud) -> Result<Reply, Refused> {
        let mut object = call.request.json()?;
        let warnings = call.decode(&mut object)?;
        let writer = call.writer(false);
        let created = self.create(&call.resource, &call.place.namespace, object, &writer, cloud)?;
        Ok(Reply {
            code: 201,
            body: call.show(self, &created),
            warnings,
        })
    }

    fn put(&mut self, call: &Call<'_>, cloud: &mut dyn Cloud) -> Result<Reply, Refused> {
        let mut object = call.request.json()?;
        if call.place.subresource == "scale" {
            return self.put_scale(call, &object, cloud);
        }
        let warnings = call.decode(&mut object)?;
        let name = text(&object, "/metadata/name");
        if name != call.place.name {
            return Err(Refused::bad(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                call.place.name
            )));
        }
        let namespace = text(&object, "/metadata/namespace");
        if !namespace.is_empty() && namespace != call.place.namespace {
            return Err(Refused::bad(format!(
                "the namespace of the object ({namespace}) does not match the namespace on the request ({})",
                call.place.namespace
            )));
        }
        let old = self.found(call)?;
        let needs_revision = matches!(
            call.resource.plural.as_str(),
            "customresourcedefinitions" | "leases" | "endpointslices"
        ) || call.resource.custom;
        if needs_revision && text(&object, "/metadata/resourceVersion").is_empty() {
            return Err(Refused::invalid(
                &call.resource.kind,
                &call.resource.group,
                &call.place.name,
                &[super::failure::Cause::invalid(
                    "metadata.resourceVersion",
                    &json!(0),
                    "must be specified for an update",
                )],
            ));
        }
        let updated = self.store_update(call, &old, object, false, cloud)?;
        Ok(Reply {
            code: 200,
            body: call.show(self, &updated),
            warnings,
        })
    }

    fn store_update(
        &mut self,
        call: &Call<'_>,
        old: &Arc<Value>,
        new: Value,
        applied: bool,
        cloud: &mut dyn Cloud,
    ) -> Result<Arc<Value>, Refused> {
        let id = call.resource.id(&call.place.namespace, &call.place.name);
        let writer = call.writer(applied);
        self.update(&call.resource, &id, old, new, &writer, cloud)
    }

    fn put_scale(&mut self, call: &Call<'_>, scale: &Value, cloud: &mut dyn Cloud) -> Result<Reply, Refused> {
        let old = self.found(call)?;
        let mut new = Value::clone(&old);
        let replicas = json::int(scale, "/spec/replicas").unwrap_or(0);
        json::put(&mut new, &["spec", "replicas"], Value::from(replicas));
        let revision = text(scale, "/metadata/resourceVersion");
        if !revision.is_empty() {
            new["metadata"]["resourceVersion"] = Value::from(revision);
        }
        let updated = self.store_update(call, &old, new, false, cloud)?;
        Ok(Reply::ok(call.show(self, &updated)))
    }

    fn patch(&mut self, call: &Call<'_>, cloud: &mut dyn Cloud) -> Result<Reply, Refused> {
        let kind = call
            .request
            .content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        let change = call.request.json()?;
        if kind == "application/apply-patch+yaml" {
            return self.apply_patch(call, change, cloud);
        }
        let old = self.found(call)?;
        let scale = call.place.subresource == "scale";
        let mut new = if scale { scale_of(&old) } else { Value::clone(&old) };
        match kind {
            "application/json-patch+json" => patch::json_patch(&mut new, &change)?,
            "application/merge-patch+json" => patch::merge(&mut new, &change),
            "application/strategic-merge-patch+json" if !call.resource.custom => {
                patch::strategic(&call.resource.ty, &mut new, &change);
            }
            _ => {
                return Err(Refused::new(
                    415,
                    "UnsupportedMediaType",
                    "the body of the request was in an unknown format - accepted media types include: \
                     application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
                ));
            }
        }
        if scale {
            return self.put_scale(call, &new, cloud);
        }
        let warnings = call.decode(&mut new)?;
        if text(&new, "/metadata/name") != call.place.name {
            return Err(Refused::invalid(
                &call.resource.kind,
                &call.resource.group,
                &call.place.name,
                &[super::failure::Cause::invalid(
                    "metadata.name",
                    &new["metadata"]["name"],
                    "field is immutable",
                )],
            ));
        }
        let updated = self.store_update(call, &old, new, false, cloud)?;
        Ok(Reply {
            code: 200,
            body: call.show(self, &updated),
            warnings,
        })
    }

    fn apply_patch(
        &mut self,
        call: &Call<'_>,
        mut applied: Value,
        cloud: &mut dyn Cloud,
    ) -> Result<Reply, Refused> {
        let name = call.place.name.as_str();
        if call.request.param("fieldManager").is_empty() {
            let cause = super::failure::Cause::required("fieldManager", "is required for apply patch");
            return Err(Refused::invalid("PatchOptions", "meta.k8s.io", "", &[cause]));
        }
        let (kind, version) = (text(&applied, "/kind"), text(&applied, "/apiVersion"));
        if kind != call.resource.kind || version != call.resource.api_version() {
            return Err(Refused::bad(format!(
                "invalid object type: {version}, Kind={kind}; expected {}, Kind={}",
                call.resource.api_version(),
                call.resource.kind
            )));
        }
        if json::map_at(&mut applied, "metadata").is_none() {
            return Err(Refused::bad("metadata must be an object"));
        }
        match text(&applied, "/metadata/name") {
            "" => applied["metadata"]["name"] = Value::from(name),
            given if given != name => {
                return Err(Refused::bad(format!(
                    "the name of the object ({given}) does not match the name on the URL ({name})"
                )));
            }
            _ => {}
        }
        let mut warnings = Vec::new();
        if call.resource.custom {
            warnings = call.decode(&mut applied)?;
        }
        let id = call.resource.id(&call.place.namespace, name);
        let old = self.store.get(&id).cloned();
        if let (None, false) = (&old, call.place.subresource.is_empty()) {
            return Err(Self::missing(call));
        }
        let uid = text(&applied, "/metadata/uid");
        if old.is_none() && !uid.is_empty() {
            return Err(Refused::conflict(
                &call.resource.plural,
                &call.resource.group,
                name,
                &format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                ),
            ));
        }
        let writer = call.writer(true);
        let mut merged = managed::apply(
            &call.resource,
            old.as_deref(),
            &applied,
            &writer,
            call.request.flag("force"),
        )?;
        let revision = &applied["metadata"]["resourceVersion"];
        if !revision.is_null() {
            merged["metadata"]["resourceVersion"] = revision.clone();
        }
        let (code, object) = match old {
            None => {
                json::remove(&mut merged, &["metadata", "resourceVersion"]);
                let namespace = &call.place.namespace;
                let created = self.create(&call.resource, namespace, merged, &writer, cloud)?;
                (201, created)
            }
            Some(old) => (200, self.store_update(call, &old, merged, true, cloud)?),
        };
        Ok(Reply {
            code,
            body: call.show(self, &object),
            warnings,
        })
    }

    fn delete_one(&mut self, call: &Call<'_>) -> Result<Reply, Refused> {
        let id = call.resource.id(&call.place.namespace, &call.place.name);
        let options = call.delete_options()?;
        let plain = call.resource.plural == "jobs" && options.propagation.is_empty();
        let reply = match self.delete(call.now, &call.resource, &id, &options)? {
            Deletion::Gone(last) if call.resource.plural == "pods" => Reply::ok(call.show(self, &last)),
            Deletion::Gone(last) => Reply::ok(success(&call.resource, &last)),
            Deletion::Waiting(object) => Reply::ok(call.show(self, &object)),
        };
        Ok(Reply {
            warnings: if plain {
                vec![
                    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
                     remove them or set propagationPolicy=Orphan to suppress this warning"
                        .to_owned(),
                ]
            } else {
                Vec::new()
            },
            ..reply
        })
    }

    fn delete_all(&mut self, call: &Call<'_>) -> Result<Reply, Refused> {
        let selector = Selector::parse(
            call.request.param("labelSelector"),
            call.request.param("fieldSelector"),
        )?;
        let options = call.delete_options()?;
        let namespace = (!call.place.namespace.is_empty()).then_some(call.place.namespace.as_str());
        let chosen: Vec<_> = self
            .store
            .list(&call.resource.group, &call.resource.plural, namespace)
            .filter(|(_, object)| selector.matches(object))
            .map(|(id, object)| (id.clone(), Arc::clone(object)))
            .collect();
        let mut items = Vec::new();
        for (id, object) in chosen {
            self.delete(call.now, &call.resource, &id, &options)?;
            items.push(Value::clone(&object));
        }
        Ok(Reply::ok(json!({
            "kind": format!("{}List", call.resource.kind), "apiVersion": call.resource.api_version(),
            "metadata": {"resourceVersion": self.store.revision.to_string()}, "items": items,
        })))
    }
}
