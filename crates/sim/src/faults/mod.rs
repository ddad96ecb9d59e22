//! Faults: one table, and how they stop.
//!
//! A fault strikes a replica (its leader, its connection, its machine) or a server; it says whether there was anything to strike, and is
//! counted by its name only then. Another kind is another row.

mod client;
mod environment;
mod network;
mod server;
mod setback;

pub(crate) use setback::Setbacks;

use tidelock_core::client::storage::StorageFailure;

use crate::node::LinkId;
use crate::random::Random;
use crate::slow::Trap;
use crate::world::{Event, HostId, World};

/// A kind of fault.
#[derive(Debug)]
pub(crate) struct FaultKind {
    pub(crate) name: &'static str,
    /// How often it strikes, among all.
    weight: u64,
    /// Strikes a replica; whether there was anything to strike.
    strike: fn(&mut World, usize) -> bool,
}

/// Every kind, by the place where it strikes.
const FAULTS: &[FaultKind] = &[
    // The network.
    FaultKind { name: "cut", weight: 50, strike: World::cut },
    FaultKind { name: "half-open", weight: 15, strike: World::half_open },
    FaultKind { name: "truncated", weight: 40, strike: World::truncate },
    FaultKind { name: "late", weight: 40, strike: World::arrive_late },
    FaultKind { name: "duplicate", weight: 80, strike: World::duplicate },
    FaultKind { name: "slow-network", weight: 120, strike: World::slow_down },
    FaultKind { name: "slow-consumer", weight: 40, strike: World::stall },
    // The client.
    FaultKind { name: "crash", weight: 20, strike: World::crash },
    FaultKind { name: "crash-mid-apply", weight: 25, strike: World::crash_in_task },
    FaultKind { name: "reload", weight: 20, strike: World::reload_page },
    FaultKind { name: "storage", weight: 100, strike: World::fail_storage },
    FaultKind { name: "storage-operation", weight: 60, strike: World::fail_storage_operation },
    FaultKind { name: "two-leaders", weight: 15, strike: World::two_leaders },
    FaultKind { name: "frozen-leader", weight: 25, strike: World::freeze_leader },
    FaultKind { name: "poison", weight: 70, strike: World::poison },
    // The server.
    FaultKind { name: "server-restart", weight: 25, strike: World::restart_server },
    FaultKind { name: "kill-after-commit", weight: 35, strike: World::kill_after_commit },
    FaultKind { name: "store", weight: 100, strike: World::fail_store },
    FaultKind { name: "tombstones", weight: 90, strike: World::forget_tombstones },
    FaultKind { name: "rules", weight: 15, strike: World::change_rules },
    FaultKind { name: "site", weight: 220, strike: World::strike_site },
    // One of both sides.
    FaultKind { name: "set-back", weight: 30, strike: World::set_back },
    // The environment.
    FaultKind { name: "grant", weight: 90, strike: World::grant },
    FaultKind { name: "key-rotation", weight: 4, strike: World::rotate_key },
    FaultKind { name: "versions", weight: 40, strike: World::change_version },
    FaultKind { name: "clock", weight: 60, strike: World::set_clock },
    FaultKind { name: "weeks", weight: 3, strike: World::sleep_for_weeks },
];

/// One of the kinds.
pub(crate) fn draw(random: &mut Random) -> &'static FaultKind {
    let mut left = random.below(FAULTS.iter().map(|kind| kind.weight).sum());
    let found = FAULTS.iter().find(|kind| match left.checked_sub(kind.weight) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    found.expect("what was drawn is below the sum of the weights")
}

impl World {
    /// A fault strikes a replica, unless everything is healed.
    pub(crate) fn strike(&mut self, kind: &'static FaultKind, replica: usize) {
        if self.healed || !self.replicas.get(replica).is_some_and(|replica| replica.takes_part) {
            return;
        }
        self.note(|| format!("fault {} replica {replica}", kind.name));
        if (kind.strike)(self, replica) {
            self.struck(kind.name, replica);
        }
    }

    /// A fault struck.
    fn struck(&mut self, name: &'static str, replica: usize) {
        *self.faults.entry(name).or_default() += 1;
        self.tell_schedule(|| format!("fault `{name}` at client {replica}"));
    }

    /// Faults stop: silent connections are cut, frozen hosts thaw, everyone is told that the network is there.
    pub fn heal(&mut self) {
        self.healed = true;
        self.note(|| "heal".into());
        for node in &self.nodes {
            node.fail_store(0);
            node.set_trap(Trap::Unset);
        }
        self.site.heal();
        let silent: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.silent).map(|(id, _)| *id).collect();
        let open: Vec<LinkId> = self.links.keys().copied().collect();
        for link in open {
            self.unstall(link);
        }
        for link in silent {
            self.schedule(0, Event::ClosedAtClient(link));
            self.schedule(0, Event::ClosedAtServer(link));
        }
        let hosts: Vec<HostId> = self.hosts.keys().copied().collect();
        for host in hosts {
            if let Some(seat) = self.hosts.get_mut(&host) {
                seat.failing = 0;
                seat.host.fail_operation(None, StorageFailure::Other);
                seat.dies_in_task = false;
            }
            self.schedule(0, Event::Thaw(host));
        }
        (0..self.replicas.len()).for_each(|replica| self.update(replica));
        self.tell_of_network();
    }

    /// Everyone is told that the network is there: servers that serve at last count as part of it.
    pub(crate) fn tell_of_network(&mut self) {
        self.serving = self.nodes.iter().filter(|node| node.is_serving()).count();
        let hosts: Vec<HostId> = self.hosts.keys().copied().collect();
        for host in hosts {
            let now = self.host_ms(host);
            self.tell(host, |client| client.handle_network_hint(now));
        }
    }
}
