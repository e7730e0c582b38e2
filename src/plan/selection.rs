//! What a run is limited to.

use std::collections::BTreeSet;

use epid_provider::{Urn, Value};

use super::planner::{Decided, Planner};
use super::problem::PlanProblem;
use super::removal;
use crate::expression::Span;
use crate::graph::{Known, Node, Selector, unmade};
use crate::state::Entry;

impl<'a> Planner<'a> {
    pub(super) fn select(&mut self) {
        let selection = self.request.selection;
        let mut targets = self.resolve(&selection.targets);
        let nodes = self
            .request
            .graph
            .nodes()
            .filter(|node| targets.contains(&node.urn));
        // A connection is only a way to get there.
        let connections: Vec<Urn> = nodes.filter_map(|node| node.provider.clone()).collect();
        targets.extend(connections);
        self.targets = (!selection.targets.is_empty()).then_some(targets);
        self.excludes = self.resolve(&selection.excludes);
        self.forced = self.resolve(&selection.replace);
        if !self.excludes.is_empty() {
            for node in self.request.graph.nodes() {
                if node.edges.iter().any(|edge| self.excludes.contains(&edge.to)) {
                    self.excludes.insert(node.urn.clone());
                }
            }
            let mut open: Vec<Urn> = self.excludes.iter().cloned().collect();
            while let Some(urn) = open.pop() {
                for entry in self.request.snapshot.of(&urn) {
                    let below = removal::needs(entry).into_iter();
                    open.extend(below.filter(|urn| self.kept.insert((*urn).clone())).cloned());
                }
            }
        }
    }

    /// The resources that selectors name: in the program, and in the state.
    pub(super) fn resolve(&mut self, selectors: &[Selector]) -> BTreeSet<Urn> {
        let mut found = BTreeSet::new();
        for selector in selectors {
            let declared = self.request.graph.nodes().map(|node| &node.urn);
            let recorded = self.request.snapshot.entries.keys().map(|key| &key.urn);
            let named = declared.chain(recorded).filter(|urn| selector.matches(urn));
            let mut named = named.cloned().peekable();
            let nothing = named.peek().is_none();
            found.extend(named);
            if nothing {
                let mut problem =
                    PlanProblem::new(None, Span::NONE, format!("no resource is called `{selector}`"));
                let declared = self.request.graph.nodes().map(|node| &*node.address);
                let recorded = self.request.snapshot.entries.keys().map(|key| key.urn.path());
                let near = epid_provider::check::nearest(&selector.to_string(), declared.chain(recorded));
                problem = problem.hint(near.map_or_else(
                    || "`epid graph` shows what is declared, `epid state ls` what is recorded".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                ));
                self.problems.push(problem);
            }
        }
        found
    }

    pub(super) fn selected(&self, urn: &Urn) -> bool {
        self.targets.as_ref().is_none_or(|targets| targets.contains(urn)) && !self.excludes.contains(urn)
    }

    /// False for a record that stays because the run is not about it, or because what is excluded needs it.
    pub(super) fn leaves(&self, urn: &Urn) -> bool {
        self.selected(urn) && !self.kept.contains(urn)
    }

    /// A node the run is not about: it contributes what is recorded.
    pub(super) fn outside(&mut self, node: &Node, entry: Option<&Entry>) -> Decided {
        let known = entry.map(|e| Known::recorded(&e.record, Some(node.schema.clone())));
        let half_made = entry.filter(|e| !e.record.incomplete.is_empty());
        if half_made.is_some() && self.needed_inside(node) {
            let message = format!(
                "`{}` is needed and only half made, but is not part of this run",
                node.address
            );
            let hint = format!("add --target {}, or run without a selection", node.address);
            self.problems
                .push(PlanProblem::new(Some(&node.urn), node.span, message).hint(hint));
        }
        if known.is_none() && self.needed_inside(node) {
            let message = format!(
                "`{}` is needed and does not exist yet, but is not part of this run",
                node.address
            );
            let hint = format!("add --target {}, or run without a selection", node.address);
            self.problems
                .push(PlanProblem::new(Some(&node.urn), node.span, message).hint(hint));
        }
        let empty = || {
            unmade(
                &node.address,
                Value::Map(epid_provider::Map::default()),
                &node.schema,
            )
        };
        Decided::plain(known.unwrap_or_else(empty), None)
    }

    pub(super) fn needed_inside(&self, node: &Node) -> bool {
        self.request
            .graph
            .dependents(&node.urn)
            .iter()
            .any(|urn| self.selected(urn))
    }
}
