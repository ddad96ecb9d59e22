//! A document's value on the wire: compressed as a whole, then the section of extended attributes, then the body (`kv_engine`
//! docs/Document.md).
//!
//! ```text
//! u32 length of the section   { u32 length   name NUL   value NUL } …   body
//! ```

use bytes::Bytes;

use super::codes::datatype;
use super::reader::Reader;
use crate::limits::VALUE_BYTES_MAX;

/// Extended attributes: names and their JSON values, in the server's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Xattrs {
    /// The section of attributes that [`split`] has looked through.
    section: Bytes,
}

impl Xattrs {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.section.is_empty()
    }

    /// The JSON value of an attribute.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All of them: name and JSON value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut reader = Reader::new(&self.section);
        // `split` has found that this is the whole section.
        std::iter::from_fn(move || pair(&mut reader))
    }
}

fn pair<'a>(reader: &mut Reader<'a>) -> Option<(&'a str, &'a [u8])> {
    let length = reader.u32()? as usize;
    let pair = reader.take(length)?.strip_suffix(&[0])?;
    let end = pair.iter().position(|byte| *byte == 0)?;
    let (name, value) = pair.split_at_checked(end)?;
    Some((std::str::from_utf8(name).ok()?, value.get(1..)?))
}

/// A value taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) xattrs: Xattrs,
    pub(crate) body: Bytes,
    pub(crate) is_json: bool,
}

/// Takes a value apart by its datatype, or says why it is malformed.
pub(crate) fn split(value: &Bytes, kind: u8) -> Result<Value, &'static str> {
    let mut body = if kind & datatype::SNAPPY != 0 { decompress(value)? } else { value.clone() };
    let mut xattrs = Xattrs::default();
    if kind & datatype::XATTR != 0 {
        const WRONG: &str = "the extended attributes of a document are malformed";
        let length = Reader::new(&body).u32().ok_or(WRONG)? as usize;
        if length > body.len() - 4 {
            return Err(WRONG);
        }
        let section = body.split_to(4 + length).slice(4..);
        let mut reader = Reader::new(&section);
        while !reader.is_empty() {
            pair(&mut reader).ok_or(WRONG)?;
        }
        xattrs.section = section;
    }
    Ok(Value { xattrs, body, is_json: kind & datatype::JSON != 0 })
}

fn decompress(value: &[u8]) -> Result<Bytes, &'static str> {
    const WRONG: &str = "a compressed document is malformed";
    let length = snap::raw::decompress_len(value).map_err(|_| WRONG)?;
    if length > VALUE_BYTES_MAX {
        return Err("a compressed document is larger than documents can be");
    }
    snap::raw::Decoder::new().decompress_vec(value).map(Bytes::from).map_err(|_| WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH_XATTRS: &[u8] = b"\0\0\0\x11\0\0\0\x05_a\x001\0\0\0\0\x04u\x002\0{}";

    fn check(value: &[u8], kind: u8, xattrs: &[(&str, &[u8])], body: &[u8]) {
        let split = split(&Bytes::copy_from_slice(value), kind).unwrap();
        assert_eq!(split.xattrs.iter().collect::<Vec<_>>(), xattrs);
        assert_eq!((&split.body[..], split.is_json), (body, kind & datatype::JSON != 0));
    }

    #[test]
    fn attributes_and_body_are_told_apart() {
        let xattrs = [("_a", &b"1"[..]), ("u", &b"2"[..])];
        check(b"{}", datatype::JSON, &[], b"{}");
        check(WITH_XATTRS, datatype::JSON | datatype::XATTR, &xattrs, b"{}");
        check(b"\0\0\0\0", datatype::XATTR, &[], b"");
        let compressed = snap::raw::Encoder::new().compress_vec(WITH_XATTRS).unwrap();
        check(&compressed, datatype::SNAPPY | datatype::XATTR, &xattrs, b"{}");
        let value = split(&Bytes::from_static(WITH_XATTRS), datatype::XATTR).unwrap();
        assert_eq!((value.xattrs.get("u"), value.xattrs.get("x")), (Some(&b"2"[..]), None));
    }

    #[test]
    fn malformed_values_are_refused() {
        for value in [
            &b"\0\0\0"[..],
            b"\0\0\0\x01",
            b"\0\0\0\x04\0\0\0\x01",
            b"\0\0\0\x06\0\0\0\x02ab",
            b"\0\0\0\x05\0\0\0\x01a",
        ] {
            assert!(split(&Bytes::copy_from_slice(value), datatype::XATTR).is_err(), "{value:?}");
        }
        assert!(split(&Bytes::from_static(b"\xff\xff\xff\xff\xff\x0f"), datatype::SNAPPY).is_err());
        // It claims 31 MiB and has none of them.
        assert!(split(&Bytes::from_static(b"\x80\x80\xc0\x0f"), datatype::SNAPPY).is_err());
    }
}
