//! The tables of a program: `config`, `providers`, `resources` and `outputs`.

use std::collections::BTreeSet;
use std::sync::Arc;

use epid_provider::check::nearest;
use epid_provider::{Kind, Value};
use toml::de::DeValue;

use super::document::{Entry, Reader, Table};
use super::options;
use super::value::{condition, template, value};
use crate::expression::{Located, Span, Template};
use crate::program::{
    ConfigDeclaration, ConfigType, Declaration, Diagnostic, Options, OutputDeclaration, Program,
};

/// The tables of a program.
pub(super) const PROGRAM: [&str; 4] = ["config", "providers", "resources", "outputs"];
const RESOURCE: [&str; 5] = ["type", "properties", "options", "forEach", "if"];
const CONFIG: [&str; 4] = ["type", "default", "secret", "description"];
const OUTPUT: [&str; 3] = ["value", "secret", "description"];

/// Reads a program file.
pub(super) fn program(reader: &mut Reader<'_>, mut root: Table<'_, '_>) -> Program {
    let mut program = Program::default();
    if let Some(entry) = root.take("config") {
        program.config = config(reader, &entry, &mut program.incomplete);
    }
    body(reader, &mut root, &mut program);
    for entry in root.rest() {
        let stack = ["program", "secrets", "references", "key", "sandbox"].contains(&entry.key);
        let project = ["name", "defaultStack", "backend"].contains(&entry.key);
        if stack || project {
            let home = if stack { "a stack file" } else { "Epid.toml" };
            reader.report(
                Diagnostic::error(
                    entry.key_span,
                    format!("`{}` does not belong in a program", entry.key),
                )
                .with_hint(format!("it belongs in {home}")),
            );
        } else {
            section(reader, &entry);
            reader.unknown(&entry, "a program", PROGRAM);
        }
    }
    program
}

/// Takes `providers`, `resources` and `outputs`.
pub(super) fn body(reader: &mut Reader<'_>, root: &mut Table<'_, '_>, program: &mut Program) {
    if let Some(entry) = root.take("providers") {
        program.providers = providers(reader, &entry, &mut program.incomplete);
    }
    if let Some(entry) = root.take("resources") {
        program.resources = resources(reader, &entry, &mut program.incomplete);
    }
    if let Some(entry) = root.take("outputs") {
        program.outputs = outputs(reader, &entry);
    }
}

/// Remembers that a section with a misspelt name was not read.
pub(super) fn section(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) {
    let sections = PROGRAM.into_iter().chain(["program", "secrets", "references"]);
    if nearest(entry.key, sections).is_some() {
        reader.misread();
    }
}

/// Why a text is no name, with what to do; `None` where it is one.
pub(in crate::program) fn name_problem(name: &str, root: bool) -> Option<(String, String)> {
    let letters = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !letters || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let hint = match camel(name) {
            Some(better) => format!("call it `{better}`"),
            None => "a name is a letter, then letters, digits and `_`".to_owned(),
        };
        if name.is_empty() {
            return Some(("a name is missing".to_owned(), hint));
        }
        return Some((format!("`{name}` is not a name that expressions can use"), hint));
    }
    let refused = ["config", "stacks", "each", "true", "false", "null", "in"];
    if root && refused.contains(&name) {
        let mut letters = name.chars();
        let first = letters.next().unwrap_or_default().to_ascii_uppercase();
        return Some((
            format!("`{name}` means something else in expressions"),
            format!("call it otherwise, such as `my{first}{}`", letters.as_str()),
        ));
    }
    None
}

/// `my-app` as `myApp`, where that is a name.
fn camel(name: &str) -> Option<String> {
    let mut better = String::new();
    let mut upper = false;
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            better.push(if upper { c.to_ascii_uppercase() } else { c });
            upper = false;
        } else if matches!(c, '-' | '.' | ' ' | '/') {
            upper = !better.is_empty();
        } else {
            return None;
        }
    }
    better
        .starts_with(|c: char| c.is_ascii_alphabetic())
        .then_some(better)
}

/// Reports a name that cannot be one. What it names is read all the same.
fn check_name(reader: &mut Reader<'_>, entry: &Entry<'_, '_>, root: bool) {
    if let Some((message, hint)) = name_problem(entry.key, root) {
        reader.report(Diagnostic::error(entry.key_span, message).with_hint(hint));
    }
}

fn each<'a, 'i>(reader: &mut Reader<'_>, entry: &Entry<'a, 'i>) -> Vec<Entry<'a, 'i>> {
    reader.table(entry).map(Table::rest).unwrap_or_default()
}

fn config(
    reader: &mut Reader<'_>,
    entry: &Entry<'_, '_>,
    incomplete: &mut BTreeSet<Arc<str>>,
) -> Vec<ConfigDeclaration> {
    let mut found = Vec::new();
    for entry in each(reader, entry) {
        check_name(reader, &entry, false);
        if let DeValue::Table(table) = entry.value {
            let table = reader.view(table, entry.key_span);
            let before = reader.count();
            let declared = config_declaration(reader, &entry, table);
            if reader.count() > before {
                incomplete.insert(Arc::from(entry.key));
            }
            found.extend(declared);
        } else {
            incomplete.insert(Arc::from(entry.key));
            reader.report(
                Diagnostic::error(
                    entry.span,
                    format!("a program declares `{}`, it does not give its value", entry.key),
                )
                .with_hint(format!(
                    "write [config.{}] with a `type` here and the value in the stack file",
                    entry.key
                )),
            );
        }
    }
    found
}

/// True for a table that declares configuration rather than being its value: a `type` that is one or nearly one, and
/// nothing but what a declaration has.
pub(super) fn declares(reader: &Reader<'_>, entry: &Entry<'_, '_>) -> bool {
    let DeValue::Table(table) = entry.value else {
        return false;
    };
    let table = reader.view(table, entry.key_span);
    let typed = table.peek("type").is_some_and(|ty| {
        ty.value
            .as_str()
            .is_some_and(|text| ConfigType::parse(text).is_some() || meant_type(text).is_some())
    });
    typed && table.keys().all(|key| CONFIG.contains(&key))
}

/// The type that another spelling stands for.
fn meant_type(text: &str) -> Option<&'static str> {
    let others = [
        ("str", "string"),
        ("text", "string"),
        ("int", "integer"),
        ("float", "number"),
        ("bool", "boolean"),
        ("array", "list"),
        ("set", "list"),
        ("object", "map"),
        ("table", "map"),
        ("dict", "map"),
    ];
    let lower = text.to_lowercase();
    others
        .iter()
        .find(|(other, _)| *other == lower)
        .map(|(_, meant)| *meant)
        .or_else(|| nearest(text, ConfigType::ALL.map(|(name, _)| name)))
}

pub(super) fn config_declaration(
    reader: &mut Reader<'_>,
    entry: &Entry<'_, '_>,
    mut table: Table<'_, '_>,
) -> Option<ConfigDeclaration> {
    let name = entry.key;
    let ty = match table.take("type") {
        Some(ty) => reader.text(&ty).and_then(|text| {
            let parsed = ConfigType::parse(&text);
            if parsed.is_none() {
                let problem = Diagnostic::error(ty.span, format!("`{text}` is not a type of configuration"));
                reader.report(match meant_type(&text) {
                    Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
                    None => problem.with_hint(format!("the types are {}", type_names())),
                });
            }
            parsed
        }),
        None => {
            let problem = Diagnostic::error(entry.key_span, format!("the type of `{name}` is missing"));
            reader.report_missing(problem.with_hint(format!("the types are {}", type_names())));
            None
        }
    };
    let secret = table
        .take("secret")
        .and_then(|e| reader.bool(&e))
        .unwrap_or_default();
    let description = table
        .take("description")
        .and_then(|e| reader.text(&e))
        .unwrap_or_default();
    let default = table.take("default").and_then(|default| {
        let value = value(reader, &default)?;
        if secret {
            reader.report(
                Diagnostic::error(default.span, format!("the secret `{name}` stands here in clear"))
                    .about_a_secret()
                    .with_hint("seal it in the stack file, under [secrets]"),
            );
        }
        if let Some(ty) = ty
            && !ty.takes(&value)
        {
            reader.report(Diagnostic::error(
                default.span,
                format!(
                    "`{name}` is of type {ty}, but its default is of type {}",
                    value.type_name()
                ),
            ));
        }
        Some(value)
    });
    for entry in table.rest() {
        reader.unknown(&entry, &format!("config `{name}`"), CONFIG);
    }
    Some(ConfigDeclaration {
        name: Arc::from(name),
        ty: ty?,
        default,
        secret,
        description,
        span: entry.key_span,
    })
}

fn type_names() -> String {
    ConfigType::ALL.map(|(name, _)| name).join(", ")
}

/// Reads `[providers]`.
pub(super) fn providers(
    reader: &mut Reader<'_>,
    entry: &Entry<'_, '_>,
    incomplete: &mut BTreeSet<Arc<str>>,
) -> Vec<Declaration> {
    let mut found = Vec::new();
    for entry in each(reader, entry) {
        let before = reader.count();
        check_name(reader, &entry, false);
        let name = entry.key;
        let Some(mut table) = reader.table(&entry) else {
            incomplete.insert(Arc::from(name));
            continue;
        };
        let kind = kind(reader, &mut table, name, "aws", &["type", "properties"], |text| {
            Kind::parse(&format!("epid:provider:{text}")).map_err(|_| {
                (
                    format!("`{text}` is not a type of provider"),
                    "a type of provider is one word, such as `aws` or `kubernetes`".to_owned(),
                )
            })
        });
        let properties = properties(reader, &mut table, name, "providers");
        for entry in table.rest() {
            let problem = Diagnostic::error(
                entry.key_span,
                format!("unknown key `{}` in provider `{name}`", entry.key),
            );
            reader.report(match nearest(entry.key, ["type", "properties"]) {
                Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
                None if RESOURCE.contains(&entry.key) || options::OPTIONS.contains(&entry.key) => {
                    problem.with_hint("a provider has a type and properties, and nothing else")
                }
                None => problem.with_hint(format!(
                    "`{}` belongs in [providers.{name}.properties]",
                    entry.key
                )),
            });
        }
        if reader.count() > before {
            incomplete.insert(Arc::from(name));
            continue;
        }
        found.extend(kind.map(|(kind, kind_span)| Declaration {
            name: Arc::from(name),
            kind,
            properties,
            options: Options::default(),
            for_each: None,
            when: None,
            span: entry.key_span,
            kind_span,
        }));
    }
    found
}

fn resources(
    reader: &mut Reader<'_>,
    entry: &Entry<'_, '_>,
    incomplete: &mut BTreeSet<Arc<str>>,
) -> Vec<Declaration> {
    let mut found = Vec::new();
    for entry in each(reader, entry) {
        check_name(reader, &entry, true);
        let name = entry.key;
        let Some(mut table) = reader.table(&entry) else {
            incomplete.insert(Arc::from(name));
            continue;
        };
        let kind = kind(reader, &mut table, name, "aws:ec2:Vpc", &RESOURCE, |text| {
            Kind::parse(text).map_err(|_| {
                (
                    format!("`{text}` is not a kind"),
                    "a kind is `provider:module:Name`, such as `aws:ec2:Vpc`".to_owned(),
                )
            })
        });
        let before = reader.count();
        let properties = properties(reader, &mut table, name, "resources");
        let options = table
            .take("options")
            .map(|entry| options::read(reader, &entry, name))
            .unwrap_or_default();
        let for_each = table.take("forEach").map(|entry| condition(reader, &entry));
        let when = table.take("if").map(|entry| when(reader, &entry));
        for entry in table.rest() {
            stray(reader, &entry, name);
        }
        // What was said in the wrong place is missing in the right one, which is no second mistake.
        if kind.is_none() || reader.count() > before {
            incomplete.insert(Arc::from(name));
            continue;
        }
        found.extend(kind.map(|(kind, kind_span)| Declaration {
            name: Arc::from(name),
            kind,
            properties,
            options,
            for_each,
            when,
            span: entry.key_span,
            kind_span,
        }));
    }
    found
}

fn kind(
    reader: &mut Reader<'_>,
    table: &mut Table<'_, '_>,
    name: &str,
    example: &str,
    known: &[&str],
    parse: impl Fn(&str) -> Result<Kind, (String, String)>,
) -> Option<(Kind, Span)> {
    let Some(entry) = table.take("type") else {
        let problem = Diagnostic::error(table.span, format!("the type of `{name}` is missing"));
        let meant = |key: &&str| *key == "kind" || nearest(key, known.iter().copied()) == Some("type");
        let other = table.keys().find(meant);
        let other = other.and_then(|key| table.take(key));
        if let Some(other) = other {
            let problem =
                Diagnostic::error(other.key_span, format!("unknown key `{}` in `{name}`", other.key));
            reader.report(problem.with_hint("did you mean `type`?"));
        } else {
            reader.report_missing(problem.with_hint(format!("say what it is: type = \"{example}\"")));
        }
        return None;
    };
    let text = reader.text(&entry)?;
    match parse(&text) {
        Ok(kind) => Some((kind, entry.span)),
        Err((message, hint)) => {
            reader.report(Diagnostic::error(entry.span, message).with_hint(hint));
            None
        }
    }
}

fn properties(reader: &mut Reader<'_>, table: &mut Table<'_, '_>, name: &str, section: &str) -> Located {
    let nothing = Located::built(Template::Map(Arc::from([])));
    let Some(entry) = table.take("properties") else {
        return Located {
            span: table.span,
            ..nothing
        };
    };
    if entry.value.is_table() {
        return template(reader, &entry);
    }
    if !entry.span.is_empty() {
        let what = super::document::type_name(entry.value);
        reader.report(
            Diagnostic::error(entry.span, format!("`properties` takes a table, not {what}"))
                .with_hint(format!("write [{section}.{name}.properties]")),
        );
    }
    nothing
}

fn when(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> Located {
    if !matches!(entry.value, DeValue::Boolean(_) | DeValue::String(_)) && !entry.span.is_empty() {
        let what = super::document::type_name(entry.value);
        reader.report(
            Diagnostic::error(
                entry.span,
                format!("`if` takes a boolean or an expression, not {what}"),
            )
            .with_hint("such as if = \"config.environment == 'prod'\""),
        );
    }
    condition(reader, entry)
}

/// Something that stands directly in the table of a resource and does not belong there.
fn stray(reader: &mut Reader<'_>, entry: &Entry<'_, '_>, name: &str) {
    let key = entry.key;
    let problem = Diagnostic::error(
        entry.key_span,
        format!("unknown key `{key}` in resource `{name}`"),
    );
    let close = nearest(key, RESOURCE).filter(|_| !options::OPTIONS.contains(&key));
    let hint = match close {
        Some(near) => format!("did you mean `{near}`?"),
        None if ["when", "condition", "enabled"].contains(&key) => "did you mean `if`?".to_owned(),
        None if ["count", "for_each", "foreach"].contains(&key) => "did you mean `forEach`?".to_owned(),
        None => match nearest(key, options::OPTIONS) {
            Some(option) => format!("`{option}` belongs in [resources.{name}.options]"),
            None => format!("`{key}` belongs in [resources.{name}.properties]"),
        },
    };
    reader.report(problem.with_hint(hint));
}

fn outputs(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> Vec<OutputDeclaration> {
    let mut found = Vec::new();
    for entry in each(reader, entry) {
        check_name(reader, &entry, false);
        let mut output = OutputDeclaration {
            name: Arc::from(entry.key),
            value: Value::Null.into(),
            secret: false,
            description: Arc::default(),
            span: entry.key_span,
        };
        let table = match entry.value {
            DeValue::Table(table) => Some(reader.view(table, entry.key_span)),
            _ => None,
        };
        // A map that happens to have a `value` and more is a value itself.
        let described =
            table.filter(|t| t.peek("value").is_some() && t.keys().all(|key| nearest(key, OUTPUT).is_some()));
        if let Some(mut table) = described {
            if let Some(entry) = table.take("value") {
                output.value = template(reader, &entry);
            }
            if let Some(entry) = table.take("secret") {
                output.secret = reader.bool(&entry).unwrap_or_default();
            }
            if let Some(entry) = table.take("description") {
                output.description = reader.text(&entry).unwrap_or_default();
            }
            for entry in table.rest() {
                reader.unknown(&entry, &format!("output `{}`", output.name), OUTPUT);
            }
        } else {
            output.value = template(reader, &entry);
        }
        found.push(output);
    }
    found
}
