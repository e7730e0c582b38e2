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
    let mut meant: Vec<&str> = Vec::new();
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
                let fields = || schema.fields.iter().map(|f| &*f.name);
                if let Some(near) = nearest(key, fields()) {
                    problem = problem.with_hint(format!("did you mean `{near}`?"));
                    meant.push(near);
                } else if !schema.fields.is_empty() && schema.fields.len() <= 12 {
                    let all: Vec<&str> = fields().collect();
                    problem = problem.with_hint(format!("it takes {}", all.join(", ")));
                }
                problems.push(problem);
            }
        }
    }
    for field in schema
        .fields
        .iter()
        .filter(|f| f.required && map.get(&f.name).is_none_or(Value::is_null))
        // A misspelt property is one mistake, not two.
        .filter(|f| !meant.contains(&&*f.name))
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
    let secret = matches!(value, Value::Secret(_));
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
        _ => {
            let message = format!(
                "`{at}` of {owner} takes {}, not {}",
                article(&ty.name()),
                article(value.type_name())
            );
            let problem = Problem::new(at.clone(), message);
            problems.push(match rewritten(ty, value) {
                Some(better) if !secret => problem.with_hint(format!("write {better}")),
                _ => problem,
            });
        }
    }
}

/// How a value of another type was probably meant.
fn rewritten(ty: &Type, value: &Value) -> Option<String> {
    match (ty, value) {
        (Type::String, Value::Int(_) | Value::Float(_) | Value::Bool(_)) => Some(format!("\"{value}\"")),
        (Type::Int, Value::Str(text)) => text.parse::<i64>().ok().map(|n| n.to_string()),
        (Type::Float, Value::Str(text)) => {
            let number = text.parse::<f64>().ok().filter(|n| n.is_finite());
            number.map(|_| text.to_string())
        }
        (Type::Bool, Value::Str(text)) => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" => Some("true".to_owned()),
            "false" | "no" | "off" => Some("false".to_owned()),
            _ => None,
        },
        (Type::List(item) | Type::Set(item), Value::Str(_)) if matches!(**item, Type::String) => {
            Some(format!("[{value}]"))
        }
        _ => None,
    }
}

/// The candidate that `word` was probably meant to be: at most a third of its letters differ, or it is the one that begins
/// with three or more letters that are all there is.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let mut candidates: Vec<&str> = candidates.into_iter().collect();
    candidates.sort_unstable();
    candidates.dedup();
    let near = candidates
        .iter()
        .map(|c| (strsim::osa_distance(&lower, &c.to_lowercase()), *c))
        .filter(|(d, c)| *d <= (word.len().max(c.len()) / 3).max(1))
        .min()
        .map(|(_, c)| c);
    let longer = || {
        let mut longer = candidates.iter().filter(|c| c.to_lowercase().starts_with(&lower));
        match (longer.next(), longer.next()) {
            (Some(one), None) if word.len() >= 3 => Some(*one),
            _ => None,
        }
    };
    near.or_else(longer)
}

fn article(word: &str) -> String {
    match word.as_bytes().first() {
        _ if matches!(word, "anything" | "null") => word.to_owned(),
        Some(b'a' | b'e' | b'i' | b'o' | b'u') => format!("an {word}"),
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
                "tags.a: `tags.a` of aws:ec2:Vpc takes a string, not an integer (write \"1\")",
                "tenancy: `dedicatd` is not a value of `tenancy` of aws:ec2:Vpc: default, dedicated (did you mean `dedicated`?)",
                "zzzz: unknown property `zzzz` of aws:ec2:Vpc (it takes cidrBlock, tenancy, tags)",
            ]
        );
        let missing = check(&schema, &Value::map([("tenancy", Value::str("default"))]));
        assert_eq!(missing[0].message, "missing property `cidrBlock` of aws:ec2:Vpc");
        assert_eq!(missing[0].hint.as_deref(), Some("`cidrBlock` takes a string"));
    }

    #[test]
    fn nearest_needs_to_be_near() {
        assert_eq!(nearest("subnetids", ["subnetIds", "subnets"]), Some("subnetIds"));
        assert_eq!(nearest("foo", ["cidrBlock"]), None);
        assert_eq!(nearest("cidr", ["cidrBlock", "tags"]), Some("cidrBlock"));
        assert_eq!(nearest("cidr", ["cidrBlock", "cidrBlocks"]), None);
    }
}
