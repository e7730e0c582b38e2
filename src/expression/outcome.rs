//! What an evaluation comes to: values that may be unknown or secret, and why there is none.

use std::ops::Range;
use std::sync::Arc;

use epid_provider::Value;

use super::parsed::ExpressionError;

/// What cannot be computed.
pub(super) struct Failure {
    pub(super) error: ExpressionError,
    /// It fails whatever the other side of `&&` or `||` is: a name that does not exist.
    pub(super) certain: bool,
}

pub(super) type Outcome = Result<Value, Failure>;

/// A value without its mark, and whether it had one.
pub(super) fn open(value: &Value) -> (Value, bool) {
    match value {
        Value::Secret(inner) => ((**inner).clone(), true),
        Value::Opaque(_) => (Value::unknown(""), true),
        other => (other.clone(), false),
    }
}

/// A value without any marks in it.
pub(super) fn bare(value: &Value) -> Value {
    value.replaced(&mut |v| match v {
        Value::Secret(inner) => Some(bare(inner)),
        _ => None,
    })
}

/// `value`, marked where something secret led to it.
pub(super) fn mark(value: Value, secret: bool) -> Value {
    match value {
        value if !secret => value,
        Value::Secret(_) | Value::Opaque(_) => value,
        value if value.has_secret() => bare(&value).into_secret(),
        value => value.into_secret(),
    }
}

/// The first unknown in a value; a digest stands for one.
pub(super) fn first_unknown(value: &Value) -> Option<Value> {
    match value {
        Value::Unknown(_) => Some(value.clone()),
        Value::Opaque(_) => Some(Value::unknown("")),
        Value::Secret(inner) => first_unknown(inner),
        Value::List(items) => items.iter().find_map(first_unknown),
        Value::Map(map) => map.iter().find_map(|(_, v)| first_unknown(v)),
        _ => None,
    }
}

pub(super) fn fail(range: &Range<u32>, message: impl Into<String>) -> Failure {
    Failure {
        error: ExpressionError {
            range: range.clone(),
            message: message.into(),
            hint: None,
        },
        certain: false,
    }
}

impl Failure {
    pub(super) fn hint(mut self, hint: Option<String>) -> Self {
        self.error.hint = hint;
        self
    }

    pub(super) fn certain(mut self) -> Self {
        self.certain = true;
        self
    }
}

/// `a string`, `an integer`.
pub(super) fn a(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Int(_) | Value::Unknown(_) => format!("an {}", value.type_name()),
        other => format!("a {}", other.type_name()),
    }
}

/// Text of a value that stands within text; `None` for what has none.
pub(super) fn text_of(value: &Value) -> Option<Arc<str>> {
    match value {
        Value::Str(text) => Some(text.clone()),
        Value::Bool(b) => Some(Arc::from(if *b { "true" } else { "false" })),
        Value::Int(n) => Some(Arc::from(n.to_string())),
        Value::Float(n) => Some(Arc::from(n.to_string())),
        _ => None,
    }
}
