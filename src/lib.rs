//! epid.
