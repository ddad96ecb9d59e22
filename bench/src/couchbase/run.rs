//! One client of DCP follows a collection until it has all of it.

use std::{env, process};

use serde_json::{Value, json};
use tidelock_couchbase_dcp::{Checkpoint, Config, Event, Feed};
use tokio::time::Instant;

use crate::usage;

/// What following took, connecting and opening the streams included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Took {
    pub(super) seconds: f64,
    /// Of the whole process, since it was started.
    pub(super) cpu_seconds: f64,
}

impl Took {
    /// Runs a program that tells it, as the last line of its output.
    pub(super) fn of(program: &mut process::Command) -> Self {
        let output = program.stderr(process::Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{program:?}: {}", output.status);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let number = |name: &str| said[name].as_f64().expect("a number");
        Self { seconds: number("seconds"), cpu_seconds: number("cpu_seconds") }
    }

    /// The program that follows by our client, which is this one.
    pub(super) fn ours(connection: &str, collection: &str, count: u32) -> Self {
        let program = env::current_exe().unwrap();
        Self::of(process::Command::new(program).args([super::FOLLOW, connection, collection, &count.to_string()]))
    }
}

/// `couchbase-follow CONNECTION SCOPE.COLLECTION COUNT`: prints what it took.
pub(crate) fn follow(arguments: impl Iterator<Item = String>) {
    let arguments: Vec<String> = arguments.collect();
    let [connection, collection, count] = &arguments[..] else { panic!("expected three arguments") };
    let count: u32 = count.parse().expect("a number of documents");
    let config = Config::new(connection).unwrap().bucket(super::ground::BUCKET).collections([collection]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let begin = Instant::now();
    // A task, as in a server, and not the thread that waits for it.
    let bytes = runtime.block_on(async { tokio::spawn(all(config, count)).await.unwrap() });
    let seconds = begin.elapsed().as_secs_f64();
    let cpu_seconds = usage::cpu(process::id()).as_secs_f64();
    println!("{}", json!({ "seconds": seconds, "cpu_seconds": cpu_seconds, "bytes": bytes }));
}

/// Takes so many documents, and tells their size.
async fn all(config: Config, count: u32) -> usize {
    let mut feed = Feed::open(config, &Checkpoint::default()).await.unwrap();
    let (mut found, mut bytes) = (0, 0);
    while found < count {
        if let Event::Change(change) = feed.next().await.unwrap().expect("the feed goes on") {
            found += 1;
            bytes += change.key.len() + change.body.len();
        }
        feed.acknowledge();
    }
    bytes
}
