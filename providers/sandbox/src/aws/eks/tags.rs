//! Tags of clusters, profiles, add-ons and access entries, by ARN.

use super::text_map;
use crate::Timestamp;
use crate::aws::{ApiError, Aws, Call, Reply, Tags};
use serde_json::json;

fn tags_of<'a>(aws: &'a mut Aws, arn: &str) -> Result<&'a mut Tags, ApiError> {
    let missing = || {
        ApiError::new(
            404,
            "NotFoundException",
            format!("No resource found for ARN: {arn}"),
        )
    };
    // arn:aws:eks:REGION:ACCOUNT:KIND/CLUSTER[/NAME/...]
    let resource = arn
        .splitn(6, ':')
        .nth(5)
        .ok_or_else(|| ApiError::bad("BadRequestException", format!("Invalid resource ARN: {arn}")))?;
    let mut parts = resource.split('/');
    let (kind, cluster) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let name = parts.next().unwrap_or_default();
    let cluster = aws.eks.clusters.get_mut(cluster).ok_or_else(missing)?;
    match kind {
        "cluster" => Some(&mut cluster.tags),
        "fargateprofile" => cluster.profiles.get_mut(name).map(|profile| &mut profile.tags),
        "addon" => cluster.addons.get_mut(name).map(|addon| &mut addon.tags),
        "access-entry" => cluster
            .entries
            .values_mut()
            .find(|entry| entry.arn() == arn)
            .map(|entry| &mut entry.tags),
        _ => None,
    }
    .ok_or_else(missing)
}

/// TagResource.
pub(super) fn tag(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let given = text_map(&call.json, "tags");
    if let Some(key) = given.keys().find(|key| key.starts_with("aws:")) {
        let message = format!("The tag key {key} has the prefix aws:, which is reserved");
        return Err(ApiError::bad("BadRequestException", message));
    }
    tags_of(aws, call.segment(1))?.extend(given);
    Ok(Reply::Json(json!({})))
}

/// UntagResource.
pub(super) fn untag(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let tags = tags_of(aws, call.segment(1))?;
    for key in call.query_values("tagKeys") {
        tags.remove(key);
    }
    Ok(Reply::Json(json!({})))
}

/// ListTagsForResource.
pub(super) fn list(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let tags = tags_of(aws, call.segment(1))?;
    Ok(Reply::Json(json!({"tags": tags})))
}
