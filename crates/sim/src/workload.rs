//! A random application, and the ledger of what it did.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tidelock_core::client::storage::{KeyRange, Row};

use crate::application::{AppTransaction, write};
use crate::database::ModelDatabase;
use crate::random::Random;

/// Counters and sets from which the checker reads which transactions arrived; never deleted.
pub(crate) const LEDGER: &str = "ledger";
/// Everything else, each under another policy.
const OTHERS: [&str; 6] = ["board", "choice", "newest", "notes", ROOMS, "strict"];
/// Documents that only some identities may read, by their member `room`.
const ROOMS: &str = "rooms";
/// The rooms.
pub(crate) const ROOM_NAMES: [&str; 3] = ["x", "y", "z"];
const KEYS: [&str; 8] = ["a", "b", "c", "~n1", "~n2.5", "~n10", "~d86400000", "~a[\"x\",\"~n1\"]"];
/// A body that no server of the simulator takes.
const TOO_LARGE_BYTES: usize = 2_000;

/// What the applications committed.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By token.
    pub transactions: BTreeMap<String, Entry>,
}

/// One transaction.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// The replica that made it.
    pub replica: usize,
    /// What it added to each of its ledger documents.
    pub delta: i64,
    /// Keys of its ledger documents.
    pub documents: BTreeSet<String>,
    /// It was made before the profile was set back to an earlier state: nobody has it unless the server does.
    pub may_be_lost: bool,
}

impl Ledger {
    /// One random transaction; `false` while another one runs.
    pub fn write(&mut self, replica: usize, database: &mut ModelDatabase, now_ms: u64, random: &mut Random) -> bool {
        let token = format!("c{replica}-{}", self.transactions.len());
        let mut entry = Entry { replica, ..Entry::default() };
        let strict = random.chance(300);
        let done = write(database, &token, now_ms, strict, |tx| {
            if random.chance(850) {
                count(tx, &token, &mut entry, random);
            }
            for _ in 0..random.below(3) {
                scribble(tx, &token, random);
            }
        });
        if done.is_some() && !entry.documents.is_empty() {
            self.transactions.insert(token, entry);
        }
        done.is_some()
    }

    /// What a replica has written so far may be lost with its profile.
    pub(crate) fn excuse(&mut self, replica: usize) {
        for entry in self.transactions.values_mut().filter(|entry| entry.replica == replica) {
            entry.may_be_lost = true;
        }
    }

    /// These transactions were lost with the machine, before anyone was told of them.
    pub fn forget(&mut self, lost: &[String]) {
        for token in lost {
            // The entry stays, so that no other transaction gets its token.
            if let Some(entry) = self.transactions.get_mut(token) {
                entry.documents.clear();
            }
        }
    }
}

fn count(tx: &mut AppTransaction<'_>, token: &str, entry: &mut Entry, random: &mut Random) {
    entry.delta = i64::try_from(random.between(1, 9)).unwrap_or(1);
    for _ in 0..random.between(1, 3) {
        let Some(key) = random.pick(&KEYS) else { return };
        if !entry.documents.insert((*key).to_owned()) {
            continue;
        }
        let mut document = object(tx, LEDGER, key);
        let n = document.get("n").and_then(Value::as_i64).unwrap_or(0);
        let mut tokens = document.get("tokens").and_then(Value::as_array).cloned().unwrap_or_default();
        tokens.push(json!(token));
        set(&mut document, "n", json!(n + entry.delta));
        set(&mut document, "tokens", Value::Array(tokens));
        tx.put(LEDGER, key, &document.to_string());
    }
}

fn scribble(tx: &mut AppTransaction<'_>, token: &str, random: &mut Random) {
    let (Some(store), Some(key)) = (random.pick(&OTHERS), random.pick(&KEYS)) else { return };
    let mut document = object(tx, store, key);
    match random.below(100) {
        0..15 => return tx.delete(store, key),
        15..18 => return tx.clear(store),
        18..25 => return tx.delete_range(store, range(random)),
        25..26 => {
            set(&mut document, "huge", json!("x".repeat(TOO_LARGE_BYTES)));
        }
        26..27 => return tx.put_value(store, key, Row::Unsupported("a function".into())),
        27..29 => set(&mut document, "forbidden", json!(true)),
        29..60 => {
            let text = document.get("text").and_then(Value::as_str).unwrap_or_default();
            let line = format!("{token}\n");
            let keep: String = text.lines().rev().take(3).flat_map(|line| [line, "\n"]).collect();
            let text = if random.chance(500) { format!("{keep}{line}") } else { format!("{line}{keep}") };
            set(&mut document, "text", json!(text));
        }
        60..80 => set(&mut document, &format!("f{}", random.below(3)), json!(random.below(4))),
        _ => document = json!({ "by": token, "n": random.below(100) }),
    }
    if *store == ROOMS && (document.get("room").is_none() || random.chance(200)) {
        let room = random.pick(&ROOM_NAMES).copied().unwrap_or_default();
        set(&mut document, "room", json!(room));
    }
    tx.put(store, key, &document.to_string());
}

fn range(random: &mut Random) -> KeyRange {
    let mut bounds: Vec<&str> = vec![*random.pick(&KEYS).unwrap_or(&"a"), *random.pick(&KEYS).unwrap_or(&"b")];
    bounds.sort_by_key(|form| tidelock_core::key::decode(form).ok());
    let bound = |form: Option<&&str>| form.map(|form| (*form).to_owned());
    KeyRange {
        lower: bound(bounds.first()).filter(|_| random.chance(800)),
        upper: bound(bounds.last()),
        lower_open: random.chance(300),
        upper_open: random.chance(300),
    }
}

fn object(tx: &AppTransaction<'_>, store: &str, key: &str) -> Value {
    let found = tx.get(store, key).and_then(|json| serde_json::from_slice::<Value>(&json).ok());
    found.filter(Value::is_object).unwrap_or_else(|| json!({}))
}

fn set(document: &mut Value, name: &str, value: Value) {
    if let Some(members) = document.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}
