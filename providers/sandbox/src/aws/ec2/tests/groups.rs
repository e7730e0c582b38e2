//! Security groups and their rules.

use super::super::super::trial::{Trial, texts};
use super::super::super::{Aws, Tags};
use super::trial;

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
