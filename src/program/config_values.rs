//! The configuration of a stack: what its program declares against what its file gives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use epid_provider::check::nearest;
use epid_provider::{Map, Value};

use super::declaration::ConfigDeclaration;
use super::diagnostic::Diagnostic;
use super::project::{Spans, StackFile};
use crate::expression::Span;

/// The values of `config` in a stack. `secrets` are the values of its `[secrets]`, unsealed and of any type; one that
/// is in the file and not among them is secret and unknown.
///
/// Nothing is converted. Secrets are marked, where the program declares them as such and where the stack gives them
/// under `[secrets]`. A program with open configuration takes what it does not declare as it is.
///
/// # Errors
/// Everything missing, undeclared, of another type, given twice, or given in clear where it is a secret.
pub fn config_values(stack: &StackFile, secrets: &BTreeMap<Arc<str>, Value>) -> Result<Map, Vec<Diagnostic>> {
    match draft_values(stack, secrets) {
        (values, problems) if problems.is_empty() => Ok(values),
        (_, problems) => Err(problems),
    }
}

/// [`config_values`] that goes on after mistakes: what is missing or of another type is unknown.
#[must_use]
pub fn draft_values(stack: &StackFile, secrets: &BTreeMap<Arc<str>, Value>) -> (Map, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let mut values: Vec<(Arc<str>, Value)> = Vec::new();
    let sealed: BTreeSet<&Arc<str>> = stack.secrets.keys().chain(secrets.keys()).collect();
    let opened = |name: &Arc<str>| {
        let value = secrets.get(name).cloned();
        let value = value.unwrap_or_else(|| Value::unknown(&format!("config.{name}")));
        value.into_secret()
    };
    for name in stack.config.keys().filter(|name| sealed.contains(name)) {
        let message = format!("`{name}` is given twice: in clear under [config], and under [secrets]");
        problems.push(
            Diagnostic::error(sealed_spans(stack, name).value, message).with_hint("take one of them out"),
        );
    }
    for declaration in &stack.program.config {
        let name = &declaration.name;
        let value = match stack.config.get(name) {
            Some((value, spans)) if sealed.contains(name) => Ok((value.clone(), spans.value)),
            Some((_, spans)) if declaration.secret => Err(in_clear(stack, name, spans.value)),
            Some((value, spans)) => Ok((value.clone(), spans.value)),
            None if sealed.contains(name) => Ok((opened(name), sealed_spans(stack, name).value)),
            None => match &declaration.default {
                Some(value) if declaration.secret => Ok((value.clone().into_secret(), declaration.span)),
                Some(value) => Ok((value.clone(), declaration.span)),
                None => Err(missing(stack, declaration)),
            },
        };
        let unknown = || Value::unknown(&format!("config.{name}"));
        let value = match value {
            // What is wrong with the declaration itself is known already.
            Ok((value, span)) if !declaration.ty.takes(&value) => {
                if span != declaration.span {
                    problems.push(mistyped(declaration, &value, span));
                }
                unknown()
            }
            Ok((value, _)) => value,
            Err(problem) => {
                if !stack.program.incomplete.contains(name) {
                    problems.push(problem);
                }
                unknown()
            }
        };
        values.push((name.clone(), value));
    }
    for name in &stack.program.incomplete {
        values.push((name.clone(), Value::unknown(&format!("config.{name}"))));
    }
    let declared: BTreeSet<&Arc<str>> = stack.program.config.iter().map(|d| &d.name).collect();
    let clear = stack
        .config
        .iter()
        .map(|(name, (value, spans))| (name, value.clone(), *spans));
    let given = clear.chain(
        sealed
            .iter()
            .map(|name| (*name, opened(name), sealed_spans(stack, name))),
    );
    for (name, value, spans) in given.filter(|(name, ..)| !declared.contains(name)) {
        if stack.program.open_config {
            values.push((name.clone(), value));
        } else if !stack.program.incomplete.contains(name) {
            problems.push(undeclared(&stack.program.config, name, &value, spans));
        }
    }
    (values.into_iter().collect(), problems)
}

fn sealed_spans(stack: &StackFile, name: &str) -> Spans {
    stack
        .secrets
        .get(name)
        .map(|(_, spans)| *spans)
        .unwrap_or_default()
}

fn in_clear(stack: &StackFile, name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        span,
        format!("`{name}` is a secret, but its value stands here in clear"),
    )
    .about_a_secret()
    .with_hint(format!(
        "take this line out and run: epid config set --secret {name} --stack {}",
        stack.name
    ))
}

fn missing(stack: &StackFile, declaration: &ConfigDeclaration) -> Diagnostic {
    let ConfigDeclaration { name, ty, .. } = declaration;
    let message = format!(
        "stack `{}` gives no `{name}`, which its program takes",
        stack.name
    );
    let problem = Diagnostic::error(declaration.span, message);
    let file = stack.path.display();
    problem.with_hint(if declaration.secret {
        format!("run: epid config set --secret {name} --stack {}", stack.name)
    } else {
        let example = match ty {
            super::ConfigType::String => "\"…\"",
            super::ConfigType::Integer => "1",
            super::ConfigType::Number => "1.5",
            super::ConfigType::Boolean => "true",
            super::ConfigType::List => "[]",
            super::ConfigType::Map => "{}",
        };
        format!("write `{name} = {example}` under [config] in {file}, or declare a default")
    })
}

fn mistyped(declaration: &ConfigDeclaration, value: &Value, span: Span) -> Diagnostic {
    let ConfigDeclaration { name, ty, .. } = declaration;
    let article = if *ty == super::ConfigType::Integer {
        "an"
    } else {
        "a"
    };
    let found = match value.expose() {
        Value::Null => "null".to_owned(),
        Value::Int(_) => "an integer".to_owned(),
        other => format!("a {}", other.type_name()),
    };
    let problem = Diagnostic::error(span, format!("`{name}` takes {article} {ty}, not {found}"));
    let shown = match value {
        Value::Str(text) => text.to_string(),
        Value::Secret(_) => return problem,
        other => other.to_string(),
    };
    match (ty, value) {
        (super::ConfigType::String, Value::Int(_) | Value::Float(_) | Value::Bool(_)) => {
            problem.with_hint(format!("write it in quotes: `{name} = \"{shown}\"`"))
        }
        (super::ConfigType::Integer, Value::Str(_)) if shown.parse::<i64>().is_ok() => {
            problem.with_hint(format!("write it without quotes: `{name} = {shown}`"))
        }
        (super::ConfigType::Number, Value::Str(_)) if shown.parse::<f64>().is_ok_and(f64::is_finite) => {
            problem.with_hint(format!("write it without quotes: `{name} = {shown}`"))
        }
        (super::ConfigType::Boolean, Value::Str(_)) if shown == "true" || shown == "false" => {
            problem.with_hint(format!("write it without quotes: `{name} = {shown}`"))
        }
        _ => problem,
    }
}

fn undeclared(declared: &[ConfigDeclaration], name: &str, value: &Value, spans: Spans) -> Diagnostic {
    let message = format!("the program takes no configuration `{name}`");
    let near = nearest(name, declared.iter().map(|d| &*d.name));
    let meant = declared.iter().find(|d| near == Some(&*d.name));
    let clear = !matches!(value, Value::Secret(_));
    let problem = if clear && meant.is_some_and(|d| d.secret) {
        Diagnostic::error(spans.value, message).about_a_secret()
    } else {
        Diagnostic::error(spans.name, message)
    };
    match near {
        Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
        None => problem.with_hint(format!(
            "take it out, or declare it in the program: [config.{name}]"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::SourceId;
    use crate::program::{ConfigType, Program};

    fn declared(name: &str, ty: ConfigType, at: usize) -> ConfigDeclaration {
        ConfigDeclaration {
            name: Arc::from(name),
            ty,
            default: None,
            secret: false,
            description: Arc::from(""),
            span: span(at),
        }
    }

    fn span(at: usize) -> Span {
        Span::new(SourceId(0), at..at + 1)
    }

    /// The name stands 50 before the value.
    fn spans(at: usize) -> Spans {
        Spans {
            name: span(at - 50),
            value: span(at),
        }
    }

    fn stack(config: Vec<ConfigDeclaration>, clear: &[(&str, Value)], sealed: &[&str]) -> StackFile {
        StackFile {
            name: Arc::from("dev"),
            path: "stacks/dev.toml".into(),
            program: Program {
                config,
                ..Program::default()
            },
            config: clear
                .iter()
                .enumerate()
                .map(|(at, (name, value))| (Arc::from(*name), (value.clone(), spans(100 + at))))
                .collect(),
            secrets: sealed
                .iter()
                .map(|name| (Arc::from(*name), (Arc::from("sealed"), spans(200))))
                .collect(),
            references: BTreeMap::new(),
            key: None,
            sandbox: false,
        }
    }

    fn unsealed(values: &[(&str, Value)]) -> BTreeMap<Arc<str>, Value> {
        values
            .iter()
            .map(|(name, value)| (Arc::from(*name), value.clone()))
            .collect()
    }

    fn told(result: Result<Map, Vec<Diagnostic>>) -> Vec<String> {
        let problem = |d: Diagnostic| {
            let at = d.span.map_or(String::new(), |s| s.start.to_string());
            format!("{at}: {} ({})", d.message, d.hint.unwrap_or_default())
        };
        result.unwrap_err().into_iter().map(problem).collect()
    }

    #[test]
    fn values_defaults_and_secrets_come_together() {
        let secret = ConfigDeclaration {
            secret: true,
            ..declared("token", ConfigType::String, 1)
        };
        let default = ConfigDeclaration {
            default: Some(Value::str("latest")),
            ..declared("version", ConfigType::String, 2)
        };
        let declarations = vec![
            secret,
            default,
            declared("n", ConfigType::Number, 3),
            declared("extra", ConfigType::String, 4),
            declared("locked", ConfigType::Integer, 5),
        ];
        let stack = stack(
            declarations,
            &[("n", Value::Int(2))],
            &["token", "extra", "locked"],
        );
        let values = config_values(
            &stack,
            &unsealed(&[("token", Value::str("t")), ("extra", Value::str("e"))]),
        )
        .unwrap();
        assert_eq!(values.get("n"), Some(&Value::Int(2)));
        assert_eq!(values.get("version"), Some(&Value::str("latest")));
        assert_eq!(values.get("token"), Some(&Value::str("t").into_secret()));
        assert_eq!(values.get("extra"), Some(&Value::str("e").into_secret()));
        assert_eq!(
            values.get("locked"),
            Some(&Value::unknown("config.locked").into_secret())
        );
    }

    #[test]
    fn everything_wrong_is_reported_at_once() {
        let secret = ConfigDeclaration {
            secret: true,
            ..declared("token", ConfigType::String, 1)
        };
        let stack = stack(
            vec![
                secret.clone(),
                declared("environment", ConfigType::String, 2),
                declared("count", ConfigType::Integer, 3),
                declared("sealed", ConfigType::Integer, 4),
                ConfigDeclaration {
                    name: Arc::from("key"),
                    ..secret
                },
            ],
            &[
                ("count", Value::str("3")),
                ("environmnt", Value::str("x")),
                ("token", Value::str("hunter2")),
                ("zzz", Value::Null),
            ],
            &["sealed"],
        );
        let told = told(config_values(
            &stack,
            &unsealed(&[("sealed", Value::str("hunter2"))]),
        ));
        assert_eq!(
            told,
            [
                "102: `token` is a secret, but its value stands here in clear (take this line out and run: epid config set --secret token --stack dev)",
                "2: stack `dev` gives no `environment`, which its program takes (write `environment = \"…\"` under [config] in stacks/dev.toml, or declare a default)",
                "100: `count` takes an integer, not a string (write it without quotes: `count = 3`)",
                "200: `sealed` takes an integer, not a string ()",
                "1: stack `dev` gives no `key`, which its program takes (run: epid config set --secret key --stack dev)",
                "51: the program takes no configuration `environmnt` (did you mean `environment`?)",
                "53: the program takes no configuration `zzz` (take it out, or declare it in the program: [config.zzz])",
            ]
        );
        assert!(!told.join("").contains("hunter2"));
    }

    #[test]
    fn a_secret_under_a_mistyped_name_is_not_shown() {
        let secret = ConfigDeclaration {
            secret: true,
            ..declared("password", ConfigType::String, 1)
        };
        let told = |clear: &[(&str, Value)], sealed: &[&str]| {
            let problems = config_values(&stack(vec![secret.clone()], clear, sealed), &unsealed(&[]));
            let undeclared = problems.unwrap_err().pop().unwrap();
            (undeclared.span.unwrap().start, undeclared.secret)
        };
        assert_eq!(told(&[("pasword", Value::str("hunter2"))], &[]), (100, true));
        assert_eq!(told(&[("colour", Value::str("red"))], &[]), (50, false));
        assert_eq!(told(&[], &["pasword"]), (150, false));
    }

    #[test]
    fn twice_is_once_too_often() {
        let stack = stack(
            vec![declared("a", ConfigType::String, 1)],
            &[("a", Value::str("x"))],
            &["a"],
        );
        assert_eq!(
            told(config_values(&stack, &BTreeMap::new())),
            ["200: `a` is given twice: in clear under [config], and under [secrets] (take one of them out)"]
        );
    }

    #[test]
    fn open_configuration_is_taken_as_it_is() {
        let mut stack = stack(Vec::new(), &[("a", Value::list([]))], &["b"]);
        stack.program.open_config = true;
        let values = config_values(&stack, &unsealed(&[("b", Value::Int(1))])).unwrap();
        assert_eq!(
            (values.get("a"), values.get("b")),
            (Some(&Value::list([])), Some(&Value::Int(1).into_secret()))
        );
    }
}
