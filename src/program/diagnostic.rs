//! What is wrong, and where.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::expression::{SourceId, Span};

/// Something wrong with what a person wrote. All of an input are reported at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line, names in backticks.
    pub message: String,
    /// Where.
    pub span: Option<Span>,
    /// What stands at the marked place; without one, the hint does.
    pub label: Option<String>,
    /// What was probably meant, or what to do.
    pub hint: Option<String>,
    /// What stands at the place is secret, and is not shown with its line.
    pub secret: bool,
}

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing runs.
    Error,
    /// It runs, perhaps not as meant.
    Warning,
}

impl Diagnostic {
    /// An error at `span`; [`Span::NONE`] is no place.
    #[must_use]
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            span: (!span.is_none()).then_some(span),
            label: None,
            hint: None,
            secret: false,
        }
    }

    /// A warning at `span`; [`Span::NONE`] is no place.
    #[must_use]
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(span, message)
        }
    }

    /// With what was probably meant, or what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// About a secret: its line is shown without it.
    #[must_use]
    pub fn about_a_secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// With words for the marked place.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
}

/// The files that spans point into.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<Source>,
}

/// One file.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its path, relative to the project.
    pub path: PathBuf,
    /// Its text; `None` for a Rust file, of which a span holds line and column instead of bytes.
    pub text: Option<Arc<str>>,
    /// Where its lines begin: every declaration asks for its place.
    lines: Arc<[u32]>,
}

impl Sources {
    /// Adds a file.
    pub fn add(&mut self, path: impl Into<PathBuf>, text: Option<Arc<str>>) -> SourceId {
        let ends = text.iter().flat_map(|text| text.match_indices('\n'));
        let starts = ends.filter_map(|(end, _)| u32::try_from(end + 1).ok());
        self.files.push(Source {
            path: path.into(),
            lines: [0].into_iter().chain(starts).collect(),
            text,
        });
        SourceId(u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX))
    }

    /// The file of that number.
    #[must_use]
    pub fn get(&self, id: SourceId) -> Option<&Source> {
        self.files.get(usize::try_from(id.0).ok()?)
    }

    /// The number of the file at `path`.
    #[must_use]
    pub fn find(&self, path: &Path) -> Option<SourceId> {
        let at = self.files.iter().position(|f| f.path == path)?;
        u32::try_from(at).ok().map(SourceId)
    }

    /// Line and column of the start of a span, both from 1, columns in characters.
    #[must_use]
    pub fn line_column(&self, span: Span) -> Option<(u32, u32)> {
        let source = self.get(span.source)?;
        let Some(text) = &source.text else {
            return Some((span.start, span.end));
        };
        let line = source.lines.partition_point(|start| *start <= span.start);
        let start = *source.lines.get(line.checked_sub(1)?)?;
        let before = text.get(start as usize..span.start as usize)?;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Some((count(line), count(before.chars().count() + 1)))
    }

    /// `stacks/dev.toml:7:1`, for records and messages of a run.
    #[must_use]
    pub fn place(&self, span: Span) -> Option<String> {
        let (line, column) = self.line_column(span)?;
        Some(format!(
            "{}:{line}:{column}",
            self.get(span.source)?.path.display()
        ))
    }
}
