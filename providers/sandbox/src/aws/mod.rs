//! AWS: EC2, IAM, STS, EKS and Elastic Load Balancing, spoken in their own wire protocols.
//!
//! Each service is a state struct and one entry, `handle(aws, now, call) -> Result<Reply, ApiError>`.
//! What a service needs of another goes through the facts in [`facts`], never through its private state.

pub mod ec2;
pub mod eks;
pub mod elbv2;
mod error;
pub(crate) mod facts;
pub mod iam;
mod ids;
pub(crate) mod query;
pub(crate) mod route;
pub(crate) mod sts;
pub(crate) mod xml;

pub(crate) use error::ApiError;
pub(crate) use ids::Ids;
pub(crate) use query::Params;
pub(crate) use xml::Xml;

use crate::cloud::Principal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tags of a resource, in the order in which they are listed.
pub(crate) type Tags = BTreeMap<String, String>;

/// One account in one region, with its global services.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Aws {
    /// Twelve digits.
    pub account: String,
    /// E.g. `us-east-1`.
    pub region: String,
    pub(crate) ids: Ids,
    pub(crate) ec2: ec2::Ec2,
    pub(crate) iam: iam::Iam,
    pub(crate) eks: eks::Eks,
    pub(crate) elbv2: elbv2::Elbv2,
    pub(crate) sts: sts::Sts,
}

/// One decoded API call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// E.g. `CreateVpc`.
    pub operation: String,
    /// Parameters of the query protocols; empty for REST.
    pub params: Params,
    /// Body of the JSON protocols; `Null` for an empty body and for the query protocols.
    pub json: serde_json::Value,
    /// Percent-decoded path segments of the REST protocols, e.g. `["clusters", "demo"]`.
    pub path: Vec<String>,
    /// Query string of the REST protocols, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Who calls.
    pub caller: Principal,
}

/// The content of a successful answer; the protocol's envelope is added around it.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Children of `<OpResponse>` (ec2) or `<OpResult>` (query).
    Xml(Xml),
    /// The whole body of a JSON answer.
    Json(serde_json::Value),
}

impl Aws {
    /// An empty account.
    pub fn new(seed: u64, account: &str, region: &str) -> Self {
        Self {
            account: account.to_owned(),
            region: region.to_owned(),
            ids: Ids::new(seed),
            ec2: ec2::Ec2::new(region),
            iam: iam::Iam::new(account),
            eks: eks::Eks::default(),
            elbv2: elbv2::Elbv2::default(),
            sts: sts::Sts::default(),
        }
    }
}
