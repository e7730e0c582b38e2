//! The clouds that runs meet, and what is left of one when a process dies.

use std::io;

use epid_sandbox::store::Stored;
use epid_sandbox::{MemoryStore, WorldStore};

use crate::moments::Recorder;

/// Which cloud a run meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// AWS and Kubernetes in the sandbox, through the real providers.
    Sandbox,
    /// The strict fake cloud, through a provider of its own.
    Fake,
}

/// A cloud as it is at one moment.
#[derive(Debug, Clone)]
pub enum Left {
    /// What the store of a sandbox holds.
    Sandbox(Stored),
    /// A copy that nobody changes.
    Fake(epid_fake::World),
}

/// What the lookups of the fake cloud find.
const FACTS: [(&str, &str); 4] = [("f0", "x"), ("f1", "x"), ("f2", "y"), ("f3", "z")];

impl Left {
    /// A cloud in which there is nothing yet.
    #[must_use]
    pub fn nothing(on: On) -> Self {
        match on {
            On::Sandbox => Self::Sandbox(Stored::default()),
            On::Fake => {
                let world = epid_fake::World::new();
                for (fact, found) in FACTS {
                    world.set_fact(fact, found);
                }
                Self::Fake(world)
            }
        }
    }

    /// A cloud to run on, which is this one now. What happens there does not change this.
    #[must_use]
    pub fn restored(&self) -> Cloud {
        match self {
            Self::Sandbox(stored) => Cloud::Sandbox {
                store: MemoryStore::of(stored.clone()),
                recorder: None,
            },
            Self::Fake(world) => Cloud::Fake(world.copy()),
        }
    }
}

/// A cloud to run on.
pub enum Cloud {
    /// The sandbox.
    Sandbox {
        /// What it is kept in.
        store: MemoryStore,
        /// Who records what happens.
        recorder: Option<Recorder>,
    },
    /// The fake cloud.
    Fake(epid_fake::World),
}

impl Cloud {
    /// The same cloud; what happens in it is recorded.
    #[must_use]
    pub fn recorded(self, recorder: &Recorder) -> Self {
        match self {
            Self::Sandbox { store, .. } => Self::Sandbox {
                store,
                recorder: Some(recorder.clone()),
            },
            Self::Fake(world) => {
                let recorder = recorder.clone();
                world.watch(move |world, what| {
                    recorder.happened(Left::Fake(world.copy()), Some(what.to_owned()));
                });
                Self::Fake(world)
            }
        }
    }
}

/// The store of a sandbox that may be recorded.
pub(crate) struct Recording {
    pub(crate) store: MemoryStore,
    pub(crate) recorder: Option<Recorder>,
}

impl Recording {
    fn happened(&mut self, after: Option<String>) -> io::Result<()> {
        if let Some(recorder) = &self.recorder {
            recorder.happened(Left::Sandbox(self.store.load()?), after);
        }
        Ok(())
    }
}

impl WorldStore for Recording {
    fn load(&mut self) -> io::Result<Stored> {
        self.store.load()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.store.append(bytes)?;
        self.happened(request(bytes))
    }

    fn replace(&mut self, snapshot: &[u8]) -> io::Result<()> {
        self.store.replace(snapshot)?;
        self.happened(None)
    }
}

/// What a line of the world's log asked for, in a few words; `None` where only time passed.
fn request(line: &[u8]) -> Option<String> {
    let line: serde_json::Value = serde_json::from_slice(line).ok()?;
    let request = line.get("request")?;
    let text = |key: &str| {
        request
            .get(key)
            .and_then(|v| v.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let body = text("body");
    let action = body.split('&').find_map(|part| part.strip_prefix("Action="));
    Some(match action {
        Some(action) => action.to_owned(),
        None => format!("{} {}", text("method"), text("path")),
    })
}
