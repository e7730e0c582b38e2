//! EC2: the network of one region (VPCs, subnets, gateways, NAT, addresses, routes, security groups, network interfaces, tags).
//!
//! Wire: the `ec2` query protocol, API version 2016-11-15; element names, error codes and messages are those that AWS sends.
//! State is a plain value; time comes with each call, and what takes time on AWS (a NAT gateway) is moved on by [`Ec2::advance`].
//! Knows nothing of other services: EKS and ELB ask for interfaces and groups through the functions of this room.

mod address;
mod cidr;
mod describe;
mod gateway;
mod interface;
mod nat;
mod network_acl;
mod operations;
mod route_table;
mod rule;
mod security_group;
mod subnet;
mod tags;
mod vpc;
mod zones;

#[cfg(test)]
mod tests;

use super::{ApiError, Aws, Call, Ids, Params, Reply, Tags, Xml};
use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The EC2 network of one region.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ec2 {
    vpcs: BTreeMap<String, vpc::Vpc>,
    subnets: BTreeMap<String, subnet::Subnet>,
    gateways: BTreeMap<String, gateway::InternetGateway>,
    addresses: BTreeMap<String, address::Address>,
    nat_gateways: BTreeMap<String, nat::NatGateway>,
    route_tables: BTreeMap<String, route_table::RouteTable>,
    groups: BTreeMap<String, security_group::SecurityGroup>,
    rules: BTreeMap<String, rule::Rule>,
    interfaces: BTreeMap<String, interface::Interface>,
    acls: BTreeMap<String, network_acl::NetworkAcl>,
    labels: BTreeMap<String, Label>,
    tokens: BTreeMap<String, Token>,
}

/// What every resource has, whatever its kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Label {
    created: Timestamp,
    tags: Tags,
}

/// A client token that was used, and what it made.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Token {
    request: String,
    id: String,
}

/// What an operation sees of the world around this room.
struct Cx<'a> {
    now: Timestamp,
    account: &'a str,
    region: &'a str,
    ids: &'a mut Ids,
}

impl Cx<'_> {
    /// A new id, e.g. `vpc-0a1b2c3d4e5f67890`.
    fn id(&mut self, prefix: &str) -> String {
        self.ids.hex(&format!("{prefix}-0"), 16)
    }

    fn arn(&self, resource: &str, id: &str) -> String {
        format!("arn:aws:ec2:{}:{}:{resource}/{id}", self.region, self.account)
    }
}

/// How long a new resource may stay invisible to reads.
const VISIBILITY_LAG_MILLIS: u64 = 1_000;

/// Answers one call.
///
/// A dry run is executed on a copy, so it finds every error that the real call would meet.
pub(crate) fn handle(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let Some((_, operation, known)) = operations::ALL.iter().find(|(name, ..)| *name == call.operation)
    else {
        return super::absent::list(super::route::Service::Ec2, call)
            .ok_or_else(|| ApiError::not_simulated("ec2", &call.operation));
    };
    call.refuse_unknown("ec2", known)?;
    let Aws {
        account,
        region,
        ids,
        ec2,
        ..
    } = aws;
    ec2.advance(now);
    if call.operation.starts_with("Describe") {
        let mut cx = Cx {
            now,
            account,
            region,
            ids,
        };
        let answer = operation(ec2, &mut cx, &call.params)?;
        return dry(&call.params).map_or(Ok(Reply::Xml(answer)), Err);
    }
    // An operation may fail half-way: what it did until then must not stay.
    let (mut next, mut next_ids) = (ec2.clone(), ids.clone());
    let mut cx = Cx {
        now,
        account,
        region,
        ids: &mut next_ids,
    };
    let answer = operation(&mut next, &mut cx, &call.params)?;
    if let Some(error) = dry(&call.params) {
        return Err(error);
    }
    (*ec2, *ids) = (next, next_ids);
    Ok(Reply::Xml(answer))
}

/// The error that stands for success under `DryRun`.
fn dry(params: &Params) -> Option<ApiError> {
    let message = "Request would have succeeded, but DryRun flag is set.";
    (params.bool("DryRun") == Some(true)).then(|| ApiError::new(412, "DryRunOperation", message))
}

impl Ec2 {
    /// A region without networks. The default VPC of a fresh account is left out.
    pub(crate) fn new(_region: &str) -> Self {
        Self::default()
    }

    /// Applies what is due by `now`.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        nat::advance(self, now);
    }

    /// When [`Self::advance`] has something to do next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.nat_gateways.values().filter_map(nat::NatGateway::due).min()
    }

    /// Enters a new resource in the register of labels; its tags are those of the request's `TagSpecification`.
    fn label(&mut self, now: Timestamp, id: &str, tags: Tags) {
        self.labels.insert(id.to_owned(), Label { created: now, tags });
    }

    /// Takes the resources that are gone out of the register of labels.
    fn forget_labels(&mut self) {
        let mut labels = std::mem::take(&mut self.labels);
        labels.retain(|id, _| {
            self.vpcs.contains_key(id)
                || self.subnets.contains_key(id)
                || self.gateways.contains_key(id)
                || self.addresses.contains_key(id)
                || self.nat_gateways.contains_key(id)
                || self.route_tables.contains_key(id)
                || self.groups.contains_key(id)
                || self.rules.contains_key(id)
                || self.interfaces.contains_key(id)
                || self.acls.contains_key(id)
        });
        self.labels = labels;
    }

    fn tags(&self, id: &str) -> Tags {
        self.labels
            .get(id)
            .map(|label| label.tags.clone())
            .unwrap_or_default()
    }

    fn created(&self, id: &str) -> Timestamp {
        self.labels
            .get(id)
            .map_or(Timestamp::default(), |label| label.created)
    }

    /// Whether reads see a resource yet. How late it appears follows from its id alone, so runs repeat.
    fn visible(&self, now: Timestamp, id: &str) -> bool {
        self.labels
            .get(id)
            .is_some_and(|label| now >= label.created.after(lag(id)))
    }

    /// What an earlier request with the same client token made.
    fn spent_token(&self, action: &str, params: &Params) -> Result<Option<String>, ApiError> {
        let Some(token) = params.get("ClientToken") else {
            return Ok(None);
        };
        match self.tokens.get(&format!("{action}/{token}")) {
            Some(spent) if spent.request == spelled(params) => Ok(Some(spent.id.clone())),
            Some(_) => Err(ApiError::bad(
                "IdempotentParameterMismatch",
                format!("Client token {token} was used before with different parameters."),
            )),
            None => Ok(None),
        }
    }

    fn spend_token(&mut self, action: &str, params: &Params, id: &str) {
        if let Some(token) = params.get("ClientToken") {
            let spent = Token {
                request: spelled(params),
                id: id.to_owned(),
            };
            self.tokens.insert(format!("{action}/{token}"), spent);
        }
    }
}

fn lag(id: &str) -> Duration {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Duration::from_millis((hash >> 16) % VISIBILITY_LAG_MILLIS)
}

fn spelled(params: &Params) -> String {
    params.keys().fold(String::new(), |text, key| {
        text + key + "=" + params.get(key).unwrap_or_default() + "&"
    })
}

fn dependency(message: impl Into<String>) -> ApiError {
    ApiError::bad("DependencyViolation", message)
}

/// The plain `<return>true</return>` of operations that answer nothing else.
fn done() -> Xml {
    Xml::new().text("return", true)
}
