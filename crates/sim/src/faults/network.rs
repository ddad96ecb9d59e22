//! Faults of the network. A connection keeps the order of its messages; what is late or repeated comes from another one, or is a whole
//! push that comes twice.

use tidelock_core::wire::{ClientFrame, decode};

use crate::node::LinkId;
use crate::world::{Event, Link, World};

/// Longest that messages of a closed connection are still on their way, in milliseconds.
const LATE_MS_MAX: u64 = 6_000;
/// Longest that a peer takes nothing.
const STALL_MS_MAX: u64 = 14_000;
/// Most that a slow network adds to the way of a message.
const SLOW_MS_MAX: u64 = 1_500;
/// Longest that a network is slow.
const SLOW_FOR_MS_MAX: u64 = 5_000;

impl World {
    fn link_of(&self, replica: usize) -> Option<LinkId> {
        let host = self.replicas.get(replica)?.leader;
        self.hosts.get(&host)?.link
    }

    /// What is under way is lost; both sides learn of it, each in its own time.
    pub(crate) fn cut(&mut self, replica: usize) -> bool {
        let Some(id) = self.link_of(replica) else { return false };
        self.cut_link(id);
        true
    }

    pub(crate) fn cut_link(&mut self, id: LinkId) {
        self.link(id, |link| link.silent = true);
        self.queue.retain(|_, event| !is_message(event, id));
        let (client, server) = (self.latency(), self.latency() * 4);
        self.schedule(client, Event::ClosedAtClient(id));
        self.schedule(server, Event::ClosedAtServer(id));
    }

    /// Messages vanish and nobody is told.
    pub(crate) fn half_open(&mut self, replica: usize) -> bool {
        let Some(id) = self.link_of(replica) else { return false };
        self.link(id, |link| link.silent = true);
        true
    }

    /// The connection ends in the middle of what is under way, sometimes in the middle of a message.
    pub(crate) fn truncate(&mut self, replica: usize) -> bool {
        let Some(id) = self.link_of(replica) else { return false };
        let under_way: Vec<(u64, u64)> =
            self.queue.iter().filter(|(_, event)| is_message(event, id)).map(|(key, _)| *key).collect();
        let Some(last) = self.random.pick(&under_way).copied() else { return false };
        self.link(id, |link| link.silent = true);
        self.queue.retain(|key, event| *key <= last || !is_message(event, id));
        if self.random.chance(500)
            && let Some(Event::ToClient(_, bytes)) = self.queue.get_mut(&last)
        {
            *bytes = bytes.slice(..bytes.len() / 2);
        }
        let delay = last.0.saturating_sub(self.now_ms) + 1;
        self.schedule(delay, Event::ClosedAtClient(id));
        self.schedule(delay, Event::ClosedAtServer(id));
        true
    }

    /// The client's side ends, and what it sent arrives later, after what it sends on its next connection.
    pub(crate) fn arrive_late(&mut self, replica: usize) -> bool {
        let Some(id) = self.link_of(replica) else { return false };
        let keys: Vec<(u64, u64)> =
            self.queue.iter().filter(|(_, event)| is_message(event, id)).map(|(key, _)| *key).collect();
        self.link(id, |link| link.silent = true);
        let delay = self.random.between(200, LATE_MS_MAX);
        for key in keys {
            let Some(event) = self.queue.remove(&key) else { continue };
            if matches!(event, Event::ToServer(..)) {
                self.queue.insert((key.0 + delay, key.1), event);
            }
        }
        self.schedule(1, Event::ClosedAtClient(id));
        self.schedule(delay * 2 + self.latency_ms_max * 10, Event::ClosedAtServer(id));
        true
    }

    /// Pushes that are under way come twice.
    pub(crate) fn duplicate(&mut self, replica: usize) -> bool {
        let Some(id) = self.link_of(replica) else { return false };
        let pushes = self.queue.iter().filter_map(|(key, event)| {
            let Event::ToServer(link, bytes) = event else { return None };
            (*link == id && is_push(bytes)).then(|| (*key, bytes.clone()))
        });
        let Some(((at_ms, _), bytes)) = pushes.last() else { return false };
        let Some(link) = self.links.get(&id) else { return false };
        let delay = link.up_ms.max(at_ms).saturating_sub(self.now_ms);
        self.schedule(delay, Event::ToServer(id, bytes));
        true
    }

    /// Messages take long for a while.
    pub(crate) fn slow_down(&mut self, replica: usize) -> bool {
        let Some(id) = self.link_of(replica) else { return false };
        let (slow_ms, until_ms) =
            (self.random.between(50, SLOW_MS_MAX), self.now_ms + self.random.between(100, SLOW_FOR_MS_MAX));
        self.link(id, |link| link.slow = Some((until_ms, slow_ms)));
        true
    }

    /// The client takes nothing from its connection for a while.
    pub(crate) fn stall(&mut self, replica: usize) -> bool {
        let Some(id) = self.link_of(replica) else { return false };
        let Some(node) = self.links.get(&id).filter(|link| link.server_open).map(|link| link.node) else {
            return false;
        };
        self.link(id, |link| link.stalled = true);
        self.nodes.get(node).into_iter().for_each(|node| node.stall(id));
        let delay = self.random.between(100, STALL_MS_MAX);
        self.schedule(delay, Event::Unstall(id));
        true
    }

    pub(crate) fn unstall(&mut self, id: LinkId) {
        let node = self.links.get(&id).map(|link| link.node);
        self.link(id, |link| link.stalled = false);
        if let Some(node) = node.and_then(|node| self.nodes.get(node)) {
            node.unstall(id);
        }
    }
}

impl Link {
    /// Whether something holds up or loses its messages.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.silent || self.stalled || self.slow.is_some()
    }
}

/// Whether an event is a message of a connection that is under way.
fn is_message(event: &Event, id: LinkId) -> bool {
    matches!(event, Event::ToServer(link, _) | Event::ToClient(link, _) if *link == id)
}

fn is_push(bytes: &[u8]) -> bool {
    matches!(decode::<ClientFrame>(bytes), Ok(ClientFrame::Push(_) | ClientFrame::Pushes(_)))
}
