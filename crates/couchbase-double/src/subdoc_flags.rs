//! Flags of sub-document commands, and which command takes which (`kv_engine` docs/SubDocument.md, `include/memcached/protocol_binary.h`,
//! `daemon/subdocument_traits.h`).

use crate::wire::opcode;

/// Flags of a path.
pub(crate) mod path_flag {
    pub(crate) const MAKES_WAY: u8 = 0x01;
    pub(crate) const XATTR: u8 = 0x04;
    pub(crate) const EXPANDS_MACROS: u8 = 0x10;
}

/// Flags of a command.
pub(crate) mod doc_flag {
    pub(crate) const MAKES_DOCUMENT: u8 = 0x01;
    pub(crate) const ADD: u8 = 0x02;
    pub(crate) const ACCESS_DELETED: u8 = 0x04;
    pub(crate) const CREATE_AS_DELETED: u8 = 0x08;
    pub(crate) const REVIVE: u8 = 0x10;
}

/// What a command on a path is like.
pub(crate) struct Traits {
    /// Of the whole body, without a path.
    pub(crate) is_whole: bool,
    pub(crate) path_flags: u8,
    /// Of `path_flags`, those that must be set.
    pub(crate) needed_path_flags: u8,
    pub(crate) doc_flags: u8,
    pub(crate) has_value: bool,
    pub(crate) may_have_no_path: bool,
}

/// The commands that are allowed on a path (`get_subdoc_cmd_traits`), without binary values in xattrs and reads of replicas, which the double
/// has not.
pub(crate) fn traits_of(code: u8) -> Option<Traits> {
    use doc_flag::{ACCESS_DELETED, ADD, CREATE_AS_DELETED, MAKES_DOCUMENT, REVIVE};
    use path_flag::{EXPANDS_MACROS, MAKES_WAY, XATTR};
    const DELETED: u8 = ACCESS_DELETED | REVIVE;
    const MAKING: u8 = MAKES_DOCUMENT | ADD | CREATE_AS_DELETED | DELETED;
    let (path_flags, doc_flags) = match code {
        // Neither finds a tombstone: that takes `SUBDOC_REPLACE_BODY_WITH_XATTR`.
        opcode::SET => (0, MAKES_DOCUMENT | ADD),
        opcode::GET | opcode::DELETE => (0, DELETED),
        opcode::SUBDOC_GET | opcode::SUBDOC_EXISTS | opcode::SUBDOC_GET_COUNT | opcode::SUBDOC_DELETE => {
            (XATTR, DELETED)
        }
        opcode::SUBDOC_DICT_ADD
        | opcode::SUBDOC_DICT_UPSERT
        | opcode::SUBDOC_ARRAY_PUSH_LAST
        | opcode::SUBDOC_ARRAY_PUSH_FIRST => (MAKES_WAY | XATTR | EXPANDS_MACROS, MAKING),
        opcode::SUBDOC_REPLACE => (XATTR | EXPANDS_MACROS, DELETED | ADD),
        opcode::SUBDOC_ARRAY_INSERT => (XATTR | EXPANDS_MACROS, DELETED | ADD | CREATE_AS_DELETED),
        opcode::SUBDOC_ARRAY_ADD_UNIQUE | opcode::SUBDOC_COUNTER => (MAKES_WAY | XATTR, MAKING),
        opcode::SUBDOC_REPLACE_BODY_WITH_XATTR => (XATTR, DELETED),
        _ => return None,
    };
    let is_whole = matches!(code, opcode::GET | opcode::SET | opcode::DELETE);
    let takes_no_value =
        matches!(code, opcode::DELETE | opcode::SUBDOC_DELETE | opcode::SUBDOC_REPLACE_BODY_WITH_XATTR);
    Some(Traits {
        is_whole,
        path_flags,
        needed_path_flags: if code == opcode::SUBDOC_REPLACE_BODY_WITH_XATTR { XATTR } else { 0 },
        doc_flags,
        has_value: !is_lookup(code) && !takes_no_value,
        may_have_no_path: is_whole || grows_root(code) || code == opcode::SUBDOC_GET_COUNT,
    })
}

/// Whether a command reads.
pub(crate) fn is_lookup(code: u8) -> bool {
    matches!(code, opcode::GET | opcode::SUBDOC_GET | opcode::SUBDOC_EXISTS | opcode::SUBDOC_GET_COUNT)
}

/// Whether a command without a path is about an array that the document is.
pub(crate) fn grows_root(code: u8) -> bool {
    matches!(code, opcode::SUBDOC_ARRAY_PUSH_LAST | opcode::SUBDOC_ARRAY_PUSH_FIRST | opcode::SUBDOC_ARRAY_ADD_UNIQUE)
}
