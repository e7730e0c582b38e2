//! Policy documents: what IAM refuses before it stores one, and how it sends one back.

use super::super::{ApiError, IAM_PROPAGATION};
use super::{Iam, limit_exceeded};
use crate::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

/// What RFC 3986 leaves as it is; IAM encodes everything else in the documents it answers.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A document as Get and List operations send it.
pub(super) fn encoded(document: &str) -> String {
    utf8_percent_encode(document, ENCODED).to_string()
}

/// Characters that count towards the quotas: white space does not.
pub(super) fn weight(document: &str) -> usize {
    document.chars().filter(|c| !c.is_whitespace()).count()
}

fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::bad("MalformedPolicyDocument", message)
}

fn syntax() -> ApiError {
    malformed("Syntax errors in policy.")
}

/// Checks a policy of permissions: 6,144 characters for a managed one, 10,240 for an inline one.
pub(super) fn check_permissions(document: &str, managed: bool) -> Result<(), ApiError> {
    if managed && weight(document) > 6_144 {
        return Err(limit_exceeded("Cannot exceed quota for PolicySize: 6144"));
    }
    for statement in statements(document, managed)? {
        known_keys(&statement, &["NotAction", "NotResource", "Resource"])?;
        if statement.contains_key("Principal") || statement.contains_key("NotPrincipal") {
            return Err(malformed("Policy document should not specify a principal."));
        }
        for resource in one_of(&statement, "Resource", "Policy statement must contain resources.")? {
            if resource != "*" && resource.split(':').count() < 6 {
                return Err(malformed(format!(
                    "Resource {resource} must be in ARN format or \"*\"."
                )));
            }
        }
    }
    Ok(())
}

/// Checks a trust policy: at most 2,048 characters, STS actions only, and principals that exist.
pub(super) fn check_trust(iam: &Iam, now: Timestamp, document: &str) -> Result<(), ApiError> {
    if weight(document) > 2_048 {
        return Err(limit_exceeded("Cannot exceed quota for ACLSizePerRole: 2048"));
    }
    for statement in statements(document, false)? {
        known_keys(&statement, &["Principal", "NotAction"])?;
        if !one_of(&statement, "Action", "Policy statement must contain actions.")?
            .iter()
            .all(|action| action.to_ascii_lowercase().starts_with("sts:"))
        {
            return Err(malformed(
                "AssumeRole policy may only specify STS AssumeRole actions.",
            ));
        }
        match statement.get("Principal") {
            None => return Err(malformed("Missing required field Principal")),
            Some(Value::String(all)) if all == "*" => {}
            Some(Value::Object(kinds)) => {
                for (kind, names) in kinds {
                    for name in strings(names)? {
                        principal(iam, now, kind, name)?;
                    }
                }
            }
            Some(_) => return Err(syntax()),
        }
    }
    Ok(())
}

/// A principal must exist; IAM learns of a new role as late as everybody else. Stricter than AWS: so must an OpenID
/// Connect provider.
fn principal(iam: &Iam, now: Timestamp, kind: &str, name: &str) -> Result<(), ApiError> {
    let known = match kind {
        "Service" => name.ends_with(".amazonaws.com") || name.ends_with(".amazonaws.com.cn"),
        "Federated" if name.starts_with(&iam.arn("oidc-provider/")) => iam.providers.contains_key(name),
        "Federated"
            if name.contains('.') && !name.contains([':', '/']) || name.contains(":saml-provider/") =>
        {
            true
        }
        "Federated" => {
            return Err(malformed(
                "Federated principals must be valid domain names or SAML metadata ARNs",
            ));
        }
        "AWS" if name.starts_with(&iam.arn("role/")) => {
            let role = name
                .rsplit('/')
                .next()
                .and_then(|role| Some((role, iam.roles.get(role)?)));
            role.is_some_and(|(id, role)| {
                iam.role_arn(id, role) == name && role.created.after(IAM_PROPAGATION) <= now
            })
        }
        "AWS" => {
            name == "*"
                || name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_digit())
                || name.starts_with("arn:aws:iam::")
                || name.starts_with("arn:aws:sts::")
        }
        "CanonicalUser" => true,
        _ => false,
    };
    if known {
        Ok(())
    } else {
        Err(malformed(format!(
            "Invalid principal in policy: \"{}\":\"{name}\"",
            kind.to_uppercase()
        )))
    }
}

/// The statements of a document whose outer shape is right.
fn statements(document: &str, versioned: bool) -> Result<Vec<Map<String, Value>>, ApiError> {
    let value: Value =
        serde_json::from_str(document).map_err(|_| malformed("This policy contains invalid Json"))?;
    let Value::Object(policy) = value else {
        return Err(syntax());
    };
    if policy
        .keys()
        .any(|key| !["Id", "Statement", "Version"].contains(&key.as_str()))
    {
        return Err(syntax());
    }
    match policy.get("Version").map(Value::as_str) {
        Some(Some("2012-10-17")) => {}
        None | Some(Some("2008-10-17")) if !versioned => {}
        None | Some(Some("2008-10-17")) => {
            return Err(malformed(
                "Policy document must be version 2012-10-17 or greater.",
            ));
        }
        Some(_) => return Err(malformed("The policy must contain a valid version string")),
    }
    let statements = match policy.get("Statement") {
        Some(Value::Array(many)) if !many.is_empty() => many.clone(),
        Some(one @ Value::Object(_)) => vec![one.clone()],
        Some(_) => return Err(syntax()),
        None => return Err(malformed("Missing required field Statement")),
    };
    let mut named: Vec<&str> = Vec::new();
    for statement in &statements {
        check_statement(statement)?;
        if let Some(sid) = statement.get("Sid").and_then(Value::as_str) {
            if !sid.chars().all(|c| c.is_ascii_alphanumeric()) {
                return Err(malformed(
                    "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
                ));
            }
            if !sid.is_empty() && named.contains(&sid) {
                return Err(malformed(
                    "Statement IDs (SID) in a single policy must be unique.",
                ));
            }
            named.push(sid);
        }
    }
    Ok(statements
        .into_iter()
        .filter_map(|statement| statement.as_object().cloned())
        .collect())
}

/// What holds for statements of every kind of policy.
fn check_statement(statement: &Value) -> Result<(), ApiError> {
    let statement = statement.as_object().ok_or_else(syntax)?;
    match statement.get("Effect").map(Value::as_str) {
        Some(Some("Allow" | "Deny")) => {}
        Some(Some(other)) => return Err(malformed(format!("Invalid effect: {other}"))),
        Some(None) => return Err(syntax()),
        None => return Err(malformed("Missing required field Effect")),
    }
    for action in one_of(statement, "Action", "Policy statement must contain actions.")? {
        if action == "*" {
            continue;
        }
        match action.split(':').collect::<Vec<_>>().as_slice() {
            [vendor, name] if !vendor.is_empty() && !name.is_empty() => {}
            [_] => {
                let message = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.";
                return Err(malformed(message));
            }
            _ => return Err(malformed("Actions/Condition can contain only one colon.")),
        }
    }
    let condition = statement.get("Condition");
    let operators = condition
        .map(|condition| condition.as_object().ok_or_else(syntax))
        .transpose()?;
    if operators.is_some_and(|operators| !operators.values().all(Value::is_object)) {
        return Err(syntax());
    }
    Ok(())
}

fn known_keys(statement: &Map<String, Value>, more: &[&str]) -> Result<(), ApiError> {
    let always = [
        "Action",
        "Condition",
        "Effect",
        "NotPrincipal",
        "Principal",
        "Sid",
    ];
    for key in statement.keys() {
        if always.contains(&key.as_str()) || more.contains(&key.as_str()) {
            continue;
        }
        return Err(match key.as_str() {
            "NotResource" | "Resource" => malformed(format!("Has prohibited field {key}")),
            _ => syntax(),
        });
    }
    Ok(())
}

/// The strings of `key` or of its `Not` form: exactly one of the two is there, and not empty.
fn one_of<'a>(statement: &'a Map<String, Value>, key: &str, absent: &str) -> Result<Vec<&'a str>, ApiError> {
    let values = match (statement.get(key), statement.get(&format!("Not{key}"))) {
        (Some(values), None) | (None, Some(values)) => strings(values)?,
        (Some(_), Some(_)) => return Err(syntax()),
        (None, None) => Vec::new(),
    };
    if values.is_empty() {
        Err(malformed(absent))
    } else {
        Ok(values)
    }
}

/// A string, or a list of strings.
fn strings(value: &Value) -> Result<Vec<&str>, ApiError> {
    match value {
        Value::String(one) => Ok(vec![one]),
        Value::Array(many) => many.iter().map(|item| item.as_str().ok_or_else(syntax)).collect(),
        _ => Err(syntax()),
    }
}
