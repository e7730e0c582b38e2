//! What a record says besides inputs and outputs.

use epid_provider::Urn;

use super::step::Facts;
use crate::graph::Node;
use crate::state::{Entry, Timeouts};

pub(super) fn facts(node: &Node) -> Facts {
    let mut dependencies: Vec<Urn> = node.edges.iter().map(|edge| edge.to.clone()).collect();
    dependencies.sort();
    dependencies.dedup();
    let t = node.options.timeouts;
    Facts {
        dependencies,
        deleted_with: node.deleted_with.clone(),
        served_by: node.served_by.clone(),
        outside: node.outside,
        protect: node.options.protect,
        retain_on_delete: node.options.retain_on_delete,
        ignore_changes: node.options.ignore_changes.clone(),
        delete_before_replace: node.options.delete_before_replace,
        replace_on_changes: node.options.replace_on_changes.clone(),
        timeouts: Timeouts {
            create: t.create,
            update: t.update,
            delete: t.delete,
        },
    }
}

impl Facts {
    /// The facts a record holds.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        Self {
            dependencies: entry.dependencies.clone(),
            deleted_with: entry.deleted_with.clone(),
            served_by: entry.served_by.clone(),
            outside: entry.outside,
            protect: entry.protect,
            retain_on_delete: entry.retain_on_delete,
            ignore_changes: entry.ignore_changes.clone(),
            delete_before_replace: entry.delete_before_replace,
            replace_on_changes: entry.replace_on_changes.clone(),
            timeouts: entry.timeouts,
        }
    }

    pub(super) fn describes(&self, entry: &Entry) -> bool {
        *self == Self::of(entry)
    }
}
