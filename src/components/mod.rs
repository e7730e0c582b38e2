//! Components that come with epid: pure expansions into ordinary declarations.
//!
//! | module | what it knows |
//! |---|---|
//! | `network` | [`Network`]: a VPC with public and private subnets |
//! | `fargate_cluster` | [`FargateCluster`]: an EKS cluster without nodes of its own |
//! | `controller`, `controller_policy`, `controller_crds` | [`LoadBalancerController`]: what makes load balancers of Ingresses |
//! | `web_service` | [`WebService`]: Deployment, Service, Secret and Ingress |
//! | `manifests` | [`Manifests`]: files of Kubernetes YAML |
//! | `written` | words for templates |
//!
//! Knows the program room and the kinds it names; no provider, no state, no I/O.

mod controller;
mod controller_crds;
mod controller_policy;
mod fargate_cluster;
#[cfg(feature = "kubernetes")]
mod manifests;
mod network;
mod web_service;
mod written;

pub use controller::LoadBalancerController;
pub use fargate_cluster::FargateCluster;
#[cfg(feature = "kubernetes")]
pub use manifests::Manifests;
pub use network::Network;
pub use web_service::WebService;

use crate::program::Components;

/// All components that come with epid.
#[must_use]
pub fn all() -> Components {
    let components = Components::new()
        .with(Network::default())
        .with(FargateCluster::default())
        .with(LoadBalancerController::default())
        .with(WebService::default());
    #[cfg(feature = "kubernetes")]
    let components = components.with(Manifests::default());
    components
}
