//! Rows that are not what the shadow says, and a storage that fails at any operation.

use serde_json::json;
use tidelock_core::client::Event;
use tidelock_core::client::storage::StorageFailure;
use tidelock_core::wire::{Operation, Outcome};
use tidelock_sim::StepOutcome;

use crate::results::state;
use crate::script::Script;

/// A client with a unique index on `n`, one row that has it, and one that was refused.
fn refused() -> Script {
    let mut script = Script::live();
    script.database.add_unique_index("cards", "n");
    let changes = [(1, "cards/a", r#"{"n":1}"#), (2, "cards/b", r#"{"n":1}"#), (3, "cards/c", r#"{"n":3}"#)];
    script.changes(0, 3, &changes);
    script
}

fn quarantined(script: &Script) -> Vec<String> {
    script.host.client().quarantine().map(|(id, reason)| format!("{id}: {reason}")).collect()
}

#[test]
fn a_row_that_the_store_refuses_blocks_nothing_and_is_listed() {
    let mut script = refused();
    assert_eq!((script.row("cards/b"), script.row("cards/c")), (None, Some(json!({ "n": 3 }))));
    assert_eq!(quarantined(&script), ["cards/b: ConstraintError: a unique index"]);
    assert_eq!(script.host.client().status().quarantined, 1);
    assert!(script.events.iter().any(|event| matches!(event, Event::Problem { code: "row-refused", .. })));
    assert!(script.host.client().is_synced());
    script.restart();
    assert_eq!(quarantined(&script).len(), 1, "the list is durable");
}

#[test]
fn a_refused_row_is_retried_when_it_changes_or_the_schema_does() {
    let mut script = refused();
    script.changes(3, 4, &[(4, "cards/b", r#"{"n":2}"#)]);
    assert_eq!((script.row("cards/b"), quarantined(&script)), (Some(json!({ "n": 2 })), vec![]));
    // What stood in its way goes.
    let mut script = refused();
    script.changes(3, 4, &[(4, "cards/a", r#"{"n":7}"#)]);
    assert_eq!((script.row("cards/b"), quarantined(&script)), (Some(json!({ "n": 1 })), vec![]));
    let mut script = refused();
    script.database.drop_unique_index("cards");
    // The host starts over when the schema changed.
    script.restart();
    assert_eq!((script.row("cards/b"), quarantined(&script)), (Some(json!({ "n": 1 })), vec![]));
    script.restart();
    assert_eq!(quarantined(&script), [""; 0]);
    let mut script = refused();
    script.changes(3, 4, &[(4, "cards/b", "")]);
    assert_eq!(quarantined(&script), [""; 0], "it is gone");
}

#[test]
fn rows_that_exchange_a_unique_value_are_both_taken() {
    let mut script = Script::live();
    script.database.add_unique_index("cards", "n");
    script.changes(0, 2, &[(1, "cards/a", r#"{"n":1}"#), (2, "cards/b", r#"{"n":2}"#)]);
    script.changes(2, 4, &[(3, "cards/a", r#"{"n":2}"#), (4, "cards/b", r#"{"n":1}"#)]);
    let rows = ["cards/a", "cards/b"].map(|id| script.row(id));
    assert_eq!(rows, [Some(json!({ "n": 2 })), Some(json!({ "n": 1 }))]);
    assert_eq!(quarantined(&script), [""; 0]);
}

#[test]
fn a_row_whose_newer_state_is_refused_is_not_left_as_it_was() {
    let mut script = Script::live();
    script.database.add_unique_index("cards", "n");
    script.changes(0, 2, &[(1, "cards/a", r#"{"n":1}"#), (2, "cards/b", r#"{"n":2}"#)]);
    script.changes(2, 3, &[(3, "cards/b", r#"{"n":1}"#)]);
    // Edited as it was, it would take the server's change back.
    assert_eq!((script.row("cards/b"), quarantined(&script).len()), (None, 1));
    script.changes(3, 4, &[(4, "cards/a", "")]);
    assert_eq!((script.row("cards/b"), quarantined(&script).len()), (Some(json!({ "n": 1 })), 0));
}

#[test]
fn an_unsent_edit_of_a_row_that_is_refused_is_listed() {
    let mut script = Script::live();
    script.database.add_unique_index("cards", "n");
    script.changes(0, 2, &[(1, "cards/a", r#"{"n":1}"#), (2, "cards/b", r#"{"n":2}"#)]);
    script.write(|tx| tx.put("cards", "b", r#"{"n":2,"sent":true}"#));
    script.write_unseen(|tx| tx.put("cards", "b", r#"{"n":2,"sent":true,"mine":true}"#));
    script.result(1, 3, Outcome::Merged(vec![state("cards", "b", Some(r#"{"n":1,"sent":true}"#))], vec![]));
    let rejected: Vec<_> = script.database.rejected().flat_map(|record| &record.documents).collect();
    assert_eq!(script.row("cards/b"), None);
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert_eq!(rejected[0].mine.as_deref(), Some(&br#"{"n":2,"sent":true,"mine":true}"#[..]));
    assert_eq!((script.sequences(), script.database.unsent()), (vec![1], (0, 0)));
}

#[test]
fn a_refused_row_is_never_pushed_as_a_delete() {
    let mut script = refused();
    script.write(|tx| tx.clear("cards"));
    let pushes = script.pushes();
    let deleted: Vec<&str> = pushes[0].changes.iter().map(|change| change.id.key.as_str()).collect();
    assert_eq!(deleted, ["a", "c"]);
    script.result(1, 4, Outcome::Accepted);
    script.restart();
    assert_eq!((script.row("cards/b"), quarantined(&script)), (Some(json!({ "n": 1 })), vec![]), "now it fits");
}

#[test]
fn rows_that_are_gone_beside_the_capture_are_put_back() {
    let mut script = Script::live();
    script.changes(0, 2, &[(1, "cards/a", "1"), (2, "cards/b", "2"), (2, "cards/d", "4"), (2, "lists/c", "3")]);
    script.write(|tx| tx.put("cards", "a", "11"));
    script.disconnect();
    script.write(|tx| tx.put("cards", "b", "22"));
    script.database.lose_rows();
    script.restart();
    script.connect(0);
    assert_eq!(script.sequences(), [1], "what was durable as a mutation goes");
    script.result(1, 3, Outcome::Accepted);
    let rows = ["cards/a", "cards/b", "lists/c"].map(|id| script.row(id));
    assert_eq!(rows, [None, Some(json!(2)), Some(json!(3))], "a is being pushed, and was not put back");
}

#[test]
fn an_application_that_deleted_everything_meant_it() {
    let mut script = Script::live();
    script.changes(0, 2, &[(1, "cards/a", "1"), (2, "cards/b", "2"), (2, "lists/c", "3")]);
    script.disconnect();
    script.write(|tx| tx.clear("cards"));
    script.write(|tx| tx.delete("lists", "c"));
    script.restart();
    assert_eq!((script.row("cards/a"), script.row("lists/c")), (None, None));
    script.connect(0);
    let deletes: Vec<Operation> =
        script.pushes().into_iter().flat_map(|push| push.changes).map(|c| c.operation).collect();
    assert_eq!(deletes, [Operation::Delete, Operation::Delete, Operation::Delete]);
}

#[test]
fn rows_whose_hidden_stores_are_gone_are_compared() {
    let mut script = Script::live();
    script.changes(0, 2, &[(1, "cards/a", "1"), (2, "cards/b", "2")]);
    script.database.lose_hidden();
    script.restart();
    script.connect(0);
    // Two rows of which nothing is known.
    assert_eq!((&script.subscribe().cursor, script.subscribe().have.len()), (&None, 16));
    script.snapshot(3, None, None, &[(3, "cards/a", "same:1"), (3, "cards/c", "3")]);
    script.changes(3, 3, &[]);
    let pushes = script.pushes();
    assert_eq!(
        (pushes[0].changes[0].id.key.as_str(), pushes[0].sequence.0),
        ("b", 1),
        "what only the client has goes up"
    );
    assert_eq!((script.row("cards/a"), script.row("cards/c")), (Some(json!(1)), Some(json!(3))));
}

/// What a client goes through, with a storage that may fail at one operation. Returns whether it did.
fn scenario(fails_at: Option<u64>) -> (Script, bool) {
    let mut script = Script::new();
    script.host.fail_operation(fails_at, StorageFailure::Other);
    script.settle();
    script.connect(0);
    script.settle();
    script.snapshot(1, None, None, &[(1, "cards/a", r#"{"n":1}"#), (1, "lists/x", "[]")]);
    script.settle();
    script.changes(1, 1, &[]);
    script.settle();
    script.write(|tx| {
        tx.put("cards", "a", r#"{"n":2}"#);
        tx.put("cards", "b", "{}");
    });
    script.settle();
    script.result(1, 2, Outcome::Accepted);
    script.settle();
    script.write(|tx| tx.delete("lists", "x"));
    script.settle();
    script.result(2, 2, Outcome::Rejected(tidelock_core::wire::ErrorCode::Forbidden, "no".into(), vec![]));
    script.settle();
    script.changes(1, 3, &[(3, "cards/c", "3"), (3, "cards/b", "")]);
    script.settle();
    let failed = script.host.operation_failed();
    (script, failed)
}

#[test]
fn a_storage_that_fails_at_any_operation_changes_nothing_in_the_end() {
    let state = |script: &Script| {
        let rows = ["cards/a", "cards/b", "cards/c", "lists/x"].map(|id| script.row(id));
        let unsent = (script.database.unsent(), script.database.rejected().count());
        (rows, script.confirmed(), unsent)
    };
    let (undisturbed, _) = scenario(None);
    let expected = state(&undisturbed);
    assert_eq!(expected.0, [Some(json!({ "n": 2 })), None, Some(json!(3)), Some(json!([]))]);
    let mut count = 0;
    for operation in 0.. {
        let (script, failed) = scenario(Some(operation));
        if !failed {
            break;
        }
        count += 1;
        assert_eq!(state(&script), expected, "operation {operation}");
    }
    assert!(count > 50, "{count} operations");
}

impl Script {
    /// Time passes until the storage is tried again and has done what there is to do.
    fn settle(&mut self) {
        while self.host.client().storage_waits() {
            self.wait();
        }
        self.run();
        assert_eq!(self.host.step(&mut self.database, self.now_ms), StepOutcome::Idle);
    }
}
