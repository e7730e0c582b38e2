//! Words for templates: what a component writes as a person would write it in a program.

use epid_provider::{Field, Kind, KindSchema, Object, Output, Type, Value};

use crate::expression::{Located, Template};

/// A kind that is written in this crate.
pub(super) fn kind(text: &str) -> Kind {
    Kind::parse(text).unwrap_or_else(|error| unreachable!("{text}: {error}"))
}

/// Text with `${…}` in it, written in this crate.
pub(super) fn text(text: &str) -> Located {
    Template::parse_text(text)
        .unwrap_or_else(|errors| unreachable!("{text}: {errors:?}"))
        .into()
}

/// A literal list of texts.
pub(super) fn texts(items: &[&str]) -> Located {
    Value::list(items.iter().map(|item| Value::str(item))).into()
}

/// A map.
pub(super) fn map<const N: usize>(entries: [(&str, Located); N]) -> Located {
    Template::object(entries).into()
}

/// A list.
pub(super) fn list(items: impl IntoIterator<Item = Located>) -> Located {
    Template::list(items).into()
}

/// A map of the entries that are there.
pub(super) fn some(entries: Vec<(&str, Option<Located>)>) -> Located {
    Template::object(entries.into_iter().filter_map(|(key, value)| Some((key, value?)))).into()
}

/// The entries of `base` with those of `over` put over them; what is not a written map is taken by an expression.
pub(super) fn joined(base: Vec<(String, Located)>, over: Option<&Located>) -> Located {
    let mut entries = base;
    let mut put = |key: &str, value: Located| match entries.iter_mut().find(|(k, _)| k == key) {
        Some(entry) => entry.1 = value,
        None => entries.push((key.to_owned(), value)),
    };
    match over.map(|o| &o.template) {
        Some(Template::Map(more)) => {
            for (key, value) in more.iter() {
                put(key, value.clone());
            }
        }
        Some(Template::Literal(value)) => {
            for (key, value) in value.as_map().into_iter().flat_map(epid_provider::Map::iter) {
                put(key, value.clone().into());
            }
        }
        _ => {}
    }
    Template::object(entries.into_iter().map(|(k, v)| (k.as_str().to_owned(), v))).into()
}

/// What was written, to stand within a text that [`text`] takes.
pub(super) fn within(value: Option<&Located>) -> String {
    match value.map(|v| &v.template) {
        None => String::new(),
        Some(Template::Expression(e)) => format!("${{{}}}", e.text()),
        Some(other) => other.to_program_value().as_str().unwrap_or_default().to_owned(),
    }
}

/// What was written, as an expression to stand within an expression.
pub(super) fn expression(value: Option<&Located>) -> String {
    match value.map(|v| &v.template) {
        Some(Template::Expression(e)) => format!("({})", e.text()),
        Some(Template::Literal(value)) => value.to_string(),
        _ => "\"\"".to_owned(),
    }
}

/// Text of a field.
pub(super) fn string(name: &str, doc: &str) -> Field {
    Field::new(name, Type::String).doc(doc)
}

/// The schema of a component.
pub(super) fn schema(
    of: &str,
    doc: &str,
    inputs: impl IntoIterator<Item = Field>,
    outputs: &[(&str, &str)],
) -> KindSchema {
    let mut schema = KindSchema::new(kind(of), doc, Object::of(inputs));
    schema.outputs = outputs.iter().map(|(path, doc)| Output::new(path, doc)).collect();
    schema
}
