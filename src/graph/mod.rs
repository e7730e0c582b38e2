//! A program becomes a validated, ordered graph of resources.
//!
//! | module | what it knows |
//! |---|---|
//! | `build` | [`build()`]: expansion, providers, edges, checks, order |
//! | `node` | [`ResourceGraph`], [`Node`], [`Edge`] |
//! | `names` | [`Names`] and [`View`]: what names in expressions stand for |
//! | `providers` | [`Providers`]: the providers a run can use |
//! | `order` | topological order; the only importer of petgraph, whose indices never leave |
//! | `selector` | [`Selector`]: resources by address or URN |
//!
//! Pure and synchronous. Uses the program, expressions and the contract.

mod build;
mod names;
mod node;
mod order;
mod providers;
mod selector;

pub use build::{Inputs, build};
pub use names::{Binding, Known, Names, View};
pub(crate) use names::{at, overlay, unknown, unmade};
pub use node::{Edge, Node, ResourceGraph, Why};
pub(crate) use order::sort;
pub(crate) use providers::elsewhere;
pub use providers::{PROVIDER_KIND, Providers, provider_type};
pub use selector::Selector;
