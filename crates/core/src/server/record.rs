//! What a changelog serves to a session.

use std::sync::Arc;

use crate::ids::{DocumentId, Offset, SessionId, Version};
use crate::prelude::*;
use crate::reconcile::Symbol;

/// The latest state of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRecord {
    /// Where it was committed.
    pub offset: Offset,
    /// The document.
    pub id: DocumentId,
    /// Its version; absent for a tombstone.
    pub version: Version,
    /// Its JSON text; `None` for a tombstone.
    pub body: Option<Arc<[u8]>>,
    /// Its channels; for a tombstone those that it had.
    pub channels: Vec<String>,
    /// Channels that it was in before and is not in any more, as long as their readers may still have to be told.
    pub left: Vec<String>,
    /// The session that committed it; 0 for another writer.
    pub session: SessionId,
}

/// Entries of a range of offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePage {
    /// Every matching entry after `from` up to `to`.
    pub records: Vec<ChangeRecord>,
    /// Inclusive end of what the page covers.
    pub to: Offset,
    /// Whether `to` was the head when the page was read.
    pub last: bool,
    /// The floor when the page was read: what was forgotten at or below it may be missing.
    pub floor: Offset,
}

/// Documents of a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPage {
    /// Every matching live document of the range.
    pub records: Vec<ChangeRecord>,
    /// Inclusive end of the range; `None` when there is nothing after it.
    pub through: Option<DocumentId>,
    /// The head when the page was read: the page shows the documents as they were at this offset.
    pub offset: Offset,
    /// The floor when the page was read.
    pub floor: Offset,
}

/// Symbols of the documents that a filter sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolPage {
    /// The documents are those at this offset.
    pub offset: Offset,
    /// How many there are.
    pub documents: u64,
    /// The first symbols; fewer than asked for when no more are kept.
    pub symbols: Vec<Symbol>,
}

/// Documents as the store has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentPage {
    /// One for each document, in the order in which they were sought; without a body when there is none. The offset of each is one
    /// that it is at least as new as; its channels are those by the rules of this moment.
    pub records: Vec<ChangeRecord>,
}
