//! The error map that clients ask for (`kv_engine` docs/ErrorMap.md): names and attributes of the statuses that the double
//! uses.

use serde_json::{Map, Value, json};

/// Status, name, attributes.
const ENTRIES: &[(u16, &str, &[&str])] = &[
    (0x00, "SUCCESS", &["success"]),
    (0x01, "KEY_ENOENT", &["item-only"]),
    (0x02, "KEY_EEXISTS", &["item-only"]),
    (0x03, "E2BIG", &["item-only", "invalid-input"]),
    (0x04, "EINVAL", &["internal", "invalid-input"]),
    (0x05, "NOT_STORED", &["item-only"]),
    (0x06, "DELTA_BADVAL", &["item-only", "invalid-input"]),
    (0x07, "NOT_MY_VBUCKET", &["fetch-config", "invalid-input"]),
    (0x08, "NO_BUCKET", &["conn-state-invalidated"]),
    (0x09, "LOCKED", &["item-locked", "item-only", "retry-now"]),
    (0x0e, "NOT_LOCKED", &["item-only"]),
    (0x20, "AUTH_ERROR", &["conn-state-invalidated", "auth"]),
    (0x21, "AUTH_CONTINUE", &["special-handling"]),
    (0x22, "ERANGE", &["invalid-input"]),
    (0x23, "ROLLBACK", &["dcp", "special-handling"]),
    (0x24, "EACCESS", &["support"]),
    (0x80, "UNKNOWN_FRAME_INFO", &["internal"]),
    (0x81, "UNKNOWN_COMMAND", &["support"]),
    (0x82, "ENOMEM", &["temp", "retry-later"]),
    (0x83, "NOT_SUPPORTED", &["support", "internal"]),
    (0x86, "ETMPFAIL", &["temp", "retry-later"]),
    (0x87, "XATTR_EINVAL", &["item-only", "invalid-input"]),
    (0x88, "UNKNOWN_COLLECTION", &["item-only", "invalid-input"]),
    (0x8c, "UNKNOWN_SCOPE", &["item-only", "invalid-input"]),
    (0xa0, "DURABILITY_INVALID_LEVEL", &["item-only", "invalid-input"]),
    (0xa1, "DURABILITY_IMPOSSIBLE", &["item-only"]),
    (0xa2, "SYNC_WRITE_IN_PROGRESS", &["item-only", "retry-later"]),
    (0xa3, "SYNC_WRITE_AMBIGUOUS", &["item-only"]),
    (0xc0, "SUBDOC_PATH_ENOENT", &["item-only", "subdoc"]),
    (0xc1, "SUBDOC_PATH_MISMATCH", &["item-only", "subdoc"]),
    (0xc2, "SUBDOC_PATH_EINVAL", &["item-only", "subdoc", "invalid-input"]),
    (0xc5, "SUBDOC_VALUE_CANTINSERT", &["item-only", "subdoc"]),
    (0xc6, "SUBDOC_DOC_NOTJSON", &["item-only", "subdoc"]),
    (0xc9, "SUBDOC_PATH_EEXISTS", &["item-only", "subdoc"]),
    (0xcb, "SUBDOC_INVALID_COMBO", &["invalid-input", "subdoc"]),
    (0xcc, "SUBDOC_MULTI_PATH_FAILURE", &["special-handling", "subdoc"]),
    (0xcd, "SUBDOC_SUCCESS_DELETED", &["success", "item-deleted", "subdoc"]),
    (0xd3, "SUBDOC_MULTI_PATH_FAILURE_DELETED", &["special-handling", "item-deleted", "subdoc"]),
];

pub(crate) fn json(version: u16) -> Value {
    let entry = |&(status, name, attributes): &(u16, &str, &[&str])| {
        (format!("{status:x}"), json!({"name": name, "desc": name, "attrs": attributes}))
    };
    let errors: Map<String, Value> = ENTRIES.iter().map(entry).collect();
    json!({"version": version, "revision": 1, "errors": errors})
}
