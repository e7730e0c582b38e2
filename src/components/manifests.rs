//! `kubernetes:yaml:Manifests`.

use std::collections::BTreeMap;

use epid_provider::{Field, Kind, KindSchema, Path, Problem, Segment, Type, Value};

use super::written::schema;
use crate::expression::{Located, Template};
use crate::program::{Component, Expansion};

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
        let mut objects = Vec::new();
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
            for file in files {
                match epid_kubernetes::manifest::parse(&file.text) {
                    Ok(found) => objects.extend(found.into_iter().map(|object| {
                        let place = format!("{}:{}", file.path.display(), object.line);
                        (place, object.kind, object.properties)
                    })),
                    Err(errors) => problems.extend(errors.into_iter().map(|error| {
                        Problem::new(path.clone(), format!("{}: {error}", file.path.display()))
                    })),
                }
            }
        }
        let mut places: BTreeMap<String, String> = BTreeMap::new();
        let mut outputs = Vec::new();
        for (name, (place, kind, properties)) in names(&objects).into_iter().zip(objects) {
            if let Some(other) = places.insert(name.clone(), place.clone()) {
                problems.push(Problem::new(
                    Path::root().key("files"),
                    format!("{place} declares the same object as {other}: `{name}`"),
                ));
                continue;
            }
            let child = x.child(&name, kind, Located::from(Template::from_value(&properties)));
            outputs.push((name, Located::from(child.reference(""))));
        }
        x.output(
            "objects",
            Template::object(outputs.iter().map(|(n, l)| (n.as_str().to_owned(), l.clone()))),
        );
        problems
    }
}

fn metadata<'a>(properties: &'a Value, name: &str) -> Option<&'a str> {
    properties.get("metadata")?.get(name)?.as_str()
}

/// A name for each object, with the namespace where it takes that to tell two apart.
fn names(objects: &[(String, Kind, Value)]) -> Vec<String> {
    let short = |kind: &Kind, properties: &Value| {
        let name = metadata(properties, "name").unwrap_or("unnamed");
        format!("{}-{name}", kind.name().to_lowercase())
    };
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for (_, kind, properties) in objects {
        *count.entry(short(kind, properties)).or_default() += 1;
    }
    objects
        .iter()
        .map(|(_, kind, properties)| {
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
