//! The grammar of `table.txt`, which `tests/schema_table.rs` makes of the real server's OpenAPI documents.
//!
//! ```text
//! +GROUP/VERSION KIND PLURAL SCOPE [TYPE]     a kind; SCOPE is n (namespaced) or c (cluster); TYPE, where it is not KIND
//! TYPE                                        a type, followed by its fields
//!  FIELD[!] OF [=DEFAULT]                     `!`: required
//! ```
//!
//! OF is `*` anything, `s` text, `i` integer, `n` number, `b` boolean, `B` base64, `q` quantity, `x` integer or text,
//! `|A|B` one of these, `@TYPE`, `{}OF` a map, `[]OF` a list, `[=]OF` a set, `[KEY,…]OF` a list known by these keys.

use std::collections::BTreeMap;

use epid_provider::Value;

/// The table as text.
pub(super) const TEXT: &str = include_str!("table.txt");

/// The parsed table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// The kinds, in the order of the table.
    pub(crate) kinds: Vec<Served>,
    types: BTreeMap<&'static str, Vec<Row>>,
}

/// A kind the server serves.
#[derive(Debug)]
pub(crate) struct Served {
    /// `apps/v1`, `v1`.
    pub(crate) api_version: &'static str,
    /// `Deployment`.
    pub(crate) kind: &'static str,
    /// `deployments`.
    pub(crate) plural: &'static str,
    /// True where its objects live in namespaces.
    pub(crate) namespaced: bool,
    /// The name of its type.
    pub(crate) root: &'static str,
}

/// A field of a type.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) of: Of,
    pub(crate) default: Option<Value>,
}

/// What a field takes.
#[derive(Debug)]
pub(crate) enum Of {
    Any,
    Text,
    Int,
    Number,
    Bool,
    Bytes,
    Quantity,
    IntOrText,
    Choice(Vec<&'static str>),
    Type(&'static str),
    Map(Box<Of>),
    List(Box<Of>),
    Set(Box<Of>),
    Keyed(Vec<&'static str>, Box<Of>),
}

impl Table {
    /// Reads the text of a table; lines that make no sense are passed over (a test reads the real one).
    pub(crate) fn parse(text: &'static str) -> Self {
        let mut table = Self::default();
        let mut open: Option<&'static str> = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix('+') {
                let words: Vec<&'static str> = rest.split(' ').collect();
                if let [api_version, kind, plural, scope, root @ ..] = &words[..] {
                    table.kinds.push(Served {
                        api_version,
                        kind,
                        plural,
                        namespaced: *scope == "n",
                        root: root.first().unwrap_or(kind),
                    });
                }
            } else if let Some(row) = line.strip_prefix(' ') {
                if let (Some(row), Some(rows)) = (Row::parse(row), open.and_then(|o| table.types.get_mut(o)))
                {
                    rows.push(row);
                }
            } else if !line.is_empty() && !line.starts_with('#') {
                open = Some(line);
                table.types.insert(line, Vec::new());
            }
        }
        table
    }

    /// The fields of a type.
    pub(crate) fn rows(&self, name: &str) -> &[Row] {
        self.types.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The kind of that API version and name.
    pub(crate) fn served(&self, api_version: &str, kind: &str) -> Option<&Served> {
        self.kinds
            .iter()
            .find(|k| k.api_version == api_version && k.kind == kind)
    }
}

impl Row {
    fn parse(text: &'static str) -> Option<Self> {
        let (name, rest) = text.split_once(' ')?;
        let (of, default) = match rest.rsplit_once(" =") {
            Some((of, default)) => (of, Some(literal(default))),
            None => (rest, None),
        };
        Some(Self {
            name: name.trim_end_matches('!'),
            required: name.ends_with('!'),
            of: Of::parse(of),
            default,
        })
    }
}

impl Of {
    fn parse(text: &'static str) -> Self {
        if let Some(rest) = text.strip_prefix("{}") {
            return Self::Map(Box::new(Self::parse(rest)));
        }
        if let Some((keys, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
            let of = Box::new(Self::parse(rest));
            return match keys {
                "" => Self::List(of),
                "=" => Self::Set(of),
                keys => Self::Keyed(keys.split(',').collect(), of),
            };
        }
        if let Some(name) = text.strip_prefix('@') {
            return Self::Type(name);
        }
        if let Some(values) = text.strip_prefix('|') {
            return Self::Choice(values.split('|').collect());
        }
        match text {
            "s" => Self::Text,
            "i" => Self::Int,
            "n" => Self::Number,
            "b" => Self::Bool,
            "B" => Self::Bytes,
            "q" => Self::Quantity,
            "x" => Self::IntOrText,
            _ => Self::Any,
        }
    }
}

fn literal(text: &str) -> Value {
    match (text, text.parse()) {
        ("true", _) => Value::Bool(true),
        ("false", _) => Value::Bool(false),
        (_, Ok(n)) => Value::Int(n),
        _ => Value::str(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types_of<'a>(of: &'a Of, found: &mut Vec<&'a str>) {
        match of {
            Of::Type(name) => found.push(name),
            Of::Map(of) | Of::List(of) | Of::Set(of) | Of::Keyed(_, of) => types_of(of, found),
            _ => {}
        }
    }

    #[test]
    fn every_line_is_read_and_every_type_is_there() {
        let table = Table::parse(TEXT);
        let rows: usize = table.types.values().map(Vec::len).sum();
        let lines = TEXT.lines().filter(|l| !l.starts_with('#')).count();
        assert_eq!(table.kinds.len() + table.types.len() + rows, lines);
        let mut named: Vec<&str> = table.kinds.iter().map(|k| k.root).collect();
        for rows in table.types.values() {
            rows.iter().for_each(|row| types_of(&row.of, &mut named));
        }
        for name in named {
            assert!(table.types.contains_key(name), "{name}");
        }
    }

    #[test]
    fn kinds_fields_and_defaults_come_back() {
        let table = Table::parse(TEXT);
        let deployment = table.served("apps/v1", "Deployment").unwrap();
        assert_eq!((deployment.plural, deployment.namespaced), ("deployments", true));
        assert!(!table.served("v1", "Namespace").unwrap().namespaced);
        let hpa = table.served("autoscaling/v2", "HorizontalPodAutoscaler").unwrap();
        assert!(table.rows(hpa.root).iter().any(|row| row.name == "spec"));
        let protocol = table
            .rows("ContainerPort")
            .iter()
            .find(|r| r.name == "protocol")
            .unwrap();
        assert_eq!(protocol.default, Some(Value::str("TCP")));
        assert!(
            table
                .rows("Container")
                .iter()
                .any(|r| r.name == "name" && r.required)
        );
        let usages = table
            .rows("CertificateSigningRequestSpec")
            .iter()
            .find(|r| r.name == "usages")
            .unwrap();
        assert!(
            matches!(&usages.of, Of::List(of) if matches!(&**of, Of::Choice(v) if v.contains(&"cert sign")))
        );
    }
}
