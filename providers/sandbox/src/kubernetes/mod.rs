//! An API server in memory, with its controllers.

use crate::cloud::{Cloud, Principal};
use crate::{Answer, Timestamp};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A cluster: its objects and controllers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cluster {
    version: String,
}

/// An open watch: what it selects and how far it has read.
#[derive(Debug, Clone)]
pub struct Watch {}

impl Cluster {
    /// A new cluster of the given minor version, e.g. `1.34`.
    pub fn new(_seed: u64, version: &str, _now: Timestamp) -> Self {
        Self {
            version: version.to_owned(),
        }
    }

    /// Answers one request.
    pub fn handle(
        &mut self,
        _now: Timestamp,
        _who: &Principal,
        _request: &http::Request<Bytes>,
        _cloud: &mut dyn Cloud,
    ) -> Answer {
        let mut response = http::Response::new(Bytes::from_static(b"not simulated"));
        *response.status_mut() = http::StatusCode::NOT_IMPLEMENTED;
        Answer::Done(response)
    }

    /// Runs the controllers up to `now`.
    pub fn advance(&mut self, _now: Timestamp, _cloud: &mut dyn Cloud) {}

    /// When [`Cluster::advance`] has something to do next.
    pub fn next_due(&self) -> Option<Timestamp> {
        None
    }

    /// New event lines since the watch was polled last.
    pub fn poll_watch(&self, _watch: &mut Watch) -> Vec<Bytes> {
        Vec::new()
    }

    /// Installs the workload of an EKS add-on, e.g. the Deployment `coredns`. Unknown names install nothing.
    pub fn install_addon(&mut self, _now: Timestamp, _name: &str, _config: &serde_json::Value) {}

    /// Removes the workload of an EKS add-on.
    pub fn remove_addon(&mut self, _now: Timestamp, _name: &str) {}

    /// Whether the workload of an add-on is available; true for add-ons that run nothing here.
    pub fn addon_healthy(&self, _name: &str) -> bool {
        false
    }

    /// Changes the control plane's minor version, e.g. to `1.35`.
    pub fn set_version(&mut self, version: &str) {
        version.clone_into(&mut self.version);
    }
}
