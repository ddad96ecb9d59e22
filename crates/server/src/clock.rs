//! The server's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 that never go back: the wall clock at the start, plus monotonic time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base_ms: u64,
    started: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { base_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX), started: Instant::now() }
    }
}

impl Clock {
    /// The time.
    pub fn now_ms(&self) -> u64 {
        self.base_ms.saturating_add(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
