//! Exit codes.

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Something failed.
    Failed,
    /// The input is invalid; nothing was done.
    Invalid,
    /// There are changes where none were expected.
    Changes,
    /// Another run holds the stack.
    Locked,
    /// Interrupted before all was done; what was done is saved.
    Interrupted,
}

impl Exit {
    /// The code that the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Invalid => 2,
            Self::Changes => 3,
            Self::Locked => 4,
            Self::Interrupted => 130,
        }
    }

    /// The graver of two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == Self::Done { other } else { self }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
