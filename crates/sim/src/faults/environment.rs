//! Faults of what surrounds clients and servers: rights, keys, clocks.

use tidelock_core::client::Phase;

use crate::node::LinkId;
use crate::workload::ROOM_NAMES;
use crate::world::{Event, World};

const DAY_MS: i64 = 86_400_000;
const WEEK_MS: u64 = 7 * 86_400_000;
/// Longest that everybody is away at a time.
const WEEKS_MAX: u64 = 6;
/// Longest that nodes take to take in what is there before everybody leaves, and how often somebody looks.
const LEAVING_MS_MAX: u64 = 10_000;
const LEAVING_LOOK_MS: u64 = 20;

impl World {
    /// The identity's rooms are drawn again: its tab gets another token, for the live session or the next one.
    pub(crate) fn grant(&mut self, replica: usize) -> bool {
        self.draw_rooms(replica);
        self.hand_token(replica);
        true
    }

    fn hand_token(&mut self, replica: usize) {
        let token = self.token_of(replica);
        let Some(host) = self.replicas.get(replica).map(|replica| replica.leader) else { return };
        let Some(seat) = self.hosts.get(&host) else { return };
        let (link, phase) = (seat.link, seat.host.client().status().phase);
        if seat.frozen || phase == Phase::Connecting {
            // The former token is on its way.
            return link.into_iter().for_each(|link| self.cut_link(link));
        }
        let now = self.host_ms(host);
        self.tell(host, |client| client.handle_token(now, &token));
    }

    pub(crate) fn draw_rooms(&mut self, replica: usize) {
        let per_mille = self.room_per_mille;
        let drawn: Vec<String> =
            ROOM_NAMES.iter().filter(|_| self.random.chance(per_mille)).map(|room| (*room).to_owned()).collect();
        if let Some(replica) = self.replicas.get_mut(replica) {
            replica.granted.extend(drawn.iter().cloned());
        }
        if let Some(rooms) = self.rooms.get_mut(replica) {
            *rooms = drawn;
        }
    }

    /// Another key signs tokens; the former one is not accepted any more. Everybody gets a fresh token.
    pub(crate) fn rotate_key(&mut self, _replica: usize) -> bool {
        self.settings = self.settings.with_next_key();
        self.checkers.settings = self.settings;
        for node in &mut self.nodes {
            node.reload(self.settings, &mut self.tasks);
        }
        (0..self.replicas.len()).for_each(|replica| self.hand_token(replica));
        true
    }

    /// A machine's clock is set a day ahead, a day back, or right.
    pub(crate) fn set_clock(&mut self, replica: usize) -> bool {
        let skew_ms = self.random.pick(&[DAY_MS, -DAY_MS, 0]).copied().unwrap_or_default();
        let Some(target) = self.replicas.get_mut(replica) else { return false };
        target.wall_skew_ms = skew_ms;
        // A running host follows a clock that jumps ahead, and goes on by itself when it is set back.
        for seat in self.hosts.values_mut().filter(|seat| seat.replica == replica) {
            seat.skew_ms = seat.skew_ms.max(skew_ms);
        }
        true
    }

    /// Everybody is away for weeks: the connections end, nothing happens, and the servers forget deletes.
    pub(crate) fn sleep_for_weeks(&mut self, replica: usize) -> bool {
        let away_ms = self.draw_weeks_ms();
        self.leave(replica, away_ms, self.now_ms + LEAVING_MS_MAX);
        false
    }

    pub(crate) fn draw_weeks_ms(&mut self) -> u64 {
        self.random.between(1, WEEKS_MAX) * WEEK_MS
    }

    /// Everybody leaves once the nodes have taken in what is there: they go on in such weeks, and none of them lags through all of them.
    /// What a node publishes that lags for so long is open (decision 0010). Nobody leaves when that takes too long.
    pub(crate) fn leave(&mut self, replica: usize, away_ms: u64, until_ms: u64) {
        if self.healed || self.now_ms > until_ms {
            return;
        }
        if !self.site.is_level() {
            return self.schedule(LEAVING_LOOK_MS, Event::Leave { replica, away_ms, until_ms });
        }
        self.depart(replica, away_ms);
    }

    /// Everybody leaves at this moment, and comes back.
    pub(crate) fn depart(&mut self, replica: usize, away_ms: u64) {
        let open: Vec<LinkId> = self.links.keys().copied().collect();
        for link in open {
            self.cut_link(link);
        }
        self.pass(away_ms);
        self.checkers.tombstones_forgotten();
        self.struck("weeks", replica);
    }

    /// Time passes in which nothing happens. What the machines themselves wait for is due then; the rest of the schedule comes later.
    pub(crate) fn pass(&mut self, away_ms: u64) {
        let queue = std::mem::take(&mut self.queue);
        let moved = queue.into_iter().map(|((at_ms, id), event)| {
            let waits = matches!(event, Event::HostTimer(_) | Event::Tick);
            ((if waits { at_ms } else { at_ms + away_ms }, id), event)
        });
        self.queue = moved.collect();
        self.now_ms += away_ms;
        self.start_ms += away_ms;
        self.time.set(self.now_ms);
        self.checkers.time_passed(away_ms);
        // Clients do not keep what they were told for so long.
        self.site.forget_copies();
    }
}
