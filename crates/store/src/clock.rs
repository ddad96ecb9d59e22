//! The time of this machine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 that neither go back nor stand still: those of the wall clock, and where that is set back, or goes slower, those
/// since it was furthest ahead of the monotonic clock. That one in turn stands still while a machine sleeps, and is caught up with.
#[derive(Debug)]
pub struct WallClock {
    started: Instant,
    /// What the wall clock showed at most beyond the time since the start.
    ahead_ms: AtomicU64,
}

impl Default for WallClock {
    fn default() -> Self {
        Self { started: Instant::now(), ahead_ms: AtomicU64::new(0) }
    }
}

impl WallClock {
    /// The time.
    pub fn now_ms(&self) -> u64 {
        self.at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(), self.started.elapsed())
    }

    fn at(&self, wall: Duration, elapsed: Duration) -> u64 {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let ahead_ms = ms(wall).saturating_sub(ms(elapsed));
        let most_ms = self.ahead_ms.fetch_max(ahead_ms, Ordering::SeqCst).max(ahead_ms);
        most_ms.saturating_add(ms(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_whatever_is_done_to_the_clock() {
        let clock = WallClock::default();
        let at = |wall, elapsed| clock.at(Duration::from_millis(wall), Duration::from_millis(elapsed));
        assert_eq!(at(10_000, 0), 10_000);
        assert_eq!(at(10_100, 100), 10_100);
        // Set ahead by an hour by mistake, and back again.
        assert_eq!(at(3_610_200, 200), 3_610_200);
        assert_eq!(at(10_300, 300), 3_610_300);
        // The machine slept for a day: only the wall clock knows.
        assert_eq!(at(86_410_400, 400), 86_410_400);
        assert_eq!(at(86_410_500, 500), 86_410_500);
    }
}
