//! Elastic Load Balancing v2, in the query protocol: what the load balancer controller made, its lifecycle,
//! and what it occupies in EC2. Load balancers are made through [`ensure`] only.

use super::facts::{InterfaceRequest, SubnetFacts};
use super::{ApiError, Aws, Call, Reply, Tags, Xml};
use crate::Timestamp;
use crate::cloud::{
    ListenerRequest, LoadBalancerKind, LoadBalancerRequest, LoadBalancerState, Scheme, TargetGroupRequest,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PROVISIONING: Duration = Duration::from_secs(150);
const DELETION: Duration = Duration::from_secs(40);
/// Free addresses that a load balancer needs in each subnet.
const ADDRESSES: u32 = 8;

/// State of Elastic Load Balancing in one region.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Elbv2 {
    /// By ARN.
    balancers: BTreeMap<String, Balancer>,
    /// By ARN.
    target_groups: BTreeMap<String, TargetGroup>,
    /// What a controller owns for one of its keys, beyond the load balancer.
    estates: BTreeMap<String, Estate>,
    /// The shared backend security group of each cluster, by the cluster's id.
    backends: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Balancer {
    key: String,
    name: String,
    kind: LoadBalancerKind,
    scheme: Scheme,
    dns_name: String,
    vpc_id: String,
    /// Zone and subnet.
    subnets: Vec<(String, String)>,
    groups: Vec<String>,
    interfaces: Vec<String>,
    listeners: Vec<Listener>,
    tags: Tags,
    created: Timestamp,
    /// Provisioned, or gone if it is being deleted.
    due: Option<Timestamp>,
    deleting: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Listener {
    arn: String,
    request: ListenerRequest,
    target_group: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct TargetGroup {
    request: TargetGroupRequest,
    vpc_id: String,
    balancer: String,
    tags: Tags,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Estate {
    cluster_id: String,
    cluster_group: String,
    security_group: String,
}

/// The cluster for which a controller acts.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub cluster: String,
    pub cluster_id: String,
    pub cluster_group: String,
    pub vpc_id: String,
}

impl Owner {
    fn key(&self, key: &str) -> String {
        format!("{}/{key}", self.cluster_id)
    }
}

impl Elbv2 {
    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.balancers.values().filter_map(|balancer| balancer.due).min()
    }

    fn by_key(&self, key: &str) -> Option<(&String, &Balancer)> {
        self.balancers.iter().find(|(_, balancer)| balancer.key == key)
    }
}

/// Applies what is due by `now`.
pub(crate) fn advance(aws: &mut Aws, now: Timestamp) {
    let Aws { elbv2, ec2, .. } = aws;
    elbv2.balancers.retain(|_, balancer| {
        if balancer.due.is_none_or(|due| due > now) {
            return true;
        }
        balancer.due = None;
        if balancer.deleting {
            for interface in &balancer.interfaces {
                ec2.delete_interface(interface);
            }
        }
        !balancer.deleting
    });
}

/// Makes or updates a load balancer and everything around it.
///
/// # Errors
/// The message that the controller puts into its event.
pub(crate) fn ensure(
    aws: &mut Aws,
    now: Timestamp,
    owner: &Owner,
    request: &LoadBalancerRequest,
) -> Result<LoadBalancerState, String> {
    let key = owner.key(&request.key);
    check_listeners(request)?;
    if let Some((arn, balancer)) = aws.elbv2.by_key(&key) {
        let (arn, deleting) = (arn.clone(), balancer.deleting);
        if deleting {
            return Err(format!(
                "waiting for the deletion of load balancer {}",
                balancer.name
            ));
        }
        if (balancer.name.as_str(), balancer.scheme, balancer.kind)
            == (&request.name, request.scheme, request.kind)
        {
            return Ok(refresh(aws, &arn, request, owner));
        }
        // Scheme and layer are immutable: the controller deletes the old one first.
        start_deletion(aws, now, &arn);
        return Err(format!("replacing load balancer {}", request.name));
    }
    let subnets = choose_subnets(aws, owner, request)?;
    let groups = security_groups(aws, owner, request, &key);
    let id = aws.ids.hex("", 16);
    let (sort, region) = (sort(request.kind), aws.region.clone());
    let internal = if request.scheme == Scheme::Internal {
        "internal-"
    } else {
        ""
    };
    let dns_name = match request.kind {
        LoadBalancerKind::Application => {
            let number = aws.ids.next() % 10_000_000_000;
            format!("{internal}{}-{number}.{region}.elb.amazonaws.com", request.name)
        }
        LoadBalancerKind::Network => format!("{internal}{}-{id}.elb.{region}.amazonaws.com", request.name),
    };
    let arn = aws.arn(
        "elasticloadbalancing",
        &format!("loadbalancer/{sort}/{}/{id}", request.name),
    );
    let mut interfaces = Vec::new();
    for subnet in &subnets {
        let interface = InterfaceRequest {
            subnet_id: subnet.id.clone(),
            groups: groups.clone(),
            description: format!("ELB {sort}/{}/{id}", request.name),
            requester: "amazon-elb".to_owned(),
            public: request.scheme == Scheme::InternetFacing,
            tags: Tags::new(),
        };
        let Aws { ec2, ids, .. } = aws;
        interfaces.push(ec2.create_interface(ids, now, interface).0);
    }
    let balancer = Balancer {
        key,
        name: request.name.clone(),
        kind: request.kind,
        scheme: request.scheme,
        dns_name,
        vpc_id: owner.vpc_id.clone(),
        subnets: subnets
            .into_iter()
            .map(|subnet| (subnet.zone, subnet.id))
            .collect(),
        groups,
        interfaces,
        listeners: Vec::new(),
        tags: owned_tags(owner, &request.tags),
        created: now,
        due: Some(now.after(PROVISIONING)),
        deleting: false,
    };
    aws.elbv2.balancers.insert(arn.clone(), balancer);
    Ok(refresh(aws, &arn, request, owner))
}

/// Deletes a load balancer and everything around it, step by step; true once nothing is left.
pub(crate) fn remove(aws: &mut Aws, now: Timestamp, owner: &Owner, key: &str) -> bool {
    let key = owner.key(key);
    if let Some((arn, balancer)) = aws.elbv2.by_key(&key) {
        let (arn, deleting) = (arn.clone(), balancer.deleting);
        if !deleting {
            start_deletion(aws, now, &arn);
        }
        return false;
    }
    let Aws { elbv2, ec2, .. } = aws;
    elbv2.target_groups.retain(|_, group| group.balancer != key);
    let Some(estate) = elbv2.estates.get(&key).cloned() else {
        return true;
    };
    if !ec2.delete_service_security_group(&estate.security_group) {
        return false;
    }
    elbv2.estates.remove(&key);
    let last = !elbv2
        .estates
        .values()
        .any(|other| other.cluster_id == estate.cluster_id);
    if let (true, Some(backend)) = (last, elbv2.backends.get(&estate.cluster_id).cloned()) {
        ec2.revoke_group(&estate.cluster_group, &backend);
        if ec2.delete_service_security_group(&backend) {
            elbv2.backends.remove(&estate.cluster_id);
        }
    }
    true
}

fn start_deletion(aws: &mut Aws, now: Timestamp, arn: &str) {
    if let Some(balancer) = aws.elbv2.balancers.get_mut(arn) {
        balancer.deleting = true;
        balancer.due = Some(now.after(DELETION));
    }
}

fn sort(kind: LoadBalancerKind) -> &'static str {
    match kind {
        LoadBalancerKind::Application => "app",
        LoadBalancerKind::Network => "net",
    }
}

fn owned_tags(owner: &Owner, extra: &BTreeMap<String, String>) -> Tags {
    let mut tags = extra.clone();
    tags.insert("elbv2.k8s.aws/cluster".to_owned(), owner.cluster.clone());
    tags
}

fn check_listeners(request: &LoadBalancerRequest) -> Result<(), String> {
    let bare = request.listeners.iter().find(|listener| {
        matches!(listener.protocol.as_str(), "HTTPS" | "TLS") && listener.certificates.is_empty()
    });
    match bare {
        Some(listener) => Err(format!(
            "ValidationError: A certificate must be specified for {} listeners (port {})",
            listener.protocol, listener.port
        )),
        None => Ok(()),
    }
}

fn choose_subnets(
    aws: &Aws,
    owner: &Owner,
    request: &LoadBalancerRequest,
) -> Result<Vec<SubnetFacts>, String> {
    let role = match request.scheme {
        Scheme::InternetFacing => "kubernetes.io/role/elb",
        Scheme::Internal => "kubernetes.io/role/internal-elb",
    };
    let mut candidates = aws.ec2.subnets_of(&owner.vpc_id);
    candidates.sort_by(|a, b| a.id.cmp(&b.id));
    let subnets: Vec<SubnetFacts> = if request.subnets.is_empty() {
        let mut zones = BTreeSet::new();
        candidates
            .into_iter()
            .filter(|subnet| matches!(subnet.tags.get(role).map(String::as_str), Some("1" | "")))
            .filter(|subnet| subnet.available_addresses >= ADDRESSES)
            .filter(|subnet| zones.insert(subnet.zone.clone()))
            .collect()
    } else {
        let known: Vec<SubnetFacts> = candidates
            .into_iter()
            .filter(|subnet| request.subnets.contains(&subnet.id))
            .collect();
        if known.len() != request.subnets.len() {
            return Err(
                "InvalidSubnetID.NotFound: a subnet of the annotation does not exist in the VPC".to_owned(),
            );
        }
        known
    };
    if subnets.is_empty() {
        return Err(format!(
            "couldn't auto-discover subnets: unable to resolve at least one subnet (0 match VPC and tags: [{role}])"
        ));
    }
    let zones: BTreeSet<&str> = subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
    if request.kind == LoadBalancerKind::Application && zones.len() < 2 {
        return Err(
            "couldn't auto-discover subnets: subnets count less than minimal required count: 1 < 2"
                .to_owned(),
        );
    }
    match subnets
        .iter()
        .find(|subnet| request.scheme == Scheme::InternetFacing && !subnet.public)
    {
        Some(subnet) => Err(format!(
            "InvalidSubnet: VPC {} has no internet gateway, or subnet {} no route to it",
            owner.vpc_id, subnet.id
        )),
        None => Ok(subnets),
    }
}

/// The group that lets clients in, and the shared one that lets the load balancers reach the pods.
fn security_groups(aws: &mut Aws, owner: &Owner, request: &LoadBalancerRequest, key: &str) -> Vec<String> {
    let Aws { ec2, ids, elbv2, .. } = aws;
    let backend = elbv2.backends.entry(owner.cluster_id.clone()).or_insert_with(|| {
        let name = format!("k8s-traffic-{}-{}", owner.cluster, ids.hex("", 10));
        let mut tags = owned_tags(owner, &BTreeMap::new());
        tags.insert("elbv2.k8s.aws/resource".to_owned(), "backend-sg".to_owned());
        let description = "[k8s] Shared Backend SecurityGroup for LoadBalancer";
        ec2.service_security_group(ids, &owner.vpc_id, &name, description, tags, false, &[])
    });
    let backend = backend.clone();
    ec2.admit_group(ids, &owner.cluster_group, &backend);
    let estate = elbv2.estates.entry(key.to_owned()).or_insert_with(|| {
        let cidrs = match request.inbound_cidrs.as_slice() {
            [] => vec!["0.0.0.0/0".to_owned()],
            given => given.to_vec(),
        };
        let ingress: Vec<(String, u16)> = request
            .listeners
            .iter()
            .flat_map(|listener| cidrs.iter().map(|cidr| (cidr.clone(), listener.port)))
            .collect();
        let mut tags = owned_tags(owner, &request.tags);
        tags.insert(
            "elbv2.k8s.aws/resource".to_owned(),
            "ManagedLBSecurityGroup".to_owned(),
        );
        let description = "[k8s] Managed SecurityGroup for LoadBalancer";
        let security_group = ec2.service_security_group(
            ids,
            &owner.vpc_id,
            &request.name,
            description,
            tags,
            false,
            &ingress,
        );
        let (cluster_id, cluster_group) = (owner.cluster_id.clone(), owner.cluster_group.clone());
        Estate {
            cluster_id,
            cluster_group,
            security_group,
        }
    });
    vec![estate.security_group.clone(), backend]
}

/// Brings listeners and target groups in line with the request.
fn refresh(aws: &mut Aws, arn: &str, request: &LoadBalancerRequest, owner: &Owner) -> LoadBalancerState {
    let mut groups = Vec::new();
    for wanted in &request.target_groups {
        let known = aws
            .elbv2
            .target_groups
            .iter()
            .find(|(_, group)| group.request.name == wanted.name);
        let group_arn = match known {
            Some((known, _)) => known.clone(),
            None => {
                let id = aws.ids.hex("", 16);
                aws.arn(
                    "elasticloadbalancing",
                    &format!("targetgroup/{}/{id}", wanted.name),
                )
            }
        };
        let group = TargetGroup {
            request: wanted.clone(),
            vpc_id: owner.vpc_id.clone(),
            balancer: owner.key(&request.key),
            tags: owned_tags(owner, &request.tags),
        };
        aws.elbv2.target_groups.insert(group_arn.clone(), group);
        groups.push(group_arn);
    }
    let key = owner.key(&request.key);
    aws.elbv2
        .target_groups
        .retain(|group_arn, group| group.balancer != key || groups.contains(group_arn));
    let Aws { elbv2, ids, .. } = aws;
    let Some(balancer) = elbv2.balancers.get_mut(arn) else {
        return LoadBalancerState {
            arn: arn.to_owned(),
            dns_name: String::new(),
            active: false,
        };
    };
    let old = std::mem::take(&mut balancer.listeners);
    for wanted in &request.listeners {
        let listener_arn = match old.iter().find(|listener| listener.request.port == wanted.port) {
            Some(listener) => listener.arn.clone(),
            None => format!(
                "{}/{}",
                arn.replace(":loadbalancer/", ":listener/"),
                ids.hex("", 16)
            ),
        };
        let target_group = groups.first().cloned();
        balancer.listeners.push(Listener {
            arn: listener_arn,
            request: wanted.clone(),
            target_group,
        });
    }
    balancer.tags = owned_tags(owner, &request.tags);
    LoadBalancerState {
        arn: arn.to_owned(),
        dns_name: balancer.dns_name.clone(),
        active: balancer.due.is_none(),
    }
}

/// Answers one call.
pub(crate) fn handle(aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    match call.operation.as_str() {
        "DescribeLoadBalancers" => describe(aws, call),
        "DescribeTargetGroups" => describe_target_groups(aws, call),
        "DescribeTargetHealth" => describe_target_health(aws, call),
        "DescribeListeners" => describe_listeners(aws, call),
        "DescribeTags" => describe_tags(aws, call),
        "DeleteLoadBalancer" => {
            let arn = call.params.require("LoadBalancerArn")?;
            // Deleting what is gone succeeds (API reference of DeleteLoadBalancer).
            start_deletion(aws, now, arn);
            Ok(Reply::Xml(Xml::new()))
        }
        "DeleteTargetGroup" => delete_target_group(aws, call),
        other => Err(ApiError::not_simulated("elasticloadbalancing", other)),
    }
}

fn no_balancer(what: &str) -> ApiError {
    ApiError::bad(
        "LoadBalancerNotFound",
        format!("Load balancers '[{what}]' not found"),
    )
}

fn describe(aws: &Aws, call: &Call) -> Result<Reply, ApiError> {
    let (arns, names) = (call.params.list("LoadBalancerArns"), call.params.list("Names"));
    let alive: Vec<(&String, &Balancer)> = aws
        .elbv2
        .balancers
        .iter()
        .filter(|(_, balancer)| !balancer.deleting)
        .collect();
    if let Some(missing) = arns
        .iter()
        .find(|arn| !alive.iter().any(|(known, _)| known == *arn))
    {
        return Err(no_balancer(missing));
    }
    if let Some(missing) = names
        .iter()
        .find(|name| !alive.iter().any(|(_, balancer)| balancer.name == **name))
    {
        return Err(no_balancer(missing));
    }
    let chosen = alive.into_iter().filter(|(arn, balancer)| {
        (arns.is_empty() || arns.contains(&arn.as_str()))
            && (names.is_empty() || names.contains(&balancer.name.as_str()))
    });
    let zone = hosted_zone(&aws.region);
    Ok(Reply::Xml(Xml::new().members(
        "LoadBalancers",
        chosen,
        |(arn, balancer)| {
            let scheme = match balancer.scheme {
                Scheme::InternetFacing => "internet-facing",
                Scheme::Internal => "internal",
            };
            let kind = match balancer.kind {
                LoadBalancerKind::Application => "application",
                LoadBalancerKind::Network => "network",
            };
            let state = if balancer.due.is_some() {
                "provisioning"
            } else {
                "active"
            };
            Xml::new()
                .text("LoadBalancerArn", arn)
                .text("DNSName", &balancer.dns_name)
                .text("CanonicalHostedZoneId", zone)
                .text("CreatedTime", balancer.created.rfc3339_millis())
                .text("LoadBalancerName", &balancer.name)
                .text("Scheme", scheme)
                .text("VpcId", &balancer.vpc_id)
                .node("State", Xml::new().text("Code", state))
                .text("Type", kind)
                .members("AvailabilityZones", &balancer.subnets, |(zone, subnet)| {
                    Xml::new().text("ZoneName", zone).text("SubnetId", subnet)
                })
                .texts("SecurityGroups", "member", &balancer.groups)
                .text("IpAddressType", "ipv4")
        },
    )))
}

/// Route 53 zone ids of application load balancers (AWS General Reference, "Elastic Load Balancing endpoints").
fn hosted_zone(region: &str) -> &'static str {
    match region {
        "us-east-1" => "Z35SXDOTRQ7X7K",
        "us-east-2" => "Z3AADJGX6KTTL2",
        "us-west-1" => "Z368ELLRRE2KJ0",
        "us-west-2" => "Z1H1FL5HABSF5",
        "eu-west-1" => "Z32O12XQLNTSW2",
        "eu-central-1" => "Z215JYRZR1TBD5",
        _ => "ZSANDBOXSANDBOX",
    }
}

fn describe_target_groups(aws: &Aws, call: &Call) -> Result<Reply, ApiError> {
    let (arns, names) = (call.params.list("TargetGroupArns"), call.params.list("Names"));
    let groups = &aws.elbv2.target_groups;
    let known = |name: &&&str| groups.values().any(|group| group.request.name == **name);
    if let Some(missing) = arns
        .iter()
        .find(|arn| !groups.contains_key(**arn))
        .or_else(|| names.iter().find(|name| !known(name)))
    {
        let message = format!("One or more target groups not found: {missing}");
        return Err(ApiError::bad("TargetGroupNotFound", message));
    }
    let of_balancer = call.params.get("LoadBalancerArn");
    let key = match of_balancer {
        Some(arn) => Some(&aws.elbv2.balancers.get(arn).ok_or_else(|| no_balancer(arn))?.key),
        None => None,
    };
    let chosen = groups.iter().filter(|(arn, group)| {
        (arns.is_empty() || arns.contains(&arn.as_str()))
            && (names.is_empty() || names.contains(&group.request.name.as_str()))
            && key.is_none_or(|key| *key == group.balancer)
    });
    Ok(Reply::Xml(Xml::new().members(
        "TargetGroups",
        chosen,
        |(arn, group)| {
            let balancers = aws.elbv2.by_key(&group.balancer).map(|(arn, _)| arn);
            Xml::new()
                .text("TargetGroupArn", arn)
                .text("TargetGroupName", &group.request.name)
                .text("Protocol", &group.request.protocol)
                .text("Port", group.request.port)
                .text("VpcId", &group.vpc_id)
                .text("TargetType", &group.request.target_type)
                .text("IpAddressType", "ipv4")
                .texts("LoadBalancerArns", "member", balancers)
        },
    )))
}

fn describe_target_health(aws: &Aws, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.require("TargetGroupArn")?;
    let group = aws.elbv2.target_groups.get(arn).ok_or_else(|| {
        ApiError::bad(
            "TargetGroupNotFound",
            format!("One or more target groups not found: {arn}"),
        )
    })?;
    Ok(Reply::Xml(Xml::new().members(
        "TargetHealthDescriptions",
        &group.request.targets,
        |(address, port)| {
            Xml::new()
                .node("Target", Xml::new().text("Id", address).text("Port", port))
                .text("HealthCheckPort", port)
                .node("TargetHealth", Xml::new().text("State", "healthy"))
        },
    )))
}

fn describe_listeners(aws: &Aws, call: &Call) -> Result<Reply, ApiError> {
    let (balancer, arns) = (
        call.params.get("LoadBalancerArn"),
        call.params.list("ListenerArns"),
    );
    if let Some(arn) = balancer
        && !aws.elbv2.balancers.contains_key(arn)
    {
        return Err(no_balancer(arn));
    }
    let chosen = aws
        .elbv2
        .balancers
        .iter()
        .filter(|(arn, _)| balancer.is_none_or(|wanted| *arn == wanted))
        .flat_map(|(arn, balancer)| balancer.listeners.iter().map(move |listener| (arn, listener)))
        .filter(|(_, listener)| arns.is_empty() || arns.contains(&listener.arn.as_str()));
    Ok(Reply::Xml(Xml::new().members(
        "Listeners",
        chosen,
        |(arn, listener)| {
            Xml::new()
                .text("ListenerArn", &listener.arn)
                .text("LoadBalancerArn", arn)
                .text("Port", listener.request.port)
                .text("Protocol", &listener.request.protocol)
                .members("Certificates", &listener.request.certificates, |certificate| {
                    Xml::new().text("CertificateArn", certificate)
                })
                .members("DefaultActions", &listener.target_group, |group| {
                    Xml::new().text("Type", "forward").text("TargetGroupArn", group)
                })
        },
    )))
}

fn describe_tags(aws: &Aws, call: &Call) -> Result<Reply, ApiError> {
    let mut found = Vec::new();
    for arn in call.params.list("ResourceArns") {
        let elbv2 = &aws.elbv2;
        let tags = match elbv2.balancers.get(arn).filter(|balancer| !balancer.deleting) {
            Some(balancer) => &balancer.tags,
            None if arn.contains(":targetgroup/") => {
                let missing = || {
                    ApiError::bad(
                        "TargetGroupNotFound",
                        format!("Target groups '[{arn}]' not found"),
                    )
                };
                &elbv2.target_groups.get(arn).ok_or_else(missing)?.tags
            }
            None => return Err(no_balancer(arn)),
        };
        found.push((arn, tags));
    }
    Ok(Reply::Xml(Xml::new().members(
        "TagDescriptions",
        found,
        |(arn, tags)| Xml::new().text("ResourceArn", arn).tag_members(tags),
    )))
}

fn delete_target_group(aws: &mut Aws, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.require("TargetGroupArn")?;
    let listened = aws
        .elbv2
        .balancers
        .values()
        .flat_map(|balancer| &balancer.listeners)
        .any(|listener| listener.target_group.as_deref() == Some(arn));
    if listened {
        let message = format!("Target group '{arn}' is currently in use by a listener or a rule");
        return Err(ApiError::bad("ResourceInUse", message));
    }
    aws.elbv2.target_groups.remove(arn);
    Ok(Reply::Xml(Xml::new()))
}
