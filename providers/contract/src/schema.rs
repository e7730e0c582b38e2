//! What a kind looks like: its input fields, its outputs, and how long it takes.

use std::sync::Arc;
use std::time::Duration;

use crate::path::{Path, Segment};
use crate::urn::Kind;
use crate::value::{Map, Value};

/// Everything the engine needs to know of a kind without asking a cloud.
#[derive(Debug, Clone)]
pub struct KindSchema {
    /// The kind.
    pub kind: Kind,
    /// One sentence for people.
    pub doc: Arc<str>,
    /// What may be declared.
    pub inputs: Object,
    /// What is known afterwards, beyond the inputs.
    pub outputs: Vec<Output>,
    /// True for a lookup: it is read, never created, and its outputs are pinned in the state.
    pub lookup: bool,
    /// True where the cloud refuses to delete it as long as something is there that names it: a security group in a rule of
    /// another, a policy that a role has.
    pub held: bool,
    /// The mutex its create, update and delete hold, where the service works on one at a time.
    pub mutex: Option<Mutex>,
    /// How long its operations usually take.
    pub expected: Durations,
    /// How long its operations may take, unless the program says otherwise.
    pub timeouts: Durations,
}

impl KindSchema {
    /// The schema of a kind whose operations take a second and may take two minutes, without outputs.
    #[must_use]
    pub fn new(kind: Kind, doc: &str, inputs: Object) -> Self {
        let all = |seconds| {
            let d = Duration::from_secs(seconds);
            Durations {
                create: d,
                update: d,
                delete: d,
            }
        };
        Self {
            kind,
            doc: Arc::from(doc),
            inputs,
            outputs: Vec::new(),
            lookup: false,
            held: false,
            mutex: None,
            expected: all(1),
            timeouts: all(120),
        }
    }

    /// `inputs` with every value of a secret field marked, whatever the program says.
    #[must_use]
    pub fn mark_inputs(&self, inputs: &Value) -> Value {
        mark_object(&self.inputs, inputs).unwrap_or_else(|| inputs.clone())
    }

    /// `outputs` with every secret output marked, and every text that repeats a secret of `inputs`, as an ARN does, unless it
    /// stands in the inputs in clear too.
    #[must_use]
    pub fn mark_outputs(&self, outputs: &Value, inputs: &Value) -> Value {
        let secret = self.outputs.iter().filter(|output| output.secret);
        let marked = secret.fold(outputs.clone(), |marked, output| {
            mark_at(&marked, output.path.segments())
        });
        let (mut secrets, mut clear) = (Vec::new(), Vec::new());
        texts(inputs, false, &mut secrets, &mut clear);
        secrets.retain(|text| text.chars().count() >= SHORTEST);
        if secrets.is_empty() {
            return marked;
        }
        marked.replaced(&mut |value| match value {
            Value::Secret(_) => Some(value.clone()),
            Value::Str(text) => (!clear.contains(&&**text)
                && secrets.iter().any(|secret| text.contains(*secret)))
            .then(|| value.clone().into_secret()),
            _ => None,
        })
    }
}

/// A secret text that is shorter is in too many others by chance.
const SHORTEST: usize = 8;

/// The texts of `value`: those in its secrets, and the others.
fn texts<'a>(value: &'a Value, is_secret: bool, secrets: &mut Vec<&'a str>, clear: &mut Vec<&'a str>) {
    match value {
        Value::Secret(inner) => texts(inner, true, secrets, clear),
        Value::Str(text) if is_secret => secrets.push(text),
        Value::Str(text) => clear.push(text),
        Value::List(items) => items
            .iter()
            .for_each(|item| texts(item, is_secret, secrets, clear)),
        Value::Map(map) => map
            .iter()
            .for_each(|(_, item)| texts(item, is_secret, secrets, clear)),
        _ => {}
    }
}

/// `value` with the secrets of an object marked; `None` where there are none.
fn mark_object(object: &Object, value: &Value) -> Option<Value> {
    let map = value.as_map()?;
    let marked = |key: &str, inner: &Value| {
        let field = object.field(key)?;
        if field.secret && !inner.is_null() && !matches!(inner, Value::Secret(_) | Value::Opaque(_)) {
            Some(inner.replaced(&mut bare).into_secret())
        } else {
            mark(&field.ty, inner)
        }
    };
    mark_entries(map, marked)
}

fn mark_entries(map: &Map, mut marked: impl FnMut(&str, &Value) -> Option<Value>) -> Option<Value> {
    let changes: Vec<Option<Value>> = map.iter().map(|(key, inner)| marked(key, inner)).collect();
    changes.iter().any(Option::is_some).then(|| {
        let entries = map.iter().zip(changes);
        Value::map(entries.map(|((key, old), new)| (key.clone(), new.unwrap_or_else(|| old.clone()))))
    })
}

fn mark(ty: &Type, value: &Value) -> Option<Value> {
    match (ty, value) {
        (Type::Object(object), Value::Map(_)) => mark_object(object, value),
        (Type::Map(item), Value::Map(map)) => mark_entries(map, |_, inner| mark(item, inner)),
        (Type::List(item) | Type::Set(item), Value::List(items)) => {
            mark_items(items, |inner| mark(item, inner))
        }
        (Type::Keyed(object, _), Value::List(items)) => mark_items(items, |inner| mark_object(object, inner)),
        _ => None,
    }
}

fn mark_items(items: &[Value], marked: impl FnMut(&Value) -> Option<Value>) -> Option<Value> {
    let changes: Vec<Option<Value>> = items.iter().map(marked).collect();
    changes.iter().any(Option::is_some).then(|| {
        Value::list(
            items
                .iter()
                .zip(changes)
                .map(|(old, new)| new.unwrap_or_else(|| old.clone())),
        )
    })
}

/// `value` with what stands at `path` marked.
fn mark_at(value: &Value, path: &[Segment]) -> Value {
    match (value, path.split_first()) {
        (Value::Null | Value::Secret(_), _) => value.clone(),
        (_, None) => value.replaced(&mut bare).into_secret(),
        (Value::Map(map), Some((Segment::Key(key), rest))) => match map.get(key) {
            Some(inner) => Value::Map(map.with(key, mark_at(inner, rest))),
            None => value.clone(),
        },
        _ => value.clone(),
    }
}

/// What stands inside of a secret is not itself one.
fn bare(value: &Value) -> Option<Value> {
    if let Value::Secret(inner) = value {
        Some((**inner).clone())
    } else {
        None
    }
}

/// Which steps exclude each other: those of equal class and equal value of the property.
#[derive(Debug, Clone)]
pub struct Mutex {
    /// What is serialised: `eks-cluster`.
    pub class: Arc<str>,
    /// The input whose value names the instance: `clusterName`.
    pub property: Arc<str>,
}

/// A time for each operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durations {
    /// Of a create.
    pub create: Duration,
    /// Of an update.
    pub update: Duration,
    /// Of a delete.
    pub delete: Duration,
}

/// The fields of a map with known keys.
#[derive(Debug, Clone, Default)]
pub struct Object {
    /// The fields, in the order a person reads them.
    pub fields: Vec<Field>,
    /// True where keys beyond the fields are taken as they are.
    pub open: bool,
}

impl Object {
    /// An object of exactly these fields.
    #[must_use]
    pub fn of(fields: impl IntoIterator<Item = Field>) -> Self {
        Self {
            fields: fields.into_iter().collect(),
            open: false,
        }
    }

    /// An object that takes any key.
    #[must_use]
    pub fn any() -> Self {
        Self {
            fields: Vec::new(),
            open: true,
        }
    }

    /// The field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| &*f.name == name)
    }
}

/// One input.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent properties of a field, each named where it is set"
)]
pub struct Field {
    /// The camelCase name.
    pub name: Arc<str>,
    /// What it takes.
    pub ty: Type,
    /// One sentence for people; may be empty where the name says it all.
    pub doc: Arc<str>,
    /// It must be given.
    pub required: bool,
    /// A change means replacement.
    pub immutable: bool,
    /// It is treated as a secret whatever the program says.
    pub secret: bool,
    /// The service never gives it back: drift of it cannot be seen.
    pub write_only: bool,
    /// Two live resources cannot have the same value: a replacement that keeps it deletes first.
    pub exclusive: bool,
    /// It is part of what the cloud calls the resource, and shown to everybody who may list it: no secret.
    pub in_name: bool,
    /// When two values mean the same.
    pub equality: Equality,
    /// What the service takes where it is not given: a removal that ends there is no change.
    pub default: Option<Value>,
}

impl Field {
    /// An optional, mutable field.
    #[must_use]
    pub fn new(name: &str, ty: Type) -> Self {
        Self {
            name: Arc::from(name),
            ty,
            doc: Arc::from(""),
            required: false,
            immutable: false,
            secret: false,
            write_only: false,
            exclusive: false,
            in_name: false,
            equality: Equality::Exact,
            default: None,
        }
    }

    /// With a sentence for people.
    #[must_use]
    pub fn doc(mut self, doc: &str) -> Self {
        self.doc = Arc::from(doc);
        self
    }

    /// It must be given.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// A change means replacement.
    #[must_use]
    pub fn immutable(mut self) -> Self {
        self.immutable = true;
        self
    }

    /// It is a secret.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The service never gives it back.
    #[must_use]
    pub fn write_only(mut self) -> Self {
        self.write_only = true;
        self
    }

    /// Two live resources cannot have the same value.
    #[must_use]
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// It is part of what the cloud calls the resource.
    #[must_use]
    pub fn in_name(mut self) -> Self {
        self.in_name = true;
        self
    }

    /// Two values mean the same by this rule.
    #[must_use]
    pub fn equality(mut self, equality: Equality) -> Self {
        self.equality = equality;
        self
    }

    /// What the service takes where it is not given.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }
}

/// What a field takes.
#[derive(Debug, Clone)]
pub enum Type {
    /// Anything.
    Any,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// Any number.
    Float,
    /// A text.
    String,
    /// A text out of a closed list.
    Enum(Arc<[Arc<str>]>),
    /// A list in which order matters.
    List(Arc<Type>),
    /// A list in which order and repetition do not matter.
    Set(Arc<Type>),
    /// A list of objects known by the values of these keys, in which order does not matter.
    Keyed(Arc<Object>, Arc<[Arc<str>]>),
    /// A map with free keys.
    Map(Arc<Type>),
    /// A map with known keys.
    Object(Arc<Object>),
    /// A text or a whole number (Kubernetes' `IntOrString`).
    IntOrString,
}

impl Type {
    /// A list of `item`.
    #[must_use]
    pub fn list(item: Type) -> Self {
        Self::List(Arc::new(item))
    }

    /// A set of `item`.
    #[must_use]
    pub fn set(item: Type) -> Self {
        Self::Set(Arc::new(item))
    }

    /// A map of `item`.
    #[must_use]
    pub fn map(item: Type) -> Self {
        Self::Map(Arc::new(item))
    }

    /// A map with these fields.
    #[must_use]
    pub fn object(fields: impl IntoIterator<Item = Field>) -> Self {
        Self::Object(Arc::new(Object::of(fields)))
    }

    /// A list of objects known by `keys`.
    #[must_use]
    pub fn keyed(keys: &[&str], fields: impl IntoIterator<Item = Field>) -> Self {
        Self::Keyed(
            Arc::new(Object::of(fields)),
            keys.iter().map(|k| Arc::from(*k)).collect(),
        )
    }

    /// A text out of `values`.
    #[must_use]
    pub fn one_of(values: &[&str]) -> Self {
        Self::Enum(values.iter().map(|v| Arc::from(*v)).collect())
    }

    /// The word for messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Any => "anything".into(),
            Self::Bool => "boolean".into(),
            Self::Int => "integer".into(),
            Self::Float => "number".into(),
            Self::String => "string".into(),
            Self::Enum(values) => values.join(" | "),
            Self::List(item) | Self::Set(item) => format!("list of {}", item.names()),
            Self::Keyed(..) => "list of maps".into(),
            Self::Map(item) => format!("map of {}", item.names()),
            Self::Object(_) => "map".into(),
            Self::IntOrString => "integer or string".into(),
        }
    }

    /// The word for several of the type.
    fn names(&self) -> String {
        match self {
            Self::Any => "anything".into(),
            Self::Enum(_) => self.name(),
            Self::List(item) | Self::Set(item) => format!("lists of {}", item.names()),
            Self::Keyed(..) => "lists of maps".into(),
            Self::Map(item) => format!("maps of {}", item.names()),
            Self::IntOrString => "integers or strings".into(),
            Self::Bool | Self::Int | Self::Float | Self::String | Self::Object(_) => {
                format!("{}s", self.name())
            }
        }
    }
}

/// When two values of a field mean the same.
#[derive(Debug, Clone, Copy)]
pub enum Equality {
    /// Equal values only.
    Exact,
    /// The provider's own rule, such as one for IAM policy documents or Kubernetes quantities. It is asked only for
    /// values in which everything is known.
    By(fn(&Value, &Value) -> bool),
}

/// One output.
#[derive(Debug, Clone)]
pub struct Output {
    /// Where it stands in the outputs: `arn`, `status.loadBalancer`.
    pub path: Path,
    /// One sentence for people.
    pub doc: Arc<str>,
    /// It is treated as a secret.
    pub secret: bool,
    /// The inputs whose change in an update may change it: their names, or `*` for any. Empty: an update keeps it.
    pub changes_with: Arc<[Arc<str>]>,
}

impl Output {
    /// An output that every update keeps. `path` in the spelling of [`Path`]; one that cannot be read is one key.
    #[must_use]
    pub fn new(path: &str, doc: &str) -> Self {
        Self {
            path: path.parse().unwrap_or_else(|_| Path::root().key(path)),
            doc: Arc::from(doc),
            secret: false,
            changes_with: Arc::from([]),
        }
    }

    /// It is a secret.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// An update that changes one of `inputs` (`*`: any) may change it.
    #[must_use]
    pub fn changes_with(mut self, inputs: &[&str]) -> Self {
        self.changes_with = inputs.iter().map(|i| Arc::from(*i)).collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_fields_and_outputs_are_marked_at_any_depth() {
        let user = [
            Field::new("name", Type::String),
            Field::new("key", Type::String).secret(),
        ];
        let mut schema = KindSchema::new(
            Kind::parse("test:a:Thing").unwrap(),
            "",
            Object::of([
                Field::new("password", Type::String).secret(),
                Field::new("users", Type::keyed(&["name"], user)),
            ]),
        );
        schema.outputs = vec![Output::new("login.token", "").secret()];
        let inputs: Value =
            serde_json::from_str(r#"{"password":"p","users":[{"name":"a","key":"k"},{"name":"b"}]}"#)
                .unwrap();
        let marked = schema.mark_inputs(&inputs);
        assert_eq!(
            marked.to_string(),
            r#"{password: (secret), users: [{key: (secret), name: "a"}, {name: "b"}]}"#
        );
        assert_eq!(schema.mark_inputs(&marked), marked, "twice is once");
        let outputs: Value = serde_json::from_str(r#"{"login":{"token":"t","user":"u"}}"#).unwrap();
        assert_eq!(
            schema.mark_outputs(&outputs, &inputs).to_string(),
            r#"{login: {token: (secret), user: "u"}}"#
        );
        let inputs = Value::map([
            ("users", Value::list([Value::str("hidden-7").into_secret()])),
            ("name", Value::str("hidden-7-b")),
        ]);
        let outputs: Value = serde_json::from_str(
            r#"{"arn":"a:hidden-7/b","list":["hidden-7","hide"],"name":"hidden-7-b","login":{"token":"t"}}"#,
        )
        .unwrap();
        assert_eq!(
            schema.mark_outputs(&outputs, &inputs).to_string(),
            r#"{arn: (secret), list: [(secret), "hide"], login: {token: (secret)}, name: "hidden-7-b"}"#
        );
    }
}
