//! Durable records of the state store.

use minicbor::Encode;

use crate::ids::{ClientId, Epoch, Incarnation, Sequence};
use crate::wire::Cursor;
use crate::wire::decode_struct;

/// Name of [`Replica`]'s record.
pub(super) const REPLICA: &str = "replica";
/// Name of [`Position`]'s record.
pub(super) const POSITION: &str = "position";
/// Name of the record that holds the fencing epoch of the leader.
pub(super) const FENCE: &str = "fence";
/// Name of the record that holds the conflicts that wait for the application's resolver.
pub(super) const UNRESOLVED: &str = "unresolved";

/// Who this replica is and what it has assigned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode)]
#[cbor(array)]
pub(super) struct Replica {
    #[n(0)]
    pub(super) client: ClientId,
    #[n(1)]
    pub(super) incarnation: Incarnation,
    /// The last sequence assigned in this incarnation.
    #[n(2)]
    pub(super) assigned: Sequence,
    /// The last sequence whose result is applied: results come in order. A pending record may still hold mutations up to here.
    #[n(3)]
    pub(super) settled: Sequence,
}

decode_struct!(Replica { client, incarnation, assigned, settled });

/// Where this replica stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode)]
#[cbor(array)]
pub(super) struct Position {
    /// `None` until the first snapshot page is applied.
    #[n(0)]
    pub(super) cursor: Option<Cursor>,
    /// The effective channels, as the server said last.
    #[n(1)]
    pub(super) channels: Vec<String>,
    /// The collections that the cursor covers.
    #[n(2)]
    pub(super) collections: Vec<String>,
    /// The epoch of the server's data.
    #[n(3)]
    pub(super) epoch: Option<Epoch>,
    /// The channels that the application asked for; `None` for all.
    #[n(4)]
    pub(super) wanted: Option<Vec<String>>,
}

decode_struct!(Position { cursor, channels, collections, epoch, wanted });

/// A conflict that waits for the application's resolver.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub(super) struct Unresolved {
    #[n(0)]
    pub(super) id: crate::ids::DocumentId,
    /// JSON text before the user's change.
    #[cbor(n(1), with = "crate::wire::optional_bytes")]
    pub(super) base: Option<Vec<u8>>,
    /// JSON text that the user wanted.
    #[cbor(n(2), with = "crate::wire::optional_bytes")]
    pub(super) mine: Option<Vec<u8>>,
    /// JSON text that the server had.
    #[cbor(n(3), with = "crate::wire::optional_bytes")]
    pub(super) theirs: Option<Vec<u8>>,
}

decode_struct!(Unresolved { id, base, mine, theirs });
