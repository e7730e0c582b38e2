//! Whether a change was promised.

use std::collections::BTreeMap;

use epid_provider::{Path, Replace, Segment};

use super::step::PlannedChange;

/// What was promised, by path: a list may have thousands of items.
#[derive(Debug)]
pub struct Promises<'p> {
    exact: BTreeMap<&'p [Segment], Replace>,
    /// Those with an element that stands for others.
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
            let kept = if promise
                .path
                .segments()
                .iter()
                .any(|segment| pattern(segment).is_some())
            {
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

/// The texts that were known around what was not, for an element that was unknown, at least in part, or had no name to
/// show. It stands for all whose name has them.
fn pattern(segment: &Segment) -> Option<(&str, &str)> {
    match segment {
        Segment::Element(name) if name.is_empty() => Some(("", "")),
        Segment::Element(name) => {
            let (before, _) = name.split_once('…')?;
            let (_, after) = name.rsplit_once('…')?;
            Some((before, after))
        }
        _ => None,
    }
}

/// True where a promise at one path includes a change at the other.
fn covers(promise: &Path, change: &Path) -> bool {
    let (promise, change) = (promise.segments(), change.segments());
    let same = |(p, c): (&Segment, &Segment)| match (pattern(p), c) {
        (Some((before, after)), Segment::Element(name)) => {
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
        }
        (Some(("", "")), Segment::Index(_)) => true,
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

    #[test]
    fn an_element_that_is_known_in_part_stands_for_those_that_have_it() {
        let rule = |name: &str| {
            Path::root()
                .key("ingress")
                .join(Segment::Element(Arc::from(name)))
        };
        let promised = rule("tcp/443/…/x");
        assert!(covers(&promised, &rule("tcp/443/sg-1/x")));
        for other in ["tcp/80/sg-1/x", "tcp/443/sg-1/y", "tcp/443/x"] {
            assert!(!covers(&promised, &rule(other)), "{other}");
        }
    }
}
