//! Commands beside runs: configuration, states, stacks, drawings, the sandbox.

mod config;
mod copies;
mod history;
mod keys;
mod migrate;
pub(crate) mod records;
mod sandbox;
mod stack;
mod state;

pub(crate) use config::config;
pub(crate) use history::history;
pub(crate) use keys::keys;
pub(crate) use sandbox::{reset, serve};
pub(crate) use stack::stack;
pub(crate) use state::state;

use clap::CommandFactory as _;

use super::args::{Cli, Graph, GraphFormat, StackArgs};
use super::derivations::Derivations;
use super::error::Error;
use super::exit::Exit;
use super::workspace::Workspace;
use super::world::World;
use super::{Context, drawing};
use crate::program::StackFile;
use crate::state::Location;

/// Where the state of the stack is that a command names. Nothing is connected, nothing is made.
fn locate<'a>(workspace: &'a Workspace, args: &StackArgs) -> Result<(&'a StackFile, Location, World), Error> {
    let stack = workspace.stack(args.stack.as_deref())?;
    let world = if Workspace::simulated(stack, args.sandbox) {
        World::sandbox(workspace, None)?
    } else {
        World::cloud()
    };
    let location = workspace.location(&world, &stack.name);
    Ok((stack, location, world))
}

/// The project of a command that works on states alone: a stack counts also where its file is wrong or gone.
async fn any_stack(context: &Context, args: &StackArgs) -> Result<Workspace, Error> {
    let workspace = context.workspace()?.with_broken();
    workspace.with_forgotten(args.stack.as_deref()).await
}

/// `epid completions`.
pub(crate) fn completions(context: &Context, shell: clap_complete::Shell) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "epid", &mut text);
    let text = String::from_utf8_lossy(&text);
    if context.terminal.json {
        let document = serde_json::json!({"event": "completions", "shell": shell.to_string(), "text": text});
        context.terminal.json(&document);
    } else {
        context.terminal.print(&text);
    }
    Exit::Done
}

/// `epid graph`.
pub(crate) async fn graph(context: &Context, args: &Graph) -> Result<Exit, Error> {
    let workspace = context.workspace()?;
    let (stack, _, world) = locate(&workspace, &args.stack)?;
    let pending = workspace.unknown_references(stack);
    let location = workspace.location(&world, &stack.name);
    // A drawing needs no state; where one can be read, it tells what secrets are.
    let recorded = workspace.recorded(&location).await;
    let derivations = recorded.map_or_else(|_| Derivations::default(), |recorded| Derivations::of(&recorded));
    let references = workspace
        .references(stack, &world, &pending, &derivations)
        .await?;
    let graph = workspace.graph(stack, &world, references, &derivations)?;
    let (drawing, text) = match args.format {
        GraphFormat::Dot => ("dot", drawing::dot(&graph)),
        GraphFormat::Mermaid => ("mermaid", drawing::mermaid(&graph)),
        GraphFormat::Svg => ("svg", drawing::svg(&graph)),
    };
    if context.terminal.json {
        let document = serde_json::json!({"event": "graph", "drawing": drawing, "text": text});
        context.terminal.json(&document);
    } else {
        context.terminal.print(&text);
    }
    Ok(Exit::Done)
}
