//! `epid stack`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{any_stack, locate};
use crate::cli::args::{Consent, StackArgs, StackCommand};
use crate::cli::error::Error;
use crate::cli::exit::Exit;
use crate::cli::ui::{Terminal, count, outputs, resources, shown_json};
use crate::cli::waiting::{after_others, patiently};
use crate::cli::workspace::Workspace;
use crate::cli::world::{World, flag};
use crate::cli::{Context, surroundings};
use crate::plan::quoted;
use crate::state::{Location, Snapshot};

pub(crate) async fn stack(context: &Context, command: StackCommand) -> Result<Exit, Error> {
    match command {
        StackCommand::Ls { sandbox } => ls(context, sandbox).await,
        StackCommand::Output {
            stack,
            name,
            show_secrets,
        } => output(context, &stack, name.as_deref(), show_secrets).await,
        StackCommand::Rm { stack, consent } => rm(context, &stack, consent).await,
    }
}

/// A stack as it is listed.
struct Row {
    stack: Arc<str>,
    world: String,
    /// What it holds.
    state: Result<(u64, usize), Error>,
    recorded: bool,
    /// `good`, `wrong` or `gone`.
    file: &'static str,
}

async fn ls(context: &Context, sandbox: bool) -> Result<Exit, Error> {
    let workspace = context.workspace()?;
    let workspace = if sandbox {
        workspace.in_sandbox()
    } else {
        workspace
    };
    let broken: BTreeSet<Arc<str>> = workspace.broken().cloned().collect();
    let workspace = workspace.with_broken();
    let mut rows = Vec::new();
    for stack in &workspace.project.stacks {
        let world = if Workspace::simulated(stack, sandbox) {
            World::sandbox(&workspace, None)?
        } else {
            World::cloud()
        };
        let location = workspace.location(&world, &stack.name);
        let file = if broken.contains(&stack.name) {
            "wrong"
        } else {
            "good"
        };
        rows.push(row(&workspace, location, file).await);
    }
    for (location, _) in workspace.forgotten().await? {
        rows.push(row(&workspace, location, "gone").await);
    }
    rows.sort_by(|a, b| (&a.stack, &a.world).cmp(&(&b.stack, &b.world)));
    list(context.terminal, &workspace, &rows);
    for row in rows {
        row.state?;
    }
    Ok(Exit::Done)
}

async fn row(workspace: &Workspace, location: Location, file: &'static str) -> Row {
    let recorded = workspace
        .recorded(&location)
        .await
        .map(|recorded| recorded.snapshot);
    let is_recorded = |snapshot: &Snapshot| !snapshot.header.lineage.is_empty();
    Row {
        recorded: recorded.as_ref().map_or(true, is_recorded),
        state: recorded.map(|snapshot| (snapshot.header.serial, resources(&snapshot))),
        stack: location.stack,
        world: location.world.to_string(),
        file,
    }
}

fn list(terminal: Terminal, workspace: &Workspace, rows: &[Row]) {
    let widest = |cell: fn(&Row) -> &str| {
        rows.iter()
            .map(|row| cell(row).chars().count())
            .max()
            .unwrap_or(0)
    };
    let (names, worlds) = (widest(|row| &row.stack), widest(|row| &row.world));
    for row in rows {
        if terminal.json {
            let (serial, resources) = row.state.as_ref().ok().copied().unzip();
            terminal.json(&serde_json::json!({
                "event": "stack",
                "stack": row.stack,
                "world": row.world,
                "serial": serial,
                "resources": resources,
                "file": row.file,
            }));
            continue;
        }
        let mark = if workspace.project.default_stack.as_ref() == Some(&row.stack) {
            "*"
        } else {
            " "
        };
        let state = match row.state {
            Err(_) => "cannot be read".to_owned(),
            Ok(_) if !row.recorded => "nothing recorded yet".to_owned(),
            Ok((serial, resources)) => {
                format!("state {serial}, {}", count(resources, "resource", "resources"))
            }
        };
        let file = match row.file {
            "wrong" => format!(
                "   something is wrong with its file or program: `epid preview --stack {}` tells",
                row.stack
            ),
            "gone" => "   no file".to_owned(),
            _ => String::new(),
        };
        terminal.line(&format!(
            "{mark} {:names$}   {:worlds$}   {state}{}",
            row.stack,
            row.world,
            terminal.paint.yellow(&file)
        ));
    }
}

async fn output(
    context: &Context,
    args: &StackArgs,
    name: Option<&str>,
    secrets: bool,
) -> Result<Exit, Error> {
    let workspace = any_stack(context, args).await?;
    let (stack, location, _) = locate(&workspace, args)?;
    let terminal = context.terminal;
    if secrets {
        workspace
            .opens_secrets(&location, "showing the secrets of")
            .await?;
    }
    let found = workspace.recorded(&location).await?.snapshot.outputs;
    let Some(name) = name else {
        if terminal.json {
            let outputs = shown_json(&epid_provider::Value::Map(found), secrets);
            terminal.json(&serde_json::json!({"event": "outputs", "stack": stack.name, "outputs": outputs}));
        } else if secrets {
            for (name, value) in found.iter() {
                terminal.line(&format!("{name}   {}", bare(value)));
            }
        } else if found.is_empty() {
            terminal.note(&format!(
                "stack `{}` has no outputs in {}",
                stack.name, location.world
            ));
        } else {
            terminal.print(outputs(&found, terminal.paint, usize::MAX).trim_start_matches('\n'));
        }
        return Ok(Exit::Done);
    };
    // As they are listed: a name, or a path into a map.
    let whole = epid_provider::Value::Map(found.clone());
    let within = || {
        name.split('.')
            .try_fold(&whole, |value, key| value.expose().get(key))
    };
    let Some(value) = found.get(name).or_else(within) else {
        let problem = Error::invalid(format!("stack `{}` has no output `{name}`", stack.name));
        return Err(
            match epid_provider::check::nearest(name, found.keys().map(|k| &**k)) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint("`epid stack output` lists them; `epid up` makes them"),
            },
        );
    };
    if value.has_secret() && !secrets {
        return Err(Error::invalid(format!("output `{name}` is secret")).hint("--show-secrets prints it"));
    }
    if terminal.json {
        let value = shown_json(value, secrets);
        terminal
            .json(&serde_json::json!({"event": "output", "stack": stack.name, "name": name, "value": value}));
    } else {
        terminal.line(&bare(value));
    }
    Ok(Exit::Done)
}

/// A value for scripts: text as it is, everything else as JSON.
fn bare(value: &epid_provider::Value) -> String {
    let value = value.expose();
    value
        .as_str()
        .map_or_else(|| shown_json(value, true).to_string(), str::to_owned)
}

async fn rm(context: &Context, args: &StackArgs, consent: Consent) -> Result<Exit, Error> {
    let workspace = any_stack(context, args).await?;
    let (stack, location, _) = locate(&workspace, args)?;
    after_others(context, &workspace, &location, consent.wait).await?;
    let snapshot = workspace.recorded(&location).await?.snapshot;
    let begun = snapshot.intents.values().next();
    if let Some(intent) = begun.filter(|_| snapshot.entries.is_empty()) {
        let path = intent.entry.urn().path();
        let message = format!(
            "stack `{}` may still have `{path}`: the outcome of a call for it is not known",
            stack.name
        );
        let hint = format!(
            "`epid destroy --stack {}` finds out; where nobody can tell, `epid state rm {}` lets go of it",
            stack.name,
            quoted(path)
        );
        return Err(Error::invalid(message).hint(hint));
    }
    if !snapshot.is_empty() {
        let left = match resources(&snapshot) {
            0 => count(snapshot.entries.len(), "record", "records"),
            n => count(n, "resource", "resources"),
        };
        return Err(
            Error::invalid(format!("stack `{}` still has {left}", stack.name)).hint(format!(
                "`epid destroy --stack {}{}` first",
                stack.name,
                flag(&location.world)
            )),
        );
    }
    let question = "Remove the state and its history?";
    if !context.terminal.consents(consent.yes, question)? {
        return Ok(Exit::Done);
    }
    // Nobody is kept from going by a stack that is gone.
    workspace.withdraw(stack, &location, false).await?;
    let holder = surroundings::holder(&context.command);
    let remove = async || Ok(workspace.store.remove(&location, holder.clone()).await?);
    patiently(context.terminal, consent.wait, remove).await?;
    let stays = if workspace.has_file(&stack.name) {
        format!("; {} stays", stack.path.display())
    } else {
        String::new()
    };
    let done = format!("the state of `{}` is removed{stays}", stack.name);
    context.terminal.done(&done);
    Ok(Exit::Done)
}
