//! epid.

pub mod expression;
pub mod program;
