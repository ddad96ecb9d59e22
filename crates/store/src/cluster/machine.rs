//! What a node runs on outside a simulation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::host::Host;
use crate::clock::WallClock;
use crate::store::BoxFuture;

/// The clock and the dice of this process. Needs a tokio runtime.
#[derive(Debug, Default)]
pub struct Machine {
    clock: WallClock,
    /// Where there is no randomness.
    count: AtomicU64,
}

impl Machine {
    /// One for each store.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}

impl Host for Machine {
    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn sleep(&self, ms: u64) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(ms)))
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        if getrandom::fill(&mut bytes).is_ok() {
            return u64::from_le_bytes(bytes);
        }
        // What it names still differs from what was named before.
        let count = self.count.fetch_add(1, Ordering::SeqCst);
        self.now_ms().wrapping_add(count).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}
