//! A strict in-memory cloud for tests of the engine: provider `fake`, and the conformance suite of all providers.
//!
//! It knows the contract and nothing of the engine. It is stricter than a real cloud: an existing name refuses a
//! create, a used thing refuses its delete, a reference to nothing is refused, and whatever a correct engine never
//! does (two operations at once on one thing, a mutex not held, an effect outside left behind) is written down as a
//! violation that [`World::assert_clean`] panics on.
//!
//! | module | what it knows |
//! |---|---|
//! | [`kinds`] | the kinds, one for each thing that is hard in a cloud |
//! | [`world`] | what exists, and what was done to it |
//! | [`fault`] | the script of faults |
//! | [`programs`] | random programs of these kinds, for tests of the engine |
//! | `connection` | the operations |
//! | [`conformance`](mod@conformance) | what every kind of every provider must keep |
//! | [`runtime`] | a call runtime whose clock jumps, for tests without an engine |

mod connection;
mod things;

pub mod conformance;
pub mod fault;
pub mod kinds;
pub mod programs;
pub mod provider;
pub mod runtime;
pub mod world;

pub use conformance::{Case, conformance};
pub use fault::{Api, Effect, Fault};
pub use provider::Fake;
pub use runtime::JumpingRuntime;
pub use world::{Thing, World};
