//! What the built-in kinds look like, without asking a cluster; every other kind is an open map.

mod facts;
pub(crate) mod quantity;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use epid_provider::{Equality, Field, Kind, KindSchema, Object, Output, Type};

use crate::name::api_version;
use table::{Of, Row, Served, Table};

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(table::TEXT));
static KINDS: LazyLock<BTreeMap<Kind, Arc<KindSchema>>> = LazyLock::new(|| {
    let mut maker = Maker::default();
    TABLE
        .kinds
        .iter()
        .filter_map(|served| maker.kind(served))
        .collect()
});

/// The table of the built-in kinds.
pub(crate) fn table() -> &'static Table {
    &TABLE
}

/// The row of a built-in kind.
pub(crate) fn served(kind: &Kind) -> Option<&'static Served> {
    TABLE.served(kind.module(), kind.name())
}

/// Every built-in kind.
pub(crate) fn kinds() -> Vec<Kind> {
    KINDS.keys().cloned().collect()
}

/// The schema of a kind; `None` where it is certainly none, as with a misspelt one of a built-in group.
pub(crate) fn schema(kind: &Kind) -> Option<Arc<KindSchema>> {
    if kind.provider() != "kubernetes" || !api_version::is_one(kind.module()) {
        return None;
    }
    if let Some(schema) = KINDS.get(kind) {
        return Some(schema.clone());
    }
    // Groups without a dot are Kubernetes' own: the API server refuses such a group of a CustomResourceDefinition.
    let own = !kind
        .module()
        .split('/')
        .next()
        .is_some_and(|group| group.contains('.'));
    if own
        || TABLE
            .kinds
            .iter()
            .any(|served| served.api_version == kind.module())
    {
        return None;
    }
    Some(Arc::new(open(kind)))
}

/// Any kind the server may serve: metadata, and whatever its own schema takes.
fn open(kind: &Kind) -> KindSchema {
    let metadata = Maker::default().metadata();
    let fields = vec![Field::new("metadata", Type::Object(Arc::new(metadata))).required()];
    finished(kind.clone(), Object { fields, open: true })
}

fn finished(kind: Kind, inputs: Object) -> KindSchema {
    let doc = format!(
        "{} of {} as the Kubernetes API reference describes it.",
        kind.name(),
        kind.module()
    );
    let (expected, timeouts) = facts::durations(kind.name());
    let mut outputs = vec![
        Output::new("metadata.uid", "The object's identity in its cluster."),
        Output::new(
            "metadata.namespace",
            "The namespace it is in; absent for objects of the cluster.",
        ),
        Output::new("status", "What its controllers say of it.").changes_with(&["*"]),
    ];
    if (kind.module(), kind.name()) == ("v1", "Service") {
        outputs.push(Output::new("spec.clusterIP", "The address inside the cluster."));
        outputs.push(Output::new(
            "spec.clusterIPs",
            "The addresses inside the cluster.",
        ));
    }
    KindSchema {
        expected,
        timeouts,
        outputs,
        ..KindSchema::new(kind, &doc, inputs)
    }
}

#[derive(Default)]
struct Maker {
    made: BTreeMap<&'static str, Arc<Object>>,
    open: Vec<&'static str>,
}

impl Maker {
    fn kind(&mut self, served: &'static Served) -> Option<(Kind, Arc<KindSchema>)> {
        let kind = Kind::parse(&format!("kubernetes:{}:{}", served.api_version, served.kind)).ok()?;
        let mut root = (*self.object(served.root)).clone();
        for field in &mut root.fields {
            if &*field.name == "metadata" {
                *field = Field::new("metadata", Type::Object(Arc::new(self.metadata()))).required();
            }
        }
        for path in facts::immutable(served.api_version, served.kind) {
            let steps: Vec<&str> = path.split('.').collect();
            mark_immutable(&mut root, &steps);
        }
        match (served.api_version, served.kind) {
            ("v1", "Secret") => secret(&mut root),
            ("v1", "Pod") => pod(&mut root),
            _ => {}
        }
        Some((kind.clone(), Arc::new(finished(kind, root))))
    }

    /// The metadata of an object of its own: it is named, and name and namespace are its identity.
    fn metadata(&mut self) -> Object {
        let mut object = (*self.object("ObjectMeta")).clone();
        for field in &mut object.fields {
            match &*field.name {
                "name" => {
                    *field = field
                        .clone()
                        .required()
                        .immutable()
                        .doc("the object's name in its namespace");
                }
                "namespace" => {
                    *field = field
                        .clone()
                        .immutable()
                        .doc("by default that of the provider, then `default`");
                }
                _ => {}
            }
        }
        object
    }

    fn object(&mut self, name: &'static str) -> Arc<Object> {
        if let Some(made) = self.made.get(name) {
            return made.clone();
        }
        if self.open.contains(&name) {
            return Arc::new(Object::any());
        }
        self.open.push(name);
        let mut object = Object::of(TABLE.rows(name).iter().map(|row| self.field(row)));
        self.open.pop();
        if name == "PersistentVolumeClaim" {
            // A StatefulSet's claim templates are whole objects, often written with their kind.
            object
                .fields
                .extend(["apiVersion", "kind"].map(|name| Field::new(name, Type::String)));
        }
        let object = Arc::new(object);
        self.made.insert(name, object.clone());
        object
    }

    fn field(&mut self, row: &'static Row) -> Field {
        let mut field = Field::new(row.name, self.of(&row.of));
        field.required = row.required;
        field.default.clone_from(&row.default);
        if holds_quantities(&row.of) {
            field = field.equality(Equality::By(quantity::same));
        }
        field
    }

    fn of(&mut self, of: &'static Of) -> Type {
        match of {
            Of::Any | Of::Quantity => Type::Any,
            Of::Text | Of::Bytes => Type::String,
            Of::Int => Type::Int,
            Of::Number => Type::Float,
            Of::Bool => Type::Bool,
            Of::IntOrText => Type::IntOrString,
            Of::Choice(values) => Type::one_of(values),
            Of::Type(name) => Type::Object(self.object(name)),
            Of::Map(of) => Type::map(self.of(of)),
            Of::List(of) => Type::list(self.of(of)),
            Of::Set(of) => Type::set(self.of(of)),
            Of::Keyed(keys, of) => match self.of(of) {
                Type::Object(object) => Type::Keyed(object, keys.iter().map(|k| Arc::from(*k)).collect()),
                other => Type::list(other),
            },
        }
    }
}

fn holds_quantities(of: &Of) -> bool {
    match of {
        Of::Quantity => true,
        Of::Map(of) | Of::List(of) => holds_quantities(of),
        _ => false,
    }
}

fn mark_immutable(object: &mut Object, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    for field in object.fields.iter_mut().filter(|f| &*f.name == *first) {
        if rest.is_empty() {
            field.immutable = true;
        } else if let Type::Object(inner) = &field.ty {
            let mut inner = (**inner).clone();
            mark_immutable(&mut inner, rest);
            field.ty = Type::Object(Arc::new(inner));
        }
    }
}

/// What a Secret holds is secret, and the server takes `stringData` without giving it back as such.
fn secret(root: &mut Object) {
    for field in &mut root.fields {
        if matches!(&*field.name, "data" | "stringData") {
            field.secret = true;
        }
    }
}

/// Of a Pod hardly anything but images can change.
fn pod(root: &mut Object) {
    let containers = |field: &mut Field| {
        if let Type::Keyed(object, keys) = &field.ty {
            let mut object = (**object).clone();
            for inner in object.fields.iter_mut().filter(|f| &*f.name != "image") {
                inner.immutable = true;
            }
            field.ty = Type::Keyed(Arc::new(object), keys.clone());
        }
    };
    for spec in root.fields.iter_mut().filter(|f| &*f.name == "spec") {
        if let Type::Object(inner) = &spec.ty {
            let mut inner = (**inner).clone();
            for field in &mut inner.fields {
                if matches!(&*field.name, "containers" | "initContainers") {
                    containers(field);
                } else if !facts::MUTABLE_IN_PODS.contains(&&*field.name) {
                    field.immutable = true;
                }
            }
            spec.ty = Type::Object(Arc::new(inner));
        }
    }
}

#[cfg(test)]
mod tests {
    use epid_provider::{Replace, Value, diff};

    use super::*;

    fn kind(text: &str) -> Kind {
        Kind::parse(text).unwrap()
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn changes(of: &str, before: &str, after: &str) -> Vec<(String, Replace)> {
        let schema = schema(&kind(of)).unwrap();
        let found = diff(&schema, &json(before), &json(after)).changes;
        found
            .into_iter()
            .map(|c| (c.path.to_string(), c.replace))
            .collect()
    }

    #[test]
    fn misspelt_built_in_kinds_have_no_schema_and_unknown_groups_have() {
        assert!(schema(&kind("kubernetes:apps/v1:Deploymnet")).is_none());
        assert!(schema(&kind("kubernetes:v1:Deployment")).is_none());
        assert!(schema(&kind("kubernetes:apps:Deployment")).is_none());
        assert!(schema(&kind("aws:ec2:Vpc")).is_none());
        assert!(
            schema(&kind("kubernetes:example.com/v1alpha1:Widget"))
                .unwrap()
                .inputs
                .open
        );
        assert!(
            !schema(&kind("kubernetes:apps/v1:Deployment"))
                .unwrap()
                .inputs
                .open
        );
    }

    #[test]
    fn immutable_fields_replace_only_where_they_are_immutable() {
        let template =
            r#"{"spec":{"selector":{"matchLabels":{"a":"1"}},"template":{"metadata":{"labels":{"a":"1"}}}}}"#;
        let other =
            r#"{"spec":{"selector":{"matchLabels":{"a":"2"}},"template":{"metadata":{"labels":{"a":"2"}}}}}"#;
        assert_eq!(
            changes("kubernetes:apps/v1:Deployment", template, other),
            [
                ("spec.selector.matchLabels.a".to_owned(), Replace::Yes),
                ("spec.template.metadata.labels.a".to_owned(), Replace::No)
            ]
        );
        let job = |image: &str| {
            format!(
                r#"{{"spec":{{"template":{{"spec":{{"containers":[{{"name":"a","image":"{image}"}}]}}}}}}}}"#
            )
        };
        assert_eq!(
            changes("kubernetes:batch/v1:Job", &job("1"), &job("2")),
            [("spec.template.spec.containers[a].image".to_owned(), Replace::Yes)]
        );
        let cron = |image: &str| format!(r#"{{"spec":{{"jobTemplate":{}}}}}"#, job(image));
        assert_eq!(
            changes("kubernetes:batch/v1:CronJob", &cron("1"), &cron("2")),
            [(
                "spec.jobTemplate.spec.template.spec.containers[a].image".to_owned(),
                Replace::No
            )]
        );
        let pod = |image: &str, command: &str| {
            format!(
                r#"{{"spec":{{"containers":[{{"name":"a","image":"{image}","command":["{command}"]}}]}}}}"#
            )
        };
        assert_eq!(
            changes("kubernetes:v1:Pod", &pod("1", "x"), &pod("2", "y")),
            [
                ("spec.containers[a].command[0]".to_owned(), Replace::Yes),
                ("spec.containers[a].image".to_owned(), Replace::No)
            ]
        );
    }

    #[test]
    fn spellings_of_one_quantity_are_no_change() {
        let limits = |cpu: &str, memory: &str| {
            format!(
                r#"{{"spec":{{"template":{{"spec":{{"containers":[{{"name":"a","resources":{{"limits":{{"cpu":{cpu},"memory":{memory}}}}}}}]}}}}}}}}"#
            )
        };
        let of = "kubernetes:apps/v1:Deployment";
        assert!(changes(of, &limits("1", r#""1Gi""#), &limits(r#""1000m""#, r#""1024Mi""#)).is_empty());
        assert_eq!(
            changes(of, &limits("1", r#""1Gi""#), &limits("1", r#""1G""#)).len(),
            1
        );
        let port = |p: &str| format!(r#"{{"spec":{{"ports":[{{"port":80,"targetPort":{p}}}]}}}}"#);
        assert!(changes("kubernetes:v1:Service", &port("80"), &port(r#""80""#)).is_empty());
    }

    #[test]
    fn what_a_secret_holds_is_marked() {
        let schema = schema(&kind("kubernetes:v1:Secret")).unwrap();
        let marked = schema.mark_inputs(&json(
            r#"{"data":{"a":"eA=="},"stringData":{"b":"y"},"type":"Opaque"}"#,
        ));
        assert_eq!(
            marked.to_string(),
            r#"{data: (secret), stringData: (secret), type: "Opaque"}"#
        );
    }
}
