//! Steps into values, and what is said where they lead nowhere.

use std::ops::Range;
use std::sync::Arc;

use epid_provider::Value;

use super::outcome::{Failure, Outcome, a, fail, mark, open};
use super::parsed::{Access, Reference};
use super::parser::did_you_mean;
use super::scope::Scope;

/// The value of a path, straight from the scope.
pub(super) fn look_up(scope: &dyn Scope, root: &str, path: &[Access], range: &Range<u32>) -> Outcome {
    match scope.lookup(root, path) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(absent(scope, root, path, range)),
        Err(message) => Err(fail(range, message).certain()),
    }
}

/// Why there is nothing at a path.
fn absent(scope: &dyn Scope, root: &str, path: &[Access], range: &Range<u32>) -> Failure {
    let name = |path: &[Access]| {
        Reference {
            root: Arc::from(root),
            path: path.to_vec(),
            range: 0..0,
        }
        .to_string()
    };
    let found = path.iter().enumerate().rev().find_map(|(at, access)| {
        let above = path.get(..at)?;
        let value = scope.lookup(root, above).ok().flatten()?;
        Some((above, value, access))
    });
    let Some((above, value, access)) = found else {
        let problem = fail(range, format!("`{}` is not declared", name(&[]))).certain();
        let mut all = scope.candidates(None);
        all.extend(["config", "stacks"].map(str::to_owned));
        let hint = match root {
            "each" => Some("`each` is there where `forEach` is set".to_owned()),
            "resources" | "resource" | "outputs" | "self" | "this" => {
                Some("a resource is named alone: `vpc.id`".to_owned())
            }
            "var" | "vars" | "variables" | "local" | "secrets" | "secret" => {
                Some("configuration and secrets are both under `config`: `config.name`".to_owned())
            }
            _ => did_you_mean(root, &all),
        };
        return problem.hint(hint);
    };
    let owner = name(above);
    let (inner, secret) = open(&value);
    let problem = match (&inner, access) {
        (Value::List(items), Access::Index(at)) => {
            if secret {
                fail(range, format!("`{owner}` has no such item"))
            } else {
                fail(
                    range,
                    format!("`{owner}` has {} items, there is no [{at}]", items.len()),
                )
            }
        }
        (Value::Map(_) | Value::Unknown(_), Access::Key(key)) => {
            let mut candidates = if above.is_empty() && !secret {
                scope.candidates(Some(root))
            } else {
                Vec::new()
            };
            if !secret && let Value::Map(map) = &inner {
                candidates.extend(map.keys().map(ToString::to_string));
            }
            let hint = match (did_you_mean(key, &candidates), root, above) {
                (None, "config", []) => Some(format!("declare it: [config.{key}]")),
                (None, "stacks", []) => Some("name the stack under [references]".to_owned()),
                // A short list says more than a guess that is not there.
                (None, ..) if !secret && (1..=12).contains(&candidates.len()) => {
                    candidates.sort();
                    candidates.dedup();
                    Some(format!("it has {}", candidates.join(", ")))
                }
                (hint, ..) => hint,
            };
            fail(range, format!("`{owner}` has no `{key}`")).hint(hint)
        }
        (Value::Null, Access::Key(key)) if above.is_empty() => fail(
            range,
            format!("`{owner}` is not there, because its `if` is false: it has no `{key}`"),
        )
        .hint(Some(format!("such as {owner} == null ? \"\" : {owner}.{key}"))),
        (_, Access::Key(key)) => fail(range, format!("`{owner}` is {}, which has no `{key}`", a(&inner))),
        (_, Access::Index(_)) => fail(range, format!("`{owner}` is {}, not a list", a(&inner))),
    };
    problem.certain()
}

/// One step into a value that is not on a path of the scope.
pub(super) fn step(value: &Value, access: &Access, range: &Range<u32>, hide: bool) -> Outcome {
    match (value, access) {
        (Value::Unknown(_), _) => Ok(value.clone()),
        (Value::Opaque(_), _) => Ok(Value::unknown("").into_secret()),
        (Value::Secret(inner), _) => Ok(mark(step(inner, access, range, true)?, true)),
        (Value::Map(map), Access::Key(key)) => map.get(key).cloned().ok_or_else(|| {
            if hide {
                return fail(range, "the map has no such key");
            }
            let candidates: Vec<String> = map.keys().map(ToString::to_string).collect();
            fail(range, format!("the map has no `{key}`")).hint(did_you_mean(key, &candidates))
        }),
        (Value::List(items), Access::Index(at)) => usize::try_from(*at)
            .ok()
            .and_then(|at| items.get(at).cloned())
            .ok_or_else(|| {
                if hide {
                    return fail(range, "the list has no such item");
                }
                fail(
                    range,
                    format!("the list has {} items, there is no [{at}]", items.len()),
                )
            }),
        (Value::List(_), Access::Key(_)) => Err(fail(range, "the index of a list is an integer")),
        (Value::Map(_), Access::Index(_)) => Err(fail(range, "the key of a map is a string")),
        (other, Access::Key(key)) if !hide => Err(fail(range, format!("{} has no `{key}`", a(other)))),
        (other, _) => Err(fail(range, format!("{} has no items", a(other)))),
    }
}
