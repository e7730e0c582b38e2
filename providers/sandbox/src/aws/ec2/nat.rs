//! NAT gateways, the slow ones: made in a minute and a half, gone in one, and shown for an hour after that.

use super::super::{ApiError, Params, Xml};
use super::address::{Address, Association};
use super::describe::{Resource, find};
use super::interface::{self, Public};
use super::subnet::Subnet;
use super::{Cx, Ec2, tags};
use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Typical times; AWS documents none.
const CREATING: Duration = Duration::from_secs(90);
const FAILING: Duration = Duration::from_secs(5);
const DELETING: Duration = Duration::from_secs(60);
/// How long a failed or deleted gateway stays listed.
const SHOWN: Duration = Duration::from_secs(3_600);

/// A NAT gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NatGateway {
    pub(super) vpc: String,
    subnet: String,
    public: bool,
    allocation: Option<String>,
    interface: Option<String>,
    private_ip: Option<String>,
    public_ip: Option<String>,
    association: Option<String>,
    stage: Stage,
    failure: Option<Failure>,
    deleted: Option<Timestamp>,
}

/// Where a gateway is in its life, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Pending { until: Timestamp },
    Available,
    Failed { until: Timestamp },
    Deleting { until: Timestamp },
    Deleted { until: Timestamp },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Failure {
    code: String,
    message: String,
}

impl NatGateway {
    /// When a stage ends that somebody may wait for.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Pending { until } | Stage::Deleting { until } => Some(until),
            Stage::Available | Stage::Failed { .. } | Stage::Deleted { .. } => None,
        }
    }

    pub(super) fn is_available(&self) -> bool {
        self.stage == Stage::Available
    }

    /// Whether a route may name it: it is on its way, or there.
    pub(super) fn is_routable(&self) -> bool {
        matches!(self.stage, Stage::Available | Stage::Pending { .. }) && self.failure.is_none()
    }

    /// The subnet of a gateway with a public address.
    pub(super) fn public_subnet(&self) -> Option<&str> {
        self.public.then_some(self.subnet.as_str())
    }

    fn state(&self) -> &'static str {
        match self.stage {
            Stage::Pending { .. } => "pending",
            Stage::Available => "available",
            Stage::Failed { .. } => "failed",
            Stage::Deleting { .. } => "deleting",
            Stage::Deleted { .. } => "deleted",
        }
    }

    fn address_status(&self) -> &'static str {
        match self.stage {
            Stage::Pending { .. } => "associating",
            Stage::Available => "succeeded",
            Stage::Failed { .. } => "failed",
            Stage::Deleting { .. } | Stage::Deleted { .. } => "disassociating",
        }
    }
}

impl Resource for NatGateway {
    const SET: &'static str = "natGatewaySet";
    const IDS: &'static str = "NatGatewayId";
    const NOT_FOUND: &'static str = "NatGatewayNotFound";
    const FILTERS: &'static [&'static str] = &["nat-gateway-id", "state", "subnet-id", "vpc-id"];

    fn all(ec2: &Ec2) -> &BTreeMap<String, Self> {
        &ec2.nat_gateways
    }

    fn absent(id: &str) -> String {
        format!("The Nat Gateway {id} was not found")
    }

    fn facts(&self, id: &str, _ec2: &Ec2, _cx: &Cx<'_>) -> Vec<(&'static str, String)> {
        vec![
            ("nat-gateway-id", id.to_owned()),
            ("state", self.state().to_owned()),
            ("subnet-id", self.subnet.clone()),
            ("vpc-id", self.vpc.clone()),
        ]
    }

    fn write(&self, id: &str, ec2: &Ec2, _cx: &Cx<'_>) -> Xml {
        let failed = self
            .failure
            .as_ref()
            .filter(|_| matches!(self.stage, Stage::Failed { .. }));
        Xml::new()
            .text("natGatewayId", id)
            .text("subnetId", &self.subnet)
            .text("vpcId", &self.vpc)
            .text("state", self.state())
            .text("connectivityType", if self.public { "public" } else { "private" })
            .text("availabilityMode", "zonal")
            .text("createTime", ec2.created(id).rfc3339_millis())
            .optional("deleteTime", self.deleted.map(Timestamp::rfc3339_millis))
            .optional("failureCode", failed.map(|failure| &failure.code))
            .optional("failureMessage", failed.map(|failure| &failure.message))
            .items("natGatewayAddressSet", [self], |nat| {
                Xml::new()
                    .optional("allocationId", nat.allocation.as_ref())
                    .optional("associationId", nat.association.as_ref())
                    .optional("networkInterfaceId", nat.interface.as_ref())
                    .optional("privateIp", nat.private_ip.as_ref())
                    .optional("publicIp", nat.public_ip.as_ref())
                    .text("isPrimary", true)
                    .text("status", nat.address_status())
            })
            .tag_set(&ec2.tags(id))
    }
}

pub(super) fn create(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = match ec2.spent_token("CreateNatGateway", params)? {
        Some(id) if ec2.nat_gateways.contains_key(&id) => id,
        _ => make(ec2, cx, params)?,
    };
    Ok(Xml::new()
        .optional("clientToken", params.get("ClientToken"))
        .node("natGateway", find::<NatGateway>(ec2, &id)?.write(&id, ec2, cx)))
}

fn make(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<String, ApiError> {
    let subnet = params.require("SubnetId")?;
    let vpc = find::<Subnet>(ec2, subnet)?.vpc.clone();
    let public = match params.get("ConnectivityType").unwrap_or("public") {
        "public" => true,
        "private" => false,
        other => {
            let message = format!("Value ({other}) for parameter connectivityType is invalid.");
            return Err(ApiError::bad("InvalidParameterValue", message));
        }
    };
    let allocation = match params.get("AllocationId") {
        Some(_) if !public => {
            let message = "AllocationId cannot be specified for a private NAT gateway";
            return Err(ApiError::bad("InvalidParameterCombination", message));
        }
        None if public => {
            let message = "The request must contain the parameter AllocationId";
            return Err(ApiError::bad("MissingParameter", message));
        }
        allocation => allocation,
    };
    let address = allocation
        .map(|id| find::<Address>(ec2, id))
        .transpose()?
        .cloned();
    let tags = tags::specified(params, "natgateway")?;
    let failure = failure(ec2, &vpc, public, allocation, address.as_ref());
    let id = cx.id("nat");
    let mut nat = NatGateway {
        vpc,
        subnet: subnet.to_owned(),
        public,
        allocation: allocation.map(str::to_owned),
        interface: None,
        private_ip: None,
        public_ip: None,
        association: None,
        stage: Stage::Pending {
            until: cx.now.after(if failure.is_some() { FAILING } else { CREATING }),
        },
        failure,
        deleted: None,
    };
    if nat.failure.is_none() {
        let association = public.then(|| cx.id("eipassoc"));
        let mapped = address
            .as_ref()
            .zip(association.clone())
            .map(|(address, association)| Public {
                ip: address.ip,
                association,
                allocation: nat.allocation.clone(),
            });
        let interface = interface::for_nat(ec2, cx, &id, subnet, mapped)?;
        nat.private_ip = ec2
            .interfaces
            .get(&interface)
            .map(|interface| interface.private_ip.to_string());
        nat.public_ip = address.map(|address| address.ip.to_string());
        nat.association = association.clone();
        let address = nat.allocation.as_ref().and_then(|id| ec2.addresses.get_mut(id));
        if let (Some(address), Some(id)) = (address, association) {
            address.association = Some(Association {
                id,
                interface: interface.clone(),
            });
        }
        nat.interface = Some(interface);
    }
    ec2.nat_gateways.insert(id.clone(), nat);
    ec2.label(cx.now, &id, tags);
    ec2.spend_token("CreateNatGateway", params, &id);
    Ok(id)
}

/// Why the gateway will fail: AWS accepts the call and lets the gateway fail a little later.
fn failure(
    ec2: &Ec2,
    vpc: &str,
    public: bool,
    allocation: Option<&str>,
    address: Option<&Address>,
) -> Option<Failure> {
    let (code, message) = if public && ec2.attached_gateway(vpc).is_none() {
        (
            "Gateway.NotAttached",
            format!("Network {vpc} has no Internet gateway attached"),
        )
    } else if address.is_some_and(|address| address.association.is_some()) {
        let allocation = allocation.unwrap_or_default();
        (
            "Resource.AlreadyAssociated",
            format!("Elastic IP address [{allocation}] is already associated"),
        )
    } else {
        return None;
    };
    Some(Failure {
        code: code.to_owned(),
        message,
    })
}

pub(super) fn delete(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("NatGatewayId")?;
    let stage = find::<NatGateway>(ec2, id)?.stage;
    if let Some(nat) = ec2.nat_gateways.get_mut(id) {
        match stage {
            Stage::Deleted { .. } => {
                return Err(ApiError::bad(NatGateway::NOT_FOUND, NatGateway::absent(id)));
            }
            Stage::Deleting { .. } => {}
            Stage::Pending { .. } | Stage::Available | Stage::Failed { .. } => {
                nat.stage = Stage::Deleting {
                    until: cx.now.after(DELETING),
                };
                nat.deleted = Some(cx.now);
            }
        }
    }
    Ok(Xml::new().text("natGatewayId", id))
}

/// Moves every gateway through the stages that have ended by `now`.
pub(super) fn advance(ec2: &mut Ec2, now: Timestamp) {
    let ids: Vec<String> = ec2.nat_gateways.keys().cloned().collect();
    for id in ids {
        while step(ec2, &id, now) {}
    }
}

fn step(ec2: &mut Ec2, id: &str, now: Timestamp) -> bool {
    let Some(nat) = ec2.nat_gateways.get_mut(id) else {
        return false;
    };
    match nat.stage {
        Stage::Pending { until } if until <= now => {
            nat.stage = match nat.failure {
                None => Stage::Available,
                Some(_) => Stage::Failed {
                    until: until.after(SHOWN),
                },
            };
        }
        Stage::Deleting { until } if until <= now => {
            nat.stage = Stage::Deleted {
                until: until.after(SHOWN),
            };
            let (interface, allocation) = (nat.interface.clone(), nat.allocation.clone());
            if let Some(interface) = interface {
                let address = allocation.and_then(|id| ec2.addresses.get_mut(&id));
                if let Some(address) = address.filter(|a| a.interface() == Some(interface.as_str())) {
                    address.association = None;
                }
                ec2.delete_interface(&interface);
            }
        }
        Stage::Failed { until } | Stage::Deleted { until } if until <= now => {
            ec2.nat_gateways.remove(id);
            ec2.labels.remove(id);
        }
        _ => return false,
    }
    true
}
