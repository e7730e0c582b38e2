//! Every operation of EC2 that the sandbox answers, as a table.

use super::super::{ApiError, Params, Xml};
use super::{
    Cx, Ec2, address, describe, gateway, interface, nat, network_acl, route_table, rule, security_group,
    subnet, tags, vpc, zones,
};

type Operation = fn(&mut Ec2, &mut Cx<'_>, &Params) -> Result<Xml, ApiError>;

/// Parameters of the operations on rules and routes.
const RULE: &[&str] = &[
    "CidrIp",
    "FromPort",
    "GroupId",
    "IpPermissions",
    "IpProtocol",
    "SecurityGroupRuleId",
    "TagSpecification",
    "ToPort",
];
const ROUTE: &[&str] = &[
    "DestinationCidrBlock",
    "GatewayId",
    "NatGatewayId",
    "NetworkInterfaceId",
    "RouteTableId",
];

/// Every operation this room answers, with the parameters it understands.
pub(super) const ALL: &[(&str, Operation, &[&str])] = &[
    (
        "AllocateAddress",
        address::allocate,
        &["Domain", "TagSpecification"],
    ),
    (
        "AssociateRouteTable",
        route_table::associate,
        &["RouteTableId", "SubnetId"],
    ),
    (
        "AttachInternetGateway",
        gateway::attach,
        &["InternetGatewayId", "VpcId"],
    ),
    ("AuthorizeSecurityGroupEgress", rule::authorize_egress, RULE),
    ("AuthorizeSecurityGroupIngress", rule::authorize_ingress, RULE),
    ("CreateInternetGateway", gateway::create, &["TagSpecification"]),
    (
        "CreateNatGateway",
        nat::create,
        &[
            "AllocationId",
            "ClientToken",
            "ConnectivityType",
            "SubnetId",
            "TagSpecification",
        ],
    ),
    ("CreateRoute", route_table::create_route, ROUTE),
    (
        "CreateRouteTable",
        route_table::create,
        &["ClientToken", "TagSpecification", "VpcId"],
    ),
    (
        "CreateSecurityGroup",
        security_group::create,
        &["GroupDescription", "GroupName", "TagSpecification", "VpcId"],
    ),
    (
        "CreateSubnet",
        subnet::create,
        &[
            "AvailabilityZone",
            "AvailabilityZoneId",
            "CidrBlock",
            "TagSpecification",
            "VpcId",
        ],
    ),
    ("CreateTags", tags::create, &["ResourceId", "Tag"]),
    (
        "CreateVpc",
        vpc::create,
        &["CidrBlock", "InstanceTenancy", "TagSpecification"],
    ),
    ("DeleteInternetGateway", gateway::delete, &["InternetGatewayId"]),
    ("DeleteNatGateway", nat::delete, &["NatGatewayId"]),
    (
        "DeleteNetworkInterface",
        interface::delete,
        &["NetworkInterfaceId"],
    ),
    (
        "DeleteRoute",
        route_table::delete_route,
        &["DestinationCidrBlock", "RouteTableId"],
    ),
    ("DeleteRouteTable", route_table::delete, &["RouteTableId"]),
    ("DeleteSecurityGroup", security_group::delete, &["GroupId"]),
    ("DeleteSubnet", subnet::delete, &["SubnetId"]),
    ("DeleteTags", tags::delete, &["ResourceId", "Tag"]),
    ("DeleteVpc", vpc::delete, &["VpcId"]),
    (
        "DescribeAccountAttributes",
        zones::describe_account_attributes,
        &["AttributeName"],
    ),
    (
        "DescribeAddresses",
        describe::answer::<address::Address>,
        &["AllocationId", "Filter"],
    ),
    (
        "DescribeAvailabilityZones",
        zones::describe_zones,
        &["AllAvailabilityZones", "Filter", "ZoneId", "ZoneName"],
    ),
    (
        "DescribeInternetGateways",
        describe::answer::<gateway::InternetGateway>,
        &["InternetGatewayId", "Filter", "MaxResults", "NextToken"],
    ),
    (
        "DescribeNatGateways",
        describe::answer::<nat::NatGateway>,
        &["NatGatewayId", "Filter", "MaxResults", "NextToken"],
    ),
    (
        "DescribeNetworkAcls",
        describe::answer::<network_acl::NetworkAcl>,
        &["NetworkAclId", "Filter", "MaxResults", "NextToken"],
    ),
    (
        "DescribeNetworkInterfaces",
        describe::answer::<interface::Interface>,
        &["NetworkInterfaceId", "Filter", "MaxResults", "NextToken"],
    ),
    (
        "DescribeRegions",
        zones::describe_regions,
        &["AllRegions", "Filter", "RegionName"],
    ),
    (
        "DescribeRouteTables",
        describe::answer::<route_table::RouteTable>,
        &["RouteTableId", "Filter", "MaxResults", "NextToken"],
    ),
    (
        "DescribeSecurityGroupRules",
        describe::answer::<rule::Rule>,
        &["SecurityGroupRuleId", "Filter", "MaxResults", "NextToken"],
    ),
    (
        "DescribeSecurityGroups",
        describe::answer::<security_group::SecurityGroup>,
        &["GroupId", "Filter", "MaxResults", "NextToken"],
    ),
    (
        "DescribeSubnets",
        describe::answer::<subnet::Subnet>,
        &["SubnetId", "Filter", "MaxResults", "NextToken"],
    ),
    (
        "DescribeTags",
        tags::describe,
        &["Filter", "MaxResults", "NextToken"],
    ),
    (
        "DescribeVpcAttribute",
        vpc::describe_attribute,
        &["Attribute", "VpcId"],
    ),
    (
        "DescribeVpcs",
        describe::answer::<vpc::Vpc>,
        &["VpcId", "Filter", "MaxResults", "NextToken"],
    ),
    (
        "DetachInternetGateway",
        gateway::detach,
        &["InternetGatewayId", "VpcId"],
    ),
    (
        "DisassociateRouteTable",
        route_table::disassociate,
        &["AssociationId"],
    ),
    (
        "ModifySecurityGroupRules",
        rule::modify,
        &["GroupId", "SecurityGroupRule"],
    ),
    (
        "ModifySubnetAttribute",
        subnet::modify_attribute,
        &["MapPublicIpOnLaunch", "SubnetId"],
    ),
    (
        "ModifyVpcAttribute",
        vpc::modify_attribute,
        &[
            "EnableDnsHostnames",
            "EnableDnsSupport",
            "EnableNetworkAddressUsageMetrics",
            "VpcId",
        ],
    ),
    (
        "ReleaseAddress",
        address::release,
        &["AllocationId", "NetworkBorderGroup"],
    ),
    ("ReplaceRoute", route_table::replace_route, ROUTE),
    (
        "ReplaceRouteTableAssociation",
        route_table::replace_association,
        &["AssociationId", "RouteTableId"],
    ),
    ("RevokeSecurityGroupEgress", rule::revoke_egress, RULE),
    ("RevokeSecurityGroupIngress", rule::revoke_ingress, RULE),
];
