//! What each step does: the request it is, and what its session makes of the answer.

use crate::at::{At, LASTS, MARGIN};
use crate::bucket::{Bucket, File, Lease, Snapshot, Write, Written};
use crate::entries::{Entries, Token};
use crate::model::{Answer, Fate, Protocol, World};
use crate::session::Session;
use crate::variants::Variant;

impl Protocol {
    pub(crate) fn tick(&self, world: &mut World) {
        for session in world.sessions.iter_mut().filter(|session| !session.suspended) {
            session.age = (session.age + 1).min(LASTS);
            match &mut session.at {
                At::Watch { seen: ticks, .. } | At::Recover { looked: ticks, .. } => {
                    *ticks = (*ticks + 1).min(LASTS);
                }
                // `SOON`: the look at the lease is a while ago.
                At::Send(token) if self.variant != Variant::NotChecked => session.at = At::Recheck(*token),
                _ => {}
            }
        }
        for (_, old) in &mut world.calls {
            *old = true;
        }
    }

    /// A renewal: where the version is another than the last it knows, but still its own, it goes on from that.
    pub(crate) fn renew(&self, world: &mut World, index: usize, fate: Fate) {
        let session = &mut world.sessions[index];
        if world.bucket.lease.token != session.me && self.variant != Variant::LeaseUnconditional {
            session.lost = true;
            return;
        }
        let write = Write::Lease {
            over: world.bucket.lease.tag,
            lease: session.lease(true),
        };
        if fate != Fate::Told {
            world.faults -= 1;
        }
        if fate == Fate::Late {
            world.late.push(write);
            return;
        }
        world.bucket.write(write, self.variant);
        if fate == Fate::Told {
            session.age = 0;
        }
    }

    /// A call arrives, and its answer.
    pub(crate) fn answer(&self, world: &mut World, index: usize, answer: Answer) {
        let (token, _) = world.calls.remove(index);
        if matches!(answer, Answer::Made | Answer::MadeAndLost) {
            world.things.insert(token);
        }
        if answer != Answer::Made {
            world.faults -= 1;
        }
        let waiting = world
            .sessions
            .iter_mut()
            .find(|session| session.at == At::Waiting(token));
        let Some(session) = waiting else { return };
        match answer {
            Answer::Made => self.made(session, token, &mut world.acknowledged),
            Answer::MadeAndLost | Answer::Lost => session.at = At::LookInto(token),
            Answer::Throttled => session.at = At::Recheck(token),
        }
    }

    fn made(&self, session: &mut Session, token: Token, acknowledged: &mut Entries) {
        session.note(|entries| entries.done.insert(token));
        if self.variant == Variant::EndBeforeDurable {
            acknowledged.done.insert(token);
        }
        session.decide(self.script, self.variant);
    }

    pub(crate) fn step(&self, world: &mut World, index: usize, fate: Fate) {
        let World {
            bucket,
            late,
            things,
            calls,
            sessions,
            acknowledged,
            damaged,
            faults,
            ..
        } = world;
        let session = &mut sessions[index];
        if let Some(write) = session.write(bucket, self.variant) {
            if session.unsure {
                // Read back.
                session.again = true;
                if bucket.shows(write) && self.variant != Variant::NotReadBack {
                    session.written(Written::Done, bucket, self.script, self.variant);
                    return;
                }
                session.unsure = false;
                return;
            }
            if !session.again && matches!(session.at, At::Take { .. }) {
                session.age = 0;
            }
            if fate != Fate::Told {
                *faults -= 1;
            }
            if fate == Fate::Late {
                late.push(write);
                session.unsure = true;
                return;
            }
            let mut written = bucket.write(write, self.variant);
            if fate == Fate::AnswerLost {
                session.unsure = true;
                return;
            }
            let ours = session.again && bucket.shows(write) && self.variant != Variant::NotReadBack;
            if written == Written::Conflict && ours {
                written = Written::Done;
            }
            session.written(written, bucket, self.script, self.variant);
            return;
        }
        match session.at {
            At::Look | At::Watch { .. } => self.look(session, bucket.lease),
            At::List => match bucket.segments().last() {
                None => session.fenced(self.variant),
                Some(segment) => match bucket.end_of(segment) {
                    (_, true) => session.fenced(self.variant),
                    (number, false) if self.variant == Variant::FenceNotConfirmed => {
                        session.at = At::Fence { segment, number };
                    }
                    (number, false) => session.at = At::ConfirmFence { segment, number },
                },
            },
            At::ConfirmFence { segment, number } => session.confirm(bucket, At::Fence { segment, number }),
            At::Read => {
                let snapshot = bucket.state.snapshot;
                session.at = At::Replay {
                    tag: bucket.state.tag,
                    snapshot,
                };
            }
            At::Replay { tag, snapshot } => self.replay(session, bucket, tag, &snapshot, damaged),
            At::ConfirmBegin if self.variant == Variant::BeginNotConfirmed => session.at = At::Begin,
            At::ConfirmBegin => session.confirm(bucket, At::Begin),
            At::Begun => {
                let ours = session.confirms(bucket);
                if ours {
                    session.segment_begun(self.script, self.variant);
                }
            }
            At::ConfirmAppend => session.confirm(bucket, At::Check),
            At::Check if session.lost => session.fail(),
            At::Check if session.is_fresh() || self.variant == Variant::NotChecked => {
                self.durable(session, acknowledged);
            }
            // What is not there counts as not made once it was looked for through the quiet period.
            At::Recover { token, looked } => {
                let found = things.contains(token) && self.variant != Variant::TokenNotLookedFor;
                if !found && self.quiet && looked < LASTS {
                    return;
                }
                session.note(|entries| {
                    if found {
                        entries.done.insert(token);
                    } else {
                        entries.failed.insert(token);
                    }
                });
                session.decide(self.script, self.variant);
            }
            At::Send(token) => {
                calls.push((token, false));
                session.at = At::Waiting(token);
            }
            At::LookInto(token) if things.contains(token) => self.made(session, token, acknowledged),
            At::LookInto(token) => session.at = At::Recheck(token),
            At::Recheck(token) => match self.variant {
                Variant::NotCheckedAgain => session.at = At::Send(token),
                Variant::CheckedAgainByClock if session.is_fresh() => session.at = At::Send(token),
                _ => {
                    if session.confirms(bucket) {
                        if !session.is_fresh() {
                            let lease = Write::Lease {
                                over: bucket.lease.tag,
                                lease: session.lease(true),
                            };
                            bucket.write(lease, self.variant);
                            session.age = 0;
                        }
                        session.at = At::Send(token);
                    }
                }
            },
            At::Copy => {
                (session.known, session.copy) = (bucket.state.tag, bucket.state.snapshot);
                session.at = match self.variant {
                    Variant::TagAfterConfirm => At::Confirm {
                        file: File::Previous,
                        over: 0,
                    },
                    _ => At::Tag(File::Previous),
                };
            }
            At::Tag(file) => {
                let over = bucket.file(file).tag;
                session.at = match self.variant {
                    Variant::PutNotConfirmed | Variant::TagAfterConfirm => At::Put { file, over },
                    _ => At::Confirm { file, over },
                };
            }
            At::Confirm { file, over } => {
                let next = match self.variant {
                    Variant::PutNotConfirmed | Variant::TagAfterConfirm => At::Tag(file),
                    _ => At::Put { file, over },
                };
                session.confirm(bucket, next);
            }
            At::ConfirmDelete(segment) => session.confirm(bucket, At::Delete(segment)),
            // The lease is another's.
            At::Release => session.at = At::Over,
            _ => {}
        }
    }

    /// `lease::lock`.
    pub(crate) fn look(&self, session: &mut Session, lease: Lease) {
        let enough = match self.variant {
            Variant::NoSendDeadline => LASTS - MARGIN,
            Variant::HoldersClock => 0,
            _ => LASTS,
        };
        let seen = match session.at {
            At::Watch { tag, seen } if tag == lease.tag => seen,
            _ => 0,
        };
        session.at = if !lease.held {
            At::Take {
                over: lease.tag,
                disputed: lease.disputed,
            }
        } else if seen >= enough {
            At::Take {
                over: lease.tag,
                disputed: true,
            }
        } else {
            At::Watch { tag: lease.tag, seen }
        };
    }

    fn replay(
        &self,
        session: &mut Session,
        bucket: &Bucket,
        tag: u8,
        snapshot: &Snapshot,
        damaged: &mut bool,
    ) {
        let Ok(loaded) = bucket.replay(snapshot) else {
            if bucket.state.tag == tag {
                *damaged = true;
                session.give_up();
            } else {
                session.at = At::Read;
            }
            return;
        };
        session.entries = loaded.entries;
        session.epoch = loaded.epoch + 1;
        session.end = loaded.end;
        session.pending = loaded.entries != snapshot.entries;
        session.old = snapshot.at.segment;
        if !session.took_over || self.variant == Variant::NotFenced {
            (session.open, session.disputed) = (true, false);
            session.decide(self.script, self.variant);
        } else if self.variant == Variant::FencedAfterReading {
            session.at = At::List;
        } else {
            session.at = At::ConfirmBegin;
        }
    }

    /// Whoever waits for what was appended goes on.
    fn durable(&self, session: &mut Session, acknowledged: &mut Entries) {
        let batch = session.acknowledged(self.variant);
        *acknowledged = acknowledged.with(batch);
        match session.own_call() {
            Some(token) => session.at = At::Send(token),
            None => session.decide(self.script, self.variant),
        }
    }
}
