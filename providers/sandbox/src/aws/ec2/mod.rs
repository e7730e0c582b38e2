//! EC2: networks, in the `ec2` query protocol.

use super::facts::{InterfaceRequest, SubnetFacts, VpcFacts};
use super::{ApiError, Aws, Call, Ids, Reply, Tags};
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// State of EC2 in one region.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ec2 {}

/// Answers one call.
pub(crate) fn handle(_aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    Err(ApiError::not_simulated("ec2", &call.operation))
}

impl Ec2 {
    /// A region without networks.
    pub(crate) fn new(_region: &str) -> Self {
        Self {}
    }

    /// Applies what is due by `now`: NAT gateways become available or deleted.
    pub(crate) fn advance(&mut self, _now: Timestamp) {}

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        None
    }

    /// A subnet, if it exists.
    pub(crate) fn subnet(&self, _id: &str) -> Option<SubnetFacts> {
        None
    }

    /// All subnets of a VPC, by id.
    pub(crate) fn subnets_of(&self, _vpc_id: &str) -> Vec<SubnetFacts> {
        Vec::new()
    }

    /// A VPC, if it exists.
    pub(crate) fn vpc(&self, _id: &str) -> Option<VpcFacts> {
        None
    }

    /// The VPC of a security group, if the group exists.
    pub(crate) fn security_group_vpc(&self, _id: &str) -> Option<String> {
        None
    }

    /// Makes a security group that a service owns: egress to anywhere; `self_ingress` admits everything from
    /// itself; each of `ingress_cidrs` is admitted on TCP `ports`. Returns its id.
    pub(crate) fn service_security_group(
        &mut self,
        _ids: &mut Ids,
        _vpc_id: &str,
        _name: &str,
        _description: &str,
        _tags: Tags,
        _self_ingress: bool,
        _ingress: &[(String, u16)],
    ) -> String {
        String::new()
    }

    /// Admits everything from `source` group into `group` (what the load balancer controller adds to a
    /// cluster's group); a second time does nothing.
    pub(crate) fn admit_group(&mut self, _ids: &mut Ids, _group: &str, _source: &str) {}

    /// Revokes every rule of `group` that refers to `source`.
    pub(crate) fn revoke_group(&mut self, _group: &str, _source: &str) {}

    /// Deletes a security group that a service owns. False while an interface or another group's rule uses it.
    pub(crate) fn delete_service_security_group(&mut self, _id: &str) -> bool {
        true
    }

    /// Puts an interface into a subnet; returns its id (`eni-...`) and its private address.
    pub(crate) fn create_interface(
        &mut self,
        _ids: &mut Ids,
        _now: Timestamp,
        _request: InterfaceRequest,
    ) -> (String, String) {
        (String::new(), String::new())
    }

    /// Removes an interface; one that is gone already is fine.
    pub(crate) fn delete_interface(&mut self, _id: &str) {}
}
