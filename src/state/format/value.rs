//! Values on disk: JSON, in which what JSON cannot say is a map with one key that begins with `$`.
//!
//! `$unknown`, `$secret` (digest, dot, ciphertext in base64), `$opaque` (digest), `$float`, and `$json` for what is nested too
//! deep for JSON readers. A key of the value itself that begins with `$` gets one `$` more.

use std::fmt;
use std::sync::Arc;

use epid_provider::{Map, Unknown, Value};
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const UNKNOWN: &str = "$unknown";
const SECRET: &str = "$secret";
const OPAQUE: &str = "$opaque";
const FLOAT: &str = "$float";
const NESTED: &str = "$json";

/// How deep lists and maps stand in one JSON text. Readers refuse 128, and records have some levels of their own.
const DEEPEST: u32 = 64;

/// A value as it is written: what stands in a secret is ciphertext.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::state) struct Stored(Value);

impl Stored {
    /// A value whose secrets are encrypted already, or that has none.
    pub(in crate::state) fn clear(value: Value) -> Self {
        Self(value)
    }

    pub(in crate::state) fn into_inner(self) -> Value {
        self.0
    }

    pub(in crate::state) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    pub(in crate::state) fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    pub(in crate::state) fn is_empty_map(&self) -> bool {
        self.0.as_map().is_some_and(Map::is_empty)
    }

    pub(in crate::state) fn empty_map() -> Self {
        Self(Value::Map(Map::default()))
    }
}

/// The value with no secret marked as one: to be encrypted or digested as a whole.
pub(in crate::state) fn unmarked(value: &Value) -> Value {
    value.replaced(&mut |v| match v {
        Value::Secret(inner) => Some(unmarked(inner)),
        _ => None,
    })
}

impl Serialize for Stored {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        At(&self.0, 0).serialize(s)
    }
}

/// A value and how deep it stands.
struct At<'a>(&'a Value, u32);

impl Serialize for At<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Self(value, depth) = *self;
        match value {
            Value::Null => s.serialize_unit(),
            Value::Bool(b) => s.serialize_bool(*b),
            Value::Int(n) => s.serialize_i64(*n),
            Value::Str(text) => s.serialize_str(text),
            // Rust's text of a number reads back as the same number; JSON readers may be off in the last place.
            Value::Float(n) => tagged(s, FLOAT, &n.to_string()),
            Value::Unknown(unknown) => tagged(s, UNKNOWN, &unknown.from),
            Value::Opaque(digest) => tagged(s, OPAQUE, digest),
            Value::Secret(inner) => match &**inner {
                Value::Str(ciphertext) => tagged(s, SECRET, ciphertext),
                _ => Err(S::Error::custom("a secret cannot be written in clear")),
            },
            Value::List(_) | Value::Map(_) if depth >= DEEPEST => {
                let nested = serde_json::to_string(&At(value, 0)).map_err(S::Error::custom)?;
                tagged(s, NESTED, &nested)
            }
            Value::List(items) => {
                let mut seq = s.serialize_seq(Some(items.len()))?;
                for item in items.iter() {
                    seq.serialize_element(&At(item, depth + 1))?;
                }
                seq.end()
            }
            Value::Map(map) => {
                let mut out = s.serialize_map(Some(map.len()))?;
                for (key, item) in map.iter() {
                    if key.starts_with('$') {
                        out.serialize_key(&format_args!("${key}"))?;
                    } else {
                        out.serialize_key(&**key)?;
                    }
                    out.serialize_value(&At(item, depth + 1))?;
                }
                out.end()
            }
        }
    }
}

fn tagged<S: Serializer>(s: S, tag: &'static str, text: &str) -> Result<S::Ok, S::Error> {
    let mut map = s.serialize_map(Some(1))?;
    map.serialize_entry(tag, text)?;
    map.end()
}

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Stored;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Stored, E> {
        Ok(Stored(Value::Null))
    }

    fn visit_bool<E>(self, b: bool) -> Result<Stored, E> {
        Ok(Stored(Value::Bool(b)))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Stored, E> {
        Ok(Stored(Value::Int(n)))
    }

    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Stored, E> {
        i64::try_from(n)
            .map(|n| Stored(Value::Int(n)))
            .map_err(|_| E::custom("a number is too large"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Stored, E> {
        Ok(Stored(Value::str(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Stored, A::Error> {
        let mut items = Vec::new();
        while let Some(Stored(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Stored(Value::List(items.into())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stored, A::Error> {
        let mut entries: Vec<(Arc<str>, Value)> = Vec::new();
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match key.strip_prefix('$') {
                None => entries.push((Arc::from(&*key), map.next_value::<Stored>()?.0)),
                Some(own) if own.starts_with('$') => {
                    entries.push((Arc::from(own), map.next_value::<Stored>()?.0));
                }
                Some(_) => {
                    let value = untagged(&key, &map.next_value::<String>()?)?;
                    return match map.next_key::<String>()? {
                        None if entries.is_empty() => Ok(Stored(value)),
                        _ => Err(A::Error::custom(format_args!("`{key}` stands with other keys"))),
                    };
                }
            }
        }
        Ok(Stored(Value::Map(entries.into_iter().collect())))
    }
}

fn untagged<E: serde::de::Error>(tag: &str, text: &str) -> Result<Value, E> {
    match tag {
        UNKNOWN => Ok(Value::Unknown(Unknown {
            from: Arc::from(text),
        })),
        SECRET => Ok(Value::Secret(Value::str(text).into())),
        OPAQUE => Ok(Value::Opaque(Arc::from(text))),
        FLOAT => text.parse().map(Value::Float).map_err(E::custom),
        NESTED => serde_json::from_str::<Stored>(text)
            .map(Stored::into_inner)
            .map_err(E::custom),
        _ => Err(E::custom(format_args!("`{tag}` is not known to this epid"))),
    }
}

#[cfg(test)]
pub(in crate::state) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::state::keys::StackKeys;

    pub(in crate::state) fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<f64>()
                .prop_filter("NaN is not equal to itself", |n| !n.is_nan())
                .prop_map(Value::Float),
            ".{0,6}".prop_map(Value::from),
            ".{0,6}".prop_map(|from| Value::unknown(&from)),
            "[a-f0-9]{4}".prop_map(|digest| Value::Opaque(digest.into())),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::list),
                prop::collection::vec(("[$a-z]{0,4}", inner.clone()), 0..5).prop_map(Value::map),
                inner.prop_map(Value::into_secret),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_disk_keeps_every_value(value in any_value()) {
            let keys = StackKeys::in_memory("x");
            let json = keys.store(&value).unwrap().to_json().unwrap();
            prop_assert_eq!(keys.restore(Stored::from_json(&json).unwrap()), value);
        }
    }

    #[test]
    fn deep_values_come_back() {
        let deep = |depth| {
            (0..depth).fold(Value::Int(1), |v, n| {
                if n % 2 == 0 {
                    Value::list([v])
                } else {
                    Value::map([("k", v)])
                }
            })
        };
        for depth in [63, 64, 65, 127, 128, 129, 300] {
            let json = Stored::clear(deep(depth)).to_json().unwrap();
            assert_eq!(
                Stored::from_json(&json).unwrap().into_inner(),
                deep(depth),
                "{depth}"
            );
        }
    }

    #[test]
    fn a_secret_is_written_only_as_ciphertext_and_digest() {
        let (keys, other) = (StackKeys::in_memory("x"), StackKeys::in_memory("y"));
        let value = Value::map([("password", Value::str("hunter2").into_secret())]);
        let json = keys.store(&value).unwrap().to_json().unwrap();
        assert!(!String::from_utf8_lossy(&json).contains("hunter2"));
        let digest = keys.digest(&Value::str("hunter2")).unwrap();
        assert_eq!(
            other.restore(Stored::from_json(&json).unwrap()).get("password"),
            Some(&Value::Opaque(digest.clone().into()))
        );
        assert_ne!(Some(digest), other.digest(&Value::str("hunter2")));
    }

    #[test]
    fn a_secret_is_not_written_in_clear() {
        let value = Value::map([("password", Value::Int(7).into_secret())]);
        assert!(Stored::clear(value).to_json().is_err());
    }

    #[test]
    fn what_a_later_epid_wrote_is_refused() {
        for json in [
            r#"{"$new":"x"}"#,
            r#"{"$secret":"x","a":1}"#,
            r#"{"a":1,"$secret":"x"}"#,
            "18446744073709551615",
        ] {
            assert!(Stored::from_json(json.as_bytes()).is_err(), "{json}");
        }
    }
}
