//! What servers answer about one entry.

use crate::error::Error;
use crate::value::Value;
use crate::wire::Reader;
use crate::wire::codes::ds;
use crate::wire::message::{Part, Reply};
use crate::wire::version_tag::{VersionSource, VersionTag};

const GET_HAS_CALLBACK: i32 = 1;
const GET_HAS_TAG: i32 = 2;
const GET_IS_ABSENT: i32 = 4;
const GET_IS_INVALID: i32 = 8;

const PUT_HAS_OLD_VALUE: i32 = 1;
const PUT_OLD_VALUE_IS_OBJECT: i32 = 2;
const PUT_HAS_TAG: i32 = 4;

const DESTROY_HAS_TAG: i32 = 1;
const DESTROY_HAS_NOT_FOUND: i32 = 2;

/// An entry as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is there.
    pub found: Found,
    /// The version of the entry, or of its tombstone. Missing inside a transaction, and in regions without
    /// concurrency checks.
    pub tag: Option<VersionTag>,
}

impl Entry {
    /// The value, when there is one.
    pub fn value(&self) -> Option<&Value> {
        match &self.found {
            Found::Value(value) => Some(value),
            Found::Invalid | Found::Absent => None,
        }
    }
}

/// What is under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A value.
    Value(Value),
    /// An entry whose value was invalidated.
    Invalid,
    /// No entry.
    Absent,
}

/// A server's notice that it was not the entry's primary: its metadata version and how far the request went.
pub(crate) type Hop = Option<[u8; 2]>;

fn hop_of(part: &Part) -> Hop {
    match *part.bytes {
        // Version 0 means that there is no metadata: no partitioned region.
        [version, hop] if !part.is_object && version != 0 => Some([version, hop]),
        _ => None,
    }
}

fn tag_of(part: &Part, sender: &VersionSource) -> Result<Option<VersionTag>, Error> {
    if part.is_null() {
        return Ok(None);
    }
    Ok(VersionTag::read_object(&mut Reader::new(&part.bytes), sender)?)
}

/// Reads the reply to a get.
pub(crate) fn read_found(reply: &Reply, sender: &VersionSource) -> Result<(Entry, Hop), Error> {
    let value = Value::of_part(reply.part(0)?);
    if reply.parts.len() < 2 {
        let found = value.map_or(Found::Absent, Found::Value);
        return Ok((Entry { found, tag: None }, None));
    }
    let flags = reply.part(1)?.int()?;
    let mut at = 2;
    at += usize::from(flags & GET_HAS_CALLBACK != 0);
    let mut tag = None;
    if flags & GET_HAS_TAG != 0 {
        tag = tag_of(reply.part(at)?, sender)?;
        at += 1;
    }
    let hop = reply.parts.get(at).and_then(hop_of);
    let found = match value {
        // An absent entry comes as null, with a flag only when it has a tombstone.
        _ if flags & GET_IS_ABSENT != 0 => Found::Absent,
        _ if flags & GET_IS_INVALID != 0 => Found::Invalid,
        Some(value) => Found::Value(value),
        None => Found::Absent,
    };
    Ok((Entry { found, tag }, hop))
}

/// Reads the reply to a change.
pub(crate) struct ChangeReply {
    pub(crate) old: Option<Value>,
    pub(crate) tag: Option<VersionTag>,
    pub(crate) entry_not_found: bool,
    pub(crate) hop: Hop,
}

impl ChangeReply {
    pub(crate) fn of_put(reply: &Reply, sender: &VersionSource) -> Result<Self, Error> {
        let mut out = Self { old: None, tag: None, entry_not_found: false, hop: hop_of(reply.part(0)?) };
        if reply.parts.len() < 2 {
            return Ok(out);
        }
        let flags = reply.part(1)?.int()?;
        let mut at = 2;
        if flags & PUT_HAS_OLD_VALUE != 0 {
            let part = reply.part(at)?;
            // The object may be wrapped as the bytes of an object.
            let is_object = part.is_object || flags & PUT_OLD_VALUE_IS_OBJECT != 0;
            out.old = Value::of_part(&Part { is_object, bytes: part.bytes.clone() });
            at += 1;
        }
        if flags & PUT_HAS_TAG != 0 {
            out.tag = tag_of(reply.part(at)?, sender)?;
        }
        Ok(out)
    }

    pub(crate) fn of_destroy(reply: &Reply, sender: &VersionSource) -> Result<Self, Error> {
        let flags = reply.part(0)?.int()?;
        let mut at = 1;
        let mut out = Self { old: None, tag: None, entry_not_found: false, hop: None };
        if flags & DESTROY_HAS_TAG != 0 {
            out.tag = tag_of(reply.part(at)?, sender)?;
            at += 1;
        }
        out.hop = reply.parts.get(at).and_then(hop_of);
        if flags & DESTROY_HAS_NOT_FOUND != 0 {
            out.entry_not_found = reply.part(at + 1)?.int()? == 1;
        }
        Ok(out)
    }

    /// The answer to a comparison is the Boolean true in the place of the old value.
    pub(crate) fn is_true(&self) -> bool {
        matches!(&self.old, Some(Value::Object(bytes)) if **bytes == [ds::BOOLEAN, 1])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::random_tests::wrong_reply;

    /// Flags of all kinds, and what may follow them.
    fn golden() -> Vec<Vec<u8>> {
        let tag = vec![ds::FIXED_ID_BYTE, 0x88, 0, 5, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0];
        let flags = (0..16).map(|flags| vec![0, 0, 0, flags]);
        flags
            .chain([tag, vec![1, 0], vec![ds::BOOLEAN, 1], vec![ds::BYTE_ARRAY, 2, 7, 8], vec![ds::NULL], vec![]])
            .collect()
    }

    proptest! {
        #[test]
        fn random_replies_are_no_panic(reply in wrong_reply(&[1, 6], golden())) {
            let sender = VersionSource::DiskStore([0; 16]);
            let _ = read_found(&reply, &sender);
            let _ = ChangeReply::of_put(&reply, &sender).map(|reply| reply.is_true());
            let _ = ChangeReply::of_destroy(&reply, &sender);
        }
    }
}
