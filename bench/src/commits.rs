//! Durable commits per second through the whole server beside a bare loop on SQLite with the same rows and durability.
//!
//! Each client replaces documents of its own, one to a mutation, and waits for the result before it goes on. The bare loop commits
//! as many writes in one transaction as there are clients: no server can group more. Both sides work on copies of one database file.
//!
//! The budget is one of throughput. A single client measures a round trip, so its figure has no budget.

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, process};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bare::Bare;
use crate::client::{Client, Document};
use crate::rows::DOCUMENTS;
use crate::server::Server;

const CLIENTS: [u64; 3] = [1, 16, 64];
const ROUNDS: usize = 5;
const RUN: Duration = Duration::from_millis(1_500);
const BUDGET: f64 = 0.60;
/// Documents of one mutation when the database is filled.
const FILL: usize = 1_000;

pub(crate) fn run() {
    let directory = env::temp_dir().join(format!("tidelock-bench-commits-{}", process::id()));
    fs::create_dir_all(&directory).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut rows = Vec::new();
    for clients in CLIENTS {
        rows.extend(runtime.block_on(measure(&directory.join(clients.to_string()), clients)));
    }
    fs::remove_dir_all(&directory).unwrap();
    println!("{:#}", Value::Array(rows));
}

async fn measure(directory: &PathBuf, clients: u64) -> Vec<Value> {
    fs::create_dir_all(directory).unwrap();
    let server = Server::start(directory);
    let mut documents: Vec<Document> = (0..DOCUMENTS).map(Document::absent).collect();
    let mut filler = Client::open(&server, u64::MAX).await;
    for chunk in documents.chunks_mut(FILL) {
        filler.commit(chunk).await;
    }
    drop(filler);
    server.stop();
    let bare = directory.join("bare.db");
    fs::copy(directory.join("app.db"), &bare).unwrap();

    let server = Server::start(directory);
    let mut bare = Bare::open(&bare);
    let mut writers = Vec::new();
    for client in 0..clients {
        writers.push((Client::open(&server, client).await, Vec::new()));
    }
    for document in documents {
        let index = usize::try_from(document.number % clients).unwrap();
        if let Some((_, own)) = writers.get_mut(index) {
            own.push(document);
        }
    }
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let alone = bare.rate(clients, RUN);
        let through;
        (through, writers) = server_rate(writers, round as u64).await;
        eprintln!("{clients} clients: bare {alone:.0}/s, server {through:.0}/s, load {}", load());
        rounds.push((alone, through));
    }
    rounds.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
    let (alone, through) = rounds.get(ROUNDS / 2).copied().unwrap_or((f64::NAN, f64::NAN));
    let figure = |name: &str, value: f64| json!({ "name": format!("{name}, {clients} clients"), "value": value.round(), "unit": "commits/s", "budget": null, "ok": true });
    let ratio = through / alone;
    let budget = (clients > 1).then(|| format!("≥ {BUDGET}"));
    vec![
        figure("bare SQLite", alone),
        figure("server", through),
        json!({
            "name": format!("server / bare SQLite, {clients} clients"),
            "value": (ratio * 1000.0).round() / 1000.0,
            "unit": "ratio",
            "ok": budget.is_none() || ratio >= BUDGET,
            "budget": budget,
        }),
    ]
}

type Writer = (Client, Vec<Document>);

/// Commits per second of all clients at once; gives the clients back.
async fn server_rate(writers: Vec<Writer>, round: u64) -> (f64, Vec<Writer>) {
    let begin = Instant::now();
    let until = begin + RUN;
    let mut tasks = JoinSet::new();
    for (index, (mut client, mut own)) in writers.into_iter().enumerate() {
        tasks.spawn(async move {
            let commits = client.overwrite(&mut own, round << 32 | index as u64, until).await;
            (commits, (client, own))
        });
    }
    let (commits, writers): (Vec<u64>, Vec<Writer>) = tasks.join_all().await.into_iter().unzip();
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let total = commits.iter().sum::<u64>() as f64;
    (total / begin.elapsed().as_secs_f64(), writers)
}

/// Load average of the last minute.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}
