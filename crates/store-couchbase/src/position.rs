//! How far a feed was followed, as bytes: about 40 for each vbucket, so that it can be stored often.
//!
//! ```text
//! u8 form   u64 origin   u16 collections { u16 length  name  u32 id } …   { u16 vbucket  u64 uuid  seqno  start  end  purged } …
//! ```

use std::collections::BTreeMap;

use tidelock_couchbase_dcp::{Checkpoint, Position as Place};
use tidelock_store::platform::Position;

/// The first byte.
const FORM: u8 = 1;

/// A position, and the ids that the collections had.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    /// The oldest branch of the bucket's first vbucket.
    pub(crate) origin: u64,
    pub(crate) collections: BTreeMap<String, u32>,
    pub(crate) checkpoint: Checkpoint,
}

impl Followed {
    pub(crate) fn write(origin: u64, collections: &BTreeMap<String, u32>, checkpoint: &Checkpoint) -> Position {
        let count = u16::try_from(collections.len()).expect("a bucket has at most 1200 collections");
        let mut bytes = vec![FORM];
        bytes.extend(origin.to_be_bytes());
        bytes.extend(count.to_be_bytes());
        for (name, id) in collections {
            bytes.extend(u16::try_from(name.len()).expect("names of collections are short").to_be_bytes());
            bytes.extend(name.bytes());
            bytes.extend(id.to_be_bytes());
        }
        for (vbucket, place) in &checkpoint.positions {
            bytes.extend(vbucket.to_be_bytes());
            let numbers =
                [place.uuid(), place.seqno(), place.snapshot_start(), place.snapshot_end(), place.purge_seqno()];
            bytes.extend(numbers.map(u64::to_be_bytes).concat());
        }
        Position(bytes)
    }

    /// `None` for a position of something else.
    pub(crate) fn read(position: &Position) -> Option<Self> {
        let mut rest = &position.0[..];
        if take(&mut rest)? != [FORM] {
            return None;
        }
        let mut followed = Self { origin: u64::from_be_bytes(take(&mut rest)?), ..Self::default() };
        for _ in 0..u16::from_be_bytes(take(&mut rest)?) {
            let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
            let (name, tail) = rest.split_at_checked(length)?;
            rest = tail;
            let id = u32::from_be_bytes(take(&mut rest)?);
            followed.collections.insert(std::str::from_utf8(name).ok()?.to_owned(), id);
        }
        while !rest.is_empty() {
            let vbucket = u16::from_be_bytes(take(&mut rest)?);
            let mut number = || Some(u64::from_be_bytes(take(&mut rest)?));
            let (uuid, seqno, start, end, purged) = (number()?, number()?, number()?, number()?, number()?);
            let place = Place::new(uuid, seqno, start, end).ok()?.with_purge_seqno(purged);
            followed.checkpoint.positions.insert(vbucket, place);
        }
        Some(followed)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_being_stored() {
        let collections = BTreeMap::from([("cards".to_owned(), 9), (String::new(), u32::MAX)]);
        let mut checkpoint = Checkpoint::default();
        checkpoint.positions.insert(0, Place::default());
        checkpoint.positions.insert(1023, Place::new(u64::MAX, 5, 3, 9).unwrap().with_purge_seqno(2));
        let position = Followed::write(3, &collections, &checkpoint);
        assert_eq!(Followed::read(&position), Some(Followed { origin: 3, collections, checkpoint }));
        for end in 0..position.0.len() - 84 {
            assert_eq!(Followed::read(&Position(position.0[..end].to_vec())), None, "{end}");
        }
        assert_eq!(Followed::read(&Position(b"\x02".to_vec())), None);
    }
}
