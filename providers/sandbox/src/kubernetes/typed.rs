//! Values seen through their schema: mistakes, field sets, differences, merging, pruning.

use super::fields::FieldSet;
use super::schema::{Listing, Type};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Something in an object that its schema does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// `spec.containers[0].image`.
    pub path: String,
    /// The same as server-side apply writes it: `.spec.containers[name="web"].image`.
    pub typed_path: String,
    pub what: What,
}

/// The kind of a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Unknown,
    /// What was expected (Go type, apply's word), and what was found; the object's Go struct.
    Mistyped {
        go: &'static str,
        typed: &'static str,
        got: &'static str,
        holder: String,
    },
    /// A required field is absent.
    Missing,
    /// An item of a keyed list lacks a key, or two have the same.
    Keys(String),
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// All mistakes in a value.
pub(crate) fn check(ty: &Type, value: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    walk(ty, value, "", "", "", &mut found);
    found
}

fn walk(ty: &Type, value: &Value, holder: &str, path: &str, typed: &str, found: &mut Vec<Mistake>) {
    let mut mistake = |what| {
        found.push(Mistake {
            path: path.to_owned(),
            typed_path: typed.to_owned(),
            what,
        });
    };
    let got = kind_of(value);
    let mistyped = |go, expected| What::Mistyped {
        go,
        typed: expected,
        got,
        holder: holder.to_owned(),
    };
    match (ty, value) {
        (_, Value::Null) | (Type::Any, _) => {}
        (Type::Text | Type::Choice(_) | Type::Bytes, Value::String(_)) => {}
        (Type::Text | Type::Choice(_), _) => mistake(mistyped("string", "string")),
        (Type::Bytes, _) => mistake(mistyped("[]uint8", "string")),
        (Type::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => {}
        (Type::Integer, _) => mistake(mistyped("int32", "numeric (int or float)")),
        (Type::Number, Value::Number(_)) => {}
        (Type::Number, _) => mistake(mistyped("float64", "numeric (int or float)")),
        (Type::Boolean, Value::Bool(_)) => {}
        (Type::Boolean, _) => mistake(mistyped("bool", "boolean")),
        (Type::Quantity | Type::IntOrText, Value::String(_) | Value::Number(_)) => {}
        (Type::Quantity, _) => mistake(mistyped("resource.Quantity", "string")),
        (Type::IntOrText, _) => mistake(mistyped("intstr.IntOrString", "string")),
        (Type::List(item, listing), Value::Array(items)) => {
            let mut seen = BTreeSet::new();
            for (place, value) in items.iter().enumerate() {
                let step = match step(item, listing, place, value) {
                    Ok(step) => step,
                    Err(why) => {
                        found.push(Mistake {
                            path: path.to_owned(),
                            typed_path: typed.to_owned(),
                            what: What::Keys(why),
                        });
                        format!("[{place}]")
                    }
                };
                let text = super::fields::step_text(&step);
                if *listing != Listing::Atomic && !seen.insert(step) {
                    found.push(Mistake {
                        path: path.to_owned(),
                        typed_path: typed.to_owned(),
                        what: What::Keys(format!("duplicate entries for key {text}")),
                    });
                }
                let (path, typed) = (format!("{path}[{place}]"), format!("{typed}{text}"));
                walk(item, value, holder, &path, &typed, found);
            }
        }
        (Type::List(..), _) => mistake(mistyped("[]interface {}", "list")),
        (Type::Map(item, _), Value::Object(map)) => {
            for (key, value) in map {
                walk(
                    item,
                    value,
                    holder,
                    &join(path, key),
                    &format!("{typed}.{key}"),
                    found,
                );
            }
        }
        (Type::Named(_) | Type::Object(_), Value::Object(map)) => {
            let Some(object) = ty.object() else { return };
            let holder = match ty {
                Type::Named(name) => name.rsplit('.').next().unwrap_or(name),
                _ => "",
            };
            for (key, value) in map {
                let (path, typed) = (join(path, key), format!("{typed}.{key}"));
                match object.fields.get(key) {
                    Some(field) => walk(&field.ty, value, holder, &path, &typed, found),
                    None if object.open => {}
                    None => found.push(Mistake {
                        path,
                        typed_path: typed,
                        what: What::Unknown,
                    }),
                }
            }
            for (key, _) in object.fields.iter().filter(|(key, field)| {
                field.required && field.default.is_none() && map.get(*key).is_none_or(Value::is_null)
            }) {
                found.push(Mistake {
                    path: join(path, key),
                    typed_path: format!("{typed}.{key}"),
                    what: What::Missing,
                });
            }
        }
        (Type::Map(..) | Type::Named(_) | Type::Object(_), _) => {
            mistake(mistyped("map[string]interface {}", "map"));
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// Drops unknown fields, as decoding into a typed object does.
pub(crate) fn prune_unknown(ty: &Type, value: &mut Value) {
    match (ty, value) {
        (Type::List(item, _), Value::Array(items)) => {
            items.iter_mut().for_each(|value| prune_unknown(item, value));
        }
        (Type::Map(item, _), Value::Object(map)) => {
            map.values_mut().for_each(|value| prune_unknown(item, value));
        }
        (Type::Named(_) | Type::Object(_), Value::Object(map)) => {
            if let Some(object) = ty.object() {
                map.retain(|key, _| object.open || object.fields.contains_key(key));
                for (key, value) in map {
                    prune_unknown(ty.at(key), value);
                }
            }
        }
        _ => {}
    }
}

/// Fills in the schema's own defaults: where a map exists and lacks the field.
pub(crate) fn fill_defaults(ty: &Type, value: &mut Value) {
    match (ty, value) {
        (Type::List(item, _), Value::Array(items)) => {
            items.iter_mut().for_each(|value| fill_defaults(item, value));
        }
        (Type::Map(item, _), Value::Object(map)) => {
            map.values_mut().for_each(|value| fill_defaults(item, value));
        }
        (Type::Named(_) | Type::Object(_), Value::Object(map)) => {
            let Some(object) = ty.object() else { return };
            for (key, field) in &object.fields {
                if let Some(default) = &field.default
                    && map.get(key).is_none_or(Value::is_null)
                {
                    map.insert(key.clone(), default.clone());
                }
                if let Some(value) = map.get_mut(key) {
                    fill_defaults(&field.ty, value);
                }
            }
        }
        _ => {}
    }
}

/// The step that leads to an item of a list.
pub(crate) fn step(item: &Type, listing: &Listing, place: usize, value: &Value) -> Result<String, String> {
    match listing {
        Listing::Atomic => Ok(format!("i:{place}")),
        Listing::Set => Ok(format!("v:{value}")),
        Listing::Keyed(keys) => {
            let mut found = BTreeMap::new();
            for key in keys {
                let default = item
                    .object()
                    .and_then(|object| object.fields.get(key)?.default.clone());
                match value
                    .get(key)
                    .filter(|value| !value.is_null())
                    .cloned()
                    .or(default)
                {
                    Some(value) => {
                        found.insert(key.clone(), value);
                    }
                    None if keys.len() > 1 => {}
                    None => {
                        return Err(format!(
                            "element {place}: associative list with keys has an element that omits key field {key:?} \
                             (and doesn't have default value)"
                        ));
                    }
                }
            }
            Ok(format!("k:{}", Value::Object(found.into_iter().collect())))
        }
    }
}

/// Items of a merging list by their step, in order; items without keys are left out.
fn steps<'a>(item: &Type, listing: &Listing, items: &'a [Value]) -> Vec<(String, &'a Value)> {
    items
        .iter()
        .enumerate()
        .filter_map(|(place, value)| Some((step(item, listing, place, value).ok()?, value)))
        .collect()
}

/// Which view of a list merges item by item.
fn merging<'a>(ty: &'a Type, value: &'a Value) -> Option<(&'a Type, &'a Listing, &'a [Value])> {
    match (ty, value) {
        (Type::List(item, listing), Value::Array(items)) if *listing != Listing::Atomic => {
            Some((item, listing, items))
        }
        _ => None,
    }
}

fn granular<'a>(ty: &Type, value: &'a Value) -> Option<&'a Map<String, Value>> {
    match value {
        Value::Object(map) if !ty.atomic() => Some(map),
        _ => None,
    }
}

/// Places that always exist in a decoded object, so that they are never added or removed as such.
const ALWAYS: [&str; 12] = [
    "metadata",
    "spec",
    "status",
    "template",
    "containers",
    "strategy",
    "resources",
    "jobTemplate",
    "updateStrategy",
    "loadBalancer",
    "conditions",
    "names",
];

/// The fields of a value. `whole`: containers belong to the set as well, as in what an update adds.
pub(crate) fn fields(ty: &Type, value: &Value, whole: bool) -> FieldSet {
    if let Some(map) = granular(ty, value) {
        let mut set = FieldSet::default();
        let declared = ty.object();
        for (key, value) in map {
            let known = declared.is_some_and(|object| object.fields.contains_key(key));
            let mut below = fields(ty.at(key), value, whole);
            let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
            let container = granular(ty.at(key), value).is_some() || merging(ty.at(key), value).is_some();
            below.member |= empty || !known || (whole && container && !ALWAYS.contains(&key.as_str()));
            if !below.is_empty() {
                set.below.insert(format!("f:{key}"), below);
            }
        }
        return set;
    }
    if let Some((item, listing, items)) = merging(ty, value) {
        let mut set = FieldSet::default();
        for (step, value) in steps(item, listing, items) {
            let mut below = match listing {
                Listing::Keyed(_) => fields(item, value, whole),
                _ => FieldSet::default(),
            };
            below.member = true;
            set.below.insert(step, below);
        }
        return set;
    }
    FieldSet::leaf()
}

/// What a change touched (changed or added) and what it removed.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    pub touched: FieldSet,
    pub removed: FieldSet,
}

/// Compares two states of one value.
pub(crate) fn compare(ty: &Type, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let present = |value: Option<&'_ Value>| value.is_some_and(|value| !value.is_null());
    let mut difference = Difference::default();
    match (old, new) {
        (Some(old), Some(new)) if present(Some(old)) && present(Some(new)) => {
            if old == new {
                return difference;
            }
            let mut below = |step: String, ty: &Type, old: Option<&Value>, new: Option<&Value>| {
                let inner = compare(ty, old, new);
                for (set, inner) in [
                    (&mut difference.touched, inner.touched),
                    (&mut difference.removed, inner.removed),
                ] {
                    if !inner.is_empty() {
                        set.below.insert(step.clone(), inner);
                    }
                }
            };
            if let (Some(old), Some(new)) = (granular(ty, old), granular(ty, new)) {
                let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
                for key in keys {
                    let always = ALWAYS.contains(&key.as_str());
                    let empty = Value::Object(Map::new());
                    let (mut from, mut to) = (old.get(key), new.get(key));
                    // A place that always exists does not come or go; what is below it does.
                    if always
                        && from
                            .or(to)
                            .is_some_and(|value| granular(ty.at(key), value).is_some())
                    {
                        from = from.or(Some(&empty));
                        to = to.or(Some(&empty));
                    }
                    below(format!("f:{key}"), ty.at(key), from, to);
                }
            } else if let (Some((item, listing, old)), Some((_, _, new))) =
                (merging(ty, old), merging(ty, new))
            {
                let old: BTreeMap<String, &Value> = steps(item, listing, old).into_iter().collect();
                let new: BTreeMap<String, &Value> = steps(item, listing, new).into_iter().collect();
                let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
                for key in keys {
                    below(key.clone(), item, old.get(key).copied(), new.get(key).copied());
                }
            } else {
                difference.touched.member = true;
            }
        }
        (old, Some(new)) if !present(old) && present(Some(new)) => {
            difference.touched = added(ty, new);
        }
        (Some(old), new) if present(Some(old)) && !present(new) => {
            difference.removed = added(ty, old);
        }
        _ => {}
    }
    difference
}

fn added(ty: &Type, value: &Value) -> FieldSet {
    let mut set = fields(ty, value, true);
    // The callers know a container only by its step, so its own membership is decided here.
    set.member = true;
    set
}

/// Merges what is applied into what exists.
pub(crate) fn merge(ty: &Type, live: Option<&Value>, applied: &Value) -> Value {
    let Some(live) = live.filter(|live| !live.is_null()) else {
        return applied.clone();
    };
    if let (Some(old), Some(new)) = (granular(ty, live), granular(ty, applied)) {
        let mut merged = old.clone();
        for (key, value) in new {
            merged.insert(key.clone(), merge(ty.at(key), old.get(key), value));
        }
        return Value::Object(merged);
    }
    if let (Some((item, listing, old)), Some((_, _, new))) = (merging(ty, live), merging(ty, applied)) {
        let (old, new) = (steps(item, listing, old), steps(item, listing, new));
        let wanted: BTreeSet<&String> = new.iter().map(|(step, _)| step).collect();
        let existing: BTreeMap<&String, &Value> = old.iter().map(|(step, value)| (step, *value)).collect();
        let mut merged = Vec::new();
        let mut rest = old.iter().peekable();
        let mut taken = BTreeSet::new();
        for (step, value) in &new {
            // Items of others keep their place before the item that they stood before.
            while let Some((other, item)) =
                rest.next_if(|(other, _)| !wanted.contains(other) || taken.contains(other))
            {
                if !wanted.contains(other) {
                    merged.push((*item).clone());
                }
            }
            merged.push(merge(item, existing.get(step).copied(), value));
            taken.insert(step);
        }
        merged.extend(
            rest.filter(|(step, _)| !wanted.contains(step))
                .map(|(_, item)| (*item).clone()),
        );
        return Value::Array(merged);
    }
    applied.clone()
}

/// Removes the fields of `gone` that nobody in `kept` owns, at all or below; true when nothing is left.
pub(crate) fn prune(ty: &Type, value: &mut Value, gone: &FieldSet, kept: &FieldSet) -> bool {
    let nothing = FieldSet::default();
    let decide = |step: &str| -> (Option<&FieldSet>, &FieldSet) {
        (gone.below.get(step), kept.below.get(step).unwrap_or(&nothing))
    };
    if granular(ty, value).is_some() {
        let Value::Object(map) = value else { return false };
        let before = map.len();
        map.retain(|key, value| {
            let (gone, kept) = decide(&format!("f:{key}"));
            let Some(gone) = gone else { return true };
            if gone.member && kept.is_empty() {
                return false;
            }
            let emptied = !gone.below.is_empty() && prune(ty.at(key), value, gone, kept);
            !emptied || kept.member
        });
        return map.is_empty() && before > 0;
    }
    if let Some((item, listing, items)) = merging(ty, value) {
        let before = items.len();
        let mut left = Vec::new();
        for (place, value) in items.iter().enumerate() {
            let mut value = value.clone();
            let (gone, kept) = match step(item, listing, place, &value) {
                Ok(step) => match decide(&step) {
                    (Some(gone), kept) => (gone, kept),
                    (None, _) => {
                        left.push(value);
                        continue;
                    }
                },
                Err(_) => {
                    left.push(value);
                    continue;
                }
            };
            if gone.member && kept.is_empty() {
                continue;
            }
            if !gone.below.is_empty() {
                prune(item, &mut value, gone, kept);
            }
            left.push(value);
        }
        let empty = left.is_empty() && before > 0;
        *value = Value::Array(left);
        return empty;
    }
    false
}
