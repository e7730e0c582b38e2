//! What exists, found by what calls ask for: a call costs the same however much there is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::world::Thing;

/// The properties by which things are found.
const INDEXED: [&str; 4] = ["name", "range", "box", "cluster"];

type Ids = BTreeSet<Arc<str>>;

/// All things by id.
#[derive(Clone, Default)]
pub(crate) struct Things {
    by_id: BTreeMap<Arc<str>, Thing>,
    by_token: HashMap<Arc<str>, Ids>,
    /// By the id that they need.
    by_use: HashMap<Arc<str>, Ids>,
    /// By kind, property and its text, where it has one.
    by_text: HashMap<(Arc<str>, &'static str, Arc<str>), Ids>,
}

impl Things {
    pub(crate) fn get(&self, id: &str) -> Option<&Thing> {
        self.by_id.get(id)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Thing> {
        self.by_id.values()
    }

    pub(crate) fn insert(&mut self, thing: Thing) {
        self.remove(&thing.id.clone());
        let id = &thing.id;
        self.by_token
            .entry(thing.token.clone())
            .or_default()
            .insert(id.clone());
        for used in thing.uses() {
            self.by_use.entry(Arc::from(used)).or_default().insert(id.clone());
        }
        for key in texts(&thing) {
            self.by_text.entry(key).or_default().insert(id.clone());
        }
        self.by_id.insert(id.clone(), thing);
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Thing> {
        let thing = self.by_id.remove(id)?;
        forget(&mut self.by_token, &thing.token, id);
        for used in thing.uses() {
            forget(&mut self.by_use, &Arc::from(used), id);
        }
        for key in texts(&thing) {
            forget(&mut self.by_text, &key, id);
        }
        Some(thing)
    }

    /// Changes a thing where there is one of that id.
    pub(crate) fn change(&mut self, id: &str, change: impl FnOnce(&mut Thing)) {
        if let Some(mut thing) = self.remove(id) {
            change(&mut thing);
            self.insert(thing);
        }
    }

    /// What was made with a token.
    pub(crate) fn made_with(&self, token: &str) -> impl Iterator<Item = &Thing> {
        self.all(self.by_token.get(token))
    }

    /// What needs the thing of that id.
    pub(crate) fn users(&self, id: &str) -> impl Iterator<Item = &Thing> {
        self.all(self.by_use.get(id))
    }

    /// The things of a kind with that text as a property; the text is not empty, and the property is one of [`INDEXED`].
    pub(crate) fn with(
        &self,
        kind: &str,
        property: &'static str,
        text: &str,
    ) -> impl Iterator<Item = &Thing> {
        debug_assert!(INDEXED.contains(&property), "{property} is not indexed");
        self.all(self.by_text.get(&(Arc::from(kind), property, Arc::from(text))))
    }

    fn all<'a>(&'a self, ids: Option<&'a Ids>) -> impl Iterator<Item = &'a Thing> {
        ids.into_iter().flatten().filter_map(|id| self.by_id.get(id))
    }
}

fn texts(thing: &Thing) -> impl Iterator<Item = (Arc<str>, &'static str, Arc<str>)> {
    INDEXED.into_iter().filter_map(|property| {
        let text = Some(thing.text(property)).filter(|text| !text.is_empty())?;
        Some((thing.kind.clone(), property, Arc::from(text)))
    })
}

fn forget<K: std::hash::Hash + Eq>(index: &mut HashMap<K, Ids>, key: &K, id: &str) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}
