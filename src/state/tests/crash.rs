//! The process dies, or the disk fills, at every write there is.

use super::sample::{Sample, append, close, dev, entry, make, opening, run, ticket};
use crate::state::blobs::Fault;
use crate::state::{Session, Snapshot, StateError};

/// What a run of [`script`] has seen.
#[derive(Default)]
struct Seen {
    /// The state after every append.
    states: Vec<Snapshot>,
    /// The last of them that is durable, so one more than its index.
    durable: usize,
}

impl Seen {
    /// The state may be any from the last durable one on; the serial may be one more.
    fn allows(&self, state: &Snapshot) -> bool {
        self.states[self.durable.saturating_sub(1)..].contains(state)
    }
}

/// Three sessions that make, checkpoint, publish, close and begin anew; the second is never closed.
async fn script(sample: &Sample, seen: &mut Seen) -> Result<(), StateError> {
    for round in 0..3_u64 {
        let session = Session::open(&sample.store, &dev(), opening()).await?;
        seen.states.push(session.snapshot());
        seen.durable = seen.states.len();
        for name in 0..2 {
            let [begin, end] = make(round * 10 + name, &entry(&format!("v{round}{name}")));
            let lines = if name == 0 {
                vec![run(round), begin, end]
            } else {
                vec![begin, end]
            };
            for line in lines {
                let ticket = session.append(line)?;
                seen.states.push(session.snapshot());
                session.durable(ticket).await?;
                seen.durable = seen.states.len();
            }
        }
        session.publish_outputs().await?;
        append(&session, [close(round)])?;
        seen.states.push(session.snapshot());
        if round != 1 {
            session.close().await?;
            seen.durable = seen.states.len();
        }
    }
    Ok(())
}

#[tokio::test]
async fn whenever_the_process_dies_everything_durable_is_there_and_work_goes_on() {
    let whole = Sample::new();
    script(&whole, &mut Seen::default()).await.unwrap();
    let writes = whole.blobs.writes();
    assert!(writes > 30, "{writes}");
    for write in 0..writes {
        for fault in [
            Fault::Crash(0),
            Fault::Crash(40),
            Fault::Crash(200),
            Fault::CrashAfter,
            Fault::Full(50),
        ] {
            let (sample, mut seen) = (Sample::new(), Seen::default());
            sample.blobs.fail_at(write, fault);
            // Writes whose failure does no harm may go unnoticed: the old journal, the note of the holder.
            drop(script(&sample, &mut seen).await);
            sample.blobs.revive();
            match sample.store.read(&dev()).await {
                Ok(Some((state, _))) => {
                    assert!(
                        seen.states.is_empty() || seen.allows(&state),
                        "{fault:?} at {write}"
                    );
                }
                Ok(None) => assert_eq!(seen.durable, 0, "{fault:?} at {write}"),
                Err(error) => panic!("{fault:?} at {write}: {error}"),
            }
            let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
            let again = entry("again");
            append(&session, make(99, &again)).unwrap();
            session.close().await.unwrap();
            let (state, _) = sample.store.read(&dev()).await.unwrap().unwrap();
            assert_eq!(state.live(again.urn()), Some(&again), "{fault:?} at {write}");
        }
    }
}

#[tokio::test]
async fn after_a_failed_write_nothing_can_be_appended_and_nothing_durable_is_lost() {
    let sample = Sample::new();
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let first = ticket(&session, make(1, &entry("a"))).unwrap();
    session.durable(first).await.unwrap();
    let durable = session.snapshot();
    sample.blobs.fail_at(sample.blobs.writes(), Fault::Full(30));
    let second = ticket(&session, make(2, &entry("b"))).unwrap();
    let error = session.durable(second).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot write memory:cloud/p/dev/journal/0000000001"),
        "{error}"
    );
    sample.blobs.make_room();
    // The journal's end is not known: nothing may be written behind it.
    let refused = append(&session, make(3, &entry("c"))).unwrap_err();
    assert_eq!(refused.to_string(), error.to_string());
    assert!(session.durable(second).await.is_err());
    session.durable(first).await.unwrap();
    assert!(session.close().await.is_err());
    let (state, _) = sample.store.read(&dev()).await.unwrap().unwrap();
    assert_eq!(state, durable);
    // The lock is free although closing failed.
    Session::open(&sample.store, &dev(), opening()).await.unwrap();
}

#[tokio::test]
async fn a_waiter_that_gives_up_does_not_stop_the_write() {
    let sample = Sample::new();
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let mut last = ticket(&session, [run(1)]).unwrap();
    for number in 0..20 {
        last = ticket(&session, make(number, &entry(&format!("v{number}")))).unwrap();
        let waiting = session.durable(last);
        // Polled once, so that the write begins, and dropped.
        tokio::select! {
            biased;
            _ = waiting => {}
            () = std::future::ready(()) => {}
        }
    }
    session.durable(last).await.unwrap();
    let (state, _) = sample.store.read(&dev()).await.unwrap().unwrap();
    assert_eq!(state, session.snapshot());
}

#[tokio::test]
async fn what_waits_together_is_written_together() {
    let sample = Sample::new();
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let first = ticket(&session, [run(1)]).unwrap();
    session.durable(first).await.unwrap();
    let before = sample.blobs.writes();
    let tickets: Vec<_> = (0..100)
        .map(|number| ticket(&session, make(number, &entry(&format!("v{number}")))).unwrap())
        .collect();
    let waiting = tickets.iter().map(|ticket| session.durable(*ticket));
    for done in futures::future::join_all(waiting).await {
        done.unwrap();
    }
    assert_eq!(sample.blobs.writes() - before, 1);
}

#[tokio::test]
async fn what_a_dead_writer_left_is_made_durable_before_anything_is_written_behind_it() {
    let sample = Sample::new();
    let first = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    append(&first, make(1, &entry("a"))).unwrap();
    first
        .durable(ticket(&first, make(2, &entry("b"))).unwrap())
        .await
        .unwrap();
    // It dies: nobody knows whether its last append had been synced.
    sample.blobs.revive();
    let (sender, seen) = std::sync::mpsc::channel();
    sample.blobs.watch(move |blobs, settled| {
        let begun = blobs.contains_key("cloud/p/dev/journal/0000000002");
        let settled = settled.contains("cloud/p/dev/journal/0000000001");
        sender.send((begun, settled)).unwrap();
    });
    let second = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    second
        .durable(ticket(&second, make(3, &entry("c"))).unwrap())
        .await
        .unwrap();
    let seen: Vec<(bool, bool)> = seen.try_iter().collect();
    assert!(seen.contains(&(true, true)), "{seen:?}");
    assert!(!seen.contains(&(true, false)), "{seen:?}");
}
