//! Random input for the decoders of messages.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::message::{Chunks, Part, Reply, take_message};
use super::object_list::ObjectList;
use super::version_tag::{VersionSource, VersionTag};
use super::{Reader, event_id::EventId, identity, locator, notification};

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
