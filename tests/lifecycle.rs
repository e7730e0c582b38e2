//! Lives of stacks against the fake cloud: programs, runs, faults, crashes, and what is left at the end.

#![expect(clippy::unwrap_used, reason = "what fails in a story fails the test")]

#[path = "lifecycle/adoption.rs"]
mod adoption;
#[path = "lifecycle/agreement.rs"]
mod agreement;
#[path = "lifecycle/basics.rs"]
mod basics;
#[path = "lifecycle/builtin.rs"]
mod builtin;
#[path = "lifecycle/crashes.rs"]
mod crashes;
#[path = "lifecycle/durability.rs"]
mod durability;
#[path = "lifecycle/faults.rs"]
mod faults;
#[path = "lifecycle/interrupts.rs"]
mod interrupts;
#[path = "lifecycle/leaving.rs"]
mod leaving;
#[path = "objects/mod.rs"]
mod objects;
#[path = "lifecycle/oracle/mod.rs"]
mod oracle;
#[path = "lifecycle/ownership.rs"]
mod ownership;
#[path = "lifecycle/properties.rs"]
mod properties;
#[path = "lifecycle/refreshed.rs"]
mod refreshed;
#[path = "lifecycle/renames.rs"]
mod renames;
#[path = "lifecycle/replacement.rs"]
mod replacement;
#[path = "lifecycle/rivals.rs"]
mod rivals;
#[path = "lifecycle/selection.rs"]
mod selection;
#[path = "lifecycle/stack.rs"]
mod stack;
#[path = "lifecycle/unclear.rs"]
mod unclear;
