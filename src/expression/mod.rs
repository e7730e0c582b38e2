//! CEL over [`epid_provider::Value`]: what stands in `${…}`, and the templates that hold it.
//!
//! | module | what it knows |
//! |---|---|
//! | `span` | places in source files |
//! | `parsed` | [`Expression`], its [`Reference`]s and errors |
//! | `scope` | [`Scope`]: where names get their values |
//! | `template` | [`Template`]: values with expressions in them, each with its place |
//!
//! Knows the contract's values and paths. Pure: no file, clock, environment or randomness; no provider, no program.

mod parsed;
mod scope;
mod serial;
mod span;
mod template;

pub use parsed::{Access, Expression, ExpressionError, Reference};
pub use scope::{Scope, resolve};
pub use span::{SourceId, Span};
pub use template::{Located, Mention, Piece, Template, TemplateError};
