//! States as files: checked, exported, imported, and taken back.
#![expect(
    clippy::disallowed_methods,
    reason = "these commands exist to read and write the file they are given"
)]

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use epid_provider::Value;

use super::records::{Amended, Amending, Amendment, lines};
use super::state::summary;
use super::{any_stack, locate};
use crate::cli::args::{Consent, StackArgs};
use crate::cli::error::Error;
use crate::cli::exit::Exit;
use crate::cli::ui::{count, plain, resources, shown_json};
use crate::cli::unfinished::Unfinished;
use crate::cli::waiting::after_others;
use crate::cli::{Context, surroundings};
use crate::state::files::{Access, replace};
use crate::state::{Exported, Location, Opening, RunRecord, Snapshot, StateError, Verified};

/// `epid state verify`.
pub(super) async fn verify(context: &Context, args: &StackArgs, all: bool) -> Result<Exit, Error> {
    let workspace = any_stack(context, args).await?;
    let locations: Vec<Location> = if all {
        let kept = workspace.store.list().await?.into_iter();
        kept.filter(|l| l.project == workspace.project.name).collect()
    } else {
        vec![locate(&workspace, args)?.1]
    };
    let mut exit = Exit::Done;
    for location in &locations {
        let verified = workspace.store.verify(location).await?;
        let unfinished = match &verified.snapshot {
            Some(snapshot) if !snapshot.intents.is_empty() => {
                // What of the state is damaged was told.
                let unfinished = Unfinished::of(&workspace, location).await;
                unfinished.unwrap_or(Some(Unfinished::CutShort))
            }
            _ => None,
        };
        tell(context, location, &verified, unfinished.as_ref());
        if !verified.problems.is_empty() {
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

fn tell(context: &Context, location: &Location, verified: &Verified, unfinished: Option<&Unfinished>) {
    let terminal = context.terminal;
    let problems: Vec<String> = verified.problems.iter().map(ToString::to_string).collect();
    if terminal.json {
        let state = verified.snapshot.as_ref().map(|snapshot| {
            serde_json::json!({
                "serial": snapshot.header.serial,
                "lineage": snapshot.header.lineage,
                "resources": resources(snapshot),
                "unfinished": snapshot.intents.len(),
                "runs": verified.runs,
                "runsWithoutHistory": verified.gaps.iter().map(|gap| [gap.start(), gap.end()]).collect::<Vec<_>>(),
            })
        });
        terminal.json(&serde_json::json!({
            "event": "verified",
            "stack": location.stack,
            "world": location.world,
            "state": state,
            "problems": problems,
        }));
        return;
    }
    let name = format!("{}/{} in {}", location.project, location.stack, location.world);
    let state = match &verified.snapshot {
        Some(snapshot) => format!(
            "state {}, {}, {}",
            snapshot.header.serial,
            count(resources(snapshot), "resource", "resources"),
            count(verified.runs, "run", "runs"),
        ),
        None if problems.is_empty() => "nothing recorded yet".to_owned(),
        None => "cannot be read".to_owned(),
    };
    let paint = terminal.paint;
    let mark = if problems.is_empty() {
        paint.green("✓")
    } else {
        paint.red("✗")
    };
    terminal.line(&format!("{mark} {name}   {state}"));
    for problem in &problems {
        terminal.note(&format!("  {}: {}", paint.error(), plain(problem)));
    }
    if !verified.gaps.is_empty() {
        let gaps: Vec<String> = verified.gaps.iter().map(run_numbers).collect();
        terminal.line(&format!(
            "  the history has no {}: taken away since, or passed over by an import or a change outside of runs",
            gaps.join(", ")
        ));
    }
    if let (Some(snapshot), Some(unfinished)) = (&verified.snapshot, unfinished) {
        let calls = count(snapshot.intents.len(), "call", "calls");
        terminal.line(&format!(
            "  {calls} without a known outcome: {}",
            unfinished.then("the next `epid up` finds out")
        ));
    }
}

/// `run 3`, `runs 3 to 7`.
fn run_numbers(runs: &RangeInclusive<u64>) -> String {
    match (runs.start(), runs.end()) {
        (first, last) if first == last => format!("run {first}"),
        (first, last) => format!("runs {first} to {last}"),
    }
}

/// `epid state export`. `plain` is JSON for people, and says whether secrets are in it.
pub(super) async fn export(
    context: &Context,
    args: &StackArgs,
    file: &Path,
    plain: Option<bool>,
) -> Result<Exit, Error> {
    let workspace = any_stack(context, args).await?;
    let (stack, location, _) = locate(&workspace, args)?;
    let nothing = || {
        Error::invalid(format!("nothing is recorded of stack `{}`", stack.name))
            .hint("--sandbox is for the state in the sandbox")
    };
    if plain == Some(true) {
        workspace
            .opens_secrets(&location, "showing the secrets of")
            .await?;
    }
    let bytes = if let Some(secrets) = plain {
        let (snapshot, _) = workspace.store.read(&location).await?.ok_or_else(nothing)?;
        if !secrets {
            workspace.conceal(stack);
        }
        let document = document(&snapshot, secrets);
        let text = format!("{document:#}\n");
        if file.as_os_str() == "-" {
            context.terminal.print(&text);
            return Ok(Exit::Done);
        }
        text.into_bytes()
    } else {
        workspace.store.export(&location).await?.ok_or_else(nothing)?
    };
    let path = context.folder.join(file);
    replace(&path, &bytes, Access::Owner)
        .map_err(|error| Error::failed(format!("{} cannot be written: {error}", path.display())))?;
    let how = match plain {
        None => "encrypted with its key",
        Some(false) => "without its secrets",
        Some(true) => "with its secrets in clear",
    };
    let text = format!("the state of `{}` is in {}, {how}", stack.name, file.display());
    context.terminal.done(&text);
    Ok(Exit::Done)
}

/// A state for people.
fn document(snapshot: &Snapshot, secrets: bool) -> serde_json::Value {
    let header = &snapshot.header;
    let resources: Vec<serde_json::Value> = snapshot
        .entries
        .values()
        .map(|entry| {
            let record = &entry.record;
            let mut document = summary(entry);
            if let Some(map) = document.as_object_mut() {
                map.remove("event");
                map.insert("applied".to_owned(), shown_json(&record.applied, secrets));
                map.insert("resolved".to_owned(), shown_json(&record.resolved, secrets));
                map.insert("outputs".to_owned(), shown_json(&record.outputs, secrets));
                let provider = entry.provider.as_ref().map(|key| key.urn.as_str());
                map.insert("provider".to_owned(), provider.into());
                let urns = |urns: &[epid_provider::Urn]| -> serde_json::Value {
                    urns.iter().map(epid_provider::Urn::as_str).collect()
                };
                map.insert("dependencies".to_owned(), urns(&entry.dependencies));
                map.insert("servedBy".to_owned(), urns(&entry.served_by));
                let container = entry.deleted_with.as_ref().map(epid_provider::Urn::as_str);
                map.insert("deletedWith".to_owned(), container.into());
                map.insert("source".to_owned(), entry.source.as_deref().into());
            }
            document
        })
        .collect();
    let unfinished = snapshot.intents.values().map(|intent| {
        serde_json::json!({
            "urn": intent.entry.urn(),
            "operation": format!("{:?}", intent.operation).to_lowercase(),
            "begun": intent.begun,
        })
    });
    serde_json::json!({
        "project": header.project,
        "stack": header.stack,
        "world": header.world,
        "lineage": header.lineage,
        "serial": header.serial,
        "resources": resources,
        "outputs": shown_json(&Value::Map(snapshot.outputs.clone()), secrets),
        "unfinished": unfinished.collect::<Vec<_>>(),
    })
}

/// True for what `epid state export --plain` writes.
fn is_plain(bytes: &[u8]) -> bool {
    let document: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    let has = |name| {
        document
            .as_ref()
            .is_some_and(|document| document.get(name).is_some())
    };
    has("lineage") && has("resources")
}

/// `epid state import`.
pub(super) async fn import(
    context: &Context,
    args: &StackArgs,
    file: &Path,
    force: bool,
    consent: Consent,
) -> Result<Exit, Error> {
    let workspace = any_stack(context, args).await?;
    let (stack, location, world) = locate(&workspace, args)?;
    let path = context.folder.join(file);
    let bytes = std::fs::read(&path)
        .map_err(|error| Error::invalid(format!("{} cannot be read: {error}", path.display())))?;
    if is_plain(&bytes) {
        return Err(Error::invalid(format!(
            "{} is a plain export, which is for people: a state is not told from it",
            file.display()
        ))
        .hint("`epid state export FILE` writes one that can be imported"));
    }
    let name = path.display().to_string();
    let copy = workspace.store.read_export(name, bytes).await;
    let copy = copy.map_err(|error| match error {
        // Of the file that was given, and nothing was done.
        StateError::Corrupt { .. } | StateError::Newer { .. } => Error::invalid(error.to_string()),
        error => error.into(),
    })?;
    let header = &copy.snapshot.header;
    let found = Location::new(&header.world, &header.project, &header.stack);
    if found != location {
        return Err(Error::invalid(format!(
            "{} is the state of {found}, not of {location}",
            file.display()
        ))
        .hint("a state goes back to where it came from: name that with --stack and --sandbox"));
    }
    let amending = Amending {
        context,
        workspace: &workspace,
        world: &world,
        location: &location,
        consent,
    };
    let copy = Arc::new(copy);
    let opening = restored_to(context, &copy, stack.key.as_deref());
    let restored = |snapshot: &Snapshot| restoring(snapshot, &copy.snapshot, force);
    match amending.run(opening, "Make the state this?", restored).await? {
        Amended::Recorded => {
            let text = format!("the state of `{}` is as {} has it", stack.name, file.display());
            context.terminal.done(&text);
        }
        Amended::Not => context.terminal.done("the state is so already"),
        Amended::Declined => {}
    }
    Ok(Exit::Done)
}

/// How a state is opened to become what a copy of it is. Where there is none, it is made under the key of its stack, or under
/// that of the copy, which is here.
fn restored_to(context: &Context, copy: &Arc<Exported>, key: Option<&str>) -> Opening {
    let mut opening = Opening::new(surroundings::holder(&context.command)).create();
    opening.restores = Some(copy.clone());
    opening.key = key.or(Some(&*copy.snapshot.header.key)).map(str::to_owned);
    opening
}

fn restoring(snapshot: &Snapshot, copy: &Snapshot, force: bool) -> Result<Amendment, Error> {
    let (changes, intents) = snapshot.restoring(copy, force)?;
    let outputs = (snapshot.outputs != copy.outputs).then(|| copy.outputs.clone());
    let mut lines = lines(snapshot, &changes);
    lines.extend(intents.iter().map(|intent: &Arc<_>| {
        super::records::Line::new(
            "~",
            intent.entry.urn(),
            "unfinished",
            "the outcome of its call is to be found out",
        )
    }));
    Ok(Amendment {
        changes,
        outputs,
        serial: copy.header.serial,
        intents,
        lines,
        ..Amendment::default()
    })
}

/// `epid state rollback`.
pub(super) async fn rollback(context: &Context, args: &StackArgs, consent: Consent) -> Result<Exit, Error> {
    let workspace = any_stack(context, args).await?;
    let (_, location, world) = locate(&workspace, args)?;
    after_others(context, &workspace, &location, consent.wait).await?;
    let Some(before) = workspace.store.before(&location).await?? else {
        return Err(Error::invalid("there is nothing to take back")
            .hint("`epid history` lists the runs; `epid keys rotate` keeps nothing from before it"));
    };
    let amending = Amending {
        context,
        workspace: &workspace,
        world: &world,
        location: &location,
        consent,
    };
    let opening = Opening::new(surroundings::holder(&context.command));
    let note = taken_back(&workspace.store.history(&location).await?, before.header.serial);
    let back = |snapshot: &Snapshot| {
        Ok(Amendment {
            note: note.clone(),
            ..restoring(snapshot, &before, true)?
        })
    };
    match amending.run(opening, "Take this back?", back).await? {
        Amended::Recorded => context.terminal.done(&format!(
            "the records are as they were at run {}",
            before.header.serial
        )),
        Amended::Not => context.terminal.done("the last run changed no records"),
        Amended::Declined => {}
    }
    Ok(Exit::Done)
}

/// Which run is taken back by making the state what it was at run `to`. A rollback is a run like others: the next one takes it
/// back.
fn taken_back(runs: &[RunRecord], to: u64) -> Option<String> {
    let run = runs.iter().find(|run| run.serial > to)?;
    let (serial, command) = (run.serial, plain(&run.run.command));
    let again = if command.contains(" state rollback") {
        format!(", which took back run {to}: it is as that run left it again")
    } else {
        String::new()
    };
    Some(format!("this takes back run {serial} (`{command}`){again}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use epid_provider::{Kind, Map, Record, Timestamp, Urn};

    use super::*;
    use crate::cli::args::Color;
    use crate::cli::ui::Terminal;
    use crate::cli::workspace::Workspace;
    use crate::cli::world::World;
    use crate::state::blobs::{Fault, MemoryBlobs};
    use crate::state::{Change, Ending, Entry, JournalEntry, Run, RunResult, Session, StateError, Store};

    /// A project whose states, and the notes of them, are on one disk in memory.
    struct Place {
        folder: tempfile::TempDir,
        disk: MemoryBlobs,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("stacks")).unwrap();
            for (file, text) in [("Epid.toml", "name = \"p\"\n"), ("stacks/dev.toml", "")] {
                std::fs::write(folder.path().join(file), text).unwrap();
            }
            let disk = MemoryBlobs::new();
            Self { folder, disk }
        }

        /// With only the files for which `kept` says so.
        fn restart(&mut self, files: &BTreeMap<String, Vec<u8>>, kept: impl Fn(&str) -> bool) {
            let kept = files.iter().filter(|(name, _)| kept(name));
            self.disk = MemoryBlobs::of(kept.map(|(name, bytes)| (name.clone(), bytes.clone())).collect());
        }

        fn workspace(&self) -> Workspace {
            let mut workspace = Workspace::find(self.folder.path(), None, terminal()).unwrap();
            let (states, keys) = (self.disk.within("states"), workspace.keys.clone());
            let [project, person] = ["project", "person"].map(|notes| Arc::new(self.disk.within(notes)));
            workspace.store = Store::new(Arc::new(states), keys, surroundings::randomness()).noting(
                project,
                Some(person),
                |_| (),
            );
            workspace
        }

        fn store(&self) -> Store {
            self.workspace().store
        }

        /// A run that records one more resource.
        async fn run(&self, number: u64) {
            let session = Session::open(&self.store(), &dev(), opening().create())
                .await
                .unwrap();
            for entry in a_run(number) {
                session.append(entry).map(drop).unwrap();
            }
            session.close().await.unwrap();
        }

        /// What a name in the cloud would hold of a value.
        async fn digest(&self) -> Option<String> {
            let (_, keys) = self.store().read(&dev()).await.unwrap().unwrap();
            keys.digest_bytes(b"value")
        }

        async fn export(&self) -> Arc<Exported> {
            let bytes = self.store().export(&dev()).await.unwrap().unwrap();
            Arc::new(self.store().read_export("copy".to_owned(), bytes).await.unwrap())
        }

        async fn import(&self, copy: &Arc<Exported>) -> Result<(), Error> {
            let context = Context {
                terminal: terminal(),
                folder: self.folder.path().to_owned(),
                command: "epid state import copy".to_owned(),
                built: None,
            };
            let amending = Amending {
                context: &context,
                workspace: &self.workspace(),
                world: &World::cloud(),
                location: &dev(),
                consent: Consent {
                    yes: true,
                    wait: false,
                },
            };
            let opening = restored_to(&context, copy, None);
            let decide = |snapshot: &Snapshot| restoring(snapshot, &copy.snapshot, true);
            let shown = decide(&amending.recorded(&opening).await?.snapshot)?;
            if !shown.is_empty() {
                amending.change(opening, &shown, decide).await?;
            }
            Ok(())
        }
    }

    fn terminal() -> Terminal {
        Terminal::new(Color::Never, false, &|_| None)
    }

    fn dev() -> Location {
        Location::new("cloud", "p", "dev")
    }

    fn opening() -> Opening {
        Opening::new(surroundings::holder("epid up"))
    }

    fn a_run(number: u64) -> [JournalEntry; 3] {
        let kind = Kind::parse("aws:ec2:Vpc").unwrap();
        let entry = Entry::new(Record {
            urn: Urn::new("p", "dev", &kind, &format!("v{number}")),
            kind,
            id: format!("vpc-{number}").into(),
            applied: Value::map([("token", Value::str("t").into_secret())]),
            resolved: Value::Map(Map::default()),
            outputs: Value::Map(Map::default()),
            incomplete: Vec::new(),
            attempted: Vec::new(),
        });
        let at = Timestamp(number);
        [
            JournalEntry::Run(Run {
                who: "ann@laptop".into(),
                command: "epid up".into(),
                at,
                version: "0".into(),
                plan: None,
                commit: None,
            }),
            JournalEntry::End {
                token: None,
                ending: Ending::Done,
                changes: vec![Change::Put(Box::new(entry))],
                at,
            },
            JournalEntry::Close {
                result: RunResult::Done,
                at,
            },
        ]
    }

    /// Lets an import die at every write there is, on a disk that holds `files`. Whatever is there then is what was there or what
    /// the copy holds, work goes on, and the import again makes it the copy.
    async fn dies_everywhere(place: &mut Place, files: &BTreeMap<String, Vec<u8>>, copy: &Arc<Exported>) {
        place.restart(files, |_| true);
        let before = place.store().read(&dev()).await.ok().flatten();
        place.import(copy).await.unwrap();
        let writes = place.disk.writes();
        assert!(writes > 8, "{writes}");
        let faults = [
            Fault::Crash(0),
            Fault::Crash(40),
            Fault::Crash(200),
            Fault::CrashAfter,
            Fault::Full(50),
        ];
        for (write, fault) in (0..writes).flat_map(|write| faults.map(|fault| (write, fault))) {
            let told = format!("{fault:?} at {write}");
            place.restart(files, |_| true);
            place.disk.fail_at(write, fault);
            drop(place.import(copy).await);
            place.disk.revive();
            let left = place.disk.contents();
            // Whoever opens it, and whoever has to do without `state`; at last, the import again.
            for without in [None, Some("states/cloud/p/dev/state")] {
                place.restart(&left, |name| Some(name) != without);
                match place.store().read(&dev()).await {
                    Ok(Some((found, _))) if found.entries == copy.snapshot.entries => {
                        assert!(found.header.serial >= copy.snapshot.header.serial, "{told}");
                    }
                    Ok(found) => assert_eq!(
                        found.map(|(snapshot, _)| snapshot),
                        before.clone().map(|(snapshot, _)| snapshot),
                        "{told}"
                    ),
                    Err(StateError::Gone { .. }) => assert!(before.is_none(), "{told}"),
                    Err(error) => panic!("{told}: {error}"),
                }
                match Session::open(&place.store(), &dev(), opening()).await {
                    Ok(session) => session.close().await.unwrap(),
                    Err(StateError::Gone { .. } | StateError::NotFound(_)) => {}
                    Err(error) => panic!("{told}: {error}"),
                }
                if let Err(error) = place.import(copy).await {
                    panic!("{told}, imported again: {error}");
                }
                let found = place.store().verify(&dev()).await.unwrap();
                assert!(found.problems.is_empty(), "{told}: {:?}", found.problems);
                let found = found.snapshot.unwrap();
                assert_eq!(found.entries, copy.snapshot.entries, "{told}");
                assert!(found.header.serial >= copy.snapshot.header.serial, "{told}");
            }
        }
    }

    #[tokio::test]
    async fn an_import_over_a_state_that_dies_anywhere_is_there_or_not() {
        let mut place = Place::new();
        place.run(1).await;
        place.run(2).await;
        let older = place.disk.contents();
        for number in 3..=7 {
            place.run(number).await;
        }
        let copy = place.export().await;
        dies_everywhere(&mut place, &older, &copy).await;
    }

    #[tokio::test]
    async fn an_import_into_nothing_that_dies_anywhere_never_leaves_an_empty_state() {
        let mut place = Place::new();
        for number in 1..=3 {
            place.run(number).await;
        }
        let copy = place.export().await;
        let digest = place.digest().await;
        let seen = place.disk.contents();
        place.run(4).await;
        let seen_later = place.disk.contents();
        let gone = |files: &BTreeMap<String, Vec<u8>>, kept: &str| -> BTreeMap<String, Vec<u8>> {
            let kept = files
                .iter()
                .filter(|(name, _)| !kept.is_empty() && name.starts_with(kept));
            kept.map(|(name, bytes)| (name.clone(), bytes.clone())).collect()
        };
        let notes = |files: &BTreeMap<String, Vec<u8>>| {
            let mut notes = gone(files, "project/");
            notes.extend(gone(files, "person/"));
            notes
        };
        for files in [
            BTreeMap::new(),
            notes(&seen),
            notes(&seen_later),
            gone(&seen_later, "person/"),
        ] {
            dies_everywhere(&mut place, &files, &copy).await;
            assert_eq!(place.digest().await, digest, "names in the cloud would change");
        }
    }
}
