//! The shape of every kind: which fields exist, what they hold and how server-side apply merges them.
//!
//! Built-in kinds come from the table that `epid-kubernetes` carries, made from a real server's OpenAPI
//! documents; kinds of CustomResourceDefinitions from their structural schemas.

use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

const TABLE: &str = include_str!("../../../kubernetes/src/schema/table.txt");

/// Objects that are owned and replaced as a whole (`x-kubernetes-map-type: atomic` of the OpenAPI documents).
const ATOMIC: [&str; 24] = [
    "ConfigMapKeySelector",
    "CrossVersionObjectReference",
    "EndpointAddress",
    "FileKeySelector",
    "LabelSelector",
    "LocalObjectReference",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ObjectReference",
    "OwnerReference",
    "ResourceFieldSelector",
    "RoleRef",
    "ScopeSelector",
    "SecretKeySelector",
    "SecretReference",
    "ServiceBackendPort",
    "TopologySelectorTerm",
    "TypedLocalObjectReference",
    "core.v1.EndpointPort",
    "discovery.v1.EndpointPort",
    "events.v1.ServiceReference",
    "rbac.v1.Subject",
    "autoscaling.v2.CrossVersionObjectReference",
];

/// What a field holds.
#[derive(Debug, Clone)]
pub(crate) enum Type {
    /// Anything: maps merge key by key, lists are atomic.
    Any,
    Text,
    Choice(Vec<String>),
    Integer,
    Number,
    Boolean,
    /// Base64.
    Bytes,
    Quantity,
    IntOrText,
    List(Box<Type>, Listing),
    /// A map with free keys; true: owned as a whole.
    Map(Box<Type>, bool),
    /// An object of the table.
    Named(String),
    /// An object of a custom resource.
    Object(Arc<Object>),
}

/// How a list merges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listing {
    Atomic,
    Set,
    Keyed(Vec<String>),
}

/// An object with known fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Object {
    pub fields: BTreeMap<String, Field>,
    /// Owned and replaced as a whole.
    pub atomic: bool,
    /// Unknown fields are kept.
    pub open: bool,
}

/// A field of an object.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub ty: Type,
    pub required: bool,
    pub default: Option<Value>,
}

/// A kind of the table: `apiVersion`, kind, plural, whether namespaced, name of its object.
#[derive(Debug)]
pub(crate) struct TableKind {
    pub api_version: String,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
    pub object: String,
}

/// The parsed table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub kinds: Vec<TableKind>,
    objects: BTreeMap<String, Object>,
}

impl Type {
    /// The object behind the type, where it is one.
    pub(crate) fn object(&self) -> Option<&Object> {
        match self {
            Self::Named(name) => table().objects.get(name),
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Whether the value is owned and replaced as a whole.
    pub(crate) fn atomic(&self) -> bool {
        match self {
            Self::List(_, listing) => *listing == Listing::Atomic,
            Self::Map(_, atomic) => *atomic,
            Self::Named(_) | Self::Object(_) => self.object().is_none_or(|object| object.atomic),
            Self::Any => false,
            _ => true,
        }
    }

    /// The type of a key of a map or object; [`Type::Any`] where the schema does not say.
    pub(crate) fn at(&self, key: &str) -> &Type {
        match self {
            Self::Map(item, _) => item,
            _ => self
                .object()
                .and_then(|object| object.fields.get(key))
                .map_or(&Type::Any, |field| &field.ty),
        }
    }

    #[cfg(test)]
    /// The type of a path of field names below this one.
    pub(crate) fn path(&self, path: &[&str]) -> &Type {
        path.iter().fold(self, |ty, key| ty.at(key))
    }
}

/// The table, parsed once.
pub(crate) fn table() -> &'static Table {
    static PARSED: OnceLock<Table> = OnceLock::new();
    PARSED.get_or_init(|| parse(TABLE))
}

fn parse(text: &str) -> Table {
    let mut table = Table::default();
    let mut open = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(kind) = line.strip_prefix('+') {
            let words: Vec<&str> = kind.split(' ').collect();
            if let [api_version, kind, plural, scope, ref rest @ ..] = words[..] {
                table.kinds.push(TableKind {
                    api_version: api_version.to_owned(),
                    kind: kind.to_owned(),
                    plural: plural.to_owned(),
                    namespaced: scope == "n",
                    object: rest.first().copied().unwrap_or(kind).to_owned(),
                });
            }
        } else if let Some(field) = line.strip_prefix(' ') {
            if let Some((name, field)) = parse_field(&open, field)
                && let Some(object) = table.objects.get_mut(&open)
            {
                object.fields.insert(name, field);
            }
        } else {
            line.clone_into(&mut open);
            let object = Object {
                atomic: ATOMIC.contains(&line),
                ..Object::default()
            };
            table.objects.insert(open.clone(), object);
        }
    }
    let optional = |ty| Field {
        ty,
        required: false,
        default: None,
    };
    if let Some(metadata) = table.objects.get_mut("ObjectMeta") {
        for name in [
            "creationTimestamp",
            "deletionTimestamp",
            "resourceVersion",
            "selfLink",
            "uid",
        ] {
            metadata.fields.insert(name.to_owned(), optional(Type::Text));
        }
        for name in ["deletionGracePeriodSeconds", "generation"] {
            metadata.fields.insert(name.to_owned(), optional(Type::Integer));
        }
        let managed = Type::List(Box::new(Type::Any), Listing::Atomic);
        metadata
            .fields
            .insert("managedFields".to_owned(), optional(managed));
    }
    for kind in &table.kinds {
        if let Some(object) = table.objects.get_mut(&kind.object) {
            for name in ["apiVersion", "kind"] {
                object.fields.insert(name.to_owned(), optional(Type::Text));
            }
            object.fields.insert("status".to_owned(), optional(status_type()));
        }
    }
    table
}

/// The status of a built-in kind: not in the table, but its conditions merge by type everywhere.
fn status_type() -> Type {
    let condition = Type::List(Box::new(Type::Any), Listing::Keyed(vec!["type".to_owned()]));
    let fields = BTreeMap::from([(
        "conditions".to_owned(),
        Field {
            ty: condition,
            required: false,
            default: None,
        },
    )]);
    Type::Object(Arc::new(Object {
        fields,
        atomic: false,
        open: true,
    }))
}

fn parse_field(object: &str, line: &str) -> Option<(String, Field)> {
    let (line, default) = match line.rsplit_once(" =") {
        Some((line, default)) => (line, Some(default)),
        None => (line, None),
    };
    let (name, ty) = line.split_once(' ')?;
    let (name, required) = match name.strip_suffix('!') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let mut ty = parse_type(ty);
    if let Type::Map(_, atomic) = &mut ty {
        *atomic = matches!(
            (object, name),
            ("ServiceSpec" | "ReplicationControllerSpec", "selector") | ("PodSpec", "nodeSelector")
        );
    }
    let default = default.map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)));
    Some((
        name.to_owned(),
        Field {
            ty,
            required,
            default,
        },
    ))
}

fn parse_type(text: &str) -> Type {
    if let Some(item) = text.strip_prefix("{}") {
        return Type::Map(Box::new(parse_type(item)), false);
    }
    if let Some((keys, item)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let listing = match keys {
            "" => Listing::Atomic,
            "=" => Listing::Set,
            keys => Listing::Keyed(keys.split(',').map(str::to_owned).collect()),
        };
        return Type::List(Box::new(parse_type(item)), listing);
    }
    if let Some(name) = text.strip_prefix('@') {
        return Type::Named(name.to_owned());
    }
    if let Some(values) = text.strip_prefix('|') {
        return Type::Choice(values.split('|').map(str::to_owned).collect());
    }
    match text {
        "s" => Type::Text,
        "i" => Type::Integer,
        "n" => Type::Number,
        "b" => Type::Boolean,
        "B" => Type::Bytes,
        "q" => Type::Quantity,
        "x" => Type::IntOrText,
        _ => Type::Any,
    }
}

/// The type of a whole custom object, from the `openAPIV3Schema` of its definition.
pub(crate) fn of_definition(schema: &Value) -> Type {
    let mut object = match structural(schema, 0) {
        Type::Object(object) => Object::clone(&object),
        _ => Object {
            open: true,
            ..Object::default()
        },
    };
    let field = |ty| Field {
        ty,
        required: false,
        default: None,
    };
    for name in ["apiVersion", "kind"] {
        object.fields.insert(name.to_owned(), field(Type::Text));
    }
    object
        .fields
        .insert("metadata".to_owned(), field(Type::Named("ObjectMeta".to_owned())));
    Type::Object(Arc::new(object))
}

fn structural(schema: &Value, depth: usize) -> Type {
    // Deeper schemas than the real server's limit on nesting are taken as free.
    if depth > 64 {
        return Type::Any;
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return Type::IntOrText;
    }
    match schema["type"].as_str() {
        Some("string") => match schema["enum"].as_array() {
            Some(values) => Type::Choice(
                values
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            ),
            None if schema["format"] == "byte" => Type::Bytes,
            None => Type::Text,
        },
        Some("integer") => Type::Integer,
        Some("number") => Type::Number,
        Some("boolean") => Type::Boolean,
        Some("array") => {
            let listing = match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => Listing::Set,
                Some("map") => Listing::Keyed(
                    schema["x-kubernetes-list-map-keys"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_str)
                        .map(str::to_owned)
                        .collect(),
                ),
                _ => Listing::Atomic,
            };
            Type::List(Box::new(structural(&schema["items"], depth + 1)), listing)
        }
        Some("object") => {
            let atomic = schema["x-kubernetes-map-type"] == "atomic";
            let open = schema["x-kubernetes-preserve-unknown-fields"] == true
                || schema["x-kubernetes-embedded-resource"] == true;
            if let Some(properties) = schema["properties"].as_object() {
                let required = |name: &str| {
                    schema["required"]
                        .as_array()
                        .is_some_and(|names| names.iter().any(|required| required == name))
                };
                let fields = properties
                    .iter()
                    .map(|(name, of)| {
                        let field = Field {
                            ty: structural(of, depth + 1),
                            required: required(name),
                            default: of.get("default").cloned(),
                        };
                        (name.clone(), field)
                    })
                    .collect();
                return Type::Object(Arc::new(Object { fields, atomic, open }));
            }
            match &schema["additionalProperties"] {
                Value::Object(of) => Type::Map(
                    Box::new(structural(&Value::Object(of.clone()), depth + 1)),
                    atomic,
                ),
                Value::Bool(true) => Type::Any,
                _ if open => Type::Any,
                _ => Type::Object(Arc::new(Object {
                    atomic,
                    ..Object::default()
                })),
            }
        }
        _ => Type::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_knows_how_lists_merge() {
        let deployment = Type::Named("Deployment".to_owned());
        let containers = deployment.path(&["spec", "template", "spec", "containers"]);
        assert!(matches!(containers, Type::List(_, Listing::Keyed(keys)) if keys == &["name"]));
        assert!(deployment.path(&["spec", "selector"]).atomic());
        assert!(!deployment.path(&["metadata", "labels"]).atomic());
        assert!(matches!(deployment.path(&["spec", "replicas"]), Type::Integer));
        assert!(
            table()
                .kinds
                .iter()
                .any(|kind| kind.plural == "ingresses" && kind.namespaced)
        );
    }

    #[test]
    fn every_named_type_exists() {
        fn named(ty: &Type) -> Option<&str> {
            match ty {
                Type::Named(name) => Some(name),
                Type::List(item, _) | Type::Map(item, _) => named(item),
                _ => None,
            }
        }
        for (object, of) in &table().objects {
            for (field, of) in &of.fields {
                if let Some(name) = named(&of.ty) {
                    assert!(table().objects.contains_key(name), "{object}.{field} is {name}");
                }
            }
        }
    }
}
