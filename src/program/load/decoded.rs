//! The text of a TOML string, and the way back from it to its place.

use std::borrow::Cow;
use std::ops::Range;

use crate::expression::Span;

/// The text of a TOML string. Newlines of the file are `\n` in it, however the file spells them.
pub(super) struct Decoded<'d> {
    /// The text that is meant.
    pub(super) text: Cow<'d, str>,
    span: Span,
    pieces: Pieces,
}

enum Pieces {
    /// The text stands in the source as it is, from this offset of the span.
    Verbatim(u32),
    /// Runs of the text, in order, that came from runs of the source.
    Mapped(Vec<Piece>),
    /// Nobody can say; the place of everything is the whole string.
    Whole,
}

/// A run of text: the same bytes in the source, or one escape there.
struct Piece {
    text: Range<usize>,
    raw: Range<usize>,
}

impl<'d> Decoded<'d> {
    /// `raw` is the string as it stands at `span`, quotes included; `decoded` what TOML says it means.
    pub(super) fn new(raw: &str, decoded: &'d str, span: Span) -> Self {
        let mut text = Cow::Borrowed(decoded);
        let (quotes, inner) = unquoted(raw);
        let pieces = if inner == decoded && !inner.contains('\r') {
            Pieces::Verbatim(u32::try_from(quotes).unwrap_or(0))
        } else if quotes == 0 {
            Pieces::Whole
        } else {
            let (own, pieces) = decode(raw, quotes, inner);
            let own_matches =
                own == decoded || (inner.contains('\r') && own == decoded.replace("\r\n", "\n"));
            if own_matches {
                text = Cow::Owned(own);
                Pieces::Mapped(pieces)
            } else {
                Pieces::Whole
            }
        };
        Self { text, span, pieces }
    }

    /// The place of a range of the text: exact to the escape.
    pub(super) fn place(&self, range: &Range<u32>) -> Span {
        let (start, end) = (range.start as usize, range.end.max(range.start) as usize);
        let (from, to) = match &self.pieces {
            Pieces::Whole => return self.span,
            Pieces::Verbatim(offset) => (*offset as usize + start, *offset as usize + end),
            Pieces::Mapped(pieces) => {
                let from = raw_start(pieces, start);
                let to = if end > start { raw_end(pieces, end) } else { from };
                (from, to.max(from))
            }
        };
        let cut = |at: usize| {
            self.span
                .start
                .saturating_add(u32::try_from(at).unwrap_or(u32::MAX))
                .min(self.span.end)
        };
        Span {
            source: self.span.source,
            start: cut(from),
            end: cut(to),
        }
    }
}

/// The bytes before the text, and the text between the quotes; a newline right after `"""` is none of it.
fn unquoted(raw: &str) -> (usize, &str) {
    for (quote, multiline) in [("\"\"\"", true), ("'''", true), ("\"", false), ("'", false)] {
        let inner = raw.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            let body = if multiline {
                inner
                    .strip_prefix("\r\n")
                    .or_else(|| inner.strip_prefix('\n'))
                    .unwrap_or(inner)
            } else {
                inner
            };
            return (quote.len() + inner.len() - body.len(), body);
        }
    }
    (0, raw)
}

/// Decodes what stands between the quotes, remembering where each run came from.
fn decode(raw: &str, quotes: usize, inner: &str) -> (String, Vec<Piece>) {
    let literal = raw.starts_with('\'');
    let mut text = String::with_capacity(inner.len());
    let mut pieces: Vec<Piece> = Vec::new();
    let mut rest = inner;
    while !rest.is_empty() {
        let at = quotes + inner.len() - rest.len();
        let special = |c: char| c == '\r' || (c == '\\' && !literal);
        let run = rest.find(special).unwrap_or(rest.len());
        let (plain, tail) = rest.split_at(run);
        let start = text.len();
        if run > 0 {
            text.push_str(plain);
            pieces.push(Piece {
                text: start..text.len(),
                raw: at..at + run,
            });
            rest = tail;
            continue;
        }
        let used = if rest.starts_with("\r\n") {
            text.push('\n');
            2
        } else if let Some(escape) = rest.strip_prefix('\\').filter(|_| !literal) {
            1 + unescape(escape, &mut text)
        } else {
            text.push('\r');
            1
        };
        pieces.push(Piece {
            text: start..text.len(),
            raw: at..at + used,
        });
        rest = rest.get(used..).unwrap_or_default();
    }
    (text, pieces)
}

/// Decodes what follows a backslash; answers how many bytes it was.
fn unescape(escape: &str, text: &mut String) -> usize {
    let Some(first) = escape.chars().next() else {
        return 0;
    };
    let digits = match first {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        ' ' | '\t' | '\r' | '\n' => {
            return escape.len() - escape.trim_start_matches([' ', '\t', '\r', '\n']).len();
        }
        _ => {
            text.push(match first {
                'b' => '\u{8}',
                'e' => '\u{1b}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            });
            return first.len_utf8();
        }
    };
    let number = escape
        .get(1..=digits)
        .and_then(|hex| u32::from_str_radix(hex, 16).ok())
        .and_then(char::from_u32);
    text.push(number.unwrap_or('\u{fffd}'));
    if number.is_some() { 1 + digits } else { 1 }
}

fn raw_start(pieces: &[Piece], at: usize) -> usize {
    let next = pieces.partition_point(|p| p.text.end <= at);
    match pieces.get(next) {
        Some(piece) if piece.text.len() == piece.raw.len() => {
            piece.raw.start + at.saturating_sub(piece.text.start)
        }
        Some(piece) => piece.raw.start,
        None => pieces.last().map_or(0, |p| p.raw.end),
    }
}

fn raw_end(pieces: &[Piece], at: usize) -> usize {
    let found = pieces.partition_point(|p| p.text.end < at);
    match pieces.get(found) {
        Some(piece) if piece.text.len() == piece.raw.len() => {
            piece.raw.start + at.saturating_sub(piece.text.start)
        }
        Some(piece) => piece.raw.end,
        None => pieces.last().map_or(0, |p| p.raw.end),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use toml::de::DeTable;

    use super::*;
    use crate::expression::SourceId;

    fn with<T>(source: &str, f: impl FnOnce(&Decoded<'_>) -> T) -> T {
        let table = DeTable::parse(source).unwrap();
        let value = table.get_ref().get("a").unwrap();
        let range = value.span();
        let text = value.get_ref().as_str().unwrap();
        f(&Decoded::new(
            &source[range.clone()],
            text,
            Span::new(SourceId(0), range),
        ))
    }

    fn marked(source: &str, part: &str) -> String {
        with(source, |decoded| {
            let at = decoded.text.find(part).unwrap();
            let range = u32::try_from(at).unwrap()..u32::try_from(at + part.len()).unwrap();
            let span = decoded.place(&range);
            source[span.start as usize..span.end as usize].to_owned()
        })
    }

    #[test]
    fn a_range_of_the_text_is_found_in_the_source() {
        for (source, part, found) in [
            (r#"a = "x ${y} z""#, "${y}", "${y}"),
            (r"a = 'x ${y} z'", "${y}", "${y}"),
            (r#"a = "\t\u00e9 ${y}\n""#, "${y}", "${y}"),
            (r#"a = "\t\u00e9 ${y}\n""#, "\u{e9}", r"\u00e9"),
            (r#"a = "${y == \"p\"}""#, "y == \"p\"", r#"y == \"p\""#),
            (
                "a = \"\"\"\n  one \\\n   ${y}\"\"\"",
                "one ${y}",
                "one \\\n   ${y}",
            ),
            ("a = \"\"\"\r\none\r\n${y}\r\n\"\"\"", "${y}", "${y}"),
            ("a = '''\n\n${y}'''", "${y}", "${y}"),
            ("a = \"\"\"\"q\" ${y}\"\"\"\"", "${y}", "${y}"),
        ] {
            assert_eq!(marked(source, part), found, "{source}");
        }
    }

    #[test]
    fn newlines_are_the_same_however_the_file_spells_them() {
        with("a = \"\"\"\r\none\r\ntwo\"\"\"", |decoded| {
            assert_eq!(decoded.text, "one\ntwo");
        });
        with(r#"a = "one\r\ntwo""#, |decoded| {
            assert_eq!(decoded.text, "one\r\ntwo");
        });
    }

    proptest! {
        #[test]
        fn every_string_is_decoded_as_toml_decodes_it(
            parts in prop::collection::vec(prop_oneof![
                "[a-z é$\\{\\}]{0,4}", Just("\\n".to_owned()), Just("\\\\".to_owned()), Just("\\\"".to_owned()),
                Just("\\u00e9".to_owned()), Just("\\x41".to_owned()), Just("\\e".to_owned()),
                Just("\n".to_owned()), Just("\\\n  ".to_owned()), Just("\"a".to_owned()),
            ], 0..12)
        ) {
            let source = format!("a = \"\"\"{}\"\"\"", parts.concat());
            if DeTable::parse(&source).is_ok() {
                with(&source, |decoded| {
                    let whole = decoded.text.len();
                    let mapped = !matches!(decoded.pieces, Pieces::Whole);
                    assert!(mapped, "{source:?} was not followed");
                    for (at, c) in decoded.text.char_indices() {
                        let end = at + c.len_utf8();
                        let span = decoded.place(&(u32::try_from(at).unwrap()..u32::try_from(end).unwrap()));
                        let raw = &source[span.start as usize..span.end as usize];
                        assert!(raw == c.to_string() || raw.starts_with('\\'), "{raw:?} is not {c:?} of {whole}");
                    }
                });
            }
        }
    }
}
