//! Namespaces that end, and objects whose owners did.

use super::{Arc, Cloud, Cluster, Id, Timestamp, Value, json, text};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

fn has_finalizer(object: &Value, name: &str) -> bool {
    json::list(object, "/metadata/finalizers")
        .iter()
        .any(|finalizer| finalizer == name)
}

fn drop_finalizer(object: &mut Value, name: &str) {
    if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|finalizer| finalizer != name);
    }
}

fn deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

impl Cluster {
    /// Empties namespaces that are being deleted; ends those that are empty.
    pub(super) fn end_namespaces(&mut self, now: Timestamp, cloud: &mut dyn Cloud) {
        for (id, namespace) in self.every("", "namespaces") {
            if !deleting(&namespace) {
                continue;
            }
            let inside: Vec<(Id, Arc<Value>)> = self
                .store
                .all()
                .filter(|(other, _)| other.namespace == id.name)
                .map(|(id, object)| (id.clone(), Arc::clone(object)))
                .collect();
            for (other, object) in &inside {
                if !deleting(object) {
                    self.discard(now, other, "Background");
                }
            }
            let left: Vec<&Arc<Value>> = self
                .store
                .all()
                .filter(|(other, _)| other.namespace == id.name)
                .map(|(_, object)| object)
                .collect();
            if left.is_empty() {
                // Its own finalizer goes with the content; those of others must be taken off by them.
                if json::list(&namespace, "/metadata/finalizers").is_empty() {
                    self.remove(&id);
                }
                continue;
            }
            let status = remaining(&left, now, &namespace);
            self.edit(now, cloud, &id, "status", |namespace| {
                namespace["status"]["conditions"] = status;
            });
        }
    }

    /// Deletes what lost its owner, and carries out foreground deletion and orphaning.
    pub(super) fn collect_garbage(&mut self, now: Timestamp, cloud: &mut dyn Cloud) {
        let mut alive: BTreeMap<String, Id> = BTreeMap::new();
        let mut owned: BTreeMap<String, Vec<Id>> = BTreeMap::new();
        for (id, object) in self.store.all() {
            alive.insert(text(object, "/metadata/uid").to_owned(), id.clone());
            for owner in json::list(object, "/metadata/ownerReferences") {
                owned
                    .entry(text(owner, "/uid").to_owned())
                    .or_default()
                    .push(id.clone());
            }
        }
        let mut done = BTreeSet::new();
        for (owner, dependents) in owned {
            let Some(owner_id) = alive.get(&owner) else {
                for id in dependents {
                    let orphaned = self.store.get(&id).is_some_and(|object| {
                        json::list(object, "/metadata/ownerReferences")
                            .iter()
                            .all(|reference| !alive.contains_key(text(reference, "/uid")))
                            && !deleting(object)
                    });
                    if orphaned && done.insert(id.clone()) {
                        self.discard(now, &id, "Background");
                    }
                }
                continue;
            };
            let Some(object) = self.store.get(owner_id).cloned() else {
                continue;
            };
            if !deleting(&object) {
                continue;
            }
            if has_finalizer(&object, "orphan") {
                for id in dependents {
                    self.edit(now, cloud, &id, "", |object| {
                        if let Some(references) = object["metadata"]["ownerReferences"].as_array_mut() {
                            references.retain(|reference| reference["uid"] != owner.as_str());
                        }
                    });
                }
            } else if has_finalizer(&object, "foregroundDeletion") {
                for id in dependents {
                    if self.store.get(&id).is_some_and(|object| !deleting(object)) {
                        self.discard(now, &id, "Foreground");
                    }
                }
            }
        }
        let ending: Vec<(Id, Arc<Value>)> = self
            .store
            .all()
            .filter(|(_, object)| deleting(object))
            .map(|(id, object)| (id.clone(), Arc::clone(object)))
            .collect();
        for (id, object) in ending {
            for finalizer in ["orphan", "foregroundDeletion"] {
                if has_finalizer(&object, finalizer) && !self.has_dependents(text(&object, "/metadata/uid")) {
                    self.edit(now, cloud, &id, "", |object| drop_finalizer(object, finalizer));
                }
            }
            if id.plural == "persistentvolumeclaims" {
                let used = self.store.list("", "pods", Some(&id.namespace)).any(|(_, pod)| {
                    json::list(pod, "/spec/volumes")
                        .iter()
                        .any(|volume| text(volume, "/persistentVolumeClaim/claimName") == id.name)
                });
                if !used {
                    self.edit(now, cloud, &id, "", |object| {
                        drop_finalizer(object, "kubernetes.io/pvc-protection");
                    });
                }
            }
        }
    }
}

/// Conditions of a namespace that still holds something.
fn remaining(left: &[&Arc<Value>], now: Timestamp, namespace: &Value) -> Value {
    let (mut kinds, mut finalizers) = (BTreeMap::new(), BTreeMap::new());
    for object in left {
        *kinds.entry(text(object, "/kind").to_lowercase()).or_insert(0) += 1;
        for finalizer in json::list(object, "/metadata/finalizers") {
            *finalizers
                .entry(finalizer.as_str().unwrap_or_default().to_owned())
                .or_insert(0) += 1;
        }
    }
    let tell = |counts: &BTreeMap<String, i32>, word: &str| -> String {
        let parts: Vec<String> = counts
            .iter()
            .map(|(name, count)| format!("{name}{word} {count} resource instances"))
            .collect();
        parts.join(", ")
    };
    let since = |kind: &str, status: &str| {
        json::list(namespace, "/status/conditions")
            .iter()
            .find(|old| old["type"] == kind && old["status"] == status)
            .map_or_else(|| json!(now.rfc3339()), |old| old["lastTransitionTime"].clone())
    };
    let condition = |kind: &str, on: bool, reason: &str, message: String| {
        let status = if on { "True" } else { "False" };
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since(kind, status)})
    };
    let content = format!("Some resources are remaining: {}", tell(&kinds, " has"));
    let held = if finalizers.is_empty() {
        condition(
            "NamespaceFinalizersRemaining",
            false,
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished".to_owned(),
        )
    } else {
        let message = format!(
            "Some content in the namespace has finalizers remaining: {}",
            tell(&finalizers, " in")
        );
        condition(
            "NamespaceFinalizersRemaining",
            true,
            "SomeFinalizersRemain",
            message,
        )
    };
    json!([
        condition("NamespaceContentRemaining", true, "SomeResourcesRemain", content),
        held,
    ])
}
