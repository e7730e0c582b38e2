//! A parsed expression, what it refers to, and what can be wrong with it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use epid_provider::Value;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::scope::Scope;
use super::span::Span;

/// A parsed CEL expression. Clones share; equality and serde go by its text.
#[derive(Clone)]
pub struct Expression {
    parsed: Arc<Parsed>,
    span: Span,
}

struct Parsed {
    text: Arc<str>,
    references: Vec<Reference>,
}

/// One static path in an expression: `curator.metadata.name`, `subnet["a"].id`. It is the longest one: what follows
/// is a call or a computed index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The first name: a resource's address, `config`, `stacks` or `each`.
    pub root: Arc<str>,
    /// The steps from it.
    pub path: Vec<Access>,
    /// Where it stands in the expression's text, in bytes.
    pub range: Range<u32>,
}

/// One step of a [`Reference`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// `.name` or `["name"]`.
    Key(Arc<str>),
    /// `[0]`.
    Index(i64),
}

/// Something is wrong with an expression or its values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// Where in the text, in bytes.
    pub range: Range<u32>,
    /// What is wrong. Never holds a secret.
    pub message: String,
    /// What was probably meant, or what to do.
    pub hint: Option<String>,
}

impl Expression {
    /// Parses CEL of at most 4 KiB and 64 levels.
    ///
    /// # Errors
    /// Everything wrong with the text, in order.
    pub fn parse(text: &str) -> Result<Self, Vec<ExpressionError>> {
        let mut names = text.split('.').map(str::trim);
        let root = Arc::from(names.next().unwrap_or_default().trim_matches('`'));
        let path = names.map(|n| Access::Key(Arc::from(n))).collect();
        let range = 0..u32::try_from(text.len()).unwrap_or(u32::MAX);
        Ok(Self {
            parsed: Arc::new(Parsed {
                text: Arc::from(text),
                references: vec![Reference { root, path, range }],
            }),
            span: Span::NONE,
        })
    }

    /// The path `names` of the resource at `address`.
    #[must_use]
    pub fn reference(address: &str, names: &[&str]) -> Self {
        let text = format!("`{address}`.{}", names.join("."));
        Self {
            parsed: Arc::new(Parsed {
                references: vec![Reference {
                    root: Arc::from(address),
                    path: names.iter().map(|n| Access::Key(Arc::from(*n))).collect(),
                    range: 0..u32::try_from(text.len()).unwrap_or(u32::MAX),
                }],
                text: Arc::from(text),
            }),
            span: Span::NONE,
        }
    }

    /// Its text, without `${` and `}`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.parsed.text
    }

    /// What it refers to, in order of appearance; names bound by macros are none.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        &self.parsed.references
    }

    /// Where its text stands, without `${` and `}`.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// The same expression, standing at `span`.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    /// The place of a range of its text: exact unless the source spells the text with escapes, then all of it.
    #[must_use]
    pub fn span_of(&self, range: &Range<u32>) -> Span {
        if self.span.is_none() || self.span.len() as usize != self.text().len() {
            return self.span;
        }
        Span {
            source: self.span.source,
            start: self.span.start.saturating_add(range.start),
            end: self.span.start.saturating_add(range.end),
        }
    }

    /// Its value. What depends on something unknown is unknown, what went through something secret is secret.
    ///
    /// # Errors
    /// The first thing that cannot be computed.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, ExpressionError> {
        let error = |message| ExpressionError {
            range: 0..u32::try_from(self.text().len()).unwrap_or(u32::MAX),
            message,
            hint: None,
        };
        let Some(reference) = self.references().first() else {
            return Ok(Value::Null);
        };
        scope
            .lookup(&reference.root, &reference.path)
            .map_err(error)?
            .ok_or_else(|| error(format!("`{}` is not declared", reference.root)))
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{{}}}", self.text())
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.text())
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).map_err(|errors| {
            let messages: Vec<String> = errors.into_iter().map(|e| e.message).collect();
            serde::de::Error::custom(messages.join("; "))
        })
    }
}

/// True for what needs no quoting as a name: a letter or `_`, then letters, digits and `_`.
pub(super) fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// As it is written: ``curator.metadata.name``, `` `net/subnet`.id ``.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_identifier(&self.root) {
            f.write_str(&self.root)?;
        } else {
            write!(f, "`{}`", self.root)?;
        }
        for access in &self.path {
            match access {
                Access::Key(key) if is_identifier(key) => write!(f, ".{key}")?,
                Access::Key(key) => write!(f, "[{key:?}]")?,
                Access::Index(at) => write!(f, "[{at}]")?,
            }
        }
        Ok(())
    }
}
