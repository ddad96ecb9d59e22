//! Frames that a client sends (`docs/protocol.md` section 4).

use minicbor::Encode;

use super::compress::Packed;
use super::mutation::DocumentChange;
use crate::ids::{ChangelogId, ClientId, Epoch, Incarnation, Offset, Sequence, SubscriptionId};
use crate::wire::{decode_enum, decode_struct};

/// Any frame from client to server.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
pub enum ClientFrame {
    /// First frame of a session.
    #[n(0)]
    Hello(#[n(0)] Hello),
    /// Opens or replaces a subscription.
    #[n(1)]
    Subscribe(#[n(0)] Subscribe),
    /// Ends a subscription.
    #[n(2)]
    Unsubscribe(#[n(0)] Unsubscribe),
    /// A mutation, or a part of one.
    #[n(3)]
    Push(#[n(0)] Push),
    /// Lets the server send more.
    #[n(4)]
    Credit(#[n(0)] Credit),
    /// Heartbeat.
    #[n(5)]
    Ping(#[n(0)] Ping),
    /// A fresh token for a live session.
    #[n(6)]
    Auth(#[n(0)] Auth),
    /// Several pushes, as concatenated [`Push`]es: offline writes travel compressed.
    #[n(7)]
    Pushes(#[n(0)] Packed),
    /// The symbols sent do not suffice.
    #[n(8)]
    MoreSymbols(#[n(0)] MoreSymbols),
    /// What the symbols tell.
    #[n(9)]
    Difference(#[n(0)] Difference),
}

decode_enum!(ClientFrame { 0 => Hello(first), 1 => Subscribe(first), 2 => Unsubscribe(first), 3 => Push(first), 4 => Credit(first), 5 => Ping(first), 6 => Auth(first), 7 => Pushes(first), 8 => MoreSymbols(first), 9 => Difference(first) });

/// Opens the session; nothing else is accepted before it.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Hello {
    /// Newest protocol version that the client speaks.
    #[n(0)]
    pub protocol: u16,
    /// Oldest protocol version that the client speaks.
    #[n(1)]
    pub protocol_min: u16,
    /// Name of the database.
    #[n(2)]
    pub database: String,
    /// The bearer token.
    #[n(3)]
    pub token: String,
    /// The replica.
    #[n(4)]
    pub client: ClientId,
    /// The replica's incarnation.
    #[n(5)]
    pub incarnation: Incarnation,
    /// Every result up to here is durable on the client; the server may forget them.
    #[n(6)]
    pub acknowledged: Sequence,
    /// The epoch that the client knows; `None` for a client that never synchronised.
    #[n(7)]
    pub epoch: Option<Epoch>,
    /// Bytes of change frames that the server may send before the first [`Credit`].
    #[n(8)]
    pub credit_bytes: u32,
    /// Every collection that the client will use in this session; the welcome names those that the identity may use.
    #[n(9)]
    pub collections: Vec<String>,
}

decode_struct!(Hello {
    protocol,
    protocol_min,
    database,
    token,
    client,
    incarnation,
    acknowledged,
    epoch,
    credit_bytes,
    collections
});

/// Opens a subscription, or replaces the one with the same id.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Subscribe {
    /// Chosen by the client, unique in the session.
    #[n(0)]
    pub id: SubscriptionId,
    /// Collections wanted.
    #[n(1)]
    pub collections: Vec<String>,
    /// Channels wanted; `None` for all that the identity may read. What it may not read is left out.
    #[n(2)]
    pub channels: Option<Vec<String>>,
    /// Where the client stands; `None` asks for a snapshot from the start, or for reconciliation.
    #[n(3)]
    pub cursor: Option<Cursor>,
    /// The effective channels that the client held when it stood at the cursor, as the last snapshot or purge named them (opaque
    /// labels): those lost since then are purged, those gained are sent whole.
    #[n(4)]
    pub held: Vec<String>,
    /// For a snapshot: what the client has already, as concatenated big-endian item hashes ([`crate::version::item_hash`]).
    /// Documents among them are confirmed without their bodies.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub have: Vec<u8>,
    /// Without a cursor: the client wants to reconcile what it has. (Round, symbols): a number that the client chose and that the
    /// frames of this reconciliation carry, and how many symbols the server is to send at first.
    #[n(6)]
    pub reconcile: Option<(u64, u32)>,
}

decode_struct!(Subscribe { id, collections, channels, cursor, held, have, reconcile });

/// Asks for further symbols.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct MoreSymbols {
    /// The subscription.
    #[n(0)]
    pub subscription: SubscriptionId,
    /// The reconciliation.
    #[n(1)]
    pub round: u64,
    /// The first one wanted; the client has those before it.
    #[n(2)]
    pub first: u32,
    /// Exclusive.
    #[n(3)]
    pub until: u32,
}

decode_struct!(MoreSymbols { subscription, round, first, until });

/// What the client and the server do not have in common, by the symbols sent. In several frames when it is larger than one.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Difference {
    /// The subscription.
    #[n(0)]
    pub subscription: SubscriptionId,
    /// The reconciliation.
    #[n(1)]
    pub round: u64,
    /// Item hashes that only the server has, concatenated, big-endian.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub lacks: Vec<u8>,
    /// Documents of items that only the client has: concatenated (number of the collection, key).
    #[n(3)]
    pub only: Packed,
    /// Whether more frames of this difference follow.
    #[n(4)]
    pub more: bool,
}

decode_struct!(Difference { subscription, round, lacks, only, more });

/// A position that the server issued.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Cursor {
    /// The changelog that the offset belongs to.
    #[n(0)]
    pub changelog: ChangelogId,
    /// Everything up to here is applied.
    #[n(1)]
    pub offset: Offset,
    /// While a snapshot is under way: the last (collection, key) applied; everything after it is still missing.
    #[n(2)]
    pub snapshot: Option<(String, String)>,
}

decode_struct!(Cursor { changelog, offset, snapshot });

/// Ends a subscription; the client purges what only it covered.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Unsubscribe {
    /// The subscription.
    #[n(0)]
    pub id: SubscriptionId,
}

decode_struct!(Unsubscribe { id });

/// A mutation. One that is larger than a frame is sent in several, all with `more` but the last.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Push {
    /// Its sequence.
    #[n(0)]
    pub sequence: Sequence,
    /// Every result up to here is durable on the client.
    #[n(1)]
    pub acknowledged: Sequence,
    /// When the user made it: milliseconds since 1970 by the client's clock, for policy `newest`.
    #[n(2)]
    pub edited_ms: u64,
    /// What it changes.
    #[n(3)]
    pub changes: Vec<DocumentChange>,
    /// Whether more frames of this mutation follow.
    #[n(4)]
    pub more: bool,
}

decode_struct!(Push { sequence, acknowledged, edited_ms, changes, more });

/// Flow control: the client has applied what it received.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Credit {
    /// Bytes of change frames that the server may send in addition.
    #[n(0)]
    pub bytes: u32,
}

decode_struct!(Credit { bytes });

/// Heartbeat; answered by a pong with the same number.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Ping {
    /// Echoed.
    #[n(0)]
    pub nonce: u64,
}

decode_struct!(Ping { nonce });

/// A fresh token for a live session.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Auth {
    /// The bearer token.
    #[n(0)]
    pub token: String,
}

decode_struct!(Auth { token });
