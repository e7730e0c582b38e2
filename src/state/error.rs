//! What can go wrong with a state.

use std::io;
use std::sync::Arc;

use epid_provider::Timestamp;

use super::integrity::Invalid;
use super::location::{Holder, Location, said};
use super::notice::{Moving, Notice};

/// The state cannot be read or written. Messages name the file, the cause and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// An entry contradicts the state it would change; nothing was changed.
    #[error("refused to record a contradiction: {0}; this is a defect of epid, please report it")]
    Invalid(#[from] Invalid),
    /// The session was closed.
    #[error("the state is closed")]
    Closed,
    /// A file could not be read or written.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The file.
        file: String,
        /// What the operating system or service said.
        #[source]
        source: Arc<io::Error>,
    },
    /// A file is not what epid wrote.
    #[error("{file} is damaged at byte {offset}: {what}; {next}")]
    Corrupt {
        /// The file.
        file: String,
        /// Where in it, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        what: String,
        /// What to do.
        next: String,
    },
    /// A file was written by a later epid.
    #[error(
        "{file} has format {found}, and this epid reads formats up to {known}: it was written by a later version; \
         upgrade epid"
    )]
    Newer {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
        /// The latest format that this epid reads.
        known: u32,
    },
    /// Somebody works on the stack. Exit code 4.
    #[error("{location} is locked{}{}", by(.holder.as_deref()), ends(*.until))]
    Locked {
        /// The stack.
        location: Location,
        /// Who; `None` in the moment before they have said so.
        holder: Option<Box<Holder>>,
        /// Until when, unless it goes on: where locks end by themselves, in a bucket.
        until: Option<Timestamp>,
    },
    /// Somebody works on some of the stacks that are needed together. Exit code 4.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    SomeLocked(
        /// A [`Self::Locked`] for each.
        Vec<StateError>,
    ),
    /// Somebody rotates the keys of the project, or sets a value in a stack file. Exit code 4.
    #[error("another `epid keys rotate` or `epid config` holds {file}")]
    Rotating {
        /// The file that is locked.
        file: String,
    },
    /// The lock was lost while the session was open: somebody else may write.
    #[error("the lock of {0} was lost; nothing more is started. Run the same command again")]
    LockLost(Location),
    /// There is no state of that stack.
    #[error("{0} has no state: nothing was ever applied there")]
    NotFound(Location),
    /// The stack has a state in another world, and none in this one.
    #[error(
        "{} already has resources in {}, and was about to start anew in {}; `epid up --copy` makes a copy there",
        .location.stack, .others.join(", "), .location.world
    )]
    OtherWorld {
        /// The state that does not exist.
        location: Location,
        /// The worlds in which the stack has one.
        others: Vec<String>,
    },
    /// A state lies where another belongs.
    #[error("{file} is the state of {found}, not of {location}; move it back to where it was")]
    Misplaced {
        /// The file.
        file: String,
        /// The state that belongs there.
        location: Location,
        /// The state that is there.
        found: Location,
    },
    /// A key is not at hand.
    #[error(
        "{what} needs the key {id}, which is not here: restore the file {file}, or where a passphrase keeps it Epid.keys.toml, from a backup or a colleague"
    )]
    MissingKey {
        /// What it opens.
        what: String,
        /// Its id.
        id: String,
        /// The file to restore.
        file: String,
    },
    /// A key is here, and its passphrase is not.
    #[error(
        "{what} needs the {which}passphrase{}: set {}, or run it in a terminal",
        of_key(.id), variables(.which)
    )]
    MissingPassphrase {
        /// What it opens.
        what: String,
        /// The id of the key; empty for one that is about to be made.
        id: String,
        /// `new ` where the passphrase is about to take the place of another.
        which: &'static str,
    },
    /// A passphrase opens another key, or none.
    #[error("wrong passphrase: it does not open the key {id}")]
    WrongPassphrase {
        /// The id of the key.
        id: String,
    },
    /// Only the part of a key is here that opens states and no secret.
    #[error(
        "{what} needs all of the key {id}, and only its state part is here, which opens no secret: put its key file in place \
         of this one"
    )]
    NeedsWholeKey {
        /// What it opens.
        what: String,
        /// The id of the key.
        id: String,
    },
    /// A passphrase cannot be taken from where it was said to be.
    #[error("{0}")]
    BadPassphrase(String),
    /// A key is kept by something that this epid does not know.
    #[error("there is no key provider `{0}` in this epid; upgrade it, or use one of file and passphrase")]
    NoProvider(String),
    /// A key file is not what epid wrote.
    #[error("{file} is no key file: {what}; restore it from a backup")]
    BadKey {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// An encrypted text of a stack file cannot be read.
    #[error("the secret `{name}` cannot be read: {what}; set it anew with `epid config set --secret {name}`")]
    BadSecret {
        /// The secret.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A sealed document, such as a saved plan, cannot be opened.
    #[error("the {purpose} cannot be opened: {what}; make it anew")]
    BadDocument {
        /// What it was sealed as.
        purpose: String,
        /// What is wrong with it.
        what: String,
    },
    /// The stack cannot go: it has resources, or other stacks use its outputs.
    #[error("{location} is in use: {}", uses(*.resources, .consumers))]
    InUse {
        /// The stack.
        location: Location,
        /// How many resources and unfinished operations it has, where that is the reason.
        resources: usize,
        /// The stacks that use its outputs, as `project/stack`, where that is the reason.
        consumers: Vec<String>,
    },
    /// The stack is being destroyed: nobody may begin to use its outputs.
    #[error(
        "{0} is being destroyed, so its outputs cannot be used; run that destroy to its end, or `epid up` there"
    )]
    Closing(Location),
    /// A stack of one world uses outputs of another.
    #[error("{consumer} cannot use the outputs of {producer}: references never cross worlds")]
    AcrossWorlds {
        /// Who would use them.
        consumer: Location,
        /// Whose they are.
        producer: Location,
    },
    /// Something else took the place of the next journal segment: another writer is at work.
    #[error("{file} exists already: another epid has taken over this stack; nothing more is started")]
    Fenced {
        /// The segment.
        file: String,
    },
    /// The state is older than it was when it was last written from here.
    #[error(
        "{location} is {}: an older copy was put back, which does not know what \
         was made since. Put the newer one back; where that is lost, remove {file}, and `epid preview --refresh` shows what the \
         older one knows of",
        behind(*serial, *seen)
    )]
    Older {
        /// The state.
        location: Location,
        /// How far it is.
        serial: u64,
        /// How far it was.
        seen: u64,
        /// The note that says so.
        file: String,
    },
    /// A note of how far a state was cannot be read.
    #[error(
        "{file} is damaged: it noted how far a state was, so that an older copy of it would be noticed; this is not looked at \
         now. Run `epid history` to see that the last run is the last one, then remove the file: the next run writes it anew"
    )]
    BadNote {
        /// The note.
        file: String,
    },
    /// A state that was seen from here is not there any more.
    #[error(
        "the state of {location} that was at run {seen} is gone from {place}: put it back, or check [backend] in Epid.toml; to \
         begin anew, which knows nothing of what was made, remove {file}"
    )]
    Gone {
        /// The state.
        location: Location,
        /// How far it was.
        seen: u64,
        /// Where it was looked for.
        place: String,
        /// The note that says so.
        file: String,
    },
    /// The states of a project were moved to another place, or are just being moved.
    #[error("{}", elsewhere(.project, .here, .file, .notice))]
    Elsewhere {
        /// The project.
        project: Arc<str>,
        /// The place that says so, as `epid state migrate --to` takes it.
        here: String,
        /// The notice.
        file: String,
        /// What it says.
        notice: Box<Notice>,
    },
    /// States cannot be moved to where others are.
    #[error(
        "{place} holds states of `{project}` already, which are not those that would be moved there: {}; name another place",
        .states.join(", ")
    )]
    Occupied {
        /// Where they would be moved to.
        place: String,
        /// The project.
        project: Arc<str>,
        /// The stacks whose states are there.
        states: Vec<String>,
    },
    /// States were moved, and the new place does not hold all of what is left in the old one.
    #[error(
        "{from} says that the states of `{project}` were moved to {to}, which does not hold, as late as they are left in {from}: {}. \
         Nothing is removed: put the newer ones back in {to}; where those in {from} are the newer ones, remove the notice {file}",
        .states.join(", ")
    )]
    NotThere {
        /// The old place.
        from: String,
        /// The new place.
        to: String,
        /// The project.
        project: Arc<str>,
        /// The stacks whose states the new place lacks.
        states: Vec<String>,
        /// The notice of the old place.
        file: String,
    },
    /// A copy is not what was copied.
    #[error(
        "{file} is not what was written there: something else writes to that place; the states stay where they are"
    )]
    Uncopied {
        /// The copy.
        file: String,
    },
    /// No random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Entropy(#[source] Arc<io::Error>),
    /// A task of this process died.
    #[error("writing the state was given up: {0}; this is a defect of epid, please report it")]
    Abandoned(String),
}

impl StateError {
    /// True where somebody works on what is needed, and will have ended some time.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(
            self,
            Self::Locked { .. } | Self::SomeLocked(_) | Self::Rotating { .. }
        )
    }

    /// What to do next, where the message does not say it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Rotating { .. } => Some("--wait waits until it has ended"),
            _ if self.is_locked() => Some("--wait waits until that run has ended"),
            _ => None,
        }
    }

    /// True where a key is not here, or only a part of it, or cannot be opened because nobody gave its passphrase.
    #[must_use]
    pub fn is_missing_key(&self) -> bool {
        matches!(
            self,
            Self::MissingKey { .. } | Self::MissingPassphrase { .. } | Self::NeedsWholeKey { .. }
        )
    }
}

fn of_key(id: &str) -> String {
    if id.is_empty() {
        String::new()
    } else {
        format!(" of the key {id}")
    }
}

fn variables(which: &str) -> &'static str {
    if which.is_empty() {
        "EPID_PASSPHRASE or EPID_PASSPHRASE_FILE"
    } else {
        "EPID_NEW_PASSPHRASE or EPID_NEW_PASSPHRASE_FILE"
    }
}

fn by(holder: Option<&Holder>) -> String {
    holder.map(|holder| format!(" by {holder}")).unwrap_or_default()
}

fn ends(until: Option<Timestamp>) -> String {
    until
        .map(|at| format!(", until {} unless it is renewed", said(at)))
        .unwrap_or_default()
}

fn elsewhere(project: &str, here: &str, file: &str, notice: &Notice) -> String {
    let Notice { place, by, .. } = notice;
    let words = place.words();
    match notice.moving {
        Moving::Left => format!(
            "the states of `{project}` were moved to {place} by {by}, as {file} says; \
             `epid state migrate {words}` writes that into Epid.toml"
        ),
        Moving::Leaving => format!(
            "the states of `{project}` are being moved to {place} by {by}, as {file} says; where that was cut short, \
             `epid state migrate {words}` goes on with it, and `epid state migrate --to {here}` gives it up"
        ),
        Moving::Arriving => format!(
            "the states of `{project}` are being moved here from {place} by {by}, as {file} says; where that was cut \
             short, run it again where Epid.toml names {place}"
        ),
    }
}

fn uses(resources: usize, consumers: &[String]) -> String {
    match (resources, consumers) {
        (0, consumers) => format!(
            "its outputs are used by {}; change or destroy {} first",
            consumers.join(", "),
            if consumers.len() == 1 { "it" } else { "them" }
        ),
        (1, _) => "it has one resource; run `epid destroy` first".to_owned(),
        (n, _) => format!("it has {n} resources; run `epid destroy` first"),
    }
}

/// How a state falls short of what was seen of it.
fn behind(serial: u64, seen: u64) -> String {
    if serial == seen {
        format!("amid run {serial}, and more of that run was seen here")
    } else {
        format!("at run {serial}, and run {seen} of it was seen here")
    }
}
