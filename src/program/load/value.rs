//! What stands behind a key: a value, or a template of values and expressions.

use std::sync::Arc;

use epid_provider::Value;
use toml::de::DeValue;

use super::document::{Entry, Reader};
use crate::expression::{Expression, ExpressionError, Located, Span, Template};
use crate::program::Diagnostic;

/// How deep properties may be nested. Kubernetes' deepest types need about 20.
const DEPTH: usize = 64;

/// A value without expressions. What cannot be one is reported.
pub(super) fn value(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> Option<Value> {
    plain(reader, entry.value, entry.span, 0)
}

fn plain(reader: &mut Reader<'_>, value: &DeValue<'_>, span: Span, depth: usize) -> Option<Value> {
    if depth > DEPTH {
        return too_deep(reader, span);
    }
    match value {
        DeValue::String(text) => Some(Value::str(&reader.decode(text, span).text)),
        DeValue::Array(items) => {
            let items: Vec<Option<Value>> = items
                .iter()
                .map(|item| {
                    let span = reader.span(item.span());
                    plain(reader, item.get_ref(), span, depth + 1)
                })
                .collect();
            items.into_iter().collect::<Option<Vec<Value>>>().map(Value::list)
        }
        DeValue::Table(table) => {
            let entries: Vec<Option<(Arc<str>, Value)>> = table
                .iter()
                .map(|(key, item)| {
                    let span = reader.span(item.span());
                    let value = plain(reader, item.get_ref(), span, depth + 1)?;
                    Some((Arc::from(&**key.get_ref()), value))
                })
                .collect();
            entries
                .into_iter()
                .collect::<Option<Vec<(Arc<str>, Value)>>>()
                .map(Value::map)
        }
        other => scalar(reader, other, span),
    }
}

/// A template: texts may hold `${…}`. What cannot be one is reported, and stands as `null` so that the rest is read.
pub(super) fn template(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> Located {
    Located {
        key_span: entry.key_span,
        ..located(reader, entry.value, entry.span, 0)
    }
}

fn located(reader: &mut Reader<'_>, value: &DeValue<'_>, span: Span, depth: usize) -> Located {
    let at = |template| Located {
        template,
        span,
        key_span: Span::NONE,
    };
    if depth > DEPTH {
        return at(Template::Literal(too_deep(reader, span).unwrap_or_default()));
    }
    match value {
        DeValue::String(text) => at(text_template(reader, text, span)),
        DeValue::Array(items) => at(Template::List(
            items
                .iter()
                .map(|item| {
                    let span = reader.span(item.span());
                    located(reader, item.get_ref(), span, depth + 1)
                })
                .collect(),
        )),
        DeValue::Table(table) => {
            let mut entries: Vec<(Arc<str>, Located)> = table
                .iter()
                .map(|(key, item)| {
                    let span = reader.span(item.span());
                    let inner = Located {
                        key_span: reader.span(key.span()),
                        ..located(reader, item.get_ref(), span, depth + 1)
                    };
                    (Arc::from(&**key.get_ref()), inner)
                })
                .collect();
            entries.sort_by_key(|(_, l)| l.key_span.start);
            at(Template::Map(entries.into()))
        }
        other => at(Template::Literal(scalar(reader, other, span).unwrap_or_default())),
    }
}

fn text_template(reader: &mut Reader<'_>, text: &str, span: Span) -> Template {
    let decoded = reader.decode(text, span);
    match Template::parse_text_at(&decoded.text, &|range| decoded.place(&range)) {
        Ok(template) => template,
        Err(errors) => {
            for error in errors {
                reader.report(expression_problem(&error, decoded.place(&error.range)));
            }
            Template::Literal(Value::Null)
        }
    }
}

/// A template where a text without `${` is an expression too: what stands behind `if` and `forEach`.
pub(super) fn condition(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> Located {
    let DeValue::String(text) = entry.value else {
        return template(reader, entry);
    };
    let decoded = reader.decode(text, entry.span);
    if decoded.text.contains("${") {
        return template(reader, entry);
    }
    let whole = 0..u32::try_from(decoded.text.len()).unwrap_or(u32::MAX);
    let template = match Expression::parse(&decoded.text) {
        Ok(expression) => Template::Expression(expression.at(decoded.place(&whole))),
        Err(errors) => {
            for error in errors {
                reader.report(expression_problem(&error, decoded.place(&error.range)));
            }
            Template::Literal(Value::Null)
        }
    };
    Located {
        template,
        span: entry.span,
        key_span: entry.key_span,
    }
}

/// What is wrong with an expression, at its place.
fn expression_problem(error: &ExpressionError, span: Span) -> Diagnostic {
    Diagnostic {
        hint: error.hint.clone(),
        ..Diagnostic::error(span, error.message.clone())
    }
}

fn scalar(reader: &mut Reader<'_>, value: &DeValue<'_>, span: Span) -> Option<Value> {
    match value {
        DeValue::Boolean(b) => Some(Value::Bool(*b)),
        DeValue::Integer(integer) => {
            let parsed = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
            if parsed.is_none() && !reader.is_broken() {
                reader.report(
                    Diagnostic::error(span, format!("{integer} does not fit into 64 bits")).with_hint(
                        "integers go from -9223372036854775808 to 9223372036854775807; write it as a string",
                    ),
                );
            }
            parsed.map(Value::Int)
        }
        DeValue::Float(float) => {
            let parsed: Option<f64> = float.as_str().parse().ok().filter(|n: &f64| n.is_finite());
            if parsed.is_none() && !reader.is_broken() {
                reader.report(
                    Diagnostic::error(span, format!("{float} is not a number that can be sent"))
                        .with_hint("neither JSON nor a cloud's API has it; write it as a string"),
                );
            }
            parsed.map(Value::Float)
        }
        DeValue::Datetime(_) => {
            let raw = reader.raw(span);
            reader.report(
                Diagnostic::error(span, "a date is not a value that properties can have")
                    .with_hint(format!("write it as a string: \"{raw}\"")),
            );
            None
        }
        DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn too_deep(reader: &mut Reader<'_>, span: Span) -> Option<Value> {
    reader.report(Diagnostic::error(
        span,
        format!("values are nested more than {DEPTH} levels deep"),
    ));
    None
}
