//! Virtual time, an executor, and rules.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use tidelock_core::ids::DocumentId;
use tidelock_core::json;
use tidelock_core::merge::{self, Current, Merged};
use tidelock_core::version;
use tidelock_core::wire::{DocumentChange, Policy};

use crate::cluster::host::{Described, Host, Met, Remerged, Rulebook};
use crate::store::BoxFuture;

/// The time of all nodes of a test.
#[derive(Default)]
pub(super) struct Time {
    now_ms: AtomicU64,
    random: AtomicU64,
    sleepers: Mutex<BTreeMap<(u64, u64), Waker>>,
    sleeps: AtomicU64,
}

impl Time {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let time = Self::default();
        time.now_ms.store(1_700_000_000_000, Ordering::SeqCst);
        time.random.store(seed, Ordering::SeqCst);
        Arc::new(time)
    }

    pub(super) fn advance(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
        let now_ms = self.now_ms.load(Ordering::SeqCst);
        let mut sleepers = self.sleepers.lock().unwrap();
        while let Some(entry) = sleepers.first_entry()
            && entry.key().0 <= now_ms
        {
            entry.remove().wake();
        }
    }

    /// Goes on to the next moment at which somebody wakes; whether there is one.
    fn advance_to_next(&self) -> bool {
        let next = self.sleepers.lock().unwrap().first_key_value().map(|((due_ms, _), _)| *due_ms);
        let Some(due_ms) = next else { return false };
        self.advance(due_ms.saturating_sub(self.now_ms.load(Ordering::SeqCst)));
        true
    }

    /// Drives a future to its end; `None` when it waits for nothing that can come.
    pub(super) fn drive<F: Future>(&self, future: F) -> Option<F::Output> {
        struct Flag(AtomicBool);
        impl Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(output);
            }
            if !flag.0.swap(false, Ordering::SeqCst) && !self.advance_to_next() {
                return None;
            }
        }
    }

    /// As [`drive`](Self::drive), of a future that has an end.
    pub(super) fn run<F: Future>(&self, future: F) -> F::Output {
        self.drive(future).expect("the future waits for nothing that can come")
    }
}

/// A node's clock and dice.
pub(super) struct TestHost {
    pub(super) time: Arc<Time>,
    /// How far its clock is ahead of that of others, in milliseconds.
    pub(super) ahead_ms: u64,
}

impl Host for TestHost {
    fn now_ms(&self) -> u64 {
        self.time.now_ms.load(Ordering::SeqCst) + self.ahead_ms
    }

    fn sleep(&self, ms: u64) -> BoxFuture<'static, ()> {
        let time = Arc::clone(&self.time);
        let due_ms = time.now_ms.load(Ordering::SeqCst) + ms;
        let number = time.sleeps.fetch_add(1, Ordering::SeqCst);
        Box::pin(poll_fn(move |context| {
            if time.now_ms.load(Ordering::SeqCst) >= due_ms {
                return Poll::Ready(());
            }
            time.sleepers.lock().unwrap().insert((due_ms, number), context.waker().clone());
            Poll::Pending
        }))
    }

    fn random(&self) -> u64 {
        // splitmix64
        let mut word = self.time.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// Rules of a test. The channels of a content are those of its member `in`.
#[derive(Default)]
pub(super) struct Book {
    pub(super) policy: Policy,
    /// Whether outcomes depend on the state.
    depends: bool,
}

impl Book {
    pub(super) fn new(policy: Policy, depends: bool) -> Self {
        Self { policy, depends }
    }
}

impl Rulebook for Book {
    fn revision(&self) -> u64 {
        0
    }

    fn describe(&self, _id: &DocumentId, content: &[u8]) -> Result<Described, String> {
        let value: serde_json::Value = serde_json::from_slice(content).map_err(|error| error.to_string())?;
        let channels = value.get("in").and_then(|channels| channels.as_array()).into_iter().flatten();
        let channels = channels.filter_map(|channel| Some(channel.as_str()?.to_owned())).collect();
        Ok(Described { version: version::of_body(content).map_err(|error| error.to_string())?, channels })
    }

    fn depends_on_state(&self, _id: &DocumentId) -> bool {
        self.depends
    }

    fn merge(&self, current: Option<Met<'_>>, change: &DocumentChange, edited_ms: u64) -> Option<Remerged> {
        let value = current.map(|current| json::parse(current.body)).transpose().ok()?;
        let met = current.zip(value.as_ref()).map(|(current, value)| Current { version: current.version, value });
        let current_edited_ms = current.map_or(0, |current| current.edited_ms);
        let context = merge::Context { policy: &self.policy, edited_ms, current_edited_ms };
        let (value, conflicts) = match merge::merge(met, change, &context).ok()? {
            Merged::Unchanged => (value, Vec::new()),
            Merged::Fast { value } => (value, Vec::new()),
            Merged::Merged { value, conflicts } => (value, conflicts),
            Merged::Rejected { .. } | Merged::Resolve => return None,
        };
        Some(Remerged { body: value.map(|value| json::write(&value).into()), conflicts })
    }
}
