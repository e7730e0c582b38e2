//! Text into tokens.

use std::ops::Range;
use std::sync::Arc;

use super::parsed::ExpressionError;

/// A token and where it stands, in bytes.
pub(super) type Spanned = (Token, Range<usize>);

/// The smallest parts of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A whole number without its sign; its suffix `u` is gone.
    Int(u64),
    /// A number with a point or an exponent.
    Float(f64),
    /// A text, its escapes undone.
    Text(Arc<str>),
    /// A word.
    Name(Arc<str>),
    /// A name in backticks.
    Quoted(Arc<str>),
    /// Anything else: `+`, `&&`, `(`.
    Sign(&'static str),
}

/// Longer signs first.
const SIGNS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "+", "-", "*", "/", "%", "!", "<", ">", "?", ":", ".", ",", "(", ")",
    "[", "]", "{", "}",
];

/// An iterator over tokens and what is none. It goes on after an error.
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

/// An error at a range of bytes.
pub(super) fn error(range: Range<usize>, message: impl Into<String>) -> ExpressionError {
    let cut = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    ExpressionError {
        range: cut(range.start)..cut(range.end),
        message: message.into(),
        hint: None,
    }
}

impl ExpressionError {
    /// With what was probably meant, or what to do.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl<'t> Lexer<'t> {
    /// Tokens of `text` from byte `at` on, which is the start of a character.
    pub(super) fn new(text: &'t str, at: usize) -> Self {
        Self { text, at }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take_while(&mut self, test: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let taken = rest.find(|c| !test(c)).unwrap_or(rest.len());
        self.at += taken;
        rest.get(..taken).unwrap_or_default()
    }

    fn skip_blank(&mut self) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n' | '\x0c'));
            if !self.rest().starts_with("//") {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn number(&mut self) -> Result<Token, ExpressionError> {
        let start = self.at;
        let hex = self.rest().starts_with("0x") || self.rest().starts_with("0X");
        let mut float = false;
        if hex {
            self.at += 2;
            self.take_while(|c| c.is_ascii_hexdigit());
        } else {
            self.take_while(|c| c.is_ascii_digit());
            let mut after = self.rest().chars();
            if after.next() == Some('.') && after.next().is_some_and(|c| c.is_ascii_digit()) {
                float = true;
                self.at += 1;
                self.take_while(|c| c.is_ascii_digit());
            }
            if let Some(exponent) = self.rest().strip_prefix(['e', 'E']) {
                let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                if digits.starts_with(|c: char| c.is_ascii_digit()) {
                    float = true;
                    self.at = self.text.len() - digits.len();
                    self.take_while(|c| c.is_ascii_digit());
                }
            }
        }
        let digits = self.text.get(start..self.at).unwrap_or_default();
        if !float && self.rest().starts_with(['u', 'U']) {
            self.at += 1;
        }
        let glued = !self
            .take_while(|c| c.is_ascii_alphanumeric() || c == '_')
            .is_empty();
        let whole = self.text.get(start..self.at).unwrap_or_default();
        let wrong = |what: &str| error(start..self.at, format!("`{whole}` {what}"));
        if glued || digits.len() == 2 && hex {
            return Err(wrong("is not a number"));
        }
        if float {
            let n: f64 = digits.parse().map_err(|_| wrong("is not a number"))?;
            return if n.is_finite() {
                Ok(Token::Float(n))
            } else {
                Err(wrong("is too large"))
            };
        }
        let parsed = if hex {
            u64::from_str_radix(digits.get(2..).unwrap_or_default(), 16)
        } else {
            digits.parse()
        };
        parsed
            .map(Token::Int)
            .map_err(|_| wrong("is too large for a whole number of 64 bits"))
    }

    /// A text whose prefix (`r`, `b`) has been read; `start` is where the prefix begins.
    fn text(&mut self, start: usize, raw: bool, bytes: bool) -> Result<Token, ExpressionError> {
        let quote = self.peek().unwrap_or('"');
        let triple: String = std::iter::repeat_n(quote, 3).collect();
        let closing = if self.rest().starts_with(&triple) {
            triple
        } else {
            quote.to_string()
        };
        self.at += closing.len();
        let mut out = String::new();
        let mut problem = None;
        loop {
            if self.rest().starts_with(&closing) {
                self.at += closing.len();
                break;
            }
            let here = self.at;
            let Some(c) = self.peek() else {
                return Err(
                    error(start..here, "this text is not closed").hint(format!("it ends with {closing}"))
                );
            };
            self.at += c.len_utf8();
            match c {
                '\n' | '\r' if closing.len() == 1 => {
                    return Err(
                        error(start..here, "this text is not closed on its line").hint(format!(
                            "it ends with {closing}; text of several lines stands in {0}{0}{0}",
                            quote
                        )),
                    );
                }
                '\\' if !raw => match self.escape(here) {
                    Ok(c) => out.push(c),
                    Err(e) => problem = problem.or(Some(e)),
                },
                c => out.push(c),
            }
        }
        if bytes {
            problem = Some(
                error(start..self.at, "values hold no bytes")
                    .hint("write a text, or its base64 form in a text"),
            );
        }
        problem.map_or_else(|| Ok(Token::Text(Arc::from(out))), Err)
    }

    /// What follows a backslash at `start`.
    fn escape(&mut self, start: usize) -> Result<char, ExpressionError> {
        let kind = self.peek();
        self.at += kind.map_or(0, char::len_utf8);
        let plain = match kind {
            Some(c @ ('\\' | '"' | '\'' | '`' | '?')) => Some(c),
            Some('a') => Some('\x07'),
            Some('b') => Some('\x08'),
            Some('f') => Some('\x0c'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('v') => Some('\x0b'),
            _ => None,
        };
        if let Some(c) = plain {
            return Ok(c);
        }
        let (skip, count, radix) = match kind {
            Some('x' | 'X') => (0, 2, 16),
            Some('u') => (0, 4, 16),
            Some('U') => (0, 8, 16),
            Some('0'..='3') => (1, 3, 8),
            _ => {
                return Err(error(start..self.at, "unknown escape in a text")
                    .hint("a backslash itself is `\\\\`; in r\"…\" it means nothing"));
            }
        };
        let from = self.at - skip;
        let digits = self.text.get(from..from + count).unwrap_or_default();
        let c = digits
            .bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then(|| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32))
            .flatten();
        match c {
            Some(c) if !digits.is_empty() => {
                self.at = from + count;
                Ok(c)
            }
            _ => Err(error(
                start..self.at,
                "this escape is not a character: `\\n`, `\\x41`, `\\u00e9` are",
            )),
        }
    }

    fn token(&mut self) -> Result<Token, ExpressionError> {
        let start = self.at;
        let rest = self.rest();
        let first = rest.chars().next().unwrap_or(' ');
        if first.is_ascii_digit() || first == '.' && rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) {
            return self.number();
        }
        if matches!(first, '"' | '\'') {
            return self.text(start, false, false);
        }
        if first == '`' {
            self.at += 1;
            let name = self.take_while(|c| c != '`' && c != '\n');
            if self.peek() != Some('`') {
                return Err(error(start..self.at, "this name is not closed").hint("it ends with a backtick"));
            }
            self.at += 1;
            return if name.is_empty() {
                Err(error(start..self.at, "there is no name between the backticks"))
            } else {
                Ok(Token::Quoted(Arc::from(name)))
            };
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
            if matches!(self.peek(), Some('"' | '\'')) {
                let (raw, bytes) = match name.to_ascii_lowercase().as_str() {
                    "r" => (true, false),
                    "b" => (false, true),
                    "br" | "rb" => (true, true),
                    _ => return Ok(Token::Name(Arc::from(name))),
                };
                return self.text(start, raw, bytes);
            }
            return Ok(Token::Name(Arc::from(name)));
        }
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.at += sign.len();
            return Ok(Token::Sign(sign));
        }
        self.at += first.len_utf8();
        let problem = error(start..self.at, format!("unexpected `{first}`"));
        Err(match first {
            '=' => problem.hint("`==` compares"),
            '&' => problem.hint("`&&` is “and”"),
            '|' => problem.hint("`||` is “or”"),
            '$' => problem.hint("names stand as they are inside of `${…}`"),
            _ => problem,
        })
    }
}

impl Iterator for Lexer<'_> {
    type Item = Result<Spanned, ExpressionError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_blank();
        if self.rest().is_empty() {
            return None;
        }
        let start = self.at;
        Some(self.token().map(|token| (token, start..self.at)))
    }
}

/// The place of the `}` that closes the `${` before byte `start`.
pub(super) fn closing_brace(text: &str, start: usize) -> Result<usize, Vec<ExpressionError>> {
    let mut depth = 0_usize;
    let mut errors = Vec::new();
    for item in Lexer::new(text, start) {
        match item {
            Ok((Token::Sign("{"), _)) => depth += 1,
            Ok((Token::Sign("}"), range)) if depth == 0 => return Ok(range.start),
            Ok((Token::Sign("}"), _)) => depth -= 1,
            Ok(_) => {}
            Err(e) => errors.push(e),
        }
    }
    if errors.is_empty() {
        errors.push(
            error(start.saturating_sub(2)..start, "this `${` is not closed")
                .hint("it ends with `}`; a literal `${` is written `$${`"),
        );
    }
    Err(errors)
}

/// A text as the language writes it.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
