//! `Epid.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::declarations;
use super::document::{Entry, Reader, Table};
use crate::expression::Span;
use crate::program::{Backend, Declaration, Diagnostic};

const PROJECT: [&str; 4] = ["name", "defaultStack", "backend", "providers"];
const S3: [&str; 4] = ["bucket", "prefix", "region", "endpoint"];
const LOCAL: [&str; 1] = ["path"];

/// What `Epid.toml` says.
#[derive(Default)]
pub(super) struct Manifest {
    pub(super) name: Arc<str>,
    pub(super) default_stack: Option<(Arc<str>, Span)>,
    pub(super) backend: Option<Backend>,
    pub(super) providers: Vec<Declaration>,
    /// Providers that could not be read.
    pub(super) incomplete: BTreeSet<Arc<str>>,
}

/// Reads `Epid.toml`.
pub(super) fn read(reader: &mut Reader<'_>, mut root: Table<'_, '_>) -> Manifest {
    let mut manifest = Manifest::default();
    match root.take("name") {
        Some(entry) => {
            if let Some(name) = reader.text(&entry) {
                if !is_file_name(&name) {
                    reader.report(
                        Diagnostic::error(entry.span, format!("`{name}` is not a project's name"))
                            .with_hint("a letter or digit, then letters, digits, `-` and `_`"),
                    );
                }
                manifest.name = name;
            }
        }
        None => reader.report_missing(
            Diagnostic::error(root.span, "the project has no name")
                .with_hint("write name = \"…\" at the top of Epid.toml"),
        ),
    }
    if let Some(entry) = root.take("defaultStack") {
        manifest.default_stack = reader.text(&entry).map(|name| (name, entry.span));
    }
    if let Some(entry) = root.take("backend") {
        manifest.backend = backend(reader, &entry);
    }
    if let Some(entry) = root.take("providers") {
        manifest.providers = declarations::providers(reader, &entry, &mut manifest.incomplete);
    }
    for entry in root.rest() {
        let stack = ["program", "config", "secrets", "references", "key", "sandbox"].contains(&entry.key);
        let program = declarations::PROGRAM.contains(&entry.key);
        if stack || program {
            let problem = Diagnostic::error(
                entry.key_span,
                format!("`{}` does not belong in Epid.toml", entry.key),
            );
            reader.report(problem.with_hint("it belongs in a stack file, such as stacks/dev.toml"));
        } else {
            reader.unknown(&entry, "Epid.toml", PROJECT);
        }
    }
    manifest
}

/// True for the names of projects and stacks.
pub(super) fn is_file_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn backend(reader: &mut Reader<'_>, entry: &Entry<'_, '_>) -> Option<Backend> {
    let mut table = reader.table(entry)?;
    let Some(kind) = table.take("type") else {
        reader.report_missing(
            Diagnostic::error(table.span, "the type of the backend is missing")
                .with_hint("type = \"s3\" or type = \"local\""),
        );
        return None;
    };
    let (name, known): (Arc<str>, &[&str]) = match &*reader.text(&kind)? {
        "s3" => ("s3".into(), &S3),
        "local" => ("local".into(), &LOCAL),
        other => {
            let problem = Diagnostic::error(kind.span, format!("there is no backend `{other}`"));
            reader.report(problem.with_hint("states are kept in `local` folders or in `s3`"));
            return None;
        }
    };
    let mut settings = BTreeMap::new();
    for entry in table.rest() {
        if known.contains(&entry.key) {
            if let Some(text) = reader.text(&entry) {
                if let Some(problem) = Backend::problem(entry.key, &text) {
                    reader.report(Diagnostic::error(entry.span, problem));
                }
                settings.insert(Arc::from(entry.key), text);
            }
        } else {
            reader.unknown(&entry, &format!("the {name} backend"), known.iter().copied());
        }
    }
    if &*name == "s3" && !settings.contains_key("bucket") {
        reader.report_missing(
            Diagnostic::error(entry.key_span, "the s3 backend has no bucket")
                .with_hint("name an existing bucket: bucket = \"…\""),
        );
    }
    Some(Backend {
        kind: name,
        settings,
        span: entry.key_span,
    })
}
