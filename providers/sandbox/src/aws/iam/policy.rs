//! Managed policies and their versions.

use super::super::{ApiError, Params, Tags, Xml};
use super::document::{check_permissions, encoded};
use super::managed;
use super::{
    Cx, Iam, already_exists, delete_conflict, invalid, limit_exceeded, member, name, no_such_entity, page,
    page_items, path, retag, tags, truncation,
};
use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Versions that a policy may have at once.
const MOST_VERSIONS: usize = 5;

/// A policy of the account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Policy {
    id: String,
    description: Option<String>,
    created: Timestamp,
    updated: Timestamp,
    /// By number; numbers are never used again.
    versions: BTreeMap<u32, Version>,
    default: u32,
    next: u32,
    tags: Tags,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Version {
    document: String,
    created: Timestamp,
}

impl Policy {
    /// The document of the default version.
    pub(super) fn document(&self) -> &str {
        self.versions
            .get(&self.default)
            .map_or("", |version| &version.document)
    }

    /// Since when the default version is the default one.
    pub(super) fn since(&self) -> Timestamp {
        self.updated
    }

    fn write_version(&self, number: u32, version: &Version, with_document: bool) -> Xml {
        let document = with_document.then(|| encoded(&version.document));
        Xml::new()
            .optional("Document", document)
            .text("VersionId", format!("v{number}"))
            .text("IsDefaultVersion", number == self.default)
            .text("CreateDate", version.created.rfc3339())
    }
}

/// The name in a policy's ARN.
pub(super) fn name_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

/// The path in a policy's ARN, with both slashes.
pub(super) fn path_of(arn: &str) -> &str {
    let resource = arn.split_once(":policy").map_or("/", |(_, resource)| resource);
    resource
        .get(..=resource.rfind('/').unwrap_or_default())
        .unwrap_or("/")
}

/// The request's `PolicyArn`.
pub(super) fn arn(params: &Params) -> Result<&str, ApiError> {
    let arn = params.require("PolicyArn")?;
    if !arn.starts_with("arn:") || !arn.contains(":policy/") {
        return Err(ApiError::bad("InvalidInput", format!("ARN {arn} is not valid.")));
    }
    Ok(arn)
}

fn absent(arn: &str) -> ApiError {
    no_such_entity(format!("Policy {arn} was not found."))
}

impl Iam {
    fn policy(&self, arn: &str) -> Result<&Policy, ApiError> {
        self.policies.get(arn).ok_or_else(|| absent(arn))
    }

    /// A policy to be changed: AWS's own cannot be.
    fn policy_mut(&mut self, arn: &str) -> Result<&mut Policy, ApiError> {
        if managed::find(arn).is_some() {
            let message = format!("Policy {arn} is managed by AWS and cannot be changed");
            return Err(ApiError::new(403, "AccessDenied", message));
        }
        self.policies.get_mut(arn).ok_or_else(|| absent(arn))
    }

    fn attachments(&self, arn: &str) -> usize {
        self.roles
            .values()
            .filter(|role| role.attached.contains_key(arn))
            .count()
    }

    /// The policy's elements; lists leave out description and tags.
    fn write_policy(&self, arn: &str, whole: bool) -> Result<Xml, ApiError> {
        let head = Xml::new().text("PolicyName", name_of(arn));
        let usage = |xml: Xml| {
            xml.text("AttachmentCount", self.attachments(arn))
                .text("PermissionsBoundaryUsageCount", 0)
                .text("IsAttachable", true)
        };
        if let Some(policy) = managed::find(arn) {
            let xml = head
                .text("PolicyId", policy.id())
                .text("Arn", arn)
                .text("Path", path_of(arn));
            return Ok(usage(xml.text("DefaultVersionId", "v1"))
                .text("CreateDate", managed::CREATED)
                .text("UpdateDate", managed::CREATED));
        }
        let policy = self.policy(arn)?;
        let xml = head
            .text("PolicyId", &policy.id)
            .text("Arn", arn)
            .text("Path", path_of(arn));
        let xml = usage(xml.text("DefaultVersionId", format!("v{}", policy.default)))
            .optional("Description", policy.description.as_ref().filter(|_| whole))
            .text("CreateDate", policy.created.rfc3339())
            .text("UpdateDate", policy.updated.rfc3339());
        Ok(if whole && !policy.tags.is_empty() {
            xml.tag_members(&policy.tags)
        } else {
            xml
        })
    }
}

pub(super) fn create(iam: &mut Iam, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let name = name(params, "PolicyName", 128)?;
    let document = params.require("PolicyDocument")?;
    let path = path(params)?;
    let taken = |arn: &String| name_of(arn).eq_ignore_ascii_case(name);
    if iam.policies.keys().any(taken) {
        return Err(already_exists(format!(
            "A policy called {name} already exists. Duplicate names are not allowed."
        )));
    }
    check_permissions(document, true)?;
    let description = params.get("Description").filter(|text| !text.is_empty());
    if let Some(text) = description.filter(|text| text.chars().count() > 1_000) {
        return Err(invalid(
            "description",
            text,
            "have length less than or equal to 1000",
        ));
    }
    let version = Version {
        document: document.to_owned(),
        created: cx.now,
    };
    let policy = Policy {
        id: cx.ids.base32("ANPA", 17),
        description: description.map(str::to_owned),
        created: cx.now,
        updated: cx.now,
        versions: BTreeMap::from([(1, version)]),
        default: 1,
        next: 2,
        tags: tags(params)?,
    };
    let arn = iam.arn(&format!("policy{path}{name}"));
    iam.policies.insert(arn.clone(), policy);
    Ok(Xml::new().node("Policy", iam.write_policy(&arn, true)?))
}

pub(super) fn get(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    Ok(Xml::new().node("Policy", iam.write_policy(arn(params)?, true)?))
}

pub(super) fn list(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let scope = params.get("Scope").unwrap_or("All");
    let prefix = params.get("PathPrefix").unwrap_or("/");
    let own = iam.policies.keys().filter(|_| scope != "AWS").cloned();
    let aws = managed::all().filter(|_| scope != "Local");
    let mut arns: Vec<String> = own
        .chain(aws)
        .filter(|arn| path_of(arn).starts_with(prefix))
        .filter(|arn| params.bool("OnlyAttached") != Some(true) || iam.attachments(arn) > 0)
        .collect();
    arns.sort();
    page(
        Xml::new(),
        "Policies",
        params,
        arns.into_iter().map(|arn| (arn, ())),
        |arn, ()| member(iam.write_policy(arn, false).unwrap_or_default()),
    )
}

pub(super) fn delete(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let arn = arn(params)?;
    let versions = iam.policy_mut(arn)?.versions.len();
    if iam.attachments(arn) > 0 {
        return Err(delete_conflict("Cannot delete a policy attached to entities."));
    }
    if versions > 1 {
        return Err(delete_conflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.",
        ));
    }
    iam.policies.remove(arn);
    Ok(Xml::new())
}

pub(super) fn create_version(iam: &mut Iam, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let document = params.require("PolicyDocument")?;
    let policy = iam.policy_mut(arn(params)?)?;
    check_permissions(document, true)?;
    if policy.versions.len() >= MOST_VERSIONS {
        return Err(limit_exceeded(
            "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.",
        ));
    }
    let number = policy.next;
    let version = Version {
        document: document.to_owned(),
        created: cx.now,
    };
    policy.next += 1;
    if params.bool("SetAsDefault") == Some(true) {
        policy.default = number;
        policy.updated = cx.now;
    }
    let answer = policy.write_version(number, &version, false);
    policy.versions.insert(number, version);
    Ok(Xml::new().node("PolicyVersion", answer))
}

/// The number of the request's `VersionId`, which must be one of the policy's.
fn version(policy: &Policy, arn: &str, params: &Params) -> Result<u32, ApiError> {
    let id = params.require("VersionId")?;
    let number = id
        .strip_prefix('v')
        .and_then(|number| number.split('.').next()?.parse().ok());
    let Some(number) = number else {
        return Err(invalid(
            "versionId",
            id,
            r"satisfy regular expression pattern: v[1-9][0-9]*(\.[A-Za-z0-9-]*)?",
        ));
    };
    if !policy.versions.contains_key(&number) {
        return Err(no_such_entity(format!(
            "Policy {arn} version {id} does not exist or is not attachable."
        )));
    }
    Ok(number)
}

pub(super) fn get_version(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let arn = arn(params)?;
    if let Some(policy) = managed::find(arn) {
        if params.require("VersionId")? != "v1" {
            return Err(absent(arn));
        }
        let version = managed::write_version().text("Document", encoded(&policy.document().to_string()));
        return Ok(Xml::new().node("PolicyVersion", version));
    }
    let policy = iam.policy(arn)?;
    let number = version(policy, arn, params)?;
    let found = policy
        .versions
        .get(&number)
        .map(|found| policy.write_version(number, found, true));
    Ok(Xml::new().node("PolicyVersion", found.unwrap_or_default()))
}

/// Newest first.
pub(super) fn list_versions(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let arn = arn(params)?;
    if managed::find(arn).is_some() {
        return Ok(truncation(
            Xml::new().node("Versions", member(managed::write_version())),
            None,
        ));
    }
    let policy = iam.policy(arn)?;
    let versions = policy
        .versions
        .iter()
        .rev()
        .map(|(number, version)| (format!("{:010}", u32::MAX - number), (*number, version)));
    page(
        Xml::new(),
        "Versions",
        params,
        versions,
        |_, (number, version)| member(policy.write_version(number, version, false)),
    )
}

pub(super) fn delete_version(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let arn = arn(params)?;
    let policy = iam.policy_mut(arn)?;
    let number = version(policy, arn, params)?;
    if number == policy.default {
        return Err(delete_conflict("Cannot delete the default version of a policy."));
    }
    policy.versions.remove(&number);
    Ok(Xml::new())
}

pub(super) fn set_default_version(iam: &mut Iam, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let arn = arn(params)?;
    let policy = iam.policy_mut(arn)?;
    policy.default = version(policy, arn, params)?;
    policy.updated = cx.now;
    Ok(Xml::new())
}

pub(super) fn tag(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    retag(&mut iam.policy_mut(arn(params)?)?.tags, params)
}

pub(super) fn untag(iam: &mut Iam, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    tag(iam, cx, params)
}

pub(super) fn list_tags(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let arn = arn(params)?;
    if managed::find(arn).is_some() {
        return super::tag_page(&Tags::new(), params);
    }
    super::tag_page(&iam.policy(arn)?.tags, params)
}

pub(super) fn list_entities(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let arn = arn(params)?;
    if !iam.policy_exists(arn) {
        return Err(absent(arn));
    }
    let shown = params.get("EntityFilter").is_none_or(|filter| filter == "Role");
    let roles = iam
        .roles
        .iter()
        .filter(|(_, role)| shown && role.attached.contains_key(arn));
    let (roles, marker) = page_items(
        params,
        roles.map(|(name, role)| (name.clone(), role)),
        |name, role| member(Xml::new().text("RoleName", name).text("RoleId", role.id())),
    )?;
    let xml = Xml::new()
        .node("PolicyGroups", Xml::new())
        .node("PolicyUsers", Xml::new())
        .node("PolicyRoles", roles);
    Ok(truncation(xml, marker))
}
