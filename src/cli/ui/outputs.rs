//! Values for people.

use epid_provider::{Map, Value};

use super::style::{Paint, cut, plain, width};

/// The outputs of a stack, each leaf on a line that is cut to `columns`, with a trailing newline. Secrets are named only.
pub(crate) fn outputs(outputs: &Map, paint: Paint, columns: usize) -> String {
    let mut lines = Vec::new();
    walk(&Value::Map(outputs.clone()), String::new(), &mut lines);
    let names = lines.iter().map(|(path, _)| width(path)).max().unwrap_or(0);
    let mut out = format!("\n  {}\n", paint.bold("outputs"));
    for (path, text) in lines {
        let room = columns.saturating_sub(names + 7).max(16);
        out.push_str(&format!("    {path:names$}   {}\n", cut(&text, room)));
    }
    out
}

/// A value as lines of `path   value`; secrets hidden.
pub(crate) fn value_lines(value: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    walk(value, String::new(), &mut lines);
    lines
        .into_iter()
        .map(|(path, text)| {
            if path.is_empty() {
                text
            } else {
                format!("{path}   {text}")
            }
        })
        .collect()
}

fn walk(value: &Value, path: String, into: &mut Vec<(String, String)>) {
    match value {
        Value::Map(map) if !map.is_empty() => {
            for (key, value) in map.iter() {
                let path = if path.is_empty() {
                    key.to_string()
                } else {
                    format!("{path}.{key}")
                };
                walk(value, path, into);
            }
        }
        Value::List(items) if items.iter().any(|i| matches!(i, Value::Map(_) | Value::List(_))) => {
            for (at, value) in items.iter().enumerate() {
                walk(value, format!("{path}[{at}]"), into);
            }
        }
        _ => into.push((path, leaf(value))),
    }
}

fn leaf(value: &Value) -> String {
    let text = value
        .as_str()
        .filter(|_| !value.has_secret())
        .map_or_else(|| value.to_string(), str::to_owned);
    plain(&text)
}
