//! Values with expressions in them.

use std::ops::Range;
use std::sync::Arc;

use epid_provider::{Path, Segment, Value};

use super::lexer::{closing_brace, error, quoted};
use super::limits;
use super::outcome::{a, mark, open, text_of};
use super::parsed::{Access, Expression, ExpressionError, Reference};
use super::scope::Scope;
use super::span::Span;

/// A value with expressions in it: what a program says a property is.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// A value without expressions.
    Literal(Value),
    /// `${…}` alone: it keeps the type of the expression.
    Expression(Expression),
    /// Text with expressions in it.
    Text(Arc<[Piece]>),
    /// A list.
    List(Arc<[Located]>),
    /// A map, in the order it was written.
    Map(Arc<[(Arc<str>, Located)]>),
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is.
    Literal(Arc<str>),
    /// An expression whose value is put in.
    Expression(Expression),
}

/// A template and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    /// The template.
    pub template: Template,
    /// Its place; quotes included.
    pub span: Span,
    /// The place of the key it stands behind; [`Span::NONE`] in a list and for what was built.
    pub key_span: Span,
}

/// Something in a template cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// Where in the template.
    pub path: Path,
    /// Where in the source; [`Span::NONE`] for what was built.
    pub span: Span,
    /// What is wrong. Never holds a secret.
    pub message: String,
    /// What was probably meant, or what to do.
    pub hint: Option<String>,
}

/// A reference in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// Where in the template the expression stands.
    pub path: Path,
    /// What it refers to.
    pub reference: Reference,
    /// Where in the source the reference stands.
    pub span: Span,
}

impl Template {
    /// Parses text with `${…}` in it; `$${` is a literal `${`. Text that is exactly one `${…}` is
    /// [`Template::Expression`].
    ///
    /// # Errors
    /// Everything wrong with it; ranges count from the start of `text`.
    pub fn parse_text(text: &str) -> Result<Self, Vec<ExpressionError>> {
        Self::parse_text_at(text, &|_| Span::NONE)
    }

    /// [`Template::parse_text`] of text that stands in a source: `place` tells the span of a range of `text`.
    ///
    /// # Errors
    /// Everything wrong with it; ranges count from the start of `text`.
    pub fn parse_text_at(
        text: &str,
        place: &dyn Fn(Range<u32>) -> Span,
    ) -> Result<Self, Vec<ExpressionError>> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut errors = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(found) = text.get(at..).and_then(|rest| rest.find("${")) {
            let dollar = at + found;
            let before = text.get(at..dollar).unwrap_or_default();
            if let Some(before) = before.strip_suffix('$') {
                literal.push_str(before);
                literal.push_str("${");
                at = dollar + 2;
                continue;
            }
            literal.push_str(before);
            let start = dollar + 2;
            let end = match closing_brace(text, start) {
                Ok(end) => end,
                Err(more) => {
                    errors.extend(more);
                    at = text.len();
                    break;
                }
            };
            at = end + 1;
            match Expression::parse(text.get(start..end).unwrap_or_default()) {
                Ok(expression) => {
                    let expression = expression.at(place(narrow(start)..narrow(end)));
                    if dollar == 0 && at == text.len() {
                        return Ok(Self::Expression(expression));
                    }
                    if let Some(text) = expression.literal_text() {
                        literal.push_str(text);
                    } else {
                        push_literal(&mut pieces, &mut literal);
                        pieces.push(Piece::Expression(expression));
                    }
                }
                Err(more) => errors.extend(more.into_iter().map(|e| ExpressionError {
                    range: e.range.start.saturating_add(narrow(start))
                        ..e.range.end.saturating_add(narrow(start)),
                    ..e
                })),
            }
        }
        literal.push_str(text.get(at..).unwrap_or_default());
        if !errors.is_empty() {
            return Err(errors);
        }
        if pieces.is_empty() {
            return Ok(Self::Literal(Value::from(literal)));
        }
        push_literal(&mut pieces, &mut literal);
        Ok(Self::Text(pieces.into()))
    }

    /// A value without expressions; `${` in its texts means nothing.
    #[must_use]
    pub fn from_value(value: &Value) -> Self {
        Self::Literal(value.clone())
    }

    /// A literal text; `${` in it means nothing.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Literal(Value::str(text))
    }

    /// A map.
    #[must_use]
    pub fn object<K: Into<Arc<str>>, T: Into<Located>>(entries: impl IntoIterator<Item = (K, T)>) -> Self {
        Self::Map(entries.into_iter().map(|(k, t)| (k.into(), t.into())).collect())
    }

    /// A list.
    #[must_use]
    pub fn list<T: Into<Located>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }

    /// The path `names` of the resource at `address`.
    #[must_use]
    pub fn reference(address: &str, names: &[&str]) -> Self {
        Self::Expression(Expression::reference(address, names))
    }

    /// Its value. Unknown and secret parts stay where they are.
    ///
    /// # Errors
    /// Everything that cannot be computed.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, Vec<TemplateError>> {
        let mut errors = Vec::new();
        let value = self.evaluate_at(scope, &Path::root(), Span::NONE, &mut errors);
        if errors.is_empty() { Ok(value) } else { Err(errors) }
    }

    fn evaluate_at(
        &self,
        scope: &dyn Scope,
        path: &Path,
        span: Span,
        errors: &mut Vec<TemplateError>,
    ) -> Value {
        match self {
            Self::Literal(value) => value.clone(),
            Self::Expression(expression) => {
                let mut report = |range: &Range<u32>, message: String, hint: Option<String>| {
                    errors.push(TemplateError {
                        path: path.clone(),
                        span: expression.span_of(range).or(span),
                        message,
                        hint,
                    });
                    Value::Null
                };
                match expression.evaluate(scope) {
                    Ok(value) => match limits::beyond(&value) {
                        Some(what) => report(
                            &(0..narrow(expression.text().len())),
                            format!("the value of `{}` {what}", expression.text()),
                            Some("pass on the part that is needed".to_owned()),
                        ),
                        None => {
                            let told = || (expression.text().to_owned(), expression.references().to_vec());
                            scope.derived(&told, value)
                        }
                    },
                    Err(error) => report(&error.range, error.message, error.hint),
                }
            }
            Self::Text(pieces) => {
                let value = text_value(pieces, scope, path, span, errors);
                let told = || {
                    let expressions = pieces.iter().filter_map(|piece| match piece {
                        Piece::Expression(expression) => Some(expression.references()),
                        Piece::Literal(_) => None,
                    });
                    let text = self.to_program_value();
                    (
                        text.as_str().unwrap_or_default().to_owned(),
                        expressions.flatten().cloned().collect(),
                    )
                };
                scope.derived(&told, value)
            }
            Self::List(items) => Value::list(items.iter().enumerate().map(|(at, item)| {
                let path = path.join(Segment::Index(at));
                item.template
                    .evaluate_at(scope, &path, item.span.or(span), errors)
            })),
            Self::Map(entries) => Value::map(entries.iter().map(|(key, item)| {
                let path = path.join(Segment::Key(key.clone()));
                let value = item
                    .template
                    .evaluate_at(scope, &path, item.span.or(span), errors);
                (key.clone(), value)
            })),
        }
    }

    /// What it refers to, in order.
    #[must_use]
    pub fn references(&self) -> Vec<Mention> {
        let mut mentions = Vec::new();
        self.mentions(&Path::root(), Span::NONE, &mut mentions);
        mentions
    }

    fn mentions(&self, path: &Path, span: Span, into: &mut Vec<Mention>) {
        let mut of = |expression: &Expression| {
            into.extend(expression.references().iter().map(|reference| Mention {
                path: path.clone(),
                reference: reference.clone(),
                span: expression.span_of(&reference.range).or(span),
            }));
        };
        match self {
            Self::Literal(_) => {}
            Self::Expression(expression) => of(expression),
            Self::Text(pieces) => {
                for piece in pieces.iter() {
                    if let Piece::Expression(expression) = piece {
                        of(expression);
                    }
                }
            }
            Self::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    item.template
                        .mentions(&path.join(Segment::Index(at)), item.span.or(span), into);
                }
            }
            Self::Map(entries) => {
                for (key, item) in entries.iter() {
                    let path = path.join(Segment::Key(key.clone()));
                    item.template.mentions(&path, item.span.or(span), into);
                }
            }
        }
    }

    /// This template as a value in which expressions are texts again: [`Template::from_program_value`] gives a
    /// template of the same meaning back, its lists and maps written out, without places.
    #[must_use]
    pub fn to_program_value(&self) -> Value {
        match self {
            Self::Literal(value) => escaped(value),
            Self::Expression(expression) => Value::from(format!("${{{}}}", expression.text())),
            Self::Text(pieces) => {
                let mut text = String::new();
                let mut literal = String::new();
                for piece in pieces.iter() {
                    match piece {
                        Piece::Literal(part) => literal.push_str(part),
                        Piece::Expression(expression) => {
                            let before = literal.trim_end_matches('$');
                            let dollars = literal.get(before.len()..).unwrap_or_default();
                            text.push_str(&before.replace("${", "$${"));
                            if !dollars.is_empty() {
                                text.push_str(&format!("${{{}}}", quoted(dollars)));
                            }
                            text.push_str("${");
                            text.push_str(expression.text());
                            text.push('}');
                            literal.clear();
                        }
                    }
                }
                text.push_str(&literal.replace("${", "$${"));
                let mut parts = pieces
                    .iter()
                    .filter(|piece| !matches!(piece, Piece::Literal(part) if part.is_empty()));
                if let (Some(Piece::Expression(_)), None) = (parts.next(), parts.next()) {
                    text.push_str("${\"\"}");
                }
                Value::from(text)
            }
            Self::List(items) => Value::list(items.iter().map(|i| i.template.to_program_value())),
            Self::Map(entries) => Value::map(
                entries
                    .iter()
                    .map(|(k, i)| (k.clone(), i.template.to_program_value())),
            ),
        }
    }

    /// The template that [`Template::to_program_value`] was made of.
    ///
    /// # Errors
    /// Everything wrong with the expressions in it; an expression inside of a secret.
    pub fn from_program_value(value: &Value) -> Result<Self, Vec<ExpressionError>> {
        let mut errors = Vec::new();
        let template = Self::read(value, &mut errors);
        if errors.is_empty() {
            Ok(template)
        } else {
            Err(errors)
        }
    }

    fn read(value: &Value, errors: &mut Vec<ExpressionError>) -> Self {
        match value {
            Value::Str(text) => Self::parse_text(text).unwrap_or_else(|more| {
                errors.extend(more);
                Self::Literal(Value::Null)
            }),
            Value::List(items) => {
                Self::List(items.iter().map(|item| Self::read(item, errors).into()).collect())
            }
            Value::Map(map) => Self::Map(
                map.iter()
                    .map(|(key, item)| (key.clone(), Self::read(item, errors).into()))
                    .collect(),
            ),
            Value::Secret(inner) => Self::Literal(unescaped(inner, errors).into_secret()),
            other => Self::Literal(other.clone()),
        }
    }

    /// This template with values in place of what refers to `root`; what `of` has no value for stays.
    ///
    /// # Errors
    /// Where the values make an expression too long or too deep.
    pub fn with_values(
        &self,
        root: &str,
        of: &dyn Fn(&[Access]) -> Option<Value>,
    ) -> Result<Self, Vec<ExpressionError>> {
        let located = |item: &Located| {
            Ok::<_, Vec<ExpressionError>>(Located {
                template: item.template.with_values(root, of)?,
                ..item.clone()
            })
        };
        Ok(match self {
            Self::Literal(_) => self.clone(),
            Self::Expression(expression) => {
                let bare = match expression.references() {
                    [one] if expression.is_path() && &*one.root == root => of(&one.path),
                    _ => None,
                };
                match bare {
                    Some(value) => Self::Literal(value),
                    None => Self::Expression(expression.with_values(root, of)?),
                }
            }
            Self::Text(pieces) => {
                let piece = |piece: &Piece| match piece {
                    Piece::Literal(_) => Ok(piece.clone()),
                    Piece::Expression(e) => e.with_values(root, of).map(Piece::Expression),
                };
                Self::Text(pieces.iter().map(piece).collect::<Result<_, _>>()?)
            }
            Self::List(items) => Self::List(items.iter().map(located).collect::<Result<_, _>>()?),
            Self::Map(entries) => {
                let entry = |(key, item): &(Arc<str>, Located)| {
                    Ok::<_, Vec<ExpressionError>>((key.clone(), located(item)?))
                };
                Self::Map(entries.iter().map(entry).collect::<Result<_, _>>()?)
            }
        })
    }

    /// What stands at `path`, where it was written out.
    #[must_use]
    pub fn at(&self, path: &Path) -> Option<&Located> {
        let (first, rest) = path.segments().split_first()?;
        let found = match (self, first) {
            (Self::Map(entries), Segment::Key(key)) => entries.iter().find(|(k, _)| k == key).map(|(_, l)| l),
            (Self::List(items), Segment::Index(at)) => items.get(*at),
            _ => None,
        }?;
        if rest.is_empty() {
            Some(found)
        } else {
            found.template.at(&rest.iter().cloned().collect())
        }
    }

    /// The entry of that key, where this is a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Located> {
        match self {
            Self::Map(entries) => entries.iter().find(|(k, _)| &**k == key).map(|(_, l)| l),
            _ => None,
        }
    }
}

fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn push_literal(pieces: &mut Vec<Piece>, literal: &mut String) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(Arc::from(std::mem::take(literal))));
    }
}

/// The value of a text with expressions in it.
fn text_value(
    pieces: &[Piece],
    scope: &dyn Scope,
    path: &Path,
    span: Span,
    errors: &mut Vec<TemplateError>,
) -> Value {
    let mut text = String::new();
    let mut secret = false;
    let mut unknown = None;
    for piece in pieces {
        let expression = match piece {
            Piece::Literal(literal) => {
                text.push_str(literal);
                continue;
            }
            Piece::Expression(expression) => expression,
        };
        let mut report = |range: &Range<u32>, message: String, hint: Option<String>| {
            errors.push(TemplateError {
                path: path.clone(),
                span: expression.span_of(range).or(span),
                message,
                hint,
            });
        };
        match expression.evaluate(scope).map(|value| open(&value)) {
            Ok((value, hidden)) => {
                secret |= hidden;
                if let Value::Unknown(_) = value {
                    unknown = unknown.or(Some(value));
                } else if let Some(part) = text_of(&value) {
                    if text.len() + part.len() > limits::WEIGHT {
                        let message = format!("this text is larger than {} MiB", limits::WEIGHT >> 20);
                        report(&(0..narrow(expression.text().len())), message, None);
                        continue;
                    }
                    text.push_str(&part);
                } else {
                    let message = format!("`{}` is {}, which text cannot hold", expression.text(), a(&value));
                    let hint = match value {
                        Value::Null => None,
                        _ => Some("json.encode(…) or .join(\", \") makes text of it".to_owned()),
                    };
                    report(&(0..narrow(expression.text().len())), message, hint);
                }
            }
            Err(error) => report(&error.range, error.message, error.hint),
        }
    }
    mark(unknown.unwrap_or_else(|| Value::from(text)), secret)
}

/// A value whose texts, read as a program's, are what they were.
fn escaped(value: &Value) -> Value {
    value.replaced(&mut |v| match v {
        Value::Str(text) if text.contains("${") => Some(Value::from(text.replace("${", "$${"))),
        _ => None,
    })
}

/// The value that was [`escaped`].
fn unescaped(value: &Value, errors: &mut Vec<ExpressionError>) -> Value {
    value.replaced(&mut |v| match v {
        Value::Str(text) if text.contains("${") => match Template::parse_text(text) {
            Ok(Template::Literal(literal)) => Some(literal),
            Ok(_) => {
                errors.push(error(0..0, "an expression cannot stand inside of a secret"));
                None
            }
            Err(more) => {
                errors.extend(more);
                None
            }
        },
        _ => None,
    })
}

impl Located {
    /// A template that was built.
    #[must_use]
    pub fn built(template: Template) -> Self {
        Self {
            template,
            span: Span::NONE,
            key_span: Span::NONE,
        }
    }

    /// What stands at `path`, or the nearest thing above it: for places of problems.
    #[must_use]
    pub fn nearest(&self, path: &Path) -> &Self {
        let mut segments = path.segments().to_vec();
        while !segments.is_empty() {
            if let Some(found) = self.template.at(&segments.iter().cloned().collect()) {
                return found;
            }
            segments.pop();
        }
        self
    }
}

impl From<Template> for Located {
    fn from(template: Template) -> Self {
        Self::built(template)
    }
}

impl From<&str> for Located {
    fn from(text: &str) -> Self {
        Self::built(Template::text(text))
    }
}

impl From<Value> for Located {
    fn from(value: Value) -> Self {
        Self::built(Template::Literal(value))
    }
}

impl From<bool> for Located {
    fn from(b: bool) -> Self {
        Value::Bool(b).into()
    }
}

impl From<i64> for Located {
    fn from(n: i64) -> Self {
        Value::Int(n).into()
    }
}
