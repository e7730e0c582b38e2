//! A run as it goes: drawn on a terminal, as plain lines, or as JSON.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};

use super::concealed::concealed;
use super::plan::principal;
use super::remaining::Remaining;
use super::style::{count, cut, duration, past, plain};
use super::terminal::Terminal;
use crate::apply::{Did, Event, Fate, Stop};
use crate::plan::{Action, Plan, StepId};

/// At most so many running steps are drawn.
const DRAWN: usize = 12;
/// Longer names are cut.
const NAME: usize = 60;

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
    /// Adoptions that were seen to find nothing.
    makes: HashSet<StepId>,
    phrases: HashMap<StepId, String>,
    /// How long it will still take; kept up for a drawing only.
    remaining: Remaining,
    /// The steps that run.
    running: HashSet<StepId>,
    /// The steps that remove what others replace, and how many did.
    old: HashSet<StepId>,
    old_deleted: usize,
    /// How far it was told to stop.
    stopping: Stop,
    /// Why steps failed.
    told: HashSet<String>,
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
            makes: steps.iter().filter(|s| s.makes()).map(|s| s.id).collect(),
            phrases: HashMap::new(),
            remaining: Remaining::of(steps),
            running: HashSet::new(),
            old: plan.map(old_ones).unwrap_or_default(),
            old_deleted: 0,
            stopping: Stop::No,
            told: HashSet::new(),
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
                self.running.insert(*step);
                let action = if self.makes.contains(step) {
                    Action::Create
                } else {
                    *action
                };
                let (name, verb) = (self.padded(*step), doing(action));
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
                let is_old = *did == Did::Deleted && self.old.contains(step);
                self.old_deleted += usize::from(is_old);
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
                        if is_old { "old one deleted" } else { past(*did) }
                    );
                    self.line(text.trim_end());
                }
            }
            Event::StepFailed {
                step, problem, took, ..
            } => {
                self.finish(*step);
                let (mark, text) = if problem.is_cut_short() {
                    // It may come back before anybody has said that it was cancelled.
                    self.stopping = Stop::Cancel;
                    (paint.yellow("✗"), "cut short".to_owned())
                } else {
                    let text = if self.told.insert(problem.message.clone()) {
                        plain(&problem.message)
                    } else {
                        "failed for the same reason".to_owned()
                    };
                    (paint.red("✗"), text)
                };
                let line = format!("  {mark} {}   {text} ({})", self.padded(*step), duration(*took));
                self.line(&line);
            }
            Event::StepSkipped { step, urn, because } => {
                self.finish(*step);
                // After an interrupt the end says what is left.
                if !self.is_silent(*step) && self.stopping < Stop::Cancel {
                    let why = if because == urn {
                        "not made again".to_owned()
                    } else {
                        format!("skipped: it needs {}", because.path())
                    };
                    let line = format!("  {} {}   {why}", paint.dim("-"), self.padded(*step));
                    self.line(&line);
                }
            }
            Event::Stopping { cancel, .. } => {
                self.stopping = if *cancel { Stop::Cancel } else { Stop::Drain };
                let text = stopping(*cancel, self.running.len());
                let text = format!("  {} {text}", paint.yellow("!"));
                match &self.live {
                    Some(live) => drop(live.all.println(text)),
                    None => self.terminal.tell(&text),
                }
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
        self.running.remove(&step);
        if let Some(live) = &mut self.live
            && let Some(bar) = live.bars.remove(&step)
        {
            bar.finish_and_clear();
            live.all.remove(&bar);
        }
    }

    fn foot(&mut self) {
        let Some(live) = &self.live else { return };
        let running = self.running.len();
        let undrawn = match running.saturating_sub(live.bars.len()) {
            0 => String::new(),
            n => format!(", {n} more running"),
        };
        let text = match self.stopping {
            Stop::No => {
                let left = self.remaining.time();
                let left = if left.as_secs() < 2 {
                    String::new()
                } else {
                    format!(", about {} left", duration(left))
                };
                format!("{} of {} done{undrawn}{left}", self.over, self.total)
            }
            Stop::Drain => format!("stopping: {} still running", count(running, "call", "calls")),
            Stop::Cancel => format!("cancelling {}", count(running, "call", "calls")),
        };
        live.foot.set_message(text);
    }

    /// How many were deleted because their replacement was made.
    pub(crate) fn old_deleted(&self) -> usize {
        self.old_deleted
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
        let screen = Box::new(Screen::new(Term::buffered_stdout()));
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(screen, 12));
        let foot = all.add(ProgressBar::new_spinner());
        let template = if terminal.paint.on() {
            "  {msg:.dim}"
        } else {
            "  {msg}"
        };
        foot.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        // Drawn from the first line on: the cursor rests in it.
        foot.tick();
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

/// A terminal whose cursor rests at the start of the last line that is drawn: at its end, where it would be, a `^C` goes into
/// the next line, and the drawing is taken away a line too low.
#[derive(Debug)]
pub(super) struct Screen(Term);

impl Screen {
    pub(super) fn new(term: Term) -> Self {
        Self(term)
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.0.size().1
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(&concealed(text))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(&concealed(text))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.write_str("\r")?;
        self.0.flush()
    }
}

/// The steps that remove what others of the plan replace.
fn old_ones(plan: &Plan) -> HashSet<StepId> {
    let told: HashSet<StepId> = principal(plan).into_iter().map(|step| step.id).collect();
    let deletes = plan.steps.iter().filter(|step| step.action == Action::Delete);
    let old = deletes.filter(|step| !told.contains(&step.id));
    old.map(|step| step.id).collect()
}

/// What is said when a run is told to stop.
fn stopping(cancel: bool, running: usize) -> String {
    match (cancel, running) {
        (false, 0) => "stopping: nothing new is started".to_owned(),
        (false, 1) => "stopping: the running call is finished first; interrupt again to cancel it".to_owned(),
        (false, n) => {
            format!("stopping: {n} running calls are finished first; interrupt again to cancel them")
        }
        (true, 0) => "stopping at once".to_owned(),
        (true, n) => format!(
            "cancelling {}; the next run finds out what became of {}",
            count(n, "call", "calls"),
            if n == 1 { "it" } else { "them" }
        ),
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
        Action::Adopt => "adopting",
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
