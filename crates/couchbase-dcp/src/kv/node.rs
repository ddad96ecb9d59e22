//! The connection to one node, as a task: it sends what it is given and hands answers to those who wait for them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::address::Address;
use crate::config::Config;
use crate::connection::{Connection, Purpose};
use crate::error::Error;
use crate::limits::{OUTPUT_BYTES_MAX, REQUESTS_WAITING_MAX};
use crate::monitor::read_id;
use crate::output::Output;
use crate::wire::codes::opcode;
use crate::wire::packet::{Outgoing, Packet};
use crate::wire::request;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The request did not reach the node.
    NotSent(Error),
    /// It may have been carried out.
    Unknown(Error),
}

/// A request, and who waits for its answer.
struct Order {
    request: Outgoing,
    answer: oneshot::Sender<Result<Packet, Unanswered>>,
}

/// A node. Its task ends when this is dropped.
#[derive(Debug)]
pub(super) struct Node {
    address: Address,
    /// Closed when the connection has ended.
    orders: mpsc::Sender<Order>,
    /// Ids of collections by path. They are of this connection: after it the bucket may be another one, with the same numbers.
    collections: Mutex<BTreeMap<String, u32>>,
    /// Nothing came for too long: it is of no use to the next request either.
    is_silent: AtomicBool,
    task: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    pub(super) fn start(address: Address, config: Arc<Config>) -> Self {
        let (orders, mut given) = mpsc::channel(REQUESTS_WAITING_MAX);
        let named = address.clone();
        let task = tokio::spawn(async move {
            let mut sent = HashMap::new();
            let error = match Connection::open_member(&address, &config, Purpose::Documents).await {
                Ok(connection) => match run(connection, &mut given, &mut sent).await {
                    Ok(never) => match never {},
                    Err(error) => error,
                },
                Err(error) => error,
            };
            given.close();
            for (_, answer) in sent.drain() {
                // Whoever waits no more needs no answer.
                let _ = answer.send(Err(Unanswered::Unknown(error.clone())));
            }
            while let Ok(order) = given.try_recv() {
                let _ = order.answer.send(Err(Unanswered::NotSent(error.clone())));
            }
        });
        Self { address: named, orders, collections: Mutex::default(), is_silent: AtomicBool::new(false), task }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.orders.is_closed() && !self.is_silent.load(Ordering::Relaxed)
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&self, request: Outgoing, deadline: Instant) -> Result<Packet, Unanswered> {
        let (answer, answered) = oneshot::channel();
        let gone = || Error::Connection(format!("the connection to {} has ended", self.address));
        let late = || Error::Timeout(format!("a request to {}", self.address));
        match timeout_at(deadline, self.orders.send(Order { request, answer })).await {
            Err(_) => return Err(Unanswered::NotSent(late())),
            Ok(Err(_)) => return Err(Unanswered::NotSent(gone())),
            Ok(Ok(())) => {}
        }
        match timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Unanswered::Unknown(gone())),
            Err(_) => {
                self.is_silent.store(true, Ordering::Relaxed);
                Err(Unanswered::Unknown(late()))
            }
        }
    }

    /// The id of a collection: the one that it had, or as [`Self::ask_id`] finds it.
    pub(super) async fn id_of(&self, path: &str, deadline: Instant) -> Result<u32, Unanswered> {
        if let Some(id) = self.collections().get(path) {
            return Ok(*id);
        }
        self.ask_id(path, deadline).await
    }

    pub(super) async fn ask_id(&self, path: &str, deadline: Instant) -> Result<u32, Unanswered> {
        let answer = self.ask(request::id_of(opcode::GET_COLLECTION_ID, path), deadline).await?;
        let (_, id) = read_id(&answer, path).map_err(Unanswered::NotSent)?;
        self.collections().insert(path.to_owned(), id);
        Ok(id)
    }

    pub(super) fn forget(&self, path: &str) {
        self.collections().remove(path);
    }

    fn collections(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.collections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Waiting = HashMap<u32, oneshot::Sender<Result<Packet, Unanswered>>>;

async fn run(
    connection: Connection,
    orders: &mut mpsc::Receiver<Order>,
    sent: &mut Waiting,
) -> Result<std::convert::Infallible, Error> {
    let Connection { mut reader, mut writer } = connection;
    let mut output = Output::default();
    let mut opaque = 0_u32;
    loop {
        tokio::select! {
            filled = reader.fill() => {
                filled?;
                while let Some(packet) = reader.take()? {
                    if packet.is_response() && let Some(answer) = sent.remove(&packet.opaque) {
                        let _ = answer.send(Ok(packet));
                    }
                }
            }
            order = orders.recv(), if output.len() < OUTPUT_BYTES_MAX => {
                let Order { request, answer } = order.ok_or_else(|| Error::Connection("the client is gone".into()))?;
                opaque = opaque.wrapping_add(1);
                output.push(&Outgoing { opaque, ..request });
                sent.insert(opaque, answer);
            }
            sent = output.send(&mut writer), if !output.is_sent() => sent?,
        }
    }
}
