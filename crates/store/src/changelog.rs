//! The node's view of what was committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidelock_core::ids::{ChangelogId, DocumentId, Offset, SessionId, Version};
use tokio::sync::broadcast;

use crate::error::StoreError;
use crate::store::BoxFuture;

/// An ordered, compacted record of committed states: one entry per live document plus tombstones.
///
/// # Guarantees
///
/// - All documents of one mutation share one offset. Offsets rise in commit order; an entry moves to the head when its document changes.
/// - A page never splits an offset, and holds the latest state of each document that it names.
/// - A segment is published after its offset is readable by [`changes`](Changelog::changes), in the order of offsets.
pub trait Changelog: Send + Sync + 'static {
    /// Identity of this changelog; offsets of another one mean nothing here.
    fn id(&self) -> ChangelogId;

    /// The latest offset.
    fn head(&self) -> Offset;

    /// Tombstones at or below this offset may be gone: a cursor below it is unknown.
    fn floor(&self) -> Offset;

    /// Entries after `from` that the filter matches now or matched before, by rising offset, up to about `bytes_max` bytes of bodies
    /// (at least one offset).
    fn changes<'a>(
        &'a self,
        from: Offset,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<ChangePage, StoreError>>;

    /// Live documents that the filter matches, after `after`, in the order of (collection, key) bytewise, up to about `bytes_max`
    /// bytes of bodies (at least one document).
    fn snapshot<'a>(
        &'a self,
        after: Option<&'a DocumentId>,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<SnapshotPage, StoreError>>;

    /// Committed segments from this moment on. A receiver that lags reads [`changes`](Changelog::changes) instead.
    fn subscribe(&self) -> broadcast::Receiver<Arc<Segment>>;
}

/// Which documents a reader sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// By collection name; a collection that is not named is not seen.
    pub collections: BTreeMap<String, ChannelSet>,
}

/// Which channels of a collection a reader sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelSet {
    /// Every document, whatever its channels.
    All,
    /// Documents in any of these.
    Only(BTreeSet<String>),
}

impl Filter {
    /// Whether a document of `collection` with these channels is seen.
    pub fn matches(&self, collection: &str, channels: &[String]) -> bool {
        match self.collections.get(collection) {
            None => false,
            Some(ChannelSet::All) => true,
            Some(ChannelSet::Only(wanted)) => channels.iter().any(|channel| wanted.contains(channel)),
        }
    }
}

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
}

/// Documents of a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPage {
    /// Every matching live document of the range.
    pub records: Vec<ChangeRecord>,
    /// Inclusive end of the range; `None` when there is nothing after it.
    pub through: Option<DocumentId>,
    /// The page is at least as new as this offset.
    pub offset: Offset,
}

/// What one group of commits changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Exclusive.
    pub from: Offset,
    /// Inclusive.
    pub to: Offset,
    /// The states committed, by rising offset; a document changed twice in the group is named once, at its last offset.
    pub records: Vec<Arc<ChangeRecord>>,
}
