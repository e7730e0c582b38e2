//! The bucket, one state's objects in it, and what whoever reads them makes of it: `src/state/blobs/bucket.rs`, `lease.rs`
//! and `src/state/load.rs`.

use crate::entries::Entries;
use crate::variants::Variant;

/// The version of an object; 0 where there is none. It differs from that of every other content the key had.
pub(crate) type Tag = u8;
/// Whose a lease, an object or a segment is: the number of a session.
pub(crate) type Who = u8;

/// `lock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Lease {
    pub(crate) tag: Tag,
    /// The random token.
    pub(crate) token: Who,
    /// It says a holder.
    pub(crate) held: bool,
    pub(crate) disputed: bool,
}

/// A place between two parts of the journal. `by` stands for the checksum of what is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Position {
    pub(crate) segment: u8,
    pub(crate) parts: u8,
    pub(crate) by: Who,
}

/// `journal/SEGMENT~NUMBER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// Never written, or removed.
    Gone,
    Head {
        by: Who,
        epoch: u8,
        after: Position,
    },
    Data {
        by: Who,
        entries: Entries,
    },
    Fence {
        by: Who,
    },
}

/// What `state` and `state.previous` hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Snapshot {
    pub(crate) by: Who,
    pub(crate) at: Position,
    pub(crate) epoch: u8,
    pub(crate) entries: Entries,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Stored {
    pub(crate) tag: Tag,
    pub(crate) snapshot: Snapshot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum File {
    State,
    Previous,
}

/// A request that writes. Each is sent under the condition it says; a delete has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Write {
    /// If-Match, or If-None-Match where `over` is 0.
    Lease { over: Tag, lease: Lease },
    /// If-None-Match.
    Part { segment: u8, number: u8, part: Part },
    /// If-Match.
    File {
        file: File,
        over: Tag,
        snapshot: Snapshot,
    },
    /// The first parts of a segment, the last of them first.
    Delete { segment: u8, parts: u8 },
}

/// What becomes of a write that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Done,
    Conflict,
}

/// A state as its objects tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) entries: Entries,
    pub(crate) end: Position,
    pub(crate) epoch: u8,
}

/// The objects do not fit each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Bucket {
    pub(crate) lease: Lease,
    /// The parts of segment 1, of segment 2, …
    pub(crate) journal: Vec<Vec<Part>>,
    pub(crate) state: Stored,
    pub(crate) previous: Stored,
}

impl Bucket {
    pub(crate) fn new() -> Self {
        let first = Stored {
            tag: 1,
            ..Stored::default()
        };
        Self {
            state: first,
            previous: first,
            ..Self::default()
        }
    }

    pub(crate) fn file(&self, file: File) -> &Stored {
        match file {
            File::State => &self.state,
            File::Previous => &self.previous,
        }
    }

    pub(crate) fn part(&self, segment: u8, number: u8) -> Part {
        let parts = self.journal.get(usize::from(segment) - 1);
        parts
            .and_then(|parts| parts.get(usize::from(number)))
            .copied()
            .unwrap_or(Part::Gone)
    }

    /// A write arrives.
    pub(crate) fn write(&mut self, write: Write, variant: Variant) -> Written {
        match write {
            Write::Lease { over, lease } => {
                if self.lease.tag != over && variant != Variant::LeaseUnconditional {
                    return Written::Conflict;
                }
                self.lease = Lease {
                    tag: self.lease.tag + 1,
                    ..lease
                };
            }
            Write::Part {
                segment,
                number,
                part,
            } => {
                if self.part(segment, number) != Part::Gone && variant != Variant::PartUnconditional {
                    return Written::Conflict;
                }
                *self.place(segment, number) = part;
            }
            Write::File { file, over, snapshot } => {
                if self.file(file).tag != over && variant != Variant::StateUnconditional {
                    return Written::Conflict;
                }
                let stored = match file {
                    File::State => &mut self.state,
                    File::Previous => &mut self.previous,
                };
                *stored = Stored {
                    tag: stored.tag + 1,
                    snapshot,
                };
            }
            Write::Delete { segment, parts } => {
                for number in 0..parts {
                    *self.place(segment, number) = Part::Gone;
                }
                let parts = &mut self.journal[usize::from(segment) - 1];
                while parts.last() == Some(&Part::Gone) {
                    parts.pop();
                }
            }
        }
        Written::Done
    }

    fn place(&mut self, segment: u8, number: u8) -> &mut Part {
        let (segment, number) = (usize::from(segment) - 1, usize::from(number));
        if self.journal.len() <= segment {
            self.journal.resize(segment + 1, Vec::new());
        }
        let parts = &mut self.journal[segment];
        if parts.len() <= number {
            parts.resize(number + 1, Part::Gone);
        }
        &mut parts[number]
    }

    /// Whether an object holds what a write would put there: contents are unique, so the write took effect.
    pub(crate) fn shows(&self, write: Write) -> bool {
        match write {
            Write::Lease { lease, .. } => Lease { tag: 0, ..self.lease } == Lease { tag: 0, ..lease },
            Write::Part {
                segment,
                number,
                part,
            } => self.part(segment, number) == part,
            Write::File { file, snapshot, .. } => self.file(file).snapshot == snapshot,
            Write::Delete { .. } => true,
        }
    }

    /// The segments there are, as `list` tells them: those with a first part.
    pub(crate) fn segments(&self) -> impl Iterator<Item = u8> {
        (1..).zip(&self.journal).filter_map(|(number, parts)| {
            (!matches!(parts.first(), None | Some(Part::Gone | Part::Fence { .. }))).then_some(number)
        })
    }

    /// The number after the last part of a segment, and whether that is a fence.
    pub(crate) fn end_of(&self, segment: u8) -> (u8, bool) {
        let parts = &self.journal[usize::from(segment) - 1];
        (
            u8::try_from(parts.len()).unwrap(),
            matches!(parts.last(), Some(Part::Fence { .. })),
        )
    }

    /// `load::replay`: the journal after a snapshot.
    pub(crate) fn replay(&self, snapshot: &Snapshot) -> Result<Loaded, Damage> {
        let mut loaded = Loaded {
            entries: snapshot.entries,
            end: snapshot.at,
            epoch: snapshot.epoch,
        };
        let mut after = self
            .segments()
            .filter(|number| *number > snapshot.at.segment)
            .peekable();
        while let Some(number) = after.next() {
            let parts = &self.journal[usize::from(number) - 1];
            let Part::Head {
                by,
                epoch,
                after: follows,
            } = parts[0]
            else {
                return Err(Damage);
            };
            if follows != loaded.end || epoch <= loaded.epoch {
                return Err(Damage);
            }
            let limit = after.peek().map(|next| match self.part(*next, 0) {
                Part::Head { after, .. } => usize::from(after.parts),
                _ => usize::MAX,
            });
            let mut read = 1;
            for part in parts
                .iter()
                .skip(1)
                .take(limit.unwrap_or(usize::MAX).saturating_sub(1))
            {
                match part {
                    Part::Data { by: writer, entries } if *writer == by => {
                        loaded.entries = loaded.entries.with(*entries);
                    }
                    Part::Fence { .. } => break,
                    _ => return Err(Damage),
                }
                read += 1;
            }
            if limit.is_some_and(|limit| limit != read) {
                return Err(Damage);
            }
            loaded.epoch = epoch;
            loaded.end = Position {
                segment: number,
                parts: u8::try_from(read).unwrap(),
                by,
            };
        }
        Ok(loaded)
    }

    /// What somebody reads now.
    pub(crate) fn read(&self) -> Result<Loaded, Damage> {
        self.replay(&self.state.snapshot)
    }
}
