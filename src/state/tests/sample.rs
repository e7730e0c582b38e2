//! Entries, stores and holders to test with.

use std::sync::Arc;

use epid_provider::{Kind, Map, Operation, Record, Timestamp, Token, Urn, Value};
use tempfile::TempDir;

use crate::state::blobs::{Blobs, MemoryBlobs};
use crate::state::{
    Change, Ending, Entropy, Entry, Holder, Intent, JournalEntry, KeyRing, Location, Opening, Run, RunResult,
    Session, StateError, Store, Ticket,
};

/// A store in memory, whose keys are files.
pub(super) struct Sample {
    pub(super) blobs: MemoryBlobs,
    pub(super) store: Store,
    pub(super) keys: TempDir,
}

impl Sample {
    pub(super) fn new() -> Self {
        let (blobs, keys) = (MemoryBlobs::new(), tempfile::tempdir().unwrap());
        let store = store(Arc::new(blobs.clone()), &keys);
        Self { blobs, store, keys }
    }
}

pub(super) fn store(blobs: Arc<dyn Blobs>, keys: &TempDir) -> Store {
    Store::new(blobs, KeyRing::new(keys.path()), entropy())
}

pub(super) fn entropy() -> Entropy {
    Arc::new(|bytes| {
        bytes.iter_mut().for_each(|b| *b = fastrand::u8(..));
        Ok(())
    })
}

pub(super) fn dev() -> Location {
    Location::new("cloud", "p", "dev")
}

pub(in crate::state) fn holder() -> Holder {
    Holder {
        pid: 7,
        user: "ann".into(),
        host: "laptop".into(),
        since: Timestamp(1_000),
        command: "epid up --stack dev".into(),
        job: None,
    }
}

pub(super) fn opening() -> Opening {
    Opening::new(holder()).create()
}

pub(super) fn run(at: u64) -> JournalEntry {
    JournalEntry::Run(Run {
        who: "ann@laptop".into(),
        command: "epid up".into(),
        at: Timestamp(at),
        version: "0.1.0".into(),
        plan: None,
        commit: None,
    })
}

pub(super) fn close(at: u64) -> JournalEntry {
    JournalEntry::Close {
        result: RunResult::Done,
        at: Timestamp(at),
    }
}

pub(super) fn entry(name: &str) -> Entry {
    let kind = Kind::parse("aws:ec2:Vpc").unwrap();
    let mut entry = Entry::new(Record {
        urn: Urn::new("p", "dev", &kind, name),
        kind,
        id: format!("vpc-{name}").into(),
        applied: Value::map([
            ("cidrBlock", Value::str("10.0.0.0/16")),
            ("password", Value::str(SECRET).into_secret()),
        ]),
        resolved: Value::Map(Map::default()),
        outputs: Value::map([("arn", Value::str("arn:aws:ec2:us-east-1:000000000000:vpc/x"))]),
        incomplete: Vec::new(),
        attempted: Vec::new(),
    });
    entry.source = Some("stacks/dev.toml:12".into());
    entry
}

/// Must never reach a disk.
pub(super) const SECRET: &str = "correct horse battery staple";

pub(super) fn token(number: u64) -> Token {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Token::from_bytes(bytes)
}

/// Begin and end of making `entry`.
pub(super) fn make(number: u64, entry: &Entry) -> [JournalEntry; 2] {
    let intent = Intent {
        token: token(number),
        operation: Operation::Create,
        entry: Box::new(entry.clone()),
        before: None,
        partial: None,
        begun: Timestamp(number),
    };
    [
        JournalEntry::Begin(Box::new(intent)),
        JournalEntry::End {
            token: Some(token(number)),
            ending: Ending::Done,
            changes: vec![Change::Put(Box::new(entry.clone()))],
            at: Timestamp(number + 5),
        },
    ]
}

/// Appends some lines; the ticket of the last.
pub(super) fn ticket(
    session: &Session,
    lines: impl IntoIterator<Item = JournalEntry>,
) -> Result<Ticket, StateError> {
    let mut last = Err(StateError::Closed);
    for line in lines {
        last = Ok(session.append(line)?);
    }
    last
}

/// Appends some lines.
pub(super) fn append(
    session: &Session,
    lines: impl IntoIterator<Item = JournalEntry>,
) -> Result<(), StateError> {
    ticket(session, lines).map(|_| ())
}
