//! The connections of a run: one for each recorded provider, made when it is first needed.

use std::collections::BTreeMap;
use std::sync::Arc;

use epid_provider::{Call, Connection, Failure, Kind, Provider, Resolved};
use tokio::sync::OnceCell;

use super::event::Trouble;
use crate::graph::{Providers, elsewhere};
use crate::state::{RecordKey, Snapshot};

type Cell = Arc<OnceCell<Arc<dyn Connection>>>;

/// The connections that were made, by the provider's record; kinds that need no provider share one by its name.
#[derive(Default)]
pub(super) struct Connections {
    recorded: BTreeMap<RecordKey, Cell>,
    free: BTreeMap<String, Cell>,
}

/// How to get a connection.
#[derive(Clone)]
pub(super) struct Source {
    provider: Arc<dyn Provider>,
    config: Resolved,
    /// What it must be connected to, where that is recorded.
    identity: Option<Arc<str>>,
    cell: Cell,
}

impl Connections {
    /// Where the connection of a provider's record comes from; without a record, that of a kind that needs none.
    pub(super) fn source(
        &mut self,
        snapshot: &Snapshot,
        providers: &Providers,
        key: Option<&RecordKey>,
        kind: &Kind,
    ) -> Result<Source, Trouble> {
        let unknown = |kind: &Kind| {
            Trouble::new(
                "UnknownProvider",
                format!("this epid has no provider `{}`", kind.provider()),
            )
        };
        let Some(key) = key else {
            let provider = providers.of(kind).ok_or_else(|| unknown(kind))?.clone();
            let cell = self.free.entry(provider.name().to_owned()).or_default().clone();
            return Ok(Source {
                provider,
                config: Resolved::default(),
                identity: None,
                cell,
            });
        };
        let entry = snapshot.get(key).ok_or_else(|| {
            Trouble::new(
                "ProviderMissing",
                format!("provider `{}` is not in the state", key.urn.path()),
            )
        })?;
        let provider = providers
            .of(&entry.record.kind)
            .ok_or_else(|| unknown(&entry.record.kind))?
            .clone();
        let config = Resolved::new(entry.record.applied.clone()).map_err(|error| {
            Trouble::new(
                "Unresolved",
                format!("the configuration of provider `{}` is {error}", key.urn.path()),
            )
        })?;
        let cell = self.recorded.entry(key.clone()).or_default().clone();
        Ok(Source {
            provider,
            config,
            identity: entry.identity.clone(),
            cell,
        })
    }

    /// Takes a connection that was made for a provider's record.
    pub(super) fn put(&mut self, key: RecordKey, connection: Arc<dyn Connection>) {
        self.recorded
            .insert(key, Arc::new(OnceCell::new_with(Some(connection))));
    }
}

impl Source {
    /// The connection, made now where it was not yet.
    pub(super) async fn get(&self, cx: &Call) -> Result<Arc<dyn Connection>, Failure> {
        let connect = || async {
            let connection = self.provider.connect(cx, &self.config).await?;
            match &self.identity {
                Some(recorded) if **recorded != *connection.identity() => {
                    Err(elsewhere(recorded, connection.identity()))
                }
                _ => Ok(connection),
            }
        };
        self.cell.get_or_try_init(connect).await.cloned()
    }
}
