//! A server node: the real connections, rules, pipeline and fan-out over a store, on a virtual network.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tidelock_core::ids::ChangelogId;
use tidelock_core::limits::Limits;
use tidelock_server::config::LimitsConfig;
use tidelock_server::{
    App, Bytes, Clock, Database, GatewayOptions, Hub, Metrics, Surroundings, Transport, TransportEvent, host,
};
use tidelock_store::MemoryStore;

use crate::rules;
use crate::slow::SlowStore;
use crate::tasks::{TaskId, Tasks};
use crate::time::VirtualTime;

/// Not asked for: the simulation itself decides when tombstones go.
const TOMBSTONES_KEPT: Duration = Duration::MAX;

/// Names a connection.
pub(crate) type LinkId = u64;

/// What a node does on the network.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// Sends a message.
    Send(LinkId, Bytes),
    /// Closes a connection after what was sent.
    Close(LinkId),
}

/// How a node is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeConfig {
    pub(crate) limits: Limits,
    pub(crate) page_bytes_max: usize,
    /// Most milliseconds that the store takes for an answer.
    pub(crate) store_ms_max: u64,
}

/// A node that runs.
pub(crate) struct Node {
    app: Arc<App>,
    store: Arc<SlowStore>,
    pub(crate) changelog: ChangelogId,
    hub: TaskId,
    wires: Arc<Mutex<Wires>>,
    links: BTreeMap<LinkId, TaskId>,
}

/// The server's ends of its connections.
#[derive(Default)]
struct Wires {
    open: BTreeMap<LinkId, Wire>,
    outputs: Vec<Output>,
}

#[derive(Default)]
struct Wire {
    arrived: VecDeque<Vec<u8>>,
    closed: bool,
    waker: Option<Waker>,
}

impl Node {
    /// Starts a node over `store`; everything random follows from `seed`.
    pub(crate) fn start(
        store: &Arc<MemoryStore>,
        changelog: ChangelogId,
        time: &Arc<VirtualTime>,
        tasks: &mut Tasks,
        config: NodeConfig,
        seed: u64,
    ) -> Self {
        let metrics = Arc::new(Metrics::default());
        let slow = Arc::new(SlowStore::new(Arc::clone(store), changelog, Arc::clone(time), seed, config.store_ms_max));
        let (as_store, as_changelog) = (Arc::clone(&slow), Arc::clone(&slow));
        let database = Arc::new(Database::new(
            "main",
            as_store,
            as_changelog,
            rules::rules(),
            config.limits,
            TOMBSTONES_KEPT,
            Arc::clone(&metrics),
        ));
        let limits =
            LimitsConfig { protocol: config.limits, messages_per_second_max: 5_000, ..LimitsConfig::default() };
        let surroundings = Surroundings {
            clock: Clock::following(Arc::clone(time) as _),
            session_seed: seed,
            page_bytes_max: config.page_bytes_max,
        };
        let options = GatewayOptions { limits, ..GatewayOptions::default() };
        let app = App::within(surroundings, options, rules::authenticator(), vec![Arc::clone(&database)], metrics);
        let hub = tasks.spawn(Box::pin(Hub::run(database)));
        Self { app: Arc::new(app), store: slow, changelog, hub, wires: Arc::default(), links: BTreeMap::new() }
    }

    /// The process ends: what is under way stops where it stands.
    pub(crate) fn end(self, tasks: &mut Tasks) {
        tasks.end(self.hub);
        self.links.values().for_each(|task| tasks.end(*task));
    }

    /// The next calls of the store fail.
    pub(crate) fn fail_store(&self, calls: u64) {
        self.store.fail(calls);
    }

    /// A connection was accepted.
    pub(crate) fn connected(&mut self, link: LinkId, tasks: &mut Tasks) {
        self.wires().open.insert(link, Wire::default());
        let transport = LinkTransport { link, wires: Arc::clone(&self.wires), taken: 0 };
        let task = tasks.spawn(Box::pin(host(Arc::clone(&self.app), transport)));
        self.links.insert(link, task);
    }

    /// A connection is gone.
    pub(crate) fn disconnected(&self, link: LinkId) {
        if let Some(wire) = self.wires().open.get_mut(&link) {
            wire.closed = true;
            wire.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    /// A message arrived.
    pub(crate) fn message(&self, link: LinkId, bytes: Vec<u8>) {
        if let Some(wire) = self.wires().open.get_mut(&link) {
            wire.arrived.push_back(bytes);
            wire.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    /// What the node did on the network, in order.
    pub(crate) fn take_outputs(&self) -> Vec<Output> {
        std::mem::take(&mut self.wires().outputs)
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The transport of one connection.
struct LinkTransport {
    link: LinkId,
    wires: Arc<Mutex<Wires>>,
    taken: u64,
}

impl LinkTransport {
    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for LinkTransport {
    fn push(&mut self, message: Bytes) {
        self.taken += 1;
        self.wires().outputs.push(Output::Send(self.link, message));
    }

    fn push_close(&mut self, _code: u16, _reason: &str) {
        self.wires().outputs.push(Output::Close(self.link));
    }

    fn queued_bytes(&self) -> usize {
        0
    }

    fn taken(&self) -> u64 {
        self.taken
    }

    fn is_writing(&self) -> bool {
        false
    }

    fn poll_next(&mut self, context: &mut Context<'_>, reads: bool) -> Poll<TransportEvent> {
        let mut wires = self.wires();
        let Some(wire) = wires.open.get_mut(&self.link) else { return Poll::Ready(TransportEvent::Closed) };
        if reads && let Some(bytes) = wire.arrived.pop_front() {
            return Poll::Ready(TransportEvent::Message(bytes.into()));
        }
        if wire.closed {
            return Poll::Ready(TransportEvent::Closed);
        }
        wire.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for LinkTransport {
    fn drop(&mut self) {
        let mut wires = self.wires();
        wires.open.remove(&self.link);
        wires.outputs.push(Output::Close(self.link));
    }
}

/// Polls a future of the memory store, which is ready at once.
pub(crate) fn ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future of the memory store is ready when it is first polled"),
    }
}
