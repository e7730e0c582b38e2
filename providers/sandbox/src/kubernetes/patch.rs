//! JSON patch, JSON merge patch and strategic merge patch.

use super::failure::Refused;
use super::schema::{Listing, Type};
use serde_json::{Map, Value};

/// RFC 7386.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Some(map) = target.as_object_mut() {
        for (key, value) in patch {
            if value.is_null() {
                map.remove(key);
            } else {
                merge(map.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

/// RFC 6902.
pub(crate) fn json_patch(target: &mut Value, patch: &Value) -> Result<(), Refused> {
    let failed = |why: String| {
        Refused::new(
            422,
            "Invalid",
            format!("the server rejected our request due to an error in our request: {why}"),
        )
    };
    let operations = patch
        .as_array()
        .ok_or_else(|| Refused::bad("json: cannot unmarshal object into Go value of type jsonpatch.Patch"))?;
    for operation in operations {
        let path = operation["path"].as_str().unwrap_or_default();
        let from = operation["from"].as_str().unwrap_or_default();
        let missing = |path: &str| {
            failed(format!(
                "{} operation does not apply: doc is missing path: {path}",
                operation["op"]
            ))
        };
        match operation["op"].as_str().unwrap_or_default() {
            "add" => add(target, path, operation["value"].clone()).ok_or_else(|| missing(path))?,
            "remove" => {
                take(target, path).ok_or_else(|| missing(path))?;
            }
            "replace" => {
                *target.pointer_mut(path).ok_or_else(|| missing(path))? = operation["value"].clone();
            }
            "move" => {
                let value = take(target, from).ok_or_else(|| missing(from))?;
                add(target, path, value).ok_or_else(|| missing(path))?;
            }
            "copy" => {
                let value = target.pointer(from).cloned().ok_or_else(|| missing(from))?;
                add(target, path, value).ok_or_else(|| missing(path))?;
            }
            "test" => {
                if target.pointer(path).unwrap_or(&Value::Null) != &operation["value"] {
                    return Err(failed(format!("testing value {path} failed")));
                }
            }
            other => return Err(Refused::bad(format!("Unexpected kind: {other}"))),
        }
    }
    Ok(())
}

fn parent<'a>(target: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((
        target.pointer_mut(parent)?,
        last.replace("~1", "/").replace("~0", "~"),
    ))
}

fn add(target: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *target = value;
        return Some(());
    }
    match parent(target, path)? {
        (Value::Object(map), key) => {
            map.insert(key, value);
        }
        (Value::Array(items), key) => {
            let place = if key == "-" {
                items.len()
            } else {
                key.parse().ok()?
            };
            if place > items.len() {
                return None;
            }
            items.insert(place, value);
        }
        _ => return None,
    }
    Some(())
}

fn take(target: &mut Value, path: &str) -> Option<Value> {
    match parent(target, path)? {
        (Value::Object(map), key) => map.remove(&key),
        (Value::Array(items), key) => {
            let place: usize = key.parse().ok()?;
            (place < items.len()).then(|| items.remove(place))
        }
        _ => None,
    }
}

/// Strategic merge patch: lists with a merge key merge item by item, `$patch`, `$retainKeys`,
/// `$setElementOrder` and `$deleteFromPrimitiveList` are directives.
pub(crate) fn strategic(ty: &Type, target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            let mut whole = patch.clone();
            whole.remove("$patch");
            *target = Value::Object(whole);
            return;
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return;
        }
        _ => {}
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else { return };
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|key, _| kept.iter().any(|kept| kept == key));
    }
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(items), Some(gone)) =
                (map.get_mut(field).and_then(Value::as_array_mut), value.as_array())
            {
                items.retain(|item| !gone.contains(item));
            }
        } else if key.starts_with('$') {
        } else if value.is_null() {
            map.remove(key);
        } else {
            let order = patch
                .get(&format!("$setElementOrder/{key}"))
                .and_then(Value::as_array);
            let slot = map.entry(key.clone()).or_insert(Value::Null);
            strategic_field(ty.at(key), slot, value, order);
        }
    }
    for (key, order) in patch
        .iter()
        .filter_map(|(key, order)| Some((key.strip_prefix("$setElementOrder/")?, order)))
    {
        if !patch.contains_key(key)
            && let (Type::List(_, listing), Some(slot), Some(order)) =
                (ty.at(key), map.get_mut(key), order.as_array())
        {
            arrange(listing, slot, order);
        }
    }
}

fn strategic_field(ty: &Type, slot: &mut Value, patch: &Value, order: Option<&Vec<Value>>) {
    match (ty, patch) {
        (Type::List(item, listing), Value::Array(changes)) if *listing != Listing::Atomic => {
            if changes.iter().any(|change| change["$patch"] == "replace") {
                let whole = changes
                    .iter()
                    .filter(|change| change.get("$patch").is_none())
                    .cloned();
                *slot = Value::Array(whole.collect());
                return;
            }
            let mut items = slot.as_array().cloned().unwrap_or_default();
            for change in changes {
                let place = items.iter().position(|item| same(listing, item, change));
                match (change["$patch"] == "delete", place) {
                    (true, Some(_)) => items.retain(|item| !same(listing, item, change)),
                    (true, None) => {}
                    (false, Some(place)) => {
                        if let Some(found) = items.get_mut(place) {
                            strategic(item, found, change);
                        }
                    }
                    (false, None) => {
                        let mut fresh = Value::Null;
                        strategic(item, &mut fresh, change);
                        items.push(fresh);
                    }
                }
            }
            *slot = Value::Array(items);
            if let Some(order) = order {
                arrange(listing, slot, order);
            }
        }
        (Type::List(..), _) => *slot = patch.clone(),
        _ => strategic(ty, slot, patch),
    }
}

/// Strategic merge knows one key per list: the first that the schema names.
fn same(listing: &Listing, a: &Value, b: &Value) -> bool {
    match listing {
        Listing::Keyed(keys) => keys
            .first()
            .is_some_and(|key| a.get(key).is_some() && a.get(key) == b.get(key)),
        _ => a == b,
    }
}

fn arrange(listing: &Listing, slot: &mut Value, order: &[Value]) {
    if let Some(items) = slot.as_array_mut() {
        items.sort_by_key(|item| {
            order
                .iter()
                .position(|wanted| same(listing, item, wanted))
                .unwrap_or(usize::MAX)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strategic_merges_lists_by_key() {
        let ty = Type::Named("Pod".to_owned());
        let mut pod =
            json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}});
        let patch = json!({"spec": {"containers": [{"name": "b", "image": "z"}, {"$patch": "delete", "name": "a"}, {"name": "c"}]}});
        strategic(&ty, &mut pod, &patch);
        assert_eq!(
            pod["spec"]["containers"],
            json!([{"name": "b", "image": "z"}, {"name": "c"}])
        );
    }

    #[test]
    fn json_patches_apply_in_order_or_not_at_all() {
        let mut value = json!({"a": [1, 2]});
        json_patch(
            &mut value,
            &json!([{"op": "add", "path": "/a/1", "value": 9}, {"op": "move", "from": "/a/0", "path": "/b"}]),
        )
        .unwrap();
        assert_eq!(value, json!({"a": [9, 2], "b": 1}));
        assert!(json_patch(&mut value, &json!([{"op": "remove", "path": "/none"}])).is_err());
        assert!(json_patch(&mut value, &json!([{"op": "test", "path": "/b", "value": 2}])).is_err());
    }
}
