//! Texts and bytes that are not what was written: changed here and there, or in every way there is.

use proptest::prelude::*;

/// Pieces that mean something to one of the readers.
pub(crate) const WORDS: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    "[[",
    "]]",
    "=",
    ".",
    ",",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "\\",
    "\\u",
    "#",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "é",
    "🦀",
    "${",
    "}",
    "$${",
    "${}",
    "${config.",
    "${each.key}",
    "each",
    "config",
    "stacks",
    "true",
    "null",
    "1e999",
    "nan",
    "-9223372036854775808",
    "99999999999999999999",
    "2026-01-01",
    "type = ",
    "[resources.",
    "[config.",
    "[outputs]",
    "[providers.x]",
    "options = ",
    "forEach = ",
    "if = ",
    "properties = ",
    "secret = true",
    "\"epid:data:Value\"",
    "\"aws:ec2:Vpc\"",
    "\"kubernetes:v1:ConfigMap\"",
    "\"epid:kubernetes:WebService\"",
    "---",
    "...",
    "&a ",
    "*a",
    "<<: ",
    "!!binary ",
    "? ",
    "- ",
    ": ",
    "|",
    ">-",
    "%YAML 1.2",
    "apiVersion",
    "kind: List",
    "items:",
];

/// A cut, a copy, a word: what is done to a text, with places as parts of its length.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Cut(f64, f64),
    Copy(f64, f64, f64),
    Word(f64, &'static str),
    Text(f64, String),
    Repeat(f64, &'static str, usize),
    End(f64),
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let at = || 0.0..1.0f64;
    let word = || prop::sample::select(WORDS.to_vec());
    prop_oneof![
        3 => (at(), 0.0..0.05f64).prop_map(|(a, b)| Change::Cut(a, b)),
        2 => (at(), 0.0..0.1f64, at()).prop_map(|(a, b, c)| Change::Copy(a, b, c)),
        5 => (at(), word()).prop_map(|(a, w)| Change::Word(a, w)),
        2 => (at(), "\\PC{0,12}").prop_map(|(a, t)| Change::Text(a, t)),
        1 => (at(), word(), 2..300usize).prop_map(|(a, w, n)| Change::Repeat(a, w, n)),
        1 => at().prop_map(Change::End),
    ]
}

pub(crate) fn changed(text: &str, changes: &[Change]) -> String {
    let mut text = text.to_owned();
    for change in changes {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a small text"
        )]
        let place = |part: f64| {
            let mut at = ((text.len() as f64) * part.min(1.0)) as usize;
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        match change {
            Change::Cut(from, length) => {
                let (from, to) = (place(*from), place(from + length));
                text.replace_range(from..to, "");
            }
            Change::Copy(from, length, to) => {
                let piece = text[place(*from)..place(from + length)].to_owned();
                let to = place(*to);
                text.insert_str(to, &piece);
            }
            Change::Word(at, word) => {
                let at = place(*at);
                text.insert_str(at, word);
            }
            Change::Text(at, word) => {
                let at = place(*at);
                text.insert_str(at, word);
            }
            Change::Repeat(at, word, times) => {
                let at = place(*at);
                text.insert_str(at, &word.repeat(*times));
            }
            Change::End(at) => {
                let at = place(*at);
                text.truncate(at);
            }
        }
    }
    text
}

/// As many cases as `PROPTEST_CASES` asks for, or so many.
pub(crate) fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(usual)
}

pub(crate) fn replaced(text: &[u8], place: prop::sample::Index, bytes: &[u8], insert: bool) -> Vec<u8> {
    let at = place.index(text.len() + 1);
    let until = if insert {
        at
    } else {
        (at + bytes.len()).min(text.len())
    };
    [&text[..at], bytes, &text[until..]].concat()
}

/// Every cut, every byte with one bit flipped, the text twice, its halves and its lines the other way round, each line twice,
/// lengths that cannot be, and nothing at all; each with its name.
pub(crate) fn damages(text: &[u8]) -> Vec<(String, Vec<u8>)> {
    let (first, last) = text.split_at(text.len() / 2);
    let mut all = vec![
        ("doubled".to_owned(), text.repeat(2)),
        ("halves exchanged".to_owned(), [last, first].concat()),
        ("zeros".to_owned(), vec![0; text.len()]),
        ("zeros behind it".to_owned(), [text, &[0; 100]].concat()),
        ("nested".to_owned(), vec![b'['; 200_000]),
        ("one long line".to_owned(), vec![b'x'; 1_000_000]),
    ];
    for at in 0..text.len() {
        let mut flipped = text.to_vec();
        flipped[at] ^= 1 << (at % 8);
        all.push((format!("cut at {at}"), text[..at].to_vec()));
        all.push((format!("byte {at} flipped"), flipped));
    }
    // Wherever a length may stand.
    for at in
        (0..text.len().saturating_sub(8)).filter(|at| at % 4 == 0 || text[at.saturating_sub(1)] == b'\n')
    {
        all.push((
            format!("a huge number at {at}"),
            [&text[..at], &[0xff; 8], &text[at + 8..]].concat(),
        ));
    }
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    for at in 0..lines.len() {
        let twice = [&lines[..=at], &lines[at..]].concat().concat();
        all.push((format!("line {at} twice"), twice));
    }
    all.push((
        "lines the other way round".to_owned(),
        lines.iter().rev().copied().collect::<Vec<_>>().concat(),
    ));
    all.retain(|(_, damaged)| damaged != text);
    all
}

/// The same as a later epid would write it: in every format that is to come.
pub(crate) fn later(text: &[u8]) -> Vec<u8> {
    let now = format!("\"format\":{}", epid::state::FORMAT);
    let text = String::from_utf8_lossy(text);
    assert!(text.contains(&now), "{text}");
    text.replacen(&now, "\"format\":4000000000", 1).into_bytes()
}
