//! The `epid` program as people and scripts meet it: exit codes, streams, kills, locks, damage, broken endpoints, signals.
//!
//! Every test runs the built program in a folder and an environment of its own, with no network but loopback.

#![cfg(all(feature = "sandbox", unix))]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests that play the person and the machine around epid; what fails in them fails the test"
)]

#[cfg(feature = "aws")]
#[path = "command_line/bucket.rs"]
mod bucket;
#[path = "command_line/damage.rs"]
mod damage;
#[path = "command_line/endpoints.rs"]
mod endpoints;
#[path = "command_line/exits.rs"]
mod exits;
#[path = "command_line/imports.rs"]
mod imports;
#[path = "command_line/keys.rs"]
mod keys;
#[path = "command_line/kills.rs"]
mod kills;
#[path = "command_line/locks.rs"]
mod locks;
#[path = "command_line/meanwhile.rs"]
mod meanwhile;
#[path = "command_line/migrate.rs"]
mod migrate;
#[path = "command_line/place.rs"]
mod place;
#[path = "command_line/references.rs"]
mod references;
#[path = "command_line/rivals.rs"]
mod rivals;
#[cfg(feature = "aws")]
#[path = "command_line/s3.rs"]
mod s3;
#[path = "command_line/secrets.rs"]
mod secrets;
#[path = "command_line/shown.rs"]
mod shown;
#[path = "command_line/signals.rs"]
mod signals;
#[path = "command_line/small.rs"]
mod small;
#[path = "command_line/state_keys.rs"]
mod state_keys;
#[path = "command_line/states.rs"]
mod states;
#[path = "command_line/without_program.rs"]
mod without_program;
