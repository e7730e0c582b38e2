//! What all operations have in common: ids, filters, pages, tags, dry runs, zones.

use super::super::super::trial::{Trial, texts};
use super::trial;

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
fn what_is_not_simulated_is_refused() {
    let mut trial = trial();
    assert_eq!(trial.code("RunInstances", ""), "NotSimulated");
    assert_eq!(
        trial.code(
            "CreateVpc",
            "CidrBlock=10.0.0.0/16&AmazonProvidedIpv6CidrBlock=true"
        ),
        "NotSimulated"
    );
    trial.ok(
        "CreateVpc",
        "CidrBlock=10.0.0.0/16&AmazonProvidedIpv6CidrBlock=false",
    );
    assert_eq!(
        trial.code("DescribeSecurityGroups", "GroupName.1=default"),
        "NotSimulated"
    );
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
