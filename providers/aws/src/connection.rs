//! The provider contract over the table of kinds.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use epid_provider::{
    Call, Connection, Failure, Intent, Kind, Observed, Query, Record, Recorded, Recovered, Resolved,
};

use crate::clients::Clients;
use crate::ids::misfit;
use crate::kind::{self, Cx, Entry};

/// One region of one account.
pub(crate) struct AwsConnection {
    identity: String,
    clients: Clients,
    table: Arc<[Entry]>,
}

impl AwsConnection {
    pub(crate) fn new(clients: Clients, table: Arc<[Entry]>) -> Self {
        Self {
            identity: format!("{}/{}/{}", clients.partition, clients.account, clients.region),
            clients,
            table,
        }
    }

    fn cx<'a>(&'a self, call: &'a Call) -> Cx<'a> {
        Cx {
            call,
            clients: &self.clients,
        }
    }

    fn entry(&self, kind: &Kind) -> Result<&Entry, Failure> {
        find(&self.table, kind)
            .ok_or_else(|| Failure::new("UnknownKind", format_args!("there is no kind {kind}")))
    }
}

/// The entry of a kind.
pub(crate) fn find<'a>(table: &'a [Entry], kind: &Kind) -> Option<&'a Entry> {
    table.iter().find(|entry| entry.schema.kind == *kind)
}

#[async_trait]
impl Connection for AwsConnection {
    fn identity(&self) -> &str {
        &self.identity
    }

    async fn observe(&self, cx: &Call, queries: &[Query]) -> Vec<Result<Observed, Failure>> {
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut misfits: BTreeMap<usize, Result<Observed, Failure>> = BTreeMap::new();
        for (at, query) in queries.iter().enumerate() {
            if let Query::Id { kind, id, .. } = query
                && let Some(failure) = misfit(kind, id)
            {
                misfits.insert(at, Err(failure));
                continue;
            }
            groups.entry(query.kind().as_str()).or_default().push(at);
        }
        let reads = groups.into_values().map(|places| async move {
            let group: Vec<&Query> = places.iter().filter_map(|at| queries.get(*at)).collect();
            let answers = match group.first().map(|query| self.entry(query.kind())) {
                Some(Ok(entry)) => entry.kind.observe(self.cx(cx), &group).await,
                Some(Err(failure)) => vec![Err(failure); group.len()],
                None => Vec::new(),
            };
            places.into_iter().zip(answers).collect::<Vec<_>>()
        });
        let mut answers: BTreeMap<usize, Result<Observed, Failure>> = futures::future::join_all(reads)
            .await
            .into_iter()
            .flatten()
            .chain(misfits)
            .collect();
        let missing = || Err(Failure::new("NoAnswer", "a query was not answered"));
        (0..queries.len())
            .map(|at| answers.remove(&at).unwrap_or_else(missing))
            .collect()
    }

    async fn create(&self, cx: &Call, kind: &Kind, inputs: &Resolved) -> Result<Recorded, Failure> {
        let entry = self.entry(kind)?;
        entry.kind.create(self.cx(cx), &inputs.reveal()).await
    }

    async fn update(&self, cx: &Call, record: &Record, inputs: &Resolved) -> Result<Recorded, Failure> {
        let entry = self.entry(&record.kind)?;
        kind::update(&*entry.kind, self.cx(cx), record, &inputs.reveal()).await
    }

    async fn delete(&self, cx: &Call, record: &Record) -> Result<(), Failure> {
        self.entry(&record.kind)?.kind.delete(self.cx(cx), record).await
    }

    async fn recover(&self, cx: &Call, intent: &Intent) -> Result<Recovered, Failure> {
        self.entry(&intent.kind)?.kind.recover(self.cx(cx), intent).await
    }
}
