//! What a cluster's controllers may ask of the cloud around them, and who may speak to a cluster.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who sent a request: an IAM user, role session or account root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The ARN as STS GetCallerIdentity answers it, e.g. `arn:aws:iam::000000000000:user/sandbox`.
    pub arn: String,
    /// The unique id, e.g. `AIDA...`; `AROA...:session` for a role session.
    pub user_id: String,
    /// The twelve digits of the account.
    pub account: String,
}

/// What a principal may do in a cluster, from its access entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// No access entry: the API server answers 401.
    Unauthenticated,
    /// An access entry without a policy: every request is answered 403.
    Forbidden,
    /// AmazonEKSViewPolicy: reads, except of secrets.
    View,
    /// AmazonEKSEditPolicy or AmazonEKSAdminPolicy: reads and writes, except of cluster-wide kinds.
    Edit,
    /// AmazonEKSClusterAdminPolicy: everything.
    Admin,
}

/// Whether a load balancer has addresses reachable from the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// Public addresses, in subnets tagged `kubernetes.io/role/elb`.
    InternetFacing,
    /// Private addresses, in subnets tagged `kubernetes.io/role/internal-elb`.
    Internal,
}

/// Application (Ingress) or network (Service of type LoadBalancer) load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadBalancerKind {
    /// Layer 7.
    Application,
    /// Layer 4.
    Network,
}

/// A port on which a load balancer listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerRequest {
    /// 1 to 65535.
    pub port: u16,
    /// `HTTP`, `HTTPS`, `TCP` or `TLS`.
    pub protocol: String,
    /// ARNs of ACM certificates; needed for `HTTPS` and `TLS`.
    pub certificates: Vec<String>,
}

/// A group of targets behind a load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroupRequest {
    /// Name, unique in account and region, at most 32 characters.
    pub name: String,
    /// Port of the targets.
    pub port: u16,
    /// `HTTP`, `HTTPS`, `TCP`.
    pub protocol: String,
    /// `ip` or `instance`.
    pub target_type: String,
    /// Addresses and ports of the ready targets.
    pub targets: Vec<(String, u16)>,
}

/// What the load balancer controller wants to exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerRequest {
    /// The controller's own key, unique in the cluster: e.g. `ingress/<namespace>/<name>`.
    pub key: String,
    /// Name of the load balancer, at most 32 characters, e.g. `k8s-default-curator-1a2b3c4d5e`.
    pub name: String,
    /// Layer.
    pub kind: LoadBalancerKind,
    /// Reachability.
    pub scheme: Scheme,
    /// Subnet ids; empty: found by their role tag, at least two zones for an application load balancer.
    pub subnets: Vec<String>,
    /// Ports.
    pub listeners: Vec<ListenerRequest>,
    /// Targets.
    pub target_groups: Vec<TargetGroupRequest>,
    /// CIDR blocks allowed in; empty means `0.0.0.0/0`.
    pub inbound_cidrs: Vec<String>,
    /// Tags for everything made, next to `elbv2.k8s.aws/cluster`, which is added.
    pub tags: BTreeMap<String, String>,
}

/// What exists of a requested load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerState {
    /// ARN.
    pub arn: String,
    /// Public DNS name, known as soon as the load balancer exists.
    pub dns_name: String,
    /// True once it serves traffic (state `active`).
    pub active: bool,
}

/// What a cluster's controllers can ask of the cloud around them.
pub trait Cloud {
    /// The ACTIVE Fargate profile whose selectors match a pod; of several the alphanumerically first.
    fn fargate_profile(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Option<String>;

    /// Whether pods of the profile can pull images: all its subnets have a route out through a NAT gateway.
    fn fargate_subnets_reach_internet(&self, profile: &str) -> bool;

    /// Whether the service account may assume the role and the role may manage load balancers.
    ///
    /// # Errors
    /// The text that the AWS SDK in the pod would log: no such OIDC provider, trust that does not match,
    /// missing permissions.
    fn role_usable(
        &self,
        now: Timestamp,
        role_arn: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<(), String>;

    /// Makes or updates a load balancer with its security groups, interfaces, listeners and target groups.
    /// Idempotent by [`LoadBalancerRequest::key`].
    ///
    /// # Errors
    /// The controller's message, e.g. that fewer than two subnets were found.
    fn ensure_load_balancer(
        &mut self,
        now: Timestamp,
        request: &LoadBalancerRequest,
    ) -> Result<LoadBalancerState, String>;

    /// Starts or continues deleting a load balancer; true once nothing of it is left, or nothing ever was.
    fn delete_load_balancer(&mut self, now: Timestamp, key: &str) -> bool;

    /// What a principal may do in this cluster.
    fn access(&self, principal: &Principal) -> Access;

    /// The VPC of the cluster, e.g. to check `--aws-vpc-id`.
    fn vpc_id(&self) -> &str;

    /// The name of the cluster, e.g. to check `--cluster-name`.
    fn cluster_name(&self) -> &str;

    /// The region, e.g. to check `--aws-region`.
    fn region(&self) -> &str;
}
