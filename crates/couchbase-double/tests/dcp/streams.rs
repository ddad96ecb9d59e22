//! What streams send when, and how they end.

use tidelock_couchbase_double::Privilege;

use crate::client::{Client, PRODUCER, Packet, Stream, USUAL, cluster, outline, status};

/// Opcodes of messages.
const END: u8 = 0x55;
const MARKER: u8 = 0x56;
const MUTATION: u8 = 0x57;
const NOOP: u8 = 0x5c;
const EVENT: u8 = 0x5f;
const ADVANCED: u8 = 0x64;
const OSO: u8 = 0x65;

#[track_caller]
fn reason(message: &Packet) -> u32 {
    assert_eq!(message.opcode, END, "{message:?}");
    u32::from_be_bytes(message.extras[..].try_into().unwrap())
}

#[tokio::test]
async fn snapshots_of_the_disk_reach_to_the_end_and_those_of_memory_to_the_last_item() {
    let double = cluster(1).await;
    let notes = double.create_collection("default", "app", "notes");
    let mut writer = Client::connect(&double, 0, USUAL).await;
    let collection = u8::try_from(notes).unwrap();
    // 1 the scope, 2 the collection.
    writer.set(0, collection, "a", "1").await;
    writer.set(0, 0, "other", "1").await;
    let mut client = Client::producer(&double, 0).await;
    let value = format!(r#"{{"collections":["{notes:x}"]}}"#);
    client.done(Stream { value: value.clone(), ..Stream::default() }).await;
    let messages = client.messages(4).await;
    assert_eq!(outline(&messages), [(MARKER, 0), (EVENT, 2), (MUTATION, 3), (ADVANCED, 4)]);
    assert_eq!(messages[0].number(8), 4);
    // From memory: what others write is not told, and no marker reaches over it.
    double.pause_dcp(true);
    writer.set(0, 0, "other", "2").await;
    writer.set(0, collection, "b", "1").await;
    writer.set(0, 0, "other", "3").await;
    double.pause_dcp(false);
    let messages = client.messages(2).await;
    assert_eq!(outline(&messages), [(MARKER, 6), (MUTATION, 6)]);
    assert_eq!(messages[0].number(8), 6);
    writer.set(0, collection, "c", "1").await;
    assert_eq!(outline(&client.messages(2).await), [(MARKER, 8), (MUTATION, 8)]);
    // The first marker of a stream reaches back to where the consumer's snapshot began.
    let mut client = Client::producer(&double, 0).await;
    client.done(Stream { flags: 0x40, value, ..Stream::default() }).await;
    writer.set(0, 0, "other", "4").await;
    writer.set(0, collection, "d", "1").await;
    let messages = client.messages(2).await;
    assert_eq!(outline(&messages), [(MARKER, 8), (MUTATION, 10)]);
    assert_eq!(messages[0].number(8), 10);
}

#[tokio::test]
async fn from_memory_nothing_is_told_of_what_a_filter_leaves_out() {
    let double = cluster(1).await;
    let notes = double.create_collection("default", "app", "notes");
    let mut writer = Client::connect(&double, 0, USUAL).await;
    let collection = u8::try_from(notes).unwrap();
    writer.set(0, collection, "a", "1").await;
    for _ in 0..4 {
        writer.set(0, 0, "other", "1").await;
    }
    double.keep_in_memory(true);
    let mut client = Client::producer(&double, 0).await;
    let log = client.done(Packet::request(0x54)).await;
    let uuid = u64::from_be_bytes(log.value[..8].try_into().unwrap());
    let value = format!(r#"{{"collections":["{notes:x}"]}}"#);
    let from = |start, snapshot| Stream { value: value.clone(), uuid, start, snapshot, ..Stream::default() };
    client.done(from(0, (0, 0))).await;
    let messages = client.messages(3).await;
    assert_eq!(outline(&messages), [(MARKER, 0), (EVENT, 2), (MUTATION, 3)]);
    assert_eq!(messages[0].number(8), 3);
    // A snapshot that the consumer has begun, and of which nothing more is for it, gets its end.
    client.done(Packet::request(0x52)).await;
    client.done(from(3, (0, 5))).await;
    let messages = client.messages(2).await;
    assert_eq!(outline(&messages), [(MARKER, 0), (ADVANCED, 7)]);
    assert_eq!(messages[0].number(8), 7);
    // Otherwise the next message is the next document.
    client.done(Packet::request(0x52)).await;
    client.done(from(3, (0, 3))).await;
    writer.set(0, collection, "a", "2").await;
    assert_eq!(outline(&client.messages(2).await), [(MARKER, 0), (MUTATION, 8)]);
}

#[tokio::test]
async fn out_of_order_snapshots_are_of_one_collection_from_the_beginning() {
    let double = cluster(1).await;
    let notes = double.create_collection("default", "app", "notes");
    let mut writer = Client::connect(&double, 0, USUAL).await;
    let collection = u8::try_from(notes).unwrap();
    // Before the key of the collection's event in the order of bytes, and yet behind it.
    for key in ["B", "A"] {
        writer.set(0, collection, key, "1").await;
    }
    writer.set(0, 0, "other", "1").await;
    let one = format!(r#"{{"collections":["{notes:x}"]}}"#);
    let two = format!(r#"{{"collections":["{notes:x}","0"]}}"#);
    let scope = format!(r#"{{"scope":"{:x}"}}"#, notes - 1);
    let whole = [(OSO, 0), (EVENT, 2), (MUTATION, 4), (MUTATION, 3), (ADVANCED, 5), (OSO, 0)];
    let of_scope = [(OSO, 0), (EVENT, 2), (EVENT, 1), (MUTATION, 4), (MUTATION, 3), (ADVANCED, 5), (OSO, 0)];
    let in_order = [(MARKER, 0), (EVENT, 2), (MUTATION, 3), (MUTATION, 4), (MUTATION, 5)];
    for (setting, value, start, expected) in [
        ("true_with_seqno_advanced", &one, 0, &whole[..]),
        ("true", &one, 0, &[whole[0], whole[1], whole[2], whole[3], whole[5]]),
        ("true_with_seqno_advanced", &scope, 0, &of_scope),
        ("true", &two, 0, &in_order),
        ("true", &one, 3, &[(MARKER, 3), (MUTATION, 4), (ADVANCED, 5)]),
    ] {
        let mut client = Client::producer(&double, 0).await;
        let log = client.done(Packet::request(0x54)).await;
        let uuid = u64::from_be_bytes(log.value[..8].try_into().unwrap());
        client.done(Packet::control("enable_out_of_order_snapshots", setting)).await;
        client.done(Stream { value: value.clone(), start, uuid, snapshot: (start, start), ..Stream::default() }).await;
        assert_eq!(outline(&client.messages(expected.len()).await), expected, "{setting} {value} {start}");
    }
    // An empty collection has one as well.
    let empty = double.create_collection("default", "app", "empty");
    let mut client = Client::producer(&double, 0).await;
    client.done(Packet::control("enable_out_of_order_snapshots", "true")).await;
    client.done(Stream { value: format!(r#"{{"collections":["{empty:x}"]}}"#), ..Stream::default() }).await;
    assert_eq!(outline(&client.messages(3).await), [(OSO, 0), (EVENT, 6), (OSO, 0)]);
}

#[tokio::test]
async fn streams_end_for_their_reasons() {
    let double = cluster(2).await;
    let notes = double.create_collection("default", "app", "notes");
    let mut writer = Client::connect(&double, 0, USUAL).await;
    // The end that was asked for; then nothing to show from the beginning.
    let mut client = Client::producer(&double, 0).await;
    client.done(Stream { flags: 0x04, ..Stream::default() }).await;
    assert_eq!(reason(&client.messages(4).await[3]), 0);
    client.done(Stream { end: 0, ..Stream::default() }).await;
    assert_eq!(reason(&client.message().await), 0);
    client.done(Stream { value: r#"{"collections":[]}"#.into(), ..Stream::default() }).await;
    assert_eq!(reason(&client.message().await), 7);
    // Closed: told only to those who want to hear of it.
    client.done(Packet::control("send_stream_end_on_client_close_stream", "true")).await;
    client.done(Stream { flags: 0x40, ..Stream::default() }).await;
    client.done(Packet::request(0x52)).await;
    assert_eq!(reason(&client.message().await), 1);
    // What the filter names is dropped: the event, then the end.
    let value = format!(r#"{{"collections":["{notes:x}"]}}"#);
    client.done(Stream { flags: 0x40, value, ..Stream::default() }).await;
    double.drop_collection("default", "app", "notes");
    let messages = client.messages(3).await;
    assert_eq!((messages[1].opcode, reason(&messages[2])), (EVENT, 7));
    // The privilege is lost: with the next marker.
    client.done(Stream { flags: 0x40, ..Stream::default() }).await;
    double.deny(&[Privilege::DcpStream]);
    writer.set(0, 0, "a", "1").await;
    assert_eq!(reason(&client.message().await), 8);
    double.deny(&[]);
    // The vbucket goes elsewhere, with its history; a stream of its replica ends, too, when that becomes active.
    let mut other = Client::connect(&double, 1, USUAL).await;
    other.done(Packet::open(PRODUCER)).await;
    other.done(Packet::control("enable_noop", "true")).await;
    let log = client.done(Packet::request(0x54)).await.value;
    client.done(Stream { flags: 0x40, ..Stream::default() }).await;
    other.done(Stream { flags: 0x40, ..Stream::default() }).await;
    // The first one leaves vbucket 0 where it is, the second one takes it to node 1.
    double.rebalance();
    double.rebalance();
    for client in [&mut client, &mut other] {
        assert_eq!(reason(&client.message().await), 2);
        assert_eq!(client.done(Packet::request(0x54)).await.value, log);
    }
    // A fail-over begins a branch.
    double.fail_over(1);
    let branches = client.done(Packet::request(0x54)).await.value;
    assert_eq!((branches.len(), &branches[16..]), (32, &log[..]));
}

#[tokio::test]
async fn consumers_without_collections_do_not_hear_of_newer_reasons() {
    let double = cluster(1).await;
    let mut client = Client::connect(&double, 0, &[]).await;
    client.done(Packet::open(PRODUCER)).await;
    client.done(Stream { flags: 0x40, ..Stream::default() }).await;
    double.end_streams(0, 8);
    assert_eq!(reason(&client.message().await), 0);
    client.done(Stream { flags: 0x40, ..Stream::default() }).await;
    double.drop_collection("default", "_default", "_default");
    assert_eq!(reason(&client.message().await), 0);
}

#[tokio::test]
async fn a_stream_that_ends_sends_what_is_in_memory_and_not_what_is_of_the_disk() {
    for (flags, rest) in [(0, &[(END, 0)][..]), (0x40, &[(MUTATION, 9), (END, 0)])] {
        let double = cluster(1).await;
        let mut writer = Client::connect(&double, 0, USUAL).await;
        for count in 0..8 {
            writer.set(0, 0, &format!("k{count}"), "1").await;
        }
        let mut client = Client::producer(&double, 0).await;
        // The first message fills the buffer: what was taken with it waits.
        client.done(Packet::control("connection_buffer_size", "1")).await;
        client.done(Stream { flags, ..Stream::default() }).await;
        writer.set(0, 0, "k8", "1").await;
        assert_eq!(client.message().await.opcode, MARKER);
        double.end_streams(0, 2);
        let mut messages = Vec::new();
        for _ in rest {
            client.send(Packet { extras: vec![0, 0, 1, 0], ..Packet::request(0x5d) }).await;
            messages.push(client.message().await);
        }
        assert_eq!(outline(&messages), rest, "{flags:#x}");
        assert_eq!(reason(messages.last().unwrap()), 2);
        // Its place is free again; and that of one whose end could not be told yet.
        client.done(Stream::default()).await;
        double.end_streams(0, 2);
        client.done(Stream::default()).await;
    }
}

#[tokio::test]
async fn no_more_is_sent_than_the_buffer_takes() {
    let double = cluster(1).await;
    let mut writer = Client::connect(&double, 0, USUAL).await;
    for key in ["a", "b", "c"] {
        writer.set(0, 0, key, "1").await;
    }
    let mut client = Client::producer(&double, 0).await;
    client.done(Packet::control("set_noop_interval", "0.1")).await;
    // A marker has 44 bytes, each document 58: the second one may stand over.
    client.done(Packet::control("connection_buffer_size", "103")).await;
    client.done(Stream::default()).await;
    assert_eq!(outline(&client.messages(3).await), [(MARKER, 0), (MUTATION, 1), (MUTATION, 2)]);
    // NOOPs do not count, and come through.
    let noop = client.message().await;
    assert_eq!(noop.opcode, NOOP);
    let acknowledge = |bytes: u32| Packet { extras: bytes.to_be_bytes().to_vec(), ..Packet::request(0x5d) };
    client.send(Packet { magic: 0x81, ..noop }).await;
    client.send(acknowledge(57)).await;
    let noop = client.message().await;
    assert_eq!(noop.opcode, NOOP, "103 bytes are there still");
    client.send(Packet { magic: 0x81, ..noop }).await;
    client.send(acknowledge(1)).await;
    assert_eq!(outline(&client.messages(1).await), [(MUTATION, 3)]);
}

#[tokio::test]
async fn noops_come_in_their_interval_and_want_an_answer() {
    let double = cluster(1).await;
    let mut client = Client::producer(&double, 0).await;
    client.done(Packet::control("set_noop_interval", "0.1")).await;
    let mut last = 10_000_000;
    for _ in 0..3 {
        let noop = client.message().await;
        assert_eq!((noop.opcode, noop.opaque), (NOOP, last + 1));
        last = noop.opaque;
        client.send(Packet { magic: 0x81, ..noop }).await;
    }
    // Unanswered, or answered with an opaque of somebody else.
    assert_eq!(client.message().await.opcode, NOOP);
    assert_eq!(client.next().await, None);
    let mut client = Client::producer(&double, 0).await;
    client.done(Packet::control("set_noop_interval", "0.1")).await;
    let noop = client.message().await;
    // The interval alone would not end it now.
    client.done(Packet::control("set_noop_interval", "3600")).await;
    client.send(Packet { magic: 0x81, opaque: noop.opaque + 1, ..noop }).await;
    assert_eq!(client.next().await, None);
}

#[tokio::test]
async fn answers_that_are_errors_end_the_connection_or_are_of_one_stream() {
    let double = cluster(1).await;
    let answer = |opcode: u8, status: u16| Packet { magic: 0x81, vbucket: status, ..Packet::request(opcode) };
    for (opcode, status, has_v7_status, lasts) in [
        (MUTATION, status::SUCCESS, true, true),
        (MUTATION, status::NOT_MY_VBUCKET, true, true),
        (MUTATION, 0x0a, true, true),
        (MUTATION, 0x0b, true, true),
        (MUTATION, status::KEY_EXISTS, false, true),
        (MUTATION, status::KEY_EXISTS, true, false),
        (MUTATION, status::INVALID, false, false),
        (MARKER, status::INVALID, true, true),
        (END, status::KEY_NOT_FOUND, true, true),
        (END, status::INVALID, true, false),
        (ADVANCED, status::SUCCESS, true, false),
    ] {
        let mut client = Client::producer(&double, 0).await;
        if has_v7_status {
            client.done(Packet::control("v7_dcp_status_codes", "true")).await;
        }
        client.send(answer(opcode, status)).await;
        client.send(Packet::request(0x54)).await;
        let answered = loop {
            match client.next().await {
                Some(packet) if packet.opcode == 0x54 => break true,
                Some(_) => {}
                None => break false,
            }
        };
        assert_eq!(answered, lasts, "{opcode:#x} {status:#x} {has_v7_status}");
    }
}
