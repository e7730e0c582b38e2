//! Elastic IP addresses. They come from 198.18.0.0/15, which RFC 2544 keeps for tests: nothing real answers there.

use super::super::{ApiError, Ids, Params, Xml};
use super::describe::{Resource, find};
use super::{Cx, Ec2, done, tags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Default quota: Elastic IP addresses per region.
const MOST: usize = 5;
const POOL: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const POOL_SIZE: u64 = 1 << 17;

/// An Elastic IP address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Address {
    pub(super) ip: Ipv4Addr,
    pub(super) association: Option<Association>,
}

/// What an address is mapped to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Association {
    pub(super) id: String,
    pub(super) interface: String,
}

impl Address {
    /// The interface that it is mapped to.
    pub(super) fn interface(&self) -> Option<&str> {
        self.association
            .as_ref()
            .map(|association| association.interface.as_str())
    }
}

impl Resource for Address {
    const SET: &'static str = "addressesSet";
    const IDS: &'static str = "AllocationId";
    const NOT_FOUND: &'static str = "InvalidAllocationID.NotFound";
    const FILTERS: &'static [&'static str] = &[
        "allocation-id",
        "association-id",
        "domain",
        "network-border-group",
        "network-interface-id",
        "private-ip-address",
        "public-ip",
    ];
    const LEAST_PAGE: Option<usize> = None;

    fn all(ec2: &Ec2) -> &BTreeMap<String, Self> {
        &ec2.addresses
    }

    fn absent(id: &str) -> String {
        format!("The allocation ID '{id}' does not exist")
    }

    fn facts(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("allocation-id", id.to_owned()),
            ("domain", "vpc".to_owned()),
            ("network-border-group", cx.region.to_owned()),
            ("public-ip", self.ip.to_string()),
        ];
        if let Some(association) = &self.association {
            facts.push(("association-id", association.id.clone()));
            facts.push(("network-interface-id", association.interface.clone()));
            let interface = ec2.interfaces.get(&association.interface);
            facts.extend(interface.map(|interface| ("private-ip-address", interface.private_ip.to_string())));
        }
        facts
    }

    fn write(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Xml {
        let xml = Xml::new()
            .text("publicIp", self.ip)
            .text("allocationId", id)
            .text("domain", "vpc")
            .text("publicIpv4Pool", "amazon")
            .text("networkBorderGroup", cx.region);
        let xml = match &self.association {
            None => xml,
            Some(association) => {
                let interface = ec2.interfaces.get(&association.interface);
                xml.text("associationId", &association.id)
                    .text("networkInterfaceId", &association.interface)
                    .text("networkInterfaceOwnerId", cx.account)
                    .optional(
                        "privateIpAddress",
                        interface.map(|interface| interface.private_ip),
                    )
            }
        };
        xml.tag_set(&ec2.tags(id))
    }
}

pub(super) fn allocate(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    if params.get("Domain").is_some_and(|domain| domain != "vpc") {
        let message = "The account does not support EC2-Classic: Domain must be vpc.";
        return Err(ApiError::bad("InvalidParameterValue", message));
    }
    if ec2.addresses.len() >= MOST {
        let message = "The maximum number of addresses has been reached.";
        return Err(ApiError::bad("AddressLimitExceeded", message));
    }
    let tags = tags::specified(params, "elastic-ip")?;
    let (id, ip) = (cx.id("eipalloc"), ec2.public_ip(cx.ids));
    ec2.addresses.insert(
        id.clone(),
        Address {
            ip,
            association: None,
        },
    );
    ec2.label(cx.now, &id, tags);
    Ok(Xml::new()
        .text("publicIp", ip)
        .text("allocationId", id)
        .text("publicIpv4Pool", "amazon")
        .text("networkBorderGroup", cx.region)
        .text("domain", "vpc"))
}

pub(super) fn release(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let Some(id) = params.get("AllocationId") else {
        let message = "You must specify an allocation id when releasing a VPC elastic IP address";
        return Err(ApiError::bad("InvalidParameterValue", message));
    };
    let address = find::<Address>(ec2, id)?;
    if address.association.is_some() {
        return Err(ApiError::bad(
            "InvalidIPAddress.InUse",
            format!("Address {} is in use.", address.ip),
        ));
    }
    ec2.addresses.remove(id);
    ec2.forget_labels();
    Ok(done())
}

impl Ec2 {
    /// A public address that nothing else has.
    pub(super) fn public_ip(&self, ids: &mut Ids) -> Ipv4Addr {
        loop {
            let drawn = u32::try_from(ids.next() % POOL_SIZE).unwrap_or_default();
            let ip = Ipv4Addr::from(u32::from(POOL) + drawn);
            let taken = self.addresses.values().any(|address| address.ip == ip)
                || self
                    .interfaces
                    .values()
                    .any(|interface| interface.public.as_ref().is_some_and(|p| p.ip == ip));
            if !taken {
                return ip;
            }
        }
    }
}
