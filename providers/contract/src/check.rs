//! Problems of desired properties against a schema.

use crate::path::{Path, Segment};
use crate::schema::{KindSchema, Object, Type};
use crate::value::Value;

/// Something about declared properties that cannot work. All problems of an input are reported at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Where in the properties; the loader turns it into file and line.
    pub path: Path,
    /// What is wrong: ``unknown property `cidrBlok` of aws:ec2:Vpc``.
    pub message: String,
    /// What was probably meant, or what to do: ``did you mean `cidrBlock`?``.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    #[must_use]
    pub fn new(path: Path, message: impl Into<String>) -> Self {
        Self {
            path,
            message: message.into(),
            hint: None,
        }
    }

    /// With what was probably meant, or what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// All problems of `properties` against `schema`: unknown and missing properties, wrong types. Unknown values and
/// digests pass.
#[must_use]
pub fn check(schema: &KindSchema, properties: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    object(
        &schema.inputs,
        properties,
        &Path::root(),
        schema.kind.as_str(),
        &mut problems,
    );
    problems
}

fn object(schema: &Object, value: &Value, at: &Path, owner: &str, problems: &mut Vec<Problem>) {
    let Some(map) = value.expose().as_map() else {
        return;
    };
    for (key, value) in map.iter() {
        let path = at.join(Segment::Key(key.clone()));
        match schema.field(key) {
            Some(field) => typed(&field.ty, value, &path, owner, problems),
            None if schema.open => {}
            None => {
                let what = if at.segments().is_empty() {
                    String::new()
                } else {
                    format!(" in `{at}`")
                };
                let mut problem = Problem::new(path, format!("unknown property `{key}`{what} of {owner}"));
                if let Some(near) = nearest(key, schema.fields.iter().map(|f| &*f.name)) {
                    problem = problem.with_hint(format!("did you mean `{near}`?"));
                }
                problems.push(problem);
            }
        }
    }
    for field in schema
        .fields
        .iter()
        .filter(|f| f.required && map.get(&f.name).is_none_or(Value::is_null))
    {
        let what = if at.segments().is_empty() {
            String::new()
        } else {
            format!(" in `{at}`")
        };
        let problem = Problem::new(
            at.clone(),
            format!("missing property `{}`{what} of {owner}", field.name),
        );
        let hint = format!("`{}` takes {}", field.name, article(&field.ty.name()));
        problems.push(if field.doc.is_empty() {
            problem.with_hint(hint)
        } else {
            problem.with_hint(format!("{hint}: {}", field.doc))
        });
    }
}

fn typed(ty: &Type, value: &Value, at: &Path, owner: &str, problems: &mut Vec<Problem>) {
    let value = value.expose();
    if matches!(value, Value::Unknown(_) | Value::Opaque(_) | Value::Null) {
        return;
    }
    match (ty, value) {
        (Type::Any, _)
        | (Type::Bool, Value::Bool(_))
        | (Type::Int, Value::Int(_))
        | (Type::Float, Value::Int(_) | Value::Float(_))
        | (Type::String, Value::Str(_))
        | (Type::IntOrString, Value::Int(_) | Value::Str(_)) => {}
        (Type::Enum(values), Value::Str(text)) => {
            if !values.contains(text) {
                let mut problem = Problem::new(
                    at.clone(),
                    format!(
                        "`{text}` is not a value of `{at}` of {owner}: {}",
                        values.join(", ")
                    ),
                );
                if let Some(near) = nearest(text, values.iter().map(|v| &**v)) {
                    problem = problem.with_hint(format!("did you mean `{near}`?"));
                }
                problems.push(problem);
            }
        }
        (Type::List(item) | Type::Set(item), Value::List(items)) => {
            for (index, inner) in items.iter().enumerate() {
                typed(item, inner, &at.join(Segment::Index(index)), owner, problems);
            }
        }
        (Type::Keyed(inner, _), Value::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                typed(
                    &Type::Object(inner.clone()),
                    item,
                    &at.join(Segment::Index(index)),
                    owner,
                    problems,
                );
            }
        }
        (Type::Map(item), Value::Map(map)) => {
            for (key, inner) in map.iter() {
                typed(item, inner, &at.join(Segment::Key(key.clone())), owner, problems);
            }
        }
        (Type::Object(inner), Value::Map(_)) => object(inner, value, at, owner, problems),
        _ => problems.push(Problem::new(
            at.clone(),
            format!(
                "`{at}` of {owner} takes {}, not {}",
                article(&ty.name()),
                article(value.type_name())
            ),
        )),
    }
}

/// The candidate that `word` was probably meant to be: at most a third of its letters differ.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (strsim::osa_distance(&word.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(d, c)| *d <= (word.len().max(c.len()) / 3).max(1))
        .min()
        .map(|(_, c)| c)
}

fn article(word: &str) -> String {
    match word.as_bytes().first() {
        Some(b'a' | b'e' | b'i' | b'o' | b'u') if word != "anything" => format!("an {word}"),
        _ => format!("a {word}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Field;
    use crate::urn::Kind;

    #[test]
    fn every_problem_is_reported_with_a_suggestion() {
        let schema = KindSchema::new(
            Kind::parse("aws:ec2:Vpc").unwrap(),
            "",
            Object::of([
                Field::new("cidrBlock", Type::String).required(),
                Field::new("tenancy", Type::one_of(&["default", "dedicated"])),
                Field::new("tags", Type::map(Type::String)),
            ]),
        );
        let value: Value =
            serde_json::from_str(r#"{"cidrBlok":"x","tenancy":"dedicatd","tags":{"a":1},"zzzz":1}"#).unwrap();
        let found: Vec<String> = check(&schema, &value)
            .into_iter()
            .map(|p| format!("{}: {} ({})", p.path, p.message, p.hint.unwrap_or_default()))
            .collect();
        assert_eq!(
            found,
            [
                "cidrBlok: unknown property `cidrBlok` of aws:ec2:Vpc (did you mean `cidrBlock`?)",
                "tags.a: `tags.a` of aws:ec2:Vpc takes a string, not an integer ()",
                "tenancy: `dedicatd` is not a value of `tenancy` of aws:ec2:Vpc: default, dedicated (did you mean `dedicated`?)",
                "zzzz: unknown property `zzzz` of aws:ec2:Vpc ()",
                ": missing property `cidrBlock` of aws:ec2:Vpc (`cidrBlock` takes a string)",
            ]
        );
    }

    #[test]
    fn nearest_needs_to_be_near() {
        assert_eq!(nearest("subnetids", ["subnetIds", "subnets"]), Some("subnetIds"));
        assert_eq!(nearest("foo", ["cidrBlock"]), None);
    }
}
