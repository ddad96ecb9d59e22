//! Lists of keys, values and version tags: answers to requests on many entries.

use bytes::Bytes;

use super::codes::{ds, fixed};
use super::skip::take_object;
use super::version_tag::{VersionSource, VersionTag};
use super::{Malformed, Reader};
use crate::value::{Key, Value};

const HAS_KEYS: u8 = 0x01;
const HAS_VALUES: u8 = 0x02;
const HAS_TAGS: u8 = 0x04;
const VALUES_HAVE_LENGTHS: u8 = 0x10;
const TAGS_ARE_PERSISTENT: u8 = 0x20;

/// One value of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// `None`: there is an entry without a value.
    Value(Option<Value>),
    /// There is no entry; a tag beside it is that of its tombstone.
    Absent,
    /// The server could not answer for this key.
    Failed(String),
}

/// A `VersionedObjectList`. What the server left out is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ObjectList {
    pub(crate) keys: Vec<Key>,
    pub(crate) items: Vec<Item>,
    pub(crate) tags: Vec<Option<VersionTag>>,
}

impl ObjectList {
    /// Whether an object is such a list.
    pub(crate) fn is_list(object: &[u8]) -> bool {
        object.starts_with(&[ds::FIXED_ID_BYTE, fixed::VERSIONED_OBJECT_LIST.cast_unsigned()])
    }

    /// Reads the object and appends it.
    pub(crate) fn append(&mut self, object: &Bytes, sender: &VersionSource) -> Result<(), Malformed> {
        let mut reader = Reader::new(object);
        if reader.u8()? != ds::FIXED_ID_BYTE || reader.i8()? != fixed::VERSIONED_OBJECT_LIST {
            return Err(Malformed("list of objects"));
        }
        let flags = reader.u8()?;
        if flags & HAS_KEYS != 0 {
            for _ in 0..count(&mut reader)? {
                self.keys.push(Key::of_object(take_object(&mut reader)?));
            }
        }
        if flags & HAS_VALUES != 0 {
            for _ in 0..count(&mut reader)? {
                self.items.push(item(&mut reader, flags & VALUES_HAVE_LENGTHS != 0, object)?);
            }
        }
        if flags & HAS_TAGS != 0 {
            self.append_tags(&mut reader, flags & TAGS_ARE_PERSISTENT != 0, sender)?;
        }
        Ok(())
    }

    fn append_tags(
        &mut self,
        reader: &mut Reader<'_>,
        persistent: bool,
        sender: &VersionSource,
    ) -> Result<(), Malformed> {
        // Members are written once, and then named by their number.
        let mut members: Vec<VersionSource> = Vec::new();
        for _ in 0..count(reader)? {
            let tag = match reader.u8()? {
                0 => None,
                1 => Some(VersionTag::read(reader, persistent, sender)?),
                2 => {
                    let tag = VersionTag::read(reader, persistent, sender)?;
                    members.push(tag.member.clone());
                    Some(tag)
                }
                3 => {
                    let mut tag = VersionTag::read(reader, persistent, sender)?;
                    let number = usize::try_from(reader.vl()?).unwrap_or(usize::MAX);
                    tag.member = members.get(number).ok_or(Malformed("member of a version tag"))?.clone();
                    Some(tag)
                }
                _ => return Err(Malformed("list of version tags")),
            };
            self.tags.push(tag);
        }
        Ok(())
    }
}

/// Each item takes a byte at least.
fn count(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    usize::try_from(reader.vl()?)
        .ok()
        .filter(|count| *count <= reader.rest().len())
        .ok_or(Malformed("length of a list"))
}

fn item(reader: &mut Reader<'_>, has_length: bool, whole: &Bytes) -> Result<Item, Malformed> {
    let kind = reader.u8()?;
    if kind == 2 {
        reader.byte_array()?;
        return Ok(Item::Failed(reader.string()?.unwrap_or_default()));
    }
    let bytes = if has_length { reader.byte_array()?.unwrap_or_default() } else { take_object(reader)? };
    let bytes = whole.slice_ref(bytes);
    let is_null = bytes.is_empty() || *bytes == [ds::NULL];
    match kind {
        3 => Ok(Item::Absent),
        0 if has_length => Ok(Item::Value(Some(Value::Bytes(bytes)))),
        0 | 1 if is_null => Ok(Item::Value(None)),
        0 | 1 => Ok(Item::Value(Some(Value::of_object(bytes)))),
        _ => Err(Malformed("list of objects")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::writer::Write as _;
    use super::*;

    fn tag(entry_version: u16, out: &mut Vec<u8>) {
        out.bytes(&[0, 5, 0, 0, 0]);
        out.u16(entry_version);
        out.bytes(&[0, 0, 0, 1, 0]);
    }

    #[test]
    fn tags_name_their_members_by_number() {
        let mut bytes =
            vec![ds::FIXED_ID_BYTE, 7, HAS_KEYS | HAS_VALUES | HAS_TAGS | VALUES_HAVE_LENGTHS | TAGS_ARE_PERSISTENT];
        bytes.u8(2);
        bytes.string("a");
        bytes.bytes(&[ds::INTEGER, 0, 0, 0, 7]);
        bytes.bytes(&[2, 1, 2, ds::BOOLEAN, 1, 3, 1, ds::NULL]);
        bytes.u8(2);
        bytes.u8(2);
        tag(3, &mut bytes);
        bytes.bytes(&[9; 16]);
        bytes.u8(3);
        let at = bytes.len();
        tag(4, &mut bytes);
        bytes[at + 1] = 4;
        bytes.u8(0);
        let mut list = ObjectList::default();
        let sender = VersionSource::DiskStore([0; 16]);
        list.append(&bytes.into(), &sender).unwrap();
        assert_eq!(list.keys, [Key::from("a"), Key::from(7)]);
        assert_eq!(list.items, [Item::Value(Some(Value::Object(Bytes::from_static(&[ds::BOOLEAN, 1])))), Item::Absent]);
        let versions: Vec<_> = list.tags.iter().flatten().map(|tag| (tag.entry_version, tag.member.clone())).collect();
        assert_eq!(versions, [(3, VersionSource::DiskStore([9; 16])), (4, VersionSource::DiskStore([9; 16]))]);
    }

    #[test]
    fn a_value_that_only_java_reads_hides_none_after_it() {
        let mut bytes = vec![ds::FIXED_ID_BYTE, 7, HAS_VALUES | VALUES_HAVE_LENGTHS, 4];
        bytes.bytes(&[1, 3, ds::SERIALIZABLE, 0xAC, 0xED, 0, 2, 7, 8, 1, 2, ds::BOOLEAN, 1, 1, 0xFF]);
        let mut list = ObjectList::default();
        list.append(&bytes.into(), &VersionSource::DiskStore([0; 16])).unwrap();
        let object = |bytes: &'static [u8]| Item::Value(Some(Value::Object(Bytes::from_static(bytes))));
        let raw = Item::Value(Some(Value::Bytes(Bytes::from_static(&[7, 8]))));
        let expected = [object(&[ds::SERIALIZABLE, 0xAC, 0xED]), raw, object(&[ds::BOOLEAN, 1]), Item::Value(None)];
        assert_eq!(list.items, expected);
    }

    #[test]
    fn a_length_beyond_the_input_is_refused() {
        let bytes = Bytes::from_static(&[1, 7, HAS_KEYS, 0xFF, 0xFF, 0xFF, 0x7F, 0]);
        assert!(ObjectList::default().append(&bytes, &VersionSource::DiskStore([0; 16])).is_err());
    }
}
