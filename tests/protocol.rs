//! The protocol by which runs share a state, and everything that can happen to it: each order of events within the bounds of a
//! test is visited by a model checker. `docs/design/0004-s3.md` is the protocol; the model follows the code request by request.
//!
//! | here | in the code |
//! | --- | --- |
//! | [`at::At`]: `Look`, `Watch`, `Take`, `Release` | `lease::lock`, `Lease::release` in `src/state/blobs/lease.rs` |
//! | `List`, `ConfirmFence`, `Fence`, `ConfirmBegin`, `Begin`, `Begun` | `Disk::take_over`, `begin_segment`; `fence` and `start_log` in `src/state/blobs/bucket.rs` |
//! | `Append`, `ConfirmAppend`, `Check` | `Disk::append`, `BucketLog::write`, `Guard::is_held` |
//! | `Send`, `Waiting`, `LookInto`, `Recheck`, `Recover` | `execute`, `Sending::run` and `search_for` in `src/apply/call.rs`; `SOON` |
//! | `Copy`, `Tag`, `Confirm`, `Put`, `ConfirmDelete`, `Delete` | `Disk::compact`; `put_leased` and `delete` in `bucket.rs` |
//! | [`at::LASTS`], [`at::MARGIN`], one tick of travel | `LASTS` 20 s, `MARGIN` 4 s in `lease.rs` |
//! | [`bucket::Bucket::replay`] | `load::replay`, `journal::read` |
//!
//! What can happen: sessions are interleaved in every way, so each may stand still before each of its requests for as long as
//! it likes, or for ever; its clock goes on, or is suspended with its machine. A write is answered, or its answer is lost, or it
//! arrives whenever it likes, also after its sender is gone. A call is answered, lost before or after it took effect, or
//! throttled. Every session may crash.
//!
//! Left out: making and removing a state, outputs, history and marks of consumers; several calls at once; updates and deletes,
//! which may be sent twice; a journal's parts being listed and read one by one; bytes (`src/state/tests/damage.rs` has those).
//! Machines' clocks go equally fast. A request to the cloud arrives within the margin or never, and a machine is not suspended
//! between the last look at the lease and the call: what that would come to is shown by
//! [`what_no_lease_prevents_is_known`]. In [`local`] is the same for a folder.
//!
//! `cargo test --test protocol -- --ignored` visits larger spaces, for some minutes.

#![expect(clippy::unwrap_used, reason = "what cannot be fails the test")]

#[path = "protocol/at.rs"]
mod at;
#[path = "protocol/bucket.rs"]
mod bucket;
#[path = "protocol/entries.rs"]
mod entries;
#[path = "protocol/local.rs"]
mod local;
#[path = "protocol/model.rs"]
mod model;
#[path = "protocol/properties.rs"]
mod properties;
#[path = "protocol/session.rs"]
mod session;
#[path = "protocol/steps.rs"]
mod steps;
#[path = "protocol/variants.rs"]
mod variants;

use stateright::{Checker, HasDiscoveries, Model};

use crate::at::Script;
use crate::model::Protocol;
use crate::properties::{EVENTS, RULES};
use crate::variants::Variant;

/// Two runs of a program with two resources, one of which needs the other; one thing goes wrong on the network.
const LOST: Protocol = Protocol {
    variant: Variant::None,
    script: Script {
        resources: 2,
        notes: false,
    },
    sessions: 2,
    at_once: 2,
    faults: 1,
    crashes: 0,
    suspensions: 0,
    quiet: false,
    suspended_anywhere: false,
};

/// Two runs, one of which may be suspended, and one thing goes wrong. The kind has a quiet period.
const SUSPENDED: Protocol = Protocol {
    script: Script {
        resources: 1,
        notes: false,
    },
    suspensions: 1,
    quiet: true,
    ..LOST
};

/// Three runs that have something to write, two at once: segments are removed, and one run may be suspended meanwhile.
const REMOVED: Protocol = Protocol {
    script: Script {
        resources: 0,
        notes: true,
    },
    sessions: 3,
    faults: 0,
    suspensions: 1,
    ..LOST
};

/// Visits everything. At least `states` worlds are different, all rules hold, and everything in `events` happens.
fn holds(protocol: Protocol, states: usize, events: &[&'static str]) {
    let checker = protocol
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    for (rule, _) in RULES {
        if let Some(path) = checker.discovery(rule) {
            panic!("not always: {rule}\n{:#?}", path.into_actions());
        }
    }
    for event in events {
        assert!(EVENTS.iter().any(|(known, _)| known == event), "{event}");
        assert!(checker.discovery(event).is_some(), "never: {event}");
    }
    let visited = checker.unique_state_count();
    assert!(visited >= states, "{visited} states");
}

/// Some rule is broken.
fn is_caught(protocol: Protocol) {
    let checker = protocol
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let caught = RULES.iter().any(|(rule, _)| checker.discovery(rule).is_some());
    assert!(caught, "{:?} is not caught", protocol.variant);
}

macro_rules! caught {
    ($($test:ident: $variant:ident in $protocol:ident,)*) => {$(
        #[test]
        fn $test() {
            is_caught(Protocol { variant: Variant::$variant, ..$protocol });
        }
    )*};
}

caught! {
    without_a_fence: NotFenced in LOST,
    reading_before_the_fence: FencedAfterReading in SUSPENDED,
    a_fence_put_by_who_was_taken_over: FenceNotConfirmed in LOST,
    a_fence_that_goes_with_its_segment: FenceRemoved in REMOVED,
    segment_numbers_used_again: NumbersReused in LOST,
    a_segment_begun_by_who_was_taken_over: BeginNotConfirmed in LOST,
    a_segment_begun_where_one_was_removed: BegunNotConfirmed in SUSPENDED,
    an_append_that_was_sent_twice: AppendAgainNotConfirmed in SUSPENDED,
    a_state_put_by_who_was_taken_over: PutNotConfirmed in REMOVED,
    a_tag_read_after_the_lease: TagAfterConfirm in REMOVED,
    given_back_with_a_write_under_way: GivenUpSettled in LOST,
    appends_without_a_condition: PartUnconditional in LOST,
    a_lease_without_a_condition: LeaseUnconditional in LOST,
    a_state_without_a_condition: StateUnconditional in REMOVED,
    a_call_before_its_begin_is_durable: CallBeforeDurable in LOST,
    an_end_that_counts_before_it_is_durable: EndBeforeDurable in LOST,
    a_dependent_begun_before_an_end: EndBehindDependent in LOST,
    the_lease_not_checked_after_begin: NotChecked in LOST,
    the_lease_not_checked_before_a_second_try: NotCheckedAgain in LOST,
    the_lease_checked_by_a_clock_before_a_second_try: CheckedAgainByClock in SUSPENDED,
    a_successor_that_does_not_wait_for_what_was_sent: NoSendDeadline in LOST,
    a_lease_over_by_the_wall_clock_of_its_holder: HoldersClock in LOST,
    lost_answers_not_read_back: NotReadBack in LOST,
    tokens_not_looked_for: TokenNotLookedFor in LOST,
}

#[test]
fn two_runs_share_a_state_on_a_network_that_loses() {
    holds(
        LOST,
        60_000,
        &[
            "a lease is taken over",
            "a run completes",
            "what a lost call made is found",
            "a fence stops a writer",
            "a write arrives after its sender was taken over",
        ],
    );
}

#[test]
fn a_machine_is_suspended_and_goes_on() {
    let events = [
        "a lease is taken over",
        "a run completes",
        "a fence stops a writer",
    ];
    holds(SUSPENDED, 200_000, &events);
}

#[test]
fn one_run_after_another_while_one_stands_still() {
    let events = ["a lease is taken over", "a run completes", "a segment is removed"];
    holds(REMOVED, 150_000, &events);
}

#[test]
fn a_crashed_run_is_taken_over() {
    let crashing = Protocol {
        crashes: 1,
        faults: 0,
        ..LOST
    };
    holds(crashing, 5_000, &["a lease is taken over", "a run completes"]);
}

/// Nothing at the cloud knows of leases: a machine that is suspended after its last look, and sends the call when it goes on,
/// makes a thing that its successor did not find and has made again.
#[test]
fn what_no_lease_prevents_is_known() {
    is_caught(Protocol {
        suspended_anywhere: true,
        ..SUSPENDED
    });
}

#[test]
#[ignore = "takes minutes: larger spaces of the same"]
fn three_runs_at_once_twice_taken_over() {
    let three = Protocol {
        sessions: 3,
        at_once: 3,
        faults: 0,
        suspensions: 0,
        ..SUSPENDED
    };
    holds(
        Protocol {
            quiet: false,
            ..three
        },
        800_000,
        &["a lease is taken over"],
    );
    let notes = REMOVED.script;
    holds(
        Protocol {
            script: notes,
            ..three
        },
        600_000,
        &["a segment is removed"],
    );
    holds(
        Protocol {
            suspensions: 1,
            ..three
        },
        5_000_000,
        &["a lease is taken over"],
    );
}

#[test]
#[ignore = "takes minutes: larger spaces of the same"]
fn two_things_go_wrong() {
    holds(
        Protocol { faults: 2, ..LOST },
        600_000,
        &["a lease is taken over"],
    );
    let suspended = Protocol {
        script: LOST.script,
        ..SUSPENDED
    };
    holds(suspended, 400_000, &["a lease is taken over"]);
    holds(
        Protocol { faults: 1, ..REMOVED },
        1_000_000,
        &["a segment is removed"],
    );
}
