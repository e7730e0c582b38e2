//! The room as a whole, over memory and over a real folder.

mod sample;
mod session;
