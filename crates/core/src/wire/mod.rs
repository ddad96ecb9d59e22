//! Frames of protocol version 1 and their codec: `docs/protocol.md`.
//!
//! A frame is one binary WebSocket message holding one CBOR array `[type, fields]` (RFC 8949). Fields are numbered, so that a later
//! minor version can append; a decoder ignores fields beyond those that it knows. Bodies of documents are JSON text carried as
//! byte strings: they are parsed once, at the edge that needs the value.

mod cbor;
mod change;
mod client;
mod codec;
mod compress;
mod error;
mod mutation;
mod outcome;
mod policy;
mod server;

pub use cbor::{Decode, Malformed, Reader};
pub(crate) use cbor::{decode_enum, decode_number, decode_struct};
pub use change::{Change, ChangeKind, Changes, Purge, Reconciled, Restart, Snapshot, Symbols};
pub use client::{
    Auth, ClientFrame, Credit, Cursor, Difference, Hello, MoreSymbols, Ping, Push, Subscribe, Unsubscribe,
};
pub use codec::{decode, encode};
pub use compress::{Packed, pack, unpack};
pub use error::{ErrorCode, WireError};
pub(crate) use mutation::optional_bytes;
pub use mutation::{DocumentChange, FieldPatch, Mutation, Operation};
pub use outcome::{ConflictNote, DocumentState, Outcome, PushResult};
pub use policy::{CollectionInfo, DeletePolicy, DocumentPolicy, FieldStrategy, Policy};
pub use server::{ErrorFrame, Pong, ServerFrame, Welcome};

/// The protocol version that this crate speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// The oldest protocol version that this crate accepts from a peer.
pub const PROTOCOL_VERSION_MIN: u16 = 1;
