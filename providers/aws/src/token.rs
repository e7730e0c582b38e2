//! The bearer token of an EKS cluster: a presigned STS request, as `aws eks get-token` makes it.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use epid_provider::{Failure, Timestamp};

use crate::failure;
use crate::settings::{Account, Settings};
use crate::wire::domain;

/// How long the presigned URL says that it is valid; EKS itself accepts a token for fifteen minutes after its date.
const EXPIRES: Duration = Duration::from_secs(60);

/// The bearer token by which the caller of `account` enters `cluster`, made at `now`; EKS accepts it for fifteen
/// minutes. No request is sent, except where credentials have to be fetched.
///
/// The region is the cluster's: that of `account`, else the configured one. The shape of the token
/// (`k8s-aws-v1.` and the URL of a presigned `GetCallerIdentity` with the signed header `x-k8s-aws-id`) is that of
/// aws-iam-authenticator.
///
/// # Errors
/// Where no region or no credentials are found.
pub async fn cluster_token(
    settings: &Settings,
    account: &Account,
    cluster: &str,
    now: Timestamp,
) -> Result<String, Failure> {
    let config = settings.load(account).await?;
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    let provider = config
        .credentials_provider()
        .ok_or_else(|| Failure::new("NoCredentials", "no AWS credentials are configured"))?;
    let credentials = provider
        .provide_credentials()
        .await
        .map_err(|error| failure::no_credentials(&error))?;
    let url = format!(
        "https://sts.{}/?Action=GetCallerIdentity&Version=2011-06-15",
        domain(&region)
    );
    let mut signing = SigningSettings::default();
    signing.signature_location = SignatureLocation::QueryParams;
    signing.expires_in = Some(EXPIRES);
    let identity = credentials.into();
    let wrong = |error: &(dyn std::error::Error + 'static)| Failure::new("Token", failure::chain(error));
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&region)
        .name("sts")
        .time(SystemTime::UNIX_EPOCH + Duration::from_millis(now.0))
        .settings(signing)
        .build()
        .map_err(|error| wrong(&error))?
        .into();
    let headers = [("x-k8s-aws-id", cluster)];
    let request = SignableRequest::new("GET", &url, headers.into_iter(), SignableBody::Bytes(&[]))
        .map_err(|error| wrong(&error))?;
    let (instructions, _signature) = sign(request, &params)
        .map_err(|error| wrong(&error))?
        .into_parts();
    let mut url = url::Url::parse(&url).map_err(|error| wrong(&error))?;
    for (name, value) in instructions.params() {
        url.query_pairs_mut().append_pair(name, value);
    }
    Ok(format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(url.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulated() -> Settings {
        let handler = |_request| async {
            Err::<http::Response<http_body_util::Empty<bytes::Bytes>>, _>(std::io::Error::other("no request"))
        };
        Settings::simulated(handler, || SystemTime::UNIX_EPOCH)
    }

    #[tokio::test]
    async fn a_token_is_a_presigned_url_with_the_clusters_header() {
        let account = Account {
            region: Some("eu-west-1".into()),
            ..Account::default()
        };
        let at = Timestamp(1_795_341_600_000);
        let token = cluster_token(&simulated(), &account, "demo", at).await.unwrap();
        let encoded = token.strip_prefix("k8s-aws-v1.").unwrap();
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap();
        for part in [
            "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&",
            "X-Amz-Date=20261122T100000Z",
            "X-Amz-Expires=60",
            "X-Amz-SignedHeaders=host%3Bx-k8s-aws-id",
            "X-Amz-Signature=",
        ] {
            assert!(url.contains(part), "{part} in {url}");
        }
    }
}
