//! What a program gives, taken out of its inputs as owned values; `None` where it gives nothing.

use epid_provider::{Map, Value};

/// The value at `key`, unless it is absent or null.
pub(crate) fn at<'a>(inputs: &'a Value, key: &str) -> Option<&'a Value> {
    inputs
        .get(key)
        .map(Value::expose)
        .filter(|value| !value.is_null())
}

/// A text.
pub(crate) fn text(inputs: &Value, key: &str) -> Option<String> {
    at(inputs, key).and_then(Value::as_str).map(str::to_owned)
}

/// A list of texts.
pub(crate) fn texts(inputs: &Value, key: &str) -> Option<Vec<String>> {
    let items = at(inputs, key)?.as_list()?;
    let text = |item: &Value| item.expose().as_str().map(str::to_owned);
    Some(items.iter().filter_map(text).collect())
}

/// A truth value.
pub(crate) fn flag(inputs: &Value, key: &str) -> Option<bool> {
    at(inputs, key).and_then(Value::as_bool)
}

/// A map; empty where there is none.
pub(crate) fn map(inputs: &Value, key: &str) -> Map {
    at(inputs, key)
        .and_then(Value::as_map)
        .cloned()
        .unwrap_or_default()
}
