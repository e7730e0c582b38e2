//! The whole simulated universe: pure and deterministic.
//!
//! Replaying the same requests at the same moments gives the same world. It knows no clock, does no I/O and
//! draws nothing at random: ids come from a seed and a counter.

use crate::kubernetes;
use bytes::Bytes;

/// An answer: complete, or a stream of watch events.
#[derive(Debug)]
pub enum Answer<W = kubernetes::Watch> {
    /// A complete response.
    Done(http::Response<Bytes>),
    /// An open watch, whose lines are fetched with [`kubernetes::Cluster::poll_watch`].
    Watch(W),
}

/// The simulated universe.
#[derive(Debug)]
pub struct World {}
