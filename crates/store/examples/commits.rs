//! Durable commits per second of the embedded store beside a bare SQLite loop that writes the same rows in transactions of the same
//! size. Prints ratios; a ratio holds for the machine and the moment. Run it with `--release`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark: it prints, and a panic is how it fails"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process};

use rusqlite::{Connection, params};
use tidelock_core::ids::{ClientId, DocumentId, Incarnation, MutationId, Sequence, SessionId, Version};
use tidelock_store::{Commit, CommitOutcome, EmbeddedOptions, EmbeddedStore, Store, Trace, Write};

const DOCUMENTS: u64 = 20_000;
const BODY_BYTES: usize = 250;
const RUN: Duration = Duration::from_millis(1_500);
const ROUNDS: usize = 3;

fn main() {
    let directory = env::temp_dir().join(format!("tidelock-commits-{}", process::id()));
    fs::create_dir_all(&directory).unwrap();
    println!("{:>11} {:>12} {:>12} {:>7}", "committers", "bare/s", "store/s", "ratio");
    for committers in [1_u64, 16, 128] {
        let mut rounds: Vec<(f64, f64)> = (0..ROUNDS)
            .map(|round| {
                let path = |name| directory.join(format!("{name}-{committers}-{round}.db"));
                (bare(&path("bare"), committers), store(&path("store"), committers))
            })
            .collect();
        rounds.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
        if let Some((bare, store)) = rounds.get(ROUNDS / 2) {
            println!("{committers:>11} {bare:>12.0} {store:>12.0} {:>7.2}", store / bare);
        }
    }
    fs::remove_dir_all(&directory).unwrap();
}

fn key(number: u64) -> String {
    format!("document-{number:08}")
}

fn body(number: u64) -> String {
    format!("{{\"n\":{number:020},\"text\":\"{}\"}}", "x".repeat(BODY_BYTES - 40))
}

/// Creates the documents through the store, so that both sides have the same file.
fn prepare(path: &Path) {
    let store = EmbeddedStore::open(path, EmbeddedOptions::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for first in (0..DOCUMENTS).step_by(1_000) {
        let writes = (first..first + 1_000).map(|number| write(number, Version::ABSENT, Version(1))).collect();
        let commit = Commit { mutation: None, ..commit(0, 0, Vec::new()) };
        runtime.block_on(store.commit(Commit { writes, ..commit })).unwrap();
    }
}

/// Overwrites of documents with a client record each, `group` to a transaction, without any check.
fn bare(path: &Path, group: u64) -> f64 {
    prepare(path);
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4000; PRAGMA cache_size=-32768")
        .unwrap();
    let begin = Instant::now();
    let mut commits = 0;
    let mut random = 1;
    let mut offset = 1_000_i64;
    while begin.elapsed() < RUN {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for client in 0..group {
            offset += 1;
            let update = "UPDATE documents SET \"offset\" = ?2, version = ?3, edited_ms = ?4, session = ?5, channels = ?6, \
                          departed = ?7, body = ?8 WHERE collection = 'notes' AND key = ?1";
            let number = splitmix(&mut random) % DOCUMENTS;
            let (channels, departed): (Option<&str>, Option<&str>) = (Some("[\"list:1\"]"), None);
            connection
                .prepare_cached(update)
                .unwrap()
                .execute(params![key(number), offset, offset, 1, 1, channels, departed, body(number)])
                .unwrap();
            let id = identity(client).0;
            let sequence = (commits / group + 1).cast_signed();
            let prune = "DELETE FROM outcomes WHERE client = ?1 AND incarnation = 1 AND sequence <= ?2";
            connection.prepare_cached(prune).unwrap().execute(params![id, sequence - 1]).unwrap();
            let record = "INSERT INTO outcomes VALUES (?1, 1, ?2, ?3, 1, ?4)";
            connection
                .prepare_cached(record)
                .unwrap()
                .execute(params![id, sequence, offset, [0x82_u8, 0, 0x80]])
                .unwrap();
            commits += 1;
        }
        connection.execute_batch("COMMIT").unwrap();
    }
    commits as f64 / begin.elapsed().as_secs_f64()
}

/// The same overwrites by as many clients at once, each waiting for its answer.
fn store(path: &Path, committers: u64) -> f64 {
    prepare(path);
    let store = Arc::new(EmbeddedStore::open(path, EmbeddedOptions::default()).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let commits = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    runtime.block_on(async {
        let clients: Vec<_> = (0..committers)
            .map(|client| tokio::spawn(overwrite(store.clone(), client, committers, done.clone(), commits.clone())))
            .collect();
        while begin.elapsed() < RUN {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        done.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap();
        }
    });
    commits.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64()
}

/// Each client overwrites documents of its own, so that it knows their versions.
async fn overwrite(
    store: Arc<EmbeddedStore>,
    client: u64,
    committers: u64,
    done: Arc<AtomicBool>,
    commits: Arc<AtomicU64>,
) {
    let own = DOCUMENTS / committers;
    let mut versions = vec![1_u64; usize::try_from(own).unwrap()];
    let mut random = client;
    let mut sequence = 0;
    while !done.load(Ordering::Relaxed) {
        sequence += 1;
        let choice = splitmix(&mut random) % own;
        let Some(version) = versions.get_mut(usize::try_from(choice).unwrap()) else { return };
        let write = write(choice * committers + client, Version(*version), Version(*version + 1));
        *version += 1;
        let outcome = store.commit(commit(client, sequence, vec![write])).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
        commits.fetch_add(1, Ordering::Relaxed);
    }
}

fn write(number: u64, expected: Version, version: Version) -> Write {
    Write {
        id: DocumentId::new("notes", key(number)),
        expected,
        change: None,
        body: Some(Arc::from(body(number).as_bytes())),
        version,
        channels: vec!["list:1".into()],
        edited_ms: 1,
        trace: Trace::None,
    }
}

fn commit(client: u64, sequence: u64, writes: Vec<Write>) -> Commit {
    Commit {
        mutation: Some(MutationId {
            client: identity(client),
            incarnation: Incarnation(1),
            sequence: Sequence(sequence),
        }),
        session: SessionId(1),
        acknowledged: Sequence(sequence.saturating_sub(1)),
        ..Commit::new(writes, 1)
    }
}

/// Client ids are random, so that their records lie on pages of their own.
fn identity(client: u64) -> ClientId {
    let mut state = client;
    let mut id = [0; 16];
    id[..8].copy_from_slice(&splitmix(&mut state).to_be_bytes());
    ClientId(id)
}

/// The splitmix64 generator.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
