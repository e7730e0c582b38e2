//! A TOML document with places: its tables in the order they were written, and what is wrong with them.

use std::ops::Range;
use std::sync::Arc;

use epid_provider::check::nearest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::decoded::Decoded;
use crate::expression::{SourceId, Span};
use crate::program::Diagnostic;

/// Reads one document and collects everything wrong with it.
pub(super) struct Reader<'t> {
    source: SourceId,
    text: &'t str,
    syntax: Vec<Diagnostic>,
    problems: Vec<Diagnostic>,
}

/// One key of a table and what stands behind it.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a, 'i> {
    pub(super) key: &'a str,
    pub(super) key_span: Span,
    pub(super) value: &'a DeValue<'i>,
    pub(super) span: Span,
}

/// The entries of a table that nobody has taken yet, in the order they were written.
pub(super) struct Table<'a, 'i> {
    /// The place of the key or header that opens it.
    pub(super) span: Span,
    entries: Vec<Entry<'a, 'i>>,
}

impl<'a, 'i> Table<'a, 'i> {
    /// The entry of that key, which then is known.
    pub(super) fn take(&mut self, key: &str) -> Option<Entry<'a, 'i>> {
        let at = self.entries.iter().position(|e| e.key == key)?;
        Some(self.entries.remove(at))
    }

    /// The entry of that key.
    pub(super) fn peek(&self, key: &str) -> Option<Entry<'a, 'i>> {
        self.entries.iter().copied().find(|e| e.key == key)
    }

    /// The keys that nobody has taken.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.entries.iter().map(|e| e.key)
    }

    /// The entries that nobody has taken.
    pub(super) fn rest(self) -> Vec<Entry<'a, 'i>> {
        self.entries
    }
}

impl<'t> Reader<'t> {
    /// Parses `text` and recovers from what is wrong with it as far as possible.
    pub(super) fn parse(source: SourceId, text: &'t str) -> (Self, DeTable<'t>) {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut reader = Self {
            source,
            text,
            syntax: Vec::new(),
            problems: Vec::new(),
        };
        let mut last_line = None;
        for error in errors {
            let span = reader.span(error.span().unwrap_or_default());
            // What follows on a line that is already wrong is mostly its echo.
            let line = reader.line_start(span);
            if last_line != Some(line) {
                reader.syntax.push(syntax_error(text, span, error.message()));
            }
            last_line = Some(line);
        }
        (reader, root.into_inner())
    }

    /// A range of the text, cut to its characters.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        let floor = |mut at: usize| {
            at = at.min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(range.start);
        Span::new(self.source, start..floor(range.end).max(start))
    }

    /// The text of a place.
    pub(super) fn raw(&self, span: Span) -> &'t str {
        self.text
            .get(span.start as usize..span.end as usize)
            .unwrap_or_default()
    }

    fn line_start(&self, span: Span) -> usize {
        let before = self.text.get(..span.start as usize).unwrap_or_default();
        before.rfind('\n').map_or(0, |at| at + 1)
    }

    /// True where the syntax is broken: what is missing may have been meant to be there.
    pub(super) fn is_broken(&self) -> bool {
        !self.syntax.is_empty()
    }

    pub(super) fn report(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    /// Reports something that is not there, unless broken syntax may have swallowed it.
    pub(super) fn report_missing(&mut self, problem: Diagnostic) {
        if !self.is_broken() {
            self.problems.push(problem);
        }
    }

    /// Everything wrong with the document.
    pub(super) fn finish(self) -> Vec<Diagnostic> {
        if self.syntax.is_empty() {
            return self.problems;
        }
        let broken: Vec<usize> = self
            .syntax
            .iter()
            .filter_map(|d| d.span)
            .map(|s| self.line_start(s))
            .collect();
        let echo = |d: &Diagnostic| {
            d.span
                .is_some_and(|s| s.is_empty() || broken.contains(&self.line_start(s)))
        };
        let rest = self.problems.iter().filter(|d| !echo(d)).cloned();
        self.syntax.iter().cloned().chain(rest).collect()
    }

    /// The entries of a table in the order they were written.
    pub(super) fn entries<'a, 'i>(&self, table: &'a DeTable<'i>) -> Vec<Entry<'a, 'i>> {
        let mut entries: Vec<Entry<'a, 'i>> = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref(),
                key_span: self.span(key.span()),
                value: value.get_ref(),
                span: self.span(value.span()),
            })
            .collect();
        entries.sort_by_key(|e| e.key_span.start);
        entries
    }

    /// A table whose entries are to be taken one by one.
    pub(super) fn view<'a, 'i>(&self, table: &'a DeTable<'i>, span: Span) -> Table<'a, 'i> {
        Table {
            span,
            entries: self.entries(table),
        }
    }

    /// The table behind a key; anything else is reported.
    pub(super) fn table<'a, 'i>(&mut self, entry: &Entry<'a, 'i>) -> Option<Table<'a, 'i>> {
        if let DeValue::Table(table) = entry.value {
            return Some(self.view(table, entry.key_span));
        }
        self.mistyped(entry, "a table");
        None
    }

    /// The text behind a key; anything else is reported.
    pub(super) fn text(&mut self, entry: &Entry<'_, '_>) -> Option<Arc<str>> {
        if let DeValue::String(text) = entry.value {
            return Some(self.decode(text, entry.span).text.into());
        }
        self.mistyped(entry, "a string");
        None
    }

    /// The truth value behind a key; anything else is reported.
    pub(super) fn bool(&mut self, entry: &Entry<'_, '_>) -> Option<bool> {
        if let DeValue::Boolean(b) = entry.value {
            return Some(*b);
        }
        self.mistyped(entry, "a boolean");
        None
    }

    /// The texts behind a key, or the one text, each with its place; anything else is reported.
    pub(super) fn texts(&mut self, entry: &Entry<'_, '_>) -> Option<Vec<(Arc<str>, Span)>> {
        let one = |reader: &Self, item: &Spanned<DeValue<'_>>| {
            let DeValue::String(text) = item.get_ref() else {
                return None;
            };
            let span = reader.span(item.span());
            Some((Arc::from(reader.decode(text, span).text), span))
        };
        let found = match entry.value {
            DeValue::String(text) => Some(vec![(Arc::from(self.decode(text, entry.span).text), entry.span)]),
            DeValue::Array(items) => items.iter().map(|item| one(self, item)).collect(),
            _ => None,
        };
        if found.is_none() {
            self.mistyped(entry, "a list of strings");
        }
        found
    }

    /// The text of a string as it is meant, with the way back to its place.
    pub(super) fn decode<'d>(&self, decoded: &'d str, span: Span) -> Decoded<'d> {
        Decoded::new(self.raw(span), decoded, span)
    }

    fn mistyped(&mut self, entry: &Entry<'_, '_>, wanted: &str) {
        // The parser puts a value without a place where it found none.
        if entry.span.is_empty() {
            return;
        }
        let what = type_name(entry.value);
        self.problems.push(Diagnostic::error(
            entry.span,
            format!("`{}` takes {wanted}, not {what}", entry.key),
        ));
    }

    /// Reports a key that means nothing here, with the known one that was probably meant.
    pub(super) fn unknown<'k>(
        &mut self,
        entry: &Entry<'_, '_>,
        place: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        let known: Vec<&str> = known.into_iter().collect();
        let problem = Diagnostic::error(entry.key_span, format!("unknown key `{}` in {place}", entry.key));
        let hint = match nearest(entry.key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        self.problems.push(problem.with_hint(hint));
    }
}

/// The word for a value's type in messages, with its article.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn syntax_error(text: &str, span: Span, message: &str) -> Diagnostic {
    let (what, expected) = match message.split_once(", expected ") {
        Some((what, expected)) => (what, Some(expected)),
        None => (message, None),
    };
    match what {
        "duplicate key" => {
            let key = text
                .get(span.start as usize..span.end as usize)
                .unwrap_or_default();
            Diagnostic::error(span, format!("`{key}` is given twice")).with_hint("put both into one")
        }
        "recursion limit" => Diagnostic::error(span, "the document is nested too deeply"),
        "string values must be quoted" => Diagnostic::error(span, "this is not TOML: a string needs quotes"),
        _ => {
            let problem = Diagnostic::error(span, format!("this is not TOML: {what}"));
            match expected.filter(|e| *e != "nothing") {
                Some(expected) => problem.with_label(format!("expected {expected}")),
                None => problem,
            }
        }
    }
}
