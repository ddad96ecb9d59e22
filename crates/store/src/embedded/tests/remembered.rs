//! What the writer remembers is what the file holds.

use super::*;

/// Remembers two documents or three, so that both the file and the memory answer.
const FORGETFUL: EmbeddedOptions =
    EmbeddedOptions { readers: 2, conflicts_kept: 100_000, cache_bytes: 2_048, size_bytes_max: None, identity: None };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_when_it_remembers_little() {
    let scratch = Scratch::new();
    let count = Cell::new(0);
    let fresh = || {
        count.set(count.get() + 1);
        EmbeddedStore::open(&scratch.0.join(format!("{}.db", count.get())), FORGETFUL).unwrap()
    };
    conformance::run(fresh).await;
}

#[tokio::test]
async fn what_was_written_lately_is_read_without_the_file() {
    let scratch = Scratch::new();
    let store = scratch.open();
    write(&store, vec![put("a", Version::ABSENT, "1", &[])]).await;
    // A change that no other program may make: it shows where the answer comes from.
    Connection::open(scratch.database()).unwrap().execute_batch("UPDATE documents SET body = '0'").unwrap();
    let read = store.read(&[DocumentId::new("notes", "a")]).await.unwrap();
    assert_eq!(read.documents[0].as_ref().map(|document| document.body.to_vec()), Some(b"1".to_vec()));
    assert_eq!(read.offset, store.head());
}

#[tokio::test]
async fn a_document_that_was_purged_can_be_written_again() {
    let scratch = Scratch::new();
    let store = scratch.open();
    write(&store, vec![put("a", Version::ABSENT, "1", &["x"]), put("b", Version::ABSENT, "1", &["x"])]).await;
    let moved = write(&store, vec![delete("a", Version(2), &["x"]), put("b", Version(2), "22", &["y"])]).await;
    assert_eq!(store.purge(moved).await.unwrap(), 1);
    let again = vec![put("a", Version::ABSENT, "1", &["x"]), put("b", Version(3), "333", &["x"])];
    let offset = write(&store, again).await;
    drop(store);
    let store = scratch.open();
    assert!(exists(&store, "a").await);
    let page = store.changes(moved, &notes(ChannelSet::All), 1 << 20).await.unwrap();
    let left = page.records.iter().map(|record| (record.id.key.as_str(), record.left.clone())).collect::<Vec<_>>();
    assert_eq!(left, [("a", vec![]), ("b", vec!["y".to_owned()])]);
    assert_eq!(page.to, offset);
}

#[tokio::test]
async fn an_acknowledged_outcome_gives_its_row_to_the_next() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let connection = Connection::open(scratch.database()).unwrap();
    let rows = || -> Vec<i64> {
        let mut statement = connection.prepare("SELECT sequence FROM outcomes ORDER BY sequence").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let mut expected: Vec<&[i64]> = vec![&[1], &[1, 2], &[1, 2, 3], &[4], &[5], &[5, 6]];
    for (sequence, acknowledged) in [(1, 0), (2, 0), (3, 0), (4, 3), (5, 4), (6, 4)] {
        let commit = Commit { acknowledged: Sequence(acknowledged), ..mutation_of(1, sequence, Vec::new()) };
        assert_eq!(store.commit(commit).await.unwrap(), CommitOutcome::Committed(Offset(0)));
        assert_eq!(rows(), expected.remove(0), "after {sequence}");
    }
}
