//! `epid stack`.

use super::locate;
use crate::cli::args::{Consent, StackArgs, StackCommand};
use crate::cli::error::Error;
use crate::cli::exit::Exit;
use crate::cli::ui::{count, outputs, shown_json};
use crate::cli::waiting::{after_others, patiently};
use crate::cli::workspace::Workspace;
use crate::cli::world::World;
use crate::cli::{Context, surroundings};

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

async fn ls(context: &Context, sandbox: bool) -> Result<Exit, Error> {
    let workspace = context.workspace()?;
    let terminal = context.terminal;
    let width = workspace
        .project
        .stacks
        .iter()
        .map(|s| s.name.chars().count())
        .max()
        .unwrap_or(0);
    for stack in &workspace.project.stacks {
        let world = if Workspace::simulated(stack, sandbox) {
            World::sandbox(&workspace, None)?
        } else {
            World::cloud()
        };
        let location = workspace.location(&world, &stack.name);
        let snapshot = workspace.recorded(&location).await?.snapshot;
        if terminal.json {
            terminal.json(&serde_json::json!({
                "event": "stack",
                "stack": stack.name,
                "world": world.id,
                "serial": snapshot.header.serial,
                "resources": snapshot.entries.len(),
            }));
            continue;
        }
        let mark = if workspace.project.default_stack.as_ref() == Some(&stack.name) {
            "*"
        } else {
            " "
        };
        let state = if snapshot.header.lineage.is_empty() {
            "nothing recorded yet".to_owned()
        } else {
            format!(
                "state {}, {}",
                snapshot.header.serial,
                count(snapshot.entries.len(), "resource", "resources")
            )
        };
        terminal.line(&format!("{mark} {:width$}   {}   {state}", stack.name, world.id));
    }
    for name in workspace.broken() {
        terminal.note(&format!(
            "! {name}   something is wrong with its file: `epid preview --stack {name}` tells"
        ));
    }
    Ok(Exit::Done)
}

async fn output(
    context: &Context,
    args: &StackArgs,
    name: Option<&str>,
    secrets: bool,
) -> Result<Exit, Error> {
    let workspace = context.workspace()?;
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
    let workspace = context.workspace()?;
    let (stack, location, _) = locate(&workspace, args)?;
    after_others(context, &workspace, &location, consent.wait).await?;
    let snapshot = workspace.recorded(&location).await?.snapshot;
    if !snapshot.is_empty() {
        let left = count(snapshot.entries.len(), "resource", "resources");
        return Err(Error::invalid(format!("stack `{}` still has {left}", stack.name))
            .hint(format!("`epid destroy --stack {}` first", stack.name)));
    }
    if !context
        .terminal
        .agrees(consent.yes, "Remove the state and its history?")
    {
        return Err(Error::invalid("nothing was removed").hint("add --yes to remove it without being asked"));
    }
    // Nobody is kept from going by a stack that is gone.
    workspace.withdraw(&location).await?;
    let holder = surroundings::holder(&context.command);
    let remove = async || Ok(workspace.store.remove(&location, holder.clone()).await?);
    patiently(context.terminal, consent.wait, remove).await?;
    context.terminal.done(&format!(
        "the state of `{}` is removed; {} stays",
        stack.name,
        stack.path.display()
    ));
    Ok(Exit::Done)
}
