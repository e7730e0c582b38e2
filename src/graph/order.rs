//! Orders things: each after those it waits for, ties broken by the order they were made in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

/// Sorts `0..after.len()` so that everything in `after[i]` comes before `i`, smallest first among the ready.
///
/// # Errors
/// A cycle of each knot, in order.
pub(crate) fn sort(after: &[Vec<u32>]) -> Result<Vec<u32>, Vec<Vec<u32>>> {
    let mut graph: DiGraph<(), (), u32> = DiGraph::with_capacity(after.len(), 0);
    for _ in after {
        graph.add_node(());
    }
    let mut waiting: Vec<u32> = vec![0; after.len()];
    for (thing, befores) in (0u32..).zip(after) {
        for &before in befores {
            graph.add_edge(NodeIndex::from(before), NodeIndex::from(thing), ());
            waiting[thing as usize] += 1;
        }
    }
    let mut ready: BinaryHeap<Reverse<u32>> = (0u32..)
        .zip(&waiting)
        .filter(|(_, w)| **w == 0)
        .map(|(thing, _)| Reverse(thing))
        .collect();
    let mut sorted = Vec::with_capacity(after.len());
    while let Some(Reverse(thing)) = ready.pop() {
        sorted.push(thing);
        for next in graph.neighbors(NodeIndex::from(thing)) {
            waiting[next.index()] -= 1;
            if waiting[next.index()] == 0 {
                ready.push(Reverse(u32::try_from(next.index()).unwrap_or(u32::MAX)));
            }
        }
    }
    if sorted.len() == after.len() {
        Ok(sorted)
    } else {
        Err(cycles(&graph, after))
    }
}

/// One cycle for each strongly connected component.
fn cycles(graph: &DiGraph<(), (), u32>, after: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let round = |c: &Vec<NodeIndex>| c.len() > 1 || c.iter().any(|n| graph.contains_edge(*n, *n));
    let mut knots: Vec<Vec<NodeIndex>> = tarjan_scc(graph).into_iter().filter(round).collect();
    knots.sort_by_key(|c| c.iter().min().copied());
    knots.iter().map(|knot| cycle(knot, after)).collect()
}

/// What each waits for until one repeats.
fn cycle(knot: &[NodeIndex], after: &[Vec<u32>]) -> Vec<u32> {
    let inside = |thing: &&u32| knot.contains(&NodeIndex::from(**thing));
    let mut at = knot
        .iter()
        .min()
        .map_or(0, |n| u32::try_from(n.index()).unwrap_or(u32::MAX));
    let mut path = vec![at];
    while let Some(&next) = after[at as usize].iter().find(inside) {
        if let Some(seen) = path.iter().position(|t| *t == next) {
            return path.split_off(seen);
        }
        path.push(next);
        at = next;
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cycle_is_named() {
        assert_eq!(
            sort(&[vec![], vec![3], vec![1], vec![2]]),
            Err(vec![vec![1, 3, 2]])
        );
        assert_eq!(
            sort(&[vec![1], vec![0], vec![3, 0], vec![2]]),
            Err(vec![vec![0, 1], vec![2, 3]])
        );
    }

    proptest! {
        #[test]
        fn everything_comes_after_what_it_waits_for(edges in prop::collection::vec((0u32..40, 0u32..40), 0..120)) {
            let mut after = vec![Vec::new(); 40];
            for (a, b) in edges {
                if a != b {
                    after[a.max(b) as usize].push(a.min(b));
                }
            }
            let sorted = sort(&after).unwrap();
            let position: Vec<usize> = (0..40u32).map(|s| sorted.iter().position(|x| *x == s).unwrap()).collect();
            for (step, befores) in after.iter().enumerate() {
                prop_assert!(befores.iter().all(|b| position[*b as usize] < position[step]));
            }
        }
    }
}
