//! A process that commits is killed at random points; an independent ledger of its acknowledgements is the judge.
//!
//! The test starts itself again as the child. Killing a process shows that an acknowledged commit is in the file and that a torn one
//! is not; it does not show what the medium does when the power goes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test: a panic is how it reports; the lints allow it in test functions only, and these are helpers"
)]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tidelock_core::ids::{ClientId, DocumentId, Incarnation, MutationId, Offset, Sequence, SessionId, Version};
use tidelock_store::{
    Changelog, ChannelSet, Commit, CommitOutcome, EmbeddedOptions, EmbeddedStore, Filter, Store, Trace, Write,
};

const TEST: &str = "acknowledged_mutations_survive_kills";
const PATH_VARIABLE: &str = "TIDELOCK_CRASH_DATABASE";
const SEED_VARIABLE: &str = "TIDELOCK_TEST_SEED";
const KILLS: usize = 60;
const CLIENTS: u8 = 6;
const KILL_DELAY_MS_MAX: u64 = 300;

#[test]
fn acknowledged_mutations_survive_kills() {
    match env::var_os(PATH_VARIABLE) {
        Some(path) => child(Path::new(&path)),
        None => parent(),
    }
}

/// Finished mutations: client and sequence to the offset, as far as it was acknowledged or found.
type Ledger = BTreeMap<(u8, u64), Option<u64>>;

fn parent() {
    let seed = env::var(SEED_VARIABLE).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(random_seed);
    eprintln!("{SEED_VARIABLE}={seed}");
    let mut random = seed;
    let directory = env::temp_dir().join(format!("tidelock-crash-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("data.db");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut ledger = Ledger::new();
    let mut checked = Offset(0);
    let mut acknowledgements = 0;
    for kill in 0..KILLS {
        let delay = Duration::from_millis(splitmix(&mut random) % KILL_DELAY_MS_MAX);
        let acknowledged = run_and_kill(&path, delay);
        acknowledgements += acknowledged.len();
        for (id, offset) in acknowledged {
            assert_eq!(ledger.insert(id, Some(offset)), None, "kill {kill}: {id:?} was acknowledged twice");
        }
        let store = EmbeddedStore::open(&path, EmbeddedOptions::default()).unwrap();
        runtime.block_on(check(&store, &mut ledger, checked));
        checked = store.head();
    }
    // From the beginning: nothing that was there once is gone.
    let store = EmbeddedStore::open(&path, EmbeddedOptions::default()).unwrap();
    runtime.block_on(check(&store, &mut ledger, Offset(0)));
    eprintln!("{KILLS} kills, {acknowledgements} acknowledgements, {} mutations in the store", ledger.len());
    assert!(acknowledgements > KILLS, "the children hardly worked");
    drop(store);
    fs::remove_dir_all(&directory).unwrap();
}

/// Runs a child until `delay` after its first acknowledgement and kills it; returns what it acknowledged.
fn run_and_kill(path: &Path, delay: Duration) -> Vec<((u8, u64), u64)> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env(PATH_VARIABLE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (first, first_seen) = mpsc::sync_channel(1);
    let reader = thread::spawn(move || {
        let mut acknowledged = Vec::new();
        for line in output.split(b'\n') {
            if let Some(acknowledgement) = parse(&line.unwrap()) {
                acknowledged.push(acknowledgement);
                // The parent listens to the first only.
                let _ = first.try_send(());
            }
        }
        acknowledged
    });
    first_seen.recv().expect("the child acknowledges something before it ends");
    thread::sleep(delay);
    let ended = child.try_wait().unwrap();
    assert_eq!(ended, None, "the child ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// Reads `ack client sequence offset .`; the last line of a killed child may be cut off, hence the final mark.
fn parse(line: &[u8]) -> Option<((u8, u64), u64)> {
    let line = std::str::from_utf8(line).ok()?;
    let fields = line.strip_prefix("ack ")?.strip_suffix(" .")?;
    let mut fields = fields.split(' ');
    let id = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((id, fields.next()?.parse().ok()?))
}

/// Compares what was committed after `from` with the ledger, and adds what was committed but not acknowledged.
async fn check(store: &EmbeddedStore, ledger: &mut Ledger, from: Offset) {
    let mut found: BTreeMap<(u8, u64), (Offset, usize)> = BTreeMap::new();
    let mut counters: BTreeMap<u8, (Offset, u64)> = BTreeMap::new();
    let filter = Filter { collections: [("notes".to_owned(), ChannelSet::All)].into() };
    let mut cursor = from;
    loop {
        let page = store.changes(cursor, &filter, 4 << 20).await.unwrap();
        for record in page.records {
            let text = std::str::from_utf8(record.body.as_deref().unwrap()).unwrap();
            if let Some(client) = record.id.key.strip_prefix("counter-") {
                counters.insert(client.parse().unwrap(), (record.offset, text.parse().unwrap()));
                continue;
            }
            let parts: Vec<u64> = record.id.key.split('-').map(|part| part.parse().unwrap()).collect();
            let (client, sequence, part) = (u8::try_from(parts[0]).unwrap(), parts[1], parts[2]);
            assert_eq!(text, body(client, sequence, part), "{} is torn", record.id);
            let (offset, count) = found.entry((client, sequence)).or_insert((record.offset, 0));
            assert_eq!(*offset, record.offset, "mutation {client}:{sequence} is at two offsets");
            *count += 1;
        }
        cursor = page.to;
        if page.last {
            break;
        }
    }
    for ((client, sequence), (offset, count)) in &found {
        assert_eq!(*count as u64, documents(*client, *sequence), "mutation {client}:{sequence} is there in part");
        let entry = ledger.entry((*client, *sequence)).or_default();
        assert_eq!(
            *entry.get_or_insert(offset.0),
            offset.0,
            "mutation {client}:{sequence} is not where it was acknowledged"
        );
    }
    for client in 0..CLIENTS {
        let finished = store.client(ClientId([client; 16]), Incarnation(1)).await.unwrap().finished;
        let known = ledger.range((client, 0)..=(client, u64::MAX));
        assert!(known.clone().map(|((_, sequence), _)| *sequence).eq(1..=finished.0), "client {client}: a gap");
        assert!(known.clone().all(|(_, offset)| offset.is_some()), "client {client}: acknowledged and not there");
        if let Some((offset, value)) = counters.get(&client) {
            assert_eq!(*value, finished.0, "client {client}: the counter was not advanced once for each mutation");
            assert_eq!(known.last().and_then(|(_, offset)| *offset), Some(offset.0));
        }
    }
    for (id, offset) in ledger.iter().filter(|(_, offset)| offset.is_some_and(|offset| offset > from.0)) {
        assert!(found.contains_key(id), "mutation {id:?} was acknowledged at {offset:?} and is not there");
    }
}

/// Commits until it is killed.
fn child(path: &Path) {
    // The test harness leaves its line open.
    std::io::stdout().lock().write_all(b"\n").unwrap();
    let store = Arc::new(EmbeddedStore::open(path, EmbeddedOptions::default()).unwrap());
    let clients = (0..CLIENTS).map(|client| {
        let store = store.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(push(&store, client));
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().unwrap();
    }
}

async fn push(store: &EmbeddedStore, client: u8) {
    let finished = store.client(ClientId([client; 16]), Incarnation(1)).await.unwrap().finished;
    if finished > Sequence(0) {
        // What a client does that did not hear the answer.
        let repeated = store.commit(mutation(client, finished.0)).await.unwrap();
        assert!(matches!(repeated, CommitOutcome::Repeated(Some(recorded)) if recorded.sequence == finished));
    }
    for sequence in finished.0 + 1.. {
        let CommitOutcome::Committed(offset) = store.commit(mutation(client, sequence)).await.unwrap() else {
            panic!("mutation {client}:{sequence} was refused");
        };
        // One write call: lines of several threads do not mix.
        let line = format!("ack {client} {sequence} {offset} .\n");
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    }
}

/// Some documents of its own, and the counter that all mutations of the client advance by one.
fn mutation(client: u8, sequence: u64) -> Commit {
    let counter = Write {
        expected: if sequence == 1 { Version::ABSENT } else { Version(sequence - 1) },
        version: Version(sequence),
        ..write(format!("counter-{client}"), &sequence.to_string())
    };
    let own = (0..documents(client, sequence))
        .map(|part| write(format!("{client}-{sequence}-{part}"), &body(client, sequence, part)));
    Commit {
        mutation: Some(MutationId {
            client: ClientId([client; 16]),
            incarnation: Incarnation(1),
            sequence: Sequence(sequence),
        }),
        session: SessionId(1),
        acknowledged: Sequence(sequence.saturating_sub(2)),
        actor: "crash".into(),
        ..Commit::new(own.chain([counter]).collect(), 1)
    }
}

fn write(key: String, body: &str) -> Write {
    Write {
        id: DocumentId::new("notes", key),
        expected: Version::ABSENT,
        change: None,
        body: Some(Arc::from(body.as_bytes())),
        version: Version(1),
        channels: vec!["list:1".into()],
        edited_ms: 1,
        trace: Trace::None,
    }
}

/// How many documents of its own a mutation writes.
fn documents(client: u8, sequence: u64) -> u64 {
    1 + splitmix(&mut (u64::from(client) << 32 | sequence)) % 5
}

/// Some bodies are longer than a page of the database.
fn body(client: u8, sequence: u64, part: u64) -> String {
    let length = splitmix(&mut (u64::from(client) << 48 | sequence << 8 | part)) % 64;
    let length = if length == 0 { 9_000 } else { length * 10 };
    format!("\"{client}-{sequence}-{part}-{}\"", "x".repeat(usize::try_from(length).unwrap()))
}

fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

/// The splitmix64 generator.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
