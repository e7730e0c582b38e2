//! OpenID Connect providers: what makes the service accounts of a cluster known to IAM.

use super::super::facts::OidcFacts;
use super::super::{ApiError, Params, Tags, Xml};
use super::{Cx, Iam, already_exists, invalid, limit_exceeded, no_such_entity, retag, tags};
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// Quotas: providers per account, client ids and thumbprints per provider.
const MOST: usize = 100;
const MOST_CLIENT_IDS: usize = 100;
const MOST_THUMBPRINTS: usize = 5;
/// What IAM finds out itself when a request has no thumbprint: here one that stands for every issuer.
const FETCHED_THUMBPRINT: &str = "9e99a48a9960b14926bb7f3b02e22da2b0ab7280";

/// An OpenID Connect provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Provider {
    /// Without `https://`.
    url: String,
    client_ids: Vec<String>,
    thumbprints: Vec<String>,
    created: Timestamp,
    tags: Tags,
}

impl Provider {
    pub(super) fn facts(&self, arn: &str) -> OidcFacts {
        OidcFacts {
            arn: arn.to_owned(),
            url: self.url.clone(),
            client_ids: self.client_ids.clone(),
            since: self.created,
        }
    }
}

fn arn(params: &Params) -> Result<&str, ApiError> {
    let arn = params.require("OpenIDConnectProviderArn")?;
    if !arn.starts_with("arn:") || !arn.contains(":oidc-provider/") {
        return Err(ApiError::bad("ValidationError", format!("Invalid ARN: {arn}")));
    }
    Ok(arn)
}

fn absent(arn: &str) -> ApiError {
    no_such_entity(format!("OpenIDConnect Provider not found for arn {arn}"))
}

impl Iam {
    fn provider(&self, arn: &str) -> Result<&Provider, ApiError> {
        self.providers.get(arn).ok_or_else(|| absent(arn))
    }

    fn provider_mut(&mut self, arn: &str) -> Result<&mut Provider, ApiError> {
        self.providers.get_mut(arn).ok_or_else(|| absent(arn))
    }
}

fn thumbprints(params: &Params) -> Result<Vec<String>, ApiError> {
    let given = params.list("ThumbprintList");
    if given.len() > MOST_THUMBPRINTS {
        return Err(ApiError::bad(
            "InvalidInput",
            "Thumbprint list must contain fewer than 5 entries.",
        ));
    }
    for text in &given {
        if text.len() != 40 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid(
                "thumbprintList",
                text,
                "have length of 40 hexadecimal digits",
            ));
        }
    }
    Ok(given.into_iter().map(str::to_owned).collect())
}

fn check_client_ids(ids: &[String]) -> Result<(), ApiError> {
    if ids.len() > MOST_CLIENT_IDS {
        let message = format!("Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: {MOST_CLIENT_IDS}");
        return Err(limit_exceeded(message));
    }
    match ids.iter().find(|id| id.is_empty() || id.len() > 255) {
        Some(id) => Err(invalid("clientIDList", id, "have length between 1 and 255")),
        None => Ok(()),
    }
}

pub(super) fn create(iam: &mut Iam, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let url = params.require("Url")?;
    let Some(host_and_path) = url
        .strip_prefix("https://")
        .filter(|rest| !rest.is_empty() && url.len() <= 255)
    else {
        return Err(ApiError::bad(
            "ValidationError",
            "Invalid Open ID Connect Provider URL",
        ));
    };
    let host_and_path = host_and_path.trim_end_matches('/').replacen(":443", "", 1);
    if host_and_path.contains(['?', '#', ':', ' ']) {
        return Err(ApiError::bad(
            "ValidationError",
            "Invalid Open ID Connect Provider URL",
        ));
    }
    let arn = iam.arn(&format!("oidc-provider/{host_and_path}"));
    if iam.providers.contains_key(&arn) {
        return Err(already_exists(format!(
            "Provider with url https://{host_and_path} already exists."
        )));
    }
    if iam.providers.len() >= MOST {
        let message = format!("Cannot exceed quota for OpenIdConnectProvidersPerAccount: {MOST}");
        return Err(limit_exceeded(message));
    }
    let client_ids: Vec<String> = params
        .list("ClientIDList")
        .into_iter()
        .map(str::to_owned)
        .collect();
    check_client_ids(&client_ids)?;
    let mut thumbprints = thumbprints(params)?;
    if thumbprints.is_empty() {
        thumbprints.push(FETCHED_THUMBPRINT.to_owned());
    }
    let tags = tags(params)?;
    let answer = Xml::new().text("OpenIDConnectProviderArn", &arn);
    let answer = if tags.is_empty() {
        answer
    } else {
        answer.tag_members(&tags)
    };
    let provider = Provider {
        url: host_and_path,
        client_ids,
        thumbprints,
        created: cx.now,
        tags,
    };
    iam.providers.insert(arn, provider);
    Ok(answer)
}

pub(super) fn get(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let provider = iam.provider(arn(params)?)?;
    let xml = Xml::new()
        .text("Url", &provider.url)
        .texts("ClientIDList", "member", &provider.client_ids)
        .texts("ThumbprintList", "member", &provider.thumbprints)
        .text("CreateDate", provider.created.rfc3339());
    Ok(if provider.tags.is_empty() {
        xml
    } else {
        xml.tag_members(&provider.tags)
    })
}

pub(super) fn list(iam: &mut Iam, _cx: &mut Cx<'_>, _params: &Params) -> Result<Xml, ApiError> {
    Ok(
        Xml::new().members("OpenIDConnectProviderList", iam.providers.keys(), |arn| {
            Xml::new().text("Arn", arn)
        }),
    )
}

/// Deleting what is not there is fine: the API reference calls the operation idempotent.
pub(super) fn delete(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    iam.providers.remove(arn(params)?);
    Ok(Xml::new())
}

pub(super) fn add_client_id(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("ClientID")?.to_owned();
    let provider = iam.provider_mut(arn(params)?)?;
    if !provider.client_ids.contains(&id) {
        provider.client_ids.push(id);
    }
    check_client_ids(&provider.client_ids)?;
    Ok(Xml::new())
}

pub(super) fn remove_client_id(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("ClientID")?;
    iam.provider_mut(arn(params)?)?
        .client_ids
        .retain(|other| other != id);
    Ok(Xml::new())
}

pub(super) fn update_thumbprints(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    params.require("ThumbprintList.member.1")?;
    iam.provider_mut(arn(params)?)?.thumbprints = thumbprints(params)?;
    Ok(Xml::new())
}

pub(super) fn tag(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    retag(&mut iam.provider_mut(arn(params)?)?.tags, params)
}

pub(super) fn untag(iam: &mut Iam, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    tag(iam, cx, params)
}

pub(super) fn list_tags(iam: &mut Iam, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    super::tag_page(&iam.provider(arn(params)?)?.tags, params)
}
