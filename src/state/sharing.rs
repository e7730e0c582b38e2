//! What stacks have of one another: published outputs, and marks of who uses them.

use std::collections::BTreeMap;
use std::sync::Arc;

use epid_provider::Map;
use serde::{Deserialize, Serialize};

use super::error::StateError;
use super::format::value::Stored;
use super::format::{Damage, document};
use super::keys::StackKeys;
use super::keys::cipher::NotAuthentic;
use super::keys::key::Key;
use super::location::Location;
use super::names;
use super::snapshot::{FORMAT, Snapshot};
use super::store::{Store, off_thread};

pub(super) const CLOSING: &str = "closing";
const OUTPUTS: &str = "outputs";
const PURPOSE: &str = "epid outputs 1";
const CONSUMERS: &str = "consumers";

/// The outputs of a stack as other stacks see them.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    /// The values, secrets marked.
    pub values: Map,
    /// The values with a digest in place of each secret: equal secrets of one stack have equal digests.
    pub digests: Map,
    /// A keyed digest of the values: equal values of one stack have equal digests. Plans pin it.
    pub digest: String,
    /// The serial of the state that they are of.
    pub serial: u64,
    /// The lineage of the stack.
    pub lineage: Arc<str>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OutputsHead {
    epid: String,
    format: u32,
    project: Arc<str>,
    stack: Arc<str>,
    world: Arc<str>,
    lineage: Arc<str>,
    serial: u64,
    digest: String,
    /// The keys of this document, sealed with the key of the stack and with that of each consumer, by the id of that key.
    keys: BTreeMap<String, String>,
    /// The id of the stack's own key.
    key: String,
}

/// The mark of a consumer. It holds no secrets.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Marker {
    epid: String,
    format: u32,
    project: String,
    stack: String,
    /// The id of the consumer's key, where it has a state already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl Store {
    /// The published outputs of a stack; `None` where it has published none. Any key that the document was sealed for opens it:
    /// the stack's own, or a consumer's.
    ///
    /// # Errors
    /// [`StateError::MissingKey`] where no such key is here, [`StateError::Elsewhere`] where they have moved,
    /// [`StateError::Corrupt`], [`StateError::Newer`], [`StateError::Misplaced`], [`StateError::Io`].
    pub async fn outputs(&self, producer: &Location) -> Result<Option<Outputs>, StateError> {
        let name = names::file(producer, OUTPUTS);
        let Some(bytes) = self.blobs.get(&name).await? else {
            self.stays(producer).await?;
            return Ok(None);
        };
        let (file, store, producer) = (self.blobs.describe(&name), self.clone(), producer.clone());
        off_thread(move || store.open_outputs(&bytes, file, producer))
            .await
            .map(Some)
    }

    fn open_outputs(&self, bytes: &[u8], file: String, producer: Location) -> Result<Outputs, StateError> {
        let damaged =
            |damage: Damage| damage.of(file.clone(), "run `epid up` in that stack to publish them anew");
        let head: OutputsHead = document::head(bytes, OUTPUTS).map_err(damaged)?;
        document::check(bytes).map_err(damaged)?;
        let found = Location::new(&head.world, &head.project, &head.stack);
        if found != producer {
            return Err(StateError::Misplaced {
                file,
                location: producer,
                found,
            });
        }
        let mut opened = None;
        for (id, wrapped) in self.easiest_first(&head.keys) {
            if opened.is_some() && !self.keys.asks_nobody(id) {
                break;
            }
            match self.keys.at_hand(id)? {
                // Of two keys, rather one that opens secrets too.
                Some(key @ Key::Whole(_)) => {
                    opened = Some((id, wrapped, key));
                    break;
                }
                Some(part) if StackKeys::is_parted(wrapped) => opened = Some((id, wrapped, part)),
                _ => {}
            }
        }
        let Some((id, wrapped, key)) = opened else {
            let what = format!("the outputs of {producer}");
            return Err(match self.keys.open(&head.key, &what) {
                Err(missing) => missing,
                Ok(_) => damaged(Damage::at(0, "it does not name the key of its stack")),
            });
        };
        let keys =
            StackKeys::unwrap(id, wrapped, &key, &head.lineage, &self.entropy).map_err(|NotAuthentic| {
                damaged(Damage::at(0, "its keys were not sealed with the key it names"))
            })?;
        let clear = document::open(bytes, keys.state(), PURPOSE).map_err(damaged)?;
        let stored = Stored::from_json(&clear)
            .map_err(|e| damaged(Damage::at(0, format!("its content cannot be read: {e}"))))?;
        let values = keys.restore(stored);
        let digests = keys.with_digests(&values);
        Ok(Outputs {
            values: values.as_map().cloned().unwrap_or_default(),
            digests: digests.as_map().cloned().unwrap_or_default(),
            digest: head.digest,
            serial: head.serial,
            lineage: head.lineage,
        })
    }

    /// Sealed keys by the ids of what opens them: first those for which nobody is asked.
    fn easiest_first<'a>(&self, keys: &'a BTreeMap<String, String>) -> Vec<(&'a String, &'a String)> {
        let mut keys: Vec<_> = keys.iter().collect();
        keys.sort_by_cached_key(|(id, _)| !self.keys.asks_nobody(id));
        keys
    }

    /// Seals published outputs anew for the keys that the stack and its consumers have now. Whoever could read them, can.
    pub(super) async fn reseal_outputs(&self, producer: &Location, id: &str) -> Result<(), StateError> {
        let name = names::file(producer, OUTPUTS);
        let Some(bytes) = self.blobs.get(&name).await? else {
            return Ok(());
        };
        let mut readers: Vec<String> = self
            .markers(producer)
            .await?
            .into_iter()
            .filter_map(|m| m.key)
            .collect();
        readers.push(id.to_owned());
        let (file, store, id) = (self.blobs.describe(&name), self.clone(), id.to_owned());
        let sealed = off_thread(move || {
            let damaged = |d: Damage| d.of(file.clone(), "run `epid up` in that stack to publish them anew");
            let mut head: OutputsHead = document::head(&bytes, OUTPUTS).map_err(damaged)?;
            let mut own = None;
            for (reader, wrapped) in store.easiest_first(&head.keys) {
                if let Some(key @ Key::Whole(_)) = store.keys.at_hand(reader)? {
                    own = StackKeys::unwrap(reader, wrapped, &key, &head.lineage, &store.entropy).ok();
                }
                if own.is_some() {
                    break;
                }
            }
            let Some(mut own) = own else {
                // Without a key nothing can be said of it here; who has one can still read it.
                return Ok(None);
            };
            let mut clear = document::open(&bytes, own.state(), PURPOSE).map_err(damaged)?;
            // A key that is not here belongs to a consumer elsewhere, who still needs it.
            let mut kept = BTreeMap::new();
            for (reader, wrapped) in std::mem::take(&mut head.keys) {
                if store.keys.at_hand(&reader)?.is_none() {
                    kept.insert(reader, wrapped);
                }
            }
            // Where there is none, whoever has the keys before opens nothing any more.
            if kept.is_empty() {
                let stored = Stored::from_json(&clear);
                let values = own.restore(stored.map_err(|e| damaged(Damage::at(0, e.to_string())))?);
                own = own.draw_for_sharing()?;
                let stored = own.store(&values)?.to_json();
                clear = stored.map_err(|error| StateError::Abandoned(error.to_string()))?;
            }
            for reader in &readers {
                if let Some(Key::Whole(key)) = store.keys.at_hand(reader)? {
                    kept.insert(reader.clone(), own.wrap(&key, &head.lineage)?);
                }
            }
            (head.keys, head.key, head.format) = (kept, id, FORMAT);
            document::write(&head, &clear, own.state(), PURPOSE, &store.entropy).map(Some)
        });
        match sealed.await? {
            Some(bytes) => Ok(self.blobs.put(&name, bytes).await?),
            None => Ok(()),
        }
    }

    /// Publishes the outputs of a state, for the consumers there are.
    pub(super) async fn publish(
        &self,
        location: &Location,
        snapshot: Snapshot,
        keys: &StackKeys,
    ) -> Result<(), StateError> {
        let mut readers: Vec<String> = self
            .markers(location)
            .await?
            .into_iter()
            .filter_map(|m| m.key)
            .collect();
        readers.push(keys.id().to_owned());
        let (store, keys) = (self.clone(), keys.clone());
        let bytes = off_thread(move || store.seal_outputs(&snapshot, &keys, &readers)).await?;
        Ok(self.blobs.put(&names::file(location, OUTPUTS), bytes).await?)
    }

    fn seal_outputs(
        &self,
        snapshot: &Snapshot,
        keys: &StackKeys,
        readers: &[String],
    ) -> Result<Vec<u8>, StateError> {
        let header = &snapshot.header;
        let own = keys.draw_for_sharing()?;
        let mut wrapped = BTreeMap::new();
        for id in readers {
            if let Some(Key::Whole(key)) = self.keys.at_hand(id)? {
                wrapped.insert(id.clone(), own.wrap(&key, &header.lineage)?);
            }
        }
        let head = OutputsHead {
            epid: OUTPUTS.to_owned(),
            format: FORMAT,
            project: header.project.clone(),
            stack: header.stack.clone(),
            world: header.world.clone(),
            lineage: header.lineage.clone(),
            serial: header.serial,
            digest: keys
                .digest(&epid_provider::Value::Map(snapshot.outputs.clone()))
                .unwrap_or_default(),
            keys: wrapped,
            key: keys.id().to_owned(),
        };
        let clear = own
            .store_map(&snapshot.outputs)?
            .to_json()
            .map_err(|error| StateError::Abandoned(error.to_string()))?;
        document::write(&head, &clear, own.state(), PURPOSE, &self.entropy)
    }

    /// Marks `consumer` as a user of the outputs of `producer`. Do so before its outputs are used.
    ///
    /// # Errors
    /// [`StateError::Closing`] where the producer is being destroyed, [`StateError::AcrossWorlds`], [`StateError::Io`].
    pub async fn add_consumer(&self, producer: &Location, consumer: &Location) -> Result<(), StateError> {
        if producer.world != consumer.world {
            return Err(StateError::AcrossWorlds {
                consumer: consumer.clone(),
                producer: producer.clone(),
            });
        }
        let marker = Marker {
            epid: "consumer".to_owned(),
            format: FORMAT,
            project: consumer.project.to_string(),
            stack: consumer.stack.to_string(),
            key: self.header(consumer).await?.map(|header| header.key.to_string()),
        };
        // Before the mark: one that nobody knew of would never be taken away.
        let note = names::producer(consumer, producer);
        if self.blobs.get(&note).await?.is_none() {
            self.blobs.put(&note, b"epid producer 1\n".to_vec()).await?;
        }
        let name = names::consumer(producer, consumer);
        let text = serde_json::to_vec(&marker).map_err(|error| StateError::Abandoned(error.to_string()))?;
        let before = self.blobs.get(&name).await?;
        if before.as_ref() != Some(&text) {
            self.blobs.put(&name, text).await?;
        }
        // The mark first, then the look: whoever closes does it the other way round, so one of the two sees the other.
        if self.is_closing(producer).await? {
            if before.is_none() {
                self.blobs.delete(&name).await?;
            }
            return Err(StateError::Closing(producer.clone()));
        }
        Ok(())
    }

    /// Takes the mark of `consumer` away. Do so once nothing of it uses the outputs of `producer`.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub async fn remove_consumer(&self, producer: &Location, consumer: &Location) -> Result<(), StateError> {
        self.blobs.delete(&names::consumer(producer, consumer)).await?;
        Ok(self.blobs.delete(&names::producer(consumer, producer)).await?)
    }

    /// The stacks with which `consumer` has left marks, and perhaps more, in order.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub async fn producers(&self, consumer: &Location) -> Result<Vec<Location>, StateError> {
        let notes = self.blobs.list(&names::file(consumer, names::PRODUCERS)).await?;
        Ok(notes.iter().filter_map(|note| names::producer_of(note)).collect())
    }

    /// Takes the published outputs of a stack away: it has nothing to offer any more.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub async fn unpublish(&self, location: &Location) -> Result<(), StateError> {
        Ok(self.blobs.delete(&names::file(location, OUTPUTS)).await?)
    }

    /// The stacks that use the outputs of `producer`, in order.
    ///
    /// # Errors
    /// [`StateError::Corrupt`] where a mark cannot be read, [`StateError::Newer`], [`StateError::Io`].
    pub async fn consumers(&self, producer: &Location) -> Result<Vec<Location>, StateError> {
        let markers = self.markers(producer).await?;
        Ok(markers
            .iter()
            .map(|marker| Location::new(&producer.world, &marker.project, &marker.stack))
            .collect())
    }

    async fn markers(&self, producer: &Location) -> Result<Vec<Marker>, StateError> {
        let mut markers = Vec::new();
        for name in self.blobs.list(&names::file(producer, CONSUMERS)).await? {
            // It may have gone since.
            let Some(bytes) = self.blobs.get(&name).await? else {
                continue;
            };
            let marker = read_marker(&bytes, &name, producer).map_err(|damage| {
                damage.of(
                    self.blobs.describe(&name),
                    "delete it if that stack does not use these outputs any more; while it does, its next run writes it anew",
                )
            })?;
            markers.push(marker);
        }
        Ok(markers)
    }

    /// True while a stack is being destroyed, and after a destroy that did not end.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub async fn is_closing(&self, producer: &Location) -> Result<bool, StateError> {
        Ok(self.blobs.get(&names::file(producer, CLOSING)).await?.is_some())
    }

    /// Says that a stack is being destroyed, unless somebody uses its outputs.
    pub(super) async fn start_closing(&self, location: &Location) -> Result<(), StateError> {
        let already = self.is_closing(location).await?;
        self.blobs
            .put(&names::file(location, CLOSING), b"epid closing 1\n".to_vec())
            .await?;
        let consumers = self.consumers(location).await;
        if consumers.as_ref().is_ok_and(Vec::is_empty) {
            return Ok(());
        }
        if !already {
            self.stop_closing(location).await?;
        }
        let consumers = consumers?;
        let name = |consumer: &Location| format!("{}/{}", consumer.project, consumer.stack);
        Err(StateError::InUse {
            location: location.clone(),
            resources: 0,
            consumers: consumers.iter().map(name).collect(),
        })
    }

    /// Says that a stack is not being destroyed after all.
    pub(super) async fn stop_closing(&self, location: &Location) -> Result<(), StateError> {
        Ok(self.blobs.delete(&names::file(location, CLOSING)).await?)
    }
}

/// The mark that the file `name` holds.
fn read_marker(bytes: &[u8], name: &str, producer: &Location) -> Result<Marker, Damage> {
    let marker: Marker = document::head(&[bytes, b"\n"].concat(), "consumer")?;
    let of = Location::new(&producer.world, &marker.project, &marker.stack);
    if name == names::consumer(producer, &of) {
        Ok(marker)
    } else {
        Err(Damage::at(0, format!("it is the mark of {of}")))
    }
}
