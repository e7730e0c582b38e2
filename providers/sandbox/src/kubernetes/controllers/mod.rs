//! What runs beside the API server: controllers, scheduler, kubelets, and the load balancer controller.
//!
//! Controllers look at the objects whenever something changed or something is due, until nothing changes any
//! more. They write as clients do.

mod balancer;
mod batch;
mod deployment;
mod endpoints;
mod event;
mod garbage;
mod obstacle;
mod pod;
mod replica;
mod start;
mod status;

use super::Cluster;
use super::failure::Refused;
use super::json::{self, text};
use super::managed::Writer;
use super::resource;
use super::store::Id;
use super::write::DeleteOptions;
use crate::Timestamp;
use crate::cloud::Cloud;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rounds at one moment after which controllers that do not come to rest are left alone until later.
const ROUNDS: u32 = 100;

/// What controllers remember beside the objects.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// When something is due next.
    due: Option<Timestamp>,
    /// When custom kinds will be served, by uid of their definition.
    established: BTreeMap<String, Timestamp>,
    /// By uid of the pod.
    pods: BTreeMap<String, pod::Life>,
    /// Nodes made so far.
    nodes: u32,
    /// By uid of the Deployment.
    rollouts: BTreeMap<String, deployment::Progress>,
    /// By the load balancer controller's key.
    balances: BTreeMap<String, balancer::Balance>,
}

impl State {
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Notes that something is to happen at a moment.
    fn wake(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// The field manager of the control plane's own controllers.
const CONTROLLER: &str = "kube-controller-manager";

impl Cluster {
    /// Runs everything that is due.
    pub(crate) fn reconcile(&mut self, now: Timestamp, cloud: &mut dyn Cloud) {
        self.controllers.due = None;
        for _ in 0..ROUNDS {
            let before = self.store.revision;
            self.controllers.due = None;
            self.establish(now, cloud);
            self.furnish(now, cloud);
            self.run_deployments(now, cloud);
            self.run_replica_sets(now, cloud);
            self.run_stateful_sets(now, cloud);
            self.run_daemon_sets(now, cloud);
            self.run_jobs(now, cloud);
            self.run_pods(now, cloud);
            self.run_endpoints(now, cloud);
            self.balance(now, cloud);
            self.collect_garbage(now, cloud);
            self.end_namespaces(now, cloud);
            self.forget_events(now);
            if self.store.revision == before {
                break;
            }
        }
    }

    /// Creates an object as a controller; `None` where the API refuses it.
    fn make(
        &mut self,
        now: Timestamp,
        cloud: &mut dyn Cloud,
        manager: &str,
        object: Value,
    ) -> Option<Arc<Value>> {
        self.try_make(now, cloud, manager, object).ok()
    }

    fn try_make(
        &mut self,
        now: Timestamp,
        cloud: &mut dyn Cloud,
        manager: &str,
        object: Value,
    ) -> Result<Arc<Value>, Refused> {
        let found = resource::by_kind(&self.store, text(&object, "/apiVersion"), text(&object, "/kind"))
            .ok_or_else(|| Refused::plain("no such kind"))?;
        let namespace = text(&object, "/metadata/namespace").to_owned();
        let writer = Writer {
            name: manager.to_owned(),
            subresource: String::new(),
            now,
            applied: false,
            dry: false,
        };
        self.create(&found, &namespace, object, &writer, cloud)
    }

    /// Changes an object as a controller; true if that changed anything.
    fn edit(
        &mut self,
        now: Timestamp,
        cloud: &mut dyn Cloud,
        id: &Id,
        subresource: &str,
        change: impl FnOnce(&mut Value),
    ) -> bool {
        self.edit_as(now, cloud, CONTROLLER, id, subresource, change)
    }

    fn edit_as(
        &mut self,
        now: Timestamp,
        cloud: &mut dyn Cloud,
        manager: &str,
        id: &Id,
        subresource: &str,
        change: impl FnOnce(&mut Value),
    ) -> bool {
        let (Some(old), Some(found)) = (self.store.get(id).cloned(), resource::by_id(&self.store, id)) else {
            return false;
        };
        let mut new = Value::clone(&old);
        change(&mut new);
        if new == *old {
            return false;
        }
        let writer = Writer {
            name: manager.to_owned(),
            subresource: subresource.to_owned(),
            now,
            applied: false,
            dry: false,
        };
        let before = self.store.revision;
        let done = self.update(&found, id, &old, new, &writer, cloud);
        done.is_ok() && self.store.revision != before
    }

    /// Deletes an object as a controller.
    fn discard(&mut self, now: Timestamp, id: &Id, propagation: &str) {
        if let Some(found) = resource::by_id(&self.store, id) {
            let options = DeleteOptions {
                propagation: propagation.to_owned(),
                ..DeleteOptions::default()
            };
            // Already gone or forbidden: the next round sees what is left.
            drop(self.delete(now, &found, id, &options));
        }
    }

    /// Keys and states of all objects of a kind.
    fn every(&self, group: &str, plural: &str) -> Vec<(Id, Arc<Value>)> {
        self.store
            .list(group, plural, None)
            .map(|(id, object)| (id.clone(), Arc::clone(object)))
            .collect()
    }
}

impl Cluster {
    /// Whether any object names this one as its owner.
    pub(crate) fn has_dependents(&self, uid: &str) -> bool {
        self.store.all().any(|(_, object)| {
            json::list(object, "/metadata/ownerReferences")
                .iter()
                .any(|owner| owner["uid"] == uid)
        })
    }

    /// How many ready addresses stand behind a service.
    pub(crate) fn ready_addresses(&self, namespace: &str, name: &str) -> usize {
        self.store
            .get(&Id::new("", "endpoints", namespace, name))
            .map_or(0, |endpoints| {
                json::list(endpoints, "/subsets")
                    .iter()
                    .map(|subset| json::list(subset, "/addresses").len())
                    .sum()
            })
    }
}
