//! Security groups. Their rules are resources of their own, in [`super::rule`].

use super::super::{ApiError, Ids, Params, Xml};
use super::describe::{Resource, find};
use super::rule::{Peer, Rule, permission_set};
use super::vpc::Vpc;
use super::{Cx, Ec2, Tags, dependency, tags};
use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What group names and descriptions may hold besides letters and digits.
const PUNCTUATION: &str = " ._-:/()#,@[]+=&;{}!$*";

/// A security group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SecurityGroup {
    pub(super) vpc: String,
    pub(super) name: String,
    description: String,
}

impl SecurityGroup {
    /// The name of the group that each VPC comes with.
    pub(super) const DEFAULT: &'static str = "default";
}

impl Resource for SecurityGroup {
    const SET: &'static str = "securityGroupInfo";
    const IDS: &'static str = "GroupId";
    const NOT_FOUND: &'static str = "InvalidGroup.NotFound";
    const FILTERS: &'static [&'static str] = &[
        "description",
        "egress.ip-permission.cidr",
        "egress.ip-permission.from-port",
        "egress.ip-permission.group-id",
        "egress.ip-permission.protocol",
        "egress.ip-permission.to-port",
        "group-id",
        "group-name",
        "ip-permission.cidr",
        "ip-permission.from-port",
        "ip-permission.group-id",
        "ip-permission.protocol",
        "ip-permission.to-port",
        "vpc-id",
    ];

    fn all(ec2: &Ec2) -> &BTreeMap<String, Self> {
        &ec2.groups
    }

    fn absent(id: &str) -> String {
        format!("The security group '{id}' does not exist")
    }

    fn facts(&self, id: &str, ec2: &Ec2, _cx: &Cx<'_>) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("description", self.description.clone()),
            ("group-id", id.to_owned()),
            ("group-name", self.name.clone()),
            ("vpc-id", self.vpc.clone()),
        ];
        for rule in ec2.rules.values().filter(|rule| rule.group == id) {
            facts.extend(rule.permission_facts());
        }
        facts
    }

    fn write(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Xml {
        let rules = |egress| {
            ec2.rules
                .values()
                .filter(move |rule| rule.group == id && rule.egress == egress)
        };
        Xml::new()
            .text("ownerId", cx.account)
            .text("groupId", id)
            .text("groupName", &self.name)
            .text("groupDescription", &self.description)
            .text("vpcId", &self.vpc)
            .text("securityGroupArn", cx.arn("security-group", id))
            .node("ipPermissions", permission_set(rules(false), cx))
            .node("ipPermissionsEgress", permission_set(rules(true), cx))
            .tag_set(&ec2.tags(id))
    }
}

/// Adds a group with the rule that every group starts with: all traffic may leave.
fn insert(ec2: &mut Ec2, ids: &mut Ids, now: Timestamp, group: SecurityGroup, tags: Tags) -> String {
    let id = ids.hex("sg-0", 16);
    ec2.groups.insert(id.clone(), group);
    ec2.label(now, &id, tags);
    ec2.add_rule(
        ids,
        now,
        Rule::everything(&id, true, Peer::anywhere()),
        Tags::new(),
    );
    id
}

pub(super) fn create_default(ec2: &mut Ec2, cx: &mut Cx<'_>, vpc: &str) {
    let group = SecurityGroup {
        vpc: vpc.to_owned(),
        name: SecurityGroup::DEFAULT.to_owned(),
        description: "default VPC security group".to_owned(),
    };
    let id = insert(ec2, cx.ids, cx.now, group, Tags::new());
    ec2.add_rule(
        cx.ids,
        cx.now,
        Rule::everything(&id, false, Peer::Group(id.clone())),
        Tags::new(),
    );
}

pub(super) fn create(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let name = params.require("GroupName")?;
    let description = params.require("GroupDescription")?;
    let Some(vpc) = params.get("VpcId") else {
        return Err(ApiError::bad("VPCIdNotSpecified", "No default VPC for this user"));
    };
    find::<Vpc>(ec2, vpc)?;
    let invalid = |message: String| Err(ApiError::bad("InvalidParameterValue", message));
    if name == SecurityGroup::DEFAULT {
        return invalid(format!("Cannot use reserved security group name: {name}"));
    }
    if name.starts_with("sg-") {
        return invalid(format!(
            "Invalid value '{name}' for groupName. Group names may not be in the format sg-*"
        ));
    }
    for (parameter, value) in [("GroupName", name), ("GroupDescription", description)] {
        let fits = value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || PUNCTUATION.contains(c));
        if !fits || value.len() > 255 {
            return invalid(format!(
                "Value ({value}) for parameter {parameter} is invalid: at most 255 characters of a-z, A-Z, 0-9 and {PUNCTUATION}"
            ));
        }
    }
    if ec2
        .groups
        .values()
        .any(|group| group.vpc == vpc && group.name == name)
    {
        let message = format!("The security group '{name}' already exists for VPC '{vpc}'");
        return Err(ApiError::bad("InvalidGroup.Duplicate", message));
    }
    let tags = tags::specified(params, "security-group")?;
    let group = SecurityGroup {
        vpc: vpc.to_owned(),
        name: name.to_owned(),
        description: description.to_owned(),
    };
    let id = insert(ec2, cx.ids, cx.now, group, tags);
    Ok(Xml::new()
        .text("groupId", &id)
        .text("securityGroupArn", cx.arn("security-group", &id))
        .tag_set(&ec2.tags(&id)))
}

pub(super) fn delete(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let id = params.require("GroupId")?;
    if find::<SecurityGroup>(ec2, id)?.name == SecurityGroup::DEFAULT {
        let message = format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user");
        return Err(ApiError::bad("CannotDelete", message));
    }
    if !ec2.remove_group(id) {
        return Err(dependency(format!("resource {id} has a dependent object")));
    }
    Ok(Xml::new().text("return", true).text("groupId", id))
}

impl Ec2 {
    /// Whether the group is gone: it stays while an interface wears it or another group's rule names it.
    fn remove_group(&mut self, id: &str) -> bool {
        let worn = self
            .interfaces
            .values()
            .any(|interface| interface.groups.iter().any(|group| group == id));
        let named = self
            .rules
            .values()
            .any(|rule| rule.group != id && rule.peer.is_group(id));
        if worn || named {
            return false;
        }
        self.groups.remove(id);
        self.rules.retain(|_, rule| rule.group != id);
        self.forget_labels();
        true
    }

    /// The VPC of a security group, if the group exists.
    pub(crate) fn security_group_vpc(&self, id: &str) -> Option<String> {
        self.groups.get(id).map(|group| group.vpc.clone())
    }

    /// Makes a security group that a service owns, visible at once: egress to anywhere; `self_ingress` admits everything
    /// from itself; each block of `ingress` is admitted on its TCP port. Returns its id.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call with plain data, made in two places"
    )]
    pub(crate) fn service_security_group(
        &mut self,
        ids: &mut Ids,
        vpc_id: &str,
        name: &str,
        description: &str,
        tags: Tags,
        self_ingress: bool,
        ingress: &[(String, u16)],
    ) -> String {
        let (vpc, name, description) = (vpc_id.to_owned(), name.to_owned(), description.to_owned());
        let at = Timestamp::default();
        let id = insert(
            self,
            ids,
            at,
            SecurityGroup {
                vpc,
                name,
                description,
            },
            tags,
        );
        if self_ingress {
            self.add_rule(
                ids,
                at,
                Rule::everything(&id, false, Peer::Group(id.clone())),
                Tags::new(),
            );
        }
        for (block, port) in ingress {
            let rule = Rule::tcp(&id, Peer::Ipv4(block.clone()), *port);
            self.add_rule(ids, at, rule, Tags::new());
        }
        id
    }

    /// Admits everything from `source` group into `group` (what the load balancer controller adds to a cluster's group);
    /// a second time does nothing.
    pub(crate) fn admit_group(&mut self, ids: &mut Ids, group: &str, source: &str) {
        let rule = Rule::everything(group, false, Peer::Group(source.to_owned()));
        if self.groups.contains_key(group) && !self.rules.values().any(|other| other.admits_the_same(&rule)) {
            self.add_rule(ids, Timestamp::default(), rule, Tags::new());
        }
    }

    /// Revokes every rule of `group` that refers to `source`.
    pub(crate) fn revoke_group(&mut self, group: &str, source: &str) {
        self.rules
            .retain(|_, rule| rule.group != group || !rule.peer.is_group(source));
        self.forget_labels();
    }

    /// Deletes a security group that a service owns. False while an interface or another group's rule uses it.
    pub(crate) fn delete_service_security_group(&mut self, id: &str) -> bool {
        self.remove_group(id)
    }
}
