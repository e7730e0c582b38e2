//! Changes to stack files and `Epid.toml` that leave everything else as it is: comments, order, spelling.

use std::collections::BTreeMap;
use std::sync::Arc;

use epid_provider::Value;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Key, Table, TableLike};

/// The settings of backends, as they are written.
const BACKEND: [&str; 5] = ["path", "bucket", "prefix", "region", "endpoint"];

/// A file cannot be changed as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EditError {
    /// The file is broken.
    #[error("the file is not TOML: {}", .0.message())]
    Syntax(#[source] Box<toml_edit::TomlError>),
    /// That is no name.
    #[error("`{0}` is not a name of configuration: a letter, then letters, digits and `_`")]
    Name(String),
    /// The value cannot stand in a file.
    #[error("`{name}` cannot be given {what}")]
    Value {
        /// The configuration's name.
        name: String,
        /// What the value is or holds.
        what: &'static str,
    },
    /// `config`, `secrets` or `backend` is something else.
    #[error("`{0}` in the file is not a table")]
    NotATable(&'static str),
    /// There is nothing to take out.
    #[error("the stack file gives no `{0}`")]
    Missing(String),
}

/// `text` with the configuration `name` given in clear. A sealed value of that name goes. Where the file declares it itself, the
/// value is its default.
///
/// # Errors
/// [`EditError`] where the text is no TOML, the name no name, or the value is `null`, unknown, secret, not finite or
/// nested more than 32 levels deep.
pub fn set_config(text: &str, name: &str, value: &Value) -> Result<String, EditError> {
    check_name(name)?;
    let refused = |what| EditError::Value {
        name: name.to_owned(),
        what,
    };
    let item = toml_value(value, 0).map_err(refused)?;
    edit(text, |document| {
        let comment = comment_of(document, "secrets", name);
        take_out(document, "secrets", name)?;
        if let Some(declared) = declaration(document, name) {
            declared.insert("default", Item::Value(item));
            return Ok(());
        }
        put(document, "config", name, item)?;
        comment_on(document, "config", name, comment);
        Ok(())
    })
}

/// `text` with the secret `name` given as `sealed`, by the key `key_id`. A value of that name in clear goes.
///
/// # Errors
/// [`EditError`] where the text is no TOML or the name no name.
pub fn set_secret(text: &str, name: &str, sealed: &str, key_id: &str) -> Result<String, EditError> {
    check_name(name)?;
    let (edited, has_key) = {
        let mut has_key = false;
        let edited = edit(text, |document| {
            if declaration(document, name).is_none() {
                let comment = comment_of(document, "config", name);
                take_out(document, "config", name)?;
                put(document, "secrets", name, sealed.into())?;
                comment_on(document, "secrets", name, comment);
            } else {
                put(document, "secrets", name, sealed.into())?;
            }
            if document.contains_key("key") {
                has_key = true;
                put_into(document.as_table_mut(), "key", key_id.into());
            }
            Ok(())
        })?;
        (edited, has_key)
    };
    if has_key {
        return Ok(edited);
    }
    // A key at the top must stand before every table, and its line is new: as text it disturbs nothing.
    let newline = newline_of(text);
    let (mark, rest) = match edited.strip_prefix('\u{feff}') {
        Some(rest) => ("\u{feff}", rest),
        None => ("", edited.as_str()),
    };
    let at = top_end(rest);
    let (head, tail) = rest.split_at(at);
    let gap = if tail.is_empty() || !head.is_empty() {
        ""
    } else {
        newline
    };
    let line = format!("key = {}{newline}", toml_edit::Value::from(key_id));
    Ok(format!("{mark}{head}{line}{gap}{tail}"))
}

/// `text` with another key, where it names one. Secrets are left as they are.
///
/// # Errors
/// [`EditError`] where the text is no TOML.
pub fn set_key(text: &str, key_id: &str) -> Result<String, EditError> {
    edit(text, |document| {
        if document.contains_key("key") {
            put_into(document.as_table_mut(), "key", key_id.into());
        }
        Ok(())
    })
}

/// `text` of an `Epid.toml` that says where states are kept: `kind` and its settings, and no other setting of a backend.
///
/// # Errors
/// [`EditError`] where the text is no TOML, or `backend` in it is no table.
pub fn set_backend(
    text: &str,
    kind: &str,
    settings: &BTreeMap<Arc<str>, Arc<str>>,
) -> Result<String, EditError> {
    edit(text, |document| {
        put(document, "backend", "type", kind.into())?;
        for name in BACKEND {
            if let Some(value) = settings.get(name) {
                put(document, "backend", name, (&**value).into())?;
            }
        }
        // Only now: what stands behind the last key of a line goes with that key.
        for name in BACKEND.iter().filter(|name| !settings.contains_key(**name)) {
            take_out(document, "backend", name)?;
        }
        Ok(())
    })
}

/// `text` without the configuration or secret `name`.
///
/// # Errors
/// [`EditError`] where the text is no TOML or gives no such name.
pub fn unset(text: &str, name: &str) -> Result<String, EditError> {
    edit(text, |document| {
        let clear = take_out(document, "config", name)?;
        let sealed = take_out(document, "secrets", name)?;
        if clear || sealed {
            Ok(())
        } else {
            Err(EditError::Missing(name.to_owned()))
        }
    })
}

fn check_name(name: &str) -> Result<(), EditError> {
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if good {
        Ok(())
    } else {
        Err(EditError::Name(name.to_owned()))
    }
}

/// Changes the document; newlines and the byte order mark stay as the file has them.
fn edit(
    text: &str,
    change: impl FnOnce(&mut DocumentMut) -> Result<(), EditError>,
) -> Result<String, EditError> {
    let mark = if text.starts_with('\u{feff}') {
        "\u{feff}"
    } else {
        ""
    };
    let body = text.trim_start_matches('\u{feff}');
    let mut document: DocumentMut = body.parse().map_err(|e| EditError::Syntax(Box::new(e)))?;
    change(&mut document)?;
    let edited = document.to_string().replace("\r\n", "\n");
    let edited = match newline_of(text) {
        "\n" => edited,
        newline => edited.replace('\n', newline),
    };
    Ok(format!("{mark}{edited}"))
}

fn newline_of(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text.get(..at).is_some_and(|line| line.ends_with('\r')) => "\r\n",
        _ => "\n",
    }
}

/// Where the last of the keys at the top ends; 0 where the text begins with a table.
fn top_end(text: &str) -> usize {
    let Ok(document) = text.parse::<toml_edit::Document<String>>() else {
        return 0;
    };
    let ends = document.iter().filter_map(|(_, item)| {
        let end = item.as_value()?.span()?.end;
        let line = text.get(end..)?.find('\n').map_or(text.len(), |at| end + at + 1);
        Some(line)
    });
    ends.max().unwrap_or_default()
}

/// The table of that name, made at the end where there is none.
fn section<'a>(
    document: &'a mut DocumentMut,
    name: &'static str,
) -> Result<&'a mut dyn TableLike, EditError> {
    if !document.contains_key(name) {
        let mut table = Table::new();
        let prefix = if document.is_empty() { "" } else { "\n" };
        table.decor_mut().set_prefix(prefix);
        document.insert(name, Item::Table(table));
    }
    document
        .get_mut(name)
        .and_then(Item::as_table_like_mut)
        .ok_or(EditError::NotATable(name))
}

fn put(
    document: &mut DocumentMut,
    table: &'static str,
    name: &str,
    value: toml_edit::Value,
) -> Result<(), EditError> {
    if let Some(Item::Value(toml_edit::Value::InlineTable(inline))) = document.get_mut(table)
        && !inline.contains_key(name)
        && let Some((_, last)) = inline.iter_mut().last()
    {
        // What stands before the closing bracket belongs to the last value.
        let suffix = last.decor().suffix().cloned().unwrap_or_default();
        last.decor_mut().set_suffix("");
        let mut value = value;
        value.decor_mut().set_prefix(" ");
        value.decor_mut().set_suffix(suffix);
        inline.insert(name, value);
        return Ok(());
    }
    put_into(section(document, table)?, name, value);
    Ok(())
}

/// Puts a value behind a key; what stands around the old one stays.
fn put_into(table: &mut dyn TableLike, name: &str, mut value: toml_edit::Value) {
    match table.get_mut(name) {
        Some(Item::Value(old)) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        Some(Item::Table(old)) => match value {
            // A map written as a table of its own stays one, with the comments of the keys it keeps.
            toml_edit::Value::InlineTable(new) => {
                let gone: Vec<String> = old
                    .iter()
                    .filter(|(key, _)| !new.contains_key(key))
                    .map(|(key, _)| key.to_owned())
                    .collect();
                for key in gone {
                    old.remove(&key);
                }
                for (key, value) in new {
                    put_into(old, &key, value);
                }
            }
            other => {
                table.remove(name);
                table.insert(name, Item::Value(other));
            }
        },
        _ => {
            table.remove(name);
            table.insert(name, Item::Value(value));
        }
    }
}

/// What declares a configuration in a stack file that is its own program.
fn declaration<'a>(document: &'a mut DocumentMut, name: &str) -> Option<&'a mut dyn TableLike> {
    let declared = document.get_mut("config")?.get_mut(name)?.as_table_like_mut()?;
    let keys = ["type", "default", "secret", "description"];
    let typed = declared.get("type").is_some_and(Item::is_str);
    (typed && declared.iter().all(|(key, _)| keys.contains(&key))).then_some(declared)
}

fn take_out(document: &mut DocumentMut, table: &'static str, name: &str) -> Result<bool, EditError> {
    let Some(item) = document.get_mut(table) else {
        return Ok(false);
    };
    let table = item.as_table_like_mut().ok_or(EditError::NotATable(table))?;
    Ok(table.remove(name).is_some())
}

/// The comment above a key, which goes where the key goes.
fn comment_of(document: &DocumentMut, table: &str, name: &str) -> Option<String> {
    let (key, _) = document.get(table)?.as_table()?.get_key_value(name)?;
    let comment = key.leaf_decor().prefix()?.as_str()?;
    comment.contains('#').then(|| comment.to_owned())
}

/// Puts a comment above a key that has none.
fn comment_on(document: &mut DocumentMut, table: &str, name: &str, comment: Option<String>) {
    let table = document.get_mut(table).and_then(Item::as_table_mut);
    if let (Some(mut key), Some(comment)) = (table.and_then(|table| table.key_mut(name)), comment)
        && key
            .leaf_decor()
            .prefix()
            .and_then(toml_edit::RawString::as_str)
            .is_none_or(str::is_empty)
    {
        key.leaf_decor_mut().set_prefix(comment);
    }
}

fn toml_value(value: &Value, depth: usize) -> Result<toml_edit::Value, &'static str> {
    if depth > 32 {
        return Err("something nested so deeply");
    }
    Ok(match value {
        Value::Bool(b) => (*b).into(),
        Value::Int(n) => (*n).into(),
        Value::Float(n) if n.is_finite() => (*n).into(),
        Value::Float(_) => return Err("a number that is not finite"),
        Value::Str(text) => (&**text).into(),
        Value::List(items) => {
            let items: Result<Array, &'static str> = items.iter().map(|v| toml_value(v, depth + 1)).collect();
            items?.into()
        }
        Value::Map(map) => {
            let mut table = InlineTable::new();
            for (key, value) in map.iter() {
                table.insert_formatted(&Key::new(&**key), toml_value(value, depth + 1)?);
            }
            table.into()
        }
        Value::Null => return Err("null, which TOML has not"),
        Value::Unknown(_) => return Err("a value that is not known yet"),
        Value::Secret(_) | Value::Opaque(_) => return Err("a secret in clear"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STACK: &str = "# Our development stack.\nprogram = \"programs/services.toml\"  # shared\n\n[config]\n# where\nenvironment = \"dev\"   # short\nreplicas = 1\n\n[secrets]\npassword = \"sealed:1\"\n";

    fn config(text: &str, name: &str) -> Option<String> {
        let document: DocumentMut = text.parse().unwrap();
        Some(document.get("config")?.get(name)?.to_string().trim().to_owned())
    }

    #[test]
    fn a_value_is_replaced_and_everything_else_stays() {
        let edited = set_config(STACK, "environment", &Value::str("test")).unwrap();
        assert_eq!(edited, STACK.replace("\"dev\"", "\"test\""));
        let edited = set_config(STACK, "replicas", &Value::Int(3)).unwrap();
        assert_eq!(edited, STACK.replace("replicas = 1", "replicas = 3"));
    }

    #[test]
    fn a_value_is_added() {
        let edited = set_config(STACK, "zones", &Value::list([Value::str("a"), Value::Bool(true)])).unwrap();
        assert_eq!(
            edited,
            STACK.replace("replicas = 1\n", "replicas = 1\nzones = [\"a\", true]\n")
        );
        assert_eq!(
            set_config("", "a", &Value::Float(1.5)).unwrap(),
            "[config]\na = 1.5\n"
        );
        assert_eq!(
            set_config("program = \"x\"\n", "a", &Value::map([("k", Value::Int(1))])).unwrap(),
            "program = \"x\"\n\n[config]\na = { k = 1 }\n"
        );
        assert_eq!(
            set_config("config = { a = 1 }\n", "b", &Value::Int(2)).unwrap(),
            "config = { a = 1, b = 2 }\n"
        );
        assert_eq!(
            set_config("config.a = 1\n", "b", &Value::Int(2)).unwrap(),
            "config.a = 1\nconfig.b = 2\n"
        );
    }

    #[test]
    fn a_table_keeps_its_form_and_comments() {
        let text = "[config.tags]\n# who\nteam = \"a\"\nold = 1\n\n[secrets]\n";
        let value = Value::map([("team", Value::str("b")), ("new", Value::Int(2))]);
        assert_eq!(
            set_config(text, "tags", &value).unwrap(),
            "[config.tags]\n# who\nteam = \"b\"\nnew = 2\n\n[secrets]\n"
        );
        let edited = set_config(text, "tags", &Value::Int(1)).unwrap();
        assert_eq!(config(&edited, "tags").unwrap(), "1");
    }

    #[test]
    fn a_secret_takes_the_place_of_a_value_and_the_other_way_round() {
        let edited = set_secret(STACK, "environment", "sealed:2", "k1").unwrap();
        assert_eq!(config(&edited, "environment"), None);
        assert!(
            edited.contains("\npassword = \"sealed:1\"\n# where\nenvironment = \"sealed:2\"\n"),
            "{edited}"
        );
        assert!(
            edited.starts_with(
                "# Our development stack.\nprogram = \"programs/services.toml\"  # shared\nkey = \"k1\"\n"
            ),
            "{edited}"
        );
        let again = set_secret(&edited, "password", "sealed:3", "k2").unwrap();
        assert_eq!(
            again,
            edited.replace("sealed:1", "sealed:3").replace("\"k1\"", "\"k2\"")
        );
        let clear = set_config(&edited, "password", &Value::str("x")).unwrap();
        assert!(!clear.contains("sealed:1") && config(&clear, "password").is_some());
    }

    #[test]
    fn a_key_stands_before_the_first_table() {
        assert_eq!(
            set_secret("", "a", "s", "k").unwrap(),
            "key = \"k\"\n\n[secrets]\na = \"s\"\n"
        );
        assert_eq!(
            set_secret("[config]\r\nb = 1\r\n", "a", "s", "k").unwrap(),
            "key = \"k\"\r\n\r\n[config]\r\nb = 1\r\n\r\n[secrets]\r\na = \"s\"\r\n"
        );
        let no_newline = set_secret("program = \"x\"", "a", "s", "k").unwrap();
        assert_eq!(
            no_newline,
            "program = \"x\"\nkey = \"k\"\n\n[secrets]\na = \"s\"\n"
        );
    }

    #[test]
    fn a_backend_is_written_however_it_was() {
        let set = |text: &str, kind, settings: &[(&str, &str)]| {
            let settings = settings
                .iter()
                .map(|(name, value)| (Arc::from(*name), Arc::from(*value)));
            set_backend(text, kind, &settings.collect()).unwrap()
        };
        let bucket = [("bucket", "b"), ("prefix", "p/q")];
        assert_eq!(
            set("name = \"x\"\n\n[providers.aws] # ours\n", "s3", &bucket),
            "name = \"x\"\n\n[providers.aws] # ours\n\n[backend]\ntype = \"s3\"\nbucket = \"b\"\nprefix = \"p/q\"\n"
        );
        assert_eq!(
            set(
                "backend = { type = \"local\", path = \"y\" } # here\n",
                "s3",
                &bucket
            ),
            "backend = { type = \"s3\", bucket = \"b\", prefix = \"p/q\" } # here\n"
        );
        let text = "[backend]\n# shared\ntype = \"s3\" # as all\nbucket = \"a\" # old\nendpoint = \"https://e\"\n\n[providers.aws]\n";
        assert_eq!(
            set(text, "s3", &bucket),
            text.replace("\"a\"", "\"b\"")
                .replace("endpoint = \"https://e\"", "prefix = \"p/q\"")
        );
        assert_eq!(
            set(text, "local", &[]),
            "[backend]\n# shared\ntype = \"local\" # as all\n\n[providers.aws]\n"
        );
    }

    #[test]
    fn a_value_is_taken_out() {
        let edited = unset(STACK, "password").unwrap();
        assert_eq!(edited, STACK.replace("password = \"sealed:1\"\n", ""));
        assert!(matches!(unset(STACK, "nothing"), Err(EditError::Missing(name)) if name == "nothing"));
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let refused = |name: &str, value: Value| set_config(STACK, name, &value).unwrap_err().to_string();
        assert_eq!(
            refused("a-b", Value::Int(1)),
            "`a-b` is not a name of configuration: a letter, then letters, digits and `_`"
        );
        assert_eq!(
            refused("a", Value::str("x").into_secret()),
            "`a` cannot be given a secret in clear"
        );
        assert_eq!(
            refused("a", Value::Float(f64::NAN)),
            "`a` cannot be given a number that is not finite"
        );
        assert!(matches!(
            set_config("[", "a", &Value::Int(1)),
            Err(EditError::Syntax(_))
        ));
        assert!(matches!(
            set_config("config = 1", "a", &Value::Int(1)),
            Err(EditError::NotATable("config"))
        ));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-1e9..1e9f64).prop_map(Value::Float),
            "\\PC{0,12}".prop_map(Value::from),
            Just(Value::str("two\nlines \"\"\" '''\t\\")),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::list),
                prop::collection::vec(("\\PC{0,6}", inner), 0..4).prop_map(Value::map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_set_is_read_back(value in any_value(), windows in any::<bool>()) {
            let text = if windows { STACK.replace('\n', "\r\n") } else { STACK.to_owned() };
            let edited = set_config(&text, "value", &value).unwrap();
            let read: Value = toml::from_str(&edited).unwrap();
            let found = read.get("config").and_then(|c| c.get("value")).unwrap();
            // A checkout with other newlines has them in texts too; the loader reads both alike.
            let found = found.replaced(&mut |v| v.as_str().map(|t| Value::from(t.replace("\r\n", "\n"))));
            prop_assert_eq!(found, value);
            let again = set_config(&edited, "value", &Value::Int(1)).unwrap();
            prop_assert_eq!(unset(&again, "value").unwrap(), text);
        }
    }
}
