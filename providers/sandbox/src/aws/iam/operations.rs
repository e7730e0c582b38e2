//! Every operation of IAM that the sandbox answers, as a table.

use super::super::{ApiError, Params, Xml};
use super::{Cx, Iam, account, oidc, policy, role, role_policy};

type Operation = fn(&mut Iam, &mut Cx<'_>, &Params) -> Result<Xml, ApiError>;

/// Every operation this room answers, with the parameters it understands.
pub(super) const ALL: &[(&str, Operation, &[&str])] = &[
    (
        "AddClientIDToOpenIDConnectProvider",
        oidc::add_client_id,
        &["ClientID", "OpenIDConnectProviderArn"],
    ),
    (
        "AttachRolePolicy",
        role_policy::attach,
        &["PolicyArn", "RoleName"],
    ),
    (
        "CreateOpenIDConnectProvider",
        oidc::create,
        &["ClientIDList", "Tags", "ThumbprintList", "Url"],
    ),
    (
        "CreatePolicy",
        policy::create,
        &["Description", "Path", "PolicyDocument", "PolicyName", "Tags"],
    ),
    (
        "CreatePolicyVersion",
        policy::create_version,
        &["PolicyArn", "PolicyDocument", "SetAsDefault"],
    ),
    (
        "CreateRole",
        role::create,
        &[
            "AssumeRolePolicyDocument",
            "Description",
            "MaxSessionDuration",
            "Path",
            "PermissionsBoundary",
            "RoleName",
            "Tags",
        ],
    ),
    (
        "DeleteOpenIDConnectProvider",
        oidc::delete,
        &["OpenIDConnectProviderArn"],
    ),
    ("DeletePolicy", policy::delete, &["PolicyArn"]),
    (
        "DeletePolicyVersion",
        policy::delete_version,
        &["PolicyArn", "VersionId"],
    ),
    ("DeleteRole", role::delete, &["RoleName"]),
    (
        "DeleteRolePermissionsBoundary",
        role::delete_boundary,
        &["RoleName"],
    ),
    (
        "DeleteRolePolicy",
        role_policy::delete_inline,
        &["PolicyName", "RoleName"],
    ),
    (
        "DetachRolePolicy",
        role_policy::detach,
        &["PolicyArn", "RoleName"],
    ),
    (
        "GetOpenIDConnectProvider",
        oidc::get,
        &["OpenIDConnectProviderArn"],
    ),
    ("GetPolicy", policy::get, &["PolicyArn"]),
    (
        "GetPolicyVersion",
        policy::get_version,
        &["PolicyArn", "VersionId"],
    ),
    ("GetRole", role::get, &["RoleName"]),
    (
        "GetRolePolicy",
        role_policy::get_inline,
        &["PolicyName", "RoleName"],
    ),
    ("GetUser", account::get_user, &["UserName"]),
    ("ListUsers", account::list_users, &["Marker", "MaxItems"]),
    (
        "ListAccountAliases",
        account::list_aliases,
        &["Marker", "MaxItems"],
    ),
    (
        "ListAttachedRolePolicies",
        role_policy::list_attached,
        &["Marker", "MaxItems", "PathPrefix", "RoleName"],
    ),
    (
        "ListEntitiesForPolicy",
        policy::list_entities,
        &["EntityFilter", "Marker", "MaxItems", "PolicyArn"],
    ),
    (
        "ListInstanceProfilesForRole",
        role::list_instance_profiles,
        &["Marker", "MaxItems", "RoleName"],
    ),
    (
        "ListOpenIDConnectProviderTags",
        oidc::list_tags,
        &["Marker", "MaxItems", "OpenIDConnectProviderArn"],
    ),
    ("ListOpenIDConnectProviders", oidc::list, &[]),
    (
        "ListPolicies",
        policy::list,
        &["Marker", "MaxItems", "OnlyAttached", "PathPrefix", "Scope"],
    ),
    (
        "ListPolicyTags",
        policy::list_tags,
        &["Marker", "MaxItems", "PolicyArn"],
    ),
    (
        "ListPolicyVersions",
        policy::list_versions,
        &["Marker", "MaxItems", "PolicyArn"],
    ),
    (
        "ListRolePolicies",
        role_policy::list_inline,
        &["Marker", "MaxItems", "RoleName"],
    ),
    (
        "ListRoleTags",
        role::list_tags,
        &["Marker", "MaxItems", "RoleName"],
    ),
    ("ListRoles", role::list, &["Marker", "MaxItems", "PathPrefix"]),
    (
        "PutRolePermissionsBoundary",
        role::put_boundary,
        &["PermissionsBoundary", "RoleName"],
    ),
    (
        "PutRolePolicy",
        role_policy::put_inline,
        &["PolicyDocument", "PolicyName", "RoleName"],
    ),
    (
        "RemoveClientIDFromOpenIDConnectProvider",
        oidc::remove_client_id,
        &["ClientID", "OpenIDConnectProviderArn"],
    ),
    (
        "SetDefaultPolicyVersion",
        policy::set_default_version,
        &["PolicyArn", "VersionId"],
    ),
    (
        "TagOpenIDConnectProvider",
        oidc::tag,
        &["OpenIDConnectProviderArn", "Tags"],
    ),
    ("TagPolicy", policy::tag, &["PolicyArn", "Tags"]),
    ("TagRole", role::tag, &["RoleName", "Tags"]),
    (
        "UntagOpenIDConnectProvider",
        oidc::untag,
        &["OpenIDConnectProviderArn", "TagKeys"],
    ),
    ("UntagPolicy", policy::untag, &["PolicyArn", "TagKeys"]),
    ("UntagRole", role::untag, &["RoleName", "TagKeys"]),
    (
        "UpdateAssumeRolePolicy",
        role::update_trust,
        &["PolicyDocument", "RoleName"],
    ),
    (
        "UpdateOpenIDConnectProviderThumbprint",
        oidc::update_thumbprints,
        &["OpenIDConnectProviderArn", "ThumbprintList"],
    ),
    (
        "UpdateRole",
        role::update,
        &["Description", "MaxSessionDuration", "RoleName"],
    ),
];
