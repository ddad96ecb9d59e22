//! Tests of what the conformance suite cannot see: the file, the threads, errors of the disk.

mod histories;
mod remembered;

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use rusqlite::Connection;
use tidelock_core::ids::{ClientId, DocumentId, Incarnation, MutationId, Offset, Sequence, Version};
use tidelock_core::wire::ConflictNote;

use super::{EmbeddedOptions, EmbeddedStore};
use crate::changelog::{Changelog, ChannelSet, Filter};
use crate::conformance;
use crate::error::StoreError;
use crate::limits::PURGE_ROWS_MAX;
use crate::store::{Commit, CommitOutcome, ConflictQuery, Store, Trace, Write};

/// A directory of its own in the system's temporary directory, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tidelock-store-{}-{count}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn database(&self) -> PathBuf {
        self.0.join("data.db")
    }

    fn open(&self) -> EmbeddedStore {
        open(&self.database()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: a directory that stays does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open(path, EmbeddedOptions::default())
}

/// Stores in files of their own below one directory.
fn fresh(scratch: &Scratch) -> impl Fn() -> EmbeddedStore {
    let count = Cell::new(0);
    move || {
        count.set(count.get() + 1);
        open(&scratch.0.join(format!("{}.db", count.get()))).unwrap()
    }
}

fn put(key: &str, expected: Version, body: &str, channels: &[&str]) -> Write {
    Write {
        id: DocumentId::new("notes", key),
        expected,
        change: None,
        body: Some(Arc::from(body.as_bytes())),
        version: Version(body.len() as u64 + 1),
        channels: channels.iter().map(ToString::to_string).collect(),
        edited_ms: 1,
        trace: Trace::None,
    }
}

fn delete(key: &str, expected: Version, channels: &[&str]) -> Write {
    Write { body: None, version: Version::ABSENT, ..put(key, expected, "", channels) }
}

fn mutation_of(client: u8, sequence: u64, writes: Vec<Write>) -> Commit {
    let mutation =
        MutationId { client: ClientId([client; 16]), incarnation: Incarnation(1), sequence: Sequence(sequence) };
    Commit { mutation: Some(mutation), ..Commit::new(writes, 1) }
}

fn notes(channels: ChannelSet) -> Filter {
    Filter { collections: [("notes".to_owned(), channels)].into() }
}

async fn write(store: &EmbeddedStore, writes: Vec<Write>) -> Offset {
    match store.commit(Commit::new(writes, 1)).await.unwrap() {
        CommitOutcome::Committed(offset) => offset,
        other @ (CommitOutcome::Repeated(_) | CommitOutcome::OutOfOrder(_) | CommitOutcome::Mismatch(_)) => {
            panic!("{other:?}")
        }
    }
}

async fn exists(store: &EmbeddedStore, key: &str) -> bool {
    store.read(&[DocumentId::new("notes", key)]).await.unwrap().documents[0].is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let scratch = Scratch::new();
    conformance::run(fresh(&scratch)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_everything_when_reopened() {
    let scratch = Scratch::new();
    let reopen = |store| {
        drop(store);
        scratch.open()
    };
    conformance::run_reopen(|| scratch.open(), reopen).await;
}

#[test]
fn behaves_as_the_model() {
    let scratch = Scratch::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    conformance::run_model(fresh(&scratch), |future| runtime.block_on(future), 100);
}

#[tokio::test]
async fn a_second_server_is_kept_out() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let error = open(&scratch.database()).unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("another server")), "{error}");
    write(&store, vec![put("a", Version::ABSENT, "1", &[])]).await;
    store.close().await;
    let error = store.commit(Commit::new(Vec::new(), 1)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("closed")), "{error}");
    let error = store.read(&[]).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("closed")), "{error}");
    store.close().await;
    // The handle that is closed does not hold the lock.
    let reopened = scratch.open();
    assert!(exists(&reopened, "a").await);
}

#[test]
fn a_file_that_is_not_ours_stays_untouched() {
    let scratch = Scratch::new();
    let check = |name: &str, make: &dyn Fn(&Path), expected: &str| {
        let path = scratch.0.join(name);
        make(&path);
        let before = fs::read(&path).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt(text) if text.contains(expected)), "{name}: {error}");
        assert_eq!(fs::read(&path).unwrap(), before, "{name}");
    };
    check(
        "text",
        &|path| fs::write(path, "not a database, but long enough to have a header ".repeat(20)).unwrap(),
        "not a database",
    );
    let other = |path: &Path| Connection::open(path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    check("other", &other, "not a Tidelock database");
    let later = |path: &Path| {
        drop(open(path).unwrap());
        Connection::open(path).unwrap().pragma_update(None, "user_version", 1_000).unwrap();
    };
    check("later", &later, "its format is 1000");
    let error = open(&scratch.0.join("none/data.db")).unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("none/data.db")), "{error}");
}

#[test]
fn an_empty_file_becomes_a_database() {
    let scratch = Scratch::new();
    fs::write(scratch.database(), "").unwrap();
    let (epoch, changelog) = {
        let store = scratch.open();
        (store.epoch(), store.id())
    };
    assert!(epoch.0 != 0 && changelog.0 != 0 && epoch.0 != changelog.0);
    let connection = Connection::open(scratch.database()).unwrap();
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((pragma("application_id"), pragma("user_version")), (0x5464_4c6b, 2));
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn bodies_are_json_for_the_tools_of_sqlite() {
    let scratch = Scratch::new();
    write(&scratch.open(), vec![put("a", Version::ABSENT, "{\"n\": [1, 2]}", &["x\"y", "z"])]).await;
    let connection = Connection::open(scratch.database()).unwrap();
    let sql = "SELECT json_extract(body, '$.n[1]'), json_extract(channels, '$[0]') FROM documents";
    let found: (i64, String) = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(found, (2, "x\"y".to_owned()));
}

#[tokio::test]
async fn a_full_disk_fails_the_group_and_the_next_works_when_there_is_room() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let head = write(&store, vec![put("kept", Version::ABSENT, "1", &["list:1"])]).await;
    store.limit_size(Some(0)).await.unwrap();
    let mut segments = store.subscribe();
    let large = "x".repeat(100_000);
    let large =
        |client: u8| mutation_of(client, 1, vec![put(&format!("k{client}"), Version::ABSENT, &large, &["list:1"])]);
    for outcome in join_all((0..8).map(|client| store.commit(large(client)))).await {
        assert!(matches!(&outcome, Err(StoreError::Full(_))), "{outcome:?}");
    }
    // Nothing of it is visible, and reads work.
    assert_eq!(store.head(), head);
    assert!(exists(&store, "kept").await && !exists(&store, "k0").await);
    assert!(segments.try_recv().is_err());
    assert_eq!(store.client(ClientId([0; 16]), Incarnation(1)).await.unwrap().finished, Sequence(0));
    store.limit_size(None).await.unwrap();
    let outcomes = join_all((0..8).map(|client| store.commit(large(client)))).await;
    for (outcome, offset) in outcomes.into_iter().zip(head.0 + 1..) {
        assert_eq!(outcome.unwrap(), CommitOutcome::Committed(Offset(offset)));
    }
    assert!(exists(&store, "k7").await);
    assert_eq!(segments.recv().await.unwrap().from, head);
    // The limit is an option of opening too.
    drop(store);
    let options = EmbeddedOptions { size_bytes_max: Some(1), ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(&scratch.database(), options).unwrap();
    let outcome = store.commit(mutation_of(9, 1, vec![put("k9", Version::ABSENT, &"x".repeat(100_000), &[])])).await;
    assert!(matches!(&outcome, Err(StoreError::Full(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_failure_in_a_group_does_not_touch_the_others() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let commits = (0..60_u64).map(|n| {
        let key = format!("k{n}");
        match n % 3 {
            0 => Commit::new(vec![put(&key, Version::ABSENT, "1", &[]), put("shared", Version(77), "1", &[])], 1),
            1 => mutation_of(9, 5, vec![put(&key, Version::ABSENT, "1", &[])]),
            _ => Commit::new(vec![put(&key, Version::ABSENT, "1", &[])], 1),
        }
    });
    let outcomes = join_all(commits.map(|commit| store.commit(commit))).await;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let expected = match n % 3 {
            0 => CommitOutcome::Mismatch(vec![DocumentId::new("notes", "shared")]),
            1 => CommitOutcome::OutOfOrder(Sequence(0)),
            _ => CommitOutcome::Committed(Offset(n as u64 / 3 + 1)),
        };
        assert_eq!(outcome.unwrap(), expected);
        assert_eq!(exists(&store, &format!("k{n}")).await, n % 3 == 2);
    }
}

#[tokio::test]
async fn a_window_of_a_client_runs_in_the_order_of_the_calls() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let calls: Vec<_> = (1..=500).map(|sequence| store.commit(mutation_of(1, sequence, Vec::new()))).collect();
    // Dropping half of them undoes nothing.
    for call in calls.into_iter().step_by(2) {
        assert_eq!(call.await.unwrap(), CommitOutcome::Committed(Offset(0)));
    }
    assert_eq!(store.client(ClientId([1; 16]), Incarnation(1)).await.unwrap().finished, Sequence(500));
}

#[tokio::test]
async fn dropping_the_store_finishes_what_is_queued() {
    let scratch = Scratch::new();
    let store = scratch.open();
    for n in 0..300 {
        drop(store.commit(Commit::new(vec![put(&format!("k{n}"), Version::ABSENT, "1", &[])], 1)));
    }
    drop(store);
    let store = scratch.open();
    assert_eq!(store.head(), Offset(300));
    assert_eq!(store.scan("notes", None, 1_000).await.unwrap().len(), 300);
}

#[tokio::test]
async fn a_purge_forgets_tombstones_and_left_channels() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    let count = PURGE_ROWS_MAX * 2 + 10;
    let keys: Vec<String> = (0..count).map(|n| format!("k{n}")).collect();
    write(&store, keys.iter().map(|key| put(key, Version::ABSENT, "1", &["x", "y"])).collect()).await;
    write(&store, keys.iter().map(|key| delete(key, Version(2), &["x", "y"])).collect()).await;
    write(&store, vec![put("moved", Version::ABSENT, "1", &["x"])]).await;
    let moved = write(&store, vec![put("moved", Version(2), "2", &["y"])]).await;
    write(&store, vec![put("late", Version::ABSENT, "1", &["x"])]).await;
    let late = write(&store, vec![delete("late", Version(2), &["x"])]).await;
    let in_x = notes(ChannelSet::Only(["x".to_owned()].into()));
    assert_eq!(store.changes(Offset(0), &in_x, usize::MAX).await.unwrap().records.len(), count + 2);
    assert_eq!(store.purge(moved).await.unwrap(), count as u64);
    assert_eq!(store.floor(), moved);
    let page = store.changes(Offset(0), &in_x, usize::MAX).await.unwrap();
    assert_eq!(page.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [late]);
    let page = store.changes(Offset(0), &notes(ChannelSet::All), usize::MAX).await.unwrap();
    assert!(page.records.iter().all(|record| record.left.is_empty()));
    // The head outlives the entry that held it; the floor never passes the head, and never falls.
    assert_eq!(store.purge(Offset(u64::MAX)).await.unwrap(), 1);
    assert_eq!(store.purge(Offset(1)).await.unwrap(), 0);
    for _ in 0..2 {
        assert_eq!((store.head(), store.floor()), (late, late));
        drop(store);
        store = scratch.open();
    }
    let sql = "SELECT count(*) FROM channel_index";
    let index: i64 = Connection::open(scratch.database()).unwrap().query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(index, 1);
    assert_eq!(write(&store, vec![put("after", Version::ABSENT, "1", &[])]).await, Offset(late.0 + 1));
}

#[tokio::test]
async fn a_backup_is_whole_and_another_epoch() {
    let scratch = Scratch::new();
    let store = scratch.open();
    write(&store, vec![put("a", Version::ABSENT, "1", &["x"])]).await;
    let copy = scratch.0.join("copy.db");
    let commits = async {
        for n in 0..50 {
            let writes = [format!("{n}-l"), format!("{n}-r")].map(|key| put(&key, Version::ABSENT, "1", &[])).to_vec();
            write(&store, writes).await;
        }
    };
    let (backup, ()) = futures_util::future::join(store.backup(&copy), commits).await;
    backup.unwrap();
    let error = store.backup(&copy).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("exists already")), "{error}");
    let (epoch, id) = {
        let restored = open(&copy).unwrap();
        assert!(restored.epoch() != store.epoch() && restored.id() != store.id());
        assert!(exists(&restored, "a").await);
        for n in 0..50 {
            let whole = exists(&restored, &format!("{n}-l")).await == exists(&restored, &format!("{n}-r")).await;
            assert!(whole, "mutation {n} is torn");
        }
        assert!(restored.head() <= store.head());
        (restored.epoch(), restored.id())
    };
    let again = open(&copy).unwrap();
    assert_eq!((again.epoch(), again.id()), (epoch, id));
}

#[tokio::test]
async fn the_conflict_log_keeps_the_latest() {
    let scratch = Scratch::new();
    let options = EmbeddedOptions { conflicts_kept: 10, ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(&scratch.database(), options).unwrap();
    let note = ConflictNote {
        id: DocumentId::new("notes", "a"),
        path: Vec::new(),
        strategy: "edit-wins".into(),
        base: None,
        mine: None,
        theirs: None,
        outcome: None,
    };
    for _ in 0..8 {
        let conflicts = vec![note.clone(); 3];
        store.commit(Commit { conflicts, ..Commit::new(Vec::new(), 1) }).await.unwrap();
    }
    let log = store.conflicts(&ConflictQuery { limit: 100, ..ConflictQuery::default() }).await.unwrap();
    assert_eq!(log.iter().map(|record| record.number).collect::<Vec<_>>(), (15..=24).rev().collect::<Vec<_>>());
    assert_eq!(log[0].note, note);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_storm_one_document_and_lose_no_update() {
    let scratch = Scratch::new();
    let store = Arc::new(scratch.open());
    write(&store, vec![put("n", Version::ABSENT, "", &[])]).await;
    let tasks = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while done < 25 {
                let id = DocumentId::new("notes", "n");
                let current = store.read(&[id]).await.unwrap().documents.pop().flatten().unwrap();
                let longer = "x".repeat(current.body.len() + 1);
                match store.commit(Commit::new(vec![put("n", current.version, &longer, &[])], 1)).await.unwrap() {
                    CommitOutcome::Committed(_) => done += 1,
                    CommitOutcome::Mismatch(_) => {}
                    other @ (CommitOutcome::Repeated(_) | CommitOutcome::OutOfOrder(_)) => panic!("{other:?}"),
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let current = store.read(&[DocumentId::new("notes", "n")]).await.unwrap().documents.pop().flatten().unwrap();
    assert_eq!(current.body.len(), 200);
}

/// Fixtures are files that each on-disk version wrote; `TIDELOCK_BLESS=1` writes one that does not exist, and never replaces one.
#[tokio::test]
async fn every_on_disk_version_is_read() {
    let scratch = Scratch::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/embedded-v1.db");
    if std::env::var_os("TIDELOCK_BLESS").is_some() && !fixture.exists() {
        write_fixture(&fixture).await;
    }
    fs::copy(&fixture, scratch.database()).unwrap();
    let store = scratch.open();
    assert_eq!((store.head(), store.floor()), (Offset(5), Offset(2)));
    let page = store.changes(Offset(0), &notes(ChannelSet::All), usize::MAX).await.unwrap();
    let found: Vec<_> = page
        .records
        .iter()
        .map(|record| {
            (record.id.key.as_str(), record.offset.0, record.version.0, record.channels.len(), record.left.len())
        })
        .collect();
    assert_eq!(found, [("moved", 4, 3, 1, 1), ("gone", 5, 0, 1, 0)]);
    assert_eq!(page.records[0].body.as_deref(), Some(&b"22"[..]));
    let outcomes = store.outcomes(ClientId([1; 16]), Incarnation(1), Sequence(0)).await.unwrap();
    assert_eq!(outcomes.len(), 1);
    assert_eq!((outcomes[0].sequence, outcomes[0].offset), (Sequence(1), Offset(3)));
    let log = store.conflicts(&ConflictQuery { limit: 9, ..ConflictQuery::default() }).await.unwrap();
    assert_eq!((log.len(), log[0].number, log[0].channels.len()), (1, 1, 1));
    assert_eq!(write(&store, vec![put("more", Version::ABSENT, "1", &[])]).await, Offset(6));
}

async fn write_fixture(path: &Path) {
    let store = open(path).unwrap();
    write(&store, vec![put("purged", Version::ABSENT, "1", &["x"])]).await;
    write(&store, vec![delete("purged", Version(2), &["x"])]).await;
    assert_eq!(store.purge(Offset(2)).await.unwrap(), 1);
    let note = ConflictNote {
        id: DocumentId::new("notes", "moved"),
        path: vec!["title".into()],
        strategy: "last-write".into(),
        base: Some(b"0".to_vec()),
        mine: Some(b"1".to_vec()),
        theirs: None,
        outcome: Some(b"1".to_vec()),
    };
    let writes = vec![put("moved", Version::ABSENT, "1", &["x"]), put("gone", Version::ABSENT, "1", &["x"])];
    let first = Commit { conflicts: vec![note], ..mutation_of(1, 1, writes) };
    assert_eq!(store.commit(first).await.unwrap(), CommitOutcome::Committed(Offset(3)));
    write(&store, vec![put("moved", Version(2), "22", &["y"])]).await;
    write(&store, vec![delete("gone", Version(2), &["x"])]).await;
    store.close().await;
    fs::remove_file(path.with_extension("db-lock")).unwrap();
}
