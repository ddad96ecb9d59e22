//! Deflated messages: a client that reads them offers the subprotocol of that name.

use futures_util::SinkExt;
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec;
use tidelock_core::ids::Sequence;
use tidelock_core::wire::{ClientFrame, Outcome, Packed, Ping, Push, ServerFrame, decode, encode};
use tokio_tungstenite::tungstenite::Message;

use super::harness::{Client, TestServer, hello, items, put};

const DEFLATE: &str = "tidelock.v1.deflate, tidelock.v1";

async fn session(server: &TestServer, number: u64) -> Client {
    let mut client = server.connect_as(None, DEFLATE).await.unwrap();
    client.send(&ClientFrame::Hello(hello(&server.token("ann", &[]), number))).await;
    client.welcome().await;
    client
}

fn deflated(frame: &[u8]) -> Message {
    Message::Binary([&[1], compress_to_vec(frame, 6).as_slice()].concat().into())
}

/// A hundred documents that are much alike.
fn pushes() -> ClientFrame {
    let body = format!(r#"{{"text":"{}"}}"#, "much the same ".repeat(10));
    let push = |number: u64| {
        let changes = vec![put("notes", &format!("n{number:03}"), &body)];
        encode(&Push {
            sequence: Sequence(number),
            acknowledged: Sequence(0),
            edited_ms: 1,
            changes,
            more: false,
            before: None,
        })
    };
    ClientFrame::Pushes(Packed((1..=100).flat_map(push).collect()))
}

#[tokio::test]
async fn what_is_large_travels_deflated_in_both_directions() {
    let server = TestServer::start().await;
    let mut ann = session(&server, 5_000).await;
    let frame = encode(&pushes());
    let message = deflated(&frame);
    assert!(message.len() * 5 < frame.len());
    ann.socket.send(message).await.unwrap();
    for _ in 0..100 {
        assert_eq!(ann.result().await.outcome, Outcome::Accepted);
    }

    let mut bob = session(&server, 5_001).await;
    bob.subscribe(&["notes"], None, Vec::new()).await;
    let Message::Binary(message) = bob.message().await else { panic!("expected a frame") };
    assert_eq!(message[0], 1, "a snapshot of 20 kB is deflated");
    let frame = decompress_to_vec(&message[1..]).unwrap();
    assert!(message.len() * 5 < frame.len());
    match decode(&frame).unwrap() {
        ServerFrame::Snapshot(snapshot) => assert_eq!(items(&snapshot.changes).len(), 100),
        other => panic!("expected a snapshot, found {other:?}"),
    }

    // One who does not offer it receives plain frames.
    assert_eq!(server.session("eve", &[]).await.catch_up(&["notes"]).await.len(), 100);
    server.stop().await;
}

#[tokio::test]
async fn small_frames_travel_as_they_are() {
    let server = TestServer::start().await;
    let mut ann = session(&server, 5_002).await;
    ann.send(&ClientFrame::Ping(Ping { nonce: 7 })).await;
    assert!(matches!(ann.frame().await, ServerFrame::Pong(pong) if pong.nonce == 7));
    server.stop().await;
}

#[tokio::test]
async fn wrong_messages() {
    let server = TestServer::start().await;
    let ping = encode(&ClientFrame::Ping(Ping { nonce: 1 }));
    let whole = deflated(&ping).into_data();
    let cases: Vec<(&str, Message, &str)> = vec![
        ("empty", Message::Binary(vec![1].into()), "protocol"),
        ("garbage", Message::Binary(b"\x01\xff\xff\xff".to_vec().into()), "protocol"),
        ("truncated", Message::Binary(whole.slice(..whole.len() - 1)), "protocol"),
        ("no frame inside", deflated(b"\x01"), "protocol"),
        ("twice", deflated(&whole), "protocol"),
        ("bomb", deflated(&vec![0; (4 << 20) + 1]), "too-large"),
    ];
    for (number, (name, message, expected)) in (5_100..).zip(cases) {
        let mut client = session(&server, number).await;
        client.socket.send(message).await.unwrap();
        assert_eq!(client.error().await.0, expected, "{name}");
    }
    let mut plain = server.session("ann", &[]).await;
    plain.socket.send(deflated(&ping)).await.unwrap();
    assert_eq!(plain.error().await.0, "protocol", "deflated without the handshake that allows it");
    server.stop().await;
}
