//! What others changed: live properties against applied ones, without what the server made of them by itself.
//!
//! Only what was applied is compared: defaults and fields of others are no drift. A field that was applied with its
//! empty value (`false`, `0`, `""`, `[]`, `{}`) and is not there is the same as applied: the server leaves such out.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use epid_provider::{Diff, Field, KindSchema, Object, Type, Value, diff};

/// The drift of an object.
pub(crate) fn drift(schema: &KindSchema, applied: &Value, live: &Value) -> Diff {
    let (applied, live) = in_clear(applied, live).unwrap_or_else(|| (folded(applied), live.clone()));
    let applied = schema.mark_inputs(&applied);
    let seen = in_object(&schema.inputs, &applied, &live);
    diff(schema, &applied, &seen)
}

/// A Secret that was given as `stringData`, and the live one as it would be given so: drift is told of what the program declares.
/// `None` for everything else, and where somebody put there what is no text.
fn in_clear(applied: &Value, live: &Value) -> Option<(Value, Value)> {
    let (given, seen) = (applied.as_map()?, live.expose().as_map()?);
    let clear = given.get("stringData")?.expose().as_map()?;
    let kept = seen.get("data").and_then(|data| data.expose().as_map());
    let kept = kept.map_or(&[][..], |data| data.entries());
    let (texts, rest): (Vec<_>, Vec<_>) = kept
        .iter()
        .cloned()
        .partition(|(key, _)| clear.get(key).is_some());
    let text = |(key, packed): (Arc<str>, Value)| {
        let bytes = STANDARD.decode(packed.expose().as_str()?).ok()?;
        Some((key, Value::str(&String::from_utf8(bytes).ok()?)))
    };
    let texts: Vec<(Arc<str>, Value)> = texts.into_iter().map(text).collect::<Option<_>>()?;
    let live = seen
        .with("data", Value::map(rest).into_secret())
        .with("stringData", Value::map(texts).into_secret());
    // The server lets `stringData` win.
    let applied = match given.get("data").map(Value::expose) {
        Some(Value::Map(data)) => {
            let others = data.iter().filter(|(key, _)| clear.get(key).is_none());
            let others = others.map(|(key, value)| (key.clone(), value.clone()));
            given.with("data", Value::map(others).into_secret())
        }
        _ => given.clone(),
    };
    Some((Value::Map(applied), Value::Map(live)))
}

/// A Secret as the server keeps it: `stringData` in base64 in `data`. Everything else, and a Secret of which only a
/// digest is at hand, stays as it is.
pub(crate) fn folded(properties: &Value) -> Value {
    let (Some(map), Some(clear)) = (properties.as_map(), properties.get("stringData")) else {
        return properties.clone();
    };
    let data = map.get("data").unwrap_or(&Value::Null);
    let (Some(clear), true) = (
        clear.expose().as_map(),
        matches!(data.expose(), Value::Map(_) | Value::Null),
    ) else {
        return properties.clone();
    };
    let packed = clear.iter().map(|(key, value)| {
        let value = match value.expose() {
            Value::Str(text) => Value::str(&STANDARD.encode(&**text)),
            other => other.clone(),
        };
        (key.clone(), value)
    });
    let given = data
        .expose()
        .as_map()
        .into_iter()
        .flat_map(|d| d.entries().iter().cloned());
    let data: Vec<(Arc<str>, Value)> = given.chain(packed).collect();
    Value::Map(
        map.without("stringData")
            .with("data", Value::map(data).into_secret()),
    )
}

fn in_object(object: &Object, applied: &Value, live: &Value) -> Value {
    let any = Type::Any;
    each(applied, live, |key| {
        object.field(key).map_or(&any, |field: &Field| &field.ty)
    })
}

/// `live` cut down to what `applied` mentions, in the order of `applied`.
fn project(ty: &Type, applied: &Value, live: &Value) -> Value {
    match (ty, applied.expose(), live.expose()) {
        (Type::Object(object), Value::Map(_), Value::Map(_)) => in_object(object, applied, live),
        (Type::Map(item), Value::Map(_), Value::Map(_)) => each(applied, live, |_| item),
        (_, Value::Map(_), Value::Map(_)) => each(applied, live, |_| &Type::Any),
        (Type::Keyed(object, keys), Value::List(a), Value::List(l)) => {
            let name = |item: &Value| -> Vec<String> {
                keys.iter()
                    .map(|key| {
                        let default = object.field(key).and_then(|f| f.default.as_ref());
                        item.expose()
                            .get(key)
                            .or(default)
                            .map(ToString::to_string)
                            .unwrap_or_default()
                    })
                    .collect()
            };
            let found: BTreeMap<Vec<String>, &Value> = l.iter().map(|item| (name(item), item)).collect();
            Value::list(
                a.iter()
                    .filter_map(|item| found.get(&name(item)).map(|live| in_object(object, item, live))),
            )
        }
        (ty, Value::List(a), Value::List(l)) if a.len() == l.len() => {
            let item = match ty {
                Type::List(item) => item,
                Type::Set(_) => return live.clone(),
                _ => &Type::Any,
            };
            Value::list(a.iter().zip(l.iter()).map(|(a, l)| project(item, a, l)))
        }
        _ => live.clone(),
    }
}

fn each<'t>(applied: &Value, live: &Value, ty: impl Fn(&str) -> &'t Type) -> Value {
    let (Some(a), Some(l)) = (applied.expose().as_map(), live.expose().as_map()) else {
        return live.clone();
    };
    let seen = Value::map(a.iter().filter_map(|(key, value)| match l.get(key) {
        Some(live) => Some((key.clone(), project(ty(key), value, live))),
        None if is_empty(value) => Some((key.clone(), value.clone())),
        None => None,
    }));
    if matches!(applied, Value::Secret(_)) {
        seen.into_secret()
    } else {
        seen
    }
}

fn is_empty(value: &Value) -> bool {
    match value.expose() {
        Value::Null | Value::Bool(false) | Value::Int(0) => true,
        Value::Str(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(map) => map.iter().all(|(_, inner)| is_empty(inner)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use epid_provider::Kind;
    use proptest::prelude::*;

    use super::*;

    fn found(kind: &str, applied: &str, live: &str) -> Vec<String> {
        let schema = crate::schema::schema(&Kind::parse(kind).unwrap()).unwrap();
        let json = |text| serde_json::from_str::<Value>(text).unwrap();
        let changes = drift(&schema, &json(applied), &json(live)).changes;
        changes
            .iter()
            .map(|c| format!("{} {} -> {}", c.path, c.before, c.after))
            .collect()
    }

    #[test]
    fn defaults_and_fields_of_others_are_no_drift() {
        let applied =
            r#"{"spec":{"hostNetwork":false,"ports":[{"port":80,"targetPort":"8080"}],"type":"NodePort"}}"#;
        let live = r#"{"spec":{"clusterIP":"10.0.0.1","ports":[{"port":80,"protocol":"TCP","targetPort":8080,"nodePort":3}],"type":"ClusterIP"}}"#;
        assert_eq!(
            found("kubernetes:v1:Service", applied, live),
            [r#"spec.type "NodePort" -> "ClusterIP""#]
        );
    }

    #[test]
    fn an_element_that_somebody_took_out_is_drift_and_one_put_in_is_not() {
        let of = |names: &[&str]| {
            let items: Vec<String> = names
                .iter()
                .map(|n| format!(r#"{{"name":"{n}","image":"i"}}"#))
                .collect();
            format!(
                r#"{{"spec":{{"template":{{"spec":{{"containers":[{}]}}}}}}}}"#,
                items.join(",")
            )
        };
        let kind = "kubernetes:apps/v1:Deployment";
        assert!(found(kind, &of(&["a"]), &of(&["sidecar", "a"])).is_empty());
        assert_eq!(found(kind, &of(&["a", "b"]), &of(&["b"])).len(), 1);
    }

    #[test]
    fn lists_of_kinds_without_schema_are_compared_item_by_item() {
        let kind = "kubernetes:example.com/v1:Widget";
        let applied = r#"{"spec":{"rules":[{"a":1}]}}"#;
        assert!(found(kind, applied, r#"{"spec":{"rules":[{"a":1,"defaulted":true}]}}"#).is_empty());
        assert_eq!(
            found(kind, applied, r#"{"spec":{"rules":[{"a":2}]}}"#),
            ["spec.rules[0].a 1 -> 2"]
        );
    }

    #[test]
    fn text_in_clear_is_compared_with_what_the_server_keeps() {
        let applied = r#"{"data":{"user":"YQ=="},"stringData":{"password":"b"}}"#;
        let kind = "kubernetes:v1:Secret";
        assert!(
            found(
                kind,
                applied,
                r#"{"data":{"user":"YQ==","password":"Yg==","more":"x"}}"#
            )
            .is_empty()
        );
        assert_eq!(
            found(kind, applied, r#"{"data":{"user":"YQ==","password":"Yw=="}}"#),
            ["stringData (secret) -> (secret)"],
            "told of what is declared, and never shown"
        );
        assert_eq!(
            found(kind, applied, r#"{"data":{"user":"Yw==","password":"Yg=="}}"#),
            ["data (secret) -> (secret)"]
        );
        let gone = found(kind, applied, r#"{"data":{"user":"YQ=="}}"#);
        assert_eq!(gone, ["stringData (secret) -> (secret)"]);
        let twice = r#"{"data":{"password":"eA=="},"stringData":{"password":"b"}}"#;
        assert!(found(kind, twice, r#"{"data":{"password":"Yg=="}}"#).is_empty());
        let no_text = found(kind, applied, r#"{"data":{"user":"YQ==","password":"/w=="}}"#);
        assert_eq!(no_text.len(), 1);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i8>().prop_map(|n| Value::Int(n.into())),
            "[a-z]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::list),
                prop::collection::vec(("[a-z]{1,3}", inner), 0..4).prop_map(Value::map),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_drifts_from_itself(spec in any_value()) {
            let schema = crate::schema::schema(&Kind::parse("kubernetes:example.com/v1:Widget").unwrap()).unwrap();
            let value = Value::map([("spec", spec)]);
            prop_assert!(drift(&schema, &value, &value).is_empty());
        }
    }
}
