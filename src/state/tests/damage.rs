//! Files that are not what epid wrote: cut, changed, swapped, missing.

use super::sample::{Sample, append, close, dev, entry, make, opening, run, ticket};
use crate::state::{Session, Snapshot, StateError};

const STATE: &str = "cloud/p/dev/state";
const FIRST: &str = "cloud/p/dev/journal/0000000001";
const SECOND: &str = "cloud/p/dev/journal/0000000002";

/// A session that was never closed: its states, one for each frame, and the segment's bytes at each.
async fn unclosed(sample: &Sample, names: &[&str]) -> Vec<(Vec<u8>, Snapshot)> {
    let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
    let mut states = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let lines = if number == 0 {
            vec![run(1)]
        } else {
            make(number as u64, &entry(name)).to_vec()
        };
        let ticket = ticket(&session, lines).unwrap();
        session.durable(ticket).await.unwrap();
        let segment = sample
            .blobs
            .contents()
            .into_iter()
            .rfind(|(name, _)| name.contains("journal"));
        states.push((segment.unwrap().1, session.snapshot()));
    }
    states
}

async fn read(sample: &Sample) -> Result<Snapshot, StateError> {
    sample.store.read(&dev()).await.map(|read| read.unwrap().0)
}

#[tokio::test]
async fn a_journal_cut_anywhere_gives_the_state_of_its_last_whole_frame() {
    let sample = Sample::new();
    let states = unclosed(&sample, &["a", "b", "c"]).await;
    let whole = states.last().unwrap().0.clone();
    let head = whole
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'\n')
        .nth(1)
        .unwrap()
        .0
        + 1;
    for length in 0..whole.len() {
        sample.blobs.overwrite(FIRST, Some(whole[..length].to_vec()));
        match read(&sample).await {
            Ok(state) => {
                assert!(length >= head, "cut at {length}");
                match states.iter().rfind(|(bytes, _)| bytes.len() <= length) {
                    Some((_, expected)) => assert_eq!(state, *expected, "cut at {length}"),
                    None => assert!(state.run.is_none(), "cut at {length}"),
                }
            }
            Err(StateError::Corrupt { file, .. }) => {
                assert!(length < head && file.ends_with(FIRST), "{length}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    // Zeros, where the file grew and its bytes never came.
    for zeros in [1, 31, 32, 33, 500] {
        sample
            .blobs
            .overwrite(FIRST, Some([&whole[..], &vec![0; zeros]].concat()));
        assert_eq!(read(&sample).await.unwrap(), states.last().unwrap().1);
    }
}

#[tokio::test]
async fn an_append_of_which_a_disk_wrote_some_sectors_only_was_never_acknowledged() {
    const SECTOR: usize = 512;
    let (mut short_begins, mut short_ends) = (0, 0);
    for more in 0..400 {
        if short_begins > 0 && short_ends > 0 {
            return;
        }
        let sample = Sample::new();
        let (short, long) = ("b".repeat(1 + more), "n".repeat(300 + more * 37 % 251));
        let states = unclosed(&sample, &["a", &short, &long]).await;
        let [_, (before, old), (whole, _)] = &states[..] else {
            panic!("three frames");
        };
        // What another frame follows was written once.
        let mut bytes = whole.clone();
        bytes[before.len() - 60..before.len()].fill(0);
        sample.blobs.overwrite(FIRST, Some(bytes));
        assert!(matches!(read(&sample).await, Err(StateError::Corrupt { .. })));
        let ends = (before.len() / SECTOR + 1..=whole.len() / SECTOR).map(|n| n * SECTOR);
        let edges: Vec<usize> = std::iter::once(before.len())
            .chain(ends.filter(|end| *end < whole.len()))
            .chain([whole.len()])
            .collect();
        let sectors: Vec<_> = edges.windows(2).map(|edge| edge[0]..edge[1]).collect();
        short_begins += usize::from(sectors[0].len() < 8);
        short_ends += usize::from(sectors[sectors.len() - 1].len() < 8);
        let lack_one = (0..sectors.len()).map(|n| 1 << n);
        let lack_all_but_one = (0..sectors.len()).map(|n| (1_u64 << sectors.len()) - 1 - (1 << n));
        for unwritten in lack_one.chain(lack_all_but_one).filter(|lack| *lack > 0) {
            let mut bytes = whole.clone();
            for (n, sector) in sectors.iter().enumerate() {
                if unwritten & 1 << n != 0 {
                    bytes[sector.clone()].fill(0);
                }
            }
            sample.blobs.overwrite(FIRST, Some(bytes));
            let state = read(&sample).await.unwrap();
            assert_eq!(state, *old, "{unwritten:b} of {sectors:?}");
        }
    }
    panic!("no append began or ended with a few bytes in a sector");
}

#[tokio::test]
async fn a_journal_that_another_follows_may_not_be_cut() {
    let sample = Sample::new();
    unclosed(&sample, &["a", "b"]).await;
    let first = sample.blobs.contents()[FIRST].clone();
    // The second session finds a frame that was never finished, and goes on before it.
    sample
        .blobs
        .overwrite(FIRST, Some([&first[..], &[7; 20]].concat()));
    let states = unclosed(&sample, &["c", "d"]).await;
    assert_eq!(read(&sample).await.unwrap(), states.last().unwrap().1);
    for length in (0..first.len()).step_by(7) {
        sample.blobs.overwrite(FIRST, Some(first[..length].to_vec()));
        assert!(
            matches!(read(&sample).await, Err(StateError::Corrupt { .. })),
            "cut at {length}"
        );
    }
    sample.blobs.overwrite(FIRST, None);
    assert!(matches!(read(&sample).await, Err(StateError::Corrupt { .. })));
}

#[tokio::test]
async fn every_changed_byte_is_noticed_and_named() {
    let sample = Sample::new();
    let states = unclosed(&sample, &["a", "b"]).await;
    for (name, next) in [
        (STATE, "move it away and try again"),
        (FIRST, "restore it from a backup"),
    ] {
        let whole = sample.blobs.contents()[name].clone();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            sample.blobs.overwrite(name, Some(changed));
            match read(&sample).await {
                Err(error @ StateError::Corrupt { .. }) => {
                    let message = error.to_string();
                    assert!(
                        message.starts_with(&format!("memory:{name} is damaged at byte ")),
                        "{message}"
                    );
                    assert!(message.contains(next), "{message}");
                }
                Err(StateError::Newer { .. }) => {}
                other => panic!("byte {at} of {name}: {other:?}"),
            }
        }
        sample.blobs.overwrite(name, Some(whole));
    }
    // What the message of a damaged state says is true.
    sample.blobs.overwrite(STATE, None);
    assert_eq!(read(&sample).await.unwrap(), states.last().unwrap().1);
}

#[tokio::test]
async fn frames_and_segments_out_of_order_are_noticed() {
    let sample = Sample::new();
    let states = unclosed(&sample, &["a", "b", "c"]).await;
    let bytes: Vec<&[u8]> = states.iter().map(|(bytes, _)| &bytes[..]).collect();
    let head = bytes[0]
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'\n')
        .nth(1)
        .unwrap()
        .0
        + 1;
    let (head, one, two, three) = (
        &bytes[0][..head],
        &bytes[0][head..],
        &bytes[1][bytes[0].len()..],
        &bytes[2][bytes[1].len()..],
    );
    for frames in [
        &[one, one][..],
        &[two, one],
        &[one, three],
        &[one, two, two],
        &[two],
    ] {
        sample
            .blobs
            .overwrite(FIRST, Some([&[head], frames].concat().concat()));
        assert!(matches!(read(&sample).await, Err(StateError::Corrupt { .. })));
    }
    sample.blobs.overwrite(FIRST, Some(bytes[2].to_vec()));
    sample.blobs.overwrite(SECOND, Some(bytes[2].to_vec()));
    assert!(matches!(read(&sample).await, Err(StateError::Corrupt { .. })));
}

#[tokio::test]
async fn a_segment_of_another_stack_is_noticed() {
    let (sample, other) = (Sample::new(), Sample::new());
    unclosed(&sample, &["a", "b"]).await;
    unclosed(&other, &["a", "b"]).await;
    sample
        .blobs
        .overwrite(FIRST, Some(other.blobs.contents()[FIRST].clone()));
    let error = read(&sample).await.unwrap_err().to_string();
    assert!(error.contains("segment of another journal"), "{error}");
}

#[tokio::test]
async fn a_lost_snapshot_is_made_good_from_the_one_before_and_the_journal() {
    let sample = Sample::new();
    for round in 0..3 {
        let session = Session::open(&sample.store, &dev(), opening()).await.unwrap();
        append(&session, [run(round)]).unwrap();
        append(&session, make(round, &entry(&format!("v{round}")))).unwrap();
        append(&session, [close(round)]).unwrap();
        session.close().await.unwrap();
    }
    let whole = read(&sample).await.unwrap();
    sample.blobs.overwrite(STATE, None);
    assert_eq!(read(&sample).await.unwrap(), whole);
    Session::open(&sample.store, &dev(), opening())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    assert!(sample.blobs.contents().contains_key(STATE));
    assert_eq!(read(&sample).await.unwrap(), whole);
    // Without both, the journal says that something is missing: nothing begins anew in silence.
    for name in [STATE, "cloud/p/dev/state.previous"] {
        sample.blobs.overwrite(name, None);
    }
    let error = Session::open(&sample.store, &dev(), opening()).await.unwrap_err();
    assert!(
        error.to_string().contains("there is a journal, and no state"),
        "{error}"
    );
}

#[tokio::test]
async fn a_state_of_a_later_format_is_left_alone() {
    let sample = Sample::new();
    unclosed(&sample, &["a"]).await;
    for name in [FIRST, STATE] {
        let text = sample.blobs.contents()[name].clone();
        let at = text.windows(10).position(|w| w == b"\"format\":3").unwrap();
        let mut later = text;
        later[at + 9] = b'4';
        sample.blobs.overwrite(name, Some(later));
        let before = sample.blobs.contents();
        let error = Session::open(&sample.store, &dev(), opening()).await.unwrap_err();
        assert!(
            matches!(
                error,
                StateError::Newer {
                    found: 4,
                    known: 3,
                    ..
                } | StateError::Corrupt { .. }
            ),
            "{error}"
        );
        let mut after = sample.blobs.contents();
        // Another epid may be at work meanwhile; who it is changes nothing of the state.
        after.remove("cloud/p/dev/holder");
        assert!(after.iter().all(|(name, bytes)| before.get(name) == Some(bytes)));
    }
}
