//! Creating, updating, patching and deleting objects.

use super::failure::{Cause, Refused};
use super::json::{self, list, text};
use super::managed::{self, Writer};
use super::resource::Resource;
use super::store::Id;
use super::{Cluster, defaults, immutable, validate};
use crate::Timestamp;
use crate::cloud::Cloud;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Letters of generated names: without vowels, so that no words come about.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// How an object came to be deleted.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub uid: Option<String>,
    pub revision: Option<String>,
    /// `Background`, `Foreground`, `Orphan` or empty.
    pub propagation: String,
    pub grace: Option<i64>,
    pub dry: bool,
}

/// What became of a deletion.
#[derive(Debug)]
pub(crate) enum Deletion {
    /// Gone; the last state.
    Gone(Arc<Value>),
    /// Marked, and waiting for finalizers or for its containers to end.
    Waiting(Arc<Value>),
}

impl Cluster {
    /// Makes an object. `object` is decoded and checked against its schema.
    pub(crate) fn create(
        &mut self,
        resource: &Resource,
        namespace: &str,
        mut object: Value,
        writer: &Writer,
        cloud: &mut dyn Cloud,
    ) -> Result<Arc<Value>, Refused> {
        let (group, plural) = (resource.group.as_str(), resource.plural.as_str());
        self.prepare_metadata(writer.now, resource, namespace, &mut object)?;
        let name = text(&object, "/metadata/name").to_owned();
        if resource.namespaced {
            let home = Id::new("", "namespaces", "", namespace);
            match self.store.get(&home) {
                None => return Err(Refused::not_found("namespaces", "", namespace)),
                Some(home) if !home["metadata"]["deletionTimestamp"].is_null() => {
                    return Err(Refused::terminating(plural, group, &name, namespace));
                }
                Some(_) => {}
            }
        }
        if !text(&object, "/metadata/resourceVersion").is_empty() {
            return Err(Refused::plain(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        if resource.status {
            json::remove(&mut object, &["status"]);
        }
        defaults::apply(resource, &mut object, None);
        self.admit(resource, namespace, None, &mut object, cloud)?;
        let mut causes = validate::object(resource, &object);
        if causes.is_empty() {
            causes = self.allocate(resource, None, &mut object);
        }
        if !causes.is_empty() {
            return Err(Refused::invalid(&resource.kind, group, &name, &causes));
        }
        let id = resource.id(namespace, &name);
        if self.store.get(&id).is_some() {
            return Err(Refused::exists(plural, group, &name));
        }
        if has_generation(resource) {
            object["metadata"]["generation"] = Value::from(1);
        }
        json::drop_nulls(&mut object);
        if !writer.applied {
            managed::note_update(resource, None, &mut object, writer);
        }
        // What the server itself starts a status with is owned by nobody.
        defaults::first_status(resource, &mut object, writer.now);
        if writer.dry {
            return Ok(Arc::new(object));
        }
        Ok(self.store.put(id, object))
    }

    fn prepare_metadata(
        &mut self,
        now: Timestamp,
        resource: &Resource,
        namespace: &str,
        object: &mut Value,
    ) -> Result<(), Refused> {
        if json::map_at(object, "metadata").is_none() {
            return Err(Refused::bad("metadata must be an object"));
        }
        let given = text(object, "/metadata/namespace");
        if resource.namespaced {
            if !given.is_empty() && given != namespace {
                return Err(Refused::bad(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            object["metadata"]["namespace"] = Value::from(namespace);
        } else if !given.is_empty() {
            return Err(Refused::bad(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let prefix = text(object, "/metadata/generateName").to_owned();
        if text(object, "/metadata/name").is_empty() && !prefix.is_empty() {
            let prefix: String = prefix.chars().take(58).collect();
            object["metadata"]["name"] = Value::from(format!("{prefix}{}", self.mint_suffix()));
        }
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "selfLink",
        ] {
            json::remove(object, &["metadata", field]);
        }
        object["metadata"]["uid"] = Value::from(self.mint_uid());
        object["metadata"]["creationTimestamp"] = Value::from(now.rfc3339());
        object["apiVersion"] = Value::from(resource.api_version());
        object["kind"] = Value::from(resource.kind.as_str());
        Ok(())
    }

    /// Replaces an object by `new`, made from `old`. The subresource decides which half counts.
    pub(crate) fn update(
        &mut self,
        resource: &Resource,
        id: &Id,
        old: &Arc<Value>,
        mut new: Value,
        writer: &Writer,
        cloud: &mut dyn Cloud,
    ) -> Result<Arc<Value>, Refused> {
        let (group, plural) = (resource.group.as_str(), resource.plural.as_str());
        if json::map_at(&mut new, "metadata").is_none() {
            return Err(Refused::bad("metadata must be an object"));
        }
        let conflict = |why: &str| Refused::conflict(plural, group, &id.name, why);
        let revision = text(&new, "/metadata/resourceVersion");
        if !revision.is_empty() && revision != text(old, "/metadata/resourceVersion") {
            return Err(conflict(
                "the object has been modified; please apply your changes to the latest version and try again",
            ));
        }
        let uid = text(&new, "/metadata/uid");
        if !uid.is_empty() && uid != text(old, "/metadata/uid") {
            return Err(conflict(&format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                text(old, "/metadata/uid")
            )));
        }
        for field in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "resourceVersion",
            "namespace",
            "name",
            "generateName",
        ] {
            match old["metadata"].get(field) {
                Some(value) => new["metadata"][field] = value.clone(),
                None => {
                    json::remove(&mut new, &["metadata", field]);
                }
            }
        }
        new["apiVersion"] = Value::from(resource.api_version());
        new["kind"] = Value::from(resource.kind.as_str());
        let keep = |new: &mut Value, field: &str| match old.get(field) {
            Some(value) => new[field] = value.clone(),
            None => {
                json::remove(new, &[field]);
            }
        };
        let status = writer.subresource == "status";
        if status {
            let managed = new["metadata"]["managedFields"].take();
            let status = new.get("status").cloned();
            let revision = new["metadata"]["resourceVersion"].clone();
            new = Value::clone(old);
            new["metadata"]["resourceVersion"] = revision;
            if !managed.is_null() {
                new["metadata"]["managedFields"] = managed;
            }
            match status {
                Some(status) => new["status"] = status,
                None => {
                    json::remove(&mut new, &["status"]);
                }
            }
        } else if resource.status {
            keep(&mut new, "status");
        }
        if !status {
            defaults::apply(resource, &mut new, Some(old));
            self.admit(resource, &id.namespace, Some(old), &mut new, cloud)?;
            let mut causes = validate::object(resource, &new);
            causes.extend(immutable::changes(resource, old, &new));
            causes.extend(new_finalizers(old, &new));
            if causes.is_empty() {
                causes = self.allocate(resource, Some(old), &mut new);
            }
            if !causes.is_empty() {
                return Err(Refused::invalid(&resource.kind, group, &id.name, &causes));
            }
        }
        json::drop_nulls(&mut new);
        if has_generation(resource) && !status && differs(old, &new) {
            let generation = json::int(old, "/metadata/generation").unwrap_or(0) + 1;
            new["metadata"]["generation"] = Value::from(generation);
        }
        if !writer.applied {
            if new["metadata"].get("managedFields").is_none()
                && let Some(managed) = old["metadata"].get("managedFields")
            {
                new["metadata"]["managedFields"] = managed.clone();
            }
            managed::note_update(resource, Some(old), &mut new, writer);
        }
        let deleting = !new["metadata"]["deletionTimestamp"].is_null();
        if deleting && finished(&new) && !writer.dry {
            let mut last = new;
            last["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
            return Ok(self.remove(id).unwrap_or_else(|| Arc::new(last)));
        }
        if same(old, &new) {
            return Ok(Arc::clone(old));
        }
        if writer.dry {
            return Ok(Arc::new(new));
        }
        Ok(self.store.put(id.clone(), new))
    }

    /// Deletes an object, or marks it.
    pub(crate) fn delete(
        &mut self,
        now: Timestamp,
        resource: &Resource,
        id: &Id,
        options: &DeleteOptions,
    ) -> Result<Deletion, Refused> {
        let (group, plural) = (resource.group.as_str(), resource.plural.as_str());
        let Some(old) = self.store.get(id).cloned() else {
            return Err(Refused::not_found(plural, group, &id.name));
        };
        let conflict = |why: &str| Refused::conflict(plural, group, &id.name, why);
        let (uid, revision) = (
            text(&old, "/metadata/uid"),
            text(&old, "/metadata/resourceVersion"),
        );
        if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
            return Err(conflict(&format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have \
                 been deleted and then recreated"
            )));
        }
        if let Some(wanted) = options.revision.as_deref().filter(|wanted| *wanted != revision) {
            return Err(conflict(&format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record \
                 ({revision}). The object might have been modified"
            )));
        }
        if group.is_empty()
            && plural == "namespaces"
            && ["default", "kube-system", "kube-public"].contains(&id.name.as_str())
        {
            return Err(Refused::forbidden(
                plural,
                group,
                &id.name,
                "this namespace may not be deleted",
            ));
        }
        let mut new = Value::clone(&old);
        let mut finalizers: Vec<Value> = list(&new, "/metadata/finalizers").to_vec();
        let policy = match options.propagation.as_str() {
            // A default kept from the first version of the API.
            "" if group == "batch" && plural == "jobs" => "Orphan",
            policy => policy,
        };
        let extra = match policy {
            "Orphan" => Some("orphan"),
            "Foreground" => Some("foregroundDeletion"),
            _ => None,
        };
        finalizers.retain(|finalizer| {
            policy.is_empty()
                || !["orphan", "foregroundDeletion"].contains(&finalizer.as_str().unwrap_or_default())
        });
        if let Some(extra) = extra.filter(|_| self.has_dependents(uid)) {
            finalizers.push(Value::from(extra));
        }
        if finalizers.is_empty() {
            json::remove(&mut new, &["metadata", "finalizers"]);
        } else {
            new["metadata"]["finalizers"] = Value::Array(finalizers);
        }
        let pod = group.is_empty() && plural == "pods";
        let running = pod
            && !text(&old, "/spec/nodeName").is_empty()
            && !["Succeeded", "Failed"].contains(&text(&old, "/status/phase"));
        let own = json::int(&old, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
        let grace = if running {
            options.grace.unwrap_or(own).max(0)
        } else {
            0
        };
        let before = json::int(&old, "/metadata/deletionGracePeriodSeconds");
        if before.is_none_or(|before| grace < before) {
            let due = now.after(Duration::from_secs(grace.unsigned_abs()));
            if before.is_none() || running {
                new["metadata"]["deletionTimestamp"] = Value::from(due.rfc3339());
            }
            new["metadata"]["deletionGracePeriodSeconds"] = Value::from(grace);
            if before.is_none()
                && let Some(generation) = json::int(&new, "/metadata/generation")
            {
                new["metadata"]["generation"] = Value::from(generation + 1);
            }
        }
        if group.is_empty() && plural == "namespaces" {
            new["status"]["phase"] = Value::from("Terminating");
        }
        let over = finished(&new) && grace == 0;
        if options.dry {
            let new = Arc::new(new);
            return Ok(if over {
                Deletion::Gone(new)
            } else {
                Deletion::Waiting(new)
            });
        }
        if over {
            return Ok(Deletion::Gone(self.remove(id).unwrap_or(old)));
        }
        if same(&old, &new) {
            return Ok(Deletion::Waiting(old));
        }
        Ok(Deletion::Waiting(self.store.put(id.clone(), new)))
    }

    /// Takes an object out of the store.
    pub(crate) fn remove(&mut self, id: &Id) -> Option<Arc<Value>> {
        self.store.remove(id)
    }

    pub(crate) fn mint_uid(&mut self) -> String {
        let (high, low) = (self.draw(), self.draw());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | ((low >> 48) & 0x3fff),
            low & 0xffff_ffff_ffff
        )
    }

    /// Five letters that make a name unique.
    pub(crate) fn mint_suffix(&mut self) -> String {
        encode(self.draw(), 5)
    }
}

/// Writes a number in the letters of generated names.
pub(crate) fn encode(mut bits: u64, letters: usize) -> String {
    let base = LETTERS.len() as u64;
    let mut text = String::new();
    for _ in 0..letters {
        let place = usize::try_from(bits % base).unwrap_or_default();
        text.push(char::from(LETTERS.get(place).copied().unwrap_or(b'x')));
        bits /= base;
    }
    text
}

/// Whether nothing keeps a marked object.
fn finished(object: &Value) -> bool {
    list(object, "/metadata/finalizers").is_empty()
        && (object["kind"] != "Namespace" || list(object, "/spec/finalizers").is_empty())
        && json::int(object, "/metadata/deletionGracePeriodSeconds").unwrap_or(0) == 0
}

/// Whether two states are equal but for who wrote when.
pub(crate) fn same(old: &Value, new: &Value) -> bool {
    if old == new {
        return true;
    }
    let strip = |object: &Value| {
        let mut object = object.clone();
        json::remove(&mut object, &["metadata", "resourceVersion"]);
        if let Some(entries) = object
            .pointer_mut("/metadata/managedFields")
            .and_then(Value::as_array_mut)
        {
            for entry in entries {
                json::remove(entry, &["time"]);
            }
        }
        object
    };
    strip(old) == strip(new)
}

/// Whether the wish, not only metadata or status, changed.
fn differs(old: &Value, new: &Value) -> bool {
    let wish = |object: &Value| {
        let mut object = object.clone();
        if let Some(map) = object.as_object_mut() {
            for key in ["metadata", "status", "apiVersion"] {
                map.remove(key);
            }
        }
        object
    };
    wish(old) != wish(new)
}

fn has_generation(resource: &Resource) -> bool {
    resource.custom
        || matches!(
            resource.group.as_str(),
            "apps"
                | "batch"
                | "networking.k8s.io"
                | "policy"
                | "apiextensions.k8s.io"
                | "admissionregistration.k8s.io"
                | "flowcontrol.apiserver.k8s.io"
        )
        || (resource.group.is_empty()
            && ["pods", "replicationcontrollers"].contains(&resource.plural.as_str()))
}

fn new_finalizers(old: &Value, new: &Value) -> Option<Cause> {
    if old["metadata"]["deletionTimestamp"].is_null() {
        return None;
    }
    let before = list(old, "/metadata/finalizers");
    let added: Vec<String> = list(new, "/metadata/finalizers")
        .iter()
        .filter(|finalizer| !before.contains(finalizer))
        .map(ToString::to_string)
        .collect();
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        added.join(", ")
    );
    (!added.is_empty()).then(|| Cause::forbidden("metadata.finalizers", &why))
}

/// The answer to a deletion that is complete.
pub(crate) fn success(resource: &Resource, gone: &Value) -> Value {
    let mut details =
        json!({"name": gone["metadata"]["name"], "kind": resource.plural, "uid": gone["metadata"]["uid"]});
    if !resource.group.is_empty() {
        details["group"] = Value::from(resource.group.as_str());
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
