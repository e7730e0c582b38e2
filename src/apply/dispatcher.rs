//! The loop of a run: starts what is ready, takes what has ended, and stops when it is told to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use epid_provider::{Key, Map, Retry, Timestamp, Urn, Value};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc::UnboundedReceiver;

use super::call::{Means, Note, Noted, Report};
use super::connections::Connections;
use super::control::Stop;
use super::event::{Did, EVENT_FORMAT, Event, Trouble};
use super::executor::Executor;
use super::inline::is_inline;
use super::limits::{Lane, LaneKey, MutexKey, Mutexes, lane_key};
use super::outcome::{Outcome, StepFailure};
use super::resolve::Resolver;
use super::schedule::{Schedule, Status};
use super::settle::Phase;
use super::unclear::Unclear;
use crate::plan::{Action, Drift, Mode, Plan, Step, StepId};
use crate::state::{
    Change, Ending, Entry, JournalEntry, Realm, RecordKey, Role, RunResult, Snapshot, StateError, Ticket,
};

/// How long cancelled calls may take to come back. CI runners kill two seconds after SIGTERM: the end is written before.
pub(super) const PATIENCE: Duration = Duration::from_millis(1500);

pub(super) type Running = BoxFuture<'static, (StepId, Report)>;

/// A step of which something is running.
pub(super) struct Active {
    pub(super) begun: Timestamp,
    pub(super) lane: LaneKey,
    pub(super) mutex: Option<MutexKey>,
    pub(super) phase: Phase,
    /// That it starts was told.
    pub(super) told: bool,
}

/// The state of one run.
pub(super) struct Dispatcher<'a> {
    pub(super) executor: &'a Executor<'a>,
    pub(super) plan: &'a Plan,
    pub(super) resolver: Resolver<'a>,
    pub(super) schedule: Schedule,
    pub(super) connections: Connections,
    pub(super) means: Means,
    /// Calls that were made since the loop last looked.
    pub(super) started: Vec<Running>,
    pub(super) active: HashMap<StepId, Active>,
    /// Calls of earlier runs that nobody can tell the outcome of yet.
    pub(super) unclear: Unclear,
    /// What the live records are called by the cloud.
    pub(super) held: HashMap<(Realm, Key), RecordKey>,
    /// What was recorded under an id, each perhaps no more.
    pub(super) identified: HashMap<(Realm, Arc<str>), Vec<RecordKey>>,
    /// The steps that replace, by resource.
    pub(super) replacing: HashMap<&'a Urn, StepId>,
    /// What others changed, by resource.
    pub(super) drifted: HashMap<&'a Urn, &'a Drift>,
    pub(super) next_order: u64,
    /// At most so many calls at once.
    most: usize,
    lanes: BTreeMap<LaneKey, Lane>,
    mutexes: Mutexes,
    events: &'a mut dyn FnMut(Event),
    outcome: Outcome,
    written: Option<Ticket>,
}

impl<'a> Dispatcher<'a> {
    pub(super) fn new(
        executor: &'a Executor<'a>,
        most: usize,
        plan: &'a Plan,
        means: Means,
        events: &'a mut dyn FnMut(Event),
    ) -> Self {
        let (unclear, held, identified, next_order) = executor.session.with(|snapshot| {
            let live = snapshot.entries.values().filter(|e| e.role == Role::Live);
            let mut identified: HashMap<_, Vec<RecordKey>> = HashMap::new();
            for entry in live.clone() {
                let id = (snapshot.realm(entry.provider.as_ref()), entry.record.id.clone());
                identified.entry(id).or_default().push(entry.key_of());
            }
            let held = live.filter_map(|e| Some((name(snapshot, e)?, e.key_of())));
            (
                Unclear::of(snapshot),
                held.collect(),
                identified,
                snapshot.next_order(),
            )
        });
        Self {
            resolver: Resolver {
                plan,
                session: &executor.session,
                providers: executor.providers,
                digests: executor.digests,
            },
            schedule: Schedule::new(plan),
            connections: Connections::default(),
            started: Vec::new(),
            active: HashMap::new(),
            replacing: plan
                .steps
                .iter()
                .filter(|s| replaces(s))
                .map(|s| (&s.target.urn, s.id))
                .collect(),
            drifted: plan.drift.iter().map(|drift| (&drift.urn, drift)).collect(),
            most,
            lanes: BTreeMap::new(),
            mutexes: Mutexes::default(),
            outcome: Outcome::default(),
            written: None,
            executor,
            plan,
            means,
            events,
            unclear,
            held,
            identified,
            next_order,
        }
    }

    pub(super) async fn run(mut self, mut notes: UnboundedReceiver<Note>) -> Outcome {
        let header = &self.plan.header;
        self.tell(Event::RunStarted {
            format: EVENT_FORMAT,
            project: header.project.clone(),
            stack: header.stack.clone(),
            world: header.world.clone(),
            steps: self.plan.steps.len(),
            at: self.now(),
        });
        let mut running: FuturesUnordered<Running> = FuturesUnordered::new();
        let (control, clock) = (self.means.control.clone(), self.means.clock.clone());
        let mut told = Stop::No;
        let mut give_up: Option<Timestamp> = None;
        if self.open() {
            self.record_gone();
        }
        loop {
            self.start_ready();
            running.extend(self.started.drain(..));
            let wake = self.wakes();
            if running.is_empty() && wake.is_none() {
                break;
            }
            let next = match told {
                Stop::No => Stop::Drain,
                Stop::Drain | Stop::Cancel => Stop::Cancel,
            };
            let alarm = give_up.or(wake);
            tokio::select! {
                biased;
                Some(note) = notes.recv() => self.note(note),
                Some((step, report)) = running.next() => {
                    // What a call noted last comes before its end.
                    while let Ok(note) = notes.try_recv() {
                        self.note(note);
                    }
                    self.ended(step, report);
                }
                () = control.reached(next), if told != Stop::Cancel => {
                    told = control.stop();
                    self.outcome.interrupted = true;
                    let cancel = told == Stop::Cancel;
                    if cancel {
                        give_up = Some(self.now().after(PATIENCE));
                    }
                    let at = self.now();
                    self.tell(Event::Stopping { cancel, running: running.len(), at });
                }
                () = clock.sleep(alarm.unwrap_or_default().since(clock.now())), if alarm.is_some() => {
                    if give_up.is_some_and(|at| at <= clock.now()) {
                        self.abandon();
                        break;
                    }
                }
            }
        }
        drop(running);
        self.close().await
    }

    pub(super) fn now(&self) -> Timestamp {
        self.means.clock.now()
    }

    pub(super) fn tell(&mut self, event: Event) {
        (self.events)(event);
    }

    /// True while new steps may start.
    fn open(&self) -> bool {
        self.outcome.journal.is_none() && self.means.control.stop() == Stop::No
    }

    /// True while there is room for one more call.
    fn roomy(&self) -> bool {
        self.active.len() < self.most
    }

    /// Starts everything that can start. What fails at once makes room for what waited behind it.
    fn start_ready(&mut self) {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            let now = self.now();
            let awake = |lane: &Lane| !lane.waiting.is_empty() && lane.wakes(now).is_none();
            let lanes = self.lanes.iter().filter(|(_, lane)| awake(lane));
            let lanes: Vec<LaneKey> = lanes.map(|(key, _)| key.clone()).collect();
            for key in lanes {
                while self.open()
                    && self.roomy()
                    && let Some(id) = self.lanes.get_mut(&key).and_then(|lane| lane.admit(now))
                {
                    self.launch(id, key.clone());
                    moved = true;
                }
            }
            while self.outcome.journal.is_none()
                && let Some(id) = self.schedule.pop()
            {
                // What calls nobody is done also in a run that was told to stop; the rest is left.
                if self.open() || self.calls_nobody(id) {
                    self.offer(id);
                    moved = true;
                }
            }
        }
    }

    /// When a lane with waiting steps goes on; never where nothing new may start.
    fn wakes(&self) -> Option<Timestamp> {
        let now = self.now();
        let open = self.open();
        self.lanes
            .values()
            .filter_map(|lane| lane.wakes(now))
            .min()
            .filter(|_| open)
    }

    fn calls_nobody(&self, id: StepId) -> bool {
        let step = self.plan.step(id);
        step.is_some_and(|step| is_inline(step.action) || self.is_void(step))
    }

    /// Starts a step that is ready, or queues it for its lane.
    fn offer(&mut self, id: StepId) {
        let Some(step) = self.plan.step(id) else { return };
        if self.is_void(step) {
            self.finish(step, Ok((Did::Nothing, false)), Duration::ZERO);
            return;
        }
        if let Err(trouble) = self.unclear.allows(step) {
            self.finish(step, Err(trouble), Duration::ZERO);
            return;
        }
        if self.inline(step) {
            return;
        }
        let key = lane_key(self.connection(step).as_ref(), &step.kind);
        let urgency = self.schedule.urgency(id);
        let (now, roomy) = (self.now(), self.roomy());
        let lane = self.lanes.entry(key.clone()).or_default();
        if roomy && lane.enter(now) {
            self.launch(id, key);
        } else {
            lane.waiting.push(urgency);
        }
    }

    /// True for a step that depends on replacements of which none turned out to be needed.
    fn is_void(&self, step: &Step) -> bool {
        let deciding = &step.only_if_replaced;
        let kept = |id: &StepId| self.schedule.status(*id) == Status::Done { replaced: false };
        !deciding.is_empty() && deciding.iter().all(kept)
    }

    /// Starts a step that has a place in its lane.
    fn launch(&mut self, id: StepId, lane: LaneKey) {
        let Some(step) = self.plan.step(id) else { return };
        match self.mutex_of(step) {
            Ok(mutex) => {
                let urgency = self.schedule.urgency(id);
                if let Some(key) = &mutex
                    && !self.mutexes.take(key, id, urgency)
                {
                    self.leave(&lane);
                    let waits_for = format!("{}/{}", key.1, key.2);
                    self.tell(Event::StepWaiting {
                        step: id,
                        urn: step.target.urn.clone(),
                        waits_for,
                    });
                    return;
                }
                let begun = self.now();
                let phase = Phase::Starting;
                self.active.insert(
                    id,
                    Active {
                        begun,
                        lane,
                        mutex,
                        phase,
                        told: false,
                    },
                );
                self.start(step);
            }
            Err(trouble) => {
                self.leave(&lane);
                self.finish(step, Err(trouble), Duration::ZERO);
            }
        }
    }

    pub(super) fn started(&mut self, step: &Step) {
        let at = self.now();
        self.tell(Event::StepStarted {
            step: step.id,
            urn: step.target.urn.clone(),
            kind: step.kind.clone(),
            action: step.action,
            expected: step.expected,
            at,
        });
    }

    fn leave(&mut self, key: &LaneKey) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.leave();
        }
    }

    fn note(&mut self, note: Note) {
        let at = self.now();
        let (Some(step), Some(active)) = (self.plan.step(note.step), self.active.get(&note.step)) else {
            return;
        };
        let urn = step.target.urn.clone();
        let event = match note.what {
            Noted::Progress(phrase) => Event::Progress {
                step: step.id,
                urn,
                phrase,
                at,
            },
            Noted::Retrying(failure, after) => {
                if failure.retry == Retry::Throttled
                    && let Some(lane) = self.lanes.get_mut(&active.lane)
                {
                    lane.throttled(at);
                }
                let problem = Trouble::from(&failure);
                Event::Retrying {
                    step: step.id,
                    urn,
                    problem,
                    after,
                    at,
                }
            }
        };
        self.tell(event);
    }

    /// Lets go of what a step held, and ends it.
    pub(super) fn end(&mut self, step: &Step, result: Result<(Did, bool), Trouble>) {
        let mut took = Duration::ZERO;
        let mut next = None;
        if let Some(active) = self.active.remove(&step.id) {
            took = self.now().since(active.begun);
            self.leave(&active.lane);
            if let Some(lane) = self.lanes.get_mut(&active.lane).filter(|_| result.is_ok()) {
                lane.went_well();
            }
            next = active.mutex.as_ref().and_then(|key| self.mutexes.release(key));
        }
        self.finish(step, result, took);
        if let Some(next) = next
            && self.open()
        {
            self.offer(next);
        }
    }

    /// Lets go of what a step held that was only looking when the run was told to stop. Who waits for the same mutex is left,
    /// too.
    pub(super) fn leave_undone(&mut self, step: &Step) {
        if let Some(active) = self.active.remove(&step.id) {
            self.leave(&active.lane);
        }
    }

    /// Notes how a step ended, and skips what needed it.
    pub(super) fn finish(&mut self, step: &Step, result: Result<(Did, bool), Trouble>, took: Duration) {
        let urn = step.target.urn.clone();
        let at = self.now();
        let status = match result {
            Ok((did, replaced)) => {
                *self.outcome.done.entry(did).or_default() += 1;
                self.tell(Event::StepDone {
                    step: step.id,
                    urn,
                    did,
                    took,
                    at,
                });
                Status::Done { replaced }
            }
            Err(problem) => {
                self.outcome.failed.push(StepFailure {
                    step: step.id,
                    urn: urn.clone(),
                    action: step.action,
                    source: step.source.clone(),
                    trouble: problem.clone(),
                });
                self.tell(Event::StepFailed {
                    step: step.id,
                    urn,
                    problem,
                    took,
                    at,
                });
                Status::Failed
            }
        };
        for (skipped, cause) in self.schedule.finish(step.id, status) {
            let urn_of = |id: StepId| self.plan.step(id).map(|s| s.target.urn.clone());
            let (Some(urn), Some(because)) = (urn_of(skipped), urn_of(cause)) else {
                continue;
            };
            self.outcome.skipped.push((skipped, because.clone()));
            self.tell(Event::StepSkipped {
                step: skipped,
                urn,
                because,
            });
        }
    }

    /// Leaves the calls that did not come back; their intents stay.
    fn abandon(&mut self) {
        let mut left: Vec<StepId> = self.active.keys().copied().collect();
        left.sort_unstable();
        for step in left.into_iter().filter_map(|id| self.plan.step(id)) {
            let trouble = Trouble {
                unclear: true,
                ..Trouble::new("Abandoned", "was cancelled and did not come back")
            };
            self.end(
                step,
                Err(trouble.hint("the next run finds out what became of it")),
            );
        }
    }

    /// Appends to the journal; the first entry of a run opens it.
    pub(super) fn append(&mut self, entry: JournalEntry) -> Result<Ticket, Trouble> {
        if self.written.is_none() {
            let run = JournalEntry::Run(self.executor.run.clone());
            self.written = Some(self.executor.session.append(run).map_err(|e| self.refused(e))?);
        }
        let ticket = self.executor.session.append(entry).map_err(|e| self.refused(e))?;
        self.written = Some(ticket);
        Ok(ticket)
    }

    /// A contradiction is the step's own trouble; everything else means that nothing can be recorded any more.
    pub(super) fn refused(&mut self, error: StateError) -> Trouble {
        let trouble = Trouble::new("Journal", error.to_string());
        if !matches!(error, StateError::Invalid(_)) {
            self.outcome.journal.get_or_insert(error);
        }
        trouble
    }

    /// Records changes as one: the end of a call, or of none.
    pub(super) fn record(
        &mut self,
        token: Option<epid_provider::Token>,
        ending: Ending,
        changes: Vec<Change>,
    ) -> Result<(), Trouble> {
        if token.is_none() && changes.is_empty() {
            return Ok(());
        }
        let keys: Vec<RecordKey> = changes
            .iter()
            .map(|change| match change {
                Change::Put(entry) => entry.key_of(),
                Change::Remove(key) => key.clone(),
            })
            .collect();
        let freed: Vec<_> = self.executor.session.with(|snapshot| {
            let named = keys
                .iter()
                .filter_map(|key| Some((name(snapshot, snapshot.get(key)?)?, key)));
            named.collect()
        });
        let at = self.now();
        // Whoever relies on it begins a call behind it, and waits for that.
        let _ticket = self.append(JournalEntry::End {
            token,
            ending,
            changes,
            at,
        })?;
        for (name, key) in freed {
            if self.held.get(&name) == Some(key) {
                self.held.remove(&name);
            }
        }
        self.executor.session.with(|snapshot| {
            let put = keys.iter().filter_map(|key| snapshot.get(key));
            for entry in put.filter(|entry| entry.role == Role::Live) {
                let key = entry.key_of();
                self.held
                    .extend(name(snapshot, entry).map(|name| (name, key.clone())));
                let id = (snapshot.realm(entry.provider.as_ref()), entry.record.id.clone());
                self.identified.entry(id).or_default().push(key);
            }
        });
        Ok(())
    }

    /// The end of a run: the stack's outputs, the close, and everything on disk.
    async fn close(mut self) -> Outcome {
        self.outcome.left = self.schedule.left();
        self.outputs();
        // Who stops a run that has nothing left to do interrupts nothing.
        self.outcome.interrupted &= !self.outcome.is_success();
        let result = match (self.outcome.interrupted, self.outcome.is_success()) {
            (true, _) => RunResult::Interrupted,
            (false, true) => RunResult::Done,
            (false, false) => RunResult::Failed,
        };
        if self.outcome.journal.is_none() {
            let at = self.now();
            if self.written.is_some() {
                // A refusal is noted in the outcome.
                drop(self.append(JournalEntry::Close { result, at }));
            } else {
                let run = self.executor.run.clone();
                self.executor.session.note_idle(run, result, at);
            }
        }
        if let Some(ticket) = self.written
            && let Err(error) = self.executor.session.durable(ticket).await
        {
            self.outcome.journal.get_or_insert(error);
        }
        let event = Event::RunDone {
            done: self.outcome.done.values().sum(),
            failed: self.outcome.failed.len(),
            skipped: self.outcome.skipped.len(),
            left: self.outcome.left.len(),
            at: self.now(),
        };
        self.tell(event);
        self.outcome
    }

    /// Evaluates the stack's outputs and records them where they changed. What cannot be told keeps its old value.
    fn outputs(&mut self) {
        let old = self.executor.session.with(|snapshot| snapshot.outputs.clone());
        if self.plan.header.mode == Mode::Destroy && (!self.outcome.is_success() || self.plan.header.limited)
        {
            self.outcome.outputs = old;
            return;
        }
        let mut outputs = Vec::with_capacity(self.plan.outputs.len());
        for output in &self.plan.outputs {
            let value = self.resolver.value(&output.value, None);
            let reason = match value {
                Ok(value) if !value.has_unknown() => {
                    let value = if output.secret { value.into_secret() } else { value };
                    outputs.push((output.name.clone(), value));
                    continue;
                }
                Ok(value) => value.to_string(),
                Err(errors) => errors
                    .iter()
                    .map(|e| e.message.clone())
                    .collect::<Vec<_>>()
                    .join("; "),
            };
            if !self.plan.header.limited {
                self.outcome.unknown_outputs.push((output.name.clone(), reason));
            }
            outputs.extend(
                old.get(&output.name)
                    .map(|kept: &Value| (output.name.clone(), kept.clone())),
            );
        }
        let outputs: Map = outputs.into_iter().collect();
        if outputs != old && self.outcome.journal.is_none() {
            // A refusal is noted in the outcome.
            drop(self.append(JournalEntry::Outputs(outputs.clone())));
        }
        self.outcome.outputs = outputs;
    }
}

/// What the cloud calls what an entry is of.
fn name(snapshot: &Snapshot, entry: &Entry) -> Option<(Realm, Key)> {
    Some((snapshot.realm(entry.provider.as_ref()), entry.key.clone()?))
}

/// True for a step after which another generation may be the live one.
fn replaces(step: &Step) -> bool {
    match step.action {
        Action::Replace | Action::Refill => true,
        Action::Connect => step
            .from
            .as_ref()
            .is_some_and(|from| from.generation != step.target.generation),
        Action::Create => step.takes.iter().any(|taken| taken.urn == step.target.urn),
        _ => false,
    }
}
