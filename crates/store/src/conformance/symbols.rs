//! Cases about the symbols of a changelog.

use futures_util::future::join;
use tidelock_core::ids::{Offset, Version};
use tidelock_core::reconcile::{Checker, Sketch};
use tidelock_core::version::item_hash;

use super::{all_documents, delete, everything, filter, note, put, version_of, within, write, yield_once};
use crate::changelog::{Changelog, Filter, Former, SymbolPage};
use crate::store::{CommitOutcome, Store};

/// What a snapshot of the same documents comes to.
async fn expected<S: Changelog>(store: &S, filter: &Filter, count: u32) -> (u64, Sketch) {
    let mut sketch = Sketch::new(Checker::new(store.id()), count);
    let records = all_documents(store, filter, 1 << 20).await;
    for record in &records {
        sketch.add(item_hash(store.id(), &record.id.collection, &record.id.key, record.version));
    }
    (records.len() as u64, sketch)
}

/// Compares the symbols of a filter, while nobody writes, with those of a snapshot.
pub(super) async fn check<S: Changelog>(store: &S, filter: &Filter, count: u32) -> SymbolPage {
    let page = store.symbols(filter, count).await.unwrap();
    let (documents, sketch) = expected(store, filter, count).await;
    assert_eq!((page.offset, page.documents), (store.head(), documents));
    assert_eq!(page.symbols, sketch.symbols(), "{filter:?}");
    page
}

fn one() -> Version {
    version_of(b"1")
}

pub(super) async fn symbols_follow_every_commit<S: Store + Changelog>(store: &S) {
    let all = everything();
    let empty = check(store, &all, 50).await;
    write(store, vec![put(note("a"), Version::ABSENT, "1"), put(note("b"), Version::ABSENT, "1")]).await;
    let two = check(store, &all, 50).await;
    assert_ne!(two.symbols, empty.symbols);
    write(store, vec![put(note("a"), one(), "2")]).await;
    check(store, &all, 50).await;
    write(store, vec![delete(note("a"), version_of(b"2"), &[]), within(put(note("b"), one(), "1"), &["x"])]).await;
    check(store, &all, 50).await;
    // Back again, after its tombstone.
    write(store, vec![put(note("a"), Version::ABSENT, "1")]).await;
    assert_eq!(check(store, &all, 50).await.symbols, two.symbols);
    write(store, vec![delete(note("a"), one(), &[]), delete(note("b"), one(), &["x"])]).await;
    assert_eq!(check(store, &all, 50).await.symbols, empty.symbols);
}

pub(super) async fn a_filter_selects_the_symbols<S: Store + Changelog>(store: &S) {
    check(store, &everything(), 10).await;
    let writes = [("a", &["x"][..]), ("b", &["x", "y"]), ("c", &["y"]), ("d", &[])]
        .map(|(key, channels)| within(put(note(key), Version::ABSENT, "1"), channels));
    write(store, writes.to_vec()).await;
    let xy = filter(&[("notes", Some(&["x", "y"]))]);
    let x = filter(&[("notes", Some(&["x"]))]);
    assert_eq!((check(store, &xy, 20).await.documents, check(store, &x, 20).await.documents), (3, 2));
    // It moves from one class to another without a change of its content.
    write(store, vec![within(put(note("a"), one(), "1"), &["y"])]).await;
    assert_eq!(check(store, &x, 20).await.documents, 1);
    check(store, &xy, 20).await;
    assert_eq!(check(store, &Filter::default(), 20).await.documents, 0);
}

pub(super) async fn items_are_found_by_their_hashes<S: Store + Changelog>(store: &S) {
    let writes = (0..40).map(|n| put(note(&n.to_string()), Version::ABSENT, "1")).collect();
    write(store, writes).await;
    write(store, vec![put(note("7"), one(), "2"), delete(note("8"), one(), &[])]).await;
    let item = |key: &str, body: &[u8]| item_hash(store.id(), "notes", key, version_of(body));
    let sought = [item("1", b"1"), item("7", b"2"), item("7", b"1"), item("8", b"1"), item("1", b"2"), 99];
    let mut found = store.items(&sought).await.unwrap();
    found.sort_unstable();
    assert_eq!(found, [note("1"), note("7")]);
    write(store, vec![put(note("1"), one(), "3")]).await;
    assert_eq!(store.items(&sought).await.unwrap(), [note("7")]);
}

pub(super) async fn segments_tell_what_was_before<S: Store + Changelog>(store: &S) {
    let mut segments = store.subscribe();
    write(store, vec![within(put(note("a"), Version::ABSENT, "1"), &["x"])]).await;
    write(store, vec![within(put(note("a"), one(), "2"), &["y"]), put(note("b"), Version::ABSENT, "1")]).await;
    write(store, vec![delete(note("a"), version_of(b"2"), &["y"])]).await;
    let mut former = Vec::new();
    while let Ok(segment) = segments.try_recv() {
        assert_eq!(segment.records.len(), segment.former.len());
        former.extend(segment.former.iter().cloned());
    }
    let was = |version, channels: &[&str]| Former { version, channels: super::strings(channels) };
    let none = Former::default();
    assert_eq!(former, [none.clone(), was(one(), &["x"]), none, was(version_of(b"2"), &["y"])]);
}

/// The symbols are asked for the first time while others write: what the scan sees and what it misses are put together.
pub(super) async fn symbols_are_whole_while_commits_run<S: Store + Changelog>(store: &S) {
    write(store, (0..500).map(|n| put(note(&format!("old-{n}")), Version::ABSENT, "1")).collect()).await;
    let writer = async {
        for n in 0..200 {
            let mut commit = super::commit_of(vec![put(note(&format!("new-{n}")), Version::ABSENT, "1")]);
            commit.writes.push(put(note(&format!("old-{n}")), one(), "2"));
            assert!(matches!(store.commit(commit).await, Ok(CommitOutcome::Committed(_))));
            yield_once().await;
        }
    };
    let reader = async {
        let mut last = Offset(0);
        for _ in 0..20 {
            let page = store.symbols(&everything(), 30).await.unwrap();
            assert!(page.offset >= last && page.documents == 500 + (page.offset.0 - 1), "{page:?}");
            last = page.offset;
            yield_once().await;
        }
    };
    join(writer, reader).await;
    check(store, &everything(), 30).await;
}
