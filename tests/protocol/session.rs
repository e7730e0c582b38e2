//! One session: what a process that writes the state knows, what it sends, and where that leads.

use crate::at::{At, LASTS, MARGIN, Script};
use crate::bucket::{Bucket, File, Lease, Part, Position, Snapshot, Tag, Who, Write, Written};
use crate::entries::{Entries, Token, Tokens};
use crate::variants::Variant;

/// A session that has begun and is not over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) me: Who,
    pub(crate) at: At,
    /// The answer of the last write was lost. It is read back, and sent again where it is not there.
    pub(crate) unsure: bool,
    /// It was sent before: what became of it was not told.
    pub(crate) again: bool,
    /// Its machine is suspended: its clock stands still with it.
    pub(crate) suspended: bool,
    /// Ticks of its clock since the last acknowledged renewal was sent.
    pub(crate) age: u8,
    /// It saw that another has the lease.
    pub(crate) lost: bool,
    /// `is_disputed`: the lease was taken from somebody who may not know.
    pub(crate) disputed: bool,
    /// The state is open.
    pub(crate) open: bool,
    /// The lease was disputed when it was taken.
    pub(crate) took_over: bool,
    /// It stopped although it gave nothing up.
    pub(crate) stopped: bool,
    /// The state as it is in memory.
    pub(crate) entries: Entries,
    /// Of these, those that are not on disk.
    pub(crate) queue: Entries,
    pub(crate) epoch: u8,
    /// Where the journal ends.
    pub(crate) end: Position,
    /// It has begun its segment.
    pub(crate) begun: bool,
    /// The journal holds what `state` does not.
    pub(crate) pending: bool,
    /// The segment up to which the `state` that was read holds the journal.
    pub(crate) old: u8,
    /// The version of `state` that was read last, and what it held.
    pub(crate) known: Tag,
    pub(crate) copy: Snapshot,
}

impl Session {
    pub(crate) fn new(me: Who) -> Self {
        Self {
            me,
            at: At::Look,
            unsure: false,
            again: false,
            suspended: false,
            age: 0,
            lost: false,
            disputed: false,
            open: false,
            took_over: false,
            stopped: false,
            entries: Entries::default(),
            queue: Entries::default(),
            epoch: 0,
            end: Position::default(),
            begun: false,
            pending: false,
            old: 0,
            known: 0,
            copy: Snapshot::default(),
        }
    }

    /// `is_fresh`: nobody else can have the lease, as far as this clock tells.
    pub(crate) fn is_fresh(&self) -> bool {
        !self.lost && self.age < LASTS - MARGIN
    }

    /// Between taking the lease and giving it back.
    pub(crate) fn is_holder(&self) -> bool {
        !self.lost && !matches!(self.at, At::Look | At::Watch { .. } | At::Take { .. } | At::Over)
    }

    /// The lease as this session would write it.
    pub(crate) fn lease(&self, held: bool) -> Lease {
        Lease {
            tag: 0,
            token: self.me,
            held,
            disputed: self.disputed,
        }
    }

    fn next_segment(&self, bucket: &Bucket, variant: Variant) -> u8 {
        if variant == Variant::NumbersReused {
            return (1..)
                .find(|number| bucket.segments().all(|there| there != *number))
                .unwrap();
        }
        self.end.segment + 1
    }

    /// The write that it sends now. Of the lease it goes on from any version that is its own.
    pub(crate) fn write(&self, bucket: &Bucket, variant: Variant) -> Option<Write> {
        Some(match self.at {
            At::Take { over, disputed } => Write::Lease {
                over,
                lease: Lease {
                    disputed,
                    ..self.lease(true)
                },
            },
            At::Fence { segment, number } => Write::Part {
                segment,
                number,
                part: Part::Fence { by: self.me },
            },
            At::Begin => Write::Part {
                segment: self.next_segment(bucket, variant),
                number: 0,
                part: Part::Head {
                    by: self.me,
                    epoch: self.epoch,
                    after: self.end,
                },
            },
            At::Append => Write::Part {
                segment: self.end.segment,
                number: self.end.parts,
                part: Part::Data {
                    by: self.me,
                    entries: self.batch(variant),
                },
            },
            At::Put {
                file: File::Previous,
                over,
            } => Write::File {
                file: File::Previous,
                over,
                snapshot: self.copy,
            },
            At::Put {
                file: File::State,
                over,
            } => Write::File {
                file: File::State,
                over,
                snapshot: Snapshot {
                    by: self.me,
                    at: self.end,
                    epoch: self.epoch,
                    entries: self.entries,
                },
            },
            At::Delete(segment) => {
                let (parts, fenced) = bucket.end_of(segment);
                let kept = u8::from(fenced && variant != Variant::FenceRemoved);
                Write::Delete {
                    segment,
                    parts: parts - kept,
                }
            }
            At::Release if bucket.lease.token == self.me || variant == Variant::LeaseUnconditional => {
                Write::Lease {
                    over: bucket.lease.tag,
                    lease: self.lease(false),
                }
            }
            _ => return None,
        })
    }

    /// What one append carries: everything that is queued.
    fn batch(&self, variant: Variant) -> Entries {
        let mut batch = self.queue;
        if variant == Variant::EndBehindDependent && batch.begun != Tokens::default() {
            batch.done = Tokens::default();
        }
        batch
    }

    /// `durable`: what was sent is on disk, and the lease counts as held.
    pub(crate) fn acknowledged(&mut self, variant: Variant) -> Entries {
        let batch = self.batch(variant);
        let behind = self.queue.done;
        self.queue = Entries::default();
        if batch.done != behind {
            self.queue.done = behind;
        }
        batch
    }

    /// A write is settled.
    pub(crate) fn written(&mut self, written: Written, bucket: &Bucket, script: Script, variant: Variant) {
        let untold = std::mem::take(&mut self.again);
        self.unsure = false;
        let conflict = written == Written::Conflict;
        match self.at {
            At::Take { .. } if conflict => self.at = At::Look,
            At::Take { disputed, .. } => {
                (self.disputed, self.took_over) = (disputed, disputed);
                self.at = match variant {
                    Variant::NotFenced | Variant::FencedAfterReading => At::Read,
                    _ if disputed => At::List,
                    _ => At::Read,
                };
            }
            At::Fence { .. } if conflict => self.at = At::List,
            At::Fence { .. } => self.fenced(variant),
            At::Begin if conflict && self.open => self.fail(),
            At::Begin if conflict => self.at = At::List,
            At::Begin => {
                let segment = self.next_before(bucket);
                self.end = Position {
                    segment,
                    parts: 1,
                    by: self.me,
                };
                self.begun = true;
                self.at = At::Begun;
                if variant == Variant::BegunNotConfirmed {
                    self.segment_begun(script, variant);
                }
            }
            At::Append if conflict => self.fail(),
            At::Append => {
                self.end.parts += 1;
                self.pending = true;
                let confirmed = !untold || variant == Variant::AppendAgainNotConfirmed;
                self.at = if confirmed { At::Check } else { At::ConfirmAppend };
            }
            At::Put { file, over } if conflict => {
                self.at = match variant {
                    Variant::PutNotConfirmed | Variant::TagAfterConfirm => At::Confirm { file, over },
                    _ => At::Tag(file),
                };
            }
            At::Put {
                file: File::Previous, ..
            } => {
                self.copy = Snapshot::default();
                let (file, over) = (File::State, self.known);
                self.at = match variant {
                    Variant::PutNotConfirmed => At::Put { file, over },
                    _ => At::Confirm { file, over },
                };
            }
            At::Put {
                file: File::State, ..
            } => {
                self.pending = false;
                self.delete_next(0, bucket);
            }
            At::Delete(segment) => self.delete_next(segment, bucket),
            At::Release => self.at = At::Over,
            _ => {}
        }
    }

    /// The segment whose first part was just written.
    fn next_before(&self, bucket: &Bucket) -> u8 {
        let mine = |number: &u8| matches!(bucket.part(*number, 0), Part::Head { by, .. } if by == self.me);
        bucket.segments().find(mine).unwrap_or(self.end.segment + 1)
    }

    pub(crate) fn fenced(&mut self, variant: Variant) {
        self.at = if variant == Variant::FencedAfterReading {
            At::ConfirmBegin
        } else {
            At::Read
        };
    }

    /// The first part of the own segment is there, and so is the lease.
    pub(crate) fn segment_begun(&mut self, script: Script, variant: Variant) {
        if self.open {
            self.at = At::Append;
        } else {
            // `settle`: nothing can come behind what was read.
            (self.open, self.disputed) = (true, false);
            self.decide(script, variant);
        }
    }

    /// Something cannot be written, or the lease is gone: nothing more is started, and the lock goes.
    pub(crate) fn fail(&mut self) {
        self.stopped = true;
        self.give_up();
    }

    pub(crate) fn give_up(&mut self) {
        let at = if self.is_holder() { At::Release } else { At::Over };
        let (lost, disputed, stopped) = (self.lost, self.disputed, self.stopped);
        *self = Self {
            at,
            lost,
            disputed,
            stopped,
            suspended: self.suspended,
            ..Self::new(self.me)
        };
    }

    /// A write is not settled after `ATTEMPTS`.
    pub(crate) fn unsettled(&mut self, variant: Variant) {
        // What it sent may still come: whoever has the lease next is to fence it.
        self.disputed |= matches!(self.at, At::Begin | At::Append) && variant != Variant::GivenUpSettled;
        self.give_up();
    }

    /// Sees who has the lease. False where it is another.
    pub(crate) fn confirms(&mut self, bucket: &Bucket) -> bool {
        let ours = !self.lost && bucket.lease.token == self.me && bucket.lease.held;
        if !ours {
            self.lost = true;
            self.fail();
        }
        ours
    }

    /// Goes on where the lease is still its own.
    pub(crate) fn confirm(&mut self, bucket: &Bucket, next: At) {
        if self.confirms(bucket) {
            self.at = next;
        }
    }

    /// What the state lacks: outcomes of earlier calls, then resources in their order, then the end.
    pub(crate) fn decide(&mut self, script: Script, variant: Variant) {
        let mut open = self.entries.open().iter();
        if let Some(token) = open.next() {
            self.at = At::Recover { token, looked: 0 };
            return;
        }
        let recovered = self.queue.done.iter().chain(self.queue.failed.iter());
        if recovered.map(Token::session).any(|session| session != self.me) {
            // `recover::all` waits until what it found is durable.
            self.append();
            return;
        }
        let missing = (0..script.resources).find(|resource| self.entries.done.of(*resource).count() == 0);
        match missing {
            Some(resource) if !self.entries.begun.contains(Token::new(self.me, resource)) => {
                let token = Token::new(self.me, resource);
                self.note(|entries| entries.begun.insert(token));
                if variant == Variant::CallBeforeDurable {
                    self.at = At::Send(token);
                } else {
                    self.append();
                }
            }
            _ if script.notes && !self.entries.noted(self.me) => {
                let me = self.me;
                self.note(|entries| entries.note(me));
                self.append();
            }
            _ if !self.queue.is_empty() => self.append(),
            _ if self.pending => self.at = At::Copy,
            _ => self.at = At::Release,
        }
    }

    /// Appends to the state in memory and queues it.
    pub(crate) fn note(&mut self, change: impl Fn(&mut Entries)) {
        change(&mut self.entries);
        change(&mut self.queue);
    }

    fn append(&mut self) {
        self.at = if self.begun { At::Append } else { At::ConfirmBegin };
    }

    /// The call of its own that is begun and not ended.
    pub(crate) fn own_call(&self) -> Option<Token> {
        let mut open = self.entries.open().iter();
        open.find(|token| token.session() == self.me)
    }

    fn delete_next(&mut self, after: u8, bucket: &Bucket) {
        let mut segments = bucket.segments();
        let next = segments.find(|number| *number > after && *number <= self.old);
        self.at = next.map_or(At::Release, At::ConfirmDelete);
    }
}
