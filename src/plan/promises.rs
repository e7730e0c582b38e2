//! Whether a change was promised.

use std::collections::BTreeMap;

use epid_provider::{Path, Replace, Segment};

use super::step::PlannedChange;

/// What was promised, by path: a list may have thousands of items.
#[derive(Debug)]
pub struct Promises<'p> {
    exact: BTreeMap<&'p [Segment], Replace>,
    /// Those with an element that stands for any.
    vague: BTreeMap<&'p Path, Replace>,
}

impl<'p> Promises<'p> {
    /// The promises of a step.
    #[must_use]
    pub fn new(promised: &'p [PlannedChange]) -> Self {
        let mut found = Self {
            exact: BTreeMap::new(),
            vague: BTreeMap::new(),
        };
        for promise in promised {
            let kept = if promise.path.segments().iter().any(stands_for_any) {
                found.vague.entry(&promise.path).or_insert(promise.replace)
            } else {
                found
                    .exact
                    .entry(promise.path.segments())
                    .or_insert(promise.replace)
            };
            *kept = (*kept).max(promise.replace);
        }
        found
    }

    /// The strongest promise that includes a change at that path; `None` where none does.
    #[must_use]
    pub fn of(&self, path: &Path) -> Option<Replace> {
        let segments = path.segments();
        let above = (0..=segments.len()).filter_map(|end| self.exact.get(&segments[..end]));
        let vague = self.vague.iter().filter(|(promise, _)| covers(promise, path));
        above.chain(vague.map(|(_, replace)| replace)).max().copied()
    }
}

/// An element that was unknown, or had no name to show, stands for any.
fn stands_for_any(segment: &Segment) -> bool {
    matches!(segment, Segment::Element(name) if matches!(&**name, "" | "…"))
}

/// True where a promise at one path includes a change at the other.
fn covers(promise: &Path, change: &Path) -> bool {
    let (promise, change) = (promise.segments(), change.segments());
    let same = |(p, c): (&Segment, &Segment)| match c {
        Segment::Element(_) | Segment::Index(_) if stands_for_any(p) => true,
        _ => p == c,
    };
    promise.len() <= change.len() && promise.iter().zip(change).all(same)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_unknown_element_stands_for_any() {
        let tag = |name: &str| Path::root().key("tags").join(Segment::Element(Arc::from(name)));
        let (unknown, known) = (tag("…"), tag("x"));
        assert!(covers(&unknown, &known) && !covers(&known, &unknown));
    }
}
