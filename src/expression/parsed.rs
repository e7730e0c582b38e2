//! A parsed expression, what it refers to, and what can be wrong with it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use epid_provider::Value;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::evaluate::Evaluator;
use super::lexer::quoted;
use super::lookup::look_up;
use super::parser::parse;
use super::scope::Scope;
use super::span::Span;
use super::syntax::{Node, Syntax};

/// A parsed CEL expression. Clones share; equality and serde go by its text.
#[derive(Clone)]
pub struct Expression {
    parsed: Arc<Parsed>,
    span: Span,
}

struct Parsed {
    text: Arc<str>,
    references: Vec<Reference>,
    /// `None` for a bare path, which is the only reference.
    tree: Option<Node>,
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
        let node = parse(text)?;
        let references = node.references();
        let bare = matches!(node.syntax, Syntax::Path(_));
        Ok(Self {
            parsed: Arc::new(Parsed {
                text: Arc::from(text),
                references,
                tree: (!bare).then_some(node),
            }),
            span: Span::NONE,
        })
    }

    /// The path `names` of the resource at `address`.
    #[must_use]
    pub fn reference(address: &str, names: &[&str]) -> Self {
        let mut reference = Reference {
            root: Arc::from(address),
            path: names.iter().map(|n| Access::Key(Arc::from(*n))).collect(),
            range: 0..0,
        };
        let text = reference.to_string();
        reference.range.end = u32::try_from(text.len()).unwrap_or(u32::MAX);
        Self {
            parsed: Arc::new(Parsed {
                text: Arc::from(text),
                references: vec![reference],
                tree: None,
            }),
            span: Span::NONE,
        }
    }

    /// True where it is a path and nothing else.
    pub(super) fn is_path(&self) -> bool {
        self.parsed.tree.is_none()
    }

    /// The text it is, where it is nothing but one.
    pub(super) fn literal_text(&self) -> Option<&str> {
        match &self.parsed.tree.as_ref()?.syntax {
            Syntax::Literal(value) => value.as_str(),
            _ => None,
        }
    }

    /// This expression with the values of `of` in place of what refers to `root`.
    ///
    /// # Errors
    /// Where the values make it too long or too deep.
    pub(super) fn with_values(
        &self,
        root: &str,
        of: &dyn Fn(&[Access]) -> Option<Value>,
    ) -> Result<Self, Vec<ExpressionError>> {
        let mut text = self.text().to_owned();
        let mut changed = false;
        for reference in self.references().iter().rev().filter(|r| &*r.root == root) {
            let range = reference.range.start as usize..reference.range.end as usize;
            if let Some(value) = of(&reference.path) {
                text.replace_range(range, &written(&value));
                changed = true;
            }
        }
        if changed {
            Self::parse(&text).map(|made| made.at(self.span))
        } else {
            Ok(self.clone())
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
    /// `has(x.y)` asks for a value other than `null`; a name that the scope does not have fails everywhere else, also
    /// beside `false &&`. Numbers are finite; the keys of maps are strings.
    ///
    /// # Errors
    /// The first thing that cannot be computed.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, ExpressionError> {
        let outcome = match (&self.parsed.tree, self.references()) {
            (Some(tree), _) => Evaluator::new(scope).value(tree),
            (None, [reference, ..]) => look_up(scope, &reference.root, &reference.path, &reference.range),
            (None, []) => Ok(Value::Null),
        };
        outcome.map_err(|failure| failure.error)
    }
}

/// A value as the language writes it. What cannot be written is `null`: callers hand over plain values.
fn written(value: &Value) -> String {
    let all = |items: Vec<String>| items.join(", ");
    match value {
        Value::Bool(b) => b.to_string(),
        Value::Int(n) if *n < 0 => format!("({n})"),
        Value::Int(n) => n.to_string(),
        Value::Float(n) => format!("({n:?})"),
        Value::Str(text) => quoted(text),
        Value::List(items) => format!("[{}]", all(items.iter().map(written).collect())),
        Value::Map(map) => {
            let entry = |(k, v): (&Arc<str>, &Value)| format!("{}: {}", quoted(k), written(v));
            format!("{{{}}}", all(map.iter().map(entry).collect()))
        }
        Value::Null | Value::Unknown(_) | Value::Secret(_) | Value::Opaque(_) => "null".to_owned(),
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

/// True for what needs no quoting as a name: a letter or `_`, then letters, digits and `_`; no literal, no operator.
fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !matches!(text, "true" | "false" | "null" | "in")
}

/// As it is written: ``curator.metadata.name``, `` `net/subnet`.id ``.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain(&self.root) {
            f.write_str(&self.root)?;
        } else {
            write!(f, "`{}`", self.root)?;
        }
        for access in &self.path {
            match access {
                Access::Key(key) if is_plain(key) => write!(f, ".{key}")?,
                Access::Key(key) => write!(f, "[{}]", quoted(key))?,
                Access::Index(at) => write!(f, "[{at}]")?,
            }
        }
        Ok(())
    }
}
