//! What exists in a sandbox, without what differs from run to run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// How many things of each kind there are, and which Kubernetes objects. What controllers make and name by chance is left
/// out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory(BTreeMap<String, usize>);

/// What EC2 notes beside its resources.
const NOTES: [&str; 2] = ["labels", "tokens"];
/// What controllers make of what was declared, or of what happened.
const MADE: [&str; 7] = [
    "controllerrevisions",
    "endpoints",
    "endpointslices",
    "events",
    "leases",
    "nodes",
    "pods",
];

impl Inventory {
    /// What the snapshot of a world says.
    pub(crate) fn of(snapshot: &Value) -> Self {
        let mut found = Self::default();
        let aws = &snapshot["world"]["aws"];
        for (kind, things) in entries(&aws["ec2"]) {
            if !NOTES.contains(&kind.as_str()) {
                let there = entries(things).filter(|(_, thing)| thing["deleted"].is_null());
                found.add(kind, there.count());
            }
        }
        for service in ["iam", "elbv2"] {
            for (kind, things) in entries(&aws[service]) {
                found.add(kind, entries(things).count());
            }
        }
        for (name, cluster) in entries(&aws["eks"]["clusters"]) {
            found.add(&format!("cluster {name}"), 1);
            for part in ["addons", "entries", "profiles"] {
                found.add(part, entries(&cluster[part]).count());
            }
        }
        for (_, cluster) in entries(&snapshot["world"]["clusters"]) {
            let objects = cluster["cluster"]["store"]["objects"].as_array();
            for object in objects.into_iter().flatten() {
                let key = &object[0];
                let text = |of: &str| key[of].as_str().unwrap_or_default();
                let kind = text("plural");
                // Replica sets have chance in their names; their deployments are there.
                if !MADE.contains(&kind) && kind != "replicasets" {
                    found.add(&format!("{kind} {}/{}", text("namespace"), text("name")), 1);
                }
            }
        }
        found
    }

    fn add(&mut self, kind: &str, count: usize) {
        if count > 0 {
            *self.0.entry(kind.to_owned()).or_default() += count;
        }
    }

    /// How many things there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().sum()
    }

    /// True where nothing exists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What differs from what should be, for people: `vpcs: 2, not 1`.
    #[must_use]
    pub fn difference(&self, wanted: &Self) -> Vec<String> {
        let kinds: BTreeSet<&String> = self.0.keys().chain(wanted.0.keys()).collect();
        let count = |of: &Self, kind: &String| of.0.get(kind).copied().unwrap_or_default();
        kinds
            .into_iter()
            .filter(|kind| count(self, kind) != count(wanted, kind))
            .map(|kind| format!("{kind}: {}, not {}", count(self, kind), count(wanted, kind)))
            .collect()
    }
}

fn entries(map: &Value) -> impl Iterator<Item = (&String, &Value)> {
    map.as_object().into_iter().flatten()
}
