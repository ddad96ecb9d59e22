//! How many requests an identity may make.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How long an identity may be silent to make as many requests at once as it could have made meanwhile, in milliseconds.
const BURST_MS: u64 = 10_000;
/// Identities that are remembered; beyond them those go that have their whole burst, and the rest when that is not enough.
const IDENTITIES_MAX: usize = 10_000;

/// Requests by identity.
#[derive(Debug, Default)]
pub(crate) struct Quota(Mutex<BTreeMap<String, Budget>>);

/// What an identity may still do.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// Requests that may be made at once, in thousandths.
    left: u64,
    at_ms: u64,
}

impl Budget {
    fn refilled(self, now_ms: u64, per_second: u64) -> Self {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        Self { left: (self.left + passed_ms.saturating_mul(per_second)).min(per_second * BURST_MS), at_ms: now_ms }
    }
}

impl Quota {
    /// Takes one request; the milliseconds to wait when there is none left.
    pub(crate) fn take(&self, subject: &str, now_ms: u64, per_second: u32) -> Result<(), u32> {
        let per_second = u64::from(per_second.max(1));
        // Every change of the map is whole before anything can panic.
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if budgets.len() >= IDENTITIES_MAX && !budgets.contains_key(subject) {
            budgets.retain(|_, budget| budget.refilled(now_ms, per_second).left < per_second * BURST_MS);
            if budgets.len() >= IDENTITIES_MAX {
                budgets.clear();
            }
        }
        let full = Budget { left: per_second * BURST_MS, at_ms: now_ms };
        let budget = budgets.entry(subject.to_owned()).or_insert(full);
        *budget = budget.refilled(now_ms, per_second);
        match budget.left.checked_sub(1_000) {
            Some(left) => {
                budget.left = left;
                Ok(())
            }
            None => Err(u32::try_from((1_000 - budget.left).div_ceil(per_second)).unwrap_or(u32::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate() {
        let quota = Quota::default();
        let now = 1_000_000;
        assert!((0..20).all(|_| quota.take("ann", now, 2).is_ok()), "ten seconds' worth at once");
        assert_eq!(quota.take("ann", now, 2), Err(500));
        assert!(quota.take("bob", now, 2).is_ok(), "each identity has its own");
        assert_eq!(quota.take("ann", now + 400, 2), Err(100));
        assert!(quota.take("ann", now + 500, 2).is_ok());
        assert!(quota.take("ann", now + 500, 2).is_err());
    }

    #[test]
    fn identities_are_bounded() {
        let quota = Quota::default();
        for number in 0..IDENTITIES_MAX as u64 + 10 {
            // Those that were silent for long have their burst again.
            assert!(quota.take(&format!("s{number}"), number * 2_000, 1).is_ok());
        }
        assert!(quota.0.lock().unwrap().len() < 20);
    }
}
