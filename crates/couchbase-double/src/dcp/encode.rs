//! The bytes of a stream's messages (`kv_engine` docs/dcp/documentation/commands).

use super::StreamKey;
use super::stream::Message;
use crate::item::{Item, Kind, Xattrs};
use crate::manifest::{SystemEvent, What};
use crate::wire::{Packet, datatype, magic, opcode, read_leb128};

/// Flags of `DCP_OPEN` (open-connection.md).
pub(super) mod open_flag {
    pub(in crate::dcp) const PRODUCER: u32 = 0x01;
    pub(in crate::dcp) const XATTRS: u32 = 0x04;
    pub(in crate::dcp) const NO_VALUE: u32 = 0x08;
    pub(in crate::dcp) const DELETE_TIMES: u32 = 0x20;
    pub(in crate::dcp) const NO_VALUE_KEEPING_DATATYPE: u32 = 0x40;
    pub(in crate::dcp) const DELETED_USER_XATTRS: u32 = 0x100;
    pub(in crate::dcp) const ALL: u32 =
        PRODUCER | XATTRS | NO_VALUE | DELETE_TIMES | NO_VALUE_KEEPING_DATATYPE | DELETED_USER_XATTRS;
}

/// Flags of a snapshot marker (snapshot-marker.md). A snapshot from the disk is a checkpoint of the consumer's, too
/// (`engines/ep/src/dcp/active_stream.cc`, `markDiskSnapshot`).
const MEMORY: u32 = 0x01;
const DISK: u32 = 0x02;
const CHECKPOINT: u32 = 0x04;

/// How a connection wants its messages.
pub(super) struct EncodeOptions {
    /// Those of `DCP_OPEN`.
    pub(super) flags: u32,
    pub(super) has_expiry_opcode: bool,
    pub(super) compresses: bool,
    /// Disk snapshots are announced in the form 2.2, with the purge seqno.
    pub(super) has_marker_2_2: bool,
}

impl EncodeOptions {
    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn packet(&self, message: &Message, opaque: u32, key: StreamKey, strips_collection: bool) -> Packet {
        let (vbucket, stream_id) = key;
        let mut packet = match message {
            Message::Marker { start, end, is_disk, purge_seqno } => self.marker(*start, *end, *is_disk, *purge_seqno),
            Message::Item { item, is_disk } => self.item(item, *is_disk, strips_collection),
            Message::SeqnoAdvanced(seqno) => plain(opcode::DCP_SEQNO_ADVANCED, seqno.to_be_bytes().to_vec()),
            Message::Oso(flags) => plain(opcode::DCP_OSO_SNAPSHOT, flags.to_be_bytes().to_vec()),
            Message::End(reason) => plain(opcode::DCP_STREAM_END, reason.to_be_bytes().to_vec()),
        };
        packet.opaque = opaque;
        packet.vbucket = vbucket;
        if let Some(id) = stream_id {
            // Frame info 2 of two bytes (docs/BinaryProtocol.md, "DCP stream-ID").
            packet.frames = [&[0x22][..], &id.to_be_bytes()].concat();
        }
        packet
    }

    fn marker(&self, start: u64, end: u64, is_disk: bool, purge_seqno: u64) -> Packet {
        let kind = if is_disk { DISK | CHECKPOINT } else { MEMORY };
        let mut bytes = [start.to_be_bytes(), end.to_be_bytes()].concat();
        bytes.extend(kind.to_be_bytes());
        if !(is_disk && self.has_marker_2_2) {
            return plain(opcode::DCP_SNAPSHOT_MARKER, bytes);
        }
        // Highest visible, completed, purged, prepared; all but the third are for the cluster's own replication
        // (protocol/mcbp/dcp_snapshot_marker_codec.cc).
        for number in [0, 0, purge_seqno, 0] {
            bytes.extend(number.to_be_bytes());
        }
        Packet { value: bytes, ..plain(opcode::DCP_SNAPSHOT_MARKER, vec![2]) }
    }

    fn item(&self, item: &Item, is_disk: bool, strips_collection: bool) -> Packet {
        let mut packet = match &item.kind {
            Kind::System(event) => return system(item.seqno, event),
            Kind::Live => self.mutation(item),
            Kind::Deleted { at, by_expiry } => {
                // A tombstone in memory has no time yet (open-connection.md, 0x20).
                self.deletion(item, if is_disk { *at } else { 0 }, *by_expiry)
            }
        };
        packet.cas = item.cas;
        packet.key = match (strips_collection, read_leb128(&item.key)) {
            (true, Some((_, key))) => key.to_vec(),
            _ => item.key.clone(),
        };
        if self.compresses && !packet.value.is_empty() {
            // Compression of a slice in memory fails for more than 4 GiB only. What gets larger stays as it is
            // (engines/ep/src/item.cc, `compressValue`).
            let compressed = snap::raw::Encoder::new().compress_vec(&packet.value);
            if let Some(smaller) = compressed.ok().filter(|compressed| compressed.len() <= packet.value.len()) {
                packet.value = smaller;
                packet.datatype |= datatype::SNAPPY;
            }
        }
        packet
    }

    fn mutation(&self, item: &Item) -> Packet {
        let mut extras = [item.seqno.to_be_bytes(), item.revision.to_be_bytes()].concat();
        extras.extend(item.flags.to_be_bytes());
        extras.extend(item.expiry.to_be_bytes());
        // Lock time, size of further metadata, NRU.
        extras.extend([0; 7]);
        let has_body = !self.has(open_flag::NO_VALUE) && !self.has(open_flag::NO_VALUE_KEEPING_DATATYPE);
        let with_xattrs = self.has(open_flag::XATTRS);
        let shown = Item {
            xattrs: if with_xattrs { item.xattrs.clone() } else { Xattrs::default() },
            body: if has_body { item.body.clone() } else { Vec::new() },
            is_json: item.is_json && !self.has(open_flag::NO_VALUE),
            ..item.clone()
        };
        let value = shown.value_with_xattrs();
        // The datatype of what was stored, whatever is left of it (engines/ep/src/item.cc, `removeBodyAndOrXattrs`).
        let keeps_datatype = self.has(open_flag::NO_VALUE_KEEPING_DATATYPE);
        let datatype = if keeps_datatype { item.datatype(true) } else { shown.datatype(true) };
        Packet { datatype, value, ..plain(opcode::DCP_MUTATION, extras) }
    }

    fn deletion(&self, item: &Item, at: u32, by_expiry: bool) -> Packet {
        let mut extras = [item.seqno.to_be_bytes(), item.revision.to_be_bytes()].concat();
        let code = if by_expiry && self.has_expiry_opcode {
            extras.extend(at.to_be_bytes());
            opcode::DCP_EXPIRATION
        } else if self.has(open_flag::DELETE_TIMES) {
            extras.extend(at.to_be_bytes());
            extras.push(0);
            opcode::DCP_DELETION
        } else {
            extras.extend([0; 2]);
            opcode::DCP_DELETION
        };
        let xattrs = match (self.has(open_flag::XATTRS), self.has(open_flag::DELETED_USER_XATTRS)) {
            (false, _) => Xattrs::default(),
            (true, false) => item.xattrs.system_only(),
            (true, true) => item.xattrs.clone(),
        };
        let shown = Item { xattrs, body: Vec::new(), is_json: false, ..item.clone() };
        let value = shown.value_with_xattrs();
        Packet { value, datatype: shown.datatype(true), ..plain(code, extras) }
    }
}

fn plain(code: u8, extras: Vec<u8>) -> Packet {
    Packet { magic: magic::REQUEST, opcode: code, extras, ..Packet::default() }
}

/// Event, version, and the event's data (`system_event.md`).
fn system(seqno: u64, event: &SystemEvent) -> Packet {
    let uid = event.manifest_uid.to_be_bytes().to_vec();
    let scope = event.scope.to_be_bytes();
    let (number, version, key, value) = match &event.what {
        What::CollectionBegin { id, name, max_ttl } => {
            let mut value = [uid, scope.to_vec(), id.to_be_bytes().to_vec()].concat();
            let version = u8::from(*max_ttl > 0);
            if *max_ttl > 0 {
                value.extend(max_ttl.to_be_bytes());
            }
            (0_u32, version, name.as_bytes(), value)
        }
        What::CollectionEnd { id } => (1, 0, &[][..], [uid, scope.to_vec(), id.to_be_bytes().to_vec()].concat()),
        What::ScopeCreate { name } => (3, 0, name.as_bytes(), [uid, scope.to_vec()].concat()),
        What::ScopeDrop => (4, 0, &[][..], [uid, scope.to_vec()].concat()),
    };
    let mut extras = seqno.to_be_bytes().to_vec();
    extras.extend(number.to_be_bytes());
    extras.push(version);
    Packet { key: key.to_vec(), value, ..plain(opcode::DCP_SYSTEM_EVENT, extras) }
}
