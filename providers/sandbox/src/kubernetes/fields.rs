//! Sets of fields, as `managedFields` keeps them (`fieldsV1`).

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A set of paths. Steps are written as in `fieldsV1`: `f:name`, `k:{"name":"web"}`, `v:"value"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    /// Whether the place itself belongs to the set.
    pub member: bool,
    pub below: BTreeMap<String, FieldSet>,
}

impl FieldSet {
    /// A set of one place: here.
    pub(crate) fn leaf() -> Self {
        Self {
            member: true,
            below: BTreeMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.below.values().all(Self::is_empty)
    }

    /// Reads `fieldsV1`; what is no set counts as empty.
    pub(crate) fn parse(value: &Value) -> Self {
        let mut set = Self::default();
        for (step, below) in value.as_object().into_iter().flatten() {
            if step == "." {
                set.member = true;
                continue;
            }
            let mut child = Self::parse(below);
            if child.below.is_empty() {
                child.member = true;
            }
            set.below.insert(step.clone(), child);
        }
        set
    }

    /// Writes `fieldsV1`.
    pub(crate) fn json(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.below.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (step, below) in &self.below {
            if !below.is_empty() {
                map.insert(step.clone(), below.json());
            }
        }
        Value::Object(map)
    }

    pub(crate) fn union(&mut self, other: &Self) {
        self.member |= other.member;
        for (step, below) in &other.below {
            self.below.entry(step.clone()).or_default().union(below);
        }
    }

    /// Takes the members of another set out of this one.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.member &= !other.member;
        for (step, below) in &other.below {
            if let Some(mine) = self.below.get_mut(step) {
                mine.subtract(below);
                if mine.is_empty() {
                    self.below.remove(step);
                }
            }
        }
    }

    /// Takes everything at and below the members of another set out of this one.
    pub(crate) fn cut(&mut self, other: &Self) {
        for (step, below) in &other.below {
            if below.member {
                self.below.remove(step);
            } else if let Some(mine) = self.below.get_mut(step) {
                mine.cut(below);
                if mine.is_empty() {
                    self.below.remove(step);
                }
            }
        }
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let below = self
            .below
            .iter()
            .filter_map(|(step, mine)| {
                let both = mine.intersection(other.below.get(step)?);
                (!both.is_empty()).then(|| (step.clone(), both))
            })
            .collect();
        Self {
            member: self.member && other.member,
            below,
        }
    }

    /// The set without a place and everything below it.
    pub(crate) fn without(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => {
                self.below.remove(*last);
            }
            [first, rest @ ..] => {
                if let Some(below) = self.below.get_mut(*first) {
                    below.without(rest);
                    if below.is_empty() {
                        self.below.remove(*first);
                    }
                }
            }
        }
    }

    /// Keeps only one place and what is below it.
    pub(crate) fn only(&mut self, path: &[&str]) {
        if let [first, rest @ ..] = path {
            self.member = false;
            self.below.retain(|step, _| step == first);
            if let Some(below) = self.below.get_mut(*first) {
                below.only(rest);
            }
        }
    }

    /// The members as the server writes paths: `.spec.containers[name="web"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, at: &str, paths: &mut Vec<String>) {
        if self.member {
            paths.push(at.to_owned());
        }
        for (step, below) in &self.below {
            below.collect(&format!("{at}{}", step_text(step)), paths);
        }
    }
}

/// One step of a path as the server writes it.
pub(crate) fn step_text(step: &str) -> String {
    match step.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("v:", value)) => format!("[={value}]"),
        Some(("k:", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        _ => format!("[{step}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sets_are_written_as_they_were_read() {
        let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}}}}});
        let set = FieldSet::parse(&fields);
        assert_eq!(set.json(), fields);
        assert!(
            set.paths()
                .contains(&".spec.containers[name=\"web\"].image".to_owned())
        );
        assert!(set.paths().contains(&".metadata.labels".to_owned()));
        let mut less = set.clone();
        less.subtract(&FieldSet::parse(
            &json!({"f:metadata": {"f:labels": {"f:app": {}}}}),
        ));
        assert_eq!(less.json()["f:metadata"], json!({"f:labels": {}}));
    }
}
