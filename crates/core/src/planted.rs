//! Bugs that the simulator plants, to prove that its judges see them.
//!
//! Without the feature `planted` there are none: [`has`] is a constant, and what depends on it is not compiled in. Only the simulator
//! asks for the feature; the stage `check` makes sure of that.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Bug {
    /// The server does not send some results.
    AckDropped = 1,
    /// The server acknowledges a mutation that the store did not take.
    AckWithoutCommit,
    /// The store does not recognise a repeated mutation.
    AppliedTwice,
    /// The conflict log is not written.
    ConflictUnlogged,
    /// The client moves its cursor when a frame arrives, before its rows are stored.
    CursorBeforeRows,
    /// The client overwrites rows with unsent changes.
    DirtyUnchecked,
    /// A client whose cursor is of no use takes everything again.
    EverythingAgain,
    /// The client does not check in its transactions whether another leader took over.
    FenceUnchecked,
    /// A node of a cluster writes over what others wrote since the mutation was decided.
    FencingUnchecked,
    /// The server does not narrow what a live session reads.
    FilterKept,
    /// What the feed of a cluster tells of foreign writers is dropped.
    ForeignIgnored,
    /// Documents that were changed together on a cluster are published as they come.
    GroupApart,
    /// Documents of one mutation are sent in frames that do not belong together.
    GroupTorn,
    /// An intent that is committed is aborted by whoever meets it.
    IntentAborted,
    /// A node of a cluster that lags answers from what it has heard, lists included.
    LagServed,
    /// What the feed of a cluster has lost is not looked for.
    LostUnscanned,
    /// The offset of a result is too high: what follows is taken for older.
    OffsetTooHigh,
    /// A rebase drops what the user changed.
    RebaseForgetful,
    /// The list of rejected mutations is not written.
    RejectedLost,
    /// An edit of a deleted document brings it back where deletes win.
    Resurrection,
    /// A content that is already what an intent makes of it is taken for the intent's own.
    SameTaken,
    /// A document of a cluster forgets what it has seen before the client's record has passed it.
    SeenPruned,
    /// The client applies changes that are older than a result.
    SettledForgotten,
    /// After a reconciliation changes follow from the head instead of from where the symbols stood.
    StaleReconciled,
    /// Tombstones go and the floor of the changelog stays.
    TombstonesEarly,
    /// A decoder refuses fields that a later version has appended.
    UnknownRefused,
    /// A decoder refuses what an earlier version does not send.
    AbsentRefused,
}

/// Every bug.
pub const BUGS: [Bug; 27] = [
    Bug::AckDropped,
    Bug::AckWithoutCommit,
    Bug::AppliedTwice,
    Bug::ConflictUnlogged,
    Bug::CursorBeforeRows,
    Bug::DirtyUnchecked,
    Bug::EverythingAgain,
    Bug::FenceUnchecked,
    Bug::FencingUnchecked,
    Bug::FilterKept,
    Bug::ForeignIgnored,
    Bug::GroupApart,
    Bug::GroupTorn,
    Bug::IntentAborted,
    Bug::LagServed,
    Bug::LostUnscanned,
    Bug::OffsetTooHigh,
    Bug::RebaseForgetful,
    Bug::RejectedLost,
    Bug::Resurrection,
    Bug::SameTaken,
    Bug::SeenPruned,
    Bug::SettledForgotten,
    Bug::StaleReconciled,
    Bug::TombstonesEarly,
    Bug::UnknownRefused,
    Bug::AbsentRefused,
];

#[cfg(feature = "planted")]
static PLANTED: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);

/// Plants one bug in this process, or none.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u32), core::sync::atomic::Ordering::SeqCst);
}

/// Whether a bug is planted.
#[cfg(feature = "planted")]
pub fn has(bug: Bug) -> bool {
    PLANTED.load(core::sync::atomic::Ordering::Relaxed) == bug as u32
}

/// Whether a bug is planted: never.
#[cfg(not(feature = "planted"))]
pub const fn has(_bug: Bug) -> bool {
    false
}
