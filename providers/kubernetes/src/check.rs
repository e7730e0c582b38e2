//! Mistakes in properties that the schema alone does not see, found before any server is asked.

use base64::Engine;
use epid_provider::{Desired, Kind, KindSchema, Path, Problem, Segment, Value, check as by_schema};

use crate::name::text;
use crate::schema::table::{Of, Served};
use crate::schema::{self, quantity};

/// Everything wrong with the properties of an object.
pub(crate) fn check(schema: &KindSchema, desired: &Desired) -> Vec<Problem> {
    let mut problems: Vec<Problem> = by_schema(schema, &desired.properties)
        .into_iter()
        .map(|problem| explained(&desired.kind, problem))
        .collect();
    let served = schema::served(&desired.kind);
    metadata(&desired.kind, served, &desired.properties, &mut problems);
    if let Some(served) = served {
        rows(
            served.root,
            &desired.properties,
            &Path::root(),
            &desired.kind,
            &mut problems,
        );
    }
    if matches!(
        desired.kind.name(),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet"
    ) && served.is_some()
    {
        selector(&desired.kind, &desired.properties, &mut problems);
    }
    problems
}

/// Adds what a person who comes with a manifest may not know.
fn explained(kind: &Kind, problem: Problem) -> Problem {
    match problem.path.segments() {
        [Segment::Key(key)] if matches!(&**key, "apiVersion" | "kind") => {
            problem.with_hint(format!("the type `{kind}` says it already: leave it out"))
        }
        [Segment::Key(key)] if &**key == "status" => {
            problem.with_hint("controllers write the status; read it as an output: leave it out")
        }
        _ => problem,
    }
}

fn metadata(kind: &Kind, served: Option<&Served>, properties: &Value, problems: &mut Vec<Problem>) {
    let Some(metadata) = properties.get("metadata") else {
        return;
    };
    let at = Path::root().key("metadata");
    if metadata.expose().get("generateName").is_some() {
        problems.push(
            Problem::new(
                at.key("generateName"),
                "`metadata.generateName` cannot be applied",
            )
            .with_hint("give a `metadata.name`; server-side apply needs to know the object"),
        );
    }
    if served.is_some_and(|s| !s.namespaced) && text(metadata, "namespace").is_some() {
        problems.push(
            Problem::new(
                at.key("namespace"),
                format!("a {} belongs to the cluster and has no namespace", kind.name()),
            )
            .with_hint("leave `metadata.namespace` out"),
        );
    }
    let Some(served) = served else { return };
    let free = served.api_version.starts_with("rbac.");
    if let Some(name) = text(metadata, "name")
        && !free
        && let Err(why) = dns_name(name, matches!(served.kind, "Service" | "Namespace"))
    {
        problems.push(
            Problem::new(
                at.key("name"),
                format!("`{name}` is no name of a {}: {why}", served.kind),
            )
            .with_hint(
                "names are lower-case letters, digits and `-`, and begin and end with a letter or digit",
            ),
        );
    }
}

/// Names of objects are DNS names (RFC 1123): labels of up to 63 characters, 253 in all.
fn dns_name(name: &str, label: bool) -> Result<(), &'static str> {
    let fine = |part: &str| {
        let inner = part
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        inner && !part.is_empty() && !part.starts_with('-') && !part.ends_with('-')
    };
    if name.len() > if label { 63 } else { 253 } {
        return Err("it is too long");
    }
    if label && name.contains('.') {
        return Err("it may not hold a `.`");
    }
    if name.split('.').all(fine) {
        Ok(())
    } else {
        Err("it is no DNS name")
    }
}

fn rows(name: &str, value: &Value, at: &Path, kind: &Kind, problems: &mut Vec<Problem>) {
    let Some(map) = value.expose().as_map() else {
        return;
    };
    for row in schema::table().rows(name) {
        if let Some(inner) = map.get(row.name) {
            one(&row.of, inner, &at.key(row.name), kind, problems);
        }
    }
}

fn one(of: &Of, value: &Value, at: &Path, kind: &Kind, problems: &mut Vec<Problem>) {
    match (of, value.expose()) {
        (_, Value::Unknown(_) | Value::Opaque(_) | Value::Null) => {}
        (Of::Quantity, plain) if !quantity::is_quantity(plain) => problems.push(
            Problem::new(at.clone(), format!("`{at}` of {kind} is no quantity"))
                .with_hint("a quantity is a number with a unit, such as `500m`, `2`, `512Mi` or `10Gi`"),
        ),
        (Of::Bytes, Value::Str(text)) => {
            let packed: String = text.split_whitespace().collect();
            if base64::engine::general_purpose::STANDARD.decode(packed).is_err() {
                let problem = Problem::new(at.clone(), format!("`{at}` of {kind} is not base64"));
                problems.push(if kind.name() == "Secret" {
                    problem.with_hint("put text in clear into `stringData`; `data` takes base64")
                } else {
                    problem
                });
            }
        }
        (Of::Type(name), Value::Map(_)) => rows(name, value, at, kind, problems),
        (Of::Map(of), Value::Map(map)) => {
            for (key, inner) in map.iter() {
                one(of, inner, &at.key(key), kind, problems);
            }
        }
        (Of::List(of) | Of::Set(of) | Of::Keyed(_, of), Value::List(items)) => {
            for (index, inner) in items.iter().enumerate() {
                one(of, inner, &at.join(Segment::Index(index)), kind, problems);
            }
        }
        _ => {}
    }
}

/// The labels a workload selects must be those of its pods.
fn selector(kind: &Kind, properties: &Value, problems: &mut Vec<Problem>) {
    let below = |value: Option<&Value>, key: &str| value.and_then(|v| v.expose().get(key)).cloned();
    let spec = properties.get("spec");
    let wanted = below(below(spec, "selector").as_ref(), "matchLabels");
    let labels = below(
        below(below(spec, "template").as_ref(), "metadata").as_ref(),
        "labels",
    );
    let (Some(wanted), Some(labels)) = (wanted, labels) else {
        return;
    };
    let Some(wanted) = wanted.expose().as_map() else {
        return;
    };
    for (key, value) in wanted.iter() {
        let given = labels.expose().get(key);
        let known = !value.has_unknown() && !labels.has_unknown();
        if known && given.map(Value::expose) != Some(value.expose()) {
            let at = Path::root()
                .key("spec")
                .key("selector")
                .key("matchLabels")
                .key(key);
            problems.push(
                Problem::new(
                    at,
                    format!(
                        "the selector of {kind} asks for the label `{key}`, which its pods do not have so"
                    ),
                )
                .with_hint("give `spec.template.metadata.labels` the same label"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use epid_provider::Urn;

    use super::*;

    fn problems(kind: &str, properties: &str) -> Vec<String> {
        let kind = Kind::parse(kind).unwrap();
        let urn = Urn::new("p", "s", &kind, "x");
        let schema = schema::schema(&kind).unwrap();
        let desired = Desired {
            urn,
            kind,
            properties: serde_json::from_str(properties).unwrap(),
        };
        let told = |p: Problem| format!("{}: {} ({})", p.path, p.message, p.hint.unwrap_or_default());
        check(&schema, &desired).into_iter().map(told).collect()
    }

    #[test]
    fn a_misspelt_field_is_suggested() {
        let found = problems(
            "kubernetes:apps/v1:Deployment",
            r#"{"metadata":{"name":"a"},"spec":{"replcas":2,"selector":{},"template":{"spec":{"containers":[{"name":"a","imagePullPolicy":"Allways"}]}}}}"#,
        );
        assert_eq!(
            found,
            [
                "spec.replcas: unknown property `replcas` in `spec` of kubernetes:apps/v1:Deployment (did you mean `replicas`?)",
                "spec.template.spec.containers[0].imagePullPolicy: `Allways` is not a value of `spec.template.spec.containers[0].imagePullPolicy` of kubernetes:apps/v1:Deployment: Always, IfNotPresent, Never (did you mean `Always`?)",
            ]
        );
    }

    #[test]
    fn a_whole_manifest_is_told_what_to_leave_out() {
        let found = problems(
            "kubernetes:v1:ConfigMap",
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#,
        );
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|p| p.contains("leave it out")), "{found:?}");
    }

    #[test]
    fn names_namespaces_quantities_and_base64_are_checked() {
        let one = |kind: &str, properties: &str, what: &str| {
            let found = problems(kind, properties);
            assert!(found.len() == 1 && found[0].contains(what), "{found:?}");
        };
        one(
            "kubernetes:v1:ConfigMap",
            r#"{"metadata":{"name":"Not_DNS"}}"#,
            "no DNS name",
        );
        one(
            "kubernetes:v1:Service",
            r#"{"metadata":{"name":"a.b"}}"#,
            "may not hold a `.`",
        );
        one(
            "kubernetes:v1:ConfigMap",
            r#"{"metadata":{}}"#,
            "missing property `name`",
        );
        one(
            "kubernetes:v1:Namespace",
            r#"{"metadata":{"name":"a","namespace":"b"}}"#,
            "has no namespace",
        );
        one(
            "kubernetes:v1:ConfigMap",
            r#"{"metadata":{"name":"a","generateName":"b"}}"#,
            "generateName",
        );
        one(
            "kubernetes:v1:Secret",
            r#"{"metadata":{"name":"a"},"data":{"k":"not base64"}}"#,
            "stringData",
        );
        one(
            "kubernetes:v1:ResourceQuota",
            r#"{"metadata":{"name":"a"},"spec":{"hard":{"cpu":"many"}}}"#,
            "`spec.hard.cpu`",
        );
        assert!(
            problems(
                "kubernetes:rbac.authorization.k8s.io/v1:Role",
                r#"{"metadata":{"name":"system:x"}}"#
            )
            .is_empty()
        );
    }

    #[test]
    fn a_selector_that_finds_no_pod_is_a_problem() {
        let of = |label: &str| {
            format!(
                r#"{{"metadata":{{"name":"a"}},"spec":{{"selector":{{"matchLabels":{{"app":"a"}}}},"template":{{"metadata":{{"labels":{{"app":"{label}"}}}},"spec":{{"containers":[{{"name":"a"}}]}}}}}}}}"#
            )
        };
        assert!(problems("kubernetes:apps/v1:Deployment", &of("a")).is_empty());
        assert_eq!(problems("kubernetes:apps/v1:Deployment", &of("b")).len(), 1);
    }
}
