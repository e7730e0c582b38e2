//! What the load balancer controller may do in an account: actions and conditions of the IAM policy that its
//! documentation asks for (<https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/installation/>),
//! without WAF, Shield and Cognito, which are switched off, and with ingress rules limited to one VPC.

use super::written::{list, map, some, text, texts};
use crate::expression::Located;

/// Reads that have no resource of their own.
const READS: &[&str] = &[
    "ec2:DescribeAccountAttributes",
    "ec2:DescribeAddresses",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeCoipPools",
    "ec2:DescribeInstances",
    "ec2:DescribeInternetGateways",
    "ec2:DescribeIpamPools",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeTags",
    "ec2:DescribeVpcPeeringConnections",
    "ec2:DescribeVpcs",
    "ec2:GetCoipPoolUsage",
    "ec2:GetSecurityGroupsForVpc",
    "elasticloadbalancing:DescribeCapacityReservation",
    "elasticloadbalancing:DescribeListenerAttributes",
    "elasticloadbalancing:DescribeListenerCertificates",
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeLoadBalancerAttributes",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeSSLPolicies",
    "elasticloadbalancing:DescribeTags",
    "elasticloadbalancing:DescribeTargetGroupAttributes",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "elasticloadbalancing:DescribeTrustStores",
    "acm:DescribeCertificate",
    "acm:ListCertificates",
];

const BALANCED: &[&str] = &["targetgroup/*/*", "loadbalancer/net/*/*", "loadbalancer/app/*/*"];
const LISTENING: &[&str] = &[
    "listener/net/*/*/*",
    "listener/app/*/*/*",
    "listener-rule/net/*/*/*",
    "listener-rule/app/*/*/*",
];

/// The controller's tag is, or is not, on the thing or in the request.
#[derive(Clone, Copy)]
enum Tag {
    Resource,
    Request,
    ResourceNotRequest,
}

fn tagged(tag: Tag) -> Located {
    let null = |entries: &[(&str, &str)]| -> Located {
        let entries = entries
            .iter()
            .map(|(key, absent)| (format!("aws:{key}/elbv2.k8s.aws/cluster"), Located::from(*absent)));
        let null: Located = crate::expression::Template::object(entries).into();
        map([("Null", null)])
    };
    match tag {
        Tag::Resource => null(&[("ResourceTag", "false")]),
        Tag::Request => null(&[("RequestTag", "false")]),
        Tag::ResourceNotRequest => null(&[("ResourceTag", "false"), ("RequestTag", "true")]),
    }
}

fn allow(actions: &[&str], resources: Option<Vec<Located>>, condition: Option<Located>) -> Located {
    some(vec![
        ("Effect", Some("Allow".into())),
        ("Action", Some(texts(actions))),
        ("Resource", Some(resources.map_or_else(|| "*".into(), list))),
        ("Condition", condition),
    ])
}

/// The policy document. `partition`, `region` and `account` are expressions without `${}`; `vpc` is text within text.
pub(super) fn document(partition: &str, region: &str, account: &str, vpc: &str) -> Located {
    let ec2 = |what: &str| text(&format!("arn:${{{partition}}}:ec2:*:*:{what}"));
    let elb = |parts: &[&str]| -> Vec<Located> {
        let arn = |part: &&str| text(&format!("arn:${{{partition}}}:elasticloadbalancing:*:*:{part}"));
        parts.iter().map(arn).collect()
    };
    let groups = || Some(vec![ec2("security-group/*")]);
    let vpc_arn = text(&format!(
        "arn:${{{partition}}}:ec2:${{{region}}}:${{{account}}}:vpc/{vpc}"
    ));
    let in_vpc = map([("ArnEquals", map([("ec2:Vpc", vpc_arn)]))]);
    let linked = map([(
        "StringEquals",
        map([("iam:AWSServiceName", "elasticloadbalancing.amazonaws.com".into())]),
    )]);
    let creating = |key: &'static str, value: Located, more: Located| {
        let mut entries = vec![("StringEquals", map([(key, value)]))];
        let null = more.template.get("Null").cloned();
        entries.extend(null.map(|null| ("Null", null)));
        Some(crate::expression::Template::object(entries).into())
    };
    let tagging = ["elasticloadbalancing:AddTags", "elasticloadbalancing:RemoveTags"];
    let statements = [
        allow(&["iam:CreateServiceLinkedRole"], None, Some(linked)),
        allow(READS, None, None),
        allow(
            &[
                "ec2:AuthorizeSecurityGroupIngress",
                "ec2:RevokeSecurityGroupIngress",
            ],
            None,
            Some(in_vpc),
        ),
        allow(&["ec2:CreateSecurityGroup"], None, None),
        allow(
            &["ec2:CreateTags"],
            groups(),
            creating(
                "ec2:CreateAction",
                "CreateSecurityGroup".into(),
                tagged(Tag::Request),
            ),
        ),
        allow(
            &["ec2:CreateTags", "ec2:DeleteTags"],
            groups(),
            Some(tagged(Tag::ResourceNotRequest)),
        ),
        allow(
            &[
                "ec2:AuthorizeSecurityGroupIngress",
                "ec2:RevokeSecurityGroupIngress",
                "ec2:DeleteSecurityGroup",
            ],
            None,
            Some(tagged(Tag::Resource)),
        ),
        allow(
            &[
                "elasticloadbalancing:CreateLoadBalancer",
                "elasticloadbalancing:CreateTargetGroup",
            ],
            None,
            Some(tagged(Tag::Request)),
        ),
        allow(
            &[
                "elasticloadbalancing:CreateListener",
                "elasticloadbalancing:DeleteListener",
                "elasticloadbalancing:CreateRule",
                "elasticloadbalancing:DeleteRule",
            ],
            None,
            None,
        ),
        allow(
            &tagging,
            Some(elb(BALANCED)),
            Some(tagged(Tag::ResourceNotRequest)),
        ),
        allow(&tagging, Some(elb(LISTENING)), None),
        allow(
            &[
                "elasticloadbalancing:ModifyLoadBalancerAttributes",
                "elasticloadbalancing:SetIpAddressType",
                "elasticloadbalancing:SetSecurityGroups",
                "elasticloadbalancing:SetSubnets",
                "elasticloadbalancing:DeleteLoadBalancer",
                "elasticloadbalancing:ModifyTargetGroup",
                "elasticloadbalancing:ModifyTargetGroupAttributes",
                "elasticloadbalancing:DeleteTargetGroup",
                "elasticloadbalancing:ModifyListenerAttributes",
                "elasticloadbalancing:ModifyCapacityReservation",
                "elasticloadbalancing:ModifyIpPools",
            ],
            None,
            Some(tagged(Tag::Resource)),
        ),
        allow(
            &["elasticloadbalancing:AddTags"],
            Some(elb(BALANCED)),
            creating(
                "elasticloadbalancing:CreateAction",
                texts(&["CreateTargetGroup", "CreateLoadBalancer"]),
                tagged(Tag::Request),
            ),
        ),
        allow(
            &[
                "elasticloadbalancing:RegisterTargets",
                "elasticloadbalancing:DeregisterTargets",
            ],
            Some(elb(&["targetgroup/*/*"])),
            None,
        ),
        allow(
            &[
                "elasticloadbalancing:ModifyListener",
                "elasticloadbalancing:AddListenerCertificates",
                "elasticloadbalancing:RemoveListenerCertificates",
                "elasticloadbalancing:ModifyRule",
                "elasticloadbalancing:SetRulePriorities",
            ],
            None,
            None,
        ),
    ];
    map([("Version", "2012-10-17".into()), ("Statement", list(statements))])
}
