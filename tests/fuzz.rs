//! Everything that is read from files or the command line, under random and hostile input: it is read or refused, and
//! neither panics, hangs nor fills the memory. `PROPTEST_CASES=100000 cargo test --release --test fuzz` looks longer.

#![cfg(feature = "sandbox")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that lays files out and runs the program; what fails fails it"
)]

#[path = "fuzz/exports.rs"]
mod exports;
#[path = "fuzz/keys.rs"]
mod keys;
#[path = "fuzz/leases.rs"]
mod leases;
#[path = "fuzz/manifests.rs"]
mod manifests;
#[path = "fuzz/marks.rs"]
mod marks;
#[path = "fuzz/notes.rs"]
mod notes;
#[path = "fuzz/notices.rs"]
mod notices;
#[path = "objects/mod.rs"]
mod objects;
#[path = "fuzz/plans.rs"]
mod plans;
#[path = "fuzz/projects.rs"]
mod projects;
#[path = "fuzz/runs.rs"]
mod runs;
#[path = "fuzz/states.rs"]
mod states;
#[path = "fuzz/texts.rs"]
mod texts;
#[path = "fuzz/world.rs"]
mod world;
