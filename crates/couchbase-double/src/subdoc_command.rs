//! Sub-document commands as they are on the wire (`kv_engine` docs/SubDocument.md, `daemon/subdocument_parser.h`).

use crate::cluster::Faults;
use crate::privilege::Privilege;
use crate::subdoc_flags::{is_lookup, path_flag};
use crate::wire::{Packet, Reader, Status, opcode};

/// The most paths in one command (`subdoc_multi_max_paths`, daemon/settings.h).
const PATHS_MAX: usize = 16;
/// The longest path in bytes (`SUBDOC_PATH_MAX_LENGTH`, `daemon/subdocument_validators.h`).
const PATH_BYTES_MAX: usize = 1024;

/// One command on one path.
pub(crate) struct Spec {
    pub(crate) code: u8,
    pub(crate) flags: u8,
    pub(crate) path: String,
    pub(crate) value: Vec<u8>,
}

impl Spec {
    pub(crate) fn is_xattr(&self) -> bool {
        self.flags & path_flag::XATTR != 0
    }

    pub(crate) fn makes_way(&self) -> bool {
        self.flags & path_flag::MAKES_WAY != 0
    }

    pub(crate) fn expands_macros(&self) -> bool {
        self.flags & path_flag::EXPANDS_MACROS != 0
    }

    /// The xattr's name, and the path inside of its value.
    pub(crate) fn xattr(&self) -> (&str, &str) {
        let end = self.path.find(['.', '[']).unwrap_or(self.path.len());
        let (name, rest) = self.path.split_at(end);
        (name, rest.strip_prefix('.').unwrap_or(rest))
    }
}

pub(crate) struct Command {
    pub(crate) specs: Vec<Spec>,
    pub(crate) flags: u8,
    /// As it was asked for; 0 for none.
    pub(crate) expiry: u32,
    /// The document's flags; those that it has when none are given.
    pub(crate) user_flags: Option<u32>,
    pub(crate) is_multi: bool,
    pub(crate) is_lookup: bool,
}

impl Command {
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether one of its paths is in a system xattr (a name with `_`) and the user lacks the privilege for these
    /// (daemon/subdocument.cc, `validate_xattr_privilege`).
    pub(crate) fn is_denied(&self, faults: &Faults) -> bool {
        let needed = if self.is_lookup { Privilege::SystemXattrRead } else { Privilege::SystemXattrWrite };
        faults.denied.contains(&needed) && self.specs.iter().any(|spec| spec.is_xattr() && spec.path.starts_with('_'))
    }
}

pub(crate) fn parse(packet: &Packet) -> Result<Command, Status> {
    let is_multi = matches!(packet.opcode, opcode::SUBDOC_MULTI_LOOKUP | opcode::SUBDOC_MULTI_MUTATION);
    let mut extras = Reader::new(&packet.extras);
    let mut specs = Vec::new();
    if !is_multi {
        let length = usize::from(extras.u16().ok_or(Status::INVALID)?);
        let flags = extras.u8().ok_or(Status::INVALID)?;
        let (path, value) = packet.value.split_at_checked(length).ok_or(Status::INVALID)?;
        let path = text(path)?;
        specs.push(Spec { code: packet.opcode, flags, path, value: value.to_vec() });
    }
    let is_lookup = if is_multi { packet.opcode == opcode::SUBDOC_MULTI_LOOKUP } else { is_lookup(packet.opcode) };
    // Expiry, the document's flags, the command's flags: any of them, in that order.
    let length = extras.rest().len();
    if ![0, 1, 4, 5, 8, 9].contains(&length) || is_lookup && length > 1 {
        return Err(Status::INVALID);
    }
    let expiry = if length >= 4 { extras.u32().unwrap_or(0) } else { 0 };
    let user_flags = if length >= 8 { extras.u32() } else { None };
    let flags = extras.u8().unwrap_or(0);
    let mut rest = if is_multi { Reader::new(&packet.value) } else { Reader::new(&[]) };
    while !rest.rest().is_empty() {
        if specs.len() == PATHS_MAX {
            return Err(Status::INVALID_COMBINATION);
        }
        specs.push(parse_spec(&mut rest, is_lookup).ok_or(Status::INVALID)??);
    }
    if specs.is_empty() {
        return Err(Status::INVALID_COMBINATION);
    }
    Ok(Command { specs, flags, expiry, user_flags, is_multi, is_lookup })
}

fn parse_spec(reader: &mut Reader<'_>, is_lookup: bool) -> Option<Result<Spec, Status>> {
    let code = reader.u8()?;
    let flags = reader.u8()?;
    let path_bytes = usize::from(reader.u16()?);
    let value_bytes = if is_lookup { 0 } else { reader.u32()? as usize };
    let path = reader.take(path_bytes)?;
    let value = reader.take(value_bytes)?.to_vec();
    Some(text(path).map(|path| Spec { code, flags, path, value }))
}

fn text(bytes: &[u8]) -> Result<String, Status> {
    if bytes.len() > PATH_BYTES_MAX {
        return Err(Status::INVALID);
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| Status::PATH_INVALID)
}
