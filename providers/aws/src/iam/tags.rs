//! Tags in IAM's shape.

use aws_sdk_iam::types::Tag;
use epid_provider::Failure;

use crate::tags::Tags;

/// Tags to send.
///
/// # Errors
/// Where a key or value is missing, which the types rule out.
pub(super) fn to_iam(tags: Tags) -> Result<Vec<Tag>, Failure> {
    tags.into_iter()
        .map(|(key, value)| {
            Tag::builder()
                .key(key)
                .value(value)
                .build()
                .map_err(|error| Failure::new("InvalidInput", error))
        })
        .collect()
}

/// Tags that were read.
pub(super) fn from_iam(tags: Option<&[Tag]>) -> Tags {
    tags.unwrap_or_default()
        .iter()
        .map(|tag| (tag.key.clone(), tag.value.clone()))
        .collect()
}
