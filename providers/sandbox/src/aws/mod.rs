//! AWS: EC2, IAM, STS, EKS and Elastic Load Balancing, spoken in their own wire protocols.
//!
//! Each service is a state struct and one entry, `handle(aws, now, call) -> Result<Reply, ApiError>`.
//! What a service needs of another goes through the facts in [`facts`], never through its private state.

mod absent;
pub(crate) mod controllers;
pub mod ec2;
pub mod eks;
pub mod elbv2;
mod error;
pub(crate) mod facts;
pub mod iam;
mod ids;
pub(crate) mod policy;
pub(crate) mod query;
pub(crate) mod route;
pub(crate) mod sts;
#[cfg(test)]
mod trial;
pub(crate) mod xml;

pub(crate) use error::ApiError;
pub(crate) use ids::{Ids, splitmix};
pub(crate) use policy::like;
pub(crate) use query::Params;
pub(crate) use xml::Xml;

use crate::Timestamp;
use crate::cloud::Principal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a new role, trust policy or attachment stays unknown to the other services.
pub(crate) const IAM_PROPAGATION: Duration = Duration::from_secs(8);

/// Tags of a resource, in the order in which they are listed.
pub(crate) type Tags = BTreeMap<String, String>;

/// One account: its global services, and the current region's; the other regions are parked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Aws {
    /// Twelve digits.
    pub account: String,
    /// The current region, e.g. `us-east-1`.
    pub region: String,
    pub(crate) ids: Ids,
    pub(crate) ec2: ec2::Ec2,
    pub(crate) iam: iam::Iam,
    pub(crate) eks: eks::Eks,
    pub(crate) elbv2: elbv2::Elbv2,
    pub(crate) sts: sts::Sts,
    elsewhere: BTreeMap<String, Regional>,
    /// Certificate of the authority that signs the API servers' certificates, in PEM.
    pub(crate) authority: Option<String>,
    /// Where clusters are served, e.g. `https://127.0.0.1:6443`; `None` for their names on AWS.
    #[serde(skip)]
    pub(crate) endpoints: Option<String>,
}

/// What exists apart in every region.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Regional {
    ec2: ec2::Ec2,
    eks: eks::Eks,
    elbv2: elbv2::Elbv2,
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

impl Call {
    /// Refuses a form with a parameter outside `known`: what is not simulated must not be ignored. Empty and
    /// `false` ones ask for nothing.
    pub(crate) fn refuse_unknown(&self, service: &str, known: &[&str]) -> Result<(), ApiError> {
        let always = ["Action", "DryRun", "Version"];
        for key in self.params.keys() {
            let name = key.split('.').next().unwrap_or_default();
            let asks = !matches!(self.params.get(key), None | Some("" | "false"));
            if asks && !always.contains(&name) && !known.contains(&name) {
                let what = format!("the parameter {name} of {}", self.operation);
                return Err(ApiError::not_simulated(service, &what));
            }
        }
        Ok(())
    }
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
            elsewhere: BTreeMap::new(),
            authority: None,
            endpoints: None,
        }
    }

    /// The one user of the account, to whom every unknown access key belongs.
    pub(crate) fn user(&self) -> Principal {
        Principal {
            arn: format!("arn:aws:iam::{}:user/sandbox", self.account),
            user_id: "AIDASANDBOXUSER000000".to_owned(),
            account: self.account.clone(),
        }
    }

    /// An ARN of this account in the current region, e.g. `arn("eks", "cluster/demo")`.
    pub(crate) fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.account)
    }

    /// The URL of a cluster's API server.
    pub(crate) fn endpoint_of(&self, cluster: &eks::Cluster) -> String {
        match &self.endpoints {
            Some(base) => format!("{base}/clusters/{}/{}", self.region, cluster.name),
            None => format!("https://{}", cluster.host(&self.region)),
        }
    }

    /// Makes `region` the current one.
    pub(crate) fn enter(&mut self, region: &str) {
        if region == self.region {
            return;
        }
        let mut next = self.elsewhere.remove(region).unwrap_or_else(|| Regional {
            ec2: ec2::Ec2::new(region),
            eks: eks::Eks::default(),
            elbv2: elbv2::Elbv2::default(),
        });
        std::mem::swap(&mut self.ec2, &mut next.ec2);
        std::mem::swap(&mut self.eks, &mut next.eks);
        std::mem::swap(&mut self.elbv2, &mut next.elbv2);
        let left = std::mem::replace(&mut self.region, region.to_owned());
        self.elsewhere.insert(left, next);
    }

    /// Every region in which something was ever asked, sorted.
    pub(crate) fn regions(&self) -> Vec<String> {
        let mut regions: Vec<String> = self.elsewhere.keys().cloned().collect();
        regions.push(self.region.clone());
        regions.sort();
        regions
    }

    /// The id of a cluster of any region.
    pub(crate) fn cluster_id(&self, region: &str, name: &str) -> Option<&str> {
        let eks = match region == self.region {
            true => &self.eks,
            false => &self.elsewhere.get(region)?.eks,
        };
        eks.cluster(name).map(|cluster| cluster.id.as_str())
    }

    /// When the lifecycles of any region have something due next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let due = |ec2: &ec2::Ec2, eks: &eks::Eks, elbv2: &elbv2::Elbv2| {
            [ec2.next_due(), eks.next_due(), elbv2.next_due()]
                .into_iter()
                .flatten()
                .min()
        };
        let elsewhere = self
            .elsewhere
            .values()
            .filter_map(|region| due(&region.ec2, &region.eks, &region.elbv2));
        elsewhere.chain(due(&self.ec2, &self.eks, &self.elbv2)).min()
    }

    /// Applies the lifecycles of the current region that are due by `now`.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        self.ec2.advance(now);
        elbv2::advance(self, now);
        eks::advance(self, now);
    }
}
