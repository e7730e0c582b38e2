//! CEL over [`epid_provider::Value`]: what stands in `${…}`, and the templates that hold it.
//!
//! | module | what it knows |
//! |---|---|
//! | `span` | places in source files |
//! | `lexer`, `parser`, `syntax` | text, tokens, tree |
//! | `parsed` | [`Expression`], its [`Reference`]s and errors |
//! | `evaluate` | a tree and a scope into a value |
//! | `outcome`, `logic`, `arithmetic`, `lookup` | its parts: unknown and secret values and failures, what decides, operators, steps |
//! | `functions`, `network` | the functions there are; blocks of addresses |
//! | `scope` | [`Scope`]: where names get their values |
//! | `limits` | how large values may become |
//! | `template` | [`Template`]: values with expressions in them, each with its place |
//!
//! Knows the contract's values and paths. Pure: no file, clock, environment or randomness; no provider, no program.

mod arithmetic;
mod evaluate;
mod functions;
mod lexer;
mod limits;
mod logic;
mod lookup;
mod network;
mod outcome;
mod parsed;
mod parser;
mod scope;
mod serial;
mod span;
mod syntax;
mod template;
#[cfg(test)]
mod tests;

pub use parsed::{Access, Expression, ExpressionError, Reference};
pub use scope::{Digests, Scope, derived_marks, resolve};
pub use span::{SourceId, Span};
pub use template::{Located, Mention, Piece, Template, TemplateError};
