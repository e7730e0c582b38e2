//! A running sandbox: a world, a clock, a store, a fault script. It adds to the world what a network and a
//! disk add: latency, throttling, lost answers, memory beyond the process.
//!
//! Everything here works in one current-thread runtime with tokio's clock paused: the only things awaited
//! are timers and notifications, and the store is written synchronously.

use crate::clock::Clock;
use crate::faults::{Buckets, Fault, FaultScript, Past, Player};
use crate::store::WorldStore;
use crate::world::{Admitted, Answer, ClusterWatch, Refusal, World};
use crate::{Timestamp, aws::splitmix};
use bytes::Bytes;
use http_body::Frame;
use serde::{Deserialize, Serialize};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Records after which the log is folded into a snapshot.
const COMPACT_AFTER: u64 = 5_000;
/// How long a connection that nobody answers lasts.
const ABANDONED: Duration = Duration::from_secs(3_600);
/// The version of snapshot and log that this program writes.
const FORMAT: u32 = 1;

/// What stands in the way of an answer: all that a client sees as a broken connection.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The name does not resolve; a cluster's does only some seconds after the cluster is ACTIVE.
    #[error("cannot resolve host {0:?} in the sandbox: no such service or cluster there (yet)")]
    UnknownHost(String),
    /// A scripted fault: the connection broke; whether the request took effect is for the client to find out.
    #[error("connection reset by the sandbox's fault script")]
    Reset,
    /// The process that served the sandbox did not answer, or stopped halfway.
    #[error("the served sandbox did not answer: {0}")]
    Gone(std::io::Error),
    /// The store failed; the sandbox answers nothing any more, so that memory and store cannot part.
    #[error("the sandbox's store failed and it stopped: {0}; free space or fix the store, then start again")]
    Store(String),
    /// The store holds something else than a world of this version.
    #[error(
        "the stored sandbox world cannot be read ({0}); it was written by another version, or damaged: reset the sandbox"
    )]
    Unreadable(String),
    /// The certificate authority could not be made.
    #[error("cannot make the sandbox's certificate authority: {0}")]
    Authority(String),
}

/// How a new world begins, and what happens to requests on their way.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Seed of a world that does not exist yet.
    pub seed: u64,
    /// Whether calls take time: 40 to 80 ms for AWS, 5 to 15 ms for Kubernetes, always the same for the same
    /// sequence of calls. Default true.
    pub latency: bool,
    /// What goes wrong. Default nothing.
    pub faults: FaultScript,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            latency: true,
            faults: FaultScript::default(),
        }
    }
}

/// A handle on a running sandbox; clones share it. Needs a tokio runtime with timers.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Mutex<Inner>>,
    clock: Clock,
    wake: Arc<Notify>,
}

struct Inner {
    world: World,
    authority: Authority,
    store: Box<dyn WorldStore>,
    broken: Option<String>,
    player: Player,
    past: Past,
    buckets: Buckets,
    watches: Vec<(ClusterWatch, mpsc::UnboundedSender<Bytes>)>,
    latency: bool,
    calls: u64,
    /// Number of the next record.
    next: u64,
    /// Records in the log.
    logged: u64,
    /// The moment up to which the store knows that time passed.
    noted: Timestamp,
}

/// The certificate authority of the API servers.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Authority {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    format: u32,
    /// Number of the first record that is not contained.
    next: u64,
    authority: Authority,
    world: World,
}

/// One line of the log: a request that may have changed the world, or only that time passed.
#[derive(Serialize, Deserialize)]
struct Record {
    n: u64,
    at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Admitted>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Opens the world that the store holds, or makes one. The clock is set forward to the world's time
    /// where that is later; read the result with [`Sandbox::clock`].
    ///
    /// # Errors
    /// A store that fails or holds something unreadable.
    pub fn open(
        mut store: Box<dyn WorldStore>,
        clock: Clock,
        settings: Settings,
    ) -> Result<Self, SandboxError> {
        let stored = store.load().map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => SandboxError::Unreadable(error.to_string()),
            _ => SandboxError::Store(error.to_string()),
        })?;
        let unreadable = |error: serde_json::Error| SandboxError::Unreadable(error.to_string());
        let fresh = stored.snapshot.is_none();
        let mut snapshot: Snapshot = match &stored.snapshot {
            Some(bytes) => {
                let version: Version = serde_json::from_slice(bytes).map_err(unreadable)?;
                if version.format != FORMAT {
                    return Err(SandboxError::Unreadable(format!("format {}", version.format)));
                }
                serde_json::from_slice(bytes).map_err(unreadable)?
            }
            None => {
                let authority = crate::serve::make_authority().map_err(SandboxError::Authority)?;
                let mut world = World::new(settings.seed);
                world.set_authority(&authority.certificate);
                Snapshot {
                    format: FORMAT,
                    next: 0,
                    authority,
                    world,
                }
            }
        };
        let player = Player::new(settings.faults);
        let mut past = Past::new(player.looks_back());
        let replayed = replay(&mut snapshot, if fresh { &[] } else { &stored.log }, &mut past)?;
        let clock = clock.not_before(snapshot.world.now());
        let mut inner = Inner {
            world: snapshot.world,
            authority: snapshot.authority,
            store,
            broken: None,
            player,
            past,
            buckets: Buckets::default(),
            watches: Vec::new(),
            latency: settings.latency,
            calls: 0,
            next: snapshot.next,
            logged: 0,
            noted: Timestamp::default(),
        };
        inner.noted = inner.world.now();
        if fresh || replayed > 0 {
            inner.compact()?;
        }
        let sandbox = Self {
            shared: Arc::new(Mutex::new(inner)),
            clock,
            wake: Arc::new(Notify::new()),
        };
        let driver = drive(
            Arc::downgrade(&sandbox.shared),
            sandbox.clock.clone(),
            Arc::clone(&sandbox.wake),
        );
        tokio::spawn(driver);
        Ok(sandbox)
    }

    /// The clock, which clients in the process should read for signing.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The world's name: see [`World::id`].
    pub fn id(&self) -> String {
        self.inner().world.id()
    }

    /// Sends one request and waits for its answer.
    ///
    /// # Errors
    /// See [`SandboxError`]; every HTTP response, errors included, is `Ok`.
    pub async fn call(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<SandboxBody>, SandboxError> {
        let latency = self.inner().latency(&request);
        self.clock.sleep(latency).await;
        let arrival = self.clock.now();
        let admitted = match self.inner().world.admit(arrival, self.clock.wall(), &request) {
            Ok(admitted) => admitted,
            Err(Refusal::UnknownHost(host)) => return Err(SandboxError::UnknownHost(host)),
            Err(Refusal::Response(response)) => return Ok(response.map(SandboxBody::full)),
        };
        let fault = self
            .inner()
            .player
            .next(admitted.service(), &admitted.operation());
        match fault {
            Some(Fault::Throttle) => return Ok(admitted.throttled().map(SandboxBody::full)),
            Some(Fault::ServerError(status)) => {
                return Ok(admitted.server_error(status).map(SandboxBody::full));
            }
            Some(Fault::Expire) => return Ok(admitted.expired().map(SandboxBody::full)),
            Some(Fault::Reset) => return Err(SandboxError::Reset),
            Some(Fault::Hang { after: false }) => {
                self.clock.sleep(ABANDONED).await;
                return Err(SandboxError::Reset);
            }
            Some(Fault::Stale(millis)) => {
                let ago = Duration::from_millis(millis);
                let now = self.clock.now();
                let mut inner = self.inner();
                if let Some(answer) = inner.stale(now.before(ago), &admitted) {
                    inner.look(now)?;
                    return Ok(answer.map(SandboxBody::full));
                }
            }
            Some(Fault::Delay(millis)) => self.clock.sleep(Duration::from_millis(millis)).await,
            Some(Fault::LoseAnswer | Fault::ServerErrorAfter(_) | Fault::Hang { after: true }) | None => {}
        }
        let own_name = crate::aws::route::host(&request).is_some_and(|host| host.ends_with(".amazonaws.com"));
        let answer = self.inner().answer(self.clock.now(), &admitted, own_name);
        self.wake.notify_one();
        match (answer?, fault) {
            (_, Some(Fault::LoseAnswer)) => Err(SandboxError::Reset),
            (_, Some(Fault::ServerErrorAfter(status))) => {
                Ok(admitted.server_error(status).map(SandboxBody::full))
            }
            (_, Some(Fault::Hang { .. })) => {
                self.clock.sleep(ABANDONED).await;
                Err(SandboxError::Reset)
            }
            (response, _) => Ok(response),
        }
    }

    /// Folds the log into the snapshot. Called when the program ends in peace; not needed for correctness.
    ///
    /// # Errors
    /// A store that fails.
    pub fn close(&self) -> Result<(), SandboxError> {
        let now = self.clock.now();
        let mut inner = self.inner();
        inner.pass(now)?;
        inner.compact()
    }

    /// Replaces the world by an empty one with another seed, and so another id. Open watches end.
    ///
    /// # Errors
    /// A store that fails.
    pub fn reset(&self, seed: u64) -> Result<(), SandboxError> {
        let mut inner = self.inner();
        let mut world = World::new(seed);
        world.set_authority(&inner.authority.certificate);
        world.pass_on(&inner.world);
        inner.world = world;
        inner.watches.clear();
        inner.compact()
    }

    pub(crate) fn inner_world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.inner().world)
    }

    pub(crate) fn authority(&self) -> Authority {
        self.inner().authority.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Replays the log onto a snapshot; returns the number of records. A torn last line is left out: its
/// request was never answered.
fn replay(snapshot: &mut Snapshot, log: &[u8], past: &mut Past) -> Result<u64, SandboxError> {
    past.note(snapshot.world.now(), &snapshot.world);
    let mut replayed = 0;
    let end = log
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |place| place + 1);
    let whole = log.get(..end).unwrap_or_default();
    for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let record: Record =
            serde_json::from_slice(line).map_err(|error| SandboxError::Unreadable(error.to_string()))?;
        if record.n < snapshot.next {
            continue;
        }
        if record.n > snapshot.next {
            let gap = format!("record {} follows record {}", record.n, snapshot.next);
            return Err(SandboxError::Unreadable(gap));
        }
        snapshot.next = record.n + 1;
        snapshot.world.advance(record.at);
        if let Some(request) = &record.request {
            snapshot.world.perform(record.at, request);
            past.note(record.at, &snapshot.world);
        }
        replayed += 1;
    }
    Ok(replayed + u64::from(end < log.len()))
}

impl Inner {
    fn latency(&mut self, request: &http::Request<Bytes>) -> Duration {
        self.calls += 1;
        let spread = splitmix(self.calls);
        match (self.latency, request.uri().path() == "/") {
            (false, _) => Duration::ZERO,
            // Kubernetes is reached through a warm connection; EKS and the query services sign every call.
            (true, false)
                if !request
                    .headers()
                    .get("authorization")
                    .is_some_and(|value| value.as_bytes().starts_with(b"AWS4-")) =>
            {
                Duration::from_millis(5 + spread % 11)
            }
            (true, _) => Duration::from_millis(40 + spread % 41),
        }
    }

    /// What a service answers that knows nothing of what happened after `then`; `None` where it does what it is asked.
    fn stale(&self, then: Timestamp, admitted: &Admitted) -> Option<http::Response<Bytes>> {
        let mut world = self.past.at(then)?;
        let Answer::Done(answer) = world.by_own_names(|world| world.perform(then, admitted)) else {
            return None;
        };
        let body = String::from_utf8_lossy(answer.body());
        let unknown = answer.status().is_client_error()
            && ["NotFound", "NoSuchEntity"]
                .iter()
                .any(|code| body.contains(code));
        (unknown || !admitted.mutates()).then_some(answer)
    }

    fn answer(
        &mut self,
        now: Timestamp,
        admitted: &Admitted,
        own_name: bool,
    ) -> Result<http::Response<SandboxBody>, SandboxError> {
        if !self.buckets.take(now, admitted.service()) {
            return Ok(admitted.throttled().map(SandboxBody::full));
        }
        let request = admitted.mutates().then_some(admitted);
        if request.is_none() {
            self.look(now)?;
        } else {
            self.require_sound()?;
            self.world.advance(now);
        }
        // Who speaks to AWS by its own name hears the clusters' own names, served or not: what epid records of a cluster
        // does not depend on the port of the day.
        let answer = match own_name {
            true => self.world.by_own_names(|world| world.perform(now, admitted)),
            false => self.world.perform(now, admitted),
        };
        if let Some(request) = request {
            self.append(now, Some(request))?;
            self.past.note(now, &self.world);
        }
        self.feed_watches();
        Ok(match answer {
            Answer::Done(response) => response.map(SandboxBody::full),
            Answer::Watch(watch) => self.open_watch(watch),
        })
    }

    /// Lets time pass until somebody looks. What was seen must not unhappen either: after a crash no time comes twice.
    fn look(&mut self, now: Timestamp) -> Result<(), SandboxError> {
        self.pass(now)?;
        if self.noted < now {
            self.append(now, None)?;
        }
        Ok(())
    }

    /// Lets time pass, and remembers that it did if anything came of it: what a client saw must not unhappen.
    fn pass(&mut self, now: Timestamp) -> Result<(), SandboxError> {
        self.require_sound()?;
        if self.world.advance(now) {
            self.append(now, None)?;
            self.feed_watches();
        }
        Ok(())
    }

    fn require_sound(&self) -> Result<(), SandboxError> {
        match &self.broken {
            Some(why) => Err(SandboxError::Store(why.clone())),
            None => Ok(()),
        }
    }

    fn append(&mut self, at: Timestamp, request: Option<&Admitted>) -> Result<(), SandboxError> {
        let record = Record {
            n: self.next,
            at,
            request: request.cloned(),
        };
        let written = serde_json::to_vec(&record)
            .map_err(std::io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                self.store.append(&line)
            });
        self.next += 1;
        self.logged += 1;
        self.noted = at;
        self.note(written)?;
        if self.logged >= COMPACT_AFTER {
            self.compact()
        } else {
            Ok(())
        }
    }

    fn compact(&mut self) -> Result<(), SandboxError> {
        self.require_sound()?;
        let snapshot = Snapshot {
            format: FORMAT,
            next: self.next,
            authority: self.authority.clone(),
            world: self.world.clone(),
        };
        let written = serde_json::to_vec(&snapshot)
            .map_err(std::io::Error::from)
            .and_then(|bytes| self.store.replace(&bytes));
        self.logged = 0;
        self.noted = self.world.now();
        self.note(written)
    }

    fn note(&mut self, written: std::io::Result<()>) -> Result<(), SandboxError> {
        written.map_err(|error| {
            self.broken = Some(error.to_string());
            SandboxError::Store(error.to_string())
        })
    }

    fn open_watch(&mut self, watch: ClusterWatch) -> http::Response<SandboxBody> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.watches.push((watch, sender));
        self.feed_watches();
        let mut response = http::Response::new(SandboxBody(Content::Stream(receiver)));
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        response
    }

    /// When something happens by itself next: in the world, or a watch ends.
    fn next_due(&self) -> Option<Timestamp> {
        let ends = self.watches.iter().filter_map(|(watch, _)| watch.deadline());
        ends.chain(self.world.next_due()).min()
    }

    /// Sends new events; forgets watches whose client or cluster is gone.
    fn feed_watches(&mut self) {
        let world = &self.world;
        self.watches
            .retain_mut(|(watch, sender)| match world.poll_watch(watch) {
                Some(lines) => !sender.is_closed() && lines.into_iter().all(|line| sender.send(line).is_ok()),
                None => false,
            });
    }
}

/// Moves the world on when something is due, for those who only watch.
async fn drive(shared: Weak<Mutex<Inner>>, clock: Clock, wake: Arc<Notify>) {
    loop {
        let due = match shared.upgrade() {
            Some(shared) => shared.lock().unwrap_or_else(PoisonError::into_inner).next_due(),
            None => return,
        };
        let wait = due.map_or(Duration::from_secs(3600), |due| due.since(clock.now()));
        tokio::select! {
            biased;
            () = wake.notified() => {}
            () = clock.sleep(wait.max(Duration::from_millis(1))) => {
                let Some(shared) = shared.upgrade() else { return };
                let mut inner = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if inner.pass(clock.now()).is_err() {
                    // The next caller hears why.
                    return;
                }
                inner.feed_watches();
            }
        }
    }
}

/// The body of an answer: whole, or a stream of watch events.
#[derive(Debug)]
pub struct SandboxBody(Content);

#[derive(Debug)]
enum Content {
    Full(Option<Bytes>),
    Stream(mpsc::UnboundedReceiver<Bytes>),
    /// From the process that serves the sandbox.
    Remote(hyper::body::Incoming),
}

impl SandboxBody {
    /// An answer in plain text.
    pub(crate) fn text(text: String) -> http::Response<Self> {
        http::Response::new(Self::full(Bytes::from(text)))
    }

    pub(crate) fn passed_on(body: hyper::body::Incoming) -> Self {
        Self(Content::Remote(body))
    }

    fn full(bytes: Bytes) -> Self {
        Self(Content::Full(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }
}

impl http_body::Body for SandboxBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.0 {
            Content::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Stream(receiver) => receiver
                .poll_recv(context)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
            Content::Remote(body) => Pin::new(body).poll_frame(context).map_err(std::io::Error::other),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Full(bytes) => bytes.is_none(),
            Content::Stream(_) => false,
            Content::Remote(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.0 {
            Content::Full(bytes) => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Content::Stream(_) => http_body::SizeHint::default(),
            Content::Remote(body) => body.size_hint(),
        }
    }
}
