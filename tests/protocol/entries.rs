//! What a journal says, as a set: the order within it is kept by the requests that carry it.

use std::fmt;

/// Sessions at most.
pub(crate) const SESSIONS: u8 = 4;
/// Resources at most: the second depends on the first.
pub(crate) const RESOURCES: u8 = 2;

/// What a call is recognised by: a session calls for each resource once, and again only with the same token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Token(u8);

impl Token {
    pub(crate) fn new(session: u8, resource: u8) -> Self {
        Self((session - 1) * RESOURCES + resource)
    }

    pub(crate) fn session(self) -> u8 {
        self.0 / RESOURCES + 1
    }

    pub(crate) fn resource(self) -> u8 {
        self.0 % RESOURCES
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}",
            ['a', 'b'][usize::from(self.resource())],
            self.session()
        )
    }
}

/// Tokens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Tokens(u8);

impl Tokens {
    pub(crate) fn insert(&mut self, token: Token) {
        self.0 |= 1 << token.0;
    }

    pub(crate) fn contains(self, token: Token) -> bool {
        self.0 & 1 << token.0 != 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Token> {
        (0..SESSIONS * RESOURCES)
            .map(Token)
            .filter(move |token| self.contains(*token))
    }

    pub(crate) fn of(self, resource: u8) -> Self {
        Self(self.0 & 0b0101_0101 << resource)
    }

    pub(crate) fn count(self) -> u32 {
        self.0.count_ones()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Entries of a journal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Entries {
    /// `begin`.
    pub(crate) begun: Tokens,
    /// `end` of a call that did what it was to do.
    pub(crate) done: Tokens,
    /// `end` of a call of which nothing happened.
    pub(crate) failed: Tokens,
    /// A session's entry that is about no call: its run, or options that changed.
    pub(crate) notes: u8,
}

impl Entries {
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            begun: Tokens(self.begun.0 | other.begun.0),
            done: Tokens(self.done.0 | other.done.0),
            failed: Tokens(self.failed.0 | other.failed.0),
            notes: self.notes | other.notes,
        }
    }

    pub(crate) fn contain(self, other: Self) -> bool {
        self.with(other) == self
    }

    /// Intents whose outcome is not written.
    pub(crate) fn open(self) -> Tokens {
        Tokens(self.begun.0 & !self.done.0 & !self.failed.0)
    }

    pub(crate) fn noted(self, session: u8) -> bool {
        self.notes & 1 << session != 0
    }

    pub(crate) fn note(&mut self, session: u8) {
        self.notes |= 1 << session;
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "begun {:?} done {:?} failed {:?}",
            self.begun, self.done, self.failed
        )?;
        write!(f, " notes {:b}", self.notes)
    }
}
