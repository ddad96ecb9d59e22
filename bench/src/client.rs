//! A minimal client of the protocol: it pushes and waits for results.

use futures_util::{SinkExt as _, StreamExt as _};
use tidelock_core::ids::{ClientId, DocumentId, Incarnation, Sequence, Version};
use tidelock_core::version;
use tidelock_core::wire::{ClientFrame, DocumentChange, Hello, Operation, Outcome, Push, ServerFrame, decode, encode};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::rows::{COLLECTION, body, key, splitmix};
use crate::server::Server;

/// An open session.
pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    sequence: u64,
}

impl Client {
    /// A session of the replica with a number.
    pub(crate) async fn open(server: &Server, number: u64) -> Self {
        let mut request = format!("ws://{}/v1/sync", server.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "tidelock.v1".parse().unwrap());
        let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let mut client = Self { socket, sequence: 0 };
        let hello = Hello {
            protocol: 1,
            protocol_min: 1,
            database: "app".into(),
            token: server.token(&format!("subject-{number}")).await,
            client: identity(number),
            incarnation: Incarnation(1),
            acknowledged: Sequence(0),
            epoch: None,
            credit_bytes: 1 << 20,
            collections: vec![COLLECTION.into()],
            history: None,
        };
        client.send(&ClientFrame::Hello(hello)).await;
        match client.frame().await {
            ServerFrame::Welcome(welcome) => client.sequence = welcome.finished.0,
            other => panic!("expected a welcome, found {other:?}"),
        }
        client
    }

    /// Writes one document revision after another and waits for each result until told to stop; gives the number of commits.
    pub(crate) async fn overwrite(&mut self, own: &mut [Document], seed: u64, until: tokio::time::Instant) -> u64 {
        let mut random = seed;
        let mut commits = 0;
        while tokio::time::Instant::now() < until {
            let choice = splitmix(&mut random) % own.len() as u64;
            let document = own.get_mut(usize::try_from(choice).unwrap()).expect("a document of this client");
            self.commit(std::slice::from_mut(document)).await;
            commits += 1;
        }
        commits
    }

    /// Pushes the next revision of the documents as one mutation and waits until it is durable.
    pub(crate) async fn commit(&mut self, documents: &mut [Document]) {
        self.sequence += 1;
        let changes = documents.iter_mut().map(Document::next).collect();
        let (sequence, acknowledged) = (Sequence(self.sequence), Sequence(self.sequence - 1));
        self.send(&ClientFrame::Push(Push { sequence, acknowledged, edited_ms: 1, changes, more: false })).await;
        match self.frame().await {
            ServerFrame::Result(result) => assert!(
                matches!(result.outcome, Outcome::Accepted),
                "mutation {} was not accepted: {:?}",
                self.sequence,
                result.outcome
            ),
            other => panic!("expected a result, found {other:?}"),
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

    fn next(&mut self) -> DocumentChange {
        self.revision += 1;
        let body = body(self.number, self.revision).into_bytes();
        let base = std::mem::replace(&mut self.version, version::of_body(&body).unwrap());
        DocumentChange { id: DocumentId::new(COLLECTION, key(self.number)), base, operation: Operation::Put(body) }
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
