//! What the server must refuse, each with a clear error, and go on.

use futures_util::{SinkExt, StreamExt};
use tidelock_core::wire::{ClientFrame, Credit, Hello, Ping, ServerFrame, encode};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message};

use super::harness::{TestServer, hello, push, put};

#[tokio::test]
async fn wrong_frames() {
    let server = TestServer::start().await;
    let ping = encode(&ClientFrame::Ping(Ping { nonce: 1 }));
    let trailing = [ping.as_slice(), b"\0"].concat();
    let cases: Vec<(&str, Message, (&str, u16))> = vec![
        ("text", Message::Text("{}".into()), ("protocol", 4_000)),
        ("empty", Message::Binary(Vec::new().into()), ("protocol", 4_000)),
        ("garbage", Message::Binary(b"\xff\x00garbage".to_vec().into()), ("protocol", 4_000)),
        ("truncated", Message::Binary(ping[..ping.len() - 1].to_vec().into()), ("protocol", 4_000)),
        ("trailing", Message::Binary(trailing.into()), ("protocol", 4_000)),
        ("oversized", Message::Binary(vec![0; (4 << 20) + 1].into()), ("too-large", 4_006)),
        ("gap", Message::Binary(encode(&push(5, vec![put("notes", "a", "1")])).into()), ("out-of-order", 4_010)),
        ("second hello", Message::Binary(encode(&ClientFrame::Hello(hello("", 1))).into()), ("protocol", 4_000)),
    ];
    for (name, message, expected) in cases {
        let mut client = server.session("ann", &[]).await;
        client.socket.send(message).await.unwrap();
        let (code, close) = client.error().await;
        assert_eq!((code.as_str(), close), expected, "{name}");
    }
    let mut client = server.session("ann", &[]).await;
    client.commit(vec![put("notes", "a", "1")]).await;
    client.send(&push(1, vec![put("notes", "a", "1")])).await;
    assert_eq!(client.error().await.0, "out-of-order", "a sequence twice in one session");
    server.session("ann", &[]).await.commit(vec![put("notes", "b", "1")]).await;
    server.stop().await;
}

#[tokio::test]
async fn wrong_beginnings() {
    let server = TestServer::start().await;
    let token = server.token("ann", &[]);
    let good = hello(&token, 4_000);
    let foreign = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.";
    let cases: Vec<(&str, ClientFrame, &str)> = vec![
        ("push without hello", push(1, vec![put("notes", "a", "1")]), "protocol"),
        ("credit without hello", ClientFrame::Credit(Credit { bytes: 1 }), "protocol"),
        ("no token", ClientFrame::Hello(Hello { token: String::new(), ..good.clone() }), "unauthenticated"),
        ("unsigned token", ClientFrame::Hello(Hello { token: foreign.into(), ..good.clone() }), "unauthenticated"),
        (
            "unknown database",
            ClientFrame::Hello(Hello { database: "other".into(), ..good.clone() }),
            "unknown-database",
        ),
        ("future", ClientFrame::Hello(Hello { protocol: 99, protocol_min: 98, ..good }), "unsupported-version"),
    ];
    for (name, frame, expected) in cases {
        let mut client = server.connect().await;
        client.send(&frame).await;
        assert_eq!(client.error().await.0, expected, "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn fragments_make_one_frame() {
    let server = TestServer::start().await;
    let mut client = server.session("ann", &[]).await;
    let bytes = encode(&ClientFrame::Ping(Ping { nonce: 42 }));
    let (head, tail) = bytes.split_at(2);
    let first = Frame::message(head.to_vec(), OpCode::Data(Data::Binary), false);
    let last = Frame::message(tail.to_vec(), OpCode::Data(Data::Continue), true);
    client.socket.send(Message::Frame(first)).await.unwrap();
    client.socket.send(Message::Frame(last)).await.unwrap();
    assert!(matches!(client.frame().await, ServerFrame::Pong(pong) if pong.nonce == 42));
    server.stop().await;
}

#[tokio::test]
async fn endless_fragments_are_cut_off() {
    let server = TestServer::start().await;
    let mut client = server.session("ann", &[]).await;
    let part = vec![0; 1 << 20];
    let mut code = OpCode::Data(Data::Binary);
    for _ in 0..10 {
        let frame = Frame::message(part.clone(), code, false);
        code = OpCode::Data(Data::Continue);
        if client.socket.send(Message::Frame(frame)).await.is_err() {
            break;
        }
    }
    // The server may cut the connection before it can say why.
    while let Some(Ok(message)) = client.socket.next().await {
        assert!(matches!(message, Message::Binary(_) | Message::Close(_)), "{message:?}");
    }
    server.session("ann", &[]).await.commit(vec![put("notes", "a", "1")]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_token_that_expires_ends_the_session() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client.hello(&server.token_for("ann", &[], 2)).await;
    client.welcome().await;
    client.catch_up(&["notes"]).await;
    assert_eq!(client.error().await, ("unauthenticated".into(), 4_002));
    server.stop().await;
}

#[tokio::test]
async fn origins() {
    let server = TestServer::start_with(|options| {
        options.allow_missing_origin = false;
        options.origins = vec!["https://app.example.com".into()];
    })
    .await;
    let own = format!("http://{}", server.address);
    for good in ["https://app.example.com", own.as_str()] {
        assert!(server.connect_with(Some(good)).await.is_ok(), "{good}");
    }
    for bad in [None, Some("null"), Some("https://app.example.com.evil"), Some("https://evil.com")] {
        match server.connect_with(bad).await {
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 403, "{bad:?}"),
            Err(other) => panic!("{bad:?}: {other}"),
            Ok(_) => panic!("{bad:?} was accepted"),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn limits_of_connections() {
    let server = TestServer::start_with(|options| options.limits.connections_per_identity_max = 1).await;
    let _first = server.session("ann", &[]).await;
    let mut second = server.connect().await;
    second.hello(&server.token("ann", &[])).await;
    assert_eq!(second.error().await, ("rate-limited".into(), 4_011));
    server.session("bob", &[]).await;
    server.stop().await;

    let server = TestServer::start_with(|options| {
        options.limits.connections_max = 2;
        options.limits.hello_ms_max = 300;
    })
    .await;
    let _first = server.session("ann", &[]).await;
    let mut silent = server.connect().await;
    match server.connect_with(None).await {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 503),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a connection too many was accepted"),
    }
    assert_eq!(silent.error().await, ("unauthenticated".into(), 4_002));
    server.stop().await;
}
