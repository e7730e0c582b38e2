//! AWS for epid: one region of one account, spoken to by kinds that each know one resource.
//!
//! | module | what it knows |
//! |---|---|
//! | [`settings`] | where credentials, endpoints, time and the transport come from: the ordinary AWS ways, or an in-process simulation |
//! | `provider` | the provider contract without a connection: schemas, checks, comparisons |
//! | `links` | which kinds stand on which: what is replaced and deleted together |
//! | `clients` | the service clients of one connection |
//! | `kind` | the [`ResourceKind`](kind::ResourceKind) trait, one implementation per file, and the table of all kinds |
//! | `connection` | the provider contract over that table |
//! | `failure` | what SDK errors mean: was it done, does trying again help, what can the person do |
//! | `tags` | whose a resource is: the tags of epid and of the program |
//! | `wire` | signed requests on the SDK's runtime, for the narrow clients of EC2 and S3 |
//! | `wait`, `inputs`, `given`, `ids` | waits within one operation; reading resolved inputs; what ids say of their kind |
//! | `named`, `patience` | what kinds with names of their own have in common; waiting for what AWS refuses for a while |
//! | `ec2`, `iam`, `sts`, `eks` | the kinds |
//! | [`s3`] | objects of a bucket, written under conditions: for states, not a kind |
//! | [`token`] | the bearer token of an EKS cluster |
//!
//! Nothing here reads the environment except the SDK's own configuration loader, and nothing knows the engine.

mod clients;
mod connection;
mod ec2;
mod eks;
mod failure;
mod given;
mod iam;
mod ids;
mod inputs;
mod kind;
mod links;
mod named;
mod patience;
mod provider;
pub mod s3;
pub mod settings;
mod sts;
mod tags;
pub mod token;
mod wait;
mod wire;

pub use provider::Aws;
pub use settings::{Account, Role, Settings};
pub use token::cluster_token;
