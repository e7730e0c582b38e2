//! EC2: the narrow client of this crate, and the kinds of networks, one file each.

mod client;

pub(crate) use client::Client;

use crate::kind::ResourceKind;

/// Every kind of this module.
pub(crate) fn kinds() -> Vec<Box<dyn ResourceKind>> {
    Vec::new()
}
