//! What cannot make room for its successor, because something that stays names it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use epid_provider::Urn;

use super::planner::Planner;
use super::problem::PlanProblem;
use super::removal::{Removal, is_left_alone};
use super::step::Action;
use crate::graph::{Node, Why};
use crate::state::{Entry, RecordKey, Role};

/// Refuses to delete first what the cloud holds on to. Whoever names it is changed only once the new one is there, so the
/// delete would wait for what comes after it.
pub(super) fn check(
    planner: &mut Planner<'_>,
    removals: &[Removal<'_>],
    by_key: &BTreeMap<RecordKey, usize>,
    dependents: &HashMap<&Urn, Vec<&Entry>>,
) {
    for removal in removals {
        let entry = removal.entry;
        // Where it is not certain, apply finds out.
        let goes = removal.action == Action::Vacate
            && removal.replacement.is_none()
            && removal.carried_by.is_none()
            && !entry.retain_on_delete;
        let node = planner.claimed.get(&entry.key_of()).copied();
        let Some(node) = node.and_then(|urn| planner.request.graph.node(urn)) else {
            continue;
        };
        if !goes || !node.schema.held {
            continue;
        }
        let above = dependents.get(entry.urn()).into_iter().flatten();
        let names = above.filter(|above| {
            above.role == Role::Live
                && above.provider == entry.provider
                && !by_key.contains_key(&above.key_of())
                && !planner.gone.contains(above.urn())
                && !is_left_alone(planner, above)
                && still_names(planner, above, node)
        });
        let names: BTreeSet<&str> = names.map(|above| above.urn().path()).collect();
        if names.is_empty() {
            continue;
        }
        let name = if names.len() == 1 { "names" } else { "name" };
        let names: Vec<String> = names.iter().map(|path| format!("`{path}`")).collect();
        let message = format!(
            "`{}` has to be replaced and the old one would go first, but it cannot be deleted while {} {name} it",
            node.address,
            names.join(", ")
        );
        let problem = PlanProblem::new(Some(&node.urn), node.span, message).hint(way_out(node, entry));
        planner.problems.push(problem);
    }
}

fn still_names(planner: &Planner<'_>, above: &Entry, node: &Node) -> bool {
    let now = planner.claimed.get(&above.key_of());
    let now = now.and_then(|urn| planner.request.graph.node(urn));
    now.is_some_and(|now| {
        let mut edges = now.edges.iter();
        edges.any(|edge| edge.to == node.urn && edge.why == Why::Reference)
    })
}

/// What lets the new one come first.
fn way_out(node: &Node, entry: &Entry) -> String {
    let mut ways = Vec::new();
    let fields = node.schema.inputs.fields.iter();
    let given = |name: &str| {
        entry
            .record
            .applied
            .get(name)
            .is_some_and(|value| !value.is_null())
    };
    for field in fields.filter(|field| field.exclusive && given(&field.name)) {
        let or_none = if field.required { "" } else { ", or none," };
        ways.push(format!("give it another `{}`{or_none}", field.name));
    }
    if node.options.delete_before_replace == Some(true) {
        ways.push("take `deleteBeforeReplace` out of its options".to_owned());
    }
    let ways = if ways.is_empty() {
        "undo what replaces it".to_owned()
    } else {
        ways.join(" and ")
    };
    format!("{ways} so that the new one is made first")
}
