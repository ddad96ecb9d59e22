//! The node's view of what was committed.

use std::sync::Arc;

use tidelock_core::ids::{ChangelogId, DocumentId, History, Offset, Version};
use tokio::sync::broadcast;

use crate::error::StoreError;
use crate::store::BoxFuture;

pub use tidelock_core::server::{ChangePage, ChangeRecord, ChannelSet, Filter, SnapshotPage, SymbolPage};

/// An ordered, compacted record of committed states: one entry per live document plus tombstones.
///
/// # Guarantees
///
/// - All documents of one mutation share one offset. Offsets rise in commit order; an entry moves to the head when its document changes.
/// - A page never splits an offset, and holds the latest state of each document that it names.
/// - A page is what one moment showed: head, floor and documents belong together.
/// - A segment is published after its offset is readable by [`changes`](Changelog::changes), in the order of offsets.
pub trait Changelog: Send + Sync + 'static {
    /// Identity of this changelog; offsets of another one mean nothing here.
    fn id(&self) -> ChangelogId;

    /// The latest offset.
    fn head(&self) -> Offset;

    /// Tombstones at or below this offset may be gone: a cursor below it is unknown.
    fn floor(&self) -> Offset;

    /// The history that offsets belong to from this opening of the store on; `None` for a store that nobody can set back without its
    /// knowledge.
    fn history(&self) -> Option<History> {
        None
    }

    /// Whether an offset of a history was ever part of this store: not when the store was set back to before it.
    fn holds(&self, history: History, offset: Offset) -> bool {
        let _ = (history, offset);
        true
    }

    /// Entries after `from` that the filter matches now or matched before, by rising offset, up to about `bytes_max` bytes of bodies
    /// (at least one offset).
    fn changes<'a>(
        &'a self,
        from: Offset,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<ChangePage, StoreError>>;

    /// Resolves once the changelog has everything that the store had in the filter's collections when this was called. A changelog that
    /// is written with the store always has; for a view that follows its store from afar it may cost a walk through all of it.
    fn catch_up<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<(), StoreError>> {
        let _ = filter;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Live documents that the filter matches, after `after`, in the order of (collection, key) bytewise, up to about `bytes_max`
    /// bytes of bodies (at least one document).
    fn snapshot<'a>(
        &'a self,
        after: Option<&'a DocumentId>,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<SnapshotPage, StoreError>>;

    /// The first `count` symbols (at most) of the live documents that the filter matches, by their item hashes under this changelog's
    /// identity. What it costs follows the channels, not the documents.
    fn symbols<'a>(&'a self, filter: &'a Filter, count: u32) -> BoxFuture<'a, Result<SymbolPage, StoreError>>;

    /// The live documents with these item hashes, in any order; one that is not there (any more) is passed over.
    fn items<'a>(&'a self, items: &'a [u64]) -> BoxFuture<'a, Result<Vec<DocumentId>, StoreError>>;

    /// Forgets tombstones and left channels at or below `before` (at most the head), in bounded steps that commits take turns with,
    /// and raises the floor to it before the first one goes. Returns how many tombstones went.
    fn purge(&self, before: Offset) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// What [`remember`](Changelog::remember) was told last under this name; `None` for nothing.
    fn recall<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>>;

    /// Keeps a small note of the node about its changelog, as durable as a commit. It is as old as the changelog: a changelog that is
    /// built anew has none.
    fn remember<'a>(&'a self, name: &'a str, note: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Committed segments from this moment on. A receiver that lags reads [`changes`](Changelog::changes) instead.
    fn subscribe(&self) -> broadcast::Receiver<Arc<Segment>>;
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
    /// What each of the documents was before the group.
    pub former: Vec<Former>,
}

/// What a document was before a group of commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Former {
    /// Its version; absent when there was none.
    pub version: Version,
    /// Its channels.
    pub channels: Vec<String>,
}
