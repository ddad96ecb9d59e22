//! A client in a thread: the real core over the model database, over a real socket.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidelock_core::client::{Config, Kept, storage::Row};
use tidelock_sim::{Host, ModelDatabase, Request, application::write};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Error, Message, WebSocket};

use crate::now_ms;
use crate::server::token;

/// Transactions that a client lets wait for their acknowledgement before it writes another one.
const UNACKNOWLEDGED_MAX: usize = 8;
/// How long a read waits for a message, in milliseconds.
const READ_MS: u64 = 2;

/// What the clients wrote, and what they know to be confirmed.
#[derive(Default)]
pub(crate) struct Ledger {
    written: Mutex<BTreeSet<String>>,
    acknowledged: Mutex<BTreeSet<String>>,
}

impl Ledger {
    pub(crate) fn written(&self) -> BTreeSet<String> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn acknowledged(&self) -> BTreeSet<String> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a client ended with.
pub(crate) struct Outcome {
    pub(crate) number: u64,
    pub(crate) increments: u64,
    /// Rows of `left` and `right`.
    pub(crate) rows: usize,
    /// Rows of `counters`: the shared one.
    pub(crate) counter: Vec<Row>,
}

/// A client.
pub(crate) struct Replica {
    number: u64,
    port: u16,
    ledger: Arc<Ledger>,
    host: Host,
    database: ModelDatabase,
    socket: Option<WebSocket<TcpStream>>,
    start: Instant,
    base_ms: u64,
    unacknowledged: Vec<String>,
    count: u64,
    increments: u64,
}

impl Replica {
    pub(crate) fn new(number: u64, port: u16, ledger: Arc<Ledger>) -> Self {
        let start = Instant::now();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
        let base_ms = u64::try_from(since.as_millis()).expect("a date before the year 500 million");
        let collections = ["left", "right", "counters"].map(String::from).to_vec();
        let config = Config {
            database: "crash".into(),
            collections,
            channels: None,
            resolver: false,
            offline: false,
            kept: Kept::default(),
        };
        let host = Host::new(config, number + 1, base_ms);
        let database = ModelDatabase::new();
        Self {
            number,
            port,
            ledger,
            host,
            database,
            socket: None,
            start,
            base_ms,
            unacknowledged: Vec::new(),
            count: 0,
            increments: 0,
        }
    }

    /// Writes as long as `writing` says so, then waits until everything is confirmed and received.
    pub(crate) fn run(mut self, writing: &AtomicBool, drain_ms_max: u64) -> Outcome {
        while writing.load(Ordering::SeqCst) {
            if self.unacknowledged.len() < UNACKNOWLEDGED_MAX {
                self.transaction();
            }
            self.turn();
        }
        let deadline = Instant::now() + Duration::from_millis(drain_ms_max);
        let others = |replica: &Self| replica.rows() == replica.ledger.written().len() * 2;
        while !(self.host.client().is_synced() && others(&self)) {
            let status = self.host.client().status();
            assert!(
                Instant::now() < deadline,
                "client {} does not drain: {status:?}, {} rows",
                self.number,
                self.rows()
            );
            self.turn();
        }
        let counter = self.database.scan("counters", None, usize::MAX).into_iter().map(|(_, row)| row).collect();
        Outcome { number: self.number, increments: self.increments, rows: self.rows(), counter }
    }

    fn rows(&self) -> usize {
        ["left", "right"].map(|store| self.database.scan(store, None, usize::MAX).len()).iter().sum()
    }

    /// One transaction over three stores: a document in each of two, and a shared counter.
    fn transaction(&mut self) {
        let token = format!("c{}-{:06}", self.number, self.count);
        let now = self.now();
        let written = write(&mut self.database, &token, now, true, |transaction| {
            let json = format!(r#"{{"token":"{token}","text":"written by client {}"}}"#, self.number);
            transaction.put("left", &token, &json);
            transaction.put("right", &token, &json);
            let Some(counter) = transaction.get("counters", "shared") else { return 0 };
            let counter: serde_json::Value = serde_json::from_slice(&counter).expect("a counter");
            let next = counter["n"].as_u64().expect("a count") + 1;
            transaction.put("counters", "shared", &format!(r#"{{"n":{next}}}"#));
            1
        });
        if let Some(increments) = written {
            self.count += 1;
            self.increments += increments;
            self.unacknowledged.push(token.clone());
            self.ledger.written.lock().unwrap_or_else(PoisonError::into_inner).insert(token);
            self.host.tell(|client| client.handle_captured(now));
        }
    }

    fn turn(&mut self) {
        let now = self.now();
        if self.host.client().next_timeout_ms().is_some_and(|at| at <= now) {
            self.host.tell(|client| client.handle_timeout(now));
        }
        self.host.run(&mut self.database, now);
        for request in self.host.take_requests() {
            self.carry_out(request);
        }
        self.receive();
        if self.host.client().status().pending == 0 && !self.unacknowledged.is_empty() {
            let mut acknowledged = self.ledger.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
            acknowledged.extend(self.unacknowledged.drain(..));
        }
    }

    fn carry_out(&mut self, request: Request) {
        match request {
            Request::Connect => match self.connect() {
                Some((socket, token)) => {
                    self.socket = Some(socket);
                    let now = self.now();
                    self.host.tell(|client| client.handle_connected(now, &token));
                }
                None => self.disconnected("the server does not answer"),
            },
            Request::Send(bytes) => {
                let sent = self.socket.as_mut().map(|socket| socket.send(Message::Binary(bytes.into())));
                if !matches!(sent, Some(Ok(()))) {
                    self.disconnected("cannot send");
                }
            }
            Request::Disconnect => self.socket = None,
            Request::Event(_) => {}
        }
    }

    fn connect(&self) -> Option<(WebSocket<TcpStream>, String)> {
        let token = token(self.port)?;
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let mut request = format!("ws://127.0.0.1:{}/v1/sync", self.port).into_client_request().ok()?;
        request.headers_mut().insert("sec-websocket-protocol", "tidelock.v1".parse().ok()?);
        let (socket, _) = tungstenite::client(request, stream).ok()?;
        socket.get_ref().set_read_timeout(Some(Duration::from_millis(READ_MS))).ok()?;
        socket.get_ref().set_nodelay(true).ok()?;
        Some((socket, token))
    }

    fn receive(&mut self) {
        let Some(socket) = &mut self.socket else {
            std::thread::sleep(Duration::from_millis(READ_MS));
            return;
        };
        match socket.read() {
            Ok(Message::Binary(bytes)) => {
                let now = self.now();
                self.host.tell(|client| client.handle_message(now, &bytes));
            }
            Ok(_) => {}
            Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.disconnected("the connection broke"),
        }
    }

    fn disconnected(&mut self, reason: &str) {
        self.socket = None;
        let now = self.now();
        self.host.tell(|client| client.handle_disconnected(now, reason));
    }

    fn now(&self) -> u64 {
        now_ms(self.start, self.base_ms)
    }
}
