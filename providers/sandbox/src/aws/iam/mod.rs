//! IAM: roles, policies and OpenID Connect providers, in the query protocol.

use super::facts::{OidcFacts, RoleFacts};
use super::{ApiError, Aws, Call, Reply};
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// State of IAM in one account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Iam {}

/// Answers one call.
pub(crate) fn handle(_aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    Err(ApiError::not_simulated("iam", &call.operation))
}

impl Iam {
    /// An account without roles; AWS-managed policies exist.
    pub(crate) fn new(_account: &str) -> Self {
        Self {}
    }

    /// A role by its ARN.
    pub(crate) fn role(&self, _arn: &str) -> Option<RoleFacts> {
        None
    }

    /// An OpenID Connect provider by its URL without scheme.
    pub(crate) fn oidc_provider(&self, _url: &str) -> Option<OidcFacts> {
        None
    }

    /// Whether a policy exists: of the account or managed by AWS.
    pub(crate) fn policy_exists(&self, _arn: &str) -> bool {
        false
    }
}
