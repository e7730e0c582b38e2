//! A cloud in the box: AWS and Kubernetes APIs simulated at the HTTP level.
//!
//! Unmodified clients (the AWS SDKs, the aws CLI, kube-rs, kubectl) talk to it. It is stricter than the
//! real thing, never kinder: a cluster takes minutes to become active, a role is not assumable at once, a
//! network cannot be deleted while something lives in it.
//!
//! - [`world`]: the whole simulated universe, pure and deterministic.
//! - [`clock`]: virtual time.
//! - [`service`]: a running sandbox: the world with latency, faults, throttling and a memory.
//! - [`faults`]: what goes wrong, by script. [`store`]: where the world is kept.
//! - [`serve`]: the same over loopback sockets, for clients outside the process; [`remote`]: its other end.
//! - [`cloud`]: what a cluster's controllers may ask of the cloud around them.
//! - [`aws`]: EC2, IAM, STS, EKS and Elastic Load Balancing.
//! - [`kubernetes`]: an API server in memory, with its controllers.
//!
//! This crate knows neither the engine nor the provider contract, connects to nothing
//! but a sandbox that another process serves, and reads no environment.

pub mod aws;
pub mod clock;
pub mod cloud;
pub mod faults;
pub mod kubernetes;
pub mod remote;
pub mod serve;
pub mod service;
pub mod store;
pub mod world;

pub use clock::{Clock, Timestamp};
pub use faults::FaultScript;
pub use remote::{Remote, Way};
pub use service::{Sandbox, SandboxBody, SandboxError, Settings};
pub use store::{FileStore, MemoryStore, WorldStore};
pub use world::{Answer, World};
