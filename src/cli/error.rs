//! What can go wrong, for people: what, where, why, what next.

use std::fmt;

use epid_provider::Failure;

use super::exit::Exit;
use super::ui::{Terminal, plain};
use crate::plan::PlanProblem;
use crate::program::{Diagnostic, Sources, render};
use crate::state::{Moving, StateError};

/// Why a command ended before its work was done.
#[derive(Debug)]
pub(crate) enum Error {
    /// The program, a stack file or the selection is wrong.
    Input(Vec<Diagnostic>, Sources),
    /// The state cannot be read or written, or somebody else holds it.
    State(Box<StateError>),
    /// A request to a cloud failed before anything was changed.
    Cloud(Box<Failure>),
    /// Anything else, with its exit code.
    Other {
        /// How the program ends.
        exit: Exit,
        /// What is wrong.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
}

impl Error {
    /// The input is wrong in a way that has no place in a file.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Other {
            exit: Exit::Invalid,
            message: message.into(),
            hint: None,
        }
    }

    /// The run was told to stop before it had begun to change anything.
    pub(crate) fn interrupted() -> Self {
        Self::Other {
            exit: Exit::Interrupted,
            message: "interrupted; nothing more was done".to_owned(),
            hint: None,
        }
    }

    /// Something failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Other {
            exit: Exit::Failed,
            message: message.into(),
            hint: None,
        }
    }

    /// With what to do next.
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Other { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// What stands in the way of a plan.
    pub(crate) fn plan(problems: Vec<PlanProblem>, sources: &Sources) -> Self {
        let diagnostic = |problem: PlanProblem| {
            let diagnostic = Diagnostic::error(problem.span, problem.message);
            match problem.hint {
                Some(hint) => diagnostic.with_hint(hint),
                None => diagnostic,
            }
        };
        Self::Input(problems.into_iter().map(diagnostic).collect(), sources.clone())
    }

    /// True where another run holds what is needed, and will have ended some time.
    pub(crate) fn is_locked(&self) -> bool {
        match self {
            Self::State(error) => error.is_locked(),
            Self::Other { exit, .. } => *exit == Exit::Locked,
            Self::Input(..) | Self::Cloud(_) => false,
        }
    }

    /// How the program ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Input(..) => Exit::Invalid,
            Self::State(error) => match **error {
                ref error if error.is_locked() => Exit::Locked,
                StateError::Elsewhere { ref notice, .. } => match notice.moving {
                    Moving::Left => Exit::Invalid,
                    Moving::Leaving | Moving::Arriving => Exit::Locked,
                },
                StateError::MissingKey { .. }
                | StateError::MissingPassphrase { .. }
                | StateError::NeedsWholeKey { .. }
                | StateError::WrongPassphrase { .. }
                | StateError::BadPassphrase(_)
                | StateError::NoProvider(_)
                | StateError::BadKey { .. }
                | StateError::BadSecret { .. }
                | StateError::BadDocument { .. }
                | StateError::Occupied { .. }
                | StateError::NotFound(_) => Exit::Invalid,
                _ => Exit::Failed,
            },
            Self::Cloud(_) => Exit::Failed,
            Self::Other { exit, .. } => *exit,
        }
    }

    /// Shows it.
    pub(crate) fn show(&self, terminal: Terminal) {
        if terminal.json {
            terminal.json(&self.document());
        } else {
            terminal.note(self.text(terminal).trim_end());
        }
    }

    fn text(&self, terminal: Terminal) -> String {
        let paint = terminal.paint;
        let mut out = String::new();
        let mut say = |message: &str, hint: Option<&str>| {
            out.push_str(&format!("{}: {message}\n", paint.error()));
            if let Some(hint) = hint {
                out.push_str(&format!("  {} {hint}\n", paint.cyan("help:")));
            }
        };
        match self {
            Self::Input(diagnostics, sources) => {
                return render(diagnostics, sources, paint.on(), terminal.error_width);
            }
            Self::State(error) => say(&error.to_string(), error.hint()),
            Self::Cloud(failure) => say(&plain(&failure.message), failure.hint.as_deref()),
            Self::Other { message, hint, .. } => say(message, hint.as_deref()),
        }
        out
    }

    fn document(&self) -> serde_json::Value {
        let problems: Vec<serde_json::Value> = match self {
            Self::Input(diagnostics, sources) => diagnostics
                .iter()
                .map(|d| {
                    let place = d.span.and_then(|span| sources.place(span));
                    serde_json::json!({"message": d.message, "place": place, "hint": d.hint})
                })
                .collect(),
            Self::State(error) => {
                vec![serde_json::json!({"message": error.to_string(), "hint": error.hint()})]
            }
            Self::Cloud(f) => vec![serde_json::json!({"message": f.message, "code": f.code, "hint": f.hint})],
            Self::Other { message, hint, .. } => vec![serde_json::json!({"message": message, "hint": hint})],
        };
        serde_json::json!({
            "event": "error",
            "exit": self.exit().code(),
            "problems": problems,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(problems, _) => {
                let messages: Vec<&str> = problems.iter().map(|problem| &*problem.message).collect();
                f.write_str(&messages.join("; "))
            }
            Self::State(error) => error.fmt(f),
            Self::Cloud(failure) => f.write_str(&failure.message),
            Self::Other { message, .. } => f.write_str(message),
        }
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        Self::State(Box::new(error))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Cloud(Box::new(failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::Span;

    #[test]
    fn several_problems_are_told_apart_in_one_line() {
        let problems = ["`a` is missing", "`b` is unknown"].map(|what| Diagnostic::error(Span::NONE, what));
        let error = Error::Input(problems.to_vec(), Sources::default());
        assert_eq!(error.to_string(), "`a` is missing; `b` is unknown");
    }
}
