//! Macros that the server expands in xattrs, and the virtual xattrs (`kv_engine` docs/ExtendedAttributes.md;
//! `daemon/subdocument_context.cc`).

use serde_json::{Value, json};

use crate::hash::crc32c;
use crate::item::{Item, Kind, Xattrs};
use crate::json::Json;
use crate::wire::{Status, datatype, opcode};

/// What is known of a version before it is stored.
pub(crate) struct NewVersion {
    pub(crate) cas: u64,
    pub(crate) seqno: u64,
}

/// Whether a value is exactly one macro, in quotes (`validate_macro`).
pub(crate) fn is_macro(value: &[u8]) -> bool {
    matches!(value, b"\"${Mutation.CAS}\"" | b"\"${Mutation.seqno}\"" | b"\"${Mutation.value_crc32c}\"")
        || value.starts_with(b"\"${$document") && value.ends_with(b"}\"")
}

/// The value of a macro. `before` is the document before the mutation, and its vbucket's uuid.
pub(crate) fn expand(
    value: &[u8],
    new: &NewVersion,
    body: Option<&[u8]>,
    before: Option<(&Item, u64)>,
) -> Result<Vec<u8>, Status> {
    let text = match value {
        b"\"${Mutation.CAS}\"" => mutation_hex(new.cas),
        b"\"${Mutation.seqno}\"" => hex64(new.seqno),
        b"\"${Mutation.value_crc32c}\"" => hex32(crc32c(body.unwrap_or_default())),
        other => {
            let path = std::str::from_utf8(other).map_err(|_| Status::XATTR_UNKNOWN_MACRO)?;
            let path = path.trim_start_matches("\"${").trim_end_matches("}\"");
            let inner = path.strip_prefix("$document").ok_or(Status::XATTR_UNKNOWN_MACRO)?;
            let (item, uuid) = before.ok_or(Status::XATTR_UNKNOWN_MACRO)?;
            let root = Json::parse(document(item, uuid).as_bytes()).ok_or(Status::XATTR_UNKNOWN_MACRO)?;
            let inner = inner.strip_prefix('.').unwrap_or(inner);
            let found = crate::edit::look(opcode::SUBDOC_GET, &root, inner);
            return found.map_err(|_| Status::XATTR_UNKNOWN_MACRO);
        }
    };
    Ok(format!("\"{text}\"").into_bytes())
}

/// The CAS of a mutation is written in the byte order of the machine, which reads as swapped.
fn mutation_hex(cas: u64) -> String {
    hex64(cas.swap_bytes())
}

fn hex64(number: u64) -> String {
    format!("{number:#018x}")
}

fn hex32(number: u32) -> String {
    format!("{number:#010x}")
}

/// The virtual xattr `$document`.
pub(crate) fn document(item: &Item, uuid: u64) -> String {
    let mut types = Vec::new();
    let bits = item.datatype(true);
    if bits & datatype::JSON != 0 {
        types.push("json");
    }
    if bits & datatype::XATTR != 0 {
        types.push("xattr");
    }
    if types.is_empty() {
        types.push("raw");
    }
    // The CAS's upper 48 bits are nanoseconds since 1970.
    let seconds = item.cas / 1_000_000_000;
    let mut value = json!({
        "CAS": hex64(item.cas),
        "vbucket_uuid": hex64(uuid),
        "seqno": hex64(item.seqno),
        "revid": item.revision.to_string(),
        "exptime": item.expiry,
        "flags": item.flags,
        "value_bytes": item.body.len(),
        "datatype": types,
        "deleted": matches!(item.kind, Kind::Deleted { .. }),
        "last_modified": seconds.to_string(),
    });
    if let Some(fields) = value.as_object_mut() {
        fields.insert("value_crc32c".into(), Value::from(hex32(crc32c(&item.body))));
    }
    value.to_string()
}

/// The virtual xattr `$XTOC`: the names of the xattrs.
pub(crate) fn table_of_contents(xattrs: &Xattrs) -> String {
    Value::from(xattrs.names().collect::<Vec<_>>()).to_string()
}

/// The virtual xattr `$vbucket`, with the field that tools read.
pub(crate) fn vbucket(uuid: u64) -> String {
    json!({"HLC": {"mode": "real"}, "uuid": hex64(uuid)}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_values_are_macros() {
        assert!(is_macro(b"\"${Mutation.CAS}\""));
        assert!(is_macro(b"\"${$document.value_crc32c}\""));
        assert!(!is_macro(b"{\"cas\":\"${Mutation.CAS}\"}"));
        assert!(!is_macro(b"\"${Mutation.rev}\""));
    }

    #[test]
    fn the_cas_is_swapped_and_the_seqno_is_not() {
        let new = NewVersion { cas: 0x0102_0304_0506_0708, seqno: 5 };
        let check = |text: &[u8]| String::from_utf8(expand(text, &new, Some(b"123456789"), None).unwrap()).unwrap();
        assert_eq!(check(b"\"${Mutation.CAS}\""), "\"0x0807060504030201\"");
        assert_eq!(check(b"\"${Mutation.seqno}\""), "\"0x0000000000000005\"");
        assert_eq!(check(b"\"${Mutation.value_crc32c}\""), "\"0xe3069283\"");
    }
}
