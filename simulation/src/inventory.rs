//! What exists in a cloud, without what differs from run to run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// How many things of each kind there are, which Kubernetes objects, and the ids of all of them. What controllers make and
/// name by chance is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    counts: BTreeMap<String, usize>,
    ids: BTreeSet<String>,
}

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
                found.add(kind, there.map(|(id, _)| id));
            }
        }
        for service in ["iam", "elbv2"] {
            for (kind, things) in entries(&aws[service]) {
                found.add(kind, entries(things).map(|(id, _)| id));
            }
        }
        for (name, cluster) in entries(&aws["eks"]["clusters"]) {
            found.add(&format!("cluster {name}"), cluster["arn"].as_str());
            for part in ["addons", "entries", "profiles"] {
                found.add(part, entries(&cluster[part]).map(|(id, _)| id));
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
                    let name = format!("{kind} {}/{}", text("namespace"), text("name"));
                    found.add(&name, object[1]["metadata"]["uid"].as_str());
                }
            }
        }
        found
    }

    /// What there is in the fake cloud, by what each was made for.
    pub(crate) fn of_things(things: &[epid_fake::Thing]) -> Self {
        let mut found = Self::default();
        for thing in things {
            let of = format!("{} {} in {}", thing.kind, thing.urn.path(), thing.account);
            found.add(&of, [&*thing.id]);
        }
        found
    }

    fn add(&mut self, kind: &str, ids: impl IntoIterator<Item = impl AsRef<str>>) {
        for id in ids {
            *self.counts.entry(kind.to_owned()).or_default() += 1;
            self.ids.insert(format!("{kind} {}", id.as_ref()));
        }
    }

    /// What is in both, by id: the same things, and not others of their kind.
    #[must_use]
    pub fn same(&self, other: &Self) -> BTreeSet<String> {
        self.ids.intersection(&other.ids).cloned().collect()
    }

    /// Which of these are not there any more.
    #[must_use]
    pub fn missing(&self, ids: &BTreeSet<String>) -> Vec<String> {
        ids.difference(&self.ids).cloned().collect()
    }

    /// What differs from what should be, for people: `vpcs: 2, not 1`.
    #[must_use]
    pub fn difference(&self, wanted: &Self) -> Vec<String> {
        let kinds: BTreeSet<&String> = self.counts.keys().chain(wanted.counts.keys()).collect();
        let count = |of: &Self, kind: &String| of.counts.get(kind).copied().unwrap_or_default();
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
