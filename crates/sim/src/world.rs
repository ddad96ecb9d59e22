//! tidy: long because every event of the world and what it does are one table
//!
//! The world: replicas, server nodes, a network and faults under one scheduler and one virtual clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidelock_core::client::storage::StorageFailure;
use tidelock_core::client::{Config, Event as ClientEvent, Kept, Phase};
use tidelock_core::ids::{ChangelogId, DocumentId, Epoch, History};
use tidelock_core::limits::Limits;
use tidelock_server::{Bytes, TimeSource as _};
use tidelock_store::{Filter, MemoryCopy, MemoryStore};

use crate::database::ModelDatabase;
use crate::describe;
use crate::host::{Host, Request, StepOutcome};
use crate::node::{LinkId, Node, NodeConfig};
use crate::random::Random;
use crate::rules::{self, policies};
use crate::setback::Setbacks;
use crate::tasks::{TaskId, Tasks};
use crate::time::VirtualTime;
use crate::workload::Ledger;

/// When the virtual clock starts, milliseconds since 1970.
const START_MS: u64 = 1_700_000_000_000;
/// After faults stop, everything is to be drained within this.
pub(crate) const DRAIN_MS_MAX: u64 = 30_000;

/// Names a host: one life of one client.
pub type HostId = u64;

/// Everything.
pub struct World {
    pub(crate) now_ms: u64,
    pub(crate) random: Random,
    pub(crate) queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    pub(crate) hash: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) hosts: BTreeMap<HostId, Seat>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) next_id: u64,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) time: Arc<VirtualTime>,
    pub(crate) tasks: Tasks,
    /// Server nodes over the one store.
    pub(crate) nodes: Vec<Node>,
    pub(crate) node_config: NodeConfig,
    /// Tasks that were woken and have not run.
    pub(crate) scheduled: BTreeSet<TaskId>,
    /// When the clock wakes tasks next.
    pub(crate) tick_ms: Option<u64>,
    /// The rooms that each replica's identity may read.
    pub(crate) rooms: Vec<Vec<String>>,
    /// How many of a thousand rooms an identity is granted.
    pub(crate) room_per_mille: u64,
    pub(crate) ledger: Ledger,
    pub(crate) healed: bool,
    /// What is set back in this world.
    pub(crate) setbacks: Setbacks,
    /// The first thing that did not hold.
    pub(crate) violation: Option<String>,
    /// Most milliseconds that a message, a step or a piece of server work takes.
    latency_ms_max: u64,
    verbose: bool,
}

/// A database and the host that leads it.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) database: ModelDatabase,
    pub(crate) leader: HostId,
    pub(crate) writes: bool,
}

/// A running host.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) host: Host,
    pub(crate) replica: usize,
    pub(crate) link: Option<LinkId>,
    timer_ms: Option<u64>,
    stepping: bool,
    pub(crate) frozen: bool,
    pub(crate) interrupted: bool,
    pub(crate) backlog: Vec<Event>,
    /// Steps that fail from here on.
    pub(crate) failing: u64,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) host: HostId,
    pub(crate) up_ms: u64,
    pub(crate) down_ms: u64,
    /// Messages vanish, nobody is told.
    pub(crate) silent: bool,
    pub(crate) client_open: bool,
    pub(crate) server_open: bool,
    pub(crate) node: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Write(usize),
    Captured(HostId),
    Step(HostId),
    HostTimer(HostId),
    Connected(LinkId),
    ToServer(LinkId, Vec<u8>),
    ToClient(LinkId, Bytes),
    ClosedAtClient(LinkId),
    ClosedAtServer(LinkId),
    /// A task of a node runs.
    Run(TaskId),
    /// Time wakes tasks.
    Tick,
    Resolved(HostId, DocumentId, u64, Option<Vec<u8>>),
    Thaw(HostId),
    Fault,
}

impl World {
    /// A world that follows from `seed`.
    pub fn new(seed: u64, verbose: bool) -> Self {
        let mut random = Random::new(seed);
        let latency_ms_max = *random.pick(&[2, 20, 120, 400]).unwrap_or(&20);
        let node_config = node_config(&mut random, latency_ms_max);
        let room_per_mille = *random.pick(&[1_000, 600, 200]).unwrap_or(&600);
        let store = MemoryStore::open(MemoryCopy::default(), Epoch(7), ChangelogId(11), History(1));
        let store = Arc::new(store);
        let setbacks = Setbacks::draw(&mut random);
        let mut world = Self {
            now_ms: START_MS,
            random,
            queue: BTreeMap::new(),
            events: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            faults: BTreeMap::new(),
            replicas: Vec::new(),
            hosts: BTreeMap::new(),
            links: BTreeMap::new(),
            next_id: 0,
            store,
            time: Arc::new(VirtualTime::new(START_MS)),
            tasks: Tasks::default(),
            nodes: Vec::new(),
            node_config,
            scheduled: BTreeSet::new(),
            tick_ms: None,
            rooms: Vec::new(),
            room_per_mille,
            ledger: Ledger::default(),
            healed: false,
            setbacks,
            violation: None,
            latency_ms_max,
            verbose,
        };
        for _ in 0..world.random.between(1, 2) {
            let (changelog, seed) = (ChangelogId(world.random.any()), world.random.any());
            let node = Node::start(&world.store, changelog, &world.time, &mut world.tasks, node_config, seed);
            world.nodes.push(node);
        }
        let replicas = usize::try_from(world.random.between(2, 5)).unwrap_or(2);
        for index in 0..replicas {
            let writes = index > 0 || world.random.chance(500);
            world.replicas.push(Replica { database: ModelDatabase::new(), leader: 0, writes });
            world.rooms.push(Vec::new());
            world.draw_rooms(index);
            world.start_host(index);
        }
        world
    }

    /// Milliseconds of virtual time since the start.
    pub fn elapsed_ms(&self) -> u64 {
        self.now_ms - START_MS
    }

    /// Hash of everything that happened.
    pub fn trace_hash(&self) -> u64 {
        self.hash
    }

    /// Number of events.
    pub fn event_count(&self) -> u64 {
        self.events
    }

    /// Faults by kind.
    pub fn fault_counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.faults
    }

    pub(crate) fn note(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            let line = format!("{:>7} {}\n", self.elapsed_ms(), text());
            // A reader that went away does not matter.
            let _gone = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        }
    }

    /// Lets applications write and faults happen for `duration_ms`.
    pub fn begin(&mut self, duration_ms: u64) {
        for replica in 0..self.replicas.len() {
            if self.replicas.get(replica).is_some_and(|replica| replica.writes) {
                let count = self.random.between(1, 40);
                for _ in 0..count {
                    let at = self.random.below(duration_ms);
                    self.schedule(at, Event::Write(replica));
                }
            }
        }
        for _ in 0..self.random.below(20) {
            let at = self.random.below(duration_ms);
            self.schedule(at, Event::Fault);
        }
    }

    /// Handles the next event if it is due before `until_ms` of virtual time; whether it did.
    pub fn step(&mut self, until_ms: u64) -> bool {
        let Some(((at, _), _)) = self.queue.first_key_value() else {
            self.now_ms = self.now_ms.max(START_MS + until_ms);
            return false;
        };
        if *at > START_MS + until_ms {
            self.now_ms = START_MS + until_ms;
            return false;
        }
        let Some(((at, _), event)) = self.queue.pop_first() else { return false };
        self.now_ms = at.max(self.now_ms);
        self.time.set(self.now_ms);
        self.events += 1;
        self.trace(&event);
        self.handle(event);
        self.settle_nodes();
        true
    }

    /// Whether every leader says that it is synced.
    pub fn is_synced(&self) -> bool {
        self.replicas.iter().all(|replica| {
            self.hosts
                .get(&replica.leader)
                .is_some_and(|seat| seat.host.client().is_synced() && seat.host.client().status().phase == Phase::Live)
        })
    }

    pub(crate) fn schedule(&mut self, delay_ms: u64, event: Event) {
        self.next_id += 1;
        self.queue.insert((self.now_ms + delay_ms, self.next_id), event);
    }

    pub(crate) fn latency(&mut self) -> u64 {
        let scale = if self.random.chance(20) { 5 } else { 1 };
        self.random.below(self.latency_ms_max * scale)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Write(replica) => self.write(replica),
            Event::Fault => self.fault(),
            Event::Thaw(host) => self.thaw(host),
            Event::Connected(link) => self.connected(link),
            Event::ToServer(link, bytes) => self.at_server(link, |node| node.message(link, bytes)),
            Event::Run(task) => {
                self.scheduled.remove(&task);
                self.tasks.poll(task);
            }
            Event::Tick => {
                self.tick_ms = None;
                self.time.wake();
            }
            Event::ClosedAtServer(link) => {
                self.at_server(link, |node| node.disconnected(link));
                self.link(link, |open| open.server_open = false);
            }
            Event::Captured(host) | Event::Step(host) | Event::HostTimer(host) | Event::Resolved(host, ..) => {
                self.at_host(host, event);
            }
            Event::ToClient(link, _) | Event::ClosedAtClient(link) => {
                if let Some(host) = self.links.get(&link).map(|link| link.host) {
                    self.at_host(host, event);
                }
            }
        }
    }

    /// What happens at a host; a frozen one does it once it thaws.
    pub(crate) fn at_host(&mut self, id: HostId, event: Event) {
        let Some(seat) = self.hosts.get_mut(&id) else { return };
        if seat.frozen {
            return seat.backlog.push(event);
        }
        let now = self.now_ms;
        match event {
            Event::Captured(_) => self.tell(id, |client| client.handle_captured(now)),
            Event::Step(_) => self.step_host(id),
            Event::HostTimer(_) => {
                if seat.timer_ms.is_some_and(|at| at <= now) {
                    seat.timer_ms = None;
                }
                self.tell(id, |client| client.handle_timeout(now));
            }
            Event::Resolved(_, document, round, value) => {
                self.tell(id, |client| client.resolve(now, document, round, value));
            }
            Event::ToClient(link, bytes) if seat.link == Some(link) => {
                self.tell(id, |client| client.handle_message(now, &bytes));
            }
            Event::ClosedAtClient(link) if seat.link == Some(link) => {
                seat.link = None;
                self.link(link, |link| link.client_open = false);
                self.tell(id, |client| client.handle_disconnected(now, "closed"));
            }
            // Of an earlier connection, or not of a host.
            Event::ToClient(..)
            | Event::ClosedAtClient(_)
            | Event::Write(_)
            | Event::Connected(_)
            | Event::ToServer(..)
            | Event::ClosedAtServer(_)
            | Event::Run(_)
            | Event::Tick
            | Event::Thaw(_)
            | Event::Fault => {}
        }
    }

    pub(crate) fn tell(&mut self, id: HostId, call: impl FnOnce(&mut tidelock_core::client::Client)) {
        if let Some(seat) = self.hosts.get_mut(&id).filter(|seat| !seat.frozen) {
            seat.host.tell(call);
            self.settle_host(id);
        }
    }

    /// Carries out what a host asked for, and schedules its timer and its task.
    pub(crate) fn settle_host(&mut self, id: HostId) {
        let Some(seat) = self.hosts.get_mut(&id) else { return };
        for request in seat.host.take_requests() {
            self.request(id, request);
        }
        let Some(seat) = self.hosts.get_mut(&id) else { return };
        if let Some(at) = seat.host.client().next_timeout_ms()
            && seat.timer_ms.is_none_or(|timer| timer > at)
        {
            seat.timer_ms = Some(at);
            let delay = at.saturating_sub(self.now_ms);
            self.schedule(delay, Event::HostTimer(id));
        }
        let Some(seat) = self.hosts.get_mut(&id) else { return };
        if seat.host.has_task() && !seat.stepping {
            seat.stepping = true;
            let delay = self.latency() / 8;
            self.schedule(delay, Event::Step(id));
        }
    }

    fn request(&mut self, host: HostId, request: Request) {
        match request {
            Request::Connect => self.connect(host),
            Request::Send(bytes) => self.send_up(host, bytes),
            Request::Disconnect => {
                if let Some(link) = self.hosts.get_mut(&host).and_then(|seat| seat.link.take()) {
                    self.link(link, |link| link.client_open = false);
                    let delay = self.latency();
                    self.schedule(delay, Event::ClosedAtServer(link));
                }
            }
            Request::Event(event) => self.application_event(host, event),
        }
    }

    fn application_event(&mut self, host: HostId, event: ClientEvent) {
        self.note(|| format!("host {host}: {event:?}").chars().take(400).collect());
        match event {
            ClientEvent::Resolve { id, round, mine, theirs, .. } => {
                let value = if self.random.chance(700) { mine } else { theirs };
                let delay = self.latency();
                self.schedule(delay, Event::Resolved(host, id, round, value));
            }
            ClientEvent::Status(_)
            | ClientEvent::Changed { .. }
            | ClientEvent::Rejected { .. }
            | ClientEvent::Conflicts(_)
            | ClientEvent::Problem { .. }
            | ClientEvent::Fenced => {}
        }
    }

    fn step_host(&mut self, id: HostId) {
        let now = self.now_ms;
        let Some(seat) = self.hosts.get_mut(&id) else { return };
        let Some(replica) = self.replicas.get_mut(seat.replica) else { return };
        seat.stepping = false;
        let outcome = if seat.failing > 0 && seat.host.has_task() {
            seat.failing -= 1;
            let failures = [StorageFailure::Quota, StorageFailure::Closed, StorageFailure::Other];
            let failure = self.random.pick(&failures).copied().unwrap_or(StorageFailure::Other);
            seat.host.fail(&mut replica.database, now, failure);
            StepOutcome::Aborted
        } else {
            seat.host.step(&mut replica.database, now)
        };
        self.settle_host(id);
        if outcome == StepOutcome::Committed {
            self.check_step(id);
        }
    }

    fn write(&mut self, replica: usize) {
        let now = self.now_ms;
        let Some(target) = self.replicas.get_mut(replica) else { return };
        let leader = target.leader;
        if self.ledger.write(replica, &mut target.database, now, &mut self.random) {
            let delay = self.latency() / 4;
            self.schedule(delay, Event::Captured(leader));
        } else {
            // The task's transaction runs: IndexedDB queues this one behind it.
            self.schedule(1, Event::Write(replica));
        }
    }

    pub(crate) fn start_host(&mut self, replica: usize) -> HostId {
        self.next_id += 1;
        let id = self.next_id;
        let config = Config {
            database: "main".into(),
            collections: policies().keys().cloned().collect(),
            channels: None,
            resolver: true,
            offline: false,
            kept: Kept::default(),
        };
        let host = Host::new(config, self.random.any(), self.now_ms);
        let seat = Seat {
            host,
            replica,
            link: None,
            timer_ms: None,
            stepping: false,
            frozen: false,
            interrupted: false,
            backlog: Vec::new(),
            failing: 0,
        };
        self.hosts.insert(id, seat);
        if let Some(replica) = self.replicas.get_mut(replica) {
            replica.leader = id;
        }
        self.settle_host(id);
        id
    }

    fn trace(&mut self, event: &Event) {
        self.note(|| event.readable());
        let text = event.summary();
        for byte in text.bytes().chain(self.now_ms.to_be_bytes()) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Event {
    /// What the hash of the trace takes of it.
    fn summary(&self) -> String {
        if let Event::ToServer(link, bytes) = self {
            return format!("up {link} {}", bytes.len());
        }
        if let Event::ToClient(link, bytes) = self {
            return format!("down {link} {}", bytes.len());
        }
        format!("{self:?}")
    }

    fn readable(&self) -> String {
        if let Event::ToServer(link, bytes) = self {
            return format!("up {link} {}", describe::client_message(bytes));
        }
        if let Event::ToClient(link, bytes) = self {
            return format!("down {link} {}", describe::server_message(bytes));
        }
        format!("{self:?}")
    }
}

impl World {
    /// What a replica's identity may read, as the rules say.
    pub(crate) fn filter_of(&self, replica: usize) -> Filter {
        rules::filter(&subject_of(replica), self.rooms.get(replica).map_or(&[], Vec::as_slice))
    }

    /// A token of a replica's identity, with what is granted to it at this moment.
    pub(crate) fn token_of(&self, replica: usize) -> String {
        let rooms = self.rooms.get(replica).map_or(&[][..], Vec::as_slice);
        rules::token(&subject_of(replica), rooms, self.time.now_ms())
    }
}

/// The identity of a replica's user.
pub(crate) fn subject_of(replica: usize) -> String {
    format!("user{replica}")
}

/// Small limits, so that few documents already make pages, frames and windows.
fn node_config(random: &mut Random, latency_ms_max: u64) -> NodeConfig {
    let small = random.chance(500);
    let limits = Limits {
        document_bytes_max: 1_500,
        frame_bytes_max: if small { 8 << 10 } else { 4 << 20 },
        push_window_mutations_max: *random.pick(&[2_u32, 8, 256]).unwrap_or(&256),
        silence_ms_max: 9_000,
        ..Limits::default()
    };
    let page_bytes_max = *random.pick(&[1, 300, 512 << 10]).unwrap_or(&300);
    NodeConfig { limits, page_bytes_max, store_ms_max: random.below(latency_ms_max / 4 + 1) }
}
