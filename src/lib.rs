//! epid.

pub mod components;
pub mod expression;
pub mod graph;
pub mod plan;
pub mod program;
pub mod state;
