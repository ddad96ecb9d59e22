//! A server over a store in memory, and a minimal client of the protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tidelock_core::ids::{ClientId, DocumentId, Incarnation, Sequence, SubscriptionId, Version};
use tidelock_core::wire::{
    Change, ChangeKind, Changes, ClientFrame, Columns, Cursor, DocumentChange, Hello, Operation, Push, PushResult,
    ServerFrame, Subscribe, Welcome, decode, encode, unpack_changes,
};
use tidelock_server::auth::Authenticator;
use tidelock_server::config::{Config, LimitsConfig};
use tidelock_server::rules::Rules;
use tidelock_server::{App, Clock, Database, GatewayOptions, Metrics, Server};
use tidelock_store::{Changelog, MemoryStore, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Longer than anything takes on a busy machine; reached only when something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const CONFIG: &str = r#"
[auth]
algorithms = ["HS256"]
secret = "0b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931"
leeway_s = 0

[identity]
channels = 'identity.claims.channels'

[databases.test]
path = "unused.db"

[databases.test.collections.notes]
read = 'identity.sub != ""'
write = 'identity.sub != ""'

[databases.test.collections.notes.conflict.fields]
votes = "sum"

[databases.test.collections.cards]
read = 'identity.sub != ""'
channels = '[doc.channel]'
write = 'identity.sub != ""'

[databases.test.collections.strict]
read = 'identity.sub != ""'
write = 'new == null || new.owner == identity.sub'
schema = { type = "object", required = ["owner"], properties = { n = { type = "integer" } } }

[databases.test.collections.guarded]
read = 'identity.sub != ""'
write = 'identity.sub != ""'
conflict = { policy = "reject" }

[databases.test.collections.locked]
read = 'identity.sub == "root"'
"#;

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) app: Arc<App>,
    config: Config,
    authenticator: Authenticator,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut GatewayOptions)) -> Self {
        Self::start_over(CONFIG, Arc::new(MemoryStore::default()), change).await
    }

    /// A server over a store that may hold something.
    pub(crate) async fn start_over(
        config: &str,
        store: Arc<impl Store + Changelog>,
        change: impl FnOnce(&mut GatewayOptions),
    ) -> Self {
        Self::start_between(config, Arc::clone(&store) as _, store, change).await
    }

    /// A server over a store and a changelog of it.
    pub(crate) async fn start_between(
        config: &str,
        store: Arc<dyn Store>,
        changelog: Arc<dyn Changelog>,
        change: impl FnOnce(&mut GatewayOptions),
    ) -> Self {
        let config = Config::parse_dev(config, "test.toml").unwrap_or_else(|error| panic!("{error}"));
        let mut options = GatewayOptions {
            dev: true,
            allow_missing_origin: true,
            limits: LimitsConfig { messages_per_second_max: 10_000, ..LimitsConfig::default() },
            ..GatewayOptions::default()
        };
        change(&mut options);
        let metrics = Arc::new(Metrics::default());
        let database = &config.databases["test"];
        let rules = Rules::compile(database, &config.identity).unwrap();
        let kept = Duration::from_secs(database.tombstones_kept_s.into());
        let limits = options.limits.protocol;
        let database = Database::new("test", store, changelog, rules, limits, kept, Arc::clone(&metrics));
        let authenticator = || Authenticator::new(&config.auth).unwrap();
        let app = Arc::new(App::new(options, authenticator(), vec![Arc::new(database)], metrics));
        let server = Server::bind(Arc::clone(&app), "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            server.run(async move { drop(stopped.await) }).await.unwrap();
        });
        Self { address, app, authenticator: authenticator(), config, stop: Some(stop), task }
    }

    /// Another configuration, as `SIGHUP` puts it in force.
    pub(crate) async fn reload(&self, config: &str) -> Result<Vec<&'static str>, String> {
        let config = Config::parse_dev(config, "test.toml").map_err(|error| error.to_string())?;
        self.app.reload(&config, &self.config).await.map_err(|error| error.to_string())
    }

    pub(crate) fn token(&self, subject: &str, channels: &[&str]) -> String {
        self.token_for(subject, channels, 3_600)
    }

    pub(crate) fn token_for(&self, subject: &str, channels: &[&str], ttl_s: u64) -> String {
        let mut claims = Map::new();
        claims.insert("channels".into(), json!(channels));
        self.authenticator.mint(subject, &claims, ttl_s, Clock::default().now_ms()).unwrap()
    }

    /// A connection without a session.
    pub(crate) async fn connect(&self) -> Client {
        self.connect_with(None).await.unwrap()
    }

    pub(crate) async fn connect_with(&self, origin: Option<&str>) -> Result<Client, tungstenite::Error> {
        self.connect_as(origin, "tidelock.v1").await
    }

    /// A connection under one of these subprotocols.
    pub(crate) async fn connect_as(
        &self,
        origin: Option<&str>,
        subprotocols: &str,
    ) -> Result<Client, tungstenite::Error> {
        let mut request = format!("ws://{}/v1/sync", self.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", subprotocols.parse().unwrap());
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        let (socket, _) = tokio_tungstenite::connect_async(request).await?;
        Ok(Client { socket, sequence: 0 })
    }

    /// An open session of another replica each time.
    pub(crate) async fn session(&self, subject: &str, channels: &[&str]) -> Client {
        let mut client = self.connect().await;
        client.hello(&self.token(subject, channels)).await;
        client.welcome().await;
        client
    }

    pub(crate) async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }

    pub(crate) fn begin_stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// One HTTP request; the status, the headers in lower case, and the body.
    pub(crate) async fn http(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{request}\r\n{body}").as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    pub(crate) async fn rest(
        &self,
        method: &str,
        path: &str,
        token: &str,
        more: &[(&str, &str)],
        body: &str,
    ) -> (u16, String, String) {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(more);
        self.http(method, &format!("/v1/db/test/{path}"), &headers, body).await
    }
}

pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) sequence: u64,
}

pub(crate) fn hello(token: &str, client: u64) -> Hello {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&client.to_be_bytes());
    Hello {
        protocol: 1,
        protocol_min: 1,
        database: "test".into(),
        token: token.into(),
        client: ClientId(id),
        incarnation: Incarnation(1),
        acknowledged: Sequence(0),
        epoch: None,
        credit_bytes: 1 << 20,
        collections: ["notes", "cards", "strict", "guarded", "locked", "nonsense"].map(String::from).to_vec(),
        history: None,
        restoring: None,
    }
}

pub(crate) fn put(collection: &str, key: &str, body: &str) -> DocumentChange {
    DocumentChange {
        id: DocumentId::new(collection, key),
        base: Version::ABSENT,
        operation: Operation::Put(body.as_bytes().to_vec()),
        whole: None,
    }
}

impl Client {
    pub(crate) async fn send(&mut self, frame: &ClientFrame) {
        self.socket.send(Message::Binary(encode(frame).into())).await.unwrap();
    }

    pub(crate) async fn hello(&mut self, token: &str) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.send(&ClientFrame::Hello(hello(token, number))).await;
    }

    pub(crate) async fn message(&mut self) -> Message {
        let next = timeout(PATIENCE, self.socket.next()).await.expect("a message in time");
        next.expect("the connection is open").expect("the connection works")
    }

    pub(crate) async fn frame(&mut self) -> ServerFrame {
        loop {
            match self.message().await {
                Message::Binary(bytes) => return decode(&bytes).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected a frame, found {other:?}"),
            }
        }
    }

    pub(crate) async fn welcome(&mut self) -> Welcome {
        match self.frame().await {
            ServerFrame::Welcome(welcome) => welcome,
            other => panic!("expected a welcome, found {other:?}"),
        }
    }

    pub(crate) async fn result(&mut self) -> PushResult {
        loop {
            match self.frame().await {
                ServerFrame::Result(result) => return result,
                ServerFrame::Changes(_) | ServerFrame::Snapshot(_) | ServerFrame::Purge(_) => {}
                other => panic!("expected a result, found {other:?}"),
            }
        }
    }

    pub(crate) async fn changes(&mut self) -> Changes {
        match self.frame().await {
            ServerFrame::Changes(changes) => changes,
            other => panic!("expected changes, found {other:?}"),
        }
    }

    /// The name of the error code, and the code of the close that follows.
    pub(crate) async fn error(&mut self) -> (String, u16) {
        let name = loop {
            match self.frame().await {
                ServerFrame::Error(error) => {
                    assert_eq!(error.retryable, error.code.retryable());
                    assert!(!error.message.is_empty());
                    break error.code.name().to_owned();
                }
                ServerFrame::Welcome(_)
                | ServerFrame::Result(_)
                | ServerFrame::Changes(_)
                | ServerFrame::Snapshot(_)
                | ServerFrame::Purge(_)
                | ServerFrame::Restart(_)
                | ServerFrame::Symbols(_)
                | ServerFrame::Reconciled(_)
                | ServerFrame::Pong(_) => {}
            }
        };
        match self.message().await {
            Message::Close(Some(close)) => (name, close.code.into()),
            other => panic!("expected a close, found {other:?}"),
        }
    }

    pub(crate) async fn subscribe(&mut self, collections: &[&str], cursor: Option<Cursor>, held: Vec<String>) {
        self.send(&ClientFrame::Subscribe(Subscribe {
            id: SubscriptionId(1),
            collections: collections.iter().map(|name| (*name).to_owned()).collect(),
            channels: None,
            cursor,
            held,
            have: Vec::new(),
            reconcile: None,
        }))
        .await;
    }

    /// Subscribes and takes everything until caught up; gives the documents as `key=body`.
    pub(crate) async fn catch_up(&mut self, collections: &[&str]) -> Vec<String> {
        self.subscribe(collections, None, Vec::new()).await;
        let mut found = Vec::new();
        loop {
            match self.frame().await {
                ServerFrame::Snapshot(snapshot) => found.extend(items(&snapshot.changes)),
                ServerFrame::Changes(changes) => {
                    found.extend(items(&changes.changes));
                    if changes.last {
                        return found;
                    }
                }
                other => panic!("expected documents, found {other:?}"),
            }
        }
    }

    pub(crate) async fn push(&mut self, changes: Vec<DocumentChange>) {
        self.sequence += 1;
        self.send(&push(self.sequence, changes)).await;
    }

    /// Pushes, and waits for the result.
    pub(crate) async fn commit(&mut self, changes: Vec<DocumentChange>) -> PushResult {
        self.push(changes).await;
        self.result().await
    }
}

pub(crate) fn push(sequence: u64, changes: Vec<DocumentChange>) -> ClientFrame {
    let sequence = Sequence(sequence);
    ClientFrame::Push(Push { sequence, acknowledged: Sequence(0), edited_ms: 1, changes, more: false, before: None })
}

pub(crate) fn items(columns: &Columns) -> Vec<String> {
    let changes = unpack_changes(columns).unwrap();
    let text = |change: Change| match change.kind {
        ChangeKind::Put(_, body) => format!("{}={}", change.key, String::from_utf8(body).unwrap()),
        ChangeKind::Delete => format!("-{}", change.key),
        ChangeKind::Leave => format!("leave:{}", change.key),
        ChangeKind::Same(_) => format!("same:{}", change.key),
    };
    changes.into_iter().map(text).collect()
}

pub(crate) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
