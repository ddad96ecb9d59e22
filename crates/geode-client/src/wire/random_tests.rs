//! Random input for decoders.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::message::{Chunks, Part, Reply, take_message};
use super::object_list::ObjectList;
use super::version_tag::{VersionSource, VersionTag};
use super::{Reader, event_id::EventId, identity, locator, notification};

/// Random bytes, and bytes that mean something of which some are replaced, left out or doubled, and the rest is cut off.
pub(crate) fn wrong(golden: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    // Bytes that mean something to the format come up more often than by chance.
    let byte =
        || prop_oneof![any::<u8>(), prop::sample::select(vec![0, 1, 0x29, 0x2A, 0x34, 0x57, 0x7F, 0xFD, 0xFE, 0xFF])];
    let change = (any::<prop::sample::Index>(), 0..4, byte());
    let changed =
        (prop::sample::select(golden), prop::collection::vec(change, 0..6)).prop_map(|(mut bytes, changes)| {
            for (place, how, byte) in changes {
                if bytes.is_empty() {
                    break;
                }
                let place = place.index(bytes.len());
                match how {
                    0 => bytes.truncate(place),
                    1 => drop(bytes.remove(place)),
                    2 => bytes.insert(place, byte),
                    _ => bytes[place] = byte,
                }
            }
            bytes
        });
    prop_oneof![prop::collection::vec(byte(), 0..200), changed]
}

/// A reply of such parts.
pub(crate) fn wrong_reply(kinds: &'static [i32], golden: Vec<Vec<u8>>) -> impl Strategy<Value = Reply> {
    let part = (any::<bool>(), wrong(golden)).prop_map(|(is_object, bytes)| Part { is_object, bytes: bytes.into() });
    let kind = prop::sample::select(kinds.to_vec());
    let parts = prop::collection::vec(part, 0..6);
    (kind, parts).prop_map(|(kind, parts)| Reply { kind, transaction: -1, parts, secure: None })
}

proptest! {
    #[test]
    fn random_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let sender = VersionSource::DiskStore([0; 16]);
        let _ = take_message(&mut BytesMut::from(&bytes[..]));
        let _ = Chunks::default().take(&mut BytesMut::from(&bytes[..]));
        let _ = VersionTag::read_object(&mut Reader::new(&bytes), &sender);
        let _ = EventId::read_object(&mut Reader::new(&bytes));
        let _ = identity::read_server_member(&bytes);
        let _ = locator::read_answer(&bytes);
        let mut list = vec![1, 7];
        list.extend_from_slice(&bytes);
        let _ = ObjectList::default().append(&Bytes::from(list), &sender);
    }

    #[test]
    fn random_events_are_no_panic(
        kind in 0i32..111,
        parts in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..20)), 0..12),
    ) {
        let parts = parts.into_iter().map(|(is_object, bytes)| Part { is_object, bytes: bytes.into() }).collect();
        let reply = Reply { kind, transaction: -1, parts, secure: None };
        let _ = notification::read(&reply, &VersionSource::DiskStore([0; 16]));
    }
}
