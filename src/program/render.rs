//! Diagnostics as people see them.

use std::borrow::Cow;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::diagnostic::{Diagnostic, Severity, Sources};
use crate::expression::Span;

/// No message is shown longer than this many characters.
const MESSAGE: usize = 1_000;

/// Every diagnostic with its line, in the order of files and places, each once, and at the end how many there are.
///
/// `width` is that of the terminal; beyond it lines of the source are cut around the marked place. Control characters
/// are replaced, so a file cannot drive the terminal. Nothing for no diagnostics.
#[must_use]
pub fn render(diagnostics: &[Diagnostic], sources: &Sources, color: bool, width: usize) -> String {
    let mut sorted: Vec<&Diagnostic> = Vec::new();
    for diagnostic in diagnostics {
        if !sorted.contains(&diagnostic) {
            sorted.push(diagnostic);
        }
    }
    sorted.sort_by_key(|d| (d.span.unwrap_or_default(), d.severity));
    let width = width.clamp(40, 400);
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let renderer = renderer.term_width(width);
    let mut text = String::new();
    for diagnostic in &sorted {
        text.push_str(&one(diagnostic, sources, &renderer, width));
        text.push_str("\n\n");
    }
    text.push_str(&summary(&sorted));
    text
}

/// `2 errors, 1 warning`.
fn summary(diagnostics: &[&Diagnostic]) -> String {
    let mut text = String::new();
    for (severity, word) in [(Severity::Error, "error"), (Severity::Warning, "warning")] {
        let count = diagnostics.iter().filter(|d| d.severity == severity).count();
        if count > 0 {
            let comma = if text.is_empty() { "" } else { ", " };
            let s = if count == 1 { "" } else { "s" };
            text.push_str(&format!("{comma}{count} {word}{s}"));
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn one(diagnostic: &Diagnostic, sources: &Sources, renderer: &Renderer, width: usize) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(shown(&diagnostic.message)));
    let mut hint = diagnostic.hint.as_deref();
    let mut place = None;
    let mut bare = true;
    if let Some(span) = diagnostic.span
        && let Some(source) = sources.get(span.source)
        && let Some((line, column)) = sources.line_column(span)
    {
        let path = source.path.display().to_string().replace('\\', "/");
        let path = shown(&path).into_owned();
        bare = false;
        if let Some(text) = &source.text {
            let excerpt = Excerpt::of(text, span, width, diagnostic.secret);
            let label = diagnostic.label.as_deref().or_else(|| {
                // Where it does not fit beside the marks, the hint gets a line of its own.
                let fits = |h: &&mut &str| excerpt.column + h.chars().count() + 10 <= width;
                hint.take_if(|h| fits(&h))
            });
            let mut mark = AnnotationKind::Primary.span(excerpt.mark.clone());
            if let Some(label) = label {
                mark = mark.label(shown(label).into_owned());
            }
            let wrong = format!("{path}:{line}:{}", excerpt.first + 1);
            place = Some((wrong, format!("{path}:{line}:{column}")));
            let snippet = Snippet::source(excerpt.text).path(path).line_start(line as usize);
            group = group.element(snippet.annotation(mark));
        } else {
            let origin = Origin::path(path).line(line as usize);
            group = group.element(origin.char_column(column as usize));
        }
    }
    if bare {
        // No line leads from one to the other.
        let help = hint.map(|hint| Group::with_title(Level::HELP.primary_title(shown(hint))));
        let help = help.map_or_else(String::new, |help| format!("\n  {}", renderer.render(&[help])));
        return renderer.render(&[group]) + &help;
    }
    if let Some(hint) = hint {
        group = group.element(Level::HELP.message(shown(hint).into_owned()));
    }
    let text = renderer.render(&[group]);
    match place {
        // The renderer counts columns in the cut line.
        Some((wrong, right)) if wrong != right => text.replacen(&wrong, &right, 1),
        _ => text,
    }
}

/// The line of a place, cut to what can be shown.
struct Excerpt {
    text: String,
    mark: std::ops::Range<usize>,
    /// Where the marks start and end, in characters from 0.
    first: usize,
    column: usize,
}

impl Excerpt {
    fn of(text: &str, span: Span, width: usize, secret: bool) -> Self {
        let (start, end) = (span.start as usize, span.end as usize);
        let before = text.get(..start).unwrap_or_default();
        let line = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = text.get(line..).unwrap_or_default();
        let rest = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let from = (start - line).min(rest.len());
        // Of a place of several lines the first is marked.
        let to = end.saturating_sub(line).clamp(from, rest.len());
        let head = tail_of(rest.get(..from).unwrap_or_default(), width);
        let marked = head_of(rest.get(from..to).unwrap_or_default(), width);
        let tail = head_of(rest.get(to..).unwrap_or_default(), width);
        let tail = if marked.len() < to - from { "" } else { tail };
        let whole = head.len() + marked.len() + tail.len() == rest.len();
        // Its length is nobody's business either; and a text of several lines ends on another one.
        let (marked, tail) = if secret { ("(secret)", "") } else { (marked, tail) };
        let mut shown = String::new();
        if head.len() < from {
            shown.push('…');
        }
        shown.push_str(&visible(head));
        let from = shown.len();
        let first = shown.chars().count();
        shown.push_str(&visible(marked));
        let to = shown.len();
        let column = shown.chars().count();
        shown.push_str(&visible(tail));
        if !whole && !secret && from + to > 0 {
            shown.push('…');
        }
        Self {
            text: shown,
            mark: from..to,
            first,
            column,
        }
    }
}

/// The first characters of a text.
fn head_of(text: &str, most: usize) -> &str {
    text.char_indices()
        .nth(most)
        .map_or(text, |(at, _)| text.get(..at).unwrap_or(text))
}

/// The last characters of a text.
fn tail_of(text: &str, most: usize) -> &str {
    text.char_indices()
        .rev()
        .nth(most)
        .map_or(text, |(at, c)| text.get(at + c.len_utf8()..).unwrap_or(text))
}

/// A text of one line that drives no terminal, cut where it is too long.
fn shown(text: &str) -> Cow<'_, str> {
    let cut = head_of(text, MESSAGE);
    let visible = visible(cut);
    if cut.len() < text.len() {
        Cow::Owned(format!("{visible}…"))
    } else {
        visible
    }
}

/// Control characters and those that turn the direction of writing become `\u{fffd}`, tabs and newlines a space.
fn visible(text: &str) -> Cow<'_, str> {
    let turns =
        |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    let bad = |c: char| c.is_control() || turns(c);
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .map(|c| match c {
                '\t' | '\n' => ' ',
                c if bad(c) => '\u{fffd}',
                c => c,
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn sources(text: &str) -> (Sources, crate::expression::SourceId) {
        let mut sources = Sources::default();
        let id = sources.add("stacks/dev.toml", Some(Arc::from(text)));
        (sources, id)
    }

    #[test]
    fn the_look() {
        let text = "[resources.vpc]\ncidrBlok = \"10.0.0.0/16\"\nx = [\n  1,\n]\n";
        let (mut sources, id) = sources(text);
        let rust = sources.add("src/main.rs", None);
        let at = |part: &str| {
            let start = text.find(part).unwrap();
            Span::new(id, start..start + part.len())
        };
        let unknown = Diagnostic::error(at("cidrBlok"), "unknown property `cidrBlok` of aws:ec2:Vpc")
            .with_hint("did you mean `cidrBlock`?");
        let several = Diagnostic::warning(at("[\n  1,\n]"), "a list of one")
            .with_label("this one")
            .with_hint("name it");
        let rust_place = Span {
            source: rust,
            start: 12,
            end: 9,
        };
        let built = Diagnostic::error(rust_place, "`Vpc` is not a kind")
            .with_hint("a kind is `provider:module:Name`");
        let nowhere = Diagnostic::error(Span::NONE, "there is no Epid.toml");
        let all = [nowhere, built, several, unknown.clone(), unknown];
        insta::assert_snapshot!(render(&all, &sources, false, 100), @r#"
        error: unknown property `cidrBlok` of aws:ec2:Vpc
         --> stacks/dev.toml:2:1
          |
        2 | cidrBlok = "10.0.0.0/16"
          | ^^^^^^^^ did you mean `cidrBlock`?

        warning: a list of one
         --> stacks/dev.toml:3:5
          |
        3 | x = [
          |     ^ this one
          |
          = help: name it

        error: `Vpc` is not a kind
        --> src/main.rs:12:9
         = help: a kind is `provider:module:Name`

        error: there is no Epid.toml

        3 errors, 1 warning
        "#);
    }

    #[test]
    fn one_long_line_does_not_flood_the_terminal() {
        let text = format!("a = \"{}bad{}\"", "x".repeat(50_000), "é".repeat(50_000));
        let (sources, id) = sources(&text);
        let at = text.find("bad").unwrap();
        let problem = Diagnostic::error(Span::new(id, at..at + 3), "here").with_hint("h");
        let shown = render(&[problem], &sources, true, 80);
        assert!(shown.contains("stacks/dev.toml:1:50006\n"), "{shown}");
        assert!(shown.contains("xxxbadé"), "{shown}");
        for span in [
            Span::new(id, at..at + 3),
            Span::new(id, 4..text.len()),
            Span::new(id, 0..0),
        ] {
            let shown = render(
                &[Diagnostic::error(span, "m".repeat(5_000)).with_hint("h")],
                &sources,
                false,
                80,
            );
            assert!(shown.len() < 3_000, "{}", shown.len());
            assert!(shown.lines().skip(1).all(|l| l.chars().count() < 120), "{shown}");
        }
    }

    #[test]
    fn a_file_cannot_drive_the_terminal() {
        let text = "a = \"\u{1b}[2J\u{202e}\u{7}\"\r\n";
        let (sources, id) = sources(text);
        let problem =
            Diagnostic::error(Span::new(id, 4..13), "bad \u{1b}[31m\nthing").with_label("\u{1b}]0;x\u{7}");
        let shown = render(&[problem], &sources, false, 80);
        assert!(
            !shown.contains(['\u{1b}', '\u{7}', '\u{202e}', '\r']),
            "{shown:?}"
        );
    }

    #[test]
    fn no_problems_say_nothing() {
        assert_eq!(render(&[], &Sources::default(), false, 80), "");
    }
}
