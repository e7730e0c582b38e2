//! The files that resources name.

use std::path::Path;
use std::sync::Arc;

use epid_provider::Value;
use epid_provider::check::nearest;

use super::{disk, glob};
use crate::expression::{Located, Span, Template};
use crate::program::{Declaration, Diagnostic, File, Program, Sources};

/// Which property of which kind names files.
const NAMING: [(&str, &str); 1] = [("kubernetes:yaml:Manifests", "files")];

/// Reads the files that the program's resources name into [`Program::files`]. Patterns are relative to `root`, the
/// project's folder, wherever the program itself stands: `k8s/*.yaml`, `k8s/**/*.yaml`.
///
/// Answers what is wrong: patterns that find nothing, that are expressions, and files that cannot be read.
pub fn read_files(program: &mut Program, root: &Path, sources: &mut Sources) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut patterns: Vec<(Arc<str>, Span)> = Vec::new();
    let mut unclear: Vec<Arc<str>> = Vec::new();
    for declaration in &program.resources {
        for (kind, property) in NAMING {
            if declaration.kind.as_str() == kind
                && let Some(files) = declaration.properties.template.get(property)
            {
                let before = problems.len();
                collect(files, declaration, &mut patterns, &mut problems);
                if problems.len() > before {
                    unclear.push(declaration.name.clone());
                }
            }
        }
    }
    for (pattern, span) in patterns {
        if program.files.contains_key(&pattern) {
            continue;
        }
        match read(root, &pattern, span, sources) {
            Ok(files) => {
                program.files.insert(pattern, files);
            }
            Err(found) => {
                problems.extend(found);
                // What cannot be read is no file, so that the others are looked at.
                program.files.insert(pattern, Vec::new());
            }
        }
    }
    for name in unclear {
        program.resources.retain(|d| d.name != name);
        program.incomplete.insert(name);
    }
    problems
}

fn collect(
    files: &Located,
    declaration: &Declaration,
    patterns: &mut Vec<(Arc<str>, Span)>,
    problems: &mut Vec<Diagnostic>,
) {
    let span = files.span.or(declaration.span);
    match &files.template {
        Template::Literal(Value::Str(pattern)) => patterns.push((pattern.clone(), span)),
        Template::Literal(Value::List(items)) => {
            patterns.extend(items.iter().filter_map(|item| match item {
                Value::Str(pattern) => Some((pattern.clone(), span)),
                _ => None,
            }));
        }
        Template::List(items) => {
            for item in items.iter() {
                let span = item.span.or(span);
                let item = Located { span, ..item.clone() };
                collect(&item, declaration, patterns, problems);
            }
        }
        Template::Expression(_) | Template::Text(_) => problems.push(
            Diagnostic::error(
                span,
                format!("the files of `{}` must be known before the run", declaration.name),
            )
            .with_hint("write their paths without expressions"),
        ),
        // Another type is for the schema to refuse.
        Template::Literal(_) | Template::Map(_) => {}
    }
}

fn read(root: &Path, pattern: &str, span: Span, sources: &mut Sources) -> Result<Vec<File>, Vec<Diagnostic>> {
    let found = glob::find(root, pattern).map_err(|error| {
        vec![match error {
            glob::GlobError::Pattern(why) => {
                Diagnostic::error(span, format!("`{pattern}` is not a pattern of files: {why}"))
            }
            glob::GlobError::TooMany => {
                Diagnostic::error(span, format!("`{pattern}` finds more than {} files", glob::MOST))
                    .with_hint("name the folder more closely")
            }
            glob::GlobError::Folder(folder, why) => {
                Diagnostic::error(span, format!("the folder {} {why}", folder.display()))
            }
        }]
    })?;
    if found.is_empty() {
        let problem = Diagnostic::error(span, format!("`{pattern}` finds no file"));
        return Err(vec![match similar(root, pattern) {
            Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
            None => problem.with_hint("paths are relative to the folder of Epid.toml"),
        }]);
    }
    let mut files = Vec::with_capacity(found.len());
    let mut problems = Vec::new();
    for path in found {
        match disk::read(&root.join(&path)) {
            Ok(text) => {
                // Several programs may name one file.
                let text: Arc<str> = text.into();
                let known = sources
                    .find(&path)
                    .filter(|id| sources.get(*id).is_some_and(|s| s.text.is_some()));
                let source = known.unwrap_or_else(|| sources.add(&path, Some(text.clone())));
                files.push(File { path, text, source });
            }
            Err(error) => {
                // Without its text, a span of a source is line and column.
                let span = error.at.map_or(span, |(start, end)| Span {
                    source: sources.add(&path, None),
                    start,
                    end,
                });
                let problem = Diagnostic::error(span, format!("{} {}", path.display(), error.why));
                problems.push(match error.hint {
                    Some(hint) => problem.with_hint(hint),
                    None => problem,
                });
            }
        }
    }
    if problems.is_empty() {
        Ok(files)
    } else {
        Err(problems)
    }
}

/// A file in the same folder that is called nearly so.
pub(super) fn similar(root: &Path, path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
    let names = disk::list(&root.join(folder)).ok()?;
    let near = nearest(name, names.iter().filter(|(_, f)| !f).map(|(n, _)| n.as_str()))?;
    Some(match folder {
        "." => near.to_owned(),
        folder => format!("{folder}/{near}"),
    })
}
