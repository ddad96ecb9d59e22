//! What the clients write.

use serde_json::{Value, json};
use tidelock_sim::ModelDatabase;
use tidelock_sim::application::write;

use crate::dice::Dice;
use crate::ledger::{Change, Ledger};

/// The collections of the database. No client's load writes to the last two.
pub const COLLECTIONS: [&str; 8] = ["accounts", "counters", "docs", "left", "right", "slots", "foreign", "copies"];

/// The counter that all clients count with.
pub(crate) const COUNTER: &str = "shared";
/// Accounts between which they transfer, and what each begins with.
pub(crate) const ACCOUNTS: usize = 8;
const BALANCE: i64 = 1_000;
/// Pairs and slots of each client.
const PAIRS: u64 = 3;
const SLOTS: u64 = 4;

/// How often a client does what, as weights.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Creates a document.
    pub documents: u64,
    /// Writes two documents that have to be equal, in one transaction.
    pub pairs: u64,
    /// Adds one to the counter.
    pub counts: u64,
    /// Moves an amount from one account to another.
    pub transfers: u64,
    /// Creates, edits or deletes a document that it has created and deleted before.
    pub slots: u64,
}

impl Mix {
    /// Everything.
    pub const ALL: Self = Self { documents: 3, pairs: 2, counts: 2, transfers: 2, slots: 2 };

    /// The sections of the collections in a server's configuration.
    pub fn configuration() -> String {
        let section = |name: &str| {
            let open = format!("\n[databases.trials.collections.{name}]\nread = \"true\"\nwrite = \"true\"\n");
            let sum = format!("[databases.trials.collections.{name}.conflict.fields]\nn = \"sum\"\n");
            if matches!(name, "accounts" | "counters") { open + &sum } else { open }
        };
        COLLECTIONS.iter().map(|name| section(name)).collect()
    }

    /// The documents that have to be there before clients write: two that are created alike are one document.
    pub fn prepare(ledger: &Ledger, mut put: impl FnMut(&str, &str, &Value)) {
        let mut begin = |collection: &str, key: &str, n: i64| {
            let value = json!({ "n": n });
            put(collection, key, &value);
            ledger.set(collection, key, Some(value));
        };
        begin("counters", COUNTER, 0);
        for account in 0..ACCOUNTS {
            begin("accounts", &account_key(account), BALANCE);
        }
    }
}

fn account_key(account: usize) -> String {
    format!("a{account}")
}

/// What all accounts hold together, always.
pub(crate) const TOTAL: i64 = 8 * BALANCE;
const _: () = assert!(ACCOUNTS == 8, "the total is of all accounts");

/// The changes of one transaction.
pub(crate) type Changes = Vec<(&'static str, String, Change)>;

/// What one client writes.
#[derive(Debug)]
pub(crate) struct Load {
    client: u64,
    mix: Mix,
    dice: Dice,
    /// Names transactions, and whatever they create.
    count: u64,
    /// Of each slot: how often it was created, and whether it is there.
    slots: Vec<(u64, bool)>,
}

impl Load {
    pub(crate) fn new(client: u64, mix: Mix, dice: Dice) -> Self {
        let slots = (0..SLOTS).map(|_| (0, false)).collect();
        Self { client, mix, dice, count: 0, slots }
    }

    /// Commits one transaction to the client's database. Empty when it had nothing to do yet.
    pub(crate) fn commit(&mut self, database: &mut ModelDatabase, now_ms: u64) -> Changes {
        let changes = self.changes(database);
        let token = format!("c{}-{:06}", self.client, self.count);
        let done = write(database, &token, now_ms, true, |transaction| {
            for (collection, key, change) in &changes {
                match change {
                    Change::Set(None) => transaction.delete(collection, key),
                    Change::Set(Some(value)) => transaction.put(collection, key, &value.to_string()),
                    Change::Add(difference) => {
                        let n = transaction.get(collection, key).and_then(|json| number(&json)).unwrap_or_default();
                        transaction.put(collection, key, &json!({ "n": n + difference }).to_string());
                    }
                }
            }
        });
        done.map(|()| changes).unwrap_or_default()
    }

    fn changes(&mut self, database: &ModelDatabase) -> Changes {
        self.count += 1;
        let mix = self.mix;
        let mut roll = self.dice.below(mix.documents + mix.pairs + mix.counts + mix.transfers + mix.slots);
        let mut is = |weight: u64| {
            let hit = roll < weight;
            roll = roll.wrapping_sub(weight);
            hit
        };
        if is(mix.documents) {
            let token = format!("c{}-{:06}", self.client, self.count);
            let value = json!({ "token": token, "text": format!("written by client {}", self.client) });
            return vec![("docs", token, Change::Set(Some(value)))];
        }
        if is(mix.pairs) {
            let key = format!("c{}-p{}", self.client, self.dice.below(PAIRS));
            let value = json!({ "n": self.count });
            return ["left", "right"].map(|side| (side, key.clone(), Change::Set(Some(value.clone())))).to_vec();
        }
        let is_there = |collection: &str, key: &str| row(database, collection, key).is_some();
        if is(mix.counts) {
            // What is not here yet cannot be counted with: a second document would be created.
            let changes = vec![("counters", COUNTER.to_owned(), Change::Add(1))];
            return if is_there("counters", COUNTER) { changes } else { Vec::new() };
        }
        if is(mix.transfers) { self.transfer(database) } else { vec![self.slot()] }
    }

    fn transfer(&mut self, database: &ModelDatabase) -> Changes {
        let mut accounts: Vec<usize> = (0..ACCOUNTS).collect();
        self.dice.shuffle(&mut accounts);
        let amount = i64::try_from(self.dice.between(1, 9)).unwrap_or(1);
        let parts = accounts.iter().zip([-amount, amount]);
        let changes: Changes =
            parts.map(|(account, amount)| ("accounts", account_key(*account), Change::Add(amount))).collect();
        let are_there = changes.iter().all(|(collection, key, _)| row(database, collection, key).is_some());
        if are_there { changes } else { Vec::new() }
    }

    fn slot(&mut self) -> (&'static str, String, Change) {
        let at = self.dice.below(SLOTS);
        let (client, count, deletes) = (self.client, self.count, self.dice.below(2) == 0);
        let slot = usize::try_from(at).ok().and_then(|at| self.slots.get_mut(at));
        let (life, is_there) = slot.expect("one of the slots");
        let key = format!("c{client}-s{at}");
        if *is_there && deletes {
            *is_there = false;
            return ("slots", key, Change::Set(None));
        }
        *life += u64::from(!*is_there);
        *is_there = true;
        ("slots", key, Change::Set(Some(json!({ "life": *life, "edit": count }))))
    }
}

/// JSON text of a row.
pub(crate) fn row(database: &ModelDatabase, collection: &str, key: &str) -> Option<Vec<u8>> {
    use tidelock_core::client::storage::Row;
    if let Row::Json(json) = database.row(collection, key) { Some(json) } else { None }
}

/// The member `n`.
pub(crate) fn number(json: &[u8]) -> Option<i64> {
    serde_json::from_slice::<Value>(json).ok()?.get("n")?.as_i64()
}
