//! The ledger: every transaction is there exactly once, whole or not at all, and what was acknowledged stays.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidelock_core::ids::DocumentId;

use super::Violation;
use super::convergence::Documents;
use crate::workload::{Entry, LEDGER, TALLIES, TALLY_KEYS};
use crate::world::World;

/// Keys of ledger documents by the token that they hold.
pub(crate) type Tokens = BTreeMap<String, BTreeSet<String>>;

impl World {
    /// Which ledger documents hold which token.
    pub(crate) fn tokens<'a>(bodies: impl Iterator<Item = (&'a str, &'a [u8])>) -> Tokens {
        let mut found = Tokens::new();
        for (key, body) in bodies {
            for token in tokens_of(body) {
                found.entry(token).or_default().insert(key.to_owned());
            }
        }
        found
    }

    /// Every token is in all documents of its transaction.
    pub(crate) fn check_whole(&self, found: &Tokens) -> Result<(), String> {
        for (token, keys) in found {
            let Some(entry) = self.ledger.transactions.get(token) else { return Err(format!("unknown {token}")) };
            // An application writes whole rows: a later edit of a row that a rejected transaction created brings its token along.
            if entry.documents != *keys && !self.is_told(token, entry) {
                return Err(format!("{token}: {keys:?} of {:?}", entry.documents));
            }
        }
        Ok(())
    }

    /// Whether its user can know that a transaction is not there, or not wholly.
    fn is_told(&self, token: &str, entry: &Entry) -> bool {
        entry.may_be_lost || self.is_listed(entry.replica, token) || self.is_set_aside(token)
    }

    /// Whether the conflict log of a store that was set back holds a value of a transaction.
    fn is_set_aside(&self, token: &str) -> bool {
        self.checkers.set_back
            && self.site.set_aside().iter().any(|mine| {
                let list: Vec<String> = serde_json::from_slice(mine).unwrap_or_default();
                tokens_of(mine).iter().chain(&list).any(|found| found == token)
            })
    }

    /// Whether the list of rejected mutations holds a transaction.
    fn is_listed(&self, replica: usize, token: &str) -> bool {
        self.replicas.get(replica).is_some_and(|replica| {
            replica.database.rejected().any(|record| {
                let mine = record.documents.iter().filter_map(|document| document.mine.as_deref());
                mine.flat_map(tokens_of).any(|listed| listed == token)
            })
        })
    }

    /// Exactly once, whole or not at all, rejected ones listed, acknowledged ones there. Returns how many were rejected.
    pub(crate) fn check_ledger(&self, documents: &Documents) -> Result<u64, Violation> {
        let ledger = || documents.iter().filter(|(id, _)| id.collection == LEDGER);
        let found = Self::tokens(ledger().map(|(id, (_, body))| (id.key.as_str(), body.as_slice())));
        let torn = |torn| Violation::new("fracture", format!("the server holds {torn} in part"));
        self.check_whole(&found).map_err(torn)?;
        for (id, (_, body)) in ledger() {
            self.check_counts(id, body)?;
        }
        for (mutation, key, token) in &self.checkers.pushes.acknowledged {
            // What an earlier store cannot take any more comes back to its author.
            let told = || {
                self.checkers.set_back && self.ledger.transactions.get(token).is_none_or(|one| self.is_told(token, one))
            };
            if !found.get(token).is_some_and(|keys| keys.contains(key)) && !told() {
                let text = format!("{token} of {key} was acknowledged ({mutation:?}) and is not on the server");
                return Err(Violation::new("acknowledged", text));
            }
        }
        self.check_tallies(documents, &found)?;
        let mut rejected = 0;
        for (token, entry) in self.ledger.transactions.iter().filter(|(_, entry)| !entry.documents.is_empty()) {
            if found.contains_key(token) || entry.foreign {
                continue;
            }
            rejected += 1;
            if !self.is_told(token, entry) {
                let text =
                    format!("{token} {:?} is neither on the server nor in the list of rejected", entry.documents);
                return Err(Violation::new("ledger", text));
            }
        }
        Ok(rejected)
    }

    /// A tally has counted every transaction that is there, and no other. One whose user can know that it is not there may have left its
    /// count behind: a later edit of the row brings that along.
    fn check_tallies(&self, documents: &Documents, found: &Tokens) -> Result<(), Violation> {
        for key in TALLY_KEYS {
            let (mut least, mut most) = (0, 0);
            for (token, entry) in self.ledger.transactions.iter().filter(|(_, entry)| entry.tallies.contains(key)) {
                let may_be = entry.documents.is_empty() || self.is_told(token, entry);
                least += i64::from(found.contains_key(token) && !may_be);
                most += i64::from(found.contains_key(token) || may_be);
            }
            let body = documents.get(&DocumentId::new(TALLIES, key)).map(|(_, body)| body.as_slice());
            let document: Value = body.and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
            let counted = document.get("n").and_then(Value::as_i64).unwrap_or(0);
            // What a store that was set back sets aside, its log tells.
            let least = if self.checkers.set_back { 0 } else { least };
            if !(least..=most).contains(&counted) {
                let text = format!("the tally {key} counts {counted} of {least} to {most} transactions");
                return Err(Violation::new("exactly-once", text));
            }
        }
        Ok(())
    }

    /// The counter of a document is the sum of what its transactions added.
    fn check_counts(&self, id: &DocumentId, body: &[u8]) -> Result<(), Violation> {
        let tokens = tokens_of(body);
        let distinct: BTreeSet<&String> = tokens.iter().collect();
        let deltas = distinct.iter().filter_map(|token| self.ledger.transactions.get(*token));
        let sum: i64 = deltas.map(|entry| entry.delta).sum();
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let counted = document.get("n").and_then(Value::as_i64).unwrap_or(0);
        if distinct.len() == tokens.len() && counted == sum {
            return Ok(());
        }
        let text = format!("{id} counts {counted}, its tokens {sum}: {}", String::from_utf8_lossy(body));
        Err(Violation::new("exactly-once", text))
    }
}

pub(crate) fn tokens_of(body: &[u8]) -> Vec<String> {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let tokens = document.get("tokens").and_then(Value::as_array).cloned().unwrap_or_default();
    tokens.iter().filter_map(|token| token.as_str().map(str::to_owned)).collect()
}
