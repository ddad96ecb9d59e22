//! Faults of a client: its process, its storage, its tabs, its data.

use tidelock_core::client::Phase;
use tidelock_core::client::storage::StorageFailure;

use crate::workload::{Writer, poison};
use crate::world::{Event, HostId, World};

/// One of so many operations is the one that fails: a few transactions.
const OPERATIONS_MAX: u64 = 60;
/// Longest that a tab is frozen, in milliseconds.
const FROZEN_MS_MAX: u64 = 20_000;

impl World {
    /// The machine loses its power: what was not flushed is gone.
    pub(crate) fn crash(&mut self, replica: usize) -> bool {
        self.restart_client(replica, true);
        true
    }

    /// The machine loses its power within a transaction of the client.
    pub(crate) fn crash_in_task(&mut self, replica: usize) -> bool {
        let host = self.replicas.get(replica).map_or(0, |replica| replica.leader);
        let Some(seat) = self.hosts.get_mut(&host).filter(|seat| !seat.dies_in_task) else { return false };
        seat.dies_in_task = true;
        true
    }

    /// The page is loaded anew.
    pub(crate) fn reload_page(&mut self, replica: usize) -> bool {
        self.restart_client(replica, false);
        true
    }

    /// The next transactions fail.
    pub(crate) fn fail_storage(&mut self, replica: usize) -> bool {
        let failing = self.random.between(1, 4);
        let host = self.replicas.get(replica).map_or(0, |replica| replica.leader);
        let Some(seat) = self.hosts.get_mut(&host) else { return false };
        seat.failing = failing;
        true
    }

    /// One of the next operations on the storage fails, and its transaction with it.
    pub(crate) fn fail_storage_operation(&mut self, replica: usize) -> bool {
        let number = self.random.below(OPERATIONS_MAX);
        let failure = if self.random.chance(700) { StorageFailure::Quota } else { StorageFailure::Other };
        let host = self.replicas.get(replica).map_or(0, |replica| replica.leader);
        let Some(seat) = self.hosts.get_mut(&host) else { return false };
        seat.host.fail_operation(Some(number), failure);
        true
    }

    /// The application stores a document that cannot be synced.
    pub(crate) fn poison(&mut self, replica: usize) -> bool {
        let now_ms = self.wall_ms(replica);
        let mut random = self.random.clone();
        let token = format!("poison-{}", random.any());
        let Some(target) = self.replicas.get_mut(replica) else { return false };
        let writer = Writer { replica, token: &token, now_ms };
        let done = poison(writer, &mut target.database, &mut random);
        let leader = target.leader;
        self.schedule(1, Event::Captured(leader));
        done
    }

    /// The browser is gone, with the machine (`power`) or alone; another one starts.
    pub(crate) fn restart_client(&mut self, replica: usize, power: bool) {
        self.end_client(replica);
        let mut random = self.random.clone();
        if let Some(target) = self.replicas.get_mut(replica) {
            let keep = |count: usize| {
                if power { usize::try_from(random.below(count as u64 + 1)).unwrap_or(count) } else { count }
            };
            let lost = target.database.crash(keep);
            self.ledger.forget(&lost);
            if power {
                self.next_id += 1;
                target.session = i64::try_from(self.next_id).unwrap_or_default();
            }
        }
        self.random = random;
        self.start_host(replica);
    }

    /// Every tab of a replica is gone.
    pub(crate) fn end_client(&mut self, replica: usize) {
        let of_replica = self.hosts.iter().filter(|(_, seat)| seat.replica == replica);
        let ids: Vec<HostId> = of_replica.map(|(id, _)| *id).collect();
        for id in ids {
            self.end_host(id);
        }
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

    /// Another tab leads; the old leader goes on until it notices.
    pub(crate) fn two_leaders(&mut self, replica: usize) -> bool {
        if self.begin_to_lead(replica) {
            self.start_host(replica);
        }
        true
    }

    /// Another tab leads; the old leader is frozen for a while.
    pub(crate) fn freeze_leader(&mut self, replica: usize) -> bool {
        if !self.begin_to_lead(replica) {
            return true;
        }
        let delay = self.random.between(1, FROZEN_MS_MAX);
        let Some(target) = self.replicas.get_mut(replica) else { return false };
        let old = target.leader;
        if let Some(seat) = self.hosts.get_mut(&old) {
            seat.frozen = true;
            if seat.host.in_transaction() {
                // The browser does not let a frozen page hold a transaction.
                seat.host.interrupt(&mut target.database);
                seat.interrupted = true;
            }
            self.schedule(delay, Event::Thaw(old));
        }
        self.start_host(replica);
        true
    }

    /// Whether the old leader leads indeed. A host whose lock was stolen before its first task is told so: its tab is loaded anew.
    fn begin_to_lead(&mut self, replica: usize) -> bool {
        let old = self.replicas.get(replica).map_or(0, |replica| replica.leader);
        if self.hosts.get(&old).is_some_and(|seat| seat.host.client().status().phase == Phase::Starting) {
            self.restart_client(replica, false);
            return false;
        }
        true
    }

    pub(crate) fn thaw(&mut self, id: HostId) {
        let now = self.host_ms(id);
        let Some(seat) = self.hosts.get_mut(&id).filter(|seat| seat.frozen) else { return };
        seat.frozen = false;
        let backlog = std::mem::take(&mut seat.backlog);
        if std::mem::take(&mut seat.interrupted)
            && let Some(replica) = self.replicas.get_mut(seat.replica)
        {
            seat.host.fail(&mut replica.database, now, StorageFailure::Other);
        }
        self.settle_host(id);
        for event in backlog {
            self.at_host(id, event);
        }
    }
}
