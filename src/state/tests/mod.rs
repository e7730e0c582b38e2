//! The room as a whole, over memory and over a real folder.

mod bucket;
mod circles;
mod crash;
mod damage;
mod folder;
mod format;
mod migration;
mod objects;
mod random;
mod rotation;
mod sample;
mod secrets;
mod session;
mod sharing;
mod standstill;
mod store;

pub(super) use sample::holder;
