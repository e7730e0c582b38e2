//! STS, in the query protocol: who am I, sessions of roles, and the tokens that open a cluster.

use super::facts::RoleFacts;
use super::policy::{Conditions, trusts};
use super::{ApiError, Aws, Call, IAM_PROPAGATION, Reply, Xml, query};
use crate::Timestamp;
use crate::cloud::Principal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a cluster accepts a presigned token after its `X-Amz-Date`.
const TOKEN_AGE: Duration = Duration::from_secs(15 * 60);
/// The longest token that EKS reads.
const TOKEN_LENGTH: usize = 4096;

/// Sessions by their access key.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sts {
    sessions: BTreeMap<String, Session>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Session {
    principal: Principal,
    expires: Timestamp,
}

/// Who an access key belongs to: a session's role, else the one user of the account.
///
/// # Errors
/// `ExpiredToken` for the key of a session that is over.
pub(crate) fn principal(aws: &Aws, now: Timestamp, access_key: &str) -> Result<Principal, ApiError> {
    match aws.sts.sessions.get(access_key) {
        Some(session) if session.expires <= now => Err(ApiError::new(
            403,
            "ExpiredToken",
            "The security token included in the request is expired",
        )),
        Some(session) => Ok(session.principal.clone()),
        None => Ok(aws.user()),
    }
}

/// Answers one call.
pub(crate) fn handle(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    match call.operation.as_str() {
        "GetCallerIdentity" => Ok(Reply::Xml(
            Xml::new()
                .text("Arn", &call.caller.arn)
                .text("UserId", &call.caller.user_id)
                .text("Account", &call.caller.account),
        )),
        "AssumeRole" => assume_role(aws, now, call),
        "AssumeRoleWithWebIdentity" => assume_with_web_identity(aws, now, call),
        other => Err(ApiError::not_simulated("sts", other)),
    }
}

fn assume_role(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.require("RoleArn")?;
    let action = "sts:AssumeRole";
    let denied = || {
        let message = format!(
            "User: {} is not authorized to perform: {action} on resource: {arn}",
            call.caller.arn
        );
        ApiError::new(403, "AccessDenied", message)
    };
    let role = usable_role(aws, now, arn).ok_or_else(denied)?;
    let root = format!("arn:aws:iam::{}:root", call.caller.account);
    let trusted = [
        call.caller.arn.as_str(),
        root.as_str(),
        call.caller.account.as_str(),
    ]
    .iter()
    .any(|name| trusts(&role.trust, ("AWS", name), action, &Conditions::new()));
    if !trusted {
        return Err(denied());
    }
    session(aws, now, call, &role).map(Reply::Xml)
}

fn assume_with_web_identity(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.require("RoleArn")?;
    let claims = claims(call.params.require("WebIdentityToken")?).ok_or_else(|| {
        ApiError::bad(
            "InvalidIdentityToken",
            "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
        )
    })?;
    let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
    let audience = match &claims["aud"] {
        Value::Array(many) => many
            .first()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        _ => text("aud"),
    };
    web_identity_role(aws, now, arn, &text("iss"), &text("sub"), &audience)?;
    let role = aws
        .iam
        .role(arn)
        .ok_or_else(|| ApiError::new(403, "AccessDenied", NOT_AUTHORIZED))?;
    let xml = session(aws, now, call, &role)?;
    Ok(Reply::Xml(
        xml.text("SubjectFromWebIdentityToken", text("sub"))
            .text("Audience", audience),
    ))
}

const NOT_AUTHORIZED: &str = "Not authorized to perform sts:AssumeRoleWithWebIdentity";

/// Whether a web identity may assume a role: provider known, audience accepted, trust matching.
///
/// # Errors
/// `InvalidIdentityToken` or `AccessDenied`, as STS words them.
pub(crate) fn web_identity_role(
    aws: &Aws,
    now: Timestamp,
    role_arn: &str,
    issuer: &str,
    subject: &str,
    audience: &str,
) -> Result<(), ApiError> {
    let url = issuer.trim_start_matches("https://");
    let provider = aws
        .iam
        .oidc_provider(url)
        .filter(|provider| now >= provider.since.after(IAM_PROPAGATION))
        .ok_or_else(|| {
            let message = format!("No OpenIDConnect provider found in your account for https://{url}");
            ApiError::bad("InvalidIdentityToken", message)
        })?;
    if !provider.client_ids.iter().any(|id| id == audience) {
        return Err(ApiError::bad("InvalidIdentityToken", "Incorrect token audience"));
    }
    let context = Conditions::from([
        (format!("{url}:sub"), subject.to_owned()),
        (format!("{url}:aud"), audience.to_owned()),
    ]);
    usable_role(aws, now, role_arn)
        .filter(|role| {
            trusts(
                &role.trust,
                ("Federated", &provider.arn),
                "sts:AssumeRoleWithWebIdentity",
                &context,
            )
        })
        .map(|_| ())
        .ok_or_else(|| ApiError::new(403, "AccessDenied", NOT_AUTHORIZED))
}

/// A role whose trust policy has reached STS.
pub(crate) fn usable_role(aws: &Aws, now: Timestamp, arn: &str) -> Option<RoleFacts> {
    aws.iam
        .role(arn)
        .filter(|role| now >= role.trust_since.after(IAM_PROPAGATION))
}

fn claims(token: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?).ok()
}

fn session(aws: &mut Aws, now: Timestamp, call: &Call, role: &RoleFacts) -> Result<Xml, ApiError> {
    let name = call.params.require("RoleSessionName")?;
    let seconds = call.params.number("DurationSeconds").unwrap_or(3600);
    if !(900..=43_200).contains(&seconds) {
        return Err(ApiError::bad(
            "ValidationError",
            "DurationSeconds must be between 900 and 43200",
        ));
    }
    let expires = now.after(Duration::from_secs(seconds.unsigned_abs()));
    let access_key = aws.ids.base32("ASIA", 16);
    let secret = aws.ids.hex("", 40);
    let token = aws.ids.hex("sandbox-session-", 64);
    let principal = Principal {
        arn: format!("arn:aws:sts::{}:assumed-role/{}/{name}", aws.account, role.name),
        user_id: format!("{}:{name}", role.id),
        account: aws.account.clone(),
    };
    let user = Xml::new()
        .text("AssumedRoleId", &principal.user_id)
        .text("Arn", &principal.arn);
    aws.sts.sessions.retain(|_, session| session.expires > now);
    aws.sts
        .sessions
        .insert(access_key.clone(), Session { principal, expires });
    Ok(Xml::new()
        .node(
            "Credentials",
            Xml::new()
                .text("AccessKeyId", access_key)
                .text("SecretAccessKey", secret)
                .text("SessionToken", token)
                .text("Expiration", expires.rfc3339()),
        )
        .node("AssumedRoleUser", user))
}

/// Who a cluster's bearer token stands for: `k8s-aws-v1.` and a presigned GetCallerIdentity URL.
///
/// `wall` is the time of the client's clock. The signature itself is not verified, because the sandbox
/// knows no secret keys; everything else that EKS looks at is. `None` means 401.
pub(crate) fn token_principal(aws: &Aws, now: Timestamp, wall: Timestamp, token: &str) -> Option<Principal> {
    if token.len() > TOKEN_LENGTH {
        return None;
    }
    let encoded = token.strip_prefix("k8s-aws-v1.")?.trim_end_matches('=');
    let url = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
    let uri: http::Uri = url.parse().ok()?;
    let host = uri.host()?;
    let loopback = matches!(host, "127.0.0.1" | "localhost");
    let sts = host == "sts.amazonaws.com"
        || host
            .strip_prefix("sts.")
            .is_some_and(|rest| rest.ends_with(".amazonaws.com"));
    if !(loopback || sts && uri.scheme_str() == Some("https")) || uri.path() != "/" {
        return None;
    }
    let mut parameters = BTreeMap::new();
    for (key, value) in query::decode_form(uri.query()?) {
        let key = key.to_ascii_lowercase();
        if !TOKEN_PARAMETERS.contains(&key.as_str()) || parameters.insert(key, value).is_some() {
            return None;
        }
    }
    let get = |key: &str| parameters.get(key).map(String::as_str);
    let headers: Vec<&str> = get("x-amz-signedheaders")?.split(';').collect();
    let date = Timestamp::parse(get("x-amz-date")?)?;
    let fresh = wall.since(date) <= TOKEN_AGE && date.since(wall) <= TOKEN_AGE;
    let sound = get("action") == Some("GetCallerIdentity")
        && get("x-amz-signature").is_some_and(|signature| !signature.is_empty())
        && ["host", "x-k8s-aws-id"].iter().all(|name| headers.contains(name));
    (fresh && sound).then_some(())?;
    principal(aws, now, get("x-amz-credential")?.split('/').next()?).ok()
}

const TOKEN_PARAMETERS: [&str; 9] = [
    "action",
    "version",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn token(url: &str) -> String {
        format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(url))
    }

    #[test]
    fn cluster_tokens_are_checked_as_eks_does() {
        let aws = Aws::new(1, "000000000000", "us-east-1");
        let now = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
        let url = "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15\
                   &X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20261122%2Fus-east-1%2Fsts%2Faws4_request\
                   &X-Amz-Date=20261122T095000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&X-Amz-Signature=ab";
        let ask = |url: &str, at: Timestamp| token_principal(&aws, at, at, &token(url));
        assert_eq!(
            ask(url, now).unwrap().arn,
            "arn:aws:iam::000000000000:user/sandbox"
        );
        assert!(
            ask(url, now.after(Duration::from_secs(301))).is_none(),
            "older than fifteen minutes"
        );
        assert!(ask(&url.replace("x-k8s-aws-id", "x-other"), now).is_none());
        assert!(ask(&format!("{url}&Extra=1"), now).is_none());
        assert!(ask(&url.replace("sts.us-east-1.amazonaws.com", "example.org"), now).is_none());
        assert!(ask(&url.replace("GetCallerIdentity", "GetUser"), now).is_none());
    }
}
