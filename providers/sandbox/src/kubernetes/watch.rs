//! Watches: from changes of the store to event lines.

use super::failure::Refused;
use super::request::Request;
use super::resource::Resource;
use super::selector::Selector;
use super::{Cluster, columns};
use crate::Timestamp;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// An open watch: what it selects and how far it has read.
#[derive(Debug, Clone)]
pub struct Watch {
    resource: Arc<Resource>,
    namespace: Option<String>,
    selector: Selector,
    shape: Shape,
    include: String,
    revision: u64,
    pending: Vec<Bytes>,
    bookmarks: bool,
    deadline: Option<Timestamp>,
    over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Whole,
    Partial,
    Table,
}

impl Watch {
    /// Opens a watch as the query asks.
    pub(crate) fn open(
        cluster: &Cluster,
        now: Timestamp,
        resource: &Arc<Resource>,
        namespace: Option<&str>,
        selector: Selector,
        request: &Request,
    ) -> Result<Self, Refused> {
        let store = &cluster.store;
        let shape = if request.accept.contains("as=Table") {
            Shape::Table
        } else if request.accept.contains("as=PartialObjectMetadata") {
            Shape::Partial
        } else {
            Shape::Whole
        };
        let seconds: Option<u64> = request
            .param("timeoutSeconds")
            .parse()
            .ok()
            .filter(|seconds| *seconds > 0);
        let mut watch = Self {
            resource: Arc::clone(resource),
            namespace: namespace.map(str::to_owned),
            selector,
            shape,
            include: request.param("includeObject").to_owned(),
            revision: store.revision,
            pending: Vec::new(),
            bookmarks: request.flag("allowWatchBookmarks"),
            deadline: seconds.map(|seconds| now.after(Duration::from_secs(seconds))),
            over: false,
        };
        let asked = request.param("resourceVersion");
        let initial = request.flag("sendInitialEvents");
        match asked {
            "" | "0" => {}
            _ if initial => {}
            text => {
                let asked: u64 = text
                    .parse()
                    .map_err(|_| Refused::bad(format!("invalid resource version {text:?}")))?;
                if asked < store.floor() {
                    let expired = Refused::expired(asked, store.floor());
                    watch
                        .pending
                        .push(line(&json!({"type": "ERROR", "object": expired.status()})));
                    watch.over = true;
                } else {
                    watch.revision = asked;
                }
                return Ok(watch);
            }
        }
        let present: Vec<Arc<Value>> = store
            .list(&resource.group, &resource.plural, watch.namespace.as_deref())
            .map(|(_, object)| Arc::clone(object))
            .filter(|object| watch.selector.matches(object))
            .collect();
        for object in present {
            let event = watch.event("ADDED", &object, now);
            watch.pending.push(event);
        }
        if initial {
            let bookmark = watch.bookmark(store.revision, true);
            watch.pending.push(bookmark);
        }
        Ok(watch)
    }

    fn event(&self, kind: &str, object: &Arc<Value>, now: Timestamp) -> Bytes {
        let shown = match self.shape {
            Shape::Whole => {
                let mut shown = Value::clone(object);
                shown["apiVersion"] = Value::from(self.resource.api_version());
                shown
            }
            Shape::Partial => columns::partial(object),
            Shape::Table => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                columns::table(&self.resource, &[object], &self.include, now, &metadata)
            }
        };
        line(&json!({"type": kind, "object": shown}))
    }

    fn bookmark(&self, revision: u64, initial: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, version) = (self.resource.kind.as_str(), self.resource.api_version());
        line(
            &json!({"type": "BOOKMARK", "object": {"kind": kind, "apiVersion": version, "metadata": metadata}}),
        )
    }

    /// New lines; `None` once the watch is over.
    pub(crate) fn poll(&mut self, cluster: &Cluster, now: Timestamp) -> Option<Vec<Bytes>> {
        let mut lines = std::mem::take(&mut self.pending);
        if self.over {
            return (!lines.is_empty()).then_some(lines);
        }
        let store = &cluster.store;
        if self.revision < store.floor() {
            let expired = Refused::expired(self.revision, store.floor());
            lines.push(line(&json!({"type": "ERROR", "object": expired.status()})));
            self.over = true;
            return Some(lines);
        }
        for change in store.since(self.revision) {
            let inside = change.id.group == self.resource.group
                && change.id.plural == self.resource.plural
                && self
                    .namespace
                    .as_ref()
                    .is_none_or(|namespace| *namespace == change.id.namespace);
            if !inside {
                continue;
            }
            let chosen =
                |object: &Option<Arc<Value>>| object.clone().filter(|object| self.selector.matches(object));
            match (chosen(&change.old), chosen(&change.new)) {
                (None, Some(new)) => lines.push(self.event("ADDED", &new, now)),
                (Some(_), Some(new)) => lines.push(self.event("MODIFIED", &new, now)),
                (Some(old), None) => {
                    let mut last = Value::clone(&old);
                    last["metadata"]["resourceVersion"] = Value::from(change.revision.to_string());
                    lines.push(self.event("DELETED", &Arc::new(last), now));
                }
                (None, None) => {}
            }
        }
        self.revision = store.revision;
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            if self.bookmarks {
                lines.push(self.bookmark(self.revision, false));
            }
            self.over = true;
            return (!lines.is_empty()).then_some(lines);
        }
        Some(lines)
    }

    /// When the watch ends by itself.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.deadline.filter(|_| !self.over)
    }
}

fn line(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}
