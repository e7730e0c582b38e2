//! What stands in the way of a plan.

use epid_provider::Urn;

use crate::expression::Span;

/// What to do about a resource whose name depends on a secret.
pub(crate) const SECRET_NAME: &str = "the cloud shows names to everybody, in lists, ids and messages: take a value that is no secret, or `contentHash` of it";

/// A reason why there is no plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanProblem {
    /// The resource, where there is one.
    pub urn: Option<Urn>,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Where the program declares it; [`Span::NONE`] for what is only in the state.
    pub span: Span,
}

impl PlanProblem {
    pub(super) fn new(urn: Option<&Urn>, span: Span, message: impl Into<String>) -> Self {
        Self {
            urn: urn.cloned(),
            message: message.into(),
            hint: None,
            span,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
