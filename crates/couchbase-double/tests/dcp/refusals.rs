//! What a consumer asks that is refused, and with what.

use tidelock_couchbase_double::Privilege;

use crate::client::{
    COLLECTIONS, Client, DELETE_TIMES, JSON, PRODUCER, Packet, SNAPPY, Stream, UNORDERED, USUAL, XATTRS, cluster,
    status,
};

#[tokio::test]
async fn what_opens_a_connection() {
    let double = cluster(1).await;
    let json = |value: &str| Packet { datatype: 1, value: value.into(), ..Packet::open(PRODUCER) };
    for (packet, expected) in [
        (Packet::open(PRODUCER), status::SUCCESS),
        (Packet::open(PRODUCER | XATTRS | DELETE_TIMES | 0x100), status::SUCCESS),
        (json("{}"), status::SUCCESS),
        // Not a producer, of a flag nobody knows, of flags that exclude each other or need another one.
        (Packet::open(0), status::NOT_SUPPORTED),
        (Packet::open(PRODUCER | 0x02), status::INVALID),
        (Packet::open(PRODUCER | 0x1000), status::INVALID),
        (Packet::open(PRODUCER | 0x08 | 0x40), status::INVALID),
        (Packet::open(PRODUCER | 0x100), status::INVALID),
        (Packet { key: Vec::new(), ..Packet::open(PRODUCER) }, status::INVALID),
        (Packet { key: vec![b'n'; 201], ..Packet::open(PRODUCER) }, status::INVALID),
        (Packet { extras: vec![0, 0, 0, 1], ..Packet::open(PRODUCER) }, status::INVALID),
        // A value is JSON, says so, and has no fields for a producer.
        (Packet { datatype: 0, ..json("{}") }, status::INVALID),
        (Packet { datatype: 1, ..Packet::open(PRODUCER) }, status::INVALID),
        (json("[]"), status::INVALID),
        (json(r#"{"consumer_name":"n"}"#), status::INVALID),
    ] {
        let mut client = Client::connect(&double, 0, USUAL).await;
        assert_eq!(client.status(packet.clone()).await, expected, "{packet:?}");
    }
    let mut client = Client::connect(&double, 0, &[COLLECTIONS]).await;
    assert_eq!(client.status(json("{}")).await, status::INVALID, "JSON was not agreed on");
    let mut client = Client::connect(&double, 0, &[COLLECTIONS, JSON, UNORDERED]).await;
    assert_eq!(client.status(Packet::open(PRODUCER)).await, status::NOT_SUPPORTED);
    let mut client = Client::producer(&double, 0).await;
    assert_eq!(client.status(Packet::open(PRODUCER)).await, status::INVALID, "it is open already");
}

#[tokio::test]
async fn a_name_belongs_to_the_last_who_took_it() {
    let double = cluster(1).await;
    let mut first = Client::connect(&double, 0, USUAL).await;
    first.done(Packet::open(PRODUCER)).await;
    let mut second = Client::connect(&double, 0, USUAL).await;
    second.done(Packet::open(PRODUCER)).await;
    first.send(Packet::control("enable_noop", "true")).await;
    while first.next().await.is_some() {}
    second.done(Packet::control("enable_noop", "true")).await;
}

#[tokio::test]
async fn what_a_connection_may_be_set_to() {
    let double = cluster(1).await;
    let mut client = Client::producer(&double, 0).await;
    for (key, value, expected) in [
        ("enable_noop", "false", status::SUCCESS),
        ("enable_noop", "anything", status::SUCCESS),
        ("set_noop_interval", "0.1", status::SUCCESS),
        ("set_noop_interval", "20000", status::SUCCESS),
        ("set_noop_interval", "0.05", status::INVALID),
        ("set_noop_interval", "-1", status::INVALID),
        ("set_noop_interval", "soon", status::INVALID),
        ("connection_buffer_size", "0", status::SUCCESS),
        ("connection_buffer_size", "4294967295", status::SUCCESS),
        ("connection_buffer_size", "4294967296", status::INVALID),
        ("connection_buffer_size", "1k", status::INVALID),
        ("stream_buffer_size", "1", status::NOT_SUPPORTED),
        ("set_priority", "medium", status::SUCCESS),
        ("set_priority", "highest", status::INVALID),
        ("backfill_order", "round-robin", status::SUCCESS),
        ("backfill_order", "sequential", status::SUCCESS),
        ("backfill_order", "random", status::INVALID),
        ("supports_cursor_dropping", "true", status::SUCCESS),
        ("supports_cursor_dropping_vulcan", "false", status::SUCCESS),
        ("supports_hifi_MFU", "true", status::SUCCESS),
        ("force_value_compression", "true", status::SUCCESS),
        ("send_stream_end_on_client_close_stream", "true", status::SUCCESS),
        ("enable_expiry_opcode", "true", status::SUCCESS),
        ("enable_out_of_order_snapshots", "true", status::SUCCESS),
        ("enable_out_of_order_snapshots", "true_with_seqno_advanced", status::SUCCESS),
        ("enable_out_of_order_snapshots", "false", status::INVALID),
        ("include_deleted_user_xattrs", "true", status::INVALID),
        ("v7_dcp_status_codes", "true", status::SUCCESS),
        ("v7_dcp_status_codes", "false", status::INVALID),
        ("change_streams", "true", status::NOT_SUPPORTED),
        ("change_streams", "false", status::INVALID),
        ("max_marker_version", "2.2", status::SUCCESS),
        ("max_marker_version", "2.0", status::INVALID),
        ("consumer_name", "n", status::SUCCESS),
        ("enable_stream_id", "false", status::INVALID),
        ("enable_stream_id", "true", status::SUCCESS),
        // Stream ids and the cluster's own replication exclude each other.
        ("enable_sync_writes", "true", status::NOT_SUPPORTED),
        ("unheard_of", "true", status::INVALID),
        ("enable_noop", "", status::INVALID),
        ("", "true", status::INVALID),
    ] {
        assert_eq!(client.status(Packet::control(key, value)).await, expected, "{key} = {value}");
    }
    let with_extras = Packet { extras: vec![0; 4], ..Packet::control("enable_noop", "true") };
    let with_datatype = Packet { datatype: 1, ..Packet::control("enable_noop", "true") };
    for packet in [with_extras, with_datatype] {
        assert_eq!(client.status(packet).await, status::INVALID);
    }
    let mut client = Client::producer(&double, XATTRS | 0x100).await;
    assert_eq!(client.status(Packet::control("include_deleted_user_xattrs", "true")).await, status::SUCCESS);
    assert_eq!(client.status(Packet::control("enable_sync_writes", "true")).await, status::SUCCESS);
    assert_eq!(client.status(Packet::control("enable_stream_id", "true")).await, status::NOT_SUPPORTED);
    // What needs a feature of the connection.
    let mut client = Client::connect(&double, 0, &[]).await;
    assert_eq!(client.status(Packet::control("enable_noop", "true")).await, status::INVALID, "DCP is not open");
    client.done(Packet::open(PRODUCER)).await;
    assert_eq!(client.status(Packet::control("force_value_compression", "true")).await, status::INVALID);
    assert_eq!(client.status(Packet::control("max_marker_version", "2.2")).await, status::NOT_SUPPORTED);
}

#[tokio::test]
async fn noops_are_needed_for_what_came_with_version_five() {
    let double = cluster(1).await;
    for (features, flags, expected) in [
        (&[COLLECTIONS][..], 0, status::NOT_SUPPORTED),
        (&[SNAPPY], XATTRS, status::NOT_SUPPORTED),
        (&[SNAPPY], 0, status::SUCCESS),
    ] {
        let mut client = Client::connect(&double, 0, features).await;
        client.done(Packet::open(PRODUCER | flags)).await;
        assert_eq!(client.status(Stream::default()).await, expected, "{features:?} {flags:#x}");
        client.done(Packet::control("enable_noop", "true")).await;
        if expected != status::SUCCESS {
            client.done(Stream::default()).await;
        }
    }
}

#[tokio::test]
async fn what_streams_may_be_asked_for() {
    let double = cluster(2).await;
    let notes = double.create_collection("default", "app", "notes");
    let mut writer = Client::connect(&double, 0, USUAL).await;
    writer.set(0, 0, "a", "1").await;
    let value = |value: &str| Stream { value: value.into(), ..Stream::default() };
    let range = |start, end, snapshot| Stream { start, end, snapshot, ..Stream::default() };
    let flags = |flags| Stream { flags, ..Stream::default() };
    for (stream, expected) in [
        (Stream::default(), status::SUCCESS),
        (flags(0x04 | 0x10 | 0x20 | 0x80), status::SUCCESS),
        (flags(0x40), status::SUCCESS),
        (Stream { vbucket: 1, ..Stream::default() }, status::SUCCESS),
        // Active elsewhere, or nowhere at all.
        (Stream { vbucket: 1, flags: 0x10, ..Stream::default() }, status::NOT_MY_VBUCKET),
        (Stream { vbucket: 4, ..Stream::default() }, status::NOT_MY_VBUCKET),
        (flags(0x08), status::INVALID),
        (flags(0x1000), status::INVALID),
        (range(3, 2, (3, 3)), status::RANGE),
        (range(1, 5, (2, 3)), status::RANGE),
        (range(4, 5, (2, 3)), status::RANGE),
        (range(1, u64::MAX, (1, 1)), status::ROLLBACK),
        (value(&format!(r#"{{"collections":["{notes:x}"],"uid":"2","purge_seqno":"0"}}"#)), status::SUCCESS),
        (value(r#"{"collections":[]}"#), status::SUCCESS),
        (value("{"), status::INVALID),
        (value("{}"), status::INVALID),
        (value(r#"{"collections":["ff"]}"#), status::UNKNOWN_COLLECTION),
        (value(r#"{"scope":"ff"}"#), status::UNKNOWN_SCOPE),
        (value(r#"{"scope":"0","collections":["0"]}"#), status::INVALID),
        (value(r#"{"sid":1}"#), status::STREAM_ID_INVALID),
        (value(r#"{"sid":0}"#), status::STREAM_ID_INVALID),
    ] {
        let mut client = Client::producer(&double, 0).await;
        assert_eq!(client.status(stream.clone()).await, expected, "{stream:?}");
        let again = if expected == status::SUCCESS && stream.flags == 0 && stream.value != r#"{"collections":[]}"# {
            status::KEY_EXISTS
        } else {
            continue;
        };
        assert_eq!(client.status(stream.clone()).await, again, "again: {stream:?}");
    }
    let mut client = Client::producer(&double, 0).await;
    let plain = Packet::from(Stream::default());
    for (packet, expected) in [
        (Packet { extras: vec![0; 40], ..plain.clone() }, status::INVALID),
        (Packet { key: vec![1], ..plain.clone() }, status::INVALID),
        (Packet { datatype: 1, value: b"{\"uid\":\"0\"}".to_vec(), ..plain.clone() }, status::INVALID),
        (Packet { frames: vec![0x21, 1], ..plain.clone() }, status::INVALID),
        (Packet { frames: vec![0xe0], ..plain.clone() }, status::UNKNOWN_FRAME_INFO),
    ] {
        assert_eq!(client.status(packet.clone()).await, expected, "{packet:?}");
    }
    client.done(Packet::control("enable_sync_writes", "true")).await;
    assert_eq!(client.status(value(r#"{"collections":["0"]}"#)).await, status::NOT_SUPPORTED);
    client.done(Stream::default()).await;
    // Without collections, the value is no value, and the default collection has to be there.
    let mut client = Client::connect(&double, 0, &[]).await;
    client.done(Packet::open(PRODUCER)).await;
    assert_eq!(client.status(value(r#"{"collections":["0"]}"#)).await, status::INVALID);
    double.drop_collection("default", "_default", "_default");
    assert_eq!(client.status(Stream::default()).await, status::UNKNOWN_COLLECTION);
}

#[tokio::test]
async fn a_start_above_what_is_there_rolls_back_or_is_out_of_range() {
    let double = cluster(1).await;
    let mut writer = Client::connect(&double, 0, USUAL).await;
    writer.set(0, 0, "a", "1").await;
    let mut client = Client::producer(&double, 0).await;
    let log = client.done(Packet::request(0x54)).await;
    assert_eq!(log.value.len(), 16);
    let uuid = u64::from_be_bytes(log.value[..8].try_into().unwrap());
    let from = |start, snapshot| Stream { start, uuid, snapshot, ..Stream::default() };
    let answer = client.ask(from(5, (5, 5))).await;
    assert_eq!((answer.vbucket, &answer.value[..]), (status::ROLLBACK, &1_u64.to_be_bytes()[..]));
    let answer = client.ask(Stream { uuid: 1, ..from(1, (1, 1)) }).await;
    assert_eq!((answer.vbucket, &answer.value[..]), (status::ROLLBACK, &0_u64.to_be_bytes()[..]));
    // To the latest of a collection that has nothing above the start.
    let notes = double.create_collection("default", "app", "notes");
    writer.set(0, 0, "b", "1").await;
    let value = format!(r#"{{"collections":["{notes:x}"]}}"#);
    let to_latest = Stream { flags: 0x04, value, ..from(4, (4, 4)) };
    assert_eq!(client.status(to_latest).await, status::RANGE);
    for packet in
        [Packet { extras: vec![0; 4], ..Packet::request(0x54) }, Packet { key: vec![0], ..Packet::request(0x54) }]
    {
        assert_eq!(client.status(packet).await, status::INVALID);
    }
    assert_eq!(client.status(Packet { vbucket: 9, ..Packet::request(0x54) }).await, status::NOT_MY_VBUCKET);
}

#[tokio::test]
async fn streams_are_closed_once_and_by_their_ids() {
    let double = cluster(1).await;
    let mut client = Client::producer(&double, 0).await;
    let close = |frames: &[u8]| Packet { frames: frames.to_vec(), ..Packet::request(0x52) };
    let first = [0x22, 0, 1];
    assert_eq!(client.status(close(&[])).await, status::KEY_NOT_FOUND);
    assert_eq!(client.status(close(&first)).await, status::STREAM_ID_INVALID);
    client.done(Packet::control("v7_dcp_status_codes", "true")).await;
    // These codes are what a consumer may answer with, not what it is answered.
    assert_eq!(client.status(close(&[])).await, status::KEY_NOT_FOUND);
    client.done(Stream::default()).await;
    assert_eq!(client.status(Packet { extras: vec![0; 4], ..close(&[]) }).await, status::INVALID);
    client.done(close(&[])).await;
    assert_eq!(client.status(close(&[])).await, status::KEY_NOT_FOUND);
    client.done(Packet::control("enable_stream_id", "true")).await;
    assert_eq!(client.status(Stream::default()).await, status::STREAM_ID_INVALID);
    client.done(Stream { value: r#"{"sid":1}"#.into(), ..Stream::default() }).await;
    client.done(Stream { value: r#"{"sid":2,"scope":"0"}"#.into(), ..Stream::default() }).await;
    assert_eq!(client.status(close(&[])).await, status::STREAM_ID_INVALID);
    assert_eq!(client.status(close(&[0x22, 0, 3])).await, status::STREAM_ID_INVALID);
    assert_eq!(client.status(Packet { vbucket: 2, ..close(&first) }).await, status::KEY_NOT_FOUND);
    client.done(close(&first)).await;
}

#[tokio::test]
async fn what_a_consumer_is_told_or_tells_a_replica_ends_the_connection() {
    let double = cluster(1).await;
    // Add stream, stream end, marker, mutation, deletion, expiration, vbucket state, NOOP, event, prepare, commit, abort.
    for opcode in [0x51, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5b, 0x5c, 0x5f, 0x60, 0x62, 0x63] {
        let mut client = Client::producer(&double, 0).await;
        client.send(Packet::request(opcode)).await;
        assert_eq!(client.next().await, None, "{opcode:#x}");
        let mut client = Client::connect(&double, 0, USUAL).await;
        assert_eq!(client.status(Packet::request(opcode)).await, status::INVALID, "{opcode:#x} without DCP");
    }
    let mut client = Client::producer(&double, 0).await;
    assert_eq!(client.status(Packet::request(0x61)).await, status::INVALID, "no replication");
    assert_eq!(client.status(Packet::request(0x64)).await, status::UNKNOWN_COMMAND);
    let wrong = Packet { extras: vec![0; 3], ..Packet::request(0x5d) };
    assert_eq!(client.status(wrong).await, status::INVALID);
}

#[tokio::test]
async fn every_message_needs_the_privilege() {
    let double = cluster(1).await;
    let mut client = Client::producer(&double, 0).await;
    double.deny(&[Privilege::DcpProducer]);
    let acknowledge = Packet { extras: vec![0; 4], ..Packet::request(0x5d) };
    let stream = Packet::from(Stream::default());
    let control = Packet::control("enable_noop", "true");
    for packet in [stream.clone(), control, acknowledge, Packet::request(0x52), Packet::request(0x54)] {
        assert_eq!(client.status(packet.clone()).await, status::NO_ACCESS, "{packet:?}");
    }
    let mut other = Client::connect(&double, 0, USUAL).await;
    assert_eq!(other.status(Packet::open(PRODUCER)).await, status::NO_ACCESS);
    double.deny(&[Privilege::DcpStream]);
    assert_eq!(client.status(stream).await, status::NO_ACCESS);
}
