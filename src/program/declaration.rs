//! What a program says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use epid_provider::{Kind, Path, Value};

use super::component::File;
use crate::expression::{Located, Span};

/// What one run of a stack wants: data, whether it was written as TOML or built in Rust.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Program {
    /// The configuration it takes, in the order of declaration.
    pub config: Vec<ConfigDeclaration>,
    /// Providers, in the order of declaration. Their names are apart from those of resources.
    pub providers: Vec<Declaration>,
    /// Resources and components, in the order of declaration.
    pub resources: Vec<Declaration>,
    /// Outputs, in the order of declaration.
    pub outputs: Vec<OutputDeclaration>,
    /// True where configuration need not be declared: values are taken as they are.
    pub open_config: bool,
    /// The files that components named, by the pattern they were named with.
    pub files: BTreeMap<Arc<str>, Vec<File>>,
    /// Names that are declared and could not be read, which was reported: what refers to them is no further mistake.
    pub incomplete: BTreeSet<Arc<str>>,
}

/// A resource, component or provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// Its name: an identifier.
    pub name: Arc<str>,
    /// Its kind. A provider's is `epid:provider:TYPE`.
    pub kind: Kind,
    /// Its properties: a [`Template::Map`](crate::expression::Template::Map).
    pub properties: Located,
    /// What the engine is to do about it.
    pub options: Options,
    /// `forEach`: a list of texts or a map; one instance for each.
    pub for_each: Option<Located>,
    /// `if`: nothing where it is false.
    pub when: Option<Located>,
    /// The place of its name.
    pub span: Span,
    /// The place of its kind.
    pub kind_span: Span,
}

/// What one part of a declaration was called before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartAlias {
    /// The way to the part, outermost first: keys of `forEach` and names of children. Not empty.
    pub way: Vec<Arc<str>>,
    /// A former address within the stack, or a URN.
    pub before: Arc<str>,
}

/// What the engine is to do about a resource.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// Addresses it waits for beyond those it refers to; a component stands for everything in it.
    pub depends_on: Vec<Arc<str>>,
    /// The name of its provider.
    pub provider: Option<Arc<str>>,
    /// It may not be deleted or replaced.
    pub protect: bool,
    /// It is forgotten instead of deleted.
    pub retain_on_delete: bool,
    /// Properties whose changes are ignored.
    pub ignore_changes: Vec<Path>,
    /// Properties whose changes replace it.
    pub replace_on_changes: Vec<Path>,
    /// Whether a replacement deletes first; unset leaves that to the planner.
    pub delete_before_replace: Option<bool>,
    /// What it was called before: names, paths or URNs.
    pub aliases: Vec<Arc<str>>,
    /// What parts of it were called before: instances of its `forEach`, children of the component that it is.
    pub part_aliases: Vec<PartAlias>,
    /// How long its operations may take.
    pub timeouts: Timeouts,
    /// The physical id of an existing thing to take into the stack.
    pub import: Option<Arc<str>>,
    /// An existing thing of the same identity is taken over instead of being a conflict.
    pub adopt: bool,
    /// The address of what it dies with.
    pub deleted_with: Option<Arc<str>>,
    /// Addresses of what must outlive it: controllers that clean up after it.
    pub served_by: Vec<Arc<str>>,
    /// Where the options were written, by their spelling: `provider`, `dependsOn[0]`.
    pub spans: BTreeMap<Arc<str>, Span>,
}

impl Options {
    /// The place of the option of that spelling (`dependsOn[1]`); [`Span::NONE`] where it was not written.
    #[must_use]
    pub fn span(&self, option: &str) -> Span {
        self.spans.get(option).copied().unwrap_or_default()
    }
}

/// How long operations may take; unset is as the kind says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// A create.
    pub create: Option<Duration>,
    /// An update.
    pub update: Option<Duration>,
    /// A delete.
    pub delete: Option<Duration>,
}

/// A configuration value that a program takes.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigDeclaration {
    /// Its name: an identifier.
    pub name: Arc<str>,
    /// What it takes.
    pub ty: ConfigType,
    /// Its value where a stack gives none; without one a stack must.
    pub default: Option<Value>,
    /// It is a secret: a stack gives it sealed, under `[secrets]`.
    pub secret: bool,
    /// One sentence for people; may be empty.
    pub description: Arc<str>,
    /// The place of its name.
    pub span: Span,
}

/// The type of a configuration value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigType {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list of anything.
    List,
    /// A map of anything.
    Map,
}

impl ConfigType {
    /// All types, by their spelling in a program.
    pub const ALL: [(&'static str, Self); 6] = [
        ("string", Self::String),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("boolean", Self::Boolean),
        ("list", Self::List),
        ("map", Self::Map),
    ];

    /// The type of that spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, ty)| *ty)
    }

    /// The type that a value is of; `None` where nothing says so.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        match value.expose() {
            Value::Str(_) => Some(Self::String),
            Value::Int(_) => Some(Self::Integer),
            Value::Float(_) => Some(Self::Number),
            Value::Bool(_) => Some(Self::Boolean),
            Value::List(_) => Some(Self::List),
            Value::Map(_) => Some(Self::Map),
            Value::Null | Value::Unknown(_) | Value::Opaque(_) | Value::Secret(_) => None,
        }
    }

    /// True where `value` is of this type, secret or not. Unknown values and digests are of every type.
    #[must_use]
    pub fn takes(self, value: &Value) -> bool {
        match value.expose() {
            Value::Unknown(_) | Value::Opaque(_) => true,
            Value::Str(_) => self == Self::String,
            Value::Int(_) => matches!(self, Self::Integer | Self::Number),
            Value::Float(_) => self == Self::Number,
            Value::Bool(_) => self == Self::Boolean,
            Value::List(_) => self == Self::List,
            Value::Map(_) => self == Self::Map,
            Value::Null | Value::Secret(_) => false,
        }
    }
}

impl fmt::Display for ConfigType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            Self::ALL
                .iter()
                .find(|(_, ty)| ty == self)
                .map_or("", |(name, _)| name),
        )
    }
}

/// What a stack shows and other stacks may refer to.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputDeclaration {
    /// Its name: an identifier.
    pub name: Arc<str>,
    /// Its value.
    pub value: Located,
    /// It is a secret whatever its value is.
    pub secret: bool,
    /// One sentence for people; may be empty.
    pub description: Arc<str>,
    /// The place of its name.
    pub span: Span,
}
