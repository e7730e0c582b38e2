//! `aws:ec2:InternetGateway`, attached to its network.

use async_trait::async_trait;
use epid_provider::{
    Desired, Diff, Failure, Field, Intent, KindSchema, Object, Observed, Output, Present, Query, Record,
    Recorded, Replace, Type, Value,
};
use serde::Deserialize;

use super::client::{Items, Request};
use super::describe::{
    Begun, Made, Tag, Thing, appear, by_id, by_token, known, new_tags, observe, owner, patiently, seen,
    settle_tags, tags_of, take_away, unless, vanish,
};
use super::{shared_schema, tags_field};
use crate::inputs::{map, text};
use crate::kind::{Cx, ResourceKind};
use crate::tags::{self, Tags};

/// The way of a network to the internet.
pub(super) struct InternetGateway;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    internet_gateway_id: String,
    #[serde(default)]
    attachment_set: Items<Attachment>,
    #[serde(default)]
    tag_set: Items<Tag>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attachment {
    vpc_id: String,
    #[serde(default)]
    state: String,
}

impl Listed {
    /// The network it is attached to; there is one at most.
    fn network(&self) -> Option<&str> {
        let mut attached = self.attachment_set.list.iter();
        attached
            .find(|attachment| !matches!(attachment.state.as_str(), "detaching" | "detached"))
            .map(|attachment| attachment.vpc_id.as_str())
    }
}

impl Thing for Listed {
    const DESCRIBE: &'static str = "DescribeInternetGateways";
    const FILTER: &'static str = "internet-gateway-id";

    fn id(&self) -> &str {
        &self.internet_gateway_id
    }

    fn tags(&self) -> Tags {
        tags_of(&self.tag_set)
    }
}

fn present(gateway: &Listed) -> Present {
    Present {
        id: gateway.internet_gateway_id.as_str().into(),
        properties: map([
            ("vpcId", gateway.network().map(Value::str)),
            ("tags", Some(tags::observed(&gateway.tags()))),
        ]),
        outputs: outputs(&gateway.internet_gateway_id),
        owner: owner(gateway),
    }
}

fn outputs(id: &str) -> Value {
    map([("internetGatewayId", Some(Value::str(id)))])
}

async fn settle(cx: Cx<'_>, gateway: &Listed, applied: &Value, inputs: &Value) -> Result<(), Failure> {
    let (id, wanted) = (&gateway.internet_gateway_id, text(inputs, "vpcId"));
    if gateway.network() != wanted {
        if let Some(network) = gateway.network() {
            detach(cx, id, network).await?;
        }
        if let Some(network) = wanted {
            let request = Request::repeatable("AttachInternetGateway")
                .with("InternetGatewayId", id)
                .with("VpcId", network);
            let answer = patiently(cx, request).await;
            // The network may have another gateway: only its own counts as attached already.
            if let Err(failure) = unless(answer, &[]) {
                let attached = by_id::<Listed>(cx, id).await?;
                if attached.as_ref().and_then(Listed::network) != Some(network) {
                    return Err(failure);
                }
            }
        }
    }
    settle_tags(cx, gateway, applied, inputs).await
}

/// Detaches it, waiting for public addresses that are still mapped.
async fn detach(cx: Cx<'_>, id: &str, network: &str) -> Result<(), Failure> {
    let request = Request::repeatable("DetachInternetGateway")
        .with("InternetGatewayId", id)
        .with("VpcId", network);
    match take_away(cx, request, Some(("vpc-id", network))).await {
        Err(failure) if failure.code != "Gateway.NotAttached" => Err(failure),
        _ => Ok(()),
    }
}

#[async_trait]
impl ResourceKind for InternetGateway {
    fn schema(&self) -> KindSchema {
        let fields = [
            Field::new("vpcId", Type::String).exclusive().doc(
                "the network it is attached to, which can have one only; for another network it is replaced",
            ),
            tags_field(),
        ];
        let doc = "The way of a network to the internet.";
        let mut schema = shared_schema("aws:ec2:InternetGateway", doc, Object::of(fields), 2);
        schema.outputs = vec![Output::new("internetGatewayId", "the id of the gateway")];
        schema
    }

    /// Another network gets another gateway: this one cannot leave its network while addresses there are mapped, which may be
    /// until that network goes. Where somebody has detached it, it is attached again.
    fn diff(&self, schema: &KindSchema, record: &Record, desired: &Desired) -> Diff {
        let mut diff = epid_provider::diff(schema, &record.applied, &desired.properties);
        let moves = diff.changes.iter_mut().filter(|change| {
            change.path.to_string() == "vpcId" && !change.before.is_null() && !change.after.is_null()
        });
        for change in moves {
            change.replace = match change.after.has_unknown() {
                true => Replace::IfChanged,
                false => Replace::Yes,
            };
        }
        diff
    }

    async fn observe(&self, cx: Cx<'_>, queries: &[&Query]) -> Vec<Result<Observed, Failure>> {
        observe::<Listed>(cx, queries, present).await
    }

    async fn create(&self, cx: Cx<'_>, inputs: &Value) -> Result<Recorded, Failure> {
        let request =
            Request::once("CreateInternetGateway").tagged("internet-gateway", &new_tags(cx, inputs));
        let made: Made<Listed> = cx.clients.ec2.call(cx.call, request).await?;
        let id = made.thing.internet_gateway_id;
        let begun = Begun::note(cx, &id, outputs(&id), "attach it to the network").await?;
        let gateway = begun.keep(appear::<Listed>(cx, &id).await)?;
        begun.keep(settle(cx, &gateway, inputs, inputs).await)?;
        Ok(Recorded::new(id.as_str(), outputs(&id)))
    }

    async fn update(&self, cx: Cx<'_>, record: &Record, inputs: &Value) -> Result<Recorded, Failure> {
        let gateway = known::<Listed>(cx, "internet gateway", &record.id).await?;
        settle(cx, &gateway, &record.sent(), inputs).await?;
        Ok(Recorded::new(record.id.clone(), outputs(&record.id)))
    }

    async fn delete(&self, cx: Cx<'_>, record: &Record) -> Result<(), Failure> {
        let gateway = seen::<Listed>(cx, &record.id).await?;
        if let Some(network) = gateway.as_ref().and_then(Listed::network) {
            detach(cx, &record.id, network).await?;
        }
        // Also where no read sees it: only the answer to this says that it is gone.
        let request = Request::repeatable("DeleteInternetGateway").with("InternetGatewayId", &record.id);
        take_away(cx, request, None).await?;
        vanish::<Listed>(cx, &record.id, 10).await
    }

    async fn find_created(&self, cx: Cx<'_>, intent: &Intent) -> Result<Option<Present>, Failure> {
        let found = by_token::<Listed>(cx, intent.token.as_str()).await?;
        Ok(found.as_ref().map(present))
    }
}
