//! What a client changed (`docs/protocol.md` section 6).

use crate::ids::{DocumentId, Sequence, Version};
use crate::prelude::*;
use crate::wire::{cbor_enum, cbor_struct};

/// What one IndexedDB transaction changed: committed whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// Its position in the client's incarnation.
    pub sequence: Sequence,
    /// When the user made it: milliseconds since 1970 by the client's clock.
    pub edited_ms: u64,
    /// What it changes; each document at most once.
    pub changes: Vec<DocumentChange>,
    /// Whether the client made it before it noticed that its server was set back: what was lost may have held it.
    pub before: Option<bool>,
}

cbor_struct!(Mutation { sequence, edited_ms, changes, before });

/// The change of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentChange {
    /// The document.
    pub id: DocumentId,
    /// The version that the client had changed; absent for a document that it created.
    pub base: Version,
    /// What happened to it.
    pub operation: Operation,
    /// The document at `base`, JSON text: of a patch for a server that was set back and may lack it.
    pub whole: Option<Vec<u8>>,
}

cbor_struct!(DocumentChange { id, base, operation, whole });

/// What happened to a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The whole value, as JSON text.
    Put(Vec<u8>),
    /// The document was removed.
    Delete,
    /// Some fields, each with the value that it had.
    Patch(Vec<FieldPatch>),
    /// In a new epoch, a confirmed document that the server lacks, as JSON text: it is created unless the server knows better.
    Offer(Vec<u8>),
}

cbor_enum!(Operation { Put(first), Delete, Patch(first), Offer(first) });

/// The change of one field. `base` lets any server merge it without a history of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPatch {
    /// Member names from the root; empty for the whole value.
    pub path: Vec<String>,
    /// JSON text of the value before; `None` when the field was absent.
    pub base: Option<Vec<u8>>,
    /// JSON text of the value after; `None` when the field was removed.
    pub value: Option<Vec<u8>>,
}

cbor_struct!(FieldPatch { path, base, value });
