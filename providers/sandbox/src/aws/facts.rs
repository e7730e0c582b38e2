//! What one service tells another: plain data, so that no service looks into another's state.

use super::Tags;
use crate::Timestamp;
use serde_json::Value;

/// What EC2 tells about a subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubnetFacts {
    pub id: String,
    pub vpc_id: String,
    /// E.g. `us-east-1a`.
    pub zone: String,
    /// E.g. `use1-az4`.
    pub zone_id: String,
    pub tags: Tags,
    /// Free addresses, as DescribeSubnets counts them.
    pub available_addresses: u32,
    /// Its route table (own or main) sends `0.0.0.0/0` to an attached internet gateway.
    pub public: bool,
    /// Its route table sends `0.0.0.0/0` to an available NAT gateway whose own subnet is public.
    pub nat: bool,
}

/// What EC2 tells about a VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VpcFacts {
    pub id: String,
    pub cidr: String,
    pub dns_support: bool,
    pub dns_hostnames: bool,
}

/// An interface that a service puts into somebody's subnet.
#[derive(Debug, Clone)]
pub(crate) struct InterfaceRequest {
    pub subnet_id: String,
    pub groups: Vec<String>,
    /// E.g. `Amazon EKS demo`, `ELB app/name/id`.
    pub description: String,
    /// E.g. `amazon-elb`, `eks`.
    pub requester: String,
    /// It has a public address, which keeps the internet gateway attached.
    pub public: bool,
    pub tags: Tags,
}

/// What IAM tells about a role.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RoleFacts {
    pub arn: String,
    pub name: String,
    /// `/` unless one was given.
    pub path: String,
    /// `AROA...`.
    pub id: String,
    /// The trust policy document, parsed.
    pub trust: Value,
    /// When the trust policy was last written (creation included).
    pub trust_since: Timestamp,
    /// ARNs of the attached managed policies, with the moment of attachment.
    pub attached: Vec<(String, Timestamp)>,
    /// Every permission document (default versions of attached policies that the account owns, and inline
    /// ones), with the moment from which it counts. Documents of AWS-managed policies may be left out.
    pub permissions: Vec<(Value, Timestamp)>,
}

/// What IAM tells about an OpenID Connect provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OidcFacts {
    pub arn: String,
    /// Without `https://`.
    pub url: String,
    pub client_ids: Vec<String>,
    pub since: Timestamp,
}
