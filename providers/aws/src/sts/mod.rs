//! The kinds of STS, one file each.

mod caller_identity;

use crate::kind::ResourceKind;

/// Every kind of this module.
pub(crate) fn kinds() -> Vec<Box<dyn ResourceKind>> {
    vec![Box::new(caller_identity::CallerIdentity)]
}
