//! Subnets, and what the routes of one make of it: public, reached through NAT, or neither.

use super::super::facts::SubnetFacts;
use super::super::{ApiError, Params, Xml};
use super::cidr::Cidr;
use super::describe::{Resource, find};
use super::vpc::Vpc;
use super::zones::{Zone, zones};
use super::{Cx, Ec2, dependency, done, tags};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

/// How long a subnet is `pending`.
const PENDING: Duration = Duration::from_secs(1);
/// Addresses that AWS keeps in each subnet: the first four and the last.
const RESERVED: u32 = 5;

/// A subnet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Subnet {
    pub(super) vpc: String,
    pub(super) zone: String,
    pub(super) zone_id: String,
    cidr: Cidr,
    map_public_ip: bool,
}

impl Resource for Subnet {
    const SET: &'static str = "subnetSet";
    const IDS: &'static str = "SubnetId";
    const NOT_FOUND: &'static str = "InvalidSubnetID.NotFound";
    const FILTERS: &'static [&'static str] = &[
        "availability-zone",
        "availability-zone-id",
        "availabilityZone",
        "availabilityZoneId",
        "available-ip-address-count",
        "cidr",
        "cidr-block",
        "cidrBlock",
        "default-for-az",
        "map-public-ip-on-launch",
        "state",
        "subnet-arn",
        "subnet-id",
        "vpc-id",
    ];

    fn all(ec2: &Ec2) -> &BTreeMap<String, Self> {
        &ec2.subnets
    }

    fn absent(id: &str) -> String {
        format!("The subnet ID '{id}' does not exist")
    }

    fn facts(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Vec<(&'static str, String)> {
        vec![
            ("availability-zone", self.zone.clone()),
            ("availability-zone-id", self.zone_id.clone()),
            ("availabilityZone", self.zone.clone()),
            ("availabilityZoneId", self.zone_id.clone()),
            ("available-ip-address-count", self.free(id, ec2).to_string()),
            ("cidr", self.cidr.to_string()),
            ("cidr-block", self.cidr.to_string()),
            ("cidrBlock", self.cidr.to_string()),
            ("default-for-az", "false".to_owned()),
            ("map-public-ip-on-launch", self.map_public_ip.to_string()),
            ("state", state(id, ec2, cx).to_owned()),
            ("subnet-arn", cx.arn("subnet", id)),
            ("subnet-id", id.to_owned()),
            ("vpc-id", self.vpc.clone()),
        ]
    }

    fn write(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Xml {
        let names = Xml::new()
            .text("hostnameType", "ip-name")
            .text("enableResourceNameDnsARecord", false)
            .text("enableResourceNameDnsAAAARecord", false);
        Xml::new()
            .text("subnetId", id)
            .text("subnetArn", cx.arn("subnet", id))
            .text("state", state(id, ec2, cx))
            .text("ownerId", cx.account)
            .text("vpcId", &self.vpc)
            .text("cidrBlock", self.cidr)
            .node("ipv6CidrBlockAssociationSet", Xml::new())
            .text("availableIpAddressCount", self.free(id, ec2))
            .text("availabilityZone", &self.zone)
            .text("availabilityZoneId", &self.zone_id)
            .text("defaultForAz", false)
            .text("mapPublicIpOnLaunch", self.map_public_ip)
            .text("mapCustomerOwnedIpOnLaunch", false)
            .text("assignIpv6AddressOnCreation", false)
            .text("enableDns64", false)
            .text("ipv6Native", false)
            .node("privateDnsNameOptionsOnLaunch", names)
            .tag_set(&ec2.tags(id))
    }
}

impl Subnet {
    fn taken(&self, id: &str, ec2: &Ec2) -> BTreeSet<Ipv4Addr> {
        ec2.interfaces
            .values()
            .filter(|interface| interface.subnet == id)
            .map(|i| i.private_ip)
            .collect()
    }

    fn free(&self, id: &str, ec2: &Ec2) -> u32 {
        let taken = u32::try_from(self.taken(id, ec2).len()).unwrap_or(u32::MAX);
        u32::try_from(self.cidr.size())
            .unwrap_or(u32::MAX)
            .saturating_sub(RESERVED + taken)
    }

    /// The lowest free address.
    pub(super) fn next_address(&self, id: &str, ec2: &Ec2) -> Option<Ipv4Addr> {
        let taken = self.taken(id, ec2);
        let last = u32::try_from(self.cidr.size()).ok()?.checked_sub(1)?;
        (RESERVED - 1..last)
            .map(|n| self.cidr.nth(n))
            .find(|address| !taken.contains(address))
    }
}

fn state(id: &str, ec2: &Ec2, cx: &Cx<'_>) -> &'static str {
    if cx.now < ec2.created(id).after(PENDING) {
        "pending"
    } else {
        "available"
    }
}

fn zone(cx: &Cx<'_>, params: &Params) -> Result<Zone, ApiError> {
    let known = zones(cx.region);
    let (parameter, asked) = match (params.get("AvailabilityZone"), params.get("AvailabilityZoneId")) {
        (Some(name), _) => ("availabilityZone", Some(name)),
        (None, id) => ("availabilityZoneId", id),
    };
    let found = known
        .iter()
        .find(|zone| asked.is_none_or(|asked| zone.name == asked || zone.id == asked));
    found.cloned().ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|zone| zone.name.as_str()).collect();
        let message = format!(
            "Value ({}) for parameter {parameter} is invalid. Subnets can currently only be created in the following availability zones: {}.",
            asked.unwrap_or_default(),
            names.join(", ")
        );
        ApiError::bad("InvalidParameterValue", message)
    })
}

pub(super) fn create(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let vpc = params.require("VpcId")?;
    let text = params.require("CidrBlock")?;
    let within = find::<Vpc>(ec2, vpc)?.cidr;
    let cidr = Cidr::parse(text).ok_or_else(|| {
        let message =
            format!("Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block.");
        ApiError::bad("InvalidParameterValue", message)
    })?;
    if !(16..=28).contains(&cidr.length()) || !within.contains(cidr) {
        return Err(ApiError::bad(
            "InvalidSubnet.Range",
            format!("The CIDR '{text}' is invalid."),
        ));
    }
    if ec2
        .subnets
        .values()
        .any(|subnet| subnet.vpc == vpc && subnet.cidr.overlaps(cidr))
    {
        let message = format!("The CIDR '{text}' conflicts with another subnet");
        return Err(ApiError::bad("InvalidSubnet.Conflict", message));
    }
    let Zone { name, id: zone_id } = zone(cx, params)?;
    let tags = tags::specified(params, "subnet")?;
    let id = cx.id("subnet");
    let subnet = Subnet {
        vpc: vpc.to_owned(),
        zone: name,
        zone_id,
        cidr,
        map_public_ip: false,
    };
    ec2.subnets.insert(id.clone(), subnet);
    ec2.label(cx.now, &id, tags);
    Ok(Xml::new().node("subnet", find::<Subnet>(ec2, &id)?.write(&id, ec2, cx)))
}

pub(super) fn delete(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("SubnetId")?;
    find::<Subnet>(ec2, id)?;
    if ec2.interfaces.values().any(|interface| interface.subnet == id) {
        return Err(dependency(format!(
            "The subnet '{id}' has dependencies and cannot be deleted."
        )));
    }
    ec2.subnets.remove(id);
    for table in ec2.route_tables.values_mut() {
        table.forget_subnet(id);
    }
    ec2.forget_labels();
    Ok(done())
}

pub(super) fn modify_attribute(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("SubnetId")?;
    find::<Subnet>(ec2, id)?;
    let Some(map_public_ip) = params.bool("MapPublicIpOnLaunch.Value") else {
        return Err(ApiError::not_simulated(
            "ec2",
            "ModifySubnetAttribute other than MapPublicIpOnLaunch",
        ));
    };
    if let Some(subnet) = ec2.subnets.get_mut(id) {
        subnet.map_public_ip = map_public_ip;
    }
    Ok(done())
}

impl Ec2 {
    /// A subnet, if it exists.
    pub(crate) fn subnet(&self, id: &str) -> Option<SubnetFacts> {
        self.subnets.get(id).map(|subnet| SubnetFacts {
            id: id.to_owned(),
            vpc_id: subnet.vpc.clone(),
            zone: subnet.zone.clone(),
            zone_id: subnet.zone_id.clone(),
            tags: self.tags(id),
            available_addresses: subnet.free(id, self),
            public: self.is_public(id),
            nat: self.leaves_by_nat(id),
        })
    }

    /// All subnets of a VPC, by id.
    pub(crate) fn subnets_of(&self, vpc_id: &str) -> Vec<SubnetFacts> {
        self.subnets
            .iter()
            .filter(|(_, s)| s.vpc == vpc_id)
            .filter_map(|(id, _)| self.subnet(id))
            .collect()
    }
}
