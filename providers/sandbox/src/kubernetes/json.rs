//! Reading and writing places in objects. Paths are JSON pointers.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The text at a path; empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The list at a path; empty where there is none.
pub(crate) fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value
        .pointer(path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The integer at a path.
pub(crate) fn int(value: &Value, path: &str) -> Option<i64> {
    value.pointer(path).and_then(Value::as_i64)
}

/// The texts of a map at a path.
pub(crate) fn texts(value: &Value, path: &str) -> BTreeMap<String, String> {
    value
        .pointer(path)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The map at a key, made where there is none (or null); `None` where something else stands.
pub(crate) fn map_at<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    let object = value.as_object_mut()?;
    let slot = object.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut()
}

/// Sets a path of keys, making maps on the way; does nothing where something else than a map stands.
pub(crate) fn put(value: &mut Value, path: &[&str], new: Value) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut at = value;
    for key in parents {
        if map_at(at, key).is_none() {
            return;
        }
        at = &mut at[*key];
    }
    if let Some(map) = at.as_object_mut() {
        map.insert((*last).to_owned(), new);
    }
}

/// Sets a path of keys unless something is there.
pub(crate) fn default(value: &mut Value, path: &[&str], new: impl Into<Value>) {
    let pointer: String = path.iter().map(|key| format!("/{key}")).collect();
    if value.pointer(&pointer).is_none_or(Value::is_null) {
        put(value, path, new.into());
    }
}

/// Removes the key at a path of keys.
pub(crate) fn remove(value: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let mut at = value;
    for key in parents {
        at = at.get_mut(*key)?;
    }
    at.as_object_mut()?.remove(*last)
}

/// Drops nulls and, below the top, nothing else: what a decoded and encoded object looks like.
pub(crate) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
