//! Events: what happened to an object, for people to read.

use super::{Cloud, Cluster, Id, Timestamp, Value, json, text};
use serde_json::json;
use std::time::Duration;

/// Events live this long.
const KEPT: Duration = Duration::from_secs(3600);
/// A repeated event is counted at most this often.
const QUIET: Duration = Duration::from_secs(60);

/// What to say about an object.
pub(super) struct Note<'a> {
    /// `default-scheduler`, `kubelet` and so on.
    pub from: &'a str,
    pub warning: bool,
    pub reason: &'a str,
    pub message: String,
}

impl Cluster {
    /// Says something about an object; the same again only counts.
    pub(super) fn note(&mut self, now: Timestamp, cloud: &mut dyn Cloud, about: &Value, note: &Note<'_>) {
        let namespace = match text(about, "/metadata/namespace") {
            "" => "default",
            namespace => namespace,
        };
        let uid = text(about, "/metadata/uid");
        let same = self
            .store
            .list("", "events", Some(namespace))
            .find(|(_, event)| {
                event["involvedObject"]["uid"] == uid
                    && event["reason"] == note.reason
                    && event["message"] == note.message.as_str()
            })
            .map(|(id, event)| {
                (
                    id.clone(),
                    Timestamp::parse(text(event, "/lastTimestamp")).unwrap_or_default(),
                )
            });
        if let Some((id, last)) = same {
            if now.since(last) >= QUIET {
                self.edit_as(now, cloud, note.from, &id, "", |event| {
                    event["count"] = Value::from(json::int(event, "/count").unwrap_or(1) + 1);
                    event["lastTimestamp"] = Value::from(now.rfc3339());
                });
            }
            return;
        }
        let name = format!("{}.{:016x}", text(about, "/metadata/name"), self.draw());
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": about["apiVersion"], "kind": about["kind"], "name": about["metadata"]["name"],
                "namespace": about["metadata"]["namespace"], "uid": uid,
                "resourceVersion": about["metadata"]["resourceVersion"],
            },
            "type": if note.warning { "Warning" } else { "Normal" }, "reason": note.reason, "message": note.message,
            "source": {"component": note.from}, "reportingComponent": note.from, "count": 1,
            "firstTimestamp": now.rfc3339(), "lastTimestamp": now.rfc3339(),
        });
        self.make(now, cloud, note.from, event);
    }

    /// Forgets old events.
    pub(super) fn forget_events(&mut self, now: Timestamp) {
        let old: Vec<Id> = self
            .store
            .list("", "events", None)
            .filter(|(_, event)| {
                let last = Timestamp::parse(text(event, "/lastTimestamp"));
                last.is_some_and(|last| now.since(last) > KEPT)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in old {
            self.remove(&id);
        }
    }
}
