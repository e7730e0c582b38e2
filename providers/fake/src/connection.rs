//! The operations of the fake cloud.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use epid_provider::{
    Call, Connection, Failure, Intent, Kind, Map, Observed, Operation, Outcome, Owner, Partial, Present,
    Query, Record, Recorded, Recovered, Resolved, Retry, Value,
};

use crate::fault::{Api, Effect};
use crate::kinds::{Behaviour, QUIET};
use crate::world::{Busy, Inner, Thing, World};

pub(crate) struct FakeConnection {
    world: World,
    kinds: Arc<BTreeMap<Kind, Behaviour>>,
    account: Arc<str>,
    identity: String,
}

/// What a fault leaves to do after the effect.
enum After {
    Answer,
    Lose,
    LoseFirst,
    Hang,
    Crash,
    Half,
}

impl FakeConnection {
    pub(crate) fn new(world: World, kinds: Arc<BTreeMap<Kind, Behaviour>>, account: &str) -> Self {
        Self {
            world,
            kinds,
            account: Arc::from(account),
            identity: format!("fake/{account}"),
        }
    }

    fn behaviour(&self, kind: &Kind) -> Result<&Behaviour, Failure> {
        self.kinds
            .get(kind)
            .ok_or_else(|| Failure::new("InvalidKind", format_args!("no kind {kind}")))
    }

    /// The part of a fault that comes before the effect.
    async fn before(&self, cx: &Call, api: Api, kind: &Kind) -> Result<After, Failure> {
        match self.world.enter(api, kind.name(), &cx.urn, cx.now()) {
            None => Ok(After::Answer),
            Some(Effect::Refuse) => Err(Failure::new("AccessDenied", "not allowed to do that")),
            Some(Effect::Unwell) => {
                Err(Failure::new("ServiceUnavailable", "try again").with_retry(Retry::Yes))
            }
            Some(Effect::Throttle) => {
                Err(Failure::new("Throttling", "slow down").with_retry(Retry::Throttled))
            }
            Some(Effect::LoseRequest) => Err(lost()),
            Some(Effect::LoseAnswer) => Ok(After::Lose),
            Some(Effect::LoseFirstAnswer) => Ok(After::LoseFirst),
            Some(Effect::Half) => Ok(After::Half),
            Some(Effect::Delay(time)) => cx.sleep(time).await.map(|()| After::Answer),
            Some(Effect::Hang { after: true }) => Ok(After::Hang),
            Some(Effect::Hang { after: false }) => {
                cx.cancelled().await;
                Err(Failure::cancelled(Outcome::Unknown))
            }
            Some(Effect::Crash { after: true }) => Ok(After::Crash),
            Some(Effect::Crash { after: false }) => {
                self.world.die().await;
                Err(lost())
            }
        }
    }

    /// The part of a fault that comes after the effect.
    async fn after(&self, cx: &Call, after: After) -> Result<(), Failure> {
        match after {
            After::Answer | After::Half => Ok(()),
            After::Lose | After::LoseFirst => Err(lost()),
            After::Hang => {
                cx.cancelled().await;
                Err(Failure::cancelled(Outcome::Unknown))
            }
            After::Crash => {
                self.world.die().await;
                Err(lost())
            }
        }
    }

    fn hold(&self, cx: &Call, behaviour: &Behaviour, inputs: &Value) -> Option<Busy> {
        let mutex = behaviour.schema.mutex.as_ref()?;
        let instance = inputs
            .get(&mutex.property)
            .and_then(Value::as_str)
            .unwrap_or_default();
        Some(Busy::hold(
            &self.world,
            format!("{}/{instance}", mutex.class),
            &cx.urn,
        ))
    }

    /// Waits through the rest of a thing's stages, each with its durable note.
    async fn finish(&self, cx: &Call, b: &Behaviour, id: &Arc<str>, half: bool) -> Result<(), Failure> {
        let each = b.takes / u32::try_from(b.stages.len().max(1)).unwrap_or(1);
        let mut stop = half;
        loop {
            let thing = self.thing(id).ok_or_else(|| not_found(id))?;
            let Some(stage) = thing.missing.first().cloned() else {
                return Ok(());
            };
            let partial = Partial {
                id: id.clone(),
                outputs: thing.outputs(),
                incomplete: thing.missing.clone(),
            };
            let kept = |f: Failure| f.with_outcome(Outcome::Partial(Box::new(partial.clone())));
            if stop {
                return Err(kept(Failure::new(
                    "InternalError",
                    format_args!("could not {stage}"),
                )));
            }
            stop = false;
            cx.checkpoint(&partial).await.map_err(kept)?;
            cx.progress(&stage);
            cx.sleep(each).await.map_err(kept)?;
            self.world
                .lock()
                .things
                .change(id, |thing| thing.missing.retain(|m| *m != stage));
            self.world.changed(&stage, cx);
        }
    }

    fn thing(&self, id: &str) -> Option<Thing> {
        self.world
            .lock()
            .things
            .get(id)
            .filter(|t| t.account == self.account)
            .cloned()
    }

    fn recorded(&self, id: &str, given: &Value) -> Result<Recorded, Failure> {
        let thing = self.thing(id).ok_or_else(|| not_found(id))?;
        let chosen = thing.properties.as_map().into_iter().flat_map(Map::iter);
        let resolved = Value::map(
            chosen
                .filter(|(k, _)| given.get(k).is_none())
                .map(|(k, v)| (k.clone(), v.clone())),
        );
        Ok(Recorded {
            resolved,
            ..Recorded::new(thing.id.clone(), thing.outputs())
        })
    }

    fn make(&self, cx: &Call, kind: &Kind, b: &Behaviour, inputs: &Value) -> Result<Arc<str>, Failure> {
        let mut inner = self.world.lock();
        unresolved(&mut inner, cx, inputs);
        let before = inner.things.made_with(cx.token.as_str()).next();
        if let Some(thing) = before.filter(|_| !b.tokenless) {
            if &*thing.kind != kind.name() || thing.urn != cx.urn {
                return Err(Failure::new(
                    "IdempotentParameterMismatch",
                    "the token was used for something else",
                ));
            }
            return Ok(thing.id.clone());
        }
        let mut properties = inputs.as_map().cloned().unwrap_or_default();
        if b.named && properties.get("name").is_none() {
            properties = properties.with("name", Value::from(format!("made-{}", cx.token.short(16))));
        }
        if kind.name() == "Defaulted" && properties.get("class").is_none() {
            properties = properties.with("class", Value::str("standard"));
        }
        let name = kind.name().to_lowercase();
        inner.next += 1;
        let thing = Thing {
            id: Arc::from(format!("{name}-{}", inner.next)),
            kind: Arc::from(kind.name()),
            account: self.account.clone(),
            urn: cx.urn.clone(),
            lineage: cx.lineage.clone(),
            token: Arc::from(cx.token.as_str()),
            properties: Value::Map(properties),
            version: 0,
            missing: b.stages.iter().map(|s| (*s).to_owned()).collect(),
            visible: cx.now().after(b.lag),
        };
        self.admit(&inner, &thing, b)?;
        *inner.made.entry(cx.urn.clone()).or_default() += 1;
        let id = thing.id.clone();
        inner.things.insert(thing);
        Ok(id)
    }

    /// Refuses a thing that collides, or that needs what is not there.
    fn admit(&self, inner: &Inner, thing: &Thing, b: &Behaviour) -> Result<(), Failure> {
        let other = |t: &&Thing| t.account == self.account && t.id != thing.id;
        let same = |property: &'static str| {
            let value = thing.text(property);
            let mut alike = inner.things.with(&thing.kind, property, value).filter(other);
            alike.any(|t| t.text("box") == thing.text("box"))
        };
        let name = match &*thing.kind {
            "Subnet" => Some("range"),
            "Child" => Some("name"),
            _ => b.named.then_some("name"),
        };
        if let Some(property) = name.filter(|p| same(p)) {
            let what = thing.text(property);
            return Err(Failure::new(
                "AlreadyExists",
                format_args!("{} {what} exists", thing.kind),
            ));
        }
        for id in thing.uses() {
            match inner.things.get(id).filter(other) {
                None => return Err(not_found(id)),
                Some(t) if !t.missing.is_empty() => {
                    return Err(Failure::new("InvalidState", format_args!("{id} is not ready")));
                }
                Some(_) => {}
            }
        }
        let parent = |kind: &str, property: &str| {
            let mut named = inner.things.with(kind, "name", thing.text(property));
            named.any(|t| other(&t))
        };
        match &*thing.kind {
            "Child" if !parent("Box", "box") => Err(not_found(thing.text("box"))),
            "Profile" if !parent("Cluster", "cluster") => Err(not_found(thing.text("cluster"))),
            _ => Ok(()),
        }
    }

    fn remove(&self, id: &str) -> Result<(), Failure> {
        let mut inner = self.world.lock();
        let Some(thing) = inner
            .things
            .get(id)
            .filter(|t| t.account == self.account)
            .cloned()
        else {
            return Ok(());
        };
        let other = |t: &&Thing| t.account == self.account && *t.id != *id;
        let profiles = (&*thing.kind == "Cluster")
            .then(|| inner.things.with("Profile", "cluster", thing.text("name")))
            .into_iter()
            .flatten();
        if let Some(user) = inner.things.users(id).chain(profiles).find(other) {
            let message = format!("{id} is used by {}", user.id);
            return Err(Failure::new("DependencyViolation", message));
        }
        let controller = thing.text("controller");
        if !controller.is_empty() && !inner.things.with("Item", "name", controller).any(|t| other(&t)) {
            return Err(Failure::new(
                "FinalizerStuck",
                format_args!("nobody serves {id}: {controller} is gone"),
            ));
        }
        let inside: Vec<Thing> = match &*thing.kind {
            "Box" => {
                let inside = inner.things.with("Child", "box", thing.text("name"));
                inside.filter(other).cloned().collect()
            }
            "Cluster" => inner
                .things
                .values()
                .filter(|t| *t.account == *id)
                .cloned()
                .collect(),
            _ => Vec::new(),
        };
        for child in inside {
            if child.properties.get("outside") == Some(&Value::Bool(true)) {
                let violation = format!("{id} was deleted while {} had effects outside", child.id);
                inner.violations.push(violation);
            }
            inner.things.remove(&child.id);
        }
        inner.things.remove(id);
        Ok(())
    }

    fn look(&self, cx: &Call, query: &Query) -> Observed {
        let inner = self.world.lock();
        let kind = query.kind().name();
        if let Query::Inputs { inputs, .. } = query
            && kind == "Lookup"
        {
            let fact = inputs.get("fact").and_then(Value::as_str).unwrap_or_default();
            return inner.facts.get(fact).map_or(Observed::Absent, |found| {
                let outputs = Value::map([("found", found.clone())]);
                let id = Arc::from(fact);
                Observed::Present(Box::new(Present {
                    id,
                    properties: inputs.reveal(),
                    outputs,
                    owner: None,
                }))
            });
        }
        let visible = |t: &&Thing| t.account == self.account && &*t.kind == kind && t.visible <= cx.now();
        let found = match query {
            Query::Record(record) => inner.things.get(&record.id).filter(visible),
            Query::Id { id, .. } => inner.things.get(id).filter(visible),
            Query::Inputs { inputs, .. } => {
                let text = |p: &str| inputs.get(p).and_then(Value::as_str).unwrap_or_default();
                let named = self.kinds.get(query.kind()).is_some_and(|b| b.named);
                let mut alike = inner.things.with(kind, "name", text("name")).filter(visible);
                match kind {
                    "Child" => alike.find(|t| t.text("box") == text("box")),
                    _ => alike.next().filter(|_| named),
                }
            }
        };
        found.map_or(Observed::Absent, |thing| {
            let properties = thing
                .properties
                .as_map()
                .map(|m| m.without("password"))
                .unwrap_or_default();
            Observed::Present(Box::new(Present {
                id: thing.id.clone(),
                properties: Value::Map(properties),
                outputs: thing.outputs(),
                owner: (!thing.lineage.is_empty()).then(|| Owner {
                    lineage: thing.lineage.clone(),
                    urn: Some(thing.urn.clone()),
                }),
            }))
        })
    }
}

fn lost() -> Failure {
    Failure::new("ConnectionReset", "the answer was lost")
        .with_outcome(Outcome::Unknown)
        .with_retry(Retry::Yes)
}

fn not_found(id: &str) -> Failure {
    Failure::new("NotFound", format_args!("{id} does not exist"))
}

/// A correct engine never sends what stands for a value that is not known yet.
fn unresolved(inner: &mut Inner, cx: &Call, inputs: &Value) {
    let text = inputs.to_string();
    if text.contains("(known after") || text.contains("${") {
        inner
            .violations
            .push(format!("{} was sent an unresolved value: {inputs}", cx.urn));
    }
}

#[async_trait]
impl Connection for FakeConnection {
    fn identity(&self) -> &str {
        &self.identity
    }

    async fn observe(&self, cx: &Call, queries: &[Query]) -> Vec<Result<Observed, Failure>> {
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            let (kind, now) = (query.kind().name(), cx.now());
            let answer = match self.world.enter(Api::Observe, kind, query.urn(), now) {
                None => Ok(self.look(cx, query)),
                Some(Effect::Crash { .. }) => {
                    self.world.die().await;
                    Err(lost())
                }
                Some(Effect::Delay(time)) => cx.sleep(time).await.map(|()| self.look(cx, query)),
                Some(_) => Err(Failure::new("ServiceUnavailable", "cannot read now").with_retry(Retry::Yes)),
            };
            answers.push(answer);
        }
        answers
    }

    async fn create(&self, cx: &Call, kind: &Kind, inputs: &Resolved) -> Result<Recorded, Failure> {
        let b = self.behaviour(kind)?;
        let inputs = inputs.reveal();
        let _busy = self.hold(cx, b, &inputs);
        let after = self.before(cx, Api::Create, kind).await?;
        let id = self.make(cx, kind, b, &inputs)?;
        self.world.changed("create", cx);
        if matches!(after, After::LoseFirst) {
            return Err(lost());
        }
        if b.stages.is_empty() {
            if !b.takes.is_zero() {
                cx.sleep(b.takes)
                    .await
                    .map_err(|f| f.with_outcome(Outcome::Unknown))?;
            }
        } else {
            self.finish(cx, b, &id, matches!(after, After::Half)).await?;
        }
        self.after(cx, after).await?;
        self.recorded(&id, &inputs)
    }

    async fn update(&self, cx: &Call, record: &Record, inputs: &Resolved) -> Result<Recorded, Failure> {
        let b = self.behaviour(&record.kind)?;
        let inputs = inputs.reveal();
        let _busy = self.hold(cx, b, &inputs);
        let _self = Busy::hold(&self.world, record.id.to_string(), &cx.urn);
        let after = self.before(cx, Api::Update, &record.kind).await?;
        {
            let mut inner = self.world.lock();
            unresolved(&mut inner, cx, &inputs);
            let mut thing = inner
                .things
                .get(&record.id)
                .filter(|t| t.account == self.account)
                .cloned()
                .ok_or_else(|| not_found(&record.id))?;
            for field in b.schema.inputs.fields.iter().filter(|f| f.immutable) {
                let new = inputs.get(&field.name);
                if new.is_some() && new != thing.properties.get(&field.name) {
                    return Err(Failure::new(
                        "InvalidParameter",
                        format_args!("{} cannot change", field.name),
                    ));
                }
            }
            let sticky = Map::from_iter(
                ["name", "class"]
                    .iter()
                    .filter_map(|k| Some((*k, thing.properties.get(k)?.clone()))),
            );
            let defaults = Value::Map(match (b.named, record.kind.name()) {
                (true, _) | (_, "Defaulted") => sticky,
                _ => Map::default(),
            });
            let properties = defaults.merged(&inputs);
            if properties != thing.properties {
                thing.properties = properties;
                thing.version += 1;
            }
            if thing.lineage.is_empty() {
                thing.lineage = cx.lineage.clone();
                thing.urn = cx.urn.clone();
            }
            self.admit(&inner, &thing, b)?;
            inner.things.insert(thing);
        }
        self.world.changed("update", cx);
        if matches!(after, After::LoseFirst) {
            return Err(lost());
        }
        self.finish(cx, b, &record.id, matches!(after, After::Half))
            .await?;
        self.after(cx, after).await?;
        self.recorded(&record.id, &inputs)
    }

    async fn delete(&self, cx: &Call, record: &Record) -> Result<(), Failure> {
        let b = self.behaviour(&record.kind)?;
        let _busy = self.hold(cx, b, &record.applied);
        let _self = Busy::hold(&self.world, record.id.to_string(), &cx.urn);
        let after = self.before(cx, Api::Delete, &record.kind).await?;
        if !b.delete_takes.is_zero() && self.thing(&record.id).is_some() {
            cx.progress("DELETING");
            cx.sleep(b.delete_takes)
                .await
                .map_err(|f| f.with_outcome(Outcome::Unknown))?;
        }
        self.remove(&record.id)?;
        self.world.changed("delete", cx);
        self.after(cx, after).await
    }

    async fn recover(&self, cx: &Call, intent: &Intent) -> Result<Recovered, Failure> {
        let after = self.before(cx, Api::Recover, &intent.kind).await?;
        self.after(cx, after).await?;
        let given = intent.inputs.reveal();
        let first = cx.now();
        let what_is = |thing: &Thing| {
            if thing.missing.is_empty() {
                self.recorded(&thing.id, &given).map(Recovered::Done)
            } else {
                let (id, outputs) = (thing.id.clone(), thing.outputs());
                Ok(Recovered::Partial(Partial {
                    id,
                    outputs,
                    incomplete: thing.missing.clone(),
                }))
            }
        };
        match (intent.operation, &intent.record) {
            (Operation::Create, _) => loop {
                let found = {
                    let inner = self.world.lock();
                    let mut mine = inner.things.made_with(intent.token.as_str());
                    mine.find(|t| t.visible <= cx.now()).cloned()
                };
                if let Some(thing) = found {
                    return what_is(&thing);
                }
                if !self.behaviour(&intent.kind)?.tokenless || cx.now().since(first) >= QUIET {
                    return Ok(Recovered::NotDone);
                }
                cx.sleep(Duration::from_secs(1)).await?;
            },
            (Operation::Delete, Some(record)) => Ok(if self.thing(&record.id).is_some() {
                Recovered::NotDone
            } else {
                Recovered::Deleted
            }),
            (Operation::Update, Some(record)) => {
                let thing = self.thing(&record.id).ok_or_else(|| not_found(&record.id))?;
                let applied = given.as_map().into_iter().flat_map(Map::iter);
                let mut same = applied.map(|(k, v)| thing.properties.get(k) == Some(v));
                let before = record.applied.as_map().into_iter().flat_map(Map::keys);
                let mut dropped =
                    before.filter(|k| given.get(k).is_none() && !["name", "class"].contains(&&***k));
                let gone = dropped.all(|k| thing.properties.get(k).is_none());
                if gone && same.all(|s| s) {
                    what_is(&thing)
                } else {
                    Ok(Recovered::NotDone)
                }
            }
            _ => Ok(Recovered::NotDone),
        }
    }
}
