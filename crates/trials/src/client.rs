//! A client in a thread: the real core over the model database, over a real socket.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidelock_core::client::{Config, Kept, Phase};
use tidelock_core::ids::Offset;
use tidelock_core::wire::{ServerFrame, decode};
use tidelock_sim::{Host, ModelDatabase, Request};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Error, Message, WebSocket};

use crate::fleet::{Orders, Report};
use crate::ledger::Ledger;
use crate::load::{COLLECTIONS, Load};
use crate::server::{DATABASE, ORIGIN, Token};
use crate::watch::{Moment, Watch, rows};

/// Transactions that a client lets wait for their acknowledgement before it writes another one.
const UNACKNOWLEDGED_MAX: usize = 8;
/// How long a read waits for a message.
const READ: Duration = Duration::from_millis(2);
/// How long a connection may take to open, and a message to be taken: a server that is paused takes none.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a client looks at what it shows.
const LOOK: Duration = Duration::from_millis(25);

/// Where clients find their servers.
#[derive(Clone, Debug)]
pub struct Home {
    /// All servers. A client whose connection breaks goes to the next one.
    pub servers: Vec<SocketAddr>,
    /// What it shows.
    pub token: Token,
}

/// A client.
pub(crate) struct Replica {
    home: Home,
    /// Which server it is on.
    at: usize,
    ledger: Arc<Ledger>,
    load: Load,
    watch: Watch,
    host: Host,
    database: ModelDatabase,
    socket: Option<WebSocket<TcpStream>>,
    start: Instant,
    base_ms: u64,
    /// Of transactions that are not confirmed: the documents that they created for good.
    unacknowledged: Vec<Vec<(String, String)>>,
    /// The highest offset of a result on this connection. It may bring states that other documents follow with the changes up to it.
    told: Offset,
    looked: Instant,
    written: Instant,
}

impl Replica {
    pub(crate) fn new(number: u64, home: Home, load: Load, ledger: Arc<Ledger>) -> Self {
        let start = Instant::now();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
        let base_ms = u64::try_from(since.as_millis()).expect("a date before the year 500 million");
        let config = Config {
            database: DATABASE.into(),
            collections: COLLECTIONS.map(String::from).to_vec(),
            channels: None,
            resolver: false,
            offline: false,
            kept: Kept::default(),
        };
        // Threads of processes that began in the same millisecond are still other clients.
        let seed = base_ms.rotate_left(24) ^ u64::from(std::process::id()).rotate_left(48) ^ (number + 1);
        Self {
            at: usize::try_from(number).unwrap_or_default(),
            home,
            ledger,
            load,
            watch: Watch::default(),
            host: Host::new(config, seed, base_ms),
            database: ModelDatabase::new(),
            socket: None,
            start,
            base_ms,
            unacknowledged: Vec::new(),
            told: Offset(0),
            looked: start,
            written: start,
        }
    }

    /// Works until it is told to stop. An error is what it must not have seen.
    pub(crate) fn run(mut self, place: usize, orders: &Orders) -> Result<(), String> {
        while !orders.stopped() {
            let due = orders.pace().is_some_and(|pace| self.written.elapsed() >= pace);
            if due && self.unacknowledged.len() < UNACKNOWLEDGED_MAX {
                self.written = Instant::now();
                self.transaction();
            }
            self.turn();
            if self.looked.elapsed() >= LOOK {
                self.looked = Instant::now();
                self.look()?;
            }
            orders.answer(place, || self.report());
        }
        Ok(())
    }

    fn transaction(&mut self) {
        let now = self.now();
        let changes = self.load.commit(&mut self.database, now);
        if changes.is_empty() {
            return;
        }
        let created = changes.iter().filter(|(collection, _, _)| *collection == "docs");
        self.unacknowledged.push(created.map(|(collection, key, _)| ((*collection).to_owned(), key.clone())).collect());
        self.ledger.note(changes);
        self.host.tell(|client| client.handle_captured(now));
    }

    fn look(&mut self) -> Result<(), String> {
        let status = self.host.client().status();
        let has_reached = self.host.client().standing().offset.is_some_and(|offset| offset >= self.told);
        let moment = match status.phase {
            Phase::Live if status.pending == 0 && self.host.client().is_synced() && has_reached => Moment::Settled,
            Phase::Live => Moment::Live,
            Phase::Starting | Phase::Offline | Phase::Connecting | Phase::CatchingUp | Phase::Stopped => {
                Moment::CatchingUp
            }
        };
        if status.rejected > 0 {
            return Err(format!("a mutation was rejected: {:?}", self.database.rejected().collect::<Vec<_>>()));
        }
        self.watch.look(&self.database, moment)
    }

    fn report(&self) -> Report {
        let status = self.host.client().status();
        let documents = COLLECTIONS.into_iter().flat_map(|collection| {
            let rows = rows(&self.database, collection).into_iter();
            rows.map(move |(key, value)| ((collection.to_owned(), key), value))
        });
        Report {
            is_synced: self.host.client().is_synced(),
            status: format!("{status:?} on {:?}", self.server()),
            documents: documents.collect(),
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
            self.ledger.acknowledge(self.unacknowledged.drain(..).flatten());
        }
    }

    fn carry_out(&mut self, request: Request) {
        match request {
            Request::Connect => match self.connect() {
                Some(socket) => {
                    self.socket = Some(socket);
                    self.told = Offset(0);
                    let (now, token) = (self.now(), self.home.token.0.clone());
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
            Request::Disconnect => {
                self.socket = None;
                self.at += 1;
            }
            Request::Event(_) => {}
        }
    }

    fn server(&self) -> Option<SocketAddr> {
        self.home.servers.get(self.at % self.home.servers.len().max(1)).copied()
    }

    fn connect(&self) -> Option<WebSocket<TcpStream>> {
        let address = self.server()?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let mut request = format!("ws://{address}/v1/sync").into_client_request().ok()?;
        request.headers_mut().insert("sec-websocket-protocol", "tidelock.v1".parse().ok()?);
        request.headers_mut().insert("origin", ORIGIN.parse().ok()?);
        let (socket, _) = tungstenite::client(request, stream).ok()?;
        socket.get_ref().set_read_timeout(Some(READ)).ok()?;
        socket.get_ref().set_nodelay(true).ok()?;
        Some(socket)
    }

    fn receive(&mut self) {
        let Some(socket) = &mut self.socket else {
            std::thread::sleep(READ);
            return;
        };
        match socket.read() {
            Ok(Message::Binary(bytes)) => {
                if let Ok(ServerFrame::Result(result)) = decode(&bytes) {
                    self.told = self.told.max(result.offset);
                }
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
        self.at += 1;
        let now = self.now();
        self.host.tell(|client| client.handle_disconnected(now, reason));
    }

    /// Milliseconds since 1970 that never go back.
    fn now(&self) -> u64 {
        self.base_ms
            + u64::try_from(self.start.elapsed().as_millis()).expect("a test takes less than 500 million years")
    }
}
