//! The default network ACL of each VPC: it admits everything, and every subnet uses it.

use super::super::Xml;
use super::describe::Resource;
use super::{Cx, Ec2};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A default network ACL.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NetworkAcl {
    pub(super) vpc: String,
}

impl NetworkAcl {
    fn subnets<'a>(&'a self, ec2: &'a Ec2) -> impl Iterator<Item = &'a String> {
        ec2.subnets
            .iter()
            .filter(|(_, subnet)| subnet.vpc == self.vpc)
            .map(|(id, _)| id)
    }
}

impl Resource for NetworkAcl {
    const SET: &'static str = "networkAclSet";
    const IDS: &'static str = "NetworkAclId";
    const NOT_FOUND: &'static str = "InvalidNetworkAclID.NotFound";
    const FILTERS: &'static [&'static str] =
        &["association.subnet-id", "default", "network-acl-id", "vpc-id"];

    fn all(ec2: &Ec2) -> &BTreeMap<String, Self> {
        &ec2.acls
    }

    fn absent(id: &str) -> String {
        format!("The networkAcl ID '{id}' does not exist")
    }

    fn facts(&self, id: &str, ec2: &Ec2, _cx: &Cx<'_>) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("default", "true".to_owned()),
            ("network-acl-id", id.to_owned()),
            ("vpc-id", self.vpc.clone()),
        ];
        facts.extend(
            self.subnets(ec2)
                .map(|subnet| ("association.subnet-id", subnet.clone())),
        );
        facts
    }

    fn write(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Xml {
        let entries = [true, false]
            .into_iter()
            .flat_map(|egress| [(egress, 100, "allow"), (egress, 32_767, "deny")]);
        Xml::new()
            .items("associationSet", self.subnets(ec2), |subnet| {
                Xml::new()
                    .text(
                        "networkAclAssociationId",
                        subnet.replacen("subnet", "aclassoc", 1),
                    )
                    .text("networkAclId", id)
                    .text("subnetId", subnet)
            })
            .text("default", true)
            .items("entrySet", entries, |(egress, number, action)| {
                Xml::new()
                    .text("cidrBlock", "0.0.0.0/0")
                    .text("egress", egress)
                    .text("protocol", "-1")
                    .text("ruleAction", action)
                    .text("ruleNumber", number)
            })
            .text("networkAclId", id)
            .text("ownerId", cx.account)
            .text("vpcId", &self.vpc)
            .tag_set(&ec2.tags(id))
    }
}

pub(super) fn create_default(ec2: &mut Ec2, cx: &mut Cx<'_>, vpc: &str) {
    let id = cx.id("acl");
    ec2.acls.insert(id.clone(), NetworkAcl { vpc: vpc.to_owned() });
    ec2.label(cx.now, &id, Default::default());
}
