//! Where output goes, and what it can show.

use std::io::{self, IsTerminal as _, Write};

use super::concealed::{concealed, concealed_json};
use super::style::Paint;
use crate::cli::args::Color;
use crate::cli::error::Error;

/// Standard output and standard error: results go to the first, questions and errors to the second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// Colours, or none.
    pub(crate) paint: Paint,
    /// Columns; 100 where output is no terminal.
    pub(crate) width: usize,
    /// Columns of errors, which may go elsewhere.
    pub(crate) error_width: usize,
    /// What is too long for a line is cut: only where somebody looks.
    pub(crate) cuts: bool,
    /// Standard output is a terminal that can be drawn on.
    pub(crate) live: bool,
    /// Somebody can be asked.
    pub(crate) asks: bool,
    /// Only JSON lines on standard output.
    pub(crate) json: bool,
}

impl Terminal {
    /// As the environment and the arguments say.
    pub(crate) fn new(color: Color, json: bool, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let tty = io::stdout().is_terminal();
        let dumb = environment("TERM").is_some_and(|term| term == "dumb");
        let set = |name: &str| environment(name).is_some_and(|value| !value.is_empty());
        let on = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => (tty && !dumb && !set("NO_COLOR")) || (set("CLICOLOR_FORCE") && !set("NO_COLOR")),
        };
        let columns = |term: console::Term| match term.size_checked() {
            Some((_, columns)) if term.features().is_attended() => usize::from(columns).max(40),
            _ => 100,
        };
        Self {
            paint: Paint::new(on && !json),
            width: columns(console::Term::stdout()),
            error_width: columns(console::Term::stderr()),
            cuts: tty,
            live: tty && !dumb && !json,
            asks: io::stdin().is_terminal() && !json,
            json,
        }
    }

    /// Prints lines of a result. A reader that went away (`epid … | head`) is no error: what it did not want is dropped.
    pub(crate) fn print(self, text: &str) {
        self.print_openly(&concealed(text));
    }

    /// The same, of what somebody asked to see with its secrets.
    pub(crate) fn print_openly(self, text: &str) {
        drop(io::stdout().lock().write_all(text.as_bytes()));
    }

    /// Prints one line of a result.
    pub(crate) fn line(self, text: &str) {
        self.print(&format!("{text}\n"));
    }

    /// Prints one line that somebody has to hear, wherever they listen.
    pub(crate) fn tell(self, text: &str) {
        let mut out = io::stdout().lock();
        if writeln!(out, "{}", concealed(text))
            .and_then(|()| out.flush())
            .is_err()
        {
            self.note(text);
        }
    }

    /// Prints what is no result: warnings, errors, questions.
    pub(crate) fn note(self, text: &str) {
        drop(writeln!(io::stderr().lock(), "{}", concealed(text)));
    }

    /// Prints what is not wrong yet.
    pub(crate) fn warn(self, text: &str) {
        self.note(&format!("{}: {text}", self.paint.warning()));
    }

    /// Asks a question; anything but `yes` or `y` is no.
    fn confirm(self, question: &str) -> bool {
        drop(write!(io::stderr().lock(), "{question} [y/N] "));
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    /// Whether somebody says yes, or has said so; a no is acknowledged.
    ///
    /// # Errors
    /// Where `yes` was not given and there is nobody to ask.
    pub(crate) fn consents(self, yes: bool, question: &str) -> Result<bool, Error> {
        if !yes && !self.asks {
            return Err(Error::invalid("there is nobody to ask whether to do this")
                .hint("add --yes, or run it in a terminal"));
        }
        let agreed = yes || self.confirm(question);
        if !agreed {
            self.note("nothing was done");
        }
        Ok(agreed)
    }

    /// Prints a document of `--json`: one line, which says `event` and the `format` of all events.
    pub(crate) fn json(self, value: &impl serde::Serialize) {
        let Ok(mut value) = serde_json::to_value(value) else {
            return;
        };
        if let Some(document) = value.as_object_mut() {
            document.insert("format".to_owned(), crate::apply::EVENT_FORMAT.into());
        }
        concealed_json(&mut value);
        self.print_openly(&format!("{value}\n"));
    }

    /// Prints what a command came to: a sentence, or an event of that.
    pub(crate) fn done(self, text: &str) {
        if self.json {
            self.json(&serde_json::json!({"event": "done", "message": text}));
        } else {
            self.line(text);
        }
    }
}
