//! The form of packets: what of one is refused whatever it is about (`kv_engine` `daemon/mcbp_validators.cc`, `verify_header`).

use crate::session::Session;
use crate::wire::{BODY_BYTES_MAX, Frames, Packet, Reader, Status, datatype, opcode, read_leb128};

/// The longest key without its collection (include/memcached/limits.h, `MaxKeyLength`).
const KEY_BYTES_MAX: usize = 250;
/// The longest key in a collection other than the default one (`include/memcached/dockey_view.h`).
const COLLECTION_KEY_BYTES_MAX: usize = 246;

/// What may be in a part of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    None,
    Some,
    Any,
}

impl Part {
    fn allows(self, is_there: bool) -> bool {
        self == Self::Any || is_there == (self == Self::Some)
    }
}

/// How the packets of a command look.
struct Form {
    /// The lengths that extras may have; any when there are none.
    extras: &'static [usize],
    key: Part,
    value: Part,
    cas: Part,
    datatypes: u8,
    is_of_document: bool,
}

/// The form of a command without parts.
const BARE: Form =
    Form { extras: &[0], key: Part::None, value: Part::None, cas: Part::None, datatypes: 0, is_of_document: false };
/// The form of a command that names a document.
const DOCUMENT: Form = Form { key: Part::Some, is_of_document: true, ..BARE };

/// The forms of the commands that the double offers, DCP aside; `None` for the others.
fn form(code: u8) -> Option<Form> {
    const STORED: u8 = datatype::JSON | datatype::SNAPPY;
    Some(match code {
        opcode::NOOP | opcode::VERSION | opcode::QUIT | opcode::SASL_LIST | opcode::GET_MANIFEST => BARE,
        opcode::HELLO | opcode::GET_COLLECTION_ID | opcode::GET_SCOPE_ID => {
            Form { key: Part::Any, value: Part::Any, ..BARE }
        }
        opcode::SASL_AUTH | opcode::SASL_STEP => Form { key: Part::Some, value: Part::Any, ..BARE },
        opcode::GET_ERROR_MAP => Form { value: Part::Some, ..BARE },
        opcode::SELECT_BUCKET => Form { key: Part::Any, cas: Part::Any, ..BARE },
        opcode::GET_CLUSTER_CONFIG => Form { extras: &[0, 16], ..BARE },
        opcode::GET_ALL_VB_SEQNOS => Form { extras: &[0, 4, 8], ..BARE },
        opcode::OBSERVE_SEQNO => Form { value: Part::Some, cas: Part::Any, ..BARE },
        opcode::GET | opcode::GET_REPLICA => DOCUMENT,
        opcode::GET_META => Form { extras: &[0, 1], ..DOCUMENT },
        opcode::GET_LOCKED => Form { extras: &[0, 4], ..DOCUMENT },
        opcode::TOUCH | opcode::GET_AND_TOUCH => Form { extras: &[4], ..DOCUMENT },
        opcode::UNLOCK => Form { cas: Part::Some, ..DOCUMENT },
        opcode::DELETE => Form { cas: Part::Any, ..DOCUMENT },
        opcode::ADD => Form { extras: &[8], value: Part::Any, datatypes: STORED, ..DOCUMENT },
        opcode::SET | opcode::REPLACE => {
            Form { extras: &[8], value: Part::Any, cas: Part::Any, datatypes: STORED, ..DOCUMENT }
        }
        opcode::APPEND | opcode::PREPEND => Form { value: Part::Any, cas: Part::Any, datatypes: STORED, ..DOCUMENT },
        opcode::INCREMENT | opcode::DECREMENT => Form { extras: &[20], ..DOCUMENT },
        // Their extras are looked at where they are read (daemon/subdocument_validators.cc).
        opcode::SUBDOC_GET..=opcode::SUBDOC_REPLACE_BODY_WITH_XATTR => {
            Form { extras: &[], value: Part::Any, cas: Part::Any, ..DOCUMENT }
        }
        _ => return None,
    })
}

/// Refuses a packet that the command cannot have, and one of a command that the double does not offer.
pub(crate) fn check(session: &Session, packet: &Packet) -> Result<(), Status> {
    let form = form(packet.opcode).ok_or(Status::NOT_SUPPORTED)?;
    let key_max = KEY_BYTES_MAX + usize::from(session.has_collections());
    let is_right = (form.extras.is_empty() || form.extras.contains(&packet.extras.len()))
        && form.key.allows(!packet.key.is_empty())
        && packet.key.len() <= key_max
        && form.value.allows(!packet.value.is_empty())
        && form.cas.allows(packet.cas != 0)
        && packet.datatype & !(form.datatypes & session.datatypes()) == 0
        && is_rest_right(packet);
    if !is_right {
        return Err(Status::INVALID);
    }
    if packet.datatype & datatype::SNAPPY != 0 {
        let length = snap::raw::decompress_len(&packet.value).map_err(|_| Status::INVALID)?;
        // docs/DocumentSizeLimits.md
        if length > BODY_BYTES_MAX || snap::raw::Decoder::new().decompress_vec(&packet.value).is_err() {
            return Err(Status::INVALID);
        }
    }
    Frames::read(packet.opcode, &packet.frames)?;
    if form.is_of_document && session.has_collections() {
        check_key(&packet.key)?;
    }
    Ok(())
}

/// What single commands ask of their parts.
fn is_rest_right(packet: &Packet) -> bool {
    let mut extras = Reader::new(&packet.extras);
    match packet.opcode {
        opcode::HELLO => packet.value.len().is_multiple_of(2),
        opcode::GET_ERROR_MAP => packet.value.len() == 2 && packet.vbucket == 0,
        opcode::GET_MANIFEST => packet.vbucket == 0,
        opcode::GET_COLLECTION_ID | opcode::GET_SCOPE_ID => {
            packet.vbucket == 0 && (packet.key.is_empty() || packet.value.is_empty())
        }
        opcode::OBSERVE_SEQNO => packet.value.len() == 8,
        // Any state, active, replica, pending, dead.
        opcode::GET_ALL_VB_SEQNOS => extras.u32().is_none_or(|state| state <= 4),
        opcode::GET_META => extras.u8().is_none_or(|version| version <= 2),
        // Epoch and revision, which counts from 1.
        opcode::GET_CLUSTER_CONFIG => extras.u64().zip(extras.u64()).is_none_or(|(_, rev)| rev.cast_signed() >= 1),
        _ => true,
    }
}

/// `is_document_key_valid`: a collection's id in its shortest form, none that is reserved, and a key.
fn check_key(key: &[u8]) -> Result<(), Status> {
    let (collection, key) = read_leb128(key).ok_or(Status::INVALID)?;
    let longest = if collection == 0 { KEY_BYTES_MAX } else { COLLECTION_KEY_BYTES_MAX };
    // utilities/dockey_view.cc, `isReserved`
    let is_reserved = (1..8).contains(&collection);
    if is_reserved || key.is_empty() || key.len() > longest { Err(Status::INVALID) } else { Ok(()) }
}

/// Whether there is a command of this number (include/mcbp/protocol/opcode.h), be it one that no server carries out any more.
pub(crate) fn is_command(code: u8) -> bool {
    matches!(
        code,
        0x00..=0x48
            | 0x50..=0x65
            | 0x80..=0x83
            | 0x85..=0x87
            | 0x89..=0x8c
            | 0x91..=0x97
            | 0x9e..=0xaa
            | 0xac..=0xbc
            | 0xc1..=0xc2
            | 0xc5..=0xd3
            | 0xda..=0xdc
            | 0xf0..=0xf8
            | 0xfb..=0xfe
    )
}
