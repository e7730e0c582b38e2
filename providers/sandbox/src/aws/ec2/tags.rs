//! Tags, and which kind of resource an id names.

use super::super::{ApiError, Params, Tags, Xml};
use super::describe::{Filters, Page, Resource};
use super::{Cx, Ec2, done};

/// Most tags on one resource.
const MOST: usize = 50;

/// The resource type that EC2 calls by each prefix of an id.
const TYPES: &[(&str, &str)] = &[
    ("acl", "network-acl"),
    ("eipalloc", "elastic-ip"),
    ("eni", "network-interface"),
    ("igw", "internet-gateway"),
    ("nat", "natgateway"),
    ("rtb", "route-table"),
    ("sg", "security-group"),
    ("sgr", "security-group-rule"),
    ("subnet", "subnet"),
    ("vpc", "vpc"),
];

fn resource_type(id: &str) -> &'static str {
    let prefix = id.split('-').next().unwrap_or_default();
    TYPES
        .iter()
        .find(|(known, _)| *known == prefix)
        .map_or("", |(_, name)| *name)
}

/// The tags that a create asks for. A specification for another type than the one created is an error.
pub(super) fn specified(params: &Params, resource_type: &str) -> Result<Tags, ApiError> {
    for specification in params.structs("TagSpecification") {
        let asked = specification.get("ResourceType").unwrap_or_default();
        if asked != resource_type {
            let message = format!("'{asked}' is not a valid taggable resource type for this operation.");
            return Err(ApiError::bad("InvalidParameterValue", message));
        }
    }
    let tags = params.tag_specification(resource_type);
    check(&tags)?;
    Ok(tags)
}

fn check(tags: &Tags) -> Result<(), ApiError> {
    if tags.len() > MOST {
        return Err(ApiError::bad(
            "TagLimitExceeded",
            format!("More than {MOST} tags specified"),
        ));
    }
    for (key, value) in tags {
        let problem = if key.to_ascii_lowercase().starts_with("aws:") {
            "Tag keys starting with 'aws:' are reserved for internal use".to_owned()
        } else if key.is_empty() || key.chars().count() > 128 {
            format!("Tag key '{key}' must be between 1 and 128 characters long")
        } else if value.chars().count() > 256 {
            format!("The value of tag '{key}' exceeds the maximum length of 256 characters")
        } else {
            continue;
        };
        return Err(ApiError::bad("InvalidParameterValue", problem));
    }
    Ok(())
}

/// The error for an id of any kind that does not exist.
fn absent(id: &str) -> ApiError {
    fn of<R: Resource>(id: &str) -> ApiError {
        ApiError::bad(R::NOT_FOUND, R::absent(id))
    }
    match resource_type(id) {
        "network-acl" => of::<super::network_acl::NetworkAcl>(id),
        "elastic-ip" => of::<super::address::Address>(id),
        "network-interface" => of::<super::interface::Interface>(id),
        "internet-gateway" => of::<super::gateway::InternetGateway>(id),
        "natgateway" => of::<super::nat::NatGateway>(id),
        "route-table" => of::<super::route_table::RouteTable>(id),
        "security-group" => of::<super::security_group::SecurityGroup>(id),
        "security-group-rule" => of::<super::rule::Rule>(id),
        "subnet" => of::<super::subnet::Subnet>(id),
        "vpc" => of::<super::vpc::Vpc>(id),
        _ => ApiError::bad("InvalidID", format!("The ID '{id}' is not valid")),
    }
}

pub(super) fn create(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    params.require("ResourceId.1")?;
    params.require("Tag.1.Key")?;
    let tags = params.tags("Tag");
    check(&tags)?;
    for id in params.list("ResourceId") {
        let label = ec2.labels.get_mut(id).ok_or_else(|| absent(id))?;
        label.tags.extend(tags.clone());
        if label.tags.len() > MOST {
            let message = format!("The resource {id} would have more than {MOST} tags");
            return Err(ApiError::bad("TagLimitExceeded", message));
        }
    }
    Ok(done())
}

/// A tag without a value goes whatever its value; with a value only if that is its value; no tags at all: every tag goes.
pub(super) fn delete(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    params.require("ResourceId.1")?;
    let unwanted = params.structs("Tag");
    for id in params.list("ResourceId") {
        let label = ec2.labels.get_mut(id).ok_or_else(|| absent(id))?;
        label.tags.retain(|key, value| {
            key.starts_with("aws:")
                || !(unwanted.is_empty()
                    || unwanted.iter().any(|tag| {
                        tag.get("Key") == Some(key) && tag.get("Value").is_none_or(|other| other == value)
                    }))
        });
    }
    Ok(done())
}

pub(super) fn describe(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let filters = Filters::read(params, &["key", "resource-id", "resource-type", "value"])?;
    let page = Page::read(params, Some(5), "ResourceId", false)?;
    let mut rows = Vec::new();
    for (id, label) in ec2.labels.iter().filter(|(id, _)| ec2.visible(cx.now, id)) {
        for (key, value) in &label.tags {
            let facts = || {
                vec![
                    ("key", key.clone()),
                    ("resource-id", id.clone()),
                    ("resource-type", resource_type(id).to_owned()),
                    ("value", value.clone()),
                ]
            };
            if filters.accept(ec2, id, facts) {
                rows.push((format!("{id}/{key}"), id, key, value));
            }
        }
    }
    Ok(page.write(
        "tagSet",
        rows.into_iter(),
        |(at, ..)| at,
        |(_, id, key, value)| {
            Xml::new()
                .text("key", key)
                .text("resourceId", id)
                .text("resourceType", resource_type(id))
                .text("value", value)
        },
    ))
}
