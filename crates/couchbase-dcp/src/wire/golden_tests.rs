//! Messages byte by byte, as `kv_engine` documents them: docs/dcp/documentation/commands. Where a document's picture and its table
//! differ, the table is right.

use bytes::{Bytes, BytesMut};

use super::codes::{opcode, open_flag};
use super::message::{Message, decode};
use super::packet::{Outgoing, Packet};
use super::request;
use super::system::{SystemChange, SystemEvent};
use crate::checkpoint::{Branch, Position};
use crate::event::{Change, ChangeKind, EndReason, Snapshot, Xattrs};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn packet(hex: &str) -> Packet {
    let mut buffer = BytesMut::from(&bytes(hex)[..]);
    let packet = Packet::take(&mut buffer).unwrap().expect("a whole packet");
    assert!(buffer.is_empty(), "bytes behind the packet");
    packet
}

fn check(hex: &str, expected: &Message) {
    assert_eq!(decode(&packet(hex)).as_ref(), Ok(expected));
}

fn check_sent(sent: &Outgoing, hex: &str) {
    let mut out = Vec::new();
    sent.write(&mut out);
    assert_eq!(out, bytes(hex));
}

#[test]
fn a_snapshot_marker_of_the_first_version() {
    check(
        "80560000 14000000 00000014 deadbeef 0000000000000000 0000000000000000 0000000000000008 00000001",
        &Message::Snapshot(Snapshot { start: 0, end: 8, flags: 1, ..Snapshot::default() }),
    );
}

#[test]
fn a_snapshot_marker_of_version_2_0() {
    check(
        "80560000 01000000 00000025 deadbeef 0000000000000000 00 \
         0000000000000001 0000000000000008 00000002 0000000000000008 0000000000000007",
        &Message::Snapshot(Snapshot {
            start: 1,
            end: 8,
            flags: 2,
            max_visible_seqno: Some(8),
            high_completed_seqno: Some(7),
            ..Snapshot::default()
        }),
    );
}

/// Version 2.1: the time of the snapshot in nanoseconds.
#[test]
fn a_snapshot_marker_of_version_2_1() {
    check(
        "80560000 01000000 0000002d deadbeef 0000000000000000 01 \
         0000000000000001 0000000000000008 00000002 0000000000000008 0000000000000007 17979cfe362a0000",
        &Message::Snapshot(Snapshot {
            start: 1,
            end: 8,
            flags: 2,
            max_visible_seqno: Some(8),
            high_completed_seqno: Some(7),
            timestamp: Some(1_700_000_000_000_000_000),
            ..Snapshot::default()
        }),
    );
}

/// `DcpSnapshotMarkerV2_2Value` of `include/memcached/protocol_binary.h`: the purge seqno, then the highest prepared one.
#[test]
fn a_snapshot_marker_of_version_2_2() {
    check(
        "80560000 01000003 00000035 deadbeef 0000000000000000 02 \
         0000000000000001 0000000000000008 00000002 0000000000000008 0000000000000007 0000000000000005 0000000000000006",
        &Message::Snapshot(Snapshot {
            vbucket: 3,
            start: 1,
            end: 8,
            flags: 2,
            max_visible_seqno: Some(8),
            high_completed_seqno: Some(7),
            purge_seqno: Some(5),
            high_prepared_seqno: Some(6),
            ..Snapshot::default()
        }),
    );
}

/// mutation.md, with a collection before the key.
#[test]
fn a_mutation() {
    check(
        "80570006 1f000210 0000002a 00001210 0000000000000000 \
         0000000000000004 0000000000000001 00000000 00000000 00000000 0000 00 00 68656c6c6f 776f726c64",
        &Message::Change(Change {
            vbucket: 0x210,
            seqno: 4,
            revision: 1,
            cas: 0,
            collection: 0,
            key: Bytes::from_static(b"hello"),
            kind: ChangeKind::Mutation { flags: 0, expiry_s: 0, lock_s: 0 },
            xattrs: Xattrs::default(),
            body: Bytes::from_static(b"world"),
            is_json: false,
        }),
    );
}

/// docs/Document.md: all bits of the datatype. The value is one literal of snappy's raw format, 15 bytes: the xattr `_a`, then the body.
#[test]
fn a_compressed_mutation_with_an_attribute() {
    let message = decode(&packet(
        "80570002 1f070003 00000032 deadbeef 0102030405060708 \
         0000000000000009 0000000000000002 02000006 655b0000 0000001e 0000 00 006b \
         0f38 00000009 00000005 5f610031 00 7b7d",
    ));
    let Ok(Message::Change(change)) = message else { panic!("{message:?}") };
    let kind = ChangeKind::Mutation { flags: 0x0200_0006, expiry_s: 0x655b_0000, lock_s: 30 };
    assert_eq!((change.seqno, change.revision, change.cas), (9, 2, 0x0102_0304_0506_0708));
    assert_eq!((change.kind, change.is_json, &change.body[..]), (kind, true, &b"{}"[..]));
    assert_eq!(change.xattrs.iter().collect::<Vec<_>>(), [("_a", &b"1"[..])]);
}

fn removal(kind: ChangeKind) -> Message {
    Message::Change(Change {
        vbucket: 0x210,
        seqno: 5,
        revision: 1,
        cas: 7,
        collection: 8,
        key: Bytes::from_static(b"hello"),
        kind,
        xattrs: Xattrs::default(),
        body: Bytes::new(),
        is_json: false,
    })
}

/// deletion.md, both forms, and expiration.md.
#[test]
fn removals() {
    check(
        "80580006 12000210 00000018 00001210 0000000000000007 0000000000000005 0000000000000001 0000 08 68656c6c6f",
        &removal(ChangeKind::Deletion { deleted_s: None }),
    );
    check(
        "80580006 15000210 0000001b 00001210 0000000000000007 0000000000000005 0000000000000001 0000007f 00 08 68656c6c6f",
        &removal(ChangeKind::Deletion { deleted_s: Some(127) }),
    );
    check(
        "80590006 14000210 0000001a 00001210 0000000000000007 0000000000000005 0000000000000001 00000000 08 68656c6c6f",
        &removal(ChangeKind::Expiration { deleted_s: None }),
    );
}

/// `system_event.md` has this very example (and names scope and collection in the wrong order; its structures have them right).
#[test]
fn a_collection_that_begins() {
    check(
        "805f000c 0d000210 0000002d 00001210 0000000000000000 0000000000000004 00000000 01 \
         6d79636f6c6c656374696f6e 0000000000000002 00000000 00000008 00011940",
        &Message::System(SystemEvent {
            vbucket: 0x210,
            seqno: 4,
            manifest_uid: 2,
            scope: 0,
            change: SystemChange::CollectionCreated {
                collection: 8,
                name: "mycollection".into(),
                max_ttl_s: Some(72_000),
            },
        }),
    );
}

#[test]
fn other_system_events() {
    let event = |change| Message::System(SystemEvent { vbucket: 1, seqno: 6, manifest_uid: 3, scope: 9, change });
    check(
        "805f0000 0d000001 0000001d 00000000 0000000000000000 0000000000000006 00000001 00 0000000000000003 00000009 00000008",
        &event(SystemChange::CollectionDropped { collection: 8 }),
    );
    check(
        "805f0001 0d000001 0000001a 00000000 0000000000000000 0000000000000006 00000003 00 73 0000000000000003 00000009",
        &event(SystemChange::ScopeCreated { name: "s".into() }),
    );
    check(
        "805f0000 0d000001 00000019 00000000 0000000000000000 0000000000000006 00000004 00 0000000000000003 00000009",
        &event(SystemChange::ScopeDropped),
    );
    // A kind that is not known moves the vbucket all the same. This one, a collection that was modified, comes only to clients that ask for
    // FlatBuffers, in another version.
    check(
        "805f0000 0d000001 0000000d 00000000 0000000000000000 0000000000000006 00000005 02",
        &Message::SeqnoAdvanced(6),
    );
}

/// seqno-advanced.md, `oso_snapshot.md`, stream-end.md.
#[test]
fn messages_about_the_stream() {
    check("80640000 08000000 00000008 deadbeef 0000000000000000 0000000000000004", &Message::SeqnoAdvanced(4));
    check("80650000 04000000 00000004 deadbeef 0000000000000000 00000001", &Message::OutOfOrder { is_start: true });
    check("80650000 04000000 00000004 deadbeef 0000000000000000 00000002", &Message::OutOfOrder { is_start: false });
    for (code, reason) in [
        (0, EndReason::Done),
        (1, EndReason::Closed),
        (2, EndReason::StateChanged),
        (3, EndReason::Disconnected),
        (4, EndReason::TooSlow),
        (5, EndReason::BackfillFailed),
        (6, EndReason::Rollback),
        (7, EndReason::FilterEmpty),
        (8, EndReason::LostPrivileges),
        (99, EndReason::Other(99)),
    ] {
        check(&format!("80550000 04000000 00000004 deadbeef 0000000000000000 {code:08x}"), &Message::End(reason));
    }
}

/// open-connection.md, control.md, stream-request.md, buffer-ack.md.
#[test]
fn requests() {
    check_sent(
        &request::dcp_open("bucketstream vb[100-105]", open_flag::PRODUCER | open_flag::XATTRS),
        "80500018 08000000 00000020 00000000 0000000000000000 00000000 00000005 \
         6275636b657473747265616d2076625b3130302d3130355d",
    );
    check_sent(
        &request::control("enable_noop", "true"),
        "805e000b 00000000 0000000f 00000000 0000000000000000 656e61626c655f6e6f6f70 74727565",
    );
    let position = Position::new(0x00fe_edde_ca00, 5, 4, 9).unwrap();
    check_sent(
        &Outgoing { opaque: 0x1000, ..request::stream(5, &position, false, r#"{"collections":["8"]}"#.into()) },
        "80530000 30000005 00000045 00001000 0000000000000000 00000010 00000000 0000000000000005 ffffffffffffffff \
         000000feeddeca00 0000000000000004 0000000000000009 7b22636f6c6c656374696f6e73223a5b2238225d7d"
            .replace("0000feeddeca0000", "000000feeddeca00")
            .as_str(),
    );
    check_sent(&request::buffer_ack(4096), "805d0000 04000000 00000004 00000000 0000000000000000 00001000");
    check_sent(&request::close_stream(5), "80520000 00000005 00000000 00000000 0000000000000000");
}

/// docs/BinaryProtocol.md: what comes before streams.
#[test]
fn requests_of_a_beginning() {
    check_sent(
        &request::hello("mchello v1.0", &[0x01, 0x02, 0x03]),
        "801f000c 00000000 00000012 00000000 0000000000000000 6d6368656c6c6f2076312e30 0001 0002 0003",
    );
    check_sent(
        &request::sasl(opcode::SASL_AUTH, "PLAIN", b"\0u\0p".to_vec()),
        "80210005 00000000 00000009 00000000 0000000000000000 504c41494e 00750070",
    );
    check_sent(
        &request::sasl(opcode::SASL_STEP, "SCRAM-SHA512", b"c=biws".to_vec()),
        "8022000c 00000000 00000012 00000000 0000000000000000 534352414d2d534841353132 633d62697773",
    );
    check_sent(&Outgoing::new(opcode::SASL_LIST), "80200000 00000000 00000000 00000000 0000000000000000");
    check_sent(&request::select_bucket("engine"), "80890006 00000000 00000006 00000000 0000000000000000 656e67696e65");
    check_sent(&Outgoing::new(opcode::GET_CLUSTER_CONFIG), "80b50000 00000000 00000000 00000000 0000000000000000");
    check_sent(
        &request::id_of(opcode::GET_COLLECTION_ID, "s.c"),
        "80bb0000 00000000 00000003 00000000 0000000000000000 732e63",
    );
}

/// `get_seqno.md`, failover-log.md, and `observe_seqno` of `ep_engine.cc`.
#[test]
fn requests_about_histories() {
    check_sent(&request::all_seqnos(None), "80480000 04000000 00000004 00000000 0000000000000000 00000001");
    let of_collection = "80480000 08000000 00000008 00000000 0000000000000000 00000001 0000000a";
    check_sent(&request::all_seqnos(Some(10)), of_collection);
    check_sent(&request::failover_log(5), "80540000 00000005 00000000 00000000 0000000000000000");
    check_sent(
        &request::observe_seqno(5, 0xfeed_deca),
        "80910000 00000005 00000008 00000000 0000000000000000 00000000feeddeca",
    );
}

#[test]
fn a_noop_is_answered_with_its_opaque() {
    let mut out = Vec::new();
    Outgoing::write_answer(&packet("805c0000 00000000 00000000 00000005 0000000000000000"), &mut out);
    assert_eq!(out, bytes("815c0000 00000000 00000000 00000005 0000000000000000"));
}

#[test]
fn answers() {
    // failover-log.md: uuid and seqno, newest first.
    assert_eq!(
        request::read_failover_log(&bytes("00000000feeddeca 0000000000005432 0000000000decafe 0000000001343214")),
        Some(vec![Branch { uuid: 0xfeed_deca, seqno: 0x5432 }, Branch { uuid: 0xde_cafe, seqno: 0x0134_3214 }])
    );
    assert_eq!(request::read_failover_log(&bytes("00000000feeddeca")), None);
    assert_eq!(request::read_failover_log(&[]), None);
    assert_eq!(request::read_seqnos(&bytes("0007 0000000000000009")), Some(vec![(7, 9)]));
    assert_eq!(request::read_seqnos(&bytes("0007")), None);
    // observe_seqno of ep_engine.cc, for a branch that is the newest, and for one that ended at 3.
    let newest = request::read_observed(&bytes("00 0001 0000000000000002 0000000000000004 0000000000000006")).unwrap();
    assert_eq!((newest.persisted, newest.received), (4, 6));
    let ended = "01 0001 0000000000000002 0000000000000004 0000000000000006 0000000000000008 0000000000000003";
    let ended = request::read_observed(&bytes(ended)).unwrap();
    assert_eq!((ended.persisted, ended.received), (3, 3));
}
