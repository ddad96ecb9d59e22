//! The world: replicas, a server node, a network and faults under one scheduler and one virtual clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidelock_core::client::storage::StorageFailure;
use tidelock_core::client::{Config, Event as ClientEvent, Phase};
use tidelock_core::ids::{ChangelogId, DocumentId, Epoch};
use tidelock_core::limits::Limits;
use tidelock_core::server::SessionConfig;
use tidelock_store::MemoryStore;

use crate::database::ModelDatabase;
use crate::describe;
use crate::host::{Host, Request, StepOutcome};
use crate::random::Random;
use crate::server::{LinkId, Output, Server};
use crate::workload::{Ledger, policies};

/// When the virtual clock starts, milliseconds since 1970.
const START_MS: u64 = 1_700_000_000_000;
/// After faults stop, everything is to be drained within this.
pub(crate) const DRAIN_MS_MAX: u64 = 30_000;

/// Names a host: one life of one client.
pub type HostId = u64;

/// Everything.
#[derive(Debug)]
pub struct World {
    pub(crate) now_ms: u64,
    pub(crate) random: Random,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    pub(crate) hash: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) hosts: BTreeMap<HostId, Seat>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    next_id: u64,
    pub(crate) server: Server,
    working: BTreeSet<LinkId>,
    pub(crate) ledger: Ledger,
    pub(crate) healed: bool,
    /// The first thing that did not hold.
    pub(crate) violation: Option<String>,
    /// Most milliseconds that a message, a step or a piece of server work takes.
    latency_ms_max: u64,
    session_config: SessionConfig,
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
    link: Option<LinkId>,
    timer_ms: Option<u64>,
    stepping: bool,
    frozen: bool,
    interrupted: bool,
    backlog: Vec<Event>,
    /// Steps that fail from here on.
    failing: u64,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    host: HostId,
    up_ms: u64,
    down_ms: u64,
    /// Messages vanish, nobody is told.
    pub(crate) silent: bool,
    client_open: bool,
    server_open: bool,
    timer_ms: Option<u64>,
}

#[derive(Clone, Debug)]
enum Event {
    Write(usize),
    Captured(HostId),
    Step(HostId),
    HostTimer(HostId),
    Connected(LinkId),
    ToServer(LinkId, Vec<u8>),
    ToClient(LinkId, Arc<[u8]>),
    ClosedAtClient(LinkId),
    ClosedAtServer(LinkId),
    ServerWork(LinkId),
    ServerTimer(LinkId),
    Resolved(HostId, DocumentId, u64, Option<Vec<u8>>),
    Thaw(HostId),
    Fault,
}

impl World {
    /// A world that follows from `seed`.
    pub fn new(seed: u64, verbose: bool) -> Self {
        let mut random = Random::new(seed);
        let latency_ms_max = *random.pick(&[2, 20, 120, 400]).unwrap_or(&20);
        let session_config = session_config(&mut random);
        let store = Arc::new(MemoryStore::new(Epoch(7), ChangelogId(11)));
        let server = Server::new(store, ChangelogId(11), policies(), session_config.clone(), 0);
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
            server,
            working: BTreeSet::new(),
            ledger: Ledger::default(),
            healed: false,
            violation: None,
            latency_ms_max,
            session_config,
            verbose,
        };
        let replicas = usize::try_from(world.random.between(2, 5)).unwrap_or(2);
        for index in 0..replicas {
            let writes = index > 0 || world.random.chance(500);
            world.replicas.push(Replica { database: ModelDatabase::new(), leader: 0, writes });
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
        self.events += 1;
        self.trace(&event);
        self.handle(event);
        self.settle_server();
        true
    }

    /// Faults stop: silent connections are cut, frozen hosts thaw, everyone is told that the network is there.
    pub fn heal(&mut self) {
        self.healed = true;
        self.note(|| "heal".into());
        let silent: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.silent).map(|(id, _)| *id).collect();
        for link in silent {
            self.schedule(0, Event::ClosedAtClient(link));
            self.schedule(0, Event::ClosedAtServer(link));
        }
        let hosts: Vec<HostId> = self.hosts.keys().copied().collect();
        for host in hosts {
            if let Some(seat) = self.hosts.get_mut(&host) {
                seat.failing = 0;
            }
            self.schedule(0, Event::Thaw(host));
            let now = self.now_ms;
            self.tell(host, |client| client.handle_network_hint(now));
        }
    }

    /// Whether every leader says that it is synced.
    pub fn is_synced(&self) -> bool {
        self.replicas.iter().all(|replica| {
            self.hosts
                .get(&replica.leader)
                .is_some_and(|seat| seat.host.client().is_synced() && seat.host.client().status().phase == Phase::Live)
        })
    }

    fn schedule(&mut self, delay_ms: u64, event: Event) {
        self.next_id += 1;
        self.queue.insert((self.now_ms + delay_ms, self.next_id), event);
    }

    fn latency(&mut self) -> u64 {
        let scale = if self.random.chance(20) { 5 } else { 1 };
        self.random.below(self.latency_ms_max * scale)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Write(replica) => self.write(replica),
            Event::Fault => self.fault(),
            Event::Thaw(host) => self.thaw(host),
            Event::Connected(link) => self.connected(link),
            Event::ToServer(link, bytes) => self.at_server(link, |server| server.message(link, bytes)),
            Event::ServerWork(link) => {
                self.working.remove(&link);
                let now = self.now_ms;
                let mut random = self.random.clone();
                self.at_server(link, |server| server.work(link, now, &mut random));
                self.random = random;
            }
            Event::ServerTimer(link) => {
                let now = self.now_ms;
                self.link(link, |open| open.timer_ms = None);
                self.at_server(link, |server| server.tick(link, now));
            }
            Event::ClosedAtServer(link) => {
                self.link(link, |open| open.server_open = false);
                self.server.disconnected(link);
            }
            Event::Captured(host) | Event::Step(host) | Event::HostTimer(host) | Event::Resolved(host, ..) => {
                self.at_host(host, event)
            }
            Event::ToClient(link, _) | Event::ClosedAtClient(link) => {
                if let Some(host) = self.links.get(&link).map(|link| link.host) {
                    self.at_host(host, event);
                }
            }
        }
    }

    /// What happens at a host; a frozen one does it once it thaws.
    fn at_host(&mut self, id: HostId, event: Event) {
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
            Event::ToClient(link, bytes) => {
                if seat.link == Some(link) {
                    self.tell(id, |client| client.handle_message(now, &bytes));
                }
            }
            Event::ClosedAtClient(link) => {
                if seat.link == Some(link) {
                    seat.link = None;
                    self.link(link, |link| link.client_open = false);
                    self.tell(id, |client| client.handle_disconnected(now, "closed"));
                }
            }
            _ => {}
        }
    }

    fn tell(&mut self, id: HostId, call: impl FnOnce(&mut tidelock_core::client::Client)) {
        if let Some(seat) = self.hosts.get_mut(&id).filter(|seat| !seat.frozen) {
            seat.host.tell(call);
            self.settle_host(id);
        }
    }

    /// Carries out what a host asked for, and schedules its timer and its task.
    fn settle_host(&mut self, id: HostId) {
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
            collections: policies().into_keys().collect(),
            channels: None,
            resolver: true,
            offline: false,
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

    fn connect(&mut self, host: HostId) {
        self.next_id += 1;
        let id = self.next_id;
        let link =
            Link { host, up_ms: 0, down_ms: 0, silent: false, client_open: true, server_open: false, timer_ms: None };
        self.links.insert(id, link);
        if let Some(seat) = self.hosts.get_mut(&host) {
            seat.link = Some(id);
        }
        let delay = self.latency();
        let fails = !self.healed && self.random.chance(50);
        self.schedule(delay, if fails { Event::ClosedAtClient(id) } else { Event::Connected(id) });
    }

    fn connected(&mut self, id: LinkId) {
        let now = self.now_ms;
        let Some(link) = self.links.get_mut(&id).filter(|link| link.client_open) else { return };
        link.server_open = true;
        let host = link.host;
        self.server.connected(id, now);
        let Some(seat) = self.hosts.get(&host).filter(|seat| seat.link == Some(id)) else { return };
        let subject = format!("user{}", seat.replica);
        self.tell(host, |client| client.handle_connected(now, &subject));
    }

    fn send_up(&mut self, host: HostId, bytes: Vec<u8>) {
        let delay = self.latency();
        let at = self.now_ms + delay;
        let Some(id) = self.hosts.get(&host).and_then(|seat| seat.link) else { return };
        let Some(link) = self.links.get_mut(&id) else { return };
        link.up_ms = link.up_ms.max(at);
        if !link.silent {
            let delay = link.up_ms - self.now_ms;
            self.schedule(delay, Event::ToServer(id, bytes));
        }
    }

    fn at_server(&mut self, link: LinkId, call: impl FnOnce(&mut Server)) {
        if self.links.get(&link).is_some_and(|link| link.server_open) {
            call(&mut self.server);
        }
    }

    fn link(&mut self, id: LinkId, call: impl FnOnce(&mut Link)) {
        if let Some(link) = self.links.get_mut(&id) {
            call(link);
        }
    }

    /// Carries out what the server did, and schedules what it has to do.
    fn settle_server(&mut self) {
        for output in self.server.take_outputs() {
            let delay = self.latency();
            let at = self.now_ms + delay;
            let (id, event) = match output {
                Output::Send(id, bytes) => (id, Event::ToClient(id, bytes)),
                Output::Close(id) => (id, Event::ClosedAtClient(id)),
            };
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.down_ms = link.down_ms.max(at);
            if matches!(event, Event::ClosedAtClient(_)) {
                link.server_open = false;
            }
            if !link.silent {
                let delay = link.down_ms - self.now_ms;
                self.schedule(delay, event);
            }
        }
        for link in self.server.busy() {
            if self.working.insert(link) {
                let delay = self.latency() / 4;
                self.schedule(delay, Event::ServerWork(link));
            }
        }
        let open: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.server_open).map(|(id, _)| *id).collect();
        for id in open {
            let due = self.server.next_timeout_ms(id);
            let now = self.now_ms;
            let Some(link) = self.links.get_mut(&id) else { continue };
            if let Some(at) = due.filter(|at| link.timer_ms.is_none_or(|timer| timer > *at)) {
                link.timer_ms = Some(at);
                self.schedule(at.saturating_sub(now), Event::ServerTimer(id));
            }
        }
        self.links.retain(|_, link| link.client_open || link.server_open);
    }

    fn fault(&mut self) {
        if self.healed {
            return;
        }
        let replica = usize::try_from(self.random.below(self.replicas.len() as u64)).unwrap_or(0);
        let host = self.replicas.get(replica).map_or(0, |replica| replica.leader);
        let link = self.hosts.get(&host).and_then(|seat| seat.link);
        let kind = self.random.below(9);
        let name = match kind {
            0 | 1 => "cut",
            2 => "half-open",
            3 => "crash",
            4 => "reload",
            5 => "storage",
            6 => "server-restart",
            7 => "leader-change",
            _ => "tombstones",
        };
        self.note(|| format!("fault {name} replica {replica} host {host}"));
        *self.faults.entry(name).or_default() += 1;
        match kind {
            0 | 1 => self.cut(link),
            2 => {
                if let Some(link) = link {
                    self.link(link, |link| link.silent = true);
                }
            }
            3 => self.restart_client(replica, true),
            4 => self.restart_client(replica, false),
            5 => {
                let failing = self.random.between(1, 4);
                if let Some(seat) = self.hosts.get_mut(&host) {
                    seat.failing = failing;
                }
            }
            6 => self.restart_server(),
            7 => self.change_leader(replica),
            _ => {
                let before = self.random.below(self.server_head() + 1);
                self.server.store().purge_tombstones(tidelock_core::ids::Offset(before));
                // Sessions are not told of a floor that rises while they are open.
                self.restart_server();
            }
        }
    }

    fn server_head(&self) -> u64 {
        use tidelock_store::Changelog;
        self.server.store().head().0
    }

    /// What is under way is lost; both sides learn of it, each in its own time.
    fn cut(&mut self, link: Option<LinkId>) {
        let Some(id) = link else { return };
        self.link(id, |link| link.silent = true);
        self.queue.retain(|_, event| !matches!(event, Event::ToServer(at, _) if *at == id));
        self.queue.retain(|_, event| !matches!(event, Event::ToClient(at, _) if *at == id));
        let (client, server) = (self.latency(), self.latency() * 4);
        self.schedule(client, Event::ClosedAtClient(id));
        self.schedule(server, Event::ClosedAtServer(id));
    }

    /// The browser is gone, with the machine (`power`) or alone; another one starts.
    fn restart_client(&mut self, replica: usize, power: bool) {
        let ids: Vec<HostId> =
            self.hosts.iter().filter(|(_, seat)| seat.replica == replica).map(|(id, _)| *id).collect();
        for id in ids {
            self.end_host(id);
        }
        let mut random = self.random.clone();
        if let Some(target) = self.replicas.get_mut(replica) {
            let keep = |count: usize| {
                if power { usize::try_from(random.below(count as u64 + 1)).unwrap_or(count) } else { count }
            };
            let lost = target.database.crash(keep);
            self.ledger.forget(&lost);
        }
        self.random = random;
        self.start_host(replica);
    }

    fn end_host(&mut self, id: HostId) {
        if let Some(seat) = self.hosts.remove(&id)
            && let Some(link) = seat.link
        {
            self.link(link, |link| link.client_open = false);
            let delay = self.latency() * 3;
            self.schedule(delay, Event::ClosedAtServer(link));
        }
    }

    fn restart_server(&mut self) {
        let changelog = if self.random.chance(300) { ChangelogId(self.random.any()) } else { self.server.changelog() };
        let sessions = self.server.last_session() + 1_000;
        let store = Arc::clone(self.server.store());
        self.server = Server::new(store, changelog, policies(), self.session_config.clone(), sessions);
        let open: Vec<LinkId> = self.links.keys().copied().collect();
        for id in open {
            self.link(id, |link| {
                link.silent = true;
                link.server_open = false;
            });
            self.queue.retain(|_, event| !matches!(event, Event::ToServer(at, _) if *at == id));
            let delay = self.latency();
            self.schedule(delay, Event::ClosedAtClient(id));
        }
    }

    /// Another tab leads. The old leader is frozen, or goes on until it notices.
    fn change_leader(&mut self, replica: usize) {
        let Some(old) = self.replicas.get(replica).map(|replica| replica.leader) else { return };
        if self.hosts.get(&old).is_some_and(|seat| seat.host.client().status().phase == Phase::Starting) {
            // It does not lead yet: a host whose lock was stolen is told so before its first task.
            return self.restart_client(replica, false);
        }
        let Some(target) = self.replicas.get_mut(replica) else { return };
        if self.random.chance(700)
            && let Some(seat) = self.hosts.get_mut(&old)
        {
            seat.frozen = true;
            if seat.host.in_transaction() {
                // The browser does not let a frozen page hold a transaction.
                seat.host.interrupt(&mut target.database);
                seat.interrupted = true;
            }
            let delay = self.random.between(1, 20_000);
            self.schedule(delay, Event::Thaw(old));
        }
        self.start_host(replica);
    }

    fn thaw(&mut self, id: HostId) {
        let Some(seat) = self.hosts.get_mut(&id).filter(|seat| seat.frozen) else { return };
        seat.frozen = false;
        let backlog = std::mem::take(&mut seat.backlog);
        if std::mem::take(&mut seat.interrupted)
            && let Some(replica) = self.replicas.get_mut(seat.replica)
        {
            seat.host.fail(&mut replica.database, self.now_ms, StorageFailure::Other);
        }
        self.settle_host(id);
        for event in backlog {
            self.at_host(id, event);
        }
    }

    fn trace(&mut self, event: &Event) {
        let text = match event {
            Event::ToServer(link, bytes) => format!("up {link} {}", bytes.len()),
            Event::ToClient(link, bytes) => format!("down {link} {}", bytes.len()),
            other => format!("{other:?}"),
        };
        self.note(|| match event {
            Event::ToServer(link, bytes) => format!("up {link} {}", describe::client_message(bytes)),
            Event::ToClient(link, bytes) => format!("down {link} {}", describe::server_message(bytes)),
            _ => text.clone(),
        });
        for byte in text.bytes().chain(self.now_ms.to_be_bytes()) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Small limits, so that few documents already make pages, frames and windows.
fn session_config(random: &mut Random) -> SessionConfig {
    let small = random.chance(500);
    let limits = Limits {
        document_bytes_max: 1_500,
        frame_bytes_max: if small { 8 << 10 } else { 4 << 20 },
        push_window_mutations_max: *random.pick(&[2, 8, 256]).unwrap_or(&256) as u32,
        silence_ms_max: 9_000,
        ..Limits::default()
    };
    let page_bytes_max = *random.pick(&[1, 300, 512 << 10]).unwrap_or(&300);
    SessionConfig { limits, page_bytes_max, ..SessionConfig::default() }
}
