//! What people see: the plan as a tree, a run as it goes, and JSON lines for programs.
//!
//! Only this room and `src/main.rs` print. Everything else returns data.

mod concealed;
mod json;
mod leaves;
mod outputs;
mod plan;
mod progress;
mod reading;
mod remaining;
mod style;
mod summary;
mod tally;
mod terminal;

pub(crate) use concealed::conceal;
pub(crate) use json::{document, is_told_alike, shown_json};
pub(crate) use outputs::{outputs, value_lines};
pub(crate) use plan::{Shown, is_long, principal, render_plan};
pub(crate) use progress::Listener;
pub(crate) use reading::Reading;
pub(crate) use style::{count, cut, duration, moment, plain, wrapped};
pub(crate) use summary::summary;
pub(crate) use tally::resources;
pub(crate) use terminal::Terminal;
