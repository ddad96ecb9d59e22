//! Frames that a server sends (`docs/protocol.md` section 5).

use super::change::{Changes, Purge, Reconciled, Restart, Snapshot, Symbols};
use super::error::ErrorCode;
use super::outcome::PushResult;
use super::policy::CollectionInfo;
use crate::ids::{ChangelogId, Epoch, History, Offset, Sequence, SessionId};
use crate::limits::Limits;
use crate::prelude::*;
use crate::wire::{cbor_enum, cbor_struct};

/// Any frame from server to client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFrame {
    /// Answer to a hello.
    Welcome(Welcome),
    /// Outcome of a mutation.
    Result(PushResult),
    /// Committed changes of a range of offsets.
    Changes(Changes),
    /// Documents in key order.
    Snapshot(Snapshot),
    /// Documents to forget: access or subscription ended.
    Purge(Purge),
    /// Answer to a ping.
    Pong(Pong),
    /// Something is wrong; a fatal one is followed by the close.
    Error(ErrorFrame),
    /// The subscription has to begin anew.
    Restart(Restart),
    /// What the documents of a subscription come to.
    Symbols(Symbols),
    /// Documents that differ.
    Reconciled(Reconciled),
}

cbor_enum!(ServerFrame { Welcome(first), Result(first), Changes(first), Snapshot(first), Purge(first), Pong(first), Error(first), Restart(first), Symbols(first), Reconciled(first) });

/// The session is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The protocol version that both speak from here on.
    pub protocol: u16,
    /// This session.
    pub session: SessionId,
    /// Epoch of the platform's data.
    pub epoch: Epoch,
    /// The changelog that this node serves from.
    pub changelog: ChangelogId,
    /// The last mutation that this server finished for (client, incarnation); 0 for none. A number above what the client assigned
    /// tells the client that its own storage was rolled back; one below what it was acknowledged, that the server's was.
    pub finished: Sequence,
    /// Limits in force.
    pub limits: Limits,
    /// The collections of the hello that the identity may use, with their numbers in change frames and their policies.
    pub collections: Vec<CollectionInfo>,
    /// Subject of the identity.
    pub subject: String,
    /// The server's clock, milliseconds since 1970.
    pub now_ms: u64,
    /// Changes cannot follow from a cursor below this offset of the changelog.
    pub floor: Offset,
    /// The history that offsets of this session belong to, and whether the position of the hello was never part of the store: the
    /// store was set back. `None` from a store that cannot be.
    pub history: Option<(History, bool)>,
}

cbor_struct!(Welcome {
    protocol,
    session,
    epoch,
    changelog,
    finished,
    limits,
    collections,
    subject,
    now_ms,
    floor,
    history
});

/// Answer to a ping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pong {
    /// The ping's number.
    pub nonce: u64,
}

cbor_struct!(Pong { nonce });

/// Something is wrong with the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorFrame {
    /// What went wrong.
    pub code: ErrorCode,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// For people: what is wrong and what to do. Never holds the content of a document.
    pub message: String,
    /// For a retryable one: milliseconds to wait at least.
    pub retry_after_ms: Option<u32>,
}

cbor_struct!(ErrorFrame { code, retryable, message, retry_after_ms });
