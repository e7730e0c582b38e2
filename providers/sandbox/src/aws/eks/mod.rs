//! EKS, in the REST JSON protocol.

use super::{ApiError, Aws, Call, Reply};
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// State of EKS in one region.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Eks {}

/// Answers one call.
pub(crate) fn handle(_aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    Err(ApiError::not_simulated("eks", &call.operation))
}
