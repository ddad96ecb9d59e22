//! Numbers of the protocol (`kv_engine` include/mcbp/protocol: opcode.h, status.h, feature.h, datatype.h).

pub(crate) mod magic {
    pub(crate) const REQUEST: u8 = 0x80;
    pub(crate) const RESPONSE: u8 = 0x81;
    /// A request with frame infos before its extras.
    pub(crate) const ALT_REQUEST: u8 = 0x08;
    /// A response with frame infos before its extras.
    pub(crate) const ALT_RESPONSE: u8 = 0x18;
    /// A request of the server on a duplex connection (docs/Duplex.md).
    pub(crate) const SERVER_REQUEST: u8 = 0x82;
}

pub(crate) mod opcode {
    /// From the server: the cluster's configuration has changed.
    pub(crate) const CONFIG_CHANGED: u8 = 0x01;
    pub(crate) const HELLO: u8 = 0x1f;
    pub(crate) const SASL_LIST: u8 = 0x20;
    pub(crate) const SASL_AUTH: u8 = 0x21;
    pub(crate) const SASL_STEP: u8 = 0x22;
    pub(crate) const GET_ALL_VB_SEQNOS: u8 = 0x48;
    pub(crate) const DCP_OPEN: u8 = 0x50;
    pub(crate) const DCP_CLOSE_STREAM: u8 = 0x52;
    pub(crate) const DCP_STREAM_REQUEST: u8 = 0x53;
    pub(crate) const DCP_FAILOVER_LOG: u8 = 0x54;
    pub(crate) const DCP_STREAM_END: u8 = 0x55;
    pub(crate) const DCP_SNAPSHOT_MARKER: u8 = 0x56;
    pub(crate) const DCP_MUTATION: u8 = 0x57;
    pub(crate) const DCP_DELETION: u8 = 0x58;
    pub(crate) const DCP_EXPIRATION: u8 = 0x59;
    pub(crate) const DCP_NOOP: u8 = 0x5c;
    pub(crate) const DCP_BUFFER_ACK: u8 = 0x5d;
    pub(crate) const DCP_CONTROL: u8 = 0x5e;
    pub(crate) const DCP_SYSTEM_EVENT: u8 = 0x5f;
    pub(crate) const DCP_SEQNO_ADVANCED: u8 = 0x64;
    pub(crate) const DCP_OSO_SNAPSHOT: u8 = 0x65;
    pub(crate) const SELECT_BUCKET: u8 = 0x89;
    pub(crate) const OBSERVE_SEQNO: u8 = 0x91;
    pub(crate) const GET_CLUSTER_CONFIG: u8 = 0xb5;
    pub(crate) const GET_MANIFEST: u8 = 0xba;
    pub(crate) const GET_COLLECTION_ID: u8 = 0xbb;
    pub(crate) const GET_SCOPE_ID: u8 = 0xbc;
}

pub(crate) mod feature {
    pub(crate) const TCP_NODELAY: u16 = 0x03;
    #[cfg(feature = "kv")]
    pub(crate) const MUTATION_TOKENS: u16 = 0x04;
    pub(crate) const XATTR: u16 = 0x06;
    pub(crate) const XERROR: u16 = 0x07;
    pub(crate) const SELECT_BUCKET: u16 = 0x08;
    pub(crate) const SNAPPY: u16 = 0x0a;
    pub(crate) const JSON: u16 = 0x0b;
    pub(crate) const DUPLEX: u16 = 0x0c;
    pub(crate) const CONFIG_NOTIFICATION: u16 = 0x0d;
    #[cfg(feature = "kv")]
    pub(crate) const UNORDERED: u16 = 0x0e;
    #[cfg(feature = "kv")]
    pub(crate) const ALT_REQUEST: u16 = 0x10;
    #[cfg(feature = "kv")]
    pub(crate) const SYNC_REPLICATION: u16 = 0x11;
    pub(crate) const COLLECTIONS: u16 = 0x12;
    #[cfg(feature = "kv")]
    pub(crate) const PRESERVE_TTL: u16 = 0x14;
    #[cfg(feature = "kv")]
    pub(crate) const CREATE_AS_DELETED: u16 = 0x17;
}

pub(crate) mod datatype {
    pub(crate) const JSON: u8 = 1;
    pub(crate) const SNAPPY: u8 = 2;
    pub(crate) const XATTR: u8 = 4;
}

pub(crate) mod status {
    pub(crate) const SUCCESS: u16 = 0x00;
    pub(crate) const KEY_NOT_FOUND: u16 = 0x01;
    pub(crate) const KEY_EXISTS: u16 = 0x02;
    pub(crate) const INVALID: u16 = 0x04;
    pub(crate) const NOT_MY_VBUCKET: u16 = 0x07;
    pub(crate) const NO_BUCKET: u16 = 0x08;
    /// The node has the bucket's configuration, and nothing else of it.
    pub(crate) const CONFIG_ONLY: u16 = 0x0d;
    pub(crate) const AUTH_ERROR: u16 = 0x20;
    pub(crate) const AUTH_CONTINUE: u16 = 0x21;
    pub(crate) const RANGE: u16 = 0x22;
    pub(crate) const ROLLBACK: u16 = 0x23;
    pub(crate) const NO_ACCESS: u16 = 0x24;
    pub(crate) const UNKNOWN_COMMAND: u16 = 0x81;
    pub(crate) const NOT_SUPPORTED: u16 = 0x83;
    pub(crate) const UNKNOWN_COLLECTION: u16 = 0x88;
    pub(crate) const UNKNOWN_SCOPE: u16 = 0x8c;
}

/// Flags of `DCP_OPEN` (docs/dcp/documentation/commands/open-connection.md).
pub(crate) mod open_flag {
    pub(crate) const PRODUCER: u32 = 0x01;
    pub(crate) const XATTRS: u32 = 0x04;
    pub(crate) const NO_VALUE: u32 = 0x08;
    pub(crate) const DELETE_TIMES: u32 = 0x20;
    pub(crate) const DELETED_USER_XATTRS: u32 = 0x100;
}

/// Flags of a stream request (docs/dcp/documentation/commands/add-stream.md).
pub(crate) mod stream_flag {
    pub(crate) const TO_LATEST: u32 = 0x04;
    pub(crate) const ACTIVE_ONLY: u32 = 0x10;
}
