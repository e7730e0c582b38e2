//! The API server and its controllers, asked directly.

mod apply;
mod balancer;
mod never_panics;
mod verbs;
mod workloads;

use super::{Cluster, Watch};
use crate::cloud::{Access, Cloud, LoadBalancerRequest, LoadBalancerState, Principal};
use crate::{Answer, Timestamp};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A cloud that does as it is told.
#[derive(Debug, Clone)]
pub(super) struct FakeCloud {
    pub namespaces: Vec<String>,
    pub internet: bool,
    pub role: Result<(), String>,
    pub access: Access,
    /// Key, whether active, and the request.
    pub balancers: BTreeMap<String, (Timestamp, LoadBalancerRequest)>,
    pub deleting: BTreeMap<String, Timestamp>,
}

impl Cloud for FakeCloud {
    fn fargate_profile(&self, namespace: &str, _labels: &BTreeMap<String, String>) -> Option<String> {
        self.namespaces
            .iter()
            .any(|known| known == namespace)
            .then(|| "fp".to_owned())
    }
    fn fargate_subnets_reach_internet(&self, _profile: &str) -> bool {
        self.internet
    }
    fn role_usable(&self, _: Timestamp, _: &str, _: &str, _: &str) -> Result<(), String> {
        self.role.clone()
    }
    fn ensure_load_balancer(
        &mut self,
        now: Timestamp,
        request: &LoadBalancerRequest,
    ) -> Result<LoadBalancerState, String> {
        let entry = self
            .balancers
            .entry(request.key.clone())
            .or_insert_with(|| (now.after(Duration::from_secs(150)), request.clone()));
        entry.1 = request.clone();
        Ok(LoadBalancerState {
            arn: "arn:lb".to_owned(),
            dns_name: format!("{}.elb.amazonaws.com", request.name),
            active: now >= entry.0,
        })
    }
    fn delete_load_balancer(&mut self, now: Timestamp, key: &str) -> bool {
        if !self.balancers.contains_key(key) {
            return true;
        }
        let due = *self
            .deleting
            .entry(key.to_owned())
            .or_insert_with(|| now.after(Duration::from_secs(40)));
        if now >= due {
            self.balancers.remove(key);
        }
        now >= due
    }
    fn access(&self, _: &Principal) -> Access {
        self.access
    }
    fn vpc_id(&self) -> &'static str {
        "vpc-1"
    }
    fn cluster_name(&self) -> &'static str {
        "demo"
    }
    fn region(&self) -> &'static str {
        "us-east-1"
    }
}

/// A cluster with its cloud and clock.
#[derive(Debug, Clone)]
pub(super) struct Lab {
    pub cluster: Cluster,
    pub cloud: FakeCloud,
    pub now: Timestamp,
}

pub(super) const APPLY: &str = "application/apply-patch+yaml";
pub(super) const MERGE: &str = "application/merge-patch+json";

impl Lab {
    pub(super) fn new() -> Self {
        let now = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
        let mut lab = Self {
            cluster: Cluster::new(7, "1.34", now),
            cloud: FakeCloud {
                namespaces: vec!["default".to_owned(), "kube-system".to_owned()],
                internet: true,
                role: Ok(()),
                access: Access::Admin,
                balancers: BTreeMap::new(),
                deleting: BTreeMap::new(),
            },
            now,
        };
        lab.pass(1);
        lab
    }

    /// Lets seconds pass, stopping wherever something is due.
    pub(super) fn pass(&mut self, seconds: u64) {
        let end = self.now.after(Duration::from_secs(seconds));
        self.cluster.advance(self.now, &mut self.cloud);
        for _ in 0..10_000 {
            let Some(due) = self.cluster.next_due().filter(|due| *due <= end) else {
                break;
            };
            self.now = due.max(self.now);
            self.cluster.advance(self.now, &mut self.cloud);
        }
        self.now = end;
        self.cluster.advance(self.now, &mut self.cloud);
    }

    pub(super) fn answer(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Bytes::from(body.to_owned())).unwrap();
        let who = Principal {
            arn: "arn:aws:iam::000000000000:user/sandbox".to_owned(),
            user_id: "AIDA".to_owned(),
            account: "000000000000".to_owned(),
        };
        let answer = self.cluster.handle(self.now, &who, &request, &mut self.cloud);
        self.cluster.advance(self.now, &mut self.cloud);
        answer
    }

    pub(super) fn ask(&mut self, method: &str, path: &str, kind: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let headers = [
            ("content-type", kind),
            ("accept", "application/json"),
            ("user-agent", "test/1"),
        ];
        match self.answer(method, path, &headers, &body) {
            Answer::Done(response) => (
                response.status().as_u16(),
                serde_json::from_slice(response.body()).unwrap_or(Value::Null),
            ),
            Answer::Watch(_) => panic!("{path} is a watch"),
        }
    }

    pub(super) fn watch(&mut self, path: &str) -> Watch {
        match self.answer("GET", path, &[], "") {
            Answer::Watch(watch) => watch,
            Answer::Done(response) => panic!("{path} is no watch: {response:?}"),
        }
    }

    /// Type and name of the new events.
    pub(super) fn events(&self, watch: &mut Watch) -> Vec<(String, String)> {
        self.cluster
            .poll_watch(self.now, watch)
            .unwrap_or_default()
            .iter()
            .map(|line| {
                let event: Value = serde_json::from_slice(line).unwrap();
                let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
                (event["type"].as_str().unwrap().to_owned(), name.to_owned())
            })
            .collect()
    }

    pub(super) fn get(&mut self, path: &str) -> Value {
        let (code, body) = self.ask("GET", path, "", &Value::Null);
        assert_eq!(code, 200, "{path}: {body}");
        body
    }

    pub(super) fn gone(&mut self, path: &str) -> bool {
        self.ask("GET", path, "", &Value::Null).0 == 404
    }

    pub(super) fn post(&mut self, path: &str, body: &Value) -> Value {
        let (code, answer) = self.ask("POST", path, "application/json", body);
        assert_eq!(code, 201, "{path}: {answer}");
        answer
    }

    pub(super) fn delete(&mut self, path: &str) -> Value {
        let (code, answer) = self.ask("DELETE", path, "", &Value::Null);
        assert!(code < 300, "{path}: {answer}");
        answer
    }

    /// Server-side apply without force.
    pub(super) fn try_apply(&mut self, path: &str, manager: &str, object: &Value) -> (u16, Value) {
        self.ask("PATCH", &format!("{path}?fieldManager={manager}"), APPLY, object)
    }

    pub(super) fn apply(&mut self, path: &str, manager: &str, object: &Value) -> Value {
        let (code, answer) = self.try_apply(path, manager, object);
        assert!(code < 300, "{path}: {answer}");
        answer
    }
}

pub(super) const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

/// A Deployment `web`.
pub(super) fn deployment(image: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}

pub(super) fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}
