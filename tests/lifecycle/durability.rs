//! Nothing relies on what is not durable. Every write of the journal is held back until nobody can go on without it, and until
//! it is let go no call is sent that needs what it holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use epid::graph::ResourceGraph;
use epid::plan::Mode;
use epid::state::blobs::{BlobError, Blobs, FolderBlobs, Lock, Log};
use epid::state::{Entropy, Holder, KeyRing, Location, Opening, Session, Snapshot, Store};
use epid_fake::Api;
use epid_provider::{Timestamp, Urn};
use tokio::sync::{mpsc, oneshot};

use crate::objects::Bucket;
use crate::stack::{Stack, on_clock, urn};

const WIDE: usize = 10;
const DEEP: usize = 4;

/// What is held back of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// The write.
    All,
    /// The answer: it took effect, and nobody was told.
    Answer,
}

/// Where writes of the journal wait.
#[derive(Debug, Clone)]
struct Gate {
    kept: Kept,
    waiting: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

impl Gate {
    async fn pass(&self, kept: Kept) {
        if self.kept == kept {
            let (go, gone) = oneshot::channel();
            self.waiting.send(go).unwrap();
            gone.await.unwrap();
        }
    }
}

/// Blobs whose logs grow only when they are let.
#[derive(Debug)]
struct Gated<B> {
    inner: B,
    gate: Gate,
}

#[derive(Debug)]
struct GatedLog {
    inner: Box<dyn Log>,
    gate: Gate,
}

#[async_trait]
impl<B: Blobs> Blobs for Gated<B> {
    fn describe(&self, name: &str) -> String {
        self.inner.describe(name)
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BlobError> {
        self.inner.get(name).await
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), BlobError> {
        self.inner.put(name, bytes).await
    }

    async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool, BlobError> {
        self.inner.put_new(name, bytes).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, BlobError> {
        self.inner.list(folder).await
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.inner.delete(name).await
    }

    async fn start_log(&self, name: &str, first: Vec<u8>) -> Result<Option<Box<dyn Log>>, BlobError> {
        self.gate.pass(Kept::All).await;
        let log = self.inner.start_log(name, first).await?;
        self.gate.pass(Kept::Answer).await;
        let gate = self.gate.clone();
        Ok(log.map(|inner| Box::new(GatedLog { inner, gate }) as Box<dyn Log>))
    }

    async fn fence(&self, name: &str) -> Result<(), BlobError> {
        self.inner.fence(name).await
    }

    async fn settle(&self, name: &str) -> Result<(), BlobError> {
        self.inner.settle(name).await
    }

    async fn sweep(&self, folder: &str) -> Result<(), BlobError> {
        self.inner.sweep(folder).await
    }

    async fn lock(&self, name: &str, who: &Holder) -> Result<Lock, BlobError> {
        self.inner.lock(name, who).await
    }
}

#[async_trait]
impl Log for GatedLog {
    async fn append(&mut self, bytes: Vec<u8>) -> Result<(), BlobError> {
        self.gate.pass(Kept::All).await;
        self.inner.append(bytes).await?;
        self.gate.pass(Kept::Answer).await;
        Ok(())
    }
}

fn name(layer: usize, at: usize) -> String {
    format!("n{layer}x{at}")
}

/// Layers of items, each of which uses two of the layer before. `value` is of the first one.
fn text(value: &str) -> String {
    let mut resources = Vec::new();
    for layer in 0..DEEP {
        for at in 0..WIDE {
            let uses: Vec<String> = needs(layer, at)
                .map(|need| format!(r#""${{{need}.id}}""#))
                .collect();
            // What a change of the first layer comes to in the next ones is known only once it was made.
            let value = match needs(layer, at).next() {
                Some(need) => format!("${{{need}.version}}"),
                None => value.to_owned(),
            };
            resources.push(format!(
                r#""{}": {{"type": "Item", "properties": {{"value": "{value}", "uses": [{}]}}}}"#,
                name(layer, at),
                uses.join(", ")
            ));
        }
    }
    format!("{{{}}}", resources.join(", "))
}

fn needs(layer: usize, at: usize) -> impl Iterator<Item = String> {
    let above = layer.checked_sub(1).into_iter();
    above.flat_map(move |above| [at, (at + 1) % WIDE].map(|at| name(above, at)))
}

/// What each item needs.
fn all() -> BTreeMap<String, Vec<String>> {
    let items = (0..DEEP).flat_map(|layer| (0..WIDE).map(move |at| (layer, at)));
    items
        .map(|(layer, at)| (name(layer, at), needs(layer, at).collect()))
        .collect()
}

/// Where the state is, and who reads it.
struct Place {
    keys: tempfile::TempDir,
    folder: tempfile::TempDir,
    bucket: Option<Bucket>,
}

/// When every process begins.
const START: u64 = 1_800_000_000_000;

impl Place {
    fn store(&self, gate: Option<&Gate>) -> Store {
        match &self.bucket {
            Some(bucket) => self.of(bucket.blobs(START), gate),
            None => self.of(FolderBlobs::new(self.folder.path()), gate),
        }
    }

    fn of<B: Blobs + 'static>(&self, inner: B, gate: Option<&Gate>) -> Store {
        let entropy: Entropy = Arc::new(|bytes: &mut [u8]| {
            bytes.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
            Ok(())
        });
        let keys = KeyRing::new(self.keys.path());
        match gate.cloned() {
            Some(gate) => Store::new(Arc::new(Gated { inner, gate }), keys, entropy),
            None => Store::new(Arc::new(inner), keys, entropy),
        }
    }

    /// The state as who comes after a crash finds it.
    async fn durable(&self) -> Snapshot {
        let read = self.store(None).read(&location()).await;
        read.unwrap().unwrap().0
    }
}

fn location() -> Location {
    Location::new("local", "p", "s")
}

/// A call may be sent by what is known to be durable: its own begin, and the end of whatever it needs.
fn allowed(api: Api, of: &Urn, durable: &Snapshot) {
    let all = all();
    let needs = &all[of.path()];
    let settled = |name: &str| {
        let urn = urn("Item", name);
        assert!(
            durable.intents.values().all(|intent| *intent.entry.urn() != urn),
            "{api:?} of {of} was sent before the end of {name} was durable"
        );
        durable.live(&urn).cloned()
    };
    assert!(
        durable.intents.values().any(|intent| intent.entry.urn() == of),
        "{api:?} of {of} was sent before its begin was durable"
    );
    if api == Api::Delete {
        for (user, _) in all
            .iter()
            .filter(|(_, needs)| needs.iter().any(|n| n == of.path()))
        {
            assert!(
                settled(user).is_none(),
                "{of} went before {user} was durably gone"
            );
        }
    } else {
        for need in needs {
            assert!(
                settled(need).is_some(),
                "{of} was sent before {need} was durably there"
            );
        }
    }
}

/// Lets the writes of one run go, one after the other, and looks at what was called before each.
async fn watched(
    stack: &Stack,
    place: &Place,
    kept: Kept,
    run: &mut mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    plan: epid::plan::Plan,
) -> (usize, bool) {
    let (ended, mut end) = oneshot::channel();
    let mut durable = place.durable().await;
    let mut seen = stack.world.calls().len();
    let mut check = |durable: &Snapshot| {
        let calls = stack.world.calls();
        let changing = |(api, _): &&(Api, Urn)| matches!(api, Api::Create | Api::Update | Api::Delete);
        for (api, urn) in calls[seen..].iter().filter(changing) {
            allowed(*api, urn, durable);
        }
        seen = calls.len();
    };
    let applying = async {
        let ran = stack.apply(plan).await;
        assert!(ran.outcome.is_success(), "{:#?}", ran.outcome);
        ended.send(()).unwrap();
    };
    let watching = async {
        let (mut writes, mut waited) = (0, false);
        loop {
            let go = tokio::select! {
                biased;
                _ = &mut end => break,
                go = run.recv() => go.unwrap(),
            };
            // This clock moves on once nobody can go on: whoever does not wait for the write has made their call.
            #[expect(clippy::disallowed_methods, reason = "the clock of this test, which jumps")]
            tokio::time::sleep(Duration::from_secs(60)).await;
            if kept == Kept::All {
                durable = place.durable().await;
            }
            check(&durable);
            waited |= stack.snapshot().entries != durable.entries;
            if kept == Kept::Answer {
                durable = place.durable().await;
            }
            writes += 1;
            go.send(()).unwrap();
        }
        check(&place.durable().await);
        (writes, waited)
    };
    let ((), watched) = tokio::join!(applying, watching);
    watched
}

/// How many calls changed something so far.
fn sent(stack: &Stack) -> usize {
    let count = |api| stack.world.count(api);
    count(Api::Create) + count(Api::Update) + count(Api::Delete)
}

async fn no_call_overtakes(bucket: Option<Bucket>, kept: Kept) {
    let place = Place {
        keys: tempfile::tempdir().unwrap(),
        folder: tempfile::tempdir().unwrap(),
        bucket,
    };
    let (waiting, mut arrivals) = mpsc::unbounded_channel();
    let gate = Gate { kept, waiting };
    let opening = Opening::new(Holder {
        pid: 1,
        user: "u".into(),
        host: "h".into(),
        since: Timestamp(START),
        command: "epid up".into(),
        job: None,
    });
    let session = Session::open(&place.store(Some(&gate)), &location(), opening.create()).await;
    let mut stack = Stack::new();
    stack.session = Arc::new(session.unwrap());
    for wanted in [Some("one"), Some("two"), None] {
        let plan = match wanted {
            Some(value) => stack.plan(&stack.graph(&text(value)), Mode::Up),
            None => stack.plan(&ResourceGraph::empty(), Mode::Destroy),
        };
        let calls = sent(&stack);
        let (writes, waited) = watched(&stack, &place, kept, &mut arrivals, plan).await;
        assert_eq!(sent(&stack) - calls, DEEP * WIDE, "{wanted:?}");
        assert!(waited, "{wanted:?}: nothing was ever held back");
        // In groups: a layer's begins, and its ends with the begins of the next.
        assert!(writes < 2 * DEEP + 4, "{wanted:?}: {writes} writes");
    }
    stack.world.assert_clean();
}

#[test]
fn no_call_overtakes_the_journal_in_a_folder() {
    for kept in [Kept::All, Kept::Answer] {
        on_clock(no_call_overtakes(None, kept));
    }
}

#[test]
fn no_call_overtakes_the_journal_in_a_bucket() {
    for kept in [Kept::All, Kept::Answer] {
        on_clock(no_call_overtakes(Some(Bucket::default()), kept));
    }
}
