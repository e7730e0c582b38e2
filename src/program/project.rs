//! The files around programs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use epid_provider::Value;

use super::declaration::Program;
use crate::expression::Span;

/// A folder with an `Epid.toml` and its stacks.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// Its name: letters, digits, `-` and `_`.
    pub name: Arc<str>,
    /// The folder of `Epid.toml`.
    pub root: PathBuf,
    /// The stack that commands take where none is named.
    pub default_stack: Option<Arc<str>>,
    /// Where states are kept; without one, in the project folder.
    pub backend: Option<Backend>,
    /// Its stacks in the order of their names.
    pub stacks: Vec<StackFile>,
}

impl Project {
    /// The stack of that name.
    #[must_use]
    pub fn stack(&self, name: &str) -> Option<&StackFile> {
        self.stacks.iter().find(|s| &*s.name == name)
    }
}

/// Where states are kept, apart from the project folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// `local` or `s3`.
    pub kind: Arc<str>,
    /// Its settings: `bucket`, `prefix`, `region`, `endpoint`, `path`.
    pub settings: BTreeMap<Arc<str>, Arc<str>>,
    /// The place of the table.
    pub span: Span,
}

impl Backend {
    /// What is wrong with the value of a setting, where something is.
    #[must_use]
    pub fn problem(setting: &str, value: &str) -> Option<String> {
        let of_bucket = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        match setting {
            "bucket" if value.is_empty() || !value.bytes().all(of_bucket) => {
                Some(format!("`{value}` is not a bucket's name"))
            }
            "endpoint" if !(value.starts_with("https://") || value.starts_with("http://")) => Some(format!(
                "`{value}` is no URL: it begins with neither https:// nor http://"
            )),
            "region" | "prefix" | "path" if value.is_empty() => {
                Some(format!("`{setting}` is empty; leave it out instead"))
            }
            _ => None,
        }
    }
}

/// Where a stack file gives a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spans {
    /// Its name.
    pub name: Span,
    /// Its value.
    pub value: Span,
}

/// One stack: a program and what it runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct StackFile {
    /// Its name: that of the file without `.toml`.
    pub name: Arc<str>,
    /// Its file, relative to the project.
    pub path: PathBuf,
    /// What it runs.
    pub program: Program,
    /// Configuration in clear.
    pub config: BTreeMap<Arc<str>, (Value, Spans)>,
    /// Sealed configuration.
    pub secrets: BTreeMap<Arc<str>, (Arc<str>, Spans)>,
    /// Stacks it refers to, by the name it uses for them.
    pub references: BTreeMap<Arc<str>, (Arc<str>, Spans)>,
    /// The id of the key that its secrets are sealed with.
    pub key: Option<Arc<str>>,
    /// It always runs in the sandbox.
    pub sandbox: bool,
}
