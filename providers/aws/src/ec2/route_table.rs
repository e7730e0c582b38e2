//! `aws:ec2:RouteTable` with its routes and the subnets it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use epid_provider::{
    Diff, Failure, Field, Intent, KindSchema, Object, Observed, Output, Path, Present, Problem, Query,
    Record, Recorded, Segment, Type, Value, diff,
};
use serde::Deserialize;

use super::client::{Done, Items, Request};
use super::describe::{
    Begun, Made, Tag, Thing, appear, by_filter, by_id, by_token, is_not_found, known, new_tags, observe,
    owner, patiently, patiently_unless, settle_tags, tags_of, take_away_emptied, vanish,
};
use super::{block_fault, shared_schema, tags_field};
use crate::inputs::{items, list, map, require, text, texts};
use crate::kind::{Cx, ResourceKind};
use crate::tags::{self, Tags};
use crate::wait::{PROPAGATION, Pace, UNSEEN};

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

    fn leads_to(&self, destination: &str) -> bool {
        self.destination_cidr_block.as_deref() == Some(destination)
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

/// The routes of inputs, by their destination.
fn routes(inputs: &Value) -> Result<BTreeMap<&str, &Value>, Failure> {
    let routes = items(inputs, "routes").iter();
    routes
        .map(|route| Ok((require(route, "destinationCidrBlock")?, route)))
        .collect()
}

/// What EC2 has not confirmed yet. A read may be of the past: what differs from what was sent before is asked for
/// whatever is listed.
struct Open<'a> {
    /// Routes to set, by destination.
    leading: BTreeMap<&'a str, &'a Value>,
    /// Destinations without a route from now on.
    unled: BTreeSet<&'a str>,
    /// Subnets that are to be here.
    joining: BTreeSet<&'a str>,
    /// Subnets that are not.
    parting: BTreeSet<&'a str>,
}

impl<'a> Open<'a> {
    /// What is to be done after `applied`. `unsure` where an earlier request may have done something that `applied`
    /// does not tell.
    fn new(applied: &'a Value, unsure: bool, inputs: &'a Value) -> Result<Self, Failure> {
        let (led, mut leading) = (routes(applied)?, routes(inputs)?);
        let (here, subnets) = (texts(applied, "subnetIds"), texts(inputs, "subnetIds"));
        let unled = led.keys().filter(|to| !leading.contains_key(*to));
        let unled = unled.copied().collect();
        leading.retain(|to, route| unsure || led.get(to) != Some(route));
        let joining = subnets.iter().filter(|id| unsure || !here.contains(id));
        let parting = here.iter().filter(|id| !subnets.contains(id));
        Ok(Self {
            leading,
            unled,
            joining: joining.copied().collect(),
            parting: parting.copied().collect(),
        })
    }

    fn is_empty(&self) -> bool {
        self.leading.is_empty() && self.unled.is_empty() && self.joining.is_empty() && self.parting.is_empty()
    }
}

/// Makes routes, subnets and tags what `inputs` say, and waits until reads see them so. Routes and subnets that were never
/// declared stay. What EC2 does not confirm, because it knows nothing of it or has it already, counts only where that is
/// said for a while.
async fn settle(cx: Cx<'_>, id: &str, applied: &Value, unsure: bool, inputs: &Value) -> Result<(), Failure> {
    let (wanted, subnets) = (routes(inputs)?, texts(inputs, "subnetIds"));
    let mut open = Open::new(applied, unsure, inputs)?;
    let (unled, parted) = (open.unled.clone(), open.parting.clone());
    let (mut led, mut joined) = (BTreeSet::new(), BTreeSet::new());
    let mut shown_since = None;
    let mut pace = Pace::new(Duration::from_millis(300), Duration::from_secs(5));
    let table = loop {
        let table = known::<Listed>(cx, "route table", id).await?;
        let there = |to: &str| table.made().find(|route| route.leads_to(to));
        let differs = |to: &str, route: &Value| !there(to).is_some_and(|there| there.leads_as(route));
        let here: BTreeMap<&str, &str> = table.subnets().collect();
        let left = unled.iter().find(|to| there(to).is_some());
        let left = left.or_else(|| parted.iter().find(|subnet| here.contains_key(*subnet)));
        let shown = left.is_none()
            && !wanted.iter().any(|(to, route)| differs(to, route))
            && subnets.iter().all(|subnet| here.contains_key(subnet));
        let now = cx.call.now();
        shown_since = shown.then(|| shown_since.unwrap_or(now));
        if shown_since.is_some_and(|since| open.is_empty() || now.since(since) >= UNSEEN) {
            break table;
        }
        if pace.waited(cx.call) >= PROPAGATION {
            let left = left.or(open.leading.keys().next()).or(open.joining.first());
            match left {
                // EC2 said that it is so.
                None => break table,
                Some(left) => return Err(unsettled(id, left)),
            }
        }
        for (to, route) in &wanted {
            let is_due = open.leading.contains_key(to) || differs(to, route);
            if is_due && !led.contains(to) && lead(cx, id, route, there(to).is_some()).await? {
                open.leading.remove(to);
                led.insert(*to);
            }
        }
        for to in &unled {
            let is_due = open.unled.contains(to) || there(to).is_some();
            if is_due && leave(cx, id, to).await? {
                open.unled.remove(to);
            }
        }
        for subnet in &subnets {
            let is_due = open.joining.contains(subnet) || !here.contains_key(subnet);
            if is_due && !joined.contains(subnet) && associate(cx, id, subnet).await? {
                open.joining.remove(subnet);
                joined.insert(*subnet);
            }
        }
        for subnet in &parted {
            if let Some(association) = here.get(subnet)
                && disassociate(cx, association).await?
            {
                open.parting.remove(subnet);
            }
        }
        pace.rest(cx.call, "waiting until EC2 shows routes and subnets")
            .await?;
    };
    settle_tags(cx, &table, applied, inputs).await
}

fn unsettled(table: &str, what: &str) -> Failure {
    let message = format!(
        "EC2 does not show {what} in {table} as it was asked for, after {} s",
        PROPAGATION.as_secs()
    );
    Failure::new("NotVisible", message)
        .with_hint("run the same command again, and see who changes it where it comes back")
}

/// Whether EC2 refused to make a route that it has, or to change one that it does not have: it says so in words only (moto
/// pull request 6425 has them from EC2).
fn is_otherwise(failure: &Failure) -> bool {
    failure.code == "RouteAlreadyExists"
        || failure.code == "InvalidRoute.NotFound"
        || (failure.code == "InvalidParameterValue" && failure.message.contains("no route defined for"))
}

/// Sets a route, whether or not its destination has one. False where EC2 contradicts itself about that.
async fn lead(cx: Cx<'_>, table: &str, route: &Value, is_listed: bool) -> Result<bool, Failure> {
    let actions = if is_listed {
        ["ReplaceRoute", "CreateRoute"]
    } else {
        ["CreateRoute", "ReplaceRoute"]
    };
    for action in actions {
        let start = Request::repeatable(action)
            .with("RouteTableId", table)
            .with("DestinationCidrBlock", require(route, "destinationCidrBlock")?);
        let request = TARGETS.iter().fold(start, |request, (name, parameter)| {
            request.maybe(parameter, text(route, name))
        });
        match patiently_unless(cx, request, is_otherwise).await {
            Ok(Done {}) => return Ok(true),
            Err(failure) if is_otherwise(&failure) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(false)
}

/// Removes the route to a destination; false where EC2 knows none.
async fn leave(cx: Cx<'_>, table: &str, to: &str) -> Result<bool, Failure> {
    let request = Request::repeatable("DeleteRoute")
        .with("RouteTableId", table)
        .with("DestinationCidrBlock", to);
    unless_unknown(cx.clients.ec2.call(cx.call, request).await)
}

/// Puts a subnet here. It has one table: from another it is taken over. False where it is said to be here already, and where
/// its table is not known yet or not any more.
async fn associate(cx: Cx<'_>, table: &str, subnet: &str) -> Result<bool, Failure> {
    let request = Request::repeatable("AssociateRouteTable")
        .with("RouteTableId", table)
        .with("SubnetId", subnet);
    match patiently::<Done>(cx, request).await {
        Ok(Done {}) => return Ok(true),
        Err(failure) if failure.code == "Resource.AlreadyAssociated" => {}
        Err(failure) => return Err(failure),
    }
    let others = by_filter::<Listed>(cx, "association.subnet-id", &[subnet]).await?;
    let found = others.iter().find_map(|other| {
        let association = other.subnets().find(|(id, _)| *id == subnet)?;
        Some((other.route_table_id.as_str(), association.1))
    });
    let Some((other, association)) = found.filter(|(other, _)| *other != table) else {
        return Ok(false);
    };
    cx.call.progress(&format!("taking {subnet} over from {other}"));
    let request = Request::repeatable("ReplaceRouteTableAssociation")
        .with("AssociationId", association)
        .with("RouteTableId", table);
    unless_unknown(cx.clients.ec2.call(cx.call, request).await)
}

/// Ends an association; false where EC2 knows none.
async fn disassociate(cx: Cx<'_>, association: &str) -> Result<bool, Failure> {
    let request = Request::repeatable("DisassociateRouteTable").with("AssociationId", association);
    unless_unknown(cx.clients.ec2.call(cx.call, request).await)
}

/// Ends all associations that are listed.
async fn empty(cx: Cx<'_>, table: &str) -> Result<(), Failure> {
    let table = by_id::<Listed>(cx, table).await?;
    for (_, association) in table.iter().flat_map(Listed::subnets) {
        disassociate(cx, association).await?;
    }
    Ok(())
}

/// Whether a request took effect; false where EC2 does not know what it names.
fn unless_unknown(answer: Result<Done, Failure>) -> Result<bool, Failure> {
    match answer {
        Ok(Done {}) => Ok(true),
        Err(failure) if is_not_found(&failure) => Ok(false),
        Err(failure) => Err(failure),
    }
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
        begun.keep(appear::<Listed>(cx, &id).await)?;
        begun.keep(settle(cx, &id, inputs, true, inputs).await)?;
        Ok(Recorded::new(id.as_str(), outputs(&id)))
    }

    async fn update(&self, cx: Cx<'_>, record: &Record, inputs: &Value) -> Result<Recorded, Failure> {
        let unsure = !record.incomplete.is_empty() || !record.attempted.is_empty();
        settle(cx, &record.id, &record.sent(), unsure, inputs).await?;
        Ok(Recorded::new(record.id.clone(), outputs(&record.id)))
    }

    async fn delete(&self, cx: Cx<'_>, record: &Record) -> Result<(), Failure> {
        let request = Request::repeatable("DeleteRouteTable").with("RouteTableId", &record.id);
        // What is associated is looked up each time: a read may not show it yet.
        take_away_emptied(cx, request, None, || empty(cx, &record.id)).await?;
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
