//! The options of a resource.

use std::sync::Arc;
use std::time::Duration;

use epid_provider::{Path, Urn};
use toml::de::DeValue;

use super::document::{Entry, Reader};
use crate::expression::Span;
use crate::program::{Diagnostic, Options, PartAlias};

/// Every option by its spelling.
pub(super) const OPTIONS: [&str; 13] = [
    "dependsOn",
    "provider",
    "protect",
    "retainOnDelete",
    "ignoreChanges",
    "replaceOnChanges",
    "deleteBeforeReplace",
    "aliases",
    "timeouts",
    "import",
    "adopt",
    "deletedWith",
    "servedBy",
];

/// Reads `[resources.NAME.options]`.
pub(super) fn read(reader: &mut Reader<'_>, entry: &Entry<'_, '_>, owner: &str) -> Options {
    let mut options = Options::default();
    let DeValue::Table(table) = entry.value else {
        let problem = Diagnostic::error(entry.span, "`options` takes a table");
        reader.report(problem.with_hint(format!("write [resources.{owner}.options]")));
        return options;
    };
    for entry in reader.entries(table) {
        one(reader, &entry, owner, &mut options);
        options.spans.insert(Arc::from(entry.key), entry.span);
    }
    options
}

fn one(reader: &mut Reader<'_>, entry: &Entry<'_, '_>, owner: &str, options: &mut Options) {
    match entry.key {
        "dependsOn" => options.depends_on = addresses(reader, entry, options),
        "servedBy" => options.served_by = addresses(reader, entry, options),
        "deletedWith" => {
            if let Some(text) = reader.text(entry) {
                options.deleted_with = address(reader, &text, entry.span);
            }
        }
        "provider" => options.provider = literal(reader, entry),
        "protect" => options.protect = reader.bool(entry).unwrap_or_default(),
        "retainOnDelete" => options.retain_on_delete = reader.bool(entry).unwrap_or_default(),
        "adopt" => options.adopt = reader.bool(entry).unwrap_or_default(),
        "deleteBeforeReplace" => options.delete_before_replace = reader.bool(entry),
        "ignoreChanges" => options.ignore_changes = paths(reader, entry, options),
        "replaceOnChanges" => options.replace_on_changes = paths(reader, entry, options),
        "aliases" => aliases(reader, entry, &mut Vec::new(), options),
        "import" => options.import = literal(reader, entry),
        "timeouts" => timeouts(reader, entry, options),
        key => {
            let problem = Diagnostic::error(entry.key_span, format!("unknown option `{key}` of `{owner}`"));
            let near = epid_provider::check::nearest(key, OPTIONS);
            reader.report(match near {
                Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
                None => problem.with_hint(format!(
                    "the options are {}; a property belongs in [resources.{owner}.properties]",
                    OPTIONS.join(", ")
                )),
            });
        }
    }
}

/// A text without expressions.
fn literal(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> Option<Arc<str>> {
    let text = reader.text(entry)?;
    if text.contains("${") {
        reader.report(
            Diagnostic::error(entry.span, format!("`{}` cannot be an expression", entry.key))
                .with_hint("options are known before anything runs; expressions stand in properties"),
        );
        return None;
    }
    if text.trim().is_empty() {
        reader.report(Diagnostic::error(entry.span, format!("`{}` is empty", entry.key)));
        return None;
    }
    Some(text)
}

fn addresses(reader: &mut Reader<'_>, entry: &Entry<'_, '_>, options: &mut Options) -> Vec<Arc<str>> {
    let mut found = Vec::new();
    for (text, span) in reader.texts(entry).unwrap_or_default() {
        if let Some(address) = address(reader, &text, span) {
            note(options, entry.key, found.len(), span);
            found.push(address);
        }
    }
    found
}

/// Remembers the place of one item of an option.
fn note(options: &mut Options, option: &str, at: usize, span: Span) {
    options.spans.insert(format!("{option}[{at}]").into(), span);
}

/// An address: `curator`, `${curator}`, `subnet["a"]`, `curator/deployment`.
fn address(reader: &mut Reader<'_>, text: &str, span: Span) -> Option<Arc<str>> {
    let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let address = inner.unwrap_or(text).trim();
    if is_address(address) {
        return Some(Arc::from(address));
    }
    let problem = Diagnostic::error(span, format!("`{text}` is not the address of a resource"));
    let (root, path) = address.split_once('.').unwrap_or((address, ""));
    reader.report(if root == "resources" && is_address(path) {
        problem.with_hint(format!("name it alone: \"{path}\""))
    } else if !path.is_empty() && is_address(root) {
        problem.with_hint(format!("name the whole resource: \"{root}\""))
    } else {
        problem.with_hint("an address is `name`, `name[\"key\"]` or `component/child`")
    });
    None
}

/// True for names with an optional `["key"]`, joined by `/`.
pub(in crate::program) fn is_address(text: &str) -> bool {
    let mut rest = text;
    loop {
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
            .unwrap_or(rest.len());
        let (name, tail) = rest.split_at(end);
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return false;
        }
        rest = tail;
        if let Some(key) = rest.strip_prefix('[') {
            let Some(end) = end_of_key(key) else {
                return false;
            };
            rest = key.get(end..).unwrap_or_default();
        }
        if rest.is_empty() {
            return true;
        }
        let Some(next) = rest.strip_prefix('/') else {
            return false;
        };
        rest = next;
    }
}

/// The length of a quoted key and its `]`.
fn end_of_key(key: &str) -> Option<usize> {
    let inner = key.strip_prefix('"')?;
    let mut escaped = false;
    let quote = inner.char_indices().find(|(_, c)| {
        let end = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        end
    })?;
    let after = 1 + quote.0 + 1;
    key.get(after..)?.starts_with(']').then_some(after + 1)
}

fn paths(reader: &mut Reader<'_>, entry: &Entry<'_, '_>, options: &mut Options) -> Vec<Path> {
    let mut found = Vec::new();
    for (text, span) in reader.texts(entry).unwrap_or_default() {
        match text.parse::<Path>() {
            Ok(path) if !path.segments().is_empty() => {
                note(options, entry.key, found.len(), span);
                found.push(path);
            }
            Ok(_) => reader.report(
                Diagnostic::error(span, format!("`{}` holds an empty path", entry.key))
                    .with_hint("name a property, such as `spec.replicas`"),
            ),
            Err(error) => reader.report(Diagnostic::error(span, error.to_string())),
        }
    }
    found
}

/// Texts, which are what the whole was called; or a table from parts to what they were called.
fn aliases(reader: &mut Reader<'_>, entry: &Entry<'_, '_>, way: &mut Vec<Arc<str>>, options: &mut Options) {
    if let DeValue::Table(table) = entry.value {
        for part in reader.entries(table) {
            way.push(Arc::from(part.key));
            aliases(reader, &part, way, options);
            way.pop();
        }
        return;
    }
    for (text, span) in reader.texts(entry).unwrap_or_default() {
        if !is_address(&text) && Urn::parse(&text).is_err() {
            reader.report(
                Diagnostic::error(span, format!("`{text}` is not an address or a URN")).with_hint(
                    "an alias is what the resource was called before: `oldName`, `name[\"key\"]` or `component/child`",
                ),
            );
        } else if way.is_empty() {
            note(options, entry.key, options.aliases.len(), span);
            options.aliases.push(text);
        } else {
            let (way, before) = (way.clone(), text);
            options.part_aliases.push(PartAlias { way, before });
        }
    }
}

fn timeouts(reader: &mut Reader<'_>, entry: &Entry<'_, '_>, options: &mut Options) {
    let Some(table) = reader.table(entry) else {
        return;
    };
    for entry in table.rest() {
        let slot = match entry.key {
            "create" => &mut options.timeouts.create,
            "update" => &mut options.timeouts.update,
            "delete" => &mut options.timeouts.delete,
            _ => {
                reader.unknown(&entry, "timeouts", ["create", "update", "delete"]);
                continue;
            }
        };
        let problem = match entry.value {
            DeValue::String(text) => match duration(text) {
                Ok(duration) => {
                    *slot = Some(duration);
                    None
                }
                Err(why) => Some(Diagnostic::error(
                    entry.span,
                    format!("`{text}` is not a duration: {why}"),
                )),
            },
            DeValue::Integer(number) => Some(Diagnostic::error(
                entry.span,
                format!("the timeout `{}` needs a unit: {number}", entry.key),
            )),
            other => Some(Diagnostic::error(
                entry.span,
                format!(
                    "the timeout `{}` takes a duration, not {}",
                    entry.key,
                    super::document::type_name(other)
                ),
            )),
        };
        options
            .spans
            .insert(format!("timeouts.{}", entry.key).into(), entry.span);
        if let Some(problem) = problem {
            reader.report(problem.with_hint("write it as \"90s\", \"10m\" or \"1h30m\""));
        }
    }
}

/// A duration: hours, minutes and seconds, each at most once and in that order: `1h30m`, `90s`.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    const UNITS: [(char, u64); 3] = [('h', 3600), ('m', 60), ('s', 1)];
    const DAY: u64 = 24 * 3600;
    let mut units = UNITS.as_slice();
    let mut seconds = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit = tail.chars().next().ok_or("a unit is missing")?;
        let number: u64 = match number.parse() {
            Ok(number) => number,
            Err(_) if number.is_empty() => return Err("a number is missing"),
            Err(_) => return Err("it is too long"),
        };
        let at = units
            .iter()
            .position(|(u, _)| *u == unit)
            .ok_or("the units are h, m and s, in that order")?;
        let factor = units.get(at).map_or(1, |(_, factor)| *factor);
        seconds = number
            .checked_mul(factor)
            .and_then(|n| n.checked_add(seconds))
            .ok_or("it is too long")?;
        units = units.get(at + 1..).unwrap_or_default();
        rest = tail.get(unit.len_utf8()..).unwrap_or_default();
    }
    match seconds {
        0 => Err("it must be longer than nothing"),
        1..=DAY => Ok(Duration::from_secs(seconds)),
        _ => Err("it may be at most 24h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("90s", 90),
            ("10m", 600),
            ("1h30m", 5400),
            ("24h", 86400),
            ("1h0m5s", 3605),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "0s",
            "10",
            "m",
            "10m1h",
            "1m1m",
            "1d",
            "-1m",
            "1.5h",
            "25h",
            "10 m",
            "10µs",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        for text in [
            "a",
            "a_b1",
            "a[\"x\"]",
            "a[\"x]\\\"\"]",
            "a/b",
            "a[\"k\"]/b[\"l\"]",
            "c/b-1",
        ] {
            assert!(is_address(text), "{text}");
        }
        for text in ["", "1a", "a.b", "a[", "a[0]", "a[\"x\"", "a/", "/a", "a b", "é"] {
            assert!(!is_address(text), "{text}");
        }
    }
}
