//! The network as a client meets it: through decoded calls at chosen moments.

mod groups;
mod invariants;
mod listing;
mod network;

use super::super::facts::InterfaceRequest;
use super::super::trial::Trial;
use super::super::{Aws, Tags};

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
