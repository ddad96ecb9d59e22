//! What became of a mutation (`docs/protocol.md` section 7).

use super::error::ErrorCode;
use crate::ids::{DocumentId, Offset, Sequence, Version};
use crate::prelude::*;
use crate::wire::{cbor_enum, cbor_struct};

/// The answer to a push. Results come in the order of their sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushResult {
    /// The mutation.
    pub sequence: Sequence,
    /// The offset at which the outcome holds: a change at or below it is older than this result for the mutation's documents.
    pub offset: Offset,
    /// What became of it.
    pub outcome: Outcome,
}

cbor_struct!(PushResult { sequence, offset, outcome });

/// What became of a mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Committed; every document has the content that the client sent.
    Accepted,
    /// Committed; the documents named differ from what the client sent.
    Merged(Vec<DocumentState>, Vec<ConflictNote>),
    /// Not committed. The client rolls the mutation back to its shadow and keeps it for the user.
    Rejected(ErrorCode, String, Vec<DocumentState>),
    /// Not committed: a document has policy `resolver`. The states are current; the client resolves and pushes under another sequence.
    Resolve(Vec<DocumentState>),
}

cbor_enum!(Outcome { Accepted, Merged(first, second), Rejected(first, second, third), Resolve(first) });

/// The state of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentState {
    /// The document.
    pub id: DocumentId,
    /// Its version; absent when it does not exist or the identity may not know of it.
    pub version: Version,
    /// JSON text. `None` when it does not exist, and when it is [withheld](Self::is_withheld).
    pub body: Option<Vec<u8>>,
}

cbor_struct!(DocumentState { id, version, body });

impl DocumentState {
    /// The state of a document that exists and that no subscription of the client covers: it is to be forgotten there.
    pub fn withheld(id: DocumentId) -> Self {
        // Any version but the absent one; the true one would tell something of the content.
        Self { id, version: Version(1), body: None }
    }

    /// Whether the document exists and is to be forgotten.
    pub fn is_withheld(&self) -> bool {
        self.body.is_none() && self.version.exists()
    }
}

/// A value that a merge discarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictNote {
    /// The document.
    pub id: DocumentId,
    /// Member names from the root; empty for the whole document.
    pub path: Vec<String>,
    /// Name of the strategy that decided (`last-write`, `edit-wins`, …).
    pub strategy: String,
    /// JSON text before both changes.
    pub base: Option<Vec<u8>>,
    /// JSON text that the mutation wanted.
    pub mine: Option<Vec<u8>>,
    /// JSON text that the server had.
    pub theirs: Option<Vec<u8>>,
    /// JSON text after the merge.
    pub outcome: Option<Vec<u8>>,
}

cbor_struct!(ConflictNote { id, path, strategy, base, mine, theirs, outcome });
