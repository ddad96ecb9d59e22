//! Cases about documents.

use tidelock_core::ids::{DocumentId, Offset, Version};

use super::{commit_of, delete, everything, json, mutation_of, note, put, read, text, version_of, within, write};
use crate::changelog::Changelog;
use crate::store::{CommitOutcome, Store, Trace, Write};

pub(super) async fn an_empty_store_holds_nothing<S: Store + Changelog>(store: &S) {
    assert_eq!(read(store, &note("a")).await, None);
    assert_eq!(store.head(), Offset(0));
    assert_eq!(store.floor(), Offset(0));
    let page = store.changes(Offset(0), &everything(), 1_000).await.unwrap();
    assert!(page.records.is_empty() && page.last && page.to == Offset(0));
    let snapshot = store.snapshot(None, &everything(), 1_000).await.unwrap();
    assert!(snapshot.records.is_empty() && snapshot.through.is_none());
    assert_eq!(store.read(&[]).await.unwrap().documents, []);
    assert_eq!(store.scan("notes", None, 10).await.unwrap(), []);
}

pub(super) async fn a_commit_is_read_back<S: Store + Changelog>(store: &S) {
    let offset = write(store, vec![put(note("a"), Version::ABSENT, "{\"n\":1}")]).await;
    assert_eq!(store.head(), offset);
    let set = store.read(&[note("b"), note("a")]).await.unwrap();
    assert!(set.offset >= offset);
    let [None, Some(document)] = &set.documents[..] else { panic!("{set:?}") };
    assert_eq!(&*document.body, b"{\"n\":1}");
    assert_eq!(document.version, version_of(b"{\"n\":1}"));
    assert_eq!(document.edited_ms, 7);
    // The same key of another collection is another document.
    assert_eq!(read(store, &DocumentId::new("tasks", "a")).await, None);
}

pub(super) async fn several_documents_are_written_whole<S: Store + Changelog>(store: &S) {
    let ids: Vec<DocumentId> = (0..50).map(|n| note(&format!("k{n}"))).collect();
    let writes = ids.iter().map(|id| put(id.clone(), Version::ABSENT, &id.key)).collect();
    write(store, writes).await;
    let documents = store.read(&ids).await.unwrap().documents;
    for (id, document) in ids.iter().zip(documents) {
        assert_eq!(&*document.unwrap().body, json(&id.key).as_bytes());
    }
}

pub(super) async fn a_commit_is_conditional<S: Store + Changelog>(store: &S) {
    write(store, vec![put(note("a"), Version::ABSENT, "1")]).await;
    write(store, vec![put(note("a"), version_of(b"1"), "2")]).await;
    for expected in [Version::ABSENT, version_of(b"1"), Version(99)] {
        let outcome = store.commit(commit_of(vec![put(note("a"), expected, "3")])).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Mismatch(vec![note("a")]));
    }
    let outcome = store.commit(commit_of(vec![put(note("none"), version_of(b"1"), "3")])).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Mismatch(vec![note("none")]));
    assert_eq!(text(store, &note("a")).await.as_deref(), Some("2"));
}

pub(super) async fn a_condition_holds_and_changes_nothing<S: Store + Changelog>(store: &S) {
    let first = write(store, vec![put(note("a"), Version::ABSENT, "1")]).await;
    let kept = || put(note("a"), version_of(b"1"), "1");
    let absent = || delete(note("none"), Version::ABSENT, &[]);
    let (mut segments, mutation) = (store.subscribe(), mutation_of(1, 1, vec![kept(), absent()]));
    assert_eq!(store.commit(mutation).await.unwrap(), CommitOutcome::Committed(first));
    assert_eq!((store.head(), segments.try_recv().is_err()), (first, true));
    // Beside a write it holds at the offset of the commit, and stays where it was.
    let second = write(store, vec![kept(), absent(), put(note("b"), Version::ABSENT, "2")]).await;
    assert!(second > first);
    let records = store.changes(Offset(0), &everything(), 1_000).await.unwrap().records;
    let places: Vec<_> = records.iter().map(|record| (record.id.key.as_str(), record.offset)).collect();
    assert_eq!(places, [("a", first), ("b", second)]);
    // In other channels it is a change, though its content stays.
    let moved = write(store, vec![within(kept(), &["list:1"])]).await;
    assert!(moved > second);
    let record = store.changes(second, &everything(), 1_000).await.unwrap().records.pop().unwrap();
    assert_eq!((record.id, record.offset, record.channels), (note("a"), moved, vec!["list:1".to_owned()]));
    // When it does not hold, nothing is written.
    for broken in [put(note("a"), version_of(b"2"), "2"), delete(note("a"), Version::ABSENT, &[])] {
        let writes = vec![broken, put(note("c"), Version::ABSENT, "3")];
        assert_eq!(store.commit(commit_of(writes)).await.unwrap(), CommitOutcome::Mismatch(vec![note("a")]));
    }
    assert_eq!((text(store, &note("c")).await, store.head()), (None, moved));
}

pub(super) async fn a_mismatch_leaves_nothing<S: Store + Changelog>(store: &S) {
    let head = write(store, vec![put(note("a"), Version::ABSENT, "1")]).await;
    let writes = vec![
        put(note("first"), Version::ABSENT, "x"),
        put(note("a"), Version::ABSENT, "x"),
        put(note("b"), Version(3), "x"),
        put(note("last"), Version::ABSENT, "x"),
    ];
    let outcome = store.commit(commit_of(writes)).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Mismatch(vec![note("a"), note("b")]));
    for key in ["first", "last", "b"] {
        assert_eq!(text(store, &note(key)).await, None, "{key}");
    }
    assert_eq!(store.head(), head);
    assert_eq!(store.changes(Offset(0), &everything(), 1_000).await.unwrap().records.len(), 1);
}

pub(super) async fn a_delete_leaves_a_tombstone<S: Store + Changelog>(store: &S) {
    write(store, vec![put(note("a"), Version::ABSENT, "1")]).await;
    let deleted = write(store, vec![delete(note("a"), version_of(b"1"), &[])]).await;
    assert_eq!(read(store, &note("a")).await, None);
    assert_eq!(store.scan("notes", None, 10).await.unwrap(), []);
    assert!(store.snapshot(None, &everything(), 1_000).await.unwrap().records.is_empty());
    let page = store.changes(Offset(0), &everything(), 1_000).await.unwrap();
    let [tombstone] = &page.records[..] else { panic!("{page:?}") };
    assert_eq!((tombstone.offset, tombstone.version, &tombstone.body), (deleted, Version::ABSENT, &None));
    // It is absent for a condition too, and may be created again.
    let outcome = store.commit(commit_of(vec![put(note("a"), version_of(b"1"), "2")])).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Mismatch(vec![note("a")]));
    write(store, vec![put(note("a"), Version::ABSENT, "2")]).await;
    assert_eq!(text(store, &note("a")).await.as_deref(), Some("2"));
}

/// What clients bring back to a store that was set back.
pub(super) async fn what_was_offered_or_deleted_is_remembered<S: Store + Changelog>(store: &S) {
    let ids = ["plain", "offered", "gone", "never"].map(note);
    write(store, vec![put(note("plain"), Version::ABSENT, "1"), put(note("gone"), Version::ABSENT, "1")]).await;
    write(store, vec![Write { trace: Trace::Offered, ..put(note("offered"), Version::ABSENT, "1") }]).await;
    write(store, vec![delete(note("gone"), version_of(b"1"), &[])]).await;
    let traces = [Trace::None, Trace::Offered, Trace::Buried, Trace::None];
    assert_eq!(store.traces(&ids).await.unwrap(), traces);
    // A change does not make it known what is in it.
    write(store, vec![put(note("offered"), version_of(b"1"), "2")]).await;
    // A delete of what the store never had.
    let buried = Write { trace: Trace::Withdrawn, ..delete(note("never"), Version::ABSENT, &[]) };
    let head = write(store, vec![buried]).await;
    assert_eq!(store.traces(&ids).await.unwrap(), [Trace::None, Trace::Offered, Trace::Buried, Trace::Withdrawn]);
    assert_eq!(text(store, &note("never")).await, None);
    write(store, vec![delete(note("offered"), version_of(b"2"), &[])]).await;
    assert_eq!(store.traces(&ids).await.unwrap(), [Trace::None, Trace::Withdrawn, Trace::Buried, Trace::Withdrawn]);
    assert!(head <= store.head());
    // A platform may remember tombstones for longer than the changelog.
    store.purge(store.head()).await.unwrap();
    assert!(!store.traces(&ids).await.unwrap().contains(&Trace::Offered));
}

pub(super) async fn a_scan_is_ordered_and_paged<S: Store + Changelog>(store: &S) {
    for key in ["c", "a", "e", "b", "d"] {
        write(store, vec![put(note(key), Version::ABSENT, key)]).await;
        write(store, vec![put(DocumentId::new("tasks", key), Version::ABSENT, key)]).await;
    }
    write(store, vec![delete(note("d"), version_of(b"d"), &[])]).await;
    let keys = |page: Vec<(String, crate::Document)>| page.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(store.scan("notes", None, 2).await.unwrap()), ["a", "b"]);
    assert_eq!(keys(store.scan("notes", Some("b"), 2).await.unwrap()), ["c", "e"]);
    assert_eq!(keys(store.scan("notes", Some("bb"), 10).await.unwrap()), ["c", "e"]);
    assert_eq!(keys(store.scan("notes", Some("e"), 2).await.unwrap()), [""; 0]);
    assert_eq!(keys(store.scan("none", None, 2).await.unwrap()), [""; 0]);
    assert_eq!(keys(store.scan("notes", None, 0).await.unwrap()), [""; 0]);
}

pub(super) async fn unicode_keys_are_ordered_bytewise<S: Store + Changelog>(store: &S) {
    // UTF-16 order would put U+10000 before U+FF21; a locale would mix cases.
    let mut keys =
        ["~n1", "a", "B", "b", "ä", "z", "\u{ff21}", "\u{10000}", "日本", "a\u{0}b", "a b", "'; --", "%_", "\u{7f}"];
    for key in keys {
        let writes = ["notes", "Notes", "ñotes"].map(|name| put(DocumentId::new(name, key), Version::ABSENT, key));
        write(store, writes.to_vec()).await;
    }
    keys.sort_unstable();
    let scanned = store.scan("notes", None, 100).await.unwrap();
    assert_eq!(scanned.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), keys);
    for (key, document) in &scanned {
        assert_eq!(&*document.body, json(key).as_bytes());
    }
    let filter = super::filter(&[("ñotes", None), ("notes", None), ("Notes", None)]);
    let records = super::all_documents(store, &filter, 1).await;
    let expected: Vec<DocumentId> = ["Notes", "notes", "ñotes"]
        .iter()
        .flat_map(|collection| keys.iter().map(|key| DocumentId::new(*collection, *key)))
        .collect();
    assert_eq!(records.into_iter().map(|record| record.id).collect::<Vec<_>>(), expected);
}

pub(super) async fn large_bodies_survive<S: Store + Changelog>(store: &S) {
    let body = |n: u8| format!("\"{}\"", char::from(b'a' + n).to_string().repeat((1 << 20) - 2));
    let writes = (0..4).map(|n| put(note(&format!("k{n}")), Version::ABSENT, &body(n))).collect();
    write(store, writes).await;
    for n in 0..4 {
        assert_eq!(text(store, &note(&format!("k{n}"))).await, Some(body(n)));
    }
    // One offset is never split, however large; documents of a snapshot are.
    let page = store.changes(Offset(0), &everything(), 1 << 20).await.unwrap();
    assert_eq!(page.records.len(), 4);
    let snapshot = store.snapshot(None, &everything(), 1 << 20).await.unwrap();
    assert!((1..4).contains(&snapshot.records.len()));
    assert_eq!(super::all_documents(store, &everything(), 1 << 20).await.len(), 4);
}
