//! Decoders get any bytes, and bytes that are almost right: they may refuse, and must not panic.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::codes::{datatype, opcode};
use super::message::decode;
use super::packet::Packet;
use super::{reader, request, value};
use crate::address::Address;
use crate::config::Config;
use crate::manifest::Manifest;
use crate::scram::{Hash, Scram};
use crate::topology::Topology;

fn parts() -> impl Strategy<Value = Packet> {
    let bytes = |longest| proptest::collection::vec(any::<u8>(), 0..longest).prop_map(Bytes::from);
    let extras = prop_oneof![bytes(40), Just(13).prop_flat_map(sized), (18_usize..32).prop_flat_map(sized), sized(1)];
    let numbers = (opcode::DCP_OPEN..=opcode::DCP_OSO_SNAPSHOT, 0_u8..8, any::<u16>());
    (numbers, extras, bytes(12), bytes(80)).prop_map(|((opcode, datatype, vbucket), extras, key, value)| Packet {
        opcode,
        datatype,
        vbucket,
        extras,
        key,
        value,
        ..Packet::default()
    })
}

fn sized(length: usize) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), length..=length).prop_map(Bytes::from)
}

fn asked() -> Address {
    Address { host: "h".into(), port: 11210 }
}

proptest! {
    #[test]
    fn any_bytes_as_packets(bytes in proptest::collection::vec(any::<u8>(), 0..200), magic in 0_usize..6) {
        let mut bytes = BytesMut::from(&bytes[..]);
        if let Some(first) = bytes.first_mut() {
            *first = [0x80, 0x81, 0x08, 0x18, 0x82, *first][magic];
        }
        while let Ok(Some(packet)) = Packet::take(&mut bytes) {
            let _ = decode(&packet);
        }
    }

    #[test]
    fn any_parts_as_messages(packet in parts()) {
        let _ = decode(&packet);
    }

    #[test]
    fn any_bytes_as_answers(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = request::read_failover_log(&bytes);
        let _ = request::read_seqnos(&bytes);
        let _ = request::read_observed(&bytes);
        let _ = reader::split_collection(&Bytes::from(bytes));
    }

    #[test]
    fn any_bytes_as_texts(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Manifest::parse(&bytes);
        let _ = Topology::first(&bytes, &asked(), &Config::new("couchbase://h").unwrap());
        let _ = Scram::new(Hash::Sha1, "u", "p").unwrap().last(&bytes);
        let _ = value::split(&Bytes::from(bytes), datatype::XATTR | datatype::SNAPPY);
    }

    /// Almost what a server says: texts of the right form with wrong values.
    #[test]
    fn any_answer_of_an_exchange(nonce in "[!-~]{0,9}", salt in "[A-Za-z0-9+/=]{0,9}", count in 0..40_u64) {
        let mut scram = Scram::new(Hash::Sha256, "u", "p").unwrap();
        let first = String::from_utf8(scram.first()).unwrap();
        let own = first.rsplit_once("r=").unwrap().1;
        let _ = scram.last(format!("r={own}{nonce},s={salt},i={count}").as_bytes());
        let _ = scram.verify(format!("v={salt}").as_bytes());
    }

    #[test]
    fn any_scopes_as_a_manifest(uid in ".{0,6}", scope in ".{0,6}", collection in ".{0,6}") {
        let scopes = serde_json::json!([{"name": "s", "uid": scope, "collections": [{"name": "c", "uid": collection}]}]);
        let _ = Manifest::parse(serde_json::json!({"uid": uid, "scopes": scopes}).to_string().as_bytes());
    }

    /// What is read of a section of attributes is what was put into it.
    #[test]
    fn attributes_survive(pairs in proptest::collection::vec(("[a-z_]{1,15}", "[0-9]{0,9}"), 0..6), body in "[a-z]{0,9}") {
        let mut section = Vec::new();
        for (name, value) in &pairs {
            section.extend(u32::try_from(name.len() + value.len() + 2).unwrap().to_be_bytes());
            section.extend(format!("{name}\0{value}\0").bytes());
        }
        let mut bytes = u32::try_from(section.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(section);
        bytes.extend(body.bytes());
        let compressed = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
        let read = value::split(&Bytes::from(compressed), datatype::XATTR | datatype::SNAPPY).unwrap();
        let found: Vec<_> = read.xattrs.iter().map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned())).collect();
        prop_assert_eq!(found, pairs);
        prop_assert_eq!(read.body, body.into_bytes());
    }

    #[test]
    fn any_text_as_a_configuration(map in proptest::collection::vec(proptest::collection::vec(-2..9_i32, 0..4), 0..5), server in ".{0,12}") {
        let config = Config::new("couchbase://h").unwrap();
        let text = serde_json::json!({"vBucketServerMap": {"serverList": [server], "vBucketMap": map}}).to_string();
        if let Ok(topology) = Topology::first(text.as_bytes(), &asked(), &config) {
            for vbucket in 0..6 {
                let _ = topology.active(vbucket);
            }
        }
    }

    #[test]
    fn any_text_as_a_connection_string(text in "couchbases?://.{0,40}") {
        let _ = Config::new(&text);
    }
}
