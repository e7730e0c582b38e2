//! epid.
fn main() {}
