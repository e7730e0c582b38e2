//! Secrets that this process has opened are in nothing it prints, whoever put them there: a provider's answer may repeat them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use epid_provider::Value;

/// What takes their place.
const INSTEAD: &str = "(secret)";
/// A text that is shorter hides nothing, and would take letters out of everything else.
const SHORTEST: usize = 4;

/// By their length, the longest last. For the whole process: what is printed goes many ways.
static OPENED: RwLock<BTreeSet<(usize, String)>> = RwLock::new(BTreeSet::new());

/// Keeps every text that is secret in `value` out of what is printed from now on.
pub(crate) fn conceal(value: &Value) {
    match value {
        Value::Secret(secret) => keep(secret),
        Value::List(items) => items.iter().for_each(conceal),
        Value::Map(map) => map.iter().for_each(|(_, item)| conceal(item)),
        _ => {}
    }
}

/// Keeps every text in a secret value, as it is and as it is quoted.
fn keep(secret: &Value) {
    match secret {
        Value::Str(text) => {
            let quoted = serde_json::to_string(&**text).unwrap_or_default();
            let shapes = [
                text.trim().to_owned(),
                quoted.trim_matches('"').to_owned(),
                text.escape_debug().to_string(),
                text.escape_default().to_string(),
            ];
            let lines = text.lines().map(|line| line.trim().to_owned());
            let shapes = shapes.into_iter().chain(lines);
            let long = shapes.filter(|shape| shape.chars().count() >= SHORTEST);
            let mut opened = OPENED.write().unwrap_or_else(PoisonError::into_inner);
            opened.extend(long.map(|shape| (shape.len(), shape)));
        }
        Value::List(items) => items.iter().for_each(keep),
        Value::Map(map) => map.iter().for_each(|(_, item)| keep(item)),
        _ => {}
    }
}

/// `text` without the secrets.
pub(super) fn concealed(text: &str) -> Cow<'_, str> {
    let opened = OPENED.read().unwrap_or_else(PoisonError::into_inner);
    let mut shown = Cow::Borrowed(text);
    for (_, secret) in opened.iter().rev() {
        if shown.contains(secret.as_str()) {
            shown = Cow::Owned(shown.replace(secret.as_str(), INSTEAD));
        }
    }
    shown
}

/// A document without the secrets in its texts.
pub(super) fn concealed_json(document: &mut serde_json::Value) {
    match document {
        serde_json::Value::String(text) => {
            if let Cow::Owned(shown) = concealed(text) {
                *text = shown;
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(concealed_json),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(concealed_json),
        _ => {}
    }
}
