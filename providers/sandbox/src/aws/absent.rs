//! Lists of what no sandbox ever holds, because nothing here makes it: the honest answer is that there is none. Whoever
//! names one of them still hears that it is not simulated.

use super::eks::Handler;
use super::route::Service;
use super::{ApiError, Aws, Call, Reply, Xml};
use crate::Timestamp;
use serde_json::json;

/// Service, operation, the element that is empty.
const QUERY: &[(Service, &str, &str)] = &[
    (Service::Ec2, "DescribeCustomerGateways", "customerGatewaySet"),
    (
        Service::Ec2,
        "DescribeEgressOnlyInternetGateways",
        "egressOnlyInternetGatewaySet",
    ),
    (Service::Ec2, "DescribeFlowLogs", "flowLogSet"),
    (Service::Ec2, "DescribeInstances", "reservationSet"),
    (Service::Ec2, "DescribeInstanceStatus", "instanceStatusSet"),
    (Service::Ec2, "DescribeKeyPairs", "keySet"),
    (Service::Ec2, "DescribeLaunchTemplates", "launchTemplates"),
    (Service::Ec2, "DescribeSnapshots", "snapshotSet"),
    (Service::Ec2, "DescribeTransitGateways", "transitGatewaySet"),
    (Service::Ec2, "DescribeVolumes", "volumeSet"),
    (Service::Ec2, "DescribeVpcEndpoints", "vpcEndpointSet"),
    (
        Service::Ec2,
        "DescribeVpcPeeringConnections",
        "vpcPeeringConnectionSet",
    ),
    (Service::Ec2, "DescribeVpnConnections", "vpnConnectionSet"),
    (Service::Ec2, "DescribeVpnGateways", "vpnGatewaySet"),
    (Service::Iam, "ListGroups", "Groups"),
    (Service::Iam, "ListInstanceProfiles", "InstanceProfiles"),
    (Service::Iam, "ListSAMLProviders", "SAMLProviderList"),
    (
        Service::Iam,
        "ListServerCertificates",
        "ServerCertificateMetadataList",
    ),
];

/// What may be asked of them: anything that does not name one.
const ALLOWED: &[&str] = &[
    "Action",
    "Filter",
    "Marker",
    "MaxItems",
    "MaxResults",
    "NextToken",
    "OwnerId",
    "Owner",
    "PathPrefix",
    "Version",
];

/// The answer to a list of what there is none of; `None` for every other call.
pub(super) fn list(service: Service, call: &Call) -> Option<Reply> {
    let (.., element) = QUERY
        .iter()
        .find(|(of, operation, _)| *of == service && *operation == call.operation)?;
    let first = |key: &str| key.split('.').next().unwrap_or_default().to_owned();
    if !call.params.keys().all(|key| ALLOWED.contains(&&*first(key))) {
        return None;
    }
    let mut answer = Xml::new().node(element, Xml::new());
    if service == Service::Iam {
        answer = answer.text("IsTruncated", false);
    }
    Some(Reply::Xml(answer))
}

/// The same of EKS: method, path, operation, handler.
pub(super) const OF_CLUSTERS: &[(&str, &[&str], &str, Handler)] = &[
    (
        "GET",
        &["clusters", "*", "node-groups"],
        "ListNodegroups",
        |aws, _, call| none(aws, call, "nodegroups"),
    ),
    (
        "GET",
        &["clusters", "*", "node-groups", "*"],
        "DescribeNodegroup",
        nodegroup,
    ),
    (
        "GET",
        &["clusters", "*", "pod-identity-associations"],
        "ListPodIdentityAssociations",
        |aws, _, call| none(aws, call, "associations"),
    ),
    (
        "GET",
        &["clusters", "*", "identity-provider-configs"],
        "ListIdentityProviderConfigs",
        |aws, _, call| none(aws, call, "identityProviderConfigs"),
    ),
    (
        "POST",
        &["clusters", "*", "insights"],
        "ListInsights",
        |aws, _, call| none(aws, call, "insights"),
    ),
];

fn none(aws: &mut Aws, call: &Call, list: &str) -> Result<Reply, ApiError> {
    aws.eks.require(call.segment(1))?;
    Ok(Reply::Json(json!({ list: [] })))
}

fn nodegroup(aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let (cluster, name) = (call.segment(1), call.segment(3));
    aws.eks.require(cluster)?;
    let message = format!("No node group found for name: {name}.");
    Err(ApiError::new(404, "ResourceNotFoundException", message)
        .with("clusterName", cluster)
        .with("nodegroupName", name))
}

#[cfg(test)]
mod tests {
    use super::super::{ec2, trial::Trial};

    #[test]
    fn there_are_no_instances_and_none_of_a_name() {
        let mut trial = Trial::new(ec2::handle);
        let filtered = "Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-1";
        assert_eq!(
            trial.ok("DescribeInstances", filtered),
            "<reservationSet></reservationSet>"
        );
        assert_eq!(
            trial.code("DescribeInstances", "InstanceId.1=i-1"),
            "NotSimulated"
        );
    }
}
