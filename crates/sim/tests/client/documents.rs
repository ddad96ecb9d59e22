//! Changes, snapshots, purges, adoption.

use serde_json::json;
use tidelock_core::client::Event;
use tidelock_core::client::storage::KeyRange;
use tidelock_core::wire::{Operation, Outcome};
use tidelock_sim::ModelDatabase;
use tidelock_sim::application::populate;

use crate::script::Script;

#[test]
fn changes_become_rows_and_are_told() {
    let mut script = Script::live();
    script.changes(0, 2, &[(1, "cards/a", r#"{"n":1}"#), (2, "lists/b", "[]")]);
    assert_eq!(script.row("cards/a"), Some(json!({ "n": 1 })));
    assert_eq!(script.confirmed(), ["cards/a", "lists/b"]);
    assert!(script.events.contains(&Event::Changed { collection: "cards".into(), keys: vec!["a".into()] }));
    script.changes(2, 3, &[(3, "cards/a", "")]);
    assert_eq!((script.row("cards/a"), script.confirmed()), (None, vec!["lists/b".to_owned()]));
}

#[test]
fn an_unsent_edit_is_pushed_against_its_own_base_before_a_change_is_applied() {
    let mut script = Script::live();
    script.changes(0, 1, &[(1, "cards/a", r#"{"x":1,"y":1}"#)]);
    // The client learns of the write only from the outbox, in the transaction that would apply the change.
    script.write_unseen(|tx| tx.put("cards", "a", r#"{"x":2,"y":1}"#));
    script.changes(1, 2, &[(2, "cards/a", r#"{"x":1,"y":2}"#)]);
    assert_eq!(script.row("cards/a"), Some(json!({ "x": 2, "y": 1 })));
    let pushes = script.pushes();
    let Some(Operation::Patch(fields)) = pushes.first().map(|push| &push.changes[0].operation) else {
        panic!("{pushes:?}")
    };
    assert_eq!((fields[0].path.as_slice(), fields[0].base.as_deref()), (&["x".to_owned()][..], Some(&b"1"[..])));
}

#[test]
fn a_snapshot_removes_what_it_does_not_name_within_its_range() {
    let mut script = Script::live();
    script.changes(0, 3, &[(1, "cards/a", "1"), (2, "cards/m", "1"), (3, "lists/a", "1")]);
    script.snapshot(9, None, Some(("cards", "k")), &[(9, "cards/b", "2")]);
    assert_eq!(script.confirmed(), ["cards/b", "cards/m", "lists/a"]);
    script.snapshot(9, Some(("cards", "k")), None, &[(3, "lists/a", "1")]);
    assert_eq!(script.confirmed(), ["cards/b", "lists/a"]);
    assert_eq!((script.row("cards/a"), script.row("cards/m")), (None, None));
}

#[test]
fn a_snapshot_waits_for_results_in_its_range_only() {
    let mut script = Script::live();
    script.write(|tx| tx.put("cards", "m", "1"));
    script.snapshot(0, None, Some(("cards", "k")), &[]);
    script.snapshot(0, Some(("cards", "k")), None, &[(0, "lists/a", "1")]);
    assert_eq!(script.row("lists/a"), None);
    script.write(|tx| tx.put("cards", "z", "1"));
    assert_eq!(script.sequences(), [1], "nothing is formed while a frame waits");
    script.result(1, 1, Outcome::Accepted);
    assert_eq!(script.row("cards/m"), Some(json!(1)), "the snapshot is older than the result");
    assert_eq!(script.row("lists/a"), Some(json!(1)));
    assert_eq!(script.sequences(), [2]);
}

#[test]
fn a_change_that_is_older_than_a_result_is_skipped() {
    let mut script = Script::live();
    script.write(|tx| tx.put("cards", "a", r#"{"mine":1}"#));
    script.changes(0, 3, &[(3, "cards/a", r#"{"older":1}"#)]);
    script.result(1, 4, Outcome::Accepted);
    assert_eq!(script.row("cards/a"), Some(json!({ "mine": 1 })));
    script.changes(3, 5, &[(5, "cards/a", r#"{"later":1}"#)]);
    assert_eq!(script.row("cards/a"), Some(json!({ "later": 1 })));
}

#[test]
fn a_purge_keeps_unsent_edits_for_the_user() {
    let mut script = Script::live();
    script.changes(0, 1, &[(1, "cards/a", "1"), (1, "cards/b", "1")]);
    script.write_unseen(|tx| tx.put("cards", "a", "2"));
    script.purge(9, &["a", "b"]);
    assert_eq!((script.row("cards/a"), script.row("cards/b"), script.confirmed().len()), (None, None, 0));
    let rejected: Vec<_> = script.database.rejected().collect();
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].documents[0].mine.as_deref(), Some(&b"2"[..]));
    assert!(script.pushes().is_empty());
}

#[test]
fn a_populated_store_is_adopted() {
    let mut database = ModelDatabase::new();
    populate(&mut database, "cards", &[("a", r#"{"n":1}"#), ("b", r#"{"n":2}"#)]);
    let mut script = Script::over(database);
    script.connect(0);
    assert_eq!(script.subscribe().have.len(), 16);
    script.snapshot(3, None, None, &[(2, "cards/a", r#"same:{"n":1}"#), (3, "cards/c", r#"{"n":3}"#)]);
    script.changes(3, 3, &[]);
    assert_eq!(script.confirmed(), ["cards/a", "cards/c"]);
    let pushes = script.pushes();
    assert_eq!(pushes.len(), 1, "only the row that the server does not have");
    assert_eq!(pushes[0].changes[0].id.key, "b");
    script.result(1, 4, Outcome::Accepted);
    assert!(script.host.client().is_synced(), "{:?}", script.host.client().status());
}

#[test]
fn ranges_and_clears_delete_what_was_confirmed() {
    let mut script = Script::live();
    script.changes(0, 1, &[(1, "cards/a", "1"), (1, "cards/c", "1"), (1, "cards/~n5", "1"), (1, "lists/x", "1")]);
    script.write(|tx| {
        tx.delete_range("cards", KeyRange { lower: Some("b".into()), ..KeyRange::default() });
        tx.clear("lists");
        tx.put("lists", "y", "2");
    });
    let pushes = script.pushes();
    let changed: Vec<String> = pushes[0].changes.iter().map(|change| change.id.to_string()).collect();
    assert_eq!((pushes.len(), changed), (1, vec!["cards/c".into(), "lists/x".into(), "lists/y".into()]));
}

#[test]
fn transactions_go_in_the_order_of_their_commits() {
    let mut script = Script::new();
    // All in one millisecond; the names of the transactions sort the other way round.
    for key in ["a", "b", "c"] {
        script.write_unseen(|tx| tx.put("cards", key, "1"));
    }
    script.write_unseen(|tx| {
        tx.put("cards", "d", "1");
        tx.put("lists", "d", "1");
    });
    script.write_unseen(|tx| tx.put("lists", "e", "1"));
    script.connect(0);
    script.snapshot(0, None, None, &[]);
    let keys: Vec<String> = script.pushes().iter().map(|push| push.changes[0].id.key.clone()).collect();
    assert_eq!(keys, ["a", "b", "c", "d", "e"]);
}

#[test]
fn transactions_that_touch_one_document_are_joined() {
    let mut script = Script::new();
    script.write_unseen(|tx| {
        tx.put("cards", "a", "1");
        tx.put("cards", "b", "1");
    });
    script.write_unseen(|tx| tx.put("lists", "x", "1"));
    script.write_unseen(|tx| {
        tx.put("cards", "b", "2");
        tx.put("lists", "y", "2");
    });
    script.connect(0);
    script.snapshot(0, None, None, &[]);
    let mut sizes: Vec<usize> = script.pushes().iter().map(|push| push.changes.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 3]);
}

#[test]
fn nothing_counts_as_synced_while_the_outboxes_are_read() {
    let mut script = Script::live();
    script.write_unseen(|tx| tx.put("cards", "a", "{}"));
    assert!(script.host.client().is_synced(), "nobody told it");
    let now = script.now_ms;
    script.host.tell(|client| client.handle_captured(now));
    assert!(!script.host.client().is_synced(), "a task looks");
    script.run();
    assert!(!script.host.client().is_synced(), "the write is pushed");
    script.result(1, 1, Outcome::Accepted);
    script.changes(0, 1, &[(1, "cards/a", "same:{}")]);
    assert!(script.host.client().is_synced());
}
