//! The kinds of IAM, one file each.

use crate::kind::ResourceKind;

/// Every kind of this module.
pub(crate) fn kinds() -> Vec<Box<dyn ResourceKind>> {
    Vec::new()
}
