//! Kinds of IAM, STS and EKS against the sandbox in the process, on tokio's paused clock; and, where asked for, against
//! moto over HTTP.

#![expect(clippy::unwrap_used, reason = "what fails in a story fails the test")]

mod alien;
mod eks;
mod iam;
mod lab;
mod moto;
mod past;
#[path = "../runtime/mod.rs"]
mod runtime;
