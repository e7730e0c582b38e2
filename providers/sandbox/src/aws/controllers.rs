//! The cloud as a cluster's controllers see it.

use super::eks::{self, Cluster};
use super::elbv2::{self, Owner};
use super::policy::allows;
use super::{Aws, IAM_PROPAGATION, sts};
use crate::Timestamp;
use crate::cloud::{Access, Cloud, LoadBalancerRequest, LoadBalancerState, Principal};
use std::collections::BTreeMap;

/// Actions without which the load balancer controller gets nowhere.
const CONTROLLER_ACTIONS: [&str; 10] = [
    "elasticloadbalancing:DescribeLoadBalancers",
    "ec2:DescribeSubnets",
    "ec2:DescribeSecurityGroups",
    "ec2:CreateSecurityGroup",
    "ec2:AuthorizeSecurityGroupIngress",
    "elasticloadbalancing:CreateLoadBalancer",
    "elasticloadbalancing:CreateTargetGroup",
    "elasticloadbalancing:CreateListener",
    "elasticloadbalancing:RegisterTargets",
    "elasticloadbalancing:DeleteLoadBalancer",
];

/// One cluster's view of the account; the region of the cluster is the current one.
pub(crate) struct ClusterCloud<'a> {
    pub aws: &'a mut Aws,
    pub now: Timestamp,
    /// The cluster's name.
    pub cluster: &'a str,
    /// The namespace that the request is about, for access policies of that scope.
    pub namespace: Option<&'a str>,
}

impl ClusterCloud<'_> {
    fn eks(&self) -> Option<&Cluster> {
        self.aws.eks.cluster(self.cluster)
    }

    fn owner(&self) -> Option<Owner> {
        let cluster = self.eks()?;
        Some(Owner {
            cluster: cluster.name.clone(),
            cluster_id: cluster.id.clone(),
            cluster_group: cluster.network().cluster_group.clone(),
            vpc_id: cluster.network().vpc_id.clone(),
        })
    }
}

impl Cloud for ClusterCloud<'_> {
    fn fargate_profile(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Option<String> {
        self.eks()?.profile_for(namespace, labels).map(str::to_owned)
    }

    fn fargate_subnets_reach_internet(&self, profile: &str) -> bool {
        let subnets = self
            .eks()
            .map_or(&[][..], |cluster| cluster.profile_subnets(profile));
        !subnets.is_empty()
            && subnets
                .iter()
                .all(|id| self.aws.ec2.subnet(id).is_some_and(|subnet| subnet.nat))
    }

    fn role_usable(
        &self,
        now: Timestamp,
        role_arn: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<(), String> {
        let issuer = self
            .eks()
            .map(|cluster| cluster.issuer(&self.aws.region))
            .unwrap_or_default();
        let subject = format!("system:serviceaccount:{namespace}:{service_account}");
        sts::web_identity_role(self.aws, now, role_arn, &issuer, &subject, "sts.amazonaws.com").map_err(
            |error| {
                format!(
                    "WebIdentityErr: failed to retrieve credentials caused by: {}: {} status code: {}",
                    error.code, error.message, error.status
                )
            },
        )?;
        let role = self
            .aws
            .iam
            .role(role_arn)
            .ok_or_else(|| format!("no such role: {role_arn}"))?;
        let missing = CONTROLLER_ACTIONS.iter().find(|action| {
            !role
                .permissions
                .iter()
                .any(|(document, since)| now >= since.after(IAM_PROPAGATION) && allows(document, action))
        });
        match missing {
            None => Ok(()),
            Some(action) => Err(format!(
                "AccessDenied: User: arn:aws:sts::{}:assumed-role/{}/{service_account} is not authorized to perform: \
                 {action} because no identity-based policy allows the {action} action",
                self.aws.account, role.name
            )),
        }
    }

    fn ensure_load_balancer(
        &mut self,
        now: Timestamp,
        request: &LoadBalancerRequest,
    ) -> Result<LoadBalancerState, String> {
        let owner = self.owner().ok_or("the cluster is gone")?;
        elbv2::ensure(self.aws, now, &owner, request)
    }

    fn delete_load_balancer(&mut self, now: Timestamp, key: &str) -> bool {
        match self.owner() {
            Some(owner) => elbv2::remove(self.aws, now, &owner, key),
            None => true,
        }
    }

    fn access(&self, principal: &Principal) -> Access {
        match self.eks() {
            Some(cluster) => eks::access(self.aws, self.now, cluster, principal, self.namespace),
            None => Access::Unauthenticated,
        }
    }

    fn vpc_id(&self) -> &str {
        self.eks().map_or("", |cluster| cluster.network().vpc_id.as_str())
    }

    fn cluster_name(&self) -> &str {
        self.cluster
    }

    fn region(&self) -> &str {
        &self.aws.region
    }
}
