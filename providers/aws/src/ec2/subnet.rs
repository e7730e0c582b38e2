//! `aws:ec2:Subnet`.

use async_trait::async_trait;
use epid_provider::{
    Failure, Field, Intent, KindSchema, Object, Observed, Output, Present, Problem, Query, Record, Recorded,
    Type, Value,
};
use serde::Deserialize;

use super::client::{Done, Items, Request};
use super::describe::{
    Begun, Made, Tag, Thing, appear, by_token, known, new_tags, observe, owner, patiently, settle_tags,
    tags_of, take_away, vanish,
};
use super::{block_problem, shared_schema, tags_field};
use crate::inputs::{bool, map, require, text};
use crate::kind::{Cx, ResourceKind};
use crate::tags::{self, Tags};

/// A part of a network in one availability zone.
pub(super) struct Subnet;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    subnet_id: String,
    vpc_id: String,
    cidr_block: String,
    availability_zone: String,
    #[serde(default)]
    map_public_ip_on_launch: bool,
    #[serde(default)]
    tag_set: Items<Tag>,
}

impl Thing for Listed {
    const DESCRIBE: &'static str = "DescribeSubnets";
    const FILTER: &'static str = "subnet-id";

    fn id(&self) -> &str {
        &self.subnet_id
    }

    fn tags(&self) -> Tags {
        tags_of(&self.tag_set)
    }
}

fn present(subnet: &Listed) -> Present {
    Present {
        id: subnet.subnet_id.as_str().into(),
        properties: map([
            ("vpcId", Some(Value::str(&subnet.vpc_id))),
            ("cidrBlock", Some(Value::str(&subnet.cidr_block))),
            ("availabilityZone", Some(Value::str(&subnet.availability_zone))),
            ("mapPublicIpOnLaunch", Some(subnet.map_public_ip_on_launch.into())),
            ("tags", Some(tags::observed(&subnet.tags()))),
        ]),
        outputs: outputs(&subnet.subnet_id),
        owner: owner(subnet),
    }
}

fn outputs(id: &str) -> Value {
    map([("subnetId", Some(Value::str(id)))])
}

async fn settle(cx: Cx<'_>, subnet: &Listed, applied: &Value, inputs: &Value) -> Result<(), Failure> {
    let wanted = bool(inputs, "mapPublicIpOnLaunch").unwrap_or(false);
    if subnet.map_public_ip_on_launch != wanted {
        let request = Request::repeatable("ModifySubnetAttribute")
            .with("SubnetId", &subnet.subnet_id)
            .with("MapPublicIpOnLaunch.Value", wanted);
        let Done {} = patiently(cx, request).await?;
    }
    settle_tags(cx, subnet, applied, inputs).await
}

fn recorded(subnet: &Listed, inputs: &Value) -> Recorded {
    Recorded {
        resolved: Subnet.resolved(inputs, &present(subnet)),
        ..Recorded::new(subnet.subnet_id.as_str(), outputs(&subnet.subnet_id))
    }
}

#[async_trait]
impl ResourceKind for Subnet {
    fn schema(&self) -> KindSchema {
        let fields = [
            Field::new("vpcId", Type::String)
                .required()
                .immutable()
                .doc("the network it is a part of"),
            Field::new("cidrBlock", Type::String)
                .required()
                .immutable()
                .exclusive()
                .doc("its part of the network's range, /16 to /28: 10.0.1.0/24"),
            Field::new("availabilityZone", Type::String)
                .immutable()
                .doc("its zone, us-east-1a; EC2 chooses where it is not given"),
            Field::new("mapPublicIpOnLaunch", Type::Bool)
                .default(false)
                .doc("whether what starts in it gets a public address"),
            tags_field(),
        ];
        let doc = "A part of a network in one availability zone.";
        let mut schema = shared_schema("aws:ec2:Subnet", doc, Object::of(fields), 3);
        schema.outputs = vec![Output::new("subnetId", "the id of the subnet")];
        schema
    }

    fn check(&self, properties: &Value) -> Vec<Problem> {
        block_problem(properties, "cidrBlock", 16..=28)
            .into_iter()
            .collect()
    }

    fn resolved(&self, inputs: &Value, present: &Present) -> Value {
        let chosen = text(inputs, "availabilityZone").is_none();
        let zone = present.properties.get("availabilityZone").filter(|_| chosen);
        map([("availabilityZone", zone.cloned())])
    }

    async fn observe(&self, cx: Cx<'_>, queries: &[&Query]) -> Vec<Result<Observed, Failure>> {
        observe::<Listed>(cx, queries, present).await
    }

    async fn create(&self, cx: Cx<'_>, inputs: &Value) -> Result<Recorded, Failure> {
        let request = Request::once("CreateSubnet")
            .with("VpcId", require(inputs, "vpcId")?)
            .with("CidrBlock", require(inputs, "cidrBlock")?)
            .maybe("AvailabilityZone", text(inputs, "availabilityZone"))
            .tagged("subnet", &new_tags(cx, inputs));
        let made: Made<Listed> = patiently(cx, request).await?;
        let id = made.thing.subnet_id;
        let begun = Begun::note(cx, &id, outputs(&id), "set the subnet's attributes").await?;
        let subnet = begun.keep(appear::<Listed>(cx, &id).await)?;
        begun.keep(settle(cx, &subnet, inputs, inputs).await)?;
        Ok(recorded(&subnet, inputs))
    }

    async fn update(&self, cx: Cx<'_>, record: &Record, inputs: &Value) -> Result<Recorded, Failure> {
        let subnet = known::<Listed>(cx, "subnet", &record.id).await?;
        settle(cx, &subnet, &record.sent(), inputs).await?;
        Ok(recorded(&subnet, inputs))
    }

    async fn delete(&self, cx: Cx<'_>, record: &Record) -> Result<(), Failure> {
        let request = Request::repeatable("DeleteSubnet").with("SubnetId", &record.id);
        take_away(cx, request, Some(("subnet-id", &record.id))).await?;
        vanish::<Listed>(cx, &record.id, 10).await
    }

    async fn find_created(&self, cx: Cx<'_>, intent: &Intent) -> Result<Option<Present>, Failure> {
        let found = by_token::<Listed>(cx, intent.token.as_str()).await?;
        Ok(found.as_ref().map(present))
    }
}
