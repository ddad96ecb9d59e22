//! What a client changed (`docs/protocol.md` section 6).

use minicbor::Encode;

use crate::ids::{DocumentId, Sequence, Version};
use crate::wire::{decode_enum, decode_struct};

/// What one IndexedDB transaction changed: committed whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Mutation {
    /// Its position in the client's incarnation.
    #[n(0)]
    pub sequence: Sequence,
    /// When the user made it: milliseconds since 1970 by the client's clock.
    #[n(1)]
    pub edited_ms: u64,
    /// What it changes; each document at most once.
    #[n(2)]
    pub changes: Vec<DocumentChange>,
}

decode_struct!(Mutation { sequence, edited_ms, changes });

/// The change of one document.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct DocumentChange {
    /// The document.
    #[n(0)]
    pub id: DocumentId,
    /// The version that the client had changed; absent for a document that it created.
    #[n(1)]
    pub base: Version,
    /// What happened to it.
    #[n(2)]
    pub operation: Operation,
}

decode_struct!(DocumentChange { id, base, operation });

/// What happened to a document.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
pub enum Operation {
    /// The whole value, as JSON text.
    #[n(0)]
    Put(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// The document was removed.
    #[n(1)]
    Delete,
    /// Some fields, each with the value that it had.
    #[n(2)]
    Patch(#[n(0)] Vec<FieldPatch>),
}

decode_enum!(Operation { 0 => Put(first), 1 => Delete, 2 => Patch(first) });

/// The change of one field. `base` lets any server merge it without a history of the document.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct FieldPatch {
    /// Member names from the root; empty for the whole value.
    #[n(0)]
    pub path: Vec<String>,
    /// JSON text of the value before; `None` when the field was absent.
    #[cbor(n(1), with = "optional_bytes")]
    pub base: Option<Vec<u8>>,
    /// JSON text of the value after; `None` when the field was removed.
    #[cbor(n(2), with = "optional_bytes")]
    pub value: Option<Vec<u8>>,
}

decode_struct!(FieldPatch { path, base, value });

/// Codec of an optional byte string (null when `None`).
pub(crate) mod optional_bytes {
    use minicbor::encode::{self, Encoder, Write};

    #[expect(clippy::ref_option, reason = "the signature that minicbor's derive calls")]
    pub(crate) fn encode<C, W: Write>(
        value: &Option<Vec<u8>>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match value {
            Some(bytes) => e.bytes(bytes)?.ok(),
            None => e.null()?.ok(),
        }
    }
}
