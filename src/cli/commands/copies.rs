//! States as files: checked, exported, imported, and taken back.
#![expect(
    clippy::disallowed_methods,
    reason = "these commands exist to read and write the file they are given"
)]

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
use crate::cli::waiting::after_others;
use crate::cli::{Context, surroundings};
use crate::state::files::{Access, replace};
use crate::state::{Location, Opening, Snapshot, Verified};

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
        tell(context, location, &verified);
        if !verified.problems.is_empty() {
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

fn tell(context: &Context, location: &Location, verified: &Verified) {
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
    let dangling = verified
        .snapshot
        .as_ref()
        .map_or(0, |snapshot| snapshot.intents.len());
    if dangling > 0 {
        let calls = count(dangling, "call", "calls");
        terminal.line(&format!(
            "  {calls} without a known outcome: the next `epid up` finds out"
        ));
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
    let name = path.display().to_string();
    let copy = workspace.store.read_export(name, bytes).await?;
    let found = Location::new(&copy.header.world, &copy.header.project, &copy.header.stack);
    if found != location {
        return Err(Error::invalid(format!(
            "{} is the state of {found}, not of {location}",
            file.display()
        ))
        .hint("a state goes back to where it came from: name that with --stack and --sandbox"));
    }
    let mut opening = Opening::new(surroundings::holder(&context.command)).create();
    opening.restores = Some((copy.header.lineage.clone(), copy.header.serial));
    // The key that opens the copy is here.
    opening.key = stack
        .key
        .as_deref()
        .or(Some(&*copy.header.key))
        .map(str::to_owned);
    let amending = Amending {
        context,
        workspace: &workspace,
        world: &world,
        location: &location,
        consent,
    };
    let restored = |snapshot: &Snapshot| restoring(snapshot, &copy, force);
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
    let back = |snapshot: &Snapshot| restoring(snapshot, &before, true);
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
