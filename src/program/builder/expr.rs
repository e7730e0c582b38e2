//! Expressions under construction.

use std::fmt::Write as _;
use std::panic::Location;

/// An expression that the run evaluates: a path such as `curator.url`, a comparison, a choice.
///
/// Texts, numbers and truth values become literals of it: `environment.equals("prod")`.
#[derive(Debug, Clone)]
pub struct Expr {
    pub(super) text: String,
    /// It needs no brackets beside an operator.
    closed: bool,
    /// Where it was written as text.
    pub(super) location: Option<&'static Location<'static>>,
}

/// CEL as it is written in a program file, without `${` and `}`.
#[must_use]
#[track_caller]
pub fn cel(text: &str) -> Expr {
    Expr {
        text: text.to_owned(),
        closed: false,
        location: Some(Location::caller()),
    }
}

/// The key of the instance that [`for_each`](super::Resource::for_each) makes: of a map the key, of a list the text.
#[must_use]
pub fn each_key() -> Expr {
    Expr::path("each").get("key")
}

/// The value of the instance that [`for_each`](super::Resource::for_each) makes.
#[must_use]
pub fn each_value() -> Expr {
    Expr::path("each").get("value")
}

impl Expr {
    pub(super) fn path(root: &str) -> Self {
        Self {
            text: root.to_owned(),
            closed: true,
            location: None,
        }
    }

    fn literal(text: &str) -> Self {
        Self::path(text)
    }

    fn bracketed(&self) -> String {
        if self.closed {
            self.text.clone()
        } else {
            format!("({})", self.text)
        }
    }

    fn after(&self, step: &str) -> Self {
        Self {
            text: format!("{}{step}", self.bracketed()),
            closed: true,
            location: self.location,
        }
    }

    fn joined(&self, operator: &str, other: &Self) -> Self {
        Self {
            text: format!("{} {operator} {}", self.bracketed(), other.bracketed()),
            closed: false,
            location: self.location.or(other.location),
        }
    }

    /// What it has under a name: `curator.url`; any text is a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Self {
        let identifier = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if identifier {
            self.after(&format!(".{name}"))
        } else {
            self.after(&format!("[{}]", quoted(name)))
        }
    }

    /// The item at a position, from 0.
    #[must_use]
    pub fn index(&self, at: u32) -> Self {
        self.after(&format!("[{at}]"))
    }

    /// True where both are equal.
    #[must_use]
    pub fn equals(&self, other: impl Into<Self>) -> Self {
        self.joined("==", &other.into())
    }

    /// True where they differ.
    #[must_use]
    pub fn differs(&self, other: impl Into<Self>) -> Self {
        self.joined("!=", &other.into())
    }

    /// True where both are.
    #[must_use]
    pub fn and(self, other: impl Into<Self>) -> Self {
        self.joined("&&", &other.into())
    }

    /// True where one is.
    #[must_use]
    pub fn or(self, other: impl Into<Self>) -> Self {
        self.joined("||", &other.into())
    }

    /// True where it is false.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "it builds an expression; an operator would look like a value"
    )]
    pub fn not(self) -> Self {
        Self {
            text: format!("!{}", self.bracketed()),
            closed: false,
            location: self.location,
        }
    }

    /// `yes` where it is true, else `no`.
    #[must_use]
    pub fn choose(self, yes: impl Into<Self>, no: impl Into<Self>) -> Self {
        let (yes, no) = (yes.into(), no.into());
        Self {
            text: format!("{} ? {} : {}", self.bracketed(), yes.bracketed(), no.bracketed()),
            closed: false,
            location: self.location.or(yes.location).or(no.location),
        }
    }
}

/// A text as a CEL literal.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Writing to a text cannot fail.
            c if c.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

impl From<&str> for Expr {
    fn from(text: &str) -> Self {
        Self::literal(&quoted(text))
    }
}

impl From<bool> for Expr {
    fn from(b: bool) -> Self {
        Self::literal(&b.to_string())
    }
}

impl From<i64> for Expr {
    fn from(n: i64) -> Self {
        Self::literal(&n.to_string())
    }
}

impl From<i32> for Expr {
    fn from(n: i32) -> Self {
        i64::from(n).into()
    }
}

impl From<&Expr> for Expr {
    fn from(expr: &Expr) -> Self {
        expr.clone()
    }
}
