//! Frames of protocol version 1 and their codec: `docs/protocol.md`.
//!
//! A frame is one CBOR array `[type, fields]` (RFC 8949). It travels as one binary WebSocket message, coded or plain: that is the
//! hosts' affair. Fields are numbered, so that a later
//! minor version can append; a decoder ignores fields beyond those that it knows. Bodies of documents are JSON text carried as
//! byte strings: they are parsed once, at the edge that needs the value.

mod cbor;
mod change;
mod client;
mod codec;
mod columns;
mod error;
mod mutation;
mod outcome;
mod packed;
mod policy;
mod server;

pub use cbor::{Cbor, Items, Reader, Writer};
pub(crate) use cbor::{cbor_enum, cbor_number, cbor_struct};
pub use change::{Change, ChangeKind, Changes, Purge, Reconciled, Restart, Snapshot, Symbols};
pub use client::{
    Auth, ClientFrame, Credit, Cursor, Difference, Hello, MoreSymbols, Ping, Push, Subscribe, Unsubscribe,
};
pub use codec::{decode, encode};
#[cfg(not(target_arch = "wasm32"))]
pub use columns::pack;
pub use columns::{Columns, UNPACKED_BYTES_MAX, unpack_changes};
pub use error::{ErrorCode, WireError};
pub use mutation::{DocumentChange, FieldPatch, Mutation, Operation};
pub use outcome::{ConflictNote, DocumentState, Outcome, PushResult};
pub use packed::{Packed, unpack};
pub use policy::{CollectionInfo, DeletePolicy, DocumentPolicy, FieldStrategy, Policy};
pub use server::{ErrorFrame, Pong, ServerFrame, Welcome};

/// The protocol version that this crate speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// The oldest protocol version that this crate accepts from a peer.
pub const PROTOCOL_VERSION_MIN: u16 = 1;
