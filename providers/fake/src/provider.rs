//! The provider `fake`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use epid_provider::{
    Bond, Call, Connection, Desired, Failure, Field, Key, Kind, KindSchema, Links, Object, Provider,
    Requirement, Resolved, Type, Value,
};

use crate::connection::FakeConnection;
use crate::fault::{Api, Effect};
use crate::kinds::{Behaviour, all};
use crate::world::World;

/// The provider of a fake cloud.
#[derive(Debug, Clone)]
pub struct Fake {
    world: World,
    kinds: Arc<BTreeMap<Kind, Behaviour>>,
    config: Arc<KindSchema>,
}

impl Fake {
    /// The provider of `world`.
    ///
    /// # Panics
    /// Never: the kind of its configuration is a constant.
    #[must_use]
    pub fn new(world: World) -> Self {
        let kind = Kind::parse("epid:provider:fake").unwrap_or_else(|error| unreachable!("{error}"));
        let fields = [
            Field::new("account", Type::String)
                .default("main")
                .doc("Where its things live: another one is another cloud."),
            Field::new("cluster", Type::String)
                .immutable()
                .doc("The id of a cluster in which its things live, and with which they die; in place of `account`."),
            Field::new("endpoint", Type::String).doc("Where it is reached; no matter for what exists."),
            Field::new("secretKey", Type::String).secret(),
        ];
        Self {
            world,
            kinds: Arc::new(all().into_iter().map(|b| (b.schema.kind.clone(), b)).collect()),
            config: Arc::new(KindSchema::new(kind, "A fake cloud.", Object::of(fields))),
        }
    }

    /// The cloud itself.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }
}

#[async_trait]
impl Provider for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn kinds(&self) -> Vec<Kind> {
        self.kinds.keys().cloned().collect()
    }

    fn schema(&self, kind: &Kind) -> Option<Arc<KindSchema>> {
        self.kinds.get(kind).map(|b| b.schema.clone())
    }

    fn config(&self) -> Arc<KindSchema> {
        self.config.clone()
    }

    fn identity(&self, kind: &Kind, inputs: &Value) -> Option<Key> {
        let part = |name: &str| inputs.get(name).map(Value::expose).and_then(Value::as_str);
        let behaviour = self.kinds.get(kind)?;
        let key = if kind.name() == "Child" {
            format!("Child/{}/{}", part("box")?, part("name")?)
        } else if behaviour.named {
            format!("{}/{}", kind.name(), part("name")?)
        } else {
            return None;
        };
        Some(Key::new(&key))
    }

    fn links(&self, desired: &Desired) -> Links {
        let part = |name: &str| desired.properties.get(name).and_then(Value::as_str);
        let mut links = Links::default();
        match (desired.kind.name(), part("name"), part("box").or(part("cluster"))) {
            ("Cluster", Some(name), _) => links.provides.push(Arc::from(format!("cluster/{name}"))),
            ("Profile", _, Some(cluster)) => links.requires.push(Requirement {
                what: Arc::from(format!("cluster/{cluster}")),
                bond: Bond::Upon,
            }),
            ("Box", Some(name), _) => links.provides.push(Arc::from(format!("box/{name}"))),
            ("Child", _, Some(parent)) => {
                let what = Arc::from(format!("box/{parent}"));
                links.requires.push(Requirement {
                    what,
                    bond: Bond::Inside,
                });
                links.outside = desired
                    .properties
                    .get("outside")
                    .and_then(Value::as_bool)
                    .unwrap_or_default();
            }
            _ => {}
        }
        links
    }

    async fn connect(&self, cx: &Call, config: &Resolved) -> Result<Arc<dyn Connection>, Failure> {
        match self.world.enter(Api::Connect, "provider", &cx.urn, cx.now()) {
            Some(Effect::Crash { .. }) => self.world.die().await,
            Some(Effect::Delay(time)) => cx.sleep(time).await?,
            Some(_) => return Err(Failure::new("Unauthorized", "the credentials are not accepted")),
            None => {}
        }
        let text = |name: &str| config.get(name).and_then(Value::as_str);
        if let Some(cluster) = text("cluster")
            && self.world.lock().things.get(cluster).is_none()
        {
            let message = format!("nobody answers: there is no cluster {cluster}");
            return Err(Failure::new("Unreachable", message));
        }
        let account = text("cluster").or_else(|| text("account")).unwrap_or("main");
        Ok(Arc::new(FakeConnection::new(
            self.world.clone(),
            self.kinds.clone(),
            account,
        )))
    }
}
