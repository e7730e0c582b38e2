//! Network interfaces: what EKS, NAT gateways and load balancers put into subnets, and what keeps them from being deleted.

use super::super::facts::InterfaceRequest;
use super::super::{ApiError, Ids, Params, Xml};
use super::describe::{Resource, find};
use super::{Cx, Ec2, Tags};
use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A network interface. All of them belong to a service of AWS, so nobody may detach or delete one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Interface {
    pub(super) vpc: String,
    pub(super) subnet: String,
    pub(super) groups: Vec<String>,
    pub(super) private_ip: Ipv4Addr,
    pub(super) public: Option<Public>,
    zone: String,
    description: String,
    /// `interface` or `nat_gateway`.
    kind: String,
    requester: String,
    attachment: String,
}

/// The public address of an interface.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Public {
    pub(super) ip: Ipv4Addr,
    pub(super) association: String,
    /// The Elastic IP address, unless the address is the service's own.
    pub(super) allocation: Option<String>,
}

impl Interface {
    fn mac(&self) -> String {
        let [a, b, c, d] = self.private_ip.octets();
        format!("0a:ff:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }
}

impl Resource for Interface {
    const SET: &'static str = "networkInterfaceSet";
    const IDS: &'static str = "NetworkInterfaceId";
    const NOT_FOUND: &'static str = "InvalidNetworkInterfaceID.NotFound";
    const FILTERS: &'static [&'static str] = &[
        "addresses.private-ip-address",
        "association.allocation-id",
        "association.association-id",
        "association.ip-owner-id",
        "association.public-ip",
        "attachment.attachment-id",
        "attachment.instance-owner-id",
        "attachment.status",
        "availability-zone",
        "description",
        "group-id",
        "group-name",
        "interface-type",
        "mac-address",
        "network-interface-id",
        "private-ip-address",
        "requester-id",
        "requester-managed",
        "status",
        "subnet-id",
        "vpc-id",
    ];

    fn all(ec2: &Ec2) -> &BTreeMap<String, Self> {
        &ec2.interfaces
    }

    fn absent(id: &str) -> String {
        format!("The networkInterface ID '{id}' does not exist")
    }

    fn facts(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("addresses.private-ip-address", self.private_ip.to_string()),
            ("attachment.attachment-id", self.attachment.clone()),
            ("attachment.instance-owner-id", "amazon-aws".to_owned()),
            ("attachment.status", "attached".to_owned()),
            ("availability-zone", self.zone.clone()),
            ("description", self.description.clone()),
            ("interface-type", self.kind.clone()),
            ("mac-address", self.mac()),
            ("network-interface-id", id.to_owned()),
            ("private-ip-address", self.private_ip.to_string()),
            ("requester-id", self.requester.clone()),
            ("requester-managed", "true".to_owned()),
            ("status", "in-use".to_owned()),
            ("subnet-id", self.subnet.clone()),
            ("vpc-id", self.vpc.clone()),
        ];
        for group in &self.groups {
            facts.push(("group-id", group.clone()));
            facts.extend(
                ec2.groups
                    .get(group)
                    .map(|group| ("group-name", group.name.clone())),
            );
        }
        if let Some(public) = &self.public {
            facts.push(("association.association-id", public.association.clone()));
            facts.push(("association.ip-owner-id", public.owner(cx).to_owned()));
            facts.push(("association.public-ip", public.ip.to_string()));
            facts.extend(
                public
                    .allocation
                    .clone()
                    .map(|id| ("association.allocation-id", id)),
            );
        }
        facts
    }

    fn write(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Xml {
        let association = self.public.as_ref().map(|public| public.write(cx));
        let with_association = |xml: Xml| match &association {
            Some(association) => xml.node("association", association.clone()),
            None => xml,
        };
        let attachment = Xml::new()
            .text("attachmentId", &self.attachment)
            .text("attachTime", ec2.created(id).rfc3339_millis())
            .text("deleteOnTermination", false)
            .text("deviceIndex", 1)
            .text("networkCardIndex", 0)
            .text("instanceOwnerId", "amazon-aws")
            .text("status", "attached");
        with_association(Xml::new())
            .node("attachment", attachment)
            .text("availabilityZone", &self.zone)
            .text("description", &self.description)
            .items("groupSet", &self.groups, |group| {
                let name = ec2.groups.get(group).map(|group| &group.name);
                Xml::new().text("groupId", group).optional("groupName", name)
            })
            .text("interfaceType", &self.kind)
            .text("macAddress", self.mac())
            .text("networkInterfaceId", id)
            .text("ownerId", cx.account)
            .text("privateIpAddress", self.private_ip)
            .items("privateIpAddressesSet", [self.private_ip], |ip| {
                with_association(Xml::new())
                    .text("primary", true)
                    .text("privateIpAddress", ip)
            })
            .text("requesterId", &self.requester)
            .text("requesterManaged", true)
            .text("sourceDestCheck", self.kind != "nat_gateway")
            .text("status", "in-use")
            .text("subnetId", &self.subnet)
            .text("vpcId", &self.vpc)
            .tag_set(&ec2.tags(id))
    }
}

impl Public {
    fn owner<'a>(&self, cx: &Cx<'a>) -> &'a str {
        if self.allocation.is_some() {
            cx.account
        } else {
            "amazon-elb"
        }
    }

    fn write(&self, cx: &Cx<'_>) -> Xml {
        let name = self.ip.to_string().replace('.', "-");
        Xml::new()
            .optional("allocationId", self.allocation.as_ref())
            .text("associationId", &self.association)
            .text("ipOwnerId", self.owner(cx))
            .text(
                "publicDnsName",
                format!("ec2-{name}.{}.compute.amazonaws.com", cx.region),
            )
            .text("publicIp", self.ip)
    }
}

pub(super) fn delete(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("NetworkInterfaceId")?;
    find::<Interface>(ec2, id)?;
    Err(ApiError::bad(
        "InvalidParameterValue",
        format!("Network interface '{id}' is currently in use."),
    ))
}

/// What a NAT gateway puts into its subnet.
pub(super) fn for_nat(
    ec2: &mut Ec2,
    cx: &mut Cx<'_>,
    nat: &str,
    subnet: &str,
    public: Option<Public>,
) -> Result<String, ApiError> {
    let request = InterfaceRequest {
        subnet_id: subnet.to_owned(),
        groups: Vec::new(),
        description: format!("Interface for NAT Gateway {nat}"),
        requester: "amazon-nat".to_owned(),
        public: false,
        tags: Tags::new(),
    };
    let id = ec2.place(cx.ids, cx.now, request).ok_or_else(|| {
        let message = format!("The subnet {subnet} has no free addresses to create the NAT gateway");
        ApiError::bad("InsufficientFreeAddressesInSubnet", message)
    })?;
    if let Some(interface) = ec2.interfaces.get_mut(&id) {
        interface.kind = "nat_gateway".to_owned();
        interface.public = public;
    }
    Ok(id)
}

impl Ec2 {
    /// Puts an interface into a subnet; `None` if there is no such subnet, or no free address in it.
    fn place(&mut self, ids: &mut Ids, now: Timestamp, request: InterfaceRequest) -> Option<String> {
        let subnet = self.subnets.get(&request.subnet_id)?;
        let (vpc, zone) = (subnet.vpc.clone(), subnet.zone.clone());
        let private_ip = subnet.next_address(&request.subnet_id, self)?;
        let id = ids.hex("eni-0", 16);
        let public = request.public.then(|| Public {
            ip: self.public_ip(ids),
            association: ids.hex("eipassoc-0", 16),
            allocation: None,
        });
        let interface = Interface {
            vpc,
            subnet: request.subnet_id,
            groups: request.groups,
            private_ip,
            public,
            zone,
            description: request.description,
            kind: "interface".to_owned(),
            requester: request.requester,
            attachment: ids.hex("ela-attach-0", 16),
        };
        self.interfaces.insert(id.clone(), interface);
        self.label(now, &id, request.tags);
        Some(id)
    }

    /// Puts an interface of a service into a subnet; returns its id (`eni-...`) and its private address. Both are empty
    /// if there is no such subnet or no free address in it: see [`SubnetFacts::available_addresses`].
    ///
    /// [`SubnetFacts::available_addresses`]: super::super::facts::SubnetFacts::available_addresses
    pub(crate) fn create_interface(
        &mut self,
        ids: &mut Ids,
        now: Timestamp,
        request: InterfaceRequest,
    ) -> (String, String) {
        let id = self.place(ids, now, request).unwrap_or_default();
        let ip = self
            .interfaces
            .get(&id)
            .map(|interface| interface.private_ip.to_string());
        (id, ip.unwrap_or_default())
    }

    /// Removes an interface; one that is gone already is fine.
    pub(crate) fn delete_interface(&mut self, id: &str) {
        self.interfaces.remove(id);
        self.labels.remove(id);
    }
}
