//! What a node runs on outside a simulation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::host::Host;
use crate::store::BoxFuture;

/// The clock and the dice of this process. Needs a tokio runtime.
#[derive(Debug, Default)]
pub struct Machine {
    /// The latest time told: it does not go back when the clock is set.
    latest_ms: AtomicU64,
}

impl Machine {
    /// One for each store.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}

impl Host for Machine {
    fn now_ms(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.latest_ms.fetch_max(now_ms, Ordering::SeqCst).max(now_ms)
    }

    fn sleep(&self, ms: u64) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(ms)))
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        match getrandom::fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            // What it names still differs from what was named before.
            Err(_) => self.latest_ms.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        }
    }
}
