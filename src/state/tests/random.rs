//! Random work: the disk tells what memory does, whatever was done and however it was cut up.

use proptest::prelude::*;

use epid_provider::{Map, Partial, Path, Segment, Timestamp, Value};

use super::sample::{Sample, close, dev, entry, make, opening, run, token};
use crate::state::format::value::tests::any_value;
use crate::state::{Change, Ending, Entry, JournalEntry, Role, Session, StateError};

#[derive(Debug, Clone)]
enum Act {
    Run,
    Make {
        name: u8,
        dependencies: Vec<u8>,
        value: Value,
        options: u8,
    },
    Begin {
        name: u8,
    },
    Checkpoint {
        nth: usize,
        value: Value,
    },
    Condemn {
        name: u8,
    },
    Remove {
        name: u8,
    },
    Outputs(Value),
    Close,
    Durable,
    Reopen {
        close: bool,
    },
}

fn any_act() -> impl Strategy<Value = Act> {
    let name = 0_u8..6;
    prop_oneof![
        1 => Just(Act::Run),
        6 => (name.clone(), prop::collection::vec(name.clone(), 0..3), any_value(), any::<u8>())
            .prop_map(|(name, dependencies, value, options)| Act::Make { name, dependencies, value, options }),
        2 => name.clone().prop_map(|name| Act::Begin { name }),
        2 => (0..8_usize, any_value()).prop_map(|(nth, value)| Act::Checkpoint { nth, value }),
        1 => name.clone().prop_map(|name| Act::Condemn { name }),
        2 => name.prop_map(|name| Act::Remove { name }),
        1 => any_value().prop_map(Act::Outputs),
        1 => Just(Act::Close),
        3 => Just(Act::Durable),
        2 => any::<bool>().prop_map(|close| Act::Reopen { close }),
    ]
}

fn named(name: u8) -> Entry {
    entry(&format!("v{name}"))
}

/// An entry with every field at work.
fn made(session: &Session, name: u8, dependencies: &[u8], value: Value, options: u8) -> Entry {
    let mut entry = named(name);
    entry.dependencies = dependencies
        .iter()
        .map(|name| named(*name).urn().clone())
        .collect();
    entry.record.outputs = value.clone();
    if options & 1 == 1 {
        entry.record.attempted = vec![entry.record.applied.clone()];
    }
    entry.record.incomplete = (options & 1 == 1)
        .then(|| "attach".to_owned())
        .into_iter()
        .collect();
    entry.protect = options & 2 == 2;
    entry.outside = options & 4 == 4;
    entry.delete_before_replace = (options & 8 == 8).then_some(true);
    let path: Path = [
        Segment::Key("a.b".into()),
        Segment::Element("7".into()),
        Segment::Index(7),
    ]
    .into_iter()
    .collect();
    entry.ignore_changes = vec![path.clone()];
    entry.observed = Some((value.clone(), Timestamp(u64::from(options))));
    entry.overrides.insert(path, value);
    entry.timeouts.create = (options & 16 == 16).then_some(std::time::Duration::from_millis(1_500));
    entry.generation = session.with(|snapshot| snapshot.next_generation(entry.urn()));
    entry
}

fn lines(session: &Session, act: &Act, number: u64) -> Vec<JournalEntry> {
    let end = |changes| JournalEntry::End {
        token: None,
        ending: Ending::Done,
        changes,
        at: Timestamp(number),
    };
    match act {
        Act::Run => vec![run(number)],
        Act::Make {
            name,
            dependencies,
            value,
            options,
        } => make(
            number,
            &made(session, *name, dependencies, value.clone(), *options),
        )
        .to_vec(),
        Act::Begin { name } => {
            let [begin, _] = make(number, &made(session, *name, &[], Value::Null, 0));
            vec![begin]
        }
        Act::Checkpoint { nth, value } => {
            let intents = session.with(|snapshot| snapshot.intents.keys().cloned().collect::<Vec<_>>());
            let token = intents.get(*nth).cloned().unwrap_or_else(|| token(999_999));
            let partial = Partial {
                id: "x".into(),
                outputs: value.clone(),
                incomplete: vec!["tag".into()],
            };
            vec![JournalEntry::Checkpoint { token, partial }]
        }
        Act::Condemn { name } => session
            .with(|snapshot| snapshot.live(named(*name).urn()).cloned())
            .map(|live| {
                end(vec![Change::Put(Box::new(Entry {
                    role: Role::Condemned,
                    ..live
                }))])
            })
            .into_iter()
            .collect(),
        Act::Remove { name } => session
            .with(|snapshot| snapshot.of(named(*name).urn()).next().map(|entry| entry.key_of()))
            .map(|key| end(vec![Change::Remove(key)]))
            .into_iter()
            .collect(),
        Act::Outputs(value) => {
            let map: Map = [("url", value.clone())].into_iter().collect();
            vec![JournalEntry::Outputs(map)]
        }
        Act::Close => vec![close(number)],
        Act::Durable | Act::Reopen { .. } => Vec::new(),
    }
}

async fn check(acts: Vec<Act>) {
    let sample = Sample::new();
    let mut session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let mut last = None;
    for (number, act) in acts.iter().enumerate() {
        for line in lines(&session, act, number as u64) {
            match session.append(line) {
                Ok(ticket) => last = Some(ticket),
                // Refused, and nothing was changed.
                Err(StateError::Invalid(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let reopen = match act {
            Act::Reopen { close } => Some(*close),
            Act::Durable => None,
            _ => continue,
        };
        if let Some(ticket) = last.take() {
            session.durable(ticket).await.unwrap();
        }
        session.snapshot().verify().unwrap();
        let (read, _) = sample.store.read(&dev()).await.unwrap().unwrap();
        assert_eq!(read, session.snapshot());
        if let Some(close) = reopen {
            if close {
                session.close().await.unwrap();
            }
            drop(session);
            session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
            let mut again = session.snapshot();
            // Closing counts changes that no run made.
            again.header.serial = read.header.serial;
            assert_eq!(again, read);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_disk_tells_what_memory_does(acts in prop::collection::vec(any_act(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(check(acts));
    }
}
