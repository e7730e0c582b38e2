//! The cases of EC2's kinds, the same for every service that claims to be EC2.

use epid_fake::conformance::{Case, case, conformance};
use epid_provider::{Token, Urn, Value};

use crate::rig::{Rig, call, filled};

/// What the cases stand on.
pub(crate) struct Ground {
    names: Vec<(String, String)>,
}

impl Ground {
    /// Makes a network with two subnets, a gateway, two addresses and a group.
    pub(crate) async fn make(rig: &Rig) -> Self {
        let mut ground = Self { names: Vec::new() };
        for (name, kind, json) in [
            ("vpc", "aws:ec2:Vpc", r#"{"cidrBlock":"10.0.0.0/16"}"#),
            (
                "subnetA",
                "aws:ec2:Subnet",
                r#"{"vpcId":"$vpc","cidrBlock":"10.0.0.0/24","availabilityZone":"us-east-1a"}"#,
            ),
            (
                "subnetB",
                "aws:ec2:Subnet",
                r#"{"vpcId":"$vpc","cidrBlock":"10.0.1.0/24","availabilityZone":"us-east-1b"}"#,
            ),
            ("emptyVpc", "aws:ec2:Vpc", r#"{"cidrBlock":"10.9.0.0/16"}"#),
            ("gateway", "aws:ec2:InternetGateway", r#"{"vpcId":"$vpc"}"#),
            ("address", "aws:ec2:Eip", r#"{}"#),
            ("spare", "aws:ec2:Eip", r#"{}"#),
            ("group", "aws:ec2:SecurityGroup", r#"{"vpcId":"$vpc"}"#),
            (
                "public",
                "aws:ec2:RouteTable",
                r#"{"vpcId":"$vpc","subnetIds":["$subnetA"],
                    "routes":[{"destinationCidrBlock":"0.0.0.0/0","gatewayId":"$gateway"}]}"#,
            ),
            (
                "nat",
                "aws:ec2:NatGateway",
                r#"{"subnetId":"$subnetA","allocationId":"$address"}"#,
            ),
        ] {
            let record = rig.made(kind, name, ground.fill(json)).await;
            ground.names.push((name.to_owned(), record.id.to_string()));
        }
        ground
    }

    /// A value of JSON with the ids of the ground.
    pub(crate) fn fill(&self, json: &str) -> Value {
        let names: Vec<(&str, &str)> = self
            .names
            .iter()
            .map(|(n, id)| (n.as_str(), id.as_str()))
            .collect();
        filled(json, &names)
    }

    /// The lives that each kind is led through.
    pub(crate) fn cases(&self) -> Vec<Case> {
        let of = |kind: &str, create: &str, updates: &[&str]| {
            case(
                kind,
                self.fill(create),
                updates.iter().map(|json| self.fill(json)),
            )
            .expect("a kind")
        };
        vec![
            of(
                "aws:ec2:Vpc",
                r#"{"cidrBlock":"10.1.0.0/16","enableDnsHostnames":true,"tags":{"Name":"a","old":"1"}}"#,
                &[
                    r#"{"cidrBlock":"10.1.0.0/16","enableDnsHostnames":false,"tags":{"Name":"b"}}"#,
                    r#"{"cidrBlock":"10.1.0.0/16","enableDnsSupport":false}"#,
                    r#"{"cidrBlock":"10.1.0.0/16","enableDnsHostnames":true,"enableDnsSupport":true}"#,
                ],
            ),
            of(
                "aws:ec2:Subnet",
                r#"{"vpcId":"$vpc","cidrBlock":"10.0.7.0/24","mapPublicIpOnLaunch":true,
                    "tags":{"kubernetes.io/role/elb":"1"}}"#,
                &[r#"{"vpcId":"$vpc","cidrBlock":"10.0.7.0/24","tags":{"Name":"x y"}}"#],
            ),
            of(
                "aws:ec2:InternetGateway",
                r#"{"tags":{"Name":"way"}}"#,
                &[
                    r#"{"vpcId":"$emptyVpc"}"#,
                    r#"{"tags":{"Name":"out"}}"#,
                    r#"{"vpcId":"$emptyVpc"}"#,
                ],
            ),
            of(
                "aws:ec2:Eip",
                r#"{"tags":{"Name":"a"}}"#,
                &[r#"{"tags":{"Other":"b"}}"#, "{}"],
            ),
            of(
                "aws:ec2:NatGateway",
                r#"{"subnetId":"$subnetA","allocationId":"$spare","tags":{"Name":"a"}}"#,
                &[r#"{"subnetId":"$subnetA","allocationId":"$spare"}"#],
            ),
            of(
                "aws:ec2:NatGateway",
                r#"{"subnetId":"$subnetA","connectivityType":"private"}"#,
                &[],
            ),
            of(
                "aws:ec2:RouteTable",
                r#"{"vpcId":"$vpc","subnetIds":["$subnetB"],
                    "routes":[{"destinationCidrBlock":"0.0.0.0/0","gatewayId":"$gateway"}]}"#,
                &[
                    r#"{"vpcId":"$vpc","subnetIds":["$subnetB"],
                        "routes":[{"destinationCidrBlock":"0.0.0.0/0","natGatewayId":"$nat"}]}"#,
                    r#"{"vpcId":"$vpc","routes":[{"destinationCidrBlock":"8.8.8.0/24","natGatewayId":"$nat"}],
                        "tags":{"Name":"t"}}"#,
                    r#"{"vpcId":"$vpc","subnetIds":["$subnetB"]}"#,
                ],
            ),
            of(
                "aws:ec2:SecurityGroup",
                r#"{"vpcId":"$vpc","groupName":"web","description":"web servers","ingress":[
                    {"ipProtocol":"tcp","fromPort":443,"toPort":443,"cidrIpv4":"0.0.0.0/0","description":"all"},
                    {"ipProtocol":"-1","self":true}]}"#,
                &[
                    r#"{"vpcId":"$vpc","groupName":"web","description":"web servers","ingress":[
                        {"ipProtocol":"tcp","fromPort":443,"toPort":443,"cidrIpv4":"0.0.0.0/0","description":"the web"},
                        {"ipProtocol":"tcp","fromPort":80,"toPort":80,"referencedGroupId":"$group"}],
                        "egress":[{"ipProtocol":"udp","fromPort":53,"toPort":53,"cidrIpv4":"10.0.0.0/16"}]}"#,
                    r#"{"vpcId":"$vpc","groupName":"web","description":"web servers","ingress":[],
                        "egress":[{"ipProtocol":"-1","cidrIpv4":"0.0.0.0/0"}],"exclusive":true}"#,
                ],
            ),
        ]
    }

    /// What is wrong with the kinds; nothing, where all is well.
    pub(crate) async fn problems(&self, rig: &Rig, cases: &[Case]) -> Vec<String> {
        let call = |urn: &Urn, token: &Token| call(&rig.runtime, urn, token);
        conformance(&rig.aws, &*rig.connection, &call, cases).await
    }
}
