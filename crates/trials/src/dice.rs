//! Numbers that a seed decides.

use std::time::{SystemTime, UNIX_EPOCH};

/// The variable that repeats a run.
const SEED: &str = "TIDELOCK_TEST_SEED";

/// Xorshift (Marsaglia 2003).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        // The generator stays at 0 for ever, and its first numbers from small seeds are small.
        let mut dice = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        dice.next();
        dice
    }

    /// From `TIDELOCK_TEST_SEED`, or from the clock. Prints the seed.
    #[expect(clippy::print_stdout, reason = "the seed of a test that fails is in its output")]
    pub fn from_environment() -> Self {
        let given = std::env::var(SEED).ok().and_then(|text| text.parse().ok());
        let seed: u64 = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::from(now.subsec_nanos()) ^ now.as_secs().rotate_left(20)
        });
        println!("seed {seed} ({SEED} repeats it)");
        Self::new(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`; 0 when that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Puts a list into another order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            let other = usize::try_from(self.below(at as u64 + 1)).unwrap_or(at);
            list.swap(at, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        let rolled = |seed| {
            let mut dice = Dice::new(seed);
            (0..50).map(|_| dice.between(3, 9)).collect::<Vec<_>>()
        };
        assert_eq!(rolled(1), rolled(1));
        assert_ne!(rolled(1), rolled(2));
        assert!(rolled(0).iter().all(|number| (3..=9).contains(number)));
        let mut list = [1, 2, 3, 4, 5, 6, 7, 8];
        Dice::new(1).shuffle(&mut list);
        assert_ne!(list, [1, 2, 3, 4, 5, 6, 7, 8]);
        list.sort_unstable();
        assert_eq!(list, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
