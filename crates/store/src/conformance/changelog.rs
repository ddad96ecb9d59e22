//! Cases about the changelog.

use std::collections::BTreeMap;

use tidelock_core::ids::{DocumentId, Offset, SessionId, Version};

use super::{
    all_changes, all_documents, apply, delete, everything, filter, json, keys_of, note, put, strings, version_of,
    within, write,
};
use crate::changelog::Changelog;
use crate::store::{Commit, Store};

/// Creates `notes/{key}` with its key as content.
async fn create<S: Store>(store: &S, key: &str, channels: &[&str]) -> Offset {
    write(store, vec![within(put(note(key), Version::ABSENT, key), channels)]).await
}

pub(super) async fn documents_of_a_mutation_share_an_offset<S: Store + Changelog>(store: &S) {
    let session = SessionId(u64::MAX);
    let writes =
        ["c", "a", "b"].map(|key| within(put(note(key), Version::ABSENT, key), &["list:1", "user:ann"])).to_vec();
    let first = super::commit(store, Commit { session, ..super::commit_of(writes) }).await;
    let second = create(store, "d", &[]).await;
    assert!(second > first);
    let (records, to) = all_changes(store, Offset(0), &everything(), 1_000).await;
    assert_eq!(to, second);
    let mut keys = keys_of(&records[..3]);
    keys.sort_unstable();
    assert_eq!(keys, ["a", "b", "c"]);
    for record in &records[..3] {
        assert_eq!(record.offset, first);
        assert_eq!(record.version, version_of(record.id.key.as_bytes()));
        assert_eq!(record.body.as_deref(), Some(json(&record.id.key).as_bytes()));
        assert_eq!(record.channels, ["list:1", "user:ann"]);
        assert_eq!(record.left, [""; 0]);
        assert_eq!(record.session, session);
    }
}

pub(super) async fn a_document_is_named_once_at_its_last_offset<S: Store + Changelog>(store: &S) {
    create(store, "a", &[]).await;
    let second = create(store, "b", &[]).await;
    let mut last = Offset(0);
    for n in 1..=5_u8 {
        let before = if n == 1 { "a".to_owned() } else { (n - 1).to_string() };
        last = write(store, vec![put(note("a"), version_of(before.as_bytes()), &n.to_string())]).await;
    }
    let (records, _) = all_changes(store, Offset(0), &everything(), 1).await;
    let named: Vec<_> = records.iter().map(|record| (record.id.key.as_str(), record.offset)).collect();
    assert_eq!(named, [("b", second), ("a", last)]);
    assert_eq!(records[1].body.as_deref(), Some(&b"5"[..]));
    let (records, _) = all_changes(store, second, &everything(), 1).await;
    assert_eq!(keys_of(&records), ["a"]);
    let page = store.changes(last, &everything(), 1).await.unwrap();
    assert!(page.records.is_empty() && page.last && page.to == last);
}

pub(super) async fn a_page_never_splits_an_offset<S: Store + Changelog>(store: &S) {
    for group in 0..6 {
        let count = if group % 2 == 0 { 7 } else { 1 };
        let writes =
            (0..count).map(|n| put(note(&format!("{group}-{n}")), Version::ABSENT, "\"0123456789\"")).collect();
        write(store, writes).await;
    }
    for bytes_max in [0, 1, 100, 500, 1_000, 10_000] {
        let mut cursor = Offset(0);
        loop {
            let page = store.changes(cursor, &everything(), bytes_max).await.unwrap();
            let mut count: BTreeMap<Offset, usize> = BTreeMap::new();
            for record in &page.records {
                *count.entry(record.offset).or_default() += 1;
            }
            for (offset, count) in count {
                assert_eq!(count, if offset.0 % 2 == 1 { 7 } else { 1 }, "{offset} with {bytes_max}");
            }
            assert!(bytes_max >= 100 || page.to.0 <= cursor.0 + 1, "a page of {bytes_max} bytes is too long");
            cursor = page.to;
            if page.last {
                break;
            }
        }
        let (records, to) = all_changes(store, Offset(0), &everything(), bytes_max).await;
        assert_eq!((records.len(), to), (24, store.head()));
    }
}

pub(super) async fn a_filter_selects_collections_and_channels<S: Store + Changelog>(store: &S) {
    create(store, "none", &[]).await;
    create(store, "one", &["list:1"]).await;
    create(store, "both", &["list:1", "list:2"]).await;
    create(store, "two", &["list:2"]).await;
    let task = put(DocumentId::new("tasks", "one"), Version::ABSENT, "t");
    write(store, vec![within(task, &["list:1"])]).await;
    let check = async |collections: &[(&str, Option<&[&str]>)], expected: &[&str]| {
        let filter = filter(collections);
        let (records, to) = all_changes(store, Offset(0), &filter, 1).await;
        assert_eq!(keys_of(&records), expected, "{collections:?}");
        assert_eq!(to, store.head());
        let mut expected: Vec<&str> = expected.to_vec();
        expected.sort_unstable();
        let documents = all_documents(store, &filter, 1).await;
        let mut keys = keys_of(&documents);
        keys.sort_unstable();
        assert_eq!(keys, expected, "{collections:?}");
    };
    check(&[], &[]).await;
    check(&[("none", None)], &[]).await;
    check(&[("notes", None)], &["none", "one", "both", "two"]).await;
    check(&[("notes", Some(&[]))], &[]).await;
    check(&[("notes", Some(&["list:1"]))], &["one", "both"]).await;
    check(&[("notes", Some(&["list:1", "list:2", "list:3"]))], &["one", "both", "two"]).await;
    check(&[("notes", Some(&["list"]))], &[]).await;
    check(&[("notes", Some(&["list:2"])), ("tasks", Some(&["list:1"]))], &["both", "two", "one"]).await;
    check(&[("notes", Some(&["list:2"])), ("tasks", None)], &["both", "two", "one"]).await;
}

pub(super) async fn a_document_that_left_a_channel_is_reported<S: Store + Changelog>(store: &S) {
    create(store, "a", &["list:1", "list:2"]).await;
    let moved = write(store, vec![within(put(note("a"), version_of(b"a"), "b"), &["list:2", "list:3"])]).await;
    let one = filter(&[("notes", Some(&["list:1"]))]);
    let (records, _) = all_changes(store, Offset(0), &one, 100).await;
    assert_eq!(records[0].left, ["list:1"]);
    assert_eq!(records[0].channels, ["list:2", "list:3"]);
    assert_eq!(records[0].offset, moved);
    assert!(all_documents(store, &one, 100).await.is_empty(), "a snapshot holds what the filter matches");
    // It stays left over further writes, until it comes back.
    write(store, vec![within(put(note("a"), version_of(b"b"), "c"), &["list:4"])]).await;
    let (records, _) = all_changes(store, moved, &one, 100).await;
    assert_eq!(records[0].left, ["list:1", "list:2", "list:3"]);
    write(store, vec![within(put(note("a"), version_of(b"c"), "d"), &["list:1"])]).await;
    let (records, _) = all_changes(store, Offset(0), &one, 100).await;
    assert_eq!(records[0].left, ["list:2", "list:3", "list:4"]);
    assert_eq!(keys_of(&all_documents(store, &one, 100).await), ["a"]);
    // Also when it was deleted and created again elsewhere in between.
    write(store, vec![delete(note("a"), version_of(b"d"), &["list:1"])]).await;
    write(store, vec![within(put(note("a"), Version::ABSENT, "e"), &["list:5"])]).await;
    let (records, _) = all_changes(store, Offset(0), &one, 100).await;
    assert_eq!(records[0].left, ["list:1", "list:2", "list:3", "list:4"]);
}

pub(super) async fn a_deleted_document_keeps_its_channels<S: Store + Changelog>(store: &S) {
    create(store, "a", &["list:1"]).await;
    let head = create(store, "b", &["list:2"]).await;
    write(store, vec![delete(note("a"), version_of(b"a"), &["list:1"])]).await;
    let (records, _) = all_changes(store, head, &filter(&[("notes", Some(&["list:1"]))]), 100).await;
    let [tombstone] = &records[..] else { panic!("{records:?}") };
    assert_eq!((tombstone.channels.clone(), &tombstone.body), (strings(&["list:1"]), &None));
    let (records, to) = all_changes(store, head, &filter(&[("notes", Some(&["list:2"]))]), 100).await;
    assert!(records.is_empty());
    assert_eq!(to, store.head());
}

/// Long enough that a store may take the way over an index of channels instead of a scan; both tell the same.
pub(super) async fn few_changes_are_found_among_many<S: Store + Changelog>(store: &S) {
    create(store, "early", &["rare"]).await;
    for n in 0..400 {
        create(store, &format!("k{n}"), &["common"]).await;
    }
    create(store, "x", &["rare", "other"]).await;
    create(store, "y", &["other"]).await;
    write(store, vec![delete(note("early"), version_of(b"early"), &["rare"])]).await;
    let left = write(store, vec![within(put(note("x"), version_of(b"x"), "x2"), &["other"])]).await;
    let rare = filter(&[("notes", Some(&["rare", "never"]))]);
    for bytes_max in [1, 10_000] {
        let (records, to) = all_changes(store, Offset(0), &rare, bytes_max).await;
        assert_eq!(keys_of(&records), ["early", "x"]);
        assert_eq!(to, store.head());
        assert_eq!(keys_of(&all_changes(store, Offset(left.0 - 1), &rare, bytes_max).await.0), ["x"]);
        let both = filter(&[("notes", Some(&["rare", "other"]))]);
        assert_eq!(keys_of(&all_changes(store, Offset(1), &both, bytes_max).await.0), ["y", "early", "x"]);
        let common = filter(&[("notes", Some(&["common"]))]);
        assert_eq!(all_changes(store, Offset(0), &common, bytes_max).await.0.len(), 400);
    }
}

pub(super) async fn a_snapshot_pages_through_every_document<S: Store + Changelog>(store: &S) {
    let mut expected = Vec::new();
    for collection in ["b", "a", "c"] {
        for n in 0..40 {
            let id = DocumentId::new(collection, format!("k{n}"));
            write(store, vec![put(id.clone(), Version::ABSENT, "\"0123456789\"")]).await;
            if n % 5 == 0 {
                write(store, vec![delete(id, version_of(b"\"0123456789\""), &[])]).await;
            } else {
                expected.push(id);
            }
        }
    }
    expected.sort();
    let all = filter(&[("a", None), ("b", None), ("c", None), ("none", None)]);
    for bytes_max in [1, 400, 1 << 20] {
        let documents = all_documents(store, &all, bytes_max).await;
        assert_eq!(documents.into_iter().map(|record| record.id).collect::<Vec<_>>(), expected);
    }
    // From the middle, at a key that does not exist.
    let after = DocumentId::new("b", "k35x");
    let page = store.snapshot(Some(&after), &all, 1 << 20).await.unwrap();
    let rest: Vec<_> = expected.into_iter().filter(|id| *id > after).collect();
    assert_eq!(page.records.into_iter().map(|record| record.id).collect::<Vec<_>>(), rest);
    assert_eq!(page.offset, store.head());
}

pub(super) async fn a_snapshot_of_channels_is_complete<S: Store + Changelog>(store: &S) {
    let mut state = BTreeMap::new();
    for n in 0..120 {
        let channels: &[&str] = match n % 4 {
            0 => &["list:1"],
            1 => &["list:2"],
            2 => &["list:1", "list:2"],
            _ => &["list:3"],
        };
        create(store, &format!("k{n}"), channels).await;
    }
    let moved = within(put(note("k0"), version_of(b"k0"), "moved"), &["list:3"]);
    write(store, vec![moved, delete(note("k1"), version_of(b"k1"), &["list:2"])]).await;
    let wanted = filter(&[("notes", Some(&["list:1", "list:2", "list:9"]))]);
    let expected = (2..120).filter(|n| n % 4 != 3).count();
    for bytes_max in [1, 700, 1 << 20] {
        let documents = all_documents(store, &wanted, bytes_max).await;
        assert_eq!(documents.len(), expected);
        apply(&mut state, documents);
        assert_eq!(state.len(), expected);
    }
}

pub(super) async fn segments_come_in_order<S: Store + Changelog>(store: &S) {
    create(store, "before", &[]).await;
    let mut segments = store.subscribe();
    let mut cursor = store.head();
    let writes = vec![put(note("a"), Version::ABSENT, "a"), put(note("b"), Version::ABSENT, "b")];
    write(store, writes).await;
    super::commit(store, super::mutation_of(1, 1, Vec::new())).await;
    create(store, "c", &["list:1"]).await;
    write(store, vec![delete(note("a"), version_of(b"a"), &[])]).await;
    let mut records = Vec::new();
    while cursor < store.head() {
        let segment = segments.recv().await.unwrap();
        assert_eq!(segment.from, cursor);
        assert!(segment.to > segment.from);
        let page = store.changes(segment.from, &everything(), 1 << 20).await.unwrap();
        assert!(page.to >= segment.to, "a segment is readable when it is published");
        records.extend(segment.records.iter().map(|record| (**record).clone()));
        cursor = segment.to;
    }
    assert!(records.is_sorted_by_key(|record| record.offset));
    let (from_pages, _) = all_changes(store, Offset(1), &everything(), 1 << 20).await;
    // Several segments may name one document.
    let latest: BTreeMap<_, _> = records.into_iter().map(|record| (record.id.clone(), record)).collect();
    let expected: BTreeMap<_, _> = from_pages.into_iter().map(|record| (record.id.clone(), record)).collect();
    assert_eq!(latest, expected);
}

pub(super) async fn a_purge_raises_the_floor<S: Store + Changelog>(store: &S) {
    create(store, "gone", &["list:1"]).await;
    create(store, "stays", &["list:1"]).await;
    let deleted = write(store, vec![delete(note("gone"), version_of(b"gone"), &["list:1"])]).await;
    let moved = write(store, vec![within(put(note("stays"), version_of(b"stays"), "s2"), &["list:2"])]).await;
    assert_eq!(store.floor(), Offset(0));
    assert_eq!(store.purge(deleted).await.unwrap(), 1);
    assert_eq!((store.floor(), store.head()), (deleted, moved));
    let one = filter(&[("notes", Some(&["list:1"]))]);
    let (records, to) = all_changes(store, Offset(0), &one, 100).await;
    assert_eq!((keys_of(&records), to), (vec!["stays"], moved), "a left channel above the floor is still told");
    assert_eq!(store.purge(Offset(u64::MAX)).await.unwrap(), 0);
    assert_eq!((store.floor(), store.head()), (moved, moved));
    assert!(all_changes(store, Offset(0), &one, 100).await.0.is_empty());
    let two = filter(&[("notes", Some(&["list:2"]))]);
    assert_eq!(keys_of(&all_documents(store, &two, 100).await), ["stays"], "documents stay");
}

pub(super) async fn notes_are_kept_by_name<S: Store + Changelog>(store: &S) {
    assert_eq!(store.recall("rules").await.unwrap(), None);
    // None of these is an integer, a text or a name of the store's own.
    for (name, note) in [("rules", &b"\xff\x00"[..]), ("floor", b"7"), ("", b"")] {
        store.remember(name, note.to_vec()).await.unwrap();
        assert_eq!(store.recall(name).await.unwrap().as_deref(), Some(note));
    }
    store.remember("rules", b"later".to_vec()).await.unwrap();
    assert_eq!(store.recall("rules").await.unwrap().as_deref(), Some(&b"later"[..]));
    assert_eq!((store.floor(), store.head()), (Offset(0), Offset(0)));
}
