//! Which of two states is newer: results, snapshots, gained channels.

use serde_json::json;
use tidelock_core::ids::{DocumentId, Offset, SubscriptionId, Version};
use tidelock_core::wire::{Changes, DocumentState, ErrorCode, Outcome, ServerFrame};

use crate::script::{LOG, Script, columns};

/// A client in the middle of a snapshot of offset 5, which has covered the collection `cards` up to `b`.
fn in_snapshot() -> Script {
    let mut script = Script::new();
    script.connect(0);
    script.snapshot(5, None, Some(("cards", "b")), &[(5, "cards/a", "1")]);
    script
}

fn withheld(key: &str) -> DocumentState {
    DocumentState::withheld(DocumentId::new("cards", key))
}

/// Documents of gained channels, as they are at `offset`; the cursor stays.
fn gained(script: &mut Script, cursor: u64, offset: u64, id: &str, json: &str) {
    script.receive(&ServerFrame::Changes(Changes {
        changelog: LOG,
        subscriptions: vec![SubscriptionId(1)],
        from: Offset(cursor),
        to: Offset(cursor),
        last: false,
        changes: columns(&[(offset, id, json)]),
        more: false,
    }));
}

#[test]
fn a_document_deleted_between_its_result_and_a_snapshot_goes() {
    let mut script = Script::new();
    script.write_unseen(|tx| tx.put("cards", "c", "1"));
    script.connect(0);
    script.snapshot(5, None, Some(("cards", "b")), &[(5, "cards/a", "1")]);
    assert_eq!(script.sequences(), [1]);
    // A repetition of a mutation that another connection had pushed: it was committed at 2, and deleted by another at 4.
    script.result(1, 2, Outcome::Accepted);
    assert_eq!(script.row("cards/c"), Some(json!(1)));
    script.snapshot(5, Some(("cards", "b")), None, &[]);
    assert_eq!((script.row("cards/c"), script.confirmed()), (None, vec!["cards/a".to_owned()]));
}

#[test]
fn a_document_created_after_a_snapshot_began_stays() {
    let mut script = in_snapshot();
    script.write(|tx| tx.put("cards", "c", "1"));
    script.result(1, 6, Outcome::Accepted);
    script.snapshot(5, Some(("cards", "b")), None, &[]);
    script.changes(5, 6, &[]);
    assert_eq!(script.confirmed(), ["cards/a", "cards/c"]);
}

#[test]
fn a_refused_mutation_does_not_make_an_earlier_result_older() {
    let mut script = in_snapshot();
    script.write(|tx| tx.put("cards", "c", "1"));
    script.result(1, 7, Outcome::Accepted);
    script.write(|tx| tx.put("cards", "c", "2"));
    // It was read at 3 together with the first, whose outcome it was compared with.
    let version = tidelock_core::version::of_body(b"1").expect("valid JSON");
    let state = DocumentState { id: DocumentId::new("cards", "c"), version, body: Some(b"1".to_vec()) };
    script.result(2, 3, Outcome::Rejected(ErrorCode::Forbidden, "no".into(), vec![state]));
    script.snapshot(5, Some(("cards", "b")), None, &[]);
    assert_eq!(script.row("cards/c"), Some(json!(1)));
}

#[test]
fn what_a_result_withholds_is_forgotten_with_it() {
    let mut script = Script::live();
    script.changes(0, 1, &[(1, "cards/a", r#"{"x":1}"#)]);
    script.write(|tx| tx.put("cards", "a", r#"{"x":2}"#));
    script.write_unseen(|tx| tx.put("cards", "a", r#"{"x":3}"#));
    script.result(1, 2, Outcome::Merged(vec![withheld("a")], vec![]));
    assert_eq!((script.row("cards/a"), script.confirmed().len()), (None, 0));
    let listed: Vec<_> = script.database.rejected().collect();
    assert_eq!(listed.len(), 1, "the edit that was not sent is kept for the user");
    assert_eq!(listed[0].documents[0].mine.as_deref(), Some(&br#"{"x":3}"#[..]));
    // A creation that was refused leaves nothing either.
    script.write(|tx| tx.put("cards", "new", "1"));
    script.result(2, 2, Outcome::Rejected(ErrorCode::Conflict, "no".into(), vec![withheld("new")]));
    assert_eq!(script.row("cards/new"), None);
    assert!(script.host.client().status().pending == 0, "{:?}", script.host.client().status());
}

#[test]
fn what_was_withheld_may_be_gained_again() {
    let mut script = Script::live();
    script.write(|tx| tx.put("cards", "a", "1"));
    script.result(1, 2, Outcome::Merged(vec![withheld("a")], vec![]));
    gained(&mut script, 0, 1, "cards/a", "0");
    assert_eq!(script.row("cards/a"), None, "a page that is older than the result");
    gained(&mut script, 0, 2, "cards/a", "1");
    assert_eq!(script.row("cards/a"), Some(json!(1)));
}

#[test]
fn what_was_purged_may_be_gained_again() {
    let mut script = Script::live();
    script.write(|tx| tx.put("cards", "a", "1"));
    script.result(1, 2, Outcome::Accepted);
    script.purge(2, &["a"]);
    gained(&mut script, 0, 2, "cards/a", "1");
    assert_eq!(script.row("cards/a"), Some(json!(1)));
}

#[test]
fn a_gain_at_the_cursor_that_waited_for_a_result_is_older_than_it() {
    let mut script = Script::live();
    script.changes(0, 1, &[(1, "cards/b", "1")]);
    script.write(|tx| tx.put("cards", "a", "1"));
    // Read at 1, before the client's own mutation deleted it or took it out of its channels at 2.
    gained(&mut script, 1, 1, "cards/a", "0");
    script.result(1, 2, Outcome::Merged(vec![withheld("a")], vec![]));
    assert_eq!((script.row("cards/a"), script.confirmed()), (None, vec!["cards/b".to_owned()]));
}

#[test]
fn what_a_snapshot_left_out_may_be_gained_again() {
    let mut script = Script::live();
    script.write(|tx| tx.put("cards", "a", "1"));
    script.result(1, 2, Outcome::Accepted);
    script.changes(0, 2, &[]);
    // The session started over, after the channel was lost; then it is granted again, and nobody wrote meanwhile.
    script.snapshot(2, None, None, &[]);
    assert_eq!(script.row("cards/a"), None);
    gained(&mut script, 2, 2, "cards/a", "1");
    assert_eq!(script.row("cards/a"), Some(json!(1)));
}

#[test]
fn a_purge_that_waited_for_a_result_is_older_than_it() {
    let mut script = Script::live();
    script.changes(0, 1, &[(1, "cards/a", "1"), (1, "cards/b", "1")]);
    script.write(|tx| {
        tx.put("cards", "a", "2");
        tx.put("cards", "b", "2");
    });
    // Both left the client's channels; its own mutation brings the first back, and says nothing of the second.
    script.purge(1, &["a", "b"]);
    let state = DocumentState { id: DocumentId::new("cards", "a"), version: Version(3), body: Some(b"3".to_vec()) };
    script.result(1, 2, Outcome::Rejected(ErrorCode::Conflict, "no".into(), vec![state]));
    assert_eq!((script.row("cards/a"), script.row("cards/b")), (Some(json!(3)), None));
    script.write(|tx| tx.put("cards", "a", "4"));
    script.purge(2, &["a"]);
    script.result(2, 3, Outcome::Accepted);
    assert_eq!((script.row("cards/a"), script.confirmed()), (Some(json!(4)), vec!["cards/a".to_owned()]));
    script.purge(3, &["a"]);
    assert_eq!(script.row("cards/a"), None, "a later one counts");
    // A result that was long under way is older than what a purge before it found: another had moved the document meanwhile.
    script.write(|tx| tx.put("cards", "a", "5"));
    script.changes(1, 5, &[(5, "cards/a", "6")]);
    script.purge(5, &["a"]);
    script.result(3, 4, Outcome::Accepted);
    assert_eq!((script.row("cards/a"), script.confirmed().len()), (None, 0));
}

#[test]
fn what_a_result_withholds_is_not_brought_back_by_what_came_before() {
    let mut script = Script::live();
    script.write(|tx| tx.put("cards", "a", "1"));
    // Committed at 2 and gained at once, then lost again; the result is the last to come.
    gained(&mut script, 0, 3, "cards/a", "1");
    script.purge(3, &["a"]);
    script.result(1, 2, Outcome::Merged(vec![withheld("a")], vec![]));
    assert_eq!((script.row("cards/a"), script.confirmed().len()), (None, 0));
    gained(&mut script, 0, 3, "cards/a", "1");
    assert_eq!(script.row("cards/a"), Some(json!(1)), "granted once more");
}

#[test]
fn a_gain_and_a_result_meet_in_any_order() {
    // The mutation was merged at 2 into what another wrote; the channel was granted meanwhile. The page of what was gained may have
    // been read before the commit, after it, or not yet.
    let merged = || {
        let version = tidelock_core::version::of_body(b"3").expect("valid JSON");
        let state = DocumentState { id: DocumentId::new("cards", "a"), version, body: Some(b"3".to_vec()) };
        Outcome::Merged(vec![state], vec![])
    };
    for (before, after) in [(None, None), (Some((1, "0")), None), (Some((2, "3")), None), (None, Some((2, "3")))] {
        let mut script = Script::live();
        script.write(|tx| tx.put("cards", "a", "1"));
        if let Some((offset, json)) = before {
            gained(&mut script, 0, offset, "cards/a", json);
        }
        script.result(1, 2, merged());
        if let Some((offset, json)) = after {
            gained(&mut script, 0, offset, "cards/a", json);
        }
        script.changes(0, 2, &[]);
        assert_eq!((script.row("cards/a"), script.confirmed().len()), (Some(json!(3)), 1), "{before:?} {after:?}");
    }
}

#[test]
fn a_client_that_gains_documents_is_not_caught_up() {
    let mut script = Script::live();
    assert!(script.host.client().is_synced());
    gained(&mut script, 0, 4, "cards/a", "1");
    assert!(!script.host.client().is_synced(), "other documents of that mutation may be on their way");
    script.changes(0, 4, &[(4, "cards/b", "1")]);
    assert!(script.host.client().is_synced());
}

#[test]
fn a_client_that_is_sent_a_snapshot_is_not_caught_up() {
    let mut script = Script::live();
    script.snapshot(3, None, Some(("cards", "b")), &[(3, "cards/a", "1")]);
    assert!(!script.host.client().is_synced());
    script.snapshot(3, Some(("cards", "b")), None, &[]);
    script.changes(3, 3, &[]);
    assert!(script.host.client().is_synced());
}

#[test]
fn an_absent_state_is_not_withheld() {
    let absent = DocumentState { id: DocumentId::new("cards", "a"), version: Version::ABSENT, body: None };
    assert!(withheld("a").is_withheld() && !absent.is_withheld());
}
