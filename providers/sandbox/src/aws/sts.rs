//! STS, in the query protocol.

use super::{ApiError, Aws, Call, Reply};
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// State of STS.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sts {}

/// Answers one call.
pub(crate) fn handle(_aws: &mut Aws, _now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    Err(ApiError::not_simulated("sts", &call.operation))
}
