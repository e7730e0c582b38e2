//! What a record says besides inputs and outputs.

use std::time::Duration;

use epid_provider::{Op, Path, Replace, Urn};

use super::step::{Facts, PlannedChange};
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

    /// The options that are others than they were, as people see them.
    pub(super) fn options_since(&self, before: &Self) -> Vec<PlannedChange> {
        let (old, new) = (before.options(), self.options());
        let changed = old.into_iter().zip(new).filter(|(old, new)| old != new);
        changed
            .map(|((name, before), (_, after))| PlannedChange {
                path: name
                    .split('.')
                    .fold(Path::root().key("options"), |path, part| path.key(part)),
                op: Op::Change,
                before,
                after,
                replace: Replace::No,
            })
            .collect()
    }

    /// Each option that is no edge, with its value as a text; empty where it is not set.
    fn options(&self) -> [(&'static str, String); 8] {
        let paths = |paths: &[Path]| {
            let texts: Vec<String> = paths.iter().map(ToString::to_string).collect();
            texts.join(", ")
        };
        let time = |time: Option<Duration>| time.map_or_else(String::new, |t| format!("{} s", t.as_secs()));
        let order = self.delete_before_replace;
        let order = order.map_or_else(String::new, |first| first.to_string());
        [
            ("protect", self.protect.to_string()),
            ("retainOnDelete", self.retain_on_delete.to_string()),
            ("ignoreChanges", paths(&self.ignore_changes)),
            ("replaceOnChanges", paths(&self.replace_on_changes)),
            ("deleteBeforeReplace", order),
            ("timeouts.create", time(self.timeouts.create)),
            ("timeouts.update", time(self.timeouts.update)),
            ("timeouts.delete", time(self.timeouts.delete)),
        ]
    }
}
