//! Durable records of the state store.

use crate::ids::{ClientId, Epoch, Incarnation, Sequence};
use crate::prelude::*;
use crate::wire::Cursor;
use crate::wire::cbor_struct;

/// Name of [`Replica`]'s record.
pub(super) const REPLICA: &str = "replica";
/// Name of [`Position`]'s record.
pub(super) const POSITION: &str = "position";
/// Name of the record that holds the fencing epoch of the leader.
pub(super) const FENCE: &str = "fence";
/// Name of the record that holds the conflicts that wait for the application's resolver.
pub(super) const UNRESOLVED: &str = "unresolved";

/// Who this replica is and what it has assigned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replica {
    pub(super) client: ClientId,
    pub(super) incarnation: Incarnation,
    /// The last sequence assigned in this incarnation.
    pub(super) assigned: Sequence,
    /// The last sequence whose result is applied: results come in order. A pending record may still hold mutations up to here.
    pub(super) settled: Sequence,
}

cbor_struct!(Replica { client, incarnation, assigned, settled });

/// Where this replica stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// `None` until the first snapshot page is applied.
    pub(super) cursor: Option<Cursor>,
    /// The effective channels, as the server said last.
    pub(super) channels: Vec<String>,
    /// The collections that the cursor covers.
    pub(super) collections: Vec<String>,
    /// The epoch of the server's data.
    pub(super) epoch: Option<Epoch>,
    /// The channels that the application asked for; `None` for all.
    pub(super) wanted: Option<Vec<String>>,
}

cbor_struct!(Position { cursor, channels, collections, epoch, wanted });

/// A conflict that waits for the application's resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unresolved {
    pub(super) id: crate::ids::DocumentId,
    /// JSON text before the user's change.
    pub(super) base: Option<Vec<u8>>,
    /// JSON text that the user wanted.
    pub(super) mine: Option<Vec<u8>>,
    /// JSON text that the server had.
    pub(super) theirs: Option<Vec<u8>>,
}

cbor_struct!(Unresolved { id, base, mine, theirs });
