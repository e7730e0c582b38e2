//! A stack file.

use std::collections::BTreeMap;
use std::sync::Arc;

use epid_provider::Value;
use toml::de::DeValue;

use super::declarations::{self, name_problem};
use super::document::{Entry, Reader, Table};
use super::manifest::is_file_name;
use super::value::value;
use crate::expression::Span;
use crate::program::{Diagnostic, Program, Spans};

const STACK: [&str; 9] = [
    "program",
    "config",
    "secrets",
    "references",
    "key",
    "sandbox",
    "resources",
    "providers",
    "outputs",
];

/// What a stack file says.
#[derive(Default)]
pub(super) struct Stack {
    /// The path of its program, as written.
    pub(super) program: Option<(Arc<str>, Span)>,
    /// What it declares itself: beside a program only providers.
    pub(super) own: Program,
    pub(super) config: BTreeMap<Arc<str>, (Value, Spans)>,
    pub(super) secrets: BTreeMap<Arc<str>, (Arc<str>, Spans)>,
    pub(super) references: BTreeMap<Arc<str>, (Arc<str>, Spans)>,
    pub(super) key: Option<Arc<str>>,
    pub(super) sandbox: bool,
}

/// Reads a stack file.
pub(super) fn read(reader: &mut Reader<'_>, mut root: Table<'_, '_>) -> Stack {
    let mut stack = Stack::default();
    let program = root.take("program");
    if let Some(entry) = &program {
        stack.program = reader.text(entry).map(|path| (path, entry.span));
        for section in ["resources", "outputs"] {
            if let Some(entry) = root.take(section) {
                reader.report(
                    Diagnostic::error(
                        entry.key_span,
                        format!("a stack with a program does not declare {section}"),
                    )
                    .with_hint("put them into the program, or take `program` out"),
                );
            }
        }
    }
    declarations::body(reader, &mut root, &mut stack.own);
    if let Some(entry) = root.take("config") {
        config(reader, &entry, program.is_none(), &mut stack);
    }
    stack.own.open_config = program.is_none() && stack.own.config.is_empty();
    if let Some(entry) = root.take("secrets") {
        stack.secrets = texts(reader, &entry);
        stack.own.incomplete.extend(no_texts(&entry));
    }
    for (name, (_, sealed)) in &stack.secrets {
        if let Some((_, clear)) = stack.config.get(name) {
            let (clear, sealed) = (clear.value, sealed.value);
            let later = if clear.start > sealed.start { clear } else { sealed };
            reader.report(
                Diagnostic::error(
                    later,
                    format!("`{name}` stands under [config] and under [secrets]"),
                )
                .with_hint("take one of them out"),
            );
        }
    }
    if let Some(entry) = root.take("references") {
        stack.references = references(reader, &entry);
    }
    if let Some(entry) = root.take("key") {
        stack.key = reader.text(&entry);
    }
    if let Some(entry) = root.take("sandbox") {
        stack.sandbox = reader.bool(&entry).unwrap_or_default();
    }
    for entry in root.rest() {
        if ["name", "defaultStack", "backend"].contains(&entry.key) {
            let problem = Diagnostic::error(
                entry.key_span,
                format!("`{}` does not belong in a stack file", entry.key),
            );
            reader.report(problem.with_hint("it belongs in Epid.toml"));
        } else {
            declarations::section(reader, &entry);
            reader.unknown(&entry, "a stack file", STACK);
        }
    }
    stack
}

/// Reads `[config]`: values, and where the stack has no program also declarations.
fn config(reader: &mut Reader<'_>, entry: &Entry<'_, '_>, inline: bool, stack: &mut Stack) {
    for entry in reader.table(entry).map(Table::rest).unwrap_or_default() {
        check_name(reader, &entry);
        if inline
            && declarations::declares(reader, &entry)
            && let DeValue::Table(table) = entry.value
        {
            let table = reader.view(table, entry.key_span);
            let declared = declarations::config_declaration(reader, &entry, table);
            if declared.is_none() {
                stack.own.incomplete.insert(Arc::from(entry.key));
            }
            stack.own.config.extend(declared);
            continue;
        }
        let Some(value) = value(reader, &entry) else {
            stack.own.incomplete.insert(Arc::from(entry.key));
            continue;
        };
        if has_expression(&value) {
            reader.report(
                Diagnostic::warning(
                    entry.span,
                    format!(
                        "`{}` keeps its `${{` as it is: configuration is not evaluated",
                        entry.key
                    ),
                )
                .with_hint("expressions stand in properties and outputs of the program"),
            );
        }
        stack.config.insert(Arc::from(entry.key), (value, spans(&entry)));
    }
}

fn has_expression(value: &Value) -> bool {
    match value {
        Value::Str(text) => text.contains("${"),
        Value::List(items) => items.iter().any(has_expression),
        Value::Map(map) => map.iter().any(|(_, v)| has_expression(v)),
        _ => false,
    }
}

fn spans(entry: &Entry<'_, '_>) -> Spans {
    Spans {
        name: entry.key_span,
        value: entry.span,
    }
}

fn texts(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> BTreeMap<Arc<str>, (Arc<str>, Spans)> {
    let mut found = BTreeMap::new();
    for entry in reader.table(entry).map(Table::rest).unwrap_or_default() {
        check_name(reader, &entry);
        if let Some(text) = reader.text(&entry) {
            found.insert(Arc::from(entry.key), (text, spans(&entry)));
        }
    }
    found
}

/// The names of a table whose values are no texts.
fn no_texts(entry: &Entry<'_, '_>) -> Vec<Arc<str>> {
    let DeValue::Table(table) = entry.value else {
        return Vec::new();
    };
    let others = table.iter().filter(|(_, value)| !value.get_ref().is_str());
    others.map(|(name, _)| Arc::from(&**name.get_ref())).collect()
}

fn references(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> BTreeMap<Arc<str>, (Arc<str>, Spans)> {
    let found = texts(reader, entry);
    for (stack, spans) in found.values() {
        if !is_file_name(stack) {
            reader.report(
                Diagnostic::error(spans.value, format!("`{stack}` is not a stack's name"))
                    .with_hint("name a stack of this project: the file without folder and `.toml`"),
            );
        }
    }
    found
}

fn check_name(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) {
    if let Some((message, hint)) = name_problem(entry.key, false) {
        reader.report(Diagnostic::error(entry.key_span, message).with_hint(hint));
    }
}
