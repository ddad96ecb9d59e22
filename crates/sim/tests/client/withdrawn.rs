//! A collection that vanishes, or that may not be read any more, while the client is away; a token that is accepted no more.

use serde_json::json;
use tidelock_core::ids::{DocumentId, Offset, SubscriptionId};
use tidelock_core::reconcile::{Checker, Sketch, symbols_to_bytes};
use tidelock_core::version::item_hash;
use tidelock_core::wire::{
    DocumentPolicy, DocumentState, ErrorCode, ErrorFrame, Outcome, Reconciled, Restart, ServerFrame, Symbols,
};

use crate::script::{LOG, Script, columns};

/// A client that holds two cards and a list, and is away.
fn away() -> Script {
    let mut script = Script::live();
    script.changes(0, 1, &[(1, "cards/a", r#"{"x":1}"#), (1, "cards/b", "1"), (1, "lists/l", "1")]);
    script.disconnect();
    script
}

/// The server has nothing to tell of cards any more, and cannot go on from the cursor.
fn restarted(script: &mut Script) {
    script.labels = vec!["lists".into()];
    script.wait();
    script.sent.clear();
    script.connect(0);
    script.receive(&ServerFrame::Restart(Restart { subscription: SubscriptionId(1) }));
}

fn listed(script: &Script) -> Vec<(String, Option<Vec<u8>>)> {
    let documents = script.database.rejected().flat_map(|record| &record.documents);
    documents.map(|document| (document.id.key.clone(), document.mine.clone())).collect()
}

#[test]
fn a_collection_that_vanished_leaves_the_device() {
    let mut script = away();
    script.write(|tx| tx.put("cards", "a", r#"{"x":1,"mine":2}"#));
    script.write(|tx| tx.put("cards", "new", "3"));
    script.offered = vec!["lists"];
    restarted(&mut script);
    assert!(!script.subscribe().have.is_empty(), "documents without a number are listed");
    script.snapshot(1, None, None, &[(1, "lists/l", "1")]);
    script.changes(1, 1, &[]);
    assert_eq!((script.row("cards/a"), script.row("cards/b")), (None, None));
    assert_eq!(script.confirmed(), ["lists/l"]);
    assert_eq!(
        listed(&script),
        [("a".to_owned(), Some(br#"{"x":1,"mine":2}"#.to_vec()))],
        "the edit is kept for the user"
    );
    // What the user made and never sent is nobody else's: it stays, and is pushed when there is such a collection again.
    assert_eq!(script.row("cards/new"), Some(json!(3)));
    assert!(script.pushes().is_empty());
    script.disconnect();
    script.wait();
    script.offered = vec!["cards", "lists"];
    script.connect(0);
    script.changes(1, 1, &[]);
    assert_eq!(script.sequences(), [1]);
}

#[test]
fn a_pending_write_to_a_collection_that_vanished_is_listed() {
    let mut script = Script::live();
    script.changes(0, 1, &[(1, "cards/a", "1")]);
    script.write(|tx| tx.put("cards", "a", "2"));
    assert_eq!(script.sequences(), [1]);
    script.disconnect();
    script.offered = vec!["lists"];
    restarted(&mut script);
    assert_eq!(script.row("cards/a"), Some(json!(2)), "its result is still to come");
    assert_eq!(script.sequences(), [1]);
    script.result(1, 1, Outcome::Rejected(ErrorCode::UnknownCollection, "no such collection".into(), vec![]));
    script.snapshot(1, None, None, &[]);
    assert_eq!((script.row("cards/a"), script.confirmed().len()), (None, 0));
    assert_eq!(listed(&script), [("a".to_owned(), Some(b"2".to_vec()))]);
}

/// A client that holds two cards and so many lists, is away, and whose edit of the first card waits for the application's resolver.
fn in_conflict(lists: u32) -> (Script, Vec<String>) {
    let ids = (0..lists).map(|number| format!("lists/l{number:02}"));
    let ids: Vec<String> = ["cards/k00", "cards/k01"].map(String::from).into_iter().chain(ids).collect();
    let mut script = Script::new();
    script.policies[0].document = DocumentPolicy::Resolver;
    script.connect(0);
    script.snapshot(0, None, None, &[]);
    script.changes(0, 1, &ids.iter().map(|id| (1, id.as_str(), "1")).collect::<Vec<_>>());
    script.write(|tx| tx.put("cards", "k00", "2"));
    let version = tidelock_core::version::of_body(b"3").expect("valid JSON");
    let state = DocumentState { id: DocumentId::new("cards", "k00"), version, body: Some(b"3".to_vec()) };
    script.result(1, 1, Outcome::Resolve(vec![state]));
    assert_eq!(script.row("cards/k00"), Some(json!(2)));
    script.disconnect();
    (script, ids)
}

#[test]
fn a_collection_that_may_not_be_read_any_more_is_no_deleted_one() {
    let (mut script, _) = in_conflict(0);
    restarted(&mut script);
    script.snapshot(1, None, None, &[]);
    script.changes(1, 1, &[]);
    assert_eq!((script.row("cards/k00"), script.confirmed().len()), (None, 0));
    assert_eq!(listed(&script), [("k00".to_owned(), Some(b"2".to_vec()))]);
    // Cards may be read, some of them: what is missing was deleted, and the user's edit stays.
    let (mut script, _) = in_conflict(0);
    restarted(&mut script);
    script.labels.push("cards\0team".into());
    script.snapshot(1, None, None, &[]);
    assert_eq!((script.row("cards/k00"), script.row("cards/k01")), (Some(json!(2)), None));
    assert_eq!(listed(&script).len(), 0);
}

#[test]
fn documents_that_may_not_be_read_any_more_are_told_one_by_one() {
    // This client holds enough documents for symbols.
    let (mut script, ids) = in_conflict(60);
    restarted(&mut script);
    let (round, count) = script.subscribe().reconcile.expect("the client reconciles");
    let mut sketch = Sketch::new(Checker::new(LOG), count);
    let one = tidelock_core::version::of_body(b"1").expect("valid JSON");
    for (collection, key) in ids.iter().skip(2).filter_map(|id| id.split_once('/')) {
        sketch.add(item_hash(LOG, collection, key, one));
    }
    script.receive(&ServerFrame::Symbols(Symbols {
        subscription: SubscriptionId(1),
        round,
        offset: Offset(1),
        documents: 60,
        first: 0,
        symbols: symbols_to_bytes(sketch.symbols()),
        last: true,
    }));
    let gone: Vec<(u64, &str, &str)> = ids.iter().take(2).map(|id| (2, id.as_str(), "")).collect();
    script.receive(&ServerFrame::Reconciled(Reconciled {
        changelog: LOG,
        subscription: SubscriptionId(1),
        round,
        offset: Offset(2),
        changes: columns(&gone),
        channels: script.labels.clone(),
        last: true,
    }));
    assert_eq!((script.row("cards/k00"), script.confirmed().len()), (None, 60));
    assert_eq!(listed(&script), [("k00".to_owned(), Some(b"2".to_vec()))]);
}

fn refuse(script: &mut Script, code: ErrorCode) {
    let (message, retryable) = ("no".to_owned(), false);
    script.receive(&ServerFrame::Error(ErrorFrame { code, retryable, message, retry_after_ms: None }));
}

#[test]
fn another_token_is_asked_for_at_once_where_one_was_good() {
    let mut script = Script::live();
    script.write(|tx| tx.put("cards", "a", "1"));
    refuse(&mut script, ErrorCode::Unauthenticated);
    assert!(script.wait() <= 1_000, "the key of the token may be accepted no more, or it has expired");
    // Nothing is purged by that, nor lost: the application decides whether the user is gone (by signing out).
    assert_eq!(script.row("cards/a"), Some(json!(1)));
    assert_eq!(script.connects, 2);
    script.tell(|client, now| client.handle_connected(now, "token"));
    refuse(&mut script, ErrorCode::Unauthenticated);
    assert!(script.wait() >= 30_000, "a fresh one was refused as well");
    script.connect(0);
    refuse(&mut script, ErrorCode::Forbidden);
    assert!(script.wait() >= 30_000, "no token mends this");
}
