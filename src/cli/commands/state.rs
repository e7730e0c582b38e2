//! `epid state`.

use std::sync::Arc;

use epid_provider::Value;

use super::{any_stack, copies, locate, migrate, records};
use crate::cli::Context;
use crate::cli::args::{StackArgs, StateCommand};
use crate::cli::error::Error;
use crate::cli::exit::Exit;
use crate::cli::ui::{shown_json, value_lines};
use crate::graph::Selector;
use crate::state::{Entry, Role, Snapshot};

pub(crate) async fn state(context: &Context, command: StateCommand) -> Result<Exit, Error> {
    match command {
        StateCommand::Ls { stack } => ls(context, &stack).await,
        StateCommand::Show { stack, resource } => show(context, &stack, &resource).await,
        StateCommand::Protect {
            stack,
            resource,
            consent,
        } => records::protect(context, &stack, &resource, true, consent).await,
        StateCommand::Unprotect {
            stack,
            resource,
            consent,
        } => records::protect(context, &stack, &resource, false, consent).await,
        StateCommand::Mv {
            stack,
            old,
            new,
            consent,
        } => records::mv(context, &stack, &old, &new, consent).await,
        StateCommand::Rollback { stack, consent } => copies::rollback(context, &stack, consent).await,
        StateCommand::Verify { stack, all } => copies::verify(context, &stack, all).await,
        StateCommand::Export {
            stack,
            file,
            plain,
            show_secrets,
        } => {
            let secrets = show_secrets;
            copies::export(context, &stack, &file, plain.then_some(secrets)).await
        }
        StateCommand::Import {
            stack,
            file,
            force,
            consent,
        } => copies::import(context, &stack, &file, force, consent).await,
        StateCommand::Migrate {
            to,
            region,
            endpoint,
            consent,
        } => migrate::migrate(context, migrate::Asked { to, region, endpoint }, consent).await,
        StateCommand::Rm {
            stack,
            resources,
            consent,
        } => records::rm(context, &stack, &resources, consent).await,
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Live => "",
        Role::Condemned => "replaced, to be deleted",
        Role::Vacant => "gone, to be made again",
    }
}

async fn ls(context: &Context, args: &StackArgs) -> Result<Exit, Error> {
    let workspace = any_stack(context, args).await?;
    let (stack, location, _) = locate(&workspace, args)?;
    let snapshot = workspace.recorded(&location).await?.snapshot;
    workspace.conceal(stack);
    let terminal = context.terminal;
    if snapshot.is_empty() && !terminal.json {
        terminal.note(&format!(
            "nothing is recorded of stack `{}` in {}",
            stack.name, location.world
        ));
    }
    let width = snapshot
        .entries
        .values()
        .map(|e| e.urn().path().chars().count())
        .max()
        .unwrap_or(0)
        .min(48);
    for entry in snapshot.entries.values() {
        if terminal.json {
            terminal.json(&summary(entry));
            continue;
        }
        let mut line = format!("{:width$}   {}", entry.urn().path(), entry.record.kind);
        let mut notes: Vec<&str> = vec![role(entry.role)];
        if entry.protect {
            notes.push("protected");
        }
        if entry.unmarked {
            notes.push("without an owner mark");
        }
        if !entry.record.incomplete.is_empty() {
            notes.push("incomplete");
        }
        notes.retain(|note| !note.is_empty());
        if !notes.is_empty() {
            line.push_str(&format!("   ({})", notes.join(", ")));
        }
        terminal.line(&line);
    }
    for intent in snapshot.intents.values() {
        let operation = format!("{:?}", intent.operation).to_lowercase();
        let text = format!(
            "{}: the outcome of a {operation} is not known yet; the next run finds out",
            intent.entry.urn().path()
        );
        if terminal.json {
            terminal.json(&serde_json::json!({
                "event": "unfinished",
                "urn": intent.entry.urn().as_str(),
                "operation": operation,
            }));
        } else {
            terminal.line(&format!("! {text}"));
        }
    }
    Ok(Exit::Done)
}

pub(super) fn summary(entry: &Entry) -> serde_json::Value {
    serde_json::json!({
        "event": "resource",
        "urn": entry.urn().as_str(),
        "kind": entry.record.kind.as_str(),
        "id": entry.record.id,
        "generation": entry.generation.0,
        "role": entry.role,
        "protect": entry.protect,
        "unmarked": entry.unmarked,
        "incomplete": entry.record.incomplete,
    })
}

/// The entries that a name on the command line means.
pub(super) fn find(snapshot: &Snapshot, name: &str) -> Result<Vec<Arc<Entry>>, Error> {
    let selector: Selector = name.parse().map_err(Error::invalid)?;
    let found: Vec<Arc<Entry>> = snapshot
        .entries
        .values()
        .filter(|e| selector.matches(e.urn()))
        .cloned()
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let problem = Error::invalid(format!("nothing is recorded of `{name}`"));
    Err(
        match epid_provider::check::nearest(name, snapshot.entries.keys().map(|k| k.urn.path())) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint("`epid state ls` lists what is"),
        },
    )
}

async fn show(context: &Context, args: &StackArgs, resource: &str) -> Result<Exit, Error> {
    let workspace = any_stack(context, args).await?;
    let (stack, location, _) = locate(&workspace, args)?;
    let snapshot = workspace.recorded(&location).await?.snapshot;
    workspace.conceal(stack);
    let terminal = context.terminal;
    for entry in find(&snapshot, resource)? {
        let record = &entry.record;
        if terminal.json {
            let mut document = summary(&entry);
            if let Some(map) = document.as_object_mut() {
                map.insert("applied".to_owned(), shown_json(&record.applied, false));
                if !record.attempted.is_empty() {
                    let attempted = record.attempted.iter();
                    let attempted: Vec<_> = attempted.map(|inputs| shown_json(inputs, false)).collect();
                    map.insert("attempted".to_owned(), attempted.into());
                }
                map.insert("outputs".to_owned(), shown_json(&record.outputs, false));
                let needs: Vec<&str> = entry
                    .dependencies
                    .iter()
                    .map(epid_provider::Urn::as_str)
                    .collect();
                map.insert("dependencies".to_owned(), needs.into());
            }
            terminal.json(&document);
            continue;
        }
        terminal.line(&terminal.paint.bold(record.urn.as_str()));
        let field = |name: &str, text: &str| {
            if !text.is_empty() {
                terminal.line(&format!("  {name:11} {text}"));
            }
        };
        field("id", &record.id);
        field("role", role(entry.role));
        field("generation", &entry.generation.to_string());
        field("declared", entry.source.as_deref().unwrap_or_default());
        field("protected", if entry.protect { "yes" } else { "" });
        field("incomplete", &record.incomplete.join(", "));
        let needs: Vec<&str> = entry.dependencies.iter().map(epid_provider::Urn::path).collect();
        field("needs", &needs.join(", "));
        let attempted = record.attempted.iter().map(|inputs| ("attempted", inputs));
        let values = [("inputs", &record.applied), ("outputs", &record.outputs)];
        for (title, value) in values.into_iter().chain(attempted) {
            if !matches!(value, Value::Map(map) if map.is_empty()) {
                terminal.line(&format!("  {title}"));
                for line in value_lines(value) {
                    terminal.line(&format!("    {line}"));
                }
            }
        }
    }
    Ok(Exit::Done)
}
