//! Cases of writers that know nothing of Tidelock.

use super::{Subject, assert_holds, json, meta, value};
use crate::platform::{Entry, Platform, PutContent};

/// A foreign write keeps the meta or drops it; it does not make up another one.
fn assert_meta_kept_or_gone(entry: &Entry, before: &str) {
    assert!(meta(entry).is_none_or(|meta| meta == before), "{entry:?}");
}

pub(super) async fn a_foreign_document_has_no_meta<P: Platform>(subject: &Subject<P>) {
    let id = subject.id("a");
    let absent = subject.get(&id).await;
    subject.foreign.set(&id, "{\"n\":1}").await;
    let entry = subject.get(&id).await;
    assert_holds(&entry, Some("{\"n\":1}"), None);
    subject.refuses(&id, &absent.token).await;
    let ours = subject.put(&id, PutContent::Keep, Some("m1")).await;
    assert_holds(&ours, Some("{\"n\":1}"), Some("m1"));
}

pub(super) async fn a_foreign_write_is_another_state<P: Platform>(subject: &Subject<P>) {
    let id = subject.id("a");
    let ours = subject.put(&id, json("{\"n\":1}"), Some("m1")).await;
    subject.foreign.set(&id, "{\"n\":2}").await;
    let theirs = subject.get(&id).await;
    assert_eq!(value(&theirs), Some(serde_json::json!({"n": 2})));
    assert_meta_kept_or_gone(&theirs, "m1");
    subject.refuses(&id, &ours.token).await;
    let merged = subject.put(&id, json("{\"n\":3}"), Some("m2")).await;
    assert_holds(&merged, Some("{\"n\":3}"), Some("m2"));
}

pub(super) async fn a_foreign_delete_is_another_state<P: Platform>(subject: &Subject<P>) {
    let id = subject.id("a");
    let ours = subject.put(&id, json("{\"n\":1}"), Some("m1")).await;
    subject.foreign.delete(&id).await;
    let gone = subject.get(&id).await;
    assert_eq!(gone.content, None);
    assert_eq!(gone.unreadable, None);
    assert_meta_kept_or_gone(&gone, "m1");
    subject.refuses(&id, &ours.token).await;
    let tombstone = subject.put(&id, PutContent::Keep, Some("m2")).await;
    assert_holds(&tombstone, None, Some("m2"));
}

pub(super) async fn a_foreign_write_over_a_tombstone_is_another_state<P: Platform>(subject: &Subject<P>) {
    let id = subject.id("a");
    subject.put(&id, json("{\"n\":1}"), Some("m1")).await;
    let tombstone = subject.put(&id, PutContent::Delete, Some("m2")).await;
    subject.foreign.set(&id, "{\"n\":2}").await;
    let theirs = subject.get(&id).await;
    assert_eq!(value(&theirs), Some(serde_json::json!({"n": 2})));
    assert_meta_kept_or_gone(&theirs, "m2");
    subject.refuses(&id, &tombstone.token).await;
    let ours = subject.put(&id, json("{\"n\":3}"), Some("m3")).await;
    assert_holds(&ours, Some("{\"n\":3}"), Some("m3"));
}

pub(super) async fn an_unreadable_content_is_no_delete<P: Platform>(subject: &Subject<P>) {
    for (name, ours) in [("new", false), ("ours", true)] {
        let id = subject.id(name);
        let mut before = subject.get(&id).await;
        if ours {
            before = subject.put(&id, json("{\"n\":1}"), Some("m1")).await;
        }
        subject.foreign.spoil(&id).await;
        let entry = subject.get(&id).await;
        assert_eq!(entry.content, None);
        assert!(entry.unreadable.as_ref().is_some_and(|reason| !reason.is_empty()), "{entry:?}");
        assert_meta_kept_or_gone(&entry, "m1");
        subject.refuses(&id, &before.token).await;
        let marked = subject.put(&id, PutContent::Keep, Some("m2")).await;
        assert!(marked.unreadable.is_some() && marked.content.is_none(), "a meta is no repair: {marked:?}");
        assert_eq!(meta(&marked), Some("m2"));
        let repaired = subject.put(&id, json("{\"n\":2}"), Some("m3")).await;
        assert_holds(&repaired, Some("{\"n\":2}"), Some("m3"));
    }
}
