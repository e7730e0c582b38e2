//! Changes of a state by hand: shown, asked about, and recorded as a run of their own. Nothing is sent to a cloud.

use std::collections::BTreeSet;
use std::sync::Arc;

use epid_provider::{Map, Urn};

use super::state::find;
use super::{any_stack, locate};
use crate::cli::args::{Consent, StackArgs};
use crate::cli::error::Error;
use crate::cli::exit::Exit;
use crate::cli::ui::{Terminal, count, resources};
use crate::cli::waiting::{after_others, patiently};
use crate::cli::workspace::{Recorded, Workspace};
use crate::cli::world::World;
use crate::cli::{Context, run, surroundings};
use crate::state::{
    Change, Ending, Entry, Intent, JournalEntry, Location, Opening, RecordKey, Refused, RunResult, Session,
    Snapshot, StateError,
};

/// What is about to change.
#[derive(Clone, Default)]
pub(crate) struct Amendment {
    /// The records.
    pub(crate) changes: Vec<Change>,
    /// The outputs, where they change.
    pub(crate) outputs: Option<Map>,
    /// The serial that the state has at least afterwards.
    pub(crate) serial: u64,
    /// Calls that are dangling afterwards, beside those that are.
    pub(crate) intents: Vec<Arc<Intent>>,
    /// Calls that are dangling no more: nobody asks what became of them.
    pub(crate) ended: Vec<Arc<Intent>>,
    /// What people are shown of it.
    pub(crate) lines: Vec<Line>,
    /// What it is as a whole, where that does not show.
    pub(crate) note: Option<String>,
}

impl Amendment {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.outputs.is_none() && self.intents.is_empty() && self.ended.is_empty()
    }

    fn is_same(&self, other: &Self) -> bool {
        self.changes == other.changes
            && self.outputs == other.outputs
            && self.intents == other.intents
            && self.ended == other.ended
    }
}

/// One record that changes.
#[derive(Clone)]
pub(crate) struct Line {
    /// `+`, `~`, `-` or `·`.
    pub(crate) mark: &'static str,
    /// Whose record.
    pub(crate) urn: Urn,
    /// What happens to it, in the words of people.
    pub(crate) text: String,
    /// The same in one word, for programs.
    pub(crate) what: &'static str,
}

impl Line {
    pub(crate) fn new(mark: &'static str, urn: &Urn, what: &'static str, text: impl Into<String>) -> Self {
        let (urn, text) = (urn.clone(), text.into());
        Self {
            mark,
            urn,
            text,
            what,
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::invalid(refused.to_string()).hint(refused.hint())
    }
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Amended {
    /// Nothing was to be changed.
    Not,
    /// Somebody said no.
    Declined,
    /// It is recorded.
    Recorded,
}

/// The state that is changed.
pub(crate) struct Amending<'a> {
    pub(crate) context: &'a Context,
    pub(crate) workspace: &'a Workspace,
    pub(crate) world: &'a World,
    pub(crate) location: &'a Location,
    pub(crate) consent: Consent,
}

impl Amending<'_> {
    /// Shows what `decide` says, asks, and records it. It is asked again once nobody else can write: where it says something
    /// else then, nothing is done.
    pub(crate) async fn run(
        &self,
        opening: Opening,
        question: &str,
        decide: impl Fn(&Snapshot) -> Result<Amendment, Error>,
    ) -> Result<Amended, Error> {
        let terminal = self.context.terminal;
        after_others(self.context, self.workspace, self.location, self.consent.wait).await?;
        let recorded = self.recorded(&opening).await?;
        let shown = decide(&recorded.snapshot)?;
        if shown.is_empty() {
            return Ok(Amended::Not);
        }
        show(terminal, &recorded.snapshot, &shown);
        if !terminal.consents(self.consent.yes, question)? {
            return Ok(Amended::Declined);
        }
        self.change(opening, &shown, decide).await?;
        Ok(Amended::Recorded)
    }

    /// What is recorded before that.
    pub(super) async fn recorded(&self, opening: &Opening) -> Result<Recorded, Error> {
        match self.workspace.recorded(self.location).await {
            // A copy of it is about to take its place.
            Err(Error::State(error))
                if opening.restores.is_some() && matches!(*error, StateError::Gone { .. }) =>
            {
                Ok(Recorded::nothing(self.location))
            }
            recorded => recorded,
        }
    }

    /// Records what was shown.
    pub(super) async fn change(
        &self,
        opening: Opening,
        shown: &Amendment,
        decide: impl Fn(&Snapshot) -> Result<Amendment, Error>,
    ) -> Result<(), Error> {
        let store = &self.workspace.store;
        let open = async || Ok(Session::open(store, self.location, opening.clone()).await?);
        let session = patiently(self.context.terminal, self.consent.wait, open).await?;
        let restores = opening.restores.is_some();
        let done = self.record(&session, shown, restores, decide).await;
        // What could be recorded is kept, and the lock goes either way.
        let closed = session.close().await;
        done?;
        closed.map_err(Error::from)
    }

    async fn record(
        &self,
        session: &Session,
        shown: &Amendment,
        restores: bool,
        decide: impl Fn(&Snapshot) -> Result<Amendment, Error>,
    ) -> Result<(), Error> {
        let found = session.snapshot();
        let now = decide(&found)?;
        // A copy that takes the place of nothing is there as soon as the state is.
        if !(now.is_same(shown) || restores && now.is_empty()) {
            return Err(Error::failed("the state has changed since this was shown")
                .hint("nothing was done; run it again to see what changes"));
        }
        let run = run::started(self.context, self.workspace, self.world);
        let at = run.at;
        let mut entries = Vec::new();
        if now.serial > found.header.serial {
            entries.push(JournalEntry::Reach(now.serial));
        }
        entries.push(JournalEntry::Run(run));
        if !now.changes.is_empty() {
            entries.push(JournalEntry::End {
                token: None,
                ending: Ending::Done,
                changes: now.changes,
                at,
            });
        }
        entries.extend(now.ended.iter().map(|intent| JournalEntry::End {
            token: Some(intent.token.clone()),
            ending: Ending::Failed,
            changes: Vec::new(),
            at,
        }));
        let begins = now.intents.iter();
        entries.extend(begins.map(|intent| JournalEntry::Begin(Box::new((**intent).clone()))));
        entries.extend(now.outputs.map(JournalEntry::Outputs));
        let result = RunResult::Done;
        entries.push(JournalEntry::Close { result, at });
        // All of it or nothing: what the state would refuse is found before anything is queued.
        let mut trial = found;
        for entry in &entries {
            trial.apply(entry).map_err(StateError::Invalid)?;
        }
        let mut last = None;
        for entry in entries {
            last = Some(session.append(entry)?);
        }
        if let Some(ticket) = last {
            session.durable(ticket).await?;
        }
        if shown.outputs.is_some() {
            session.publish_outputs().await?;
        }
        Ok(())
    }
}

fn show(terminal: Terminal, snapshot: &Snapshot, shown: &Amendment) {
    if terminal.json {
        let lines = shown
            .lines
            .iter()
            .map(|line| serde_json::json!({"change": line.what, "urn": line.urn, "text": line.text}));
        let lines: Vec<serde_json::Value> = lines.collect();
        terminal.json(&serde_json::json!({
            "event": "stateChanges",
            "stack": snapshot.header.stack,
            "world": snapshot.header.world,
            "serial": snapshot.header.serial,
            "changes": lines,
            "note": shown.note,
        }));
        return;
    }
    let header = &snapshot.header;
    let resources = count(resources(snapshot), "resource", "resources");
    let (world, serial) = (&header.world, header.serial);
    let name = terminal
        .paint
        .bold(&format!("{}/{}", header.project, header.stack));
    terminal.line(&format!("{name}   {world}   state {serial}, {resources}\n"));
    let width = shown.lines.iter().map(|line| line.urn.path().chars().count());
    let width = width.max().unwrap_or(0).min(48);
    for line in &shown.lines {
        let mark = match line.mark {
            "+" => terminal.paint.green(line.mark),
            "-" => terminal.paint.red(line.mark),
            other => terminal.paint.yellow(other),
        };
        terminal.line(&format!("  {mark} {:width$}   {}", line.urn.path(), line.text));
    }
    terminal.line("");
    if let Some(note) = &shown.note {
        terminal.line(&format!("  {note}"));
    }
    terminal.line("  only records change; nothing is sent to a cloud");
}

/// What people are shown of changes that are told by their records alone.
pub(super) fn lines(snapshot: &Snapshot, changes: &[Change]) -> Vec<Line> {
    let line = |change: &Change| match change {
        Change::Remove(key) => forgotten(snapshot, key),
        Change::Put(entry) if snapshot.get(&entry.key_of()).is_none() => Line::new(
            "+",
            entry.urn(),
            "record",
            format!("recorded as {}", entry.record.kind),
        ),
        Change::Put(entry) => Line::new("~", entry.urn(), "change", "recorded as it was"),
    };
    changes.iter().map(line).collect()
}

/// A record that leaves, and what it is of.
fn forgotten(snapshot: &Snapshot, key: &RecordKey) -> Line {
    let id = snapshot.get(key).map_or("", |entry| &*entry.record.id);
    let text = if id.is_empty() {
        "forgotten".to_owned()
    } else {
        format!("forgotten; {id} stays")
    };
    Line::new("-", &key.urn, "forget", text)
}

/// The URNs that names on the command line mean.
fn named(snapshot: &Snapshot, names: &[String]) -> Result<BTreeSet<Urn>, Error> {
    let mut urns = BTreeSet::new();
    for name in names {
        urns.extend(find(snapshot, name)?.iter().map(|entry| entry.urn().clone()));
    }
    Ok(urns)
}

/// Whose calls of unknown outcome those names mean: each is said by itself, not by what it is in.
fn begun(snapshot: &Snapshot, names: &[String]) -> BTreeSet<Urn> {
    let urns = snapshot.intents.values().map(|intent| intent.entry.urn());
    urns.filter(|urn| names.iter().any(|name| is_name(name, urn)))
        .cloned()
        .collect()
}

fn is_name(name: &str, urn: &Urn) -> bool {
    name == urn.path() || name == urn.as_str()
}

/// Changes the records of the stack that a command names, under the key that they have.
async fn amend(
    context: &Context,
    args: &StackArgs,
    consent: Consent,
    question: &str,
    decide: impl Fn(&Snapshot) -> Result<Amendment, Error>,
) -> Result<Amended, Error> {
    let workspace = any_stack(context, args).await?;
    let (stack, location, world) = locate(&workspace, args)?;
    workspace.conceal(stack);
    let amending = Amending {
        context,
        workspace: &workspace,
        world: &world,
        location: &location,
        consent,
    };
    let opening = Opening::new(surroundings::holder(&context.command));
    amending.run(opening, question, decide).await
}

/// `epid state protect` and `unprotect`.
pub(super) async fn protect(
    context: &Context,
    args: &StackArgs,
    resource: &str,
    protect: bool,
    consent: Consent,
) -> Result<Exit, Error> {
    let (what, now, was, question) = if protect {
        ("protect", "protected", "was protected", "Protect this?")
    } else {
        (
            "unprotect",
            "not protected any more",
            "was not protected",
            "Unprotect this?",
        )
    };
    let decide = |snapshot: &Snapshot| {
        let urns = named(snapshot, &[resource.to_owned()])?;
        let changes = snapshot.protecting(&urns, protect)?;
        let lines = changes.iter().filter_map(|change| match change {
            Change::Put(entry) => Some(Line::new("~", entry.urn(), what, now)),
            Change::Remove(_) => None,
        });
        Ok(Amendment {
            lines: lines.collect(),
            changes,
            ..Amendment::default()
        })
    };
    match amend(context, args, consent, question, decide).await? {
        Amended::Recorded => {
            // The program is what lasts.
            let until = format!(
                "; the next `epid up` goes by its program: `options.protect = {protect}` keeps it so"
            );
            context.terminal.done(&format!("`{resource}` {now}{until}"));
        }
        Amended::Not => context.terminal.done(&format!("`{resource}` {was}")),
        Amended::Declined => {}
    }
    Ok(Exit::Done)
}

/// `epid state mv`.
pub(super) async fn mv(
    context: &Context,
    args: &StackArgs,
    old: &str,
    new: &str,
    consent: Consent,
) -> Result<Exit, Error> {
    let decide = |snapshot: &Snapshot| {
        let renames = match snapshot.renames(old, new) {
            // The same words as everywhere, with the name that was probably meant.
            Err(Refused::Unknown(_)) if !old.contains('*') => {
                find(snapshot, old)?;
                return Err(Refused::Unknown(old.to_owned()).into());
            }
            renames => renames?,
        };
        let changes = snapshot.renaming(&renames)?;
        let mut lines: Vec<Line> = Vec::new();
        for (from, to) in &renames {
            lines.push(Line::new("~", from, "rename", format!("→ {}", to.path())));
        }
        let is_new = |urn: &Urn| renames.values().any(|to| to == urn);
        let others = changes.iter().filter_map(|change| match change {
            Change::Put(entry) if !is_new(entry.urn()) => Some(follows(snapshot, entry)),
            _ => None,
        });
        lines.extend(others);
        Ok(Amendment {
            changes,
            lines,
            ..Amendment::default()
        })
    };
    if amend(context, args, consent, "Rename this?", decide).await? == Amended::Declined {
        return Ok(Exit::Done);
    }
    context.terminal.done(&format!(
        "`{old}` is `{new}`; the program must call it so too, or the next `epid up` renames it back or deletes it"
    ));
    Ok(Exit::Done)
}

/// A record that only points to what is renamed.
fn follows(snapshot: &Snapshot, entry: &Entry) -> Line {
    let before = snapshot
        .get(&entry.key_of())
        .and_then(|before| before.provider.as_ref());
    let text = if before == entry.provider.as_ref() {
        "follows: it depends on that"
    } else {
        "follows: it was made by that"
    };
    Line::new("·", entry.urn(), "follow", text)
}

/// `epid state rm`.
pub(super) async fn rm(
    context: &Context,
    args: &StackArgs,
    resources: &[String],
    consent: Consent,
) -> Result<Exit, Error> {
    let decide = |snapshot: &Snapshot| {
        let begun = begun(snapshot, resources);
        // Of some nothing more is known than that a call was begun.
        let names = resources.iter().filter(|name| {
            let is_new = |urn: &Urn| is_name(name, urn) && snapshot.of(urn).next().is_none();
            !begun.iter().any(is_new)
        });
        let mut urns = named(snapshot, &names.cloned().collect::<Vec<String>>())?;
        urns.extend(begun.iter().cloned());
        let (changes, ended) = snapshot.forgetting(&urns, &begun)?;
        let mut lines = lines(snapshot, &changes);
        lines.extend(ended.iter().map(|intent| {
            let text = "a call whose outcome nobody knows is forgotten; what it made, if anything, stays";
            Line::new("-", intent.entry.urn(), "forgetCall", text)
        }));
        Ok(Amendment {
            lines,
            changes,
            ended,
            ..Amendment::default()
        })
    };
    if amend(context, args, consent, "Forget this?", decide).await? == Amended::Declined {
        return Ok(Exit::Done);
    }
    context
        .terminal
        .done("forgotten; what the program still declares is made anew by the next `epid up`, unless it is imported");
    Ok(Exit::Done)
}
