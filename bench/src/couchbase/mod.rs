//! The client for DCP beside Couchbase's own, gocbcore, on one server in one run, and the sync over two servers of Tidelock.
//!
//! The server is the double of Couchbase, a process of its own. Both clients are processes, too. Each follows the one collection from an empty
//! state until it has all documents, and tells how long it took and what CPU it used, from its start on. They take turns, so that both meet
//! the double in the same state; told is the round with the median ratio. The double sends from one lock, so that the rates are also a measure
//! of it: the CPU that each client takes for an event is told beside them.

mod ground;
mod run;

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, process};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Client, Document, Made};
use crate::figures::{figure, latencies, ratio};
use crate::rows::COLLECTION;
use crate::server::Server;
use crate::usage;
use ground::Ground;
pub(crate) use run::follow;

/// The command that follows the feed once.
pub(crate) const FOLLOW: &str = "couchbase-follow";
/// Documents that are followed, and that a node takes in, unless another number is given: the memory of a node is told per million of them,
/// and is no straight line below (200,000 take three quarters of what a million do).
const DOCUMENTS: u32 = 1_000_000;
const ROUNDS: usize = 5;
/// Clients, and the commits of each in a round.
const COMMITS: [(u64, u32); 3] = [(1, 400), (16, 200), (64, 60)];
const COMMIT_ROUNDS: usize = 3;
/// Documents that each client of those writes.
const OWN: u64 = 100;
/// Writes whose way to another client is measured.
const WRITES: u32 = 300;

/// Measures against a double, the program that `TIDELOCK_COUCHBASE_DOUBLE` names, beside the one of gocbcore, `TIDELOCK_COUCHBASE_FOLLOW`.
pub(crate) fn run(documents: Option<u32>) {
    let directory = env::temp_dir().join(format!("tidelock-bench-couchbase-{}", process::id()));
    fs::create_dir_all(&directory).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (place, documents) = (directory.clone(), documents.unwrap_or(DOCUMENTS));
    // A task, as in a server, and not the thread that waits for it.
    let rows = runtime.block_on(async { tokio::spawn(rows(place, documents)).await.unwrap() });
    fs::remove_dir_all(&directory).unwrap();
    println!("{:#}", Value::Array(rows));
}

async fn rows(directory: PathBuf, documents: u32) -> Vec<Value> {
    let full = Ground::start(&directory.join("full")).await;
    let begin = Instant::now();
    full.fill(documents).await;
    eprintln!("{documents} documents written in {:?}", begin.elapsed());
    let mut rows = events(&full, documents).await;
    let empty = Ground::start(&directory.join("empty")).await;
    rows.extend(catch_up(&full, &empty, documents));
    drop(full);
    rows.extend(commits(&empty).await);
    rows.extend(latency(&empty).await);
    rows
}

/// Both clients of DCP.
async fn events(ground: &Ground, documents: u32) -> Vec<Value> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let theirs = ground.follow_by_gocbcore(documents).await;
        let ours = ground.follow(documents);
        eprintln!("gocbcore {theirs:?}, ours {ours:?}; load {}", usage::load());
        rounds.push((theirs, ours));
    }
    let faster = |(theirs, ours): &(run::Took, run::Took)| theirs.seconds / ours.seconds;
    rounds.sort_by(|a, b| faster(a).total_cmp(&faster(b)));
    let (theirs, ours) = &rounds[ROUNDS / 2];
    let rate = |took: &run::Took| f64::from(documents) / took.seconds;
    let cpu = |took: &run::Took| (took.cpu_seconds * 1e8 / f64::from(documents)).round() / 100.0;
    let cpu_row = |name: &str, took: &run::Took| json!({ "name": name, "value": cpu(took), "unit": "µs/event", "budget": null, "ok": true });
    vec![
        figure("gocbcore, events", rate(theirs), "/s"),
        figure("our client, events", rate(ours), "/s"),
        ratio("ours / gocbcore, events", rate(ours) / rate(theirs), Some(1.0)),
        cpu_row("CPU of gocbcore", theirs),
        cpu_row("CPU of our client", ours),
        ratio("gocbcore / ours, CPU", theirs.cpu_seconds / ours.cpu_seconds, None),
    ]
}

/// A node that begins with an empty changelog: how fast it takes in what is there, and the memory that it keeps for it.
fn catch_up(full: &Ground, empty: &Ground, documents: u32) -> Vec<Value> {
    let begin = Instant::now();
    let server = empty.serve("nothing");
    let to_start = begin.elapsed();
    let resting = usage::memory_kib(server.pid());
    server.stop();
    let begin = Instant::now();
    let server = full.serve("all");
    let took = begin.elapsed();
    let (holding, cpu) = (usage::memory_kib(server.pid()), usage::cpu(server.pid()));
    server.stop();
    eprintln!(
        "a node: {resting} KiB and {to_start:?} without documents, {holding} KiB and {took:?} ({cpu:?} of CPU) with {documents}; load {}",
        usage::load()
    );
    let count = f64::from(documents);
    let mib = |kib: u32| f64::from(kib) / 1024.0;
    vec![
        figure("a node takes in, from nothing", count / took.saturating_sub(to_start).as_secs_f64(), "documents/s"),
        figure("memory of a node without documents", mib(resting), "MiB"),
        figure(&format!("memory that {documents} documents take"), mib(holding.saturating_sub(resting)), "MiB"),
    ]
}

/// Commits through one server.
async fn commits(ground: &Ground) -> Vec<Value> {
    let server = ground.serve("commits");
    let mut rows = Vec::new();
    for (clients, count) in COMMITS {
        let mut writers = Vec::new();
        for client in 0..clients {
            let own: Vec<Document> =
                (0..OWN).map(|one| Document::absent((clients << 32) | (client * OWN + one))).collect();
            writers.push((Client::open(&server, clients << 32 | client, &json!({})).await, own));
        }
        let mut rates = Vec::new();
        for round in 0..COMMIT_ROUNDS as u64 {
            let make =
                |(at, (client, own)): (u64, &mut (Client, Vec<Document>))| client.make(own, count, round << 32 | at);
            let made: Vec<Vec<Made>> = (0..).zip(&mut writers).map(make).collect();
            let begin = Instant::now();
            let mut tasks = JoinSet::new();
            for ((mut client, own), made) in writers.into_iter().zip(made) {
                tasks.spawn(async move {
                    client.push_made(&made).await;
                    (client, own)
                });
            }
            writers = tasks.join_all().await;
            rates.push(f64::from(count) * clients as f64 / begin.elapsed().as_secs_f64());
            eprintln!("{clients} clients: {:.0} commits/s; load {}", rates[rates.len() - 1], usage::load());
        }
        rates.sort_by(f64::total_cmp);
        rows.push(figure(&format!("commits, {clients} clients"), rates[COMMIT_ROUNDS / 2], "commits/s"));
    }
    server.stop();
    rows
}

/// From a write, of a client or of another application, to the news at a client of another server.
async fn latency(ground: &Ground) -> Vec<Value> {
    let servers = [ground.serve("one"), ground.serve("two")];
    let mut writer = Client::open(&servers[0], 1 << 60, &json!({})).await;
    let mut reader = Client::open(&servers[1], 2 << 60, &json!({})).await;
    reader.subscribe().await;
    let (mut to_result, mut to_reader, mut from_others) = (Vec::<Duration>::new(), Vec::new(), Vec::new());
    for number in 0..WRITES {
        let begin = Instant::now();
        writer.commit(&mut [Document::absent(1 << 40 | u64::from(number))]).await;
        to_result.push(begin.elapsed());
        reader.changes().await;
        to_reader.push(begin.elapsed());
    }
    for number in 0..WRITES {
        let begin = Instant::now();
        ground.write(COLLECTION, 1 << 50 | u64::from(number)).await;
        reader.changes().await;
        from_others.push(begin.elapsed());
    }
    servers.into_iter().for_each(Server::stop);
    let mut rows = latencies("write, confirmed", to_result);
    rows.extend(latencies("write, at a client of another server", to_reader));
    rows.extend(latencies("write of another application, at a client", from_others));
    rows
}
