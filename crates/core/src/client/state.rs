//! Durable records of the state store.

use crate::ids::{ClientId, Epoch, History, Incarnation, Offset, Sequence};
use crate::prelude::*;
use crate::wire::{Cursor, Mutation, cbor_struct, decode};

/// Name of [`Replica`]'s record.
pub(super) const REPLICA: &str = "replica";
/// Name of [`Position`]'s record.
pub(super) const POSITION: &str = "position";
/// Name of the record that holds the fencing epoch of the leader.
pub(super) const FENCE: &str = "fence";
/// Name of the record that holds the conflicts that wait for the application's resolver.
pub(super) const UNRESOLVED: &str = "unresolved";

/// Name of the record that lists the rows that the application's stores refused.
pub(super) const QUARANTINE: &str = "quarantine";

/// Who this replica is and what it has assigned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replica {
    pub(super) client: ClientId,
    pub(super) incarnation: Incarnation,
    /// The last sequence assigned in this incarnation.
    pub(super) assigned: Sequence,
    /// The last sequence whose result is applied: results come in order. A pending record may still hold mutations up to here.
    pub(super) settled: Sequence,
    /// How old kept mutations are: (last sequence, when all up to it were settled), by rising sequence.
    pub(super) kept: Option<Vec<(Sequence, u64)>>,
    /// Of the kept mutations those that were not committed, by rising sequence.
    pub(super) refused: Option<Vec<Sequence>>,
}

cbor_struct!(Replica { client, incarnation, assigned, settled, kept, refused });

/// How many mutations of these pending records have no result yet; `replica` is that record of the state store. For tools and tests.
pub fn unsettled<'a>(replica: &[u8], records: impl Iterator<Item = &'a [u8]>) -> usize {
    let settled = decode::<Replica>(replica).unwrap_or_default().settled;
    let mutations = records.flat_map(|record| decode::<Vec<Mutation>>(record).unwrap_or_default());
    mutations.filter(|mutation| mutation.sequence > settled).count()
}

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
    /// The furthest position that the server told, with the history of its store.
    pub(super) history: Option<(History, Offset)>,
    /// While a server that was set back gets again what it lacks: mutations after this one may have to be pushed again.
    pub(super) restoring: Option<Sequence>,
    /// Mutations up to this one were formed before the client noticed that its server was set back.
    pub(super) before: Option<Sequence>,
}

cbor_struct!(Position { cursor, channels, collections, epoch, wanted, history, restoring, before });

impl Position {
    /// Whether a mutation was made before this client noticed that its server was set back.
    pub(super) fn is_before(&self, mutation: &Mutation) -> bool {
        mutation.before == Some(true) || self.before.is_some_and(|before| mutation.sequence <= before)
    }
}

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
