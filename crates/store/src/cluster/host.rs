//! What a [`ClusterStore`](super::ClusterStore) needs from the node that hosts it.

use std::sync::Arc;

use tidelock_core::ids::{DocumentId, Version};
use tidelock_core::wire::{ConflictNote, DocumentChange};

use crate::changelog::Changelog;
use crate::store::{BoxFuture, Store};

/// Time and chance. A simulation gives its own.
pub trait Host: Send + Sync + 'static {
    /// Milliseconds since 1970; never less than before. Clocks of nodes may differ by days.
    fn now_ms(&self) -> u64;

    /// Ready after about this many milliseconds.
    fn sleep(&self, ms: u64) -> BoxFuture<'static, ()>;

    /// A random number: it names things and spreads nodes in time.
    fn random(&self) -> u64;
}

/// What the node's rules say about documents.
pub trait Rulebook: Send + Sync + 'static {
    /// Another number once [`describe`](Rulebook::describe) may answer otherwise than before.
    fn revision(&self) -> u64;

    /// What a content comes to; why, when no document can be made of it.
    fn describe(&self, id: &DocumentId, content: &[u8]) -> Result<Described, String>;

    /// Whether the outcome of a change depends on the state that it meets (a policy that refuses, a write rule that reads the
    /// document), so that nobody may change the document between the decision and the commit.
    fn depends_on_state(&self, id: &DocumentId) -> bool;

    /// Merges a committed change into the document as it is by now, which is not as it was when the change was prepared. `None` when
    /// the policy has no answer but to refuse, for which it is too late: then the prepared content counts.
    fn merge(&self, current: Option<Met<'_>>, change: &DocumentChange, edited_ms: u64) -> Option<Remerged>;
}

/// What a content comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its version.
    pub version: Version,
    /// The channels of a document with this content.
    pub channels: Vec<String>,
}

/// A document that a change meets.
#[derive(Clone, Copy, Debug)]
pub struct Met<'a> {
    /// Its version.
    pub version: Version,
    /// JSON text.
    pub body: &'a [u8],
    /// When the user made its last change, milliseconds since 1970; 0 when unknown.
    pub edited_ms: u64,
}

/// The outcome of a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remerged {
    /// JSON text; `None` deletes.
    pub body: Option<Arc<[u8]>>,
    /// The values that are not in it.
    pub conflicts: Vec<ConflictNote>,
}

/// A node's own changelog: a store on its disk that holds what the node has taken in, and nothing that could not be taken in again.
pub trait Journal: Store + Changelog {}

impl<T: Store + Changelog> Journal for T {}
