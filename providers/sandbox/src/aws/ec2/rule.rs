//! Security group rules: one peer each, as AWS stores them; requests and group listings bundle them into permissions.

use super::super::{ApiError, Ids, Params, Xml};
use super::cidr::Cidr;
use super::describe::{Resource, find};
use super::security_group::SecurityGroup;
use super::{Cx, Ec2, Tags, done, tags};
use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// Default quota: rules of one direction per group.
const MOST: usize = 60;
/// The protocol that stands for all of them.
const ALL: &str = "-1";
const PROTOCOLS: [(&str, &str); 4] = [("6", "tcp"), ("17", "udp"), ("1", "icmp"), ("58", "icmpv6")];

/// A rule of a security group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) group: String,
    pub(super) egress: bool,
    pub(super) peer: Peer,
    protocol: String,
    /// First and last port, or ICMP type and code; none for protocol -1, whatever the request said.
    ports: Option<(i64, i64)>,
    description: Option<String>,
}

/// Who may send or be sent to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Peer {
    Ipv4(String),
    Ipv6(String),
    Group(String),
    PrefixList(String),
}

impl Peer {
    pub(super) fn anywhere() -> Self {
        Self::Ipv4("0.0.0.0/0".to_owned())
    }

    pub(super) fn is_group(&self, id: &str) -> bool {
        matches!(self, Self::Group(group) if group == id)
    }

    fn text(&self) -> &str {
        match self {
            Self::Ipv4(text) | Self::Ipv6(text) | Self::Group(text) | Self::PrefixList(text) => text,
        }
    }
}

impl Rule {
    /// All traffic.
    pub(super) fn everything(group: &str, egress: bool, peer: Peer) -> Self {
        Self {
            group: group.to_owned(),
            egress,
            peer,
            protocol: ALL.to_owned(),
            ports: None,
            description: None,
        }
    }

    /// TCP on one port, inwards.
    pub(super) fn tcp(group: &str, peer: Peer, port: u16) -> Self {
        let ports = Some((port.into(), port.into()));
        Self {
            protocol: "tcp".to_owned(),
            ports,
            ..Self::everything(group, false, peer)
        }
    }

    /// Whether the two differ in their descriptions at most: EC2 calls that a duplicate.
    pub(super) fn admits_the_same(&self, other: &Self) -> bool {
        self.group == other.group
            && self.egress == other.egress
            && self.peer == other.peer
            && self.protocol == other.protocol
            && self.ports == other.ports
    }

    /// Facts for the filters of DescribeSecurityGroups.
    pub(super) fn permission_facts(&self) -> Vec<(&'static str, String)> {
        let names = if self.egress {
            [
                "egress.ip-permission.protocol",
                "egress.ip-permission.from-port",
                "egress.ip-permission.to-port",
                "egress.ip-permission.cidr",
                "egress.ip-permission.group-id",
            ]
        } else {
            [
                "ip-permission.protocol",
                "ip-permission.from-port",
                "ip-permission.to-port",
                "ip-permission.cidr",
                "ip-permission.group-id",
            ]
        };
        let [protocol, from, to, cidr, group] = names;
        let mut facts = vec![(protocol, self.protocol.clone())];
        if let Some((first, last)) = self.ports {
            facts.extend([(from, first.to_string()), (to, last.to_string())]);
        }
        match &self.peer {
            Peer::Ipv4(block) => facts.push((cidr, block.clone())),
            Peer::Group(id) => facts.push((group, id.clone())),
            Peer::Ipv6(_) | Peer::PrefixList(_) => {}
        }
        facts
    }

    /// How EC2 spells a rule in the error for a duplicate.
    fn spelled(&self) -> String {
        let protocol = if self.protocol == ALL {
            "ALL".to_owned()
        } else {
            self.protocol.to_uppercase()
        };
        let ports = self.ports.map_or(String::new(), |(from, to)| {
            format!(", from port: {from}, to port: {to}")
        });
        format!("peer: {}, {protocol}{ports}, ALLOW", self.peer.text())
    }

    /// The elements that all listings of rules share; those of protocol -1 show ports -1.
    fn write_body(&self, id: &str) -> Xml {
        let (from, to) = self.ports.unwrap_or((-1, -1));
        let xml = Xml::new()
            .text("securityGroupRuleId", id)
            .text("groupId", &self.group)
            .text("isEgress", self.egress)
            .text("ipProtocol", &self.protocol)
            .text("fromPort", from)
            .text("toPort", to)
            .optional("description", self.description.as_ref());
        match &self.peer {
            Peer::Ipv4(block) => xml.text("cidrIpv4", block),
            Peer::Ipv6(block) => xml.text("cidrIpv6", block),
            Peer::PrefixList(id) => xml.text("prefixListId", id),
            Peer::Group(_) => xml,
        }
    }
}

impl Resource for Rule {
    const SET: &'static str = "securityGroupRuleSet";
    const IDS: &'static str = "SecurityGroupRuleId";
    const NOT_FOUND: &'static str = "InvalidSecurityGroupRuleId.NotFound";
    const FILTERS: &'static [&'static str] = &["group-id", "security-group-rule-id"];

    fn all(ec2: &Ec2) -> &BTreeMap<String, Self> {
        &ec2.rules
    }

    fn absent(id: &str) -> String {
        format!("The security group rule ID '{id}' does not exist")
    }

    fn facts(&self, id: &str, _ec2: &Ec2, _cx: &Cx<'_>) -> Vec<(&'static str, String)> {
        vec![
            ("group-id", self.group.clone()),
            ("security-group-rule-id", id.to_owned()),
        ]
    }

    fn write(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Xml {
        let xml = self
            .write_body(id)
            .text("groupOwnerId", cx.account)
            .text("securityGroupRuleArn", cx.arn("security-group-rule", id));
        let xml = match &self.peer {
            Peer::Group(group) => {
                let vpc = ec2.groups.get(group).map(|group| &group.vpc);
                let info = Xml::new()
                    .text("groupId", group)
                    .text("userId", cx.account)
                    .optional("vpcId", vpc);
                xml.node("referencedGroupInfo", info)
            }
            Peer::Ipv4(_) | Peer::Ipv6(_) | Peer::PrefixList(_) => xml,
        };
        xml.tag_set(&ec2.tags(id))
    }
}

/// Rules bundled by protocol and ports, as a group shows them.
pub(super) fn permission_set<'a>(rules: impl Iterator<Item = &'a Rule>, cx: &Cx<'_>) -> Xml {
    let mut permissions: BTreeMap<_, Vec<&Rule>> = BTreeMap::new();
    for rule in rules {
        permissions
            .entry((&rule.protocol, rule.ports))
            .or_default()
            .push(rule);
    }
    permissions
        .into_iter()
        .fold(Xml::new(), |list, ((protocol, ports), mut rules)| {
            rules.sort_by(|one, other| one.peer.cmp(&other.peer));
            let set = |wanted: fn(&Peer) -> bool, id: &'static str, owner: Option<&str>| {
                rules
                    .iter()
                    .filter(|rule| wanted(&rule.peer))
                    .fold(Xml::new(), |list, rule| {
                        let item = Xml::new()
                            .optional("userId", owner)
                            .text(id, rule.peer.text())
                            .optional("description", rule.description.as_ref());
                        list.node("item", item)
                    })
            };
            let permission = Xml::new()
                .text("ipProtocol", protocol)
                .optional("fromPort", ports.map(|(from, _)| from))
                .optional("toPort", ports.map(|(_, to)| to))
                .node(
                    "groups",
                    set(|peer| matches!(peer, Peer::Group(_)), "groupId", Some(cx.account)),
                )
                .node(
                    "ipRanges",
                    set(|peer| matches!(peer, Peer::Ipv4(_)), "cidrIp", None),
                )
                .node(
                    "ipv6Ranges",
                    set(|peer| matches!(peer, Peer::Ipv6(_)), "cidrIpv6", None),
                )
                .node(
                    "prefixListIds",
                    set(|peer| matches!(peer, Peer::PrefixList(_)), "prefixListId", None),
                );
            list.node("item", permission)
        })
}

/// Reads protocol and ports; names are normalised, and protocol -1 has no ports.
fn traffic(params: &Params) -> Result<(String, Option<(i64, i64)>), ApiError> {
    let asked = params.require("IpProtocol")?.to_ascii_lowercase();
    let named = PROTOCOLS
        .iter()
        .find(|(number, name)| asked == *number || asked == *name);
    let protocol = match named {
        Some((_, name)) => (*name).to_owned(),
        None if asked == ALL || asked.parse::<u8>().is_ok() => asked,
        None => {
            let message = format!("Invalid value '{asked}' for IP protocol. Unknown protocol.");
            return Err(ApiError::bad("InvalidParameterValue", message));
        }
    };
    let ports = match (params.number("FromPort"), params.number("ToPort")) {
        _ if named.is_none() => None,
        (Some(from), Some(to)) => Some((from, to)),
        _ => {
            let message = "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.";
            return Err(ApiError::bad("InvalidParameterValue", message));
        }
    };
    if let (Some((from, to)), "tcp" | "udp") = (ports, protocol.as_str())
        && !(0 <= from && from <= to && to <= 65_535)
    {
        let message = format!("Invalid TCP/UDP port range ({from}:{to})");
        return Err(ApiError::bad("InvalidParameterValue", message));
    }
    Ok((protocol, ports))
}

fn block(text: &str) -> Result<Peer, ApiError> {
    let ipv6 = || {
        let (address, length) = text.split_once('/')?;
        let valid =
            address.parse::<Ipv6Addr>().is_ok() && length.parse::<u8>().is_ok_and(|length| length <= 128);
        valid.then(|| Peer::Ipv6(text.to_ascii_lowercase()))
    };
    let peer = if text.contains(':') {
        ipv6()
    } else {
        Cidr::parse(text).map(|cidr| Peer::Ipv4(cidr.to_string()))
    };
    peer.ok_or_else(|| ApiError::bad("InvalidParameterValue", format!("CIDR block {text} is malformed")))
}

/// A group as a peer: it must exist in the same VPC.
fn peer_group(ec2: &Ec2, group: &str, peer: &str) -> Result<Peer, ApiError> {
    let vpc = &find::<SecurityGroup>(ec2, group)?.vpc;
    if find::<SecurityGroup>(ec2, peer)?.vpc != *vpc {
        let message = "You have specified two resources that belong to different networks.";
        return Err(ApiError::bad("InvalidGroup.NotFound", message));
    }
    Ok(Peer::Group(peer.to_owned()))
}

/// The rules that `IpPermissions`, or the older flat parameters, spell.
fn requested(ec2: &Ec2, params: &Params, group: &str, egress: bool) -> Result<Vec<Rule>, ApiError> {
    let mut permissions = params.structs("IpPermissions");
    let flat = params.get("CidrIp");
    if permissions.is_empty() {
        permissions.push(params.clone());
    }
    let mut rules: Vec<Rule> = Vec::new();
    for permission in &permissions {
        let (protocol, ports) = traffic(permission)?;
        let mut peers = Vec::new();
        if let Some(text) = flat {
            peers.push((block(text)?, None));
        }
        for (list, key) in [("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")] {
            for range in permission.structs(list) {
                peers.push((
                    block(range.require(key)?)?,
                    range.get("Description").map(str::to_owned),
                ));
            }
        }
        for pair in permission.structs("Groups") {
            let peer = peer_group(ec2, group, pair.require("GroupId")?)?;
            peers.push((peer, pair.get("Description").map(str::to_owned)));
        }
        for list in permission.structs("PrefixListIds") {
            let peer = Peer::PrefixList(list.require("PrefixListId")?.to_owned());
            peers.push((peer, list.get("Description").map(str::to_owned)));
        }
        if peers.is_empty() {
            let message = "The request must contain a source or destination: a CIDR block, a security group or a prefix list";
            return Err(ApiError::bad("MissingParameter", message));
        }
        for (peer, description) in peers {
            let rule = Rule {
                group: group.to_owned(),
                egress,
                peer,
                protocol: protocol.clone(),
                ports,
                description,
            };
            if rules.iter().any(|other| other.admits_the_same(&rule)) {
                let message = "The same permission must not appear multiple times";
                return Err(ApiError::bad("InvalidParameterValue", message));
            }
            rules.push(rule);
        }
    }
    Ok(rules)
}

fn authorize(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params, egress: bool) -> Result<Xml, ApiError> {
    let group = params.require("GroupId")?;
    find::<SecurityGroup>(ec2, group)?;
    let tags = tags::specified(params, "security-group-rule")?;
    let mut made = Vec::new();
    for rule in requested(ec2, params, group, egress)? {
        if ec2.rules.values().any(|other| other.admits_the_same(&rule)) {
            let message = format!("the specified rule \"{}\" already exists", rule.spelled());
            return Err(ApiError::bad("InvalidPermission.Duplicate", message));
        }
        made.push(ec2.add_rule(cx.ids, cx.now, rule, tags.clone()));
    }
    if ec2
        .rules
        .values()
        .filter(|rule| rule.group == group && rule.egress == egress)
        .count()
        > MOST
    {
        let message = "The maximum number of rules per security group has been reached.";
        return Err(ApiError::bad("RulesPerSecurityGroupLimitExceeded", message));
    }
    let rules = made.iter().filter_map(|id| Some((id, ec2.rules.get(id)?)));
    Ok(Xml::new()
        .text("return", true)
        .items("securityGroupRuleSet", rules, |(id, rule)| {
            rule.write(id, ec2, cx)
        }))
}

pub(super) fn authorize_ingress(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    authorize(ec2, cx, params, false)
}

pub(super) fn authorize_egress(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    authorize(ec2, cx, params, true)
}

fn revoke(ec2: &mut Ec2, params: &Params, egress: bool) -> Result<Xml, ApiError> {
    let group = params.require("GroupId")?;
    find::<SecurityGroup>(ec2, group)?;
    let mut ids: Vec<String> = params
        .list("SecurityGroupRuleId")
        .into_iter()
        .map(str::to_owned)
        .collect();
    for id in &ids {
        let rule = find::<Rule>(ec2, id)?;
        if rule.group != group || rule.egress != egress {
            return Err(ApiError::bad(Rule::NOT_FOUND, Rule::absent(id)));
        }
    }
    if ids.is_empty() {
        for rule in requested(ec2, params, group, egress)? {
            let found = ec2
                .rules
                .iter()
                .find(|(_, other)| other.admits_the_same(&rule))
                .map(|(id, _)| id.clone());
            ids.push(found.ok_or_else(|| {
                let message = "The specified rule does not exist in this security group.";
                ApiError::bad("InvalidPermission.NotFound", message)
            })?);
        }
    }
    let revoked: Vec<_> = ids
        .iter()
        .filter_map(|id| Some((id, ec2.rules.remove(id)?)))
        .collect();
    ec2.forget_labels();
    Ok(Xml::new()
        .text("return", true)
        .items("revokedSecurityGroupRuleSet", revoked, |(id, rule)| {
            let referenced = match &rule.peer {
                Peer::Group(group) => Some(group),
                Peer::Ipv4(_) | Peer::Ipv6(_) | Peer::PrefixList(_) => None,
            };
            rule.write_body(id).optional("referencedGroupId", referenced)
        }))
}

pub(super) fn revoke_ingress(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    revoke(ec2, params, false)
}

pub(super) fn revoke_egress(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    revoke(ec2, params, true)
}

/// Replaces rules whole. The kind of peer (IPv4, IPv6, group, prefix list) may not change.
pub(super) fn modify(ec2: &mut Ec2, _cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let group = params.require("GroupId")?;
    find::<SecurityGroup>(ec2, group)?;
    params.require("SecurityGroupRule.1.SecurityGroupRuleId")?;
    for update in params.structs("SecurityGroupRule") {
        let id = update.require("SecurityGroupRuleId")?;
        let old = find::<Rule>(ec2, id)?.clone();
        if old.group != group {
            return Err(ApiError::bad(Rule::NOT_FOUND, Rule::absent(id)));
        }
        let wanted = update.sub("SecurityGroupRule");
        let (protocol, ports) = traffic(&wanted)?;
        let peer = match (
            wanted.get("CidrIpv4").or(wanted.get("CidrIpv6")),
            wanted.get("ReferencedGroupId"),
        ) {
            (Some(text), _) => block(text)?,
            (None, Some(peer)) => peer_group(ec2, group, peer)?,
            (None, None) => Peer::PrefixList(wanted.require("PrefixListId")?.to_owned()),
        };
        if std::mem::discriminant(&peer) != std::mem::discriminant(&old.peer) {
            let message =
                "You may not change the type of the source or destination of a security group rule.";
            return Err(ApiError::bad("InvalidParameterValue", message));
        }
        let description = wanted.get("Description").map(str::to_owned);
        let rule = Rule {
            peer,
            protocol,
            ports,
            description,
            ..old
        };
        if ec2
            .rules
            .iter()
            .any(|(other, existing)| other != id && existing.admits_the_same(&rule))
        {
            let message = format!("the specified rule \"{}\" already exists", rule.spelled());
            return Err(ApiError::bad("InvalidPermission.Duplicate", message));
        }
        ec2.rules.insert(id.to_owned(), rule);
    }
    Ok(done())
}

impl Ec2 {
    pub(super) fn add_rule(&mut self, ids: &mut Ids, now: Timestamp, rule: Rule, tags: Tags) -> String {
        let id = ids.hex("sgr-0", 16);
        self.rules.insert(id.clone(), rule);
        self.label(now, &id, tags);
        id
    }
}
