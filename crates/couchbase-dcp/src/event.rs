//! What a feed tells.

use bytes::Bytes;

use crate::checkpoint::Branch;
use crate::error::Error;
pub use crate::wire::system::{SystemChange, SystemEvent};
pub use crate::wire::value::Xattrs;

/// An event of a [`Feed`](crate::Feed). Events of one vbucket come in the order of the server; events of different vbuckets in any
/// order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A stream is open: for the first time, or again after it had ended.
    Opened(Opened),
    /// The changes that follow, up to a sequence number, belong to one snapshot: each key is in it once.
    Snapshot(Snapshot),
    /// A document was written, deleted, or has expired.
    Change(Change),
    /// A scope or a collection was created or dropped.
    System(SystemEvent),
    /// The vbucket has come as far as this by changes that the feed does not show.
    SeqnoAdvanced {
        /// The vbucket.
        vbucket: u16,
        /// Its sequence number.
        seqno: u64,
    },
    /// Between a start and an end the changes come in no order, and the checkpoint of the vbucket stands still.
    OutOfOrder {
        /// The vbucket.
        vbucket: u16,
        /// The start; the end otherwise.
        is_start: bool,
    },
    /// The server has another history than the one that was told: what lies above this sequence number was lost there, or (at 0) may
    /// be missing here. The consumer must forget what it has of the vbucket above it. The feed goes on from there.
    Rollback {
        /// The vbucket.
        vbucket: u16,
        /// The last sequence number that both have in common.
        seqno: u64,
    },
    /// The server ended a stream. The feed opens it again, unless it has come to the end that [`Config::to_latest`](crate::Config) asks for, or
    /// the server knows nothing any more of what the filter shows.
    Ended {
        /// The vbucket.
        vbucket: u16,
        /// Why.
        reason: EndReason,
    },
    /// Each vbucket has come to the sequence number that it had when the feed was opened. Told once.
    CaughtUp,
    /// A connection broke, or a node refused something that it may grant later. The feed tries again.
    Disconnected {
        /// The node: host and port.
        node: String,
        /// Why.
        error: Error,
    },
}

/// A stream that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The vbucket.
    pub vbucket: u16,
    /// Where it goes on: the changes above this sequence number follow.
    pub seqno: u64,
    /// The branches of the vbucket's history, newest first.
    pub failover_log: Vec<Branch>,
}

/// What a snapshot marker says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The vbucket.
    pub vbucket: u16,
    /// The first sequence number (for a snapshot of the disk: one that the consumer may have).
    pub start: u64,
    /// The last sequence number.
    pub end: u64,
    /// The kind, as bits.
    pub flags: u32,
    /// The last sequence number that consumers without synchronous replication see, where the server tells it.
    pub max_visible_seqno: Option<u64>,
    /// The last durable write of which everything is known, where the server tells it.
    pub high_completed_seqno: Option<u64>,
    /// The last durable write that was prepared, where the server tells it.
    pub high_prepared_seqno: Option<u64>,
    /// The last sequence number of a tombstone that was purged, where the server tells it.
    pub purge_seqno: Option<u64>,
    /// When the disk snapshot was committed, where the server tells it, as the server writes it.
    pub timestamp: Option<u64>,
}

impl Snapshot {
    /// Whether it comes from memory.
    pub fn is_memory(&self) -> bool {
        self.flags & 0x01 != 0
    }

    /// Whether it comes from the disk: a backfill.
    pub fn is_disk(&self) -> bool {
        self.flags & 0x02 != 0
    }
}

/// A new version of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The vbucket.
    pub vbucket: u16,
    /// Its place in the vbucket's history.
    pub seqno: u64,
    /// How many versions the document has had.
    pub revision: u64,
    /// Names this version.
    pub cas: u64,
    /// The collection's id; 0 is the default one.
    pub collection: u32,
    /// The document's key.
    pub key: Bytes,
    /// What happened.
    pub kind: ChangeKind,
    /// Extended attributes. A deletion has the system ones, and others when [`Config::deleted_user_xattrs`](crate::Config) is set.
    pub xattrs: Xattrs,
    /// The body, without attributes and uncompressed; of a deletion mostly empty.
    pub body: Bytes,
    /// Whether the server knows the body as JSON.
    pub is_json: bool,
}

/// What happened to a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was written.
    Mutation {
        /// The flags that its writer gave it.
        flags: u32,
        /// When it will expire, in seconds since 1970; 0 for never. A time in the past means that it has expired already: the server
        /// may tell of the expiry later.
        expiry_s: u32,
        /// For how long it is locked, in seconds.
        lock_s: u32,
    },
    /// It was deleted.
    Deletion {
        /// When, in seconds since 1970; the server knows it of tombstones from the disk only.
        deleted_s: Option<u32>,
    },
    /// Its time had come.
    Expiration {
        /// When it was removed, in seconds since 1970; the server knows it of tombstones from the disk only.
        deleted_s: Option<u32>,
    },
}

impl ChangeKind {
    /// Whether the document is gone.
    pub fn is_removal(self) -> bool {
        !matches!(self, Self::Mutation { .. })
    }
}

/// Why a stream ended (`kv_engine` docs/dcp/documentation/commands/stream-end.md and `cb::mcbp::DcpStreamEndStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// It has come to the sequence number that was asked for.
    Done,
    /// It was closed by command.
    Closed,
    /// The vbucket is elsewhere now.
    StateChanged,
    /// The connection is being closed.
    Disconnected,
    /// The consumer was too slow.
    TooSlow,
    /// The server could not read its disk.
    BackfillFailed,
    /// The vbucket was rolled back.
    Rollback,
    /// All that the filter shows was dropped.
    FilterEmpty,
    /// The user may no longer read it.
    LostPrivileges,
    /// A reason that this crate does not know.
    Other(u32),
}

impl EndReason {
    /// Whether the stream has told everything that it had to tell.
    pub(crate) fn is_complete(self) -> bool {
        matches!(self, Self::Done | Self::FilterEmpty)
    }
}

impl From<u32> for EndReason {
    fn from(code: u32) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Closed,
            2 => Self::StateChanged,
            3 => Self::Disconnected,
            4 => Self::TooSlow,
            5 => Self::BackfillFailed,
            6 => Self::Rollback,
            7 => Self::FilterEmpty,
            8 => Self::LostPrivileges,
            other => Self::Other(other),
        }
    }
}
