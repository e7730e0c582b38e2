//! Roles.

use super::super::facts::RoleFacts;
use super::super::{ApiError, Params, Tags, Xml};
use super::document::{check_trust, encoded};
use super::{
    Cx, Iam, already_exists, delete_conflict, invalid, managed, member, name, no_such_entity, page, path,
    retag, tags, truncation,
};
use crate::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A role.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Role {
    pub(super) created: Timestamp,
    /// ARNs of managed policies, with the moment of attachment.
    pub(super) attached: BTreeMap<String, Timestamp>,
    /// Inline policies by name: the document, and since when.
    pub(super) inline: BTreeMap<String, (String, Timestamp)>,
    path: String,
    id: String,
    trust: String,
    trust_since: Timestamp,
    description: Option<String>,
    max_session: u32,
    boundary: Option<String>,
    tags: Tags,
}

impl Iam {
    pub(super) fn find_role(&self, name: &str) -> Result<&Role, ApiError> {
        self.roles.get(name).ok_or_else(|| absent(name))
    }

    pub(super) fn role_mut(&mut self, name: &str) -> Result<&mut Role, ApiError> {
        self.roles.get_mut(name).ok_or_else(|| absent(name))
    }

    pub(super) fn role_arn(&self, name: &str, role: &Role) -> String {
        self.arn(&format!("role{}{name}", role.path))
    }

    pub(super) fn role_facts(&self, name: &str, role: &Role) -> RoleFacts {
        let parse = |document: &str| serde_json::from_str(document).unwrap_or(Value::Null);
        let of_attached = role.attached.iter().filter_map(|(arn, since)| {
            let own = self
                .policies
                .get(arn)
                .map(|policy| (parse(policy.document()), policy.since().max(*since)));
            own.or_else(|| managed::find(arn).map(|policy| (policy.document(), *since)))
        });
        let of_inline = role
            .inline
            .values()
            .map(|(document, since)| (parse(document), *since));
        RoleFacts {
            arn: self.role_arn(name, role),
            name: name.to_owned(),
            path: role.path.clone(),
            id: role.id.clone(),
            trust: parse(&role.trust),
            trust_since: role.trust_since,
            attached: role
                .attached
                .iter()
                .map(|(arn, since)| (arn.clone(), *since))
                .collect(),
            permissions: of_attached.chain(of_inline).collect(),
        }
    }

    /// The role's elements; lists leave out tags and the permissions boundary.
    fn write_role(&self, name: &str, role: &Role, whole: bool) -> Xml {
        let xml = Xml::new()
            .text("Path", &role.path)
            .text("RoleName", name)
            .text("RoleId", &role.id)
            .text("Arn", self.role_arn(name, role))
            .text("CreateDate", role.created.rfc3339())
            .text("AssumeRolePolicyDocument", encoded(&role.trust))
            .optional("Description", role.description.as_ref())
            .text("MaxSessionDuration", role.max_session);
        if !whole {
            return xml;
        }
        let xml = match &role.boundary {
            Some(arn) => xml.node(
                "PermissionsBoundary",
                Xml::new()
                    .text("PermissionsBoundaryType", "Policy")
                    .text("PermissionsBoundaryArn", arn),
            ),
            None => xml,
        };
        let xml = if role.tags.is_empty() {
            xml
        } else {
            xml.tag_members(&role.tags)
        };
        xml.node("RoleLastUsed", Xml::new())
    }
}

impl Role {
    /// `AROA...`.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

fn absent(name: &str) -> ApiError {
    no_such_entity(format!("The role with name {name} cannot be found."))
}

/// Longest name of a role.
const NAME: usize = 64;

fn max_session(params: &Params) -> Result<Option<u32>, ApiError> {
    let Some(text) = params.get("MaxSessionDuration") else {
        return Ok(None);
    };
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (3_600..=43_200).contains(seconds));
    let constraint = "have value between 3600 and 43200";
    seconds
        .map(Some)
        .ok_or_else(|| invalid("maxSessionDuration", text, constraint))
}

fn description(params: &Params) -> Result<Option<String>, ApiError> {
    match params.get("Description") {
        Some(text) if text.chars().count() > 1_000 => Err(invalid(
            "description",
            text,
            "have length less than or equal to 1000",
        )),
        text => Ok(text.filter(|text| !text.is_empty()).map(str::to_owned)),
    }
}

pub(super) fn create(iam: &mut Iam, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let name = name(params, "RoleName", NAME)?;
    let trust = params.require("AssumeRolePolicyDocument")?;
    let boundary = params.get("PermissionsBoundary");
    if let Some(arn) = boundary {
        check_boundary(iam, arn)?;
    }
    if iam.roles.keys().any(|other| other.eq_ignore_ascii_case(name)) {
        return Err(already_exists(format!("Role with name {name} already exists.")));
    }
    check_trust(iam, cx.now, trust)?;
    let role = Role {
        created: cx.now,
        attached: BTreeMap::new(),
        inline: BTreeMap::new(),
        path: path(params)?.to_owned(),
        id: cx.ids.base32("AROA", 17),
        trust: trust.to_owned(),
        trust_since: cx.now,
        description: description(params)?,
        max_session: max_session(params)?.unwrap_or(3_600),
        boundary: boundary.map(str::to_owned),
        tags: tags(params)?,
    };
    let answer = iam.write_role(name, &role, true);
    iam.roles.insert(name.to_owned(), role);
    Ok(Xml::new().node("Role", answer))
}

pub(super) fn get(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let name = name(params, "RoleName", NAME)?;
    Ok(Xml::new().node("Role", iam.write_role(name, iam.find_role(name)?, true)))
}

pub(super) fn list(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let prefix = params.get("PathPrefix").unwrap_or("/");
    let roles = iam.roles.iter().filter(|(_, role)| role.path.starts_with(prefix));
    let roles = roles.map(|(name, role)| (name.clone(), role));
    page(Xml::new(), "Roles", params, roles, |name, role| {
        member(iam.write_role(name, role, false))
    })
}

/// An absent description is removed, an absent duration becomes an hour: the call sets both.
pub(super) fn update(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let role = iam.role_mut(name(params, "RoleName", NAME)?)?;
    role.max_session = max_session(params)?.unwrap_or(3_600);
    role.description = description(params)?;
    Ok(Xml::new())
}

pub(super) fn update_trust(iam: &mut Iam, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let name = name(params, "RoleName", NAME)?;
    let trust = params.require("PolicyDocument")?;
    iam.find_role(name)?;
    check_trust(iam, cx.now, trust)?;
    let role = iam.role_mut(name)?;
    (role.trust, role.trust_since) = (trust.to_owned(), cx.now);
    Ok(Xml::new())
}

fn check_boundary(iam: &Iam, arn: &str) -> Result<(), ApiError> {
    match iam.policy_exists(arn) {
        true => Ok(()),
        false => Err(no_such_entity(format!(
            "Scope ARN: {arn} does not exist or is not attachable."
        ))),
    }
}

pub(super) fn put_boundary(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let name = name(params, "RoleName", NAME)?;
    let arn = params.require("PermissionsBoundary")?;
    iam.find_role(name)?;
    check_boundary(iam, arn)?;
    iam.role_mut(name)?.boundary = Some(arn.to_owned());
    Ok(Xml::new())
}

pub(super) fn delete_boundary(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let name = name(params, "RoleName", NAME)?;
    match iam.role_mut(name)?.boundary.take() {
        Some(_) => Ok(Xml::new()),
        None => Err(no_such_entity(format!(
            "The role with name {name} has no permissions boundary."
        ))),
    }
}

pub(super) fn delete(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let name = name(params, "RoleName", NAME)?;
    let role = iam.find_role(name)?;
    if !role.attached.is_empty() {
        return Err(delete_conflict(
            "Cannot delete entity, must detach all policies first.",
        ));
    }
    if !role.inline.is_empty() {
        return Err(delete_conflict(
            "Cannot delete entity, must delete policies first.",
        ));
    }
    iam.roles.remove(name);
    Ok(Xml::new())
}

pub(super) fn tag(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    retag(&mut iam.role_mut(name(params, "RoleName", NAME)?)?.tags, params)
}

pub(super) fn untag(iam: &mut Iam, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    tag(iam, cx, params)
}

pub(super) fn list_tags(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    super::tag_page(&iam.find_role(name(params, "RoleName", NAME)?)?.tags, params)
}

/// There are no instance profiles in the sandbox.
pub(super) fn list_instance_profiles(
    iam: &mut Iam,
    _cx: &mut Cx<'_>,
    params: &Params,
) -> Result<Xml, ApiError> {
    iam.find_role(name(params, "RoleName", NAME)?)?;
    Ok(truncation(Xml::new().node("InstanceProfiles", Xml::new()), None))
}
