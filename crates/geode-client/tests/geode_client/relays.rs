//! What stands between a client and its servers, and fails at a word.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use tidelock_geode_client::{Address, Client, Config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::config;

/// The first byte of a connection for requests.
const REQUESTS: u8 = 100;
/// The first byte of the connection on which a server tells events.
const PRIMARY: u8 = 101;

/// Which connections a relay lets pass. It cuts those that it does not let pass any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// As a server that has as many connections as it takes: events still flow.
    NoRequests,
    Shut,
}

impl Gate {
    fn lets(self, kind: u8) -> bool {
        match self {
            Self::Open => true,
            Self::NoRequests => kind != REQUESTS,
            Self::Shut => false,
        }
    }
}

/// What a relay has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Connections for events of a primary.
    pub(crate) primaries: usize,
    /// Connections that were not let pass.
    pub(crate) refused: usize,
}

/// Passes on what goes between a client and one server.
pub(crate) struct Relay {
    address: Address,
    gate: watch::Sender<Gate>,
    seen: watch::Receiver<Seen>,
}

impl Relay {
    async fn to(server: Address) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
        let (gate, gate_out) = watch::channel(Gate::Open);
        let (seen_in, seen) = watch::channel(Seen::default());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (gate, seen, server) = (gate_out.clone(), seen_in.clone(), server.clone());
                // Its end is that of one of the two connections.
                tokio::spawn(async move { pass(near, &server, gate, &seen).await });
            }
        });
        Self { address, gate, seen }
    }

    pub(crate) fn set(&self, gate: Gate) {
        self.gate.send_replace(gate);
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.seen.borrow()
    }

    /// Waits until the relay has seen something.
    pub(crate) async fn until(&self, is_so: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        let waited = timeout(Duration::from_secs(60), seen.wait_for(is_so)).await;
        waited.expect("it is seen within a minute").unwrap();
    }
}

async fn pass(
    mut near: TcpStream,
    server: &Address,
    mut gate: watch::Receiver<Gate>,
    seen: &watch::Sender<Seen>,
) -> std::io::Result<()> {
    let kind = near.read_u8().await?;
    if !gate.borrow().lets(kind) {
        seen.send_modify(|seen| seen.refused += 1);
        return Ok(());
    }
    let mut far = TcpStream::connect((server.host.as_str(), server.port)).await?;
    far.write_u8(kind).await?;
    seen.send_modify(|seen| seen.primaries += usize::from(kind == PRIMARY));
    tokio::select! {
        biased;
        _ = gate.wait_for(|gate| !gate.lets(kind)) => Ok(()),
        result = copy_bidirectional(&mut near, &mut far) => result.map(drop),
    }
}

/// Both servers, each behind a relay.
pub(crate) async fn relays() -> [Relay; 2] {
    let servers = crate::support::client().await.servers();
    let [first, second] = servers.try_into().expect("two servers");
    [Relay::to(first).await, Relay::to(second).await]
}

/// A client that hears of nothing but these relays.
pub(crate) async fn through(relays: &[Relay; 2], durable_id: &str) -> Client {
    let servers = relays.iter().map(|relay| relay.address.clone()).collect();
    let config = Config { locators: Vec::new(), servers, single_hop: false, ..config() };
    // What fails is noticed soon.
    let config = Config { ping_interval: Duration::from_millis(100), ..config };
    Client::connect(config.durable(durable_id, Duration::from_secs(300))).await.unwrap()
}
