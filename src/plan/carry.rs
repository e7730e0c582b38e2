//! What dies with its container, and so is not removed one by one.

use std::collections::{BTreeSet, HashMap};

use super::planner::Planner;
use super::removal::{ByUrn, Removal};
use super::step::Action;
use crate::graph::provider_type;
use crate::state::RecordKey;

/// Lets what dies with its container be carried by the container's removal.
///
/// Not carried: what has effects outside, is served by something, stays in the cloud, or stands (through something
/// that is not carried) on what needs the container to be removed later.
pub(super) fn carry(
    planner: &Planner<'_>,
    removals: &mut [Removal<'_>],
    by_urn: &ByUrn<'_>,
    below: &[Vec<usize>],
    order: &[usize],
) {
    let container = |removal: &Removal<'_>| -> Option<usize> {
        let at = by_urn.get(removal.entry, removal.entry.deleted_with.as_ref()?)?;
        let certain = matches!(removals[at].action, Action::Delete | Action::Vacate)
            && removals[at].replacement.is_none()
            && removals[at]
                .step
                .is_none_or(|s| planner.steps[s as usize].only_if_replaced.is_empty());
        certain.then_some(at)
    };
    let mut carriers: Vec<Option<usize>> = removals
        .iter()
        .map(|r| {
            let free = !r.entry.outside && r.entry.served_by.is_empty() && !r.entry.retain_on_delete;
            let touches = match r.action {
                Action::Delete => true,
                // What perhaps stays is not given up with what it was in.
                Action::Vacate => r.replacement.is_none(),
                _ => false,
            };
            if free && touches && !r.entry.protect {
                container(r)
            } else {
                None
            }
        })
        .collect();
    let roots: BTreeSet<usize> = carriers.iter().flatten().copied().collect();
    let roots: Vec<usize> = roots.into_iter().collect();
    let mut connections: BTreeSet<(usize, usize)> = BTreeSet::new();
    // What one root cannot carry may stand under what another carries.
    loop {
        let before = carriers.clone();
        for roots in roots.chunks(BLOCK) {
            hold(removals, below, order, roots, &mut carriers, &mut connections);
        }
        if carriers == before {
            break;
        }
    }
    for (removal, carrier) in removals.iter_mut().zip(carriers) {
        removal.carried_by = carrier;
    }
    carry_connections(removals, &connections);
}

/// What one walk over the removals answers for: the bits of a word.
pub(super) const BLOCK: usize = u64::BITS as usize;

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
    // With what each goes at last, through all containers, and the roots that go with it.
    let mut tops: Vec<usize> = (0..removals.len()).collect();
    let mut together: HashMap<usize, u64> = HashMap::new();
    let is_provider = |at: usize| provider_type(&removals[at].entry.record.kind).is_some();
    // `above`: removed before the root because it needs it. `held`: must be removed by itself all the same.
    let mut above = vec![0_u64; removals.len()];
    let mut held = vec![0_u64; removals.len()];
    for &at in order {
        for &under in &below[at] {
            above[at] |= above[under];
            let along = carriers[under].map_or(0, |root| {
                bits[root] | together.get(&tops[root]).copied().unwrap_or_default()
            });
            let alone = !along | held[under];
            // What a connection stands on waits for what is removed through it one by one, and for nothing else.
            let stands = if is_provider(under) { 0 } else { alone };
            held[at] |= above[under] & !bits[under] & stands;
        }
        (above[at], held[at]) = (above[at] | bits[at], held[at] & !bits[at]);
        if carriers[at].is_some_and(|root| held[at] & bits[root] != 0) {
            carriers[at] = None;
        }
        tops[at] = carriers[at].map_or(at, |root| tops[root]);
        *together.entry(tops[at]).or_default() |= bits[at];
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
        let leaves =
            removal.action == Action::Drop && removal.replacement.is_none() && removal.decide.is_empty();
        if leaves && carrying.contains(&(removal.entry.key_of(), root)) {
            removal.carried_by = Some(root);
        }
    }
}
