//! `aws:ec2:Eip`, an Elastic IP address.

use async_trait::async_trait;
use epid_provider::{
    Failure, Intent, KindSchema, Object, Observed, Output, Present, Query, Record, Recorded, Value,
};
use serde::Deserialize;

use super::client::{Items, Request};
use super::describe::{
    Begun, Tag, Thing, appear, by_token, known, new_tags, observe, owner, settle_tags, tags_of, take_away,
    vanish,
};
use super::{shared_schema, tags_field};
use crate::inputs::map;
use crate::kind::{Cx, ResourceKind};
use crate::tags::{self, Tags};

/// A public IPv4 address that stays.
pub(super) struct Eip;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    // An address of EC2-Classic had none.
    #[serde(default)]
    allocation_id: String,
    public_ip: String,
    #[serde(default)]
    tag_set: Items<Tag>,
}

impl Thing for Listed {
    const DESCRIBE: &'static str = "DescribeAddresses";
    const FILTER: &'static str = "allocation-id";

    fn id(&self) -> &str {
        &self.allocation_id
    }

    fn tags(&self) -> Tags {
        tags_of(&self.tag_set)
    }
}

fn present(address: &Listed) -> Present {
    Present {
        id: address.allocation_id.as_str().into(),
        properties: map([("tags", Some(tags::observed(&address.tags())))]),
        outputs: outputs(address),
        owner: owner(address),
    }
}

fn outputs(address: &Listed) -> Value {
    map([
        ("allocationId", Some(Value::str(&address.allocation_id))),
        ("publicIp", Some(Value::str(&address.public_ip))),
    ])
}

fn recorded(address: &Listed) -> Recorded {
    Recorded::new(address.allocation_id.as_str(), outputs(address))
}

#[async_trait]
impl ResourceKind for Eip {
    fn schema(&self) -> KindSchema {
        let doc = "A public IPv4 address that stays.";
        let mut schema = shared_schema("aws:ec2:Eip", doc, Object::of([tags_field()]), 2);
        schema.outputs = vec![
            Output::new("allocationId", "the id by which a NAT gateway takes it"),
            Output::new("publicIp", "the address itself"),
        ];
        schema
    }

    async fn observe(&self, cx: Cx<'_>, queries: &[&Query]) -> Vec<Result<Observed, Failure>> {
        observe::<Listed>(cx, queries, present).await
    }

    async fn create(&self, cx: Cx<'_>, inputs: &Value) -> Result<Recorded, Failure> {
        let request = Request::once("AllocateAddress")
            .with("Domain", "vpc")
            .tagged("elastic-ip", &new_tags(cx, inputs));
        let address: Listed = cx.clients.ec2.call(cx.call, request).await?;
        let id = &address.allocation_id;
        let begun = Begun::note(cx, id, outputs(&address), "wait until EC2 lists it").await?;
        begun.keep(appear::<Listed>(cx, id).await)?;
        Ok(recorded(&address))
    }

    async fn update(&self, cx: Cx<'_>, record: &Record, inputs: &Value) -> Result<Recorded, Failure> {
        let address = known::<Listed>(cx, "address", &record.id).await?;
        settle_tags(cx, &address, &record.sent(), inputs).await?;
        Ok(recorded(&address))
    }

    async fn delete(&self, cx: Cx<'_>, record: &Record) -> Result<(), Failure> {
        let request = Request::repeatable("ReleaseAddress").with("AllocationId", &record.id);
        let holders = ("addresses.association.allocation-id", &*record.id);
        take_away(cx, request, Some(holders)).await?;
        vanish::<Listed>(cx, &record.id, 10).await
    }

    async fn find_created(&self, cx: Cx<'_>, intent: &Intent) -> Result<Option<Present>, Failure> {
        let found = by_token::<Listed>(cx, intent.token.as_str()).await?;
        Ok(found.as_ref().map(present))
    }
}
