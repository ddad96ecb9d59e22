//! Finds the end of a serialised object without decoding it.

use super::codes::{ds, fixed};
use super::reader::DEPTH_MAX;
use super::{Malformed, Reader};

/// Takes one serialised object. Objects of Java's own serialisation do not say where they end: they are refused, as
/// are those that only their class can read.
pub(crate) fn take_object<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let start = reader.rest();
    skip(reader, 0)?;
    let len = start.len() - reader.rest().len();
    Ok(start.get(..len).unwrap_or_default())
}

fn skip(reader: &mut Reader<'_>, depth: usize) -> Result<(), Malformed> {
    if depth >= DEPTH_MAX {
        return Err(Malformed("object: nested too deep"));
    }
    let code = reader.u8()?;
    match code {
        ds::NULL | ds::NULL_STRING => {}
        ds::STRING | ds::STRING_BYTES => {
            let len = usize::from(reader.u16()?);
            reader.take(len)?;
        }
        ds::HUGE_STRING_BYTES => {
            let len = reader.count()?;
            reader.take(len)?;
        }
        ds::HUGE_STRING => skip_items(reader.count()?, 2, reader)?,
        ds::BOOLEAN | ds::BYTE | ds::TIME_UNIT => skip_items(1, 1, reader)?,
        ds::CHARACTER | ds::SHORT => skip_items(1, 2, reader)?,
        ds::INTEGER | ds::FLOAT => skip_items(1, 4, reader)?,
        ds::LONG | ds::DOUBLE | ds::DATE | ds::TIMESTAMP => skip_items(1, 8, reader)?,
        ds::UUID => skip_items(1, 16, reader)?,
        ds::BYTE_ARRAY | ds::BOOLEAN_ARRAY | ds::BIG_INTEGER | ds::INET_ADDRESS => skip_array(1, reader)?,
        ds::SHORT_ARRAY | ds::CHAR_ARRAY => skip_array(2, reader)?,
        ds::INT_ARRAY | ds::FLOAT_ARRAY => skip_array(4, reader)?,
        ds::LONG_ARRAY | ds::DOUBLE_ARRAY => skip_array(8, reader)?,
        ds::BIG_DECIMAL | ds::FILE => skip(reader, depth + 1)?,
        ds::STRING_ARRAY => skip_objects(1, reader, depth)?,
        ds::ARRAY_OF_BYTE_ARRAYS => {
            for _ in 0..reader.array_len()?.unwrap_or_default() {
                reader.byte_array()?;
            }
        }
        ds::OBJECT_ARRAY => skip_object_array(reader, depth)?,
        ds::LINKED_LIST | ds::ARRAY_LIST | ds::VECTOR | ds::STACK | ds::HASH_SET | ds::LINKED_HASH_SET => {
            skip_objects(1, reader, depth)?;
        }
        ds::HASH_MAP | ds::HASH_TABLE | ds::IDENTITY_HASH_MAP | ds::CONCURRENT_HASH_MAP | ds::PROPERTIES => {
            skip_objects(2, reader, depth)?;
        }
        ds::PDX => {
            let len = reader.count()?;
            reader.i32()?;
            reader.take(len)?;
        }
        ds::PDX_ENUM => {
            reader.u8()?;
            reader.array_len()?;
        }
        ds::GEMFIRE_ENUM | ds::PDX_INLINE_ENUM => {
            reader.string()?;
            reader.string()?;
            if code == ds::PDX_INLINE_ENUM {
                reader.array_len()?;
            }
        }
        ds::CLASS => skip_class(reader)?,
        ds::FIXED_ID_BYTE if reader.i8()? == fixed::UNDEFINED => {}
        primitive if ds::PRIMITIVE_CLASSES.contains(&primitive) => {}
        _ => return Err(Malformed("object whose end only its class knows")),
    }
    Ok(())
}

fn skip_items(count: usize, width: usize, reader: &mut Reader<'_>) -> Result<(), Malformed> {
    reader.take(count.checked_mul(width).ok_or(Malformed("array"))?).map(drop)
}

fn skip_array(width: usize, reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let count = reader.array_len()?.unwrap_or_default();
    skip_items(count, width, reader)
}

/// A null object array has no class.
fn skip_object_array(reader: &mut Reader<'_>, depth: usize) -> Result<(), Malformed> {
    let Some(count) = reader.array_len()? else { return Ok(()) };
    skip_class(reader)?;
    for _ in 0..count {
        skip(reader, depth + 1)?;
    }
    Ok(())
}

fn skip_objects(per_item: usize, reader: &mut Reader<'_>, depth: usize) -> Result<(), Malformed> {
    let count = reader.array_len()?.unwrap_or_default();
    for _ in 0..count.checked_mul(per_item).ok_or(Malformed("array"))? {
        skip(reader, depth + 1)?;
    }
    Ok(())
}

pub(crate) fn skip_class(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    if reader.u8()? == ds::CLASS {
        reader.string()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_end_where_they_end() {
        for object in [
            &[ds::NULL][..],
            &[ds::STRING_BYTES, 0, 1, b'a'],
            &[ds::LINKED_LIST, 2, ds::NULL, ds::BOOLEAN, 1],
            &[ds::HASH_MAP, 1, ds::BYTE, 1, ds::SHORT, 0, 1],
            &[ds::PDX, 0, 0, 0, 2, 0, 0, 0, 9, 1, 2],
            &[ds::OBJECT_ARRAY, 1, ds::CLASS, ds::STRING_BYTES, 0, 1, b'C', ds::NULL],
            &[ds::OBJECT_ARRAY, 0xFF],
            &[ds::INT_ARRAY, 1, 0, 0, 0, 1],
            &[ds::FIXED_ID_BYTE, 31],
        ] {
            let mut bytes = object.to_vec();
            bytes.push(0x77);
            let mut reader = Reader::new(&bytes);
            assert_eq!(take_object(&mut reader), Ok(object));
            assert_eq!(reader.rest(), [0x77]);
        }
    }

    #[test]
    fn opaque_and_endless_objects_are_refused() {
        assert!(take_object(&mut Reader::new(&[ds::SERIALIZABLE, 0xAC, 0xED])).is_err());
        let mut deep = [ds::LINKED_LIST, 1].repeat(200_000);
        deep.push(ds::NULL);
        assert!(take_object(&mut Reader::new(&deep)).is_err());
        assert!(take_object(&mut Reader::new(&[ds::LINKED_LIST, 0xFD, 0x7F, 0xFF, 0xFF, 0xFF])).is_err());
    }
}
