//! Virtual time: the server's clock and everything that waits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tidelock_server::TimeSource;

/// A clock that the scheduler moves, and the tasks that wait for it.
#[derive(Debug)]
pub(crate) struct VirtualTime {
    now_ms: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// By time and waker. Those of one time are woken in the order in which they came: parts of one task go on in that order, and where
/// their wakers are in memory differs from run to run.
#[derive(Debug, Default)]
struct Waiting {
    wakers: BTreeMap<(u64, usize), (u64, Waker)>,
    last: u64,
}

impl VirtualTime {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { now_ms: AtomicU64::new(now_ms), waiting: Mutex::default() }
    }

    /// Moves the clock.
    pub(crate) fn set(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    /// When the next task is to be woken.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        self.waiting().wakers.first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    /// Wakes every task that is due.
    pub(crate) fn wake(&self) {
        let due = {
            let mut waiting = self.waiting();
            let later = waiting.wakers.split_off(&(self.now_ms() + 1, 0));
            std::mem::replace(&mut waiting.wakers, later)
        };
        let mut due: Vec<(u64, u64, Waker)> =
            due.into_iter().map(|((at_ms, _), (number, waker))| (at_ms, number, waker)).collect();
        due.sort_unstable_by_key(|(at_ms, number, _)| (*at_ms, *number));
        for (.., waker) in due {
            waker.wake();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TimeSource for VirtualTime {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn poll_until(&self, at_ms: u64, context: &mut Context<'_>) -> Poll<()> {
        if at_ms <= self.now_ms() {
            return Poll::Ready(());
        }
        let waker = context.waker();
        let mut waiting = self.waiting();
        waiting.last += 1;
        let number = waiting.last;
        waiting.wakers.entry((at_ms, waker.data() as usize)).or_insert_with(|| (number, waker.clone()));
        Poll::Pending
    }
}

/// The clock of one machine, which may be wrong.
#[derive(Debug)]
pub(crate) struct SkewedTime {
    time: Arc<VirtualTime>,
    /// How far it is ahead; negative when it is behind.
    skew_ms: i64,
}

impl SkewedTime {
    pub(crate) fn new(time: Arc<VirtualTime>, skew_ms: i64) -> Self {
        Self { time, skew_ms }
    }
}

impl TimeSource for SkewedTime {
    fn now_ms(&self) -> u64 {
        self.time.now_ms().saturating_add_signed(self.skew_ms)
    }

    fn poll_until(&self, at_ms: u64, context: &mut Context<'_>) -> Poll<()> {
        self.time.poll_until(at_ms.saturating_add_signed(-self.skew_ms), context)
    }
}
