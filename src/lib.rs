//! epid.

pub mod expression;
pub mod program;
pub mod state;
