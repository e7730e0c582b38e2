//! `aws:ec2:AvailabilityZones`, a lookup: the zones of the region, in a lasting order.

use async_trait::async_trait;
use epid_provider::{
    Failure, Field, Intent, KindSchema, Object, Observed, Output, Path, Present, Problem, Query, Record,
    Recorded, Type, Value,
};
use serde::Deserialize;

use super::client::Request;
use super::describe::pages;
use super::shared_schema;
use crate::inputs::{bool, int, list, map};
use crate::kind::{Cx, ResourceKind};

/// Zones in which EKS makes no control planes,
/// <https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html>.
const WITHOUT_EKS: &[&str] = &["use1-az3", "usw1-az2", "cac1-az3"];

/// The zones of the region.
pub(super) struct AvailabilityZones;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    zone_name: String,
    zone_id: String,
}

/// The zones that inputs ask for, by zone id: unlike names, ids mean the same place in every account.
async fn look(cx: Cx<'_>, inputs: &Value) -> Result<Present, Failure> {
    let request = Request::repeatable("DescribeAvailabilityZones")
        .filter(1, "state", ["available"])
        .filter(2, "zone-type", ["availability-zone"])
        .filter(3, "region-name", [&cx.clients.region]);
    let mut zones: Vec<Listed> = pages(cx, request).await?;
    zones.sort_by(|a, b| a.zone_id.cmp(&b.zone_id));
    if bool(inputs, "forEks").unwrap_or(false) {
        zones.retain(|zone| !WITHOUT_EKS.contains(&zone.zone_id.as_str()));
    }
    if let Some(count) = int(inputs, "count").and_then(|count| usize::try_from(count).ok()) {
        if zones.len() < count {
            let message = format!(
                "{} has {} usable zones, not {count}",
                cx.clients.region,
                zones.len()
            );
            return Err(Failure::new("TooFewZones", message).with_hint("ask for fewer zones with `count`"));
        }
        zones.truncate(count);
    }
    Ok(Present {
        id: cx.clients.region.as_str().into(),
        properties: inputs.clone(),
        outputs: map([
            ("names", Some(list(zones.iter().map(|zone| &zone.zone_name)))),
            ("zoneIds", Some(list(zones.iter().map(|zone| &zone.zone_id)))),
        ]),
        owner: None,
    })
}

#[async_trait]
impl ResourceKind for AvailabilityZones {
    fn schema(&self) -> KindSchema {
        let fields = [
            Field::new("forEks", Type::Bool)
                .default(false)
                .doc("leave out the zones in which EKS makes no control planes"),
            Field::new("count", Type::Int).doc("how many; all where it is not given"),
        ];
        let doc = "The availability zones of the region, ordered by zone id.";
        let mut schema = shared_schema("aws:ec2:AvailabilityZones", doc, Object::of(fields), 1);
        schema.lookup = true;
        schema.outputs = vec![
            Output::new("names", "their names: us-east-1a").changes_with(&["*"]),
            Output::new("zoneIds", "their ids, the same in every account: use1-az1").changes_with(&["*"]),
        ];
        schema
    }

    fn check(&self, properties: &Value) -> Vec<Problem> {
        match int(properties, "count") {
            Some(count) if count < 1 => {
                vec![Problem::new(
                    Path::root().key("count"),
                    "`count` must be at least 1",
                )]
            }
            _ => Vec::new(),
        }
    }

    async fn observe(&self, cx: Cx<'_>, queries: &[&Query]) -> Vec<Result<Observed, Failure>> {
        let answers = queries.iter().map(|query| async move {
            let inputs = match query {
                Query::Record(record) => record.applied.clone(),
                Query::Inputs { inputs, .. } => inputs.reveal(),
                Query::Id { .. } => Value::map::<&str>([]),
            };
            look(cx, &inputs)
                .await
                .map(|present| Observed::Present(Box::new(present)))
        });
        futures::future::join_all(answers).await
    }

    async fn create(&self, cx: Cx<'_>, inputs: &Value) -> Result<Recorded, Failure> {
        let found = look(cx, inputs).await?;
        Ok(Recorded::new(found.id, found.outputs))
    }

    async fn update(&self, cx: Cx<'_>, _record: &Record, inputs: &Value) -> Result<Recorded, Failure> {
        self.create(cx, inputs).await
    }

    async fn delete(&self, _cx: Cx<'_>, _record: &Record) -> Result<(), Failure> {
        Ok(())
    }

    async fn find_created(&self, cx: Cx<'_>, intent: &Intent) -> Result<Option<Present>, Failure> {
        look(cx, &intent.inputs.reveal()).await.map(Some)
    }
}
