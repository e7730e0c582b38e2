//! Tables, as `kubectl get` shows them.

use super::json::{int, list, text, texts};
use super::resource::Resource;
use super::store::created;
use crate::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// A span as `kubectl` writes ages: `45s`, `3m12s`, `5h`, `2d3h`.
pub(crate) fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(since).as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |large: u64, unit: char, small: u64, lesser: char| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{lesser}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        _ if days < 730 => format!("{days}d"),
        _ => two(days / 365, 'y', days % 365, 'd'),
    }
}

/// Only metadata, as `PartialObjectMetadata`.
pub(crate) fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// Columns of a kind: name and priority (0 always, 1 with `-o wide`), without name and age.
fn columns(resource: &Resource) -> &'static [(&'static str, u8)] {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => &[
            ("Ready", 0),
            ("Status", 0),
            ("Restarts", 0),
            ("Age", 0),
            ("IP", 1),
            ("Node", 1),
            ("Nominated Node", 1),
            ("Readiness Gates", 1),
        ],
        ("apps", "deployments") => &[
            ("Ready", 0),
            ("Up-to-date", 0),
            ("Available", 0),
            ("Age", 0),
            ("Containers", 1),
            ("Images", 1),
            ("Selector", 1),
        ],
        ("apps", "replicasets") => &[
            ("Desired", 0),
            ("Current", 0),
            ("Ready", 0),
            ("Age", 0),
            ("Containers", 1),
            ("Images", 1),
            ("Selector", 1),
        ],
        ("apps", "statefulsets") => &[("Ready", 0), ("Age", 0), ("Containers", 1), ("Images", 1)],
        ("apps", "daemonsets") => &[
            ("Desired", 0),
            ("Current", 0),
            ("Ready", 0),
            ("Up-to-date", 0),
            ("Available", 0),
            ("Node Selector", 0),
            ("Age", 0),
        ],
        ("", "services") => &[
            ("Type", 0),
            ("Cluster-IP", 0),
            ("External-IP", 0),
            ("Port(s)", 0),
            ("Age", 0),
            ("Selector", 1),
        ],
        ("networking.k8s.io", "ingresses") => &[
            ("Class", 0),
            ("Hosts", 0),
            ("Address", 0),
            ("Ports", 0),
            ("Age", 0),
        ],
        ("networking.k8s.io", "ingressclasses") => &[("Controller", 0), ("Parameters", 0), ("Age", 0)],
        ("", "namespaces") => &[("Status", 0), ("Age", 0)],
        ("", "secrets") => &[("Type", 0), ("Data", 0), ("Age", 0)],
        ("", "configmaps") => &[("Data", 0), ("Age", 0)],
        ("", "serviceaccounts") => &[("Secrets", 0), ("Age", 0)],
        ("", "nodes") => &[
            ("Status", 0),
            ("Roles", 0),
            ("Age", 0),
            ("Version", 0),
            ("Internal-IP", 1),
        ],
        ("batch", "jobs") => &[("Status", 0), ("Completions", 0), ("Duration", 0), ("Age", 0)],
        ("", "persistentvolumeclaims") => &[
            ("Status", 0),
            ("Volume", 0),
            ("Capacity", 0),
            ("Access Modes", 0),
            ("StorageClass", 0),
            ("Age", 0),
        ],
        ("", "events") => &[("Type", 0), ("Reason", 0), ("Object", 0), ("Message", 0)],
        ("", "endpoints") => &[("Endpoints", 0), ("Age", 0)],
        ("apiextensions.k8s.io", "customresourcedefinitions") => &[("Created At", 0)],
        _ => &[("Age", 0)],
    }
}

/// A `Table`.
pub(crate) fn table(
    resource: &Resource,
    objects: &[&Arc<Value>],
    include: &str,
    now: Timestamp,
    metadata: &Value,
) -> Value {
    let event = resource.group.is_empty() && resource.plural == "events";
    let mut definitions = Vec::new();
    let mut define = |name: &str, priority: u8| {
        let (format, kind) = if name == "Name" {
            ("name", "string")
        } else {
            ("", "string")
        };
        definitions.push(
            json!({"name": name, "type": kind, "format": format, "description": "", "priority": priority}),
        );
    };
    if event {
        define("Last Seen", 0);
    } else {
        define("Name", 0);
    }
    let custom = resource.custom && !resource.columns.is_empty();
    if custom {
        for column in &resource.columns {
            let priority = int(column, "/priority").and_then(|priority| u8::try_from(priority).ok());
            define(text(column, "/name"), priority.unwrap_or(0));
        }
        if !resource.columns.iter().any(|column| column["name"] == "Age") {
            define("Age", 0);
        }
    } else {
        for (name, priority) in columns(resource) {
            define(name, *priority);
        }
    }
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let born = age(created(object), now);
            let cells = if custom {
                custom_cells(resource, object, &born, now)
            } else if event {
                event_cells(object, now)
            } else {
                cells(resource, object, &born, now)
            };
            let shown = match include {
                "None" => Value::Null,
                "Object" => Value::clone(object),
                _ => partial(object),
            };
            let mut row = json!({"cells": cells});
            if !shown.is_null() {
                row["object"] = shown;
            }
            row
        })
        .collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": definitions, "rows": rows})
}

fn or_none(text: &str) -> Value {
    Value::from(if text.is_empty() { "<none>" } else { text })
}

fn custom_cells(resource: &Resource, object: &Value, born: &str, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![object["metadata"]["name"].clone()];
    for column in &resource.columns {
        let path = text(column, "/jsonPath").replace('.', "/");
        let found = object.pointer(&path).cloned().unwrap_or_default();
        cells.push(match (column["type"].as_str(), &found) {
            (Some("date"), Value::String(date)) => match Timestamp::parse(date) {
                Some(date) => Value::from(age(date, now)),
                None => Value::from("<unknown>"),
            },
            _ => found,
        });
    }
    if !resource.columns.iter().any(|column| column["name"] == "Age") {
        cells.push(Value::from(born));
    }
    cells
}

fn event_cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let last = Timestamp::parse(text(object, "/lastTimestamp")).unwrap_or_else(|| created(object));
    let about = &object["involvedObject"];
    let name = format!("{}/{}", text(about, "/kind").to_lowercase(), text(about, "/name"));
    vec![
        Value::from(age(last, now)),
        object["type"].clone(),
        object["reason"].clone(),
        Value::from(name),
        object["message"].clone(),
    ]
}

fn template_of(object: &Value) -> [Value; 3] {
    let containers = list(object, "/spec/template/spec/containers");
    let each = |field: &str| -> String {
        let all: Vec<&str> = containers
            .iter()
            .map(|container| text(container, field))
            .collect();
        all.join(",")
    };
    let selector: Vec<String> = texts(object, "/spec/selector/matchLabels")
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    [
        Value::from(each("/name")),
        Value::from(each("/image")),
        Value::from(selector.join(",")),
    ]
}

fn cells(resource: &Resource, object: &Value, born: &str, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![object["metadata"]["name"].clone()];
    let number = |path: &str| int(object, path).unwrap_or(0);
    let age_cell = Value::from(born);
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => {
            let statuses = list(object, "/status/containerStatuses");
            let ready = statuses.iter().filter(|status| status["ready"] == true).count();
            let all = list(object, "/spec/containers").len();
            let restarts: i64 = statuses
                .iter()
                .filter_map(|status| int(status, "/restartCount"))
                .sum();
            cells.extend([
                Value::from(format!("{ready}/{all}")),
                Value::from(pod_status(object)),
                Value::from(restarts.to_string()),
                age_cell,
                or_none(text(object, "/status/podIP")),
                or_none(text(object, "/spec/nodeName")),
                or_none(""),
                or_none(""),
            ]);
        }
        ("apps", "deployments") => {
            let ready = format!("{}/{}", number("/status/readyReplicas"), number("/spec/replicas"));
            cells.extend([
                Value::from(ready),
                Value::from(number("/status/updatedReplicas")),
                Value::from(number("/status/availableReplicas")),
                age_cell,
            ]);
            cells.extend(template_of(object));
        }
        ("apps", "replicasets") => {
            for path in ["/spec/replicas", "/status/replicas", "/status/readyReplicas"] {
                cells.push(Value::from(number(path)));
            }
            cells.push(age_cell);
            cells.extend(template_of(object));
        }
        ("apps", "statefulsets") => {
            let ready = format!("{}/{}", number("/status/readyReplicas"), number("/spec/replicas"));
            let [containers, images, _] = template_of(object);
            cells.extend([Value::from(ready), age_cell, containers, images]);
        }
        ("apps", "daemonsets") => {
            for field in [
                "desiredNumberScheduled",
                "currentNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
            ] {
                cells.push(Value::from(number(&format!("/status/{field}"))));
            }
            cells.extend([or_none(""), age_cell]);
        }
        ("", "services") => {
            let kind = text(object, "/spec/type");
            let outside: Vec<&str> = list(object, "/status/loadBalancer/ingress")
                .iter()
                .map(|ingress| text(ingress, "/hostname"))
                .collect();
            let external = match kind {
                "LoadBalancer" if outside.is_empty() => "<pending>".to_owned(),
                "ExternalName" => text(object, "/spec/externalName").to_owned(),
                _ if outside.is_empty() => "<none>".to_owned(),
                _ => outside.join(","),
            };
            let ports: Vec<String> = list(object, "/spec/ports")
                .iter()
                .map(|port| {
                    let node = int(port, "/nodePort")
                        .map(|node| format!(":{node}"))
                        .unwrap_or_default();
                    let protocol = text(port, "/protocol");
                    format!("{}{node}/{protocol}", int(port, "/port").unwrap_or(0))
                })
                .collect();
            let selector: Vec<String> = texts(object, "/spec/selector")
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            cells.extend([
                Value::from(kind),
                or_none(text(object, "/spec/clusterIP")),
                Value::from(external),
                or_none(&ports.join(",")),
                age_cell,
                or_none(&selector.join(",")),
            ]);
        }
        ("networking.k8s.io", "ingresses") => {
            let hosts: Vec<&str> = list(object, "/spec/rules")
                .iter()
                .map(|rule| text(rule, "/host"))
                .filter(|host| !host.is_empty())
                .collect();
            let hosts = if hosts.is_empty() {
                "*".to_owned()
            } else {
                hosts.join(",")
            };
            let addresses: Vec<&str> = list(object, "/status/loadBalancer/ingress")
                .iter()
                .map(|ingress| text(ingress, "/hostname"))
                .collect();
            let ports = if list(object, "/spec/tls").is_empty() {
                "80"
            } else {
                "80, 443"
            };
            cells.extend([
                or_none(text(object, "/spec/ingressClassName")),
                Value::from(hosts),
                Value::from(addresses.join(",")),
                Value::from(ports),
                age_cell,
            ]);
        }
        ("networking.k8s.io", "ingressclasses") => {
            let parameters = &object["spec"]["parameters"];
            let shown = if parameters.is_object() {
                let kind =
                    super::failure::qualified(text(parameters, "/kind"), text(parameters, "/apiGroup"));
                format!("{kind}/{}", text(parameters, "/name"))
            } else {
                String::new()
            };
            cells.extend([object["spec"]["controller"].clone(), or_none(&shown), age_cell]);
        }
        ("", "namespaces") => cells.extend([object["status"]["phase"].clone(), age_cell]),
        ("", "secrets") => {
            let count = object["data"].as_object().map_or(0, serde_json::Map::len);
            cells.extend([object["type"].clone(), Value::from(count), age_cell]);
        }
        ("", "configmaps") => {
            let count = ["data", "binaryData"]
                .iter()
                .map(|field| object[*field].as_object().map_or(0, serde_json::Map::len))
                .sum::<usize>();
            cells.extend([Value::from(count), age_cell]);
        }
        ("", "serviceaccounts") => cells.extend([Value::from(list(object, "/secrets").len()), age_cell]),
        ("", "nodes") => cells.extend([
            Value::from("Ready"),
            or_none(""),
            age_cell,
            object["status"]["nodeInfo"]["kubeletVersion"].clone(),
            object["status"]["addresses"][0]["address"].clone(),
        ]),
        ("batch", "jobs") => {
            let condition = |kind: &str| super::resource::condition(object, kind);
            let status = match () {
                () if condition("Complete") => "Complete",
                () if condition("Failed") => "Failed",
                () if condition("Suspended") => "Suspended",
                () => "Running",
            };
            let done = format!("{}/{}", number("/status/succeeded"), number("/spec/completions"));
            let start = Timestamp::parse(text(object, "/status/startTime"));
            let end = Timestamp::parse(text(object, "/status/completionTime")).unwrap_or(now);
            let duration = start.map(|start| age(start, end)).unwrap_or_default();
            cells.extend([
                Value::from(status),
                Value::from(done),
                Value::from(duration),
                age_cell,
            ]);
        }
        ("", "persistentvolumeclaims") => cells.extend([
            object["status"]["phase"].clone(),
            Value::from(text(object, "/spec/volumeName")),
            Value::from(text(object, "/status/capacity/storage")),
            Value::from(""),
            Value::from(text(object, "/spec/storageClassName")),
            age_cell,
        ]),
        ("", "endpoints") => {
            let all: Vec<String> = list(object, "/subsets")
                .iter()
                .flat_map(|subset| {
                    list(subset, "/addresses").iter().flat_map(move |address| {
                        list(subset, "/ports").iter().map(move |port| {
                            format!("{}:{}", text(address, "/ip"), int(port, "/port").unwrap_or(0))
                        })
                    })
                })
                .collect();
            cells.extend([or_none(&all.join(",")), age_cell]);
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            cells.push(object["metadata"]["creationTimestamp"].clone());
        }
        _ => cells.push(age_cell),
    }
    cells
}

/// What the column STATUS of a pod says: the reason of its worst container, else its phase.
fn pod_status(pod: &Value) -> String {
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating".to_owned();
    }
    let statuses = list(pod, "/status/containerStatuses");
    for status in statuses {
        for state in ["waiting", "terminated"] {
            let reason = text(status, &format!("/state/{state}/reason"));
            if !reason.is_empty() {
                return reason.to_owned();
            }
        }
    }
    text(pod, "/status/phase").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_like_kubectl() {
        let start = Timestamp::from_millis(0);
        for (seconds, expected) in [
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (130, "2m10s"),
            (601, "10m"),
            (11_000, "3h3m"),
            (90_000, "25h"),
            (200_000, "2d7h"),
            (800_000, "9d"),
        ] {
            assert_eq!(age(start, Timestamp::from_millis(seconds * 1000)), expected);
        }
    }
}
