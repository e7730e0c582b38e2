//! IAM: roles, policies and OpenID Connect providers of one account.
//!
//! Wire: the `query` protocol, API version 2010-05-08; element names, error codes and messages are those that AWS sends.
//! IAM shows its own writes at once; other services learn of them later, which [`RoleFacts`] lets them judge by its moments.
//! The one exception is kept: a role that is named as principal in a policy must have existed for a while.

mod account;
mod document;
mod managed;
mod oidc;
mod operations;
mod policy;
mod role;
mod role_policy;

#[cfg(test)]
mod tests;

use super::facts::{OidcFacts, RoleFacts};
use super::{ApiError, Aws, Call, Ids, Params, Reply, Tags, Xml};
use crate::Timestamp;
use crate::cloud::Principal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// State of IAM in one account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Iam {
    account: String,
    /// By name.
    roles: BTreeMap<String, role::Role>,
    /// Those of the account, by ARN; those of AWS are in [`managed`].
    policies: BTreeMap<String, policy::Policy>,
    /// By ARN.
    providers: BTreeMap<String, oidc::Provider>,
}

/// What an operation sees of the world around this room.
struct Cx<'a> {
    now: Timestamp,
    ids: &'a mut Ids,
    caller: &'a Principal,
}

/// Answers one call. One that fails leaves nothing behind.
pub(crate) fn handle(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let Some((_, operation, known)) = operations::ALL.iter().find(|(name, ..)| *name == call.operation)
    else {
        return super::absent::list(super::route::Service::Iam, call)
            .ok_or_else(|| ApiError::not_simulated("iam", &call.operation));
    };
    call.refuse_unknown("iam", known)?;
    let (mut next, mut ids) = (aws.iam.clone(), aws.ids.clone());
    let answer = operation(
        &mut next,
        &mut Cx {
            now,
            ids: &mut ids,
            caller: &call.caller,
        },
        &call.params,
    )?;
    (aws.iam, aws.ids) = (next, ids);
    Ok(Reply::Xml(answer))
}

impl Iam {
    /// An account without roles; AWS-managed policies exist.
    pub(crate) fn new(account: &str) -> Self {
        Self {
            account: account.to_owned(),
            roles: BTreeMap::new(),
            policies: BTreeMap::new(),
            providers: BTreeMap::new(),
        }
    }

    fn arn(&self, resource: &str) -> String {
        format!("arn:aws:iam::{}:{resource}", self.account)
    }

    /// A role by its ARN.
    pub(crate) fn role(&self, arn: &str) -> Option<RoleFacts> {
        let name = arn.rsplit('/').next()?;
        let role = self
            .roles
            .get(name)
            .filter(|role| self.role_arn(name, role) == arn)?;
        Some(self.role_facts(name, role))
    }

    /// An OpenID Connect provider by its URL without scheme.
    pub(crate) fn oidc_provider(&self, url: &str) -> Option<OidcFacts> {
        let arn = self.arn(&format!("oidc-provider/{url}"));
        self.providers.get(&arn).map(|provider| provider.facts(&arn))
    }

    /// Whether a policy exists: of the account or managed by AWS.
    pub(crate) fn policy_exists(&self, arn: &str) -> bool {
        self.policies.contains_key(arn) || managed::find(arn).is_some()
    }
}

fn no_such_entity(message: impl Into<String>) -> ApiError {
    ApiError::new(404, "NoSuchEntity", message)
}

fn already_exists(message: impl Into<String>) -> ApiError {
    ApiError::new(409, "EntityAlreadyExists", message)
}

fn delete_conflict(message: impl Into<String>) -> ApiError {
    ApiError::new(409, "DeleteConflict", message)
}

fn limit_exceeded(message: impl Into<String>) -> ApiError {
    ApiError::new(409, "LimitExceeded", message)
}

/// IAM's error for a parameter that breaks its constraints; `constraint` completes "Member must".
fn invalid(parameter: &str, value: &str, constraint: &str) -> ApiError {
    let message = format!(
        "1 validation error detected: Value '{value}' at '{parameter}' failed to satisfy constraint: Member must {constraint}"
    );
    ApiError::bad("ValidationError", message)
}

/// A name of a role or policy: `[\w+=,.@-]+`, at most `longest` characters.
fn name<'a>(params: &'a Params, key: &str, longest: usize) -> Result<&'a str, ApiError> {
    let name = params.require(key)?;
    let parameter = lower_first(key);
    if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c))
    {
        return Err(invalid(
            &parameter,
            name,
            r"satisfy regular expression pattern: [\w+=,.@-]+",
        ));
    }
    if name.len() > longest {
        return Err(invalid(
            &parameter,
            name,
            &format!("have length less than or equal to {longest}"),
        ));
    }
    Ok(name)
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}

/// A path: `/`, or printable ASCII between slashes; `/` when absent.
fn path(params: &Params) -> Result<&str, ApiError> {
    let path = params.get("Path").unwrap_or("/");
    let shaped = path.starts_with('/') && path.ends_with('/') && path.chars().all(|c| c.is_ascii_graphic());
    if !shaped || path.len() > 512 {
        let message = "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.";
        return Err(ApiError::bad("ValidationError", message));
    }
    Ok(path)
}

/// Tags of a create or tag call, checked.
fn tags(params: &Params) -> Result<Tags, ApiError> {
    let given = params.structs("Tags");
    let tags = params.tags("Tags");
    let mut folded: Vec<String> = given
        .iter()
        .filter_map(|tag| Some(tag.get("Key")?.to_lowercase()))
        .collect();
    folded.sort();
    if folded.windows(2).any(|pair| pair.first() == pair.last()) {
        let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
        return Err(ApiError::bad("InvalidInput", message));
    }
    for (key, value) in &tags {
        if key.is_empty() || key.chars().count() > 128 {
            return Err(invalid("tags.1.member.key", key, "have length between 1 and 128"));
        }
        if value.chars().count() > 256 {
            return Err(invalid(
                "tags.1.member.value",
                value,
                "have length less than or equal to 256",
            ));
        }
        if key.to_lowercase().starts_with("aws:") {
            return Err(ApiError::bad(
                "InvalidInput",
                "Tag keys beginning with aws: are reserved for AWS",
            ));
        }
    }
    within_tag_limit(&tags)?;
    Ok(tags)
}

fn within_tag_limit(tags: &Tags) -> Result<(), ApiError> {
    if tags.len() > 50 {
        return Err(limit_exceeded(
            "The number of tags has reached the maximum limit.",
        ));
    }
    Ok(())
}

/// What the Tag and Untag operations do to tags. Keys are compared without case; a new spelling replaces the old one.
fn retag(tags: &mut Tags, params: &Params) -> Result<Xml, ApiError> {
    let added = self::tags(params)?;
    let same = |one: &str, other: &str| one.to_lowercase() == other.to_lowercase();
    tags.retain(|key, _| !added.keys().any(|new| same(new, key)));
    tags.extend(added);
    for unwanted in params.list("TagKeys") {
        tags.retain(|key, _| !same(unwanted, key));
    }
    within_tag_limit(tags)?;
    Ok(Xml::new())
}

/// Writes one page of a list, `Marker` and `MaxItems` being the request's; the marker names the last item shown.
fn page<T>(
    xml: Xml,
    set: &str,
    params: &Params,
    items: impl IntoIterator<Item = (String, T)>,
    write: impl Fn(&str, T) -> Xml,
) -> Result<Xml, ApiError> {
    let (list, more) = page_items(params, items, write)?;
    Ok(truncation(xml.node(set, list), more))
}

fn page_items<T>(
    params: &Params,
    items: impl IntoIterator<Item = (String, T)>,
    write: impl Fn(&str, T) -> Xml,
) -> Result<(Xml, Option<String>), ApiError> {
    let size = match params.get("MaxItems") {
        None => 100,
        Some(text) => text
            .parse()
            .ok()
            .filter(|size| (1..=1_000).contains(size))
            .ok_or_else(|| invalid("maxItems", text, "have value between 1 and 1000"))?,
    };
    let after = match params.get("Marker") {
        None => None,
        Some(marker) => {
            let absent = || ApiError::bad("ValidationError", format!("Invalid Marker: {marker}"));
            Some(unseal(marker).ok_or_else(absent)?)
        }
    };
    let mut items = items
        .into_iter()
        .filter(|(key, _)| after.as_ref().is_none_or(|after| key > after));
    let (mut list, mut last) = (Xml::new(), None);
    for (key, item) in items.by_ref().take(size) {
        list = list.append(&write(&key, item));
        last = Some(key);
    }
    let more = items.next().is_some();
    Ok((list, last.filter(|_| more).map(|last| seal(&last))))
}

/// Answers the List…Tags operations.
fn tag_page(tags: &Tags, params: &Params) -> Result<Xml, ApiError> {
    let tags = tags.iter().map(|(key, value)| (key.clone(), value));
    page(Xml::new(), "Tags", params, tags, |key, value| {
        member(Xml::new().text("Key", key).text("Value", value))
    })
}

fn truncation(xml: Xml, marker: Option<String>) -> Xml {
    xml.text("IsTruncated", marker.is_some())
        .optional("Marker", marker)
}

fn member(content: Xml) -> Xml {
    Xml::new().node("member", content)
}

fn seal(last: &str) -> String {
    last.bytes().map(|byte| format!("{:02x}", byte ^ 0xa5)).collect()
}

fn unseal(marker: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = marker
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16)
                .ok()
                .map(|byte| byte ^ 0xa5)
        })
        .collect();
    String::from_utf8(bytes?).ok()
}
