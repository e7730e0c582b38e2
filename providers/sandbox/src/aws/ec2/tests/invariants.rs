//! Whatever is asked in whatever order, nothing in the network refers to what is gone.

use super::super::super::trial::Trial;
use super::super::Ec2;
use super::trial;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The nth id of a map, counted round; an id of nothing when it is empty.
fn pick<T>(map: &BTreeMap<String, T>, n: u8) -> String {
    let place = usize::from(n) % map.len().max(1);
    map.keys()
        .nth(place)
        .cloned()
        .unwrap_or_else(|| "none-0".to_owned())
}

/// One call that may well fail.
fn step(trial: &mut Trial, (choice, a, b): (u8, u8, u8)) {
    let ec2 = &trial.aws.ec2;
    let (vpc, subnet, gateway) = (pick(&ec2.vpcs, a), pick(&ec2.subnets, a), pick(&ec2.gateways, b));
    let (table, address, nat) = (
        pick(&ec2.route_tables, b),
        pick(&ec2.addresses, b),
        pick(&ec2.nat_gateways, a),
    );
    let (group, peer) = (pick(&ec2.groups, a), pick(&ec2.groups, b));
    let association = ec2
        .route_tables
        .get(&table)
        .map(|table| table.first_association())
        .unwrap_or_default();
    let permission =
        format!("GroupId={group}&IpPermissions.1.IpProtocol=-1&IpPermissions.1.Groups.1.GroupId={peer}");
    let route = format!("RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0");
    let (operation, form) = match choice % 21 {
        0 => ("CreateVpc", "CidrBlock=10.0.0.0/16".to_owned()),
        1 | 2 => (
            "CreateSubnet",
            format!("VpcId={vpc}&CidrBlock=10.0.{}.0/24", b % 8),
        ),
        3 => ("CreateInternetGateway", String::new()),
        4 => (
            "AttachInternetGateway",
            format!("VpcId={vpc}&InternetGatewayId={gateway}"),
        ),
        5 => (
            "DetachInternetGateway",
            format!("VpcId={vpc}&InternetGatewayId={gateway}"),
        ),
        6 => ("AllocateAddress", String::new()),
        7 | 8 => (
            "CreateNatGateway",
            format!("SubnetId={subnet}&AllocationId={address}"),
        ),
        9 => ("DeleteNatGateway", format!("NatGatewayId={nat}")),
        10 => ("ReleaseAddress", format!("AllocationId={address}")),
        11 => ("CreateRouteTable", format!("VpcId={vpc}")),
        12 => (
            "AssociateRouteTable",
            format!("RouteTableId={table}&SubnetId={subnet}"),
        ),
        13 => ("DisassociateRouteTable", format!("AssociationId={association}")),
        14 => ("CreateRoute", format!("{route}&GatewayId={gateway}")),
        15 => ("DeleteRouteTable", format!("RouteTableId={table}")),
        16 => (
            "CreateSecurityGroup",
            format!("VpcId={vpc}&GroupName=g{b}&GroupDescription=d"),
        ),
        17 => ("AuthorizeSecurityGroupIngress", permission),
        18 => ("DeleteSecurityGroup", format!("GroupId={group}")),
        19 => ("DeleteSubnet", format!("SubnetId={subnet}")),
        _ => ("DeleteVpc", format!("VpcId={vpc}")),
    };
    let before = serde_json::to_string(&trial.aws).unwrap();
    if trial.call(operation, &form).is_err() {
        // Only time may have passed: the same call on the state before leaves the same state behind.
        trial.aws.ec2.advance(trial.now);
        let mut replayed: super::super::super::Aws = serde_json::from_str(&before).unwrap();
        replayed.ec2.advance(trial.now);
        assert_eq!(
            serde_json::to_string(&replayed).unwrap(),
            serde_json::to_string(&trial.aws).unwrap()
        );
    }
    trial.wait(u64::from(b) / 4);
}

fn check(ec2: &Ec2) {
    let vpc = |id: &String| assert!(ec2.vpcs.contains_key(id), "no VPC {id}");
    ec2.subnets.values().for_each(|subnet| vpc(&subnet.vpc));
    ec2.gateways
        .values()
        .filter_map(|gateway| gateway.vpc.as_ref())
        .for_each(vpc);
    ec2.route_tables.values().for_each(|table| vpc(&table.vpc));
    ec2.groups.values().for_each(|group| vpc(&group.vpc));
    ec2.acls.values().for_each(|acl| vpc(&acl.vpc));
    for interface in ec2.interfaces.values() {
        assert!(
            ec2.subnets.contains_key(&interface.subnet),
            "an interface without subnet"
        );
        assert!(interface.public.is_none() || ec2.attached_gateway(&interface.vpc).is_some());
    }
    for rule in ec2.rules.values() {
        assert!(ec2.groups.contains_key(&rule.group), "a rule without group");
    }
    for (id, address) in &ec2.addresses {
        let mapped = address.interface();
        assert!(
            mapped.is_none_or(|interface| ec2.interfaces.contains_key(interface)),
            "{id} dangles"
        );
    }
    for id in ec2.vpcs.keys() {
        let mains = ec2
            .route_tables
            .values()
            .filter(|table| table.vpc == *id && table.is_main())
            .count();
        assert_eq!(mains, 1, "{id} has one main route table");
    }
    let resources = ec2.vpcs.len()
        + ec2.subnets.len()
        + ec2.gateways.len()
        + ec2.addresses.len()
        + ec2.nat_gateways.len()
        + ec2.route_tables.len()
        + ec2.groups.len()
        + ec2.rules.len()
        + ec2.interfaces.len()
        + ec2.acls.len();
    assert_eq!(ec2.labels.len(), resources, "labels belong to resources");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn nothing_dangles(steps in prop::collection::vec(any::<(u8, u8, u8)>(), 1..120)) {
        let mut trial = trial();
        for one in steps {
            step(&mut trial, one);
            check(&trial.aws.ec2);
        }
    }
}
