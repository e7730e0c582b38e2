//! What a run came to.

use std::collections::HashSet;
use std::time::Duration;

use epid_provider::Urn;

use super::style::{Paint, count, duration, past, plain, width};
use super::tally::dies_with;
use super::terminal::Terminal;
use crate::apply::{Did, Outcome, StepFailure, Trouble};
use crate::plan::{Action, Plan, StepId};

/// At most so many steps are named that were not begun.
const NAMED: usize = 8;

/// What a run came to, with a trailing newline; `next` is the command that goes on with one that was
/// interrupted. So many of the deleted were replaced, and are told as that. `cause` is what may have stopped several steps: the
/// state, or the sandbox, could not be written.
pub(crate) fn summary(
    outcome: &Outcome,
    plan: &Plan,
    took: Duration,
    next: &str,
    cause: Option<&str>,
    old_deleted: usize,
    terminal: Terminal,
) -> String {
    let paint = terminal.paint;
    let mut out = String::new();
    let (cut, failed): (Vec<&StepFailure>, Vec<&StepFailure>) = outcome
        .failed
        .iter()
        .partition(|failure| outcome.interrupted && failure.trouble.is_cut_short());
    // One cause of several failures is told once.
    let (stopped, others): (Vec<&StepFailure>, Vec<&StepFailure>) = failed
        .iter()
        .partition(|failure| cause.is_some_and(|cause| failure.trouble.message.contains(cause)));
    for failure in others {
        let address = plan
            .step(failure.step)
            .map_or_else(|| failure.urn.path().to_owned(), |s| s.address.to_string());
        out.push_str(&format!(
            "\n{}: {}: {}\n",
            paint.error(),
            paint.bold(&address),
            plain(&failure.trouble.message)
        ));
        if let Some(source) = &failure.source {
            out.push_str(&format!("  {} {source}\n", paint.cyan("-->")));
        }
        out.push_str(&beside(&failure.trouble, &failure.urn, paint));
    }
    if let Some(cause) = cause {
        out.push_str(&format!("\n{}: {cause}\n", paint.error()));
        let stopped = named(plan, stopped.iter().map(|failure| failure.step));
        let title = format!("{} stopped by it", count(stopped.len(), "resource", "resources"));
        out.push_str(&listed(&title, &stopped, terminal));
    }
    // After a failure or an interrupt it is clear why something is not known.
    for (name, reason) in outcome
        .unknown_outputs
        .iter()
        .filter(|_| outcome.failed.is_empty() && !outcome.interrupted)
    {
        out.push_str(&format!(
            "\n{}: output `{name}`: {}\n",
            paint.error(),
            plain(reason)
        ));
    }
    let mut parts: Vec<String> = Vec::new();
    let over: HashSet<StepId> = outcome
        .failed
        .iter()
        .map(|f| f.step)
        .chain(outcome.skipped.iter().map(|(id, _)| *id))
        .chain(outcome.left.iter().copied())
        .collect();
    let done = plan.steps.iter().filter(|s| !over.contains(&s.id));
    let deleted = done.filter(|step| step.action == Action::Delete);
    let taken = deleted.flat_map(dies_with).count();
    for (did, n) in &outcome.done {
        let quiet = match did {
            Did::Nothing | Did::Connected => true,
            Did::Dropped => !plan.steps.iter().any(|step| step.gone),
            _ => false,
        };
        // What was made again is told as replaced.
        if !quiet && (*did != Did::Vacated || !over.is_empty()) {
            let n = if *did == Did::Deleted {
                (n + taken).saturating_sub(old_deleted)
            } else {
                *n
            };
            if n > 0 {
                parts.push(format!("{n} {}", past(*did)));
            }
        }
    }
    let mut skipped: Vec<&str> = named(plan, outcome.skipped.iter().map(|(id, _)| *id));
    let mut left: Vec<&str> = named(plan, outcome.left.iter().copied());
    if outcome.interrupted && failed.is_empty() {
        // What is skipped waits for what was cut short.
        left.append(&mut skipped);
    }
    let mut part = |n: usize, word: &str, color: fn(Paint, &str) -> String| {
        if n > 0 {
            parts.push(color(paint, &format!("{n} {word}")));
        }
    };
    part(failed.len(), "failed", Paint::red);
    part(cut.len(), "cut short", Paint::yellow);
    part(skipped.len(), "skipped", Paint::yellow);
    part(left.len(), "not started", Paint::yellow);
    if parts.is_empty() {
        parts.push("nothing to do".to_owned());
    }
    out.push_str(&format!(
        "\n  {}   {}\n",
        parts.join(", "),
        paint.dim(&duration(took))
    ));
    if outcome.interrupted {
        let cut = named(plan, cut.iter().map(|failure| failure.step));
        out.push_str("\n  interrupted; what was done is recorded\n");
        out.push_str(&listed(
            "cut short, to be looked into by the next run",
            &cut,
            terminal,
        ));
        out.push_str(&listed("left", &left, terminal));
        out.push_str(&format!("  `{next}` goes on from here\n"));
    }
    out
}

/// The addresses of those of the steps that people hear of.
fn named(plan: &Plan, steps: impl Iterator<Item = StepId>) -> Vec<&str> {
    let steps = steps.filter_map(|id| plan.step(id));
    let steps = steps.filter(|step| step.action.touches_cloud());
    steps.map(|step| &*step.address).collect()
}

/// Some of the names, on lines that fit.
fn listed(title: &str, names: &[&str], terminal: Terminal) -> String {
    if names.is_empty() {
        return String::new();
    }
    let shown = names.len().min(NAMED);
    let mut words: Vec<String> = names.iter().take(shown).map(|name| format!("{name},")).collect();
    match names.len() - shown {
        0 => {}
        n => words.push(format!("and {n} more,")),
    }
    if let Some(last) = words.last_mut() {
        last.pop();
    }
    let mut out = String::new();
    let mut line = format!("  {title}:");
    for word in words {
        if width(&line) + 1 + width(&word) > terminal.width {
            out.push_str(&line);
            out.push('\n');
            line = "   ".to_owned();
        }
        line.push(' ');
        line.push_str(&word);
    }
    out + &line + "\n"
}

/// What else is known of a failure.
fn beside(trouble: &Trouble, urn: &Urn, paint: Paint) -> String {
    let mut out = String::new();
    if let Some(id) = &trouble.request_id {
        out.push_str(&format!("  {}\n", paint.dim(&format!("request {id}"))));
    }
    if let Some(hint) = &trouble.hint {
        out.push_str(&format!("  {} {}\n", paint.cyan("help:"), plain(hint)));
    }
    if trouble.unclear {
        let resource = urn.path();
        out.push_str(&format!(
            "  whether it took effect is not known; the next run looks for {resource} first\n"
        ));
    }
    out
}
