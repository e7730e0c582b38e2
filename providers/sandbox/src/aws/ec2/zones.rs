//! Regions, availability zones and the attributes of the account.

use super::super::{ApiError, Params, Xml};
use super::describe::Filters;
use super::{Cx, Ec2};

/// Regions with the code that their zone ids begin with; those that every account may use.
const REGIONS: &[(&str, &str)] = &[
    ("ap-northeast-1", "apne1"),
    ("ap-northeast-2", "apne2"),
    ("ap-northeast-3", "apne3"),
    ("ap-south-1", "aps1"),
    ("ap-southeast-1", "apse1"),
    ("ap-southeast-2", "apse2"),
    ("ca-central-1", "cac1"),
    ("eu-central-1", "euc1"),
    ("eu-north-1", "eun1"),
    ("eu-west-1", "euw1"),
    ("eu-west-2", "euw2"),
    ("eu-west-3", "euw3"),
    ("sa-east-1", "sae1"),
    ("us-east-1", "use1"),
    ("us-east-2", "use2"),
    ("us-west-1", "usw1"),
    ("us-west-2", "usw2"),
];

/// Zone ids of us-east-1 by zone letter. Accounts differ in this mapping; what stays is that EKS refuses `use1-az3`.
const US_EAST_1: [(&str, u8); 6] = [("a", 6), ("b", 1), ("c", 2), ("d", 4), ("e", 3), ("f", 5)];
const OTHERS: [(&str, u8); 3] = [("a", 1), ("b", 2), ("c", 3)];

/// An availability zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) name: String,
    pub(super) id: String,
}

/// The zones of a region, by name. An unknown region has three, with ids made of its own name.
pub(super) fn zones(region: &str) -> Vec<Zone> {
    let code = REGIONS
        .iter()
        .find(|(name, _)| *name == region)
        .map_or(region, |(_, code)| *code);
    let letters: &[(&str, u8)] = if region == "us-east-1" {
        &US_EAST_1
    } else {
        &OTHERS
    };
    letters
        .iter()
        .map(|(letter, number)| Zone {
            name: format!("{region}{letter}"),
            id: format!("{code}-az{number}"),
        })
        .collect()
}

pub(super) fn describe_zones(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let known = [
        "group-name",
        "opt-in-status",
        "region-name",
        "state",
        "zone-id",
        "zone-name",
        "zone-type",
    ];
    let filters = Filters::read(params, &known)?;
    let (names, ids) = (params.list("ZoneName"), params.list("ZoneId"));
    let zones = zones(cx.region);
    for name in &names {
        if !zones.iter().any(|zone| zone.name == *name) {
            let message = format!("Invalid availability zone: [{name}]");
            return Err(ApiError::bad("InvalidParameterValue", message));
        }
    }
    let shown = zones.iter().filter(|zone| {
        (names.is_empty() || names.contains(&zone.name.as_str()))
            && (ids.is_empty() || ids.contains(&zone.id.as_str()))
            && filters.accept(ec2, &zone.id, || {
                vec![
                    ("group-name", format!("{}-zg-1", cx.region)),
                    ("opt-in-status", "opt-in-not-required".to_owned()),
                    ("region-name", cx.region.to_owned()),
                    ("state", "available".to_owned()),
                    ("zone-id", zone.id.clone()),
                    ("zone-name", zone.name.clone()),
                    ("zone-type", "availability-zone".to_owned()),
                ]
            })
    });
    Ok(Xml::new().items("availabilityZoneInfo", shown, |zone| {
        Xml::new()
            .text("optInStatus", "opt-in-not-required")
            .node("messageSet", Xml::new())
            .text("regionName", cx.region)
            .text("zoneName", &zone.name)
            .text("zoneId", &zone.id)
            .text("groupName", format!("{}-zg-1", cx.region))
            .text("networkBorderGroup", cx.region)
            .text("zoneType", "availability-zone")
            .text("zoneState", "available")
    }))
}

pub(super) fn describe_regions(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let filters = Filters::read(params, &["endpoint", "opt-in-status", "region-name"])?;
    let names = params.list("RegionName");
    let endpoint = |name: &str| format!("ec2.{name}.amazonaws.com");
    for name in &names {
        if !REGIONS.iter().any(|(known, _)| known == name) {
            let message = format!("Invalid region name: '{name}'");
            return Err(ApiError::bad("InvalidParameterValue", message));
        }
    }
    let shown = REGIONS.iter().map(|(name, _)| *name).filter(|name| {
        (names.is_empty() || names.contains(name))
            && filters.accept(ec2, name, || {
                vec![
                    ("endpoint", endpoint(name)),
                    ("opt-in-status", "opt-in-not-required".to_owned()),
                    ("region-name", (*name).to_owned()),
                ]
            })
    });
    Ok(Xml::new().items("regionInfo", shown, |name| {
        Xml::new()
            .text("regionName", name)
            .text("regionEndpoint", endpoint(name))
            .text("optInStatus", "opt-in-not-required")
    }))
}

pub(super) fn describe_account_attributes(
    _ec2: &mut Ec2,
    _cx: &mut Cx<'_>,
    params: &Params,
) -> Result<Xml, ApiError> {
    let asked = params.list("AttributeName");
    let attributes = [
        ("supported-platforms", "VPC"),
        ("default-vpc", "none"),
        ("max-instances", "20"),
        ("vpc-max-security-groups-per-interface", "5"),
        ("max-elastic-ips", "5"),
        ("vpc-max-elastic-ips", "5"),
    ];
    let shown = attributes
        .iter()
        .filter(|(name, _)| asked.is_empty() || asked.contains(name));
    Ok(Xml::new().items("accountAttributeSet", shown, |(name, value)| {
        Xml::new()
            .text("attributeName", name)
            .items("attributeValueSet", [value], |value| {
                Xml::new().text("attributeValue", value)
            })
    }))
}
