//! The graph: resources in an order in which each comes after all it depends on.

use std::collections::HashMap;
use std::sync::Arc;

use epid_provider::{Kind, KindSchema, Urn, Value};

use super::names::Names;
use crate::expression::{Located, Span};
use crate::program::Options;

/// A declared resource, component expansion done.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name everywhere.
    pub urn: Urn,
    /// Its name in the stack: `curator/deployment`.
    pub address: Arc<str>,
    /// Its kind; `epid:provider:<type>` for a provider.
    pub kind: Kind,
    /// What is declared.
    pub properties: Located,
    /// `each.key` and `each.value`, for an instance of `forEach`.
    pub each: Option<(Arc<str>, Value)>,
    /// Its options.
    pub options: Options,
    /// The provider node it is called through; `None` for providers and for the built-in `epid` kinds.
    pub provider: Option<Urn>,
    /// The schema of its kind.
    pub schema: Arc<KindSchema>,
    /// What it depends on.
    pub edges: Vec<Edge>,
    /// Names it had before.
    pub aliases: Vec<Urn>,
    /// What it dies with.
    pub deleted_with: Option<Urn>,
    /// What it is replaced with, and has to be deleted before.
    pub stands_on: Vec<Urn>,
    /// What must live as long as it does.
    pub served_by: Vec<Urn>,
    /// It has effects outside its container.
    pub outside: bool,
    /// Where it is declared.
    pub span: Span,
    /// Where it is declared, as `file:line`.
    pub source: Option<Arc<str>>,
}

/// A dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// What is depended on.
    pub to: Urn,
    /// Why.
    pub why: Why,
}

/// Why something depends on something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A property refers to it.
    Reference,
    /// `dependsOn` says so.
    DependsOn,
    /// It is called through it.
    Provider,
    /// The provider says so: a namespace, a CRD.
    Link,
    /// `servedBy` says so: it must live as long.
    ServedBy,
    /// `deletedWith` says so: it dies with it.
    DeletedWith,
}

/// All resources of a stack, in an order in which each comes after all it depends on; declaration order breaks ties.
#[derive(Debug, Clone, Default)]
pub struct ResourceGraph {
    nodes: Vec<Node>,
    index: HashMap<Urn, usize>,
    dependents: HashMap<Urn, Vec<Urn>>,
    names: Arc<Names>,
    outputs: Vec<(Arc<str>, Located, bool)>,
}

impl ResourceGraph {
    /// The graph of the empty program: its plan is a destroy.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    pub(super) fn new(nodes: Vec<Node>, names: Names, outputs: Vec<(Arc<str>, Located, bool)>) -> Self {
        let index = nodes
            .iter()
            .enumerate()
            .map(|(at, node)| (node.urn.clone(), at))
            .collect();
        let mut dependents: HashMap<Urn, Vec<Urn>> = HashMap::new();
        for node in &nodes {
            for edge in &node.edges {
                let of = dependents.entry(edge.to.clone()).or_default();
                if of.last() != Some(&node.urn) {
                    of.push(node.urn.clone());
                }
            }
        }
        Self {
            nodes,
            index,
            dependents,
            names: Arc::new(names),
            outputs,
        }
    }

    /// The resources, dependencies first.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The resource of that name.
    #[must_use]
    pub fn node(&self, urn: &Urn) -> Option<&Node> {
        self.index.get(urn).and_then(|at| self.nodes.get(*at))
    }

    /// What depends directly on a resource.
    #[must_use]
    pub fn dependents(&self, urn: &Urn) -> &[Urn] {
        self.dependents.get(urn).map(Vec::as_slice).unwrap_or_default()
    }

    /// This graph with ids to import, as if the program said so.
    #[must_use]
    pub fn importing(mut self, ids: &HashMap<Urn, Arc<str>>) -> Self {
        for node in &mut self.nodes {
            if let Some(id) = ids.get(&node.urn) {
                node.options.import = Some(id.clone());
            }
        }
        self
    }

    /// What names in expressions stand for.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The same, to be kept in a plan.
    #[must_use]
    pub fn shared_names(&self) -> Arc<Names> {
        self.names.clone()
    }

    /// The stack's outputs: name, value, and whether it is a secret.
    #[must_use]
    pub fn outputs(&self) -> &[(Arc<str>, Located, bool)] {
        &self.outputs
    }
}
