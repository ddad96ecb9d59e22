//! What the user may do, as far as tests take it away (`kv_engine` docs/rbac.md).

use crate::wire::opcode;

/// A privilege of the user, by its name in `rbac/privileges.cc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// Reading documents.
    Read,
    /// Writing documents.
    Upsert,
    /// Deleting documents.
    Delete,
    /// Reading xattrs whose name begins with `_`.
    SystemXattrRead,
    /// Writing xattrs whose name begins with `_`.
    SystemXattrWrite,
    /// Opening DCP.
    DcpProducer,
    /// Streaming collections by DCP.
    DcpStream,
    /// Seeing the settings of the bucket; this one is of the management.
    BucketSettings,
    /// Seeing the cluster's settings of compaction; this one is of the management, and none of the roles for data has it.
    CompactionSettings,
}

impl Privilege {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::Upsert,
        Self::Delete,
        Self::SystemXattrRead,
        Self::SystemXattrWrite,
        Self::DcpProducer,
        Self::DcpStream,
        Self::BucketSettings,
        Self::CompactionSettings,
    ];
}

/// What a command needs whatever it is about (`daemon/mcbp_privileges.cc`; for `DCP_OPEN` `daemon/protocol/mcbp/dcp_open_executor.cc`). A
/// stream needs `DcpStream` besides, for what it shows.
pub(crate) fn needed(code: u8) -> &'static [Privilege] {
    use Privilege::{DcpProducer, Delete, Read, Upsert};
    match code {
        opcode::GET
        | opcode::GET_REPLICA
        | opcode::GET_LOCKED
        | opcode::UNLOCK
        | opcode::GET_META
        | opcode::OBSERVE_SEQNO
        | opcode::SUBDOC_GET
        | opcode::SUBDOC_EXISTS
        | opcode::SUBDOC_GET_COUNT
        | opcode::SUBDOC_MULTI_LOOKUP => &[Read],
        opcode::DELETE => &[Delete],
        opcode::SET
        | opcode::ADD
        | opcode::REPLACE
        | opcode::APPEND
        | opcode::PREPEND
        | opcode::TOUCH
        | opcode::SUBDOC_DICT_ADD..=opcode::SUBDOC_ARRAY_ADD_UNIQUE
        | opcode::SUBDOC_MULTI_MUTATION
        | opcode::SUBDOC_REPLACE_BODY_WITH_XATTR => &[Upsert],
        opcode::INCREMENT | opcode::DECREMENT | opcode::GET_AND_TOUCH | opcode::SUBDOC_COUNTER => &[Read, Upsert],
        opcode::DCP_OPEN
        | opcode::DCP_ADD_STREAM
        | opcode::DCP_CLOSE_STREAM
        | opcode::DCP_STREAM_REQUEST
        | opcode::DCP_FAILOVER_LOG
        | opcode::DCP_NOOP
        | opcode::DCP_BUFFER_ACK
        | opcode::DCP_CONTROL
        | opcode::DCP_SEQNO_ACKNOWLEDGED => &[DcpProducer],
        _ => &[],
    }
}
