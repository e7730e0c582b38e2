//! `aws:iam:OpenIdConnectProvider`: makes the service accounts of a cluster known to IAM.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_iam::operation::get_open_id_connect_provider::GetOpenIdConnectProviderOutput;
use epid_provider::{
    Equality, Failure, Field, KindSchema, Object, Output, Path, Present, Problem, Token, Type, Urn, Value,
    async_trait,
};

use super::tags::{from_iam, to_iam};
use super::{is_empty, removed, taken, unless_absent};
use crate::clients::Clients;
use crate::given::{text, texts};
use crate::kind::named;
use crate::named::{Named, Seen, Work, gone, sdk, token_of};
use crate::patience::Patience;
use crate::tags;

/// The audience of tokens that pods exchange for a role's credentials (EKS user guide, "IAM roles for service accounts").
const AUDIENCE: &str = "sts.amazonaws.com";

/// For the create: IAM asks the issuer for its certificate, and a new cluster's issuer may not answer yet.
const ISSUER: Patience<'static> = Patience {
    budget: Duration::from_secs(120),
    pause: Duration::from_secs(5),
    waits: &|failure: &Failure| match failure.code.as_str() {
        "OpenIdIdpCommunicationError" => Some("waiting for the issuer to answer IAM"),
        "ConcurrentModification" | "ServiceFailure" => Some("waiting for another change in IAM"),
        _ => None,
    },
};

/// The kind.
#[derive(Debug)]
pub(super) struct OidcProvider {
    schema: KindSchema,
}

impl OidcProvider {
    pub(super) fn new() -> Self {
        let audience = Value::list([Value::str(AUDIENCE)]);
        let fields = [
            Field::new("url", Type::String)
                .required()
                .immutable()
                .exclusive()
                .equality(Equality::By(same_url))
                .doc("The issuer, such as a cluster's `oidcIssuer`; begins with https://."),
            Field::new("clientIds", Type::set(Type::String))
                .default(audience)
                .doc("Audiences that are accepted; sts.amazonaws.com where it is not given."),
            Field::new("thumbprints", Type::set(Type::String))
                .doc("SHA-1 fingerprints of the issuer's certificate authority; IAM finds them itself, and needs none for EKS."),
            Field::new("tags", Type::map(Type::String)),
        ];
        let mut schema = KindSchema::new(
            named("aws:iam:OpenIdConnectProvider"),
            "Lets IAM trust the tokens of an OpenID Connect issuer, such as an EKS cluster's service accounts.",
            Object::of(fields),
        );
        schema.outputs = vec![
            Output::new("arn", "Its ARN."),
            Output::new(
                "issuerHost",
                "The issuer without https://, as the condition keys of a trust policy name it.",
            ),
        ];
        schema.timeouts = super::timeouts();
        Self { schema }
    }
}

/// An issuer without scheme, standard port and trailing slash: what IAM keeps.
fn host(url: &str) -> String {
    let bare = url.strip_prefix("https://").unwrap_or(url).trim_end_matches('/');
    bare.replacen(":443", "", 1)
}

fn same_url(a: &Value, b: &Value) -> bool {
    match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => host(a) == host(b),
        _ => a == b,
    }
}

fn client_ids(inputs: &Value) -> Vec<String> {
    texts(inputs, "clientIds").unwrap_or_else(|| vec![AUDIENCE.to_owned()])
}

async fn read(work: Work<'_>) -> Result<Option<GetOpenIdConnectProviderOutput>, Failure> {
    let request = work
        .aws
        .iam
        .get_open_id_connect_provider()
        .open_id_connect_provider_arn(work.id);
    unless_absent(request.send().await.map_err(sdk("iam:GetOpenIDConnectProvider")))
}

#[async_trait]
impl Named for OidcProvider {
    fn schema(&self) -> &KindSchema {
        &self.schema
    }

    fn check(&self, properties: &Value) -> Vec<Problem> {
        let url = text(properties, "url").filter(|url| !url.starts_with("https://"));
        url.map(|url| {
            Problem::new(Path::root().key("url"), format!("`{url}` is not an issuer"))
                .with_hint("an issuer begins with https://")
        })
        .into_iter()
        .collect()
    }

    fn id(&self, aws: &Clients, inputs: &Value, _operation: Option<(&Urn, &Token)>) -> Option<String> {
        let host = host(&text(inputs, "url")?);
        Some(format!(
            "arn:{}:iam::{}:oidc-provider/{host}",
            aws.partition, aws.account
        ))
    }

    fn key(&self, inputs: &Value) -> Option<String> {
        let host = host(&text(inputs, "url")?);
        Some(host)
    }

    async fn find(&self, work: Work<'_>, applied: Option<&Value>) -> Result<Option<Seen>, Failure> {
        let Some(provider) = read(work).await? else {
            return Ok(None);
        };
        let tags = from_iam(provider.tags.as_deref());
        let list =
            |items: Option<&[String]>| Value::list(items.unwrap_or_default().iter().map(|i| Value::str(i)));
        let host = provider.url.as_deref().map(host).unwrap_or_default();
        let mut properties = vec![
            ("url", Value::from(format!("https://{host}"))),
            ("clientIds", list(provider.client_id_list.as_deref())),
        ];
        // IAM fills thumbprints in itself; they are the program's only where it gave some.
        if applied.is_none_or(|applied| applied.get("thumbprints").is_some()) {
            properties.push(("thumbprints", list(provider.thumbprint_list.as_deref())));
        }
        let declared = tags::observed(&tags);
        if !is_empty(&declared) {
            properties.push(("tags", declared));
        }
        Ok(Some(Seen {
            present: Present {
                id: Arc::from(work.id),
                properties: Value::map(properties),
                outputs: Value::map([("arn", Value::str(work.id)), ("issuerHost", Value::from(host))]),
                owner: tags::owner(&tags),
            },
            token: token_of(&tags),
            unfinished: Vec::new(),
            leaving: false,
        }))
    }

    async fn make(&self, work: Work<'_>, inputs: &Value) -> Result<(), Failure> {
        let request = work
            .aws
            .iam
            .create_open_id_connect_provider()
            .url(format!(
                "https://{}",
                host(&text(inputs, "url").unwrap_or_default())
            ))
            .set_client_id_list(Some(client_ids(inputs)))
            .set_thumbprint_list(texts(inputs, "thumbprints"))
            .set_tags(Some(to_iam(tags::of_create(
                work.cx,
                &work.aws.default_tags,
                inputs,
            ))?));
        let send = || async {
            request
                .clone()
                .send()
                .await
                .map_err(sdk("iam:CreateOpenIDConnectProvider"))
        };
        ISSUER.send(work.cx, send).await.map(|_| ()).map_err(taken)
    }

    fn afterwards(&self, _inputs: &Value) -> Vec<String> {
        Vec::new()
    }

    async fn settle(&self, work: Work<'_>, applied: &Value, inputs: &Value) -> Result<(), Failure> {
        if applied.is_null() {
            return Ok(());
        }
        let iam = &work.aws.iam;
        let seen = read(work).await?.ok_or_else(|| gone(work.id))?;
        let wanted = client_ids(inputs);
        let before = client_ids(applied);
        // A read may be of before the last change: it only tells what somebody else took away.
        let there = seen.client_id_list.clone().unwrap_or_default();
        let is_due = |id: &&String| work.is_unsure() || !before.contains(id) || !there.contains(id);
        for id in wanted.iter().filter(is_due) {
            let request = iam
                .add_client_id_to_open_id_connect_provider()
                .open_id_connect_provider_arn(work.id)
                .client_id(id);
            request
                .send()
                .await
                .map_err(sdk("iam:AddClientIDToOpenIDConnectProvider"))?;
            work.changed();
        }
        for id in before.iter().filter(|id| !wanted.contains(id)) {
            let request = iam
                .remove_client_id_from_open_id_connect_provider()
                .open_id_connect_provider_arn(work.id)
                .client_id(id);
            let send = || async {
                let answer = request.clone().send().await;
                answer.map_err(sdk("iam:RemoveClientIDFromOpenIDConnectProvider"))
            };
            removed(work.cx, send).await?;
            work.changed();
        }
        if let Some(mut wanted) = texts(inputs, "thumbprints") {
            let mut there = seen.thumbprint_list.clone().unwrap_or_default();
            wanted.sort();
            there.sort();
            let is_due = work.is_new(applied, inputs, "thumbprints") || wanted != there;
            if !wanted.is_empty() && is_due {
                let request = iam
                    .update_open_id_connect_provider_thumbprint()
                    .open_id_connect_provider_arn(work.id)
                    .set_thumbprint_list(Some(wanted));
                request
                    .send()
                    .await
                    .map_err(sdk("iam:UpdateOpenIDConnectProviderThumbprint"))?;
                work.changed();
            }
        }
        let there = from_iam(seen.tags.as_deref());
        let (set, unset) = tags::change(work.cx, &work.aws.default_tags, applied, inputs, &there);
        if !set.is_empty() {
            let request = iam
                .tag_open_id_connect_provider()
                .open_id_connect_provider_arn(work.id)
                .set_tags(Some(to_iam(set)?));
            request
                .send()
                .await
                .map_err(sdk("iam:TagOpenIDConnectProvider"))?;
            work.changed();
        }
        if !unset.is_empty() {
            let request = iam
                .untag_open_id_connect_provider()
                .open_id_connect_provider_arn(work.id)
                .set_tag_keys(Some(unset));
            request
                .send()
                .await
                .map_err(sdk("iam:UntagOpenIDConnectProvider"))?;
            work.changed();
        }
        Ok(())
    }

    async fn remove(&self, work: Work<'_>) -> Result<(), Failure> {
        let request = work
            .aws
            .iam
            .delete_open_id_connect_provider()
            .open_id_connect_provider_arn(work.id);
        let send = || async {
            let answer = request.clone().send().await;
            answer.map_err(sdk("iam:DeleteOpenIDConnectProvider"))
        };
        removed(work.cx, send).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_the_same_with_and_without_port_and_slash() {
        let same = |a: &str, b: &str| same_url(&Value::str(a), &Value::str(b));
        assert!(same(
            "https://oidc.example/id/A",
            "https://oidc.example:443/id/A/"
        ));
        assert!(!same("https://oidc.example/id/A", "https://oidc.example/id/a"));
    }
}
