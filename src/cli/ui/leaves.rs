//! What changes of a resource, leaf by leaf.

use super::plan::Shown;
use super::style::{plain, width};
use crate::plan::PlannedChange;

/// How a secret shows.
const SECRET: &str = "(secret)";

/// True for the change that stands for the resource as a whole.
pub(super) fn is_whole(change: &PlannedChange) -> bool {
    change.path.segments().is_empty()
}

/// A leaf that changes: on one line where it fits, else on three.
pub(super) fn change(change: &PlannedChange, depth: usize, shown: Shown<'_>) -> Vec<String> {
    let indent = " ".repeat(2 * depth + 6);
    let path = plain(&change.path.to_string());
    let (before, after) = (plain(&change.before), plain(&change.after));
    let arrow = shown.paint.dim("→");
    let (old, new) = match (
        before.is_empty() || before == "null",
        after.is_empty() || after == "null",
    ) {
        (true, _) => (String::new(), after.clone()),
        (_, true) => (before.clone(), "(removed)".to_owned()),
        _ if before == SECRET && after == SECRET => (String::new(), "(secret changed)".to_owned()),
        _ => (before.clone(), after.clone()),
    };
    let whole = if old.is_empty() {
        width(&new)
    } else {
        width(&old) + 3 + width(&new)
    };
    let room = shown.width.saturating_sub(width(&indent) + width(&path) + 3);
    if whole <= room || (old.is_empty() && !shown.cuts) {
        let values = if old.is_empty() {
            shown.paint.green(&new)
        } else {
            format!("{old} {arrow} {new}")
        };
        return vec![format!("{indent}{path}   {values}")];
    }
    let room = shown.width.saturating_sub(width(&indent) + 4).max(16);
    let mut lines = vec![format!("{indent}{path}")];
    if !old.is_empty() {
        lines.push(format!(
            "{indent}  {}",
            shown.paint.red(&format!("- {}", shown.fitted(&old, room)))
        ));
    }
    lines.push(format!(
        "{indent}  {}",
        shown.paint.green(&format!("+ {}", shown.fitted(&new, room)))
    ));
    lines
}

/// What is declared of a new resource, a line for each leaf, the values below each other.
pub(super) fn declared(changes: &[PlannedChange], depth: usize, shown: Shown<'_>) -> Vec<String> {
    let indent = " ".repeat(2 * depth + 6);
    let paths: Vec<String> = changes.iter().map(|c| plain(&c.path.to_string())).collect();
    // Longer ones push what stands behind them.
    let most = shown.width * 9 / 20;
    let column = paths.iter().map(|path| width(path)).filter(|n| *n <= most);
    let column = column.max().unwrap_or(0);
    let lines = changes.iter().zip(&paths).map(|(change, path)| {
        let room = shown
            .width
            .saturating_sub(width(&indent) + column.max(width(path)) + 3);
        let value = shown.fitted(&plain(&change.after), room.max(16));
        let pad = " ".repeat(column.saturating_sub(width(path)));
        format!("{indent}{}{pad}   {value}", shown.paint.dim(path))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use epid_provider::{Op, Path, Replace};

    use super::*;
    use crate::cli::ui::style::Paint;

    #[test]
    fn a_secret_that_differs_is_said_to_differ() {
        let shown = Shown {
            paint: Paint::new(false),
            width: 80,
            cuts: true,
            details: false,
            recorded: 0,
            refreshes: false,
            component: &|_| None,
        };
        let told = |before: &str, after: &str| {
            let leaf = PlannedChange {
                path: Path::root().key("word"),
                op: Op::Change,
                before: before.to_owned(),
                after: after.to_owned(),
                replace: Replace::No,
            };
            change(&leaf, 0, shown)
        };
        assert_eq!(told(SECRET, SECRET), ["      word   (secret changed)"]);
        assert_eq!(told("null", SECRET), ["      word   (secret)"]);
        assert_eq!(told(SECRET, "null"), ["      word   (secret) → (removed)"]);
        assert_eq!(told("1", "2"), ["      word   1 → 2"]);
    }
}
