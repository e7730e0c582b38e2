//! How Kubernetes connections get their tokens and reach API servers.

use std::sync::Arc;

use async_trait::async_trait;
use epid_aws::settings::Account;
use epid_kubernetes::{BearerToken, Cluster, Kubernetes, Settings, TokenSource};
use epid_provider::{Call, Failure};

/// Tokens of EKS clusters, made of AWS credentials.
struct EksTokens(epid_aws::Settings);

#[async_trait]
impl TokenSource for EksTokens {
    async fn token(&self, cx: &Call, cluster: &Cluster) -> Result<BearerToken, Failure> {
        let account = Account {
            region: Some(cluster.region.clone()).filter(|r| !r.is_empty()),
            ..Account::default()
        };
        let now = cx.now();
        let token = epid_aws::cluster_token(&self.0, &account, &cluster.name, now).await?;
        Ok(BearerToken {
            token,
            expires: now.after(std::time::Duration::from_secs(600)),
        })
    }
}

/// Real clusters.
#[expect(
    clippy::disallowed_methods,
    reason = "a kubeconfig is read where a provider names one"
)]
pub(crate) fn real() -> Kubernetes {
    let tokens = Arc::new(EksTokens(epid_aws::Settings::ordinary()));
    Kubernetes::new(Settings::real(
        tokens,
        Arc::new(|path: &str| std::fs::read_to_string(path)),
    ))
}

/// The clusters of the sandbox.
#[cfg(feature = "sandbox")]
pub(crate) fn simulated(way: epid_sandbox::Way, aws: epid_aws::Settings) -> Kubernetes {
    let handler = move |request| {
        let way = way.clone();
        async move { way.call(request).await }
    };
    Kubernetes::new(Settings::simulated(Arc::new(EksTokens(aws)), handler))
}
