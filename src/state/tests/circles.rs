//! Records that would depend on themselves are refused, however the circle is closed.

use epid_provider::Timestamp;

use super::sample::{entry, make};
use crate::state::{Change, Ending, Entry, Header, Invalid, JournalEntry, Snapshot};

fn on(name: &str, below: &[&str]) -> Entry {
    let mut entry = entry(name);
    entry.dependencies = below.iter().map(|name| self::entry(name).urn().clone()).collect();
    entry
}

fn recorded(entries: impl IntoIterator<Item = Entry>) -> JournalEntry {
    JournalEntry::End {
        token: None,
        ending: Ending::Done,
        changes: entries
            .into_iter()
            .map(|entry| Change::Put(Box::new(entry)))
            .collect(),
        at: Timestamp(0),
    }
}

/// `c` on `b` on `a`.
fn chain() -> Snapshot {
    let mut snapshot = Snapshot::new(Header::new("p", "dev", "local", "lineage"));
    let entries = [on("a", &[]), on("b", &["a"]), on("c", &["b"])];
    snapshot.apply(&recorded(entries)).unwrap();
    snapshot
}

#[test]
fn a_new_edge_that_leads_back_is_refused_and_nothing_is_changed() {
    for below in [&["c"][..], &["b"], &["a"]] {
        let mut snapshot = chain();
        let [begin, _] = make(1, &on("a", below));
        for closing in [begin, recorded([on("a", below)])] {
            let before = snapshot.clone();
            let refused = snapshot.apply(&closing).unwrap_err();
            assert!(matches!(refused, Invalid::Cycle(_)), "{refused}");
            assert_eq!(snapshot, before);
        }
    }
}

#[test]
fn a_circle_is_found_that_several_records_of_one_entry_close() {
    // None of them closes it alone, and the edges that it has already are part of it.
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut snapshot = chain();
        let new = [on("d", &["c"]), on("e", &["d"]), on("a", &["e"])];
        let put = order.map(|at| new[at].clone());
        assert!(matches!(
            snapshot.apply(&recorded(put)).unwrap_err(),
            Invalid::Cycle(_)
        ));
        // Without the last edge there is none.
        snapshot.apply(&recorded(new[..2].to_vec())).unwrap();
        snapshot.verify().unwrap();
    }
}

#[test]
fn edges_may_change_their_direction_in_one_entry() {
    let mut snapshot = chain();
    snapshot
        .apply(&recorded([on("a", &["b"]), on("b", &["c"]), on("c", &[])]))
        .unwrap();
    snapshot.verify().unwrap();
}
