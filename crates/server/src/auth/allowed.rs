//! What an identity is known to be allowed.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rules that are remembered for one identity; with more of them the memory starts over.
const RULES_REMEMBERED_MAX: usize = 64;

/// The rules that asked for nothing but the identity, and allowed it: they would say the same again. Refusals are not remembered: each
/// of them is looked at, counted and logged.
#[derive(Debug, Default)]
pub struct Allowed(Mutex<Vec<u64>>);

impl Allowed {
    /// Whether a rule, by its number, is known to allow the identity.
    pub(crate) fn has(&self, rule: u64) -> bool {
        self.rules().contains(&rule)
    }

    /// Remembers that a rule allows the identity.
    pub(crate) fn add(&self, rule: u64) {
        let mut rules = self.rules();
        if rules.len() >= RULES_REMEMBERED_MAX {
            rules.clear();
        }
        rules.push(rule);
    }

    fn rules(&self) -> MutexGuard<'_, Vec<u64>> {
        // Every change of the list is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A copy finds out by itself.
impl Clone for Allowed {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// What is remembered does not tell identities apart.
impl PartialEq for Allowed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Allowed, RULES_REMEMBERED_MAX};

    #[test]
    fn what_is_remembered_is_bounded() {
        let allowed = Allowed::default();
        let count = RULES_REMEMBERED_MAX as u64 + 1;
        for rule in 0..count {
            allowed.add(rule);
            assert!(allowed.has(rule));
        }
        assert!(!allowed.has(0), "the first ones are forgotten");
    }
}
