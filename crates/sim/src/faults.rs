//! Faults, and how they stop.

use tidelock_core::client::Phase;
use tidelock_core::client::storage::StorageFailure;
use tidelock_core::ids::{ChangelogId, Offset};
use tidelock_store::Changelog;

use crate::node::{LinkId, Node};
use crate::workload::ROOM_NAMES;
use crate::world::{Event, HostId, World};

impl World {
    /// Faults stop: silent connections are cut, frozen hosts thaw, everyone is told that the network is there.
    pub fn heal(&mut self) {
        self.healed = true;
        self.note(|| "heal".into());
        self.nodes.iter().for_each(|node| node.fail_store(0));
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

    pub(crate) fn fault(&mut self) {
        if self.healed {
            return;
        }
        let replica = usize::try_from(self.random.below(self.replicas.len() as u64)).unwrap_or(0);
        let host = self.replicas.get(replica).map_or(0, |replica| replica.leader);
        let link = self.hosts.get(&host).and_then(|seat| seat.link);
        let kind = self.random.below(13);
        let name = match kind {
            0 | 1 => "cut",
            2 => "half-open",
            3 => "crash",
            4 => "reload",
            5 => "storage",
            6 => "server-restart",
            7 => "leader-change",
            8 => "grant",
            9 => "store",
            10 => "tombstones",
            _ => self.setback_due(),
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
            8 => self.grant(replica),
            9 => self.fail_store(),
            11.. => self.set_back(replica),
            _ => {
                let before = self.random.below(self.server_head() + 1);
                self.store.purge_tombstones(Offset(before));
            }
        }
    }

    /// The identity's rooms are drawn again: its tab gets another token, for the live session or the next one.
    fn grant(&mut self, replica: usize) {
        self.draw_rooms(replica);
        let token = self.token_of(replica);
        let Some(host) = self.replicas.get(replica).map(|replica| replica.leader) else { return };
        let Some(seat) = self.hosts.get(&host) else { return };
        let (link, phase) = (seat.link, seat.host.client().status().phase);
        if seat.frozen || phase == Phase::Connecting {
            // The former token is on its way.
            return self.cut(link);
        }
        let now = self.now_ms;
        self.tell(host, |client| client.handle_token(now, &token));
    }

    pub(crate) fn draw_rooms(&mut self, replica: usize) {
        let per_mille = self.room_per_mille;
        let drawn: Vec<String> =
            ROOM_NAMES.iter().filter(|_| self.random.chance(per_mille)).map(|room| (*room).to_owned()).collect();
        if let Some(rooms) = self.rooms.get_mut(replica) {
            *rooms = drawn;
        }
    }

    fn fail_store(&mut self) {
        let calls = self.random.between(1, 3);
        let node = usize::try_from(self.random.below(self.nodes.len() as u64)).unwrap_or(0);
        if let Some(node) = self.nodes.get(node) {
            node.fail_store(calls);
        }
    }

    fn server_head(&self) -> u64 {
        self.store.head().0
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

    pub(crate) fn end_host(&mut self, id: HostId) {
        if let Some(seat) = self.hosts.remove(&id)
            && let Some(link) = seat.link
        {
            self.link(link, |link| link.client_open = false);
            let delay = self.latency() * 3;
            self.schedule(delay, Event::ClosedAtServer(link));
        }
    }

    /// A node's process ends where it stands; another one starts, with the old changelog or a new one.
    fn restart_server(&mut self) {
        let index = usize::try_from(self.random.below(self.nodes.len() as u64)).unwrap_or(0);
        self.restart_node(index);
    }

    pub(crate) fn restart_node(&mut self, index: usize) {
        let Some(old) = self.nodes.get(index) else { return };
        let changelog = if self.random.chance(300) { ChangelogId(self.random.any()) } else { old.changelog };
        let seed = self.random.any();
        let node = Node::start(&self.store, changelog, &self.time, &mut self.tasks, self.node_config, seed);
        if let Some(slot) = self.nodes.get_mut(index) {
            std::mem::replace(slot, node).end(&mut self.tasks);
        }
        let open: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.node == index).map(|(id, _)| *id).collect();
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

    pub(crate) fn thaw(&mut self, id: HostId) {
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
}
