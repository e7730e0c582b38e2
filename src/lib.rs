//! epid.

pub mod apply;
pub mod builtin;
pub mod components;
pub mod expression;
pub mod graph;
pub mod observe;
pub mod plan;
pub mod program;
pub mod state;
