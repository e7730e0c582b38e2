//! How large values may become. What refers to a value may nest and repeat it, and what refers to that one again: a few lines
//! would make a value that no memory and no stack holds.

use epid_provider::Value;

/// How deep a value may be nested that an expression passes on. What is written around it adds as much as the loader takes.
const DEPTH: usize = 100;
/// How many bytes a value may have, about.
pub(super) const WEIGHT: usize = 16 * 1024 * 1024;
/// What a value counts beside its text.
const EACH: usize = 16;

/// In which way a value is too large.
pub(super) fn beyond(value: &Value) -> Option<String> {
    let mut left = WEIGHT;
    match walk(value, DEPTH, &mut left) {
        Ok(()) => None,
        Err(Beyond::Depth) => Some(format!("is nested more than {DEPTH} levels deep")),
        Err(Beyond::Weight) => Some(format!("is larger than {} MiB", WEIGHT >> 20)),
    }
}

enum Beyond {
    Depth,
    Weight,
}

/// Goes through a value until a limit is met, so that it takes no longer than the limits allow.
fn walk(value: &Value, depth: usize, left: &mut usize) -> Result<(), Beyond> {
    let weight = EACH + value.as_str().map_or(0, str::len);
    *left = left.checked_sub(weight).ok_or(Beyond::Weight)?;
    let below = || depth.checked_sub(1).ok_or(Beyond::Depth);
    match value {
        Value::List(items) => {
            let below = below()?;
            items.iter().try_for_each(|item| walk(item, below, left))
        }
        Value::Map(map) => {
            let below = below()?;
            map.iter().try_for_each(|(key, item)| {
                *left = left.checked_sub(key.len()).ok_or(Beyond::Weight)?;
                walk(item, below, left)
            })
        }
        Value::Secret(inner) => walk(inner, depth, left),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(Value::Int(1), |inner, _| Value::list([inner]))
    }

    #[test]
    fn depth_and_weight_have_limits() {
        assert_eq!(beyond(&nested(DEPTH)), None);
        assert_eq!(
            beyond(&nested(DEPTH + 1)).as_deref(),
            Some("is nested more than 100 levels deep")
        );
        let text = Value::from("x".repeat(WEIGHT));
        assert_eq!(beyond(&text).as_deref(), Some("is larger than 16 MiB"));
        // Forty levels of two that are one and the same: a million million values in no memory.
        let laughs = (0..40).fold(Value::Int(1), |inner, _| Value::list([inner.clone(), inner]));
        assert_eq!(beyond(&laughs).as_deref(), Some("is larger than 16 MiB"));
    }
}
