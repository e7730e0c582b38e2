//! The rules of a security group: one peer each, known by all they say except their description.

use epid_provider::{Failure, Field, Path, Problem, Segment, Type, Value};
use serde::Deserialize;

use super::block_fault;
use super::client::Request;
use super::describe::pages;
use crate::inputs::{bool, int, map, text};
use crate::kind::Cx;

/// The two directions: the inputs' word and whether EC2 calls it egress.
pub(super) const DIRECTIONS: [(&str, bool); 2] = [("ingress", false), ("egress", true)];
/// All protocols; such a rule has no ports.
const ALL: &str = "-1";
/// Protocols that EC2 shows by name, whatever the request said.
const NAMED: [(&str, &str); 4] = [("1", "icmp"), ("6", "tcp"), ("17", "udp"), ("58", "icmpv6")];
/// Who may be the peer: the inputs' words.
const PEERS: [&str; 5] = [
    "cidrIpv4",
    "cidrIpv6",
    "prefixListId",
    "referencedGroupId",
    "self",
];
/// What two rules of one direction cannot have in common.
pub(super) const KEYS: [&str; 8] = [
    "ipProtocol",
    "fromPort",
    "toPort",
    "cidrIpv4",
    "cidrIpv6",
    "prefixListId",
    "referencedGroupId",
    "self",
];

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) egress: bool,
    protocol: String,
    ports: Option<(i64, i64)>,
    peer: Peer,
    pub(super) description: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Peer {
    Ipv4(String),
    Ipv6(String),
    PrefixList(String),
    Group(String),
    Itself,
}

/// A rule as it is listed.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    /// Its id: `sgr-…`.
    pub(super) id: String,
    /// The group it belongs to.
    pub(super) group: String,
    /// What it says.
    pub(super) rule: Rule,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    security_group_rule_id: String,
    group_id: String,
    is_egress: bool,
    ip_protocol: String,
    #[serde(default)]
    from_port: Option<i64>,
    #[serde(default)]
    to_port: Option<i64>,
    #[serde(default)]
    cidr_ipv4: Option<String>,
    #[serde(default)]
    cidr_ipv6: Option<String>,
    #[serde(default)]
    prefix_list_id: Option<String>,
    #[serde(default)]
    referenced_group_info: Option<Referenced>,
    #[serde(default)]
    description: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referenced {
    #[serde(default)]
    group_id: Option<String>,
}

impl Row {
    /// `None` for a peer of a sort that this program does not know.
    fn listed(self) -> Option<Listed> {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let group = self.referenced_group_info.and_then(|info| filled(info.group_id));
        let peer = match (
            filled(self.cidr_ipv4),
            filled(self.cidr_ipv6),
            filled(self.prefix_list_id),
            group,
        ) {
            (Some(block), ..) => Peer::Ipv4(block),
            (_, Some(block), ..) => Peer::Ipv6(block),
            (_, _, Some(id), _) => Peer::PrefixList(id),
            (_, _, _, Some(id)) if id == self.group_id => Peer::Itself,
            (_, _, _, Some(id)) => Peer::Group(id),
            _ => return None,
        };
        let ports = self
            .from_port
            .zip(self.to_port)
            .filter(|_| self.ip_protocol != ALL);
        Some(Listed {
            id: self.security_group_rule_id,
            group: self.group_id,
            rule: Rule {
                egress: self.is_egress,
                protocol: self.ip_protocol,
                ports,
                peer,
                description: filled(self.description),
            },
        })
    }
}

impl Rule {
    /// The rule of an input; `None` where it is not complete, which `check` has told.
    pub(super) fn declared(egress: bool, rule: &Value) -> Option<Self> {
        let owned = |key: &str| text(rule, key).map(str::to_owned);
        let peer = if bool(rule, "self") == Some(true) {
            Peer::Itself
        } else {
            owned("cidrIpv4")
                .map(Peer::Ipv4)
                .or_else(|| owned("cidrIpv6").map(Peer::Ipv6))
                .or_else(|| owned("prefixListId").map(Peer::PrefixList))
                .or_else(|| owned("referencedGroupId").map(Peer::Group))?
        };
        Some(Self {
            egress,
            protocol: owned("ipProtocol")?,
            ports: int(rule, "fromPort").zip(int(rule, "toPort")),
            peer,
            description: owned("description"),
        })
    }

    /// All rules of inputs.
    pub(super) fn all(inputs: &Value) -> Vec<Self> {
        let of = |(name, egress): (&str, bool)| {
            crate::inputs::items(inputs, name)
                .iter()
                .filter_map(move |rule| Self::declared(egress, rule))
                .collect::<Vec<_>>()
        };
        DIRECTIONS.into_iter().flat_map(of).collect()
    }

    /// Whether the two differ in their descriptions at most.
    pub(super) fn admits_the_same(&self, other: &Self) -> bool {
        let bare = |rule: &Self| Self {
            description: None,
            ..rule.clone()
        };
        bare(self) == bare(other)
    }

    /// The one that EC2 puts into every new group: everything out, to everywhere.
    pub(super) fn born_with() -> Self {
        Self {
            egress: true,
            protocol: ALL.to_owned(),
            ports: None,
            peer: Peer::Ipv4("0.0.0.0/0".to_owned()),
            description: None,
        }
    }

    /// Whether it is one of those that EC2 puts into new groups: that one, and in a network with IPv6 another.
    pub(super) fn is_born_with(&self) -> bool {
        let anywhere = match &self.peer {
            Peer::Ipv4(block) => block == "0.0.0.0/0",
            Peer::Ipv6(block) => block == "::/0",
            _ => false,
        };
        self.egress && self.protocol == ALL && anywhere
    }

    /// In the shape of inputs.
    pub(super) fn shown(&self) -> Value {
        let peer = match &self.peer {
            Peer::Ipv4(block) => ("cidrIpv4", Value::str(block)),
            Peer::Ipv6(block) => ("cidrIpv6", Value::str(block)),
            Peer::PrefixList(id) => ("prefixListId", Value::str(id)),
            Peer::Group(id) => ("referencedGroupId", Value::str(id)),
            Peer::Itself => ("self", Value::Bool(true)),
        };
        let rest = map([
            ("ipProtocol", Some(Value::str(&self.protocol))),
            ("fromPort", self.ports.map(|(from, _)| Value::Int(from))),
            ("toPort", self.ports.map(|(_, to)| Value::Int(to))),
            ("description", self.description.as_deref().map(Value::str)),
        ]);
        rest.merged(&Value::map([peer]))
    }

    /// What it is known by, as paths of changes spell it: `tcp/443/443/0.0.0.0/0`.
    pub(super) fn key(&self) -> String {
        let shown = self.shown();
        let part = |key: &&str| match shown.get(key)? {
            Value::Str(text) => Some(text.to_string()),
            other => Some(other.to_string()),
        };
        KEYS.iter().filter_map(part).collect::<Vec<_>>().join("/")
    }

    /// Its parameters in an authorizing request, as the `number`-th permission.
    fn permission(&self, request: Request, number: usize, group: &str) -> Request {
        let at = format!("IpPermissions.{number}");
        let (list, key, peer) = match &self.peer {
            Peer::Ipv4(block) => ("IpRanges", "CidrIp", block.as_str()),
            Peer::Ipv6(block) => ("Ipv6Ranges", "CidrIpv6", block.as_str()),
            Peer::PrefixList(id) => ("PrefixListIds", "PrefixListId", id.as_str()),
            Peer::Group(id) => ("Groups", "GroupId", id.as_str()),
            Peer::Itself => ("Groups", "GroupId", group),
        };
        request
            .with(format!("{at}.IpProtocol"), &self.protocol)
            .maybe(&format!("{at}.FromPort"), self.ports.map(|(from, _)| from))
            .maybe(&format!("{at}.ToPort"), self.ports.map(|(_, to)| to))
            .with(format!("{at}.{list}.1.{key}"), peer)
            .maybe(&format!("{at}.{list}.1.Description"), self.description.as_ref())
    }

    /// A request that lets `rules`, all of one direction, into `group`.
    pub(super) fn authorize(group: &str, egress: bool, rules: &[&Self]) -> Request {
        let action = if egress {
            "AuthorizeSecurityGroupEgress"
        } else {
            "AuthorizeSecurityGroupIngress"
        };
        let start = Request::repeatable(action).with("GroupId", group);
        let numbered = rules.iter().enumerate();
        numbered.fold(start, |request, (at, rule)| {
            rule.permission(request, at + 1, group)
        })
    }

    /// A request that gives the rule `id` of `group` this rule's description.
    pub(super) fn describe_anew(&self, group: &str, id: &str) -> Request {
        let at = "SecurityGroupRule.1.SecurityGroupRule";
        let (key, peer) = match &self.peer {
            Peer::Ipv4(block) => ("CidrIpv4", block.as_str()),
            Peer::Ipv6(block) => ("CidrIpv6", block.as_str()),
            Peer::PrefixList(id) => ("PrefixListId", id.as_str()),
            Peer::Group(id) => ("ReferencedGroupId", id.as_str()),
            Peer::Itself => ("ReferencedGroupId", group),
        };
        Request::repeatable("ModifySecurityGroupRules")
            .with("GroupId", group)
            .with("SecurityGroupRule.1.SecurityGroupRuleId", id)
            .with(format!("{at}.IpProtocol"), &self.protocol)
            .maybe(&format!("{at}.FromPort"), self.ports.map(|(from, _)| from))
            .maybe(&format!("{at}.ToPort"), self.ports.map(|(_, to)| to))
            .with(format!("{at}.{key}"), peer)
            .with(
                format!("{at}.Description"),
                self.description.as_deref().unwrap_or_default(),
            )
    }
}

/// The rules of groups.
pub(super) async fn of_groups(cx: Cx<'_>, groups: &[&str]) -> Result<Vec<Listed>, Failure> {
    let mut all = Vec::new();
    for chunk in groups.chunks(200) {
        let request = Request::repeatable("DescribeSecurityGroupRules").filter(1, "group-id", chunk);
        let rows: Vec<Row> = pages(cx, request).await?;
        all.extend(rows.into_iter().filter_map(Row::listed));
    }
    Ok(all)
}

/// The fields of a rule.
pub(super) fn fields() -> [Field; 9] {
    [
        Field::new("ipProtocol", Type::String)
            .required()
            .doc("tcp, udp, icmp, icmpv6, another protocol's number, or -1 for all"),
        Field::new("fromPort", Type::Int).doc("the first port, or the ICMP type"),
        Field::new("toPort", Type::Int).doc("the last port, or the ICMP code; -1 is all codes"),
        Field::new("cidrIpv4", Type::String).doc("the peers, an IPv4 range"),
        Field::new("cidrIpv6", Type::String).doc("the peers, an IPv6 range"),
        Field::new("prefixListId", Type::String).doc("the peers, a prefix list"),
        Field::new("referencedGroupId", Type::String).doc("the peers, members of another group"),
        Field::new("self", Type::Bool).doc("the peers, members of this group"),
        Field::new("description", Type::String),
    ]
}

/// What is wrong with the rules of a direction.
pub(super) fn problems(direction: &str, properties: &Value) -> Vec<Problem> {
    let rules = crate::inputs::items(properties, direction).iter().enumerate();
    rules
        .filter_map(|(at, rule)| problem(&Path::root().key(direction).join(Segment::Index(at)), rule))
        .collect()
}

fn problem(at: &Path, rule: &Value) -> Option<Problem> {
    let given = |key: &&&str| {
        rule.get(key)
            .is_some_and(|value| !value.is_null() && value.expose().as_bool() != Some(false))
    };
    if PEERS.iter().filter(given).count() != 1 {
        let hint = format!("give one of {}", PEERS.join(", "));
        return Some(Problem::new(at.clone(), "a rule has exactly one peer").with_hint(hint));
    }
    let ported = rule.get("fromPort").is_some() && rule.get("toPort").is_some();
    let unported = rule.get("fromPort").is_none() && rule.get("toPort").is_none();
    match text(rule, "ipProtocol") {
        Some(ALL) if !unported => {
            let message = "a rule for all protocols (-1) is for all ports";
            return Some(Problem::new(at.clone(), message).with_hint("leave `fromPort` and `toPort` out"));
        }
        Some("tcp" | "udp" | "icmp" | "icmpv6") if !ported => {
            let message = "a rule for this protocol needs `fromPort` and `toPort`";
            return Some(Problem::new(at.clone(), message));
        }
        Some(number) => {
            if let Some((_, name)) = NAMED.iter().find(|(known, _)| *known == number) {
                let message = format!("EC2 calls protocol {number} `{name}`");
                let hint = format!("write `{name}`");
                return Some(Problem::new(at.key("ipProtocol"), message).with_hint(hint));
            }
        }
        None => {}
    }
    let block = text(rule, "cidrIpv4")?;
    block_fault(block, &(0..=32)).map(|fault| fault.at(at.key("cidrIpv4")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_rule_is_shown_as_it_was_declared() {
        for json in [
            r#"{"ipProtocol":"tcp","fromPort":80,"toPort":443,"cidrIpv4":"10.0.0.0/8","description":"web"}"#,
            r#"{"ipProtocol":"-1","self":true}"#,
            r#"{"ipProtocol":"icmp","fromPort":8,"toPort":-1,"referencedGroupId":"sg-1"}"#,
        ] {
            assert_eq!(Rule::declared(false, &value(json)).unwrap().shown(), value(json));
        }
    }

    #[test]
    fn rules_that_ec2_would_store_otherwise_are_refused() {
        let said = |json: &str| {
            problem(&Path::root(), &value(json))
                .map(|p| p.message)
                .unwrap_or_default()
        };
        assert_eq!(
            said(r#"{"ipProtocol":"tcp","fromPort":1,"toPort":2,"cidrIpv4":"0.0.0.0/0"}"#),
            ""
        );
        assert!(said(r#"{"ipProtocol":"-1","fromPort":0,"toPort":1,"self":true}"#).contains("all ports"));
        assert!(said(r#"{"ipProtocol":"6","fromPort":0,"toPort":1,"self":true}"#).contains("`tcp`"));
        assert!(said(r#"{"ipProtocol":"tcp","fromPort":0,"self":true}"#).contains("needs"));
        assert!(said(r#"{"ipProtocol":"-1"}"#).contains("exactly one peer"));
        assert!(said(r#"{"ipProtocol":"-1","self":true,"cidrIpv6":"::/0"}"#).contains("exactly one peer"));
        assert!(said(r#"{"ipProtocol":"-1","cidrIpv4":"10.0.0.1/8"}"#).contains("start of a range"));
    }
}
