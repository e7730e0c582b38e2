//! JSON documents for programs. The events of a run are those of `apply`; these are the rest.

use epid_provider::Value;
use serde_json::json;

use super::plan::principal;
use super::tally::tally;
use crate::plan::{Action, Plan, estimate};

/// A plan: what changes and how, without the values it was made with.
pub(crate) fn document(plan: &Plan) -> serde_json::Value {
    let steps = principal(plan);
    let shown: Vec<serde_json::Value> = steps
        .iter()
        .map(|step| {
            json!({
                // Which comes first, the new one or the end of the old, is the order of the steps.
                "action": match step.action {
                    Action::Refill => Action::Replace,
                    action => action,
                },
                "urn": step.target.urn.as_str(),
                "kind": step.kind.as_str(),
                "source": step.source,
                "changes": step.changes,
                "options": step.options,
                "unmarked": step.unmarked,
                "gone": step.gone,
                "found": step.found,
            })
        })
        .collect();
    json!({
        "event": "plan",
        "project": plan.header.project,
        "stack": plan.header.stack,
        "world": plan.header.world,
        "serial": plan.header.serial,
        "tally": tally(plan, &steps),
        "empty": plan.is_empty(),
        "steps": shown,
        "drift": plan.drift,
        "expectedSeconds": estimate(plan).total.as_secs(),
    })
}

/// True where two plans show the same changes.
pub(crate) fn is_told_alike(one: &Plan, other: &Plan) -> bool {
    let [one, other] = [document(one), document(other)];
    ["steps", "drift"]
        .iter()
        .all(|part| one.get(part) == other.get(part))
}

/// A value as JSON. Secrets are `"(secret)"` unless they were asked for; what is not known is `null`.
pub(crate) fn shown_json(value: &Value, secrets: bool) -> serde_json::Value {
    match value {
        Value::Null | Value::Unknown(_) => serde_json::Value::Null,
        Value::Bool(b) => json!(b),
        Value::Int(n) => json!(n),
        Value::Float(n) => json!(n),
        Value::Str(text) => json!(text),
        Value::List(items) => items.iter().map(|item| shown_json(item, secrets)).collect(),
        Value::Map(map) => map
            .iter()
            .map(|(key, value)| (key.to_string(), shown_json(value, secrets)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Secret(inner) if secrets => shown_json(inner, secrets),
        Value::Secret(_) | Value::Opaque(_) => json!("(secret)"),
    }
}
