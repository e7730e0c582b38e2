//! The same for a folder: `src/state/blobs/folder.rs` under `src/state/disk.rs`. A kernel lock that ends with its process, frames
//! that are durable once they are synced, a write that fails in the middle, a machine that loses its power.
//!
//! Left out: how `state` is replaced (written aside, synced, renamed), of which either version is left: a step that is done or not.

use stateright::{Checker, HasDiscoveries, Model, Property};

/// How the protocol is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Variant {
    /// As the code does it.
    None,
    /// A session that is not the first goes on in the segment it finds.
    SegmentContinued,
    /// A failed write does not end the session.
    NotPoisoned,
    /// What is written counts before it is synced.
    NotSynced,
    /// Segments are removed before `state` is replaced.
    RemovedFirst,
    /// There is no lock.
    NotLocked,
}

/// A frame of a segment: an entry, or what is left of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Frame {
    Whole(u8),
    Torn,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Segment {
    number: u8,
    /// Where the journal stood when it was begun: a segment and its frames.
    after: (u8, usize),
    frames: Vec<Frame>,
    /// How many of them a power cut leaves alone.
    synced: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Write,
    Sync,
    Replace,
    Remove,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Session {
    at: At,
    entries: u8,
    end: (u8, usize),
    begun: bool,
    /// A write failed: nothing is written behind it.
    poisoned: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Disk {
    segments: Vec<Segment>,
    /// What `state` holds, and the journal up to where.
    state: (u8, (u8, usize)),
    sessions: Vec<Session>,
    acknowledged: u8,
    written: u8,
    failures: u8,
    cuts: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Open,
    Step(usize),
    /// The disk is full in the middle of a write.
    Fail(usize),
    /// A sync says that it failed.
    NotSynced(usize),
    Kill(usize),
    /// Of what is not synced, so many frames are left, and the rest of one where `torn`.
    Cut {
        left: usize,
        torn: bool,
    },
}

#[derive(Debug, Clone, Copy)]
struct Folder {
    variant: Variant,
    entries: u8,
}

impl Disk {
    /// What `state` and the journal after it say.
    fn read(&self) -> Option<(u8, (u8, usize))> {
        let (mut entries, mut end) = self.state;
        let after: Vec<_> = self
            .segments
            .iter()
            .filter(|segment| segment.number > end.0)
            .collect();
        for (index, segment) in after.iter().enumerate() {
            if segment.after != end {
                return None;
            }
            let limit = after.get(index + 1).map(|next| next.after.1);
            let mut read = 0;
            for (at, frame) in segment
                .frames
                .iter()
                .enumerate()
                .take(limit.unwrap_or(usize::MAX))
            {
                match frame {
                    Frame::Whole(entry) => entries |= 1 << entry,
                    // What stands behind it shows that it was not the last.
                    Frame::Torn if at + 1 < segment.frames.len() => return None,
                    Frame::Torn => break,
                }
                read += 1;
            }
            if limit.is_some_and(|limit| limit != read) {
                return None;
            }
            end = (segment.number, read);
        }
        Some((entries, end))
    }
}

impl Folder {
    fn step(self, disk: &mut Disk, index: usize) {
        let session = &mut disk.sessions[index];
        match session.at {
            At::Write if session.poisoned || disk.written == self.entries => session.at = At::Replace,
            At::Write => {
                if !session.begun {
                    let continues = self.variant == Variant::SegmentContinued && session.end.0 > 0;
                    if !continues {
                        let number = session.end.0 + 1;
                        // Put-if-absent, which only a second writer would notice.
                        let after = session.end;
                        disk.segments.push(Segment {
                            number,
                            after,
                            frames: Vec::new(),
                            synced: 0,
                        });
                        session.end = (number, 0);
                    }
                    session.begun = true;
                }
                let last = disk.segments.last_mut().unwrap();
                last.frames.push(Frame::Whole(disk.written));
                session.entries |= 1 << disk.written;
                session.end.1 += 1;
                session.at = At::Sync;
                if self.variant == Variant::NotSynced {
                    disk.acknowledged |= 1 << disk.written;
                }
                disk.written += 1;
            }
            At::Sync => {
                let last = disk.segments.last_mut().unwrap();
                last.synced = last.frames.len();
                disk.acknowledged |= session.entries;
                session.at = At::Write;
            }
            At::Replace if session.poisoned || !session.begun => {
                disk.sessions.remove(index);
            }
            At::Replace if self.variant == Variant::RemovedFirst && !disk.segments.is_empty() => {
                disk.segments.clear();
            }
            At::Replace => {
                disk.state = (session.entries, session.end);
                session.at = At::Remove;
            }
            At::Remove => {
                let done = disk.state.1.0;
                disk.segments.retain(|segment| segment.number > done);
                disk.sessions.remove(index);
            }
        }
    }
}

impl Model for Folder {
    type State = Disk;
    type Action = Action;

    fn init_states(&self) -> Vec<Disk> {
        vec![Disk {
            failures: 1,
            cuts: 2,
            ..Disk::default()
        }]
    }

    fn actions(&self, disk: &Disk, actions: &mut Vec<Action>) {
        let locked = !disk.sessions.is_empty() && self.variant != Variant::NotLocked;
        if !locked && disk.sessions.len() < 2 && disk.read().is_some() {
            actions.push(Action::Open);
        }
        for (index, session) in disk.sessions.iter().enumerate() {
            actions.extend([Action::Step(index), Action::Kill(index)]);
            let writes = session.at == At::Write && session.begun && !session.poisoned;
            if disk.failures > 0 && writes && disk.written < self.entries {
                actions.push(Action::Fail(index));
            }
            if disk.failures > 0 && session.at == At::Sync {
                actions.push(Action::NotSynced(index));
            }
        }
        if disk.cuts > 0 {
            let unsynced = disk
                .segments
                .last()
                .map_or(0, |last| last.frames.len() - last.synced);
            for left in 0..=unsynced {
                actions.push(Action::Cut { left, torn: false });
                if left < unsynced {
                    actions.push(Action::Cut { left, torn: true });
                }
            }
        }
    }

    fn next_state(&self, before: &Disk, action: Action) -> Option<Disk> {
        let mut disk = before.clone();
        match action {
            Action::Open => {
                let (entries, end) = disk.read()?;
                let (begun, poisoned) = (false, false);
                disk.sessions.push(Session {
                    at: At::Write,
                    entries,
                    end,
                    begun,
                    poisoned,
                });
            }
            Action::Step(index) => self.step(&mut disk, index),
            Action::Fail(index) => {
                disk.failures -= 1;
                disk.segments.last_mut()?.frames.push(Frame::Torn);
                disk.sessions[index].poisoned = self.variant != Variant::NotPoisoned;
            }
            Action::NotSynced(index) => {
                disk.failures -= 1;
                disk.sessions[index].at = At::Write;
                disk.sessions[index].poisoned = self.variant != Variant::NotPoisoned;
            }
            Action::Kill(index) => {
                disk.sessions.remove(index);
            }
            Action::Cut { left, torn } => {
                disk.cuts -= 1;
                disk.sessions.clear();
                if let Some(last) = disk.segments.last_mut() {
                    last.frames.truncate(last.synced + left);
                    if torn {
                        last.frames.push(Frame::Torn);
                    }
                    last.synced = last.frames.len();
                }
            }
        }
        Some(disk)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("whoever reads finds a chain", |_, disk: &Disk| {
                disk.read().is_some()
            }),
            Property::always("what is acknowledged is read", |_, disk: &Disk| {
                disk.read()
                    .is_none_or(|(entries, _)| entries & disk.acknowledged == disk.acknowledged)
            }),
            Property::sometimes("everything is closed", |folder: &Self, disk: &Disk| {
                disk.sessions.is_empty() && disk.state.0.count_ones() == u32::from(folder.entries)
            }),
            Property::sometimes("a session follows a torn frame", |_, disk: &Disk| {
                let torn = |segment: &Segment| segment.frames.contains(&Frame::Torn);
                disk.segments.len() > 1 && torn(&disk.segments[0])
            }),
        ]
    }
}

fn check(variant: Variant) -> impl Checker<Folder> {
    let folder = Folder { variant, entries: 5 };
    folder
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join()
}

#[test]
fn a_folder_keeps_what_it_acknowledged() {
    let checker = check(Variant::None);
    checker.assert_properties();
    assert!(
        checker.unique_state_count() > 1_000,
        "{}",
        checker.unique_state_count()
    );
}

#[test]
fn a_folder_with_something_left_out_is_caught() {
    for variant in [
        Variant::SegmentContinued,
        Variant::NotPoisoned,
        Variant::NotSynced,
        Variant::RemovedFirst,
        Variant::NotLocked,
    ] {
        let checker = check(variant);
        let rules = ["whoever reads finds a chain", "what is acknowledged is read"];
        assert!(
            rules.iter().any(|rule| checker.discovery(rule).is_some()),
            "{variant:?} is not caught"
        );
    }
}
