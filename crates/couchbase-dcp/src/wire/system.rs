//! System events: scopes and collections come and go (`kv_engine` `docs/dcp/documentation/commands/system_event.md`).

use super::packet::Packet;
use super::reader::Reader;

/// A change of the bucket's scopes and collections, as one vbucket records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemEvent {
    /// The vbucket.
    pub vbucket: u16,
    /// Its place in the vbucket's history.
    pub seqno: u64,
    /// The manifest that was the last one to be in force completely.
    pub manifest_uid: u64,
    /// The scope's id.
    pub scope: u32,
    /// What happened.
    pub change: SystemChange,
}

/// What happened to a scope or a collection. The server tells of a collection's new settings only to clients that take such events as
/// `FlatBuffers`, which this one does not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SystemChange {
    /// A collection was created.
    CollectionCreated {
        /// Its id.
        collection: u32,
        /// Its name.
        name: String,
        /// Longest time to live of its documents, in seconds.
        max_ttl_s: Option<u32>,
    },
    /// A collection was dropped, with its documents: no deletions of these are told.
    CollectionDropped {
        /// Its id.
        collection: u32,
    },
    /// A scope was created.
    ScopeCreated {
        /// Its name.
        name: String,
    },
    /// A scope was dropped.
    ScopeDropped,
}

/// The event, nothing when it is of a kind or version that this crate does not know (its place in the history is the first number), or
/// why it is malformed.
pub(crate) fn decode(packet: &Packet) -> Result<(u64, Option<SystemEvent>), &'static str> {
    const WRONG: &str = "a system event is malformed";
    let mut extras = Reader::new(&packet.extras);
    let seqno = extras.u64().ok_or(WRONG)?;
    let kind = extras.u32().ok_or(WRONG)?;
    let version = extras.u8().ok_or(WRONG)?;
    if version > 1 || !matches!(kind, 0 | 1 | 3 | 4) {
        return Ok((seqno, None));
    }
    let mut value = Reader::new(&packet.value);
    let manifest_uid = value.u64().ok_or(WRONG)?;
    let scope = value.u32().ok_or(WRONG)?;
    let name = || std::str::from_utf8(&packet.key).map(str::to_owned).map_err(|_| WRONG);
    let change = match kind {
        0 => {
            let collection = value.u32().ok_or(WRONG)?;
            let max_ttl_s = if version == 1 { Some(value.u32().ok_or(WRONG)?) } else { None };
            SystemChange::CollectionCreated { collection, name: name()?, max_ttl_s }
        }
        1 => SystemChange::CollectionDropped { collection: value.u32().ok_or(WRONG)? },
        3 => SystemChange::ScopeCreated { name: name()? },
        _ => SystemChange::ScopeDropped,
    };
    Ok((seqno, Some(SystemEvent { vbucket: packet.vbucket, seqno, manifest_uid, scope, change })))
}
