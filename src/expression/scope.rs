//! Where the names of an expression get their values.

use epid_provider::{Map, Value};

use super::parsed::{Access, Reference};

/// What is known of secrets to whoever may not see them.
pub trait Digests {
    /// The keyed digest of secret bytes, as lower-case hex of at least ten digits; `None` where no key is at hand.
    fn digest(&self, bytes: &[u8]) -> Option<String>;

    /// True where [`Self::derived`] does anything.
    fn derives(&self) -> bool {
        false
    }

    /// `value`, which the first argument says how to make of the second, among which are secrets. Where secrets are only digests: what it came to when
    /// somebody could open them, a digest itself unless it is no secret; `value` where nobody has written that down.
    fn derived(&self, _how: &str, _from: &[Value], value: Value) -> Value {
        value
    }
}

/// A digest and nothing derived.
impl<F: Fn(&[u8]) -> Option<String> + ?Sized> Digests for F {
    fn digest(&self, bytes: &[u8]) -> Option<String> {
        self(bytes)
    }
}

/// `value` with whatever became a secret in it passed through [`Digests::derived`]; `before` is the same value without those
/// marks.
#[must_use]
pub fn derived_marks(digests: &dyn Digests, before: &Value, value: Value) -> Value {
    if !digests.derives() || !value.has_secret() {
        return value;
    }
    marks(digests, before, &value)
}

fn marks(digests: &dyn Digests, before: &Value, value: &Value) -> Value {
    match (before, value) {
        (Value::Secret(_) | Value::Opaque(_), _) => value.clone(),
        (_, Value::Secret(_)) => digests.derived("secret", std::slice::from_ref(before), value.clone()),
        (Value::Map(old), Value::Map(new)) => Value::map(new.iter().map(|(key, inner)| {
            let before = old.get(key).unwrap_or(&Value::Null);
            (key.clone(), marks(digests, before, inner))
        })),
        (Value::List(old), Value::List(new)) => Value::list(
            old.iter()
                .zip(new.iter())
                .map(|(before, inner)| marks(digests, before, inner)),
        ),
        _ => value.clone(),
    }
}

/// Where the names of an expression get their values.
pub trait Scope {
    /// The value at a whole static path: `cluster.endpoint` comes as root `cluster` and path `endpoint`.
    /// `None` where there is no such root or property.
    ///
    /// # Errors
    /// A message for the person where the name exists and its value cannot be had.
    fn lookup(&self, root: &str, path: &[Access]) -> Result<Option<Value>, String>;

    /// The roots, or what `root` has, for suggestions.
    fn candidates(&self, root: Option<&str>) -> Vec<String> {
        let _ = root;
        Vec::new()
    }

    /// The keyed digest of secret bytes, as lower-case hex of at least ten digits; `None` where no key is at hand,
    /// and then `contentHash` of a secret is unknown.
    fn digest(&self, bytes: &[u8]) -> Option<String> {
        let _ = bytes;
        None
    }

    /// `value`, which a template comes to, or what is known of it where secrets are only digests: see [`Digests::derived`].
    /// The first argument tells its text and references.
    fn derived(&self, _template: &dyn Fn() -> (String, Vec<Reference>), value: Value) -> Value {
        value
    }
}

/// Each key is a root.
impl Scope for Map {
    fn lookup(&self, root: &str, path: &[Access]) -> Result<Option<Value>, String> {
        Ok(self.get(root).and_then(|value| resolve(value, path)))
    }

    fn candidates(&self, root: Option<&str>) -> Vec<String> {
        let map = match root {
            None => Some(self),
            Some(root) => self.get(root).map(Value::expose).and_then(Value::as_map),
        };
        map.map(|m| m.keys().map(ToString::to_string).collect())
            .unwrap_or_default()
    }
}

/// What stands at `path` in `value`: unknown in something unknown, secret in something secret, `None` where nothing
/// stands there.
#[must_use]
pub fn resolve(value: &Value, path: &[Access]) -> Option<Value> {
    let Some((first, rest)) = path.split_first() else {
        return Some(value.clone());
    };
    match value {
        Value::Unknown(_) => Some(value.clone()),
        Value::Opaque(_) => Some(Value::unknown("").into_secret()),
        Value::Secret(inner) => resolve(inner, path).map(Value::into_secret),
        Value::Map(map) => match first {
            Access::Key(key) => resolve(map.get(key)?, rest),
            Access::Index(_) => None,
        },
        Value::List(items) => match first {
            Access::Index(at) => resolve(items.get(usize::try_from(*at).ok()?)?, rest),
            Access::Key(_) => None,
        },
        _ => None,
    }
}
