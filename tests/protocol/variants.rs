//! What the protocol would be with one thing left out or done in another order.

/// How the protocol is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Variant {
    /// As the code does it.
    None,
    /// Whoever takes over a lease reads at once, and begins a segment with its first entry.
    NotFenced,
    /// Whoever takes over reads before the fence is put.
    FencedAfterReading,
    /// The fence is put without a look at the lease.
    FenceNotConfirmed,
    /// A segment is removed with its fence.
    FenceRemoved,
    /// A segment takes the lowest number that is free.
    NumbersReused,
    /// A segment is begun without a look at the lease between reading the journal and that.
    BeginNotConfirmed,
    /// A segment is begun without a look at the lease afterwards.
    BegunNotConfirmed,
    /// An append that was sent twice counts without a look at the lease.
    AppendAgainNotConfirmed,
    /// `state` and `state.previous` are put without a look at the lease.
    PutNotConfirmed,
    /// The tag is read after the look at the lease.
    TagAfterConfirm,
    /// A lease is given back as settled although a write of its journal may still arrive.
    GivenUpSettled,
    /// Appends without If-None-Match.
    PartUnconditional,
    /// The lease without If-Match.
    LeaseUnconditional,
    /// `state` without If-Match.
    StateUnconditional,
    /// The call is sent while its `begin` is on the way.
    CallBeforeDurable,
    /// Outcomes count as durable as soon as they are known.
    EndBeforeDurable,
    /// The `begin` of a dependent is written before the `end` of what it needs.
    EndBehindDependent,
    /// The lease is not looked at after `begin` is durable.
    NotChecked,
    /// A call that was throttled is sent again without a look at the lease.
    NotCheckedAgain,
    /// The same, with a look at the own clock only.
    CheckedAgainByClock,
    /// The successor does not wait until what was sent under the lease has arrived.
    NoSendDeadline,
    /// The successor believes what the holder wrote of its wall clock.
    HoldersClock,
    /// A lost answer counts as a conflict: nothing is read back.
    NotReadBack,
    /// A call whose outcome is not written counts as not done.
    TokenNotLookedFor,
}
