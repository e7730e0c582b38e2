//! `epid history`.

use std::time::Duration;

use super::{any_stack, locate};
use crate::cli::Context;
use crate::cli::args::History;
use crate::cli::error::Error;
use crate::cli::exit::Exit;
use crate::cli::ui::{Terminal, count, cut, duration, moment, plain};
use crate::cli::unfinished::Unfinished;
use crate::cli::workspace::Workspace;
use crate::state::{Ending, Location, RunRecord, RunResult, StepRecord};

pub(crate) async fn history(context: &Context, args: &History) -> Result<Exit, Error> {
    let workspace = any_stack(context, &args.stack).await?;
    let (stack, location, _) = locate(&workspace, &args.stack)?;
    let runs = workspace.store.history(&location).await?;
    let terminal = context.terminal;
    let Some(number) = args.run else {
        list(terminal, &stack.name, &runs);
        if runs.is_empty() && !terminal.json {
            let world = &location.world;
            terminal.note(&format!("stack `{}` has no runs in {world}", stack.name));
        }
        if let Some(run) = runs.last() {
            tell_unfinished(terminal, &workspace, &location, run).await?;
        }
        return Ok(Exit::Done);
    };
    let Some(run) = runs.iter().find(|run| run.serial == number) else {
        let problem = Error::invalid(format!("stack `{}` has no run {number}", stack.name));
        return Err(match (runs.first(), runs.last()) {
            (Some(first), Some(last)) => problem.hint(format!(
                "its runs are {} to {}: `epid history` lists them",
                first.serial, last.serial
            )),
            _ => problem.hint("it has none yet: `epid up` makes the first"),
        });
    };
    if terminal.json {
        let mut document = document(&stack.name, run, false);
        if let Some(map) = document.as_object_mut() {
            map.insert("steps".to_owned(), run.steps.iter().map(step).collect());
        }
        terminal.json(&document);
    } else {
        show(terminal, run);
        tell_unfinished(terminal, &workspace, &location, run).await?;
    }
    Ok(Exit::Done)
}

/// What is known of a run without an end.
async fn tell_unfinished(
    terminal: Terminal,
    workspace: &Workspace,
    location: &Location,
    run: &RunRecord,
) -> Result<(), Error> {
    if run.end.is_some() || terminal.json {
        return Ok(());
    }
    if let Some(unfinished) = Unfinished::of(workspace, location).await? {
        let words = unfinished.then("the next `epid up` finds out what became of it");
        terminal.note(&format!("run {} has no end: {words}", run.serial));
    }
    Ok(())
}

/// How a run ended. One without an end goes on, or was killed.
fn result(run: &RunRecord, idle: bool) -> &'static str {
    match run.end {
        Some((RunResult::Done, _)) if idle => "no changes",
        Some((RunResult::Done, _)) if run.is_recovery() => "recovered",
        Some((RunResult::Done, _)) => "done",
        Some((RunResult::Failed, _)) => "failed",
        Some((RunResult::Interrupted, _)) => "interrupted",
        None => "no end",
    }
}

fn took(run: &RunRecord) -> Option<Duration> {
    run.end.map(|(_, at)| at.since(run.run.at))
}

/// How long it took, for people: what only changed records took no time.
fn took_words(run: &RunRecord) -> String {
    let took = took(run).filter(|took| !took.is_zero());
    took.map(duration).unwrap_or_default()
}

/// The runs, and of each whether it changed nothing: it has the number of the one before it then, whose state it found.
fn told(runs: &[RunRecord]) -> impl Iterator<Item = (&RunRecord, bool)> {
    let before = std::iter::once(None).chain(runs.iter().map(Some));
    let pairs = runs.iter().zip(before);
    pairs.map(|(run, before)| (run, before.is_some_and(|before| before.serial == run.serial)))
}

fn operation(step: &StepRecord) -> String {
    format!("{:?}", step.operation).to_lowercase()
}

fn ending(step: &StepRecord) -> &'static str {
    match step.ending {
        Ending::Done => "done",
        Ending::Failed => "failed",
    }
}

fn document(stack: &str, run: &RunRecord, idle: bool) -> serde_json::Value {
    serde_json::json!({
        "event": "run",
        "stack": stack,
        "run": run.serial,
        "who": run.run.who,
        "command": run.run.command,
        "at": run.run.at,
        "version": run.run.version,
        "plan": run.run.plan,
        "commit": run.run.commit,
        "result": run.end.map(|(result, _)| result),
        "seconds": took(run).map(|took| took.as_secs_f64()),
        "calls": run.steps.len(),
        "recovery": run.is_recovery(),
        "idle": idle,
    })
}

fn step(step: &StepRecord) -> serde_json::Value {
    serde_json::json!({
        "urn": step.urn,
        "kind": step.kind,
        "operation": step.operation,
        "ending": step.ending,
        "seconds": step.took.as_secs_f64(),
    })
}

/// One line for each run, the last at the end, where the prompt is.
fn list(terminal: Terminal, stack: &str, runs: &[RunRecord]) {
    let rows: Vec<[String; 6]> = told(runs)
        .map(|(run, idle)| {
            [
                if idle {
                    String::new()
                } else {
                    run.serial.to_string()
                },
                moment(run.run.at),
                plain(&run.run.who),
                result(run, idle).to_owned(),
                took_words(run),
                plain(&run.run.command),
            ]
        })
        .collect();
    let widths = [0, 1, 2, 3, 4].map(|column| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    for ((run, idle), row) in told(runs).zip(&rows) {
        if terminal.json {
            terminal.json(&document(stack, run, idle));
            continue;
        }
        let [serial, at, who, result, took, command] = row;
        let [a, b, c, d, e] = widths;
        // Padded before it is painted: a colour has no width.
        let result = format!("{result:d$}");
        let result = match run.end {
            Some((RunResult::Done, _)) => result,
            _ => terminal.paint.yellow(&result),
        };
        let room = terminal.width.saturating_sub(a + b + c + d + e + 15).max(16);
        let command = if terminal.cuts {
            cut(command, room)
        } else {
            command.clone()
        };
        terminal.line(&format!(
            "{serial:>a$}   {at:b$}   {who:c$}   {result}   {took:>e$}   {command}"
        ));
    }
}

fn show(terminal: Terminal, run: &RunRecord) {
    let field = |name: &str, text: &str| {
        if !text.is_empty() {
            terminal.line(&format!("  {name:8} {text}"));
        }
    };
    terminal.line(&terminal.paint.bold(&format!("run {}", run.serial)));
    field("command", &plain(&run.run.command));
    field("who", &plain(&run.run.who));
    field("when", &moment(run.run.at));
    field("epid", &run.run.version);
    field("commit", run.run.commit.as_deref().unwrap_or_default());
    field("plan", run.run.plan.as_deref().unwrap_or_default());
    field("result", result(run, false));
    field("took", &took_words(run));
    if run.steps.is_empty() {
        return;
    }
    let width = |text: &dyn Fn(&StepRecord) -> usize| run.steps.iter().map(text).max().unwrap_or(0);
    let (names, times) = (
        width(&|step| step.urn.path().chars().count()).min(48),
        width(&|step| duration(step.took).chars().count()),
    );
    terminal.line(&format!("  {}", count(run.steps.len(), "call", "calls")));
    for step in &run.steps {
        let failed = match step.ending {
            Ending::Done => String::new(),
            Ending::Failed => format!("   {}", terminal.paint.red(ending(step))),
        };
        terminal.line(&format!(
            "    {:names$}   {:6}   {:>times$}   {}{failed}",
            step.urn.path(),
            operation(step),
            duration(step.took),
            step.kind,
        ));
    }
}
