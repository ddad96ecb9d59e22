//! Frames that a client sends (`docs/protocol.md` section 4).

use super::mutation::DocumentChange;
use super::packed::Packed;
use crate::ids::{ChangelogId, ClientId, Epoch, History, Incarnation, Offset, Sequence, SubscriptionId};
use crate::prelude::*;
use crate::wire::{cbor_enum, cbor_struct};

/// Any frame from client to server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame {
    /// First frame of a session.
    Hello(Hello),
    /// Opens or replaces a subscription.
    Subscribe(Subscribe),
    /// Ends a subscription.
    Unsubscribe(Unsubscribe),
    /// A mutation, or a part of one.
    Push(Push),
    /// Lets the server send more.
    Credit(Credit),
    /// Heartbeat.
    Ping(Ping),
    /// A fresh token for a live session.
    Auth(Auth),
    /// Several pushes, as concatenated [`Push`]es: what is alike in offline writes compresses together.
    Pushes(Packed),
    /// The symbols sent do not suffice.
    MoreSymbols(MoreSymbols),
    /// What the symbols tell.
    Difference(Difference),
}

cbor_enum!(ClientFrame { Hello(first), Subscribe(first), Unsubscribe(first), Push(first), Credit(first), Ping(first), Auth(first), Pushes(first), MoreSymbols(first), Difference(first) });

/// Opens the session; nothing else is accepted before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Newest protocol version that the client speaks.
    pub protocol: u16,
    /// Oldest protocol version that the client speaks.
    pub protocol_min: u16,
    /// Name of the database.
    pub database: String,
    /// The bearer token.
    pub token: String,
    /// The replica.
    pub client: ClientId,
    /// The replica's incarnation.
    pub incarnation: Incarnation,
    /// Every result up to here is durable on the client; the server may forget them.
    pub acknowledged: Sequence,
    /// The epoch that the client knows; `None` for a client that never synchronised.
    pub epoch: Option<Epoch>,
    /// Bytes of change frames that the server may send before the first [`Credit`].
    pub credit_bytes: u32,
    /// Every collection that the client will use in this session; the welcome names those that the identity may use.
    pub collections: Vec<String>,
    /// The furthest position that the client was told, with the history that the welcome named then.
    pub history: Option<(History, Offset)>,
    /// Whether the client is bringing back what a server that was set back lacks.
    pub restoring: Option<bool>,
}

cbor_struct!(Hello {
    protocol,
    protocol_min,
    database,
    token,
    client,
    incarnation,
    acknowledged,
    epoch,
    credit_bytes,
    collections,
    history,
    restoring
});

/// Opens a subscription, or replaces the one with the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Chosen by the client, unique in the session.
    pub id: SubscriptionId,
    /// Collections wanted.
    pub collections: Vec<String>,
    /// Channels wanted; `None` for all that the identity may read. What it may not read is left out.
    pub channels: Option<Vec<String>>,
    /// Where the client stands; `None` asks for a snapshot from the start, or for reconciliation.
    pub cursor: Option<Cursor>,
    /// The effective channels that the client held when it stood at the cursor, as the last snapshot or purge named them (opaque
    /// labels): those lost since then are purged, those gained are sent whole.
    pub held: Vec<String>,
    /// For a snapshot: what the client has already, as concatenated big-endian item hashes ([`crate::version::item_hash`]).
    /// Documents among them are confirmed without their bodies.
    pub have: Vec<u8>,
    /// Without a cursor: the client wants to reconcile what it has. (Round, symbols): a number that the client chose and that the
    /// frames of this reconciliation carry, and how many symbols the server is to send at first.
    pub reconcile: Option<(u64, u32)>,
}

cbor_struct!(Subscribe { id, collections, channels, cursor, held, have, reconcile });

/// Asks for further symbols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoreSymbols {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The reconciliation.
    pub round: u64,
    /// The first one wanted; the client has those before it.
    pub first: u32,
    /// Exclusive.
    pub until: u32,
}

cbor_struct!(MoreSymbols { subscription, round, first, until });

/// What the client and the server do not have in common, by the symbols sent. In several frames when it is larger than one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The reconciliation.
    pub round: u64,
    /// Item hashes that only the server has, concatenated, big-endian.
    pub lacks: Vec<u8>,
    /// Documents of items that only the client has: concatenated (number of the collection, key).
    pub only: Packed,
    /// Whether more frames of this difference follow.
    pub more: bool,
}

cbor_struct!(Difference { subscription, round, lacks, only, more });

/// A position that the server issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The changelog that the offset belongs to.
    pub changelog: ChangelogId,
    /// Everything up to here is applied.
    pub offset: Offset,
    /// While a snapshot is under way: the last (collection, key) applied; everything after it is still missing.
    pub snapshot: Option<(String, String)>,
}

cbor_struct!(Cursor { changelog, offset, snapshot });

/// Ends a subscription; the client purges what only it covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The subscription.
    pub id: SubscriptionId,
}

cbor_struct!(Unsubscribe { id });

/// A mutation. One that is larger than a frame is sent in several, all with `more` but the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Its sequence.
    pub sequence: Sequence,
    /// Every result up to here is durable on the client.
    pub acknowledged: Sequence,
    /// When the user made it: milliseconds since 1970 by the client's clock, for policy `newest`.
    pub edited_ms: u64,
    /// What it changes.
    pub changes: Vec<DocumentChange>,
    /// Whether more frames of this mutation follow.
    pub more: bool,
    /// Whether the client formed it before it noticed that its server was set back: what was lost may have held it.
    pub before: Option<bool>,
}

cbor_struct!(Push { sequence, acknowledged, edited_ms, changes, more, before });

/// Flow control: the client has applied what it received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Bytes of change frames that the server may send in addition.
    pub bytes: u32,
}

cbor_struct!(Credit { bytes });

/// Heartbeat; answered by a pong with the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Echoed.
    pub nonce: u64,
}

cbor_struct!(Ping { nonce });

/// A fresh token for a live session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The bearer token.
    pub token: String,
}

cbor_struct!(Auth { token });
