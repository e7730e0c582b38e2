//! The network as a client meets it: through decoded calls at chosen moments.

use super::super::facts::InterfaceRequest;
use super::super::trial::{Trial, texts};
use super::super::{Aws, Tags};
use std::time::Duration;

fn trial() -> Trial {
    Trial::new(super::handle)
}

impl Trial {
    fn vpc(&mut self) -> String {
        self.get("CreateVpc", "CidrBlock=10.0.0.0/16", "vpcId")
    }

    fn subnet(&mut self, vpc: &str, cidr: &str) -> String {
        self.get(
            "CreateSubnet",
            &format!("VpcId={vpc}&CidrBlock={cidr}"),
            "subnetId",
        )
    }

    fn attached_gateway(&mut self, vpc: &str) -> String {
        let id = self.get("CreateInternetGateway", "", "internetGatewayId");
        self.ok(
            "AttachInternetGateway",
            &format!("InternetGatewayId={id}&VpcId={vpc}"),
        );
        id
    }

    fn nat(&mut self, subnet: &str) -> (String, String) {
        let address = self.get("AllocateAddress", "Domain=vpc", "allocationId");
        let form = format!("SubnetId={subnet}&AllocationId={address}");
        (self.get("CreateNatGateway", &form, "natGatewayId"), address)
    }

    fn nat_state(&mut self, nat: &str) -> String {
        self.get("DescribeNatGateways", &format!("NatGatewayId.1={nat}"), "state")
    }

    fn interface(&mut self, subnet: &str, groups: &[&str], public: bool) -> String {
        let request = InterfaceRequest {
            subnet_id: subnet.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            description: "ELB app/web/1".to_owned(),
            requester: "amazon-elb".to_owned(),
            public,
            tags: Tags::new(),
        };
        let Aws { ec2, ids, .. } = &mut self.aws;
        ec2.create_interface(ids, self.now, request).0
    }
}

#[test]
fn a_vpc_comes_and_goes_with_its_defaults() {
    let mut trial = trial();
    let vpc = trial.vpc();
    trial.wait(1);
    assert_eq!(
        trial.get("DescribeVpcs", &format!("VpcId.1={vpc}"), "state"),
        "pending"
    );
    trial.wait(1);
    assert_eq!(
        trial.get("DescribeVpcs", &format!("VpcId.1={vpc}"), "state"),
        "available"
    );
    let of_vpc = format!("Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}");
    for (operation, element) in [
        ("DescribeRouteTables", "routeTableId"),
        ("DescribeSecurityGroups", "groupName"),
        ("DescribeNetworkAcls", "networkAclId"),
    ] {
        assert!(
            !texts(&trial.ok(operation, &of_vpc), element).is_empty(),
            "{operation}"
        );
    }
    let group = trial.get(
        "CreateSecurityGroup",
        &format!("GroupName=g&GroupDescription=d&VpcId={vpc}"),
        "groupId",
    );
    assert_eq!(
        trial.code("DeleteVpc", &format!("VpcId={vpc}")),
        "DependencyViolation"
    );
    trial.ok("DeleteSecurityGroup", &format!("GroupId={group}"));
    trial.ok("DeleteVpc", &format!("VpcId={vpc}"));
    assert_eq!(
        trial.code("DescribeVpcs", &format!("VpcId.1={vpc}")),
        "InvalidVpcID.NotFound"
    );
    for operation in [
        "DescribeRouteTables",
        "DescribeSecurityGroups",
        "DescribeNetworkAcls",
        "DescribeTags",
    ] {
        assert!(
            !trial.ok(operation, "").contains("<item>"),
            "{operation} still shows something"
        );
    }
    assert!(trial.aws.ec2.labels.is_empty() && trial.aws.ec2.rules.is_empty());
}

#[test]
fn vpc_attributes_change_one_at_a_time() {
    let mut trial = trial();
    let vpc = trial.vpc();
    trial.wait(2);
    let ask = format!("VpcId={vpc}&Attribute=enableDnsHostnames");
    assert!(
        trial
            .ok("DescribeVpcAttribute", &ask)
            .contains("<value>false</value>")
    );
    trial.ok(
        "ModifyVpcAttribute",
        &format!("VpcId={vpc}&EnableDnsHostnames.Value=true"),
    );
    assert!(
        trial
            .ok("DescribeVpcAttribute", &ask)
            .contains("<enableDnsHostnames><value>true</value>")
    );
    let both = format!("VpcId={vpc}&EnableDnsHostnames.Value=true&EnableDnsSupport.Value=true");
    assert_eq!(
        trial.code("ModifyVpcAttribute", &both),
        "InvalidParameterCombination"
    );
}

#[test]
fn subnets_keep_inside_their_vpc_and_apart() {
    let mut trial = trial();
    let vpc = trial.vpc();
    let subnet = trial.subnet(&vpc, "10.0.0.0/24");
    for (cidr, code) in [
        ("10.0.0.128/25", "InvalidSubnet.Conflict"),
        ("10.1.0.0/24", "InvalidSubnet.Range"),
        ("10.0.1.0/29", "InvalidSubnet.Range"),
        ("10.0.1.0", "InvalidParameterValue"),
    ] {
        assert_eq!(
            trial.code("CreateSubnet", &format!("VpcId={vpc}&CidrBlock={cidr}")),
            code,
            "{cidr}"
        );
    }
    let elsewhere = format!("VpcId={vpc}&CidrBlock=10.0.1.0/24&AvailabilityZone=us-east-1z");
    assert_eq!(trial.code("CreateSubnet", &elsewhere), "InvalidParameterValue");
    trial.wait(2);
    let by_id = format!("SubnetId.1={subnet}");
    assert_eq!(
        trial.get("DescribeSubnets", &by_id, "availableIpAddressCount"),
        "251"
    );
    let interface = trial.interface(&subnet, &[], false);
    assert_eq!(
        trial.get("DescribeSubnets", &by_id, "availableIpAddressCount"),
        "250"
    );
    assert_eq!(
        trial.code("DeleteSubnet", &format!("SubnetId={subnet}")),
        "DependencyViolation"
    );
    trial.aws.ec2.delete_interface(&interface);
    trial.ok("DeleteSubnet", &format!("SubnetId={subnet}"));
}

#[test]
fn a_nat_gateway_takes_its_time_and_holds_on_to_its_network() {
    let mut trial = trial();
    let vpc = trial.vpc();
    let subnet = trial.subnet(&vpc, "10.0.0.0/24");
    let gateway = trial.attached_gateway(&vpc);
    let (nat, address) = trial.nat(&subnet);
    trial.wait(2);
    assert_eq!(trial.nat_state(&nat), "pending");
    assert_eq!(
        trial.aws.ec2.next_due(),
        Some(trial.now.after(Duration::from_secs(88)))
    );
    trial.wait(88);
    assert_eq!(trial.nat_state(&nat), "available");

    let release = format!("AllocationId={address}");
    let detach = format!("InternetGatewayId={gateway}&VpcId={vpc}");
    let error = trial.call("DetachInternetGateway", &detach).unwrap_err();
    assert_eq!(error.code, "DependencyViolation");
    assert!(
        error.message.contains("has some mapped public address(es)"),
        "{}",
        error.message
    );
    assert_eq!(trial.code("ReleaseAddress", &release), "InvalidIPAddress.InUse");
    assert_eq!(
        trial.code("DeleteSubnet", &format!("SubnetId={subnet}")),
        "DependencyViolation"
    );

    trial.ok("DeleteNatGateway", &format!("NatGatewayId={nat}"));
    trial.wait(59);
    assert_eq!(trial.nat_state(&nat), "deleting");
    assert_eq!(trial.code("ReleaseAddress", &release), "InvalidIPAddress.InUse");
    trial.wait(1);
    assert_eq!(trial.nat_state(&nat), "deleted");
    trial.ok("ReleaseAddress", &release);
    assert_eq!(
        trial.code("ReleaseAddress", &release),
        "InvalidAllocationID.NotFound"
    );
    trial.ok("DetachInternetGateway", &detach);
    assert_eq!(
        trial.code("DetachInternetGateway", &detach),
        "Gateway.NotAttached"
    );
    trial.ok("DeleteSubnet", &format!("SubnetId={subnet}"));
    trial.ok("DeleteInternetGateway", &format!("InternetGatewayId={gateway}"));
    trial.ok("DeleteVpc", &format!("VpcId={vpc}"));
    trial.wait(3_600);
    assert_eq!(
        trial.code("DescribeNatGateways", &format!("NatGatewayId.1={nat}")),
        "NatGatewayNotFound"
    );
}

#[test]
fn a_nat_gateway_without_internet_gateway_fails_later() {
    let mut trial = trial();
    let vpc = trial.vpc();
    let subnet = trial.subnet(&vpc, "10.0.0.0/24");
    let (nat, _) = trial.nat(&subnet);
    trial.wait(2);
    assert_eq!(trial.nat_state(&nat), "pending");
    trial.wait(3);
    let answer = trial.ok("DescribeNatGateways", &format!("NatGatewayId.1={nat}"));
    assert_eq!(texts(&answer, "state"), ["failed"]);
    assert_eq!(texts(&answer, "failureCode"), ["Gateway.NotAttached"]);
    trial.ok("DeleteSubnet", &format!("SubnetId={subnet}"));
}

#[test]
fn a_client_token_makes_one_gateway() {
    let mut trial = trial();
    let vpc = trial.vpc();
    let subnet = trial.subnet(&vpc, "10.0.0.0/24");
    trial.attached_gateway(&vpc);
    let address = trial.get("AllocateAddress", "", "allocationId");
    let form = format!("SubnetId={subnet}&AllocationId={address}&ClientToken=t1");
    let first = trial.get("CreateNatGateway", &form, "natGatewayId");
    assert_eq!(trial.get("CreateNatGateway", &form, "natGatewayId"), first);
    let other = format!("{form}&TagSpecification.1.ResourceType=natgateway&TagSpecification.1.Tag.1.Key=a");
    assert_eq!(
        trial.code("CreateNatGateway", &other),
        "IdempotentParameterMismatch"
    );
    let table = format!("VpcId={vpc}&ClientToken=t1");
    let id = trial.get("CreateRouteTable", &table, "routeTableId");
    assert_eq!(trial.get("CreateRouteTable", &table, "routeTableId"), id);
}

#[test]
fn routes_make_subnets_public_or_private() {
    let mut trial = trial();
    let vpc = trial.vpc();
    let (public, private) = (
        trial.subnet(&vpc, "10.0.0.0/24"),
        trial.subnet(&vpc, "10.0.1.0/24"),
    );
    let gateway = trial.attached_gateway(&vpc);
    let table = |trial: &mut Trial, subnet: &str| {
        let id = trial.get("CreateRouteTable", &format!("VpcId={vpc}"), "routeTableId");
        let associate = format!("RouteTableId={id}&SubnetId={subnet}");
        let association = trial.get("AssociateRouteTable", &associate, "associationId");
        assert_eq!(
            trial.code("AssociateRouteTable", &associate),
            "Resource.AlreadyAssociated"
        );
        (id, association)
    };
    let (out, association) = table(&mut trial, &public);
    let (inner, _) = table(&mut trial, &private);
    let route = format!("RouteTableId={out}&DestinationCidrBlock=0.0.0.0/0");
    trial.ok("CreateRoute", &format!("{route}&GatewayId={gateway}"));
    assert_eq!(
        trial.code("CreateRoute", &format!("{route}&GatewayId={gateway}")),
        "RouteAlreadyExists"
    );
    let (nat, _) = trial.nat(&public);
    trial.wait(100);
    let inner_route = format!("RouteTableId={inner}&DestinationCidrBlock=0.0.0.0/0&NatGatewayId={nat}");
    trial.ok("CreateRoute", &inner_route);
    let facts = |trial: &Trial, id: &str| trial.aws.ec2.subnet(id).map(|subnet| (subnet.public, subnet.nat));
    assert_eq!(facts(&trial, &public), Some((true, false)));
    assert_eq!(facts(&trial, &private), Some((false, true)));

    trial.ok("DeleteRoute", &route);
    assert_eq!(trial.code("DeleteRoute", &route), "InvalidRoute.NotFound");
    assert_eq!(
        facts(&trial, &private),
        Some((false, false)),
        "a NAT gateway in a private subnet leads nowhere"
    );
    assert_eq!(
        trial.code("DeleteRouteTable", &format!("RouteTableId={out}")),
        "DependencyViolation"
    );
    let disassociate = format!("AssociationId={association}");
    trial.ok("DisassociateRouteTable", &disassociate);
    assert_eq!(
        trial.code("DisassociateRouteTable", &disassociate),
        "InvalidAssociationID.NotFound"
    );
    trial.ok("DeleteRouteTable", &format!("RouteTableId={out}"));

    trial.ok("DeleteNatGateway", &format!("NatGatewayId={nat}"));
    trial.wait(60);
    let shown = trial.ok("DescribeRouteTables", &format!("RouteTableId.1={inner}"));
    assert!(
        texts(&shown, "state").contains(&"blackhole".to_owned()),
        "{shown}"
    );
}

#[test]
fn the_main_table_can_be_another() {
    let mut trial = trial();
    let vpc = trial.vpc();
    trial.wait(2);
    let main = trial.get(
        "DescribeRouteTables",
        "Filter.1.Name=association.main&Filter.1.Value.1=true",
        "routeTableAssociationId",
    );
    assert_eq!(
        trial.code("DisassociateRouteTable", &format!("AssociationId={main}")),
        "InvalidParameterValue"
    );
    let table = trial.get("CreateRouteTable", &format!("VpcId={vpc}"), "routeTableId");
    let replace = format!("AssociationId={main}&RouteTableId={table}");
    assert_ne!(
        trial.get("ReplaceRouteTableAssociation", &replace, "newAssociationId"),
        main
    );
    assert_eq!(
        trial.code("DeleteRouteTable", &format!("RouteTableId={table}")),
        "DependencyViolation"
    );
}

#[test]
fn groups_that_name_each_other_hold_each_other() {
    let mut trial = trial();
    let vpc = trial.vpc();
    let group = |trial: &mut Trial, name: &str| {
        let form = format!("GroupName={name}&GroupDescription=d&VpcId={vpc}");
        trial.get("CreateSecurityGroup", &form, "groupId")
    };
    let (a, b) = (group(&mut trial, "a"), group(&mut trial, "b"));
    let again = format!("GroupName=a&GroupDescription=d&VpcId={vpc}");
    assert_eq!(
        trial.code("CreateSecurityGroup", &again),
        "InvalidGroup.Duplicate"
    );
    let rule = |of: &str, from: &str| {
        format!(
            "GroupId={of}&IpPermissions.1.IpProtocol=-1&IpPermissions.1.FromPort=0&IpPermissions.1.ToPort=65535&IpPermissions.1.Groups.1.GroupId={from}"
        )
    };
    let sgr = trial.get(
        "AuthorizeSecurityGroupIngress",
        &rule(&a, &b),
        "securityGroupRuleId",
    );
    trial.ok("AuthorizeSecurityGroupIngress", &rule(&b, &a));
    assert_eq!(
        trial.code("AuthorizeSecurityGroupIngress", &rule(&a, &b)),
        "InvalidPermission.Duplicate"
    );
    assert_eq!(
        trial.code("DeleteSecurityGroup", &format!("GroupId={a}")),
        "DependencyViolation"
    );
    trial.wait(2);
    let rules = trial.ok(
        "DescribeSecurityGroupRules",
        &format!("SecurityGroupRuleId.1={sgr}"),
    );
    assert_eq!(
        texts(&rules, "fromPort"),
        ["-1"],
        "EC2 keeps no ports for protocol -1"
    );
    let shown = trial.ok("DescribeSecurityGroups", &format!("GroupId.1={a}"));
    assert!(texts(&shown, "fromPort").is_empty() && texts(&shown, "groupId").contains(&b));
    trial.ok(
        "RevokeSecurityGroupIngress",
        &format!("GroupId={a}&SecurityGroupRuleId.1={sgr}"),
    );
    trial.ok("RevokeSecurityGroupIngress", &rule(&b, &a));
    assert_eq!(
        trial.code("RevokeSecurityGroupIngress", &rule(&b, &a)),
        "InvalidPermission.NotFound"
    );

    let subnet = trial.subnet(&vpc, "10.0.0.0/24");
    let interface = trial.interface(&subnet, &[&b], true);
    trial.ok("DeleteSecurityGroup", &format!("GroupId={a}"));
    assert_eq!(
        trial.code("DeleteSecurityGroup", &format!("GroupId={b}")),
        "DependencyViolation"
    );
    trial.aws.ec2.delete_interface(&interface);
    trial.ok("DeleteSecurityGroup", &format!("GroupId={b}"));
}

#[test]
fn rules_are_normalised_checked_and_modified() {
    let mut trial = trial();
    let vpc = trial.vpc();
    let group = trial.get(
        "CreateSecurityGroup",
        &format!("GroupName=web&GroupDescription=d&VpcId={vpc}"),
        "groupId",
    );
    let authorize = |protocol: &str, ports: &str, cidr: &str| {
        format!(
            "GroupId={group}&IpPermissions.1.IpProtocol={protocol}{ports}&IpPermissions.1.IpRanges.1.CidrIp={cidr}"
        )
    };
    let ports = "&IpPermissions.1.FromPort=80&IpPermissions.1.ToPort=80";
    let answer = trial.ok(
        "AuthorizeSecurityGroupIngress",
        &authorize("6", ports, "10.0.0.1/8"),
    );
    assert_eq!(texts(&answer, "ipProtocol"), ["tcp"]);
    assert_eq!(texts(&answer, "cidrIpv4"), ["10.0.0.0/8"]);
    for (protocol, ports, cidr) in [
        ("tcp", "", "10.0.0.0/8"),
        ("tcp", ports, "10.0.0/8"),
        ("what", ports, "10.0.0.0/8"),
    ] {
        let code = trial.code("AuthorizeSecurityGroupIngress", &authorize(protocol, ports, cidr));
        assert_eq!(code, "InvalidParameterValue", "{protocol} {ports} {cidr}");
    }
    let id = texts(&answer, "securityGroupRuleId").join("");
    let modify = format!(
        "GroupId={group}&SecurityGroupRule.1.SecurityGroupRuleId={id}&SecurityGroupRule.1.SecurityGroupRule.IpProtocol=tcp\
         &SecurityGroupRule.1.SecurityGroupRule.FromPort=443&SecurityGroupRule.1.SecurityGroupRule.ToPort=443\
         &SecurityGroupRule.1.SecurityGroupRule.CidrIpv4=0.0.0.0/0&SecurityGroupRule.1.SecurityGroupRule.Description=web"
    );
    trial.ok("ModifySecurityGroupRules", &modify);
    trial.wait(2);
    let shown = trial.ok(
        "DescribeSecurityGroups",
        "Filter.1.Name=ip-permission.to-port&Filter.1.Value.1=443",
    );
    assert_eq!(texts(&shown, "groupName"), ["web"]);
    assert!(shown.contains("<description>web</description>"));
}

#[test]
fn a_new_resource_appears_within_a_second() {
    let mut trial = trial();
    let mut unseen = 0;
    for _ in 0..5 {
        let vpc = trial.vpc();
        let by_id = format!("VpcId.1={vpc}");
        unseen += u32::from(trial.code("DescribeVpcs", &by_id) == "InvalidVpcID.NotFound");
        trial.wait(1);
        trial.ok("DescribeVpcs", &by_id);
    }
    assert!(unseen > 0);
    assert_eq!(
        trial.code("CreateVpc", "CidrBlock=10.9.0.0/16"),
        "VpcLimitExceeded"
    );
}

#[test]
fn a_dry_run_finds_errors_and_changes_nothing() {
    let mut trial = trial();
    let before = serde_json::to_string(&trial.aws).unwrap();
    let error = trial
        .call("CreateVpc", "CidrBlock=10.0.0.0/16&DryRun=true")
        .unwrap_err();
    assert_eq!((error.status, error.code.as_str()), (412, "DryRunOperation"));
    assert_eq!(
        trial.code("CreateVpc", "CidrBlock=10.0.0.0/8&DryRun=true"),
        "InvalidVpc.Range"
    );
    assert_eq!(serde_json::to_string(&trial.aws).unwrap(), before);
}

#[test]
fn pages_filters_and_tags() {
    let mut trial = trial();
    let vpc = trial.vpc();
    for n in 0..12 {
        let form = format!(
            "VpcId={vpc}&CidrBlock=10.0.{n}.0/24&TagSpecification.1.ResourceType=subnet\
             &TagSpecification.1.Tag.1.Key=role&TagSpecification.1.Tag.1.Value=r{}",
            n % 2
        );
        trial.ok("CreateSubnet", &form);
    }
    let wrong = format!("VpcId={vpc}&CidrBlock=10.0.99.0/24&TagSpecification.1.ResourceType=vpc");
    assert_eq!(trial.code("CreateSubnet", &wrong), "InvalidParameterValue");
    trial.wait(2);
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let answer = trial.ok("DescribeSubnets", &format!("MaxResults=5{token}"));
        seen.extend(texts(&answer, "subnetId"));
        match texts(&answer, "nextToken").first() {
            Some(next) => token = format!("&NextToken={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 12);
    assert!(seen.is_sorted());
    assert_eq!(
        trial.code("DescribeSubnets", "MaxResults=4"),
        "InvalidParameterValue"
    );
    assert_eq!(
        trial.code("DescribeSubnets", "NextToken=zz"),
        "InvalidPaginationToken"
    );
    let count = |trial: &mut Trial, form: &str| texts(&trial.ok("DescribeSubnets", form), "subnetId").len();
    assert_eq!(count(&mut trial, "Filter.1.Name=tag:role&Filter.1.Value.1=r1"), 6);
    assert_eq!(
        count(&mut trial, "Filter.1.Name=tag:role&Filter.1.Value.1=r*"),
        12
    );
    assert_eq!(
        count(
            &mut trial,
            "Filter.1.Name=cidr-block&Filter.1.Value.1=10.0.?.0/24"
        ),
        10
    );
    assert_eq!(
        trial.code("DescribeSubnets", "Filter.1.Name=colour&Filter.1.Value.1=red"),
        "InvalidParameterValue"
    );

    let first = seen.remove(0);
    trial.ok(
        "CreateTags",
        &format!("ResourceId.1={first}&Tag.1.Key=extra&Tag.1.Value=1"),
    );
    let of_first = format!("Filter.1.Name=resource-id&Filter.1.Value.1={first}");
    assert_eq!(
        texts(&trial.ok("DescribeTags", &of_first), "key"),
        ["extra", "role"]
    );
    trial.ok(
        "DeleteTags",
        &format!("ResourceId.1={first}&Tag.1.Key=extra&Tag.1.Value=2&Tag.2.Key=role"),
    );
    assert_eq!(texts(&trial.ok("DescribeTags", &of_first), "key"), ["extra"]);
    assert_eq!(
        trial.code("CreateTags", "ResourceId.1=vpc-0&Tag.1.Key=a"),
        "InvalidVpcID.NotFound"
    );
    assert_eq!(
        trial.code("CreateTags", &format!("ResourceId.1={first}&Tag.1.Key=aws:a")),
        "InvalidParameterValue"
    );
}

#[test]
fn zones_of_us_east_1_include_the_one_that_eks_refuses() {
    let mut trial = trial();
    let zones = trial.ok(
        "DescribeAvailabilityZones",
        "Filter.1.Name=state&Filter.1.Value.1=available",
    );
    assert_eq!(texts(&zones, "zoneName").len(), 6);
    assert!(texts(&zones, "zoneId").contains(&"use1-az3".to_owned()));
    assert_eq!(
        trial.get("DescribeRegions", "RegionName.1=eu-west-1", "regionEndpoint"),
        "ec2.eu-west-1.amazonaws.com"
    );
}

#[test]
fn groups_of_services_are_made_and_removed() {
    let mut trial = trial();
    let vpc = trial.vpc();
    let Aws { ec2, ids, .. } = &mut trial.aws;
    let one = ec2.service_security_group(
        ids,
        &vpc,
        "one",
        "d",
        Tags::new(),
        true,
        &[("0.0.0.0/0".to_owned(), 80)],
    );
    let other = ec2.service_security_group(ids, &vpc, "other", "d", Tags::new(), false, &[]);
    ec2.admit_group(ids, &one, &other);
    ec2.admit_group(ids, &one, &other);
    assert!(!ec2.delete_service_security_group(&other));
    let shown = trial.ok(
        "DescribeSecurityGroupRules",
        &format!("Filter.1.Name=group-id&Filter.1.Value.1={one}"),
    );
    assert_eq!(
        texts(&shown, "securityGroupRuleId").len(),
        4,
        "egress, self, block, other group once"
    );
    trial.aws.ec2.revoke_group(&one, &other);
    assert!(trial.aws.ec2.delete_service_security_group(&other));
    assert!(trial.aws.ec2.delete_service_security_group(&one));
}
