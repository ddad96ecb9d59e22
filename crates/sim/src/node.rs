//! A server node: the real connections, rules, pipeline and fan-out over a store, on a virtual network.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::{OptionFuture, join};
use tidelock_core::limits::Limits;
use tidelock_server::config::LimitsConfig;
use tidelock_server::{
    App, Bytes, Clock, Database, GatewayOptions, Hub, Metrics, Surroundings, TimeSource, Transport, TransportEvent,
    host,
};

use crate::rules;
use crate::site::{Opened, Opening};
use crate::slow::SlowStore;
use crate::tasks::{TaskId, Tasks};
use crate::time::VirtualTime;

/// Not asked for: the simulation itself decides when tombstones go.
const TOMBSTONES_KEPT: Duration = Duration::MAX;

/// A process that could not open its store is started again after this many milliseconds.
const START_AGAIN_MS: u64 = 500;

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

/// A node's process: first it opens its store, then it serves.
pub(crate) struct Node {
    serving: Arc<Mutex<Option<Serving>>>,
    process: TaskId,
    wires: Arc<Mutex<Wires>>,
    links: BTreeMap<LinkId, TaskId>,
}

/// What a node has once its store is open.
struct Serving {
    app: Arc<App>,
    store: Arc<SlowStore>,
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
    /// Starts a node over what `opening` opens; everything random follows from `seed`.
    pub(crate) fn start(
        opening: Opening,
        time: &Arc<VirtualTime>,
        tasks: &mut Tasks,
        config: NodeConfig,
        seed: u64,
    ) -> Self {
        let serving = Arc::default();
        let process = run(opening, Arc::clone(time), config, seed, Arc::clone(&serving));
        let process = tasks.spawn(Box::pin(process));
        Self { serving, process, wires: Arc::default(), links: BTreeMap::new() }
    }

    /// The process ends: what is under way stops where it stands.
    pub(crate) fn end(self, tasks: &mut Tasks) {
        tasks.end(self.process);
        self.links.values().for_each(|task| tasks.end(*task));
    }

    /// The next calls of the store fail.
    pub(crate) fn fail_store(&self, calls: u64) {
        if let Some(serving) = &*self.serving() {
            serving.store.fail(calls);
        }
    }

    /// Somebody connects; nobody answers before the node serves.
    pub(crate) fn connected(&mut self, link: LinkId, tasks: &mut Tasks) {
        let Some(app) = self.serving().as_ref().map(|serving| Arc::clone(&serving.app)) else {
            return self.wires().outputs.push(Output::Close(link));
        };
        self.wires().open.insert(link, Wire::default());
        let transport = LinkTransport { link, wires: Arc::clone(&self.wires), taken: 0 };
        let task = tasks.spawn(Box::pin(host(app, transport)));
        self.links.insert(link, task);
    }

    fn serving(&self) -> MutexGuard<'_, Option<Serving>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A process: opens the store, trying again while it fails, and serves it for ever.
async fn run(
    opening: Opening,
    time: Arc<VirtualTime>,
    config: NodeConfig,
    seed: u64,
    serving: Arc<Mutex<Option<Serving>>>,
) {
    let Opened { access, task, complete } = loop {
        match opening().await {
            Ok(opened) => break opened,
            Err(_) => {
                let at_ms = time.now_ms() + START_AGAIN_MS;
                poll_fn(|context| time.poll_until(at_ms, context)).await;
            }
        }
    };
    let serve = async {
        if let Some(complete) = complete {
            complete.await;
        }
        let metrics = Arc::new(Metrics::default());
        let slow = Arc::new(SlowStore::new(access, Arc::clone(&time), seed, config.store_ms_max));
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
            clock: Clock::following(Arc::clone(&time) as _),
            session_seed: seed,
            page_bytes_max: config.page_bytes_max,
        };
        let options = GatewayOptions { limits, ..GatewayOptions::default() };
        let app = App::within(surroundings, options, rules::authenticator(), vec![Arc::clone(&database)], metrics);
        let app = Serving { app: Arc::new(app), store: slow };
        serving.lock().unwrap_or_else(PoisonError::into_inner).replace(app);
        Hub::run(database).await;
    };
    join(OptionFuture::from(task), serve).await;
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
