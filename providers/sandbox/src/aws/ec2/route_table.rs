//! Route tables, their routes and their associations; and where the routes of a subnet lead.

use super::super::{ApiError, Params, Xml};
use super::cidr::Cidr;
use super::describe::{Resource, find};
use super::interface::Interface;
use super::subnet::Subnet;
use super::vpc::Vpc;
use super::{Cx, Ec2, Tags, dependency, done, tags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Default quota: routes per table.
const MOST_ROUTES: usize = 50;
const EVERYWHERE: &str = "0.0.0.0/0";

/// A route table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RouteTable {
    pub(super) vpc: String,
    routes: BTreeMap<Cidr, Target>,
    /// Association id to what is associated.
    associations: BTreeMap<String, Associate>,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Target {
    Local,
    Gateway(String),
    Nat(String),
    Interface(String),
}

/// Who uses a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Associate {
    /// Every subnet of the VPC without an own association.
    Main,
    Subnet(String),
}

impl RouteTable {
    pub(super) fn is_main(&self) -> bool {
        self.associations
            .values()
            .any(|associate| *associate == Associate::Main)
    }

    #[cfg(test)]
    pub(super) fn first_association(&self) -> String {
        self.associations.keys().next().cloned().unwrap_or_default()
    }

    pub(super) fn forget_subnet(&mut self, subnet: &str) {
        self.associations
            .retain(|_, associate| *associate != Associate::Subnet(subnet.to_owned()));
    }

    fn state(&self, target: &Target, ec2: &Ec2) -> &'static str {
        let active = match target {
            Target::Local => true,
            Target::Gateway(id) => ec2
                .gateways
                .get(id)
                .is_some_and(|g| g.vpc.as_ref() == Some(&self.vpc)),
            Target::Nat(id) => ec2
                .nat_gateways
                .get(id)
                .is_some_and(super::nat::NatGateway::is_routable),
            Target::Interface(id) => ec2.interfaces.contains_key(id),
        };
        if active { "active" } else { "blackhole" }
    }

    fn default_route(&self) -> Option<&Target> {
        self.routes.get(&Cidr::parse(EVERYWHERE)?)
    }
}

impl Target {
    fn origin(&self) -> &'static str {
        if *self == Self::Local {
            "CreateRouteTable"
        } else {
            "CreateRoute"
        }
    }

    /// The element and the filter that name it, and its id.
    fn names(&self) -> (&'static str, &'static str, &str) {
        match self {
            Self::Local => ("gatewayId", "route.gateway-id", "local"),
            Self::Gateway(id) => ("gatewayId", "route.gateway-id", id),
            Self::Nat(id) => ("natGatewayId", "route.nat-gateway-id", id),
            Self::Interface(id) => ("networkInterfaceId", "route.network-interface-id", id),
        }
    }
}

impl Resource for RouteTable {
    const SET: &'static str = "routeTableSet";
    const IDS: &'static str = "RouteTableId";
    const NOT_FOUND: &'static str = "InvalidRouteTableID.NotFound";
    const FILTERS: &'static [&'static str] = &[
        "association.main",
        "association.route-table-association-id",
        "association.route-table-id",
        "association.subnet-id",
        "route-table-id",
        "route.destination-cidr-block",
        "route.gateway-id",
        "route.nat-gateway-id",
        "route.network-interface-id",
        "route.origin",
        "route.state",
        "vpc-id",
    ];

    fn all(ec2: &Ec2) -> &BTreeMap<String, Self> {
        &ec2.route_tables
    }

    fn absent(id: &str) -> String {
        format!("The routeTable ID '{id}' does not exist")
    }

    fn facts(&self, id: &str, ec2: &Ec2, _cx: &Cx<'_>) -> Vec<(&'static str, String)> {
        let mut facts = vec![("route-table-id", id.to_owned()), ("vpc-id", self.vpc.clone())];
        for (association, associate) in &self.associations {
            facts.push(("association.route-table-association-id", association.clone()));
            facts.push(("association.route-table-id", id.to_owned()));
            facts.push(("association.main", (*associate == Associate::Main).to_string()));
            if let Associate::Subnet(subnet) = associate {
                facts.push(("association.subnet-id", subnet.clone()));
            }
        }
        for (destination, target) in &self.routes {
            let (_, filter, target_id) = target.names();
            facts.push((filter, target_id.to_owned()));
            facts.push(("route.destination-cidr-block", destination.to_string()));
            facts.push(("route.origin", target.origin().to_owned()));
            facts.push(("route.state", self.state(target, ec2).to_owned()));
        }
        facts
    }

    fn write(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Xml {
        Xml::new()
            .items(
                "associationSet",
                &self.associations,
                |(association, associate)| {
                    let subnet = match associate {
                        Associate::Main => None,
                        Associate::Subnet(subnet) => Some(subnet),
                    };
                    Xml::new()
                        .text("routeTableAssociationId", association)
                        .text("routeTableId", id)
                        .optional("subnetId", subnet)
                        .text("main", subnet.is_none())
                        .node("associationState", Xml::new().text("state", "associated"))
                },
            )
            .node("propagatingVgwSet", Xml::new())
            .text("routeTableId", id)
            .items("routeSet", self.routes.iter().rev(), |(destination, target)| {
                let (element, _, target_id) = target.names();
                Xml::new()
                    .text("destinationCidrBlock", destination)
                    .text(element, target_id)
                    .text("origin", target.origin())
                    .text("state", self.state(target, ec2))
            })
            .text("vpcId", &self.vpc)
            .text("ownerId", cx.account)
            .tag_set(&ec2.tags(id))
    }
}

pub(super) fn create_main(ec2: &mut Ec2, cx: &mut Cx<'_>, vpc: &str, cidr: Cidr) {
    let id = cx.id("rtb");
    let associations = BTreeMap::from([(cx.id("rtbassoc"), Associate::Main)]);
    let routes = BTreeMap::from([(cidr, Target::Local)]);
    ec2.route_tables.insert(
        id.clone(),
        RouteTable {
            vpc: vpc.to_owned(),
            routes,
            associations,
        },
    );
    ec2.label(cx.now, &id, Tags::new());
}

pub(super) fn create(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = match ec2.spent_token("CreateRouteTable", params)? {
        Some(id) if ec2.route_tables.contains_key(&id) => id,
        _ => {
            let vpc = params.require("VpcId")?;
            let routes = BTreeMap::from([(find::<Vpc>(ec2, vpc)?.cidr, Target::Local)]);
            let tags = tags::specified(params, "route-table")?;
            let id = cx.id("rtb");
            let table = RouteTable {
                vpc: vpc.to_owned(),
                routes,
                associations: BTreeMap::new(),
            };
            ec2.route_tables.insert(id.clone(), table);
            ec2.label(cx.now, &id, tags);
            ec2.spend_token("CreateRouteTable", params, &id);
            id
        }
    };
    Ok(Xml::new()
        .optional("clientToken", params.get("ClientToken"))
        .node("routeTable", find::<RouteTable>(ec2, &id)?.write(&id, ec2, cx)))
}

pub(super) fn delete(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("RouteTableId")?;
    if !find::<RouteTable>(ec2, id)?.associations.is_empty() {
        return Err(dependency(format!(
            "The routeTable '{id}' has dependencies and cannot be deleted."
        )));
    }
    ec2.route_tables.remove(id);
    ec2.forget_labels();
    Ok(done())
}

fn destination(params: &Params) -> Result<Cidr, ApiError> {
    if params.get("DestinationCidrBlock").is_none()
        && (params.get("DestinationIpv6CidrBlock").is_some()
            || params.get("DestinationPrefixListId").is_some())
    {
        return Err(ApiError::not_simulated(
            "ec2",
            "routes to IPv6 blocks and prefix lists",
        ));
    }
    let text = params.require("DestinationCidrBlock")?;
    Cidr::parse(text).ok_or_else(|| {
        let message = format!(
            "Value ({text}) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block."
        );
        ApiError::bad("InvalidParameterValue", message)
    })
}

/// The target that a request names, checked to exist and to be in the table's network.
fn target(ec2: &Ec2, cx: &Cx<'_>, table: &str, params: &Params) -> Result<Target, ApiError> {
    let kinds = ["GatewayId", "NatGatewayId", "NetworkInterfaceId"];
    let given: Vec<_> = kinds
        .iter()
        .filter_map(|key| Some((*key, params.get(key)?)))
        .collect();
    let vpc = &find::<RouteTable>(ec2, table)?.vpc;
    let apart = |what: &str, id: &str| {
        let message = format!("route table {table} and {what} {id} belong to different networks");
        ApiError::bad("InvalidParameterValue", message)
    };
    match given.as_slice() {
        [("GatewayId", id)] => {
            let absent = || {
                ApiError::bad(
                    "InvalidGatewayID.NotFound",
                    format!("The gateway ID '{id}' does not exist"),
                )
            };
            let gateway = ec2.gateways.get(*id).ok_or_else(absent)?;
            let attached = gateway.vpc.as_ref() == Some(vpc);
            attached
                .then(|| Target::Gateway((*id).to_owned()))
                .ok_or_else(|| apart("network gateway", id))
        }
        [("NatGatewayId", id)] => {
            let nat = ec2
                .nat_gateways
                .get(*id)
                .filter(|nat| nat.is_routable() && ec2.visible(cx.now, id));
            let Some(nat) = nat else {
                let message = format!("The natGateway ID '{id}' does not exist");
                return Err(ApiError::bad("InvalidNatGatewayID.NotFound", message));
            };
            (nat.vpc == *vpc)
                .then(|| Target::Nat((*id).to_owned()))
                .ok_or_else(|| apart("NAT gateway", id))
        }
        [(_, id)] => {
            let interface = find::<Interface>(ec2, id)?;
            let same = interface.vpc == *vpc;
            same.then(|| Target::Interface((*id).to_owned()))
                .ok_or_else(|| apart("interface", id))
        }
        [] => Err(ApiError::bad(
            "MissingParameter",
            "The request must contain one of the parameters gatewayId, natGatewayId or networkInterfaceId; the sandbox knows no other targets",
        )),
        _ => Err(ApiError::bad(
            "InvalidParameterCombination",
            "The parameters gatewayId, natGatewayId and networkInterfaceId exclude each other",
        )),
    }
}

pub(super) fn create_route(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("RouteTableId")?;
    let table = find::<RouteTable>(ec2, id)?;
    let to = destination(params)?;
    if table.routes.contains_key(&to) {
        return Err(ApiError::bad(
            "RouteAlreadyExists",
            format!("The route identified by {to} already exists."),
        ));
    }
    if table.routes.len() >= MOST_ROUTES {
        let message = "The maximum number of routes has been reached.";
        return Err(ApiError::bad("RouteLimitExceeded", message));
    }
    set_route(ec2, cx, params, id, to)
}

pub(super) fn replace_route(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("RouteTableId")?;
    let to = destination(params)?;
    match find::<RouteTable>(ec2, id)?.routes.get(&to) {
        Some(Target::Local) => Err(ApiError::bad(
            "InvalidParameterValue",
            format!("cannot replace local route {to} in route table {id}"),
        )),
        Some(_) => set_route(ec2, cx, params, id, to),
        None => {
            let message =
                format!("There is no route defined for '{to}' in the route table. Use CreateRoute instead.");
            Err(ApiError::bad("InvalidParameterValue", message))
        }
    }
}

fn set_route(ec2: &mut Ec2, cx: &Cx<'_>, params: &Params, id: &str, to: Cidr) -> Result<Xml, ApiError> {
    let target = target(ec2, cx, id, params)?;
    if let Some(table) = ec2.route_tables.get_mut(id) {
        table.routes.insert(to, target);
    }
    Ok(done())
}

pub(super) fn delete_route(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("RouteTableId")?;
    let to = destination(params)?;
    match find::<RouteTable>(ec2, id)?.routes.get(&to) {
        Some(Target::Local) => {
            let message = format!("cannot remove local route {to} in route table {id}");
            return Err(ApiError::bad("InvalidParameterValue", message));
        }
        Some(_) => {}
        None => {
            let message = format!("no route with destination-cidr-block {to} in route table {id}");
            return Err(ApiError::bad("InvalidRoute.NotFound", message));
        }
    }
    if let Some(table) = ec2.route_tables.get_mut(id) {
        table.routes.remove(&to);
    }
    Ok(done())
}

fn associated(element: &str, id: &str) -> Xml {
    Xml::new()
        .text(element, id)
        .node("associationState", Xml::new().text("state", "associated"))
}

pub(super) fn associate(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("RouteTableId")?;
    let subnet = params.require("SubnetId")?;
    let vpc = &find::<RouteTable>(ec2, id)?.vpc;
    if find::<Subnet>(ec2, subnet)?.vpc != *vpc {
        let message = format!("Route table {id} and subnet {subnet} belong to different networks");
        return Err(ApiError::bad("InvalidParameterValue", message));
    }
    let associate = Associate::Subnet(subnet.to_owned());
    if ec2
        .route_tables
        .values()
        .any(|table| table.associations.values().any(|other| *other == associate))
    {
        let message =
            format!("the specified association for route table {id} conflicts with an existing association");
        return Err(ApiError::bad("Resource.AlreadyAssociated", message));
    }
    let association = cx.id("rtbassoc");
    if let Some(table) = ec2.route_tables.get_mut(id) {
        table.associations.insert(association.clone(), associate);
    }
    Ok(associated("associationId", &association))
}

/// The table that holds an association, and what it associates.
fn holder(ec2: &Ec2, association: &str) -> Result<(String, Associate), ApiError> {
    let found = ec2
        .route_tables
        .iter()
        .find_map(|(id, table)| Some((id, table.associations.get(association)?)));
    found
        .map(|(id, associate)| (id.clone(), associate.clone()))
        .ok_or_else(|| {
            let message = format!("The association ID '{association}' does not exist");
            ApiError::bad("InvalidAssociationID.NotFound", message)
        })
}

pub(super) fn replace_association(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let old = params.require("AssociationId")?;
    let id = params.require("RouteTableId")?;
    let (from, associate) = holder(ec2, old)?;
    let vpc = &find::<RouteTable>(ec2, &from)?.vpc;
    if find::<RouteTable>(ec2, id)?.vpc != *vpc {
        let message = format!("Route table {id} and association {old} belong to different networks");
        return Err(ApiError::bad("InvalidParameterValue", message));
    }
    let new = cx.id("rtbassoc");
    if let Some(table) = ec2.route_tables.get_mut(&from) {
        table.associations.remove(old);
    }
    if let Some(table) = ec2.route_tables.get_mut(id) {
        table.associations.insert(new.clone(), associate);
    }
    Ok(associated("newAssociationId", &new))
}

pub(super) fn disassociate(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let association = params.require("AssociationId")?;
    let (id, associate) = holder(ec2, association)?;
    if associate == Associate::Main {
        let message = format!("cannot disassociate the main route table association {association}");
        return Err(ApiError::bad("InvalidParameterValue", message));
    }
    if let Some(table) = ec2.route_tables.get_mut(&id) {
        table.associations.remove(association);
    }
    Ok(done())
}

impl Ec2 {
    /// Where a subnet's route table (its own, else the main one) sends what goes everywhere.
    fn way_out(&self, subnet: &str) -> Option<&Target> {
        let vpc = &self.subnets.get(subnet)?.vpc;
        let own = Associate::Subnet(subnet.to_owned());
        let table = |wanted: &Associate| {
            self.route_tables
                .values()
                .find(|table| table.vpc == *vpc && table.associations.values().any(|other| other == wanted))
        };
        let table = table(&own).or_else(|| table(&Associate::Main))?;
        table
            .default_route()
            .filter(|target| table.state(target, self) == "active")
    }

    /// Whether a subnet's way out is an attached internet gateway.
    pub(super) fn is_public(&self, subnet: &str) -> bool {
        matches!(self.way_out(subnet), Some(Target::Gateway(_)))
    }

    /// Whether a subnet's way out is an available NAT gateway that stands in a public subnet.
    pub(super) fn leaves_by_nat(&self, subnet: &str) -> bool {
        let Some(Target::Nat(id)) = self.way_out(subnet) else {
            return false;
        };
        let nat = self.nat_gateways.get(id).filter(|nat| nat.is_available());
        nat.and_then(|nat| nat.public_subnet())
            .is_some_and(|subnet| self.is_public(subnet))
    }
}
