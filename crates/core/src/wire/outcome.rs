//! What became of a mutation (`docs/protocol.md` section 7).

use minicbor::Encode;

use super::error::ErrorCode;
use super::mutation::optional_bytes;
use crate::ids::{DocumentId, Offset, Sequence, Version};
use crate::wire::{decode_enum, decode_struct};

/// The answer to a push. Results come in the order of their sequences.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct PushResult {
    /// The mutation.
    #[n(0)]
    pub sequence: Sequence,
    /// The offset at which the outcome holds: a change at or below it is older than this result for the mutation's documents.
    #[n(1)]
    pub offset: Offset,
    /// What became of it.
    #[n(2)]
    pub outcome: Outcome,
}

decode_struct!(PushResult { sequence, offset, outcome });

/// What became of a mutation.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
pub enum Outcome {
    /// Committed; every document has the content that the client sent.
    #[n(0)]
    Accepted,
    /// Committed; the documents named differ from what the client sent.
    #[n(1)]
    Merged(#[n(0)] Vec<DocumentState>, #[n(1)] Vec<ConflictNote>),
    /// Not committed. The client rolls the mutation back to its shadow and keeps it for the user.
    #[n(2)]
    Rejected(#[n(0)] ErrorCode, #[n(1)] String, #[n(2)] Vec<DocumentState>),
    /// Not committed: a document has policy `resolver`. The states are current; the client resolves and pushes under another sequence.
    #[n(3)]
    Resolve(#[n(0)] Vec<DocumentState>),
}

decode_enum!(Outcome { 0 => Accepted, 1 => Merged(first, second), 2 => Rejected(first, second, third), 3 => Resolve(first) });

/// The state of one document.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct DocumentState {
    /// The document.
    #[n(0)]
    pub id: DocumentId,
    /// Its version; absent when it does not exist or the identity may not know of it.
    #[n(1)]
    pub version: Version,
    /// JSON text. `None` when it does not exist, and when it is [withheld](Self::is_withheld).
    #[cbor(n(2), with = "optional_bytes")]
    pub body: Option<Vec<u8>>,
}

decode_struct!(DocumentState { id, version, body });

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
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct ConflictNote {
    /// The document.
    #[n(0)]
    pub id: DocumentId,
    /// Member names from the root; empty for the whole document.
    #[n(1)]
    pub path: Vec<String>,
    /// Name of the strategy that decided (`last-write`, `edit-wins`, …).
    #[n(2)]
    pub strategy: String,
    /// JSON text before both changes.
    #[cbor(n(3), with = "optional_bytes")]
    pub base: Option<Vec<u8>>,
    /// JSON text that the mutation wanted.
    #[cbor(n(4), with = "optional_bytes")]
    pub mine: Option<Vec<u8>>,
    /// JSON text that the server had.
    #[cbor(n(5), with = "optional_bytes")]
    pub theirs: Option<Vec<u8>>,
    /// JSON text after the merge.
    #[cbor(n(6), with = "optional_bytes")]
    pub outcome: Option<Vec<u8>>,
}

decode_struct!(ConflictNote { id, path, strategy, base, mine, theirs, outcome });
