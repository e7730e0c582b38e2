//! What a role may do: managed policies attached to it, and inline ones.

use super::super::{ApiError, Params, Xml};
use super::document::{check_permissions, encoded, weight};
use super::{Cx, Iam, limit_exceeded, member, name, no_such_entity, page, policy};

/// Default quota: managed policies per role.
const MOST_ATTACHED: usize = 10;
/// All inline policies of a role together, in characters.
const INLINE_SIZE: usize = 10_240;
/// Longest names.
const ROLE: usize = 64;
const POLICY: usize = 128;

pub(super) fn attach(iam: &mut Iam, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let role = name(params, "RoleName", ROLE)?;
    let arn = policy::arn(params)?;
    iam.find_role(role)?;
    if !iam.policy_exists(arn) {
        return Err(no_such_entity(format!(
            "Policy {arn} does not exist or is not attachable."
        )));
    }
    let role = iam.role_mut(role)?;
    role.attached.entry(arn.to_owned()).or_insert(cx.now);
    if role.attached.len() > MOST_ATTACHED {
        return Err(limit_exceeded(format!(
            "Cannot exceed quota for PoliciesPerRole: {MOST_ATTACHED}"
        )));
    }
    Ok(Xml::new())
}

pub(super) fn detach(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let role = iam.role_mut(name(params, "RoleName", ROLE)?)?;
    let arn = policy::arn(params)?;
    if role.attached.remove(arn).is_none() {
        return Err(no_such_entity(format!("Policy {arn} was not found.")));
    }
    Ok(Xml::new())
}

pub(super) fn list_attached(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let role = iam.find_role(name(params, "RoleName", ROLE)?)?;
    let prefix = params.get("PathPrefix").unwrap_or("/");
    let attached = role
        .attached
        .keys()
        .filter(|arn| policy::path_of(arn).starts_with(prefix));
    page(
        Xml::new(),
        "AttachedPolicies",
        params,
        attached.map(|arn| (arn.clone(), arn)),
        |_, arn| {
            member(
                Xml::new()
                    .text("PolicyName", policy::name_of(arn))
                    .text("PolicyArn", arn),
            )
        },
    )
}

pub(super) fn put_inline(iam: &mut Iam, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let role_name = name(params, "RoleName", ROLE)?;
    let policy = name(params, "PolicyName", POLICY)?;
    let document = params.require("PolicyDocument")?;
    let role = iam.role_mut(role_name)?;
    check_permissions(document, false)?;
    role.inline
        .insert(policy.to_owned(), (document.to_owned(), cx.now));
    if role
        .inline
        .values()
        .map(|(document, _)| weight(document))
        .sum::<usize>()
        > INLINE_SIZE
    {
        let message = format!("Maximum policy size of {INLINE_SIZE} bytes exceeded for role {role_name}");
        return Err(limit_exceeded(message));
    }
    Ok(Xml::new())
}

fn absent(policy: &str) -> ApiError {
    no_such_entity(format!("The role policy with name {policy} cannot be found."))
}

pub(super) fn get_inline(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let role_name = name(params, "RoleName", ROLE)?;
    let policy = name(params, "PolicyName", POLICY)?;
    let (document, _) = iam
        .find_role(role_name)?
        .inline
        .get(policy)
        .ok_or_else(|| absent(policy))?;
    Ok(Xml::new()
        .text("RoleName", role_name)
        .text("PolicyName", policy)
        .text("PolicyDocument", encoded(document)))
}

pub(super) fn delete_inline(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let role = iam.role_mut(name(params, "RoleName", ROLE)?)?;
    let policy = name(params, "PolicyName", POLICY)?;
    role.inline
        .remove(policy)
        .map(|_| Xml::new())
        .ok_or_else(|| absent(policy))
}

pub(super) fn list_inline(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let role = iam.find_role(name(params, "RoleName", ROLE)?)?;
    let names = role.inline.keys().map(|name| (name.clone(), ()));
    page(Xml::new(), "PolicyNames", params, names, |name, ()| {
        Xml::new().text("member", name)
    })
}
