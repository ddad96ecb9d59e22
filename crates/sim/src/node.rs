//! A server node: the real connections, rules, pipeline and fan-out over a store, on a virtual network.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::{OptionFuture, join, join_all};
use tidelock_core::ids::ChangelogId;
use tidelock_core::limits::Limits;
use tidelock_server::config::LimitsConfig;
use tidelock_server::rules::RulesInForce;
use tidelock_server::{
    App, Bytes, Clock, Database, GatewayOptions, Metrics, Surroundings, TimeSource, Transport, TransportEvent, host,
};
use tidelock_store::BoxFuture;

use crate::journal::Journal;
use crate::rules::Settings;
use crate::site::{Access, Opened, Opening};
use crate::slow::{SlowStore, Trap};
use crate::tasks::{TaskId, Tasks};
use crate::time::{SkewedTime, VirtualTime};
use crate::versions::Version;

/// How long the servers' own task remembers deletes: months pass in some runs. The fault `tombstones` forgets sooner.
pub(crate) const TOMBSTONES_KEPT: Duration = Duration::from_secs(21 * 86_400);

/// A process that could not open its store tries again after this many milliseconds.
const START_AGAIN_MS: u64 = 500;

/// Names a connection.
pub(crate) type LinkId = u64;

/// What a node does on the network.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// Sends a message, which the server made at this time.
    Send(LinkId, Bytes, u64),
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

/// What every node stands on.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) journal: Arc<Journal>,
    pub(crate) time: Arc<VirtualTime>,
}

/// What differs between the lives of nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) changelog: ChangelogId,
    pub(crate) version: Version,
    /// Everything random follows from it.
    pub(crate) seed: u64,
    /// How far its clock is ahead, in milliseconds.
    pub(crate) skew_ms: i64,
    pub(crate) settings: Settings,
}

/// A node's process: first it opens its store, then it serves.
pub(crate) struct Node {
    pub(crate) changelog: ChangelogId,
    pub(crate) version: Version,
    serving: Slot,
    /// The process, and reloads of its configuration.
    background: Vec<TaskId>,
    wires: Arc<Mutex<Wires>>,
    time: Arc<VirtualTime>,
    links: BTreeMap<LinkId, TaskId>,
    /// The configuration that the operator asked for last.
    wanted: Arc<Mutex<Settings>>,
}

/// What a node has once its store is open.
#[derive(Clone)]
struct Serving {
    app: Arc<App>,
    store: Arc<SlowStore>,
    /// The configuration in force; held while it is replaced.
    in_force: Arc<tokio::sync::Mutex<Settings>>,
}

type Slot = Arc<Mutex<Option<Serving>>>;

impl Serving {
    /// Brings the configuration that is wanted into force, after those before it.
    async fn reload(self, wanted: Arc<Mutex<Settings>>) {
        let mut before = self.in_force.lock().await;
        let settings = *wanted.lock().unwrap_or_else(PoisonError::into_inner);
        // A store that fails leaves the present rules in force: the operator tries again.
        while self.app.reload(settings.config(), before.config()).await.is_err() {}
        *before = settings;
    }
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
    /// What the peer does not take, while it takes nothing.
    held: Option<VecDeque<Output>>,
    /// Messages taken.
    taken: u64,
    /// Everything held was taken, which the connection is to be told.
    flushed: bool,
}

impl Node {
    /// Starts a node.
    pub(crate) fn start(opening: Opening, ground: &Ground, life: Life, tasks: &mut Tasks, config: NodeConfig) -> Self {
        let (serving, wanted) = (Slot::default(), Arc::new(Mutex::new(life.settings)));
        let process = Process { ground: ground.clone(), life, config };
        let process = process.run(opening, Arc::clone(&serving), Arc::clone(&wanted));
        Self {
            changelog: life.changelog,
            version: life.version,
            serving,
            background: vec![tasks.spawn(Box::pin(process))],
            wires: Arc::default(),
            time: Arc::clone(&ground.time),
            links: BTreeMap::new(),
            wanted,
        }
    }

    /// Another configuration comes into force, in its own time.
    pub(crate) fn reload(&mut self, settings: Settings, tasks: &mut Tasks) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = settings;
        if let Some(serving) = self.serving() {
            self.background.push(tasks.spawn(Box::pin(serving.reload(Arc::clone(&self.wanted)))));
        }
    }

    /// Whether it opened its store.
    pub(crate) fn is_serving(&self) -> bool {
        self.serving().is_some()
    }

    /// `None` while the store is being opened.
    fn serving(&self) -> Option<Serving> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The process dies between the next commit and its answer.
    pub(crate) fn set_trap(&self, trap: Trap) {
        self.serving().into_iter().for_each(|serving| serving.store.set_trap(trap));
    }

    /// Whether that commit was made.
    pub(crate) fn is_trapped(&self) -> bool {
        self.serving().is_some_and(|serving| serving.store.trap() == Trap::Sprung)
    }

    /// The peer of a connection takes nothing from here on.
    pub(crate) fn stall(&self, link: LinkId) {
        if let Some(wire) = self.wires().open.get_mut(&link) {
            wire.held.get_or_insert_default();
        }
    }

    /// The peer of a connection takes what waits for it.
    pub(crate) fn unstall(&self, link: LinkId) {
        let mut wires = self.wires();
        let Some(wire) = wires.open.get_mut(&link) else { return };
        let Some(held) = wire.held.take() else { return };
        wire.taken += held.len() as u64;
        wire.flushed = true;
        wire.waker.take().into_iter().for_each(Waker::wake);
        wires.outputs.extend(held);
    }

    /// The process ends: what is under way stops where it stands.
    pub(crate) fn end(self, tasks: &mut Tasks) {
        self.background.iter().for_each(|task| tasks.end(*task));
        self.links.values().for_each(|task| tasks.end(*task));
    }

    /// The next calls of the store fail.
    pub(crate) fn fail_store(&self, calls: u64) {
        self.serving().into_iter().for_each(|serving| serving.store.fail(calls));
    }

    /// Somebody connects; nobody answers before the node serves.
    pub(crate) fn connected(&mut self, link: LinkId, tasks: &mut Tasks) {
        let Some(serving) = self.serving() else { return self.wires().outputs.push(Output::Close(link)) };
        self.wires().open.insert(link, Wire::default());
        let transport = LinkTransport { link, wires: Arc::clone(&self.wires), time: Arc::clone(&self.time) };
        let task = tasks.spawn(Box::pin(host(serving.app, transport)));
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

/// How a process was started.
struct Process {
    ground: Ground,
    life: Life,
    config: NodeConfig,
}

impl Process {
    /// Opens the store, trying again while that fails, and serves it for ever.
    async fn run(self, opening: Opening, slot: Slot, wanted: Arc<Mutex<Settings>>) {
        let rules = self.life.settings.rules();
        let rules = Arc::new(RulesInForce::new(rules, self.config.limits.document_bytes_max));
        let Opened { access, task, complete } = loop {
            if let Ok(opened) = opening(Arc::clone(&rules)).await {
                break opened;
            }
            let at_ms = self.ground.time.now_ms() + START_AGAIN_MS;
            poll_fn(|context| self.ground.time.poll_until(at_ms, context)).await;
        };
        let serve = async {
            OptionFuture::from(complete).await;
            let (serving, background) = self.serve(access, rules);
            slot.lock().unwrap_or_else(PoisonError::into_inner).replace(serving.clone());
            join(join_all(background), serving.reload(wanted)).await;
        };
        join(OptionFuture::from(task), serve).await;
    }

    fn serve(&self, access: Access, rules: Arc<RulesInForce>) -> (Serving, [BoxFuture<'static, ()>; 3]) {
        let Self { ground, life: Life { seed, skew_ms, settings, .. }, config } = self;
        let metrics = Arc::new(Metrics::default());
        let slow = Arc::new(SlowStore::new(access, ground.clone(), *seed, config.store_ms_max));
        let (as_store, as_changelog) = (Arc::clone(&slow), Arc::clone(&slow));
        let database = Arc::new(Database::over(
            "main",
            as_store,
            as_changelog,
            rules,
            config.limits,
            TOMBSTONES_KEPT,
            Arc::clone(&metrics),
        ));
        let limits =
            LimitsConfig { protocol: config.limits, messages_per_second_max: 5_000, ..LimitsConfig::default() };
        let surroundings = Surroundings {
            clock: Clock::following(Arc::new(SkewedTime::new(Arc::clone(&ground.time), *skew_ms))),
            session_seed: *seed,
            page_bytes_max: config.page_bytes_max,
        };
        let options = GatewayOptions { limits, ..GatewayOptions::default() };
        let background = database.tasks(&surroundings.clock);
        let app = Arc::new(App::within(surroundings, options, settings.authenticator(), vec![database], metrics));
        (Serving { app, store: slow, in_force: Arc::new(tokio::sync::Mutex::new(*settings)) }, background)
    }
}

/// The transport of one connection.
struct LinkTransport {
    link: LinkId,
    wires: Arc<Mutex<Wires>>,
    time: Arc<VirtualTime>,
}

impl LinkTransport {
    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends, unless the peer takes nothing.
    fn put(&self, output: Output) {
        let mut wires = self.wires();
        match wires.open.get_mut(&self.link) {
            Some(Wire { held: Some(held), .. }) => held.push_back(output),
            Some(wire) => {
                wire.taken += 1;
                wires.outputs.push(output);
            }
            None => {}
        }
    }

    fn of_wire<R: Default>(&self, look: impl FnOnce(&Wire) -> R) -> R {
        self.wires().open.get(&self.link).map(look).unwrap_or_default()
    }
}

impl Transport for LinkTransport {
    fn push(&mut self, message: Bytes) {
        let now_ms = self.time.now_ms();
        self.put(Output::Send(self.link, message, now_ms));
    }

    fn push_close(&mut self, _code: u16, _reason: &str) {
        self.put(Output::Close(self.link));
    }

    fn queued_bytes(&self) -> usize {
        let bytes = |output: &Output| if let Output::Send(_, bytes, _) = output { bytes.len() } else { 0 };
        self.of_wire(|wire| wire.held.iter().flatten().map(bytes).sum())
    }

    fn taken(&self) -> u64 {
        self.of_wire(|wire| wire.taken)
    }

    fn is_writing(&self) -> bool {
        self.of_wire(|wire| wire.held.as_ref().is_some_and(|held| !held.is_empty()))
    }

    fn poll_next(&mut self, context: &mut Context<'_>, reads: bool) -> Poll<TransportEvent> {
        let mut wires = self.wires();
        let Some(wire) = wires.open.get_mut(&self.link) else { return Poll::Ready(TransportEvent::Closed) };
        if std::mem::take(&mut wire.flushed) {
            return Poll::Ready(TransportEvent::Flushed);
        }
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
