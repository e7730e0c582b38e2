//! Internet gateways.

use super::super::{ApiError, Params, Xml};
use super::describe::{Resource, find};
use super::vpc::Vpc;
use super::{Cx, Ec2, dependency, done, tags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Default quota: internet gateways per region.
const MOST: usize = 5;

/// An internet gateway, attached to at most one VPC.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct InternetGateway {
    pub(super) vpc: Option<String>,
}

impl Resource for InternetGateway {
    const SET: &'static str = "internetGatewaySet";
    const IDS: &'static str = "InternetGatewayId";
    const NOT_FOUND: &'static str = "InvalidInternetGatewayID.NotFound";
    const FILTERS: &'static [&'static str] =
        &["attachment.state", "attachment.vpc-id", "internet-gateway-id"];

    fn all(ec2: &Ec2) -> &BTreeMap<String, Self> {
        &ec2.gateways
    }

    fn absent(id: &str) -> String {
        format!("The internetGateway ID '{id}' does not exist")
    }

    fn facts(&self, id: &str, _ec2: &Ec2, _cx: &Cx<'_>) -> Vec<(&'static str, String)> {
        let mut facts = vec![("internet-gateway-id", id.to_owned())];
        if let Some(vpc) = &self.vpc {
            facts.push(("attachment.state", "available".to_owned()));
            facts.push(("attachment.vpc-id", vpc.clone()));
        }
        facts
    }

    fn write(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Xml {
        Xml::new()
            .items("attachmentSet", &self.vpc, |vpc| {
                Xml::new().text("state", "available").text("vpcId", vpc)
            })
            .text("internetGatewayId", id)
            .text("ownerId", cx.account)
            .tag_set(&ec2.tags(id))
    }
}

pub(super) fn create(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    if ec2.gateways.len() >= MOST {
        let message = "The maximum number of internet gateways has been reached.";
        return Err(ApiError::bad("InternetGatewayLimitExceeded", message));
    }
    let tags = tags::specified(params, "internet-gateway")?;
    let id = cx.id("igw");
    ec2.gateways.insert(id.clone(), InternetGateway { vpc: None });
    ec2.label(cx.now, &id, tags);
    Ok(Xml::new().node(
        "internetGateway",
        find::<InternetGateway>(ec2, &id)?.write(&id, ec2, cx),
    ))
}

pub(super) fn attach(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("InternetGatewayId")?;
    let vpc = params.require("VpcId")?;
    if let Some(other) = &find::<InternetGateway>(ec2, id)?.vpc {
        let message = format!("resource {id} is already attached to network {other}");
        return Err(ApiError::bad("Resource.AlreadyAssociated", message));
    }
    find::<Vpc>(ec2, vpc)?;
    if ec2.attached_gateway(vpc).is_some() {
        let message = format!("Network {vpc} already has an internet gateway attached");
        return Err(ApiError::bad("InvalidParameterValue", message));
    }
    ec2.gateways.insert(
        id.to_owned(),
        InternetGateway {
            vpc: Some(vpc.to_owned()),
        },
    );
    Ok(done())
}

pub(super) fn detach(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("InternetGatewayId")?;
    let vpc = params.require("VpcId")?;
    let gateway = find::<InternetGateway>(ec2, id)?;
    find::<Vpc>(ec2, vpc)?;
    if gateway.vpc.as_deref() != Some(vpc) {
        let message = format!("resource {id} is not attached to network {vpc}");
        return Err(ApiError::bad("Gateway.NotAttached", message));
    }
    if ec2
        .interfaces
        .values()
        .any(|interface| interface.vpc == vpc && interface.public.is_some())
    {
        return Err(dependency(format!(
            "Network {vpc} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway."
        )));
    }
    ec2.gateways.insert(id.to_owned(), InternetGateway { vpc: None });
    Ok(done())
}

pub(super) fn delete(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("InternetGatewayId")?;
    if find::<InternetGateway>(ec2, id)?.vpc.is_some() {
        return Err(dependency(format!(
            "The internetGateway '{id}' has dependencies and cannot be deleted."
        )));
    }
    ec2.gateways.remove(id);
    ec2.forget_labels();
    Ok(done())
}

impl Ec2 {
    /// The internet gateway that is attached to a VPC.
    pub(super) fn attached_gateway(&self, vpc: &str) -> Option<&String> {
        self.gateways
            .iter()
            .find(|(_, gateway)| gateway.vpc.as_deref() == Some(vpc))
            .map(|(id, _)| id)
    }
}
