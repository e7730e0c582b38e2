//! What a node will look like after its step, and how its inputs differ from what was applied.

use std::sync::Arc;

use epid_provider::{Change, KindSchema, Output, Path, Segment, Value};

use super::step::PlannedChange;
use crate::graph::{Known, at, overlay, unknown};
use crate::state::Entry;

/// What is known of a resource that an update will change at `changes`.
pub(super) fn updated(
    address: &str,
    entry: &Entry,
    inputs: Value,
    schema: &Arc<KindSchema>,
    changes: &[Change],
) -> Known {
    let mut outputs = entry.record.outputs.clone();
    let touched = |name: &str| {
        changes
            .iter()
            .any(|c| matches!(c.path.segments().first(), Some(Segment::Key(key)) if &**key == name))
    };
    // What was left half made has not told everything yet.
    let lacks = |output: &Output| {
        !entry.record.incomplete.is_empty()
            && at(&entry.record.outputs, output.path.segments()) == Value::Null
    };
    for output in &schema.outputs {
        if lacks(output)
            || output
                .changes_with
                .iter()
                .any(|input| &**input == "*" || touched(input))
        {
            outputs = overlay(&outputs, output.path.segments(), &unknown(address, output));
        }
    }
    Known {
        inputs,
        outputs,
        ..Known::recorded(&entry.record, Some(schema.clone()))
    }
}

/// The changes as people see them.
pub(super) fn shown(changes: &[Change]) -> Vec<PlannedChange> {
    changes
        .iter()
        .map(|change| PlannedChange {
            path: change.path.clone(),
            op: change.op,
            before: change.before.to_string(),
            after: change.after.to_string(),
            replace: change.replace,
        })
        .collect()
}

/// True where `path` stands at or below one of `roots`.
pub(super) fn covered(roots: &[Path], path: &Path) -> bool {
    roots.iter().any(|root| root.covers(path))
}
