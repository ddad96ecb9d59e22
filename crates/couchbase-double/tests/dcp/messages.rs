//! How messages are laid out, by what was agreed on (docs/dcp/documentation/commands).

use tidelock_couchbase_double::Double;

use crate::client::{Client, DELETE_TIMES, PRODUCER, Packet, Stream, USUAL, XATTRS, cluster, outline};

/// The xattr section of one attribute: lengths, key, NUL, value, NUL.
const XATTR: &[u8] = b"\0\0\0\x0a\0\0\0\x06_tl\x001\0";

/// A document `k` with the attribute, by the sub-document commands "dictionary upsert" with a path of an xattr and "set" of the body.
async fn write_with_xattr(client: &mut Client, code: u8, body: &[u8]) {
    let spec = |code: u8, flags: u8, path: &[u8], value: &[u8]| {
        let mut spec = vec![code, flags];
        spec.extend(u16::try_from(path.len()).unwrap().to_be_bytes());
        spec.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        [&spec[..], path, value].concat()
    };
    let value = [spec(0xc8, 0x04 | 0x01, b"_tl", b"1"), spec(code, 0, b"", body)].concat();
    // Expiry 0, document flags 1: make it if it is not there.
    let extras = if code == 0x01 { vec![1] } else { Vec::new() };
    client.done(Packet { key: b"\0k".to_vec(), extras, value, ..Packet::request(0xd1) }).await;
}

/// The messages for `k` and its removal: from the disk, by a new connection of these flags and settings.
async fn read(double: &Double, flags: u32, controls: &[(&str, &str)]) -> Vec<Packet> {
    let mut client = Client::producer(double, flags).await;
    for (key, value) in controls {
        client.done(Packet::control(key, value)).await;
    }
    client.done(Stream::default()).await;
    client.messages(2).await
}

#[tokio::test]
async fn mutations_show_what_the_connection_asks_for() {
    let double = cluster(1).await;
    let mut writer = Client::connect(&double, 0, USUAL).await;
    let body = format!("[{}]", ["1"; 40].join(","));
    write_with_xattr(&mut writer, 0x01, body.as_bytes()).await;
    let whole = [XATTR, body.as_bytes()].concat();
    for (flags, datatype, value) in [
        (0, 1, body.as_bytes()),
        (XATTRS, 1 | 4, &whole[..]),
        // No value; then with the datatype that it had.
        (0x08, 0, b""),
        (XATTRS | 0x08, 4, XATTR),
        (0x40, 1 | 4, b""),
        (XATTRS | 0x40, 1 | 4, XATTR),
    ] {
        let message = read(&double, flags, &[]).await.remove(1);
        assert_eq!((message.opcode, message.datatype, &message.value[..]), (0x57, datatype, value), "{flags:#x}");
        assert_eq!((message.key, message.extras.len(), message.opaque), (b"\0k".to_vec(), 31, 77));
        assert!(message.cas > 0);
    }
    let compressed = read(&double, XATTRS, &[("force_value_compression", "true")]).await.remove(1);
    assert_eq!(compressed.datatype, 1 | 2 | 4);
    assert_eq!(snap::raw::Decoder::new().decompress_vec(&compressed.value).unwrap(), whole);
    // What would be larger stays as it is.
    writer.set(0, 0, "k", "1").await;
    let plain = read(&double, 0, &[("force_value_compression", "true")]).await.remove(1);
    assert_eq!((plain.datatype, &plain.value[..]), (1, &b"1"[..]));
}

#[tokio::test]
async fn removals_have_two_forms_and_expiries_a_third() {
    let double = cluster(1).await;
    let mut writer = Client::connect(&double, 0, USUAL).await;
    write_with_xattr(&mut writer, 0x01, b"{}").await;
    // In the stream of a connection that was there, the time is not known yet.
    let mut live = Client::producer(&double, XATTRS | DELETE_TIMES).await;
    live.done(Stream { flags: 0x40, ..Stream::default() }).await;
    writer.delete(0, 0, "k").await;
    let deletion = live.messages(2).await.remove(1);
    assert_eq!((deletion.opcode, deletion.extras.len()), (0x58, 21));
    assert_eq!(&deletion.extras[16..], [0; 5]);
    for (flags, controls, opcode, length, value) in [
        (0, &[][..], 0x58, 18, &b""[..]),
        (XATTRS, &[], 0x58, 18, XATTR),
        (XATTRS | DELETE_TIMES, &[("enable_expiry_opcode", "true")], 0x58, 21, XATTR),
    ] {
        let message = read(&double, flags, controls).await.remove(1);
        let shape = (message.opcode, message.extras.len(), message.datatype, &message.value[..]);
        assert_eq!(shape, (opcode, length, if value.is_empty() { 0 } else { 4 }, value), "{flags:#x}");
        assert_eq!(message.extras.get(16..20).is_some_and(|time| time != [0; 4]), flags & DELETE_TIMES != 0);
    }
    // A document that expires, in the next second.
    let expiring = Packet { key: b"\0k".to_vec(), extras: vec![0, 0, 0, 0, 0, 0, 0, 1], ..Packet::request(0x01) };
    writer.done(Packet { value: b"{}".to_vec(), ..expiring }).await;
    let removal = loop {
        let message = live.message().await;
        if [0x58, 0x59].contains(&message.opcode) {
            break message;
        }
    };
    assert_eq!(removal.opcode, 0x58, "the connection has not asked for expiries");
    for (flags, opcode, length) in [(DELETE_TIMES, 0x59, 20), (0, 0x58, 18)] {
        let message = read(&double, flags, &[("enable_expiry_opcode", "true")]).await.remove(1);
        assert_eq!((message.opcode, message.extras.len()), (opcode, length), "{flags:#x}");
    }
}

#[tokio::test]
async fn markers_and_events_have_their_forms() {
    let double = cluster(1).await;
    let mut writer = Client::connect(&double, 0, USUAL).await;
    writer.set(0, 0, "k", "1").await;
    writer.delete(0, 0, "k").await;
    let notes = double.create_collection("default", "app", "notes");
    double.purge();
    // 3 the scope, 4 the collection; 2 was purged.
    let mut client = Client::producer(&double, 0).await;
    client.done(Stream::default()).await;
    let messages = client.messages(3).await;
    let marker = &messages[0];
    assert_eq!((marker.extras.len(), marker.number(0), marker.number(8)), (20, 0, 4));
    assert_eq!(&marker.extras[16..], [0, 0, 0, 2 | 4], "disk, checkpoint");
    let scope = notes - 1;
    let event = |at: usize| (&messages[at].extras[8..], &messages[at].key[..], messages[at].value.len());
    assert_eq!(event(1), (&[0, 0, 0, 3, 0][..], &b"app"[..], 12));
    assert_eq!(event(2), (&[0, 0, 0, 0, 0][..], &b"notes"[..], 16));
    assert_eq!(messages[1].value[8..], scope.to_be_bytes());
    assert_eq!(messages[2].value[8..], [scope.to_be_bytes(), notes.to_be_bytes()].concat());
    double.drop_collection("default", "app", "notes");
    let dropped = client.messages(2).await;
    assert_eq!((&dropped[0].extras[16..], dropped[0].number(0), dropped[0].number(8)), (&[0, 0, 0, 1][..], 5, 5));
    assert_eq!((&dropped[1].extras[8..], dropped[1].value.len()), (&[0, 0, 0, 1, 0][..], 16));
    // With the purge seqno, which is the third number behind start, end and flags.
    let mut client = Client::producer(&double, 0).await;
    client.done(Packet::control("max_marker_version", "2.2")).await;
    client.done(Stream::default()).await;
    let marker = client.message().await;
    assert_eq!((&marker.extras[..], marker.value.len()), (&[2][..], 52));
    assert_eq!(marker.value[36..44], 2_u64.to_be_bytes());
}

#[tokio::test]
async fn stream_ids_are_in_every_message() {
    let double = cluster(1).await;
    let mut writer = Client::connect(&double, 0, USUAL).await;
    writer.set(0, 0, "k", "1").await;
    let mut client = Client::producer(&double, 0).await;
    client.done(Packet::control("enable_stream_id", "true")).await;
    client.done(Stream { flags: 0x04, value: r#"{"sid":258}"#.into(), ..Stream::default() }).await;
    let messages = client.messages(3).await;
    assert_eq!(outline(&messages), [(0x56, 0), (0x57, 1), (0x55, 0)]);
    assert!(messages.iter().all(|message| message.frames == [0x22, 1, 2]), "{messages:?}");
}

#[tokio::test]
async fn without_collections_keys_are_plain() {
    let double = cluster(1).await;
    let notes = double.create_collection("default", "app", "notes");
    let mut writer = Client::connect(&double, 0, USUAL).await;
    writer.set(0, 0, "k", "1").await;
    writer.set(0, u8::try_from(notes).unwrap(), "hidden", "1").await;
    let mut client = Client::connect(&double, 0, &[]).await;
    client.done(Packet::open(PRODUCER)).await;
    client.done(Stream { flags: 0x04, ..Stream::default() }).await;
    let messages = client.messages(3).await;
    // The snapshot ends with the last document that is shown.
    assert_eq!(outline(&messages), [(0x56, 0), (0x57, 3), (0x55, 0)]);
    assert_eq!((messages[0].number(8), &messages[1].key[..]), (3, &b"k"[..]));
}
