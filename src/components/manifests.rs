//! `kubernetes:yaml:Manifests`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use epid_kubernetes::manifest::{Node, Object, Part};
use epid_provider::{Field, Kind, KindSchema, Path, Problem, Segment, Type, Value};

use super::written::schema;
use crate::expression::{Located, Span, Template};
use crate::program::{Component, Diagnostic, Expansion, File};

/// Files of Kubernetes YAML: one resource for each object in them.
///
/// `${` in a file means nothing. A resource is named after its object: `deployment-curator`; where two objects of a kind
/// have one name, after their namespaces too: `deployment-shop-curator`.
#[derive(Debug)]
pub struct Manifests(KindSchema);

impl Default for Manifests {
    fn default() -> Self {
        let inputs = [Field::new("files", Type::list(Type::String))
            .doc("Files and patterns (`*`, `**`), from the project's folder.")
            .required()];
        Self(schema(
            "kubernetes:yaml:Manifests",
            "The objects of Kubernetes YAML files.",
            inputs,
            &[("objects", "Each object by its name here.")],
        ))
    }
}

impl Component for Manifests {
    fn kind(&self) -> &Kind {
        &self.0.kind
    }

    fn schema(&self) -> &KindSchema {
        &self.0
    }

    fn expand(&self, x: &mut Expansion<'_>) -> Vec<Problem> {
        let patterns = match x.known("files") {
            Ok(files) => files.clone(),
            Err(problem) => return vec![problem],
        };
        let mut problems = Vec::new();
        let mut broken = Vec::new();
        let mut objects = Vec::new();
        let mut seen = BTreeSet::new();
        // What a file that cannot be read would have declared is not missing elsewhere.
        let mut partial = false;
        for (at, pattern) in patterns.as_list().unwrap_or_default().iter().enumerate() {
            let path = Path::root().key("files").join(Segment::Index(at));
            let pattern = pattern.as_str().unwrap_or_default();
            let Some(files) = x.files(pattern) else {
                problems.push(
                    Problem::new(path, format!("`{pattern}` was not read"))
                        .with_hint("write files as literal texts, without `${…}`"),
                );
                continue;
            };
            partial |= files.is_empty();
            for file in files {
                // Two patterns may find one file.
                if !seen.insert(&file.path) {
                    continue;
                }
                match epid_kubernetes::manifest::parse(&file.text) {
                    Ok(found) => objects.extend(found.into_iter().map(|object| (file, object))),
                    Err(errors) => broken.extend(errors.into_iter().map(|error| {
                        let problem = Diagnostic::error(span(file, &error.at), error.message);
                        Diagnostic {
                            hint: error.hint,
                            ..problem
                        }
                    })),
                }
            }
        }
        partial |= !broken.is_empty();
        broken.into_iter().for_each(|problem| x.report(problem));
        let mut places: BTreeMap<String, String> = BTreeMap::new();
        let mut outputs = Vec::new();
        for (name, (file, object)) in names(&objects).into_iter().zip(objects) {
            let at = span(file, &object.kind_at);
            let place = format!("{}:{}", file.path.display(), object.line);
            if let Some(other) = places.insert(name.clone(), place) {
                let message = format!("`{name}` is declared here and in {other}");
                x.report(Diagnostic::error(at, message).with_hint("take one of them out"));
                continue;
            }
            let child = x.child(&name, object.kind, located(file, &object.node));
            x.place(&child, at, at);
            outputs.push((name, Located::from(child.reference(""))));
        }
        let objects = if partial {
            Template::Literal(Value::unknown(&format!("{}.objects", x.address())))
        } else {
            Template::object(outputs)
        };
        x.output("objects", objects);
        problems
    }
}

fn span(file: &File, at: &Range<u32>) -> Span {
    Span {
        source: file.source,
        start: at.start,
        end: at.end,
    }
}

/// A value of a file as it stands there; `${` in it means nothing.
fn located(file: &File, node: &Node) -> Located {
    let template = match &node.part {
        Part::Leaf(value) => Template::Literal(value.clone()),
        Part::List(items) => Template::List(items.iter().map(|item| located(file, item)).collect()),
        Part::Map(entries) => Template::Map(
            entries
                .iter()
                .map(|(key, node)| (Arc::from(key.as_str()), located(file, node)))
                .collect(),
        ),
    };
    Located {
        template,
        span: span(file, &node.at),
        key_span: span(file, &node.key),
    }
}

fn metadata<'a>(properties: &'a Value, name: &str) -> Option<&'a str> {
    properties.get("metadata")?.get(name)?.as_str()
}

/// A name for each object, with the namespace where it takes that to tell two apart.
fn names(objects: &[(&File, Object)]) -> Vec<String> {
    let short = |kind: &Kind, properties: &Value| {
        let name = metadata(properties, "name").unwrap_or("unnamed");
        format!("{}-{name}", kind.name().to_lowercase())
    };
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for (_, object) in objects {
        *count.entry(short(&object.kind, &object.properties)).or_default() += 1;
    }
    objects
        .iter()
        .map(|(_, Object { kind, properties, .. })| {
            let name = short(kind, properties);
            match metadata(properties, "namespace") {
                Some(namespace) if count.get(&name).is_some_and(|n| *n > 1) => {
                    let bare = metadata(properties, "name").unwrap_or("unnamed");
                    format!("{}-{namespace}-{bare}", kind.name().to_lowercase())
                }
                _ => name,
            }
        })
        .collect()
}
