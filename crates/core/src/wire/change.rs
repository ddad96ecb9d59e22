//! Committed changes on their way to clients (`docs/protocol.md` section 8).
//!
//! A [`Change`] is encoded once, whoever receives it; a batch is the concatenation of encoded changes, deflated as a whole when that
//! pays ([`super::pack`]).

use minicbor::Encode;

use super::compress::Packed;
use crate::ids::{ChangelogId, Offset, SubscriptionId, Version};
use crate::wire::{decode_enum, decode_struct};

/// The state of one document at an offset.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Change {
    /// Where in the changelog this state was committed. In a snapshot: where it was last changed.
    #[n(0)]
    pub offset: Offset,
    /// Number of the collection in the welcome frame.
    #[n(1)]
    pub collection: u32,
    /// Key in platform form.
    #[n(2)]
    pub key: String,
    /// What to do.
    #[n(3)]
    pub kind: ChangeKind,
}

decode_struct!(Change { offset, collection, key, kind });

/// What to do with a document.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
pub enum ChangeKind {
    /// It has this content (JSON text).
    #[n(0)]
    Put(#[n(0)] Version, #[cbor(n(1), with = "minicbor::bytes")] Vec<u8>),
    /// It was deleted.
    #[n(1)]
    Delete,
    /// It left the channels of the subscription: forget it, it still exists.
    #[n(2)]
    Leave,
    /// The client has this content already (named in `have`).
    #[n(3)]
    Same(#[n(0)] Version),
}

decode_enum!(ChangeKind { 0 => Put(first, second), 1 => Delete, 2 => Leave, 3 => Same(first) });

/// Every change of the subscriptions between two offsets, one entry per document, its latest state.
///
/// Applying a whole frame in one transaction is safe at any time; when `last` is set the client then shows a consistent cut.
/// A frame whose `from` equals its `to` moves no cursor: it confirms that the client is caught up, or carries documents of channels
/// that the subscription gained.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Changes {
    /// The changelog.
    #[n(0)]
    pub changelog: ChangelogId,
    /// The subscriptions that stood at `from` and stand at `to` afterwards.
    #[n(1)]
    pub subscriptions: Vec<SubscriptionId>,
    /// Exclusive.
    #[n(2)]
    pub from: Offset,
    /// Inclusive.
    #[n(3)]
    pub to: Offset,
    /// Whether `to` was the head of the changelog.
    #[n(4)]
    pub last: bool,
    /// Concatenated [`Change`]s, by rising offset.
    #[n(5)]
    pub changes: Packed,
    /// Whether the next changes frame continues this one (same subscriptions, `from` and `to`): a mutation larger than a frame. They
    /// are applied together.
    #[n(6)]
    pub more: bool,
}

decode_struct!(Changes { changelog, subscriptions, from, to, last, changes, more });

/// Documents of a subscription in the order of (collection name, key), bytewise.
///
/// Covers every document of the subscription after `after` up to and including `through`: one that the client has in that range and
/// that is not named is not in the subscription any more (deleted, or no longer readable).
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Snapshot {
    /// The changelog.
    #[n(0)]
    pub changelog: ChangelogId,
    /// The subscription.
    #[n(1)]
    pub subscription: SubscriptionId,
    /// The head when the snapshot began: changes follow from here once it is complete.
    #[n(2)]
    pub offset: Offset,
    /// Exclusive; `None` for the start.
    #[n(3)]
    pub after: Option<(String, String)>,
    /// Inclusive; `None` for the end: the snapshot is complete.
    #[n(4)]
    pub through: Option<(String, String)>,
    /// Concatenated [`Change`]s.
    #[n(5)]
    pub changes: Packed,
    /// The effective channels of the subscription, as opaque labels.
    #[n(6)]
    pub channels: Vec<String>,
}

decode_struct!(Snapshot { changelog, subscription, offset, after, through, changes, channels });

/// Documents to forget. They are not deleted: the identity lost access, or the subscription ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Purge {
    /// The subscription whose channels became fewer.
    #[n(0)]
    pub subscription: SubscriptionId,
    /// Documents that the client may hold and that no remaining subscription covers: (number of the collection, keys).
    #[n(1)]
    pub documents: Vec<(u32, Vec<String>)>,
    /// The effective channels of the subscription after the purge, as opaque labels.
    #[n(2)]
    pub channels: Vec<String>,
}

decode_struct!(Purge { subscription, documents, channels });

/// Changes cannot follow from where the subscription stands. The client subscribes again without a cursor, and with what it has.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Restart {
    /// The subscription; nothing of it follows.
    #[n(0)]
    pub subscription: SubscriptionId,
}

decode_struct!(Restart { subscription });

/// Coded symbols of the items of a subscription's documents (module [`crate::reconcile`]).
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Symbols {
    /// The subscription.
    #[n(0)]
    pub subscription: SubscriptionId,
    /// The reconciliation.
    #[n(1)]
    pub round: u64,
    /// The documents are those at this offset.
    #[n(2)]
    pub offset: Offset,
    /// How many documents there are.
    #[n(3)]
    pub documents: u64,
    /// Index of the first symbol; 0 replaces those sent before, for the documents have changed.
    #[n(4)]
    pub first: u32,
    /// The symbols, [`crate::reconcile::SYMBOL_BYTES`] each.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub symbols: Vec<u8>,
    /// Whether this frame ends the answer. When fewer symbols came than were asked for, there are no more.
    #[n(6)]
    pub last: bool,
}

decode_struct!(Symbols { subscription, round, offset, documents, first, symbols, last });

/// The states of documents that differ. A document is named once.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Reconciled {
    /// The changelog.
    #[n(0)]
    pub changelog: ChangelogId,
    /// The subscription.
    #[n(1)]
    pub subscription: SubscriptionId,
    /// The reconciliation.
    #[n(2)]
    pub round: u64,
    /// Where the symbols stood: once the last of these frames is applied, changes follow from here.
    #[n(3)]
    pub offset: Offset,
    /// Concatenated [`Change`]s: put or delete. Their offsets may be above `offset`: they were read from the store.
    #[n(4)]
    pub changes: Packed,
    /// The effective channels of the subscription, as opaque labels.
    #[n(5)]
    pub channels: Vec<String>,
    /// Whether nothing follows.
    #[n(6)]
    pub last: bool,
}

decode_struct!(Reconciled { changelog, subscription, round, offset, changes, channels, last });
