//! Elastic Load Balancing v2, in the query protocol.

use super::{ApiError, Aws, Call, Reply};
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// State of Elastic Load Balancing in one region.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Elbv2 {}

/// Answers one call.
pub(crate) fn handle(_aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    Err(ApiError::not_simulated("elasticloadbalancing", &call.operation))
}
