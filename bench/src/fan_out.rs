//! Deliveries per second of the server's CPU: one document is written after another, and each goes to the readers whose channels it
//! has, by rules that compute the channels of the documents and of the readers. A delivery is one change that one reader was sent.
//!
//! The CPU counted is everything that the server used meanwhile, the commits as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs, process};

use serde_json::{Value, json};
use tidelock_core::ids::Offset;
use tokio::task::JoinSet;

use crate::client::{Client, Document};
use crate::rows::LISTS;
use crate::server::{CHANNELS, Server};
use crate::usage;

const READERS: u64 = 1_000;
/// Lists that one reader reads: each change goes to a quarter of the readers.
const LISTS_READ: u64 = 10;
const CHANGES: u64 = 1_000;
const BUDGET: f64 = 50_000.0;
const NOT_KNOWN: u64 = u64::MAX;

pub(crate) fn run() {
    let directory = env::temp_dir().join(format!("tidelock-bench-fan-out-{}", process::id()));
    fs::create_dir_all(&directory).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(async {
        let server = Server::start(&directory, CHANNELS);
        let alone = measure(&server, 1).await;
        let together = measure(&server, 16).await;
        vec![row(1, alone), row(16, together)]
    });
    fs::remove_dir_all(&directory).unwrap();
    println!("{:#}", Value::Array(rows));
}

fn row(writers: u64, rate: f64) -> Value {
    json!({
        "name": format!("deliveries per second of CPU, {writers} writers"),
        "value": rate.round(),
        "unit": "deliveries/s",
        "budget": format!("≥ {BUDGET}"),
        "ok": rate >= BUDGET,
    })
}

/// Deliveries per second of CPU while several write at once.
async fn measure(server: &Server, writers: u64) -> f64 {
    // The offset that ends the run, once it is known.
    let end = Arc::new(AtomicU64::new(NOT_KNOWN));
    let mut readers = JoinSet::new();
    for number in 0..READERS {
        let lists: Vec<String> = (0..LISTS_READ).map(|list| format!("list-{}", (number + list) % LISTS)).collect();
        let mut client = Client::open(server, writers << 32 | number, &json!({ "lists": lists })).await;
        client.subscribe().await;
        let end = Arc::clone(&end);
        readers.spawn(async move {
            while client.changes().await < Offset(end.load(Ordering::Acquire)) {}
            client
        });
    }
    let mut clients = Vec::new();
    for writer in 0..writers {
        clients.push(Client::open(server, (writers << 32) + READERS + writer, &json!({ "lists": [] })).await);
    }
    let before = usage::cpu(server.pid());
    let mut writing = JoinSet::new();
    for (writer, mut client) in (0..writers).zip(clients) {
        writing.spawn(async move {
            let mut last = Offset(0);
            // The same lists are written as often whatever the number of writers.
            for change in (0..CHANGES).filter(|change| change % writers == writer) {
                last = client.commit(&mut [Document::absent(writers * CHANGES + change)]).await;
            }
            (last, client)
        });
    }
    let (offsets, mut clients): (Vec<Offset>, Vec<Client>) = writing.join_all().await.into_iter().unzip();
    // One more change of every list: its offsets are beyond the end, so that every reader is told that it got there.
    let last = offsets.into_iter().max().unwrap_or_default();
    end.store(last.0 + 1, Ordering::Release);
    let mut marks: Vec<Document> =
        (0..LISTS).map(|list| Document::absent((writers + 1) * 1_000_000 * LISTS + list)).collect();
    clients[0].commit(&mut marks).await;
    readers.join_all().await;
    let used = usage::cpu(server.pid()).saturating_sub(before);
    let deliveries = (CHANGES + LISTS) * READERS * LISTS_READ / LISTS;
    let rate = deliveries as f64 / used.as_secs_f64();
    eprintln!("{writers} writers: {deliveries} deliveries took {used:?} of CPU; load {}", usage::load());
    rate
}
