//! Flags of sub-document commands (`kv_engine` docs/SubDocument.md, "Flags").

/// Flags of a path.
pub(crate) mod path_flag {
    pub(crate) const MAKES_WAY: u8 = 0x01;
    pub(crate) const XATTR: u8 = 0x04;
    pub(crate) const EXPANDS_MACROS: u8 = 0x10;
    pub(crate) const ALL: u8 = MAKES_WAY | XATTR | EXPANDS_MACROS;
}

/// Flags of a command.
pub(crate) mod doc_flag {
    pub(crate) const MAKES_DOCUMENT: u8 = 0x01;
    pub(crate) const ADD: u8 = 0x02;
    pub(crate) const ACCESS_DELETED: u8 = 0x04;
    pub(crate) const CREATE_AS_DELETED: u8 = 0x08;
    pub(crate) const REVIVE: u8 = 0x10;
    pub(crate) const ALL: u8 = MAKES_DOCUMENT | ADD | ACCESS_DELETED | CREATE_AS_DELETED | REVIVE;
}
