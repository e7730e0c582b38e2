//! VPCs and their DNS attributes.

use super::super::facts::VpcFacts;
use super::super::{ApiError, Params, Xml};
use super::cidr::Cidr;
use super::describe::{Resource, find};
use super::security_group::{self, SecurityGroup};
use super::{Cx, Ec2, dependency, done, network_acl, route_table, tags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Default quota: VPCs per region.
const MOST: usize = 5;
/// How long a VPC is `pending`.
const PENDING: Duration = Duration::from_millis(1_500);

/// A VPC. It comes with a main route table, a default network ACL and a default security group, which go with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Vpc {
    pub(super) cidr: Cidr,
    association: String,
    tenancy: String,
    dns_support: bool,
    dns_hostnames: bool,
    usage_metrics: bool,
}

impl Resource for Vpc {
    const SET: &'static str = "vpcSet";
    const IDS: &'static str = "VpcId";
    const NOT_FOUND: &'static str = "InvalidVpcID.NotFound";
    const FILTERS: &'static [&'static str] = &[
        "cidr",
        "cidr-block-association.association-id",
        "cidr-block-association.cidr-block",
        "cidr-block-association.state",
        "dhcp-options-id",
        "is-default",
        "isDefault",
        "state",
        "vpc-id",
    ];

    fn all(ec2: &Ec2) -> &BTreeMap<String, Self> {
        &ec2.vpcs
    }

    fn absent(id: &str) -> String {
        format!("The vpc ID '{id}' does not exist")
    }

    fn facts(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Vec<(&'static str, String)> {
        vec![
            ("cidr", self.cidr.to_string()),
            ("cidr-block-association.association-id", self.association.clone()),
            ("cidr-block-association.cidr-block", self.cidr.to_string()),
            ("cidr-block-association.state", "associated".to_owned()),
            ("dhcp-options-id", "default".to_owned()),
            ("is-default", "false".to_owned()),
            ("isDefault", "false".to_owned()),
            ("state", state(id, ec2, cx).to_owned()),
            ("vpc-id", id.to_owned()),
        ]
    }

    fn write(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Xml {
        Xml::new()
            .text("vpcId", id)
            .text("ownerId", cx.account)
            .text("state", state(id, ec2, cx))
            .text("cidrBlock", self.cidr)
            .items("cidrBlockAssociationSet", [self], |vpc| {
                Xml::new()
                    .text("associationId", &vpc.association)
                    .text("cidrBlock", vpc.cidr)
                    .node("cidrBlockState", Xml::new().text("state", "associated"))
            })
            .text("dhcpOptionsId", "default")
            .text("instanceTenancy", &self.tenancy)
            .text("isDefault", false)
            .tag_set(&ec2.tags(id))
    }
}

fn state(id: &str, ec2: &Ec2, cx: &Cx<'_>) -> &'static str {
    if cx.now < ec2.created(id).after(PENDING) {
        "pending"
    } else {
        "available"
    }
}

pub(super) fn create(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let text = params.require("CidrBlock")?;
    let cidr = Cidr::parse(text).ok_or_else(|| {
        let message =
            format!("Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block.");
        ApiError::bad("InvalidParameterValue", message)
    })?;
    if !(16..=28).contains(&cidr.length()) {
        return Err(ApiError::bad(
            "InvalidVpc.Range",
            format!("The CIDR '{text}' is invalid."),
        ));
    }
    if ec2.vpcs.len() >= MOST {
        return Err(ApiError::bad(
            "VpcLimitExceeded",
            "The maximum number of VPCs has been reached.",
        ));
    }
    let tags = tags::specified(params, "vpc")?;
    let id = cx.id("vpc");
    let vpc = Vpc {
        cidr,
        association: cx.id("vpc-cidr-assoc"),
        tenancy: params.get("InstanceTenancy").unwrap_or("default").to_owned(),
        dns_support: true,
        dns_hostnames: false,
        usage_metrics: false,
    };
    ec2.vpcs.insert(id.clone(), vpc);
    ec2.label(cx.now, &id, tags);
    route_table::create_main(ec2, cx, &id, cidr);
    network_acl::create_default(ec2, cx, &id);
    security_group::create_default(ec2, cx, &id);
    Ok(Xml::new().node("vpc", find::<Vpc>(ec2, &id)?.write(&id, ec2, cx)))
}

pub(super) fn delete(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("VpcId")?;
    find::<Vpc>(ec2, id)?;
    let in_use = ec2.subnets.values().any(|subnet| subnet.vpc == id)
        || ec2
            .gateways
            .values()
            .any(|gateway| gateway.vpc.as_deref() == Some(id))
        || ec2.interfaces.values().any(|interface| interface.vpc == id)
        || ec2
            .route_tables
            .values()
            .any(|table| table.vpc == id && !table.is_main())
        || ec2
            .groups
            .values()
            .any(|group| group.vpc == id && group.name != SecurityGroup::DEFAULT);
    if in_use {
        return Err(dependency(format!(
            "The vpc '{id}' has dependencies and cannot be deleted."
        )));
    }
    ec2.vpcs.remove(id);
    ec2.route_tables.retain(|_, table| table.vpc != id);
    ec2.acls.retain(|_, acl| acl.vpc != id);
    ec2.groups.retain(|_, group| group.vpc != id);
    let Ec2 { rules, groups, .. } = ec2;
    rules.retain(|_, rule| groups.contains_key(&rule.group));
    ec2.forget_labels();
    Ok(done())
}

/// The attributes, as `DescribeVpcAttribute` and `ModifyVpcAttribute` spell them.
const ATTRIBUTES: [(&str, &str); 3] = [
    ("enableDnsSupport", "EnableDnsSupport.Value"),
    ("enableDnsHostnames", "EnableDnsHostnames.Value"),
    (
        "enableNetworkAddressUsageMetrics",
        "EnableNetworkAddressUsageMetrics.Value",
    ),
];

impl Vpc {
    fn attribute(&mut self, name: &str) -> &mut bool {
        match name {
            "enableDnsSupport" => &mut self.dns_support,
            "enableDnsHostnames" => &mut self.dns_hostnames,
            _ => &mut self.usage_metrics,
        }
    }
}

pub(super) fn modify_attribute(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("VpcId")?;
    find::<Vpc>(ec2, id)?;
    let given: Vec<_> = ATTRIBUTES
        .iter()
        .filter_map(|(name, key)| Some((*name, params.bool(key)?)))
        .collect();
    let [(name, value)] = given.as_slice() else {
        let (code, message) = match given.len() {
            0 => (
                "MissingParameter",
                "The request must contain exactly one VPC attribute to modify",
            ),
            _ => (
                "InvalidParameterCombination",
                "Fields for multiple attribute types specified",
            ),
        };
        return Err(ApiError::bad(code, message));
    };
    if let Some(vpc) = ec2.vpcs.get_mut(id) {
        *vpc.attribute(name) = *value;
    }
    Ok(done())
}

pub(super) fn describe_attribute(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("VpcId")?;
    let asked = params.require("Attribute")?;
    let mut vpc = find::<Vpc>(ec2, id)?.clone();
    if !ec2.visible(cx.now, id) {
        return Err(ApiError::bad(Vpc::NOT_FOUND, Vpc::absent(id)));
    }
    let Some((name, _)) = ATTRIBUTES.iter().find(|(name, _)| *name == asked) else {
        let message = format!("Value ({asked}) for parameter attribute is invalid. Unknown attribute.");
        return Err(ApiError::bad("InvalidParameterValue", message));
    };
    Ok(Xml::new()
        .text("vpcId", id)
        .node(name, Xml::new().text("value", *vpc.attribute(name))))
}

impl Ec2 {
    /// A VPC, if it exists.
    pub(crate) fn vpc(&self, id: &str) -> Option<VpcFacts> {
        self.vpcs.get(id).map(|vpc| VpcFacts {
            id: id.to_owned(),
            cidr: vpc.cidr.to_string(),
            dns_support: vpc.dns_support,
            dns_hostnames: vpc.dns_hostnames,
        })
    }
}
