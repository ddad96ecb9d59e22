//! A minimal client of the protocol.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tidelock_core::ids::{ClientId, DocumentId, Epoch, Incarnation, Sequence, SubscriptionId, Version};
use tidelock_core::version;
use tidelock_core::wire::{
    Change, ChangeKind, ClientFrame, Cursor, DocumentChange, ErrorCode, FieldPatch, Hello, Operation, Outcome, Push,
    ServerFrame, Subscribe, decode, encode, unpack_changes,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::process::{PATIENCE, Serve};

pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) finished: u64,
    pub(crate) epoch: Epoch,
    /// How far it has followed.
    pub(crate) place: Place,
}

/// A place to go on from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    cursor: Option<Cursor>,
    held: Vec<String>,
}

impl Client {
    /// A session of the client with a number.
    pub(crate) async fn open(serve: &Serve, number: u8) -> Self {
        let mut request = format!("ws://127.0.0.1:{}/v1/sync", serve.port).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "tidelock.v1".parse().unwrap());
        request.headers_mut().insert("origin", "https://app.example.com".parse().unwrap());
        let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let mut client = Self { socket, finished: 0, epoch: Epoch(0), place: Place::default() };
        let hello = Hello {
            protocol: 1,
            protocol_min: 1,
            database: "test".into(),
            token: serve.token().into(),
            client: ClientId([number; 16]),
            incarnation: Incarnation(1),
            acknowledged: Sequence(0),
            epoch: None,
            credit_bytes: 64 << 20,
            collections: vec!["notes".into()],
            history: None,
            restoring: None,
        };
        client.send(&ClientFrame::Hello(hello)).await;
        match client.frame().await {
            ServerFrame::Welcome(welcome) => {
                client.finished = welcome.finished.0;
                client.epoch = welcome.epoch;
            }
            other => panic!("expected a welcome, found {other:?}"),
        }
        client
    }

    /// Follows everything, from what is there on.
    pub(crate) async fn subscribe(&mut self) {
        self.follow(None, Place::default()).await;
    }

    /// Follows some channels (all without any) from a place on. What is told until the client has caught up, in words.
    pub(crate) async fn follow(&mut self, channels: Option<&[&str]>, from: Place) -> Vec<String> {
        let channels = channels.map(|channels| channels.iter().map(ToString::to_string).collect());
        let Place { cursor, held } = from.clone();
        self.place = from;
        let (id, collections, have, reconcile) = (SubscriptionId(1), vec!["notes".into()], Vec::new(), None);
        self.send(&ClientFrame::Subscribe(Subscribe { id, collections, channels, cursor, held, have, reconcile }))
            .await;
        let mut told = Vec::new();
        loop {
            let frame = self.frame().await;
            told.extend(self.take(&frame));
            if matches!(&frame, ServerFrame::Changes(changes) if changes.last && !changes.more) {
                return told;
            }
        }
    }

    /// What the next frame tells, in words: a document as `key=body`, `-key` for one that was deleted, `leaves key`, `forget key`.
    pub(crate) async fn told(&mut self) -> Vec<String> {
        let frame = self.frame().await;
        self.take(&frame)
    }

    fn take(&mut self, frame: &ServerFrame) -> Vec<String> {
        let word = |change: Change| match change.kind {
            ChangeKind::Put(_, body) => format!("{}={}", change.key, String::from_utf8(body).unwrap()),
            ChangeKind::Delete => format!("-{}", change.key),
            ChangeKind::Leave => format!("leaves {}", change.key),
            ChangeKind::Same(_) => format!("{} as before", change.key),
        };
        let words = |columns| unpack_changes(columns).unwrap().into_iter().map(word).collect();
        match frame {
            ServerFrame::Snapshot(snapshot) => {
                self.place.held.clone_from(&snapshot.channels);
                words(&snapshot.changes)
            }
            ServerFrame::Changes(changes) => {
                let (changelog, offset) = (changes.changelog, changes.to);
                self.place.cursor = Some(Cursor { changelog, offset, snapshot: None });
                words(&changes.changes)
            }
            ServerFrame::Purge(purge) => {
                purge.documents.iter().flat_map(|(_, keys)| keys).map(|key| format!("forget {key}")).collect()
            }
            other => panic!("expected documents, found {other:?}"),
        }
    }

    /// Reads on until a document has this value; `None` when it is gone.
    pub(crate) async fn hears(&mut self, key: &str, value: Option<&Value>) {
        loop {
            let ServerFrame::Changes(changes) = self.frame().await else { continue };
            for change in unpack_changes(&changes.changes).unwrap() {
                let found: Option<Value> = match change.kind {
                    ChangeKind::Put(_, body) => Some(serde_json::from_slice(&body).unwrap()),
                    ChangeKind::Delete | ChangeKind::Leave | ChangeKind::Same(_) => None,
                };
                if change.key == key && found.as_ref() == value {
                    return;
                }
            }
        }
    }

    /// Pushes a mutation without waiting for its result.
    pub(crate) async fn push(&mut self, sequence: u64, changes: Vec<DocumentChange>) {
        let (sequence, acknowledged) = (Sequence(sequence), Sequence(0));
        self.send(&ClientFrame::Push(Push {
            sequence,
            acknowledged,
            edited_ms: 1,
            changes,
            more: false,
            before: None,
        }))
        .await;
    }

    pub(crate) async fn outcome(&mut self) -> Outcome {
        loop {
            match self.frame().await {
                ServerFrame::Result(result) => return result.outcome,
                ServerFrame::Changes(_) | ServerFrame::Snapshot(_) => {}
                other => panic!("expected a result, found {other:?}"),
            }
        }
    }

    /// Reads on until the server ends the session, and gives the reason. Nothing is told as deleted.
    pub(crate) async fn is_ended_without_deletes(&mut self) -> ErrorCode {
        loop {
            match self.frame().await {
                ServerFrame::Error(error) => return error.code,
                ServerFrame::Changes(changes) => {
                    for change in unpack_changes(&changes.changes).unwrap() {
                        assert!(!matches!(change.kind, ChangeKind::Delete), "{} is told as deleted", change.key);
                    }
                }
                _ => {}
            }
        }
    }

    async fn send(&mut self, frame: &ClientFrame) {
        self.socket.send(Message::Binary(encode(frame).into())).await.unwrap();
    }

    async fn frame(&mut self) -> ServerFrame {
        loop {
            let next =
                timeout(PATIENCE + Duration::from_secs(20), self.socket.next()).await.expect("a message in time");
            match next.expect("the connection is open").expect("the connection works") {
                Message::Binary(bytes) => return decode(&bytes).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected a frame, found {other:?}"),
            }
        }
    }
}

/// Creates a document.
pub(crate) fn put(key: &str, body: &str) -> DocumentChange {
    let operation = Operation::Put(body.as_bytes().to_vec());
    DocumentChange { id: DocumentId::new("notes", key), base: Version::ABSENT, operation, whole: None }
}

/// Adds one to `n`, which was `before` in a document with this body.
pub(crate) fn increment(key: &str, body: &str, before: u64) -> DocumentChange {
    let text = |number: u64| Some(number.to_string().into_bytes());
    let patch = FieldPatch { path: vec!["n".into()], base: text(before), value: text(before + 1) };
    let base = version::of_body(body.as_bytes()).unwrap();
    DocumentChange { id: DocumentId::new("notes", key), base, operation: Operation::Patch(vec![patch]), whole: None }
}
