//! The server killed with SIGKILL at random points of pushes, while real clients (the core over the model of IndexedDB, over real
//! sockets) write: an independent ledger of acknowledgements finds nothing lost, doubled or torn.
//!
//! `TIDELOCK_TEST_SEED` repeats the kill delays; `TIDELOCK_TEST_KILLS` changes their number. The server is `TIDELOCK_BIN`.

#![allow(
    clippy::indexing_slicing,
    reason = "JSON of the server under test: a missing member fails the test by the expectation that follows"
)]

mod client;
mod server;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use client::{Ledger, Replica};
use server::Server;
use tidelock_core::client::storage::Row;

const KILLS: u64 = 100;
const CLIENTS: u64 = 4;
/// Clients of the storm, and how many of their transactions are acknowledged before it ends.
const STORM_CLIENTS: u64 = 20;
const STORM_TRANSACTIONS: usize = 1_000;
const DRAIN_MS_MAX: u64 = 60_000;

/// Database of the test: `left` and `right` get one document each per transaction, `counters` is shared.
const CONFIG: &str = r#"
[databases.crash]
path = "DATA/crash.sqlite"
[databases.crash.collections.left]
read = "true"
write = "true"
[databases.crash.collections.right]
read = "true"
write = "true"
[databases.crash.collections.counters]
read = "true"
write = "true"
[databases.crash.collections.counters.conflict.fields]
n = "sum"
"#;

#[test]
fn killed_server_loses_doubles_and_tears_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("TIDELOCK_TEST_SEED").unwrap_or_else(random_seed);
    let kills = number("TIDELOCK_TEST_KILLS").unwrap_or(KILLS);
    println!("seed {seed} (TIDELOCK_TEST_SEED), {kills} kills");

    let mut server = started();
    let port = server.port;
    let ledger = Arc::new(Ledger::default());
    let writing = Arc::new(AtomicBool::new(true));
    let start = |number| {
        let (ledger, writing) = (Arc::clone(&ledger), Arc::clone(&writing));
        std::thread::spawn(move || Replica::new(number, port, ledger).run(&writing, DRAIN_MS_MAX))
    };
    let clients: Vec<_> = (0..CLIENTS).map(start).collect();

    let mut random = seed | 1;
    let mut checked = 0;
    for kill in 0..kills {
        // Xorshift (Marsaglia 2003): delays within which connections open, push and are answered.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_millis(20 + random % 180));
        server.kill();
        let acknowledged = ledger.acknowledged();
        server.start();
        if kill % 10 == 9 {
            checked = acknowledged.len();
            check(&server, &acknowledged);
        }
    }
    writing.store(false, Ordering::SeqCst);
    let outcomes: Vec<_> = clients.into_iter().map(|client| client.join().expect("a client thread panicked")).collect();

    let written = ledger.written();
    let (left, right) = check(&server, &written);
    assert_eq!(left, written, "every transaction arrived, and nothing else");
    assert_eq!(right, written);
    let increments: u64 = outcomes.iter().map(|outcome| outcome.increments).sum();
    let counters: u64 = server.scan("counters").iter().map(|(_, value)| value["n"].as_u64().expect("a count")).sum();
    assert_eq!(counters, increments, "every increment counted once");
    for outcome in &outcomes {
        assert_eq!(outcome.rows, written.len() * 2, "client {} has every document", outcome.number);
    }
    println!(
        "{} transactions, {increments} increments, {kills} kills, {checked} acknowledgements at the last check",
        written.len()
    );
    assert!(written.len() as u64 > kills, "the clients had time to write between the kills");
}

#[test]
fn twenty_clients_that_storm_one_document_converge() {
    let server = started();
    let port = server.port;
    let ledger = Arc::new(Ledger::default());
    let writing = Arc::new(AtomicBool::new(true));
    let start = |number| {
        let (ledger, writing) = (Arc::clone(&ledger), Arc::clone(&writing));
        std::thread::spawn(move || Replica::new(number, port, ledger).run(&writing, DRAIN_MS_MAX))
    };
    let clients: Vec<_> = (0..STORM_CLIENTS).map(start).collect();
    let deadline = Instant::now() + Duration::from_millis(DRAIN_MS_MAX);
    while ledger.acknowledged().len() < STORM_TRANSACTIONS && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    writing.store(false, Ordering::SeqCst);
    let outcomes: Vec<_> = clients.into_iter().map(|client| client.join().expect("a client thread panicked")).collect();

    assert!(outcomes.iter().all(|outcome| outcome.increments > 0), "every client took part");
    let increments: u64 = outcomes.iter().map(|outcome| outcome.increments).sum();
    let [(_, counter)] = server.scan("counters").try_into().expect("one counter");
    assert_eq!(counter["n"], increments, "every increment counted once");
    for outcome in &outcomes {
        let [Row::Json(held)] = outcome.counter.as_slice() else { panic!("{:?}", outcome.counter) };
        let held: serde_json::Value = serde_json::from_slice(held).expect("a counter in JSON");
        assert_eq!(held, counter, "client {} has what the server has", outcome.number);
    }
    println!("{increments} increments by {STORM_CLIENTS} clients");
}

/// A server with a counter that nobody has counted yet: two documents created alike are one document, so it has to be there before.
fn started() -> Server {
    let Some(binary) = std::env::var_os("TIDELOCK_BIN").map(PathBuf::from) else {
        panic!("TIDELOCK_BIN names no server: run `cargo xtask test --stage crash`");
    };
    let mut server = Server::new(binary, CONFIG);
    server.start();
    server.put("counters", "shared", r#"{"n":0}"#);
    server
}

/// Nothing acknowledged is missing, and no transaction is visible in part: what is in `left` was committed with its twin.
fn check(server: &Server, acknowledged: &BTreeSet<String>) -> (BTreeSet<String>, BTreeSet<String>) {
    let keys =
        |collection: &str| -> BTreeSet<String> { server.scan(collection).into_iter().map(|(key, _)| key).collect() };
    // Commits go on between the scans: what the first shows the second has to show.
    let left = keys("left");
    let right = keys("right");
    let missing: Vec<_> = acknowledged.difference(&left).collect();
    assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
    let torn: Vec<_> = left.difference(&right).collect();
    assert!(torn.is_empty(), "in part: {torn:?}");
    (left, right)
}

fn random_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    u64::from(now.subsec_nanos()) ^ now.as_secs().rotate_left(20)
}

/// Milliseconds since 1970 that never go back.
fn now_ms(start: Instant, base: u64) -> u64 {
    base + u64::try_from(start.elapsed().as_millis()).expect("a test takes less than 500 million years")
}
