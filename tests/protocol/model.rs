//! Everything that can happen next, and what must be true whatever has happened.

use stateright::{Model, Property};

use crate::at::{At, LASTS, Script};
use crate::bucket::{Bucket, Who, Write};
use crate::entries::{Entries, Token, Tokens};
use crate::session::Session;
use crate::variants::Variant;

/// What is tried: how many of what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Protocol {
    pub(crate) variant: Variant,
    pub(crate) script: Script,
    /// Sessions in all, and how many may be there at once.
    pub(crate) sessions: u8,
    pub(crate) at_once: u8,
    /// Answers that are lost, requests that are late, calls that are throttled.
    pub(crate) faults: u8,
    pub(crate) crashes: u8,
    /// How often a machine is suspended, its clock with it.
    pub(crate) suspensions: u8,
    /// The kind has a quiet period: what a lost create made is looked for through it.
    pub(crate) quiet: bool,
    /// Also between the last look at the lease and the call.
    pub(crate) suspended_anywhere: bool,
}

/// The world at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) bucket: Bucket,
    /// Writes that are still under way although their sender was told nothing.
    pub(crate) late: Vec<Write>,
    /// What was made in the cloud.
    pub(crate) things: Tokens,
    /// Calls under way, and whether a tick has passed since they were sent.
    pub(crate) calls: Vec<(Token, bool)>,
    /// Those that are alive, in the order in which they began.
    pub(crate) sessions: Vec<Session>,
    /// What `durable` has acknowledged to anybody.
    pub(crate) acknowledged: Entries,
    pub(crate) damaged: bool,
    pub(crate) begun: u8,
    pub(crate) faults: u8,
    crashes: u8,
    suspensions: u8,
}

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It takes effect, or not, and its sender is told.
    Told,
    /// It takes effect, or not, and its sender is told nothing.
    AnswerLost,
    /// Its sender is told nothing, and it may arrive whenever it likes.
    Late,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Made,
    MadeAndLost,
    Lost,
    Throttled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Another process opens the state.
    Open,
    /// A session does what comes next.
    Step(usize, Fate),
    /// Its heart beats: a renewal.
    Renew(usize, Fate),
    /// A write that is unsure was sent often enough.
    GiveUp(usize),
    Crash(usize),
    Suspend(usize),
    Resume(usize),
    /// Time passes, for all machines that are not suspended.
    Tick,
    /// A late write arrives.
    Arrive(usize),
    /// A call arrives.
    Call(usize, Answer),
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            bucket: Bucket::new(),
            late: Vec::new(),
            things: Tokens::default(),
            calls: Vec::new(),
            sessions: Vec::new(),
            acknowledged: Entries::default(),
            damaged: false,
            begun: 0,
            faults: self.faults,
            crashes: self.crashes,
            suspensions: self.suspensions,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.begun < self.sessions && world.sessions.len() < usize::from(self.at_once) {
            actions.push(Action::Open);
        }
        for (index, session) in world.sessions.iter().enumerate() {
            if session.suspended {
                actions.push(Action::Resume(index));
                continue;
            }
            let writes = !session.unsure && session.write(&world.bucket, self.variant).is_some();
            actions.push(Action::Step(index, Fate::Told));
            if writes && world.faults > 0 {
                actions.extend([
                    Action::Step(index, Fate::AnswerLost),
                    Action::Step(index, Fate::Late),
                ]);
            }
            if session.unsure {
                actions.push(Action::GiveUp(index));
            }
            if session.is_holder() && session.at != At::Release && session.age > 0 {
                actions.push(Action::Renew(index, Fate::Told));
                if world.faults > 0 {
                    let lost = [Fate::AnswerLost, Fate::Late];
                    actions.extend(lost.map(|fate| Action::Renew(index, fate)));
                }
            }
            if world.crashes > 0 && session.is_holder() {
                actions.push(Action::Crash(index));
            }
            let sending = matches!(session.at, At::Check | At::Send(_)) && !self.suspended_anywhere;
            if world.suspensions > 0 && session.is_holder() && !sending {
                actions.push(Action::Suspend(index));
            }
        }
        // A call arrives within the margin, or never. Where nobody watches, time would only make holders more careful.
        let waits = |session: &Session| match session.at {
            At::Watch { seen: ticks, .. } => ticks < LASTS,
            At::Recover { looked: ticks, .. } => self.quiet && ticks < LASTS,
            _ => false,
        };
        if world.calls.iter().all(|(_, old)| !old) && world.sessions.iter().any(waits) {
            actions.push(Action::Tick);
        }
        actions.extend((0..world.late.len()).map(Action::Arrive));
        for call in 0..world.calls.len() {
            actions.push(Action::Call(call, Answer::Made));
            if world.faults > 0 {
                let lost = [Answer::MadeAndLost, Answer::Lost, Answer::Throttled];
                actions.extend(lost.map(|answer| Action::Call(call, answer)));
            }
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Open => {
                world.begun += 1;
                let mut session = Session::new(world.begun);
                self.look(&mut session, world.bucket.lease);
                world.sessions.push(session);
            }
            Action::Step(index, fate) => self.step(&mut world, index, fate),
            Action::Renew(index, fate) => self.renew(&mut world, index, fate),
            Action::GiveUp(index) => world.sessions[index].unsettled(self.variant),
            Action::Crash(index) => {
                world.crashes -= 1;
                world.sessions.remove(index);
            }
            Action::Suspend(index) => {
                world.suspensions -= 1;
                world.sessions[index].suspended = true;
            }
            Action::Resume(index) => world.sessions[index].suspended = false,
            Action::Tick => self.tick(&mut world),
            Action::Arrive(index) => {
                let write = world.late.remove(index);
                world.bucket.write(write, self.variant);
            }
            Action::Call(index, answer) => self.answer(&mut world, index, answer),
        }
        world.sessions.retain(|session| session.at != At::Over);
        for session in world.sessions.iter_mut().filter(|session| session.lost) {
            session.age = LASTS;
        }
        world.shorten();
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::properties::all()
    }
}

impl World {
    /// Versions of the lease are only ever compared: they are numbered anew, so that renewals do not count up.
    fn shorten(&mut self) {
        let mut tags = vec![0, self.bucket.lease.tag];
        self.visit_tags(|tag| tags.push(*tag));
        tags.sort_unstable();
        tags.dedup();
        let rank = |tag: u8| u8::try_from(tags.iter().position(|other| *other == tag).unwrap()).unwrap();
        self.bucket.lease.tag = rank(self.bucket.lease.tag);
        self.visit_tags(|tag| *tag = rank(*tag));
    }

    fn visit_tags(&mut self, mut visit: impl FnMut(&mut u8)) {
        for session in &mut self.sessions {
            match &mut session.at {
                At::Watch { tag, .. } => visit(tag),
                At::Take { over, .. } => visit(over),
                _ => {}
            }
        }
        for write in &mut self.late {
            if let Write::Lease { over, .. } = write {
                visit(over);
            }
        }
    }

    /// The session that has the lease, where it knows that.
    pub(crate) fn holder(&self) -> Option<&Session> {
        let lease = &self.bucket.lease;
        let ours = |session: &&Session| session.me == lease.token && lease.held && session.is_holder();
        self.sessions.iter().find(ours)
    }

    pub(crate) fn taken_from(&self, who: Who) -> bool {
        self.bucket.lease.token != who
    }
}
