//! Committed changes on their way to clients (`docs/protocol.md` section 8).
//!
//! A batch of [`Change`]s travels in [`Columns`].

use super::columns::Columns;
use crate::ids::{ChangelogId, Offset, SubscriptionId, Version};
use crate::prelude::*;
use crate::wire::cbor_struct;

/// The state of one document at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where in the changelog this state was committed. In a snapshot: where it was last changed.
    pub offset: Offset,
    /// Number of the collection in the welcome frame.
    pub collection: u32,
    /// Key in platform form.
    pub key: String,
    /// What to do.
    pub kind: ChangeKind,
}

/// What to do with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It has this content (JSON text). The version does not travel: whoever reads the change computes it from the content.
    Put(Version, Vec<u8>),
    /// It was deleted.
    Delete,
    /// It left the channels of the subscription: forget it, it still exists.
    Leave,
    /// The client has this content already (named in `have`).
    Same(Version),
}

/// Every change of the subscriptions between two offsets, one entry per document, its latest state.
///
/// Applying a whole frame in one transaction is safe at any time; when `last` is set the client then shows a consistent cut.
/// A frame whose `from` equals its `to` moves no cursor: it confirms that the client is caught up, or carries documents of channels
/// that the subscription gained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The changelog.
    pub changelog: ChangelogId,
    /// The subscriptions that stood at `from` and stand at `to` afterwards.
    pub subscriptions: Vec<SubscriptionId>,
    /// Exclusive.
    pub from: Offset,
    /// Inclusive.
    pub to: Offset,
    /// Whether `to` was the head of the changelog.
    pub last: bool,
    /// [`Change`]s by rising offset.
    pub changes: Columns,
    /// Whether the next changes frame continues this one (same subscriptions, `from` and `to`): a mutation larger than a frame. They
    /// are applied together.
    pub more: bool,
}

cbor_struct!(Changes { changelog, subscriptions, from, to, last, changes, more });

/// Documents of a subscription in the order of (collection name, key), bytewise.
///
/// Covers every document of the subscription after `after` up to and including `through`: one that the client has in that range and
/// that is not named is not in the subscription any more (deleted, or no longer readable).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The changelog.
    pub changelog: ChangelogId,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The head when the snapshot began: changes follow from here once it is complete.
    pub offset: Offset,
    /// Exclusive; `None` for the start.
    pub after: Option<(String, String)>,
    /// Inclusive; `None` for the end: the snapshot is complete.
    pub through: Option<(String, String)>,
    /// [`Change`]s in the order of the documents.
    pub changes: Columns,
    /// The effective channels of the subscription, as opaque labels.
    pub channels: Vec<String>,
}

cbor_struct!(Snapshot { changelog, subscription, offset, after, through, changes, channels });

/// Documents to forget. They are not deleted: the identity lost access, or the subscription ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// The subscription whose channels became fewer.
    pub subscription: SubscriptionId,
    /// Documents that the client may hold and that no remaining subscription covers: (number of the collection, keys).
    pub documents: Vec<(u32, Vec<String>)>,
    /// The effective channels of the subscription after the purge, as opaque labels.
    pub channels: Vec<String>,
    /// The documents were found outside the channels at this offset. A result that is later says what became of its own.
    pub offset: Offset,
}

cbor_struct!(Purge { subscription, documents, channels, offset });

/// Changes cannot follow from where the subscription stands. The client subscribes again without a cursor, and with what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The subscription; nothing of it follows.
    pub subscription: SubscriptionId,
}

cbor_struct!(Restart { subscription });

/// Coded symbols of the items of a subscription's documents (module [`crate::reconcile`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbols {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The reconciliation.
    pub round: u64,
    /// The documents are those at this offset.
    pub offset: Offset,
    /// How many documents there are.
    pub documents: u64,
    /// Index of the first symbol; 0 replaces those sent before, for the documents have changed.
    pub first: u32,
    /// The symbols, [`crate::reconcile::SYMBOL_BYTES`] each.
    pub symbols: Vec<u8>,
    /// Whether this frame ends the answer. When fewer symbols came than were asked for, there are no more.
    pub last: bool,
}

cbor_struct!(Symbols { subscription, round, offset, documents, first, symbols, last });

/// The states of documents that differ. A document is named once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconciled {
    /// The changelog.
    pub changelog: ChangelogId,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The reconciliation.
    pub round: u64,
    /// Where the symbols stood: once the last of these frames is applied, changes follow from here.
    pub offset: Offset,
    /// [`Change`]s: put or delete. Their offsets may be above `offset`: they were read from the store.
    pub changes: Columns,
    /// The effective channels of the subscription, as opaque labels.
    pub channels: Vec<String>,
    /// Whether nothing follows.
    pub last: bool,
}

cbor_struct!(Reconciled { changelog, subscription, round, offset, changes, channels, last });
