//! Policies that AWS keeps: those that clusters of EKS need, and a few that everybody knows.
//!
//! The documents are abridged: the actions that something in the sandbox asks about, on every resource. AWS's own
//! have more statements, conditions and versions.

use super::super::Xml;
use serde_json::{Value, json};

/// When all of them were made, as listings show it.
pub(super) const CREATED: &str = "2018-05-27T21:07:14Z";
const PREFIX: &str = "arn:aws:iam::aws:policy/";

/// A policy of AWS.
#[derive(Debug)]
pub(super) struct Managed {
    /// Path and name, e.g. `service-role/AmazonEBSCSIDriverPolicy`.
    name: &'static str,
    actions: &'static [&'static str],
}

const ECR: &[&str] = &[
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
];

const POLICIES: &[Managed] = &[
    Managed {
        name: "AdministratorAccess",
        actions: &["*"],
    },
    Managed {
        name: "AmazonEC2ContainerRegistryPullOnly",
        actions: ECR,
    },
    Managed {
        name: "AmazonEC2ContainerRegistryReadOnly",
        actions: ECR,
    },
    Managed {
        name: "AmazonEKSBlockStoragePolicy",
        actions: &["ec2:CreateVolume", "ec2:CreateSnapshot"],
    },
    Managed {
        name: "AmazonEKSClusterPolicy",
        actions: &[
            "ec2:CreateNetworkInterface",
            "ec2:CreateSecurityGroup",
            "ec2:DescribeSubnets",
            "ec2:DescribeVpcs",
            "elasticloadbalancing:*",
            "kms:DescribeKey",
        ],
    },
    Managed {
        name: "AmazonEKSComputePolicy",
        actions: &["ec2:CreateFleet", "ec2:RunInstances"],
    },
    Managed {
        name: "AmazonEKSFargatePodExecutionRolePolicy",
        actions: ECR,
    },
    Managed {
        name: "AmazonEKSLoadBalancingPolicy",
        actions: &["elasticloadbalancing:*"],
    },
    Managed {
        name: "AmazonEKSNetworkingPolicy",
        actions: &["ec2:CreateNetworkInterface"],
    },
    Managed {
        name: "AmazonEKSServicePolicy",
        actions: &["ec2:CreateNetworkInterface", "eks:UpdateClusterVersion"],
    },
    Managed {
        name: "AmazonEKSVPCResourceController",
        actions: &[
            "ec2:CreateNetworkInterfacePermission",
            "ec2:DescribeNetworkInterfaces",
        ],
    },
    Managed {
        name: "AmazonEKSWorkerNodePolicy",
        actions: &["ec2:DescribeInstances", "eks:DescribeCluster"],
    },
    Managed {
        name: "AmazonEKS_CNI_Policy",
        actions: &[
            "ec2:AssignPrivateIpAddresses",
            "ec2:AttachNetworkInterface",
            "ec2:CreateNetworkInterface",
        ],
    },
    Managed {
        name: "AmazonSSMManagedInstanceCore",
        actions: &["ssm:UpdateInstanceInformation"],
    },
    Managed {
        name: "CloudWatchAgentServerPolicy",
        actions: &["cloudwatch:PutMetricData", "logs:PutLogEvents"],
    },
    Managed {
        name: "CloudWatchLogsFullAccess",
        actions: &["logs:*"],
    },
    Managed {
        name: "ElasticLoadBalancingFullAccess",
        actions: &["elasticloadbalancing:*"],
    },
    Managed {
        name: "IAMFullAccess",
        actions: &["iam:*"],
    },
    Managed {
        name: "ReadOnlyAccess",
        actions: &["*:Describe*", "*:Get*", "*:List*"],
    },
    Managed {
        name: "service-role/AmazonEBSCSIDriverPolicy",
        actions: &["ec2:AttachVolume", "ec2:CreateVolume"],
    },
];

pub(super) fn find(arn: &str) -> Option<&'static Managed> {
    let name = arn.strip_prefix(PREFIX)?;
    POLICIES.iter().find(|policy| policy.name == name)
}

/// ARNs of all.
pub(super) fn all() -> impl Iterator<Item = String> {
    POLICIES.iter().map(|policy| format!("{PREFIX}{}", policy.name))
}

impl Managed {
    /// A unique id made of the name, which AWS's are not.
    pub(super) fn id(&self) -> String {
        let letters = self
            .name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_uppercase());
        let tail: Vec<char> = letters.rev().take(17).collect();
        format!("ANPA{:A>17}", tail.into_iter().rev().collect::<String>())
    }

    pub(super) fn document(&self) -> Value {
        json!({
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Action": self.actions, "Resource": "*" }],
        })
    }
}

/// The elements of the only version of a policy, without its document.
pub(super) fn write_version() -> Xml {
    Xml::new()
        .text("VersionId", "v1")
        .text("IsDefaultVersion", true)
        .text("CreateDate", CREATED)
}
