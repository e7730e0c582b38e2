//! Where a session is. The names are those of the code: `lease::lock`, `Disk::open`, `take_over`, `begin_segment`, `append`,
//! `compact`, `call::execute` and `Sending::run`.

use crate::bucket::{File, Snapshot, Tag};
use crate::entries::Token;

/// How long a lease lasts after its last renewal, in ticks: `LASTS`, 20 s.
pub(crate) const LASTS: u8 = 2;
/// It counts as held only while this much is left: `MARGIN`, 4 s. A request that is sent then arrives in time.
pub(crate) const MARGIN: u8 = 1;

/// What a session does next. Each is one request, except where it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// `lock`: GET.
    Look,
    /// `lock`: another holds this version, seen for so long by the own clock. GET again.
    Watch {
        tag: Tag,
        seen: u8,
    },
    /// `lock`: PUT over what was seen.
    Take {
        over: Tag,
        disputed: bool,
    },
    /// `take_over`: LIST, and LIST and GET of the newest segment's parts.
    List,
    /// `fence`: GET of the lease.
    ConfirmFence {
        segment: u8,
        number: u8,
    },
    /// `fence`: PUT.
    Fence {
        segment: u8,
        number: u8,
    },
    /// `load`: GET of `state`.
    Read,
    /// `load`: LIST and GETs of the journal after it.
    Replay {
        tag: Tag,
        snapshot: Snapshot,
    },
    /// `start_log`: GET of the lease, before and after the PUT.
    ConfirmBegin,
    Begin,
    Begun,
    /// `append`: PUT.
    Append,
    /// An append whose answer was lost: GET of the lease.
    ConfirmAppend,
    /// `check_lock` after an append, where the lease has to be renewed before it counts as held. No request of its own.
    Check,
    /// `recover`: what the cloud knows by the token, looked for so long by the own clock.
    Recover {
        token: Token,
        looked: u8,
    },
    /// The call is about to be sent.
    Send(Token),
    /// Throttled, or the check is a while ago: `Session::check_lock`, which renews.
    Recheck(Token),
    /// The call is under way.
    Waiting(Token),
    /// Its answer was lost: `look_into`.
    LookInto(Token),
    /// `compact`: GET of `state`.
    Copy,
    /// `put_leased`: GET of the object, then of the lease, then PUT.
    Tag(File),
    Confirm {
        file: File,
        over: Tag,
    },
    Put {
        file: File,
        over: Tag,
    },
    /// `delete` of a segment: GET of the lease, then DELETEs.
    ConfirmDelete(u8),
    Delete(u8),
    /// `release`: PUT.
    Release,
    /// The process is over.
    Over,
}

/// What all sessions do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script {
    /// How many resources the program declares.
    pub(crate) resources: u8,
    /// Every run has something to write, also where nothing is missing.
    pub(crate) notes: bool,
}
