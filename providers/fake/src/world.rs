//! What exists in the fake cloud, and what was done to it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use epid_provider::{Call, Timestamp, Urn, Value};

use crate::fault::{Api, Effect, Fault};
use crate::things::Things;

/// A fake cloud. Clones are the same cloud.
#[derive(Clone, Default)]
pub struct World(Arc<Mutex<Inner>>);

/// Something that exists. Secrets are in clear in here: it is the cloud.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Thing {
    /// Its id: `item-3`.
    pub id: Arc<str>,
    /// The name of its kind: `Item`.
    pub kind: Arc<str>,
    /// The account it lives in.
    pub account: Arc<str>,
    /// The URN that made it.
    pub urn: Urn,
    /// The lineage of the stack that made it; empty where no stack did, until one takes it over.
    pub lineage: Arc<str>,
    /// The token that made it.
    pub token: Arc<str>,
    /// Its properties, with what the service chose.
    pub properties: Value,
    /// How often its properties changed.
    pub version: u32,
    /// What is still to be done before it is whole.
    pub missing: Vec<String>,
    /// When readers begin to see it.
    #[serde(skip)]
    pub visible: Timestamp,
}

impl Thing {
    /// A text among its properties; empty where it has none of that name.
    #[must_use]
    pub fn text(&self, property: &str) -> &str {
        self.properties
            .get(property)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The ids it needs.
    pub fn uses(&self) -> impl Iterator<Item = &str> {
        let uses = self
            .properties
            .get("uses")
            .and_then(Value::as_list)
            .unwrap_or_default();
        let parent = Some(self.text("network")).filter(|n| !n.is_empty());
        uses.iter().filter_map(Value::as_str).chain(parent)
    }

    /// Its outputs.
    #[must_use]
    pub fn outputs(&self) -> Value {
        Value::map([
            ("id", Value::Str(self.id.clone())),
            ("endpoint", Value::from(format!("https://{}.fake", self.id))),
            ("version", Value::Int(i64::from(self.version))),
        ])
    }
}

type Hook = Arc<dyn Fn() + Send + Sync>;
/// Looks at the cloud, and is told what has just been done to what.
type Watcher = Arc<dyn Fn(&World, &str) + Send + Sync>;

#[derive(Clone, Default)]
pub(crate) struct Inner {
    /// The latest moment at which something was asked or changed.
    pub(crate) now: Timestamp,
    pub(crate) next: u32,
    pub(crate) things: Things,
    pub(crate) facts: BTreeMap<String, Value>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) calls: Vec<(Api, Urn)>,
    pub(crate) made: BTreeMap<Urn, u32>,
    pub(crate) busy: BTreeMap<String, Urn>,
    pub(crate) violations: Vec<String>,
    crash: Option<Hook>,
    crash_call: Option<u32>,
    watcher: Option<Watcher>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("things", &self.things())
            .finish_non_exhaustive()
    }
}

impl World {
    /// An empty cloud.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cloud of its own in which there is what there is in this one, and nobody works on anything: what a process leaves
    /// that dies. Its script is empty, and nobody watches it.
    #[must_use]
    pub fn copy(&self) -> Self {
        let mut inner = self.lock().clone();
        inner.watcher = None;
        let copy = Self(Arc::new(Mutex::new(inner)));
        copy.heal();
        copy
    }

    /// Lets `look` see everything after each change, before who asked for it learns that it was done, and what was done.
    pub fn watch(&self, look: impl Fn(&Self, &str) + Send + Sync + 'static) {
        self.lock().watcher = Some(Arc::new(look));
    }

    /// Something was changed.
    pub(crate) fn changed(&self, what: &str, cx: &Call) {
        let watcher = {
            let mut inner = self.lock();
            inner.now = inner.now.max(cx.now());
            inner.watcher.clone()
        };
        if let Some(look) = watcher {
            look(self, &format!("{what} {}", cx.urn.path()));
        }
    }

    /// The latest moment at which something was asked of it or changed in it; 0 before the first.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.lock().now
    }

    /// Everything that exists, by id.
    #[must_use]
    pub fn things(&self) -> Vec<Thing> {
        self.lock().things.values().cloned().collect()
    }

    /// The things of a kind, such as `Item`.
    #[must_use]
    pub fn of(&self, kind: &str) -> Vec<Thing> {
        self.lock()
            .things
            .values()
            .filter(|t| &*t.kind == kind)
            .cloned()
            .collect()
    }

    /// The things made for the resource at a path of the stack.
    #[must_use]
    pub fn at(&self, path: &str) -> Vec<Thing> {
        self.lock()
            .things
            .values()
            .filter(|t| t.urn.path() == path)
            .cloned()
            .collect()
    }

    /// Makes what a lookup of `fact` finds.
    pub fn set_fact(&self, fact: &str, value: impl Into<Value>) {
        self.lock().facts.insert(fact.to_owned(), value.into());
    }

    /// Somebody else changes a property of a thing.
    pub fn tamper(&self, id: &str, property: &str, value: impl Into<Value>) {
        self.lock().things.change(id, |thing| {
            if let Value::Map(map) = &thing.properties {
                thing.properties = Value::Map(map.with(property, value.into()));
            }
        });
    }

    /// Somebody marks a thing as another stack's, or takes its mark away: the empty lineage.
    pub fn mark(&self, id: &str, lineage: &str) {
        self.lock()
            .things
            .change(id, |thing| thing.lineage = Arc::from(lineage));
    }

    /// Somebody else removes a thing.
    pub fn vanish(&self, id: &str) {
        self.lock().things.remove(id);
    }

    /// Adds a line to the script of faults.
    pub fn fault(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Empties the script, and takes the crash hook away.
    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.faults.clear();
        inner.crash = None;
        inner.crash_call = None;
        inner.busy.clear();
    }

    /// What [`Effect::Crash`] calls.
    pub fn on_crash(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.lock().crash = Some(Arc::new(hook));
    }

    /// Crashes at the `nth` call from now, whatever it is: before its effect where `nth` is odd, after it otherwise.
    pub fn crash_at(&self, nth: u32) {
        self.lock().crash_call = Some(nth);
    }

    /// Every call so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<(Api, Urn)> {
        self.lock().calls.clone()
    }

    /// How many calls of an entry point there were.
    #[must_use]
    pub fn count(&self, api: Api) -> usize {
        self.lock().calls.iter().filter(|(a, _)| *a == api).count()
    }

    /// How many things were ever made for a URN.
    #[must_use]
    pub fn made(&self, urn: &Urn) -> u32 {
        self.lock().made.get(urn).copied().unwrap_or_default()
    }

    /// What a correct engine never does, and this one did.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// Fails the test where there was a violation.
    ///
    /// # Panics
    /// Where [`World::violations`] is not empty.
    pub fn assert_clean(&self) {
        let violations = self.violations();
        assert!(
            violations.is_empty(),
            "the engine broke the rules of the cloud: {violations:#?}"
        );
    }

    /// Counts a call and finds what goes wrong with it.
    pub(crate) fn enter(&self, api: Api, kind: &str, urn: &Urn, now: Timestamp) -> Option<Effect> {
        let mut inner = self.lock();
        inner.now = inner.now.max(now);
        inner.calls.push((api, urn.clone()));
        if let Some(left) = inner.crash_call.as_mut().filter(|left| **left > 0) {
            *left -= 1;
            if *left == 0 {
                return Some(Effect::Crash {
                    after: inner.calls.len().is_multiple_of(2),
                });
            }
        }
        let mut hit = None;
        for fault in &mut inner.faults {
            if fault.hits(api, kind, urn.path()) && hit.is_none() {
                hit = Some(fault.effect.clone());
            }
        }
        hit
    }

    /// The process dies here.
    pub(crate) async fn die(&self) {
        let hook = self.lock().crash.clone();
        if let Some(hook) = hook {
            hook();
        }
        std::future::pending::<()>().await;
    }
}

/// Holds a resource of the cloud on which only one operation may run; a second is a violation.
pub(crate) struct Busy {
    world: World,
    what: String,
}

impl Busy {
    pub(crate) fn hold(world: &World, what: String, urn: &Urn) -> Self {
        let mut inner = world.lock();
        if let Some(other) = inner.busy.insert(what.clone(), urn.clone()) {
            inner
                .violations
                .push(format!("{urn} works on {what} while {other} does"));
        }
        drop(inner);
        Self {
            world: world.clone(),
            what,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.world.lock().busy.remove(&self.what);
    }
}
