//! A TOML document with places: its tables in the order they were written, and what is wrong with them.

use std::ops::Range;
use std::sync::Arc;

use epid_provider::check::nearest;
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
    misread: bool,
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
            misread: false,
        };
        if let (false, Some(other)) = (errors.is_empty(), foreign(text)) {
            // Every line of it is wrong as TOML; what it is says more than that.
            let span = reader.span(other.at);
            reader
                .syntax
                .push(Diagnostic::error(span, other.message).with_hint(other.hint));
            return (reader, DeTable::new());
        }
        if let Some(open) = errors
            .first()
            .and_then(|e| unclosed(text, e.span().unwrap_or_default().start))
        {
            let bracket = text.get(open..=open).unwrap_or_default();
            let span = reader.span(open..open + 1);
            let problem =
                Diagnostic::error(span, format!("this is not TOML: this `{bracket}` is not closed"));
            reader.syntax.push(problem);
            return (reader, DeTable::new());
        }
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

    /// True where what was read stands for what was meant, so that looking further finds no mere echoes.
    pub(super) fn is_legible(&self) -> bool {
        !self.is_broken() && !self.misread
    }

    /// Remembers that a whole section was not read.
    pub(super) fn misread(&mut self) {
        self.misread = true;
    }

    /// How many problems there are by now.
    pub(super) fn count(&self) -> usize {
        self.problems.len()
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
        // What follows a broken header went into the table before it.
        let astray = |s: Span| {
            let before = self.text.get(..self.line_start(s)).unwrap_or_default();
            let header = before
                .lines()
                .rev()
                .find(|line| line.trim_start().starts_with('['));
            header.is_some_and(|line| {
                let start = line.as_ptr() as usize - self.text.as_ptr() as usize;
                broken.contains(&start)
            })
        };
        let echo = |d: &Diagnostic| {
            d.span
                .is_some_and(|s| s.is_empty() || broken.contains(&self.line_start(s)) || astray(s))
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
        match entry.value {
            DeValue::String(text) => Some(vec![(Arc::from(self.decode(text, entry.span).text), entry.span)]),
            DeValue::Array(items) => {
                let mut found = Vec::with_capacity(items.len());
                for item in items {
                    let span = self.span(item.span());
                    if let DeValue::String(text) = item.get_ref() {
                        found.push((Arc::from(self.decode(text, span).text), span));
                    } else {
                        let what = type_name(item.get_ref());
                        self.problems.push(Diagnostic::error(
                            span,
                            format!("`{}` takes a list of strings, and this is {what}", entry.key),
                        ));
                    }
                }
                Some(found)
            }
            _ => {
                self.mistyped(entry, "a list of strings");
                None
            }
        }
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
        "recursion limit" | "cannot recurse further; max recursion depth met" => {
            Diagnostic::error(span, "the document is nested too deeply")
        }
        "string values must be quoted" if rest_of_line(text, span).trim().is_empty() => {
            Diagnostic::error(span, "this is not TOML: a value is missing").with_hint("an empty text is \"\"")
        }
        "string values must be quoted" => {
            let word = rest_of_line(text, span)
                .split('#')
                .next()
                .unwrap_or_default()
                .trim();
            let problem = Diagnostic::error(span, "this is not TOML: a string needs quotes");
            match word {
                "yes" | "on" | "True" | "TRUE" => problem.with_hint("write true"),
                "no" | "off" | "False" | "FALSE" => problem.with_hint("write false"),
                "null" | "nil" | "None" | "~" => problem.with_hint("TOML has no null: leave the line out"),
                _ if word.contains(['"', '\'', ',', ']', '}']) => problem,
                _ => problem.with_hint(format!("write \"{word}\"")),
            }
        }
        _ if what.contains("unicode value") || what.contains("escape") => {
            Diagnostic::error(span, format!("this is not TOML: {what}"))
                .with_hint("in double quotes `\\` begins an escape: write `\\\\`, or take single quotes")
        }
        _ if rest_of_line(text, span).starts_with(|c: char| c.is_control() && c != '\r') => {
            Diagnostic::error(span, "this is not TOML: a control character stands here")
                .with_hint("in double quotes it is written `\\u0000` with its number")
        }
        _ if what.starts_with("invalid basic string") => {
            Diagnostic::error(span, "this is not TOML: the string does not end")
                .with_hint("it ends with `\"` on the same line; a text of several lines stands in `\"\"\"`")
        }
        _ => {
            let problem = Diagnostic::error(span, format!("this is not TOML: {what}"));
            match expected.filter(|e| *e != "nothing") {
                Some(expected) => problem.with_label(format!("expected {expected}")),
                None => problem,
            }
        }
    }
}

fn rest_of_line(text: &str, span: Span) -> &str {
    let rest = text.get(span.start as usize..).unwrap_or_default();
    rest.lines().next().unwrap_or_default()
}

/// A text that is something else than TOML.
struct Foreign {
    at: Range<usize>,
    message: &'static str,
    hint: &'static str,
}

/// What a text that is no TOML is instead, where that can be told.
fn foreign(text: &str) -> Option<Foreign> {
    const MARKS: [&str; 3] = ["<<<<<<< ", "=======", ">>>>>>> "];
    let mut at = 0;
    let mut first: Option<(usize, &str)> = None;
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        if MARKS.iter().any(|mark| line.starts_with(mark)) && text.contains("\n>>>>>>> ") {
            return Some(Foreign {
                at: at..at + line.trim_end().len(),
                message: "a merge left both sides in this file",
                hint: "keep what is right and take the lines with <<<<<<<, ======= and >>>>>>> out",
            });
        }
        if first.is_none() && !bare.is_empty() && !bare.starts_with('#') {
            first = Some((at + line.len() - line.trim_start().len(), bare));
        }
        at += line.len();
    }
    let (at, line) = first?;
    let place = at..at + line.len();
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    let foreign = |message, hint| {
        Some(Foreign {
            at: place,
            message,
            hint,
        })
    };
    if line.starts_with('{') || line == "[" {
        return foreign(
            "this is JSON, not TOML",
            "write `key = value` lines under [table] headers",
        );
    }
    if line == "---"
        || line
            .split_once(':')
            .is_some_and(|(key, rest)| word(key) && (rest.is_empty() || rest.starts_with(' ')))
    {
        return foreign(
            "this is YAML, not TOML",
            "write `key = value` lines under [table] headers; manifests of Kubernetes are taken as they are by kubernetes:yaml:Manifests",
        );
    }
    let block = line.split_whitespace().next().unwrap_or_default();
    if [
        "resource",
        "variable",
        "provider",
        "output",
        "module",
        "locals",
        "terraform",
        "data",
    ]
    .contains(&block)
        && line.ends_with('{')
    {
        return foreign(
            "this is HCL, not TOML",
            "write `key = value` lines under [table] headers: [resources.main]",
        );
    }
    None
}

/// Where the bracket stands that an error at `at`, which begins another statement, leaves open.
fn unclosed(text: &str, at: usize) -> Option<usize> {
    let line = text.get(..at)?.rfind('\n')? + 1;
    let rest = text.get(line..)?.lines().next()?.trim_start();
    let (word, _) = rest.split_once('=').unwrap_or(("", ""));
    let key = word.trim();
    let statement = rest.starts_with('[')
        || (!key.is_empty()
            && key
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')));
    if !statement {
        return None;
    }
    // The statement before: the last line that is a header or gives a key at its start.
    let mut start = line;
    while start > 0 {
        let above = text.get(..start - 1)?.rfind('\n').map_or(0, |at| at + 1);
        let row = text.get(above..start)?.trim_start();
        start = above;
        if row.starts_with('[') && row.trim_end().ends_with(']') {
            return None;
        }
        if row
            .split_once('=')
            .is_some_and(|(key, _)| !key.contains(['"', '{', '[']))
        {
            break;
        }
    }
    let mut open: Vec<usize> = Vec::new();
    let mut quote: Option<u8> = None;
    for (offset, byte) in text.get(start..line)?.bytes().enumerate() {
        match (quote, byte) {
            (Some(q), b) if b == q => quote = None,
            (Some(_), b'\n') => return None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'#') => return None,
            (None, b'[' | b'{') => open.push(start + offset),
            (None, b']' | b'}') => drop(open.pop()),
            _ => {}
        }
    }
    open.pop()
}
