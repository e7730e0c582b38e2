//! The objects, their resource versions and what happened to them lately.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Changes that a watch can still be told about.
const KEPT: usize = 2000;

/// The key of an object: the version is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Id {
    pub group: String,
    pub plural: String,
    /// Empty for cluster-wide kinds.
    pub namespace: String,
    pub name: String,
}

impl Id {
    pub(crate) fn new(group: &str, plural: &str, namespace: &str, name: &str) -> Self {
        Self {
            group: group.to_owned(),
            plural: plural.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// Something that happened to one object.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub revision: u64,
    pub id: Id,
    pub old: Option<Arc<Value>>,
    /// `None` when it was deleted.
    pub new: Option<Arc<Value>>,
}

/// All objects of a cluster.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Store {
    pub revision: u64,
    #[serde(with = "pairs")]
    objects: BTreeMap<Id, Arc<Value>>,
    /// Not kept: whoever resumes a watch after a restart is told to list again.
    #[serde(skip)]
    log: VecDeque<Change>,
}

/// JSON has no maps with structured keys.
mod pairs {
    use super::{Arc, BTreeMap, Id, Value};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<Id, Arc<Value>>, to: S) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<Id, Arc<Value>>, D::Error> {
        Ok(Vec::<(Id, Arc<Value>)>::deserialize(from)?.into_iter().collect())
    }
}

impl Store {
    pub(crate) fn get(&self, id: &Id) -> Option<&Arc<Value>> {
        self.objects.get(id)
    }

    /// Objects of one kind, in one namespace or all, by namespace and name.
    pub(crate) fn list<'a>(
        &'a self,
        group: &'a str,
        plural: &'a str,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Id, &'a Arc<Value>)> + 'a {
        let from = Id::new(group, plural, namespace.unwrap_or_default(), "");
        self.objects.range(from..).take_while(move |(id, _)| {
            id.group == group && id.plural == plural && namespace.is_none_or(|wanted| id.namespace == wanted)
        })
    }

    /// Every object.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Id, &Arc<Value>)> {
        self.objects.iter()
    }

    /// Writes an object under a new resource version.
    pub(crate) fn put(&mut self, id: Id, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = Value::from(self.revision.to_string());
        let object = Arc::new(object);
        let old = self.objects.insert(id.clone(), Arc::clone(&object));
        self.note(id, old, Some(Arc::clone(&object)));
        object
    }

    /// Removes an object; returns its last state, at the resource version of its deletion.
    pub(crate) fn remove(&mut self, id: &Id) -> Option<Arc<Value>> {
        let last = self.objects.remove(id)?;
        self.revision += 1;
        let mut gone = Value::clone(&last);
        gone["metadata"]["resourceVersion"] = Value::from(self.revision.to_string());
        let gone = Arc::new(gone);
        self.note(id.clone(), Some(Arc::clone(&gone)), None);
        Some(gone)
    }

    /// The oldest resource version after which every change is known.
    pub(crate) fn floor(&self) -> u64 {
        self.log
            .front()
            .map_or(self.revision, |change| change.revision.saturating_sub(1))
    }

    /// Changes after a resource version.
    pub(crate) fn since(&self, revision: u64) -> impl Iterator<Item = &Change> {
        let start = self.log.partition_point(|change| change.revision <= revision);
        self.log.iter().skip(start)
    }

    fn note(&mut self, id: Id, old: Option<Arc<Value>>, new: Option<Arc<Value>>) {
        self.log.push_back(Change {
            revision: self.revision,
            id,
            old,
            new,
        });
        if self.log.len() > KEPT {
            self.log.pop_front();
        }
    }
}

/// The creation time of an object.
pub(crate) fn created(object: &Value) -> Timestamp {
    object["metadata"]["creationTimestamp"]
        .as_str()
        .and_then(Timestamp::parse)
        .unwrap_or_default()
}
