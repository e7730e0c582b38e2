//! The network side of a cluster: what is demanded of subnets and groups, and what EKS puts into the VPC.

use super::cluster::{Cluster, check_role};
use super::{invalid_parameter, texts};
use crate::Timestamp;
use crate::aws::facts::{InterfaceRequest, SubnetFacts};
use crate::aws::{ApiError, Aws, Tags};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Zones in which EKS places no control plane (user guide, "VPC and subnet requirements").
const FORBIDDEN_ZONES: [&str; 3] = ["use1-az3", "usw1-az2", "cac1-az3"];
/// Free addresses that every subnet must have when a cluster is made, and when it is upgraded.
const ADDRESSES_TO_CREATE: u32 = 6;
pub(super) const ADDRESSES_TO_UPGRADE: u32 = 5;

/// The network side of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub vpc_id: String,
    pub subnets: Vec<String>,
    pub groups: Vec<String>,
    /// The security group that EKS made.
    pub cluster_group: String,
    pub public: bool,
    pub private: bool,
    pub public_cidrs: Vec<String>,
}

/// Looks subnets up and checks what CreateCluster and subnet updates demand of them.
pub(super) fn check_subnets(
    aws: &Aws,
    cluster: &str,
    ids: &[String],
    free: u32,
) -> Result<Vec<SubnetFacts>, ApiError> {
    let mut subnets = Vec::new();
    for id in ids {
        let Some(subnet) = aws.ec2.subnet(id) else {
            let message = format!(
                "The subnet ID '{id}' does not exist (Service: AmazonEC2; Status Code: 400; Error Code: InvalidSubnetID.NotFound)"
            );
            return Err(invalid_parameter(cluster, message));
        };
        subnets.push(subnet);
    }
    if let Some(bad) = subnets
        .iter()
        .find(|subnet| FORBIDDEN_ZONES.contains(&subnet.zone_id.as_str()))
    {
        let vpc = aws.ec2.subnets_of(&bad.vpc_id);
        let zones: BTreeSet<&str> = vpc
            .iter()
            .filter(|subnet| !FORBIDDEN_ZONES.contains(&subnet.zone_id.as_str()))
            .map(|subnet| subnet.zone.as_str())
            .collect();
        let zones: Vec<&str> = zones.into_iter().collect();
        let message = format!(
            "Cannot create cluster '{cluster}' because {}, the targeted availability zone, does not currently have \
             sufficient capacity to support the cluster. Retry and choose from these availability zones: {}",
            bad.zone,
            zones.join(", ")
        );
        return Err(ApiError::bad("UnsupportedAvailabilityZoneException", message)
            .with("clusterName", cluster)
            .with("validZones", json!(zones)));
    }
    if let [first, rest @ ..] = subnets.as_slice()
        && rest.iter().any(|subnet| subnet.vpc_id != first.vpc_id)
    {
        return Err(invalid_parameter(cluster, "Subnets are not in the same VPC"));
    }
    let zones: BTreeSet<&str> = subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
    if zones.len() < 2 {
        return Err(invalid_parameter(
            cluster,
            "Subnets specified must be in at least two different AZs",
        ));
    }
    if let Some(full) = subnets.iter().find(|subnet| subnet.available_addresses < free) {
        let message = format!(
            "Provided subnets {} Free IPs: {} , need at least {free} IPs in each subnet to be free for this operation",
            full.id, full.available_addresses
        );
        return Err(invalid_parameter(cluster, message));
    }
    Ok(subnets)
}

/// # Errors
/// More than four groups, or one that is not in the VPC.
pub(super) fn check_groups(
    aws: &Aws,
    cluster: &str,
    vpc_id: &str,
    groups: &[String],
) -> Result<(), ApiError> {
    if groups.len() > 4 {
        return Err(invalid_parameter(
            cluster,
            "A maximum of 4 security groups can be specified",
        ));
    }
    match groups
        .iter()
        .find(|id| aws.ec2.security_group_vpc(id).as_deref() != Some(vpc_id))
    {
        Some(bad) => {
            let message =
                format!("Security group(s) {bad} are not in the same VPC as the subnets, or do not exist");
            Err(invalid_parameter(cluster, message))
        }
        None => Ok(()),
    }
}

/// # Errors
/// Neither endpoint, or CIDR blocks for a public endpoint that does not exist.
pub(super) fn check_endpoints(
    cluster: &str,
    public: bool,
    private: bool,
    cidrs: &[String],
) -> Result<(), ApiError> {
    if !public && !private {
        return Err(invalid_parameter(
            cluster,
            "Private and public endpoint access cannot be false",
        ));
    }
    if cidrs.len() > 40 {
        return Err(invalid_parameter(
            cluster,
            "A maximum of 40 publicAccessCidrs can be specified",
        ));
    }
    Ok(())
}

pub(super) fn read(aws: &Aws, name: &str, config: &Value) -> Result<Network, ApiError> {
    let subnets = texts(config, "subnetIds").unwrap_or_default();
    if subnets.is_empty() {
        return Err(invalid_parameter(name, "subnets should not be empty"));
    }
    let facts = check_subnets(aws, name, &subnets, ADDRESSES_TO_CREATE)?;
    let vpc_id = facts
        .first()
        .map(|subnet| subnet.vpc_id.clone())
        .unwrap_or_default();
    let groups = texts(config, "securityGroupIds").unwrap_or_default();
    check_groups(aws, name, &vpc_id, &groups)?;
    let public = config.get("endpointPublicAccess") != Some(&json!(false));
    let private = config.get("endpointPrivateAccess") == Some(&json!(true));
    let cidrs = texts(config, "publicAccessCidrs").filter(|cidrs| !cidrs.is_empty());
    let public_cidrs = cidrs.unwrap_or_else(|| vec!["0.0.0.0/0".to_owned()]);
    check_endpoints(name, public, private, &public_cidrs)?;
    Ok(Network {
        vpc_id,
        subnets,
        groups,
        cluster_group: String::new(),
        public,
        private,
        public_cidrs,
    })
}

pub(super) fn overlaps_ten(aws: &Aws, vpc_id: &str) -> bool {
    aws.ec2.vpc(vpc_id).is_some_and(|vpc| vpc.cidr.starts_with("10."))
}

/// Puts what EKS makes into the VPC: the cluster security group and an interface in the first subnet of each zone.
pub(super) fn build(aws: &mut Aws, now: Timestamp, cluster: &mut Cluster) {
    let name = cluster.name.clone();
    let suffix = aws.ids.next() % 1_000_000_000;
    let group_name = format!("eks-cluster-sg-{name}-{suffix}");
    let tags = Tags::from([
        ("Name".to_owned(), group_name.clone()),
        ("aws:eks:cluster-name".to_owned(), name.clone()),
        (format!("kubernetes.io/cluster/{name}"), "owned".to_owned()),
    ]);
    let description = "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, as well as any managed workloads.";
    let Aws { ec2, ids, .. } = aws;
    let group = ec2.service_security_group(
        ids,
        &cluster.network.vpc_id,
        &group_name,
        description,
        tags,
        true,
        &[],
    );
    cluster.network.cluster_group.clone_from(&group);
    place_interfaces(aws, now, cluster);
}

/// Places the control plane's interfaces anew, as creation and subnet or group updates do.
pub(super) fn place_interfaces(aws: &mut Aws, now: Timestamp, cluster: &mut Cluster) {
    for interface in std::mem::take(&mut cluster.interfaces) {
        aws.ec2.delete_interface(&interface);
    }
    let mut groups = cluster.network.groups.clone();
    groups.push(cluster.network.cluster_group.clone());
    for subnet in &cluster.network.subnets {
        let request = InterfaceRequest {
            subnet_id: subnet.clone(),
            groups: groups.clone(),
            description: format!("Amazon EKS {}", cluster.name),
            requester: "eks".to_owned(),
            public: false,
            tags: Tags::from([("cluster.k8s.amazonaws.com/name".to_owned(), cluster.name.clone())]),
        };
        let Aws { ec2, ids, .. } = aws;
        cluster.interfaces.push(ec2.create_interface(ids, now, request).0);
    }
}

/// Removes what EKS made; without its role EKS cannot, and leaves interfaces and group behind.
pub(super) fn dismantle(aws: &mut Aws, now: Timestamp, cluster: &Cluster) {
    if check_role(aws, now, &cluster.name, &cluster.role_arn).is_err() {
        return;
    }
    for interface in &cluster.interfaces {
        aws.ec2.delete_interface(interface);
    }
    // A group that other groups' rules refer to stays behind, as on AWS.
    aws.ec2
        .delete_service_security_group(&cluster.network.cluster_group);
}
