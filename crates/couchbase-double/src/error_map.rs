//! The error map that clients ask for (`kv_engine` docs/ErrorMap.md, `etc/couchbase/kv/error_maps/error_map_v2.json`): names and
//! attributes of the statuses that the double uses.

use serde_json::{Map, Value, json};

/// Status, name, attributes.
const ENTRIES: &[(u16, &str, &[&str])] = &[
    (0x00, "SUCCESS", &["success"]),
    (0x01, "KEY_ENOENT", &["item-only"]),
    (0x02, "KEY_EEXISTS", &["item-only"]),
    (0x03, "E2BIG", &["item-only", "invalid-input"]),
    (0x04, "EINVAL", &["internal", "invalid-input"]),
    (0x05, "NOT_STORED", &["internal", "item-only"]),
    (0x06, "DELTA_BADVAL", &["item-only", "invalid-input"]),
    (0x07, "NOT_MY_VBUCKET", &["fetch-config", "invalid-input"]),
    (0x08, "NO_BUCKET", &["conn-state-invalidated"]),
    (0x09, "LOCKED", &["item-locked", "item-only", "retry-now"]),
    (0x0a, "STREAM_NOT_FOUND", &["conn-state-invalidated"]),
    (0x0d, "ECONFIG_ONLY", &["fetch-config", "retry-now"]),
    (0x0e, "NOT_LOCKED", &["item-only"]),
    (0x20, "AUTH_ERROR", &["conn-state-invalidated", "auth"]),
    (0x21, "AUTH_CONTINUE", &["special-handling"]),
    (0x22, "ERANGE", &["invalid-input"]),
    (0x23, "ROLLBACK", &["dcp", "special-handling"]),
    (0x24, "EACCESS", &["support"]),
    (0x35, "BUCKET_SIZE_LIMIT_EXCEEDED", &["item-only", "system-constraint", "no-retry"]),
    (0x36, "BUCKET_RESIDENT_RATIO_TOO_LOW", &["item-only", "system-constraint", "no-retry"]),
    (0x37, "BUCKET_DATA_SIZE_TOO_BIG", &["item-only", "system-constraint", "no-retry"]),
    (0x38, "BUCKET_DISK_SPACE_TOO_LOW", &["item-only", "system-constraint", "no-retry"]),
    (0x80, "UNKNOWN_FRAME_INFO", &["support"]),
    (0x81, "UNKNOWN_COMMAND", &["support"]),
    (0x82, "ENOMEM", &["temp", "retry-later"]),
    (0x83, "NOT_SUPPORTED", &["support"]),
    (0x86, "ETMPFAIL", &["temp", "retry-now"]),
    (0x87, "XATTR_EINVAL", &["invalid-input"]),
    (0x88, "UNKNOWN_COLLECTION", &["invalid-input"]),
    (0x8c, "UNKNOWN_SCOPE", &["invalid-input"]),
    (0x8d, "DCP_STREAMID_INVALID", &["invalid-input"]),
    (0xa0, "DurabilityInvalidLevel", &["invalid-input"]),
    (0xa1, "DurabilityImpossible", &["item-only", "invalid-input"]),
    (0xa2, "SyncWriteInProgress", &["item-only", "retry-later"]),
    (0xa3, "SyncWriteAmbiguous", &["item-only"]),
    (0xc0, "SUBDOC_PATH_ENOENT", &["subdoc", "item-only"]),
    (0xc1, "SUBDOC_PATH_MISMATCH", &["subdoc", "item-only"]),
    (0xc2, "SUBDOC_PATH_EINVAL", &["subdoc", "invalid-input"]),
    (0xc3, "SUBDOC_PATH_E2BIG", &["subdoc", "invalid-input"]),
    (0xc4, "SUBDOC_PATH_E2DEEP", &["subdoc", "invalid-input"]),
    (0xc5, "SUBDOC_VALUE_CANTINSERT", &["subdoc", "invalid-input"]),
    (0xc6, "SUBDOC_DOC_NOTJSON", &["subdoc", "item-only"]),
    (0xc7, "SUBDOC_NUM_ERANGE", &["subdoc", "item-only"]),
    (0xc8, "SUBDOC_DELTA_EINVAL", &["subdoc", "item-only"]),
    (0xc9, "SUBDOC_PATH_EEXISTS", &["subdoc", "item-only"]),
    (0xca, "SUBDOC_VALUE_ETOODEEP", &["subdoc", "invalid-input", "item-only"]),
    (0xcb, "SUBDOC_INVALID_COMBO", &["subdoc", "invalid-input"]),
    (0xcc, "SUBDOC_MULTI_PATH_FAILURE", &["subdoc", "special-handling"]),
    (0xcd, "SUBDOC_SUCCESS_DELETED", &["item-deleted", "success", "subdoc"]),
    (0xce, "SUBDOC_XATTR_INVALID_FLAG_COMBO", &["subdoc", "invalid-input"]),
    (0xd0, "SUBDOC_XATTR_UNKNOWN_MACRO", &["subdoc", "invalid-input"]),
    (0xd1, "SUBDOC_XATTR_UNKNOWN_VATTR", &["subdoc", "invalid-input"]),
    (0xd2, "SUBDOC_XATTR_CANT_MODIFY_VATTR", &["subdoc", "invalid-input"]),
    (0xd3, "SUBDOC_MULTI_PATH_FAILURE_DELETED", &["item-deleted", "subdoc", "special-handling"]),
    (0xd4, "SUBDOC_INVALID_XATTR_ORDER", &["subdoc", "invalid-input"]),
    (0xd5, "SUBDOC_XATTR_UNKNOWN_VATTR_MACRO", &["subdoc", "invalid-input"]),
    (0xd6, "SUBDOC_CAN_ONLY_REVIVE_DELETED_DOCUMENTS", &["subdoc", "item-only"]),
    (0xd7, "SUBDOC_DELETED_DOCUMENT_CANT_HAVE_VALUE", &["subdoc", "item-only"]),
];

pub(crate) fn json(version: u16) -> Value {
    let entry = |&(status, name, attributes): &(u16, &str, &[&str])| {
        (format!("{status:x}"), json!({"name": name, "desc": name, "attrs": attributes}))
    };
    let errors: Map<String, Value> = ENTRIES.iter().map(entry).collect();
    json!({"version": version, "revision": 1, "errors": errors})
}
