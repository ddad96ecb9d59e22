//! What a producer sends on a stream (`kv_engine` docs/dcp/documentation/commands).

use super::codes::opcode;
use super::packet::Packet;
use super::reader::{Reader, split_collection};
use super::system::{self, SystemEvent};
use super::value;
use crate::event::{Change, ChangeKind, EndReason, Snapshot};

/// A message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Snapshot(Snapshot),
    Change(Change),
    System(SystemEvent),
    /// A change that is not shown: the vbucket has come this far.
    SeqnoAdvanced(u64),
    OutOfOrder {
        is_start: bool,
    },
    End(EndReason),
}

/// Whether a packet of the server belongs to a stream.
pub(crate) fn is_stream_message(code: u8) -> bool {
    matches!(
        code,
        opcode::DCP_STREAM_END
            ..=opcode::DCP_EXPIRATION
                | opcode::DCP_SYSTEM_EVENT
                | opcode::DCP_SEQNO_ADVANCED
                | opcode::DCP_OSO_SNAPSHOT
    )
}

/// Reads a message, or says why it is malformed.
pub(crate) fn decode(packet: &Packet) -> Result<Message, &'static str> {
    let mut extras = Reader::new(&packet.extras);
    match packet.opcode {
        opcode::DCP_MUTATION => mutation(packet),
        opcode::DCP_DELETION => deletion(packet),
        opcode::DCP_EXPIRATION => expiration(packet),
        opcode::DCP_SNAPSHOT_MARKER => snapshot(packet),
        opcode::DCP_SYSTEM_EVENT => {
            let (seqno, event) = system::decode(packet)?;
            Ok(event.map_or(Message::SeqnoAdvanced(seqno), Message::System))
        }
        opcode::DCP_SEQNO_ADVANCED => {
            extras.u64().map(Message::SeqnoAdvanced).ok_or("a sequence number advanced without a number")
        }
        opcode::DCP_OSO_SNAPSHOT => match extras.u32() {
            Some(1) => Ok(Message::OutOfOrder { is_start: true }),
            Some(2) => Ok(Message::OutOfOrder { is_start: false }),
            _ => Err("an out-of-order snapshot neither starts nor ends"),
        },
        opcode::DCP_STREAM_END => {
            extras.u32().map(|code| Message::End(code.into())).ok_or("a stream ends without a reason")
        }
        _ => Err("a message of a kind that was not asked for"),
    }
}

fn change(packet: &Packet, seqno: u64, revision: u64, kind: ChangeKind) -> Result<Message, &'static str> {
    let (collection, key) = split_collection(&packet.key).ok_or("a key has no collection")?;
    let value = value::split(&packet.value, packet.datatype)?;
    Ok(Message::Change(Change {
        vbucket: packet.vbucket,
        seqno,
        revision,
        cas: packet.cas,
        collection,
        key,
        kind,
        xattrs: value.xattrs,
        body: value.body,
        is_json: value.is_json,
    }))
}

/// Extras: seqno u64, revision u64, flags u32, expiry u32, lock time u32, length of further metadata u16, NRU u8. Without XATTR the
/// last one is missing in old servers.
fn mutation(packet: &Packet) -> Result<Message, &'static str> {
    const WRONG: &str = "a mutation is malformed";
    let mut extras = Reader::new(&packet.extras);
    let seqno = extras.u64().ok_or(WRONG)?;
    let revision = extras.u64().ok_or(WRONG)?;
    let flags = extras.u32().ok_or(WRONG)?;
    let expiry_s = extras.u32().ok_or(WRONG)?;
    let lock_s = extras.u32().ok_or(WRONG)?;
    change(packet, seqno, revision, ChangeKind::Mutation { flags, expiry_s, lock_s })
}

/// Extras: seqno u64, revision u64, then a length of metadata u16 (the first form), or the time of the deletion u32 and an unused
/// byte (the second form, with delete times).
fn deletion(packet: &Packet) -> Result<Message, &'static str> {
    const WRONG: &str = "a deletion is malformed";
    let mut extras = Reader::new(&packet.extras);
    let seqno = extras.u64().ok_or(WRONG)?;
    let revision = extras.u64().ok_or(WRONG)?;
    let deleted_s = match packet.extras.len() {
        18 => None,
        21 => extras.u32().filter(|time| *time != 0),
        _ => return Err(WRONG),
    };
    change(packet, seqno, revision, ChangeKind::Deletion { deleted_s })
}

/// Extras: seqno u64, revision u64, the time of the deletion u32.
fn expiration(packet: &Packet) -> Result<Message, &'static str> {
    const WRONG: &str = "an expiration is malformed";
    let mut extras = Reader::new(&packet.extras);
    let seqno = extras.u64().ok_or(WRONG)?;
    let revision = extras.u64().ok_or(WRONG)?;
    let deleted_s = extras.u32().ok_or(WRONG)?;
    change(packet, seqno, revision, ChangeKind::Expiration { deleted_s: (deleted_s != 0).then_some(deleted_s) })
}

/// The first form has start u64, end u64, flags u32 in its extras. The second has a version there and, in the value, those and the
/// highest visible and completed seqno u64; version 1 then a timestamp u64; version 2 then the purge seqno u64 and the highest
/// prepared seqno u64 (snapshot-marker.md and `DcpSnapshotMarkerV2_2Value` of `include/memcached/protocol_binary.h`).
fn snapshot(packet: &Packet) -> Result<Message, &'static str> {
    const WRONG: &str = "a snapshot marker is malformed";
    let mut extras = Reader::new(&packet.extras);
    let version = if packet.extras.len() == 1 { extras.u8() } else { None };
    let mut fields = if version.is_some() { Reader::new(&packet.value) } else { extras };
    let mut snapshot = Snapshot {
        vbucket: packet.vbucket,
        start: fields.u64().ok_or(WRONG)?,
        end: fields.u64().ok_or(WRONG)?,
        flags: fields.u32().ok_or(WRONG)?,
        ..Snapshot::default()
    };
    if snapshot.start > snapshot.end {
        return Err("a snapshot ends before it starts");
    }
    let Some(version) = version else { return Ok(Message::Snapshot(snapshot)) };
    snapshot.max_visible_seqno = Some(fields.u64().ok_or(WRONG)?);
    let completed = fields.u64().ok_or(WRONG)?;
    // It has a meaning in a snapshot of the disk only.
    snapshot.high_completed_seqno = snapshot.is_disk().then_some(completed);
    match version {
        0 => {}
        1 => snapshot.timestamp = Some(fields.u64().ok_or(WRONG)?),
        2 => {
            snapshot.purge_seqno = Some(fields.u64().ok_or(WRONG)?);
            snapshot.high_prepared_seqno = Some(fields.u64().ok_or(WRONG)?);
        }
        _ => return Err("a snapshot marker has an unknown version"),
    }
    Ok(Message::Snapshot(snapshot))
}
