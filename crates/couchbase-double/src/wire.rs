//! The memcached binary protocol: packets, opcodes and statuses (`kv_engine` docs/BinaryProtocol.md,
//! include/mcbp/protocol/opcode.h and status.h).

/// Bytes of a packet before its body.
pub(crate) const HEADER_BYTES: usize = 24;
/// The largest body that the double reads (docs/DocumentSizeLimits.md, `max_packet_size`).
pub(crate) const BODY_BYTES_MAX: usize = 30 << 20;

pub(crate) mod magic {
    pub(crate) const REQUEST: u8 = 0x80;
    pub(crate) const RESPONSE: u8 = 0x81;
    /// A request with frame infos before its extras.
    pub(crate) const ALT_REQUEST: u8 = 0x08;
    /// A request from the server to a duplex client (`kv_engine` docs/Duplex.md).
    pub(crate) const SERVER_REQUEST: u8 = 0x82;
    pub(crate) const SERVER_RESPONSE: u8 = 0x83;
}

pub(crate) mod opcode {
    pub(crate) const GET: u8 = 0x00;
    pub(crate) const SET: u8 = 0x01;
    pub(crate) const ADD: u8 = 0x02;
    pub(crate) const REPLACE: u8 = 0x03;
    pub(crate) const DELETE: u8 = 0x04;
    pub(crate) const INCREMENT: u8 = 0x05;
    pub(crate) const DECREMENT: u8 = 0x06;
    pub(crate) const QUIT: u8 = 0x07;
    pub(crate) const NOOP: u8 = 0x0a;
    pub(crate) const VERSION: u8 = 0x0b;
    pub(crate) const APPEND: u8 = 0x0e;
    pub(crate) const PREPEND: u8 = 0x0f;
    pub(crate) const TOUCH: u8 = 0x1c;
    pub(crate) const GET_AND_TOUCH: u8 = 0x1d;
    pub(crate) const HELLO: u8 = 0x1f;
    pub(crate) const SASL_LIST: u8 = 0x20;
    pub(crate) const SASL_AUTH: u8 = 0x21;
    pub(crate) const SASL_STEP: u8 = 0x22;
    pub(crate) const GET_ALL_VB_SEQNOS: u8 = 0x48;
    pub(crate) const DCP_OPEN: u8 = 0x50;
    pub(crate) const DCP_ADD_STREAM: u8 = 0x51;
    pub(crate) const DCP_CLOSE_STREAM: u8 = 0x52;
    pub(crate) const DCP_STREAM_REQUEST: u8 = 0x53;
    pub(crate) const DCP_FAILOVER_LOG: u8 = 0x54;
    pub(crate) const DCP_STREAM_END: u8 = 0x55;
    pub(crate) const DCP_SNAPSHOT_MARKER: u8 = 0x56;
    pub(crate) const DCP_MUTATION: u8 = 0x57;
    pub(crate) const DCP_DELETION: u8 = 0x58;
    pub(crate) const DCP_EXPIRATION: u8 = 0x59;
    pub(crate) const DCP_SET_VBUCKET_STATE: u8 = 0x5b;
    pub(crate) const DCP_NOOP: u8 = 0x5c;
    pub(crate) const DCP_BUFFER_ACK: u8 = 0x5d;
    pub(crate) const DCP_CONTROL: u8 = 0x5e;
    pub(crate) const DCP_SYSTEM_EVENT: u8 = 0x5f;
    pub(crate) const DCP_SEQNO_ACKNOWLEDGED: u8 = 0x61;
    pub(crate) const DCP_ABORT: u8 = 0x63;
    pub(crate) const DCP_SEQNO_ADVANCED: u8 = 0x64;
    pub(crate) const DCP_OSO_SNAPSHOT: u8 = 0x65;
    pub(crate) const GET_REPLICA: u8 = 0x83;
    pub(crate) const SELECT_BUCKET: u8 = 0x89;
    pub(crate) const OBSERVE_SEQNO: u8 = 0x91;
    pub(crate) const GET_LOCKED: u8 = 0x94;
    pub(crate) const UNLOCK: u8 = 0x95;
    pub(crate) const GET_META: u8 = 0xa0;
    pub(crate) const GET_CLUSTER_CONFIG: u8 = 0xb5;
    pub(crate) const GET_MANIFEST: u8 = 0xba;
    pub(crate) const GET_COLLECTION_ID: u8 = 0xbb;
    pub(crate) const GET_SCOPE_ID: u8 = 0xbc;
    pub(crate) const SUBDOC_GET: u8 = 0xc5;
    pub(crate) const SUBDOC_EXISTS: u8 = 0xc6;
    pub(crate) const SUBDOC_DICT_ADD: u8 = 0xc7;
    pub(crate) const SUBDOC_DICT_UPSERT: u8 = 0xc8;
    pub(crate) const SUBDOC_DELETE: u8 = 0xc9;
    pub(crate) const SUBDOC_REPLACE: u8 = 0xca;
    pub(crate) const SUBDOC_ARRAY_PUSH_LAST: u8 = 0xcb;
    pub(crate) const SUBDOC_ARRAY_PUSH_FIRST: u8 = 0xcc;
    pub(crate) const SUBDOC_ARRAY_INSERT: u8 = 0xcd;
    pub(crate) const SUBDOC_ARRAY_ADD_UNIQUE: u8 = 0xce;
    pub(crate) const SUBDOC_COUNTER: u8 = 0xcf;
    pub(crate) const SUBDOC_MULTI_LOOKUP: u8 = 0xd0;
    pub(crate) const SUBDOC_MULTI_MUTATION: u8 = 0xd1;
    pub(crate) const SUBDOC_GET_COUNT: u8 = 0xd2;
    pub(crate) const SUBDOC_REPLACE_BODY_WITH_XATTR: u8 = 0xd3;
    pub(crate) const GET_ERROR_MAP: u8 = 0xfe;
    /// From the server: the cluster's configuration has changed (`kv_engine` docs/Duplex.md).
    pub(crate) const CONFIG_CHANGED: u8 = 0x01;
}

/// Bits of a packet's datatype (docs/BinaryProtocol.md, "Data Types").
pub(crate) mod datatype {
    pub(crate) const JSON: u8 = 1;
    pub(crate) const SNAPPY: u8 = 2;
    pub(crate) const XATTR: u8 = 4;
}

/// A response's status. The names are those of include/mcbp/protocol/status.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u16);

impl Status {
    pub(crate) const SUCCESS: Self = Self(0x00);
    pub(crate) const KEY_NOT_FOUND: Self = Self(0x01);
    pub(crate) const KEY_EXISTS: Self = Self(0x02);
    pub(crate) const TOO_BIG: Self = Self(0x03);
    pub(crate) const INVALID: Self = Self(0x04);
    pub(crate) const NOT_STORED: Self = Self(0x05);
    pub(crate) const DELTA_BAD_VALUE: Self = Self(0x06);
    pub(crate) const NOT_MY_VBUCKET: Self = Self(0x07);
    pub(crate) const NO_BUCKET: Self = Self(0x08);
    pub(crate) const LOCKED: Self = Self(0x09);
    pub(crate) const STREAM_NOT_FOUND: Self = Self(0x0a);
    pub(crate) const OPAQUE_NO_MATCH: Self = Self(0x0b);
    pub(crate) const CONFIG_ONLY: Self = Self(0x0d);
    pub(crate) const NOT_LOCKED: Self = Self(0x0e);
    pub(crate) const AUTH_ERROR: Self = Self(0x20);
    pub(crate) const AUTH_CONTINUE: Self = Self(0x21);
    pub(crate) const RANGE: Self = Self(0x22);
    pub(crate) const ROLLBACK: Self = Self(0x23);
    pub(crate) const NO_ACCESS: Self = Self(0x24);
    pub(crate) const SIZE_LIMIT_EXCEEDED: Self = Self(0x35);
    pub(crate) const RESIDENT_RATIO_TOO_LOW: Self = Self(0x36);
    pub(crate) const DATA_SIZE_TOO_BIG: Self = Self(0x37);
    pub(crate) const DISK_SPACE_TOO_LOW: Self = Self(0x38);
    pub(crate) const UNKNOWN_FRAME_INFO: Self = Self(0x80);
    pub(crate) const UNKNOWN_COMMAND: Self = Self(0x81);
    pub(crate) const NOT_SUPPORTED: Self = Self(0x83);
    pub(crate) const TEMPORARY_FAILURE: Self = Self(0x86);
    pub(crate) const XATTR_INVALID: Self = Self(0x87);
    pub(crate) const UNKNOWN_COLLECTION: Self = Self(0x88);
    pub(crate) const UNKNOWN_SCOPE: Self = Self(0x8c);
    pub(crate) const STREAM_ID_INVALID: Self = Self(0x8d);
    pub(crate) const DURABILITY_INVALID_LEVEL: Self = Self(0xa0);
    pub(crate) const DURABILITY_IMPOSSIBLE: Self = Self(0xa1);
    pub(crate) const SYNC_WRITE_AMBIGUOUS: Self = Self(0xa3);
    pub(crate) const PATH_NOT_FOUND: Self = Self(0xc0);
    pub(crate) const PATH_MISMATCH: Self = Self(0xc1);
    pub(crate) const PATH_INVALID: Self = Self(0xc2);
    pub(crate) const PATH_TOO_BIG: Self = Self(0xc3);
    pub(crate) const DOC_TOO_DEEP: Self = Self(0xc4);
    pub(crate) const VALUE_CANNOT_INSERT: Self = Self(0xc5);
    pub(crate) const DOC_NOT_JSON: Self = Self(0xc6);
    pub(crate) const NUMBER_RANGE: Self = Self(0xc7);
    pub(crate) const DELTA_INVALID: Self = Self(0xc8);
    pub(crate) const PATH_EXISTS: Self = Self(0xc9);
    pub(crate) const VALUE_TOO_DEEP: Self = Self(0xca);
    pub(crate) const INVALID_COMBINATION: Self = Self(0xcb);
    pub(crate) const MULTI_PATH_FAILURE: Self = Self(0xcc);
    pub(crate) const SUCCESS_DELETED: Self = Self(0xcd);
    pub(crate) const XATTR_FLAG_COMBINATION: Self = Self(0xce);
    pub(crate) const XATTR_UNKNOWN_MACRO: Self = Self(0xd0);
    pub(crate) const XATTR_UNKNOWN_VATTR: Self = Self(0xd1);
    pub(crate) const XATTR_CANNOT_MODIFY_VATTR: Self = Self(0xd2);
    pub(crate) const MULTI_PATH_FAILURE_DELETED: Self = Self(0xd3);
    pub(crate) const XATTR_ORDER: Self = Self(0xd4);
    pub(crate) const XATTR_UNKNOWN_VATTR_MACRO: Self = Self(0xd5);
    pub(crate) const ONLY_REVIVE_DELETED: Self = Self(0xd6);
    pub(crate) const DELETED_CANNOT_HAVE_VALUE: Self = Self(0xd7);
}

/// A packet as it came in: the header's fields and the parts of the body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packet {
    pub(crate) magic: u8,
    pub(crate) opcode: u8,
    pub(crate) datatype: u8,
    /// The vbucket of a request, the status of a response.
    pub(crate) vbucket: u16,
    pub(crate) opaque: u32,
    pub(crate) cas: u64,
    pub(crate) frames: Vec<u8>,
    pub(crate) extras: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// Why bytes are no packet. The real server closes the connection (daemon/connection.cc).
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PacketError {
    #[error("the magic byte {0:#04x} is unknown")]
    Magic(u8),
    #[error("a body of {0} bytes is larger than allowed")]
    TooLarge(usize),
    #[error("the parts are longer than the body")]
    Lengths,
}

impl Packet {
    /// Reads one packet from the front of `bytes`: the packet and its length, or nothing when more bytes are needed.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, PacketError> {
        let mut header = Reader::new(bytes);
        if bytes.len() < HEADER_BYTES {
            return Ok(None);
        }
        let magic = header.u8().unwrap_or(0);
        let opcode = header.u8().unwrap_or(0);
        let lengths = header.u16().unwrap_or(0);
        let (frames, key) = match magic {
            magic::ALT_REQUEST => (usize::from(lengths >> 8), usize::from(lengths & 0xff)),
            magic::REQUEST | magic::RESPONSE | magic::SERVER_RESPONSE => (0, usize::from(lengths)),
            other => return Err(PacketError::Magic(other)),
        };
        let extras = usize::from(header.u8().unwrap_or(0));
        let datatype = header.u8().unwrap_or(0);
        let vbucket = header.u16().unwrap_or(0);
        let body = header.u32().unwrap_or(0) as usize;
        let opaque = header.u32().unwrap_or(0);
        let cas = header.u64().unwrap_or(0);
        if body > BODY_BYTES_MAX {
            return Err(PacketError::TooLarge(body));
        }
        let value = body.checked_sub(frames + extras + key).ok_or(PacketError::Lengths)?;
        if header.rest().len() < body {
            return Ok(None);
        }
        let mut part = |length: usize| header.take(length).unwrap_or_default().to_vec();
        let frames = part(frames);
        let extras = part(extras);
        let key = part(key);
        let value = part(value);
        let packet = Self { magic, opcode, datatype, vbucket, opaque, cas, frames, extras, key, value };
        Ok(Some((packet, HEADER_BYTES + body)))
    }

    /// Appends the packet to `out`; with frame infos its magic is the alternative one.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let body = self.wire_bytes() - HEADER_BYTES;
        out.reserve(HEADER_BYTES + body);
        if self.frames.is_empty() {
            out.extend([self.magic, self.opcode]);
            out.extend(short(self.key.len()).to_be_bytes());
        } else {
            out.extend([magic::ALT_REQUEST, self.opcode, byte(self.frames.len()), byte(self.key.len())]);
        }
        out.extend([byte(self.extras.len()), self.datatype]);
        out.extend(self.vbucket.to_be_bytes());
        out.extend(word(body).to_be_bytes());
        out.extend(self.opaque.to_be_bytes());
        out.extend(self.cas.to_be_bytes());
        out.extend(&self.frames);
        out.extend(&self.extras);
        out.extend(&self.key);
        out.extend(&self.value);
    }

    /// A response to this request.
    pub(crate) fn answer(&self, status: Status) -> Self {
        Self { magic: magic::RESPONSE, opcode: self.opcode, vbucket: status.0, opaque: self.opaque, ..Self::default() }
    }

    /// Bytes on the wire, header included.
    pub(crate) fn wire_bytes(&self) -> usize {
        HEADER_BYTES + self.frames.len() + self.extras.len() + self.key.len() + self.value.len()
    }
}

/// A length that the protocol limits to one byte; the double builds no longer extras.
fn byte(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// A length as the 32-bit number that the protocol has; bodies are limited far below that.
pub(crate) fn word(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Reads big-endian numbers from the front of a slice.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(length)?;
        self.rest = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

/// A collection id as unsigned LEB128 (docs/Collections.md).
pub(crate) fn leb128(mut id: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5);
    loop {
        let low = id.to_le_bytes()[0] & 0x7f;
        id >>= 7;
        if id == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// The collection id at the front of a key, in its shortest form, and the key behind it (`include/mcbp/protocol/unsigned_leb128.h`,
/// `decodeCanonical`).
pub(crate) fn read_leb128(key: &[u8]) -> Option<(u32, &[u8])> {
    let mut id: u64 = 0;
    for (at, byte) in key.iter().take(5).enumerate() {
        id |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let is_shortest = at == 0 || *byte != 0;
            return Some((u32::try_from(id).ok().filter(|_| is_shortest)?, key.get(at + 1..)?));
        }
    }
    None
}

/// What the frame infos of a request ask for (docs/BinaryProtocol.md, "flexible framing extras").
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Frames {
    /// The durability level, 1 to 3.
    pub(crate) durability: Option<u8>,
    pub(crate) preserves_expiry: bool,
}

impl Frames {
    /// Reads the frame infos of a command (`daemon/mcbp_validators.cc`, `parseFrameExtras`).
    pub(crate) fn read(code: u8, bytes: &[u8]) -> Result<Self, Status> {
        let mut frames = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some(head) = reader.u8() {
            let escaped = |nibble: u8, reader: &mut Reader<'_>| match nibble {
                15 => reader.u8().map(|more| 15 + usize::from(more)),
                plain => Some(usize::from(plain)),
            };
            let id = escaped(head >> 4, &mut reader).ok_or(Status::INVALID)?;
            let length = escaped(head & 15, &mut reader).ok_or(Status::INVALID)?;
            let body = reader.take(length).ok_or(Status::INVALID)?;
            match (id, body) {
                // Barrier: commands are carried out in order as it is. Of a stream: only DCP has them.
                (0, []) | (2, [_, _]) => {}
                (1, [level]) => frames.durability = Some(durability(code, *level, 1)?),
                (1, [level, high, low]) => {
                    frames.durability = Some(durability(code, *level, u16::from_be_bytes([*high, *low]))?);
                }
                (5, []) if keeps_expiry(code) => frames.preserves_expiry = true,
                // And on behalf of another user, and with another privilege: the double has one user.
                (5, []) | (4 | 6, _) => return Err(Status::NOT_SUPPORTED),
                (0 | 1 | 2 | 5, _) => return Err(Status::INVALID),
                _ => return Err(Status::UNKNOWN_FRAME_INFO),
            }
        }
        Ok(frames)
    }
}

/// A level with a time limit in milliseconds that a client may ask for (`include/memcached/durability_spec.h`), of a command that has it.
fn durability(code: u8, level: u8, timeout_ms: u16) -> Result<u8, Status> {
    if !(1..=3).contains(&level) || timeout_ms == 0 || timeout_ms == u16::MAX {
        return Err(Status::DURABILITY_INVALID_LEVEL);
    }
    let has_levels =
        keeps_expiry(code) || matches!(code, opcode::ADD | opcode::DELETE | opcode::TOUCH | opcode::GET_AND_TOUCH);
    if has_levels { Ok(level) } else { Err(Status::INVALID) }
}

/// Whether a command can leave a document's expiry as it is (protocol/mcbp/opcode.cc, `PreserveTtl`).
fn keeps_expiry(code: u8) -> bool {
    matches!(
        code,
        opcode::SET
            | opcode::REPLACE
            | opcode::INCREMENT
            | opcode::DECREMENT
            | opcode::APPEND
            | opcode::PREPEND
            | opcode::SUBDOC_DICT_ADD
            ..=opcode::SUBDOC_COUNTER | opcode::SUBDOC_MULTI_MUTATION | opcode::SUBDOC_REPLACE_BODY_WITH_XATTR
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_survive_the_wire() {
        let packet = Packet {
            magic: magic::REQUEST,
            opcode: opcode::SET,
            vbucket: 7,
            opaque: 9,
            cas: 11,
            extras: vec![0; 8],
            key: b"key".to_vec(),
            value: b"value".to_vec(),
            ..Packet::default()
        };
        let mut bytes = Vec::new();
        packet.write(&mut bytes);
        for end in 0..bytes.len() {
            assert!(Packet::read(&bytes[..end]).unwrap().is_none());
        }
        let (read, length) = Packet::read(&bytes).unwrap().unwrap();
        assert_eq!((length, read.key, read.value, read.cas), (bytes.len(), packet.key, packet.value, 11));
        bytes[0] = 0x42;
        assert_eq!(Packet::read(&bytes).unwrap_err(), PacketError::Magic(0x42));
    }

    #[test]
    fn parts_longer_than_the_body_are_refused() {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[0] = magic::REQUEST;
        bytes[3] = 1;
        assert_eq!(Packet::read(&bytes).unwrap_err(), PacketError::Lengths);
    }

    #[test]
    fn collection_ids_are_leb128() {
        for (id, bytes) in
            [(0, vec![0]), (0x7f, vec![0x7f]), (0x80, vec![0x80, 1]), (u32::MAX, vec![255, 255, 255, 255, 15])]
        {
            assert_eq!(leb128(id), bytes);
            let key = [bytes, b"k".to_vec()].concat();
            assert_eq!(read_leb128(&key), Some((id, b"k".as_slice())));
        }
        assert_eq!(read_leb128(&[0x80]), None);
        assert_eq!(read_leb128(&[255, 255, 255, 255, 16]), None);
        assert_eq!(read_leb128(&[0x88, 0]), None);
    }

    #[test]
    fn frame_infos_are_read() {
        let read = |bytes: &[u8]| Frames::read(opcode::SET, bytes);
        assert_eq!(read(&[0x11, 2]).unwrap().durability, Some(2));
        assert_eq!(read(&[0x13, 3, 0, 1, 0x50]).unwrap(), Frames { durability: Some(3), preserves_expiry: true });
        assert_eq!(read(&[0x00, 0x22, 0, 7]).unwrap(), Frames::default());
    }
}
