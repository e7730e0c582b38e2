//! `aws:ec2:RouteTable` with its routes and the subnets it is for.

use std::collections::BTreeSet;

use async_trait::async_trait;
use epid_provider::{
    Diff, Failure, Field, Intent, KindSchema, Object, Observed, Output, Path, Present, Problem, Query,
    Record, Recorded, Segment, Type, Value, diff,
};
use serde::Deserialize;

use super::client::{Done, Items, Request};
use super::describe::{
    Begun, Made, Tag, Thing, appear, by_filter, by_token, known, new_tags, observe, owner, patiently, seen,
    settle_tags, tags_of, take_away, unless, vanish,
};
use super::{block_fault, shared_schema, tags_field};
use crate::inputs::{items, list, map, require, text, texts};
use crate::kind::{Cx, ResourceKind};
use crate::tags::{self, Tags};

/// Where packets of subnets go.
pub(super) struct RouteTable;

/// What a route may lead to: its input, and the request's parameter.
const TARGETS: [(&str, &str); 5] = [
    ("gatewayId", "GatewayId"),
    ("natGatewayId", "NatGatewayId"),
    ("networkInterfaceId", "NetworkInterfaceId"),
    ("transitGatewayId", "TransitGatewayId"),
    ("vpcPeeringConnectionId", "VpcPeeringConnectionId"),
];

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    route_table_id: String,
    vpc_id: String,
    #[serde(default)]
    route_set: Items<Route>,
    #[serde(default)]
    association_set: Items<Association>,
    #[serde(default)]
    tag_set: Items<Tag>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Route {
    destination_cidr_block: Option<String>,
    gateway_id: Option<String>,
    nat_gateway_id: Option<String>,
    network_interface_id: Option<String>,
    transit_gateway_id: Option<String>,
    vpc_peering_connection_id: Option<String>,
    origin: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Association {
    route_table_association_id: String,
    #[serde(default)]
    subnet_id: Option<String>,
}

impl Route {
    fn targets(&self) -> [(&'static str, Option<&String>); 5] {
        let ids = [
            &self.gateway_id,
            &self.nat_gateway_id,
            &self.network_interface_id,
            &self.transit_gateway_id,
            &self.vpc_peering_connection_id,
        ];
        let mut at = 0;
        ids.map(|id| {
            let name = TARGETS.get(at).map_or("", |(name, _)| *name);
            at += 1;
            (name, id.as_ref())
        })
    }

    /// Whether somebody made it: the network's own route and propagated ones come by themselves.
    fn is_made(&self) -> bool {
        let by_itself = matches!(
            self.origin.as_deref(),
            Some("CreateRouteTable" | "EnableVgwRoutePropagation")
        );
        !by_itself && self.gateway_id.as_deref() != Some("local") && self.destination_cidr_block.is_some()
    }

    fn shown(&self) -> Value {
        let target = self
            .targets()
            .into_iter()
            .filter_map(|(name, id)| Some((name, Value::str(id?))));
        let destination = self.destination_cidr_block.as_deref().map(Value::str);
        Value::map(target.chain(destination.map(|block| ("destinationCidrBlock", block))))
    }

    /// Whether it leads where the route of an input does.
    fn leads_as(&self, wanted: &Value) -> bool {
        self.targets()
            .iter()
            .all(|(name, id)| text(wanted, name) == id.map(String::as_str))
    }
}

impl Listed {
    fn made(&self) -> impl Iterator<Item = &Route> {
        self.route_set.list.iter().filter(|route| route.is_made())
    }

    fn subnets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.association_set.list.iter().filter_map(|association| {
            let subnet = association.subnet_id.as_deref().filter(|id| !id.is_empty())?;
            Some((subnet, association.route_table_association_id.as_str()))
        })
    }
}

impl Thing for Listed {
    const DESCRIBE: &'static str = "DescribeRouteTables";
    const FILTER: &'static str = "route-table-id";

    fn id(&self) -> &str {
        &self.route_table_id
    }

    fn tags(&self) -> Tags {
        tags_of(&self.tag_set)
    }
}

fn present(table: &Listed) -> Present {
    let subnets: BTreeSet<&str> = table.subnets().map(|(subnet, _)| subnet).collect();
    Present {
        id: table.route_table_id.as_str().into(),
        properties: map([
            ("vpcId", Some(Value::str(&table.vpc_id))),
            ("routes", Some(Value::list(table.made().map(Route::shown)))),
            ("subnetIds", Some(list(subnets))),
            ("tags", Some(tags::observed(&table.tags()))),
        ]),
        outputs: outputs(&table.route_table_id),
        owner: owner(table),
    }
}

fn outputs(id: &str) -> Value {
    map([("routeTableId", Some(Value::str(id)))])
}

fn destinations(inputs: &Value) -> BTreeSet<&str> {
    let routes = items(inputs, "routes").iter();
    routes
        .filter_map(|route| text(route, "destinationCidrBlock"))
        .collect()
}

async fn settle(cx: Cx<'_>, table: &Listed, applied: &Value, inputs: &Value) -> Result<(), Failure> {
    settle_routes(cx, table, applied, inputs).await?;
    settle_subnets(cx, table, applied, inputs).await?;
    settle_tags(cx, table, applied, inputs).await
}

/// Routes are known by their destination; those that were never declared stay.
async fn settle_routes(cx: Cx<'_>, table: &Listed, applied: &Value, inputs: &Value) -> Result<(), Failure> {
    let there = |destination: &str| {
        table
            .made()
            .find(|route| route.destination_cidr_block.as_deref() == Some(destination))
    };
    for wanted in items(inputs, "routes") {
        let destination = require(wanted, "destinationCidrBlock")?;
        match there(destination) {
            Some(route) if route.leads_as(wanted) => {}
            Some(_) => lead(cx, "ReplaceRoute", table, wanted).await?,
            None => match lead(cx, "CreateRoute", table, wanted).await {
                Err(failure) if failure.code == "RouteAlreadyExists" => {
                    lead(cx, "ReplaceRoute", table, wanted).await?;
                }
                other => other?,
            },
        }
    }
    let wanted = destinations(inputs);
    for destination in destinations(applied) {
        if !wanted.contains(destination) && there(destination).is_some() {
            let request = Request::repeatable("DeleteRoute")
                .with("RouteTableId", &table.route_table_id)
                .with("DestinationCidrBlock", destination);
            let answer = cx.clients.ec2.call(cx.call, request).await;
            unless(answer, &["InvalidRoute.NotFound"])?;
        }
    }
    Ok(())
}

async fn lead(cx: Cx<'_>, action: &'static str, table: &Listed, wanted: &Value) -> Result<(), Failure> {
    let start = Request::repeatable(action)
        .with("RouteTableId", &table.route_table_id)
        .with("DestinationCidrBlock", require(wanted, "destinationCidrBlock")?);
    let request = TARGETS.iter().fold(start, |request, (name, parameter)| {
        request.maybe(parameter, text(wanted, name))
    });
    let Done {} = patiently(cx, request).await?;
    Ok(())
}

/// A subnet has one table: one that is declared here is taken from the table it has.
async fn settle_subnets(cx: Cx<'_>, table: &Listed, applied: &Value, inputs: &Value) -> Result<(), Failure> {
    let here: BTreeSet<&str> = table.subnets().map(|(subnet, _)| subnet).collect();
    let wanted = texts(inputs, "subnetIds");
    for subnet in &wanted {
        if !here.contains(subnet) {
            associate(cx, &table.route_table_id, subnet).await?;
        }
    }
    for subnet in texts(applied, "subnetIds") {
        let association = table.subnets().find(|(id, _)| *id == subnet);
        if let Some((_, association)) = association.filter(|_| !wanted.contains(&subnet)) {
            disassociate(cx, association).await?;
        }
    }
    Ok(())
}

async fn associate(cx: Cx<'_>, table: &str, subnet: &str) -> Result<(), Failure> {
    let request = Request::repeatable("AssociateRouteTable")
        .with("RouteTableId", table)
        .with("SubnetId", subnet);
    let refused = match patiently::<Done>(cx, request).await {
        Err(failure) if failure.code == "Resource.AlreadyAssociated" => failure,
        other => return other.map(|Done {}| ()),
    };
    let others = by_filter::<Listed>(cx, "association.subnet-id", &[subnet]).await?;
    let found = others.iter().find_map(|other| {
        let association = other.subnets().find(|(id, _)| *id == subnet)?;
        Some((other.route_table_id.as_str(), association.1))
    });
    match found {
        Some((other, _)) if other == table => Ok(()),
        Some((other, association)) => {
            cx.call.progress(&format!("taking {subnet} over from {other}"));
            let request = Request::repeatable("ReplaceRouteTableAssociation")
                .with("AssociationId", association)
                .with("RouteTableId", table);
            let Done {} = cx.clients.ec2.call(cx.call, request).await?;
            Ok(())
        }
        None => Err(refused),
    }
}

async fn disassociate(cx: Cx<'_>, association: &str) -> Result<(), Failure> {
    let request = Request::repeatable("DisassociateRouteTable").with("AssociationId", association);
    let answer = cx.clients.ec2.call(cx.call, request).await;
    unless(answer, &["InvalidAssociationID.NotFound"])
}

#[async_trait]
impl ResourceKind for RouteTable {
    fn schema(&self) -> KindSchema {
        let mut route = vec![
            Field::new("destinationCidrBlock", Type::String)
                .required()
                .doc("where packets want to go: 0.0.0.0/0 is everywhere"),
        ];
        route.extend(TARGETS.map(|(name, _)| Field::new(name, Type::String)));
        let fields = [
            Field::new("vpcId", Type::String)
                .required()
                .immutable()
                .doc("the network it belongs to"),
            Field::new("routes", Type::keyed(&["destinationCidrBlock"], route))
                .doc("routes by destination; others in the table stay"),
            Field::new("subnetIds", Type::set(Type::String))
                .doc("the subnets it is for, taken over from the tables they have; others of the table stay"),
            tags_field(),
        ];
        let doc = "Where packets of subnets go.";
        let mut schema = shared_schema("aws:ec2:RouteTable", doc, Object::of(fields), 3);
        schema.outputs = vec![Output::new("routeTableId", "the id of the table")];
        schema
    }

    fn check(&self, properties: &Value) -> Vec<Problem> {
        let routes = items(properties, "routes").iter().enumerate();
        routes
            .filter_map(|(at, route)| route_problem(at, route))
            .collect()
    }

    /// Subnets that the program never named are not drift.
    fn drift(&self, schema: &KindSchema, record: &Record, present: &Present) -> Diff {
        let named = texts(&record.applied, "subnetIds");
        let seen = texts(&present.properties, "subnetIds");
        let seen = list(seen.into_iter().filter(|subnet| named.contains(subnet)));
        let mut properties = present.properties.clone();
        if let Value::Map(fields) = &properties {
            properties = Value::Map(fields.with("subnetIds", seen));
        }
        diff::drift(schema, &record.applied, &properties)
    }

    async fn observe(&self, cx: Cx<'_>, queries: &[&Query]) -> Vec<Result<Observed, Failure>> {
        observe::<Listed>(cx, queries, present).await
    }

    async fn create(&self, cx: Cx<'_>, inputs: &Value) -> Result<Recorded, Failure> {
        let request = Request::repeatable("CreateRouteTable")
            .with("VpcId", require(inputs, "vpcId")?)
            .with("ClientToken", &cx.call.token)
            .tagged("route-table", &new_tags(cx, inputs));
        let made: Made<Listed> = patiently(cx, request).await?;
        let id = made.thing.route_table_id;
        let begun = Begun::note(cx, &id, outputs(&id), "set routes and associate subnets").await?;
        let table = begun.keep(appear::<Listed>(cx, &id).await)?;
        begun.keep(settle(cx, &table, inputs, inputs).await)?;
        Ok(Recorded::new(id.as_str(), outputs(&id)))
    }

    async fn update(&self, cx: Cx<'_>, record: &Record, inputs: &Value) -> Result<Recorded, Failure> {
        let table = known::<Listed>(cx, "route table", &record.id).await?;
        settle(cx, &table, &record.sent(), inputs).await?;
        Ok(Recorded::new(record.id.clone(), outputs(&record.id)))
    }

    async fn delete(&self, cx: Cx<'_>, record: &Record) -> Result<(), Failure> {
        let table = seen::<Listed>(cx, &record.id).await?;
        for (_, association) in table.iter().flat_map(Listed::subnets) {
            disassociate(cx, association).await?;
        }
        // Also where no read sees it: only the answer to this says that it is gone.
        let request = Request::repeatable("DeleteRouteTable").with("RouteTableId", &record.id);
        take_away(cx, request, None).await?;
        vanish::<Listed>(cx, &record.id, 10).await
    }

    async fn find_created(&self, cx: Cx<'_>, intent: &Intent) -> Result<Option<Present>, Failure> {
        let found = by_token::<Listed>(cx, intent.token.as_str()).await?;
        Ok(found.as_ref().map(present))
    }
}

fn route_problem(at: usize, route: &Value) -> Option<Problem> {
    let path = Path::root().key("routes").join(Segment::Index(at));
    let given = TARGETS
        .iter()
        .filter(|(name, _)| route.get(name).is_some_and(|target| !target.is_null()));
    if given.count() != 1 {
        let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        let message = "a route leads to exactly one thing";
        let hint = format!("give one of {}", names.join(", "));
        return Some(Problem::new(path, message).with_hint(hint));
    }
    let destination = text(route, "destinationCidrBlock")?;
    block_fault(destination, &(0..=32)).map(|fault| fault.at(path.key("destinationCidrBlock")))
}
