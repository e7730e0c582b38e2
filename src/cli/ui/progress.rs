//! A run as it goes: drawn on a terminal, as plain lines, or as JSON.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use epid_provider::Urn;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::remaining::Remaining;
use super::style::{count, cut, duration, past, plain};
use super::terminal::Terminal;
use crate::apply::{Did, Event, Fate, Outcome, Trouble};
use crate::plan::{Action, Plan, Step, StepId};

/// At most so many running steps are drawn.
const DRAWN: usize = 12;
/// Longer names are cut.
const NAME: usize = 60;
/// At most so many steps are named that were not begun.
const NAMED: usize = 8;

/// Hears the events of a run and shows them.
pub(crate) struct Listener {
    terminal: Terminal,
    live: Option<Live>,
    names: HashMap<StepId, Arc<str>>,
    width: usize,
    /// Steps that people count, and how many are over.
    total: usize,
    over: usize,
    /// Steps of which people hear nothing.
    silent: Vec<bool>,
    phrases: HashMap<StepId, String>,
    /// How long it will still take; kept up for a drawing only.
    remaining: Remaining,
}

struct Live {
    all: MultiProgress,
    bars: BTreeMap<StepId, ProgressBar>,
    foot: ProgressBar,
}

impl Listener {
    /// A listener for a run of `plan`, or for what comes before there is one.
    pub(crate) fn new(terminal: Terminal, plan: Option<&Plan>) -> Self {
        let steps = plan.map_or(&[][..], |plan| &plan.steps);
        let names: HashMap<StepId, Arc<str>> = steps.iter().map(|s| (s.id, s.address.clone())).collect();
        let silent: Vec<bool> = steps.iter().map(|s| !s.action.touches_cloud()).collect();
        let width = steps
            .iter()
            .zip(&silent)
            .filter(|(_, silent)| !**silent)
            .map(|(s, _)| s.address.chars().count())
            .max()
            .unwrap_or(0)
            .min(NAME);
        let total = silent.iter().filter(|s| !**s).count();
        let live = (terminal.live && total > 0).then(|| Live::new(terminal));
        Self {
            terminal,
            live,
            names,
            width,
            total,
            over: 0,
            silent,
            phrases: HashMap::new(),
            remaining: Remaining::of(steps),
        }
    }

    fn is_silent(&self, step: StepId) -> bool {
        self.silent.get(step.0 as usize).copied().unwrap_or(false)
    }

    fn name(&self, step: StepId) -> Arc<str> {
        self.names.get(&step).cloned().unwrap_or_else(|| Arc::from("?"))
    }

    fn line(&self, text: &str) {
        match &self.live {
            Some(live) => drop(live.all.println(text)),
            None => self.terminal.line(text),
        }
    }

    fn padded(&self, step: StepId) -> String {
        format!("{:width$}", cut(&self.name(step), NAME), width = self.width)
    }

    /// Shows one event.
    pub(crate) fn hear(&mut self, event: &Event) {
        if self.terminal.json {
            self.terminal.json(event);
            return;
        }
        let paint = self.terminal.paint;
        match event {
            Event::Recovered {
                urn, operation, fate, ..
            } => {
                let what = recovered(fate);
                let operation = format!("{operation:?}").to_lowercase();
                self.line(&format!(
                    "  {} {}   an earlier run's {operation} {what}",
                    paint.cyan("↺"),
                    urn.path()
                ));
            }
            Event::RunStarted { .. } | Event::StepWaiting { .. } => {}
            Event::StepStarted {
                step,
                action,
                expected,
                at,
                ..
            } if !self.is_silent(*step) => {
                self.remaining.started(*step, *at);
                let (name, verb) = (self.padded(*step), doing(*action));
                match &mut self.live {
                    Some(live) => live.start(*step, name, verb, *expected),
                    None => self.line(&format!("  {} {name}   {verb}", paint.dim("…"))),
                }
            }
            Event::Progress { step, phrase, at, .. } => {
                self.remaining.at(*at);
                let phrase = plain(phrase);
                if let Some(live) = &self.live {
                    live.phrase(*step, &phrase);
                } else if !self.is_silent(*step) && self.phrases.get(step) != Some(&phrase) {
                    self.line(&format!("  {} {}   {phrase}", paint.dim("…"), self.padded(*step)));
                    self.phrases.insert(*step, phrase);
                }
            }
            Event::Retrying {
                step, problem, after, ..
            } => {
                let why = plain(&problem.message);
                let text = format!("{why}; again in {}", duration(*after));
                match &self.live {
                    Some(live) => live.phrase(*step, &text),
                    None => self.line(&format!(
                        "  {} {}   {text}",
                        paint.yellow("↻"),
                        self.padded(*step)
                    )),
                }
            }
            Event::StepDone {
                step, did, took, at, ..
            } => {
                self.remaining.over(*step, *at);
                self.finish(*step);
                if !self.is_silent(*step) && *did != Did::Nothing {
                    let time = if *took >= Duration::from_millis(100) {
                        duration(*took)
                    } else {
                        String::new()
                    };
                    let text = format!(
                        "  {} {}   {:9} {time}",
                        paint.green("✓"),
                        self.padded(*step),
                        past(*did)
                    );
                    self.line(text.trim_end());
                }
            }
            Event::StepFailed {
                step, problem, took, ..
            } => {
                self.finish(*step);
                let text = plain(&problem.message);
                let line = format!(
                    "  {} {}   {text} ({})",
                    paint.red("✗"),
                    self.padded(*step),
                    duration(*took)
                );
                self.line(&line);
            }
            Event::StepSkipped { step, urn, because } => {
                self.finish(*step);
                if !self.is_silent(*step) {
                    let why = if because == urn {
                        "not made again".to_owned()
                    } else {
                        format!("skipped: it needs {}", because.path())
                    };
                    let line = format!("  {} {}   {why}", paint.dim("-"), self.padded(*step));
                    self.line(&line);
                }
            }
            Event::Stopping { cancel, running, .. } => {
                let calls = count(*running, "call", "calls");
                let text = if *cancel {
                    format!("cancelling {calls}; what is unclear is looked into by the next run")
                } else {
                    format!("stopping: {calls} running are finished first (again to cancel)")
                };
                self.line(&format!("  {} {text}", paint.yellow("!")));
            }
            Event::RunDone { .. } => self.end(),
            Event::StepStarted { .. } => {}
        }
        self.foot();
    }

    fn finish(&mut self, step: StepId) {
        if !self.is_silent(step) {
            self.over += 1;
        }
        if let Some(live) = &mut self.live
            && let Some(bar) = live.bars.remove(&step)
        {
            bar.finish_and_clear();
            live.all.remove(&bar);
        }
    }

    fn foot(&mut self) {
        if let Some(live) = &self.live {
            let left = self.remaining.time();
            let left = if left.as_secs() < 2 {
                String::new()
            } else {
                format!(", about {} left", duration(left))
            };
            live.foot
                .set_message(format!("{} of {} done{left}", self.over, self.total));
        }
    }

    /// Takes the drawing away.
    pub(crate) fn end(&mut self) {
        if let Some(live) = self.live.take() {
            live.foot.finish_and_clear();
            drop(live.all.clear());
        }
    }
}

impl Live {
    fn new(terminal: Terminal) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout_with_hz(12));
        let foot = all.add(ProgressBar::new_spinner());
        let template = if terminal.paint.on() {
            "  {msg:.dim}"
        } else {
            "  {msg}"
        };
        foot.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        Self {
            all,
            bars: BTreeMap::new(),
            foot,
        }
    }

    fn start(&mut self, step: StepId, name: String, verb: &'static str, expected: Duration) {
        if self.bars.len() >= DRAWN {
            return;
        }
        let bar = self.all.insert_before(&self.foot, ProgressBar::new_spinner());
        let took = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let took = duration(state.elapsed());
            let text = if expected.as_secs() < 5 {
                took
            } else {
                format!("{took} of ~{}", duration(expected))
            };
            // It is a string that is written to.
            out.write_str(&text).unwrap_or_default();
        };
        let style = ProgressStyle::with_template("  {spinner} {prefix}   {wide_msg} {took}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner())
            .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
            .with_key("took", took);
        bar.set_style(style);
        bar.set_prefix(name);
        bar.set_message(verb);
        bar.enable_steady_tick(Duration::from_millis(120));
        self.bars.insert(step, bar);
    }

    fn phrase(&self, step: StepId, phrase: &str) {
        if let Some(bar) = self.bars.get(&step) {
            bar.set_message(phrase.to_owned());
        }
    }
}

/// What a step is at, while nothing else is known of it.
fn doing(action: Action) -> &'static str {
    match action {
        Action::Create => "creating",
        Action::Update => "updating",
        Action::Replace | Action::Refill => "replacing",
        Action::Vacate => "deleting, to be made again",
        Action::Delete => "deleting",
        Action::Read => "looking up",
        Action::Import => "importing",
        Action::Adopt => "taking over",
        Action::Decide
        | Action::Forget
        | Action::Drop
        | Action::Record
        | Action::Connect
        | Action::Nothing => "recording",
    }
}

fn recovered(fate: &Fate) -> String {
    match fate {
        Fate::NotDone => "had not happened".to_owned(),
        Fate::Done => "had succeeded; it is recorded now".to_owned(),
        Fate::Partial { incomplete } => format!("was half done; still missing: {}", incomplete.join(", ")),
        Fate::Unclear { problem } => format!("is unclear: {}", plain(&problem.message)),
    }
}

/// What a run came to, with a trailing newline.
pub(crate) fn summary(outcome: &Outcome, plan: &Plan, took: Duration, terminal: Terminal) -> String {
    let paint = terminal.paint;
    let mut out = String::new();
    for failure in &outcome.failed {
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
        out.push_str(&cause(&failure.trouble, &failure.urn, paint));
    }
    if let Some(error) = &outcome.journal {
        out.push_str(&format!("\n{}: {error}\n", paint.error()));
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
    let with_container = |s: &Step| {
        if s.action == Action::Delete {
            s.takes.len()
        } else {
            0
        }
    };
    let taken: usize = done.map(with_container).sum();
    for (did, n) in &outcome.done {
        let quiet = matches!(did, Did::Nothing | Did::Connected | Did::Read | Did::Dropped);
        // What was made again is told as replaced.
        if !quiet && (*did != Did::Vacated || !over.is_empty()) {
            let n = if *did == Did::Deleted { n + taken } else { *n };
            parts.push(format!("{n} {}", past(*did)));
        }
    }
    if !outcome.failed.is_empty() {
        parts.push(paint.red(&format!("{} failed", outcome.failed.len())));
    }
    if !outcome.skipped.is_empty() {
        parts.push(paint.yellow(&format!("{} skipped", outcome.skipped.len())));
    }
    if !outcome.left.is_empty() {
        parts.push(paint.yellow(&format!("{} not started", outcome.left.len())));
    }
    if parts.is_empty() {
        parts.push("nothing to do".to_owned());
    }
    out.push_str(&format!(
        "\n  {}   {}\n",
        parts.join(", "),
        paint.dim(&duration(took))
    ));
    if outcome.interrupted {
        out.push_str(&interrupted(outcome, plan));
    }
    out
}

/// What an interrupted run has not begun, and how to go on.
fn interrupted(outcome: &Outcome, plan: &Plan) -> String {
    let left = outcome.left.iter().filter_map(|id| plan.step(*id));
    let left: Vec<&str> = left
        .filter(|step| step.action.touches_cloud())
        .map(|step| &*step.address)
        .collect();
    let mut out = String::from("\n  interrupted; what was done is recorded\n");
    if let Some((first, _)) = left
        .split_at_checked(NAMED.min(left.len()))
        .filter(|_| !left.is_empty())
    {
        let more = match left.len() - first.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        out.push_str(&format!("  left: {}{more}\n", first.join(", ")));
    }
    out.push_str("  the same command again goes on from here\n");
    out
}

fn cause(trouble: &Trouble, urn: &Urn, paint: super::style::Paint) -> String {
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
