//! Label and field selectors.

use super::failure::Refused;
use super::json::{list, text};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Equals(String),
    Differs(String),
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

/// What a list or watch selects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: Vec<(String, Test)>,
    fields: Vec<(String, Test)>,
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector`.
    pub(crate) fn parse(labels: &str, fields: &str) -> Result<Self, Refused> {
        let unreadable = || Refused::bad(format!("unable to parse requirement: {labels:?}"));
        let mut selector = Self::default();
        for part in split(labels) {
            selector.labels.push(requirement(part).ok_or_else(unreadable)?);
        }
        for part in fields.split(',').filter(|part| !part.is_empty()) {
            let (field, test) = match part.split_once("!=") {
                Some((field, value)) => (field, Test::Differs(value.to_owned())),
                None => {
                    let (field, value) = part.split_once('=').ok_or_else(|| {
                        Refused::bad(format!("invalid selector: '{part}'; can't understand '{part}'"))
                    })?;
                    (field, Test::Equals(value.trim_start_matches('=').to_owned()))
                }
            };
            selector.fields.push((field.to_owned(), test));
        }
        Ok(selector)
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels
            .iter()
            .all(|(key, test)| passes(test, labels.get(key).and_then(Value::as_str)))
            && self.fields.iter().all(|(field, test)| {
                let found = object.pointer(&format!("/{}", field.replace('.', "/")));
                let found = match found {
                    Some(Value::String(text)) => text.clone(),
                    Some(Value::Null) | None => String::new(),
                    Some(other) => other.to_string(),
                };
                passes(test, Some(&found))
            })
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (place, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth <= 0 => {
                parts.push(&text[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect()
}

fn requirement(part: &str) -> Option<(String, Test)> {
    let values = |text: &str| -> Option<Vec<String>> {
        let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
    };
    let (key, test) = if let Some((key, rest)) = part.split_once(" notin ") {
        (key, Test::NotIn(values(rest)?))
    } else if let Some((key, rest)) = part.split_once(" in ") {
        (key, Test::In(values(rest)?))
    } else if let Some((key, value)) = part.split_once("!=") {
        (key, Test::Differs(value.trim().to_owned()))
    } else if let Some((key, value)) = part.split_once('=') {
        (key, Test::Equals(value.trim_start_matches('=').trim().to_owned()))
    } else if let Some(key) = part.strip_prefix('!') {
        (key, Test::Absent)
    } else {
        (part, Test::Exists)
    };
    let key = key.trim();
    let well = !key.is_empty() && !key.contains(['(', ')', ' ', '!', '=']);
    well.then(|| (key.to_owned(), test))
}

fn passes(test: &Test, value: Option<&str>) -> bool {
    match test {
        Test::Equals(wanted) => value == Some(wanted),
        Test::Differs(wanted) => value != Some(wanted),
        Test::In(wanted) => value.is_some_and(|value| wanted.iter().any(|wanted| wanted == value)),
        Test::NotIn(wanted) => value.is_none_or(|value| wanted.iter().all(|wanted| wanted != value)),
        Test::Exists => value.is_some(),
        Test::Absent => value.is_none(),
    }
}

/// Whether a `LabelSelector` object matches labels. One that selects nothing in particular matches all.
pub(crate) fn matches_labels(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let plain = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str());
    plain
        && list(selector, "/matchExpressions").iter().all(|expression| {
            let values = || {
                list(expression, "/values")
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect()
            };
            let test = match text(expression, "/operator") {
                "In" => Test::In(values()),
                "NotIn" => Test::NotIn(values()),
                "Exists" => Test::Exists,
                _ => Test::Absent,
            };
            passes(&test, labels.get(text(expression, "/key")).map(String::as_str))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_select() {
        let object = json!({"metadata": {"name": "web", "labels": {"app": "web", "tier": "front"}}, "status": {"phase": "Running"}});
        for (labels, fields, expected) in [
            ("app=web", "", true),
            ("app==web,tier!=back", "metadata.name=web", true),
            ("app in (api, web),!gone", "", true),
            ("app notin (web)", "", false),
            ("tier,missing", "", false),
            ("", "status.phase!=Running", false),
        ] {
            let selector = Selector::parse(labels, fields).unwrap();
            assert_eq!(selector.matches(&object), expected, "{labels} {fields}");
        }
        assert!(Selector::parse("=x", "").is_err());
        assert!(Selector::parse("a in web", "").is_err());
    }
}
