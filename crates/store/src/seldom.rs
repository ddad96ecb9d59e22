//! Log lines about what may come by the million.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(10);

/// Says when the next line of one kind is due: the first at once, further ones every 10 seconds at most.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// Counts an occasion. When a line is due, it is how many occasions had none since the last line.
    pub fn due(&self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| now.duration_since(last) < INTERVAL) {
            told.untold += 1;
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_how_many_were_not() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(seldom.due_at(start), Some(0));
        assert_eq!(seldom.due_at(after(1)), None);
        assert_eq!(seldom.due_at(after(9)), None);
        assert_eq!(seldom.due_at(after(10)), Some(2));
        assert_eq!(seldom.due_at(after(11)), None);
        assert_eq!(seldom.due_at(after(60)), Some(1));
    }
}
