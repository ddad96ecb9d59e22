//! A minimal client of the protocol: it pushes and waits for results.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tidelock_core::ids::{ClientId, DocumentId, Incarnation, Offset, Sequence, SubscriptionId, Version};
use tidelock_core::version;
use tidelock_core::wire::{
    ClientFrame, DocumentChange, Hello, Operation, Outcome, Push, PushResult, ServerFrame, Subscribe, decode, encode,
};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::rows::{COLLECTION, body, key, splitmix};
use crate::server::Server;

/// The library clears the whole buffer before each read: its own size, 128 KiB, would cost more than everything else that a client does.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// An open session.
pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    sequence: u64,
}

impl Client {
    /// A session of the replica with a number, of a subject with these claims.
    pub(crate) async fn open(server: &Server, number: u64, claims: &Value) -> Self {
        let mut request = format!("ws://{}/v1/sync", server.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "tidelock.v1".parse().unwrap());
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
        let (socket, _) = tokio_tungstenite::connect_async_with_config(request, Some(config), false).await.unwrap();
        let mut client = Self { socket, sequence: 0 };
        let hello = Hello {
            protocol: 1,
            protocol_min: 1,
            database: "app".into(),
            token: server.token(&format!("subject-{number}"), claims).await,
            client: identity(number),
            incarnation: Incarnation(1),
            acknowledged: Sequence(0),
            epoch: None,
            credit_bytes: u32::MAX,
            collections: vec![COLLECTION.into()],
            history: None,
            restoring: None,
        };
        client.send(&ClientFrame::Hello(hello)).await;
        match client.frame().await {
            ServerFrame::Welcome(welcome) => client.sequence = welcome.finished.0,
            other => panic!("expected a welcome, found {other:?}"),
        }
        client
    }

    /// Asks for everything that the identity may read, and waits until it is told that it has it.
    pub(crate) async fn subscribe(&mut self) {
        let (held, have) = (Vec::new(), Vec::new());
        let collections = vec![COLLECTION.into()];
        let (id, channels, cursor, reconcile) = (SubscriptionId(1), None, None, None);
        let subscribe = Subscribe { id, collections, channels, cursor, held, have, reconcile };
        self.send(&ClientFrame::Subscribe(subscribe)).await;
        loop {
            match self.frame().await {
                ServerFrame::Snapshot(snapshot) if snapshot.through.is_none() => return,
                ServerFrame::Snapshot(_) => {}
                other => panic!("expected a snapshot, found {other:?}"),
            }
        }
    }

    /// Waits for changes, and says up to where they go.
    pub(crate) async fn changes(&mut self) -> Offset {
        match self.frame().await {
            ServerFrame::Changes(changes) => changes.to,
            other => panic!("expected changes, found {other:?}"),
        }
    }

    /// Makes the next `count` commits of this client, one document each.
    pub(crate) fn make(&mut self, own: &mut [Document], count: u32, seed: u64) -> Vec<Made> {
        let mut random = seed;
        let make = |_| {
            let choice = splitmix(&mut random) % own.len() as u64;
            let document = own.get_mut(usize::try_from(choice).unwrap()).expect("a document of this client");
            let (key, body) = (key(document.number), document.next_body());
            let push = self.push(vec![document.change(body.clone())]);
            Made { key, body, frame: encode(&ClientFrame::Push(push)).into() }
        };
        (0..count).map(make).collect()
    }

    /// Pushes what was made, each after the result of the one before.
    pub(crate) async fn push_made(&mut self, made: &[Made]) {
        for commit in made {
            self.socket.send(Message::Binary(commit.frame.clone())).await.unwrap();
            self.accepted().await;
        }
    }

    /// Pushes the next revision of the documents as one mutation and waits until it is durable; gives its offset.
    pub(crate) async fn commit(&mut self, documents: &mut [Document]) -> Offset {
        let change = |document: &mut Document| {
            let body = document.next_body();
            document.change(body)
        };
        let push = self.push(documents.iter_mut().map(change).collect());
        self.send(&ClientFrame::Push(push)).await;
        self.accepted().await
    }

    fn push(&mut self, changes: Vec<DocumentChange>) -> Push {
        self.sequence += 1;
        let (sequence, acknowledged) = (Sequence(self.sequence), Sequence(self.sequence - 1));
        Push { sequence, acknowledged, edited_ms: 1, changes, more: false, before: None }
    }

    async fn accepted(&mut self) -> Offset {
        match self.frame().await {
            ServerFrame::Result(PushResult { offset, outcome: Outcome::Accepted, .. }) => offset,
            other => panic!("expected that it is accepted, found {other:?}"),
        }
    }

    async fn send(&mut self, frame: &ClientFrame) {
        self.socket.send(Message::Binary(encode(frame).into())).await.unwrap();
    }

    async fn frame(&mut self) -> ServerFrame {
        loop {
            match self.socket.next().await.expect("the connection is open").unwrap() {
                Message::Binary(bytes) => return decode(&bytes).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected a frame, found {other:?}"),
            }
        }
    }
}

/// A commit that is ready to be made.
pub(crate) struct Made {
    /// Of the document.
    pub(crate) key: String,
    /// What it becomes.
    pub(crate) body: Vec<u8>,
    /// What tells the server so.
    frame: Bytes,
}

/// A document as its only writer knows it.
pub(crate) struct Document {
    pub(crate) number: u64,
    revision: u64,
    version: Version,
}

impl Document {
    /// A document that does not exist yet.
    pub(crate) fn absent(number: u64) -> Self {
        Self { number, revision: 0, version: Version::ABSENT }
    }

    fn next_body(&mut self) -> Vec<u8> {
        self.revision += 1;
        body(self.number, self.revision).into_bytes()
    }

    fn change(&mut self, body: Vec<u8>) -> DocumentChange {
        let base = std::mem::replace(&mut self.version, version::of_body(&body).unwrap());
        DocumentChange {
            id: DocumentId::new(COLLECTION, key(self.number)),
            base,
            operation: Operation::Put(body),
            whole: None,
        }
    }
}

/// Client ids are random, so that their records lie on pages of their own.
pub(crate) fn identity(client: u64) -> ClientId {
    let mut state = client;
    let mut id = [0; 16];
    for half in id.chunks_mut(8) {
        half.copy_from_slice(&splitmix(&mut state).to_be_bytes());
    }
    ClientId(id)
}
