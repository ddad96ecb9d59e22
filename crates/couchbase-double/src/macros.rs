//! Macros that the server expands in xattrs, and the virtual xattrs (`kv_engine` docs/ExtendedAttributes.md;
//! `daemon/subdocument_context.cc`).

use serde_json::{Value, json};

use crate::hash::crc32c;
use crate::item::{Item, Kind, Xattrs};
use crate::json::Json;
use crate::vbucket::now_s;
use crate::wire::{Status, datatype, opcode};

/// What is known of a version before it is stored.
pub(crate) struct NewVersion {
    pub(crate) cas: u64,
    pub(crate) seqno: u64,
}

/// Whether a value is exactly one macro, in quotes (`daemon/subdocument_validators.cc`, `validate_macro`).
pub(crate) fn is_macro(value: &[u8]) -> bool {
    matches!(value, b"\"${Mutation.CAS}\"" | b"\"${Mutation.seqno}\"" | b"\"${Mutation.value_crc32c}\"")
        || value.starts_with(b"\"${$document") && value.ends_with(b"}\"")
}

/// A text as long as a checksum that none of the values has.
pub(crate) fn pad<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let values: Vec<&[u8]> = values.collect();
    let is_free = |pad: &Vec<u8>| !values.iter().any(|value| value.windows(pad.len()).any(|part| part == pad));
    let candidates = (0x7ad0_0000_u32..).map(|number| quoted(&hex32(number)));
    candidates.into_iter().find(is_free).unwrap_or_default()
}

/// The value of `${Mutation.value_crc32c}`.
pub(crate) fn checksum(body: &[u8]) -> Vec<u8> {
    quoted(&hex32(crc32c(body)))
}

/// Virtual macros by their name after `$document` (`daemon/subdocument_context.cc`, `expand_virtual_document_macro`); the checksum has none.
const DOCUMENT_MACROS: &[&str] = &[
    "",
    ".CAS",
    ".vbucket_uuid",
    ".seqno",
    ".revid",
    ".exptime",
    ".flags",
    ".value_bytes",
    ".datatype",
    ".deleted",
    ".last_modified",
];

/// The value of a macro; of the checksum, what stands in for it. `before` is the document before the mutation, and its vbucket's uuid.
pub(crate) fn expand(
    value: &[u8],
    new: &NewVersion,
    pad: &[u8],
    before: Option<(&Item, u64)>,
) -> Result<Vec<u8>, Status> {
    match value {
        b"\"${Mutation.CAS}\"" => Ok(quoted(&mutation_hex(new.cas))),
        b"\"${Mutation.seqno}\"" => Ok(quoted(&hex64(new.seqno))),
        b"\"${Mutation.value_crc32c}\"" => Ok(pad.to_vec()),
        other => {
            let name = std::str::from_utf8(other).ok();
            let name = name.and_then(|text| text.strip_prefix("\"${$document")?.strip_suffix("}\""));
            let name = name.filter(|name| DOCUMENT_MACROS.contains(name)).ok_or(Status::XATTR_UNKNOWN_VATTR_MACRO)?;
            // The server tells of a document that is being made what its zeros say; nobody asks.
            let (item, uuid) = before.ok_or(Status::XATTR_UNKNOWN_VATTR_MACRO)?;
            let root = Json::document(document(item, uuid).as_bytes())?;
            crate::edit::look(opcode::SUBDOC_GET, &root, name.trim_start_matches('.'))
        }
    }
}

fn quoted(text: &str) -> Vec<u8> {
    format!("\"{text}\"").into_bytes()
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
        "exptime": item.time(),
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

/// The virtual xattr `$XTOC`: the names of the xattrs; those of system xattrs for who may read them (`daemon/subdocument_context.cc`,
/// `get_xtoc_vattr`).
pub(crate) fn table_of_contents(xattrs: &Xattrs, hides_system: bool) -> String {
    let names = xattrs.names().filter(|name| !hides_system || !name.starts_with('_'));
    Value::from(names.collect::<Vec<_>>()).to_string()
}

/// The virtual xattr `$vbucket` (`daemon/subdocument_context.cc`, `get_vbucket_vattr`).
pub(crate) fn vbucket() -> String {
    json!({"HLC": {"mode": "real", "now": now_s().to_string()}}).to_string()
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
        let check = |text: &[u8]| String::from_utf8(expand(text, &new, b"pad", None).unwrap()).unwrap();
        assert_eq!(check(b"\"${Mutation.CAS}\""), "\"0x0807060504030201\"");
        assert_eq!(check(b"\"${Mutation.seqno}\""), "\"0x0000000000000005\"");
        assert_eq!(check(b"\"${Mutation.value_crc32c}\""), "pad");
        assert_eq!(checksum(b"123456789"), b"\"0xe3069283\"");
    }

    #[test]
    fn a_pad_is_in_no_value() {
        let first = pad(std::iter::empty());
        let second = pad([&first[..]].into_iter());
        assert_ne!(first, second);
        assert_eq!(first.len(), checksum(b"").len());
    }
}
