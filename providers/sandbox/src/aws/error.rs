//! Errors as AWS names them. How they look on the wire is the protocol's business.

use serde_json::{Map, Value};

/// An error answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// AWS error code, e.g. `InvalidVpcID.NotFound`.
    pub code: String,
    /// What AWS says to people.
    pub message: String,
    /// More members of a JSON error, e.g. `clusterName`.
    pub members: Map<String, Value>,
}

impl ApiError {
    /// An error with its status, code and message.
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            members: Map::new(),
        }
    }

    /// A client error with status 400, which is what EC2 uses for nearly everything.
    pub(crate) fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// Adds a member to a JSON error.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// An operation that this sandbox does not simulate, in the words of this sandbox.
    pub(crate) fn not_simulated(service: &str, operation: &str) -> Self {
        Self::new(
            501,
            "NotSimulated",
            format!(
                "the sandbox does not simulate {service} {operation}; run it against AWS or leave it out"
            ),
        )
    }
}
