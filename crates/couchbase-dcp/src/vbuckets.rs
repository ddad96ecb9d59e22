//! The vbuckets of a feed: which of them stream where, which wait for their next attempt, and which have caught up.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::checkpoint::Position;
use crate::limits::{RETRY_DELAY_MAX, RETRY_DELAY_MIN};
use crate::stream::Stream;
use crate::wire::message::Message;

/// One vbucket.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) stream: Stream,
    pub(crate) state: State,
    /// Names the present attempt: what carries another one is of a stream that is over.
    pub(crate) opaque: u32,
    /// Attempts that failed since the last one that did not.
    failures: u32,
    failing_since: Option<Instant>,
    /// The sequence number to reach to have caught up, once it is known.
    target: Option<u64>,
    has_caught_up: bool,
    /// What is not told yet: see [`Deliver`](crate::Deliver). Flow control limits it, as nothing of it is acknowledged.
    pub(crate) held: VecDeque<Held>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Waiting {
        due: Instant,
    },
    /// Asked for on the connection with this number.
    Opening(u64),
    Open(u64),
    /// Nothing more will come.
    Finished,
}

impl State {
    pub(crate) fn connection(self) -> Option<u64> {
        match self {
            Self::Opening(connection) | Self::Open(connection) => Some(connection),
            Self::Waiting { .. } | Self::Finished => None,
        }
    }
}

/// A message that waits for copies of the vbucket.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) message: Message,
    pub(crate) bytes: u32,
}

/// All vbuckets of a bucket.
pub(crate) struct Vbuckets {
    slots: Vec<Slot>,
    waiting: BTreeSet<(Instant, u16)>,
    /// How many have not caught up.
    behind: usize,
    /// How many are not finished.
    unfinished: usize,
    last_opaque: u32,
}

impl Vbuckets {
    /// They begin where `position` says, at once.
    pub(crate) fn new(count: usize, position: impl Fn(u16) -> Option<Position>) -> Self {
        let now = Instant::now();
        let slot = |vbucket| Slot {
            stream: Stream::new(position(vbucket)),
            state: State::Waiting { due: now },
            opaque: 0,
            failures: 0,
            failing_since: None,
            target: None,
            has_caught_up: false,
            held: VecDeque::new(),
        };
        let numbers = || (0..=u16::MAX).take(count);
        Self {
            slots: numbers().map(slot).collect(),
            waiting: numbers().map(|vbucket| (now, vbucket)).collect(),
            behind: count,
            unfinished: count,
            last_opaque: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn get(&self, vbucket: u16) -> Option<&Slot> {
        self.slots.get(usize::from(vbucket))
    }

    pub(crate) fn get_mut(&mut self, vbucket: u16) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(vbucket))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &Slot)> {
        (0..=u16::MAX).zip(&self.slots)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.unfinished == 0
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// A vbucket whose time has come; it waits no more.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<u16> {
        let (due, vbucket) = *self.waiting.first()?;
        if due > now {
            return None;
        }
        self.waiting.pop_first();
        Some(vbucket)
    }

    fn set(&mut self, vbucket: u16, state: State) {
        let Some(slot) = self.slots.get_mut(usize::from(vbucket)) else { return };
        if let State::Waiting { due } = slot.state {
            self.waiting.remove(&(due, vbucket));
        }
        if let State::Waiting { due } = state {
            self.waiting.insert((due, vbucket));
        }
        slot.state = state;
    }

    /// A stream is asked for; the answer is its opaque, which is never 0.
    pub(crate) fn opening(&mut self, vbucket: u16, connection: u64) -> u32 {
        self.last_opaque = self.last_opaque.checked_add(1).unwrap_or(1);
        let opaque = self.last_opaque;
        self.set(vbucket, State::Opening(connection));
        if let Some(slot) = self.get_mut(vbucket) {
            slot.opaque = opaque;
        }
        opaque
    }

    /// A stream is open; its end was at `high_seqno` not long ago.
    pub(crate) fn opened(&mut self, vbucket: u16, connection: u64, high_seqno: Option<u64>) {
        self.set(vbucket, State::Open(connection));
        if let Some(slot) = self.get_mut(vbucket) {
            slot.failures = 0;
            slot.failing_since = None;
            slot.target = slot.target.or(high_seqno);
        }
        self.look_at_target(vbucket);
    }

    /// Tries again at once: it was no failure.
    pub(crate) fn reopen(&mut self, vbucket: u16) {
        self.set(vbucket, State::Waiting { due: Instant::now() });
    }

    /// Tries again later, the later the more attempts have failed. The time for which they have been failing.
    pub(crate) fn failed(&mut self, vbucket: u16) -> Duration {
        let now = Instant::now();
        let Some(slot) = self.get_mut(vbucket) else { return Duration::ZERO };
        let since = *slot.failing_since.get_or_insert(now);
        let delay = RETRY_DELAY_MIN.saturating_mul(1 << slot.failures.min(20)).min(RETRY_DELAY_MAX);
        slot.failures = slot.failures.saturating_add(1);
        self.set(vbucket, State::Waiting { due: now + delay });
        now - since
    }

    pub(crate) fn finished(&mut self, vbucket: u16) {
        if self.get(vbucket).is_some_and(|slot| slot.state != State::Finished) {
            self.set(vbucket, State::Finished);
            self.unfinished -= 1;
            self.reached(vbucket);
        }
    }

    /// The vbucket has another history: its end is to be learned again.
    pub(crate) fn rolled_back(&mut self, vbucket: u16, seqno: u64) {
        if let Some(slot) = self.get_mut(vbucket) {
            slot.stream.roll_back(seqno);
            slot.target = None;
        }
    }

    /// Looks whether the vbucket has come to its target. To be called when its position has moved.
    pub(crate) fn look_at_target(&mut self, vbucket: u16) {
        let slot = self.get(vbucket);
        if slot.is_some_and(|slot| slot.target.is_some_and(|target| slot.stream.seqno() >= target)) {
            self.reached(vbucket);
        }
    }

    fn reached(&mut self, vbucket: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(vbucket))
            && !slot.has_caught_up
        {
            slot.has_caught_up = true;
            self.behind -= 1;
        }
    }

    pub(crate) fn has_caught_up(&self) -> bool {
        self.behind == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_that_fail_come_less_and_less_often() {
        let mut vbuckets = Vbuckets::new(2, |_| None);
        let now = Instant::now();
        assert_eq!((vbuckets.take_due(now), vbuckets.take_due(now)), (Some(0), Some(1)));
        assert_eq!(vbuckets.next_due(), None);
        let mut last = Duration::ZERO;
        for attempt in 0..12 {
            vbuckets.failed(1);
            let delay = vbuckets.next_due().unwrap() - Instant::now();
            assert!(delay > last || attempt > 8, "{attempt}: {delay:?}");
            assert!(delay <= RETRY_DELAY_MAX);
            last = delay;
        }
        // An attempt that succeeds begins the count again.
        vbuckets.opening(1, 1);
        vbuckets.opened(1, 1, None);
        vbuckets.failed(1);
        assert!(vbuckets.next_due().unwrap() - Instant::now() <= RETRY_DELAY_MIN);
    }

    #[test]
    fn all_have_caught_up_when_the_last_one_has() {
        let mut vbuckets = Vbuckets::new(3, |_| Some(Position::at(1, 5, 0)));
        vbuckets.opened(0, 1, Some(5));
        vbuckets.opened(1, 1, Some(6));
        vbuckets.finished(2);
        assert!(!vbuckets.has_caught_up() && !vbuckets.is_finished());
        // A history that ends earlier is a nearer target.
        vbuckets.rolled_back(1, 4);
        vbuckets.opened(1, 1, Some(4));
        assert!(vbuckets.has_caught_up());
        vbuckets.finished(0);
        vbuckets.finished(1);
        vbuckets.finished(1);
        assert!(vbuckets.is_finished());
    }
}
