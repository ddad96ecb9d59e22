//! What documents of many shapes cost: each list of field names and types is a type in the cluster for ever, so not in another one.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tidelock_geode_client::{Client, Config, Key, TypeMode, pdx};
use tokio::task::JoinSet;

use crate::support::{client, config, json};

const SHAPES: u32 = 10_000;
const TASKS: u32 = 8;
/// A number of each width that the formatter tells apart.
const WIDTHS: [&str; 6] = ["7", "300", "70000", "3000000000", "0.5", "true"];

/// The same fields, and numbers of other widths in each of them.
fn numbers(at: u32) -> String {
    let width = |place: u32| WIDTHS.iter().cycle().nth((at / 6_u32.pow(place) % 6) as usize).unwrap();
    let fields: Vec<String> = (0..6).map(|place| format!("\"n{place}\":{}", width(place))).collect();
    format!("{{\"shapes\":\"numbers\",{}}}", fields.join(","))
}

/// Names that are data.
fn names(at: u32) -> String {
    format!("{{\"scores\":{{\"player {at}\":{at}}}}}")
}

/// Writes all documents; answers how many types they have, and how long it took.
async fn write(client: &Client, text: fn(u32) -> String) -> (usize, Duration) {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let client = client.clone();
        tasks.spawn(async move {
            let docs = client.region("docs");
            let mut types = HashSet::new();
            for at in (task..SHAPES).step_by(TASKS as usize) {
                let value = client.encode(&json(&text(at))).await.unwrap();
                types.insert(pdx::type_id_of(value.as_bytes()).unwrap());
                docs.put(&key(at), &value).await.unwrap();
            }
            types
        });
    }
    let types: HashSet<i32> = tasks.join_all().await.into_iter().flatten().collect();
    (types.len(), start.elapsed())
}

fn key(at: u32) -> Key {
    Key::String(format!("shapes-{at}"))
}

/// Reads all documents, some hundred at once, by a client that knows no type.
async fn read(text: fn(u32) -> String) -> Duration {
    let client = client().await;
    let docs = client.region("docs");
    let start = Instant::now();
    let all: Vec<u32> = (0..SHAPES).collect();
    for some in all.chunks(500) {
        let keys: Vec<Key> = some.iter().map(|at| key(*at)).collect();
        for (at, entry) in some.iter().zip(docs.get_all(&keys).await.unwrap()) {
            assert_eq!(client.decode(entry.value().unwrap()).await.unwrap(), json(&text(*at)));
        }
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_shapes_are_as_many_types_or_one() {
    for (what, text, mode, expected) in [
        ("numbers", numbers as fn(u32) -> String, TypeMode::Formatter, SHAPES as usize),
        ("numbers", numbers, TypeMode::Stable, 1),
        ("names", names, TypeMode::StableWithMaps, 1),
    ] {
        let client = Client::connect(Config { type_mode: mode, ..config() }).await.unwrap();
        let (types, first) = write(&client, text).await;
        let (_, again) = write(&client, text).await;
        let reading = read(text).await;
        println!(
            "{SHAPES} shapes of {what}, {mode:?}: {types} types; written in {first:?}, again in {again:?}, read by another client in {reading:?}"
        );
        assert_eq!(types, expected, "{what}, {mode:?}");
        if what == "numbers" {
            let oql = "SELECT COUNT(*) FROM /docs d WHERE d.shapes = 'numbers' AND d.n0 = 300";
            let found = client.query(oql, &[]).await.unwrap();
            let count = client.decode(found.rows[0][0].as_ref().unwrap()).await.unwrap();
            assert_eq!(count, json(&((0..SHAPES).filter(|at| at % 6 == 1).count().to_string())), "{mode:?}");
        }
    }
    let client = client().await;
    let keys: Vec<Key> = (0..SHAPES).map(key).collect();
    for some in keys.chunks(1_000) {
        client.region("docs").remove_all(some).await.unwrap();
    }
}
