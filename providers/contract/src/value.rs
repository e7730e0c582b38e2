//! The dynamic values that flow through programs, plans and records.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::path::{Path, Segment};

/// A dynamic value: JSON's, plus what is not known yet and what must not be shown.
///
/// 24 bytes; clones share. `Debug` and `Display` never show a secret. `Serialize` refuses secrets: the state room
/// seals them first, and a provider sends [`Resolved::reveal`].
#[derive(Clone, PartialEq, Default)]
pub enum Value {
    /// Absent or JSON `null`.
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number that is not whole.
    Float(f64),
    /// A text.
    Str(Arc<str>),
    /// A list, in order.
    List(Arc<[Value]>),
    /// A map, sorted by key.
    Map(Map),
    /// Known only after an operation has run.
    Unknown(Unknown),
    /// Never printed. What is inside is not itself a `Secret`.
    Secret(Arc<Value>),
    /// A secret of which only a keyed digest is at hand. It can be compared and never sent.
    Opaque(Arc<str>),
}

/// A value that is known only after an operation has run.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Unknown {
    /// What it waits for, for people: `cluster.endpoint`. Empty where nobody can say.
    pub from: Arc<str>,
}

/// A map from text to [`Value`], sorted by key and shared on clone.
#[derive(Clone, PartialEq, Default)]
pub struct Map(Option<Arc<[MapEntry]>>);

type MapEntry = (Arc<str>, Value);

impl Map {
    /// The value at `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let entries = self.entries();
        entries
            .binary_search_by(|(k, _)| (**k).cmp(key))
            .ok()
            .map(|at| &entries[at].1)
    }

    /// All entries in key order.
    #[must_use]
    pub fn entries(&self) -> &[(Arc<str>, Value)] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Iterates in key order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Value)> {
        self.entries().iter().map(|(k, v)| (k, v))
    }

    /// The keys in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.entries().iter().map(|(k, _)| k)
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// True without entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// This map with `key` set to `value`. Costs a copy of the entries.
    #[must_use]
    pub fn with(&self, key: &str, value: Value) -> Self {
        let old = self.entries().iter().filter(|(k, _)| &**k != key).cloned();
        old.chain([(Arc::from(key), value)]).collect()
    }

    /// This map without `key`.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        self.entries()
            .iter()
            .filter(|(k, _)| &**k != key)
            .cloned()
            .collect()
    }
}

/// Later entries win over earlier ones of the same key.
impl<K: Into<Arc<str>>> FromIterator<(K, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(entries: I) -> Self {
        let mut list: Vec<(Arc<str>, Value)> = entries.into_iter().map(|(k, v)| (k.into(), v)).collect();
        list.sort_by(|(a, _), (b, _)| a.cmp(b));
        list.reverse();
        list.dedup_by(|(a, _), (b, _)| a == b);
        list.reverse();
        if list.is_empty() {
            Self(None)
        } else {
            Self(Some(list.into()))
        }
    }
}

impl Value {
    /// A text.
    #[must_use]
    pub fn str(text: &str) -> Self {
        Self::Str(Arc::from(text))
    }

    /// A list.
    #[must_use]
    pub fn list(items: impl IntoIterator<Item = Value>) -> Self {
        Self::List(items.into_iter().collect())
    }

    /// A map.
    #[must_use]
    pub fn map<K: Into<Arc<str>>>(entries: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(entries.into_iter().collect())
    }

    /// A value that waits for `from`.
    #[must_use]
    pub fn unknown(from: &str) -> Self {
        Self::Unknown(Unknown {
            from: Arc::from(from),
        })
    }

    /// `self` as a secret; secrets and digests stay as they are, and so does an unknown's origin, inside.
    #[must_use]
    pub fn into_secret(self) -> Self {
        match self {
            Self::Secret(_) | Self::Opaque(_) => self,
            other => Self::Secret(Arc::new(other)),
        }
    }

    /// What stands inside a secret, or the value itself. For decisions, never for showing.
    #[must_use]
    pub fn expose(&self) -> &Self {
        match self {
            Self::Secret(inner) => inner,
            other => other,
        }
    }

    /// The text, where it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Str(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// The truth value, where it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(b) = self { Some(*b) } else { None }
    }

    /// The whole number, where it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(n) = self { Some(*n) } else { None }
    }

    /// The items, where it is a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Value]> {
        if let Self::List(items) = self {
            Some(items)
        } else {
            None
        }
    }

    /// The map, where it is one.
    #[must_use]
    pub fn as_map(&self) -> Option<&Map> {
        if let Self::Map(map) = self {
            Some(map)
        } else {
            None
        }
    }

    /// The value at `key` of a map; `None` for everything else.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map().and_then(|map| map.get(key))
    }

    /// True for `Null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// True where this value or anything in it is `Unknown`.
    #[must_use]
    pub fn has_unknown(&self) -> bool {
        self.any(&|v| matches!(v, Self::Unknown(_)))
    }

    /// True where this value or anything in it is secret.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        self.any(&|v| matches!(v, Self::Secret(_) | Self::Opaque(_)))
    }

    /// True where `test` is true of the value or of anything in it.
    #[must_use]
    pub fn any(&self, test: &impl Fn(&Value) -> bool) -> bool {
        test(self)
            || match self {
                Self::List(items) => items.iter().any(|v| v.any(test)),
                Self::Map(map) => map.iter().any(|(_, v)| v.any(test)),
                Self::Secret(inner) => inner.any(test),
                _ => false,
            }
    }

    /// A copy in which `change` has replaced the values it answers for, from the top down.
    #[must_use]
    pub fn replaced(&self, change: &mut impl FnMut(&Value) -> Option<Value>) -> Value {
        if let Some(new) = change(self) {
            return new;
        }
        match self {
            Self::List(items) => Self::List(items.iter().map(|v| v.replaced(change)).collect()),
            Self::Map(map) => Self::map(map.iter().map(|(k, v)| (k.clone(), v.replaced(change)))),
            Self::Secret(inner) => inner.replaced(change).into_secret(),
            other => other.clone(),
        }
    }

    /// The word for the value's type in messages: `string`, `list`, …
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "number",
            Self::Str(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Unknown(_) => "unknown",
            Self::Secret(_) | Self::Opaque(_) => "secret",
        }
    }

    /// Adds `other` onto this value: maps merge key by key, everything else is replaced.
    #[must_use]
    pub fn merged(&self, other: &Value) -> Value {
        match (self, other) {
            (Self::Map(a), Self::Map(b)) => {
                let added = b
                    .iter()
                    .map(|(k, v)| (k.clone(), a.get(k).map_or_else(|| v.clone(), |old| old.merged(v))));
                Self::Map(
                    a.iter()
                        .map(|(k, v)| (k.clone(), v.clone()))
                        .chain(added)
                        .collect(),
                )
            }
            _ => other.clone(),
        }
    }
}

/// JSON-like, with `(secret)` and `(known after …)` in place of what cannot be shown.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Float(n) => write!(f, "{n}"),
            Self::Str(text) => write!(f, "{text:?}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Map(map) => {
                f.write_str("{")?;
                for (at, (key, value)) in map.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Self::Unknown(unknown) if unknown.from.is_empty() => f.write_str("(known after apply)"),
            Self::Unknown(unknown) => write!(f, "(known after {})", unknown.from),
            Self::Secret(_) | Self::Opaque(_) => f.write_str("(secret)"),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Value::Map(self.clone()), f)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::str(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(Arc::from(text))
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

const UNKNOWN: &str = "$unknown";
const SECRET: &str = "$secret";

thread_local! {
    static SECRETS_ALLOWED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, in which serde writes and reads secrets in clear, on this thread. Only for bytes that are sealed before they
/// leave the process, and for those that were.
pub fn with_secrets<T>(work: impl FnOnce() -> T) -> T {
    /// Puts the old permission back, even if `work` panics.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            SECRETS_ALLOWED.set(self.0);
        }
    }
    let _before = Before(SECRETS_ALLOWED.replace(true));
    work()
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => s.serialize_unit(),
            Self::Bool(b) => s.serialize_bool(*b),
            Self::Int(n) => s.serialize_i64(*n),
            Self::Float(n) => s.serialize_f64(*n),
            Self::Str(text) => s.serialize_str(text),
            Self::List(items) => {
                let mut seq = s.serialize_seq(Some(items.len()))?;
                for item in items.iter() {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Self::Map(map) => map.serialize(s),
            Self::Unknown(unknown) => {
                let mut map = s.serialize_map(Some(1))?;
                map.serialize_entry(UNKNOWN, &unknown.from)?;
                map.end()
            }
            Self::Secret(inner) if SECRETS_ALLOWED.get() => {
                let mut map = s.serialize_map(Some(1))?;
                map.serialize_entry(SECRET, &**inner)?;
                map.end()
            }
            Self::Secret(_) | Self::Opaque(_) => {
                Err(serde::ser::Error::custom("a secret cannot be written in clear"))
            }
        }
    }
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(&**key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Map {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match Value::deserialize(d)? {
            Value::Map(map) => Ok(map),
            other => Err(serde::de::Error::custom(format!(
                "expected a map, found {}",
                other.type_name()
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
                Value::deserialize(d)
            }
            fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
                Ok(Value::Bool(b))
            }
            fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
                Ok(Value::Int(n))
            }
            fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "beyond i64 a number is kept as JSON readers keep it"
                )]
                Ok(i64::try_from(n).map_or(Value::Float(n as f64), Value::Int))
            }
            fn visit_f64<E>(self, n: f64) -> Result<Value, E> {
                Ok(Value::Float(n))
            }
            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::str(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::List(items.into()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries: Vec<(String, Value)> = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                if let [(key, Value::Str(from))] = &entries[..]
                    && key == UNKNOWN
                {
                    return Ok(Value::Unknown(Unknown { from: from.clone() }));
                }
                if SECRETS_ALLOWED.get() && matches!(&entries[..], [(key, _)] if key == SECRET) {
                    return Ok(entries.remove(0).1.into_secret());
                }
                Ok(Value::map(entries))
            }
        }
        d.deserialize_any(AnyValue)
    }
}

/// Properties in which nothing is unknown and nothing is a mere digest: the only ones a cloud may be sent.
///
/// Secrets stay marked; [`Resolved::reveal`] takes the marks off at the last moment.
#[derive(Clone, PartialEq, Default)]
pub struct Resolved(Value);

/// Values are not ready to be sent.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("not known yet: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
pub struct Unresolved(pub Vec<Path>);

impl Resolved {
    /// Takes values in which everything is known.
    ///
    /// # Errors
    /// [`Unresolved`] with the path of every unknown or digest-only value.
    pub fn new(value: Value) -> Result<Self, Unresolved> {
        let mut open = Vec::new();
        find_open(&value, &Path::root(), &mut open);
        if open.is_empty() {
            Ok(Self(value))
        } else {
            Err(Unresolved(open))
        }
    }

    /// The values, secrets marked.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The value at a key of the top map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The values with secrets in clear: for a request's body, and for nothing that is shown, logged or kept.
    #[must_use]
    pub fn reveal(&self) -> Value {
        self.0.replaced(&mut |v| {
            if let Value::Secret(inner) = v {
                Some((**inner).clone())
            } else {
                None
            }
        })
    }
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

fn find_open(value: &Value, at: &Path, open: &mut Vec<Path>) {
    match value {
        Value::Unknown(_) | Value::Opaque(_) => open.push(at.clone()),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate().filter(|(_, v)| !is_leaf(v)) {
                find_open(item, &at.join(Segment::Index(index)), open);
            }
        }
        Value::Map(map) => {
            for (key, item) in map.iter().filter(|(_, v)| !is_leaf(v)) {
                find_open(item, &at.join(Segment::Key(key.clone())), open);
            }
        }
        Value::Secret(inner) => find_open(inner, at, open),
        _ => {}
    }
}

fn is_leaf(value: &Value) -> bool {
    matches!(
        value,
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_)
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_is_24_bytes() {
        assert_eq!(size_of::<Value>(), 24);
    }

    #[test]
    fn a_secret_is_never_shown_or_written() {
        let value = Value::map([("password", Value::str("hunter2").into_secret())]);
        assert_eq!(
            format!("{value} {value:?} {:?}", Resolved::new(value.clone()).unwrap())
                .matches("hunter2")
                .count(),
            0
        );
        assert!(serde_json::to_string(&value).is_err());
        assert_eq!(
            Resolved::new(value).unwrap().reveal().get("password"),
            Some(&Value::str("hunter2"))
        );
    }

    #[test]
    fn unknown_and_opaque_values_cannot_be_resolved() {
        let value = Value::map([
            ("a", Value::list([Value::unknown("x.id")])),
            ("b", Value::Opaque(Arc::from("digest"))),
            ("c", Value::unknown("y").into_secret()),
        ]);
        let Err(Unresolved(paths)) = Resolved::new(value) else {
            panic!("resolved")
        };
        assert_eq!(
            paths.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["a[0]", "b", "c"]
        );
    }

    #[test]
    fn the_last_of_equal_keys_wins() {
        let map: Map = [("a", Value::Int(1)), ("b", Value::Int(2)), ("a", Value::Int(3))]
            .into_iter()
            .collect();
        assert_eq!((map.len(), map.get("a")), (2, Some(&Value::Int(3))));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            "[a-z]{0,6}".prop_map(Value::from),
            "[a-z]{1,6}".prop_map(|from| Value::unknown(&from)),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::list),
                prop::collection::vec(("[a-z]{1,4}", inner), 0..5).prop_map(Value::map),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_keeps_every_value(value in any_value()) {
            let text = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }
}
