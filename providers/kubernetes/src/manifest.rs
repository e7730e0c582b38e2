//! YAML manifests to objects.
//!
//! What is read is YAML as Kubernetes users write it: several documents, JSON, anchors and merge keys, `List` kinds
//! (their items are objects of their own), octal numbers with a leading zero (`defaultMode: 0644`). Duplicate keys are
//! refused, and so are aliases that multiply beyond [`MOST_REPLAYED`] nodes.
//!
//! `yes`, `no`, `on` and `off` are texts, as in YAML 1.2; `kubectl` reads them as booleans (YAML 1.1). Where a field takes
//! a boolean, the check of the kind says so.

use std::fmt;
use std::ops::Range;

use epid_provider::{Kind, Value};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Options, Spanned};

/// How many nodes aliases may add to a file.
pub const MOST_REPLAYED: usize = 20_000;
/// The stack that reading takes at most, in bytes.
const STACK: usize = 16 * 1024 * 1024;
/// How deep lists of lists may go.
const DEEPEST_LIST: u32 = 4;

/// An object of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its kind, from `apiVersion` and `kind`.
    pub kind: Kind,
    /// Everything but `apiVersion`, `kind` and `status`.
    pub properties: Value,
    /// The same with the place of everything in it.
    pub node: Node,
    /// The line it begins in, from 1.
    pub line: u32,
    /// The bytes of its kind.
    pub kind_at: Range<u32>,
}

/// A value that knows which bytes of the text it is. What an alias put there is where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub part: Part,
    /// Its first word.
    pub at: Range<u32>,
    /// Its key, in a map.
    pub key: Range<u32>,
}

/// What a [`Node`] is.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Neither list nor map.
    Leaf(Value),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order it was written in.
    Map(Vec<(String, Node)>),
}

impl Object {
    /// `metadata.namespace` and `metadata.name`, for the name of a resource; empty where they are not given.
    #[must_use]
    pub fn name(&self) -> (&str, &str) {
        let part = |key| crate::name::metadata(&self.properties, key).unwrap_or_default();
        (part("namespace"), part("name"))
    }
}

/// A text is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ManifestError {
    /// The line, from 1; 0 where it is not known.
    pub line: u32,
    /// The bytes it is about; empty where that is not known.
    pub at: Range<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Reads every object of a YAML (or JSON) text, in order. Empty documents are passed over.
///
/// # Errors
/// Every document that is no object, or the first place where the text is no YAML.
pub fn parse(text: &str) -> Result<Vec<Object>, Vec<ManifestError>> {
    // Each level takes many frames of the parser, and a thread may have as little as 1 MiB of stack: 64 levels get their own.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        match thread.spawn_scoped(scope, || read(text)) {
            Ok(reading) => reading
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => read(text),
        }
    })
}

fn read(text: &str) -> Result<Vec<Object>, Vec<ManifestError>> {
    let mut options = Options::default();
    options.with_snippet = false;
    options.legacy_octal_numbers = true;
    options.strict_booleans = true;
    options.alias_limits.max_total_replayed_events = MOST_REPLAYED;
    let documents: Vec<Spanned<Tree>> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
            let lines = Lines::new(text);
            let at = error.location();
            vec![no_yaml(
                at.map_or(0, |at| line(&at)),
                at.map_or(0..0, |at| lines.word(&at)),
                &error.without_snippet().to_string(),
                text,
            )]
        })?;
    let lines = Lines::new(text);
    let (mut objects, mut errors) = (Vec::new(), Vec::new());
    for document in documents {
        flatten(document, 0, &lines, &mut objects, &mut errors);
    }
    if errors.is_empty() {
        Ok(objects)
    } else {
        Err(errors)
    }
}

/// The parser's message in epid's words.
fn no_yaml(line: u32, at: Range<u32>, message: &str, text: &str) -> ManifestError {
    // The place is said apart.
    let message = message.split(" at line ").next().unwrap_or(message);
    let message = message
        .split(", set DuplicateKeyPolicy")
        .next()
        .unwrap_or(message);
    let row = text
        .lines()
        .nth((line as usize).saturating_sub(1))
        .unwrap_or_default();
    let (message, hint) = if let Some(key) = message.strip_prefix("duplicate mapping key: ") {
        (
            format!("`{key}` is given twice"),
            Some("put both into one".to_owned()),
        )
    } else if row.contains("{{") || row.trim_start().starts_with("{{") {
        (
            "this is a template of Helm, not YAML".to_owned(),
            Some("render it first: helm template".to_owned()),
        )
    } else if message.starts_with("budget breached: Depth") {
        ("this is nested more than 64 levels deep".to_owned(), None)
    } else if let Some(what) = message.strip_prefix("budget breached: ") {
        let what = what.split_whitespace().next().unwrap_or(what);
        (
            format!("this is too much for one manifest: {what}"),
            Some("split it into several files".to_owned()),
        )
    } else if message.starts_with("alias references unknown anchor") {
        (
            "this is no YAML: there is no such anchor above".to_owned(),
            Some("an anchor ends with its document, at `---`".to_owned()),
        )
    } else if message.starts_with("tabs disallowed") {
        (
            "this is no YAML: a tab indents this line".to_owned(),
            Some("indent with spaces".to_owned()),
        )
    } else if message.contains("mapping values are not allowed") {
        (
            "this is no YAML: a key stands where none can".to_owned(),
            Some("look at the indentation, or put a text with `: ` in quotes".to_owned()),
        )
    } else {
        (format!("this is no YAML: {message}"), None)
    };
    ManifestError {
        line,
        at,
        message,
        hint,
    }
}

/// Where the lines of a text begin.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        Self {
            text,
            starts: starts.collect(),
        }
    }

    /// The bytes of the word at a place; of a place beyond the text, nothing.
    fn word(&self, at: &Location) -> Range<u32> {
        let cut = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).saturating_sub(1);
        let Some(start) = self.starts.get(index(at.line())) else {
            return cut(self.text.len())..cut(self.text.len());
        };
        let line = self.text.get(*start..).unwrap_or_default();
        let line = line.lines().next().unwrap_or_default();
        let from = line
            .char_indices()
            .nth(index(at.column()))
            .map_or(line.len(), |(at, _)| at);
        let rest = line.get(from..).unwrap_or_default();
        let end = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => rest
                .get(1..)
                .and_then(|r| r.find(quote))
                .map_or(rest.len(), |at| at + 2),
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}'));
                let word = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                word.strip_suffix(':').unwrap_or(word).len()
            }
        };
        let from = start + from;
        cut(from)..cut(from + end)
    }
}

fn line(at: &Location) -> u32 {
    u32::try_from(at.line()).unwrap_or(u32::MAX)
}

fn flatten(
    node: Spanned<Tree>,
    depth: u32,
    lines: &Lines<'_>,
    objects: &mut Vec<Object>,
    errors: &mut Vec<ManifestError>,
) {
    let line = line(&node.referenced);
    let at = lines.word(&node.referenced);
    let error = |message: String, hint: Option<&str>| ManifestError {
        line,
        at: at.clone(),
        message,
        hint: hint.map(str::to_owned),
    };
    let mut entries = match node.value {
        Tree::Leaf(Value::Null) => return,
        Tree::Map(entries) => entries,
        Tree::Leaf(_) | Tree::List(_) => {
            let message = "a manifest is a map with `apiVersion`, `kind` and `metadata`".to_owned();
            errors.push(error(message, None));
            return;
        }
    };
    let mut take = |key: &str| {
        let at = entries.iter().position(|(k, _)| k.value == key)?;
        Some(entries.remove(at).1)
    };
    let (version, kind, items) = (take("apiVersion"), take("kind"), take("items"));
    let kind_at = kind
        .as_ref()
        .map_or(at.clone(), |kind| lines.word(&kind.referenced));
    let mut text = |node: Option<Spanned<Tree>>, key: &str| match node.map(|n| n.value) {
        Some(Tree::Leaf(Value::Str(text))) if !text.is_empty() => Some(text),
        _ => {
            let example = if key == "kind" {
                "kind: Deployment"
            } else {
                "apiVersion: apps/v1"
            };
            errors.push(error(
                format!("this object has no `{key}`"),
                Some(&format!("such as {example}")),
            ));
            None
        }
    };
    let (version, kind) = (text(version, "apiVersion"), text(kind, "kind"));
    let (Some(version), Some(kind)) = (version, kind) else {
        return;
    };
    if let (true, Some(items)) = (kind.ends_with("List"), items) {
        match items.value {
            Tree::List(items) if depth < DEEPEST_LIST => {
                items
                    .into_iter()
                    .for_each(|item| flatten(item, depth + 1, lines, objects, errors));
            }
            Tree::Leaf(Value::Null) => {}
            _ => errors.push(error(
                format!("`items` of this {kind} is no list of objects"),
                None,
            )),
        }
        return;
    }
    let parsed = Kind::parse(&format!("kubernetes:{version}:{kind}"));
    match parsed {
        Ok(parsed) if crate::name::api_version::is_one(&version) => {
            entries.retain(|(key, _)| key.value != "status");
            let node = Node {
                part: Tree::Map(entries).placed(lines),
                at: at.clone(),
                key: at.clone(),
            };
            objects.push(Object {
                kind: parsed,
                properties: node.value(),
                node,
                line,
                kind_at,
            });
        }
        _ => errors.push(ManifestError {
            at: kind_at,
            ..error(
                format!("`{kind}` of `{version}` is no kind: an `apiVersion` is `v1` or `GROUP/VERSION`"),
                None,
            )
        }),
    }
}

/// A value whose parts know their lines.
#[derive(Debug)]
enum Tree {
    Leaf(Value),
    List(Vec<Spanned<Tree>>),
    Map(Vec<(Spanned<String>, Spanned<Tree>)>),
}

impl Tree {
    fn placed(self, lines: &Lines<'_>) -> Part {
        match self {
            Self::Leaf(value) => Part::Leaf(value),
            Self::List(items) => {
                Part::List(items.into_iter().map(|item| placed(item, None, lines)).collect())
            }
            Self::Map(entries) => Part::Map(
                entries
                    .into_iter()
                    .map(|(key, node)| {
                        let at = lines.word(&key.referenced);
                        (key.value, placed(node, Some(at), lines))
                    })
                    .collect(),
            ),
        }
    }
}

fn placed(node: Spanned<Tree>, key: Option<Range<u32>>, lines: &Lines<'_>) -> Node {
    let at = lines.word(&node.referenced);
    Node {
        part: node.value.placed(lines),
        key: key.unwrap_or_else(|| at.clone()),
        at,
    }
}

impl Node {
    /// The value without places.
    #[must_use]
    pub fn value(&self) -> Value {
        match &self.part {
            Part::Leaf(value) => value.clone(),
            Part::List(items) => Value::list(items.iter().map(Self::value)),
            Part::Map(entries) => Value::map(entries.iter().map(|(key, node)| (key.as_str(), node.value()))),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct AnyTree;
        impl<'de> Visitor<'de> for AnyTree {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf(Value::Null))
            }
            fn visit_none<E>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf(Value::Null))
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Tree, D::Error> {
                Tree::deserialize(d)
            }
            fn visit_bool<E>(self, b: bool) -> Result<Tree, E> {
                Ok(Tree::Leaf(Value::Bool(b)))
            }
            fn visit_i64<E>(self, n: i64) -> Result<Tree, E> {
                Ok(Tree::Leaf(Value::Int(n)))
            }
            fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Tree, E> {
                i64::try_from(n)
                    .map(|n| Tree::Leaf(Value::Int(n)))
                    .map_err(|_| E::custom(format!("{n} is too large a number")))
            }
            fn visit_f64<E>(self, n: f64) -> Result<Tree, E> {
                Ok(Tree::Leaf(Value::Float(n)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
                Ok(Tree::Leaf(Value::str(text)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Tree::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut entries: Vec<(Spanned<String>, Spanned<Tree>)> = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Tree::Map(entries))
            }
        }
        d.deserialize_any(AnyTree)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> Vec<String> {
        let object = |o: Object| format!("{} {} {}", o.line, o.kind, o.properties);
        match parse(text) {
            Ok(objects) => objects.into_iter().map(object).collect(),
            Err(errors) => errors.into_iter().map(|e| format!("error {e}")).collect(),
        }
    }

    #[test]
    fn documents_and_lists_become_objects_with_lines() {
        let text = "# a comment\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nstatus: {}\n---\n---\n\
                    apiVersion: v1\nkind: List\nitems:\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata:\n    name: b\n";
        assert_eq!(
            told(text),
            [
                r#"2 kubernetes:v1:ConfigMap {metadata: {name: "a"}}"#,
                r#"11 kubernetes:apps/v1:Deployment {metadata: {name: "b"}}"#
            ]
        );
    }

    #[test]
    fn every_document_that_is_no_object_is_told() {
        assert_eq!(
            told("kind: ConfigMap\n---\n- 1\n---\napiVersion: a/b/c\nkind: X\n"),
            [
                "error line 1: this object has no `apiVersion`",
                "error line 3: a manifest is a map with `apiVersion`, `kind` and `metadata`",
                "error line 5: `X` of `a/b/c` is no kind: an `apiVersion` is `v1` or `GROUP/VERSION`"
            ]
        );
    }

    #[test]
    fn broken_yaml_and_duplicate_keys_have_a_line() {
        for text in ["apiVersion: v1\nkind: [", "apiVersion: v1\nkind: A\nkind: B\n"] {
            let errors = parse(text).unwrap_err();
            assert!(errors.len() == 1 && errors[0].line >= 2, "{errors:?}");
        }
    }

    #[test]
    fn scalars_are_read_as_kubernetes_users_mean_them() {
        let text = "apiVersion: v1\nkind: X\na: on\nb: 0644\nc: '1'\nd: 1.5\ne: ~\nf: true\ng: |\n  two\n  lines\n8080: x\n";
        let objects = parse(text).unwrap();
        let of = |key: &str| objects[0].properties.get(key).cloned().unwrap_or_default();
        assert_eq!(
            (of("a"), of("b"), of("c"), of("d")),
            (
                Value::str("on"),
                Value::Int(420),
                Value::str("1"),
                Value::Float(1.5)
            )
        );
        assert_eq!(
            (of("e"), of("f"), of("g")),
            (Value::Null, Value::Bool(true), Value::str("two\nlines\n"))
        );
        assert_eq!(of("8080"), Value::str("x"));
    }

    #[test]
    fn anchors_work_and_bombs_do_not() {
        let text = "apiVersion: v1\nkind: X\nmetadata: &m {name: a}\nspec:\n  <<: *m\n  copy: *m\n";
        assert_eq!(
            told(text),
            [r#"1 kubernetes:v1:X {metadata: {name: "a"}, spec: {copy: {name: "a"}, name: "a"}}"#]
        );
        let mut bomb = String::from("apiVersion: v1\nkind: X\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for n in 1..9 {
            let refs = vec![format!("*a{}", n - 1); 10].join(",");
            bomb.push_str(&format!("a{n}: &a{n} [{refs}]\n"));
        }
        assert!(parse(&bomb).is_err());
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(text in "[a-z0-9:\\-\\[\\]{}&*<!|>'\"#~ \n]{0,200}") {
            drop(parse(&text));
        }
    }
}
