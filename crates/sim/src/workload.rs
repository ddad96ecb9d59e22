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
pub(crate) const ROOMS: &str = "rooms";
/// Documents of which each is made once and deleted once; a delete wins over every edit.
pub(crate) const MORTAL: &str = "mortal";
/// Registers in which the larger value wins.
pub(crate) const REGISTERS: &str = "registers";
const REGISTER_KEYS: [&str; 4] = ["p", "q", "r", "s"];
/// The rooms.
pub(crate) const ROOM_NAMES: [&str; 3] = ["x", "y", "z"];
/// Counters that hold nothing else, so that two transactions may make the same of one; never deleted.
pub(crate) const TALLIES: &str = "tallies";
pub(crate) const TALLY_KEYS: [&str; 2] = ["t", "u"];
/// What is there is accounted for: nobody overwrites it unseen, or drops what is kept with it.
pub(crate) const JUDGED: [&str; 4] = [LEDGER, MORTAL, REGISTERS, TALLIES];
pub(crate) const KEYS: [&str; 8] = ["a", "b", "c", "~n1", "~n2.5", "~n10", "~d86400000", "~a[\"x\",\"~n1\"]"];
/// A body that no server of the simulator takes.
const TOO_LARGE_BYTES: usize = 2_000;
/// Levels of nesting beyond what is allowed.
const DEPTH: usize = 130;

/// What the applications committed.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By token.
    pub transactions: BTreeMap<String, Entry>,
    /// Transactions that wrote registers, by the value that they wrote.
    pub(crate) registered: BTreeMap<u64, Registered>,
    /// Documents of the mortal collection that were made, ever.
    mortals: u64,
    /// The last value that was written to a register.
    value: u64,
    /// Tallies that were made. Two transactions that make the same document have made one: so each is made once.
    tallies: BTreeSet<&'static str>,
    /// Rooms into which a replica's user put a document, by replica and key.
    pub(crate) placed: BTreeSet<(usize, String, String)>,
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
    /// Tallies in which it counted one.
    pub(crate) tallies: BTreeSet<&'static str>,
    /// Made on the platform itself, which owes such a writer nothing.
    pub foreign: bool,
    /// Made before the profile was set back: nobody has it unless the server does.
    pub may_be_lost: bool,
}

/// A transaction that wrote one value to some registers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registered {
    pub(crate) keys: BTreeSet<String>,
    /// What was confirmed to its replica in the registers before. What was unsent does not count: transactions that are unsent together
    /// may become one mutation, which then overtakes those between them.
    pub(crate) saw: BTreeMap<String, u64>,
}

/// Who writes, when, and under which name.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The replica.
    pub replica: usize,
    /// Names the transaction; no other has it.
    pub token: &'a str,
    /// The clock of the replica's machine.
    pub now_ms: u64,
}

impl Ledger {
    /// One random transaction; `false` while another one runs.
    pub fn write(&mut self, writer: Writer<'_>, database: &mut ModelDatabase, random: &mut Random) -> bool {
        let Writer { replica, token, now_ms } = writer;
        let strict = random.chance(300);
        match random.below(100) {
            0..12 => return self.register(writer, database, strict, random),
            12..24 => {
                let next = format!("m{}", self.mortals);
                let made = write(database, token, now_ms, strict, |tx| live_and_die(tx, &next, token, random));
                self.mortals += u64::from(made == Some(true));
                return made.is_some();
            }
            _ => {}
        }
        let mut entry = Entry { replica, ..Entry::default() };
        let mut placed = Vec::new();
        let made = &mut self.tallies;
        let done = write(database, token, now_ms, strict, |tx| {
            if random.chance(850) {
                count(tx, token, &mut entry, random);
                if random.chance(600) {
                    entry.tallies = tally(tx, made, random);
                }
            }
            for _ in 0..random.below(3) {
                placed.extend(scribble(tx, token, random));
            }
        });
        if done.is_some() && !entry.documents.is_empty() {
            self.transactions.insert(token.to_owned(), entry);
        }
        self.placed.extend(placed.into_iter().map(|(key, room)| (replica, key, room)));
        done.is_some()
    }

    /// Writes the next value to some registers.
    fn register(
        &mut self,
        writer: Writer<'_>,
        database: &mut ModelDatabase,
        strict: bool,
        random: &mut Random,
    ) -> bool {
        let value = self.value + 1;
        let mut entry = Registered { keys: BTreeSet::new(), saw: confirmed_registers(database) };
        for _ in 0..random.between(1, 3) {
            entry.keys.extend(random.pick(&REGISTER_KEYS).map(|key| (*key).to_owned()));
        }
        let body = json!({ "m": value }).to_string();
        let done = write(database, writer.token, writer.now_ms, strict, |tx| {
            entry.keys.iter().for_each(|key| tx.put(REGISTERS, key, &body));
        });
        if done.is_some() {
            self.value = value;
            self.registered.insert(value, entry);
        }
        done.is_some()
    }

    /// A foreign writer counts in a document that it has read at this moment.
    pub(crate) fn count_foreign(&mut self, key: &str, document: &mut Value, random: &mut Random) {
        let token = format!("f{}", self.transactions.len());
        let delta = i64::try_from(random.between(1, 9)).unwrap_or(1);
        count_in(document, &token, delta);
        let documents = BTreeSet::from([key.to_owned()]);
        self.transactions.insert(token, Entry { delta, documents, foreign: true, ..Entry::default() });
    }

    /// What a replica has written so far may be lost with its profile, and with the list that tells what was rejected of it.
    pub(crate) fn excuse(&mut self, replica: usize) {
        for entry in self.transactions.values_mut().filter(|entry| entry.replica == replica && !entry.foreign) {
            entry.may_be_lost = true;
        }
    }

    /// These transactions were lost with the machine, before anyone was told of them.
    pub fn forget(&mut self, lost: &[String]) {
        for token in lost {
            // The entry stays: its token may be in a row that was kept elsewhere.
            if let Some(entry) = self.transactions.get_mut(token) {
                entry.documents.clear();
            }
        }
    }
}

/// A document that no server takes, or that is hard to read; `false` while another transaction runs.
pub(crate) fn poison(writer: Writer<'_>, database: &mut ModelDatabase, random: &mut Random) -> bool {
    let store = random.pick(&["board", "choice", "newest", "notes", "strict"]).copied().unwrap_or("board");
    let key = random.pick(&KEYS).copied().unwrap_or("a");
    let row = poison_row(random);
    write(database, writer.token, writer.now_ms, false, |tx| tx.put_value(store, key, row)).is_some()
}

/// What a replica shows in the registers.
pub(crate) fn registers(database: &ModelDatabase) -> BTreeMap<String, u64> {
    let rows = database.scan(REGISTERS, None, usize::MAX).into_iter();
    let value = |row: Row| if let Row::Json(json) = row { register_value(&json) } else { None };
    rows.filter_map(|(key, row)| Some((key, value(row)?))).collect()
}

/// What is confirmed to a replica in the registers.
fn confirmed_registers(database: &ModelDatabase) -> BTreeMap<String, u64> {
    let pages = database.shadow().filter(|(page, _)| page.collection == REGISTERS);
    let documents = pages.flat_map(|(_, bytes)| tidelock_core::client::shadow_documents(bytes).unwrap_or_default());
    documents.filter_map(|(key, _, body)| Some((key, register_value(&body)?))).collect()
}

/// The value of a register's document.
fn register_value(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(body).ok()?.get("m")?.as_u64()
}

/// Makes a document under a key that nobody uses again, edits one, or deletes one for good. Whether it made one.
fn live_and_die(tx: &mut AppTransaction<'_>, next: &str, token: &str, random: &mut Random) -> bool {
    let living = tx.keys(MORTAL);
    let Some(key) = random.pick(&living).filter(|_| random.chance(650)) else {
        tx.put(MORTAL, next, &json!({ "by": token }).to_string());
        return true;
    };
    if random.chance(450) {
        tx.delete(MORTAL, key);
    } else {
        let mut document = object(tx, MORTAL, key);
        set(&mut document, "edit", json!(token));
        tx.put(MORTAL, key, &document.to_string());
    }
    false
}

/// A row that cannot be synced, or that is at the edge of what can be.
fn poison_row(random: &mut Random) -> Row {
    let json = |text: String| Row::Json(text.into_bytes());
    match random.below(8) {
        0 => json(format!("{}1{}", "[".repeat(DEPTH), "]".repeat(DEPTH))),
        1 => json(r#"{"n":1e400}"#.to_owned()),
        2 => json(r#"{"s":"\ud800"}"#.to_owned()),
        3 => json(r#"{"a":1,"a":2}"#.to_owned()),
        4 => json(r#"{"n":9007199254740993,"__proto__":{"x":1},"constructor":null}"#.to_owned()),
        5 => json(json!({ "huge": "x".repeat(TOO_LARGE_BYTES) }).to_string()),
        6 => Row::Unsupported("a function".into()),
        _ => json(json!({ "forbidden": true }).to_string()),
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
        count_in(&mut document, token, entry.delta);
        tx.put(LEDGER, key, &document.to_string());
    }
}

/// Counts one in some tallies. Which.
fn tally(
    tx: &mut AppTransaction<'_>,
    made: &mut BTreeSet<&'static str>,
    random: &mut Random,
) -> BTreeSet<&'static str> {
    let picked = (0..random.between(1, 2)).filter_map(|_| random.pick(&TALLY_KEYS).copied());
    let mut keys: BTreeSet<&str> = picked.collect();
    // One that was made elsewhere, and is not here yet, is left alone.
    keys.retain(|key| tx.get(TALLIES, key).is_some() || made.insert(key));
    for key in &keys {
        let n = object(tx, TALLIES, key).get("n").and_then(Value::as_i64).unwrap_or(0);
        tx.put(TALLIES, key, &json!({ "n": n + 1 }).to_string());
    }
    keys
}

/// Changes something. Returns the key and the room when it put a document into a room.
fn count_in(document: &mut Value, token: &str, delta: i64) {
    let n = document.get("n").and_then(Value::as_i64).unwrap_or(0);
    let mut tokens = document.get("tokens").and_then(Value::as_array).cloned().unwrap_or_default();
    tokens.push(json!(token));
    set(document, "n", json!(n + delta));
    set(document, "tokens", Value::Array(tokens));
}

fn scribble(tx: &mut AppTransaction<'_>, token: &str, random: &mut Random) -> Option<(String, String)> {
    let (store, key) = (random.pick(&OTHERS)?, random.pick(&KEYS)?);
    let mut document = object(tx, store, key);
    match random.below(100) {
        0..15 => {
            tx.delete(store, key);
            return None;
        }
        15..18 => {
            tx.clear(store);
            return None;
        }
        18..25 => {
            tx.delete_range(store, range(random));
            return None;
        }
        25..26 => {
            set(&mut document, "huge", json!("x".repeat(TOO_LARGE_BYTES)));
        }
        26..27 => {
            tx.put_value(store, key, Row::Unsupported("a function".into()));
            return None;
        }
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
    let room = document.get("room").and_then(Value::as_str).filter(|_| *store == ROOMS)?;
    Some(((*key).to_owned(), room.to_owned()))
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
