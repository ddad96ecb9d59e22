//! Log lines about what may come by the million.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one kind in an interval.
const LINES_MAX: u32 = 20;
const INTERVAL: Duration = Duration::from_secs(10);

/// Says which occasions get a line: at most 20 every 10 seconds.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    since: Option<Instant>,
    lines: u32,
    untold: u64,
}

impl Seldom {
    /// Counts an occasion. When it gets a line, it is how many had none since the last line.
    pub fn due(&self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.since.is_none_or(|since| now.duration_since(since) >= INTERVAL) {
            (told.since, told.lines) = (Some(now), 0);
        }
        if told.lines == LINES_MAX {
            told.untold += 1;
            return None;
        }
        told.lines += 1;
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_told_and_then_how_many_were_not() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let at = |seconds| seldom.due_at(start + Duration::from_secs(seconds));
        for _ in 0..LINES_MAX {
            assert_eq!(at(0), Some(0));
        }
        assert_eq!((at(1), at(9)), (None, None));
        assert_eq!((at(10), at(11)), (Some(2), Some(0)));
    }
}
