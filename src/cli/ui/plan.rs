//! A plan as a tree: what changes, where, why, and how long it takes.

use std::collections::{BTreeMap, HashMap};

use epid_provider::{Kind, Replace, Urn};

use super::leaves::{change, declared, is_whole};
use super::style::{Paint, count, cut, duration, mark, plain, width};
use super::tally::{Tally, dies_with, shown_action, tally};
use crate::plan::{Action, Drift, Estimate, Found, LostMark, Mode, Plan, Step, estimate};
use crate::state::RecordKey;

/// What to show of a plan besides its steps.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// Colours.
    pub(crate) paint: Paint,
    /// Columns.
    pub(crate) width: usize,
    /// What is too long for a line is cut.
    pub(crate) cuts: bool,
    /// What is declared of new resources is shown however many there are.
    pub(crate) details: bool,
    /// How many resources the state holds.
    pub(crate) recorded: usize,
    /// What exists was compared with what is recorded, not with what is declared.
    pub(crate) refreshes: bool,
    /// The kind of a component by its address, where there is one.
    pub(crate) component: &'a dyn Fn(&str) -> Option<Kind>,
}

impl Shown<'_> {
    /// `text` in so many columns.
    pub(super) fn fitted(self, text: &str, columns: usize) -> String {
        if self.cuts {
            cut(text, columns)
        } else {
            text.to_owned()
        }
    }

    /// A kind in so many columns: its own name says most.
    fn fitted_kind(self, kind: &str, columns: usize) -> String {
        match kind.rsplit_once(':') {
            Some((family, name)) if width(kind) > columns && width(name) + 12 <= columns => {
                format!("{}:{name}", self.fitted(family, columns - width(name) - 1))
            }
            _ => self.fitted(kind, columns),
        }
    }
}

/// What is declared of new resources is shown unasked up to so many lines: a plan that makes much is read as a tree.
const UNASKED: usize = 60;
/// Columns that are left for the shortest notes, `~12:00 min`.
const NOTE: usize = 14;

/// A line of the tree.
struct Row {
    depth: usize,
    action: Option<Action>,
    /// It stands for what is in it.
    heading: bool,
    name: String,
    kind: String,
    note: String,
    details: Vec<String>,
}

#[derive(Default)]
struct Branch<'a> {
    step: Option<&'a Step>,
    children: BTreeMap<String, Branch<'a>>,
    order: Vec<String>,
}

/// The plan as text, with a trailing newline.
pub(crate) fn render_plan(plan: &Plan, shown: Shown<'_>) -> String {
    let steps = principal(plan);
    let details = shown.details || !is_long(plan);
    let shown = Shown { details, ..shown };
    let tally = tally(plan, &steps);
    let mut out = title(plan, shown);
    let mut root = Branch::default();
    for step in &steps {
        let mut path = segments(&step.address);
        if step.leftover
            && let Some(last) = path.last_mut()
        {
            // Beside the one that lives.
            last.push_str(" (old)");
        }
        root.put(&path, step);
    }
    let mut rows = Vec::new();
    root.rows("", plan, shown, &mut rows);
    drift_rows(plan, &mut rows, shown);
    if !rows.is_empty() {
        out.push('\n');
        write_rows(&rows, shown, &mut out);
        out.push('\n');
    }
    out.push_str(&format!("  {}\n", summary(&tally, plan, shown)));
    if let Some(line) = time(plan, &estimate(plan), shown) {
        out.push_str(&format!("  {}\n", shown.paint.dim(&line)));
    }
    out
}

/// True where too much is made to show unasked what is declared of it.
pub(crate) fn is_long(plan: &Plan) -> bool {
    let new = principal(plan)
        .into_iter()
        .filter(|step| step.action == Action::Create);
    new.map(|step| step.changes.len()).sum::<usize>() > UNASKED
}

/// The one step of each resource that says what happens to it, and those that remove what earlier runs left over. What
/// exists in the state alone leaves unsaid.
pub(crate) fn principal(plan: &Plan) -> Vec<&Step> {
    let rank = |step: &Step| match step.action {
        Action::Connect if step.reconfigures() => 1,
        Action::Drop if step.gone => 1,
        Action::Nothing | Action::Connect | Action::Drop => 0,
        Action::Decide => 1,
        Action::Vacate | Action::Delete => 2,
        _ => 3,
    };
    // What becomes of the record of something that is renamed is told under its new name.
    let moved: HashMap<&RecordKey, &Urn> = plan
        .steps
        .iter()
        .filter_map(|step| Some((step.from.as_ref()?, &step.target.urn)))
        .collect();
    let mut best: HashMap<(&Urn, bool), &Step> = HashMap::new();
    let mut order = Vec::new();
    for step in &plan.steps {
        let urn = moved.get(&step.target).copied().unwrap_or(&step.target.urn);
        let key = (urn, step.leftover);
        if rank(step) == 0 {
            continue;
        }
        match best.get(&key) {
            Some(old) if rank(old) >= rank(step) => {}
            Some(_) => {
                best.insert(key, step);
            }
            None => {
                order.push(key);
                best.insert(key, step);
            }
        }
    }
    order
        .into_iter()
        .filter_map(|key| best.get(&key).copied())
        .collect()
}

/// What is known of what is imported or adopted.
fn takeover(step: &Step) -> String {
    let verb = if step.action == Action::Adopt {
        "adopts"
    } else {
        "imports"
    };
    match &step.found {
        Some(Found { id: None, .. }) => "there is none to adopt".to_owned(),
        Some(Found { id: Some(id), marked }) => {
            let whose = if *marked {
                "this stack's"
            } else {
                "nobody's, marked as this stack's"
            };
            format!("{verb} {}: {whose}", plain(id))
        }
        None if step.action == Action::Adopt => "adopted where it exists".to_owned(),
        None => "imported".to_owned(),
    }
}

/// `curator/deployment` in its parts; a `/` within a key's quotes parts nothing.
fn segments(address: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in address.chars() {
        if c == '"' {
            quoted = !quoted;
        }
        if c == '/' && !quoted {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

impl<'a> Branch<'a> {
    fn put(&mut self, path: &[String], step: &'a Step) {
        let Some((first, rest)) = path.split_first() else {
            self.step = Some(step);
            return;
        };
        if !self.children.contains_key(first) {
            self.order.push(first.clone());
        }
        self.children.entry(first.clone()).or_default().put(rest, step);
    }

    fn actions(&self, into: &mut Vec<Action>) {
        into.extend(self.step.map(shown_action));
        for child in self.children.values() {
            child.actions(into);
        }
    }

    fn rows(&self, address: &str, plan: &Plan, shown: Shown<'_>, into: &mut Vec<Row>) {
        let depth = segments(address).iter().filter(|part| !part.is_empty()).count();
        for name in &self.order {
            let Some(branch) = self.children.get(name) else {
                continue;
            };
            let own = if address.is_empty() {
                name.clone()
            } else {
                format!("{address}/{name}")
            };
            if let Some(step) = branch.step {
                into.push(row(step, name, depth, plan, shown));
            } else {
                let mut actions = Vec::new();
                branch.actions(&mut actions);
                // Looking something up is part of making, changing or removing the rest.
                actions.retain(|action| *action != Action::Read);
                let first = actions.first().copied().unwrap_or(Action::Read);
                let same = actions.iter().all(|action| mark(*action) == mark(first));
                into.push(Row {
                    depth,
                    action: Some(if same { first } else { Action::Update }),
                    kind: (shown.component)(&own).map_or_else(String::new, |kind| kind.as_str().to_owned()),
                    heading: true,
                    name: name.clone(),
                    note: String::new(),
                    details: Vec::new(),
                });
            }
            branch.rows(&own, plan, shown, into);
        }
    }
}

fn row(step: &Step, name: &str, depth: usize, plan: &Plan, shown: Shown<'_>) -> Row {
    let mut notes = Vec::new();
    match step.action {
        Action::Replace | Action::Refill | Action::Vacate | Action::Decide => {
            notes.push(why(step));
            if matches!(step.action, Action::Refill | Action::Vacate | Action::Decide) {
                notes.push("the old one is deleted first".to_owned());
            }
        }
        Action::Delete if step.leftover => notes.push("left over from an earlier replacement".to_owned()),
        Action::Delete if plan.header.mode == Mode::Up && dies_with(step).next().is_some() => {
            notes.push(format!(
                "with {}",
                count(dies_with(step).count(), "resource in it", "resources in it")
            ));
        }
        Action::Adopt | Action::Import => notes.push(takeover(step)),
        Action::Drop if step.gone => notes.push("gone already, no longer recorded".to_owned()),
        Action::Record if step.gone => {
            notes.push("recorded as gone: the next `epid up` makes it again".to_owned());
        }
        Action::Record if step.unmarked && is_anothers(step, plan) => {
            notes.push("recorded as unmarked: nothing is sent to it while another stack has it".to_owned());
        }
        Action::Record if step.unmarked => {
            notes.push("recorded as unmarked: the next `epid up` marks it again".to_owned());
        }
        Action::Forget => notes.push("left in place, no longer recorded".to_owned()),
        Action::Record => notes.push("only what is recorded of it".to_owned()),
        Action::Read => notes.push("looked up".to_owned()),
        _ => {}
    }
    if let Some(from) = step.from.as_ref().filter(|f| f.urn != step.target.urn) {
        notes.push(format!("was {}", from.urn.path()));
    }
    if step.unmarked && step.action != Action::Record {
        notes.push("marked as this stack's".to_owned());
    }
    if !step.unfinished.is_empty() {
        let rest = plain(&step.unfinished.join(", "));
        notes.push(format!("left unfinished by an earlier run: {rest}"));
    }
    if step.undo_drift {
        notes.push("put back as declared".to_owned());
    }
    if step.expected.as_secs() >= 5 {
        notes.push(format!("~{}", duration(step.expected)));
    }
    let action = shown_action(step);
    let details = match action {
        Action::Create if shown.details => declared(&step.changes, depth, shown),
        Action::Create | Action::Delete | Action::Read => Vec::new(),
        _ => {
            let leaves = step.changes.iter().filter(|c| !is_whole(c));
            let leaves = leaves.chain(&step.options);
            leaves.flat_map(|c| change(c, depth, shown)).collect()
        }
    };
    Row {
        depth,
        action: Some(action),
        heading: false,
        name: name.to_owned(),
        kind: step.kind.as_str().to_owned(),
        note: notes.join(", "),
        details,
    }
}

/// True where a look found that another stack has it.
fn is_anothers(step: &Step, plan: &Plan) -> bool {
    let of_it = |drift: &&Drift| drift.urn == step.target.urn;
    let mark = plan
        .drift
        .iter()
        .filter(of_it)
        .find_map(|drift| drift.mark.as_ref());
    matches!(mark, Some(LostMark::Another(_)))
}

/// Why a resource is replaced.
fn why(step: &Step) -> String {
    let forced = step
        .changes
        .iter()
        .filter(|c| c.replace != Replace::No && !is_whole(c));
    let paths: Vec<String> = forced.clone().map(|c| c.path.to_string()).collect();
    match &step.replaced_with {
        Some(with) if *with == step.target.urn => "replaced as asked".to_owned(),
        Some(with) => format!("replaced with {}", with.path()),
        None if paths.is_empty() => "replaced".to_owned(),
        None if forced.clone().all(|c| c.replace != Replace::Yes) => {
            format!("replaced only if {} changes", paths.join(", "))
        }
        None => format!("replaced: {} cannot change in place", paths.join(", ")),
    }
}

fn drift_rows(plan: &Plan, rows: &mut Vec<Row>, shown: Shown<'_>) {
    for drift in &plan.drift {
        let details = drift.changes.iter().flat_map(|c| change(c, 0, shown)).collect();
        rows.push(Row {
            depth: 0,
            action: None,
            heading: false,
            name: drift.urn.path().to_owned(),
            kind: String::new(),
            note: match &drift.mark {
                _ if drift.gone => "drift: it is gone".to_owned(),
                Some(LostMark::Removed) => "drift: its mark as this stack's is gone".to_owned(),
                Some(LostMark::Another(whose)) => {
                    format!("drift: it belongs to another stack now ({})", plain(whose))
                }
                None => "drift: changed outside epid".to_owned(),
            },
            details,
        });
    }
}

fn write_rows(rows: &[Row], shown: Shown<'_>, out: &mut String) {
    let left = |row: &Row| 2 * row.depth + 4 + width(&row.name);
    let column = rows.iter().map(left).max().unwrap_or(0).min(shown.width * 2 / 5) + 2;
    let noted = rows.iter().filter(|row| !row.note.is_empty());
    let most = shown.width.saturating_sub(column + NOTE);
    let kinds = noted.map(|row| width(&row.kind)).max().unwrap_or(0).min(most) + 3;
    for row in rows {
        let sign = row
            .action
            .map_or_else(|| shown.paint.yellow("!"), |a| shown.paint.mark(a));
        let name_room = column.saturating_sub(2 * row.depth + 6).max(8);
        let name = shown.fitted(&row.name, name_room);
        // A name that is not cut pushes what stands behind it.
        let pad = column.saturating_sub(2 * row.depth + 4 + width(&name)).max(2);
        let mut line = format!("{}{sign} ", " ".repeat(2 * row.depth + 2));
        line.push_str(&if row.heading {
            shown.paint.bold(&name)
        } else {
            name
        });
        let room = shown.width.saturating_sub(column);
        let kind = shown.fitted_kind(&row.kind, room);
        let rest = room.saturating_sub(kinds.max(width(&kind) + 3));
        if !kind.is_empty() || !row.note.is_empty() {
            line.push_str(&" ".repeat(pad));
            line.push_str(&shown.paint.dim(&kind));
        }
        let mut under = None;
        if !row.note.is_empty() {
            if width(&row.note) <= rest {
                let gap = if row.kind.is_empty() {
                    0
                } else {
                    kinds.saturating_sub(width(&kind)).max(3)
                };
                line.push_str(&" ".repeat(gap));
                line.push_str(&row.note);
            } else {
                let indent = " ".repeat(2 * row.depth + 6);
                under = Some(format!(
                    "{indent}{}",
                    shown.fitted(&row.note, shown.width.saturating_sub(width(&indent)))
                ));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
        for detail in under.iter().chain(&row.details) {
            out.push_str(detail);
            out.push('\n');
        }
    }
}

fn title(plan: &Plan, shown: Shown<'_>) -> String {
    let header = &plan.header;
    let state = if header.lineage.is_empty() {
        "nothing recorded yet".to_owned()
    } else {
        format!(
            "state {}, {}",
            header.serial,
            count(shown.recorded, "resource", "resources")
        )
    };
    let what = if header.mode == Mode::Destroy {
        "   destroy"
    } else {
        ""
    };
    format!(
        "{}   {}   {}{}\n",
        shown.paint.bold(&format!("{}/{}", header.project, header.stack)),
        header.world,
        shown.paint.dim(&state),
        shown.paint.red(what),
    )
}

fn summary(tally: &Tally, plan: &Plan, shown: Shown<'_>) -> String {
    let paint = shown.paint;
    let mut parts = Vec::new();
    let mut part = |n: usize, word: &str, color: fn(Paint, &str) -> String| {
        if n > 0 {
            parts.push(color(paint, &format!("{n} to {word}")));
        }
    };
    part(tally.create, "create", Paint::green);
    part(tally.update, "update", Paint::yellow);
    part(tally.replace, "replace", Paint::yellow);
    part(tally.delete, "delete", Paint::red);
    part(tally.import, "import", Paint::cyan);
    part(tally.adopt, "adopt", Paint::cyan);
    part(tally.read, "look up", Paint::cyan);
    part(tally.forget, "forget", Paint::yellow);
    part(tally.record, "record anew", Paint::dim);
    if tally.record_providers > 0 {
        let providers = count(tally.record_providers, "provider", "providers");
        parts.push(paint.dim(&format!("{providers} to record anew")));
    }
    if tally.drifted > 0 {
        let undone = plan.steps.iter().any(|step| step.undo_drift);
        let keeps = if undone {
            " (--refresh=accept keeps it)"
        } else {
            ""
        };
        parts.push(paint.yellow(&format!("{} drifted{keeps}", tally.drifted)));
    }
    let only_recorded = plan
        .steps
        .iter()
        .filter(|step| step.action == Action::Drop)
        .count();
    if parts.is_empty() && only_recorded > 0 {
        // A lookup, a connection, or what is gone.
        let records = count(only_recorded, "record", "records");
        return format!("{records} to forget; nothing in a cloud changes");
    }
    if parts.is_empty() {
        let nothing = match plan.header.mode {
            Mode::Up => count(tally.unchanged, "resource", "resources"),
            Mode::Destroy => return "nothing to delete".to_owned(),
        };
        let so = if shown.refreshes { "recorded" } else { "declared" };
        return format!("no changes, {nothing} as {so}");
    }
    if tally.unchanged > 0 {
        parts.push(format!("{} unchanged", tally.unchanged));
    }
    parts.join(", ")
}

fn time(plan: &Plan, estimate: &Estimate, shown: Shown<'_>) -> Option<String> {
    if estimate.total.as_secs() < 2 {
        return None;
    }
    let mut steps: Vec<&Step> = estimate.path.iter().filter_map(|id| plan.step(*id)).collect();
    // What takes a moment explains nothing.
    steps.retain(|s| s.expected * 20 >= estimate.total);
    let mut names: Vec<&str> = steps.iter().map(|s| &*s.address).collect();
    names.dedup();
    let mut line = format!("about {}", duration(estimate.total));
    if names.len() > 1 {
        line.push_str("; longest path ");
        line.push_str(&names.join(" → "));
    }
    Some(shown.fitted(&line, shown.width.saturating_sub(2)))
}
