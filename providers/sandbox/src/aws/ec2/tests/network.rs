//! VPCs, subnets, gateways and routes: what comes, what holds what, and what goes.

use super::super::super::trial::{Trial, texts};
use super::trial;
use std::time::Duration;

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
