//! Reading resolved inputs. The schema was checked before; what is wrong here is a failure, never a panic.

use epid_provider::{Failure, Value};

/// The text at `key`, where there is one.
pub(crate) fn text<'a>(inputs: &'a Value, key: &str) -> Option<&'a str> {
    inputs.get(key).and_then(|value| value.expose().as_str())
}

/// The text at `key`.
///
/// # Errors
/// Where there is none.
pub(crate) fn require<'a>(inputs: &'a Value, key: &str) -> Result<&'a str, Failure> {
    text(inputs, key).ok_or_else(|| Failure::new("InvalidInput", format_args!("`{key}` is not a text")))
}

/// The truth value at `key`.
pub(crate) fn bool(inputs: &Value, key: &str) -> Option<bool> {
    inputs.get(key).and_then(|value| value.expose().as_bool())
}

/// The whole number at `key`.
pub(crate) fn int(inputs: &Value, key: &str) -> Option<i64> {
    inputs.get(key).and_then(|value| value.expose().as_int())
}

/// The items at `key`; none where there is no list.
pub(crate) fn items<'a>(inputs: &'a Value, key: &str) -> &'a [Value] {
    inputs
        .get(key)
        .and_then(|value| value.expose().as_list())
        .unwrap_or_default()
}

/// The texts at `key`, in order; none where there is no list.
pub(crate) fn texts<'a>(inputs: &'a Value, key: &str) -> Vec<&'a str> {
    items(inputs, key)
        .iter()
        .filter_map(|item| item.expose().as_str())
        .collect()
}

/// A map of those entries that have a value.
pub(crate) fn map<const N: usize>(entries: [(&str, Option<Value>); N]) -> Value {
    Value::map(entries.into_iter().filter_map(|(key, value)| Some((key, value?))))
}

/// A list of texts.
pub(crate) fn list<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Value {
    Value::list(texts.into_iter().map(|text| Value::str(text.as_ref())))
}
