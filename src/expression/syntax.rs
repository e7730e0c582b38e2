//! The tree of an expression.

use std::ops::Range;
use std::sync::Arc;

use epid_provider::Value;

use super::functions::Function;
use super::parsed::Reference;

/// A part of an expression.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) syntax: Syntax,
    /// Where it stands in the text, in bytes.
    pub(super) range: Range<u32>,
    /// How many nodes lie on the longest way down, this one included.
    pub(super) depth: u8,
}

#[derive(Debug)]
pub(super) enum Syntax {
    Literal(Value),
    /// A name of the scope and the static steps from it.
    Path(Reference),
    /// A name bound by a macro: its place among those bound around it.
    Local(usize),
    Select(Box<Node>, Arc<str>),
    Index(Box<Node>, Box<Node>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary(Binary, Box<Node>, Box<Node>),
    Conditional(Box<[Node; 3]>),
    /// `has(a.b)`: the node is a path or a selection.
    Has(Box<Node>),
    /// A macro over the items of a list or the keys of a map: `body` is the predicate or what is made, and a
    /// predicate before it where `map` was given one.
    Fold {
        fold: Fold,
        over: Box<Node>,
        body: Vec<Node>,
    },
    /// A function; what it was called on comes first.
    Call(&'static Function, Vec<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

impl Fold {
    /// The macro of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "all" => Self::All,
            "exists" => Self::Exists,
            "exists_one" | "existsOne" => Self::ExistsOne,
            "map" => Self::Map,
            "filter" => Self::Filter,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Binary {
    const ALL: [(&'static str, Self, u8); 14] = [
        ("||", Self::Or, 1),
        ("&&", Self::And, 2),
        ("==", Self::Equal, 3),
        ("!=", Self::Unequal, 3),
        ("<", Self::Less, 3),
        ("<=", Self::AtMost, 3),
        (">", Self::More, 3),
        (">=", Self::AtLeast, 3),
        ("in", Self::In, 3),
        ("+", Self::Add, 4),
        ("-", Self::Subtract, 4),
        ("*", Self::Multiply, 5),
        ("/", Self::Divide, 5),
        ("%", Self::Remainder, 5),
    ];

    /// The operator of that spelling and how strongly it binds.
    pub(super) fn spelled(text: &str) -> Option<(Self, u8)> {
        Self::ALL
            .iter()
            .find(|(sign, ..)| *sign == text)
            .map(|(_, op, power)| (*op, *power))
    }

    pub(super) fn sign(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, op, _)| *op == self)
            .map_or("", |(sign, ..)| sign)
    }
}

impl Node {
    /// The nodes right below, in the order they are written.
    pub(super) fn children(&self) -> Vec<&Self> {
        match &self.syntax {
            Syntax::Literal(_) | Syntax::Path(_) | Syntax::Local(_) => Vec::new(),
            Syntax::Select(of, _) | Syntax::Not(of) | Syntax::Negate(of) | Syntax::Has(of) => vec![of],
            Syntax::Index(a, b) | Syntax::Binary(_, a, b) => vec![a, b],
            Syntax::List(items) | Syntax::Call(_, items) => items.iter().collect(),
            Syntax::Map(entries) => entries.iter().flat_map(|(k, v)| [k, v]).collect(),
            Syntax::Conditional(parts) => parts.iter().collect(),
            Syntax::Fold { over, body, .. } => std::iter::once(&**over).chain(body).collect(),
        }
    }

    /// The paths in it, in the order they are written.
    pub(super) fn references(&self) -> Vec<Reference> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found
    }

    fn collect(&self, into: &mut Vec<Reference>) {
        if let Syntax::Path(reference) = &self.syntax {
            into.push(reference.clone());
        }
        for child in self.children() {
            child.collect(into);
        }
    }
}
