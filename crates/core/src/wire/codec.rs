//! CBOR at the edge: one call in, one call out; input never panics.

use super::cbor::{Cbor, Reader, Writer};
use super::error::WireError;
use crate::prelude::*;

/// Encodes a frame (or any part of one).
pub fn encode<T: Cbor>(value: &T) -> Vec<u8> {
    let mut writer = Writer::default();
    value.write(&mut writer);
    writer.0
}

/// Decodes a frame; every byte must belong to it.
pub fn decode<T: Cbor>(bytes: &[u8]) -> Result<T, WireError> {
    let mut reader = Reader::new(bytes);
    let value = T::read(&mut reader);
    let rest = reader.rest();
    reader.finish()?;
    if rest > 0 { Err(WireError::Trailing(rest)) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DocumentId;
    use crate::wire::{FieldPatch, Packed, unpack};

    #[test]
    fn the_first_error_is_told_and_where_it_is() {
        // A document's name whose first text claims five bytes, and one that is a number.
        let cut = decode::<Vec<DocumentId>>(&[0x81, 0x82, 0x65, b'a', b'b']);
        assert_eq!(cut, Err(WireError::Malformed { at: 3, what: "the bytes end within an item" }));
        let number = decode::<DocumentId>(&[0x82, 0x07, 0x61, b'a']);
        assert_eq!(number, Err(WireError::Malformed { at: 2, what: "expected a text" }));
        assert_eq!(decode::<u64>(&[0x07, 0x07]), Err(WireError::Trailing(1)));
    }

    #[test]
    fn numbers_take_the_shortest_form() {
        for (number, length) in [(0, 1), (23, 1), (24, 2), (255, 2), (256, 3), (65_535, 3), (65_536, 5), (1 << 32, 9)] {
            let bytes = encode::<u64>(&number);
            assert_eq!((bytes.len(), decode::<u64>(&bytes)), (length, Ok(number)));
        }
        assert_eq!(decode::<u64>(&encode(&u64::MAX)), Ok(u64::MAX));
    }

    /// Lists whose items are as short as can be: each takes many times its bytes in memory.
    #[test]
    fn a_list_costs_no_more_than_its_bytes_allow() {
        fn list(item: &[u8], count: u32) -> Vec<u8> {
            let mut bytes = vec![0x9A];
            bytes.extend_from_slice(&count.to_be_bytes());
            bytes.extend(item.iter().copied().cycle().take(item.len() * count as usize));
            bytes
        }
        fn refused<T: Cbor>(item: &[u8]) -> bool {
            let too_many = "more items than a frame of this length may hold";
            let whole = decode::<Vec<T>>(&list(item, 100_000));
            // A short list passes whatever its items are.
            decode::<Vec<T>>(&list(item, 100)).is_ok()
                && matches!(whole, Err(WireError::Malformed { what, .. }) if what == too_many)
        }
        let unpacked = unpack::<FieldPatch>(&Packed([0x81, 0x80].repeat(100_000)));
        assert!(refused::<String>(&[0x60]) && refused::<Vec<u8>>(&[0x40]) && refused::<Vec<String>>(&[0x80]));
        assert!(refused::<FieldPatch>(&[0x81, 0x80]) && unpacked.is_err());
        // Purged keys, patches of single digits: short, and meant so.
        assert_eq!(decode::<Vec<String>>(&list(b"\x61k", 100_000)).map(|keys| keys.len()), Ok(100_000));
        let patch = FieldPatch { path: vec!["n".into()], base: Some(b"1".to_vec()), value: Some(b"2".to_vec()) };
        let patches = vec![patch; 100_000];
        assert_eq!(decode::<Vec<FieldPatch>>(&encode(&patches)).map(|all| all.len()), Ok(100_000));
    }

    /// What a later version appends, of every kind, is skipped.
    #[test]
    fn unknown_fields_are_skipped() {
        let appended = [
            0x88, 0x61, b'c', 0x61, b'k', // a document's name
            0x82, 0x01, 0x81, 0x02, // an array in an array
            0xA1, 0x01, 0x42, 0xFF, 0xFF, // a map to a byte string
            0xC1, 0x1A, 0, 0, 0, 0, // a tag
            0xF6, 0xFB, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, // null, a double, a negative integer
        ];
        assert_eq!(decode::<DocumentId>(&appended), Ok(DocumentId::new("c", "k")));
    }
}
