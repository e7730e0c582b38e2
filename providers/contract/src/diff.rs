//! Leaf changes between two values of a kind, by its schema: what an update must do, and whether it must replace.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::path::{Path, Segment};
use crate::schema::{Equality, Field, KindSchema, Object, Type};
use crate::value::{Map, Value};

/// The changes from one value to another.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Diff {
    /// Leaf changes in property order; empty means the same.
    pub changes: Vec<Change>,
}

/// One leaf that changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Where.
    pub path: Path,
    /// What happens to it.
    pub op: Op,
    /// The old value; `Null` for an addition.
    pub before: Value,
    /// The new value; `Null` for a removal.
    pub after: Value,
    /// Whether it forces a replacement.
    pub replace: Replace,
}

/// What happens to a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Op {
    /// It appears.
    Add,
    /// It gets another value.
    Change,
    /// It goes.
    Remove,
}

/// Whether a change forces a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Replace {
    /// It is done in place.
    No,
    /// Only if the value, not known yet, turns out different.
    IfChanged,
    /// Always.
    Yes,
}

impl Diff {
    /// True without changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The strongest replacement any change asks for.
    #[must_use]
    pub fn replace(&self) -> Replace {
        self.changes
            .iter()
            .map(|c| c.replace)
            .max()
            .unwrap_or(Replace::No)
    }
}

/// The changes from `before` to `after` by the schema of their kind.
///
/// Unknown values differ from everything. An element of a keyed list is found by its keys, a set's by its value.
#[must_use]
pub fn diff(schema: &KindSchema, before: &Value, after: &Value) -> Diff {
    let mut changes = Vec::new();
    object(&schema.inputs, before, after, &Path::root(), false, &mut changes);
    Diff { changes }
}

/// The changes from `applied` to `observed` at the paths that were applied: what somebody else did.
///
/// What the program never set is not drift, nor is a write-only field.
#[must_use]
pub fn drift(schema: &KindSchema, applied: &Value, observed: &Value) -> Diff {
    let seen = restrict(&Type::Object(Arc::new(schema.inputs.clone())), applied, observed);
    let mut all = diff(schema, applied, &seen);
    all.changes
        .retain(|change| !write_only(&schema.inputs, change.path.segments()));
    all
}

fn write_only(object: &Object, segments: &[Segment]) -> bool {
    let Some((Segment::Key(key), rest)) = segments.split_first() else {
        return false;
    };
    object.field(key).is_some_and(|field| {
        field.write_only
            || match &field.ty {
                Type::Object(inner) => write_only(inner, rest),
                Type::Keyed(inner, _) => rest
                    .split_first()
                    .is_some_and(|(_, rest)| write_only(inner, rest)),
                _ => false,
            }
    })
}

/// `observed` cut down to what `applied` mentions.
fn restrict(ty: &Type, applied: &Value, observed: &Value) -> Value {
    match (applied.expose(), observed.expose()) {
        (Value::Map(a), Value::Map(o)) => Value::map(a.iter().filter_map(|(key, value)| {
            let inner = inner_type(ty, key);
            o.get(key)
                .map(|seen| (key.clone(), restrict(&inner, value, seen)))
        })),
        (Value::List(a), Value::List(o)) => {
            if let Type::Keyed(object, keys) = ty {
                let wanted: BTreeMap<String, &Value> = a
                    .iter()
                    .map(|v| (element_key(v, object, keys, None), v))
                    .collect();
                let inner = Type::Object(object.clone());
                Value::list(o.iter().filter_map(|seen| {
                    wanted
                        .get(&element_key(seen, object, keys, None))
                        .map(|value| restrict(&inner, value, seen))
                }))
            } else if let Type::List(item) = ty
                && a.len() == o.len()
            {
                Value::list(a.iter().zip(o.iter()).map(|(a, o)| restrict(item, a, o)))
            } else {
                observed.clone()
            }
        }
        _ => observed.clone(),
    }
}

fn inner_type(ty: &Type, key: &str) -> Type {
    match ty {
        Type::Object(object) => object.field(key).map_or(Type::Any, |f| f.ty.clone()),
        Type::Map(item) => (**item).clone(),
        _ => Type::Any,
    }
}

fn object(
    schema: &Object,
    before: &Value,
    after: &Value,
    at: &Path,
    immutable: bool,
    changes: &mut Vec<Change>,
) {
    let empty = Map::default();
    let (b, a) = (
        before.expose().as_map().unwrap_or(&empty),
        after.expose().as_map().unwrap_or(&empty),
    );
    let keys: std::collections::BTreeSet<&Arc<str>> = b.keys().chain(a.keys()).collect();
    let free = Field::new("", Type::Any);
    for key in keys {
        let field = schema.field(key).unwrap_or(&free);
        let path = at.join(Segment::Key(key.clone()));
        let old = b.get(key).or(field.default.as_ref()).unwrap_or(&Value::Null);
        let new = a.get(key).or(field.default.as_ref()).unwrap_or(&Value::Null);
        value(field, old, new, &path, immutable || field.immutable, changes);
    }
}

fn value(field: &Field, old: &Value, new: &Value, path: &Path, immutable: bool, changes: &mut Vec<Change>) {
    if old == new && !new.has_unknown() {
        return;
    }
    if let Equality::By(same) = field.equality
        && !old.has_unknown()
        && !new.has_unknown()
        && !matches!((old, new), (Value::Opaque(_), _) | (_, Value::Opaque(_)))
        && same(old.expose(), new.expose())
    {
        return;
    }
    if old.expose() == new.expose() && !new.has_unknown() {
        return;
    }
    let hidden = matches!(old, Value::Secret(_)) || matches!(new, Value::Secret(_));
    match (&field.ty, old.expose(), new.expose()) {
        _ if hidden => leaf(old, new, path, immutable, changes),
        (Type::Object(inner), Value::Map(_), Value::Map(_)) => {
            object(inner, old, new, path, immutable, changes);
        }
        (Type::Map(item), Value::Map(_), Value::Map(_)) => {
            let each = Object {
                fields: Vec::new(),
                open: true,
            };
            let item = Field {
                equality: field.equality,
                ..Field::new("", (**item).clone())
            };
            map(&item, &each, old, new, path, immutable, changes);
        }
        (Type::Any, Value::Map(_), Value::Map(_)) => {
            object(&Object::any(), old, new, path, immutable, changes);
        }
        (Type::Set(item), Value::List(b), Value::List(a)) => set(item, b, a, path, immutable, changes),
        (Type::Keyed(inner, keys), Value::List(b), Value::List(a)) => {
            keyed(inner, keys, b, a, path, immutable, changes);
        }
        // The rule is about the list as a whole, and says that it is another one.
        (Type::List(_), Value::List(_), Value::List(_)) if matches!(field.equality, Equality::By(_)) => {
            leaf(old, new, path, immutable, changes);
        }
        (Type::List(item), Value::List(b), Value::List(a)) => {
            list(&Field::new("", (**item).clone()), b, a, path, immutable, changes);
        }
        (Type::Any, Value::List(b), Value::List(a)) => {
            list(&Field::new("", Type::Any), b, a, path, immutable, changes);
        }
        (Type::IntOrString | Type::Any, Value::Int(n), Value::Str(s))
        | (Type::IntOrString | Type::Any, Value::Str(s), Value::Int(n))
            if matches!(field.ty, Type::IntOrString) && n.to_string() == **s => {}
        (_, Value::Int(i), Value::Float(f)) | (_, Value::Float(f), Value::Int(i)) if same_number(*i, *f) => {}
        _ => leaf(old, new, path, immutable, changes),
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "a whole float means the same as the integer"
)]
fn same_number(i: i64, f: f64) -> bool {
    i as f64 == f
}

fn map(
    item: &Field,
    each: &Object,
    old: &Value,
    new: &Value,
    path: &Path,
    immutable: bool,
    changes: &mut Vec<Change>,
) {
    debug_assert!(each.open, "a map has free keys");
    let empty = Map::default();
    let (b, a) = (
        old.expose().as_map().unwrap_or(&empty),
        new.expose().as_map().unwrap_or(&empty),
    );
    let keys: std::collections::BTreeSet<&Arc<str>> = b.keys().chain(a.keys()).collect();
    for key in keys {
        let at = path.join(Segment::Key(key.clone()));
        value(
            item,
            b.get(key).unwrap_or(&Value::Null),
            a.get(key).unwrap_or(&Value::Null),
            &at,
            immutable,
            changes,
        );
    }
}

fn list(item: &Field, b: &[Value], a: &[Value], path: &Path, immutable: bool, changes: &mut Vec<Change>) {
    for index in 0..b.len().max(a.len()) {
        let at = path.join(Segment::Index(index));
        value(
            item,
            b.get(index).unwrap_or(&Value::Null),
            a.get(index).unwrap_or(&Value::Null),
            &at,
            immutable,
            changes,
        );
    }
}

fn set(item: &Type, b: &[Value], a: &[Value], path: &Path, immutable: bool, changes: &mut Vec<Change>) {
    let canonical = |values: &[Value]| -> BTreeMap<String, Value> {
        values.iter().map(|v| (canonical_text(v), v.clone())).collect()
    };
    debug_assert!(!matches!(item, Type::Set(_)), "sets of sets have no use");
    let (b, a) = (canonical(b), canonical(a));
    let element = |v: &Value| match v.expose() {
        Value::Str(text) if !matches!(v, Value::Secret(_)) => Segment::Element(text.clone()),
        _ => Segment::Element(Arc::from("…")),
    };
    for (_, old) in b.iter().filter(|(k, _)| !a.contains_key(*k)) {
        leaf(old, &Value::Null, &path.join(element(old)), immutable, changes);
    }
    for (key, new) in &a {
        if !b.contains_key(key) || new.has_unknown() {
            leaf(&Value::Null, new, &path.join(element(new)), immutable, changes);
        }
    }
}

/// A text that is equal for equal values, secrets included; it is compared and never shown.
fn canonical_text(value: &Value) -> String {
    match value {
        Value::Secret(inner) => format!("secret:{}", canonical_text(inner)),
        Value::List(items) => format!(
            "[{}]",
            items.iter().map(canonical_text).collect::<Vec<_>>().join(",")
        ),
        Value::Map(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{k:?}:{}", canonical_text(v)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Opaque(digest) => format!("opaque:{digest}"),
        other => other.to_string(),
    }
}

/// The key of an element, with `unknown` in place of what is not known yet; a part that is not given takes its field's
/// default.
fn element_key(value: &Value, inner: &Object, keys: &[Arc<str>], unknown: Option<&str>) -> String {
    let default = |key: &Arc<str>| inner.field(key).and_then(|field| field.default.as_ref());
    let part = |key: &Arc<str>| match value.expose().get(key).or(default(key)).map(Value::expose) {
        Some(Value::Str(text)) => text.to_string(),
        Some(part) if part.has_unknown() => unknown.map_or_else(|| part.to_string(), str::to_owned),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    keys.iter()
        .map(part)
        .filter(|p| !p.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}

fn keyed(
    inner: &Object,
    keys: &[Arc<str>],
    b: &[Value],
    a: &[Value],
    path: &Path,
    immutable: bool,
    changes: &mut Vec<Change>,
) {
    let index = |values: &[Value]| -> BTreeMap<String, Value> {
        values
            .iter()
            .map(|v| (element_key(v, inner, keys, None), v.clone()))
            .collect()
    };
    let (b, a) = (index(b), index(a));
    let names: std::collections::BTreeSet<&String> = b.keys().chain(a.keys()).collect();
    for name in names {
        let shown = a.get(name).or(b.get(name));
        let shown = shown.map(|element| element_key(element, inner, keys, Some("…")));
        let at = path.join(Segment::Element(shown.unwrap_or_default().into()));
        match (b.get(name), a.get(name)) {
            (Some(old), Some(new)) => object(inner, old, new, &at, immutable, changes),
            (old, new) => leaf(
                old.unwrap_or(&Value::Null),
                new.unwrap_or(&Value::Null),
                &at,
                immutable,
                changes,
            ),
        }
    }
}

fn leaf(old: &Value, new: &Value, path: &Path, immutable: bool, changes: &mut Vec<Change>) {
    let op = match (old, new) {
        (Value::Null, _) => Op::Add,
        (_, Value::Null) => Op::Remove,
        _ => Op::Change,
    };
    let replace = match (immutable, new.has_unknown() || old.has_unknown()) {
        (false, _) => Replace::No,
        (true, true) => Replace::IfChanged,
        (true, false) => Replace::Yes,
    };
    // What a service tells of a secret is not marked: where one side is a secret, so is the other.
    let secret = |value: &Value| matches!(value, Value::Secret(_) | Value::Opaque(_));
    let hide = secret(old) || secret(new);
    let shown = |value: &Value| match value {
        Value::Null | Value::Unknown(_) => value.clone(),
        value if hide => value.clone().into_secret(),
        value => value.clone(),
    };
    changes.push(Change {
        path: path.clone(),
        op,
        before: shown(old),
        after: shown(new),
        replace,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::urn::Kind;

    fn schema() -> KindSchema {
        let rule = [Field::new("port", Type::Int), Field::new("cidr", Type::String)];
        KindSchema::new(
            Kind::parse("test:a:Thing").unwrap(),
            "",
            Object::of([
                Field::new("cidrBlock", Type::String).immutable(),
                Field::new("subnets", Type::set(Type::String)),
                Field::new("tags", Type::map(Type::String)),
                Field::new("rules", Type::keyed(&["port"], rule)),
                Field::new("dns", Type::Bool).default(true),
                Field::new("password", Type::String).secret().write_only(),
            ]),
        )
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn changed(before: &str, after: &str) -> Vec<String> {
        let d = diff(&schema(), &json(before), &json(after));
        d.changes
            .iter()
            .map(|c| {
                format!(
                    "{:?} {} {} -> {} {:?}",
                    c.op, c.path, c.before, c.after, c.replace
                )
            })
            .collect()
    }

    #[test]
    fn leaves_are_named_and_immutable_ones_replace() {
        assert_eq!(
            changed(
                r#"{"cidrBlock":"a","tags":{"x":"1","y":"2"}}"#,
                r#"{"cidrBlock":"b","tags":{"x":"1","y":"3"}}"#
            ),
            [
                r#"Change cidrBlock "a" -> "b" Yes"#,
                r#"Change tags.y "2" -> "3" No"#
            ]
        );
    }

    #[test]
    fn order_in_sets_and_keyed_lists_is_no_change() {
        assert!(changed(r#"{"subnets":["a","b"]}"#, r#"{"subnets":["b","a"]}"#).is_empty());
        assert_eq!(
            changed(
                r#"{"rules":[{"port":1,"cidr":"x"},{"port":2,"cidr":"y"}]}"#,
                r#"{"rules":[{"port":2,"cidr":"z"},{"port":1,"cidr":"x"}]}"#
            ),
            [r#"Change rules[2].cidr "y" -> "z" No"#]
        );
    }

    #[test]
    fn a_key_left_out_takes_its_default() {
        let port = [
            Field::new("port", Type::Int),
            Field::new("protocol", Type::String).default("TCP"),
        ];
        let schema = KindSchema::new(
            Kind::parse("test:a:Thing").unwrap(),
            "",
            Object::of([Field::new("ports", Type::keyed(&["port", "protocol"], port))]),
        );
        let (given, seen) = (
            json(r#"{"ports":[{"port":80}]}"#),
            json(r#"{"ports":[{"port":80,"protocol":"TCP"}]}"#),
        );
        assert!(diff(&schema, &given, &seen).is_empty());
        assert!(drift(&schema, &given, &seen).is_empty());
    }

    #[test]
    fn what_is_unknown_of_a_key_is_left_out_of_its_name() {
        let rule = [Field::new("port", Type::Int), Field::new("group", Type::String)];
        let schema = KindSchema::new(
            Kind::parse("test:a:Thing").unwrap(),
            "",
            Object::of([Field::new("rules", Type::keyed(&["port", "group"], rule))]),
        );
        let changes = diff(
            &schema,
            &json(r#"{"rules":[{"port":1,"group":"a"}]}"#),
            &json(r#"{"rules":[{"port":1,"group":{"$unknown":"web.id"}},{"port":1,"group":{"$unknown":"db.id"}}]}"#),
        )
        .changes;
        assert_eq!(
            changes.iter().map(|c| c.path.to_string()).collect::<Vec<_>>(),
            ["rules[1/…]", "rules[1/…]", "rules[1/a]"]
        );
    }

    #[test]
    fn the_rule_of_a_map_holds_for_its_values() {
        fn ignoring_case(a: &Value, b: &Value) -> bool {
            matches!((a.as_str(), b.as_str()), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b))
        }
        let limits = Field::new("limits", Type::map(Type::Any)).equality(Equality::By(ignoring_case));
        let schema = KindSchema::new(Kind::parse("test:a:Thing").unwrap(), "", Object::of([limits]));
        let changes = diff(
            &schema,
            &json(r#"{"limits":{"x":"a","y":"b"}}"#),
            &json(r#"{"limits":{"x":"A","y":"c"}}"#),
        )
        .changes;
        assert_eq!(
            changes.iter().map(|c| c.path.to_string()).collect::<Vec<_>>(),
            ["limits.y"]
        );
    }

    #[test]
    fn a_default_spelled_out_is_no_change() {
        assert!(changed("{}", r#"{"dns":true}"#).is_empty());
        assert!(changed(r#"{"dns":true}"#, "{}").is_empty());
        assert_eq!(changed("{}", r#"{"dns":false}"#), ["Change dns true -> false No"]);
    }

    #[test]
    fn an_unknown_value_of_an_immutable_field_replaces_only_if_it_changes() {
        assert_eq!(
            changed(r#"{"cidrBlock":"a"}"#, r#"{"cidrBlock":{"$unknown":"vpc.cidr"}}"#),
            [r#"Change cidrBlock "a" -> (known after vpc.cidr) IfChanged"#]
        );
    }

    #[test]
    fn an_equal_secret_is_no_change_and_a_changed_one_is_not_shown() {
        let secret = |text: &str| Value::map([("password", Value::str(text).into_secret())]);
        assert!(diff(&schema(), &secret("a"), &secret("a")).is_empty());
        let d = diff(&schema(), &secret("first"), &secret("second"));
        assert_eq!(d.changes.len(), 1);
        assert!(!format!("{d:?}").contains("first") && !format!("{d:?}").contains("second"));
    }

    #[test]
    fn drift_looks_only_where_something_was_applied() {
        let applied = json(r#"{"tags":{"x":"1"},"rules":[{"port":1,"cidr":"x"}],"password":"p"}"#);
        let seen = json(r#"{"cidrBlock":"q","tags":{"x":"2","aws:z":"1"},"rules":[{"port":9,"cidr":"n"}]}"#);
        let found: Vec<String> = drift(&schema(), &applied, &seen)
            .changes
            .iter()
            .map(|c| format!("{:?} {}", c.op, c.path))
            .collect();
        assert_eq!(found, ["Remove rules[1]", "Change tags.x"]);
    }

    #[test]
    fn what_replaced_a_secret_is_hidden_too() {
        let any = KindSchema::new(Kind::parse("test:a:Any").unwrap(), "", Object::any());
        let one = |value: Value| Value::map([("key", value)]);
        let changes = diff(
            &any,
            &one(Value::str("mine").into_secret()),
            &one(Value::str("theirs")),
        )
        .changes;
        assert!(!format!("{changes:?}").contains("theirs"), "{changes:?}");
    }

    #[test]
    fn a_rule_of_a_list_is_about_the_list() {
        fn same_length(a: &Value, b: &Value) -> bool {
            a.as_list().map(<[Value]>::len) == b.as_list().map(<[Value]>::len)
        }
        let pods = Field::new(
            "pods",
            Type::list(Type::object([Field::new("name", Type::String)])),
        )
        .immutable()
        .equality(Equality::By(same_length));
        let schema = KindSchema::new(Kind::parse("a:b:C").unwrap(), "", Object::of([pods]));
        let of = |names: &[&str]| {
            let pods = names.iter().map(|name| Value::map([("name", Value::str(name))]));
            Value::map([("pods", Value::list(pods))])
        };
        assert!(diff(&schema, &of(&["a", "b"]), &of(&["b", "c"])).is_empty());
        let changes = diff(&schema, &of(&["a"]), &of(&["a", "b"])).changes;
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!(
            (changes[0].path.to_string().as_str(), changes[0].replace),
            ("pods", Replace::Yes)
        );
    }
}
