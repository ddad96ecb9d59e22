//! Frames that a server sends (`docs/protocol.md` section 5).

use minicbor::Encode;

use super::change::{Changes, Purge, Reconciled, Restart, Snapshot, Symbols};
use super::error::ErrorCode;
use super::outcome::PushResult;
use super::policy::CollectionInfo;
use crate::ids::{ChangelogId, Epoch, Offset, Sequence, SessionId};
use crate::limits::Limits;
use crate::wire::{decode_enum, decode_struct};

/// Any frame from server to client.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
pub enum ServerFrame {
    /// Answer to a hello.
    #[n(0)]
    Welcome(#[n(0)] Welcome),
    /// Outcome of a mutation.
    #[n(1)]
    Result(#[n(0)] PushResult),
    /// Committed changes of a range of offsets.
    #[n(2)]
    Changes(#[n(0)] Changes),
    /// Documents in key order.
    #[n(3)]
    Snapshot(#[n(0)] Snapshot),
    /// Documents to forget: access or subscription ended.
    #[n(4)]
    Purge(#[n(0)] Purge),
    /// Answer to a ping.
    #[n(5)]
    Pong(#[n(0)] Pong),
    /// Something is wrong; a fatal one is followed by the close.
    #[n(6)]
    Error(#[n(0)] ErrorFrame),
    /// The subscription has to begin anew.
    #[n(7)]
    Restart(#[n(0)] Restart),
    /// What the documents of a subscription come to.
    #[n(8)]
    Symbols(#[n(0)] Symbols),
    /// Documents that differ.
    #[n(9)]
    Reconciled(#[n(0)] Reconciled),
}

decode_enum!(ServerFrame { 0 => Welcome(first), 1 => Result(first), 2 => Changes(first), 3 => Snapshot(first), 4 => Purge(first), 5 => Pong(first), 6 => Error(first), 7 => Restart(first), 8 => Symbols(first), 9 => Reconciled(first) });

/// The session is open.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Welcome {
    /// The protocol version that both speak from here on.
    #[n(0)]
    pub protocol: u16,
    /// This session.
    #[n(1)]
    pub session: SessionId,
    /// Epoch of the platform's data.
    #[n(2)]
    pub epoch: Epoch,
    /// The changelog that this node serves from.
    #[n(3)]
    pub changelog: ChangelogId,
    /// The last mutation that this server finished for (client, incarnation); 0 for none. A number above what the client assigned
    /// tells the client that its own storage was rolled back; one below what it was acknowledged, that the server's was.
    #[n(4)]
    pub finished: Sequence,
    /// Limits in force.
    #[n(5)]
    pub limits: Limits,
    /// The collections of the hello that the identity may use, with their numbers in change frames and their policies.
    #[n(6)]
    pub collections: Vec<CollectionInfo>,
    /// Subject of the identity.
    #[n(7)]
    pub subject: String,
    /// The server's clock, milliseconds since 1970.
    #[n(8)]
    pub now_ms: u64,
    /// Changes cannot follow from a cursor below this offset of the changelog.
    #[n(9)]
    pub floor: Offset,
}

decode_struct!(Welcome { protocol, session, epoch, changelog, finished, limits, collections, subject, now_ms, floor });

/// Answer to a ping.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Pong {
    /// The ping's number.
    #[n(0)]
    pub nonce: u64,
}

decode_struct!(Pong { nonce });

/// Something is wrong with the session.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct ErrorFrame {
    /// What went wrong.
    #[n(0)]
    pub code: ErrorCode,
    /// Whether the same request may succeed later.
    #[n(1)]
    pub retryable: bool,
    /// For people: what is wrong and what to do. Never holds the content of a document.
    #[n(2)]
    pub message: String,
    /// For a retryable one: milliseconds to wait at least.
    #[n(3)]
    pub retry_after_ms: Option<u32>,
}

decode_struct!(ErrorFrame { code, retryable, message, retry_after_ms });
