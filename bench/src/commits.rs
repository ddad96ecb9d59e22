//! Durable commits per second through the whole server beside a bare loop on SQLite with the same rows and durability.
//!
//! Both sides make the same commits, on copies of one database file: documents of 250 bytes are replaced, one to a commit, and the
//! commit is recorded. What is written is made before the clock runs, the frames for the server as well.
//!
//! The bare loop is one thread. It has no clients, so it checks nothing, answers nobody, and commits in one transaction what as many
//! clients as the server has would write at once: no server can group more. On the other side each client sends a frame over a
//! WebSocket on the loopback and waits for the result before it sends the next. The clients are one thread of this process. It works
//! on the same cores as the server, and what it takes is charged to the server; the CPU that each side takes is told beside the rates.
//!
//! The budget is one of throughput. A single client measures a round trip, so its figure has no budget.

use std::path::Path;
use std::time::Duration;
use std::{env, fs, process};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bare::Bare;
use crate::client::{Client, Document, Made};
use crate::rows::DOCUMENTS;
use crate::server::{OPEN, Server};
use crate::usage;

/// Clients, and the commits of each in a round.
const RUNS: [(u64, u32); 3] = [(1, 3_000), (16, 1_500), (64, 500)];
/// Of each number of clients. The median counts: what else the machine does moves single rounds by a tenth.
const ROUNDS: usize = 9;
const BUDGET: f64 = 0.60;
/// Documents of one mutation when the database is filled.
const FILL: usize = 1_000;

/// Measures with each number of clients, or with those given.
pub(crate) fn run(clients: &[u64]) {
    let directory = env::temp_dir().join(format!("tidelock-bench-commits-{}", process::id()));
    fs::create_dir_all(&directory).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut rows = Vec::new();
    for (count, commits) in RUNS.into_iter().filter(|(count, _)| clients.is_empty() || clients.contains(count)) {
        rows.extend(runtime.block_on(measure(&directory.join(count.to_string()), count, commits)));
    }
    fs::remove_dir_all(&directory).unwrap();
    println!("{:#}", Value::Array(rows));
}

async fn measure(directory: &Path, clients: u64, commits: u32) -> Vec<Value> {
    fs::create_dir_all(directory).unwrap();
    let documents = fill(directory).await;
    let bare = directory.join("bare.db");
    fs::copy(directory.join("app.db"), &bare).unwrap();
    let server = Server::start(directory, OPEN);
    let mut bare = Bare::open(&bare);
    let mut writers = Vec::new();
    for client in 0..clients {
        writers.push((Client::open(&server, client, &json!({})).await, Vec::new()));
    }
    for document in documents {
        let index = usize::try_from(document.number % clients).unwrap();
        if let Some((_, own)) = writers.get_mut(index) {
            own.push(document);
        }
    }
    let mut rounds = Vec::new();
    for round in 0..ROUNDS as u64 {
        let make = |(index, (client, own)): (u64, &mut Writer)| client.make(own, commits, round << 32 | index);
        let made: Vec<Vec<Made>> = (0..).zip(&mut writers).map(make).collect();
        let count = made.iter().map(Vec::len).sum::<usize>();
        let (alone, made) = Rate::of(count, [process::id()], async {
            bare.run(&made);
            made
        })
        .await;
        let (through, back) = Rate::of(count, [server.pid(), process::id()], push(writers, made)).await;
        writers = back;
        eprintln!(
            "{clients} clients: bare {:.0}/s with {:?} of CPU each, server {:.0}/s with {:?}, clients {:?}; load {}",
            alone.per_second,
            alone.cpu_each[0],
            through.per_second,
            through.cpu_each[0],
            through.cpu_each[1],
            usage::load()
        );
        rounds.push((alone, through));
    }
    drop(writers);
    server.stop();
    rounds.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    rows(clients, &rounds[ROUNDS / 2])
}

/// Makes the documents through a server, which leaves them in `app.db`.
async fn fill(directory: &Path) -> Vec<Document> {
    let server = Server::start(directory, OPEN);
    let mut documents: Vec<Document> = (0..DOCUMENTS).map(Document::absent).collect();
    let mut filler = Client::open(&server, u64::MAX, &json!({})).await;
    for chunk in documents.chunks_mut(FILL) {
        filler.commit(chunk).await;
    }
    drop(filler);
    server.stop();
    documents
}

type Writer = (Client, Vec<Document>);

/// All clients at once; gives them back.
async fn push(writers: Vec<Writer>, made: Vec<Vec<Made>>) -> Vec<Writer> {
    let mut tasks = JoinSet::new();
    for ((mut client, own), made) in writers.into_iter().zip(made) {
        tasks.spawn(async move {
            client.push_made(&made).await;
            (client, own)
        });
    }
    tasks.join_all().await
}

/// How fast commits were made, and what they took of each process that took part.
struct Rate<const PROCESSES: usize> {
    per_second: f64,
    cpu_each: [Duration; PROCESSES],
}

impl<const PROCESSES: usize> Rate<PROCESSES> {
    /// Of a run of `count` commits; gives what the run gives, too.
    async fn of<T>(count: usize, processes: [u32; PROCESSES], run: impl Future<Output = T>) -> (Self, T) {
        let count = u32::try_from(count).unwrap();
        let before = processes.map(usage::cpu);
        let begin = Instant::now();
        let value = run.await;
        let took = begin.elapsed();
        let mut cpu_each = processes.map(usage::cpu);
        for (after, before) in cpu_each.iter_mut().zip(before) {
            *after = after.saturating_sub(before) / count;
        }
        (Self { per_second: f64::from(count) / took.as_secs_f64(), cpu_each }, value)
    }
}

/// The server's rate by the bare loop's.
fn ratio((alone, through): &(Rate<1>, Rate<2>)) -> f64 {
    through.per_second / alone.per_second
}

fn rows(clients: u64, round: &(Rate<1>, Rate<2>)) -> Vec<Value> {
    let (alone, through) = round;
    let figure = |name: &str, value: f64, unit: &str| {
        let name = format!("{name}, {clients} clients");
        json!({ "name": name, "value": value.round(), "unit": unit, "budget": null, "ok": true })
    };
    let cpu = |name: &str, each: Duration| figure(name, each.as_secs_f64() * 1e6, "µs/commit");
    let ratio = ratio(round);
    let budget = (clients > 1).then(|| format!("≥ {BUDGET}"));
    vec![
        figure("bare SQLite", alone.per_second, "commits/s"),
        figure("server", through.per_second, "commits/s"),
        cpu("CPU of bare SQLite", alone.cpu_each[0]),
        cpu("CPU of the server", through.cpu_each[0]),
        cpu("CPU of the clients", through.cpu_each[1]),
        json!({
            "name": format!("server / bare SQLite, {clients} clients"),
            "value": (ratio * 1000.0).round() / 1000.0,
            "unit": "ratio",
            "ok": budget.is_none() || ratio >= BUDGET,
            "budget": budget,
        }),
    ]
}
