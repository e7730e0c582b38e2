//! Text becomes a typed [`Program`] in which everything knows its place in the source.
//!
//! | module | what it knows |
//! |---|---|
//! | `declaration` | [`Program`], [`Declaration`], [`Options`]: what a program says |
//! | `project` | [`Project`], [`StackFile`]: the files around programs |
//! | `diagnostic` | [`Diagnostic`] and [`Sources`]: what is wrong, and where |
//! | `config_values` | [`config_values()`]: declared configuration against what a stack gives |
//! | `component` | [`Component`] and [`Expansion`]: declarations that stand for several |
//! | `load` | [`load()`]: files become a [`Project`], with everything wrong with them |
//! | [`builder`] | programs in Rust: the same [`Program`] |
//! | `edit` | changes to stack files that keep comments and layout |
//! | `render` | [`render()`]: diagnostics as people see them |
//! | `expand` | [`expand()`]: components, `forEach` and `if` become plain [`Instance`]s |
//!
//! Uses expressions and the contract; only `load` opens files. Knows no kind and no provider.

pub mod builder;
mod component;
mod config_values;
mod declaration;
mod diagnostic;
mod edit;
mod expand;
mod load;
mod project;
mod render;

pub use component::{Child, Component, Components, Expansion, File};
pub use config_values::{config_values, draft_values};
pub use declaration::{
    ConfigDeclaration, ConfigType, Declaration, Options, OutputDeclaration, PartAlias, Program, Timeouts,
};
pub use diagnostic::{Diagnostic, Severity, Source, Sources};
pub use edit::{EditError, set_backend, set_config, set_key, set_secret, unset};
pub use expand::{Expanded, Instance, Setting, Target, expand, expand_what_can_be};
pub use load::{Loaded, find_project, load, load_with, parse_program, read_files};
pub use project::{Backend, Project, Spans, StackFile};
pub use render::render;
