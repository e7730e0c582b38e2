//! What the epid engine and its providers must agree on, and nothing else.
//!
//! | module | what it knows |
//! |---|---|
//! | [`urn`] | identity: [`Urn`], [`Kind`], physical [`Key`]s |
//! | [`value`] | the dynamic [`Value`] with `Unknown` and `Secret`, and [`Resolved`], the only values a cloud may be sent |
//! | [`path`] | property paths such as `spec.containers[web].image` |
//! | [`schema`] | what a kind looks like: fields, outputs, equality, exclusivity, durations |
//! | [`diff`](mod@diff) | leaf changes between two values, and whether they replace |
//! | [`check`](mod@check) | problems of desired properties against a schema |
//! | [`failure`] | what went wrong in a call, and what is known of its outcome |
//! | [`call`] | what a provider may ask of the engine during one operation |
//! | [`provider`] | the [`Provider`] and [`Connection`] traits and the data they exchange |
//!
//! This crate touches no runtime, disk, network, clock or SDK.

pub mod call;
pub mod check;
pub mod diff;
pub mod failure;
pub mod path;
pub mod provider;
pub mod schema;
pub mod urn;
pub mod value;

pub use async_trait::async_trait;
pub use call::{Call, CallRuntime, Partial, Timestamp, Token};
pub use check::{Problem, check};
pub use diff::{Change, Diff, Op, Replace, diff};
pub use failure::{Failure, Outcome, Retry};
pub use path::{Path, Segment};
pub use provider::{
    Bond, Connection, Desired, Intent, Links, Observed, Operation, Owner, Present, Provider, Query, Record,
    Recorded, Recovered, Requirement, is_named_by_secret,
};
pub use schema::{Durations, Equality, Field, KindSchema, Object, Output, Type};
pub use urn::{Key, Kind, KindError, Urn, UrnError};
pub use value::{Map, Resolved, Unknown, Unresolved, Value, with_secrets};
