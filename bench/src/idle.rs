//! What a session that waits for changes costs the server in memory: sessions with a subscription each are held open, and nothing
//! happens. What the first few cost is not counted: it is the server's own.
//!
//! The system has to allow as many open files as there are sessions, to this process and to the server (`ulimit -n`).

use std::{env, fs, process};

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{OPEN, Server};
use crate::usage;

const FIRST: u64 = 200;
const SESSIONS: u64 = 4_000;
const BUDGET_KIB: f64 = 16.0;

pub(crate) fn run() {
    let directory = env::temp_dir().join(format!("tidelock-bench-idle-{}", process::id()));
    fs::create_dir_all(&directory).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(async {
        let server = Server::start(&directory, OPEN);
        let mut sessions = Vec::new();
        hold(&server, &mut sessions, FIRST).await;
        let before = usage::memory_kib(server.pid());
        hold(&server, &mut sessions, FIRST + SESSIONS).await;
        let after = usage::memory_kib(server.pid());
        eprintln!("{FIRST} sessions: {before} KiB, {} sessions: {after} KiB; load {}", sessions.len(), usage::load());
        rows(before, after)
    });
    fs::remove_dir_all(&directory).unwrap();
    println!("{:#}", Value::Array(rows));
}

/// Opens sessions until there are `count`.
async fn hold(server: &Server, sessions: &mut Vec<Client>, count: u64) {
    for number in sessions.len() as u64..count {
        let mut client = Client::open(server, number, &json!({})).await;
        client.subscribe().await;
        sessions.push(client);
    }
}

fn rows(before: u32, after: u32) -> Vec<Value> {
    let each = f64::from(after.saturating_sub(before)) / SESSIONS as f64;
    let figure =
        |name: String, value: u32| json!({ "name": name, "value": value, "unit": "KiB", "budget": null, "ok": true });
    vec![
        figure(format!("memory of the server, {FIRST} sessions"), before),
        figure(format!("memory of the server, {} sessions", FIRST + SESSIONS), after),
        json!({
            "name": "memory of an idle session",
            "value": (each * 100.0).round() / 100.0,
            "unit": "KiB",
            "budget": format!("≤ {BUDGET_KIB}"),
            "ok": each <= BUDGET_KIB,
        }),
    ]
}
