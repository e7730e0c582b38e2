//! What properties are given: literals, expressions, texts with expressions in them, lists and maps of these.

use std::panic::Location;
use std::sync::Arc;

use epid_provider::Value;

use super::expr::Expr;
use super::resource::Resource;
use crate::expression::{Expression, Located, Piece, Template};

/// What a property is given.
#[derive(Debug, Clone)]
pub struct Input {
    pub(super) located: Located,
    pub(super) problems: Vec<Problem>,
}

/// A message, a hint, and where it was written if not at the property.
type Problem = (String, Option<String>, Option<&'static Location<'static>>);

impl Input {
    fn of(template: Template) -> Self {
        Self {
            located: Located::built(template),
            problems: Vec::new(),
        }
    }

    /// The value of a literal, as it was written in a program file: maps and lists entry by entry.
    fn literal(value: &Value) -> Self {
        match value {
            Value::List(items) => list(items.iter().map(Self::literal)),
            Value::Map(map) => {
                let mut all = fields();
                for (key, value) in map.iter() {
                    all = all.set(key, Self::literal(value));
                }
                all.into()
            }
            other => Self::of(Template::Literal(other.clone())),
        }
    }
}

impl From<Expr> for Input {
    fn from(expr: Expr) -> Self {
        match Expression::parse(&expr.text) {
            Ok(expression) => Self::of(Template::Expression(expression)),
            Err(errors) => Self {
                problems: errors
                    .into_iter()
                    .map(|e| (format!("`{}`: {}", expr.text, e.message), e.hint, expr.location))
                    .collect(),
                ..Self::of(Template::Literal(Value::Null))
            },
        }
    }
}

impl From<&Expr> for Input {
    fn from(expr: &Expr) -> Self {
        expr.clone().into()
    }
}

/// The whole resource.
impl From<&Resource> for Input {
    fn from(resource: &Resource) -> Self {
        resource.value().into()
    }
}

impl From<Value> for Input {
    fn from(value: Value) -> Self {
        Self::literal(&value)
    }
}

/// The text as it is; `${` in it means nothing.
impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self::of(Template::text(text))
    }
}

/// The text as it is; `${` in it means nothing.
impl From<String> for Input {
    fn from(text: String) -> Self {
        Self::of(Template::Literal(text.into()))
    }
}

impl From<bool> for Input {
    fn from(b: bool) -> Self {
        Self::of(Template::Literal(Value::Bool(b)))
    }
}

impl From<i64> for Input {
    fn from(n: i64) -> Self {
        Self::of(Template::Literal(Value::Int(n)))
    }
}

impl From<i32> for Input {
    fn from(n: i32) -> Self {
        i64::from(n).into()
    }
}

impl From<u32> for Input {
    fn from(n: u32) -> Self {
        i64::from(n).into()
    }
}

impl From<&String> for Input {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<f64> for Input {
    fn from(n: f64) -> Self {
        let literal = Self::of(Template::Literal(Value::Float(n)));
        if n.is_finite() {
            return literal;
        }
        Self {
            problems: vec![(format!("{n} is not a number that can be sent"), None, None)],
            ..literal
        }
    }
}

impl<T: Into<Input>> From<Vec<T>> for Input {
    fn from(items: Vec<T>) -> Self {
        list(items)
    }
}

impl<T: Into<Input>, const N: usize> From<[T; N]> for Input {
    fn from(items: [T; N]) -> Self {
        list(items)
    }
}

impl From<Fields> for Input {
    fn from(fields: Fields) -> Self {
        Self {
            problems: fields.problems,
            ..Self::of(Template::Map(fields.entries.into()))
        }
    }
}

/// A list.
#[must_use]
pub fn list<T: Into<Input>>(items: impl IntoIterator<Item = T>) -> Input {
    let mut problems = Vec::new();
    let items: Vec<Located> = items
        .into_iter()
        .map(|item| {
            let item = item.into();
            problems.extend(item.problems);
            item.located
        })
        .collect();
    Input {
        problems,
        ..Input::of(Template::List(items.into()))
    }
}

/// A map, entry by entry: `fields().set("containerPort", 8080).set("name", "http")`. The macro [`fields!`](crate::fields!)
/// takes all at once.
#[must_use]
pub fn fields() -> Fields {
    Fields::default()
}

/// A map under construction.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    entries: Vec<(Arc<str>, Located)>,
    problems: Vec<Problem>,
}

impl Fields {
    /// One entry more, or another value of one that is there.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Input>) -> Self {
        let value = value.into();
        self.problems.extend(value.problems);
        match self.entries.iter_mut().find(|(k, _)| &**k == key) {
            Some((_, old)) => *old = value.located,
            None => self.entries.push((Arc::from(key), value.located)),
        }
        self
    }
}

/// A text with inputs in place of each `{}`: `text!("curator-{}", environment)`. `{{` and `}}` are brackets.
///
/// It is the same as `curator-${config.environment}` in a program file; `text!("{}", x)` alone keeps the type of `x`. As
/// with [`format!`], what is put in can be used again.
#[macro_export]
macro_rules! text {
    ($format:literal $(, $part:expr)* $(,)?) => {{
        const _: () = assert!(
            $crate::program::builder::holes($format)
                == 0usize $(+ $crate::program::builder::one(stringify!($part)))*,
            "a text needs one input for each pair of braces"
        );
        $crate::program::builder::text($format, [$($crate::program::builder::Input::from(::core::clone::Clone::clone(&$part))),*])
    }};
}

/// A map: `fields! { "app" => "curator", "environment" => environment }`. What is put in can be used again.
#[macro_export]
macro_rules! fields {
    ($($key:expr => $value:expr),* $(,)?) => {
        $crate::program::builder::fields()$(.set($key, ::core::clone::Clone::clone(&$value)))*
    };
}

/// How many `{}` a format has, for [`text!`](crate::text!).
#[must_use]
pub const fn holes(format: &str) -> usize {
    let bytes = format.as_bytes();
    let (mut at, mut count) = (0, 0);
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (b'{', b'{') | (b'}', b'}') => at += 2,
            (b'{', b'}') => {
                count += 1;
                at += 2;
            }
            _ => at += 1,
        }
    }
    count
}

/// One, for [`text!`](crate::text!).
#[must_use]
pub const fn one(_: &str) -> usize {
    1
}

/// What [`text!`](crate::text!) makes: `format` with `parts` in place of its `{}`, in order.
#[must_use]
pub fn text(format: &str, parts: impl IntoIterator<Item = Input>) -> Input {
    let mut parts = parts.into_iter();
    let mut builder = TextBuilder::default();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        let used = if rest.starts_with("{}") {
            if let Some(part) = parts.next() {
                builder.push(part);
            }
            2
        } else {
            builder.literal.push(c);
            if rest.starts_with("{{") || rest.starts_with("}}") {
                2
            } else {
                c.len_utf8()
            }
        };
        rest = rest.get(used..).unwrap_or_default();
    }
    builder.finish()
}

#[derive(Default)]
struct TextBuilder {
    pieces: Vec<Piece>,
    literal: String,
    problems: Vec<Problem>,
}

impl TextBuilder {
    fn push(&mut self, part: Input) {
        self.problems.extend(part.problems);
        match part.located.template {
            Template::Literal(Value::Str(text)) => self.literal.push_str(&text),
            Template::Literal(value @ (Value::Bool(_) | Value::Int(_) | Value::Float(_))) => {
                self.literal.push_str(&value.to_string());
            }
            Template::Expression(expression) => self.expression(expression),
            Template::Text(pieces) => {
                for piece in pieces.iter() {
                    match piece {
                        Piece::Literal(text) => self.literal.push_str(text),
                        Piece::Expression(expression) => self.expression(expression.clone()),
                    }
                }
            }
            Template::Literal(_) | Template::List(_) | Template::Map(_) => self.problems.push((
                "only texts, numbers, truth values and expressions can stand in a text".to_owned(),
                None,
                None,
            )),
        }
    }

    fn expression(&mut self, expression: Expression) {
        self.flush();
        self.pieces.push(Piece::Expression(expression));
    }

    fn flush(&mut self) {
        if !self.literal.is_empty() {
            let text = std::mem::take(&mut self.literal);
            self.pieces.push(Piece::Literal(text.into()));
        }
    }

    fn finish(mut self) -> Input {
        self.flush();
        let template = match self.pieces.as_slice() {
            [] => Template::text(""),
            [Piece::Literal(text)] => Template::text(text),
            [Piece::Expression(expression)] => Template::Expression(expression.clone()),
            _ => Template::Text(self.pieces.into()),
        };
        Input {
            problems: self.problems,
            ..Input::of(template)
        }
    }
}
