//! `aws:ec2:NatGateway`: minutes to make, and it may fail after it was accepted.

use std::time::Duration;

use async_trait::async_trait;
use epid_provider::{
    Durations, Failure, Field, Intent, KindSchema, Object, Observed, Output, Present, Problem, Query, Record,
    Recorded, Type, Value,
};
use serde::Deserialize;

use super::client::{Items, Request};
use super::describe::{
    Begun, Made, Tag, Thing, by_token, gone, new_tags, observe, owner, patiently, settle_tags, tags_of,
    take_away,
};
use super::{shared_schema, tags_field};
use crate::inputs::{map, require, text};
use crate::kind::{Cx, ResourceKind};
use crate::tags::{self, Tags};
use crate::wait::{PROPAGATION, Pace, UNSEEN};

/// The way of private subnets to the internet.
pub(super) struct NatGateway;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    nat_gateway_id: String,
    subnet_id: String,
    state: String,
    #[serde(default)]
    connectivity_type: Option<String>,
    #[serde(default)]
    failure_code: Option<String>,
    #[serde(default)]
    failure_message: Option<String>,
    #[serde(default)]
    nat_gateway_address_set: Items<Address>,
    #[serde(default)]
    tag_set: Items<Tag>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Address {
    allocation_id: Option<String>,
    public_ip: Option<String>,
    private_ip: Option<String>,
}

impl Listed {
    fn address(&self) -> Address {
        self.nat_gateway_address_set
            .list
            .first()
            .cloned()
            .unwrap_or_default()
    }
}

impl Thing for Listed {
    const DESCRIBE: &'static str = "DescribeNatGateways";
    const FILTER: &'static str = "nat-gateway-id";

    fn id(&self) -> &str {
        &self.nat_gateway_id
    }

    fn tags(&self) -> Tags {
        tags_of(&self.tag_set)
    }

    /// A deleted one stays listed for an hour, and so does a failed one, which does nothing and costs nothing.
    fn is_gone(&self) -> bool {
        matches!(self.state.as_str(), "deleted" | "failed")
    }
}

fn present(nat: &Listed) -> Present {
    let address = nat.address();
    let kind = nat.connectivity_type.as_deref().unwrap_or("public");
    Present {
        id: nat.nat_gateway_id.as_str().into(),
        properties: map([
            ("subnetId", Some(Value::str(&nat.subnet_id))),
            ("allocationId", address.allocation_id.map(Value::from)),
            ("connectivityType", Some(Value::str(kind))),
            ("tags", Some(tags::observed(&nat.tags()))),
        ]),
        outputs: outputs(nat),
        owner: owner(nat),
    }
}

fn outputs(nat: &Listed) -> Value {
    let address = nat.address();
    map([
        ("natGatewayId", Some(Value::str(&nat.nat_gateway_id))),
        ("publicIp", address.public_ip.map(Value::from)),
        ("privateIp", address.private_ip.map(Value::from)),
    ])
}

fn recorded(nat: &Listed) -> Recorded {
    Recorded::new(nat.nat_gateway_id.as_str(), outputs(nat))
}

/// The gateway in whatever state it is, failed and deleted ones included.
async fn look(cx: Cx<'_>, id: &str) -> Result<Option<Listed>, Failure> {
    let request = Request::repeatable(Listed::DESCRIBE).filter(1, Listed::FILTER, [id]);
    Ok(super::describe::pages(cx, request).await?.into_iter().next())
}

/// The gateway in whatever state it is; it is not listed only where that is said for a while.
async fn listed(cx: Cx<'_>, id: &str) -> Result<Option<Listed>, Failure> {
    let mut pace = Pace::seconds(1, 4);
    loop {
        let found = look(cx, id).await?;
        if found.is_some() || pace.waited(cx.call) >= UNSEEN {
            return Ok(found);
        }
        pace.rest(cx.call, &format!("EC2 does not list {id}: looking again"))
            .await?;
    }
}

/// How a wait for a gateway ended.
enum Ended {
    Available(Box<Listed>),
    /// It will never be available; it leaves nothing.
    Failed(Failure),
}

/// Waits until it is available, or has failed.
async fn wait(cx: Cx<'_>, id: &str) -> Result<Ended, Failure> {
    let mut pace = Pace::seconds(3, 15);
    loop {
        let nat = look(cx, id).await?;
        match nat.as_ref().map(|nat| nat.state.as_str()) {
            Some("available") => {
                if let Some(nat) = nat {
                    return Ok(Ended::Available(Box::new(nat)));
                }
            }
            Some("failed" | "deleting" | "deleted") => {
                return Ok(Ended::Failed(failed(id, nat.as_ref())));
            }
            None if pace.waited(cx.call) >= PROPAGATION => {
                let message = format!("{id} was made, but EC2 does not list it");
                return Err(Failure::new("NotVisible", message));
            }
            _ => pace.rest(cx.call, "pending").await?,
        }
    }
}

fn failed(id: &str, nat: Option<&Listed>) -> Failure {
    let said = |text: Option<&String>| text.cloned().unwrap_or_default();
    let code = said(nat.and_then(|nat| nat.failure_code.as_ref()));
    let why = said(nat.and_then(|nat| nat.failure_message.as_ref()));
    let hint = match code.as_str() {
        "Gateway.NotAttached" => {
            "its network needs an attached internet gateway first: add `dependsOn` on it"
        }
        "Resource.AlreadyAssociated" => "its address is in use elsewhere: give it another one",
        "InsufficientFreeAddressesInSubnet" => "its subnet has no free address: use another or a larger one",
        _ => "correct the cause, then run the same command again",
    };
    let code = if code.is_empty() {
        "NatGatewayFailed".to_owned()
    } else {
        code
    };
    Failure::new(code, format_args!("the NAT gateway {id} failed: {why}")).with_hint(hint)
}

#[async_trait]
impl ResourceKind for NatGateway {
    fn schema(&self) -> KindSchema {
        let fields = [
            Field::new("subnetId", Type::String)
                .required()
                .immutable()
                .doc("the subnet it stands in; a public one, with a route to an internet gateway"),
            Field::new("allocationId", Type::String)
                .immutable()
                .exclusive()
                .doc("the address it speaks from; needed unless it is private"),
            Field::new("connectivityType", Type::one_of(&["public", "private"]))
                .default("public")
                .immutable(),
            tags_field(),
        ];
        let doc = "The way of private subnets to the internet.";
        let mut schema = shared_schema("aws:ec2:NatGateway", doc, Object::of(fields), 2);
        schema.outputs = vec![
            Output::new("natGatewayId", "the id of the gateway"),
            Output::new("publicIp", "the address it speaks from"),
            Output::new("privateIp", "its address in the subnet"),
        ];
        schema.expected = Durations {
            create: Duration::from_secs(100),
            update: Duration::from_secs(2),
            delete: Duration::from_secs(70),
        };
        schema.timeouts.create = Duration::from_secs(900);
        schema
    }

    fn check(&self, properties: &Value) -> Vec<Problem> {
        let private = text(properties, "connectivityType") == Some("private");
        let given = properties.get("allocationId").is_some_and(|id| !id.is_null());
        let at = epid_provider::Path::root();
        match (private, given) {
            (true, true) => vec![Problem::new(
                at.key("allocationId"),
                "a private NAT gateway takes no `allocationId`",
            )],
            (false, false)
                if properties
                    .get("connectivityType")
                    .is_none_or(|kind| !kind.has_unknown()) =>
            {
                vec![
                    Problem::new(at, "a public NAT gateway needs an `allocationId`")
                        .with_hint("give it that of an aws:ec2:Eip"),
                ]
            }
            _ => Vec::new(),
        }
    }

    async fn observe(&self, cx: Cx<'_>, queries: &[&Query]) -> Vec<Result<Observed, Failure>> {
        observe::<Listed>(cx, queries, present).await
    }

    async fn create(&self, cx: Cx<'_>, inputs: &Value) -> Result<Recorded, Failure> {
        let request = Request::repeatable("CreateNatGateway")
            .with("SubnetId", require(inputs, "subnetId")?)
            .maybe("AllocationId", text(inputs, "allocationId"))
            .maybe("ConnectivityType", text(inputs, "connectivityType"))
            .with("ClientToken", &cx.call.token)
            .tagged("natgateway", &new_tags(cx, inputs));
        let made: Made<Listed> = patiently(cx, request).await?;
        let id = made.thing.nat_gateway_id.clone();
        let begun = Begun::note(cx, &id, outputs(&made.thing), "wait until it is available").await?;
        match begun.keep(wait(cx, &id).await)? {
            Ended::Available(nat) => Ok(recorded(&nat)),
            // Not half made: it never will be, and EC2 sweeps it away.
            Ended::Failed(failure) => Err(failure),
        }
    }

    async fn update(&self, cx: Cx<'_>, record: &Record, inputs: &Value) -> Result<Recorded, Failure> {
        let nat = match wait(cx, &record.id).await? {
            Ended::Available(nat) => nat,
            Ended::Failed(_) => return Err(gone("NAT gateway", &record.id)),
        };
        settle_tags(cx, &*nat, &record.sent(), inputs).await?;
        Ok(recorded(&nat))
    }

    async fn delete(&self, cx: Cx<'_>, record: &Record) -> Result<(), Failure> {
        let request = Request::repeatable("DeleteNatGateway").with("NatGatewayId", &record.id);
        if take_away(cx, request, None).await? {
            return Ok(());
        }
        let mut pace = Pace::seconds(1, 15);
        // It goes slowly, and until it has gone it holds its address and its subnet. One that is gone stays listed.
        while listed(cx, &record.id).await?.is_some_and(|nat| !nat.is_gone()) {
            let phrase = format!("waiting until {} is gone", record.id);
            pace.rest(cx.call, &phrase).await?;
        }
        Ok(())
    }

    async fn find_created(&self, cx: Cx<'_>, intent: &Intent) -> Result<Option<Present>, Failure> {
        let Some(nat) = by_token::<Listed>(cx, intent.token.as_str()).await? else {
            return Ok(None);
        };
        match wait(cx, &nat.nat_gateway_id).await? {
            Ended::Available(nat) => Ok(Some(present(&nat))),
            Ended::Failed(_) => Ok(None),
        }
    }
}
