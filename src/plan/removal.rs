//! Decides what leaves, and in which order: dependents first, and what dies with its container not one by one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use epid_provider::{Key, Observed, Urn};

use super::carry::{BLOCK, carry};
use super::held;
use super::marks::quoted;
use super::planner::{Outgoing, Planner, Replaced};
use super::problem::PlanProblem;
use super::step::{Action, Drift, Facts, Mode, Step, StepId};
use crate::expression::Span;
use crate::graph::provider_type;
use crate::state::{Entry, Realm, RecordKey, Role};

/// One record that leaves.
pub(super) struct Removal<'a> {
    pub(super) entry: &'a Entry,
    pub(super) action: Action,
    /// The step that was made for it already (a vacate), or will be.
    pub(super) step: Option<u32>,
    /// The step that makes its successor, or changes it in place if it need not be replaced.
    pub(super) replacement: Option<u32>,
    /// The steps of which any decides whether it leaves; empty where it does.
    pub(super) decide: Vec<u32>,
    /// The removal it is carried by.
    pub(super) carried_by: Option<usize>,
}

impl<'a> Removal<'a> {
    fn new(entry: &'a Entry, action: Action) -> Self {
        Self {
            entry,
            action,
            step: None,
            replacement: None,
            decide: Vec::new(),
            carried_by: None,
        }
    }
}

/// The removals by resource: one that lives, or did until now, and one that was replaced before.
#[derive(Default)]
pub(super) struct ByUrn<'a> {
    live: HashMap<&'a Urn, usize>,
    condemned: HashMap<&'a Urn, usize>,
    /// Providers that were replaced before: what was made through them is as old.
    old: HashSet<RecordKey>,
}

impl<'a> ByUrn<'a> {
    fn of(removals: &[Removal<'a>]) -> Self {
        let mut found = Self::default();
        for (at, removal) in removals.iter().enumerate() {
            let urn = &removal.entry.record.urn;
            if removal.entry.role == Role::Condemned && provider_type(&removal.entry.record.kind).is_some() {
                found.old.insert(removal.entry.key_of());
            }
            match removal.entry.role {
                Role::Condemned => found.condemned.insert(urn, at),
                Role::Live | Role::Vacant => found.live.insert(urn, at),
            };
        }
        found
    }

    /// What a record refers to by that name: of its own age where there is one.
    pub(super) fn get(&self, from: &Entry, urn: &Urn) -> Option<usize> {
        let old = from
            .provider
            .as_ref()
            .is_some_and(|provider| self.old.contains(provider));
        let (own, other) = if old || from.role == Role::Condemned {
            (&self.condemned, Some(&self.live))
        } else {
            (&self.live, None)
        };
        own.get(urn).or_else(|| other?.get(urn)).copied()
    }
}

/// Adds the steps of everything that leaves.
pub(super) fn plan(planner: &mut Planner<'_>) {
    let dependents = dependents(planner);
    let mut removals = collect(planner, &dependents);
    let by_key: BTreeMap<RecordKey, usize> = removals
        .iter()
        .enumerate()
        .map(|(at, r)| (r.entry.key_of(), at))
        .collect();
    let by_urn = ByUrn::of(&removals);
    let below = below(&removals, &by_key, &by_urn);
    let order = dependencies_first(&below);
    carry(planner, &mut removals, &by_urn, &below, &order);
    for removal in &mut removals {
        make_step(planner, removal);
    }
    let mut waits: Vec<Vec<StepId>> = (0..removals.len())
        .map(|at| befores(planner, &removals, &by_key, &by_urn, &dependents, at))
        .collect();
    drop_too_late(planner, &removals, &below, &order, &mut waits);
    for at in 0..removals.len() {
        let Some(carrier) = top(&removals, at) else {
            continue;
        };
        let Some(step) = removals[carrier].step else {
            continue;
        };
        if carrier != at {
            planner.steps[step as usize]
                .takes
                .push(removals[at].entry.key_of());
            if let Some(own) = removals[at].step {
                let kept = &mut planner.steps[own as usize];
                kept.action = Action::Nothing;
                kept.expected = Duration::ZERO;
                kept.after.push(StepId(step));
            }
        }
        planner.steps[step as usize].after.append(&mut waits[at]);
        make_room(planner, &removals[at], step);
    }
    check_kept(planner, &removals);
    check_selection(planner, &removals, &by_key, &dependents);
    held::check(planner, &removals, &by_key, &dependents);
}

/// Nothing may be removed under what the run leaves alone.
fn check_selection(
    planner: &mut Planner<'_>,
    removals: &[Removal<'_>],
    by_key: &BTreeMap<RecordKey, usize>,
    dependents: &HashMap<&Urn, Vec<&Entry>>,
) {
    for removal in removals {
        if !matches!(removal.action, Action::Delete | Action::Vacate) || removal.entry.role != Role::Live {
            continue;
        }
        let urn = &removal.entry.record.urn;
        let left = dependents
            .get(urn)
            .into_iter()
            .flatten()
            .filter(|entry| !by_key.contains_key(&entry.key_of()) && is_left_alone(planner, entry));
        let left: BTreeSet<&str> = left.map(|entry| entry.urn().path()).collect();
        if left.is_empty() {
            continue;
        }
        let need = if left.len() == 1 { "needs" } else { "need" };
        let left: Vec<String> = left.iter().map(|path| format!("`{path}`")).collect();
        let left = left.join(", ");
        let message = format!(
            "`{}` would be removed, but {left}, which this run leaves alone, {need} it",
            urn.path()
        );
        planner.problems.push(
            PlanProblem::new(Some(urn), Span::NONE, message)
                .hint("take them into the run too, or run without --target and --exclude"),
        );
    }
}

/// True for a live resource that the run is not about. A connection is only a way to what is behind it.
pub(super) fn is_left_alone(planner: &Planner<'_>, entry: &Entry) -> bool {
    let resource = provider_type(&entry.record.kind).is_none();
    let now = planner
        .claimed
        .get(&entry.key_of())
        .copied()
        .unwrap_or(entry.urn());
    resource && entry.role == Role::Live && !planner.selected(now)
}

/// What is removed goes before something else is made under its name.
fn make_room(planner: &mut Planner<'_>, removal: &Removal<'_>, step: u32) {
    let entry = removal.entry;
    let (Some(key), true) = (&entry.key, entry.role != Role::Vacant) else {
        return;
    };
    let realm = planner.request.snapshot.realm(entry.provider.as_ref());
    let Some(maker) = planner.made_keys.get(&(realm, key.clone())) else {
        return;
    };
    if planner.claimed.get(&entry.key_of()) == Some(&maker) {
        return;
    }
    if let Some(maker) = planner.decided.get(maker).and_then(|d| d.step) {
        planner.steps[maker as usize].after.push(StepId(step));
    }
}

/// Nothing that stays in the cloud may be in what is deleted.
fn check_kept(planner: &mut Planner<'_>, removals: &[Removal<'_>]) {
    let by_urn = ByUrn::of(removals);
    // What is forgotten and not retained is another stack's.
    let stays = |r: &&Removal<'_>| match r.action {
        Action::Forget => true,
        Action::Vacate => r.entry.retain_on_delete,
        _ => false,
    };
    for removal in removals.iter().filter(stays) {
        let container = removal.entry.deleted_with.as_ref();
        let Some(container) = container.and_then(|urn| by_urn.get(removal.entry, urn)) else {
            continue;
        };
        if matches!(removals[container].action, Action::Delete | Action::Vacate) {
            let (kept, gone) = (&removal.entry.record.urn, &removals[container].entry.record.urn);
            let (kept_path, gone_path) = (kept.path(), gone.path());
            let (why, hint) = if removal.entry.retain_on_delete {
                let hint =
                    format!("retain `{gone_path}` too, or take retainOnDelete off `{kept_path}` first");
                ("is retained", hint)
            } else {
                let hint = format!("keep `{gone_path}` as long as it holds something of another stack");
                ("belongs to another stack", hint)
            };
            let message = format!("`{kept_path}` {why}, but `{gone_path}`, which it is in, would be deleted");
            planner
                .problems
                .push(PlanProblem::new(Some(kept), Span::NONE, message).hint(hint));
        }
    }
}

fn collect<'a>(planner: &mut Planner<'a>, dependents: &HashMap<&Urn, Vec<&Entry>>) -> Vec<Removal<'a>> {
    let mut removals = Vec::new();
    let kept = held_keys(planner);
    for entry in planner.request.snapshot.entries.values().map(|entry| &**entry) {
        let urn = &entry.record.urn;
        if planner.claimed.contains_key(&entry.key_of()) || !planner.leaves(urn) {
            continue;
        }
        // What the run leaves alone may need the old one still.
        let mut above = dependents.get(urn).into_iter().flatten();
        let needs_it = |above: &Entry| !is_of_another(above, entry) && is_left_alone(planner, above);
        if entry.role == Role::Condemned && above.any(|above| needs_it(above)) {
            continue;
        }
        let schema = planner.request.providers.schema(&entry.record.kind);
        let in_cloud = provider_type(&entry.record.kind).is_none() && schema.is_none_or(|s| !s.lookup);
        let realm = planner.request.snapshot.realm(entry.provider.as_ref());
        let name = entry.key.clone().map(|key| (realm, key));
        let held = name.is_some_and(|name| kept.contains(&name));
        let action = match entry.role {
            Role::Vacant => Action::Drop,
            _ if is_gone(planner, entry) => {
                let absent = matches!(planner.request.observed.get(urn), Some(Observed::Absent));
                if absent && entry.role == Role::Live && planner.request.mode == Mode::Up {
                    planner.drift.push(Drift::gone(urn));
                }
                Action::Drop
            }
            _ if !in_cloud || held => Action::Drop,
            Role::Live if planner.is_anothers(entry) => Action::Forget,
            _ if entry.retain_on_delete => Action::Forget,
            _ => Action::Delete,
        };
        if action == Action::Delete && entry.protect && entry.role == Role::Live {
            let message = format!("`{}` is protected and would be deleted", urn.path());
            let keep = match planner.request.mode {
                Mode::Up => "keep it in the program, or ",
                Mode::Destroy => "",
            };
            let hint = format!("{keep}`epid state unprotect {}` first", quoted(urn.path()));
            planner
                .problems
                .push(PlanProblem::new(Some(urn), Span::NONE, message).hint(hint));
        }
        removals.push(Removal::new(entry, action));
    }
    for (entry, outgoing) in std::mem::take(&mut planner.outgoing) {
        let provider = provider_type(&entry.record.kind).is_some();
        let leave = match entry.retain_on_delete {
            _ if provider => Action::Drop,
            true => Action::Forget,
            false => Action::Delete,
        };
        removals.push(match outgoing {
            Outgoing::Vacated { vacate, else_kept } => Removal {
                step: Some(vacate),
                replacement: else_kept,
                ..Removal::new(entry, Action::Vacate)
            },
            Outgoing::After(step) => Removal {
                replacement: Some(step),
                ..Removal::new(entry, leave)
            },
            Outgoing::Before => Removal {
                decide: planner
                    .decided
                    .get(&entry.record.urn)
                    .map_or_else(Vec::new, |d| d.decide.clone()),
                ..Removal::new(entry, leave)
            },
        });
    }
    removals
}

/// True where nothing is left of what a record is of: that was seen, or it was made through a connection into what is gone.
fn is_gone(planner: &Planner<'_>, entry: &Entry) -> bool {
    match entry.role {
        Role::Live => planner.gone.contains(entry.urn()),
        Role::Condemned => {
            let provider = entry.provider.as_ref();
            let provider = provider.and_then(|key| planner.request.snapshot.get(key));
            let into = provider
                .filter(|p| p.role == Role::Live)
                .and_then(|p| p.deleted_with.as_ref());
            into.is_some_and(|urn| planner.gone.contains(urn))
        }
        Role::Vacant => false,
    }
}

/// What the cloud calls the resources that are there and stay: nothing of that name may be deleted.
fn held_keys(planner: &Planner<'_>) -> HashSet<(Realm, Key)> {
    let graph = planner.request.graph;
    let claimed = planner.claimed.iter().filter_map(|(record, urn)| {
        let entry = planner.request.snapshot.get(record)?;
        let stays = planner.decided.get(*urn)?.replaced == Replaced::No && graph.node(urn).is_some();
        let key = entry.key.clone().filter(|_| stays && entry.role == Role::Live)?;
        Some((planner.request.snapshot.realm(entry.provider.as_ref()), key))
    });
    claimed.collect()
}

/// Who depends on a resource, by record. Of what is vacant there is nothing that could.
fn dependents<'a>(planner: &Planner<'a>) -> HashMap<&'a Urn, Vec<&'a Entry>> {
    let mut found: HashMap<&Urn, Vec<&Entry>> = HashMap::new();
    let entries = planner.request.snapshot.entries.values().map(|entry| &**entry);
    for entry in entries.filter(|entry| entry.role != Role::Vacant) {
        for urn in needs(entry) {
            found.entry(urn).or_default().push(entry);
        }
    }
    found
}

/// True for what was made through another generation of a provider.
fn is_of_another(dependent: &Entry, provider: &Entry) -> bool {
    let through = dependent
        .provider
        .as_ref()
        .filter(|through| through.urn == provider.record.urn);
    through.is_some_and(|through| *through != provider.key_of())
}

/// Everything a record stands on.
pub(super) fn needs(entry: &Entry) -> BTreeSet<&Urn> {
    let edges = entry
        .dependencies
        .iter()
        .chain(&entry.served_by)
        .chain(&entry.deleted_with);
    edges
        .chain(entry.provider.as_ref().map(|p| &p.urn))
        .filter(|urn| **urn != entry.record.urn)
        .collect()
}

/// Takes out what a removal cannot wait for: what is deleted first, or goes before something that is, goes before everything
/// that follows from making that again, even where that is the change of what still needs it. Deletes that would be so late
/// are waited for in vain: a problem that is told.
fn drop_too_late(
    planner: &Planner<'_>,
    removals: &[Removal<'_>],
    below: &[Vec<usize>],
    order: &[usize],
    waits: &mut [Vec<StepId>],
) {
    let again = removals.iter().enumerate().filter_map(|(at, removal)| {
        let urn = planner.claimed.get(&removal.entry.key_of())?;
        let refill = planner.decided.get(*urn)?.step?;
        (removal.action == Action::Vacate).then_some((at, refill))
    });
    let again: Vec<(usize, u32)> = again.collect();
    for block in again.chunks(BLOCK) {
        let mut early = vec![0_u64; removals.len()];
        let mut late = vec![0_u64; planner.steps.len()];
        for (nth, (at, refill)) in block.iter().enumerate() {
            early[*at] |= 1 << nth;
            late[*refill as usize] |= 1 << nth;
        }
        for &at in order {
            early[at] |= below[at].iter().fold(0, |all, under| all | early[*under]);
        }
        // Steps were made dependencies first.
        for (at, step) in planner.steps.iter().enumerate() {
            late[at] |= step
                .after
                .iter()
                .fold(0, |all, before| all | late[before.0 as usize]);
        }
        for (at, waits) in waits.iter_mut().enumerate() {
            waits.retain(|step| {
                let step = step.0 as usize;
                planner.steps[step].action == Action::Delete || early[at] & late[step] == 0
            });
        }
    }
}

/// What each removal stands on among the others, whatever its age: which of two is meant is not recorded. Only what it is
/// in is of its own age.
fn below(
    removals: &[Removal<'_>],
    by_key: &BTreeMap<RecordKey, usize>,
    by_urn: &ByUrn<'_>,
) -> Vec<Vec<usize>> {
    let mut all: HashMap<&Urn, Vec<usize>> = HashMap::new();
    for (at, removal) in removals.iter().enumerate() {
        all.entry(&removal.entry.record.urn).or_default().push(at);
    }
    let found = removals.iter().enumerate().map(|(own, removal)| {
        let entry = removal.entry;
        let mut below = Vec::new();
        for urn in needs(entry) {
            match &entry.provider {
                Some(provider) if provider.urn == *urn => below.extend(by_key.get(provider)),
                _ if entry.deleted_with.as_ref() == Some(urn) => below.extend(by_urn.get(entry, urn)),
                _ => below.extend(all.get(urn).into_iter().flatten()),
            }
        }
        below.retain(|at| *at != own);
        below
    });
    found.collect()
}

fn dependencies_first(below: &[Vec<usize>]) -> Vec<usize> {
    let after: Vec<Vec<u32>> = below
        .iter()
        .map(|below| below.iter().filter_map(|at| u32::try_from(*at).ok()).collect())
        .collect();
    match crate::graph::sort(&after) {
        Ok(sorted) => sorted.into_iter().map(|at| at as usize).collect(),
        Err(_) => (0..below.len()).collect(),
    }
}

/// The removal that carries another one, through all containers.
fn top(removals: &[Removal<'_>], at: usize) -> Option<usize> {
    let mut carrier = at;
    for _ in 0..=removals.len() {
        match removals.get(carrier)?.carried_by {
            Some(above) => carrier = above,
            None => return Some(carrier),
        }
    }
    None
}

fn make_step(planner: &mut Planner<'_>, removal: &mut Removal<'_>) {
    if removal.step.is_some() || removal.carried_by.is_some() {
        return;
    }
    let entry = removal.entry;
    let schema = planner.request.providers.schema(&entry.record.kind);
    let (expected, timeout) = schema
        .as_ref()
        .map_or((Duration::ZERO, Duration::from_secs(600)), |s| {
            (s.expected.delete, s.timeouts.delete)
        });
    let deciding = removal.replacement.iter().chain(&removal.decide);
    let deciding: Vec<StepId> = deciding.copied().map(StepId).collect();
    let step = Step {
        id: StepId(0),
        action: removal.action,
        target: entry.key_of(),
        address: entry.record.urn.path().into(),
        kind: entry.record.kind.clone(),
        after: deciding.clone(),
        only_if_replaced: deciding,
        replaced_with: None,
        leftover: entry.role == Role::Condemned,
        undo_drift: false,
        unmarked: false,
        gone: removal.action == Action::Drop && is_gone(planner, entry),
        found: None,
        desired: None,
        changes: Vec::new(),
        options: Vec::new(),
        unfinished: Vec::new(),
        from: None,
        takes: Vec::new(),
        provider: entry.provider.as_ref().map(|p| p.urn.clone()),
        facts: Facts::of(entry),
        expected: if matches!(removal.action, Action::Forget | Action::Drop) {
            Duration::ZERO
        } else {
            expected
        },
        timeout: entry.timeouts.delete.unwrap_or(timeout),
        mutex: schema.and_then(|s| s.mutex.as_ref().map(|m| (m.class.clone(), m.property.clone()))),
        source: entry.source.clone(),
    };
    removal.step = Some(planner.push(step));
}

/// The steps that must come before the removal `at`: those of its dependents.
fn befores(
    planner: &Planner<'_>,
    removals: &[Removal<'_>],
    by_key: &BTreeMap<RecordKey, usize>,
    by_urn: &ByUrn<'_>,
    dependents: &HashMap<&Urn, Vec<&Entry>>,
    at: usize,
) -> Vec<StepId> {
    let removal = &removals[at];
    let mut before = Vec::new();
    let ends = |own: usize| top(removals, own).and_then(|top| removals[top].step);
    let Some(step) = ends(at) else {
        return before;
    };
    for dependent in dependents.get(&removal.entry.record.urn).into_iter().flatten() {
        if is_of_another(dependent, removal.entry) {
            continue;
        }
        let leaving = by_key.get(&dependent.key_of());
        if let Some(&own) = leaving {
            // Even where it goes with something else, it is there until its successor is made.
            let successor = removals[own].replacement;
            before.extend(successor.filter(|s| *s != step).map(StepId));
            let carried = removals[own].carried_by.is_some();
            // What goes with its container needed what is of its own age: two generations would wait for each other.
            if carried && by_urn.get(dependent, &removal.entry.record.urn) != Some(at) {
                continue;
            }
            let through = |entry: &&&Entry| entry.provider == Some(dependent.key_of());
            let behind = dependents
                .get(&dependent.record.urn)
                .into_iter()
                .flatten()
                .filter(through);
            // A connection is needed by what is removed through it one by one; what goes with its cluster may leave
            // before its record does.
            let goes_along = |entry: &&&Entry| {
                let own = by_key
                    .get(&entry.key_of())
                    .filter(|own| removals[**own].carried_by.is_some());
                own.and_then(|own| ends(*own)) == Some(step)
            };
            if provider_type(&dependent.record.kind).is_some()
                && (carried || behind.clone().any(|e| goes_along(&e)))
            {
                let behind = behind.filter_map(|entry| by_key.get(&entry.key_of()));
                let alone = behind
                    .filter_map(|other| ends(*other))
                    .filter(|end| Some(*end) != ends(own));
                before.extend(alone.filter(|s| *s != step).map(StepId));
            } else {
                before.extend(ends(own).filter(|s| *s != step).map(StepId));
            }
        }
        if leaving.is_none()
            && let Some(now) = planner.claimed.get(&dependent.key_of())
        {
            let moved = planner.decided.get(*now).and_then(|d| d.step);
            before.extend(moved.filter(|s| *s != step).map(StepId));
        }
    }
    before
}
