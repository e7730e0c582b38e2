//! `aws:ec2:Vpc`.

use async_trait::async_trait;
use epid_provider::{
    Failure, Field, Intent, KindSchema, Object, Observed, Output, Present, Problem, Query, Record, Recorded,
    Type, Value,
};
use serde::Deserialize;

use super::client::{Done, Items, Request};
use super::describe::{
    Begun, Made, Tag, Thing, appear, by_token, known, new_tags, of_queries, owner, patiently, settle_tags,
    tags_of, take_away, vanish,
};
use super::{block_problem, shared_schema, tags_field};
use crate::inputs::{bool, map, require};
use crate::kind::{Cx, ResourceKind};
use crate::tags::{self, Tags};

/// A virtual network.
pub(super) struct Vpc;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    vpc_id: String,
    cidr_block: String,
    #[serde(default)]
    instance_tenancy: Option<String>,
    #[serde(default)]
    tag_set: Items<Tag>,
}

impl Thing for Listed {
    const DESCRIBE: &'static str = "DescribeVpcs";
    const FILTER: &'static str = "vpc-id";

    fn id(&self) -> &str {
        &self.vpc_id
    }

    fn tags(&self) -> Tags {
        tags_of(&self.tag_set)
    }
}

/// The two switches of a VPC, as inputs and the API's request call them; the answer's begins with a small letter.
const SWITCHES: [(&str, &str); 2] = [
    ("enableDnsSupport", "EnableDnsSupport"),
    ("enableDnsHostnames", "EnableDnsHostnames"),
];

#[derive(Debug, Deserialize)]
struct Attribute {
    #[serde(alias = "enableDnsSupport", alias = "enableDnsHostnames")]
    attribute: Switch,
}

#[derive(Debug, Deserialize)]
struct Switch {
    value: bool,
}

/// What EC2 takes where a switch is not given.
fn default_of(switch: &str) -> bool {
    switch == "enableDnsSupport"
}

async fn read_switch(cx: Cx<'_>, id: &str, switch: &str) -> Result<bool, Failure> {
    let request = Request::repeatable("DescribeVpcAttribute")
        .with("VpcId", id)
        .with("Attribute", switch);
    let answer: Attribute = patiently(cx, request).await?;
    Ok(answer.attribute.value)
}

async fn present(cx: Cx<'_>, vpc: &Listed) -> Result<Present, Failure> {
    let [support, hostnames] = SWITCHES.map(|(switch, _)| read_switch(cx, &vpc.vpc_id, switch));
    let (support, hostnames) = futures::future::try_join(support, hostnames).await?;
    Ok(Present {
        id: vpc.vpc_id.as_str().into(),
        properties: map([
            ("cidrBlock", Some(Value::str(&vpc.cidr_block))),
            ("instanceTenancy", vpc.instance_tenancy.as_deref().map(Value::str)),
            ("enableDnsSupport", Some(support.into())),
            ("enableDnsHostnames", Some(hostnames.into())),
            ("tags", Some(tags::observed(&vpc.tags()))),
        ]),
        outputs: outputs(&vpc.vpc_id),
        owner: owner(vpc),
    })
}

fn outputs(id: &str) -> Value {
    map([("vpcId", Some(Value::str(id)))])
}

async fn settle(cx: Cx<'_>, vpc: &Listed, applied: &Value, inputs: &Value) -> Result<(), Failure> {
    for (switch, name) in SWITCHES {
        let wanted = bool(inputs, switch).unwrap_or_else(|| default_of(switch));
        if read_switch(cx, &vpc.vpc_id, switch).await? != wanted {
            let request = Request::repeatable("ModifyVpcAttribute")
                .with("VpcId", &vpc.vpc_id)
                .with(format!("{name}.Value"), wanted);
            let Done {} = patiently(cx, request).await?;
        }
    }
    settle_tags(cx, vpc, applied, inputs).await
}

#[async_trait]
impl ResourceKind for Vpc {
    fn schema(&self) -> KindSchema {
        let fields = [
            Field::new("cidrBlock", Type::String)
                .required()
                .immutable()
                .doc("the IPv4 range, /16 to /28: 10.0.0.0/16"),
            Field::new("enableDnsSupport", Type::Bool)
                .default(true)
                .doc("whether the network's resolver answers"),
            Field::new("enableDnsHostnames", Type::Bool)
                .default(false)
                .doc("whether public addresses get DNS names; EKS needs it"),
            Field::new("instanceTenancy", Type::one_of(&["default", "dedicated"]))
                .default("default")
                .immutable(),
            tags_field(),
        ];
        let mut schema = shared_schema("aws:ec2:Vpc", "A virtual network.", Object::of(fields), 3);
        schema.outputs = vec![Output::new("vpcId", "the id of the network")];
        schema
    }

    fn check(&self, properties: &Value) -> Vec<Problem> {
        block_problem(properties, "cidrBlock", 16..=28)
            .into_iter()
            .collect()
    }

    async fn observe(&self, cx: Cx<'_>, queries: &[&Query]) -> Vec<Result<Observed, Failure>> {
        let found = match of_queries::<Listed>(cx, queries).await {
            Ok(found) => found,
            Err(failure) => return vec![Err(failure); queries.len()],
        };
        let answers = found.iter().map(|vpc| async move {
            match vpc {
                Some(vpc) => Ok(Observed::Present(Box::new(present(cx, vpc).await?))),
                None => Ok(Observed::Absent),
            }
        });
        futures::future::join_all(answers).await
    }

    async fn create(&self, cx: Cx<'_>, inputs: &Value) -> Result<Recorded, Failure> {
        let request = Request::once("CreateVpc")
            .with("CidrBlock", require(inputs, "cidrBlock")?)
            .maybe("InstanceTenancy", crate::inputs::text(inputs, "instanceTenancy"))
            .tagged("vpc", &new_tags(cx, inputs));
        let made: Made<Listed> = cx.clients.ec2.call(cx.call, request).await?;
        let id = made.thing.vpc_id;
        let begun = Begun::note(cx, &id, outputs(&id), "set DNS attributes").await?;
        let vpc = begun.keep(appear::<Listed>(cx, &id).await)?;
        begun.keep(settle(cx, &vpc, inputs, inputs).await)?;
        Ok(Recorded::new(id.as_str(), outputs(&id)))
    }

    async fn update(&self, cx: Cx<'_>, record: &Record, inputs: &Value) -> Result<Recorded, Failure> {
        let vpc = known::<Listed>(cx, "VPC", &record.id).await?;
        settle(cx, &vpc, &record.sent(), inputs).await?;
        Ok(Recorded::new(record.id.clone(), outputs(&record.id)))
    }

    async fn delete(&self, cx: Cx<'_>, record: &Record) -> Result<(), Failure> {
        let request = Request::repeatable("DeleteVpc").with("VpcId", &record.id);
        take_away(cx, request, Some(("vpc-id", &record.id))).await?;
        vanish::<Listed>(cx, &record.id, 10).await
    }

    async fn find_created(&self, cx: Cx<'_>, intent: &Intent) -> Result<Option<Present>, Failure> {
        match by_token::<Listed>(cx, intent.token.as_str()).await? {
            Some(vpc) => Ok(Some(present(cx, &vpc).await?)),
            None => Ok(None),
        }
    }
}
