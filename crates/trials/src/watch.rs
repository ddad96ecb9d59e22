//! What a client must never see, whatever happens to servers and networks.

use std::collections::BTreeMap;

use serde_json::Value;
use tidelock_core::client::storage::Row;
use tidelock_sim::ModelDatabase;

use crate::load::{ACCOUNTS, COUNTER, TOTAL, number, row};

/// What one client has seen so far.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The largest number in each pair.
    pairs: BTreeMap<String, i64>,
    counter: i64,
    /// The last life of each slot that was seen, its last edit, and whether it was seen to end.
    lives: BTreeMap<String, Life>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Life {
    number: u64,
    edit: u64,
    is_over: bool,
}

/// How far a client is when it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// It takes over what it lacks, document by document.
    CatchingUp,
    /// It shows a cut: transactions of others are whole (`docs/browser.md`).
    Live,
    /// Nothing of its own is under way either: documents that it writes together with others are whole.
    Settled,
}

impl Watch {
    /// Looks at what the client shows.
    pub(crate) fn look(&mut self, database: &ModelDatabase, moment: Moment) -> Result<(), String> {
        self.pairs(database, moment)?;
        let counter = row(database, "counters", COUNTER).and_then(|json| number(&json)).unwrap_or(self.counter);
        if counter < self.counter {
            return Err(format!("the counter went back from {} to {counter}", self.counter));
        }
        self.counter = counter;
        self.slots(database)?;
        if moment == Moment::Settled { accounts(database) } else { Ok(()) }
    }

    fn pairs(&mut self, database: &ModelDatabase, moment: Moment) -> Result<(), String> {
        let left = rows(database, "left");
        let right = rows(database, "right");
        if moment != Moment::CatchingUp && left != right {
            return Err(format!("a transaction is there in part: left {left:?}, right {right:?}"));
        }
        for (key, value) in left {
            let n = value.get("n").and_then(Value::as_i64).unwrap_or_default();
            let seen = self.pairs.entry(key.clone()).or_default();
            if n < *seen {
                return Err(format!("{key} went back from {seen} to {n}"));
            }
            *seen = n;
        }
        Ok(())
    }

    fn slots(&mut self, database: &ModelDatabase) -> Result<(), String> {
        let rows = rows(database, "slots");
        for (key, value) in &rows {
            let member = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
            let (number, edit) = (member("life"), member("edit"));
            let seen = self.lives.entry(key.clone()).or_default();
            if number < seen.number || (number == seen.number && (seen.is_over || edit < seen.edit)) {
                return Err(format!("{key} shows {value} after {seen:?}"));
            }
            *seen = Life { number, edit, is_over: false };
        }
        for (key, life) in &mut self.lives {
            life.is_over |= !rows.contains_key(key);
        }
        Ok(())
    }
}

fn accounts(database: &ModelDatabase) -> Result<(), String> {
    let accounts = rows(database, "accounts");
    let total: i64 = accounts.values().filter_map(|account| account.get("n")?.as_i64()).sum();
    if accounts.len() == ACCOUNTS && total == TOTAL {
        return Ok(());
    }
    Err(format!("the accounts hold {total} instead of {TOTAL}: {accounts:?}"))
}

/// The rows of a store.
pub(crate) fn rows(database: &ModelDatabase, store: &str) -> BTreeMap<String, Value> {
    let rows = database.scan(store, None, usize::MAX).into_iter();
    let value = |row: Row| match row {
        Row::Json(json) => serde_json::from_slice(&json).unwrap_or_default(),
        other @ (Row::Absent | Row::Unsupported(_)) => Value::String(format!("no JSON: {other:?}")),
    };
    rows.map(|(key, row)| (key, value(row))).collect()
}

#[cfg(test)]
mod tests {
    use tidelock_sim::application::write;

    use super::*;

    fn put(database: &mut ModelDatabase, rows: &[(&str, &str, &str)]) {
        let put = |transaction: &mut tidelock_sim::application::AppTransaction<'_>| {
            for (store, key, json) in rows {
                if json.is_empty() {
                    transaction.delete(store, key);
                } else {
                    transaction.put(store, key, json);
                }
            }
        };
        write(database, "t", 0, true, put).unwrap();
    }

    #[test]
    fn what_is_torn_or_goes_back_or_rises_again_is_seen() {
        let mut database = ModelDatabase::new();
        let mut watch = Watch::default();
        put(&mut database, &[("left", "p", r#"{"n":2}"#), ("right", "p", r#"{"n":2}"#)]);
        put(&mut database, &[("counters", COUNTER, r#"{"n":5}"#), ("slots", "s", r#"{"life":1,"edit":1}"#)]);
        assert_eq!(watch.look(&database, Moment::Live), Ok(()));
        put(&mut database, &[("left", "p", r#"{"n":3}"#)]);
        assert!(watch.look(&database, Moment::Live).unwrap_err().contains("in part"));
        put(&mut database, &[("left", "p", r#"{"n":1}"#), ("right", "p", r#"{"n":1}"#)]);
        assert!(watch.look(&database, Moment::Live).unwrap_err().contains("p went back from 2 to 1"));
        put(&mut database, &[("left", "p", r#"{"n":2}"#), ("right", "p", r#"{"n":2}"#), ("slots", "s", "")]);
        assert_eq!(watch.look(&database, Moment::Live), Ok(()));
        put(&mut database, &[("slots", "s", r#"{"life":1,"edit":2}"#)]);
        assert!(watch.look(&database, Moment::Live).unwrap_err().contains("s shows"));
        put(&mut database, &[("slots", "s", r#"{"life":2,"edit":3}"#), ("counters", COUNTER, r#"{"n":4}"#)]);
        assert!(watch.look(&database, Moment::Live).unwrap_err().contains("the counter went back"));
        put(&mut database, &[("left", "p", r#"{"n":9}"#), ("counters", COUNTER, r#"{"n":5}"#)]);
        assert_eq!(watch.look(&database, Moment::CatchingUp), Ok(()));
        assert!(watch.look(&database, Moment::Live).unwrap_err().contains("in part"));
    }

    #[test]
    fn accounts_count_when_nothing_is_under_way() {
        let mut database = ModelDatabase::new();
        let mut watch = Watch::default();
        for account in 0..ACCOUNTS {
            put(&mut database, &[("accounts", &format!("a{account}"), r#"{"n":1000}"#)]);
        }
        assert_eq!(watch.look(&database, Moment::Settled), Ok(()));
        put(&mut database, &[("accounts", "a0", r#"{"n":999}"#)]);
        assert_eq!(watch.look(&database, Moment::Live), Ok(()));
        assert!(watch.look(&database, Moment::Settled).unwrap_err().contains("7999 instead of 8000"));
    }
}
