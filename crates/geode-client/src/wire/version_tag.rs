//! Version tags: which change of an entry this is, and by whom.

use bytes::Bytes;

use super::codes::{ds, fixed};
use super::{Malformed, Reader};

const HAS_MEMBER: u16 = 0x01;
const HAS_PREVIOUS_MEMBER: u16 = 0x02;
const ENTRY_VERSION_IS_SHORT: u16 = 0x04;
const SAME_MEMBER_TWICE: u16 = 0x08;
const HAS_REGION_VERSION_HIGH: u16 = 0x10;

/// Who made a change of an entry: the identity that its versions count under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VersionSource {
    /// A disk store: the identity in persistent regions, which survives restarts of the server.
    DiskStore([u8; 16]),
    /// A server process, in regions without persistence: its address, port and view, in a form of this crate.
    Member(Bytes),
}

/// The version of an entry, as the member that changed it counts.
///
/// There is no order between tags of different members except through [`entry_version`](Self::entry_version), which
/// rises with every change of the entry, and starts again once the entry's tombstone has been collected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VersionTag {
    /// Which change of the entry this is, from 1; it starts again when a tombstone has been collected.
    pub entry_version: u32,
    /// Which change of the region (of the bucket, in a partitioned region) this is, by this member.
    pub region_version: u64,
    /// When the member made the change, in milliseconds of its clock since 1970.
    pub timestamp_ms: u64,
    /// The distributed system, when clusters are connected over a wide area; else -1 or 0.
    pub distributed_system: i8,
    /// The member that made the change.
    pub member: VersionSource,
}

impl VersionTag {
    /// Reads a tag with its fixed id; `None` for null. A missing member means the server that sent the tag.
    pub(crate) fn read_object(reader: &mut Reader<'_>, sender: &VersionSource) -> Result<Option<Self>, Malformed> {
        match reader.u8()? {
            ds::NULL => Ok(None),
            ds::FIXED_ID_BYTE if reader.i8()? == fixed::VERSION_TAG => Self::read(reader, false, sender).map(Some),
            ds::FIXED_ID_SHORT if reader.i16()? == fixed::PERSISTENT_VERSION_TAG => {
                Self::read(reader, true, sender).map(Some)
            }
            _ => Err(Malformed("version tag")),
        }
    }

    /// Reads a tag without its id. `persistent` says which kind of member is in it.
    pub(crate) fn read(reader: &mut Reader<'_>, persistent: bool, sender: &VersionSource) -> Result<Self, Malformed> {
        let flags = reader.u16()?;
        // Bits of the members' own bookkeeping.
        reader.u16()?;
        let distributed_system = reader.i8()?;
        let entry_version = if flags & ENTRY_VERSION_IS_SHORT == 0 { reader.u32()? } else { u32::from(reader.u16()?) };
        let high = if flags & HAS_REGION_VERSION_HIGH == 0 { 0 } else { u64::from(reader.u16()?) };
        let region_version = (high << 32) | u64::from(reader.u32()?);
        let timestamp_ms = reader.vl()?;
        let member = if flags & HAS_MEMBER == 0 { sender.clone() } else { read_member(reader, persistent)? };
        if flags & HAS_PREVIOUS_MEMBER != 0 && flags & SAME_MEMBER_TWICE == 0 {
            read_member(reader, persistent)?;
        }
        Ok(Self { entry_version, region_version, timestamp_ms, distributed_system, member })
    }
}

fn read_member(reader: &mut Reader<'_>, persistent: bool) -> Result<VersionSource, Malformed> {
    if persistent {
        let id = reader.take(16)?;
        return id.try_into().map(VersionSource::DiskStore).map_err(|_| Malformed("disk store id"));
    }
    super::identity::read_essential(reader).map(VersionSource::Member)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> VersionSource {
        VersionSource::Member(Bytes::from_static(b"sender"))
    }

    #[test]
    fn a_missing_member_is_the_sender() {
        let bytes = [ds::FIXED_ID_BYTE, 0x88, 0, 4, 0, 0, 0xFF, 0, 5, 0, 0, 0, 9, 0x80, 0x01];
        let tag = VersionTag::read_object(&mut Reader::new(&bytes), &sender()).unwrap().unwrap();
        assert_eq!((tag.entry_version, tag.region_version, tag.timestamp_ms, tag.distributed_system), (5, 9, 128, -1));
        assert_eq!(tag.member, sender());
    }

    #[test]
    fn persistent_regions_name_the_disk_store() {
        let mut bytes = vec![ds::FIXED_ID_SHORT, 0x08, 0x53, 0, 0x11, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0];
        bytes.extend([7; 16]);
        let tag = VersionTag::read_object(&mut Reader::new(&bytes), &sender()).unwrap().unwrap();
        assert_eq!((tag.entry_version, tag.region_version), (65_536, (1 << 32) | 2));
        assert_eq!(tag.member, VersionSource::DiskStore([7; 16]));
    }

    #[test]
    fn null_is_no_tag() {
        assert_eq!(VersionTag::read_object(&mut Reader::new(&[ds::NULL]), &sender()), Ok(None));
    }
}
