//! tidy: long because every event of the world and what it does are one table
//!
//! The world: replicas, server nodes, a network and faults under one scheduler and one virtual clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidelock_core::client::storage::StorageFailure;
use tidelock_core::client::{Config, Event as ClientEvent, Kept, Phase};
use tidelock_core::ids::{ChangelogId, DocumentId};
use tidelock_core::limits::Limits;
use tidelock_core::wire::ErrorCode;
use tidelock_server::{Bytes, TimeSource as _};

use crate::check::{Checkers, Options, Violation};
use crate::database::ModelDatabase;
use crate::describe;
use crate::faults::Setbacks;
use crate::host::{Host, Request, StepOutcome};
use crate::node::{Ground, Life, LinkId, Node, NodeConfig};
use crate::plan::{Plan, What};
use crate::random::Random;
use crate::rules::{Settings, policies};
use crate::site::{self, Site};
use crate::tasks::{TaskId, Tasks};
use crate::time::VirtualTime;
use crate::versions::Version;
use crate::workload::{Ledger, Writer};

/// When the virtual clock starts, milliseconds since 1970.
const START_MS: u64 = 1_700_000_000_000;
/// After faults stop, everything is to be drained within this.
pub(crate) const DRAIN_MS_MAX: u64 = 30_000;
/// How long it takes to get another token.
const SIGN_IN_MS: u64 = 1_000;

/// Names a host: one life of one client.
pub type HostId = u64;

/// Everything.
pub struct World {
    pub(crate) now_ms: u64,
    /// Where elapsed time is counted from: time in which everybody was away does not count.
    pub(crate) start_ms: u64,
    pub(crate) random: Random,
    pub(crate) queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    pub(crate) hash: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) hosts: BTreeMap<HostId, Seat>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) next_id: u64,
    pub(crate) ground: Ground,
    /// Where the documents are.
    pub(crate) site: Box<dyn Site>,
    pub(crate) time: Arc<VirtualTime>,
    /// The configuration of the servers.
    pub(crate) settings: Settings,
    pub(crate) checkers: Checkers,
    pub(crate) plan: Plan,
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
    pub(crate) setbacks: Setbacks,
    /// Whether processes are of several versions.
    pub(crate) mixed: bool,
    /// Servers that served when everyone was last told of the network.
    pub(crate) serving: usize,
    /// The first thing that did not hold.
    pub(crate) violation: Option<Violation>,
    /// Most milliseconds that a message, a step or a piece of server work takes.
    pub(crate) latency_ms_max: u64,
    options: Options,
    /// The schedule in words, as far as it happened.
    pub(crate) told: Vec<String>,
}

/// A database and the host that leads it.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) database: ModelDatabase,
    pub(crate) leader: HostId,
    pub(crate) writes: bool,
    /// Whether it takes part in the run at all.
    pub(crate) takes_part: bool,
    /// The version of its application.
    pub(crate) version: Version,
    /// Names its session: another one once its storage was set back.
    pub(crate) session: i64,
    /// How far the clock of its machine is ahead.
    pub(crate) wall_skew_ms: i64,
    /// Rooms that its identity could read at any time.
    pub(crate) granted: Vec<String>,
    /// Entries of the list of rejected mutations that were looked at.
    pub(crate) rejected_checked: usize,
}

/// A running host.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each may hold without the others")]
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
    /// The machine stops within the next transaction.
    pub(crate) dies_in_task: bool,
    /// How far its clock is ahead: it never goes back.
    pub(crate) skew_ms: i64,
}

/// A connection.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each may hold without the others")]
pub(crate) struct Link {
    pub(crate) host: HostId,
    pub(crate) up_ms: u64,
    pub(crate) down_ms: u64,
    /// Messages vanish, nobody is told.
    pub(crate) silent: bool,
    /// The client takes nothing.
    pub(crate) stalled: bool,
    /// Until when messages take so much longer.
    pub(crate) slow: Option<(u64, u64)>,
    pub(crate) client_open: bool,
    pub(crate) server_open: bool,
    pub(crate) node: usize,
    /// The versions of both sides, since it is open.
    pub(crate) client: Version,
    pub(crate) server: Version,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// An item of the plan.
    Item(usize),
    Unstall(LinkId),
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
    /// The application has a fresh token.
    SignedIn(HostId),
    Resolved(HostId, DocumentId, u64, Option<Vec<u8>>),
    Thaw(HostId),
    /// An application that was refused for its version is replaced.
    Updated(usize),
    /// A writer that knows nothing of the servers stores what it made of what it read before.
    ForeignStore(DocumentId, Vec<u8>),
    /// Everybody would leave for some time, as a fault at this client; not after a time.
    Leave {
        replica: usize,
        away_ms: u64,
        until_ms: u64,
    },
}

impl World {
    /// A world that follows from `seed`.
    pub fn new(seed: u64, options: &Options) -> Self {
        let mut random = Random::new(seed);
        let latency_ms_max = *random.pick(&[2, 20, 120, 400]).unwrap_or(&20);
        let node_config = node_config(&mut random, latency_ms_max);
        let room_per_mille = *random.pick(&[1_000, 600, 200]).unwrap_or(&600);
        let time = Arc::new(VirtualTime::new(START_MS));
        let site = site::draw(&mut random, &time, options.sites, options.verbose);
        let checkers = Checkers::new(site.is_in_one_order());
        let mut world = Self {
            now_ms: START_MS,
            setbacks: Setbacks::draw(&mut random),
            mixed: Self::draw_mixed(&mut random),
            start_ms: START_MS,
            random,
            queue: BTreeMap::new(),
            events: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            faults: BTreeMap::new(),
            replicas: Vec::new(),
            hosts: BTreeMap::new(),
            links: BTreeMap::new(),
            next_id: 0,
            ground: Ground { journal: Arc::default(), time: Arc::clone(&time) },
            site,
            time,
            settings: Settings::default(),
            checkers,
            plan: Plan::default(),
            tasks: Tasks::default(),
            nodes: Vec::new(),
            node_config,
            scheduled: BTreeSet::new(),
            tick_ms: None,
            rooms: Vec::new(),
            room_per_mille,
            ledger: Ledger::default(),
            healed: false,
            serving: 0,
            violation: None,
            latency_ms_max,
            options: options.clone(),
            told: Vec::new(),
        };
        let nodes = world.random.between(1, 3).min(world.site.nodes_max());
        for index in 0..usize::try_from(nodes).unwrap_or(1) {
            let life = world.draw_life();
            let node = world.start_node(index, life);
            world.nodes.push(node);
        }
        let replicas = usize::try_from(world.random.between(2, 5)).unwrap_or(2);
        for index in 0..replicas {
            world.add_replica(index);
            world.rooms.push(Vec::new());
            world.draw_rooms(index);
            if options.kept.has_client(index) {
                world.start_host(index);
            }
        }
        let writers: Vec<bool> = world.replicas.iter().map(|replica| replica.writes).collect();
        world.plan = Plan::draw(world.random.any(), &writers);
        world
    }

    fn add_replica(&mut self, index: usize) {
        let writes = index > 0 || self.random.chance(500);
        let version = self.draw_version();
        self.replicas.push(Replica {
            database: ModelDatabase::new(),
            leader: 0,
            writes,
            takes_part: self.options.kept.has_client(index),
            version,
            session: i64::try_from(index).unwrap_or_default(),
            wall_skew_ms: 0,
            granted: Vec::new(),
            rejected_checked: 0,
        });
    }

    /// Milliseconds of virtual time since the start.
    pub fn elapsed_ms(&self) -> u64 {
        self.now_ms - self.start_ms
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
        if self.options.verbose {
            let line = format!("{:>7} {}\n", self.elapsed_ms(), text());
            // A reader that went away does not matter.
            let _gone = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        }
    }

    /// A line of the schedule in words.
    pub(crate) fn tell_schedule(&mut self, text: impl FnOnce() -> String) {
        let line = format!("{:>6} ms  {}", self.elapsed_ms(), text());
        self.told.push(line);
    }

    /// Lets applications write and faults happen, as planned.
    pub(crate) fn begin(&mut self) {
        let kept = &self.options.kept;
        let items = self.plan.items.iter().enumerate().filter(|(number, item)| kept.has_item(*number, item));
        let due: Vec<(usize, u64)> = items.map(|(number, item)| (number, item.at_ms)).collect();
        for (number, at_ms) in due {
            self.schedule(at_ms, Event::Item(number));
        }
    }

    /// Carries out an item of the plan. What it draws follows from its own seed.
    fn item(&mut self, number: usize) {
        let Some(item) = self.plan.items.get(number).copied() else { return };
        let random = std::mem::replace(&mut self.random, Random::new(item.seed));
        match item.what {
            What::Write => self.write(item.replica, number),
            What::Fault(kind) => self.strike(kind, item.replica),
            What::Foreign => self.foreign(),
        }
        self.random = random;
    }

    /// The clock of a replica's machine.
    pub(crate) fn wall_ms(&self, replica: usize) -> u64 {
        let skew_ms = self.replicas.get(replica).map_or(0, |replica| replica.wall_skew_ms);
        self.now_ms.saturating_add_signed(skew_ms)
    }

    /// The clock of a host.
    pub(crate) fn host_ms(&self, host: HostId) -> u64 {
        self.now_ms.saturating_add_signed(self.hosts.get(&host).map_or(0, |seat| seat.skew_ms))
    }

    /// What differs between one process of a node and the next: its clock is right, or a day off.
    pub(crate) fn draw_life(&mut self) -> Life {
        let skew_ms = self.random.pick(&[0, 0, 0, 86_400_000, -86_400_000]).copied().unwrap_or_default();
        let (changelog, seed) = (ChangelogId(self.random.any()), self.random.any());
        let version = self.draw_version();
        Life { changelog, version, seed, skew_ms, settings: self.settings }
    }

    /// Handles the next event if it is due before `until_ms` of virtual time; whether it did.
    pub fn step(&mut self, until_ms: u64) -> bool {
        let Some(((at, _), _)) = self.queue.first_key_value() else {
            self.now_ms = self.now_ms.max(self.start_ms + until_ms);
            return false;
        };
        if *at > self.start_ms + until_ms {
            self.now_ms = self.start_ms + until_ms;
            return false;
        }
        let Some(((at, _), event)) = self.queue.pop_first() else { return false };
        self.now_ms = at.max(self.now_ms);
        self.time.set(self.now_ms);
        self.events += 1;
        self.trace(&event);
        self.handle(event);
        self.settle_nodes();
        if self.healed && self.serving < self.nodes.iter().filter(|node| node.is_serving()).count() {
            self.tell_of_network();
        }
        true
    }

    /// Whether every leader says that it is synced.
    pub fn is_synced(&self) -> bool {
        self.replicas.iter().filter(|replica| replica.takes_part).all(|replica| {
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
            Event::Item(number) => self.item(number),
            Event::Unstall(link) => self.unstall(link),
            Event::Thaw(host) => self.thaw(host),
            Event::Updated(replica) => self.update(replica),
            Event::Connected(link) => self.connected(link),
            Event::ToServer(link, bytes) => {
                if self.links.get(&link).is_some_and(|link| link.server_open) {
                    self.checkers.at_server(link, self.now_ms, &bytes);
                }
                let bytes = self.translate_up(link, bytes);
                self.at_server(link, |node| node.message(link, bytes));
            }
            Event::Run(task) => {
                self.scheduled.remove(&task);
                self.tasks.poll(task);
            }
            // One that was overtaken by an earlier one has nothing to do.
            Event::Tick if self.tick_ms.is_none_or(|at_ms| at_ms > self.now_ms) => {}
            Event::Tick => {
                self.tick_ms = None;
                self.time.wake();
            }
            Event::ForeignStore(id, json) => self.foreign_store(&id, Some(&json)),
            Event::Leave { replica, away_ms, until_ms } => self.leave(replica, away_ms, until_ms),
            Event::ClosedAtServer(link) => {
                self.at_server(link, |node| node.disconnected(link));
                self.link(link, |open| open.server_open = false);
            }
            Event::Captured(host)
            | Event::SignedIn(host)
            | Event::Step(host)
            | Event::HostTimer(host)
            | Event::Resolved(host, ..) => {
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
        let now = self.now_ms.saturating_add_signed(seat.skew_ms);
        match event {
            Event::Captured(_) => self.tell(id, |client| client.handle_captured(now)),
            Event::SignedIn(_) => self.tell(id, |client| client.handle_network_hint(now)),
            Event::Step(_) => self.step_host(id),
            Event::HostTimer(_) => {
                if seat.timer_ms.is_some_and(|at| at <= self.now_ms) {
                    seat.timer_ms = None;
                }
                self.tell(id, |client| client.handle_timeout(now));
            }
            Event::Resolved(_, document, round, value) => {
                self.tell(id, |client| client.resolve(now, document, round, value));
            }
            Event::ToClient(link, bytes) if seat.link == Some(link) => {
                self.checkers.at_client(link, &bytes);
                let bytes = self.translate_down(link, bytes);
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
            | Event::Item(_)
            | Event::Unstall(_)
            | Event::Connected(_)
            | Event::ToServer(..)
            | Event::ClosedAtServer(_)
            | Event::Run(_)
            | Event::Tick
            | Event::ForeignStore(..)
            | Event::Leave { .. }
            | Event::Thaw(_)
            | Event::Updated(_) => {}
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
        let at = seat.host.client().next_timeout_ms().map(|at| at.saturating_add_signed(-seat.skew_ms));
        if let Some(at) = at
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
            ClientEvent::Status(status) => {
                // The user signs in again, or the application fetches a fresh token.
                if status.error.is_some_and(|(code, ..)| code == ErrorCode::Unauthenticated.name()) {
                    self.schedule(SIGN_IN_MS, Event::SignedIn(host));
                }
            }
            ClientEvent::Changed { .. }
            | ClientEvent::Rejected { .. }
            | ClientEvent::Conflicts(_)
            | ClientEvent::Problem { .. }
            | ClientEvent::Fenced => {}
        }
    }

    fn step_host(&mut self, id: HostId) {
        let now = self.host_ms(id);
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
        if outcome == StepOutcome::Continues && seat.dies_in_task {
            let replica = seat.replica;
            return self.restart_client(replica, true);
        }
        self.settle_host(id);
        if outcome == StepOutcome::Committed {
            self.observe(id);
        }
    }

    /// The application of a replica commits a transaction. Its token has the number.
    pub(crate) fn write(&mut self, replica: usize, number: usize) {
        let token = format!("c{replica}-{number}");
        let now_ms = self.wall_ms(replica);
        let Some(target) = self.replicas.get_mut(replica) else { return };
        let leader = target.leader;
        let writer = Writer { replica, token: &token, now_ms };
        if self.ledger.write(writer, &mut target.database, &mut self.random) {
            self.observe_rows(replica);
            self.tell_schedule(|| format!("client {replica} commits transaction {token}"));
            let delay = self.latency() / 4;
            self.schedule(delay, Event::Captured(leader));
        } else {
            // The task's transaction runs: IndexedDB queues this one behind it.
            self.schedule(1, Event::Item(number));
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
        let skew_ms = self.replicas.get(replica).map_or(0, |replica| replica.wall_skew_ms);
        let host = Host::new(config, self.random.any(), self.now_ms.saturating_add_signed(skew_ms));
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
            dies_in_task: false,
            skew_ms,
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
    /// A token of a replica's identity, with what is granted to it at this moment.
    pub(crate) fn token_of(&mut self, replica: usize) -> String {
        let rooms = self.rooms.get(replica).cloned().unwrap_or_default();
        let token = self.settings.token(&subject_of(replica), &rooms, self.time.now_ms());
        self.checkers.minted.insert(token.clone(), rooms);
        token
    }

    pub(crate) fn take_violation(&mut self) -> Result<(), Violation> {
        self.violation.take().map_or(Ok(()), Err)
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
