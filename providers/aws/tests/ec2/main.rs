//! EC2's kinds: in the sandbox, and against moto where there is one.

#![expect(clippy::unwrap_used, reason = "what fails in a test fails it")]

mod moto;
mod network;
mod past;
mod rig;
#[path = "../runtime/mod.rs"]
mod runtime;
mod sandbox;
