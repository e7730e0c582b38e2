//! Decides what leaves, and in which order: dependents first, and what dies with its container not one by one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use epid_provider::{Key, Urn};

use super::planner::{Planner, Replaced};
use super::problem::PlanProblem;
use super::step::{Action, Facts, Step, StepId};
use crate::expression::Span;
use crate::graph::provider_type;
use crate::state::{Entry, RecordKey, Role};

/// One record that leaves.
struct Removal<'a> {
    entry: &'a Entry,
    action: Action,
    /// The step that was made for it already (a vacate), or will be.
    step: Option<u32>,
    /// The replacement it belongs to.
    replacement: Option<u32>,
    /// The removal it is carried by.
    carried_by: Option<usize>,
}

/// Adds the steps of everything that leaves.
pub(super) fn plan(planner: &mut Planner<'_>) {
    let mut removals = collect(planner);
    let by_key: BTreeMap<RecordKey, usize> = removals
        .iter()
        .enumerate()
        .map(|(at, r)| (r.entry.key_of(), at))
        .collect();
    let dependents = dependents(planner);
    carry(planner, &mut removals);
    for removal in &mut removals {
        make_step(planner, removal);
    }
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
        let after = befores(planner, &removals, &by_key, &dependents, at, step);
        planner.steps[step as usize].after.extend(after);
    }
}

fn collect<'a>(planner: &mut Planner<'a>) -> Vec<Removal<'a>> {
    let mut removals = Vec::new();
    let kept = held_keys(planner);
    for entry in planner.request.snapshot.entries.values().map(|entry| &**entry) {
        let urn = &entry.record.urn;
        if planner.claimed.contains(&entry.key_of()) || !planner.selected(urn) {
            continue;
        }
        let schema = planner.request.providers.schema(&entry.record.kind);
        let in_cloud = provider_type(&entry.record.kind).is_none() && schema.is_none_or(|s| !s.lookup);
        let held = entry
            .key
            .as_ref()
            .is_some_and(|key| kept.contains(&(entry.provider.as_ref().map(|p| p.urn.clone()), key.clone())));
        let action = match entry.role {
            Role::Vacant => Action::Forget,
            _ if !in_cloud || held || entry.retain_on_delete => Action::Forget,
            _ => Action::Delete,
        };
        if action == Action::Delete && entry.protect && entry.role == Role::Live {
            let message = format!("`{}` is protected and would be deleted", urn.path());
            let hint = format!(
                "keep it in the program, or `epid state unprotect {}` first",
                urn.path()
            );
            planner
                .problems
                .push(PlanProblem::new(Some(urn), Span::NONE, message).hint(hint));
        }
        removals.push(Removal {
            entry,
            action,
            step: None,
            replacement: None,
            carried_by: None,
        });
    }
    for (entry, step, order) in std::mem::take(&mut planner.outgoing) {
        let removal = Removal {
            entry,
            action: Action::Vacate,
            step: Some(step),
            replacement: None,
            carried_by: None,
        };
        removals.push(match order {
            Replaced::DeleteFirst => removal,
            _ => {
                let provider = provider_type(&entry.record.kind).is_some();
                let leave = provider || entry.retain_on_delete;
                let action = if leave { Action::Forget } else { Action::Delete };
                Removal {
                    action,
                    step: None,
                    replacement: Some(step),
                    ..removal
                }
            }
        });
    }
    removals
}

/// What the cloud calls the resources that stay: nothing of that name may be deleted.
fn held_keys(planner: &Planner<'_>) -> HashSet<(Option<Urn>, Key)> {
    let nodes = planner.request.graph.nodes().filter_map(|node| {
        let provider = planner.request.providers.of(&node.kind)?;
        let decided = planner.decided.get(&node.urn)?;
        let key = provider.identity(&node.kind, &decided.known.inputs)?;
        Some((node.provider.clone(), key))
    });
    nodes.collect()
}

/// Who depends on a resource, by record.
fn dependents<'a>(planner: &Planner<'a>) -> HashMap<&'a Urn, Vec<&'a Entry>> {
    let mut found: HashMap<&Urn, Vec<&Entry>> = HashMap::new();
    for entry in planner.request.snapshot.entries.values().map(|entry| &**entry) {
        for urn in needs(entry) {
            found.entry(urn).or_default().push(entry);
        }
    }
    found
}

fn needs(entry: &Entry) -> BTreeSet<&Urn> {
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

/// Lets what dies with its container be carried by the container's removal.
///
/// Not carried: what has effects outside, is served by something, stays in the cloud, or stands (through something
/// that is not carried) on what needs the container to be removed later.
fn carry(planner: &Planner<'_>, removals: &mut [Removal<'_>]) {
    let by_urn: HashMap<&Urn, usize> = removals
        .iter()
        .enumerate()
        .map(|(at, r)| (&r.entry.record.urn, at))
        .collect();
    let container = |removal: &Removal<'_>| -> Option<usize> {
        let at = *by_urn.get(removal.entry.deleted_with.as_ref()?)?;
        let certain = matches!(removals[at].action, Action::Delete | Action::Vacate)
            && removals[at].replacement.is_none()
            && removals[at]
                .step
                .is_none_or(|s| planner.steps[s as usize].only_if_replaced.is_none());
        certain.then_some(at)
    };
    let mut carriers: Vec<Option<usize>> = removals
        .iter()
        .map(|r| {
            let free = !r.entry.outside && r.entry.served_by.is_empty() && !r.entry.retain_on_delete;
            let touches = matches!(r.action, Action::Delete | Action::Vacate) && !r.entry.protect;
            if free && touches { container(r) } else { None }
        })
        .collect();
    let below = below(removals, &by_urn);
    let order = dependencies_first(&below);
    let roots: BTreeSet<usize> = carriers.iter().flatten().copied().collect();
    let roots: Vec<usize> = roots.into_iter().collect();
    let mut connections: BTreeSet<(usize, usize)> = BTreeSet::new();
    for roots in roots.chunks(BLOCK) {
        hold(removals, &below, &order, roots, &mut carriers, &mut connections);
    }
    for (removal, carrier) in removals.iter_mut().zip(carriers) {
        removal.carried_by = carrier;
    }
    carry_connections(removals, &connections);
}

/// Roots that one walk over the removals takes: the bits of a word.
const BLOCK: usize = u64::BITS as usize;

/// Takes from the containers `roots` (at most [`BLOCK`]) what they cannot carry, and finds the providers that connect to
/// them. Each has a bit, so that one walk over the edges answers for all.
fn hold(
    removals: &[Removal<'_>],
    below: &[Vec<usize>],
    order: &[usize],
    roots: &[usize],
    carriers: &mut [Option<usize>],
    connections: &mut BTreeSet<(usize, usize)>,
) {
    let mut bits = vec![0_u64; removals.len()];
    for (nth, root) in roots.iter().enumerate() {
        bits[*root] = 1 << nth;
    }
    let bit = |root: Option<usize>| root.map_or(0, |root| bits[root]);
    let is_provider = |at: usize| provider_type(&removals[at].entry.record.kind).is_some();
    // `above`: removed before the root because it needs it. `held`: must be removed by itself all the same.
    let mut above = vec![0_u64; removals.len()];
    let mut held = vec![0_u64; removals.len()];
    for &at in order {
        for &under in &below[at] {
            above[at] |= above[under];
            let alone = !bit(carriers[under]) | held[under];
            // A provider has nothing to be removed; what is behind it stands on what it stands on.
            let stands = if is_provider(under) { held[under] } else { alone };
            held[at] |= above[under] & !bits[under] & stands;
        }
        (above[at], held[at]) = (above[at] | bits[at], held[at] & !bits[at]);
        if held[at] & bit(carriers[at]) != 0 {
            carriers[at] = None;
        }
        if above[at] != 0 && is_provider(at) {
            let connected = roots.iter().filter(|root| above[at] & bits[**root] != 0);
            connections.extend(connected.map(|root| (at, *root)));
        }
    }
}

/// The record of a provider that connects to a container goes with it, where the container carries its records.
fn carry_connections(removals: &mut [Removal<'_>], connections: &BTreeSet<(usize, usize)>) {
    let carrying: BTreeSet<(RecordKey, usize)> = removals
        .iter()
        .filter_map(|r| Some((r.entry.provider.clone()?, r.carried_by?)))
        .collect();
    for &(at, root) in connections {
        let removal = &mut removals[at];
        let leaves = removal.action == Action::Forget && removal.replacement.is_none();
        if leaves && carrying.contains(&(removal.entry.key_of(), root)) {
            removal.carried_by = Some(root);
        }
    }
}

/// What each removal stands on among the others.
fn below(removals: &[Removal<'_>], by_urn: &HashMap<&Urn, usize>) -> Vec<Vec<usize>> {
    let found = removals.iter().enumerate().map(|(own, removal)| {
        let needs = needs(removal.entry).into_iter();
        let below = needs.filter_map(|urn| by_urn.get(urn).copied());
        below.filter(|at| *at != own).collect()
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
    let step = Step {
        id: StepId(0),
        action: removal.action,
        target: entry.key_of(),
        address: entry.record.urn.path().into(),
        kind: entry.record.kind.clone(),
        after: removal.replacement.map(StepId).into_iter().collect(),
        only_if_replaced: removal.replacement.map(StepId),
        undo_drift: false,
        desired: None,
        changes: Vec::new(),
        from: None,
        takes: Vec::new(),
        provider: entry.provider.as_ref().map(|p| p.urn.clone()),
        facts: Facts::of(entry),
        expected: if removal.action == Action::Forget {
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

/// The steps that must come before the removal `at`, done by `step`: those of its dependents.
fn befores(
    planner: &Planner<'_>,
    removals: &[Removal<'_>],
    by_key: &BTreeMap<RecordKey, usize>,
    dependents: &HashMap<&Urn, Vec<&Entry>>,
    at: usize,
    step: u32,
) -> Vec<StepId> {
    let removal = &removals[at];
    let mut before = Vec::new();
    for dependent in dependents.get(&removal.entry.record.urn).into_iter().flatten() {
        if let Some(&own) = by_key.get(&dependent.key_of()) {
            let carrier = top(removals, own).and_then(|top| removals[top].step);
            before.extend(carrier.filter(|s| *s != step).map(StepId));
        }
        let stays = planner.claimed.contains(&dependent.key_of());
        if stays && removal.action != Action::Vacate && planner.steps[step as usize].action != Action::Vacate
        {
            let now = planner.request.graph.node(&dependent.record.urn).map(|n| &n.urn);
            let moved = now.and_then(|urn| planner.decided.get(urn)).and_then(|d| d.step);
            before.extend(moved.filter(|s| *s != step).map(StepId));
        }
    }
    before
}
