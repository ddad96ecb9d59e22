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
    /// By time and task. The order among tasks of one time does not matter: waking is adding to a set.
    waiting: Mutex<BTreeMap<(u64, usize), Waker>>,
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
        self.waiting().first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    /// Wakes every task that is due.
    pub(crate) fn wake(&self) {
        let later = self.waiting().split_off(&(self.now_ms() + 1, 0));
        let due = std::mem::replace(&mut *self.waiting(), later);
        due.into_values().for_each(Waker::wake);
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<(u64, usize), Waker>> {
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
        self.waiting().entry((at_ms, waker.data() as usize)).or_insert_with(|| waker.clone());
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
