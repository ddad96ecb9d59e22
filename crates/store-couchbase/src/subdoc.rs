//! Sub-document commands on the wire (`kv_engine` docs/SubDocument.md, docs/ExtendedAttributes.md).

/// Opcodes (`kv_engine` include/mcbp/protocol/opcode.h).
pub(crate) mod opcode {
    /// The whole body, within a multi command.
    pub(crate) const GET: u8 = 0x00;
    pub(crate) const SET: u8 = 0x01;
    pub(crate) const DELETE: u8 = 0x04;
    pub(crate) const SUBDOC_GET: u8 = 0xc5;
    pub(crate) const SUBDOC_UPSERT: u8 = 0xc8;
    pub(crate) const SUBDOC_DELETE: u8 = 0xc9;
    pub(crate) const SUBDOC_COUNTER: u8 = 0xcf;
    pub(crate) const MULTI_LOOKUP: u8 = 0xd0;
    pub(crate) const MULTI_MUTATION: u8 = 0xd1;
    pub(crate) const REPLACE_BODY_WITH_XATTR: u8 = 0xd3;
}

/// Statuses (`kv_engine` include/mcbp/protocol/status.h).
pub(crate) mod status {
    pub(crate) const SUCCESS: u16 = 0x00;
    pub(crate) const KEY_NOT_FOUND: u16 = 0x01;
    pub(crate) const KEY_EXISTS: u16 = 0x02;
    pub(crate) const TOO_BIG: u16 = 0x03;
    pub(crate) const NOT_STORED: u16 = 0x05;
    pub(crate) const LOCKED: u16 = 0x09;
    pub(crate) const NO_ACCESS: u16 = 0x24;
    pub(crate) const NOT_INITIALIZED: u16 = 0x25;
    pub(crate) const SIZE_LIMIT_EXCEEDED: u16 = 0x35;
    pub(crate) const RESIDENT_RATIO_TOO_LOW: u16 = 0x36;
    pub(crate) const DATA_SIZE_TOO_BIG: u16 = 0x37;
    pub(crate) const DISK_SPACE_TOO_LOW: u16 = 0x38;
    pub(crate) const NO_MEMORY: u16 = 0x82;
    pub(crate) const BUSY: u16 = 0x85;
    pub(crate) const TEMPORARY_FAILURE: u16 = 0x86;
    pub(crate) const DURABILITY_INVALID_LEVEL: u16 = 0xa0;
    pub(crate) const DURABILITY_IMPOSSIBLE: u16 = 0xa1;
    pub(crate) const SYNC_WRITE_IN_PROGRESS: u16 = 0xa2;
    pub(crate) const SYNC_WRITE_AMBIGUOUS: u16 = 0xa3;
    pub(crate) const SYNC_WRITE_RECOMMIT_IN_PROGRESS: u16 = 0xa4;
    pub(crate) const MULTI_PATH_FAILURE: u16 = 0xcc;
    pub(crate) const SUCCESS_DELETED: u16 = 0xcd;
    pub(crate) const MULTI_PATH_FAILURE_DELETED: u16 = 0xd3;
    pub(crate) const CAN_ONLY_REVIVE_DELETED: u16 = 0xd6;
}

/// Flags of a command.
pub(crate) mod doc_flag {
    /// The document must not be there.
    pub(crate) const ADD: u8 = 0x02;
    /// Tombstones count as documents.
    pub(crate) const ACCESS_DELETED: u8 = 0x04;
    /// A document that is created is a tombstone.
    pub(crate) const CREATE_AS_DELETED: u8 = 0x08;
    /// A tombstone becomes a document.
    pub(crate) const REVIVE: u8 = 0x10;
}

/// Flags of a path.
pub(crate) mod path_flag {
    pub(crate) const XATTR: u8 = 0x04;
    pub(crate) const EXPANDS_MACROS: u8 = 0x10;
}

/// The CAS that the command gives the document, byte-swapped.
pub(crate) const MACRO_CAS: &[u8] = b"\"${Mutation.CAS}\"";
/// CRC-32C of the body that the command leaves.
pub(crate) const MACRO_CRC: &[u8] = b"\"${Mutation.value_crc32c}\"";

/// The most paths of a command (`kv_engine` daemon/settings.h, `subdoc_multi_max_paths`).
pub(crate) const PATHS_MAX: usize = 16;
/// The longest path in bytes (`kv_engine` `daemon/subdocument_validators.h`).
pub(crate) const PATH_BYTES_MAX: usize = 1024;

/// Appends one path of a lookup.
pub(crate) fn look(out: &mut Vec<u8>, code: u8, flags: u8, path: &str) {
    out.extend([code, flags]);
    out.extend(short(path.len()).to_be_bytes());
    out.extend(path.bytes());
}

/// Appends one path of a mutation.
pub(crate) fn change(out: &mut Vec<u8>, code: u8, flags: u8, path: &str, value: &[u8]) {
    out.extend([code, flags]);
    out.extend(short(path.len()).to_be_bytes());
    out.extend(u32::try_from(value.len()).expect("contents and metas are limited").to_be_bytes());
    out.extend(path.bytes());
    out.extend(value);
}

fn short(length: usize) -> u16 {
    u16::try_from(length).expect("paths of this crate are short")
}

/// The next result of a lookup at the front of `rest`: its value, or its status.
pub(crate) fn next_result<'a>(rest: &mut &'a [u8]) -> Option<Result<&'a [u8], u16>> {
    let (status, tail) = rest.split_first_chunk()?;
    let (length, tail) = tail.split_first_chunk()?;
    let (value, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = tail;
    match u16::from_be_bytes(*status) {
        status::SUCCESS => Some(Ok(value)),
        status => Some(Err(status)),
    }
}

/// A frame info that asks for durability, with the time after which the server gives up; then one that keeps the expiry
/// (`kv_engine` docs/BinaryProtocol.md, "Request with Flexible Framing Extras").
pub(crate) fn frames(level: Option<u8>, timeout_ms: u16, preserves_expiry: bool) -> Vec<u8> {
    let mut frames = Vec::new();
    if let Some(level) = level {
        frames.extend([0x13, level]);
        frames.extend(timeout_ms.to_be_bytes());
    }
    if preserves_expiry {
        frames.push(0x50);
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_documented() {
        let mut bytes = Vec::new();
        look(&mut bytes, opcode::SUBDOC_GET, path_flag::XATTR, "_tl");
        assert_eq!(bytes, b"\xc5\x04\x00\x03_tl");
        bytes.clear();
        change(&mut bytes, opcode::SUBDOC_UPSERT, path_flag::XATTR | path_flag::EXPANDS_MACROS, "_tl.cas", b"1");
        assert_eq!(bytes, b"\xc8\x14\x00\x07\x00\x00\x00\x01_tl.cas1");
        assert_eq!(frames(Some(1), 0x1234, true), [0x13, 1, 0x12, 0x34, 0x50]);
        assert_eq!(frames(None, 1, false), b"");
    }

    #[test]
    fn results_are_read_to_their_end_and_not_beyond() {
        let bytes = b"\x00\x00\x00\x00\x00\x021\n\x00\xc0\x00\x00\x00\x00";
        let mut rest = &bytes[..];
        assert_eq!(next_result(&mut rest), Some(Ok(&b"1\n"[..])));
        assert_eq!(next_result(&mut rest), Some(Err(0xc0)));
        assert_eq!(next_result(&mut rest), None);
        for end in 1..8 {
            assert_eq!(next_result(&mut &bytes[..end]), None, "{end}");
        }
    }
}
