//! Where passphrases come from: the environment, a file, a person at a terminal. Never an argument, which others can see.
#![expect(
    clippy::disallowed_methods,
    reason = "the file of a passphrase was named in the environment"
)]

use std::io;
use std::path::Path;

use super::surroundings;
use super::ui::Terminal;
use crate::state::{Passphrase, PassphraseSource, StateError};

/// How often somebody may mistype.
const ATTEMPTS: usize = 3;
/// A passphrase below this length is told to be weak: whoever has the repository can guess as long as they like.
const SHORT: usize = 16;

/// The passphrases of this process.
pub(crate) struct Asked {
    terminal: Terminal,
}

impl Asked {
    pub(crate) fn new(terminal: Terminal) -> Self {
        Self { terminal }
    }

    fn ask(&self, question: &str) -> Result<Option<Passphrase>, StateError> {
        self.terminal.note(&format!("{question} (not shown):"));
        let typed = console::Term::stderr().read_secure_line();
        typed
            .map(Passphrase::new)
            .map_err(|error| unreadable("the terminal", &error))
    }
}

impl PassphraseSource for Asked {
    fn known(&self, id: &str, what: &str, refused: usize) -> Result<Option<Passphrase>, StateError> {
        let given = [given("EPID_PASSPHRASE")?, given("EPID_NEW_PASSPHRASE")?];
        let [known, renewed] = &given;
        if known.is_some() {
            // A rotation that was cut short may have changed it already.
            return Ok(given.into_iter().flatten().nth(refused));
        }
        if !self.terminal.asks || refused >= ATTEMPTS {
            return Ok(renewed.clone().filter(|_| refused == 0));
        }
        if refused > 0 {
            self.terminal.note("that is not it");
        }
        self.ask(&format!("{what} needs the passphrase of the key {id}"))
    }

    fn chosen(&self, renewed: bool) -> Result<Option<Passphrase>, StateError> {
        let name = if renewed {
            "EPID_NEW_PASSPHRASE"
        } else {
            "EPID_PASSPHRASE"
        };
        let mut chosen = given(name)?;
        while chosen.is_none() && self.terminal.asks {
            let Some(first) = self.ask("new passphrase, four words or more")? else {
                return Ok(None);
            };
            if self.ask("the same once more")?.as_ref() == Some(&first) {
                chosen = Some(first);
            } else {
                self.terminal.note("these two differ; once more from the start");
            }
        }
        if let Some(passphrase) = &chosen
            && passphrase.length() < SHORT
        {
            self.terminal.note(&format!(
                "warning: a passphrase of fewer than {SHORT} characters can be guessed by whoever has Epid.keys.toml"
            ));
        }
        Ok(chosen)
    }
}

/// What a variable holds, or the first line of the file that `NAME_FILE` names.
fn given(name: &str) -> Result<Option<Passphrase>, StateError> {
    let file = format!("{name}_FILE");
    let given = (surroundings::variable(name), surroundings::variable(&file));
    let passphrase = match given {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(StateError::BadPassphrase(format!(
                "{name} and {file} are both set; unset one of them"
            )));
        }
        (Some(text), None) => Passphrase::new(text),
        (None, Some(path)) => {
            let text =
                std::fs::read_to_string(Path::new(&path)).map_err(|error| unreadable(&path, &error))?;
            Passphrase::new(text.lines().next().unwrap_or_default().to_owned())
        }
    };
    match passphrase {
        None => Err(StateError::BadPassphrase(format!("{name} or its file is empty"))),
        some => Ok(some),
    }
}

fn unreadable(file: &str, error: &io::Error) -> StateError {
    StateError::BadPassphrase(format!("cannot read the passphrase from {file}: {error}"))
}
