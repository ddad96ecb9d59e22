//! Numbers of the protocol: kinds of serialised objects, fixed ids of Geode's own classes, types of messages.

/// The first byte of a serialised object (`DSCODE` in Geode's sources).
pub(crate) mod ds {
    pub(crate) const FIXED_ID_BYTE: u8 = 1;
    pub(crate) const FIXED_ID_SHORT: u8 = 2;
    pub(crate) const FIXED_ID_INT: u8 = 3;
    pub(crate) const NO_FIXED_ID: u8 = 4;
    pub(crate) const LINKED_LIST: u8 = 10;
    pub(crate) const PROPERTIES: u8 = 11;
    /// `boolean.class` to `void.class`.
    pub(crate) const PRIMITIVE_CLASSES: std::ops::RangeInclusive<u8> = 17..=25;
    pub(crate) const BOOLEAN_ARRAY: u8 = 26;
    pub(crate) const CHAR_ARRAY: u8 = 27;
    pub(crate) const NULL: u8 = 41;
    pub(crate) const STRING: u8 = 42;
    pub(crate) const CLASS: u8 = 43;
    pub(crate) const SERIALIZABLE: u8 = 44;
    pub(crate) const DATA_SERIALIZABLE: u8 = 45;
    pub(crate) const BYTE_ARRAY: u8 = 46;
    pub(crate) const SHORT_ARRAY: u8 = 47;
    pub(crate) const INT_ARRAY: u8 = 48;
    pub(crate) const LONG_ARRAY: u8 = 49;
    pub(crate) const FLOAT_ARRAY: u8 = 50;
    pub(crate) const DOUBLE_ARRAY: u8 = 51;
    pub(crate) const OBJECT_ARRAY: u8 = 52;
    pub(crate) const BOOLEAN: u8 = 53;
    pub(crate) const CHARACTER: u8 = 54;
    pub(crate) const BYTE: u8 = 55;
    pub(crate) const SHORT: u8 = 56;
    pub(crate) const INTEGER: u8 = 57;
    pub(crate) const LONG: u8 = 58;
    pub(crate) const FLOAT: u8 = 59;
    pub(crate) const DOUBLE: u8 = 60;
    pub(crate) const DATE: u8 = 61;
    pub(crate) const INET_ADDRESS: u8 = 62;
    pub(crate) const FILE: u8 = 63;
    pub(crate) const STRING_ARRAY: u8 = 64;
    pub(crate) const ARRAY_LIST: u8 = 65;
    pub(crate) const HASH_SET: u8 = 66;
    pub(crate) const HASH_MAP: u8 = 67;
    pub(crate) const TIME_UNIT: u8 = 68;
    pub(crate) const NULL_STRING: u8 = 69;
    pub(crate) const HASH_TABLE: u8 = 70;
    pub(crate) const VECTOR: u8 = 71;
    pub(crate) const IDENTITY_HASH_MAP: u8 = 72;
    pub(crate) const LINKED_HASH_SET: u8 = 73;
    pub(crate) const STACK: u8 = 74;
    pub(crate) const TREE_MAP: u8 = 75;
    pub(crate) const TREE_SET: u8 = 76;
    pub(crate) const STRING_BYTES: u8 = 87;
    pub(crate) const HUGE_STRING_BYTES: u8 = 88;
    pub(crate) const HUGE_STRING: u8 = 89;
    pub(crate) const ARRAY_OF_BYTE_ARRAYS: u8 = 91;
    pub(crate) const PDX: u8 = 93;
    pub(crate) const PDX_ENUM: u8 = 94;
    pub(crate) const BIG_INTEGER: u8 = 95;
    pub(crate) const BIG_DECIMAL: u8 = 96;
    pub(crate) const CONCURRENT_HASH_MAP: u8 = 97;
    pub(crate) const UUID: u8 = 98;
    pub(crate) const TIMESTAMP: u8 = 99;
    pub(crate) const GEMFIRE_ENUM: u8 = 100;
    pub(crate) const PDX_INLINE_ENUM: u8 = 101;
}

/// Ids of Geode's own classes, after [`ds::FIXED_ID_BYTE`] or [`ds::FIXED_ID_SHORT`] (`DataSerializableFixedID`).
pub(crate) mod fixed {
    pub(crate) const VERSION_TAG: i8 = -120;
    pub(crate) const STRUCT_TYPE: i8 = -60;
    pub(crate) const COLLECTION_TYPE: i8 = -59;
    pub(crate) const LOCATOR_LIST_REQUEST: i8 = -54;
    pub(crate) const QUEUE_CONNECTION_REQUEST: i8 = -52;
    pub(crate) const LOCATOR_LIST_RESPONSE: i8 = -51;
    pub(crate) const QUEUE_CONNECTION_RESPONSE: i8 = -49;
    pub(crate) const ALL_SERVERS_REQUEST: i8 = -43;
    pub(crate) const ALL_SERVERS_RESPONSE: i8 = -42;
    pub(crate) const VERSIONED_OBJECT_LIST: i8 = 7;
    pub(crate) const OBJECT_PART_LIST: i8 = 25;
    pub(crate) const UNDEFINED: i8 = 31;
    pub(crate) const EVENT_ID: i8 = 36;
    pub(crate) const INTEREST_RESULT_POLICY: i8 = 37;
    pub(crate) const CLIENT_PROXY_MEMBERSHIP_ID: i8 = 38;
    pub(crate) const DISTRIBUTED_MEMBER: i8 = 92;
    /// After [`super::ds::FIXED_ID_SHORT`].
    pub(crate) const PERSISTENT_VERSION_TAG: i16 = 2131;
}

/// Types of messages (`MessageType`).
pub(crate) mod message {
    pub(crate) const GET: i32 = 0;
    pub(crate) const RESPONSE: i32 = 1;
    pub(crate) const EXCEPTION: i32 = 2;
    pub(crate) const PING: i32 = 5;
    pub(crate) const PUT: i32 = 7;
    pub(crate) const DESTROY: i32 = 9;
    pub(crate) const LOCAL_INVALIDATE: i32 = 15;
    pub(crate) const LOCAL_DESTROY: i32 = 16;
    pub(crate) const LOCAL_DESTROY_REGION: i32 = 17;
    pub(crate) const CLOSE_CONNECTION: i32 = 18;
    pub(crate) const REGISTER_INTEREST: i32 = 20;
    pub(crate) const REGISTER_INTEREST_LIST: i32 = 24;
    pub(crate) const UNREGISTER_INTEREST: i32 = 22;
    pub(crate) const LOCAL_CREATE: i32 = 27;
    pub(crate) const LOCAL_UPDATE: i32 = 28;
    pub(crate) const MAKE_PRIMARY: i32 = 31;
    pub(crate) const RESPONSE_FROM_PRIMARY: i32 = 32;
    pub(crate) const QUERY: i32 = 34;
    pub(crate) const CLEAR_REGION: i32 = 36;
    pub(crate) const KEY_SET: i32 = 40;
    pub(crate) const EXECUTE_CQ: i32 = 42;
    pub(crate) const CLOSE_CQ: i32 = 45;
    pub(crate) const PERIODIC_ACK: i32 = 52;
    pub(crate) const CLIENT_READY: i32 = 53;
    pub(crate) const CLIENT_MARKER: i32 = 54;
    pub(crate) const INVALIDATE_REGION: i32 = 55;
    pub(crate) const PUT_ALL: i32 = 56;
    pub(crate) const GET_PR_METADATA: i32 = 71;
    pub(crate) const PR_METADATA: i32 = 72;
    pub(crate) const GET_PARTITION_ATTRIBUTES: i32 = 73;
    pub(crate) const PARTITION_ATTRIBUTES: i32 = 74;
    pub(crate) const USER_CREDENTIALS: i32 = 77;
    pub(crate) const QUERY_WITH_PARAMETERS: i32 = 80;
    pub(crate) const COMMIT: i32 = 85;
    pub(crate) const ROLLBACK: i32 = 87;
    pub(crate) const PDX_TYPE_BY_ID: i32 = 92;
    pub(crate) const PDX_ID_FOR_TYPE: i32 = 93;
    pub(crate) const PDX_ENUM_BY_ID: i32 = 98;
    pub(crate) const GET_ALL: i32 = 100;
    pub(crate) const REMOVE_ALL: i32 = 109;
    pub(crate) const CLIENT_RE_AUTHENTICATE: i32 = 110;

    /// Answers that carry a sentence instead of a result (`…_DATA_ERROR` and the like).
    pub(crate) fn is_error(kind: i32) -> bool {
        matches!(
            kind,
            3 | 8
                | 10
                | 12
                | 21
                | 23
                | 26
                | 30
                | 35
                | 37
                | 39
                | 41
                | 47
                | 50
                | 58
                | 61
                | 64
                | 69
                | 70
                | 75
                | 76
                | 82
                | 84
                | 86
                | 106
        )
    }
}
